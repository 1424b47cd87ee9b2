"""Every list and every id, role by region: what one may not see is left out before a page is cut, and is not there."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from gateway.control.act.examples import (
    COMPLAINT,
    CONTENTION,
    CORRECTION,
    DIRECTORY_CHANGE,
    DOUBT,
    DRAFT,
    GRANT,
    INCIDENT,
    PROPOSAL,
    RETURN_REQUEST,
    SUSPENSION,
    SYSTEM,
    TERMINATION,
)
from gateway.domain.officers import Officer, Role
from gateway.domain.processes.register import PROCESSES
from gateway.store import etag
from tests.support.control import CITY, OTHER_CITY, World, done, refused

PEOPLE = {
    f"{role.value}-{region}-{department}": Officer(f"{role.value}-{region}-{department}", department, region, (role,))
    for role in Role
    for region, department in ((CITY, "market"), (OTHER_CITY, "elsewhere"), (CITY, "data-bureau"), ("440000", "market"))
}
EVERYBODYS = {"/v1/departments", "/v1/purposes", "/v1/datasets", "/v1/interfaces"}
"""The directory is every officer's to read."""
ELSEWHERE = {
    *(
        "/v1/hosts",
        "/v1/certificates",
        "/v1/credentials",
        "/v1/policies/activations",
        "/v1/records",
        "/v1/retention",
        "/v1/account",
    ),
    *(f"/v1/{name}" for name in PROCESSES),
}
"""Lists without pages of hidden rows, or tested where they are made: records in `test_records_api`, cases of processes
in `test_applications_api`."""


@pytest.fixture(scope="module")
def one_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("hidden"))
    made.furnish()
    for number in range(4):
        made.grant(id=f"g-{number}")
        done(made.post("police", f"/v1/grants/g-{number}/suspension", SUSPENSION))
    with made.store.transaction() as tx:
        for each in PEOPLE.values():
            tx.put_officer(each)
    yield made
    made.close()


@pytest.fixture
def world(one_world: World) -> World:
    one_world.app.state.services = one_world.services
    return one_world


def rows(world: World, officer: str, path: str, limit: int) -> list[dict[str, Any]]:
    """Every row of a list, page by page; no page but the last holds fewer rows than asked for."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        if path == "/v1/grants" and officer.startswith(("supplier", "demand")):
            params["supplier" if officer.startswith("supplier") else "department"] = PEOPLE[officer].department
        page = world.get(officer, path, **params)
        if page.is_error:
            refused(page, "act-not-permitted")
            return []
        found += page.json()["items"]
        cursor = page.json()["next"]
        if cursor is None:
            return found
        assert len(page.json()["items"]) == limit
        assert not any(row["id"] in cursor for row in found)


@pytest.mark.parametrize("officer", PEOPLE)
@pytest.mark.parametrize("path", ["/v1/orders", "/v1/officers", "/v1/systems", "/v1/grants"])
def test_a_list_holds_what_one_may_see_and_pages_do_not_tell_of_the_rest(world: World, path: str, officer: str) -> None:
    """One row a page shows the same rows as one page of all; each of them can be shown by its id, and no other."""
    one_by_one = rows(world, officer, path, 1)
    assert one_by_one == rows(world, officer, path, 1000)
    seen = {row["id"] for row in one_by_one}
    everything = {
        "/v1/orders": {each.id for each in world.store.list_orders(None, None, 1000).items},
        "/v1/systems": {SYSTEM["id"]},
        "/v1/grants": {f"g-{number}" for number in range(4)},
        "/v1/officers": set(),
    }[path]
    person = PEOPLE[officer]
    watches = person.roles[0] is Role.AUDITOR and person.region == CITY
    # A role is worth what its holder's department is: only a competent department's officer supervises a region, and
    # nobody a wider one than the department's.
    concerned = watches or (person.roles[0] is Role.COMPETENT and person.department == "data-bureau")
    if path != "/v1/officers":
        assert seen == (everything if concerned else set())
    for name in everything:
        answer = world.get(officer, f"{path}/{name}")
        assert answer.is_success if name in seen else refused(answer, "not-found")


def test_a_cursor_is_one_officers_for_one_list(world: World) -> None:
    """It cannot be made, changed, lent to another officer, or used on another list."""
    cursor = done(world.get("registrar", "/v1/orders", limit=1))["next"]
    done(world.get("registrar", "/v1/orders", limit=1, cursor=cursor))
    for officer, path, sent in (
        ("province", "/v1/orders", cursor),
        ("registrar", "/v1/officers", cursor),
        ("registrar", "/v1/orders", cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB")),
        ("registrar", "/v1/orders", "WyJvLTIwMjYiXQ"),
        ("registrar", "/v1/orders", ""),
    ):
        refused(world.get(officer, path, limit=1, cursor=sent), "invalid-input")


def test_filters_are_no_oracle(world: World) -> None:
    """A question about a grant that one may not see is answered as one about a grant that is not there."""
    for question in ({"target": "g-0"}, {"supplier": "public-security"}, {"reach": "grant"}):
        assert done(world.get("stranger", "/v1/orders", **question))["items"] == []


def test_every_list_of_the_api_is_in_this_test(world: World) -> None:
    """A list that is added is looked at here, or its rows are everybody's."""
    lists = {
        path
        for path, operations in world.app.openapi()["paths"].items()
        if any(each["name"] == "limit" for each in operations.get("get", {}).get("parameters", ()))
    }
    assert lists - EVERYBODYS - ELSEWHERE == {"/v1/orders", "/v1/officers", "/v1/systems", "/v1/grants"}


SHOWN = re.compile(rf"^/v1/(?:grants|orders|systems|officers|proposals|{'|'.join(PROCESSES)})/\{{id\}}")


def cases(world: World) -> dict[str, str]:
    """A proposal `p-0`, and a case of each process between the police and the civil affairs: process -> id."""
    done(world.post("civil", "/v1/proposals", {**PROPOSAL, "id": "p-0"}))
    done(world.post("police", "/v1/grants/g-3/termination", TERMINATION))
    opened = {
        "applications": ("civil", DRAFT),
        "verifications": ("civil", DOUBT),
        "disputes": ("civil", {**CONTENTION, "grant": "g-2"}),
        "incidents": ("civil", {**INCIDENT, "grant": "g-1"}),
        "returns": ("civil", RETURN_REQUEST),
        "complaints": ("registrar", COMPLAINT),
        "corrections": ("registrar", CORRECTION),
        "directory-changes": ("police", DIRECTORY_CHANGE),
    }
    found = {}
    for process in PROCESSES:
        if process in opened:
            officer, body = opened[process]
            done(world.post(officer, f"/v1/{process}", body))
        page = done(world.get("province", f"/v1/{process}"))["items"]
        found[process] = page[0]["id"]
    return found


def test_every_route_of_one_thing_answers_strangers_as_if_it_were_not_there(world: World) -> None:
    """Role by region, each route of one grant, order, system or officer: the same answer as for an id of nothing."""
    order = world.store.list_orders(None, None, 1).items[0].id
    known = {"grants": "g-0", "orders": order, "systems": SYSTEM["id"], "officers": "police", "proposals": "p-0"}
    known |= cases(world)
    strangers = [name for name, each in PEOPLE.items() if each.region == OTHER_CITY and Role.OPERATOR not in each.roles]
    asked = 0
    for path, operations in world.app.openapi()["paths"].items():
        if not SHOWN.match(path):
            continue
        kind = path.split("/")[2]
        for method in operations:
            for officer in strangers:
                body = GRANT if path.endswith("/versions") else {"reason": "x", "contract": "x", "key": {}, "x": 1}
                answers = [
                    world.ask(
                        officer,
                        method.upper(),
                        re.sub(r"\{\w+\}", "gjgxjhpt", path.replace("{id}", name)),
                        None if method == "get" else body,
                    )
                    for name in (known[kind], "nothing")
                ]
                codes = {answer.json()["type"] for answer in answers}
                assert len(codes) == 1, (method, path, officer, [answer.text for answer in answers])
                asked += 1
    assert asked > 40


def test_a_case_about_what_one_may_not_see_is_refused_as_one_about_nothing(world: World) -> None:
    """Grants and orders that a case is opened about: word for word, whatever the role, at home or in another region."""
    order = world.store.list_orders(None, None, 1).items[0].id
    bodies = [
        ("disputes", "g-0", lambda id_: {**CONTENTION, "grant": id_}),
        ("disposals", "g-0", lambda id_: {"grant": id_}),
        ("rectifications", order, lambda id_: {"order": id_}),
        ("incidents", "g-0", lambda id_: {**INCIDENT, "grant": id_}),
        ("incidents", order, lambda id_: {**INCIDENT, "grant": "", "order": id_}),
    ]
    for officer in PEOPLE:
        for process, known, body in bodies:
            if not world.get(officer, f"/v1/{'orders' if known == order else 'grants'}/{known}").is_error:
                continue
            there, nowhere = (world.post(officer, f"/v1/{process}", body(id_)) for id_ in (known, "nothing"))
            assert there.is_client_error
            assert there.text.replace(known, "nothing") == nowhere.text, (officer, process)
    assert world.store.order(order).report == ""  # type: ignore[union-attr]


def test_a_case_about_nothing_is_told_as_such_to_whom_the_thing_would_be_shown(world: World) -> None:
    """Word for word what is told of a thing that is hidden: that it is not there, by its id."""
    for officer, process, body, what in (
        ("civil", "disputes", {**CONTENTION, "grant": "nothing"}, "grant"),
        ("police", "disposals", {"grant": "nothing"}, "grant"),
        ("police", "rectifications", {"order": "nothing"}, "order"),
    ):
        refusal = refused(world.post(officer, f"/v1/{process}", body), "not-found")
        assert refusal["detail"] == f"there is no {what} `nothing`"


def test_the_tag_of_an_interface_tells_nothing_of_what_is_not_shown(world: World) -> None:
    """Where a supplier's address is left out, another address has the same tag: no guess is confirmed by it."""
    path = "/v1/interfaces/public-security/household"
    hidden, whole = world.get("civil", path), world.get("police", path)
    stored = world.store.any_interface("public-security", "household")
    assert stored is not None
    shown = msgspec.structs.replace(stored, upstream="", tls_ca=None, tls_name=None, tls_client=None, credential=None)
    assert hidden.headers["ETag"] == f'"{etag(shown)}"'
    assert hidden.headers["ETag"] != whole.headers["ETag"]
