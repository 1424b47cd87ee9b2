"""Hosts of a test's own: network namespaces, each behind one cable to this machine, which can fall silent.

What is sent to a silent host arrives, and nothing comes back: no reset, no refusal, as with a host that has lost its
network or its power. The addresses are of the range for tests of networks (RFC 2544), and exist in these namespaces
alone. Needs root and `ip`.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

NETWORK = "198.18.71"
HERE = f"{NETWORK}.1"


class NamespaceHost:
    """One host.

    Args:
        number: 2 to 250, the end of its address.
    """

    def __init__(self, number: int) -> None:
        self.name = f"gwtest{os.getpid()}n{number}"
        self.address = f"{NETWORK}.{number}"
        self._cable = f"gwt{os.getpid() % 100000}n{number}"
        peer = f"{self._cable}p"
        _ip("netns", "add", self.name)
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", peer)
        _ip("link", "set", peer, "netns", self.name)
        _ip("addr", "add", f"{HERE}/32", "dev", self._cable)
        _ip("link", "set", self._cable, "up")
        _ip("route", "add", f"{self.address}/32", "dev", self._cable, "src", HERE)
        _ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", peer)
        _ip("-n", self.name, "link", "set", peer, "up")
        _ip("-n", self.name, "link", "set", "lo", "up")

    @property
    def inside(self) -> list[str]:
        """What stands before a command that is to run there."""
        return ["ip", "netns", "exec", self.name]

    def fall_silent(self) -> None:
        """Answer nothing any more."""
        _ip("-n", self.name, "route", "add", "blackhole", f"{HERE}/32")

    def heal(self) -> None:
        """Answer again."""
        _ip("-n", self.name, "route", "del", "blackhole", f"{HERE}/32")

    def remove(self) -> None:
        """Take it away; what runs there is to have ended."""
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "del", self._cable)
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self.name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def namespace_hosts(count: int) -> Iterator[list[NamespaceHost]]:
    """So many hosts; skips with the printed reason where there can be none, or fails with `CI=true`."""
    hosts: list[NamespaceHost] = []
    try:
        try:
            if shutil.which("ip") is None:
                raise FileNotFoundError("there is no `ip`")
            hosts.extend(NamespaceHost(number) for number in range(2, 2 + count))
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            if os.environ.get("CI") == "true":
                pytest.fail(f"no network namespaces, which CI must have: {said}")
            pytest.skip(f"no network namespaces: {said}")
        yield hosts
    finally:
        for host in hosts:
            host.remove()
