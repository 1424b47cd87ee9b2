"""Slices and verdicts are kept, bounded and dropped; a change that arrives while one is made is not missed."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.changes import Change, ChangeKind
from gateway.domain.directory import DataItem, SharingAttribute
from gateway.domain.orders import Reach
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Verdict
from gateway.policy import Decider, Engine
from gateway.policy.live.engine import LET_GO_AT_ONCE, LET_GO_ENTRIES, _units
from gateway.policy.live.slices import Slice
from tests.policies.cases import (
    NATIONAL,
    NOON,
    NOW,
    ZHONGSHAN,
    call,
    dataset,
    department,
    grant,
    interface,
    order,
    state,
)


class World:
    """A state that can be changed, and counts how often it is read."""

    def __init__(self, **more: Any) -> None:
        self.state = state(**more)
        self.reads = 0

    def read(self, department_id: str, dataset_id: str) -> SliceState:
        self.reads += 1
        return self.state

    def change(self, sequence: int, **more: Any) -> None:
        self.state = state(sequence=sequence, **more)


def change(sequence: int = 2, kind: ChangeKind = ChangeKind.ORDER, **more: Any) -> Change:
    return Change(sequence=sequence, kind=kind, subject="x", **more)


def test_a_verdict_is_kept_until_its_time_limit() -> None:
    world = World(grants=(grant(valid_until=NOON + timedelta(seconds=10)),))
    engine = Engine(NATIONAL, world.read)
    assert engine.kept(call(), NOW) is None
    made = engine.decide(call(), NOW)
    assert engine.kept(call(), NOW) is made
    assert engine.kept(call(), NOW + 9) is made
    assert engine.kept(call(), NOW + 10) is None
    assert engine.kept(call(), NOW - 1) is None
    assert engine.decide(call(), NOW + 10).code == "grant-expired"
    assert world.reads == 1


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"department": "civil-affairs"},
        {"dataset": "d1"},
        {"department": "civil-affairs", "dataset": "d1"},
        {"supplier": "police"},
        {"kind": ChangeKind.DEPARTMENT, "department": "police"},
        {"kind": ChangeKind.DEPARTMENT, "department": "parent"},
        {"kind": ChangeKind.SYSTEM, "department": "civil-affairs", "system": "marriage-desk"},
    ],
)
def test_barrier_a_change_drops_what_it_touches(named: dict[str, Any]) -> None:
    world = World(department=department(parent="parent"), ancestors=(department("parent"),))
    engine = Engine(NATIONAL, world.read)
    assert engine.decide(call(), NOW).is_permit
    world.change(2, orders=(order(reach=Reach.DATASET, target="d1"),))
    engine.drop(change(**named))
    assert engine.kept(call(), NOW) is None
    assert engine.decide(call(), NOW).code == "suspended"


@pytest.mark.parametrize(
    "named",
    [
        {"department": "other"},
        {"dataset": "d2"},
        {"department": "civil-affairs", "dataset": "d2"},
        {"supplier": "tax"},
        {"kind": ChangeKind.DEPARTMENT, "department": "tax"},
        {"kind": ChangeKind.KEY},
    ],
)
def test_a_change_beside_a_slice_leaves_it(named: dict[str, Any]) -> None:
    world = World()
    engine = Engine(NATIONAL, world.read)
    made = engine.decide(call(), NOW)
    engine.drop(change(**named))
    assert engine.kept(call(), NOW) is made


def test_barrier_a_change_that_arrives_while_a_slice_is_built_is_not_missed() -> None:
    """The reading is from before the change; it is thrown away and made again."""
    world = World()

    def read(department_id: str, dataset_id: str) -> SliceState:
        found = world.read(department_id, dataset_id)
        if world.reads == 1:
            world.change(2, orders=(order(),))
            engine.drop(change())
        return found

    engine = Engine(NATIONAL, read)
    assert engine.decide(call(), NOW).code == "suspended"
    assert world.reads == 2


def test_barrier_a_slice_that_is_dropped_while_it_is_evaluated_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict was a permit when it was made; the stop returned before it was given out."""
    world = World()
    engine = Engine(NATIONAL, world.read)
    evaluate = Slice.evaluate
    made: list[Verdict] = []

    def evaluate_then_stop(part: Slice, *arguments: Any) -> Verdict:
        made.append(evaluate(part, *arguments))
        if len(made) == 1:
            world.change(2, orders=(order(),))
            engine.drop(change())
        return made[-1]

    monkeypatch.setattr(Slice, "evaluate", evaluate_then_stop)
    assert engine.decide(call(), NOW).code == "suspended"
    assert [one.is_permit for one in made] == [True, False]
    kept = engine.kept(call(), NOW)
    assert kept is not None
    assert kept.code == "suspended"


def test_barrier_a_reading_older_than_the_feed_is_not_kept() -> None:
    world = World()
    engine = Engine(NATIONAL, world.read)
    engine.drop(change(9))
    assert engine.decide(call(), NOW).code == "state-stale"
    world.change(9)
    assert engine.decide(call(), NOW).is_permit


def test_activation_drops_everything_made_under_the_old_layers() -> None:
    free = dataset(sharing_attribute=SharingAttribute.UNCONDITIONAL)
    engine = Engine(NATIONAL, World(grants=(), dataset=free).read)
    assert not engine.decide(call(), NOW).is_permit
    engine.activate(ZHONGSHAN)
    assert engine.kept(call(), NOW) is None
    assert engine.decide(call(), NOW).is_permit


def test_slices_and_verdicts_are_bounded() -> None:
    def read(department_id: str, dataset_id: str) -> SliceState:
        return state(
            dataset=dataset(dataset_id),
            interfaces=(interface(of=dataset_id),),
            grants=(grant(dataset=dataset_id),),
        )

    engine = Engine(NATIONAL, read, max_slices=4, max_verdicts=5, max_parsed=2)
    for number in range(20):
        assert engine.decide(call(dataset=f"d{number}"), NOW).is_permit
    assert (len(engine._slices), len(engine._standings), engine.held[1]) == (2, 4, 5)
    assert engine.kept(call(dataset="d19"), NOW) is not None
    assert engine.kept(call(dataset="d16"), NOW) is not None
    assert engine.kept(call(dataset="d15"), NOW) is None
    assert engine.kept(call(dataset="d10"), NOW) is None


def test_barrier_a_pair_whose_supplier_is_not_known_is_dropped_by_any_suppliers_change() -> None:
    """Its dataset may have come with that change; also where the pair's own department is the one named."""
    world = World(dataset=None, supplier=None, interfaces=(), grants=())
    engine = Engine(NATIONAL, world.read)
    for supplier in ("police", "civil-affairs"):
        assert engine.decide(call(), NOW).code == "not-granted"
        engine.drop(change(supplier=supplier))
        assert engine.kept(call(), NOW) is None
        world.change(2, dataset=None, supplier=None, interfaces=(), grants=())


def read_any(department_id: str, dataset_id: str) -> SliceState:
    held = grant(department=department_id, dataset=dataset_id)
    home = department(department_id)
    return state(department=home, dataset=dataset(dataset_id), interfaces=(interface(of=dataset_id),), grants=(held,))


@pytest.mark.parametrize("kind", [ChangeKind.GRANT, ChangeKind.DEPARTMENT])
def test_a_change_of_one_department_leaves_the_slices_of_others(kind: ChangeKind) -> None:
    engine = Engine(NATIONAL, read_any)
    homes, sets = ("tax", "civil-affairs"), ("d1", "d2")
    asked = {(home, name): call(department=home, dataset=name) for home in homes for name in sets}
    for one in asked.values():
        assert engine.decide(one, NOW).is_permit
    engine.drop(change(1, kind, department="tax"))
    assert {pair for pair, one in asked.items() if engine.kept(one, NOW) is not None} == {
        ("civil-affairs", "d1"),
        ("civil-affairs", "d2"),
    }
    assert set(engine._of_department) == {"civil-affairs", "police"}
    engine.drop(change(1, supplier="police"))
    assert not engine._of_department
    assert all(engine.kept(one, NOW) is None for one in asked.values())


def test_what_is_dropped_is_let_go_of_by_the_decisions_that_follow() -> None:
    engine = Engine(NATIONAL, read_any, max_parsed=8)
    for number in range(20):
        engine.decide(call(dataset=f"d{number}"), NOW)
        assert len(engine._spent) <= 1
    engine.drop(change(1))
    assert len(engine._spent) >= 8
    for number in range(20):
        engine.decide(call(dataset=f"d{number}"), NOW)
    assert engine._spent == []


def test_what_is_held_and_kept_is_counted() -> None:
    engine = Engine(NATIONAL, read_any, max_parsed=2)
    for number in range(3):
        for system in range(4):
            engine.decide(call(system=f"s{system}", dataset=f"d{number}"), NOW)
    assert engine.held == (2, 12)


def test_what_callers_say_bounds_how_much_is_kept() -> None:
    """Long questions, and denials that list much, count for as much as they take; none takes all of the room."""
    names = tuple(f"item-{number:03}" for number in range(300))
    world = World(dataset=dataset(items=tuple(DataItem(name) for name in ("name", *names))))
    engine = Engine(NATIONAL, world.read, max_verdicts=1024)
    for number in range(200):
        assert not engine.decide(call(items=names[number : number + 100]), NOW).is_permit
        engine.decide(call(parameters=(("region", f"{number:04}" + "值" * 80),)), NOW)
    assert (
        sum(_units(asked, kept.verdict) for shard in engine._verdicts for asked, kept in shard.verdicts.items()) <= 1024
    )
    assert engine.held[1] < 150
    long = call(items=("name",) * 100_000)
    assert engine.decide(long, NOW).is_permit
    assert engine.kept(long, NOW) is None
    assert engine.decide(call(), NOW).is_permit
    assert engine.kept(call(), NOW) is not None


def test_kept_verdicts_that_were_dropped_are_let_go_of_a_few_at_a_time() -> None:
    """However many they are, no decision frees them all, and the ones that follow free the rest."""
    engine = Engine(NATIONAL, read_any, max_verdicts=1024)
    for number in range(3 * LET_GO_ENTRIES):
        engine.decide(call(system=f"s{number}"), NOW)
    engine.activate(NATIONAL)
    verdicts = max((spent for spent in engine._spent if isinstance(spent, dict)), key=len)
    assert len(verdicts) == 3 * LET_GO_ENTRIES
    engine.decide(call(dataset="d"), NOW)
    assert len(verdicts) == (3 - LET_GO_AT_ONCE) * LET_GO_ENTRIES
    for number in range(4):
        engine.decide(call(dataset=f"e{number}"), NOW)
    assert engine._spent == []


def test_barrier_verdicts_of_a_pair_whose_slice_is_not_held_are_dropped_too() -> None:
    def read(department_id: str, dataset_id: str) -> SliceState:
        held = grant(dataset=dataset_id)
        return state(dataset=dataset(dataset_id), interfaces=(interface(of=dataset_id),), grants=(held,))

    engine = Engine(NATIONAL, read, max_parsed=1)
    first, other = call(dataset="d1"), call(dataset="d1", items=("id_number",))
    assert engine.decide(first, NOW).is_permit
    assert engine.decide(call(dataset="d2"), NOW).is_permit
    assert engine.kept(first, NOW) is not None
    assert engine.decide(other, NOW).is_permit
    assert engine.decide(call(dataset="d2", items=("id_number",)), NOW).is_permit
    engine.drop(change(department="civil-affairs", dataset="d1"))
    assert engine.kept(first, NOW) is None
    assert engine.kept(other, NOW) is None
    assert engine.kept(call(dataset="d2"), NOW) is not None


def test_policies_for_prints_the_exact_cedar() -> None:
    text = Engine(NATIONAL, World(orders=(order(),)).read).policies_for("civil-affairs", "d1")
    for name in ("national-art14-non-shareable", "grant:g1:v1", "order:o1"):
        assert f'@id("{name}")' in text
    assert "Officer" not in text


def test_explain_is_made_afresh() -> None:
    world = World()
    engine = Engine(NATIONAL, world.read)
    assert engine.decide(call(), NOW).is_permit
    world.change(1, grants=())
    assert engine.explain(call(), NOW).code == "not-granted"
    assert engine.decide(call(), NOW).is_permit


def test_barrier_threads_never_give_out_a_verdict_from_before_a_drop() -> None:
    """Deciders race with drops; after each drop returns, no decision is from before it."""
    world = World()
    engine = Engine(NATIONAL, world.read)
    stop = threading.Event()
    wrong: list[tuple[int, str]] = []

    def decide_on() -> None:
        while not stop.is_set():
            floor = dropped
            code = engine.decide(call(), NOW).code
            if floor % 2 == 1 and dropped == floor and code != "suspended":
                wrong.append((floor, code))

    dropped = 0
    threads = [threading.Thread(target=decide_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    for step in range(1, 40):
        world.change(step, orders=(order(),) if step % 2 else ())
        engine.drop(change(step))
        dropped = step
        assert engine.decide(call(), NOW).code == ("suspended" if step % 2 else "")
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_barrier_a_verdict_on_its_way_to_the_loop_is_made_again() -> None:
    """The change is dropped on the loop after the thread has decided and before the loop has the verdict."""
    world = World()
    engine = Engine(NATIONAL, world.read)

    class Racing(ThreadPoolExecutor):
        submitted = 0

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            future = super().submit(fn, *args, **kwargs)
            self.submitted += 1
            if self.submitted == 1:
                assert future.result().is_permit
                world.change(2, orders=(order(),))
                engine.drop(change())
            return future

    async def run() -> Verdict:
        with Racing(1) as pool:
            decider = Decider(engine, pool, lambda: float(NOW))
            first = decider(call())
            assert not isinstance(first, Verdict)
            verdict = await first
            again = decider(call())
            assert again is verdict
            return verdict

    assert asyncio.run(run()).code == "suspended"


def test_barrier_a_department_or_dataset_that_was_unknown_is_seen_once_it_is_there() -> None:
    world = World(department=None)
    engine = Engine(NATIONAL, world.read)
    assert engine.decide(call(), NOW).code == "not-granted"
    world.change(2)
    engine.drop(change(2, ChangeKind.DEPARTMENT, department="civil-affairs"))
    assert engine.decide(call(), NOW).is_permit
    world.change(3, dataset=None, supplier=None)
    engine.drop(change(3, ChangeKind.ENTRY, dataset="d1"))
    assert engine.decide(call(), NOW).code == "not-granted"
    world.change(4)
    engine.drop(change(4, ChangeKind.ENTRY, dataset="d1", supplier="police"))
    assert engine.decide(call(), NOW).is_permit


def test_barrier_changes_that_never_end_deny_and_do_not_hang() -> None:
    world = World()
    engine = Engine(NATIONAL, world.read)

    class Churning(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            future = super().submit(fn, *args, **kwargs)
            future.result()
            engine.drop(change(1))
            return future

    async def run() -> Verdict:
        with Churning(1) as pool:
            first = Decider(engine, pool, lambda: float(NOW))(call())
            assert not isinstance(first, Verdict)
            return await first

    assert asyncio.run(run()).code == "state-stale"


def test_a_change_beside_a_call_does_not_make_its_verdict_anew() -> None:
    world = World()
    engine = Engine(NATIONAL, world.read)

    class Churning(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            future = super().submit(fn, *args, **kwargs)
            future.result()
            engine.drop(change(1, dataset="d2"))
            return future

    async def run() -> Verdict:
        with Churning(1) as pool:
            first = Decider(engine, pool, lambda: float(NOW))(call())
            assert not isinstance(first, Verdict)
            return await first

    assert asyncio.run(run()).is_permit
    assert world.reads == 1
