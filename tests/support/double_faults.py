"""A house in which two things fail at once while a stop is given, and what slow readers still receive is counted."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.domain.errors import GatewayError
from tests.support.barrier import arrived_bytes, read_to_end
from tests.support.faults import Fault, Held, cut_connections, cut_messages, until_gone
from tests.support.gateways import RunningGateway, wait_for
from tests.support.streaming import SlowCaller

GRANT = "endless-1"
STOP = {"violation": "found in a test", "rectify_by": "2099-12-31"}
FAULTS = tuple(Fault)
LASTS_SECONDS = 5.0
"""How long a part stands still, hangs, is slow or cut off: somebody has to answer in the end."""
CALLERS = 4
PROCESSES = {"worker": "worker-0", "other worker": "worker-1", "control": "control", "ledger": "ledger"}


def drawn(metafunc: pytest.Metafunc, pairs: Sequence[tuple[str, str]]) -> None:
    """Give a test its rows: of each two parts each fault of the one with one of the other, drawn by the run's seed.

    `DOUBLE_FAULTS=all` gives every row there is, `DOUBLE_FAULTS=0` to `4` a fifth of them.
    """
    asked = os.environ.get("DOUBLE_FAULTS") or getattr(metafunc.config.option, "randomly_seed", 0)
    draws = range(len(FAULTS)) if asked == "all" else [int(asked) % len(FAULTS)]
    rows = [row for draw in draws for row in rows_of(pairs, draw)]
    names = ["-".join(row).replace(" ", "_") for row in rows]
    metafunc.parametrize(("one", "first", "other", "second"), rows, ids=names)


def rows_of(pairs: Sequence[tuple[str, str]], draw: int) -> Iterator[tuple[str, Fault, str, Fault]]:
    """One of five draws, which together are every two faults of every two parts."""
    for index, (one, other) in enumerate(pairs):
        for turn, first in enumerate(FAULTS):
            yield one, first, other, FAULTS[(turn * 2 + index + draw) % len(FAULTS)]


class House:
    """One gateway, on which the stop is given.

    Args:
        gateway: it runs, and has the endless interface and its grant.
    """

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self.table: list[str] = []

    def told(self) -> str:
        """The table of what was counted."""
        head = "| one fault | other fault | callers | octets after the return | confirmed | out | the call took |"
        return "\n".join(["", head, "|---" * 7 + "|", *self.table])

    def pid(self, part: str) -> int:
        if part == "supervisor":
            assert self.gateway.process is not None
            return self.gateway.process.pid
        return self.gateway.pid(PROCESSES[part])

    def strike(self, held: Held, part: str, fault: Fault) -> None:
        """Let a fault befall a part."""
        if part == "database":
            held.lock(fault, self.gateway.home.root / "state.db")
            return
        # What the rows before left dead is being replaced: the fault befalls the process that takes its place.
        assert wait_for(lambda: lives(self.pid(part)), 60)
        held.strike(fault, self.pid(part), lambda: self._cut(part))

    def _cut(self, part: str) -> Callable[[], None]:
        home, children = self.gateway.home, (self.gateway.home.addresses() or {})["children"]
        workers = [pid for name, pid in children.items() if name.startswith("worker-")]
        if part == "supervisor":
            return cut_messages(children["control"])
        if part == "other worker":
            return cut_connections([children["worker-1"]], home.control_socket)
        if part == "ledger":
            return cut_connections([children["control"]], home.ledger_socket)
        return cut_connections(workers[:1] if part == "worker" else workers, home.control_socket)

    def restore(self) -> None:
        """Everything runs and serves again."""
        revive(self.gateway)

    def callers(self) -> list[SlowCaller]:
        """Callers whose answers stream, each reading slowly."""
        found = streaming(self.gateway, CALLERS)
        time.sleep(0.3)
        return found

    def row(self, one: str, first: Fault, other: str, second: Fault) -> list[int]:
        """Give a stop while both faults last; the octets that each caller receives after it has returned."""
        self.restore()
        callers = self.callers()
        children = dict((self.gateway.home.addresses() or {})["children"])
        held = Held()
        timer = threading.Timer(LASTS_SECONDS, held.heal)
        began = time.monotonic()
        try:
            self.strike(held, one, first)
            self.strike(held, other, second)
            timer.start()
            if ("supervisor", Fault.KILLED) in {(one, first), (other, second)}:
                assert self.gateway.process is not None
                self.gateway.process.wait(30)
                for pid in children.values():
                    until_gone(pid)
                revive(self.gateway)
            said = self.ask("", STOP, f"stop-{os.urandom(8).hex()}")
            took = time.monotonic() - began
            in_flight = [arrived_bytes(caller.socket) for caller in callers]
            after = [read_to_end(caller.socket) - arrived for caller, arrived in zip(callers, in_flight, strict=True)]
        finally:
            timer.cancel()
            held.heal()
        report = said["barrier"]
        told = f"{len(callers)} | {sum(after)} | {', '.join(report['confirmed'])} | {', '.join(report['out'])}"
        self.table.append(f"| {one}: {first} | {other}: {second} | {told} | {took:.1f} s |")
        self.restore()
        self.ask("/lift", {"reason": "the next two"}, f"lift-{os.urandom(6).hex()}")
        return after

    def ask(self, act: str, body: dict[str, Any], key: str, seconds: float = 60) -> Any:
        """What a suspension, or its lift, answers; it is asked for under the same key until it has returned."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                with self.gateway.officer() as api:
                    return api.post(f"/v1/grants/{GRANT}/suspension{act}", body, headers={"Idempotency-Key": key})
            except (GatewayError, httpx.HTTPError, OSError) as error:
                if isinstance(error, GatewayError) and error.code == "conflict" and act:
                    return None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def streaming(gateway: RunningGateway, number: int, token: Callable[[], str | None] = lambda: None) -> list[SlowCaller]:
    """So many callers that stream; a process that has just been replaced may first need a moment."""
    found: list[SlowCaller] = []

    def more() -> bool:
        with contextlib.suppress(OSError, IndexError, ValueError, httpx.HTTPError):
            caller = SlowCaller(gateway, token())
            if caller.status == 200:
                found.append(caller)
            else:
                caller.close()
        return len(found) == number

    assert wait_for(more, 60)
    return found


def revive(gateway: RunningGateway) -> None:
    """Wait until every process of a gateway runs; start it where it has ended."""
    assert gateway.process is not None
    if gateway.process.poll() is not None:
        gateway.home.addresses_file.unlink(missing_ok=True)
        gateway.start()

    def is_whole() -> bool:
        found = gateway.home.addresses() or {}
        return len(found.get("children", {})) == 4 and all(found["children"].values())

    assert wait_for(is_whole, 60)


def lives(pid: int) -> bool:
    """Whether a process runs, and is more than a name."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
