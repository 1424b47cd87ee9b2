"""Reading the change feed for the hub, and, on many nodes, speaking for this node.

The thread says when each reading *began*: leases end by that moment plus the freshness limit, so a node that cannot
reach the state falls silent by itself. On many nodes it first beats (so that others know it lives) and a second thread
acknowledges what all of this node's workers have applied.
"""

import logging
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, wait
from typing import Protocol

from gateway.control.barrier.hub import Hub
from gateway.control.barrier.lease_clock import lease_clock
from gateway.control.barrier.settling import Settled
from gateway.domain.changes import Change, ChangeKind
from gateway.domain.errors import GatewayError
from gateway.store import Node

log = logging.getLogger(__name__)

PAGE = 1000
"""Changes read at once."""

JUMP = 5000
"""Further behind than this, workers are told to drop everything rather than each change (a bulk import)."""

INTERVAL_SECONDS = 0.25
"""How often the feed is read when nothing wakes it: a lease then has seven eighths of the freshness limit left."""

BEAT_SECONDS = 0.2
"""How often a node beats at most: a reading that a commit has woken does not first wait for a write."""


class ChangeFeed(Protocol):
    """What the feed needs of the state."""

    def sequence(self) -> int: ...
    def changes_after(self, sequence: int, limit: int = ...) -> list[Change]: ...
    def timeline(self) -> str: ...


class NodeBook(Protocol):
    """What many nodes need of the state besides."""

    def beat(self, node: str, now_unix: float) -> None: ...
    def acknowledge(self, node: str, sequence: int, timeline: str) -> None: ...
    def nodes(self) -> tuple[Node, ...]: ...


class Feed:
    """The threads of one control process that read the feed for its hub.

    Args:
        store: the state.
        hub: what the readings are for.
        node: this node's name where several nodes share the state, else None.
        book: where nodes beat and acknowledge; with `node`.
        now: wall clock, for the beats.
        on_history: called where another server's history of the state was met, before any lease is granted on it.
        on_policies: called when the policies may have changed, before any worker hears of it and before any lease is
            granted on it; where it raises, the reading does not count and is made again.
    """

    def __init__(
        self,
        store: ChangeFeed,
        hub: Hub,
        *,
        node: str | None = None,
        book: NodeBook | None = None,
        now: Callable[[], float] | None = None,
        on_policies: Callable[[], None] = lambda: None,
        on_history: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = lease_clock,
    ) -> None:
        if node is not None and (book is None or now is None):
            raise ValueError("a node among many needs a book and a wall clock")
        self._store = store
        self._hub = hub
        self._node = node
        self._book = book
        self._now = now
        self._on_policies = on_policies
        self._on_history = on_history
        self._clock = clock
        self._wake = threading.Event()
        self._reading = threading.Lock()
        self._moved = threading.Event()
        self._stopping = False
        self._position = 0
        self._timeline = ""
        self._last_beat = 0.0
        self._beaten_at = float("-inf")
        self._threads: list[threading.Thread] = []
        self.failures = 0

    def start(self) -> None:
        """Start the hub at the feed's present end, and read on from there."""
        self._timeline = self._store.timeline()
        self._position = self._store.sequence()
        if self._book is not None:
            self._last_beat = max((n.beat_unix for n in self._book.nodes() if n.id == self._node), default=0.0)
        self._hub.start(self._position, self._timeline)
        self._threads = [threading.Thread(target=self._read_on, name="feed", daemon=True)]
        if self._node is not None:
            self._threads.append(threading.Thread(target=self._acknowledge_on, name="feed-acks", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop reading; the hub's leases run out."""
        self._stopping = True
        self._wake.set()
        self._moved.set()
        for thread in self._threads:
            thread.join(5)

    def wake(self) -> None:
        """Read now: something was committed. Cheap and safe from any thread."""
        self._wake.set()

    def tell(self, changes: Sequence[Change]) -> None:
        """These changes were committed in this process: hand them to the hub without reading them back.

        Only where they follow what was read last; else, and while a reading is under way, the feed is read. They
        confirm nothing about the present, so they extend no lease. Never blocks; safe from any thread.
        """
        if not changes or not self._reading.acquire(blocking=False):
            self.wake()
            return
        try:
            # Changed policies are read: this process takes them up before its workers hear of them.
            follows = changes[0].sequence == self._position + 1 and not _of_policies(changes)
            if follows:
                self._advance(-1.0, changes[-1].sequence, list(changes))
        finally:
            self._reading.release()
        if not follows:
            self.wake()

    def _read_on(self) -> None:
        for pause in self.readings():
            if pause:
                self._wake.wait(pause)
                self._wake.clear()

    def readings(self) -> Generator[float, None, None]:
        """Read on and on; what it yields is how long to wait at most, or until woken: 0 between two questions.

        What the reading thread does, without the waiting, so that a simulation can let time pass at each of them.
        """
        while not self._stopping:
            more = False
            try:
                # A reading and what it says to the hub are one step: what `tell` says never comes between.
                with self._reading:
                    more = yield from self._read()
                self.failures = 0
            except Exception as error:  # noqa: BLE001 - whatever the state's failure: leases run out, and we try again
                self.failures += 1
                if self.failures in {1, 10, 100}:
                    log.error("the change feed cannot be read (%s)", type(error).__name__)
            if not more:
                yield INTERVAL_SECONDS

    def _read(self) -> Generator[float, None, bool]:
        """Read once; whether there is more to read at once."""
        asked_at = self._clock()
        if asked_at - self._beaten_at < BEAT_SECONDS:
            # A reading between two beats tells what changed, and extends no lease: others see life in beats alone.
            asked_at = self._beaten_at
        elif self._node is not None and self._book is not None and self._now is not None:
            # A beat always moves on, whatever the wall clock does: others see life in its change alone.
            self._last_beat = max(self._now(), self._last_beat + 0.001)
            self._book.beat(self._node, self._last_beat)
            self._beaten_at = asked_at
        yield 0
        changes = self._store.changes_after(self._position, limit=PAGE)
        yield 0
        # After the changes: were they another server's, so is this.
        timeline = self._store.timeline()
        if timeline != self._timeline:
            # INVARIANT: BARRIER: a failover may have lost commits, and the same numbers then name other changes: every
            # worker starts anew, also where the feed has meanwhile grown past what was read.
            self._on_history()
            self._on_policies()
            self._hub.enter(timeline)
            self._advance(-1.0, 0, [])
            self._timeline = timeline
            return True
        position = changes[-1].sequence if changes else self._position
        if _of_policies(changes):
            self._on_policies()
        if len(changes) == PAGE or not changes:
            yield 0
            end = self._store.sequence()
            if end < self._position or end - position > JUMP:
                self._on_policies()
                self._advance(asked_at, end, [])
                return False
            if changes:
                # Not yet at the end: what was read is told, but confirms nothing about the present.
                self._advance(-1.0, position, changes)
                return True
            if end != self._position:
                return True
        self._advance(asked_at, position, changes)
        return False

    def _advance(self, asked_at: float, position: int, changes: list[Change]) -> None:
        self._hub.confirm(asked_at, position, changes)
        if position != self._position:
            self._position = position
            self._moved.set()

    def _acknowledge_on(self) -> None:
        for awaited in self.acknowledgements():
            if isinstance(awaited, Future):
                wait((awaited,))
            else:
                self._moved.wait(awaited)
                self._moved.clear()

    def acknowledgements(self) -> "Generator[float | Future[Settled], None, None]":
        """Acknowledge for this node what all of its workers have applied, or can no longer act against.

        Yields what to wait for: a future, or for so long at most or until the feed has moved.
        """
        assert self._book is not None
        assert self._node is not None
        done = ("", -1)
        while not self._stopping:
            # In this order: of a position and the history that it counts in, the history may be the older one.
            timeline = self._timeline
            target = self._position
            if (timeline, target) == done:
                yield INTERVAL_SECONDS
                continue
            try:
                settled = self._hub.settle(target)
                yield settled
                settled.result()
                # INVARIANT: BARRIER: after a failover that lost commits the same number names another change: what was
                # applied of the old history is never said of the new one.
                self._book.acknowledge(self._node, target, timeline)
                done = (timeline, target)
            except Exception as error:  # noqa: BLE001 - the state is away: others wait for us or for our lease
                if isinstance(error, GatewayError) and error.code == "barrier-incomplete":
                    return
                log.error("changes cannot be acknowledged (%s)", type(error).__name__)
                yield INTERVAL_SECONDS


def _of_policies(changes: Sequence[Change]) -> bool:
    return any(change.kind is ChangeKind.POLICY for change in changes)
