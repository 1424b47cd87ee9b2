"""What a stop would reach is shown before it is given, to whoever may give it (Decree 809 Art. 27 ¶2, 35)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.control.act.examples import GRANT
from gateway.domain.directory import Department, Level, System
from tests.support.control import CITY, World, done

PAIR = {"department": GRANT["department"], "dataset": GRANT["dataset"], "state": "issued"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.furnish()
    made.grant()
    done(made.post("police", "/v1/grants", {**GRANT, "id": "g-more", "items": GRANT["items"][:1]}))
    with made.store.transaction() as tx:
        below = Department("civil-east", "区民政局", CITY, Level.COUNTY, parent=GRANT["department"])
        tx.put_department(below)
        tx.put_system(System("east-desk", "civil-east", "east desk"))
    yield made
    made.close()


def reached(world: World, officer: str, reach: str, target: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = done(world.get(officer, "/v1/orders/reach", reach=reach, target=target, **more))
    return found


def test_a_suspension_of_one_grant_reaches_every_road_of_that_pair(world: World) -> None:
    """The supplier sees the other grant; not the systems, which are the department's own."""
    found = reached(world, "police", "grant", GRANT["id"])
    assert [each["id"] for each in found["grants"]] == [GRANT["id"], "g-more"]
    assert all({**each, **PAIR} == each for each in found["grants"])
    assert (found["departments"], found["unseen"], found["more"]) == ([GRANT["department"]], 0, False)
    assert found["systems"] == []
    assert reached(world, "registrar", "grant", GRANT["id"])["systems"]


def test_an_order_on_a_department_reaches_those_below_it_unless_it_says_not(world: World) -> None:
    found = reached(world, "registrar", "department", GRANT["department"])
    assert found["departments"] == sorted([GRANT["department"], "civil-east"])
    assert "east-desk" in found["systems"]
    assert [each["id"] for each in found["grants"]] == [GRANT["id"], "g-more"]
    alone = reached(world, "registrar", "department", GRANT["department"], subordinates="false")
    assert (alone["departments"], "east-desk" in alone["systems"]) == ([GRANT["department"]], False)
    assert reached(world, "registrar", "department", "civil-east")["grants"] == []
    assert reached(world, "police", "department", GRANT["department"], supplier="public-security")["grants"]


@pytest.mark.parametrize("reach", ["dataset", "supplier", "system"])
def test_wider_orders_reach_the_grants_of_what_they_name(world: World, reach: str) -> None:
    system = "east-desk"
    target = {"dataset": GRANT["dataset"], "supplier": "public-security", "system": system}[reach]
    found = reached(world, "registrar", reach, target)
    expected = [] if reach == "system" else [GRANT["id"], "g-more"]
    assert [each["id"] for each in found["grants"]] == expected
    assert reach != "system" or found["systems"] == [system]


def test_who_may_not_stop_it_is_shown_nothing(world: World) -> None:
    """Another supplier, another region, and a name that there is not: each as if it were not there."""
    for officer, reach, target in (
        ("market-both", "grant", GRANT["id"]),
        ("stranger", "department", GRANT["department"]),
        ("market-both", "supplier", "public-security"),
        ("police", "department", GRANT["department"]),
        ("registrar", "grant", "g-none"),
        ("registrar", "system", "none"),
        ("registrar", "dataset", "none"),
    ):
        answer = world.get(officer, "/v1/orders/reach", reach=reach, target=target)
        assert answer.status_code == 404, (officer, reach, answer.text)
    wrong = world.get("registrar", "/v1/orders/reach", reach="dataset", target=GRANT["dataset"], supplier="police")
    assert wrong.status_code == 422
