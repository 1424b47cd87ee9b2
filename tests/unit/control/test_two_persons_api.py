"""Policies by two persons: who proposes them does not put them in force, and what another looked at is what comes."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.cli.policies.bundles import read_bundle
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Officer
from gateway.domain.policies import PolicySet
from gateway.policy import default_policies_root
from gateway.policy.law.layers import read_set
from tests.policies.layering import note
from tests.support.control import World, done, refused

NO_NEW_SYSTEMS = 'forbid (principal is Officer, action == Action::"manageSystems", resource);'
SAID = {"reason": "a trial", "revives": True}


def body_with(rule: str = NO_NEW_SYSTEMS) -> dict[str, Any]:
    """The national layer and a city's with one rule."""
    found = read_set(default_policies_root(), ("national",))
    return {
        "layers": ["national", "city"],
        "files": {**found.files, "city/city.cedar": note("city-rule") + rule},
        **SAID,
    }


@pytest.fixture
def two(world: World) -> World:
    """A gateway that asks for two persons, and two who may."""
    world.services.policies.two_persons = True
    first = world.store.officer("province")
    assert first is not None
    put(world, msgspec.structs.replace(first, id="province-second"))
    return world


def put(world: World, officer: Officer) -> None:
    with world.store.transaction() as tx:
        tx.put_officer(officer)


def propose(
    world: World, body: dict[str, Any] | None = None, officer: str = "province", path: str = "activation"
) -> Any:
    answer = world.post(officer, f"/v1/policies/{path}", body_with() if body is None else body)
    assert answer.status_code == 202, answer.text
    return answer.json()["proposal"]


def approve(world: World, proposal: dict[str, Any], officer: str = "province-second", **changes: Any) -> Any:
    asked = {"number": proposal["number"], "set": proposal["set"], **changes}
    return world.post(officer, "/v1/policies/approval", asked)


def digest(world: World) -> str:
    found: str = done(world.get("province", "/v1/policies"))["digest"]
    return found


def test_what_one_person_proposes_another_puts_in_force(two: World) -> None:
    """Both acts are on record and in the history, the second names the first; nothing changed in between."""
    before = digest(two)
    proposal = propose(two)
    assert digest(two) == before
    assert two.store.policies_in_force() is None
    said = done(approve(two, proposal))["activation"]
    assert (said["by"], said["approves"], said["digest"]) == ("province-second", proposal["number"], digest(two))
    assert said["digest"] != before
    steps = done(two.get("auditor", "/v1/policies/activations"))["items"]
    assert [(one["step"], one["by"]) for one in steps] == [
        ("activate", "province-second"),
        ("initial", ""),
        ("propose", "province"),
    ]
    assert all(one["record"] for one in steps if one["by"])
    back = propose(two, SAID, path="rollback")
    assert digest(two) == said["digest"]
    done(approve(two, back))
    assert digest(two) == before


def test_nobody_approves_the_own_proposal(two: World) -> None:
    """By policy, whatever the settings say since."""
    proposal = propose(two)
    told = refused(approve(two, proposal, "province"), "act-not-permitted")
    assert [rule["id"] for rule in told["rules"]] == ["national-art8-policies-two-persons"]
    two.services.policies.two_persons = False
    refused(approve(two, proposal, "province"), "act-not-permitted")
    done(approve(two, proposal))


@pytest.mark.parametrize("officer", ["registrar", "stranger", "police", "operator", "auditor", "civil"])
def test_who_may_not_activate_neither_proposes_nor_approves(two: World, officer: str) -> None:
    refused(two.post(officer, "/v1/policies/activation", body_with()), "act-not-permitted")
    proposal = propose(two)
    refused(approve(two, proposal, officer), "act-not-permitted")


def test_a_proposal_of_who_was_dismissed_since_is_none(two: World) -> None:
    """Both persons' right is asked when it comes in force."""
    proposal = propose(two)
    first = two.store.officer("province")
    assert first is not None
    put(two, msgspec.structs.replace(first, active=False))
    told = refused(approve(two, proposal), "conflict")
    assert "may not any more" in told["detail"]
    assert two.store.policies_in_force() is None


def test_what_was_looked_at_is_what_is_approved(two: World) -> None:
    """Another set than that of the number is refused; so is a step that proposes nothing, and one that is not there."""
    proposal = propose(two)
    other = propose(two, body_with('forbid (principal is Officer, action == Action::"manageDepartments", resource);'))
    assert other["set"] != proposal["set"]
    refused(approve(two, proposal, set=other["set"]), "conflict")
    done(approve(two, other))
    activated = done(two.get("auditor", "/v1/policies/activations"))["items"][0]
    for number in (activated["number"], 1 << 40):
        refused(approve(two, {"number": number, "set": activated["set"]}), "not-found")


def test_a_proposal_is_over_once_other_policies_are_in_force(two: World) -> None:
    """It was compared with what was in force then: also where the same are in force again, it is proposed anew."""
    proposal = propose(two)
    done(approve(two, propose(two, body_with(NO_NEW_SYSTEMS + " "))))
    assert "propose it anew" in refused(approve(two, proposal), "conflict")["detail"]
    done(approve(two, propose(two, SAID, path="rollback")))
    assert "propose it anew" in refused(approve(two, proposal), "conflict")["detail"]


def test_what_is_lost_meanwhile_is_seen_at_the_approval(two: World) -> None:
    """The set is examined anew: `no_loss` of the proposal holds for what was granted since."""
    no_weddings = (
        'forbid (principal, action in Action::"use", resource) when { context.purpose == "marriage-registration" };'
    )
    proposal = propose(two, {**body_with(no_weddings), "no_loss": True})
    two.grant()
    told = refused(approve(two, proposal), "conflict")
    assert told["loss"]["losing"] == 1
    assert two.store.policies_in_force() is None


def test_a_proposal_is_examined_before_it_is_kept(two: World) -> None:
    """What is unsound, or takes away without a reason, is not proposed at all."""
    body = body_with()
    body["files"]["city/city.cedar"] = "permit (principal;"
    refused(two.post("province", "/v1/policies/activation", body), "invalid-input")
    assert two.store.policy_events() == ()


def test_a_bundle_is_the_set_and_the_proof_of_who_put_it_in_force(make_world: Any, tmp_path: Path) -> None:
    """It verifies with the log's key alone; another set, another record or another key does not."""
    world: World = make_world(ledger=True)
    step = done(world.post("province", "/v1/policies/activation", body_with()))["activation"]
    found = done(world.get("auditor", f"/v1/policies/activations/{step['number']}/set"))
    assert PolicySet(tuple(found["layers"]), found["files"]).id == step["set"]
    proof = world.get("auditor", f"/v1/records/{step['record']}/proof").text
    bundle = {
        "format": "sharing-gateway policies 1",
        "layers": found["layers"],
        "files": found["files"],
        "record": step["record"],
        "proof": proof,
    }
    file, key = tmp_path / "bundle.json", world.ledger_key
    file.write_text(json.dumps(bundle), "utf-8")
    policies, entry = read_bundle(file, key)
    assert (policies.id, entry["officer"], entry["step"]) == (step["set"], "province", "activate")
    changed = {**bundle["files"], "city/city.cedar": bundle["files"]["city/city.cedar"] + "\n"}
    for change, code in (
        ({"files": changed}, "verification-failed"),
        ({"layers": ["national"]}, "invalid-input"),
        ({"record": "01lgslbbtdmr-1"}, "verification-failed"),
        ({"files": {**bundle["files"], "../x": ""}}, "invalid-input"),
        ({"files": {**bundle["files"], "national/../../x.cedar": ""}}, "invalid-input"),
        ({"format": "2"}, "invalid-input"),
        ({"proof": 1}, "invalid-input"),
        (of_another_act(world), "verification-failed"),
        (of_a_set_in_the_shadow(world, bundle), "verification-failed"),
    ):
        file.write_text(json.dumps({**bundle, **change}), "utf-8")
        with pytest.raises(GatewayError) as refusal:
            read_bundle(file, key)
        assert refusal.value.code == code, change


def of_a_set_in_the_shadow(world: World, bundle: dict[str, Any]) -> dict[str, Any]:
    """The same set, and the proved record of an act that put it in the shadow, and not in force."""
    body = {"layers": bundle["layers"], "files": bundle["files"], "reason": "a trial"}
    record = done(world.post("province", "/v1/policies/shadow", body))["record"]
    return {"record": record, "proof": world.get("auditor", f"/v1/records/{record}/proof").text}


def of_another_act(world: World) -> dict[str, Any]:
    """A record that is proved, and is not of an activation."""
    record = done(world.post("province", "/v1/purposes", {"id": "flood-relief", "name": "防汛救灾"}))["record"]
    return {"record": record, "proof": world.get("auditor", f"/v1/records/{record}/proof").text}
