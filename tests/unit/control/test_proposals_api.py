"""ACTS-NOT-FIELDS: a grant comes of acts of signed-in persons on one digest: demand side first, then the supplier."""

from typing import Any

import pytest

from gateway.control.act.examples import GRANT, PROPOSAL
from gateway.domain.officers import Officer, Role
from gateway.policy.law.settled import Settled
from tests.support.control import CITY, World, done, refused

PATH = f"/v1/proposals/{PROPOSAL['id']}"


def proposed(world: World, **changes: Any) -> dict[str, str]:
    return {"digest": done(world.post("civil", "/v1/proposals", {**PROPOSAL, **changes}))["digest"]}


def appoint(world: World, name: str, department: str, *roles: Role, active: bool = True) -> None:
    with world.store.transaction() as tx:
        tx.put_officer(Officer(name, department, CITY, roles, active=active))


def test_a_grant_is_issued_by_the_acts_of_both_sides(world: World) -> None:
    """The grant names both persons, the times of their acts and the digest of what they approved."""
    digest = proposed(world)
    refused(world.post("police", f"{PATH}/supply-approval", digest), "act-not-permitted")
    done(world.post("civil", f"{PATH}/demand-approval", digest))
    grant = done(world.post("police", f"{PATH}/supply-approval", digest))["grant"]
    for side, person in (("demand_approval", "civil"), ("supply_approval", "police")):
        assert (grant[side]["person"], grant[side]["digest"]) == (person, digest["digest"])
    assert grant["demand_approval"]["at"] <= grant["supply_approval"]["at"]
    assert world.store.grant(PROPOSAL["id"]) is not None
    refused(world.post("police", f"{PATH}/supply-approval", digest), "conflict")
    # The next version takes the same way, and its approvals are its own.
    longer = proposed(world, items=["name"])
    refused(world.post("police", f"{PATH}/supply-approval", longer), "act-not-permitted")
    done(world.post("civil", f"{PATH}/demand-approval", longer))
    assert done(world.post("police", f"{PATH}/supply-approval", longer))["grant"]["version"] == 2


def test_an_approval_that_is_sent_again_is_answered_again(world: World) -> None:
    """A repeat is decided about what was decided about: who had approved before, too; and about who one is now."""
    digest, once = proposed(world), {"Idempotency-Key": "approval-1"}
    done(world.post("civil", f"{PATH}/demand-approval", digest))
    answer = done(world.post("police", f"{PATH}/supply-approval", digest, headers=once))
    again = world.post("police", f"{PATH}/supply-approval", digest, headers=once)
    assert (done(again), again.headers["Idempotency-Replayed"]) == (answer, "true")
    appoint(world, "police", "public-security", Role.DEMAND)
    refused(world.post("police", f"{PATH}/supply-approval", digest, headers=once), "act-not-permitted")


def test_an_approval_is_of_what_was_read_and_falls_with_a_change(world: World) -> None:
    """Neither side approves another text than it names; what is proposed anew needs both anew."""
    first = proposed(world)
    done(world.post("civil", f"{PATH}/demand-approval", first))
    second = proposed(world, items=["name"])
    assert first != second
    refused(world.post("police", f"{PATH}/supply-approval", first), "act-not-permitted")
    refused(world.post("civil", f"{PATH}/demand-approval", first), "invalid-input")
    done(world.post("civil", f"{PATH}/demand-approval", second))
    refused(world.post("police", f"{PATH}/supply-approval", first), "invalid-input")
    assert done(world.post("police", f"{PATH}/supply-approval", second))["grant"]["items"] == ["name"]


def test_one_person_approves_for_one_side_alone(world: World) -> None:
    """Also where that person has changed sides since; a dismissed person's approval does not carry the grant."""
    appoint(world, "turncoat", "civil-affairs", Role.DEMAND)
    digest = proposed(world)
    done(world.post("turncoat", f"{PATH}/demand-approval", digest))
    appoint(world, "turncoat", "public-security", Role.SUPPLIER)
    refused(world.post("turncoat", f"{PATH}/supply-approval", digest), "act-not-permitted")
    # Nor does the approval stand any longer: who gave it is no officer of the demand side.
    refused(world.post("police", f"{PATH}/supply-approval", digest), "act-not-permitted")
    assert world.store.grant(PROPOSAL["id"]) is None


def test_what_a_dismissed_person_approved_is_approved_anew(world: World) -> None:
    """The supplier's approval is refused, and refused too is an approval by the dismissed person."""
    appoint(world, "leaver", "civil-affairs", Role.DEMAND)
    digest = proposed(world)
    done(world.post("leaver", f"{PATH}/demand-approval", digest))
    appoint(world, "leaver", "civil-affairs", Role.DEMAND, active=False)
    refused(world.post("police", f"{PATH}/supply-approval", digest), "act-not-permitted")
    again = proposed(world)
    done(world.post("civil", f"{PATH}/demand-approval", again))
    done(world.post("police", f"{PATH}/supply-approval", again))


def test_nobody_proposes_or_approves_for_another_department(world: World) -> None:
    """Nor sees what others propose: it is as if it were not there."""
    refused(world.post("market-both", "/v1/proposals", PROPOSAL), "act-not-permitted")
    digest = proposed(world)
    refused(world.post("police", f"{PATH}/demand-approval", digest), "act-not-permitted")
    for act in ("demand-approval", "supply-approval"):
        refused(world.post("market-both", f"{PATH}/{act}", digest), "not-found")
    refused(world.get("market-both", PATH), "not-found")
    assert done(world.get("market-both", "/v1/proposals"))["items"] == []
    assert len(done(world.get("police", "/v1/proposals"))["items"]) == 1


def test_a_refusal_states_reasons_and_a_withdrawal_is_the_demand_sides(world: World) -> None:
    digest = proposed(world)
    refused(world.post("police", f"{PATH}/refusal", {}), "invalid-input")
    found = done(world.post("police", f"{PATH}/refusal", {"reasons": "too much"}))["proposal"]
    assert (found["state"], found["reasons"]) == ("refused", "too much")
    refused(world.post("civil", f"{PATH}/demand-approval", digest), "conflict")
    proposed(world)
    assert done(world.post("civil", f"{PATH}/refusal", {"reasons": "not needed"}))["proposal"]["state"] == "withdrawn"


@pytest.mark.parametrize("side", ["demand_approval", "supply_approval"])
def test_an_approval_is_no_field(world: World, side: str) -> None:
    """Neither of a proposal, nor can a paper claim to be the act of a signed-in person."""
    refused(world.post("civil", "/v1/proposals", {**PROPOSAL, side: GRANT[side]}), "invalid-input")
    forged = {**GRANT, side: {**GRANT[side], "digest": "0" * 64}}
    document = refused(world.post("police", "/v1/grants", forged), "invalid-input")
    assert {fault["field"] for fault in document["faults"]} == {f"{side}.digest"}


def test_paper_is_entered_by_who_was_appointed_to_that_and_names_itself(world: World) -> None:
    """Two persons, in order, none dismissed, each with the paper; within five years; by the power of its own."""
    appoint(world, "clerk", "public-security", Role.SUPPLIER)
    refused(world.post("clerk", "/v1/grants", GRANT), "act-not-permitted")
    appoint(world, "gone", "public-security", Role.SUPPLIER, active=False)
    for side, changes, field in (
        ("supply_approval", {"reference": ""}, "supply_approval.reference"),
        ("supply_approval", {"person": GRANT["demand_approval"]["person"]}, "supply_approval.person"),
        ("supply_approval", {"person": "gone"}, "supply_approval.person"),
        ("supply_approval", {"at": "2001-01-01T00:00:00+08:00"}, "supply_approval.at"),
    ):
        wrong = {**GRANT, side: {**GRANT[side], **changes}}
        document = refused(world.post("police", "/v1/grants", wrong), "invalid-input")
        assert field in {each["field"] for each in document["faults"]}
    endless = {**GRANT, "valid_until": "2099-01-01T00:00:00+08:00"}
    refused(world.post("police", "/v1/grants", endless), "act-not-permitted")
    done(world.post("police", "/v1/grants", GRANT))
    found = world.store.grant(GRANT["id"])
    assert found is not None
    assert found.supply_approval.digest == ""


def test_the_settings_may_allow_less_than_five_years(world: World) -> None:
    """Where what is proposed is read, and by policy where it is approved; what was proposed before can be refused."""
    digest = proposed(world)
    layers = world.engine._layers
    before, layers.settled = layers.settled, Settled(longest_grant_days=30)
    try:
        fault = refused(world.post("civil", "/v1/proposals", PROPOSAL), "invalid-input")["faults"][0]
        assert (fault["field"], "30 days" in fault["fault"]) == ("valid_until", True)
        refused(world.post("civil", f"{PATH}/demand-approval", digest), "act-not-permitted")
        refused(world.post("police", "/v1/grants", {**GRANT, "id": "g-paper"}), "act-not-permitted")
        done(world.post("police", f"{PATH}/refusal", {"reasons": "longer than is approved now"}))
    finally:
        layers.settled = before
