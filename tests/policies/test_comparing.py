"""Two sets of layers over everything that stands: who gains, who loses."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.directory import Dataset, Department, SharingAttribute, SharingMode
from gateway.domain.grants import Grant, GrantState, Hours
from gateway.domain.orders import Reach
from gateway.domain.state import SliceState
from gateway.policy import load_layers
from gateway.policy.comparing import Comparison, compare
from gateway.policy.layers import Layers
from gateway.policy.slices import Slice
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
from tests.policies.layering import note, root_with


class Directory:
    """What stands, in memory."""

    def __init__(self, grants: Iterable[Grant] = (), entries: Iterable[Dataset] = (), **more: Any) -> None:
        self.grants = tuple(grants)
        self.entries = {entry.id: entry for entry in entries} or {"d1": dataset()}
        self.more = more

    def pairs(self) -> Iterable[tuple[str, str]]:
        return sorted({(one.department, one.dataset) for one in self.grants})

    def datasets(self) -> Iterable[str]:
        return sorted(self.entries)

    def departments(self) -> Iterable[Department]:
        return [department(), department("tax"), department("far", region="110000")]

    def read(self, department_id: str, dataset_id: str) -> SliceState:
        home = next(one for one in self.departments() if one.id == department_id)
        held = tuple(one for one in self.grants if (one.department, one.dataset) == (department_id, dataset_id))
        return state(
            department=home,
            dataset=self.entries[dataset_id],
            interfaces=(interface(of=dataset_id),),
            grants=held,
            **self.more,
        )


@pytest.fixture(scope="module")
def stricter(tmp_path_factory: pytest.TempPathFactory) -> Layers:
    root = root_with(tmp_path_factory.mktemp("stricter"))
    grades = root / "national" / "art34-35-grades.cedar"
    grades.write_text(grades.read_text(encoding="utf-8").replace(">= 3", ">= 2"), encoding="utf-8")
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
