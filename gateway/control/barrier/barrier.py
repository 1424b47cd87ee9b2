"""The barrier: a withdrawing act returns when nothing more can leave under what it withdrew.

Here, every worker has said so or is out. On other nodes, each has acknowledged the change, or `freshness` has passed
since the commit, after which its workers hold no lease from before it. A node that still reads the state is given
longer, so that it can end a worker of its own that is out.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Protocol

import msgspec

from gateway.control.barrier.hub import Hub
from gateway.control.barrier.lease_clock import lease_clock
from gateway.control.barrier.settling import Settled
from gateway.domain.changes import Change
from gateway.domain.errors import GatewayError
from gateway.store import Node

END_SECONDS = 1.0
"""What ending a worker may take beyond the freshness limit."""

POLL_SECONDS = 0.005
"""How often other nodes' acknowledgements are looked for, at first; it doubles up to `POLL_MOST_SECONDS`."""

POLL_MOST_SECONDS = 0.01

TELL_SECONDS = 0.25
"""How long an act that withdraws nothing waits for workers to hear of it; well below what ends a worker."""


class Nodes(Protocol):
    """What the barrier asks about other nodes."""

    def nodes(self) -> tuple[Node, ...]:
        """Each node that ever beat, its last beat, and the last change it has acknowledged."""


class BarrierReport(msgspec.Struct, frozen=True):
    """How a stop became effective.

    Args:
        sequence: the change waited for; 0 where there was none.
        confirmed: workers here and nodes elsewhere that said so.
        out: those that did not and whose lease has run out.
        milliseconds: from the commit until now.
    """

    sequence: int
    confirmed: tuple[str, ...] = ()
    out: tuple[str, ...] = ()
    milliseconds: int = 0


class Barrier:
    """What acts wait on.

    Args:
        hub: this process's hub, or None where no worker hangs on this process (a command on a stopped home).
        tell: tells this process's feed what was committed here; given nothing, the feed reads.
        node: this node's name among many, or None.
        nodes: the book of nodes, where several share the state.
        freshness: the freshness limit in seconds.
        on_held: told of each barrier that was held, in the waiting thread: for the metrics.
    """

    def __init__(
        self,
        hub: Hub | None,
        tell: Callable[[Sequence[Change]], None] = lambda _changes: None,
        *,
        node: str | None = None,
        nodes: Nodes | None = None,
        freshness: float = 2.0,
        on_held: Callable[[BarrierReport], None] = lambda _report: None,
        clock: Callable[[], float] = lease_clock,
    ) -> None:
        self._hub = hub
        self._tell = tell
        self._node = node
        self._nodes = nodes
        self._freshness = freshness
        self._on_held = on_held
        self._clock = clock
        self._watch = NodeWatch(freshness)

    def hold(self, changes: Sequence[Change]) -> BarrierReport:
        """Wait until nothing more leaves under what `changes` withdrew; blocks, call it from a thread.

        Changes that withdraw nothing are waited for only as long as it takes every worker that answers: what was
        just granted or lifted then works at once.

        Raises:
            GatewayError: `barrier-incomplete` if this process stops meanwhile; the change itself is committed.
        """
        if not changes:
            return BarrierReport(0)
        withdrawn = [change.sequence for change in changes if change.withdraws]
        if withdrawn:
            return self.hold_at(max(withdrawn), changes)
        self._tell(changes)
        if self._hub is not None:
            told = self._hub.settle(changes[-1].sequence)
            with contextlib.suppress(FutureTimeoutError, GatewayError):
                told.result(TELL_SECONDS)
            told.cancel()
        return BarrierReport(0)

    def hold_at(self, sequence: int, changes: Sequence[Change] = ()) -> BarrierReport:
        """The same for everything committed up to `sequence`; `changes` are those of them committed just now."""
        since = self._clock()
        self._tell(changes)
        here = self._hub.settle(sequence, since) if self._hub is not None else None
        confirmed, out = self._elsewhere(sequence, since) if self._nodes is not None else ([], [])
        if here is not None:
            settled = self._settled(here, since)
            confirmed = [*settled.confirmed, *confirmed]
            out = [*settled.out, *out]
        report = BarrierReport(sequence, tuple(confirmed), tuple(out), int((self._clock() - since) * 1000))
        self._on_held(report)
        return report

    def _settled(self, here: "Future[Settled]", since: float) -> Settled:
        left = since + 2 * self._freshness + END_SECONDS - self._clock()
        try:
            return here.result(max(left, 0.1))
        except FutureTimeoutError as error:
            here.cancel()
            raise GatewayError("barrier-incomplete", "a worker that is out could not be ended in time") from error

    def _elsewhere(self, sequence: int, since: float) -> tuple[list[str], list[str]]:
        """Wait for the other nodes; which acknowledged, and which are out."""
        assert self._nodes is not None
        pause = POLL_SECONDS
        confirmed: set[str] = set()
        waiting: set[str] = set()
        waited: set[str] = set()
        while True:
            now = self._clock()
            try:
                others = [node for node in self._nodes.nodes() if node.id != self._node]
            except GatewayError:
                if now >= since + self._freshness:
                    return sorted(confirmed), sorted(waiting)
                time.sleep(POLL_MOST_SECONDS)
                continue
            live = self._watch.live({node.id: node.beat_unix for node in others}, now)
            confirmed = {node.id for node in others if node.acknowledged >= sequence}
            waiting = live - confirmed
            waited |= waiting
            if not waiting:
                return sorted(confirmed), sorted(waited - confirmed)
            # INVARIANT: BARRIER: by now no lease from before the commit runs anywhere.
            lapsed = now >= since + self._freshness
            reading = {name for name in waiting if self._watch.beat_since(name, since)}
            if lapsed and (not reading or now >= since + self._freshness + END_SECONDS):
                return sorted(confirmed), sorted(waiting)
            time.sleep(pause)
            pause = min(pause * 2, POLL_MOST_SECONDS)


class NodeWatch:
    """Which nodes live, by this process's own clock: a beat that changes is a sign of life, its value is not read.

    Args:
        freshness: a node whose beat has not changed for longer holds no lease.
    """

    def __init__(self, freshness: float) -> None:
        self._freshness = freshness
        self._seen: dict[str, tuple[object, float]] = {}
        self._lock = threading.Lock()

    def live(self, beats: Mapping[str, object], now: float) -> set[str]:
        """Nodes that may still hold leases: those never looked at before count as alive."""
        with self._lock:
            for name, beat in beats.items():
                known = self._seen.get(name)
                if known is None or known[0] != beat:
                    self._seen[name] = (beat, now)
            return {name for name in beats if now - self._seen[name][1] <= self._freshness}

    def beat_since(self, name: str, moment: float) -> bool:
        """Whether a new beat of the node was seen after `moment`."""
        with self._lock:
            known = self._seen.get(name)
            return known is not None and known[1] > moment
