"""The barrier over three nodes on one PostgreSQL: control processes, workers and servers are real, and are lost."""

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.store import Store
from tests.support.barrier import PROCESSES, SENDER, Worker, arrived_bytes, end, read_to_end, start
from tests.support.gateways import wait_for
from tests.support.postgres import Postgres, running_postgres

pytestmark = pytest.mark.deep


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


class Nodes:
    """Three nodes over one database, each a control process with one worker."""

    def __init__(self, url: str, folder: Path) -> None:
        self.controls: dict[str, subprocess.Popen[str]] = {}
        self.workers: dict[str, Worker] = {}
        for name in "abc":
            control = start(PROCESSES / "node_process.py", url, name, folder / f"{name}.sock")
            self.controls[name] = control
        for name, control in self.controls.items():
            assert control.stdout is not None
            assert control.stdout.readline() == "ready\n"
            worker = start(SENDER, folder / f"{name}.sock", f"worker-{name}")
            assert worker.stdout is not None
            self.workers[name] = Worker(worker, int(worker.stdout.readline()))

    def withdraw(self, node: str, grant: str) -> dict[str, Any]:
        """Withdraw a grant on one node; returns when its barrier has been held."""
        control = self.controls[node]
        assert control.stdin is not None
        assert control.stdout is not None
        control.stdin.write(grant + "\n")
        control.stdin.flush()
        report: dict[str, Any] = json.loads(control.stdout.readline())
        return report

    def close(self) -> None:
        for process in (*self.controls.values(), *(worker.process for worker in self.workers.values())):
            end(process)


@pytest.fixture
def nodes(postgres: Postgres, tmp_path: Path) -> Iterator[Nodes]:
    url = postgres.url(postgres.create_database())
    Store.open(url).close()
    made = Nodes(url, tmp_path)
    yield made
    made.close()


def test_barrier_on_one_node_holds_on_all(nodes: Nodes) -> None:
    """A stop on any node returns when the workers of every node have cut; other grants' answers go on."""
    callers = [worker.stream("g1") for worker in nodes.workers.values()]
    other = nodes.workers["b"].stream("g2")
    report = nodes.withdraw("a", "g1")
    in_flight = [arrived_bytes(caller) for caller in callers]
    assert [read_to_end(caller) for caller in callers] == in_flight
    assert (set(report["confirmed"]), report["out"]) == ({"worker-a", "b", "c"}, [])
    other.recv(1 << 20)
    assert other.recv(1 << 16)
    other.close()
    again = nodes.workers["c"].stream("g3")
    assert "c" not in nodes.withdraw("c", "g3")["confirmed"], "a node does not wait for itself as for another"
    again.close()


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_barrier_when_another_nodes_control_process_is_lost(nodes: Nodes, how: signal.Signals) -> None:
    """A node that cannot answer is out: its workers' leases end, they deny by STALE-DENIES, and the call returns."""
    callers = {name: worker.stream("g1") for name, worker in nodes.workers.items()}
    nodes.controls["b"].send_signal(how)
    report = nodes.withdraw("a", "g1")
    time.sleep(0.05)  # a lease's end and the cut are two events of one loop
    in_flight = {name: arrived_bytes(caller) for name, caller in callers.items()}
    assert {name: read_to_end(caller) for name, caller in callers.items()} == in_flight
    assert report["out"] == ["b"]
    assert set(report["confirmed"]) == {"worker-a", "c"}
    assert nodes.withdraw("c", "g2")["sequence"] == report["sequence"] + 1
    with contextlib.suppress(ProcessLookupError):
        nodes.controls["b"].send_signal(signal.SIGCONT)


def test_barrier_when_a_worker_of_another_node_is_stopped(nodes: Nodes) -> None:
    """Another node's stopped worker is ended by its own control process before that node acknowledges."""
    caller = nodes.workers["c"].stream("g1")
    nodes.workers["c"].process.send_signal(signal.SIGSTOP)
    report = nodes.withdraw("a", "g1")
    in_flight = arrived_bytes(caller)
    assert read_to_end(caller) == in_flight
    assert set(report["confirmed"]) == {"worker-a", "b", "c"}
    assert nodes.workers["c"].process.wait(60) == -signal.SIGKILL


def test_barrier_when_the_database_restarts(nodes: Nodes, postgres: Postgres) -> None:
    """While PostgreSQL restarts, answers go on within the freshness limit; afterwards every node takes up the feed."""
    caller = nodes.workers["b"].stream("g1")
    postgres.restart()
    report = nodes.withdraw("a", "g1")
    assert read_to_end(caller) >= 0
    assert set(report["confirmed"]) | set(report["out"]) == {"worker-a", "b", "c"}
    again = nodes.withdraw("b", "g2")
    assert set(again["confirmed"]) == {"worker-b", "a", "c"}, "every node acknowledges again"


def test_barrier_after_a_failover_that_lost_nothing(postgres: Postgres, tmp_path: Path) -> None:
    """The primary is killed and its synchronous standby promoted: answers go on meanwhile, the feed goes on after."""
    database = postgres.create_database()
    with postgres.standby() as standby:
        with postgres.connect("postgres") as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
        url = postgres.url(database, standby)
        Store.open(url).close()
        nodes = Nodes(url, tmp_path)
        try:
            before = nodes.withdraw("a", "g0")
            callers = {name: worker.stream("g1") for name, worker in nodes.workers.items()}
            postgres.stop(signal.SIGQUIT)
            for caller in callers.values():
                caller.recv(1 << 20)
                assert caller.recv(1 << 16), "an answer goes on from what its worker holds"
            standby.promote()
            report = nodes.withdraw("b", "g1")
            in_flight = {name: arrived_bytes(caller) for name, caller in callers.items()}
            assert {name: read_to_end(caller) for name, caller in callers.items()} == in_flight
            assert report["sequence"] == before["sequence"] + 1
            assert set(report["confirmed"]) | set(report["out"]) == {"worker-b", "a", "c"}
            assert set(nodes.withdraw("a", "g2")["confirmed"]) == {"worker-a", "b", "c"}, "every node takes up the feed"
        finally:
            nodes.close()
            postgres.start()
            with postgres.connect("postgres") as connection:
                connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
                connection.execute("SELECT pg_reload_conf()")


def test_barrier_after_a_failover_that_lost_commits(postgres: Postgres, tmp_path: Path) -> None:
    """The standby lacks the last changes: the feed goes back, every worker starts anew, and a stop holds as ever."""
    database = postgres.create_database()
    with postgres.standby() as standby:
        url = postgres.url(database, standby)
        Store.open(url).close()
        nodes = Nodes(url, tmp_path)
        try:
            first = nodes.withdraw("a", "g0")
            assert wait_for(lambda: _replayed(standby, database) == first["sequence"])
            standby.follow_no_more()
            lost = [nodes.withdraw(name, f"lost-{name}")["sequence"] for name in "abc"]
            callers = [worker.stream("kept") for worker in nodes.workers.values()]
            postgres.stop(signal.SIGQUIT)
            standby.promote()
            for caller in callers:
                read_to_end(caller)
            report = nodes.withdraw("b", "g1")
            assert report["sequence"] == lost[0]
            again = [worker.stream("g2") for worker in nodes.workers.values()]
            report = nodes.withdraw("c", "g2")
            in_flight = [arrived_bytes(caller) for caller in again]
            assert [read_to_end(caller) for caller in again] == in_flight
            assert (set(report["confirmed"]), report["out"]) == ({"worker-c", "a", "b"}, [])
        finally:
            nodes.close()
            postgres.start()


def _replayed(server: Postgres, database: str) -> int:
    with server.connect(database) as connection:
        row = connection.execute("SELECT sequence FROM feed").fetchone()
    assert row is not None
    return int(row[0])
