"""Departments change over the API: a plan first, then just that; nobody gains by it, and nobody gets out of a stop."""

from typing import Any

from gateway.control.act.examples import (
    DATASET,
    DOUBT,
    DRAFT,
    GRANT,
    INTERFACE,
    ORDER,
    REORGANISATION,
    SUSPENSION,
    SYSTEM,
)
from gateway.domain.directory import Department, Level
from gateway.domain.grants import GrantState
from tests.support.control import CITY, World, done, refused

ENTRY, PATH = DATASET["id"], "/v1/reorganisations"
HANDED = {"document": "中编办发〔2026〕9号", "reason": "institutional reform"}


def plan(world: World, body: dict[str, Any], officer: str = "registrar") -> dict[str, Any]:
    """The plan of an act."""
    shown: dict[str, Any] = done(world.post(officer, f"{PATH}/plan", {**HANDED, **body}))
    return shown


def carry_out(world: World, body: dict[str, Any], officer: str = "registrar") -> dict[str, Any]:
    """An act, as planned."""
    named = {**HANDED, **body, "plan": plan(world, body, officer)["plan"]}
    answer: dict[str, Any] = done(world.post(officer, PATH, named))
    return answer


def rules(answer: dict[str, Any]) -> set[tuple[str, str]]:
    """What was done to what."""
    return {(step["id"], step["rule"]) for step in answer["steps"]}


def transfer(giver: str, **parts: str) -> dict[str, Any]:
    """The body of a transfer of things of one kind each: `kind="id=department"`."""
    listed = [
        {"thing": thing, **dict(zip(("id", "to"), said.split("="), strict=True))} for thing, said in parts.items()
    ]
    return {"kind": "transfer", "departments": [giver], "parts": listed}


def test_what_was_read_is_what_is_done(world: World) -> None:
    """Without the plan's digest, or with another one's, nothing is done; a plan changes nothing."""
    world.grant()
    body = {**REORGANISATION, "departments": ["civil-affairs"], "successor": "market"}
    shown = plan(world, body)
    assert {"grant-moves", "system-moves", "officer-moves", "department-ends"} <= set(shown["rules"])
    assert world.store.department("civil-affairs").succeeded_by is None  # type: ignore[union-attr]
    refused(world.post("registrar", PATH, body), "invalid-input")
    world.grant(id="g-2026-0002", items=["name"])
    refused(world.post("registrar", PATH, {**body, "plan": shown["plan"]}), "conflict")
    assert rules(carry_out(world, body)) > {("g-2026-0002", "grant-moves")}


def test_who_may_reorganise_is_above_all_concerned(world: World) -> None:
    """Neither the department itself, nor the bureau of another region, nor a bureau about bureaus."""
    body = {**HANDED, **REORGANISATION, "departments": ["civil-affairs"], "successor": "market"}
    for officer in ("civil", "police", "stranger", "auditor", "operator"):
        refused(world.post(officer, f"{PATH}/plan", body), "act-not-permitted")
    elsewhere = {**body, "successor": "elsewhere"}
    refused(world.post("registrar", f"{PATH}/plan", elsewhere), "act-not-permitted")
    own = {**body, "departments": ["data-bureau"]}
    refused(world.post("registrar", f"{PATH}/plan", own), "act-not-permitted")
    done(world.post("province", f"{PATH}/plan", own))
    for wrong in ({"successor": "civil-affairs"}, {"successor": None}, {"name": "x"}, {"departments": ["none"]}):
        refused(world.post("province", f"{PATH}/plan", {**body, **wrong}), "invalid-input")


def test_a_merged_department_brings_its_systems_what_they_had_and_nobody_else(world: World) -> None:
    """Its grants serve the systems that came with it; what is left is its successor's, and it takes part no more."""
    world.grant()
    done(world.post("market-both", "/v1/systems", {**SYSTEM, "id": "market-desk", "department": "market", "keys": []}))
    with world.store.transaction() as tx:
        tx.put_department(Department("wedding-office", "婚姻登记处", CITY, Level.CITY, parent="civil-affairs"))
    carry_out(world, {"kind": "merge", "departments": ["civil-affairs"], "successor": "market"})
    grant = world.store.grant(GRANT["id"])
    assert grant is not None
    assert (grant.department, grant.version, grant.systems) == ("market", 2, ("marriage-registry",))
    assert [each.department for each in world.store.grant_history(GRANT["id"])] == ["civil-affairs"]
    person, market = world.store.officer("civil"), world.store.department("market")
    assert person is not None
    assert market is not None
    assert (person.department, market.succeeds) == ("market", ("civil-affairs",))
    assert world.store.department("wedding-office").parent == "market"  # type: ignore[union-attr]
    late = {**SYSTEM, "id": "late", "department": "civil-affairs", "keys": []}
    refused(world.post("registrar", "/v1/systems", late), "conflict")
    faults = refused(world.post("police", "/v1/grants", {**GRANT, "id": "g-late"}), "invalid-input")["faults"]
    assert [fault["field"] for fault in faults] == ["department"]
    refused(world.post("registrar", "/v1/departments", {**_plain(world, "civil-affairs"), "name": "again"}), "conflict")
    # The history is the acts' own: a row of the directory neither makes it nor takes it away.
    done(world.post("registrar", "/v1/departments", {**_plain(world, "market"), "code": "x"}))
    assert world.store.department("market").succeeds == ("civil-affairs",)  # type: ignore[union-attr]


def _plain(world: World, id_: str) -> dict[str, Any]:
    shown = done(world.get("civil", f"/v1/departments/{id_}"))
    return {name: shown[name] for name in ("id", "name", "region", "level")}


def test_a_system_that_goes_takes_its_stops_along(world: World) -> None:
    """Orders on the department, and on all that it draws of an entry, stand over the system where it is now."""
    world.grant()
    world.grant(id="g-2026-0002", items=["name"], systems=["marriage-registry"])
    done(world.post("police", f"/v1/grants/{GRANT['id']}/suspension", SUSPENSION))
    order = {"kind": "emergency", "reach": "department", "target": "civil-affairs", "reason": "a leak"}
    done(world.post("registrar", "/v1/orders", order))
    answer = carry_out(world, transfer("civil-affairs", system="marriage-registry=market"))
    assert [step["rule"] for step in answer["steps"]].count("stop-follows") == 2
    followed = [each for each in world.store.slice_state("market", ENTRY).orders if each.target == "marriage-registry"]
    assert {(each.reach, each.supplier) for each in followed} == {("system", None), ("system", "public-security")}
    # The stopped paper stays with whom it stopped; the other serves its system, where that is now.
    held = {id_: world.store.grant(id_) for id_ in (GRANT["id"], "g-2026-0002")}
    assert {id_: each.department for id_, each in held.items() if each} == {
        GRANT["id"]: "civil-affairs",
        "g-2026-0002": "market",
    }


def test_a_grant_of_all_systems_is_shared_out_and_never_widened(world: World) -> None:
    """The system that goes keeps what it could use; those that stay keep the grant; the receiver's own get nothing."""
    done(world.post("civil", "/v1/systems", {**SYSTEM, "id": "second", "keys": []}))
    world.grant()
    answer = carry_out(world, transfer("civil-affairs", system="second=market"))
    (copied,) = [step["becomes"] for step in answer["steps"] if step["rule"] == "grant-copied"]
    copy = world.store.grant(copied.partition(": ")[2])
    assert copy is not None
    assert (copy.department, copy.systems, copy.items) == ("market", ("second",), ("name", "marital_status"))
    stays = world.store.grant(GRANT["id"])
    assert stays is not None
    assert (stays.department, stays.version) == ("civil-affairs", 1)


def test_an_entry_that_goes_is_reached_by_its_old_path_and_answered_for_by_its_new_supplier(world: World) -> None:
    """Interface, host and grants go with it; its stops follow; there and back again leaves one path to each."""
    world.grant()
    done(world.post("registrar", "/v1/orders", {**ORDER, "reach": "supplier", "target": "public-security"}))
    answer = carry_out(world, transfer("public-security", entry=f"{ENTRY}=market"))
    assert rules(answer) >= {
        (ENTRY, "entry-moves"),
        ("public-security/household", "interface-moves"),
        ("household.public-security.example:443", "host-moves"),
    }
    assert [each.target for each in world.store.slice_state("civil-affairs", ENTRY).orders] == [ENTRY]
    found = world.store.interface("public-security", "household")
    assert found is not None
    assert (found.key, world.store.reach_fault(found)) == ("market/household", None)
    refused(world.post("police", f"/v1/grants/{GRANT['id']}/suspension", SUSPENSION), "not-found")
    refused(world.post("police", "/v1/interfaces", INTERFACE), "invalid-input")
    done(world.post("market-both", f"/v1/grants/{GRANT['id']}/suspension", SUSPENSION))
    carry_out(world, transfer("market", entry=f"{ENTRY}=public-security"))
    back = world.store.interface("market", "household")
    assert back is not None
    assert back.key == "public-security/household"
    assert world.store.entry_owners(ENTRY) == ["public-security", "market"]


def test_an_interface_alone_goes_nowhere_and_what_is_not_there_is_named(world: World) -> None:
    """An interface goes with its entry; a part that the department does not have is a fault."""
    alone = {**HANDED, **transfer("public-security", interface="public-security/household=market")}
    refused(world.post("registrar", f"{PATH}/plan", alone), "invalid-input")
    strange = {**HANDED, **transfer("public-security", system="marriage-registry=market")}
    assert "marriage-registry" in str(refused(world.post("registrar", f"{PATH}/plan", strange), "invalid-input"))
    both = transfer("public-security", interface="public-security/household=market", entry=f"{ENTRY}=market")
    assert plan(world, both)["losing"] == 0


def test_a_dissolved_department_uses_and_shares_nothing_and_its_duties_are_owed(world: World) -> None:
    """Grants end with the duty to dispose, systems are revoked, persons dismissed, entries withdrawn."""
    world.grant()
    ended = {"kind": "dissolve", "departments": ["civil-affairs"], "successor": "market"}
    answer = carry_out(world, ended)
    assert answer["losing"] >= 4
    duty, grant = world.store.disposal(GRANT["id"]), world.store.grant(GRANT["id"])
    assert duty is not None
    assert grant is not None
    assert (duty.department, grant.state) == ("market", GrantState.CLOSED)
    assert not world.store.system("marriage-registry").active  # type: ignore[union-attr]
    assert not world.store.officer("civil").active  # type: ignore[union-attr]
    # Who owes the duty answers for the grant of the department that is no more.
    done(world.get("market-both", f"/v1/grants/{GRANT['id']}"))
    carry_out(world, {"kind": "dissolve", "departments": ["public-security"], "successor": "data-bureau"}, "province")
    assert world.store.dataset(ENTRY) is None
    assert world.store.interface("public-security", "household") is None


def test_grants_on_the_data_of_a_dissolved_supplier_end(world: World) -> None:
    """Nothing of it is left to stand as issued; the plan says so, and what was drawn is to be disposed of."""
    world.grant()
    ended = {"kind": "dissolve", "departments": ["public-security"], "successor": "data-bureau"}
    shown = done(world.post("province", f"{PATH}/plan", {**HANDED, **ended}))
    assert [step["rule"] for step in shown["steps"] if step["thing"] == "grant"] == ["grant-of-ended-data"]
    carry_out(world, ended, "province")
    grant, duty = world.store.grant(GRANT["id"]), world.store.disposal(GRANT["id"])
    assert grant is not None
    assert duty is not None
    assert (grant.state, duty.department, duty.supplier) == (GrantState.CLOSED, "civil-affairs", "data-bureau")


def test_a_name_changes_and_the_id_stays(world: World) -> None:
    """What was written under the old name is still known by it."""
    carry_out(world, {"kind": "rename", "departments": ["civil-affairs"], "name": "市社会工作部"})
    shown = done(world.get("civil", "/v1/departments/civil-affairs"))
    assert (shown["name"], shown["former_names"]) == ("市社会工作部", ["市民政局"])


def test_cases_go_to_who_answers_for_them_now(world: World) -> None:
    """A supplier's with the entry; a demand side's to its successor, but what it applied for, which ends."""
    made = done(world.post("civil", "/v1/applications", DRAFT))
    application = f"/v1/applications/{made['application']['id']}"
    done(world.post("civil", f"{application}/submit", {"digest": made["digest"]}))
    doubt = done(world.post("civil", "/v1/verifications", DOUBT))["verification"]["id"]
    done_to = rules(carry_out(world, transfer("public-security", entry=f"{ENTRY}=market")))
    assert {(made["application"]["id"], "case-moves"), (doubt, "case-moves")} <= done_to
    refused(world.post("police", f"{application}/approve", {"digest": made["digest"]}), "not-found")
    shown = done(world.get("market-both", application))
    assert (shown["application"]["supplier"], shown["history"][-1]["step"]) == ("market", "handed-over")
    answer = {**REORGANISATION, "departments": ["civil-affairs"], "successor": "public-security"}
    done_to = rules(carry_out(world, answer))
    assert {(made["application"]["id"], "case-ends"), (doubt, "case-moves")} <= done_to
    assert done(world.get("market-both", application))["application"]["state"] == "withdrawn"
    found = world.store.case(doubt, "verifications")
    assert found is not None
    assert (found.supplier, found.demand) == ("market", "public-security")
