"""Every state of a stop's protocol in the small: two nodes, a worker each, two stops, a crash, a partition, a failover.

    python -m tests.simulation.states        visits all of them and prints their number

The real `Roster` and `look` decide, with the limits of barrier and link; time passes in steps of a second, which is the
freshness limit here. A worker that may release does, at once, and its caller never reads it: what could leave stays on
its way until the worker cuts or ends. Reading, granting, applying, cutting, ending and returning come in every order;
a lease is taken as if at once, since it counts from when it was asked for, or not at all. In each state:

BARRIER         nothing is on its way under what a stop that has returned withdrew, and nothing can be released under it
STALE-DENIES    no lease outlives the freshness limit after a stop's commit at a worker that does not know of it
nothing waits   each stop that was asked for can still return

Of a state and its mirror image one is visited.
"""

import sys
from collections import deque
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from gateway.control.barrier.barrier import END_SECONDS
from gateway.control.barrier.pulse import Signs
from gateway.control.barrier.roster import Roster
from gateway.control.barrier.settling import Look, Process, look

FRESHNESS = 1
NOW = 1000.0
LONG, NEVER = 9, -9
ALL_OUT = FRESHNESS + int(END_SECONDS)
"""When, after a commit, no other node is waited for."""
RUNS, STILL, DEAD = range(3)
_MIRROR = (0, 2, 1, 3)
"""A set of stops, as bits, with the two changed for each other."""


class Worker(NamedTuple):
    """A worker and what its control process knows of it.

    Args:
        mode: whether it runs, stands still or has ended.
        applied: the last change it has applied and acknowledged, -1 for none: it starts anew.
        history: of the state in which that counts.
        knows: the stops that it has applied.
        lease: seconds left of it, NEVER where it has none.
        is_wet: whether it had a lease since it was last dry.
        met: whether it speaks to this control process.
        books: seconds until its lease has run out by the control process's books.
    """

    mode: int = RUNS
    applied: int = 0
    history: int = 0
    knows: int = 0
    lease: int = NEVER
    is_wet: bool = False
    met: bool = True
    books: int = NEVER


class Node(NamedTuple):
    """A node.

    Args:
        worker: its one.
        is_up: whether its control process runs.
        history: of the state, as its feed has read it.
        position: of the feed.
        read: seconds since its last reading began.
        quiet: seconds until leases of an earlier control process have run out.
        reaches: whether it reaches the state.
        beat: seconds since others saw it beat; a node that is well beats in time.
        acknowledged: the change it has acknowledged in the state's book.
    """

    worker: Worker = Worker()
    is_up: bool = True
    history: int = 0
    position: int = 0
    read: int = LONG
    quiet: int = 0
    reaches: bool = True
    beat: int = 0
    acknowledged: int = 0


class State(NamedTuple):
    """All of it.

    Args:
        nodes: the two; the first is asked for stop 1, the other for stop 2.
        history: of the state database.
        changes: the stops that are committed, in order.
        waits: (stop, change, seconds since its commit) of those that have not returned.
        returned: stops that have.
        lost: stops that a failover lost: they never were.
        left: crashes, partitions, failovers that may still come.
    """

    nodes: tuple[Node, Node] = (Node(), Node())
    history: int = 0
    changes: tuple[int, ...] = ()
    waits: tuple[tuple[int, int, int], ...] = ()
    returned: int = 0
    lost: int = 0
    left: tuple[int, int, int] = (1, 1, 1)


class Protocol:
    """What may happen next; a break is a subclass that does one thing otherwise."""

    def __init__(self) -> None:
        self.look = cache(self.looked)
        self.lease = cache(self.leased)

    @staticmethod
    def roster(node: Node) -> Roster:
        """The books of a node's control process."""
        worker = node.worker
        roster = Roster(freshness=FRESHNESS, acknowledge_within=1.0, started=NOW - FRESHNESS + node.quiet)
        roster.position = node.position
        if worker.met:
            session = roster.join(1, "worker", 1, max(worker.applied, 0), NOW)
            session.dead = worker.mode == DEAD
            session.leased_until = 0.0 if worker.books == NEVER else NOW + worker.books
        if node.read < LONG:
            roster.confirm(NOW - node.read, node.position, NOW)
        return roster

    def looked(self, node: Node, change: int, since: int) -> Look:
        """Whether a stop is settled on a node."""
        worker = node.worker
        signs = Signs(1.0, NOW + worker.lease if worker.is_wet else 0.0, not worker.is_wet)
        processes = {} if worker.mode == DEAD else {1: Process("worker", lambda: signs)}
        return look(self.roster(node), processes, change, NOW - since, NOW, is_whole=True)

    def leased(self, node: Node) -> tuple[int, int]:
        """Seconds that the worker may be granted, and until when by the books."""
        roster = self.roster(node)
        seconds = round(roster.lease(1, NOW) / 1000)
        return seconds, round(roster.session(1).leased_until - NOW)

    def next(self, state: State) -> Iterator[State]:
        """Every state that may follow."""
        yield self.second(state)
        asked = state.returned | state.lost | sum(stop for stop, _, _ in state.waits)
        for stop in (1, 2):
            node = state.nodes[stop - 1]
            if not asked & stop and node.is_up and node.reaches:
                changes = (*state.changes, stop)
                yield state._replace(changes=changes, waits=(*state.waits, (stop, len(changes), 0)))
        for at, node in enumerate(state.nodes):
            for following in self.of_node(state, node):
                yield _with(state, at, following)
        for wait in state.waits:
            if self.may_return(state, *wait):
                waits = tuple(each for each in state.waits if each != wait)
                yield state._replace(waits=waits, returned=state.returned | wait[0])
        yield from self.faults(state)

    def may_return(self, state: State, stop: int, change: int, since: int) -> bool:
        """Whether a stop that waits returns now."""
        own, other = state.nodes[stop - 1], state.nodes[2 - stop]
        if not (own.is_up and own.reaches and self.look(own, change, since).is_settled):
            return False
        return self.is_done_elsewhere(other, change, since)

    def is_done_elsewhere(self, other: Node, change: int, since: int) -> bool:
        """Whether the other node need not be waited for."""
        return other.acknowledged >= change or since >= ALL_OUT or other.beat > ALL_OUT

    def of_node(self, state: State, node: Node) -> Iterator[Node]:
        """What a node may do."""
        if node.is_up and node.reaches:
            yield self.read(state, node)
            if (
                node.history == state.history
                and node.position > node.acknowledged
                and self.settled(node, node.position)
            ):
                yield node._replace(acknowledged=node.position)
        if not node.is_up and node.reaches:
            yield self.started(state, node)
        if node.is_up and any(self.look(node, change, since).end for _, change, since in state.waits):
            yield node._replace(worker=_ended(node.worker))
        for worker in self.of_worker(state, node):
            yield node._replace(worker=worker)

    def settled(self, node: Node, position: int) -> bool:
        """Whether all that a node has read is settled on it."""
        return self.look(node, position, 0).is_settled

    def started(self, state: State, node: Node) -> Node:
        """A control process after another: it begins at the feed's present end, and waits for leases of before."""
        worker = node.worker._replace(met=False, books=NEVER)
        return Node(
            worker, True, state.history, len(state.changes), LONG, FRESHNESS, True, node.beat, node.acknowledged
        )

    def read(self, state: State, node: Node) -> Node:
        """The feed is read, and the node beats."""
        if node.history != state.history:
            # INVARIANT: BARRIER: what was applied of another history is void, and workers start anew.
            worker = node.worker._replace(met=False, books=NEVER if node.worker.mode == DEAD else node.worker.books)
            return node._replace(worker=worker, history=state.history, position=0, read=LONG, beat=0)
        return node._replace(position=len(state.changes), read=0, beat=0)

    def of_worker(self, state: State, node: Node) -> Iterator[Worker]:
        """What a worker may do, and what may be done for it."""
        worker = node.worker
        if worker.mode == DEAD:
            yield Worker(applied=-1, met=False)
        if worker.mode == STILL:
            yield worker._replace(mode=RUNS)
        if worker.mode != RUNS:
            return
        if worker.lease <= 0 and worker.is_wet:
            yield worker._replace(is_wet=False, lease=NEVER)
        if not node.is_up:
            return
        if not worker.met:
            counts = worker.history == node.history and 0 <= worker.applied <= node.position
            books = max(worker.books, worker.lease) if worker.is_wet else worker.books
            yield worker._replace(met=True, applied=worker.applied if counts else -1, books=books)
            return
        if worker.applied < node.position or worker.applied < 0:
            yield from self.applied(state, node, worker)
        elif node.read < FRESHNESS:
            seconds, books = self.lease(node._replace(acknowledged=0, beat=0))
            if seconds:
                yield self.taken(worker._replace(books=books), seconds)

    def applied(self, state: State, node: Node, worker: Worker) -> Iterator[Worker]:
        """It applies what it lacks and cuts; one that starts anew cuts everything and reads the state."""
        if node.history == state.history:
            knows = worker.knows | sum(state.changes[: node.position])
            yield worker._replace(applied=node.position, history=node.history, knows=knows)

    def taken(self, worker: Worker, seconds: int) -> Worker:
        """It holds a lease."""
        return worker._replace(lease=max(worker.lease, seconds), is_wet=True)

    def second(self, state: State) -> State:
        """A second passes."""
        one, other = (
            node._replace(
                worker=self.older(node.worker),
                read=LONG if node.read + 1 >= FRESHNESS else node.read + 1,
                quiet=max(node.quiet - 1, 0),
                beat=0 if node.is_up and node.reaches else min(node.beat + 1, ALL_OUT + 1),
            )
            for node in state.nodes
        )
        waits = tuple((stop, change, min(since + 1, ALL_OUT)) for stop, change, since in state.waits)
        return state._replace(nodes=(one, other), waits=waits)

    def older(self, worker: Worker) -> Worker:
        """A second later; its kernel ends a worker that has not cut."""
        worker = worker._replace(
            lease=NEVER if worker.lease == NEVER else worker.lease - 1,
            books=NEVER if worker.books == NEVER else max(worker.books - 1, -1),
        )
        return _ended(worker) if worker.is_wet and worker.lease < 0 else worker

    def faults(self, state: State) -> Iterator[State]:
        """A crash of any process, a partition of either node, a failover with or without the last commit."""
        crashes, partitions, failovers = state.left
        for at, node in enumerate(state.nodes):
            if crashes:
                spent = state._replace(left=(0, partitions, failovers))
                if node.is_up:
                    yield _with(spent, at, node._replace(is_up=False, read=LONG))
                if node.worker.mode == RUNS:
                    yield _with(spent, at, node._replace(worker=_ended(node.worker)))
                    yield _with(spent, at, node._replace(worker=node.worker._replace(mode=STILL)))
            if partitions and node.reaches:
                yield _with(state._replace(left=(crashes, 0, failovers)), at, node._replace(reaches=False))
            if not node.reaches:
                yield _with(state, at, node._replace(reaches=True))
        if failovers:
            over = state._replace(history=1, left=(crashes, partitions, 0))
            yield over
            if state.changes:
                *kept, last = state.changes
                one, other = (node._replace(acknowledged=min(node.acknowledged, len(kept))) for node in state.nodes)
                waits = tuple(each for each in state.waits if each[0] != last)
                # A stop that had returned is lost with it: the docs say so of such a standby.
                yield over._replace(
                    nodes=(one, other),
                    changes=tuple(kept),
                    waits=waits,
                    returned=state.returned & ~last,
                    lost=state.lost | last,
                )


def _with(state: State, at: int, node: Node) -> State:
    return state._replace(nodes=(node, state.nodes[1]) if at == 0 else (state.nodes[0], node))


def _ended(worker: Worker) -> Worker:
    """Its sockets are closed: what was on its way goes with it."""
    return Worker(DEAD, met=worker.met, books=worker.books)


def plain(state: State) -> State:
    """The same state without what makes no difference; of it and its mirror image, the lesser."""
    lost = 3 & ~state.lost
    one, other = (_plain(node, lost) for node in state.nodes)
    state = state._replace(nodes=(one, other), waits=tuple(sorted(state.waits)))
    image = State(
        (_mirrored(other), _mirrored(one)),
        state.history,
        tuple(3 - stop for stop in state.changes),
        tuple(sorted((3 - stop, change, since) for stop, change, since in state.waits)),
        _MIRROR[state.returned],
        _MIRROR[state.lost],
        state.left,
    )
    return min(state, image)


@cache
def _plain(node: Node, lost: int) -> Node:
    worker = node.worker
    # What ran out and was cut is as if it had never been.
    books = NEVER if worker.books < 0 and not worker.is_wet else worker.books
    if worker.mode == DEAD:
        worker, books = Worker(DEAD, met=False), NEVER
    return node._replace(worker=worker._replace(knows=worker.knows & lost, books=books))


@cache
def _mirrored(node: Node) -> Node:
    return node._replace(worker=node.worker._replace(knows=_MIRROR[node.worker.knows]))


def fault(state: State) -> str:
    """The promise that a state breaks; "" if it keeps all."""
    for node in state.nodes:
        worker = node.worker
        if worker.is_wet and state.returned & ~worker.knows:
            return "BARRIER: something is on its way under what was stopped"
        for stop, _, since in state.waits:
            if since > FRESHNESS and worker.mode == RUNS and worker.lease > 0 and not stop & worker.knows:
                return "STALE-DENIES: a worker that does not know of a stop has a lease"
    return ""


class Broken(Exception):  # noqa: N818 - what it says is that a promise was
    """A promise was broken."""


def explore(protocol: Protocol, left: tuple[int, int, int] = (1, 1, 1)) -> tuple[int, int]:
    """Visit every state; how many there are, and how many steps between them.

    Args:
        protocol: what may happen.
        left: crashes, partitions, failovers.

    Raises:
        Broken: with the shortest way to a state that breaks a promise.
    """
    first = plain(State(left=left))
    numbers = {first: 0}
    came = [-1]
    back: list[list[int]] = [[]]
    waiting = bytearray([0])
    ahead = deque([first])
    steps = 0
    while ahead:
        state = ahead.popleft()
        number = numbers[state]
        for following in {plain(each) for each in protocol.next(state)}:
            at = numbers.setdefault(following, len(came))
            if at == len(came):
                came.append(number)
                back.append([])
                waiting.append(bool(following.waits))
                if broken := fault(following):
                    raise Broken("\n".join([broken, *_way(at, came, numbers)]))
                ahead.append(following)
            if at != number:
                steps += 1
                back[at].append(number)
    left_to_see = deque(at for at, waits in enumerate(waiting) if not waits)
    while left_to_see:
        for earlier in back[left_to_see.popleft()]:
            if waiting[earlier]:
                waiting[earlier] = 0
                left_to_see.append(earlier)
    if any(waiting):
        raise Broken(
            "\n".join(["nothing waits for ever: a stop cannot return", *_way(waiting.index(1), came, numbers)])
        )
    return len(came), steps


def _way(at: int, came: list[int], numbers: dict[State, int]) -> list[str]:
    states = list(numbers)
    way = []
    while at >= 0:
        way.append(str(states[at]))
        at = came[at]
    return way[::-1]


if __name__ == "__main__":
    found = explore(Protocol())
    print(f"{found[0]} states, {found[1]} steps between them: every promise is kept in each")
    sys.exit(0)
