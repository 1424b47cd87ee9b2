"""Figures for supervision (Art. 38) and the comparison of policies (Art. 15), over the API."""

from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any

import pytest

from gateway.control.act.examples import CLOSURE, GRANT, STANDS_AT, SUSPENSION
from tests.support.control import World, done, refused


@pytest.fixture
def aged(make_world: Callable[..., World]) -> World:
    """A month ago grants were issued, one suspended and one closed, both with dates that have passed since."""
    today = STANDS_AT.astimezone(UTC)
    past = today - timedelta(days=30)
    world = make_world(now=past.timestamp)
    soon = (past + timedelta(days=3)).date().isoformat()
    until = (today + timedelta(days=10)).isoformat()
    for number in range(4):
        world.grant(id=f"g-{number}", **({"valid_until": until} if number == 3 else {}))
    done(world.post("police", "/v1/grants/g-0/suspension", {**SUSPENSION, "rectify_by": soon}))
    done(world.post("civil", "/v1/grants/g-1/closure", {**CLOSURE, "dispose_by": soon}))
    world.now = today.timestamp
    return world


def test_figures_count_what_is_overdue(aged: World) -> None:
    """By state, expiring, rectification and disposal overdue; each with the order or duty behind it."""
    figures = done(aged.get("registrar", "/v1/figures", within_days=20))
    assert figures["grants"] == {"issued": 2, "suspended": 1, "terminated": 0, "closed": 1, "disposed": 0}
    assert (figures["expiring"], figures["rectification_overdue"], figures["disposals_overdue"]) == (1, 1, 1)
    overdue = done(aged.get("police", "/v1/figures/overdue"))
    assert [order["target"] for order in overdue["rectifications"]] == ["g-0"]
    assert [duty["grant"] for duty in overdue["disposals"]] == ["g-1"]


def test_figures_are_those_of_the_officers_own(aged: World) -> None:
    """Another city's competent department and another supplier see none of it; an operator sees the numbers."""
    assert sum(done(aged.get("stranger", "/v1/figures"))["grants"].values()) == 0
    assert sum(done(aged.get("market-both", "/v1/figures", supplier="market"))["grants"].values()) == 0
    assert sum(done(aged.get("operator", "/v1/figures"))["grants"].values()) == 4
    refused(aged.get("civil", "/v1/figures", department="market"), "act-not-permitted")


def test_comparison_shows_who_gains_and_loses(world: World) -> None:
    """Compared before they are activated: by the competent department of all, and of the city whose layer it is."""
    world.grant()
    body = {"layers": ["national", "zhongshan"]}
    found: dict[str, Any] = done(world.post("province", "/v1/policies/compare", body))
    assert found["comparison"]["grants"] == 1
    assert found["takes_away"] is False
    for officer in ("police", "stranger"):
        refused(world.post(officer, "/v1/policies/compare", body), "act-not-permitted")
    assert done(world.post("registrar", "/v1/policies/compare", body))["takes_away"] is False
    refused(world.post("province", "/v1/policies/compare", {"layers": ["atlantis"]}), "invalid-input")
    assert GRANT["id"] not in found["comparison"]["grants_losing"]
