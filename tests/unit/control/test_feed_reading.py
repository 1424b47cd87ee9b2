"""What a node's feed tells its hub, and how long its barrier waits for nodes that fall silent."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from gateway.control.barrier.barrier import Barrier
from gateway.control.barrier.feed import Feed
from gateway.control.barrier.hub import Hub
from gateway.control.barrier.lease_clock import lease_clock
from gateway.domain.changes import Change, ChangeKind
from gateway.store import Node
from tests.support.barrier import MemoryFeed

WAIT_SECONDS = 10.0


class ListeningHub:
    """A hub that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, int, list[int]]] = []

    def start(self, position: int, _history: str = "") -> None:
        self.told.append((0.0, position, []))

    def enter(self, _history: str) -> None:
        """Another history is told before what counts in it."""

    def confirm(self, asked_at: float, position: int, changes: Sequence[Change]) -> None:
        self.told.append((asked_at, position, [change.sequence for change in changes]))

    @property
    def positions(self) -> list[int]:
        return [position for _, position, _ in self.told]

    @property
    def changes(self) -> list[int]:
        return [sequence for _, _, sequences in self.told for sequence in sequences]


class GatedFeed(MemoryFeed):
    """A feed whose reading can be held up between seeing where the feed ends and saying so."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def sequence(self) -> int:
        found = super().sequence()
        self.seen.set()
        assert self.go_on.wait(WAIT_SECONDS)
        return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


@pytest.fixture
def state() -> GatedFeed:
    return GatedFeed()


@pytest.fixture
def hub() -> ListeningHub:
    return ListeningHub()


@pytest.fixture
def feed(state: GatedFeed, hub: ListeningHub) -> Iterator[Feed]:
    reading = Feed(state, hub)  # type: ignore[arg-type]
    reading.start()
    yield reading
    state.go_on.set()
    reading.stop()


def test_own_changes_are_told_without_being_read(state: GatedFeed, hub: ListeningHub, feed: Feed) -> None:
    """What follows the last reading goes to the hub at once, extends no lease, and is not told twice."""
    until(lambda: len(hub.told) > 1)
    state.is_down = True
    feed.tell(state.commit("g1"))
    assert hub.told[-1] == (-1.0, 1, [1])
    state.is_down = False
    state.commit("g2")
    feed.wake()
    until(lambda: hub.positions[-1] == 2)
    assert hub.changes == [1, 2]


def test_own_changes_after_others_are_read_in_order(state: GatedFeed, hub: ListeningHub, feed: Feed) -> None:
    """Another process's change came between: the feed is read, and no change is skipped."""
    until(lambda: len(hub.told) > 1)
    state.commit("of another process")
    feed.tell(state.commit("g1"))
    until(lambda: hub.positions[-1] == 2)
    assert hub.changes == [1, 2]


def test_barrier_a_reading_under_way_never_turns_the_feed_back(state: GatedFeed, hub: ListeningHub, feed: Feed) -> None:
    """A reading that saw the state before a commit is not told after it: the hub would start every worker anew."""
    until(lambda: len(hub.told) > 1)
    state.go_on.clear()
    state.seen.clear()
    feed.wake()
    assert state.seen.wait(WAIT_SECONDS)
    feed.tell(state.commit("g1"))
    state.go_on.set()
    read = len(hub.told)
    until(lambda: len(hub.told) > read + 1)
    assert hub.positions == sorted(hub.positions)
    assert hub.changes == [1]


def test_barrier_a_failover_starts_every_worker_anew(state: GatedFeed, hub: ListeningHub, feed: Feed) -> None:
    """The standby lacked the last change and has since counted past it: the number is the same, the change is not."""
    state.commit("lost")
    feed.wake()
    until(lambda: hub.positions[-1] == 1)
    with state.lock:
        state.changes = [Change(1, ChangeKind.GRANT, "g1", grant="g1", withdraws=True)]
        state.history = "after the failover"
    state.commit("g2")
    feed.wake()
    until(lambda: hub.positions[-1] == 2)
    assert 0 in hub.positions[hub.positions.index(1) :], "the hub was told to start anew"
    assert hub.changes == [1, 1, 2]


def test_barrier_is_not_settled_before_the_hub_was_told(tmp_path: Path) -> None:
    """A worker that joins now would get its lease from a reading that may be older than the commit."""
    hub = Hub(tmp_path / "c.sock", after_another=False)
    hub.start(0)
    try:
        settled = hub.settle(1)
        with pytest.raises(TimeoutError):
            settled.result(0.1)
        hub.confirm(lease_clock(), 1, [Change(1, ChangeKind.GRANT, "g", withdraws=True)])
        assert settled.result(WAIT_SECONDS).out == ()
    finally:
        hub.stop()


class Book:
    """Two nodes' beats and acknowledgements, as a state would keep them."""

    def __init__(self) -> None:
        self.beats = {"a": 1.0, "b": 1.0}
        self.acknowledged = {"a": 0, "b": 0}

    def nodes(self) -> tuple[Node, ...]:
        return tuple(Node(name, beat, self.acknowledged[name]) for name, beat in self.beats.items())


def test_barrier_waits_out_the_leases_of_a_node_that_fell_silent() -> None:
    """A node whose last beat was seen before the commit may hold leases until the freshness limit has passed."""
    book = Book()
    barrier = Barrier(None, node="a", nodes=book, freshness=0.4)
    book.acknowledged["b"] = 1
    assert barrier.hold_at(1).confirmed == ("b",)
    report = barrier.hold_at(2)
    assert report.out == ("b",)
    assert report.milliseconds >= 399


def test_barrier_gives_a_node_that_still_beats_time_to_end_its_workers() -> None:
    """A node that goes on beating is waited for longer than the freshness limit, until it acknowledges."""
    book = Book()
    barrier = Barrier(None, node="a", nodes=book, freshness=0.2)
    since = time.monotonic()
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.02):
            book.beats["b"] += 1
            if time.monotonic() > since + 0.5:
                book.acknowledged["b"] = 1

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        report = barrier.hold_at(1)
    finally:
        ended.set()
        thread.join()
    assert (report.confirmed, report.out) == (("b",), ())
