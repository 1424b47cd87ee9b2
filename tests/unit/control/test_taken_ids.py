"""That an id is taken is told in one sentence: not of what, nor whose it is, nor whether one may see it."""

from typing import Any

import pytest

from gateway.control.act.examples import DATASET, GRANT, PROPOSAL, SYSTEM, TERMINATION
from gateway.domain.errors import TAKEN
from gateway.domain.officers import Officer, Role
from tests.support.control import CITY, World, done, refused

ENTRY = {**DATASET, "id": "307.9", "code": "307/9", "supplier": "market"}
"""An entry of the market's: its officer issues grants of it, and sees none of the police's."""
OF_MARKET: dict[str, Any] = {**GRANT, "dataset": ENTRY["id"], "systems": []}
MAKING = {
    # What is made: by whom, who may not see what has that id; what has it; and an id of one's own.
    "/v1/systems": ("market-both", SYSTEM["id"], "own", {**SYSTEM, "department": "market", "keys": []}),
    "/v1/grants": ("market-supply", "g-0", "own", OF_MARKET),
    "/v1/grants?check=true": ("market-supply", "g-0", "own", OF_MARKET),
    "/v1/officers": (
        "registrar",
        "stranger",
        None,
        {"department": "market", "region": CITY, "roles": ["demand"], "name": ""},
    ),
}
"""Orders, records and exports bear random ids; hosts, interfaces and certificates are named within their department;
departments, purposes and entries are every officer's to see."""


@pytest.fixture
def furnished(world: World) -> World:
    """With a grant of the police's, and an entry of the market's."""
    world.grant(id="g-0")
    with world.store.transaction() as tx:
        tx.put_officer(Officer("market-supply", "market", CITY, (Role.SUPPLIER, Role.PAPER)))
    done(world.post("registrar", "/v1/datasets?release=true", ENTRY))
    done(
        world.post(
            "registrar", "/v1/systems", {**SYSTEM, "id": "of-police", "department": "public-security", "keys": []}
        )
    )
    return world


@pytest.mark.parametrize("path", MAKING)
def test_an_id_that_is_taken_is_told_alike_whosever_it_is(furnished: World, path: str) -> None:
    """Word for word what is told of one's own."""
    officer, of_others, own, body = MAKING[path]
    told = furnished.post(officer, path, {**body, "id": of_others})
    assert TAKEN in told.text
    if own is None:
        assert refused(told, "conflict")["detail"] == TAKEN
        return
    done(furnished.post(officer, path.partition("?")[0], {**body, "id": own}))
    assert furnished.post(officer, path, {**body, "id": own}).json() == told.json()


def test_a_proposal_is_told_nothing_of_anothers_grant_or_proposal(furnished: World) -> None:
    """Of a grant that stands, of one that was terminated and of a proposal alike: nothing of how it stands."""
    with furnished.store.transaction() as tx:
        tx.put_officer(Officer("market-demand", "market", CITY, (Role.DEMAND,)))
    done(furnished.post("civil", "/v1/proposals", {**PROPOSAL, "id": "p-0"}))
    asked = {**PROPOSAL, "department": "market", "systems": []}
    told = [furnished.post("market-demand", "/v1/proposals", {**asked, "id": id_}) for id_ in ("g-0", "p-0")]
    done(furnished.post("registrar", "/v1/grants/g-0/termination", TERMINATION))
    told.append(furnished.post("market-demand", "/v1/proposals", {**asked, "id": "g-0"}))
    assert [refused(each, "invalid-input")["faults"] for each in told] == [[{"field": "id", "fault": TAKEN}]] * 3
    done(furnished.post("market-demand", "/v1/proposals", {**asked, "id": "free"}))


def test_what_one_may_not_see_is_not_replaced_and_not_told(furnished: World) -> None:
    """`replaces` names another's system, standing or revoked: the answer is that of a system that is not there."""
    done(furnished.post("registrar", "/v1/systems/of-police/revocation", {"reason": "x"}))
    for name in (SYSTEM["id"], "of-police", "nobodys"):
        body = {**SYSTEM, "department": "market", "keys": [], "id": name}
        told = refused(furnished.post("market-both", f"/v1/systems?replaces={name}", body), "not-found")
        assert told["detail"] == f"there is no system `{name}`"


def test_a_grant_is_told_no_more_of_another_departments_system_than_of_none(furnished: World) -> None:
    """Naming it does not tell that it is there, or whose it is."""
    grants = [{**OF_MARKET, "id": "own", "systems": [name]} for name in ("of-police", "nobodys")]
    there, nowhere = (
        refused(furnished.post("market-supply", "/v1/grants?check=true", each), "invalid-input")["faults"]
        for each in grants
    )
    assert [str(fault).replace("of-police", "nobodys") for fault in there] == [str(fault) for fault in nowhere]
    assert [fault["field"] for fault in there] == ["systems"]
