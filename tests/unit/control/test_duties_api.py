"""Duties: what waits for whom, with the days left, over all processes."""

from datetime import datetime
from typing import Any

from gateway.control.act.examples import CLOSURE, DOUBT, GRANT, PROPOSAL, SUSPENSION, standing_on
from gateway.domain.calendar import CHINA, china_day
from tests.support.control import World, done


def duties(world: World, officer: str) -> list[tuple[str, str, int | None]]:
    return [
        (each["process"], each["waits_for"], each["days_left"])
        for each in done(world.get(officer, "/v1/duties"))["items"]
    ]


def apply(world: World, number: int) -> tuple[str, dict[str, str]]:
    grant = standing_on(china_day(world.now()), {**PROPOSAL, "id": f"g-09{number:02d}"})
    draft = {"grant": grant, "answers": ["at the counter"]}
    made = done(world.post("civil", "/v1/applications", draft))
    return f"/v1/applications/{made['application']['id']}", {"digest": made["digest"]}


def at(world: World, moment: datetime) -> None:
    world.now = moment.timestamp


def test_each_side_finds_what_waits_for_it_the_overdue_first(world: World) -> None:
    """A draft waits without a date; what is overdue is the competent department's to see; who looks on owes nothing."""
    path, digest = apply(world, 1)
    assert duties(world, "civil") == [("applications", "demand", None)]
    assert duties(world, "police") == []
    done(world.post("civil", f"{path}/submit", digest))
    done(world.post("civil", "/v1/verifications", DOUBT))
    assert duties(world, "police") == [("applications", "supplier", 14), ("verifications", "supplier", 14)]
    assert duties(world, "civil") == duties(world, "registrar") == duties(world, "auditor") == []
    at(world, datetime(2026, 6, 16, 9, tzinfo=CHINA))
    second, digest = apply(world, 2)
    done(world.post("civil", f"{second}/submit", digest))
    assert [left for _, _, left in duties(world, "police")] == [-1, -1, 15]
    assert [left for _, _, left in duties(world, "registrar")] == [-1, -1]
    assert duties(world, "province") == duties(world, "registrar")
    for officer in ("stranger", "market-both", "operator"):
        assert duties(world, officer) == []
    done(world.post("police", f"{second}/request-extension", {"days": 3, "reasons": "the register moves"}))
    assert ("applications", "competent", 15) in duties(world, "registrar")


def test_disposals_and_rectifications_are_duties_too(world: World) -> None:
    """Of the demand department, until they are done or lifted."""
    world.grant()
    world.grant(id="g-2026-0002")
    done(world.post("police", f"/v1/grants/{GRANT['id']}/suspension", {**SUSPENSION, "rectify_by": "2026-06-21"}))
    done(world.post("civil", "/v1/grants/g-2026-0002/closure", {**CLOSURE, "dispose_by": "2026-06-11"}))
    assert sorted((process, left) for process, _, left in duties(world, "civil")) == [
        ("disposals", 10),
        ("rectifications", 20),
    ]
    assert duties(world, "police") == []


def test_a_date_beyond_the_announced_calendar_is_marked(world: World) -> None:
    """Provisional on the way into a year without one; a Spring Festival that is announced is left out of the count."""

    def submitted(moment: datetime, number: int) -> dict[str, Any]:
        at(world, moment)
        path, digest = apply(world, number)
        return done(world.post("civil", f"{path}/submit", digest))["application"]["due"]

    # 15 to 23 February 2026 are days off, 14 and 28 February are worked.
    assert submitted(datetime(2026, 2, 10, 9, tzinfo=CHINA), 3) == {"on": "2026-03-02", "provisional": False}
    far = submitted(datetime(2050, 12, 26, 9, tzinfo=CHINA), 4)
    assert far == {"on": "2051-01-09", "provisional": True}
    (marked,) = (each for each in done(world.get("police", "/v1/duties"))["items"] if each["due_on"] == far["on"])
    assert marked["provisional"]
