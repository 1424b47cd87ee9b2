"""A grant's conditions: each declared once, and whatever depends on conditions reaches each of them."""

import re
from typing import Any

import msgspec
import pytest

from gateway.domain import conditions as declared
from gateway.domain.callers import Assurance
from gateway.domain.conditions import CONDITIONS, NOT_CONDITIONS, Condition, faults_of, narrows
from gateway.domain.grants import Grant, Hours, Quota
from gateway.policy import default_policies_root, load_layers
from gateway.policy.law import time_limits
from gateway.policy.law.time_limits import TIMELESS
from gateway.policy.live import conditions as upheld
from gateway.policy.live import refusals
from gateway.policy.live.conditions import UPHELD, Upheld, check_rows, permit_conditions, turning_points
from gateway.policy.live.expressions import context
from gateway.policy.live.slices import Slice
from gateway.policy.offline.comparing import compare
from tests.policies.cases import NATIONAL, NOW, call, grant, state
from tests.policies.layering import note, root_with
from tests.policies.test_comparing import Directory


def test_every_field_of_a_grant_is_a_condition_or_says_why_not() -> None:
    """A field that somebody adds is seen by every rule on conditions, or stands here with a reason."""
    fields = {field.name for field in msgspec.structs.fields(Grant)}
    of_conditions = [name for row in CONDITIONS for name in row.fields]
    assert sorted([*of_conditions, *NOT_CONDITIONS]) == sorted(fields)
    assert all(reason.strip() for reason in NOT_CONDITIONS.values())


def test_each_condition_is_upheld_by_cedar_or_says_by_what() -> None:
    """No condition is declared that nothing upholds."""
    full = grant(
        systems=("s1",),
        interfaces=("i1",),
        hours=Hours(1, 2),
        parameters={"region": ("1",)},
        assurance=Assurance.DPOP,
        quota=Quota(calls_a_day=1),
        combination=("d1",),
    )
    for row in UPHELD:
        assert bool(row.cedar(full, "police")) != bool(row.elsewhere), row.name
    with pytest.raises(ValueError, match="declared and not upheld"):
        check_rows((*CONDITIONS, Condition("weekdays", ("weekdays",), lambda _new, _old: True)), UPHELD)


def test_whatever_of_the_context_is_not_known_to_be_timeless_counts_as_a_clock() -> None:
    """A new attribute of the context is a clock that may turn at any second, until somebody says that it is none."""
    schema = (default_policies_root() / "schema.cedarschema").read_text("utf-8")
    use = re.search(r"^type Use = \{(.*?)^\};", schema, re.MULTILINE | re.DOTALL)
    assert use is not None
    attributes = set(re.findall(r"^    (\w+)\??:", use[1], re.MULTILINE))
    assert attributes == TIMELESS | set(time_limits._CLOCKS) | time_limits._DAYS
    of_a_day = {"==": {"left": {".": {"left": context("calendar"), "attr": "workday"}}, "right": {"Value": True}}}
    found = time_limits.time_use({"conditions": [{"kind": "when", "body": of_a_day}]})
    assert not found.unknown
    assert 0 in found.minutes
    unheard_of = {"==": {"left": context("dayOfWeek"), "right": {"Value": 6}}}
    assert time_limits.time_use({"conditions": [{"kind": "when", "body": unheard_of}]}).unknown


def _even_seconds(one: Grant, _supplier: str) -> list[dict[str, Any]]:
    """Cedar of a condition that looks at the clock in a way whose next change is not known."""
    if not one.combination:
        return []
    doubled = {"*": {"left": context("now"), "right": {"Value": 1}}}
    return [{"<": {"left": doubled, "right": {"Value": NOW + 100}}}]


@pytest.fixture
def now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """One condition more, given as two rows and nothing else; it stands in grants that name a combination."""

    def fails_at(one: Grant, now_unix: int) -> bool:
        return bool(one.combination) and now_unix >= NOW + 100

    row = Condition(
        "now-and-then",
        ("combination",),
        lambda new, old: bool(old.combination) or not new.combination,
        is_added=True,
    )
    told = Upheld(
        "now-and-then",
        "Decree 809 Art. 15",
        "it holds now and then",
        "该授权不时有效",
        lambda one, _dataset, _call, now_unix: fails_at(one, now_unix),
        _even_seconds,
        fails_at=fails_at,
    )
    monkeypatch.setattr(declared, "CONDITIONS", (*CONDITIONS, row))
    for module in (upheld, refusals):
        monkeypatch.setattr(module, "UPHELD", (*UPHELD, told))
    monkeypatch.setitem(refusals._TOLD, told.name, (told.article, told.sentence, told.sentence_zh))
    monkeypatch.setitem(refusals._ORDER, told.name, len(refusals._ORDER))


@pytest.mark.usefixtures("now_and_then")
def test_a_condition_given_as_two_rows_reaches_all_that_depends_on_conditions(tmp_path: Any) -> None:
    """Permit, verdict's end, narrowing, return flow, denial and comparison, none of which knows the condition."""
    limited = grant(combination=("d1",))
    found = Slice(NATIONAL, state(grants=(limited,)))
    permit = found.evaluate(call(), NOW)
    assert permit.is_permit
    assert permit.valid_until_unix == NOW + 1, "a clock looked at in an unknown way may turn at any second"
    denied = found.evaluate(call(), NOW + 100)
    assert not denied.is_permit
    assert denied.explanation is not None
    assert denied.explanation.near[0].failed == ("now-and-then",)
    assert denied.explanation.near[0].detail == ("it holds now and then",)
    assert narrows(grant(), limited)
    assert [field for field, _ in faults_of(grant(combination=("d1",), return_flow=True))] == ["combination"]
    assert turning_points(limited, "police").unknown
    later = note("x") + f'forbid (principal, action in Action::"use", resource) when {{ context.now == {NOW + 3} }};'
    folder = root_with(tmp_path, extra=later)
    outcome = compare(NATIONAL, load_layers(folder, ["national", "extra"]), Directory([limited]), NOW)
    assert outcome.takes_away


def test_a_grants_turning_points_are_read_from_its_cedar() -> None:
    """Bounds and hours as they stand in the permit, and nothing declared beside it."""
    one = grant(hours=Hours(540, 1020))
    turning = turning_points(one, "police")
    assert turning.minutes == {540, 1020}
    assert turning.instants == {int(one.valid_from.timestamp()), int(one.valid_until.timestamp())}
    assert not turning.unknown
    assert len(permit_conditions(one, "police")) == 6
