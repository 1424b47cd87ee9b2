"""On what this gateway listens, and every node of its state: no supplier is called there, or calls would go round.

A node tells the others its listeners in the book of nodes: each address of its machine with each of its ports, and a
mark of the machine, since a loopback address means the listener of one machine alone.
"""

import hashlib
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.hosts import parse_upstream
from gateway.runtime.home import GatewayHome
from gateway.runtime.settings import Settings
from gateway.store import Node

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NETWORK = Path("/proc/self/ns/net")
_FOUR = Path("/proc/net/fib_trie")
_SIX = Path("/proc/net/if_inet6")


class Listeners(msgspec.Struct, frozen=True):
    """What a node tells of itself.

    Args:
        machine: which network of which machine it is on, as a digest.
        ports: of its listeners.
        addresses: of that machine, but loopback and link-local ones; those alone that are listened on, where the
            settings name one.
    """

    machine: str
    ports: tuple[int, ...]
    addresses: tuple[str, ...]


class OwnListeners:
    """Whether an address and port is one that a node of this gateway listens on, or will when it is started.

    Args:
        home: whose addresses file names this node's while it runs.
        settings: that say them else.
        nodes: the book of nodes; gives none where the state is this node's alone.
    """

    def __init__(self, home: GatewayHome, settings: Settings, nodes: Callable[[], Sequence[Node]] = lambda: ()) -> None:
        self._home = home
        self._settings = settings
        self._nodes = nodes if home.is_shared(settings) else (lambda: ())
        self._machine = machine_mark()

    def __call__(self, address: str, port: int) -> bool:
        """True for a listener of this node, by whichever of the machine's addresses, and for one of another node."""
        is_here = is_this_machine(address)
        if is_here and port in self._own_ports():
            return True
        try:
            others = [read for node in self._nodes() if (read := _read(node.listeners)) is not None]
        except GatewayError as error:
            # Not known is not none: what may be called is not said before the book can be read.
            raise GatewayError("unavailable", "the nodes' listeners cannot be read for now") from error
        return any(
            port in each.ports and (address in each.addresses or (is_here and each.machine == self._machine))
            for each in others
        )

    def told(self) -> str:
        """What this node tells the others, as text for the book of nodes; blocks."""
        checks = self._settings.checks
        hosts = [self._settings.data_plane.host, self._settings.control.host]
        hosts += [] if checks.port is None else [checks.host]
        found = set(machine_addresses()) if any(map(is_every, hosts)) else set()
        found |= {host for host in hosts if not is_every(host) and not _is_local(host)}
        listeners = Listeners(self._machine, tuple(sorted(self._own_ports() - {0})), tuple(sorted(found)))
        return msgspec.json.encode(listeners).decode()

    def _own_ports(self) -> set[int]:
        found = self._home.addresses() or {}
        ports = {_port_of(str(found.get(name, ""))) for name in ("data_plane", "control", "checks")}
        return ports | {self._settings.data_plane.port, self._settings.control.port, self._settings.checks.port or 0}


def machine_mark() -> str:
    """Which network of which machine this is: two processes with one mark share its loopback."""
    try:
        network = f"{_BOOT.read_text('ascii').strip()} {_NETWORK.stat().st_ino}"
    except OSError:
        network = f"{os.uname().nodename}"
    return hashlib.sha256(network.encode()).hexdigest()[:32]


def machine_addresses() -> Iterable[str]:
    """The network addresses of this machine that others may reach, as far as the kernel tells them."""
    found: set[str] = set()
    try:
        before = ""
        for line in _FOUR.read_text("ascii").splitlines():
            if "/32 host LOCAL" in line:
                found.add(before)
            elif "|--" in line:
                before = line.rpartition(" ")[2]
        found |= {IPv6Address(int(line.split()[0], 16)).compressed for line in _SIX.read_text("ascii").splitlines()}
    except (OSError, ValueError, IndexError):
        found |= _by_name()
    return sorted(each for each in found if not _is_local(each))


def _by_name() -> set[str]:
    try:
        return {str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return set()


def is_this_machine(address: str) -> bool:
    """Whether an address is one of this machine's: only such a one can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def is_every(host: str) -> bool:
    """Whether an address stands for every address of its machine."""
    return host in {"0.0.0.0", "::", ""}  # noqa: S104 - compared, not bound


def _is_local(host: str) -> bool:
    """Whether an address means something on its own machine alone; a name is one that others may resolve."""
    try:
        found = ip_address(host)
    except ValueError:
        return host == "localhost"
    return found.is_loopback or found.is_link_local


def _port_of(url: str) -> int:
    try:
        return parse_upstream(url).port
    except ValueError:
        return 0


def _read(told: str) -> Listeners | None:
    """What a node told; None of a node that tells nothing, as those of earlier versions."""
    try:
        return msgspec.json.decode(told, type=Listeners)
    except msgspec.DecodeError:
        return None
