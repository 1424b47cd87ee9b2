"""Two sets of layers over everything that stands: who gains, who loses."""

import itertools
import random
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.domain.callers import Assurance
from gateway.domain.directory import DataItem, Dataset, Department, SharingAttribute, SharingMode
from gateway.domain.grants import Grant, GrantState, Hours
from gateway.domain.orders import Reach
from gateway.domain.state import SliceState
from gateway.policy import load_layers
from gateway.policy.law.layers import Layers, parse_layers, read_set
from gateway.policy.live.slices import Slice
from gateway.policy.offline.comparing import Comparison, compare
from tests.policies.cases import (
    NATIONAL,
    NOON,
    NOW,
    ROOT,
    ZHONGSHAN,
    call,
    dataset,
    department,
    grant,
    interface,
    order,
    state,
)
from tests.policies.layering import note, root_with

SET = read_set(ROOT, ["national"])
DESKS = ("marriage-desk", "desk-1", "desk-2")
"""The systems of `civil-affairs` that are registered; a call of any other system of its is like any of these."""


class Directory:
    """What stands, in memory."""

    def __init__(
        self,
        grants: Iterable[Grant] = (),
        entries: Iterable[Dataset] = (),
        scopes: tuple[str, ...] = ("region",),
        **more: Any,
    ) -> None:
        self.scopes = scopes
        self.grants = tuple(grants)
        self.entries = {entry.id: entry for entry in entries} or {"d1": dataset()}
        self.more = more

    def pairs(self) -> Iterable[tuple[str, str]]:
        return sorted({(one.department, one.dataset) for one in self.grants})

    def datasets(self) -> Iterable[str]:
        return sorted(self.entries)

    def departments(self) -> Iterable[Department]:
        return [department(), department("tax"), department("far", region="110000")]

    def home_of(self, system: str) -> str | None:
        return "tax" if system == "tax-desk" else "civil-affairs" if system in DESKS else None

    def read(self, department_id: str, dataset_id: str) -> SliceState:
        home = next(one for one in self.departments() if one.id == department_id)
        held = tuple(one for one in self.grants if (one.department, one.dataset) == (department_id, dataset_id))
        return state(
            department=home,
            dataset=self.entries[dataset_id],
            interfaces=(interface(of=dataset_id, scope_parameters=self.scopes),),
            grants=held,
            **self.more,
        )


@pytest.fixture(scope="module")
def stricter(tmp_path_factory: pytest.TempPathFactory) -> Layers:
    root = root_with(tmp_path_factory.mktemp("stricter"))
    grades = root / "national" / "art34-35-grades.cedar"
    grades.write_text(
        grades.read_text(encoding="utf-8").replace('[Grade::"3"', '[Grade::"2", Grade::"3"'), encoding="utf-8"
    )
    return load_layers(root, ["national"])


def with_rule(folder: Path, rule: str) -> Layers:
    return load_layers(root_with(folder, extra=note("extra") + rule), ["national", "extra"])


def run(old: Layers, new: Layers, *grants: Grant, **more: Any) -> Comparison:
    return compare(old, new, Directory(grants or [grant()], **more), NOW)


def test_the_same_set_takes_and_gives_nothing() -> None:
    found = run(NATIONAL, NATIONAL)
    assert (found.gaining, found.losing, found.differences) == ((), (), ())
    assert (found.grants, found.takes_away) == (1, False)
    assert found.calls > 0


def test_a_standing_grant_that_loses_is_named(stricter: Layers) -> None:
    found = run(NATIONAL, stricter, grant("a"), grant("b", department="tax"))
    assert found.losing == ("a", "b")
    assert found.takes_away
    (difference,) = [one for one in found.differences if one.grant == "a"]
    assert (difference.change, difference.before, difference.after) == ("loses", "permit", "assurance-too-low")
    assert difference.assurance == "legacy"
    assert difference.policies == ("national-art35-grade",)
    back = run(stricter, NATIONAL)
    assert (back.gaining, back.losing, back.takes_away) == (("g1",), (), False)


def test_a_grant_that_is_over_is_not_compared(stricter: Layers) -> None:
    over = [
        grant("a", valid_until=NOON),
        *(grant(state.value, state=state) for state in (GrantState.CLOSED, GrantState.TERMINATED)),
    ]
    found = run(NATIONAL, stricter, *over)
    assert (found.grants, found.losing) == (0, ())


def test_a_grant_that_begins_later_is_compared(stricter: Layers) -> None:
    assert run(NATIONAL, stricter, grant(valid_from=NOON + timedelta(days=3))).losing == ("g1",)


def test_a_rule_on_one_item_alone_is_seen(tmp_path: Path) -> None:
    rule = 'forbid (principal, action in Action::"use", resource) when { context.items == ["id_number"] };'
    assert run(NATIONAL, with_rule(tmp_path, rule)).losing == ("g1",)


def test_a_rule_on_a_time_of_day_is_seen_within_the_grants_hours(tmp_path: Path) -> None:
    rule = 'forbid (principal, action in Action::"use", resource) when { context.minuteOfDay >= 1320 };'
    night = with_rule(tmp_path, rule)
    assert run(NATIONAL, night).losing == ("g1",)
    assert run(NATIONAL, night, grant(hours=Hours(540, 1020))).losing == ()
    assert run(NATIONAL, night, grant(hours=Hours(540, 1321))).losing == ("g1",)


def test_a_mask_is_a_loss(tmp_path: Path) -> None:
    rule = 'permit (principal is System, action in Action::"use", resource) when { context has grant };'
    root = root_with(tmp_path, extra=note("veil", '@mask("sensitive=hash")') + rule)
    found = run(NATIONAL, load_layers(root, ["national", "extra"]))
    assert found.losing == ("g1",)
    assert found.differences[0].after == "permit with id_number=hash"


def test_departments_without_a_grant_gain_and_lose_too() -> None:
    free = [dataset(sharing_attribute=SharingAttribute.UNCONDITIONAL)]
    found = compare(NATIONAL, ZHONGSHAN, Directory(entries=free), NOW)
    assert found.datasets == 2
    assert {(one.change, one.department, one.grant) for one in found.differences} == {("gains", "civil-affairs", None)}
    assert {one.mode for one in found.differences} == {"query", "batch", "download", "verify"}
    assert compare(ZHONGSHAN, NATIONAL, Directory(entries=free), NOW).takes_away


def test_where_neither_set_permits_without_a_grant_datasets_are_not_read() -> None:
    assert compare(NATIONAL, NATIONAL, Directory(), NOW).datasets == 0


def test_a_suspended_grant_gains_and_loses_nothing(stricter: Layers) -> None:
    found = run(NATIONAL, stricter, orders=(order(reach=Reach.DEPARTMENT, target="civil-affairs"),))
    assert found.losing == ()


def test_what_is_left_out_as_untouched_is_the_same_in_both(stricter: Layers) -> None:
    """The short cut agrees with deciding every call by both sets."""
    held = [grant("a", modes=tuple(SharingMode)), grant("b", assurance="mtls")]
    found = run(NATIONAL, stricter, *held[:1])
    direct = []
    part = Directory(held[:1]).read("civil-affairs", "d1")
    for mode in SharingMode:
        for assurance in ("legacy", "bearer", "dpop", "mtls"):
            asked = call(mode=mode, assurance=type(call().assurance)(assurance))
            verdicts = [Slice(layers, part).evaluate(asked, NOW).is_permit for layers in (NATIONAL, stricter)]
            if verdicts == [True, False]:
                direct.append(mode.value)
    assert {one.mode for one in found.differences} == set(direct)


USE = 'action in Action::"use"'


def test_a_rule_on_any_system_that_a_grant_names_is_seen(tmp_path: Path) -> None:
    named = with_rule(tmp_path, f'forbid (principal == System::"desk-2", {USE}, resource);')
    assert run(NATIONAL, named, grant(systems=("desk-1", "desk-2"))).losing == ("g1",)
    assert run(NATIONAL, named, grant(systems=("desk-1",))).losing == ()


def test_a_rule_on_a_system_is_seen_where_the_grant_names_none_and_by_its_own_department_alone(tmp_path: Path) -> None:
    named = with_rule(tmp_path, f'forbid (principal == System::"marriage-desk", {USE}, resource);')
    assert run(NATIONAL, named, grant("a"), grant("b", department="tax")).losing == ("a",)


def test_a_rule_on_a_system_that_holds_no_grant_is_seen(tmp_path: Path) -> None:
    """Of two departments of one region, the one whose system the rule names is looked at by itself."""
    free = [dataset(sharing_attribute=SharingAttribute.UNCONDITIONAL)]
    root = root_with(tmp_path, extra=note("extra") + f'forbid (principal == System::"tax-desk", {USE}, resource);')
    stricter = load_layers(root, ["national", "zhongshan", "extra"])
    found = compare(ZHONGSHAN, stricter, Directory(entries=free), NOW)
    assert {(one.change, one.department) for one in found.differences} == {("loses", "tax")}


def test_a_rule_on_any_parameter_value_that_a_grant_allows_is_seen(tmp_path: Path) -> None:
    sent = 'context.parameters.contains({name: "region", value: "441300"})'
    named = with_rule(tmp_path, f"forbid (principal, {USE}, resource) when {{ {sent} }};")
    assert run(NATIONAL, named, grant(parameters={"region": ("442000", "441300")})).losing == ("g1",)
    assert run(NATIONAL, named, grant(parameters={"region": ("442000",)})).losing == ()
    assert run(NATIONAL, named, grant()).losing == ("g1",), "what a grant does not constrain may be sent"


def test_a_rule_that_begins_later_is_seen_within_the_grants_time(tmp_path: Path) -> None:
    begins = NOON + timedelta(days=90)
    later = with_rule(
        tmp_path, f"forbid (principal, {USE}, resource) when {{ context.now >= {int(begins.timestamp())} }};"
    )
    ends = {"a": 89, "b": 90, "c": 91, "d": 300}
    held = [grant(name, dataset=name, valid_until=NOON + timedelta(days=days)) for name, days in ends.items()]
    found = compare(NATIONAL, later, Directory(held, [dataset(name) for name in ends]), NOW)
    assert (found.losing, found.unsettled) == (("c", "d"), ())


def test_a_rule_on_items_asked_together_is_seen(tmp_path: Path) -> None:
    rule = 'context.items.containsAll(["name", "id_number"]) && !context.items.contains("address")'
    together = with_rule(tmp_path, f"forbid (principal, {USE}, resource) when {{ {rule} }};")
    assert run(NATIONAL, together, grant(items=("name", "id_number", "address"))).losing == ("g1",)
    assert run(NATIONAL, together, grant(items=("name", "address"))).losing == ()


def test_a_loss_that_only_a_wider_grants_hours_hide_is_seen(tmp_path: Path) -> None:
    """Where another grant covers the call by day, the loss shows by night."""
    rule = with_rule(
        tmp_path, f'forbid (principal, {USE}, resource) when {{ context has grant && context.grant == Grant::"a" }};'
    )
    held = (grant("a"), grant("b", hours=Hours(0, 1320)))
    assert run(NATIONAL, rule, *held).losing == ("a",)
    assert run(NATIONAL, rule, grant("a"), grant("b")).losing == ()


@pytest.mark.parametrize(
    ("condition", "aspect"),
    [
        ("context.now - 5 > 4102444800", "time"),
        ("context.items.contains(context.purpose)", "items"),
        ('context.parameters.contains({name: "region", value: context.purpose})', "parameters"),
    ],
)
def test_what_the_kinds_of_calls_do_not_settle_is_not_ruled_out(tmp_path: Path, condition: str, aspect: str) -> None:
    """And only where the policy's other conditions, and its scope, can hold at all."""
    rule = f'forbid (principal, {USE}, resource) when {{ resource.dataset.grade != Grade::"1" && {condition} }};'
    found = run(NATIONAL, with_rule(tmp_path, rule))
    assert (found.losing, found.unsettled, found.takes_away) == ((), ("g1",), True)
    (difference,) = found.differences
    assert (difference.change, difference.after) == ("may-lose", f"not ruled out: {aspect}")
    assert difference.policies == ("extra",)
    low = compare(NATIONAL, with_rule(tmp_path / "low", rule), Directory([grant()], [dataset(grade=1)]), NOW)
    assert (low.unsettled, low.takes_away) == ((), False)


def test_what_is_too_much_to_put_is_not_ruled_out(tmp_path: Path) -> None:
    names = tuple(f"i{number}" for number in range(12))
    held = ", ".join(f'"{name}"' for name in names[:5])
    kept = " && ".join(f'!context.items.contains("{name}")' for name in names[5:])
    rule = f"forbid (principal, {USE}, resource) when {{ context.items.containsAll([{held}]) && {kept} }};"
    entry = dataset(items=tuple(DataItem(name) for name in names))
    found = compare(NATIONAL, with_rule(tmp_path, rule), Directory([grant(items=names)], [entry]), NOW)
    assert (found.losing, found.unsettled) == ((), ("g1",))


CONDITIONS = (
    'context.items.contains("name")',
    'context.items.containsAll(["name", "id_number"])',
    'context.items.containsAny(["address"])',
    'context.items == ["id_number", "address"]',
    "resource.dataset.sensitive.containsAny(context.items)",
    "context.items == resource.dataset.items",
    'context.parameters.contains({name: "region", value: "442000"})',
    'context.parameters.contains({name: "region", value: "441300"})',
    'context.parameters.containsAny([{name: "year", value: "2024"}])',
    "context.parameters.isEmpty()",
    f"context.now >= {NOW + 40 * 86_400}",
    f"context.now < {NOW + 7 * 86_400}",
    "context.minuteOfDay >= 1200",
    "context.minuteOfDay < 60",
    'principal == System::"marriage-desk"',
    'principal == System::"desk-2"',
    "context.assurance < 2",
    'context.purpose like "m*"',
    'context.mode == Mode::"verify"',
    'context has grant && context.grant == Grant::"g1"',
    "context.items.contains(context.purpose)",
    'context.parameters.contains({name: context.purpose, value: "441300"})',
    "context.now - 3600 >= context.minuteOfDay",
)


@st.composite
def conditions(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.tuples(st.booleans(), st.sampled_from(CONDITIONS)), min_size=1, max_size=4))
    text = f" {draw(st.sampled_from(['&&', '||']))} ".join(
        f"({part})" if is_so else f"!({part})" for is_so, part in parts
    )
    return f"{draw(st.sampled_from(['when', 'when', 'unless']))} {{ {text} }}"


@st.composite
def held_grants(draw: st.DrawFn, name: str) -> Grant:
    return grant(
        name,
        items=draw(st.sampled_from([("name",), ("name", "id_number"), ("name", "id_number", "address")])),
        systems=draw(st.sampled_from([(), ("desk-1",), ("desk-1", "desk-2")])),
        parameters=draw(st.sampled_from([{}, {"region": ("442000",)}, {"region": ("442000", "441300")}])),
        modes=draw(st.sampled_from([(SharingMode.QUERY,), (SharingMode.QUERY, SharingMode.VERIFY)])),
        hours=draw(st.sampled_from([None, Hours(480, 1230)])),
        valid_until=NOON + timedelta(days=draw(st.sampled_from([5, 30, 100]))),
    )


ASKED = [None, *(each for size in (1, 2, 3) for each in itertools.combinations(("address", "id_number", "name"), size))]
SENT = [
    (*region, *year)
    for region in ((), (("region", "442000"),), (("region", "441300"),), (("region", "1"),))
    for year in ((), (("year", "2024"),), (("year", "1999"),))
]
MOMENTS = [NOW + day * 86_400 + hour * 3600 for day in (0, 8, 39, 41) for hour in (0, 9, 12)]
CALLS = [
    (call(mode=mode, assurance=assurance, items=items, parameters=sent, system=system), moment)
    for mode in (SharingMode.QUERY, SharingMode.VERIFY)
    for assurance in (Assurance.LEGACY, Assurance.MTLS)
    for items in ASKED
    for sent in SENT
    for system in ("marriage-desk", "desk-1", "desk-2", "other")
    for moment in MOMENTS
]


ANY_FORBID = given(st.randoms(use_true_random=False), conditions(), held_grants("g1"), st.none() | held_grants("g2"))
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


@settings(max_examples=8, deadline=None, phases=PHASES)
@ANY_FORBID
def test_whatever_a_forbid_takes_from_a_grant_is_found_or_not_ruled_out(
    chance: random.Random, condition: str, first: Grant, second: Grant | None
) -> None:
    assert_loss_is_told(chance, condition, first, second)


@pytest.mark.deep
@settings(max_examples=150, deadline=None, phases=PHASES)
@ANY_FORBID
def test_whatever_a_forbid_takes_is_found_or_not_ruled_out_many_times(
    chance: random.Random, condition: str, first: Grant, second: Grant | None
) -> None:
    assert_loss_is_told(chance, condition, first, second)


def assert_loss_is_told(chance: random.Random, condition: str, first: Grant, second: Grant | None) -> None:
    """Some calls under both grants, at random: whoever is denied by one more forbid is among those that are told."""
    held = [first] if second is None else [first, second]
    files = {
        **SET.files,
        "national/extra.cedar": note("extra") + f"forbid (principal, {USE}, resource) {condition};",
    }
    stricter = parse_layers(files, SET.layers)
    entry = Directory(held, scopes=("region", "year"))
    part = entry.read("civil-affairs", "d1")
    before, after = Slice(NATIONAL, part), Slice(stricter, part)
    lost = {
        found.grant
        for asked, moment in chance.sample(CALLS, 150)
        if (found := before.evaluate(asked, moment)).is_permit and not after.evaluate(asked, moment).is_permit
    }
    told = compare(NATIONAL, stricter, entry, NOW)
    assert lost <= {*told.losing, *told.unsettled}
    assert told.takes_away or not lost
