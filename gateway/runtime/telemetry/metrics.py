"""What the gateway counts, and how the counts of all its processes become one `/metrics`.

Every process fills a `MetricSet` in its own memory: a dictionary of plain numbers per family, no lock, one thread.
Once a second a `Publisher` writes a snapshot of it to `run/metrics/<process>.snapshot` (a partial file, then a
rename, in a thread of its own). The control process answers `/metrics` by reading those files and adding them up.

Why files of snapshots, and neither prometheus-client's multiprocess mode nor messages to the control process:

- A hot call pays for a dictionary entry and an addition. The multiprocess mode writes each number through an `mmap`
  under a lock, several times a call for histograms, and picks its folder when it is imported.
- The figures of a worker are there while control restarts, the ledger process and the supervisor need no socket to
  control, and a scrape wakes no worker: reading never waits for a process that hangs, it shows how old its word is.
- A process that is started again takes up the counts its predecessor published, under the same name, so the sums
  over all processes never fall and `rate()` sees no reset where only one worker died. What was counted in the last
  second before a crash is missing; the ledger, not this, is the record of uses.

INVARIANT: NO-VALUES: labels are names from the directory (the resolved interface, never the caller's path), codes
from fixed tables, and names of processes. A family takes at most `MAX_SERIES` label sets; what comes later is counted
under `other`.
"""

import asyncio
import contextlib
import logging
import math
import os
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.runtime.telemetry.families import FAMILIES, Family, Kind

log = logging.getLogger("gateway.metrics")

Labels = tuple[str, ...]

MAX_SERIES = 20_000
"""Label sets of one family in one process: the 1,392 interfaces of a large city, times a dozen reasons."""
OTHER = "other"
UNKNOWN = "unknown"
"""Stands for supplier and interface where a call named none that the directory knows."""
PUBLISH_SECONDS = 1.0
STALE_SECONDS = 10.0
"""Gauges of a process that has not published for so long are left out: what it last said is no longer so."""
SNAPSHOT_FORMAT = 1
SUFFIX = ".snapshot"


class Counter:
    """The numbers of one family that only rise; call it on the process's loop.

    Args:
        family: of kind counter.
    """

    __slots__ = ("_arity", "values")

    def __init__(self, family: Family) -> None:
        self._arity = len(family.labels)
        self.values: dict[Labels, float] = {}

    def add(self, labels: Labels = (), by: float = 1) -> None:
        """Count `by` under `labels`; cost: tests/bench/metrics_cost.py."""
        try:
            self.values[labels] += by
        except KeyError:
            self._set(labels, by)

    def total(self, value: float, labels: Labels = ()) -> None:
        """Take over the total that a part of the house counts by itself since this process started."""
        if labels in self.values:
            self.values[labels] = value
        else:
            self._set(labels, value)

    def _set(self, labels: Labels, value: float) -> None:
        if len(labels) != self._arity:
            raise ValueError(f"{len(labels)} labels where {self._arity} are due")
        if len(self.values) >= MAX_SERIES:
            labels = (OTHER,) * self._arity
            value += self.values.get(labels, 0)
        self.values[labels] = value


class Gauge(Counter):
    """The numbers of one family that rise and fall."""

    __slots__ = ()

    def set(self, value: float, labels: Labels = ()) -> None:
        """The value now."""
        self.total(value, labels)

    def clear(self) -> None:
        """Forget all label sets: before they are set anew from the state."""
        self.values.clear()


class Distribution(msgspec.Struct):
    """Counts per bucket (the last is above every bound) and the sum of what was observed."""

    counts: list[int]
    sum: float = 0.0


class Histogram:
    """The distributions of one family; call it on the process's loop.

    Args:
        family: of kind histogram.
    """

    __slots__ = ("_arity", "_bounds", "values")

    def __init__(self, family: Family) -> None:
        self._arity = len(family.labels)
        self._bounds = family.bounds
        self.values: dict[Labels, Distribution] = {}

    def observe(self, value: float, labels: Labels = ()) -> None:
        """Count one observation; cost: tests/bench/metrics_cost.py."""
        try:
            series = self.values[labels]
        except KeyError:
            series = self._new(labels)
        series.counts[bisect_left(self._bounds, value)] += 1
        series.sum += value

    def bound(self, labels: Labels = ()) -> Callable[[float], None]:
        """`observe` for one label set, without the search for it: for stages, several of which a call passes."""
        series = self.values.get(labels) or self._new(labels)
        bounds, counts = self._bounds, series.counts

        def observe(value: float) -> None:
            counts[bisect_left(bounds, value)] += 1
            series.sum += value

        return observe

    def total(self, counts: Sequence[int], total: float, labels: Labels = ()) -> None:
        """Take over a distribution that a part of the house keeps by itself, over the same bounds.

        Raises:
            ValueError: if `counts` does not fit the family's buckets.
        """
        if len(counts) != len(self._bounds) + 1:
            raise ValueError(f"{len(counts)} buckets where {len(self._bounds) + 1} are due")
        series = self.values.get(labels) or self._new(labels)
        series.counts[:] = counts
        series.sum = total

    def _new(self, labels: Labels) -> Distribution:
        if len(labels) != self._arity:
            raise ValueError(f"{len(labels)} labels where {self._arity} are due")
        if len(self.values) >= MAX_SERIES:
            labels = (OTHER,) * self._arity
        return self.values.setdefault(labels, Distribution([0] * (len(self._bounds) + 1)))


class Snapshot(msgspec.Struct):
    """What one process published.

    Args:
        format: `SNAPSHOT_FORMAT` of who wrote it.
        process: the process's name.
        published_monotonic: when, in monotonic seconds (older releases wrote Unix seconds, which lie ahead).
        numbers: counters and gauges by family.
        distributions: histograms by family.
    """

    format: int
    process: str
    published_monotonic: float = msgspec.field(name="published_unix")
    numbers: dict[str, dict[Labels, float]]
    distributions: dict[str, dict[Labels, Distribution]]

    def age_seconds(self, now_monotonic: float) -> float:
        """How old it is; endless for one from before the machine was started."""
        age = now_monotonic - self.published_monotonic
        return age if age >= 0 else math.inf

    def gauge(self, name: str) -> float:
        """What the process said of itself under `name`, 0 where it said nothing."""
        return self.numbers.get(name, {}).get((self.process,), 0.0)


class MetricSet:
    """The figures of one process.

    Args:
        process: its name: `worker-0`, `control`, `ledger`, `supervisor`.
    """

    def __init__(self, process: str) -> None:
        self.process = process
        self._numbers: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._before: Snapshot | None = None

    def counter(self, name: str) -> Counter:
        """The counter `name`; take it once and keep it where calls are hot."""
        return self._numbers.setdefault(name, Counter(_family(name, Kind.COUNTER)))

    def gauge(self, name: str) -> Gauge:
        """The gauge `name`."""
        found = self._numbers.setdefault(name, Gauge(_family(name, Kind.SUM, Kind.MAX, Kind.MIN)))
        assert isinstance(found, Gauge)
        return found

    def histogram(self, name: str) -> Histogram:
        """The histogram `name`."""
        return self._histograms.setdefault(name, Histogram(_family(name, Kind.HISTOGRAM)))

    def resume(self, before: Snapshot) -> None:
        """Go on from the counts that an earlier process of this name published."""
        self._before = before

    def snapshot(self, now_monotonic: float) -> Snapshot:
        """The figures now, those of the predecessor included in what is counted."""
        taken = Snapshot(SNAPSHOT_FORMAT, self.process, now_monotonic, {}, {})
        if self._before:
            _join(taken, self._before, gauges=False)
        numbers = {name: family.values for name, family in self._numbers.items()}
        distributions = {name: family.values for name, family in self._histograms.items()}
        _join(taken, Snapshot(SNAPSHOT_FORMAT, self.process, now_monotonic, numbers, distributions), gauges=True)
        return taken


class Publisher:
    """Writes a process's snapshot once a second.

    Args:
        metrics: what to publish.
        folder: `run/metrics` of the home; made if absent.
        fill: called on the loop before each snapshot: they take gauges and totals from the parts of the process.
        now: the time in monotonic seconds, which all processes of a machine have in common.
    """

    def __init__(
        self, metrics: MetricSet, folder: Path, fill: Sequence[Callable[[], None]], now: Callable[[], float]
    ) -> None:
        self._metrics = metrics
        self._path = folder / f"{metrics.process}{SUFFIX}"
        self._fill = tuple(fill)
        self._failing: set[Callable[[], None]] = set()
        self._now = now
        # The last snapshot is written while a cancelled one may still be on its way.
        self._writing = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = _read(self._path)
        if before:
            metrics.resume(before)

    async def run(self) -> None:
        """Publish until cancelled. A disk that refuses costs figures, never the process."""
        try:
            while True:
                # In threads: a worker with many callers has many descriptors to count, and on some file systems a
                # rename waits for the disk.
                await asyncio.to_thread(observe_memory, self._metrics)
                await asyncio.to_thread(self._write, self._take())
                await asyncio.sleep(PUBLISH_SECONDS)
        finally:
            self.publish()

    def publish(self) -> None:
        """Publish once, now; at a process's start and end, when nobody is kept waiting."""
        observe_memory(self._metrics)
        self._write(self._take())

    def _take(self) -> bytes:
        observe_process(self._metrics)
        for fill in self._fill:
            try:
                fill()
                self._failing.discard(fill)
            except Exception:
                # The figures of one part must not take away those of the others, nor fill the log every second.
                if fill not in self._failing:
                    self._failing.add(fill)
                    log.exception("figures could not be taken")
        return msgspec.msgpack.encode(self._metrics.snapshot(self._now()))

    def _write(self, content: bytes) -> None:
        partial = self._path.with_suffix(".partial")
        with self._writing, contextlib.suppress(OSError):
            partial.write_bytes(content)
            partial.replace(self._path)


def observe_process(metrics: MetricSet) -> None:
    """Processor time and tasks of this process."""
    label = (metrics.process,)
    times = os.times()
    metrics.counter("gateway_process_cpu_seconds_total").total(times.user + times.system, label)
    with contextlib.suppress(RuntimeError):
        metrics.gauge("gateway_process_tasks").set(len(asyncio.all_tasks()), label)


def observe_memory(metrics: MetricSet) -> None:
    """Memory and descriptors of this process, from /proc where there is one; blocks."""
    label = (metrics.process,)
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        metrics.gauge("gateway_process_resident_memory_bytes").set(pages * os.sysconf("SC_PAGE_SIZE"), label)
        metrics.gauge("gateway_process_open_descriptors").set(sum(1 for _ in Path("/proc/self/fd").iterdir()), label)


def clear_snapshots(folder: Path) -> None:
    """Begin all counts anew, and what is shown of them: for the supervisor, before it starts a process."""
    for path in (*folder.glob(f"*{SUFFIX}"), *folder.glob("*.coarse")):
        path.unlink(missing_ok=True)


def read_snapshots(folder: Path, names: str = "*") -> list[Snapshot]:
    """What the processes of those names last published; what cannot be read or is of another format is left out."""
    found = (_read(path) for path in sorted(folder.glob(f"{names}{SUFFIX}")))
    return [snapshot for snapshot in found if snapshot]


def render(
    snapshots: Iterable[Snapshot],
    now_monotonic: float,
    accept: str = "",
    cover: Callable[[Snapshot], None] = lambda _joined: None,
) -> tuple[bytes, str]:
    """The body and content type of `/metrics`: all processes as one, in the format that `Accept` asks for.

    Args:
        snapshots: what each process published.
        now_monotonic: the time, in monotonic seconds.
        accept: the header field.
        cover: takes from the joined figures what is not to be shown.
    """
    joined = Snapshot(SNAPSHOT_FORMAT, "", now_monotonic, {}, {})
    ages: dict[Labels, float] = {}
    for snapshot in snapshots:
        age = snapshot.age_seconds(now_monotonic)
        ages[snapshot.process,] = age
        _join(joined, snapshot, gauges=age <= STALE_SECONDS)
    cover(joined)
    joined.numbers["gateway_snapshot_age_seconds"] = ages
    joined.numbers["gateway_build_info"] = {(__version__,): 1}
    encode, content_type = choose_encoder(accept)
    return encode(_Joined(joined)), content_type


class _Joined(Collector):
    def __init__(self, joined: Snapshot) -> None:
        self._joined = joined

    def collect(self) -> Iterator[Metric]:
        for name, family in FAMILIES.items():
            if family.kind is Kind.HISTOGRAM:
                if name in self._joined.distributions:
                    yield _histogram(family, self._joined.distributions[name])
            elif name in self._joined.numbers:
                make = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
                metric = make(name, family.help, labels=family.labels)
                for labels, value in sorted(self._joined.numbers[name].items()):
                    metric.add_metric(labels, value)
                yield metric


def _histogram(family: Family, series: dict[Labels, Distribution]) -> HistogramMetricFamily:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    edges = [*(repr(bound) for bound in family.bounds), "+Inf"]
    for labels, distribution in sorted(series.items()):
        running, buckets = 0, []
        for edge, count in zip(edges, distribution.counts, strict=True):
            running += count
            buckets.append((edge, running))
        metric.add_metric(labels, buckets, distribution.sum)
    return metric


def _join(into: Snapshot, other: Snapshot, *, gauges: bool) -> None:
    """Add what `other` counts to `into`; its gauges only if asked."""
    for name, numbers in other.numbers.items():
        family = FAMILIES.get(name)
        if family is None or not (gauges or family.kind is Kind.COUNTER):
            continue
        mine = into.numbers.setdefault(name, {})
        for labels, value in numbers.items():
            mine[labels] = _JOIN[family.kind](mine[labels], value) if labels in mine else value
    for name, series in other.distributions.items():
        family = FAMILIES.get(name)
        if family is None:
            continue
        held = into.distributions.setdefault(name, {})
        for labels, distribution in series.items():
            if len(distribution.counts) != len(family.bounds) + 1:
                continue
            target = held.setdefault(labels, Distribution([0] * len(distribution.counts)))
            target.counts = [a + b for a, b in zip(target.counts, distribution.counts, strict=True)]
            target.sum += distribution.sum


def _add(left: float, right: float) -> float:
    return left + right


_JOIN: dict[Kind, Callable[[float, float], float]] = {
    Kind.COUNTER: _add,
    Kind.SUM: _add,
    Kind.MAX: max,
    Kind.MIN: min,
}


def _family(name: str, *kinds: Kind) -> Family:
    family = FAMILIES[name]
    if family.kind not in kinds:
        raise ValueError(f"`{name}` is a {family.kind}")
    return family


def _read(path: Path) -> Snapshot | None:
    try:
        found = msgspec.msgpack.decode(path.read_bytes(), type=Snapshot)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if found.format == SNAPSHOT_FORMAT else None
