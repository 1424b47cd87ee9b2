"""From the parts of a process to its figures: measures the data plane's ports from outside, reads what others count.

A worker's data plane counts its calls itself, by the directory's supplier and interface; calls that never came to an
interface stand under `unknown`. What stands here turns those counts into metrics and is called once a second; only
`ObservedPorts` lies in the way of a call, and of none whose meaning the data plane remembers: such a call takes no time
to identify and decide, and counts as a hit of a kept verdict.

Slices and barrier are measured from outside too, where they meet the data plane and the API: a slice that is not held
is read from the state.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gateway.control.barrier.barrier import Barrier, BarrierReport
from gateway.domain.callers import Caller
from gateway.domain.changes import Change
from gateway.domain.state import SliceState
from gateway.domain.uses import Outcome, Use
from gateway.domain.verdicts import Call, Verdict
from gateway.ledger.archive.archiving import ArchiveState
from gateway.ledger.index.manifest import SetAside
from gateway.proxy.ports import Decide, Identify, Peer, RequestHead
from gateway.runtime.telemetry.metrics import UNKNOWN, MetricSet
from gateway.runtime.telemetry.spans import SpanSender

log = logging.getLogger("gateway.uses")

T = TypeVar("T")

LIMITS = ("load", "connections", "handshake", "memory", "system", "supplier", "queue", "wait")
"""What the data plane turns calls and connections away by."""
MAX_HELD = 10_000
"""Barriers noted between two looks; a look is a second."""


class ObservedPorts:
    """`identify` and `decide`, measured; their answers pass untouched.

    Args:
        metrics: the worker's.
        clock: seconds, rising.
    """

    def __init__(self, metrics: MetricSet, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        stages = metrics.histogram("gateway_stage_duration_seconds")
        self._identified = stages.bound(("identify",))
        self._decided = stages.bound(("decide",))
        self._metrics = metrics
        self._verdicts = metrics.counter("gateway_verdict_requests_total")
        self._reading = threading.Lock()
        self._read = self._kept = self._missed = 0

    def identify(self, port: Identify) -> Identify:
        """`port`, measured."""

        def identify(head: RequestHead, peer: Peer) -> Caller | Awaitable[Caller]:
            began = self._clock()
            answer = port(head, peer)
            if isinstance(answer, Caller):
                self._identified(self._clock() - began)
                return answer
            return self._later(answer, began, self._identified)

        return identify

    def decide(self, port: Decide) -> Decide:
        """`port`, measured; what is answered at once was a kept verdict."""

        def decide(call: Call) -> Verdict | Awaitable[Verdict]:
            began = self._clock()
            answer = port(call)
            if isinstance(answer, Verdict):
                self._decided(self._clock() - began)
                self._kept += 1
                return answer
            self._missed += 1
            return self._later(answer, began, self._decided)

        return decide

    def slice_state(self, port: Callable[[str, str], SliceState]) -> Callable[[str, str], SliceState]:
        """`port`, counted; called in threads, once for each slice that is not held."""

        def slice_state(department: str, dataset: str) -> SliceState:
            with self._reading:
                self._read += 1
            return port(department, dataset)

        return slice_state

    def fill(self, followed: int = 0) -> None:
        """Set what was counted elsewhere. A verdict that is not kept asks a slice; what was not read was held.

        Args:
            followed: calls for which the data plane asked nobody, since it began.
        """
        self._verdicts.total(self._kept + followed, ("hit",))
        self._verdicts.total(self._missed, ("miss",))
        slices = self._metrics.counter("gateway_slice_requests_total")
        slices.total(self._read, ("miss",))
        slices.total(max(self._missed - self._read, 0), ("hit",))

    async def _later(self, answer: Awaitable[T], began: float, observe: Callable[[float], None]) -> T:
        result = await answer
        observe(self._clock() - began)
        return result


class JournalFigures:
    """How long a worker's journal syncs, and how many uses one sync makes durable.

    Args:
        metrics: the worker's.
        syncs: (seconds, uses opened) of each sync since it was last asked.
    """

    def __init__(self, metrics: MetricSet, syncs: Callable[[], Sequence[tuple[float, int]]]) -> None:
        self._take = syncs
        self._syncs = metrics.histogram("gateway_journal_sync_duration_seconds").bound((metrics.process,))
        self._batches = metrics.histogram("gateway_journal_batch_records").bound((metrics.process,))

    def fill(self) -> None:
        """Take over the syncs since the last time; one that opened no use has no batch."""
        for seconds, opened in self._take():
            self._syncs(seconds)
            if opened:
                self._batches(opened)


def take_desk(metrics: MetricSet, open_uses: int, asked: Mapping[tuple[str, str, bool], int]) -> None:
    """Take over what those who carry calls themselves have open, and what evaluators asked."""
    metrics.gauge("gateway_open_uses").set(open_uses)
    for (evaluator, kind, is_permitted), count in asked.items():
        labels = (evaluator, kind, "yes" if is_permitted else "no")
        metrics.counter("gateway_evaluations_total").total(count, labels)


def take_plane(metrics: MetricSet, plane: Mapping[str, Any]) -> None:
    """Take over a `DataPlane.snapshot()`."""
    metrics.gauge("gateway_connections").set(plane["connections"], ("caller",))
    metrics.gauge("gateway_connections").set(plane["supplier_connections"], ("supplier",))
    metrics.gauge("gateway_exchanges").set(plane["exchanges"])
    metrics.gauge("gateway_waiting_calls").set(plane["waiting"])
    metrics.gauge("gateway_circuits_open").set(plane["circuits_open"])
    metrics.gauge("gateway_queued_calls").set(plane["queued"])
    metrics.gauge("gateway_held_bytes").set(plane["held_bytes"])
    troubles = metrics.gauge("gateway_interface_trouble")
    troubles.clear()
    for supplier, interface, trouble in plane["troubles"]:
        troubles.set(1, (supplier, f"{supplier}/{interface}", trouble))
    metrics.counter("gateway_connections_total").total(plane["connections_accepted"])
    metrics.counter("gateway_cut_exchanges_total").total(plane["cuts"])
    metrics.counter("gateway_failures_total").total(plane["failures"])
    # Those that nobody reached yet stand at 0: a rise from nothing would not be seen as one.
    for limit, count in {**dict.fromkeys(LIMITS, 0), **plane["shed"]}.items():
        metrics.counter("gateway_shed_total").total(count, (limit,))
    for (supplier, when), count in plane["strays"].items():
        metrics.counter("gateway_stray_answers_total").total(count, (supplier, when))
    calls = metrics.counter("gateway_calls_total")
    rows = metrics.counter("gateway_released_rows_total")
    sent = metrics.counter("gateway_released_bytes_total")
    stages = metrics.histogram("gateway_stage_duration_seconds")
    for stage, (counts, seconds) in plane["stages"].items():
        stages.total(counts, seconds, (stage,))
    durations: dict[str, tuple[list[int], float]] = {}
    for (supplier, interface), tally in plane["interfaces"].items():
        names = (supplier, f"{supplier}/{interface}") if supplier else (UNKNOWN, UNKNOWN)
        for (verdict, reason), count in tally["calls"].items():
            calls.total(count, (*names, verdict, reason))
        if supplier:
            rows.total(tally["rows"], names)
            sent.total(tally["sent_bytes"], names)
        counts, seconds = durations.get(names[0], ([0] * len(tally["durations"]), 0.0))
        counts = [held + more for held, more in zip(counts, tally["durations"], strict=True)]
        durations[names[0]] = counts, seconds + tally["duration_seconds"]
    for supplier, (counts, seconds) in durations.items():
        metrics.histogram("gateway_call_duration_seconds").total(counts, seconds, (supplier,))


class ObservedBarrier(Barrier):
    """A barrier that notes how long it was held; `fill` takes the notes over on the loop."""

    def hold_at(self, sequence: int, changes: Sequence[Change] = ()) -> BarrierReport:
        """As the barrier's."""
        report = super().hold_at(sequence, changes)
        self._held.append(report.milliseconds / 1000)
        return report

    @cached_property
    def _held(self) -> deque[float]:
        return deque(maxlen=MAX_HELD)

    def fill(self, metrics: MetricSet) -> None:
        """Count what was held since the last time."""
        held = metrics.histogram("gateway_barrier_duration_seconds")
        while self._held:
            held.observe(self._held.popleft())


class Link(Protocol):
    """What is read of a worker's link to its control process."""

    @property
    def sequence(self) -> int: ...

    def is_fresh(self) -> bool: ...


class LinkFigures:
    """Whether a worker's state is fresh, how long it has not been, and up to which change it knows.

    Args:
        metrics: the worker's.
        link: its link.
        clock: seconds, rising.
    """

    def __init__(self, metrics: MetricSet, link: Link, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._link = link
        self._clock = clock
        self._fresh_at = clock()

    def fill(self) -> None:
        """Set the gauges."""
        now, fresh, label = self._clock(), self._link.is_fresh(), (self._metrics.process,)
        if fresh:
            self._fresh_at = now
        self._metrics.gauge("gateway_fresh").set(int(fresh), label)
        self._metrics.gauge("gateway_change_feed_age_seconds").set(now - self._fresh_at, label)
        self._metrics.gauge("gateway_change_feed_sequence").set(self._link.sequence, label)


class PolicyEngine(Protocol):
    """What is read of a worker's policies."""

    errors: int

    @property
    def held(self) -> tuple[int, int]: ...


class Journal(Protocol):
    """What is read of a worker's journal."""

    @property
    def accepts(self) -> bool: ...


class PartFigures:
    """How much the policies hold, whether the journal takes new uses, and what was not traced for want of room.

    Args:
        metrics: the worker's.
        engine: its policies.
        journal: its journal.
        spans: its sampled uses; None where no traces are made.
    """

    def __init__(
        self, metrics: MetricSet, engine: PolicyEngine, journal: Journal, spans: SpanSender | None = None
    ) -> None:
        self._metrics = metrics
        self._engine = engine
        self._journal = journal
        self._spans = spans

    def fill(self) -> None:
        """Set them."""
        slices, verdicts = self._engine.held
        self._metrics.gauge("gateway_slices").set(slices)
        self._metrics.gauge("gateway_verdicts").set(verdicts)
        self._metrics.counter("gateway_evaluation_errors_total").total(self._engine.errors)
        self._metrics.gauge("gateway_journal_accepts").set(int(self._journal.accepts), (self._metrics.process,))
        if self._spans is not None:
            self._metrics.counter("gateway_traced_calls_total").total(self._spans.dropped, ("dropped",))


class UseLog:
    """A line in the log for each use that ends (a `Watch`): for `log.level` debug."""

    def used(
        self, record: str, use: Use, outcome: Outcome, opened_ns: int, durable_ns: int, answered_ns: int, ended_ns: int
    ) -> None:
        """A permitted use has ended."""
        del opened_ns, durable_ns, answered_ns, ended_ns
        log.debug("a use has ended", extra={"record": record, "trace": use.trace_id, "code": outcome.end})

    def denied(self, record: str, use: Use) -> None:
        """A call was denied."""
        log.debug("a call was denied", extra={"record": record, "trace": use.trace_id, "code": use.verdict.code})


class LedgerStatus(Protocol):
    """What is read of the ledger's status."""

    @property
    def size(self) -> int: ...

    @property
    def indexed(self) -> int: ...

    @property
    def backlog(self) -> int: ...

    @property
    def witnesses(self) -> Mapping[str, str]: ...

    @property
    def set_aside(self) -> Sequence[SetAside]: ...

    @property
    def archive(self) -> ArchiveState | None: ...


class LedgerFigures:
    """How far log and index are behind, how many witnesses do not cosign, and how much room the journals have.

    Args:
        metrics: the ledger process's.
        status: the ledger's status now.
        folder: the ledger's folder.
        clock: seconds, rising.
    """

    def __init__(
        self,
        metrics: MetricSet,
        status: Callable[[], LedgerStatus],
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._status = status
        self._folder = folder
        self._log = Backlog(clock)
        self._index = Backlog(clock)

    def fill(self) -> None:
        """Set the gauges."""
        status, gauge = self._status(), self._metrics.gauge
        lag = self._log.age_seconds(status.size, status.size + status.backlog)
        gauge("gateway_log_entries").set(status.size)
        gauge("gateway_witness_faults").set(sum(map(bool, status.witnesses.values())))
        gauge("gateway_log_integration_lag_seconds").set(lag)
        gauge("gateway_index_lag_seconds").set(self._index.age_seconds(status.indexed, status.size))
        gauge("gateway_ledger_set_aside").set(sum(each.count for each in status.set_aside))
        if status.archive is not None:
            gauge("gateway_archive_lag_seconds").set(status.archive.waiting_seconds)
            gauge("gateway_archive_faults").set(int(bool(status.archive.fault)))
        disk = os.statvfs(self._folder)
        gauge("gateway_journal_free_bytes").set(disk.f_bavail * disk.f_frsize)


class Backlog:
    """How long something has been behind: an upper bound of the age of what waits longest, as fine as it is asked.

    Args:
        clock: seconds, rising.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._done_at = self._marked_at = clock()
        self._mark = 0

    def age_seconds(self, reached: int, of: int) -> float:
        """At most how old the oldest of what waits is, 0 where nothing does.

        Args:
            reached: how many are done.
            of: how many there are.
        """
        now = self._clock()
        if reached >= of:
            self._done_at = now
        elif reached >= self._mark:
            # All that was there at the last mark is done: what waits now came after it.
            self._done_at = self._marked_at
        else:
            return now - self._done_at
        self._mark, self._marked_at = of, now
        return now - self._done_at
