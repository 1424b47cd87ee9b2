"""Facts that rules need, each way: the calendar, how many persons and items; what is not known passes nowhere."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from gateway.domain.calendar import CHINA, DayFacts, day_facts, last_known_day
from gateway.domain.directory import Certification, System, SystemDates
from gateway.domain.errors import GatewayError
from gateway.domain.orders import Reach
from gateway.policy.law.layers import Layers, parse_layers, read_set
from gateway.policy.law.settled import EXAMINED
from gateway.policy.law.world import slice_entities
from gateway.policy.live.engine import Engine
from gateway.policy.live.slices import Slice
from gateway.policy.offline.comparing import compare
from gateway.policy.offline.probing import schema_faults
from gateway.policy.offline.tables import read_case, run_case
from tests.policies.cases import NATIONAL, NOW, ROOT, call, department, grant, order, state
from tests.policies.layering import note
from tests.policies.test_comparing import Directory

WORKDAYS = "context.calendar.workday"
SET = read_set(ROOT, ["national"])


def rule(condition: str) -> Layers:
    """The national layer and one forbid more, that holds unless a condition is met."""
    text = f'{note("extra")} forbid (principal, action in Action::"use", resource) unless {{ {condition} }};'
    return parse_layers({**SET.files, "extra/extra.cedar": text}, ["national", "extra"])


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=CHINA).timestamp())


def granted(**more: Any) -> Any:
    return state(
        grants=(
            grant(valid_from=datetime(2020, 1, 1, tzinfo=UTC), valid_until=datetime(2040, 1, 1, tzinfo=UTC), **more),
        )
    )


def code(layers: Layers, moment: str, **more: Any) -> str:
    return Slice(layers, granted()).evaluate(call(**{"subjects": 1, **more}), at(moment)).code


@pytest.mark.parametrize(
    ("day", "facts"),
    [
        (date(2026, 3, 2), DayFacts(workday=True, holiday=False, weekday=1)),
        (date(2026, 3, 7), DayFacts(workday=False, holiday=False, weekday=6)),
        (date(2026, 10, 1), DayFacts(workday=False, holiday=True, weekday=4)),
        (date(2026, 10, 10), DayFacts(workday=True, holiday=False, weekday=6)),
        (date(2001, 1, 1), None),
    ],
)
def test_a_day_is_what_the_notice_says(day: date, facts: DayFacts | None) -> None:
    """State Council notice on the holidays of 2026: the tenth of October makes up for the holiday's days."""
    assert day_facts(day) == facts


def test_what_is_closed_on_days_of_rest_is_closed_from_midnight_on() -> None:
    """A verdict made on a working day does not hold into the weekend, nor one of the weekend into the Monday."""
    layers = rule(WORKDAYS)
    assert code(layers, "2026-03-06T23:59:59") == ""
    assert code(layers, "2026-03-07T00:00:00") == "not-granted"
    assert code(layers, "2026-10-01T10:00:00") == "not-granted"
    assert code(layers, "2026-10-10T10:00:00") == ""
    engine = Engine(layers, lambda *_: granted())
    assert engine.decide(call(), at("2026-03-06T10:00:00")).valid_until_unix == at("2026-03-07T00:00:00")
    assert engine.kept(call(), at("2026-03-06T23:59:59")) is not None
    assert engine.kept(call(), at("2026-03-07T00:00:00")) is None


def test_a_day_that_no_notice_reaches_denies_what_asks_for_it() -> None:
    """Whichever way a rule asks: nobody takes it for a working day, nor for a day of rest."""
    beyond = f"{last_known_day() + timedelta(days=1)}T10:00:00"
    for condition in (WORKDAYS, f"!{WORKDAYS}", "context.calendar.holiday", "!(context.calendar.weekday == 3)"):
        verdict = Slice(rule(condition), granted()).evaluate(call(), at(beyond))
        assert verdict.code == "not-granted"
        assert verdict.explanation is not None
        assert "notice" in verdict.explanation.next_step
        assert "放假通知" in verdict.explanation.next_step_zh
    assert code(NATIONAL, beyond) == ""
    assert code(rule(f'context.purpose != "other" || {WORKDAYS}'), beyond) == ""


@pytest.mark.parametrize(
    "asked",
    [
        "context has calendar",
        "context has subjects",
        "context has itemsAsked",
        "context.calendar has workday",
        "principal has certified",
        "principal.department has stops",
        "context has grant && context.grant has stops",
    ],
)
def test_whether_it_is_known_is_no_question(asked: str) -> None:
    """A forbid behind such a question would be silent on the day that nobody knows."""
    with pytest.raises(GatewayError) as refused:
        rule(asked)
    faults = [each["fault"] for each in refused.value.members["faults"]]
    assert any("always told" in fault for fault in faults)


def test_how_many_are_asked_about_is_counted() -> None:
    layers = rule("context.subjects >= 1 && context.subjects <= 3")
    for many, said in ((0, "not-granted"), (1, ""), (3, ""), (4, "not-granted"), (None, "not-granted")):
        assert code(layers, "2026-03-02T12:00:00", subjects=many) == said
    denied = Slice(layers, granted()).evaluate(call(subjects=None), NOW)
    assert denied.explanation is not None
    assert "how many persons" in denied.explanation.next_step


def test_how_many_items_are_counted() -> None:
    """Those asked for, once each; where none are named, those of the grant; those of the grant and of the entry."""
    items = ("name", "id_number")
    for condition, said in (
        ("context.itemsAsked < 2", "not-granted"),
        ("context.itemsAsked == 2", ""),
        ("context has grant && context.itemsAsked == context.grant.itemsGiven", ""),
        ("resource.dataset.itemsListed > context.itemsAsked", ""),
        ("resource.dataset.itemsListed == 2", "not-granted"),
    ):
        layers = rule(condition)
        for asked in (items, None):
            part = Slice(layers, granted(items=items))
            assert part.evaluate(call(items=asked), NOW).code == said, condition


DAY = 86_400
SYSTEM = System("marriage-desk", "civil-affairs", "desk", registered_unix=NOW - 10 * DAY)
CERTIFIED = msgspec.structs.replace(SYSTEM, certification=Certification("114", date(2026, 2, 1), date(2026, 3, 31)))


def test_dates_of_a_system_are_compared() -> None:
    """To the second: the last day of a certification counts whole, and what is not known denies."""
    certified = rule("context.now >= principal.certified && context.now < principal.certifiedUntil")
    for moment, said in (
        ("2026-01-31T23:59:59", "not-granted"),
        ("2026-02-01T00:00:00", ""),
        ("2026-03-31T23:59:59", ""),
        ("2026-04-01T00:00:00", "not-granted"),
    ):
        assert code(certified, moment, dates=CERTIFIED.dates) == said
    assert code(certified, "2026-03-02T12:00:00", dates=SYSTEM.dates) == "not-granted"
    assert code(certified, "2026-03-02T12:00:00", dates=None) == "not-granted"
    old = rule(f"context.now > principal.registered + {30 * DAY}")
    assert code(old, "2026-03-02T12:00:00", dates=SYSTEM.dates) == "not-granted"
    assert code(old, "2026-03-02T12:00:00", dates=SystemDates()) == ""


def test_a_verdict_holds_until_the_certification_ends_and_no_longer() -> None:
    part = Slice(rule("context.now >= principal.certified && context.now < principal.certifiedUntil"), granted())
    ends = at("2026-04-01T00:00:00")
    for moment, until in ((at("2026-01-05T12:00:00"), at("2026-02-01T00:00:00")), (at("2026-03-05T12:00:00"), ends)):
        assert part.evaluate(call(dates=CERTIFIED.dates), moment).valid_until_unix == until
    summed = Slice(rule("context.now > principal.registered + 5"), granted())
    assert summed.evaluate(call(dates=CERTIFIED.dates), NOW).valid_until_unix == NOW + 1
    for condition, until in (("context.now <= principal.certifiedUntil", ends + 1), ("principal.certified != 0", None)):
        verdict = Slice(rule(condition), granted()).evaluate(call(dates=CERTIFIED.dates), ends)
        assert until is None or (verdict.code, verdict.valid_until_unix) == ("", until)


def test_orders_in_force_are_counted_on_whom_they_are() -> None:
    """Of a department on it, above it, and on any system of it; of a supplier on what it supplies; of a grant on it."""
    free = rule("principal.department.stops == 0")
    elsewhere = [
        order("a", reach=Reach.SYSTEM, target="another-desk"),
        order("b", reach=Reach.SUPPLIER, target="police"),
    ]
    for orders, stops in (((), 0), (elsewhere[:1], 1), (elsewhere, 1)):
        standing = msgspec.structs.replace(granted(), orders=tuple(orders))
        told = {
            (entity["uid"]["type"], entity["uid"]["id"]): entity["attrs"]["stops"]
            for entity in slice_entities(standing)
            if "stops" in entity["attrs"]
        }
        assert told["Department", "civil-affairs"] == stops
        assert told["Department", standing.supplier.id] == (len(orders) == 2)
        asked = Slice(free, standing).evaluate(call(dates=SYSTEM.dates), NOW)
        assert asked.is_permit == (stops == 0)
    above = department("bureau")
    for subordinates in (False, True):
        stop = order("c", reach=Reach.DEPARTMENT, target="bureau", subordinates=subordinates)
        standing = msgspec.structs.replace(granted(), ancestors=(above,), orders=(stop,))
        told = {each["uid"]["id"]: each["attrs"].get("stops") for each in slice_entities(standing)}
        assert (told["civil-affairs"], told["bureau"]) == (int(subordinates), 1)
    lifted = msgspec.structs.replace(elsewhere[0], lifted_at=datetime(2026, 3, 1, tzinfo=UTC))
    standing = msgspec.structs.replace(granted(), orders=(lifted,))
    assert Slice(free, standing).evaluate(call(), NOW).code == ""


def test_what_a_rule_about_dates_gives_and_takes_is_seen_by_a_comparison() -> None:
    """What it gives to a system that is certified is found; what it takes from others is not ruled out."""
    certified = rule("principal.certified != 0")
    found = compare(NATIONAL, certified, Directory([grant()]), NOW)
    assert (found.losing + found.unsettled, found.takes_away) == (("g1",), True)
    back = compare(certified, NATIONAL, Directory([grant()]), NOW)
    assert not back.losing


def test_a_table_says_when_a_system_is_certified() -> None:
    layers = rule("principal.certified != 0 && context.now < principal.certifiedUntil")
    held = {"number": "1", "since": "2026-01-01", "until": "2026-12-31"}
    for line, expect in (({"system": {"certification": held}}, "permit"), ({}, "not-granted")):
        assert run_case(layers, read_case("t", {}, {"case": "c", "expect": expect, **line})).fault == ""


def test_a_node_that_does_not_know_the_fact_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the version before tells a call: without any of it. What a rule needs then is in error, and denied."""
    from gateway.policy.live import slices  # noqa: PLC0415 - what is replaced

    told = slices.use_request

    def before(*given: Any, **more: Any) -> Any:
        request = told(*given, **more)
        context = msgspec.json.decode(request["context"])
        kept = {name: value for name, value in context.items() if name not in ("calendar", "subjects", "itemsAsked")}
        return {**request, "context": msgspec.json.encode(kept).decode()}

    conditions = (WORKDAYS, "!context.calendar.holiday", "context.subjects < 9", "context.itemsAsked < 9")
    sets = [rule(condition) for condition in conditions]
    assert [code(layers, "2026-03-02T12:00:00") for layers in sets] == [""] * 4
    monkeypatch.setattr(slices, "use_request", before)
    assert [code(layers, "2026-03-02T12:00:00") for layers in sets] == ["not-granted"] * 4


def test_what_the_calendar_takes_is_found_or_not_ruled_out() -> None:
    """A comparison looks at the next day of each kind; which days a grant will hold on it cannot settle."""
    found = compare(NATIONAL, rule(WORKDAYS), Directory([grant()]), NOW)
    assert (found.losing, found.takes_away) == (("g1",), True)
    for condition in ("context.subjects < 9", "context.itemsAsked < 9"):
        found = compare(NATIONAL, rule(condition), Directory([grant()]), NOW)
        assert (found.unsettled or found.losing, found.takes_away) == (("g1",), True)


def test_a_table_says_the_day_by_its_time_and_how_many_by_the_call() -> None:
    layers = rule(f"{WORKDAYS} && context.subjects == 2")
    layers.settled = EXAMINED
    for line, expect in (
        ({"call": {"subjects": 2}}, "permit"),
        ({}, "not-granted"),
        ({"call": {"subjects": 2}, "now": "2026-10-01T12:00:00+08:00"}, "not-granted"),
    ):
        outcome = run_case(layers, read_case("t", {}, {"case": "c", "expect": expect, **line}))
        assert outcome.fault == ""


def test_what_is_told_fits_the_schema_and_an_older_one() -> None:
    assert schema_faults(NATIONAL) == []
    assert {"calendar", "subjects", "itemsAsked"} <= NATIONAL.schema_facts["Use"]


@pytest.mark.parametrize(
    ("condition", "reads"),
    [
        ("context.calendar.workday", True),
        ("context has grant && !context.calendar.holiday", True),
        ("context has grant", False),
        ('context.purpose == "relief" && context.itemsAsked < 2', False),
    ],
)
def test_a_comparison_tries_days_only_for_rules_that_ask_for_them(condition: str, *, reads: bool) -> None:
    """Each kind of day is another call of every kind; the shipped layers ask for none."""
    assert rule(condition).calendar_rules == (frozenset({"extra"}) if reads else frozenset())
