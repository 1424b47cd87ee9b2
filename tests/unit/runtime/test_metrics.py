"""All processes' figures become one `/metrics`, whoever dies meanwhile, with bounded labels."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from gateway.runtime.telemetry import metrics as room
from gateway.runtime.telemetry.families import FAMILIES, Kind
from gateway.runtime.telemetry.metrics import MetricSet, Publisher, clear_snapshots, read_snapshots, render

NOW = 1_800_000_000.0
CALLS = "gateway_calls_total"
PERMIT = ("civil-affairs", "civil-affairs/marriages", "permit", "complete")


def scrape(*snapshots: room.Snapshot, now: float = NOW) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus would read."""
    body, content_type = render(snapshots, now)
    assert content_type.startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_counts_of_all_workers_are_added() -> None:
    """Two workers' calls are one number, by supplier, interface, verdict and reason."""
    workers = [MetricSet("worker-0"), MetricSet("worker-1")]
    for worker, calls in zip(workers, (3, 4), strict=True):
        for _ in range(calls):
            worker.counter(CALLS).add(PERMIT)
    labels = tuple(sorted(zip(FAMILIES[CALLS].labels, PERMIT, strict=True)))
    assert scrape(*(worker.snapshot(NOW) for worker in workers))[CALLS, labels] == 7


def test_gauges_are_joined_as_their_family_says() -> None:
    """Connections add up, a lag is the longest one, free disk the least."""
    left, right = MetricSet("worker-0"), MetricSet("worker-1")
    for worker, value in ((left, 2.0), (right, 5.0)):
        worker.gauge("gateway_exchanges").set(value)
        worker.gauge("gateway_index_lag_seconds").set(value)
        worker.gauge("gateway_journal_free_bytes").set(value)
    read = scrape(left.snapshot(NOW), right.snapshot(NOW))
    assert read["gateway_exchanges", ()] == 7
    assert read["gateway_index_lag_seconds", ()] == 5
    assert read["gateway_journal_free_bytes", ()] == 2


def test_histogram_buckets_are_cumulative_and_complete() -> None:
    """An observation on a bound counts in that bucket, one above all bounds in +Inf."""
    worker = MetricSet("worker-0")
    stages = worker.histogram("gateway_stage_duration_seconds")
    stages.observe(0.00002, ("decide",))
    for seconds in (0.000021, 99.0):
        stages.bound(("decide",))(seconds)
    read = scrape(worker.snapshot(NOW))

    def bucket(edge: str) -> float:
        return read["gateway_stage_duration_seconds_bucket", (("le", edge), ("stage", "decide"))]

    assert [bucket("2e-05"), bucket("5e-05"), bucket("30.0"), bucket("+Inf")] == [1, 2, 2, 3]
    assert read["gateway_stage_duration_seconds_sum", (("stage", "decide"),)] == pytest.approx(99.000041)


@given(st.lists(st.floats(min_value=0, max_value=100), max_size=30), st.integers(0, 30))
def test_two_processes_count_as_one_would(values: list[float], cut: int) -> None:
    """However observations are spread over processes, the sum is the same."""
    name, label = "gateway_call_duration_seconds", ("civil-affairs",)
    parts = [MetricSet("worker-0"), MetricSet("worker-1"), MetricSet("alone")]
    for index, value in enumerate(values):
        parts[index >= cut].histogram(name).observe(value, label)
        parts[2].histogram(name).observe(value, label)
    split, alone = scrape(parts[0].snapshot(NOW), parts[1].snapshot(NOW)), scrape(parts[2].snapshot(NOW))
    for key, value in alone.items():
        if key[0].startswith(name):
            assert split[key] == pytest.approx(value)


def test_successor_takes_up_the_counts_of_the_dead(tmp_path: Path) -> None:
    """A restarted worker's counts go on from what its predecessor published; gauges do not."""
    first = MetricSet("worker-0")
    first.counter(CALLS).add(PERMIT, 10)
    first.gauge("gateway_exchanges").set(3)
    first.histogram("gateway_call_duration_seconds").observe(0.1, ("civil-affairs",))
    Publisher(first, tmp_path, (), lambda: NOW).publish()

    second = MetricSet("worker-0")
    publisher = Publisher(second, tmp_path, (), lambda: NOW)
    second.counter(CALLS).add(PERMIT, 5)
    publisher.publish()
    read = scrape(*read_snapshots(tmp_path))
    assert sum(value for (name, _), value in read.items() if name == CALLS) == 15
    assert read["gateway_call_duration_seconds_count", (("supplier", "civil-affairs"),)] == 1
    assert ("gateway_exchanges", ()) not in read

    third = MetricSet("worker-0")
    Publisher(third, tmp_path, (), lambda: NOW).publish()
    assert sum(value for (name, _), value in scrape(*read_snapshots(tmp_path)).items() if name == CALLS) == 15


def test_gateway_that_starts_begins_at_zero(tmp_path: Path) -> None:
    """Counts of an earlier run, and of workers that no longer exist, are gone with it."""
    before = MetricSet("worker-7")
    before.counter(CALLS).add(PERMIT)
    Publisher(before, tmp_path, (), lambda: NOW).publish()
    clear_snapshots(tmp_path)
    assert read_snapshots(tmp_path) == []


def test_silent_process_keeps_its_counts_and_loses_its_gauges() -> None:
    """What a hanging worker last said of its connections is no longer so; what it counted is."""
    worker = MetricSet("worker-0")
    worker.counter(CALLS).add(PERMIT, 2)
    worker.gauge("gateway_exchanges").set(9)
    read = scrape(worker.snapshot(NOW - 60))
    assert ("gateway_exchanges", ()) not in read
    assert sum(value for (name, _), value in read.items() if name == CALLS) == 2
    assert read["gateway_snapshot_age_seconds", (("process", "worker-0"),)] == 60


def test_label_sets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: NO-VALUES. Past the bound new label sets are counted under `other`; nothing is lost from the sum."""
    monkeypatch.setattr(room, "MAX_SERIES", 3)
    worker = MetricSet("worker-0")
    for index in range(10):
        worker.counter(CALLS).add(("civil-affairs", f"civil-affairs/i{index}", "permit", "complete"))
        worker.histogram("gateway_call_duration_seconds").observe(1.0, (f"s{index}",))
    values = worker.counter(CALLS).values
    assert len(values) == 4
    assert sum(values.values()) == 10
    assert values["other", "other", "other", "other"] == 7
    durations = worker.histogram("gateway_call_duration_seconds").values
    assert sum(sum(series.counts) for series in durations.values()) == 10


def test_wrong_labels_and_kinds_are_refused() -> None:
    """A call with too few labels, or on a metric of another kind, fails where it is written."""
    worker = MetricSet("worker-0")
    with pytest.raises(ValueError, match="labels"):
        worker.counter(CALLS).add(("civil-affairs",))
    with pytest.raises(ValueError, match="labels"):
        worker.histogram("gateway_call_duration_seconds").observe(1.0)
    with pytest.raises(ValueError, match="is a counter"):
        worker.gauge(CALLS)
    with pytest.raises(KeyError):
        worker.counter("gateway_unheard_of_total")
    with pytest.raises(ValueError, match="buckets"):
        worker.histogram("gateway_call_duration_seconds").total([1, 2], 3.0, ("civil-affairs",))


def test_totals_that_a_room_counts_itself_are_taken_over(tmp_path: Path) -> None:
    """`total` replaces this process's count and still adds the predecessor's."""
    first = MetricSet("worker-0")
    first.counter("gateway_cut_exchanges_total").total(100)
    Publisher(first, tmp_path, (), lambda: NOW).publish()
    second = MetricSet("worker-0")
    publisher = Publisher(second, tmp_path, (), lambda: NOW)
    for seen in (1, 2, 3):
        second.counter("gateway_cut_exchanges_total").total(seen)
    publisher.publish()
    assert scrape(*read_snapshots(tmp_path))["gateway_cut_exchanges_total", ()] == 103


def test_broken_or_newer_snapshots_are_left_out(tmp_path: Path) -> None:
    """A half-written or foreign file costs one process's figures, not the scrape."""
    (tmp_path / "worker-0.snapshot").write_bytes(b"\xff\x00")
    newer = MetricSet("worker-1").snapshot(NOW)
    newer.format += 1
    (tmp_path / "worker-1.snapshot").write_bytes(room.msgspec.msgpack.encode(newer))
    Publisher(MetricSet("worker-2"), tmp_path, (), lambda: NOW).publish()
    assert [snapshot.process for snapshot in read_snapshots(tmp_path)] == ["worker-2"]


def test_publisher_goes_on_when_a_part_fails_and_publishes_at_the_end(tmp_path: Path) -> None:
    """One part's error costs its own figures; the last counts of a draining worker are published."""
    worker = MetricSet("worker-0")

    def broken() -> None:
        raise RuntimeError("no figures")

    async def story() -> None:
        published = asyncio.Event()
        task = asyncio.create_task(
            Publisher(
                worker,
                tmp_path,
                (broken, lambda: worker.gauge("gateway_waiting_calls").set(4), published.set),
                lambda: NOW,
            ).run()
        )
        await published.wait()
        worker.counter(CALLS).add(PERMIT)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())
    read = scrape(*read_snapshots(tmp_path))
    assert read["gateway_waiting_calls", ()] == 4
    assert sum(value for (name, _), value in read.items() if name == CALLS) == 1
    assert read["gateway_process_resident_memory_bytes", (("process", "worker-0"),)] > 1e6


def test_openmetrics_is_answered_where_it_is_asked_for() -> None:
    """Prometheus asks for OpenMetrics first; the answer parses strictly and ends with EOF."""
    worker = MetricSet("worker-0")
    worker.counter(CALLS).add(PERMIT)
    worker.histogram("gateway_journal_batch_records").observe(3, ("worker-0",))
    body, content_type = render([worker.snapshot(NOW)], NOW, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(body.decode())} >= {"gateway_calls"}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_names_follow_the_conventions(family: room.Family) -> None:
    """One prefix, base units, `_total` for counters alone, rising bounds, a help line."""
    assert family.name.startswith("gateway_")
    assert family.help.endswith(".")
    assert (family.kind is Kind.COUNTER) == family.name.endswith("_total")
    assert not any(f"_{unit}" in family.name for unit in ("ms", "milliseconds", "percent", "minutes", "kb"))
    assert bool(family.bounds) == (family.kind is Kind.HISTOGRAM)
    assert list(family.bounds) == sorted(set(family.bounds))
