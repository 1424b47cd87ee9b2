"""When a verdict can change by time alone: by a grant's limits, and by static policies that look at the time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.policy import Engine, load_layers
from gateway.policy.law.time_limits import FOREVER_UNIX, china_day, minute_of_day, next_change, unix_seconds
from gateway.policy.live.slices import Slice
from tests.policies.cases import NATIONAL, NOW, call, state
from tests.policies.layering import note, root_with


def until(folder: Path, condition: str, now: int = NOW) -> int:
    text = note("x") + f'forbid (principal, action in Action::"use", resource) when {{ {condition} }};'
    layers = load_layers(root_with(folder, extra=text), ["national", "extra"])
    return Slice(layers, state()).evaluate(call(), now).valid_until_unix


@pytest.mark.parametrize(
    ("condition", "turns"),
    [
        (f"context.now < {NOW + 100}", 100),
        (f"{NOW + 100} <= context.now", 100),
        (f"context.now <= {NOW + 100}", 101),
        (f"{NOW + 100} < context.now", 101),
        (f"context.now == {NOW + 100}", 100),
        (f"context.now == {NOW}", 1),
        (f"{NOW} != context.now", 1),
        (f'context.purpose == "x" && context.now > {NOW + 100}', 101),
        (f"!(context.now >= {NOW + 100})", 100),
    ],
)
def test_a_comparison_with_a_number_is_known_ahead(tmp_path: Path, condition: str, turns: int) -> None:
    assert until(tmp_path, condition) == NOW + turns


def test_a_time_of_day_is_known_ahead_for_every_day(tmp_path: Path) -> None:
    assert until(tmp_path / "a", "context.minuteOfDay >= 780") == NOW + 3600
    assert until(tmp_path / "b", "context.minuteOfDay <= 720") == NOW + 60
    assert until(tmp_path / "c", "context.minuteOfDay < 719") == NOW + 43_200


def test_what_looks_at_the_time_of_day_turns_at_midnight_too(tmp_path: Path) -> None:
    """Nothing before eight: a permit of the afternoon ends at midnight, when the minute of the day falls back to 0."""
    text = note("x") + 'forbid (principal, action in Action::"use", resource) when { context.minuteOfDay < 480 };'
    engine = Engine(load_layers(root_with(tmp_path, extra=text), ["national", "extra"]), lambda *_: state())
    midnight = NOW + 43_200
    assert engine.decide(call(), NOW).is_permit
    assert engine.kept(call(), midnight - 1) is not None
    assert engine.kept(call(), midnight) is None
    assert not engine.decide(call(), midnight).is_permit
    assert engine.decide(call(), midnight + 480 * 60).is_permit


@pytest.mark.parametrize(
    "condition",
    [
        "context.now * 2 < 5",
        "context.now < context.minuteOfDay",
        "context.minuteOfDay + 1 == 3",
        "[context.now].contains(3)",
        "context == context",
        "{ Value: context.now } == { Value: 5 }",
        '{ ".": context.now + 1 } == { ".": 5 }',
        "(if context.now < 3 then context.now else 4) == 4",
    ],
)
def test_time_used_in_an_unknown_way_makes_the_verdict_good_for_its_instant(tmp_path: Path, condition: str) -> None:
    assert until(tmp_path, condition) == NOW + 1


def test_a_verdict_for_its_instant_is_decided_again_the_next_second(tmp_path: Path) -> None:
    text = note("x") + 'forbid (principal, action in Action::"use", resource) when {{ context.now + 0 > {} }};'
    layers = load_layers(root_with(tmp_path, extra=text.format(NOW)), ["national", "extra"])
    engine = Engine(layers, lambda *_: state())
    assert engine.decide(call(), NOW).is_permit
    assert engine.kept(call(), NOW) is not None
    assert engine.kept(call(), NOW + 1) is None
    assert not engine.decide(call(), NOW + 1).is_permit


def test_officers_policies_that_look_at_the_time_do_not_shorten_verdicts(tmp_path: Path) -> None:
    text = note("x") + 'forbid (principal, action in Action::"act", resource) when { context.now * 2 < 5 };'
    layers = load_layers(root_with(tmp_path, extra=text), ["national", "extra"])
    found = Slice(layers, state()).evaluate(call(), NOW)
    assert found.valid_until_unix == Slice(NATIONAL, state()).evaluate(call(), NOW).valid_until_unix


def test_seconds_are_rounded_to_the_side_that_keeps_the_limit() -> None:
    whole = datetime(2026, 3, 2, tzinfo=UTC)
    assert unix_seconds(whole) == int(whole.timestamp())
    assert unix_seconds(whole + timedelta(microseconds=1)) == int(whole.timestamp()) + 1
    with pytest.raises(GatewayError, match="no time zone"):
        unix_seconds(datetime(2026, 3, 2))  # noqa: DTZ001 - a time without zone is the fault


def test_days_and_minutes_are_those_of_china() -> None:
    midnight = int(datetime(2026, 3, 1, 16, tzinfo=UTC).timestamp())
    assert minute_of_day(midnight) == 0
    assert minute_of_day(midnight - 1) == 1439
    assert china_day(midnight) == china_day(midnight - 1) + 1


def test_the_next_change_is_after_now() -> None:
    assert next_change(NOW, [], []) == FOREVER_UNIX
    assert next_change(NOW, [NOW - 1, NOW], [0]) == NOW + 43_200
    assert next_change(NOW + 43_200, [], [720]) == NOW + 86_400
    assert next_change(NOW, [NOW + 5], [721]) == NOW + 5
