"""The roll: a control process knows workers that never spoke to it, and a stop waits for each of them."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.control.barrier.pulse import Pulse, Signs, make_page
from gateway.control.barrier.roll import RollCaller, RollReader
from gateway.control.barrier.roster import Roster
from gateway.control.barrier.settling import CUT_SECONDS, Process, look
from gateway.domain.errors import GatewayError
from tests.support.barrier import MemoryFeed, Node, Worker, arrived_bytes, read_to_end

QUIET_AT = 2.0


def looked_at(signs: Signs | None, now: float) -> tuple[bool, list[int], set[str]]:
    """What a look at one stranger finds at `now`."""
    roster = Roster(freshness=QUIET_AT, acknowledge_within=0.5, started=0.0)
    roster.position = 7
    process = Process("worker-0", None if signs is None else lambda: signs)
    found = look(roster, {4711: process}, 7, 0.0, now, is_whole=True)
    return found.is_settled, list(found.end), found.out


@pytest.mark.parametrize(
    ("signs", "now", "expected"),
    [
        (Signs(1.0, 1.5, is_dry=False), 1.0, (False, [], set())),
        (Signs(1.0, 1.5, is_dry=False), QUIET_AT, (False, [], {"worker-0"})),
        (Signs(1.0, 1.5, is_dry=False), QUIET_AT + CUT_SECONDS, (False, [4711], {"worker-0"})),
        (Signs(1.0, 3.0, is_dry=False), QUIET_AT + CUT_SECONDS, (False, [], {"worker-0"})),
        (Signs(1.0, 1.5, is_dry=True), 1.9, (False, [], set())),
        (Signs(1.0, 1.5, is_dry=True), QUIET_AT, (True, [], set())),
        (Signs(0.0, 0.0, is_dry=False), 1.9, (False, [], set())),
        (Signs(0.0, 0.0, is_dry=False), QUIET_AT, (True, [], set())),
        (None, QUIET_AT, (False, [4711], {"worker-0"})),
    ],
    ids=[
        "its lease runs",
        "it may be cutting",
        "it has not cut",
        "its lease runs on",
        "it has cut, a lease may lie in its socket",
        "it has cut",
        "it starts, a lease may lie in its socket",
        "it starts",
        "it says nothing",
    ],
)
def test_barrier_a_worker_that_never_spoke_is_waited_for(
    signs: Signs | None, now: float, expected: tuple[bool, list[int], set[str]]
) -> None:
    """BARRIER: a process on the roll is settled when it has cut or never released, is ended when it does not, and is
    waited for until it is dead."""
    assert looked_at(signs, now) == expected


@contextmanager
def rolled() -> Iterator[tuple[RollCaller, RollReader]]:
    caller = RollCaller()
    reader = RollReader(os.dup(caller.descriptor))
    caller.inherited()
    yield caller, reader
    caller.close()
    reader.close()


def call(caller: RollCaller, worker: Worker, name: str, page: int) -> None:
    assert caller.call(name, worker.process.pid, os.pidfd_open(worker.process.pid), page)


def test_roll_that_is_not_whole_keeps_a_control_process_from_starting() -> None:
    """A control process that cannot know who holds callers' sockets does not begin to answer stops."""
    with rolled() as (caller, reader):
        caller.close()
        with pytest.raises(GatewayError, match="which workers run"):
            reader.read_whole(lambda _: None)


@pytest.mark.parametrize("is_still", [True, False], ids=["still", "alive"])
def test_barrier_a_new_control_process_ends_a_worker_that_stands_still(tmp_path: Path, is_still: bool) -> None:
    """BARRIER: a worker is stopped, its control process is replaced, a grant is withdrawn: when that returns the worker
    is dead and nothing more leaves. One that lives acknowledges instead, on the new connection."""
    feed, page = MemoryFeed(), make_page("w")
    node = Node(tmp_path, feed)
    try:
        worker = node.worker("w", page=page)
        callers = [worker.stream("g1") for _ in range(3)]
        if is_still:
            worker.process.send_signal(signal.SIGSTOP)
        node.reader.stop()
        node.hub.stop()
        with rolled() as (caller, reader):
            call(caller, worker, "w", page)
            caller.complete()
            successor = Node(tmp_path, feed, after_another=True, roll=reader)
            report = successor.barrier.hold(feed.commit("g1"))
            in_flight = [arrived_bytes(each) for each in callers]
            assert [read_to_end(each) for each in callers] == in_flight
            assert (report.confirmed, report.out) == (((), ("w",)) if is_still else (("w",), ()))
            assert worker.process.wait(60) == -signal.SIGKILL if is_still else worker.process.poll() is None
            successor.close()
    finally:
        node.close()
        os.close(page)


def test_pulse_says_what_others_may_rely_on() -> None:
    """A new lease is seen before it counts, and what was cut before it does not count any more."""
    page = make_page("w")
    worker, reader = Pulse(page), Pulse(page)
    os.close(page)
    assert not reader.read().may_hold
    worker.leased(5.0)
    assert reader.read().may_hold
    worker.dried()
    assert not reader.read().may_hold
    worker.leased(7.0)
    assert reader.read() == Signs(0.0, 7.0, is_dry=False)
    for each in (worker, reader):
        each.close()
