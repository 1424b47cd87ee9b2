"""BARRIER under every two faults where the state is PostgreSQL and another node serves the same grant.

    python -m pytest -m deep -s tests/end_to_end/test_double_faults_nodes.py                      prints the table
    DOUBLE_FAULTS=all python -m pytest -m deep -s tests/end_to_end/test_double_faults_nodes.py    of every pair

The stop is given on one node. Half of the callers hang on the other one, all of whose processes stand still, are
killed, hang or are slow, or which reaches the state no more; or the same befalls the database server of both.
"""

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.support.barrier import arrived_bytes, read_to_end
from tests.support.double_faults import CALLERS, GRANT, STOP, House, drawn, revive, streaming
from tests.support.faults import Fault, Held
from tests.support.nodes import TwoNodes, two_nodes
from tests.support.postgres import running_postgres
from tests.support.streaming import EndlessSupplier, SlowCaller, furnish_endless, grant_document

pytestmark = [pytest.mark.deep, pytest.mark.timeout(600)]

PARTS = ("worker", "control", "ledger", "supervisor")
PAIRS = [*itertools.product(PARTS, ("database", "other node")), ("database", "other node")]


class TwoNodesHouse(House):
    """Two nodes: faults befall the one on which the stop is given, the database of both, or all of the other node."""

    def __init__(self, nodes: TwoNodes) -> None:
        super().__init__(nodes.one)
        self.nodes = nodes

    def strike(self, held: Held, part: str, fault: Fault) -> None:
        postgres = self.nodes.postgres
        if part == "other node":
            held.strike_all(fault, self.nodes.other.pids(), self.nodes.cut_other_off)
        elif part != "database":
            super().strike(held, part, fault)
        elif fault is Fault.HUNG:
            held.while_it_lasts(self._hold_feed)
        elif fault is Fault.KILLED:
            postgres.stop(signal.SIGQUIT)
            held.until_healed(postgres.start)
        else:
            held.strike_all(fault, postgres.pids(), self.nodes.cut_database_off)

    def _hold_feed(self, ended: threading.Event) -> None:
        with self.nodes.postgres.connect(self.nodes.database) as connection, connection.transaction():
            connection.execute("LOCK TABLE feed IN ACCESS EXCLUSIVE MODE")
            ended.wait(60)

    def restore(self) -> None:
        for node in (self.nodes.one, self.nodes.other):
            revive(node)

    def callers(self) -> list[SlowCaller]:
        half = CALLERS // 2
        return [*streaming(self.nodes.one, half), *streaming(self.nodes.other, half, self.nodes.token)]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodesHouse]:
    supplier = EndlessSupplier()
    with running_postgres() as postgres, two_nodes(tmp_path_factory.mktemp("nodes"), postgres) as nodes:
        furnish_endless(nodes.one, supplier)
        with nodes.one.officer() as api:
            api.post("/v1/grants", grant_document(GRANT))
        made = TwoNodesHouse(nodes)
        yield made
        print(made.told())
    supplier.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "first" in metafunc.fixturenames:
        drawn(metafunc, PAIRS)


def test_barrier_holds_under_every_two_faults_of_two_nodes(
    house: TwoNodesHouse, one: str, first: Fault, other: str, second: Fault
) -> None:
    """BARRIER: whatever befalls a part of this node and the database or the other node, nothing leaves either node
    after the stop has returned."""
    assert house.row(one, first, other, second) == [0] * CALLERS


def test_barrier_tells_a_frozen_node_as_out(house: TwoNodesHouse) -> None:
    """All of a node's processes stand still and stay so: the answer says since when it can send nothing and what at
    most was on its way, and from its return on nothing arrives, also while the node goes on standing and after it."""
    house.restore()
    callers = house.callers()
    frozen = house.nodes.other.pids()
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = datetime.now(UTC)
        report = house.ask("", STOP, f"stop-{os.urandom(8).hex()}")["barrier"]
        in_flight = [arrived_bytes(caller.socket) for caller in callers]
        (silent,) = report["silent"]
        assert report["out"] == [silent["node"]]
        assert silent["node"].endswith("node-2")
        assert began < datetime.fromisoformat(silent["silent_from"]) <= datetime.now(UTC)
        assert 0 < silent["most_unsent_bytes"] < 1 << 20
        # The supervisor and the control process still stand: nobody but their own kernel has ended the workers.
        after = [read_to_end(caller.socket) - arrived for caller, arrived in zip(callers, in_flight, strict=True)]
    finally:
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    house.restore()
    house.ask("/lift", {"reason": "it goes on"}, f"lift-{os.urandom(8).hex()}")
    assert after == [0] * CALLERS
    for caller in house.callers():  # the node serves again
        caller.close()
