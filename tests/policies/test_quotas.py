"""Quotas are never exceeded and never lost beyond an open block, over any number of workers."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.callers import Assurance, Caller
from gateway.domain.directory import SharingAttribute, SharingMode
from gateway.domain.grants import Quota
from gateway.domain.uses import Use
from gateway.domain.verdicts import Verdict
from gateway.policy.live.quotas import MAX_BLOCK, QuotaMeter, block_size
from gateway.policy.live.slices import Slice
from gateway.store import Store
from tests.policies.cases import NATIONAL, NOW, ZHONGSHAN, call, dataset, grant, state


class Shared:
    """The state's side: what was leased of each quota."""

    def __init__(self) -> None:
        self.used: dict[tuple[str, date, str], int] = {}
        self.leases = 0
        self._lock = threading.Lock()

    def lease(self, held: str, day: date, kind: str, block: int, limit: int, least: int) -> int:
        with self._lock:
            self.leases += 1
            used = self.used.get((held, day, kind), 0)
            taken = min(block, limit - used) if limit - used >= least else 0
            self.used[held, day, kind] = used + taken
            return taken


def verdict(**quota: Any) -> Verdict:
    return Slice(NATIONAL, state(grants=(grant(quota=Quota(**quota)),))).evaluate(call(), NOW)


def draw(answer: Any) -> bool:
    return answer if isinstance(answer, bool) else asyncio.run(_awaited(answer))


async def _awaited(answer: Any) -> bool:
    return await answer


@pytest.fixture
def pool() -> Any:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_a_quota_of_calls_is_drawn_to_the_last_and_no_further(pool: Any) -> None:
    metered = verdict(calls_a_day=10)
    meter = QuotaMeter(Shared().lease, pool, lambda: NOW)
    assert [draw(meter.draw_call(metered)) for _ in range(12)] == [True] * 10 + [False] * 2
    assert draw(meter.draw_rows(metered, 1_000_000))


def test_rows_are_drawn_all_or_none(pool: Any) -> None:
    metered = verdict(rows_a_day=100)
    meter = QuotaMeter(Shared().lease, pool, lambda: NOW)
    assert draw(meter.draw_rows(metered, 70))
    assert not draw(meter.draw_rows(metered, 31))
    assert draw(meter.draw_rows(metered, 30))
    assert not draw(meter.draw_rows(metered, 1))
    assert draw(meter.draw_rows(metered, 0))


def test_the_day_begins_anew_at_midnight_in_china(pool: Any) -> None:
    moment = [float(NOW)]
    metered = verdict(calls_a_day=1)
    meter = QuotaMeter(Shared().lease, pool, lambda: moment[0])
    assert draw(meter.draw_call(metered))
    assert not draw(meter.draw_call(metered))
    moment[0] += 12 * 3600
    assert draw(meter.draw_call(metered))


def test_an_open_block_is_drawn_without_asking(pool: Any) -> None:
    shared = Shared()
    metered = verdict(calls_a_day=64_000)
    meter = QuotaMeter(shared.lease, pool, lambda: NOW)
    assert draw(meter.draw_call(metered))
    for _ in range(block_size(64_000) - 1):
        assert meter.draw_call(metered) is True
    assert shared.leases == 1


def test_a_larger_quota_of_a_new_version_is_drawn_at_once(pool: Any) -> None:
    meter = QuotaMeter(Shared().lease, pool, lambda: NOW)
    assert draw(meter.draw_call(verdict(calls_a_day=1)))
    assert not draw(meter.draw_call(verdict(calls_a_day=1)))
    assert draw(meter.draw_call(verdict(calls_a_day=2)))


def test_a_draw_that_is_refused_takes_nothing_from_other_workers(pool: Any) -> None:
    """Neither what is more than the quota, nor what is more than is left of it."""
    shared = Shared()
    metered = verdict(rows_a_day=100_000)
    first, second = (QuotaMeter(shared.lease, pool, lambda: NOW) for _ in range(2))
    assert not draw(first.draw_rows(metered, 200_000))
    assert shared.used == {}
    assert draw(first.draw_rows(metered, 60_000))
    assert not draw(first.draw_rows(metered, 60_000))
    assert sum(shared.used.values()) == 60_000
    assert draw(second.draw_rows(metered, 40_000))
    assert not draw(first.draw_rows(metered, 1))


def test_what_could_not_be_had_is_not_asked_for_again(pool: Any) -> None:
    """But what is less is, and everything is where the quota was raised."""
    shared = Shared()
    meter = QuotaMeter(shared.lease, pool, lambda: NOW)
    assert draw(meter.draw_rows(verdict(rows_a_day=100), 60))
    assert not draw(meter.draw_rows(verdict(rows_a_day=100), 50))
    asked = shared.leases
    assert meter.draw_rows(verdict(rows_a_day=100), 60) is False
    assert shared.leases == asked
    assert draw(meter.draw_rows(verdict(rows_a_day=100), 40))
    assert draw(meter.draw_rows(verdict(rows_a_day=200), 60))


def test_a_grant_whose_rows_were_refused_steps_aside_for_another_that_covers_the_call(pool: Any) -> None:
    """An answer's rows are not known beforehand: the next call is made under the next grant, where there is one."""
    held = (grant("narrow", items=("name",), quota=Quota(rows_a_day=100)), grant("wide"))
    narrow = Slice(NATIONAL, state(grants=held)).evaluate(call(), NOW)
    alone = Slice(NATIONAL, state(grants=held[:1])).evaluate(call(), NOW)
    meter = QuotaMeter(Shared().lease, pool, lambda: NOW)
    assert draw(meter.draw_call(narrow))
    for rows in (150, 99):
        meter = QuotaMeter(Shared().lease, pool, lambda: NOW)
        assert draw(meter.draw_rows(narrow, 50))
        assert not draw(meter.draw_rows(narrow, rows))
        assert not draw(meter.draw_call(narrow))
        assert draw(meter.draw_call(alone)), "where there is no other grant, a smaller answer may still come"
        assert draw(meter.draw_rows(alone, 50))


def test_without_a_quota_nothing_is_counted(pool: Any) -> None:
    shared = Shared()
    meter = QuotaMeter(shared.lease, pool, lambda: NOW)
    assert meter.draw_call(Slice(NATIONAL, state()).evaluate(call(), NOW)) is True
    assert shared.leases == 0


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 500),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), max_size=60),
    st.sets(st.integers(0, 60), max_size=2),
)
def test_workers_together_never_exceed_and_a_crash_loses_at_most_its_block(
    limit: int, draws: list[tuple[int, int]], crashes: set[int]
) -> None:
    shared = Shared()
    with ThreadPoolExecutor(1) as pool:
        workers = [QuotaMeter(shared.lease, pool, lambda: NOW) for _ in range(3)]
        key = ("g1", 20_000, "rows")
        drawn = 0
        for step, (worker, amount) in enumerate(draws):
            if step in crashes:
                workers[worker] = QuotaMeter(shared.lease, pool, lambda: NOW)
            drawn += amount if workers[worker].draw_leasing(key, limit, amount) else 0
            assert drawn <= limit
            assert max(shared.used.values(), default=0) <= limit
        lost = max(shared.used.values(), default=0) - drawn
        assert lost <= (len(crashes) + 3) * block_size(limit)


def test_threads_of_one_worker_together_never_exceed() -> None:
    shared = Shared()
    with ThreadPoolExecutor(8) as pool:
        meter = QuotaMeter(shared.lease, pool, lambda: NOW)
        key = ("g1", 20_000, "calls")
        drawn = sum(pool.map(lambda _: meter.draw_leasing(key, 500, 1), range(2000)))
    assert drawn == 500


@pytest.mark.parametrize(("limit", "block"), [(1, 1), (63, 1), (6400, 100), (10**9, MAX_BLOCK)])
def test_blocks_are_small_beside_the_quota(limit: int, block: int) -> None:
    assert block_size(limit) == block


def test_two_workers_share_a_quota_through_the_state(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'state.db'}")
    metered = verdict(calls_a_day=150)
    with ThreadPoolExecutor(2) as executor:
        meters = [QuotaMeter(store.lease_quota, executor, lambda: NOW) for _ in range(2)]
        drawn = [draw(meters[step % 2].draw_call(metered)) for step in range(200)]
    store.close()
    assert sum(drawn) == 150


def test_a_wrong_guess_counts_for_one_system_about_one_person_and_a_right_one_is_given_back(pool: Any) -> None:
    """Given back to the shared state, so that another worker can take it; each person and system has an own count."""
    shared = Shared()
    returned = threading.Event()

    def give_back(held: str, day: date, kind: str, unused: int) -> None:
        shared.used[held, day, kind] -= unused
        returned.set()

    meters = [QuotaMeter(shared.lease, pool, lambda: NOW, give_back) for _ in range(2)]
    allowed = Slice(ZHONGSHAN, state(grants=())).evaluate(call(mode=SharingMode.VERIFY), NOW)
    assert allowed.guesses_a_day == 5

    def use(subject: str, system: str = "desk") -> Use:
        caller = Caller(system, "civil-affairs", Assurance.DPOP, "", 1 << 40)
        return Use(caller, call(), allowed, "police", "", "", "", "", subject, 0)

    for turn in range(9):
        assert draw(meters[turn % 2].draw_guess(use("a")))
        meters[turn % 2].right(use("a"))
        assert returned.wait(10)
        returned.clear()
    assert [draw(meters[turn % 2].draw_guess(use("a"))) for turn in range(7)] == [True] * 5 + [False] * 2
    assert draw(meters[0].draw_guess(use("b")))
    assert draw(meters[0].draw_guess(use("a", "other-desk")))


def test_without_a_grant_a_minute_has_a_bound_and_what_it_refuses_costs_nothing_of_the_day(pool: Any) -> None:
    """Over two workers: sixty calls within a minute of the clock, and the next minute begins anew."""
    shared, moment = Shared(), [float(NOW)]
    entry = dataset(sharing_attribute=SharingAttribute.UNCONDITIONAL)
    allowed = Slice(ZHONGSHAN, state(grants=(), dataset=entry)).evaluate(call(), NOW)
    assert (allowed.calls_a_minute, allowed.calls_a_day, allowed.grant) == (60, 1000, None)
    meters = [QuotaMeter(shared.lease, pool, lambda: moment[0]) for _ in range(2)]
    drawn = [draw(meters[turn % 2].draw_call(allowed)) for turn in range(80)]
    assert sum(drawn) == 60
    of_day = sum(used for (_, _, kind), used in shared.used.items() if kind == "calls")
    assert of_day <= 60 + 2 * block_size(1000)
    moment[0] += 60
    assert [draw(meters[0].draw_call(allowed)) for _ in range(61)] == [True] * 60 + [False]


def test_a_grant_has_no_bound_of_a_minute() -> None:
    assert verdict(calls_a_day=10).calls_a_minute is None
