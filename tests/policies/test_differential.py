"""The decision path gives Cedar's own answers.

Slices, caches and built policies against one plain `is_authorized` over every policy and entity of a random world at
once. The oracle knows no slices, no narrowing to a department and no order of evaluation.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import cedarpy
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.callers import Assurance
from gateway.domain.changes import Change, ChangeKind
from gateway.domain.conditions import faults_of
from gateway.domain.directory import Dataset, Department, EntryState, Interface, SharingAttribute, SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, GrantState, Hours
from gateway.domain.orders import Order, OrderKind, Reach
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Call
from gateway.policy import Engine
from gateway.policy.law.layers import Layers, est_document
from gateway.policy.law.world import slice_entities, system_entity, use_request
from gateway.policy.live import building, slices
from gateway.policy.live.refusals import failed_conditions
from gateway.policy.live.slices import narrowness
from tests.policies.cases import NATIONAL, NOW, ZHONGSHAN, dataset, department, grant, interface, order

DEPARTMENTS = ("d-city", "d-branch", "d-far")
DATASETS = ("s1", "s2")
SUPPLIERS = ("police", "tax")
ITEMS = ("name", "id_number", "address")
PURPOSES = ("p1", "p2")
HOUR = timedelta(hours=1)
AT = datetime.fromtimestamp(NOW, UTC)


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """The usual value four times of five, so that several conditions hold together often enough."""
    return st.sampled_from([usual] * 4 * len(others) + list(others))


def some(values: Any, least: int = 1) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(list(values)), min_size=least, unique=True).map(tuple)


@st.composite
def grants(draw: st.DrawFn, name: str) -> Grant:
    return grant(
        name,
        department=draw(st.sampled_from(DEPARTMENTS)),
        dataset=draw(st.sampled_from(DATASETS)),
        items=draw(some(ITEMS)),
        purposes=draw(some(PURPOSES)),
        modes=draw(mostly(tuple(SharingMode), (SharingMode.QUERY,), (SharingMode.BATCH, SharingMode.VERIFY))),
        valid_from=AT + draw(mostly(-HOUR, timedelta(0), HOUR)),
        valid_until=AT + draw(st.sampled_from([2 * HOUR, 3 * HOUR])),
        systems=draw(mostly((), ("sys1",))),
        interfaces=draw(mostly((), ("a",), ("police/b",))),
        hours=draw(mostly(None, Hours(12 * 60, 13 * 60), Hours(0, 60))),
        parameters=draw(mostly({}, {"region": ("442000",)})),
        assurance=draw(mostly(None, Assurance.MTLS)),
        combination=draw(mostly((), ("s1", "s2"), ("s2",))),
        return_flow=draw(mostly(False, True)),
        state=draw(mostly(GrantState.ISSUED, GrantState.SUSPENDED, GrantState.TERMINATED, GrantState.CLOSED)),
    )


@st.composite
def orders(draw: st.DrawFn, name: str) -> Order:
    reach = draw(st.sampled_from(Reach))
    targets = {
        Reach.GRANT: ("g0", "g1"),
        Reach.SYSTEM: ("sys1", "sys2"),
        Reach.DEPARTMENT: DEPARTMENTS,
        Reach.DATASET: DATASETS,
        Reach.SUPPLIER: SUPPLIERS,
    }
    return order(
        name,
        reach,
        draw(st.sampled_from(targets[reach])),
        kind=draw(st.sampled_from(OrderKind)),
        supplier=draw(st.sampled_from([None, None, *SUPPLIERS])),
        lifted_at=draw(st.sampled_from([None, AT])),
    )


@st.composite
def datasets(draw: st.DrawFn, name: str, supplier: str) -> Dataset:
    return dataset(
        name,
        supplier=supplier,
        sharing_attribute=draw(
            mostly(SharingAttribute.CONDITIONAL, SharingAttribute.UNCONDITIONAL, SharingAttribute.NON_SHAREABLE)
        ),
        sharing_modes=draw(mostly(building.OBTAINING, (SharingMode.QUERY,), (SharingMode.DOWNLOAD,))),
        purposes=draw(mostly((), ("p1",))),
        grade=draw(mostly(2, 1, 3, 4)),
        classification=draw(mostly("population", "state-secret")),
        state=draw(mostly(EntryState.RELEASED, EntryState.WITHDRAWN)),
    )


class World:
    """A whole state, read pair by pair by the engine and at once by the oracle."""

    def __init__(self, entries: list[Dataset], held: list[Grant], stops: list[Order]) -> None:
        self.departments: Mapping[str, Department] = {
            "d-city": department("d-city"),
            "d-branch": department("d-branch", parent="d-city"),
            "d-far": department("d-far", region="110000"),
            "police": department("police"),
            "tax": department("tax", region="440000"),
        }
        self.datasets = {entry.id: entry for entry in entries}
        self.interfaces: dict[str, tuple[Interface, ...]] = {
            entry.id: (
                interface("a", entry.id, supplier=entry.supplier),
                interface("b", entry.id, supplier=entry.supplier, modes=(SharingMode.QUERY,)),
            )
            for entry in entries
        }
        self.grants = held
        self.orders = stops

    def read(self, demand: str, name: str) -> SliceState:
        home, entry = self.departments[demand], self.datasets[name]
        return SliceState(
            sequence=1,
            department=home,
            ancestors=() if home.parent is None else (self.departments[home.parent],),
            supplier=self.departments[entry.supplier],
            dataset=entry,
            interfaces=self.interfaces[name],
            grants=tuple(held for held in self.grants if (held.department, held.dataset) == (demand, name)),
            orders=tuple(stop for stop in self.orders if stop.is_in_force),
        )

    def flat(self, layers: Layers) -> tuple[cedarpy.PolicySet, list[dict[str, Any]]]:
        """Every policy at once, and every entity."""
        policies = {policy.id: policy.est for policy in layers.policies.values()}
        entities: dict[tuple[str, str], dict[str, Any]] = {}
        for demand in DEPARTMENTS:
            for name in self.datasets:
                state = self.read(demand, name)
                for entity in slice_entities(state):
                    entities[entity["uid"]["type"], entity["uid"]["id"]] = entity
        for entry in self.datasets.values():
            policies |= building.build_entry(entry)
        for held in self.grants:
            try:
                policies |= building.build_grant(held, self.datasets[held.dataset].supplier)
            except GatewayError:
                assert held.return_flow
        by_id = {held.id: held for held in self.grants}
        for stop in self.orders:
            if stop.is_in_force:
                policies |= building.build_order(stop, by_id.get(stop.target))
        return cedarpy.PolicySet.from_json_str(est_document(policies)), list(entities.values())


@st.composite
def worlds(draw: st.DrawFn) -> World:
    entries = [draw(datasets(name, supplier)) for name, supplier in zip(DATASETS, SUPPLIERS, strict=True)]
    held = [draw(grants(f"g{number}")) for number in range(draw(st.integers(0, 5)))]
    stops = [draw(orders(f"o{number}")) for number in range(draw(mostly(0, 1, 2)))]
    return World(entries, held, stops)


@st.composite
def calls_in(draw: st.DrawFn, world: World) -> Call:
    """A call near a grant of the world: it fits the grant but for the fields drawn anew; or any call at all."""
    anything = draw(CALLS)
    if not world.grants or draw(st.integers(0, 4)) == 0:
        return anything
    held = draw(st.sampled_from(world.grants))
    fitting = {
        "department": held.department,
        "mode": draw(st.sampled_from(held.modes)),
        "purpose": held.purposes[0],
        "items": draw(st.sampled_from([None, tuple(sorted(held.items)), held.items[:1]])),
        "parameters": (("region", "442000"),) if held.parameters else (),
        "system": "sys1",
        "assurance": Assurance.MTLS,
    }
    for field in draw(mostly((), *((name,) for name in fitting))):
        del fitting[field]
    here = anything.interface.partition("/")[2]
    supplier = world.datasets[held.dataset].supplier
    return msgspec.structs.replace(anything, dataset=held.dataset, interface=f"{supplier}/{here}", **fitting)


CALLS = st.builds(
    lambda **fields: Call(interface=f"{SUPPLIERS[DATASETS.index(fields['dataset'])]}/{fields.pop('name')}", **fields),
    name=st.sampled_from(["a", "b"]),
    system=st.sampled_from(["sys1", "sys2"]),
    department=st.sampled_from(DEPARTMENTS),
    assurance=st.sampled_from(Assurance),
    dataset=st.sampled_from(DATASETS),
    mode=st.sampled_from(SharingMode),
    purpose=st.sampled_from([*PURPOSES, ""]),
    items=st.one_of(st.none(), some(ITEMS).map(lambda names: tuple(sorted(names)))),
    parameters=st.sampled_from([(), (("region", "442000"),), (("region", "110000"),)]),
    subjects=st.integers(0, 2),
)


def oracle(world: World, layers: Layers, call: Call, now: int) -> tuple[bool, str | None, tuple[str, ...]]:
    """Permit or not, the grant named and the items that leave, by one flat `is_authorized` for each grant there is."""
    policies, entities = world.flat(layers)
    entry = world.datasets[call.dataset]
    parsed = cedarpy.Entities.from_json_str(est_entities(entities), layers.schema)
    parsed = parsed.with_added_json_str(msgspec.json.encode([system_entity(call.system, call.department)]).decode())
    covering = []
    for held in [*world.grants, None]:
        asked = call.items
        if asked is None:
            asked = tuple(sorted(entry.item_names if held is None else entry.item_names & set(held.items)))
        request = use_request(call, now, asked, None if held is None else held.id, None)
        result = cedarpy.is_authorized(request, policies, parsed, schema=layers.schema)
        assert not result.diagnostics.errors
        own = held is None or building.grant_policy_id(held) in result.diagnostics.reasons
        if result.allowed and own:
            covering.append((held is None, () if held is None else narrowness(held), held, asked))
    if not covering:
        return False, None, ()
    _, _, chosen, asked = min(covering, key=lambda one: one[:2])
    return True, None if chosen is None else chosen.id, asked


def est_entities(entities: list[dict[str, Any]]) -> str:
    return msgspec.json.encode(entities).decode()


def compare_with_flat(data: st.DataObject, world: World, municipal: bool, later: int, at_once: int) -> None:
    """Also where so few grants are asked at once that a slice's policies stand in several sets."""
    with patch.object(slices, "AT_ONCE", at_once):
        _compare_with_flat(data, world, municipal, later)


def _compare_with_flat(data: st.DataObject, world: World, municipal: bool, later: int) -> None:
    calls = data.draw(st.lists(calls_in(world), min_size=1, max_size=5))
    layers = ZHONGSHAN if municipal else NATIONAL
    engine = Engine(layers, world.read, max_slices=2, max_verdicts=3)
    for now in (NOW, NOW + later):
        for call in calls:
            expected = oracle(world, layers, call, now)
            for _ in range(2):
                verdict = engine.decide(call, now)
                assert (verdict.is_permit, verdict.grant, verdict.items) == expected
        engine.drop(Change(sequence=1, kind=ChangeKind.ENTRY, subject="s1", dataset="s1"))


FLAT = st.tuples(worlds(), st.booleans(), st.sampled_from([0, 3600, 7200]), st.sampled_from([slices.AT_ONCE, 1]))


@settings(max_examples=25, deadline=None)
@given(st.data(), FLAT)
def test_the_engine_decides_as_one_flat_policy_set(data: st.DataObject, case: Any) -> None:
    compare_with_flat(data, *case)


@pytest.mark.deep
@pytest.mark.timeout(900)
@settings(max_examples=1_500, deadline=None)
@given(st.data(), FLAT)
def test_the_engine_decides_as_one_flat_policy_set_in_many_worlds(data: st.DataObject, case: Any) -> None:
    compare_with_flat(data, *case)


@settings(max_examples=25, deadline=None)
@given(st.data(), worlds())
def test_a_verdict_does_not_change_before_it_says(data: st.DataObject, world: World) -> None:
    """Until `valid_until_unix` the same call gets the same answer, hour by hour and at the last second."""
    call = data.draw(calls_in(world))
    engine = Engine(ZHONGSHAN, world.read)
    first = engine.explain(call, NOW)
    for moment in {NOW + 1, NOW + 1800, NOW + 3599, NOW + 3600, NOW + 7200, first.valid_until_unix - 1}:
        if moment < first.valid_until_unix:
            again = engine.explain(call, moment)
            assert (again.decision, again.code, again.grant) == (first.decision, first.code, first.grant)


@settings(max_examples=25, deadline=None)
@given(st.data(), worlds())
def test_a_near_miss_fails_just_where_cedar_does_not_find_the_grant_satisfied(
    data: st.DataObject, world: World
) -> None:
    """The explanation's own reading of a grant agrees with Cedar's, grant by grant."""
    call = data.draw(calls_in(world))
    _, entities = world.flat(NATIONAL)
    parsed = cedarpy.Entities.from_json_str(est_entities(entities), NATIONAL.schema)
    parsed = parsed.with_added_json_str(msgspec.json.encode([system_entity(call.system, call.department)]).decode())
    for held in world.grants:
        entry = world.datasets[held.dataset]
        if (held.department, held.dataset) != (call.department, call.dataset) or faults_of(held):
            continue
        asked = call.items or tuple(sorted(entry.item_names & set(held.items)))
        alone = cedarpy.PolicySet.from_json_str(est_document(building.build_grant(held, entry.supplier)))
        allowed = cedarpy.is_authorized(use_request(call, NOW, asked, held.id, None), alone, parsed).allowed
        failed = failed_conditions(held, entry, call, NOW)
        if held.state is not GrantState.ISSUED:
            failed -= {"suspended", "terminated"} | ({"time"} if held.state is GrantState.CLOSED else set())
            failed |= {"time"} if held.valid_from > AT else set()
        assert allowed is (not failed)


def test_the_random_worlds_hold_permits_and_denials_of_many_kinds() -> None:
    """What the properties above are tried on is not all of one kind."""
    seen: Counter[str] = Counter()

    @settings(max_examples=100, deadline=None, database=None, derandomize=True)
    @given(st.data(), worlds())
    def look(data: st.DataObject, world: World) -> None:
        verdict = Engine(ZHONGSHAN, world.read).explain(data.draw(calls_in(world)), NOW)
        seen[verdict.code or ("under a grant" if verdict.grant else "by the region's rule")] += 1

    look()
    assert seen["under a grant"] >= 5
    assert len(seen) >= 6
