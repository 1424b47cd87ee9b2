"""The hub's books: a lease never outlives the reading it rests on, and nobody is forgotten while one runs."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.control.barrier.barrier import END_SECONDS, Barrier, BarrierReport, NodeWatch, SilentNode
from gateway.control.barrier.roster import Roster
from gateway.store import Node

FRESHNESS = 2.0


def roster(**options: object) -> Roster:
    made = Roster(freshness=FRESHNESS, acknowledge_within=0.5, started=0.0, after_another=False, **options)
    made.position = 10
    return made


def test_stale_denies_no_lease_without_a_reading() -> None:
    """A hub that has not read the feed grants nothing; one that has grants until the reading is 2 s old."""
    books = roster()
    books.join(1, "w", 100, 10, now=0.0)
    assert books.lease(1, now=0.1) == 0
    books.confirm(asked_at=1.0, position=10, now=1.1)
    assert books.lease(1, now=1.5) == 1500
    assert books.lease(1, now=3.0) == 0


def test_a_lagging_worker_gets_no_further_lease() -> None:
    """Who has not applied a change in time is not renewed, so that its lease can run out."""
    books = roster()
    books.join(1, "w", 100, 10, now=0.0)
    books.confirm(0.0, 10, now=0.0)
    assert books.lease(1, now=0.0) > 0
    books.confirm(0.5, 11, now=0.5)
    assert books.lease(1, now=0.9) > 0
    assert books.lease(1, now=1.1) == 0
    books.applied(1, 11, now=1.2)
    assert books.lease(1, now=1.2) > 0


def test_a_torn_connection_does_not_end_a_lease() -> None:
    """A worker whose connection is gone is waited for until its lease has run out, or its process has ended."""
    books = roster()
    books.join(1, "w", 100, 10, now=0.0)
    books.confirm(0.0, 10, now=0.0)
    books.lease(1, now=0.0)
    books.leave(1)
    books.confirm(0.1, 11, now=0.1)
    assert books.outstanding(11, since=0.1, now=1.9) == [1]
    assert books.outstanding(11, since=0.1, now=2.1) == []
    books.died(1)
    assert books.outstanding(11, since=0.1, now=0.2) == []


def test_a_lease_goes_on_over_a_reconnection() -> None:
    """The same process on a new connection still holds the lease it was granted on the old one."""
    books = roster()
    books.join(1, "w", 100, 10, now=0.0)
    books.confirm(0.0, 10, now=0.0)
    books.lease(1, now=0.0)
    books.leave(1)
    books.join(2, "w", 100, 10, now=0.3)
    books.confirm(0.4, 11, now=0.4)
    assert books.outstanding(11, since=0.4, now=1.0) == [2]
    books.applied(2, 11, now=1.1)
    assert books.outstanding(11, since=0.4, now=1.1) == []


def test_a_feed_that_went_back_voids_what_was_applied() -> None:
    """After a failover that lost commits the same numbers mean other changes: all start anew."""
    books = roster()
    books.join(1, "w", 100, 10, now=0.0)
    books.confirm(0.0, 10, now=0.0)
    books.lease(1, now=0.0)
    books.rewind(8, now=0.5)
    books.confirm(0.6, 9, now=0.6)
    assert books.outstanding(9, since=0.6, now=0.7) == [1]


@given(
    st.lists(
        st.tuples(st.sampled_from(["read", "ask", "apply", "leave", "join", "commit"]), st.floats(0.0, 0.7)),
        max_size=40,
    )
)
def test_barrier_a_settled_change_leaves_no_lease_from_before_it(steps: list[tuple[str, float]]) -> None:
    """Whatever the order of events: once nobody is outstanding, no worker that has not applied holds a lease."""
    books = Roster(freshness=FRESHNESS, acknowledge_within=0.5, started=0.0, after_another=False)
    now, feed, key, applied, until = 0.0, 0, 1, 0, 0.0
    committed: tuple[int, float] | None = None
    books.join(key, "w", 7, 0, now)
    connected = True
    for step, pause in steps:
        now += pause
        if step == "read":
            books.confirm(now, feed, now)
        elif step == "ask" and connected:
            milliseconds = books.lease(key, now)
            # Changes up to the position were sent before the lease on the same stream.
            if milliseconds:
                applied = max(applied, books.position)
                until = max(until, now + milliseconds / 1000)
        elif step == "apply" and connected:
            applied = max(applied, books.position)
            books.applied(key, applied, now)
        elif step == "leave" and connected:
            books.leave(key)
            connected = False
        elif step == "join" and not connected:
            key += 1
            books.join(key, "w", 7, applied, now)
            connected = True
        elif step == "commit":
            feed += 1
            committed = (feed, now)
        if committed is not None:
            sequence, since = committed
            told = books.position >= sequence or now >= since + FRESHNESS
            if told and not books.outstanding(sequence, since, now):
                assert applied >= sequence or until <= now + 0.002


def test_a_node_lives_while_its_beat_changes() -> None:
    """Life is seen in change by one's own clock: what another's clock says does not matter."""
    watch = NodeWatch(FRESHNESS)
    assert watch.live({"b": 1000.0}, now=0.0) == {"b"}
    assert watch.live({"b": 1000.0}, now=1.9) == {"b"}
    assert watch.live({"b": 1000.0}, now=2.1) == set()
    assert watch.live({"b": 3.0}, now=2.2) == {"b"}


def test_a_process_that_has_connected_anew_is_waited_for_once() -> None:
    """The end of the old connection may be seen after the beginning of the new one, and questions on it later still:
    the process is done when it says so on the new one."""
    books = roster()
    books.join(1, "w", 100, 10, now=0.0)
    books.confirm(0.0, 10, now=0.0)
    books.lease(1, now=0.0)
    books.join(2, "w", 100, 10, now=0.1)
    assert books.lease(1, now=0.2) == 0
    books.confirm(0.2, 11, now=0.2)
    assert books.outstanding(11, since=0.2, now=0.3) == [2]
    books.leave(1)
    books.applied(2, 11, now=0.4)
    assert books.outstanding(11, since=0.2, now=0.4) == []
    assert books.out(11) == []
    books.forget_ended(0.5)
    assert [key for key, _ in books] == [2]


class Book:
    """Nodes that beat at given moments, and what they have acknowledged."""

    def __init__(self) -> None:
        self.found: tuple[Node, ...] = ()

    def nodes(self) -> tuple[Node, ...]:
        return self.found


def test_barrier_an_out_node_is_waited_for_until_its_kernel_has_ended_its_workers() -> None:
    """A node that says nothing is out once its leases have run out and its workers have cut or are dead; the answer
    says since when it is silent, and what at most was on its way. One that was silent long before is none of them."""
    now, book = [100.0], Book()
    book.found = (Node("a", 1.0, 6), Node("b", 1.0, 6), Node("c", 1.0, 6))
    barrier = Barrier(
        None,
        node="a",
        nodes=book,
        freshness=FRESHNESS,
        unsent_bytes=65536,
        clock=lambda: now[0],
        now=lambda: now[0] + 1_000_000_000,
    )

    def held(sequence: int) -> BarrierReport:
        steps = barrier.steps(sequence)
        while True:
            try:
                seconds, _ = next(steps)
            except StopIteration as ended:
                return ended.value
            now[0] += seconds
            if now[0] > 101:
                book.found = (Node("a", 1.0, 6), Node("b", 1.0, sequence), Node("c", 1.0, 6))

    report = held(7)
    assert (report.confirmed, report.out) == (("b",), ("c",))
    assert report.silent == (SilentNode("c", "2001-09-09T01:48:23.000Z", 65536),)
    assert report.milliseconds >= 1000 * (FRESHNESS + END_SECONDS)
    now[0] += 10
    again = held(7)
    assert (again.confirmed, again.out, again.milliseconds) == (("b",), (), 0)
