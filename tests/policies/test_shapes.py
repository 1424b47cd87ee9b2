"""Comparing shapes finds what comparing every state itself finds, and there are few shapes."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.domain.directory import Department
from gateway.domain.state import SliceState
from gateway.policy.law.layers import Layers, load_layers
from gateway.policy.offline import comparing
from gateway.policy.offline.comparing import Comparison, compare
from gateway.policy.offline.normal_forms import Shape, literals_of
from tests.policies.cases import NATIONAL, NOON, NOW, ZHONGSHAN, dataset, department, grant, interface, state
from tests.policies.layering import note, root_with
from tests.policies.test_differential import DATASETS, DEPARTMENTS, World, worlds

LATER = NOW + 20 * 86_400
USE = 'action in Action::"use"'
RULES = (
    f'forbid (principal, {USE}, resource) when {{ resource.dataset.grade != Grade::"1" && context.assurance < 3 }};',
    f'forbid (principal == System::"sys1", {USE}, resource in Dataset::"s1");',
    f'forbid (principal in Department::"d-city", {USE}, resource == Interface::"police/a");',
    f'forbid (principal, {USE}, resource) when {{ context has grant && context.grant == Grant::"g1" }};',
    f'forbid (principal, {USE}, resource) when {{ resource.dataset.supplier == Department::"tax" }};',
    f"forbid (principal, {USE}, resource) when {{ context.minuteOfDay >= 740 && context.minuteOfDay < 760 }};",
    f'forbid (principal, {USE}, resource) when {{ context.now >= {LATER} && context.items.contains("name") }};',
    f'permit (principal is System, {USE}, resource) when {{ principal.department == Department::"d-branch" }};',
    f'@mask("name=hash") permit (principal, {USE}, resource) when {{ context has grant && context.grant.returnFlow }};',
)


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> list[Layers]:
    loaded = [
        load_layers(root_with(tmp_path_factory.mktemp("layers"), extra=note("x") + rule), ["national", "extra"])
        for rule in RULES
    ]
    return [*loaded, ZHONGSHAN]


class Standing:
    """What stands in some states."""

    def __init__(self, states: Iterable[SliceState], departments: Iterable[Department] = ()) -> None:
        self._states = {(one.department.id, one.dataset.id): one for one in states if one.department and one.dataset}
        self._departments = tuple(departments)

    def pairs(self) -> list[tuple[str, str]]:
        return [pair for pair, one in self._states.items() if one.grants]

    def datasets(self) -> list[str]:
        return sorted({name for _, name in self._states})

    def departments(self) -> Iterator[Department]:
        yield from self._departments

    def home_of(self, system: str) -> str | None:
        return {"sys1": "d-city", "sys2": "d-far"}.get(system)

    def read(self, demand: str, name: str) -> SliceState:
        return self._states[demand, name]


class Itself(Shape):
    """A shape that is the state itself, and that no other state has."""

    def __init__(self, the_state: SliceState, *_: object) -> None:
        self.state = the_state
        self.key = msgspec.msgpack.encode([id(self), the_state])

    def named(self, text: str) -> str:
        return text


def told(found: Comparison) -> tuple[object, ...]:
    differences = {(one.change, one.department, one.dataset, one.grant, one.mode): one for one in found.differences}
    said = [
        msgspec.structs.replace(differences[key], policies=tuple(sorted(differences[key].policies)))
        for key in sorted(differences, key=str)
    ]
    return found.gaining, found.losing, found.grants, found.datasets, found.calls, said


ANY_WORLD = given(worlds(), st.integers(0, len(RULES)), st.booleans(), st.booleans())
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


@settings(max_examples=4, deadline=None, phases=PHASES)
@ANY_WORLD
def test_shapes_are_decided_like_the_states_they_are_of(
    candidates: list[Layers], world: World, number: int, turned: bool, far: bool
) -> None:
    assert_shapes_stand_for_states(candidates, world, number, turned=turned, far=far)


@pytest.mark.deep
@settings(max_examples=30, deadline=None, phases=PHASES)
@ANY_WORLD
def test_shapes_are_decided_like_the_states_they_are_of_many_times(
    candidates: list[Layers], world: World, number: int, turned: bool, far: bool
) -> None:
    assert_shapes_stand_for_states(candidates, world, number, turned=turned, far=far)


def assert_shapes_stand_for_states(
    candidates: list[Layers], world: World, number: int, *, turned: bool, far: bool
) -> None:
    """Grants, orders and datasets at random, against rules that name some of them: the same who, what and by which."""
    if far:
        later = timedelta(days=30)
        world.grants = [msgspec.structs.replace(one, valid_until=one.valid_until + later) for one in world.grants]
    standing = Standing(
        (world.read(demand, name) for demand in DEPARTMENTS for name in DATASETS), world.departments.values()
    )
    old, new = (candidates[number], NATIONAL) if turned else (NATIONAL, candidates[number])
    with patch.object(comparing, "Shape", Itself):
        plain = compare(old, new, standing, NOW)
    assert told(compare(old, new, standing, NOW)) == told(plain)


def test_ends_that_differ_have_one_shape_but_where_a_policy_turns() -> None:
    """A policy that turns in forty days divides the ends before it from those after, and keeps those close to it."""

    def key(days: float, *instants: int) -> bytes:
        return Shape(state(grants=(grant(valid_until=NOON + timedelta(days=days)),)), {}, NOW, instants).key

    turns = NOW + 40 * 86_400
    assert len({key(days) for days in (4, 30.3, 300)}) == 1
    assert len({key(days) for days in (1, 2)}) == 2
    assert key(20.2, turns) == key(30, turns) != key(90.5, turns) == key(300, turns)
    assert len({key(days, turns) for days in (30, 39, 40, 41, 90)}) == 5


def test_states_that_differ_in_names_alone_have_one_shape() -> None:
    """And one that a policy names has its own."""
    literals = literals_of((NATIONAL, ZHONGSHAN))

    def key(name: str, **literal: frozenset[str]) -> bytes:
        one = state(
            department=department(name),
            dataset=dataset(f"set-{name}"),
            interfaces=(interface(of=f"set-{name}"),),
            grants=(grant(f"g-{name}", department=name, dataset=f"set-{name}"),),
        )
        return Shape(one, {**literals, **literal}, NOW).key

    assert key("a") == key("b")
    assert key("a", Grant=frozenset({"g-a"})) != key("b", Grant=frozenset({"g-a"}))
