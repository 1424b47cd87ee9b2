"""BARRIER under every two faults: a stop in between, and the octets that slow readers receive after it has returned.

    python -m pytest -m deep -s tests/end_to_end/test_double_faults.py      prints the table

Every fault of each part meets a fault of every other part; the part that stands still, hangs, is slow or cut off is so
for five seconds at most, since somebody has to answer. Other nodes stand in test_barrier_nodes.
"""

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.domain.errors import GatewayError
from tests.support.barrier import arrived_bytes, read_to_end
from tests.support.faults import Fault, Held, cut_connections, cut_messages, until_gone
from tests.support.gateways import RunningGateway, running_gateway, wait_for
from tests.support.streaming import EndlessSupplier, SlowCaller, furnish_endless, grant_document

pytestmark = [pytest.mark.deep, pytest.mark.timeout(600)]

GRANT = "endless-1"
STOP = {"violation": "found in a test", "rectify_by": "2099-12-31"}
PARTS = ("worker", "control", "ledger", "supervisor", "database")
FAULTS = tuple(Fault)
LASTS_SECONDS = 5.0
CALLERS = 4


@dataclass
class House:
    gateway: RunningGateway
    table: list[str] = field(default_factory=list)

    def pid(self, part: str) -> int:
        assert self.gateway._process is not None
        return self.gateway._process.pid if part == "supervisor" else self.gateway.pid(NAMES[part])

    def strike(self, held: Held, part: str, fault: Fault) -> None:
        if part == "database":
            held.lock(fault, self.gateway.home.root / "state.db")
            return
        # What the rows before left dead is being replaced: the fault befalls the process that takes its place.
        assert wait_for(lambda: _lives(self.pid(part)), 60)
        held.strike(fault, self.pid(part), lambda: self._cut(part))

    def _cut(self, part: str) -> Callable[[], None]:
        home, children = self.gateway.home, (self.gateway.home.addresses() or {})["children"]
        workers = [pid for name, pid in children.items() if name.startswith("worker-")]
        if part == "supervisor":
            return cut_messages(children["control"])
        if part == "ledger":
            return cut_connections([children["control"]], home.ledger_socket)
        return cut_connections(workers[:1] if part == "worker" else workers, home.control_socket)

    def is_whole(self) -> bool:
        found = self.gateway.home.addresses() or {}
        return len(found.get("children", {})) == 4 and all(found["children"].values())

    def restore(self) -> None:
        """Everything runs and serves again."""
        assert self.gateway._process is not None
        if self.gateway._process.poll() is not None:
            self.gateway.home.addresses_file.unlink(missing_ok=True)
            self.gateway.start()
        assert wait_for(self.is_whole, 60)


NAMES = {"worker": "worker-0", "control": "control", "ledger": "ledger"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    supplier = EndlessSupplier()
    with running_gateway(tmp_path_factory.mktemp("home") / "var") as running:
        furnish_endless(running, supplier)
        with running.officer() as api:
            api.post("/v1/grants", grant_document(GRANT))
        made = House(running)
        yield made
        print("\n| one fault | other fault | callers | octets after the return | the call took |")
        print("|---|---|---|---|---|")
        print("\n".join(made.table))
    supplier.close()


def ask(house: House, act: str, body: dict[str, Any], key: str, seconds: float = 60) -> None:
    """Do an act; it is asked for under the same key until it has returned."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with house.gateway.officer() as api:
                api.post(f"/v1/grants/{GRANT}/suspension{act}", body, headers={"Idempotency-Key": key})
        except (GatewayError, httpx.HTTPError, OSError) as error:
            if isinstance(error, GatewayError) and error.code == "conflict" and act:
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def streaming(house: House) -> list[SlowCaller]:
    found: list[SlowCaller] = []

    def more() -> bool:
        with contextlib.suppress(OSError, IndexError, ValueError, httpx.HTTPError):
            caller = SlowCaller(house.gateway)
            if caller.status == 200:
                found.append(caller)
            else:
                caller.close()
        return len(found) == CALLERS

    assert wait_for(more, 60)
    time.sleep(0.3)
    return found


PAIRS = list(itertools.combinations(PARTS, 2))


@pytest.mark.parametrize("turn", range(len(FAULTS)))
@pytest.mark.parametrize(("one", "other"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_barrier_holds_under_every_two_faults(house: House, one: str, other: str, turn: int) -> None:
    """BARRIER: whatever befalls two parts at once, nothing leaves after the stop has returned.

    Over the turns each fault of one part meets each place in the order of the other's.
    """
    first = FAULTS[turn]
    second = FAULTS[(turn * 2 + PAIRS.index((one, other))) % len(FAULTS)]
    house.restore()
    callers = streaming(house)
    children = dict((house.gateway.home.addresses() or {})["children"])
    held = Held()
    timer = threading.Timer(LASTS_SECONDS, held.heal)
    began = time.monotonic()
    try:
        house.strike(held, one, first)
        house.strike(held, other, second)
        timer.start()
        if Fault.KILLED in {first if one == "supervisor" else "", second if other == "supervisor" else ""}:
            assert house.gateway._process is not None
            house.gateway._process.wait(30)
            for pid in children.values():
                until_gone(pid)
            house.restore()
        ask(house, "", STOP, f"stop-{one}-{first.name}-{other}-{second.name}-{os.urandom(4).hex()}")
        took = time.monotonic() - began
        in_flight = [arrived_bytes(caller.socket) for caller in callers]
        after = [read_to_end(caller.socket) - arrived for caller, arrived in zip(callers, in_flight, strict=True)]
    finally:
        timer.cancel()
        held.heal()
    house.table.append(f"| {one}: {first} | {other}: {second} | {len(callers)} | {sum(after)} | {took:.1f} s |")
    house.restore()
    ask(house, "/lift", {"reason": "the next two"}, f"lift-{os.urandom(6).hex()}")
    assert after == [0] * len(callers)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
