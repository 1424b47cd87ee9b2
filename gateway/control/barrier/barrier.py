"""The barrier: a withdrawing act returns when nothing more can leave under what it withdrew.

Here, every worker has said so, has cut everything or is dead. On other nodes, each has acknowledged the change, or
`freshness` has passed since the commit, after which its workers hold no lease from before it, and the time in which a
worker that has not cut by then is ended by its own kernel, whatever its node does: from that moment on it is silent.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from gateway.control.barrier.hub import Hub
from gateway.control.barrier.lease_clock import lease_clock
from gateway.control.barrier.settling import Settled
from gateway.domain.changes import Change
from gateway.domain.errors import GatewayError
from gateway.store import Node

END_SECONDS = 1.0
"""What ending a worker may take beyond the freshness limit; its kernel does it in half of that (`runtime.link`)."""

POLL_SECONDS = 0.005
"""How often other nodes' acknowledgements are looked for, at first; it doubles up to `POLL_MOST_SECONDS`."""

POLL_MOST_SECONDS = 0.01

TELL_SECONDS = 0.25
"""How long an act that withdraws nothing waits for workers to hear of it; well below what ends a worker."""


class Nodes(Protocol):
    """What the barrier asks about other nodes."""

    def nodes(self) -> tuple[Node, ...]:
        """Each node that ever beat, its last beat, and the last change it has acknowledged."""


class SilentNode(msgspec.Struct, frozen=True):
    """Another node that did not say that it has stopped, and can send nothing any more.

    Args:
        node: its name.
        silent_from: from when on nothing leaves it, RFC 3339, by this node's wall clock: each of its workers has cut
            by itself or was ended by its kernel, also where all its processes stand still.
        most_unsent_bytes: what at most was on its way for one caller's connection and not sent. Only a whole machine
            that stood still (a virtual machine that its host paused) can still send that, in the instant in which it
            goes on.
    """

    node: str
    silent_from: str
    most_unsent_bytes: int


class BarrierReport(msgspec.Struct, frozen=True):
    """How a stop became effective.

    Args:
        sequence: the change waited for; 0 where there was none.
        confirmed: workers here and nodes elsewhere that said so.
        out: those that did not and whose lease has run out: workers here are dead or have cut, nodes are `silent`.
        milliseconds: from the commit until now.
        silent: the nodes among `out`: since when, and what at most was on its way.
    """

    sequence: int
    confirmed: tuple[str, ...] = ()
    out: tuple[str, ...] = ()
    milliseconds: int = 0
    silent: tuple[SilentNode, ...] = ()


class Barrier:
    """What acts wait on.

    Args:
        hub: this process's hub, or None where no worker hangs on this process (a command on a stopped home).
        tell: tells this process's feed what was committed here; given nothing, the feed reads.
        node: this node's name among many, or None.
        nodes: the book of nodes, where several share the state.
        freshness: the freshness limit in seconds.
        on_held: told of each barrier that was held, in the waiting thread: for the metrics.
        unsent_bytes: what a worker's kernel holds for one caller at most.
        clock: the clock of leases.
        now: the wall clock, Unix seconds.
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
        unsent_bytes: int = 0,
        clock: Callable[[], float] = lease_clock,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._hub = hub
        self._tell = tell
        self._node = node
        self._nodes = nodes
        self._freshness = freshness
        self._on_held = on_held
        self._unsent_bytes = unsent_bytes
        self._clock = clock
        self._now = now
        self._watch = NodeWatch(freshness + END_SECONDS)

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
        steps = self.steps(sequence, changes)
        while True:
            try:
                seconds, here = next(steps)
            except StopIteration as ended:
                report: BarrierReport = ended.value
                return report
            if here is None:
                time.sleep(seconds)
            else:
                wait((here,), seconds)

    def steps(
        self, sequence: int, changes: Sequence[Change] = ()
    ) -> "Generator[tuple[float, Future[Settled] | None], None, BarrierReport]":
        """What `hold_at` does, without the waiting: yields how long to wait at most, and for what, if for anything."""
        since = self._clock()
        self._tell(changes)
        here = self._hub.settle(sequence, since) if self._hub is not None else None
        confirmed: list[str] = []
        out: list[str] = []
        if self._nodes is not None:
            confirmed, out = yield from self._elsewhere(self._nodes, sequence, since)
        silent = self._silent(out, since)
        if here is not None:
            left = since + 2 * self._freshness + END_SECONDS - self._clock()
            if not here.done():
                yield max(left, 0.1), here
            if not here.done():
                here.cancel()
                raise GatewayError("barrier-incomplete", "a worker that is out could not be ended in time")
            settled = here.result()
            confirmed = [*settled.confirmed, *confirmed]
            out = [*settled.out, *out]
        report = BarrierReport(sequence, tuple(confirmed), tuple(out), int((self._clock() - since) * 1000), silent)
        self._on_held(report)
        return report

    def _silent(self, nodes: Sequence[str], since: float) -> tuple[SilentNode, ...]:
        moment = self._now() - (self._clock() - since) + self._freshness + END_SECONDS
        text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return tuple(SilentNode(node, text, self._unsent_bytes) for node in nodes)

    def _elsewhere(
        self, nodes: Nodes, sequence: int, since: float
    ) -> Generator[tuple[float, None], None, tuple[list[str], list[str]]]:
        """Wait for the other nodes; which acknowledged, and which are out."""
        pause = POLL_SECONDS
        confirmed: set[str] = set()
        waiting: set[str] = set()
        waited: set[str] = set()
        while True:
            now = self._clock()
            try:
                others = [node for node in nodes.nodes() if node.id != self._node]
            except GatewayError:
                if now >= since + self._freshness + END_SECONDS:
                    return sorted(confirmed), sorted(waiting)
                yield POLL_MOST_SECONDS, None
                continue
            live = self._watch.live({node.id: node.beat_unix for node in others}, now)
            confirmed = {node.id for node in others if node.acknowledged >= sequence}
            waiting = live - confirmed
            waited |= waiting
            # INVARIANT: BARRIER: by then no lease from before the commit runs anywhere, and a worker that had one has
            # cut or is dead.
            if not waiting or now >= since + self._freshness + END_SECONDS:
                return sorted(confirmed), sorted(waited - confirmed)
            yield pause, None
            pause = min(pause * 2, POLL_MOST_SECONDS)


class NodeWatch:
    """Which nodes live, by this process's own clock: a beat that changes is a sign of life, its value is not read.

    Args:
        freshness: a node whose beat has not changed for longer holds no lease, and its workers have cut or are dead.
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
