"""Every call is counted once, by the directory's names; what the rooms count themselves is taken over."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.callers import Assurance, Caller
from gateway.domain.directory import SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.state import SliceState
from gateway.domain.uses import Use
from gateway.domain.verdicts import Call, Decision, Verdict
from gateway.ledger.process.service import Status
from gateway.proxy.counters import BOUNDS_SECONDS, STAGE_BOUNDS_SECONDS, Counters
from gateway.proxy.ports import Peer, RequestHead
from gateway.runtime.telemetry.families import FAMILIES
from gateway.runtime.telemetry.metrics import MetricSet
from gateway.runtime.telemetry.observing import (
    LIMITS,
    Backlog,
    JournalFigures,
    LedgerFigures,
    LinkFigures,
    ObservedBarrier,
    ObservedPorts,
    take_plane,
)

CALLER = Caller("hall", "civil-affairs", Assurance.DPOP, "t1", 2_000_000_000)
CALL = Call("hall", "civil-affairs", Assurance.DPOP, "police/register", "d1", SharingMode.QUERY, "marriage", None)
PERMIT = Verdict(Decision.PERMIT, "", (), "", 2_000_000_000)
USE = Use(CALLER, CALL, PERMIT, "police", "", "", "0" * 32, "", None, 0)
HEAD = RequestHead(b"GET", b"/police/register", b"", (), b"gateway")


def plane(*ended: tuple[str, str, str, str], shed: int = 0) -> dict[str, Any]:
    """What a data plane counts after those calls: (supplier, interface, verdict, reason)."""
    counters = Counters()
    for supplier, interface, verdict, reason in ended:
        tally = counters.tally(supplier, interface) if supplier else counters.nowhere
        tally.ended(verdict, reason, 1_500_000, rows=2, sent_bytes=90)
    for _ in range(shed):
        counters.turned_away("system")
    gauges = {"connections": 3, "exchanges": 2, "supplier_connections": 1, "waiting": 0, "circuits_open": 0}
    gauges |= {"held_bytes": 7, "queued": 1, "troubles": [("police", "register", "slow")]}
    return {**counters.snapshot(), **gauges}


def test_each_call_is_counted_once_by_the_directorys_names() -> None:
    """Permits by how they ended, denials and refusals by their code; taken twice, still counted once."""
    metrics = MetricSet("worker-0")
    seen = plane(
        ("police", "register", "permit", "complete"),
        ("police", "register", "permit", "complete"),
        ("police", "register", "deny", "suspended"),
        ("", "", "refused", "credential-missing"),
        shed=4,
    )
    for _ in range(2):
        take_plane(metrics, seen)
    assert metrics.counter("gateway_calls_total").values == {
        ("police", "police/register", "permit", "complete"): 2,
        ("police", "police/register", "deny", "suspended"): 1,
        ("unknown", "unknown", "refused", "credential-missing"): 1,
    }
    assert metrics.counter("gateway_shed_total").values == {
        **dict.fromkeys([(limit,) for limit in LIMITS], 0),
        ("system",): 4,
    }
    assert metrics.gauge("gateway_interface_trouble").values == {("police", "police/register", "slow"): 1}
    assert metrics.counter("gateway_released_rows_total").values == {("police", "police/register"): 6}


def test_durations_of_a_suppliers_interfaces_are_added() -> None:
    """Bounded labels: latency stands by supplier, whatever the number of its interfaces."""
    metrics = MetricSet("worker-0")
    take_plane(
        metrics,
        plane(
            ("police", "register", "permit", "complete"),
            ("police", "vehicles", "permit", "complete"),
            ("tax", "invoices", "deny", "suspended"),
        ),
    )
    calls = metrics.histogram("gateway_call_duration_seconds").values
    assert sum(calls["police",].counts) == 2
    assert calls["police",].sum == pytest.approx(0.003)
    assert sum(calls["tax",].counts) == 1


def test_ports_are_measured_and_their_answers_untouched() -> None:
    """The very same objects come back, at once or awaited; an error passes through."""
    metrics = MetricSet("worker-0")
    ports = ObservedPorts(metrics)

    async def slow(_call: Call) -> Verdict:
        await asyncio.sleep(0)
        return PERMIT

    def nobody(_head: RequestHead, _peer: Peer) -> Caller:
        raise GatewayError("credential-missing")

    async def story() -> None:
        assert ports.decide(lambda _call: PERMIT)(CALL) is PERMIT
        answer = ports.decide(slow)(CALL)
        assert isinstance(answer, Awaitable)
        assert await answer is PERMIT
        assert ports.identify(lambda _head, _peer: CALLER)(HEAD, Peer("127.0.0.1")) is CALLER
        with pytest.raises(GatewayError):
            ports.identify(nobody)(HEAD, Peer("127.0.0.1"))

    asyncio.run(story())
    ports.fill()
    assert metrics.counter("gateway_verdict_requests_total").values == {("hit",): 1, ("miss",): 1}
    stages = metrics.histogram("gateway_stage_duration_seconds").values
    assert sum(stages["decide",].counts) == 2
    assert sum(stages["identify",].counts) == 1


def stage_counts(metrics: MetricSet) -> dict[str, int]:
    stages = metrics.histogram("gateway_stage_duration_seconds").values
    return {labels[0]: sum(series.counts) for labels, series in stages.items()}


def test_stages_of_the_data_plane_are_taken_over() -> None:
    """Record, supplier and release are timed where they happen; taken twice, a call still counts once."""
    metrics, counters = MetricSet("worker-0"), Counters()
    counters.recorded.note(3_000_000)
    counters.supplied.note(7_000_000)
    counters.supplied.note(40_000_000_000)
    counters.released.note(90_000)
    for _ in range(2):
        take_plane(metrics, {**plane(), "stages": counters.snapshot()["stages"]})
    assert stage_counts(metrics) == {"record": 1, "supplier": 2, "release": 1}
    assert metrics.histogram("gateway_stage_duration_seconds").values["record",].sum == pytest.approx(0.003)


def test_each_sync_of_the_journal_is_counted_once() -> None:
    """A sync that made no new use durable has a duration and no batch."""
    metrics = MetricSet("worker-0")
    taken = [[(0.5, 3), (0.25, 0)], [], [(2.0, 1)]]
    figures = JournalFigures(metrics, lambda: taken.pop(0))
    for _ in range(3):
        figures.fill()
    batches = metrics.histogram("gateway_journal_batch_records").values["worker-0",]
    syncs = metrics.histogram("gateway_journal_sync_duration_seconds").values["worker-0",]
    assert (sum(batches.counts), batches.sum) == (2, 4)
    assert (sum(syncs.counts), syncs.sum) == (3, 2.75)


def test_followed_calls_are_hits_of_kept_verdicts() -> None:
    """What the data plane knew from a moment ago counts as a hit, each call once, and asks no slice."""
    metrics = MetricSet("worker-0")
    ports = ObservedPorts(metrics)
    for followed in (5, 5, 9):
        ports.fill(followed)
    assert metrics.counter("gateway_verdict_requests_total").values == {("hit",): 9, ("miss",): 0}


def test_buckets_of_the_data_plane_are_those_of_the_metric() -> None:
    """A call's duration stands in the same buckets wherever it is counted."""
    assert FAMILIES["gateway_call_duration_seconds"].bounds == BOUNDS_SECONDS
    assert FAMILIES["gateway_stage_duration_seconds"].bounds == STAGE_BOUNDS_SECONDS


def test_ledger_that_stands_still_shows_its_age(tmp_path: Path) -> None:
    """Log and index each have their own lag; room for journals and silent witnesses are shown."""
    at = 0.0
    witnesses = {"silent": "it does not answer", "well": "", "busy": "it has not answered in time"}
    status = Status("log", "key", size=10, indexed=8, backlog=0, witnesses=witnesses)
    metrics = MetricSet("ledger")
    figures = LedgerFigures(metrics, lambda: status, tmp_path, clock=lambda: at)
    figures.fill()
    at = 30.0
    figures.fill()
    assert metrics.gauge("gateway_log_entries").values[()] == 10
    assert metrics.gauge("gateway_log_integration_lag_seconds").values[()] == 0
    assert metrics.gauge("gateway_witness_faults").values[()] == 2
    assert metrics.gauge("gateway_index_lag_seconds").values[()] == 30
    assert metrics.gauge("gateway_journal_free_bytes").values[()] > 0


def test_backlog_bounds_the_age_of_what_waits() -> None:
    """Nothing waits: 0. What keeps being done: at most since the last look but one. What stands still: it grows."""
    at = 0.0
    backlog = Backlog(lambda: at)
    assert backlog.age_seconds(5, 5) == 0
    at = 1.0
    assert backlog.age_seconds(5, 9) == 1
    at = 2.0
    assert backlog.age_seconds(9, 12) == 1
    at = 7.0
    assert backlog.age_seconds(11, 12) == 6
    at = 8.0
    assert backlog.age_seconds(12, 12) == 0


class Link:
    """A link whose lease is told."""

    sequence = 7
    fresh = True

    def is_fresh(self) -> bool:
        return self.fresh


def test_age_of_the_feed_grows_from_the_last_lease() -> None:
    """Fresh: 0. Without a lease: the time since one was last held."""
    at = 0.0
    metrics, link = MetricSet("worker-0"), Link()
    figures = LinkFigures(metrics, link, clock=lambda: at)
    at = 5.0
    figures.fill()
    age = metrics.gauge("gateway_change_feed_age_seconds").values
    assert age["worker-0",] == 0
    link.fresh, at = False, 9.0
    figures.fill()
    assert age["worker-0",] == 4
    assert metrics.gauge("gateway_fresh").values["worker-0",] == 0
    assert metrics.gauge("gateway_change_feed_sequence").values["worker-0",] == 7


def test_slices_that_are_read_were_not_held() -> None:
    """Three verdicts asked, one slice read: two slices were held."""
    metrics = MetricSet("worker-0")
    ports = ObservedPorts(metrics)
    state = SliceState(1, None, (), None, None, (), (), ())
    read = ports.slice_state(lambda _department, _dataset: state)

    async def decided(_call: Call) -> Verdict:
        return PERMIT

    async def story() -> None:
        decide = ports.decide(decided)
        for _ in range(3):
            answer = decide(CALL)
            assert isinstance(answer, Awaitable)
            await answer

    assert read("civil-affairs", "d1") is state
    asyncio.run(story())
    ports.fill()
    assert metrics.counter("gateway_slice_requests_total").values == {("miss",): 1, ("hit",): 2}


def test_barrier_is_counted_once_it_was_held() -> None:
    """What threads held between two looks is observed on the loop, once."""
    metrics = MetricSet("control")
    barrier = ObservedBarrier(None)
    assert barrier.hold_at(7).sequence == 7
    for _ in range(2):
        barrier.fill(metrics)
    assert sum(metrics.histogram("gateway_barrier_duration_seconds").values[()].counts) == 1
