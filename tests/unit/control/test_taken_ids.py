"""Ids tell nothing across departments: a department's own names are nobody else's to ask for, taken or free.

Of a common name that is taken one sentence is told: not of what, nor whose it is, nor whether one may see it.
"""

from typing import Any

import pytest

from gateway.control.act.examples import DATASET, DRAFT, GRANT, INTERFACE, PROPOSAL, SYSTEM, TERMINATION
from gateway.domain.errors import TAKEN
from gateway.domain.officers import Officer, Role
from gateway.domain.processes.register import PROCESSES
from tests.support.control import CITY, OTHER_CITY, World, done, refused

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
    applied = done(furnished.post("civil", "/v1/applications", {**DRAFT, "grant": {**DRAFT["grant"], "id": "a-0"}}))
    told = [furnished.post("market-demand", "/v1/proposals", {**asked, "id": id_}) for id_ in ("g-0", "p-0", "a-0")]
    assert not any(applied["application"]["id"] in each.text for each in told)
    done(furnished.post("registrar", "/v1/grants/g-0/termination", TERMINATION))
    told.append(furnished.post("market-demand", "/v1/proposals", {**asked, "id": "g-0"}))
    assert [refused(each, "invalid-input")["faults"] for each in told] == [[{"field": "id", "fault": TAKEN}]] * 4
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


PEOPLE = [
    Officer(f"{role.value}-{region}-{department}", department, region, (role,))
    for role in Role
    for region, department in ((CITY, "market"), (OTHER_CITY, "elsewhere"), (CITY, "data-bureau"), ("440000", "market"))
] + [Officer("market-supply", "market", CITY, (Role.SUPPLIER, Role.PAPER))]
IN_NAMESPACES: dict[str, dict[str, Any]] = {
    "/v1/systems": {**SYSTEM, "keys": []},
    "/v1/officers": {"roles": ["demand"], "name": ""},
    "/v1/grants": OF_MARKET,
    "/v1/grants?check=true": OF_MARKET,
    "/v1/proposals": {**PROPOSAL, "systems": []},
}
"""What is a department's own and not everybody's to see: whose it is stands in `department`, of grants in `dataset`."""
EVERYBODYS = {
    "/v1/departments": "/v1/departments/public-security",
    "/v1/purposes": "/v1/purposes/marriage-registration",
    "/v1/datasets": f"/v1/datasets/{DATASET['id']}",
    "/v1/interfaces": f"/v1/interfaces/public-security/{INTERFACE['id']}",
    "/v1/directory": f"/v1/datasets/{DATASET['id']}",
}
"""The public catalogue: no name in it is a secret, since every officer is shown what bears it."""
WITHIN_ITS_DEPARTMENT = {
    "/v1/certificates": "named by department and name",
    "/v1/credentials": "named by department and name",
    "/v1/hosts": "claimed by department and host; whose a host is is told to who has proved that it is theirs",
}
NAMES_NOTHING = {
    "/v1/interfaces/derivation": "a proposal, which nothing keeps",
    "/v1/interfaces/trial": "a trial, which nothing keeps",
    "/v1/orders": "its id is random",
    "/v1/records": "its id is the gateway's",
    "/v1/records/export": "its id is random",
    "/v1/records/search": "a question",
    "/v1/policies/compare": "a question",
    "/v1/policies/explain": "a question",
    "/v1/policies/activation": "policies of the whole gateway",
    "/v1/policies/rollback": "policies of the whole gateway",
    "/v1/policies/approval": "policies of the whole gateway",
    "/v1/policies/shadow": "policies of the whole gateway",
    "/v1/policies/shadow/end": "policies of the whole gateway",
    **{f"/v1/{name}": "cases bear random ids" for name in PROCESSES},
    "/complaints": "cases bear random ids",
    "/v1/reorganisations": "of departments, which the catalogue shows",
    "/v1/reorganisations/plan": "a question",
    "/v1/retention": "of records",
    "/witness/add-checkpoint": "of logs that settings name",
}


@pytest.fixture
def named(furnished: World) -> World:
    """With a system, an officer, a grant and a proposal in the police's namespace, and people of every role."""
    furnished.grant(id="public-security.taken")
    with furnished.store.transaction() as tx:
        tx.put_officer(Officer("public-security.taken", "public-security", CITY, (Role.DEMAND,)))
        for each in PEOPLE:
            tx.put_officer(each)
    of_police = {"id": "public-security.taken", "department": "public-security"}
    done(furnished.post("registrar", "/v1/systems", {**SYSTEM, **of_police, "keys": []}))
    with furnished.store.transaction() as tx:
        tx.put_officer(Officer("police-demand", "public-security", CITY, (Role.DEMAND,)))
    of_market = {"dataset": ENTRY["id"], "systems": [], "id": "public-security.proposed"}
    done(furnished.post("police-demand", "/v1/proposals", {**PROPOSAL, **of_market, "department": "public-security"}))
    return furnished


def test_every_route_that_makes_something_is_in_this_table(furnished: World) -> None:
    """A kind that is added is a department's own, the catalogue's, or says why its name tells nothing."""
    making = {path for path, ways in furnished.app.openapi()["paths"].items() if "post" in ways and "{" not in path}
    known = {*(path.partition("?")[0] for path in IN_NAMESPACES), *EVERYBODYS, *WITHIN_ITS_DEPARTMENT, *NAMES_NOTHING}
    assert making == known


def test_a_name_in_anothers_namespace_is_refused_alike_taken_or_free(named: World) -> None:
    """Role by region and kind: what a stranger is told of a name that is taken is what is told of a free one."""
    told_of = set()
    for person in PEOPLE:
        for path, body in IN_NAMESPACES.items():
            if path == "/v1/officers" and person.department == "data-bureau":
                continue  # The city's registrar sees, and changes, everybody's account there.
            taken = "public-security.proposed" if path == "/v1/proposals" else "public-security.taken"
            # A grant is the supplier's to name, all else the department's that it is of.
            asked = {**body, "department": body["department"] if "grants" in path else person.department}
            if path == "/v1/officers":
                asked["region"] = person.region
            there, nowhere = (
                named.post(person.id, path, {**asked, "id": each}) for each in (taken, "public-security.x")
            )
            assert there.is_client_error
            assert there.text.replace(taken, "public-security.x") == nowhere.text, (person.id, path)
            if "names that begin with `public-security.`" in there.text:
                told_of.add(path)
    assert told_of == set(IN_NAMESPACES)


def test_a_department_names_its_own_in_its_namespace(named: World) -> None:
    """What it makes there it finds there, and of what is taken there it is told."""
    done(named.post("market-both", "/v1/systems", {**SYSTEM, "department": "market", "keys": [], "id": "market.desk"}))
    assert done(named.get("market-both", "/v1/systems/market.desk"))["id"] == "market.desk"
    done(named.post("market-supply", "/v1/grants", {**OF_MARKET, "id": "market.g"}))
    assert TAKEN in named.post("market-supply", "/v1/grants", {**OF_MARKET, "id": "market.g"}).text
    # A dot makes no namespace where there is no such department.
    done(named.post("market-supply", "/v1/grants", {**OF_MARKET, "id": "2026.1"}))


def test_the_catalogue_is_every_officers_to_see(named: World) -> None:
    """So that a name of it that is taken tells nobody anything new."""
    for person in PEOPLE:
        for path in set(EVERYBODYS.values()):
            assert named.get(person.id, path).is_success, (person.id, path)


def test_an_interface_over_anothers_host_is_told_what_is_told_of_nobodys(named: World) -> None:
    """Registering does not tell which hosts other departments serve from."""
    interface = {**INTERFACE, "supplier": "market", "dataset": ENTRY["id"]}
    upstreams = [INTERFACE["upstream"], INTERFACE["upstream"].replace("household.", "nobody.")]
    there, nowhere = (
        refused(named.post("registrar", "/v1/interfaces", {**interface, "upstream": each}), "invalid-input")["faults"]
        for each in upstreams
    )
    assert [str(each).replace("household.", "nobody.") for each in there] == [str(each) for each in nowhere]
    assert [each["field"] for each in there] == ["upstream"]
