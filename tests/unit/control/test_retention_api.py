"""Retention over the API: what stays for its grant's sake, who lets records go, and a plan applied as shown."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

from gateway.control.act.examples import CLOSURE, DISPOSAL
from gateway.control.records.retention import holds_of
from gateway.domain.calendar import first_moment
from tests.support.control import World, done, refused

GRANT = "/v1/grants/g-2026-0001"


def test_records_of_a_disputed_grant_stay_until_it_is_settled(world: World) -> None:
    """Decree 809 Art. 28: a dispute holds the grant's records past their time."""
    world.grant()
    assert holds_of(world.services).disputed == frozenset()
    done(world.post("civil", f"{GRANT}/dispute", {"reason": "suspended without findings"}))
    assert holds_of(world.services).disputed == {"g-2026-0001"}
    done(world.post("registrar", f"{GRANT}/dispute/settlement", {"outcome": "agreed"}))
    assert holds_of(world.services).disputed == frozenset()


def test_records_of_a_grant_stay_until_three_years_after_its_disposal(make_world: Callable[..., World]) -> None:
    """Art. 27 ¶1, 29: while it stands, until the data is destroyed, and for three calendar years from then."""
    world = make_world(ledger=True)
    world.grant()
    assert holds_of(world.services).released == frozenset()
    done(world.post("civil", f"{GRANT}/closure", CLOSURE))
    assert holds_of(world.services).released == frozenset()
    done(world.post("civil", f"{GRANT}/disposal", DISPOSAL))
    destroyed = date.fromisoformat(DISPOSAL["destroyed_on"])
    goes = first_moment(destroyed.replace(year=destroyed.year + 3) + timedelta(days=1))
    for moment, released in ((goes - timedelta(seconds=1), set()), (goes, {"g-2026-0001"})):
        services = replace(world.services, now=moment.timestamp)
        assert holds_of(services).released == released


def test_only_an_operator_lets_records_go_and_only_by_the_plan_of_today(make_world: Callable[..., World]) -> None:
    """The plan is read, then applied by its digest; another digest or an empty plan removes nothing."""
    world = make_world(ledger=True)
    world.grant()
    refused(world.get("civil", "/v1/retention"), "act-not-permitted")
    plan = done(world.get("operator", "/v1/retention"))
    assert plan["entries"] == 0
    assert plan["stopped_by"]
    refused(world.post("operator", "/v1/retention", {"plan": "0" * 64}), "precondition-failed")
    refused(world.post("operator", "/v1/retention", {"plan": plan["plan"]}), "invalid-input")
    refused(world.post("registrar", "/v1/retention", {"plan": plan["plan"]}), "act-not-permitted")
