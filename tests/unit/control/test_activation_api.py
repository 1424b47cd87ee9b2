"""Putting policies in force over the API: checked, compared, recorded, exact, and gone back from."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from sqlalchemy import text

from gateway.client.keys import ClientKey, new_private_key
from gateway.control.act.examples import GRANT, SYSTEM
from gateway.domain.changes import ChangeKind
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant
from gateway.domain.policies import PolicyEvent, PolicySet, PolicyStep
from gateway.policy import default_policies_root
from gateway.policy.law.layers import parse_layers, read_set
from gateway.policy.proofs.solver import find_tools
from gateway.store import Store
from tests.policies.layering import note
from tests.support.control import World, done, refused, standing_time

BOTH = ("national", "zhongshan")
GRADES = "national/art34-35-grades.cedar"


def shipped(*layers: str, **changes: str) -> dict[str, Any]:
    found = read_set(default_policies_root(), layers or ("national",))
    return {"layers": list(found.layers), "files": {**found.files, **changes}}


def with_city(rule: str) -> dict[str, Any]:
    """The national layer and a city's with one rule."""
    body = shipped(**{"city/city.cedar": note("city-rule") + rule})
    return {**body, "layers": ["national", "city"]}


NEW = {**SYSTEM, "id": "another-system", "keys": [ClientKey(new_private_key(), "another").registration()]}
NO_WEDDINGS = (
    'forbid (principal, action in Action::"use", resource) when { context.purpose == "marriage-registration" };'
)
NO_NEW_SYSTEMS = 'forbid (principal is Officer, action == Action::"manageSystems", resource);'


SAID = {"reason": "a trial", "revives": True}


def activate(world: World, body: dict[str, Any], officer: str = "province", **options: Any) -> Any:
    return world.post(officer, "/v1/policies/activation", {**SAID, **body}, **options)


def digest_now(world: World) -> str:
    digest: str = done(world.get("province", "/v1/policies"))["digest"]
    return digest


def test_a_set_is_put_in_force_and_rolled_back(world: World) -> None:
    """History names who did what, and the set of the settings is the first to go back to."""
    before = digest_now(world)
    said = done(activate(world, shipped(*BOTH), headers={"Idempotency-Key": "activate-1"}))
    assert said["before"] == before
    assert digest_now(world) == said["activation"]["digest"] != before
    assert done(world.get("province", "/v1/policies"))["since"]["by"] == "province"
    again = activate(world, shipped(*BOTH), headers={"Idempotency-Key": "activate-1"})
    assert again.headers["Idempotency-Replayed"] == "true"
    refused(activate(world, shipped(*BOTH)), "conflict")
    done(world.post("province", "/v1/policies/rollback", SAID))
    assert digest_now(world) == before
    done(world.post("province", "/v1/policies/rollback", SAID))
    assert digest_now(world) == said["activation"]["digest"]
    steps = done(world.get("auditor", "/v1/policies/activations"))["items"]
    assert [one["step"] for one in steps] == ["roll-back", "roll-back", "activate", "initial"]
    assert [one["by"] for one in steps] == ["province", "province", "province", ""]
    assert all(one["record"] for one in steps[:3])
    page = done(world.get("auditor", "/v1/policies/activations", limit=3))
    assert [one["step"] for one in done(world.get("auditor", "/v1/policies/activations", before=page["next"]))["items"]]


def test_any_step_that_put_policies_in_force_can_be_gone_back_to(world: World) -> None:
    """By its number in the history; one that put none in force, or is none, is refused, and nothing changes."""
    first = digest_now(world)
    second = done(activate(world, shipped(*BOTH)))["activation"]["digest"]
    done(activate(world, with_city(NO_NEW_SYSTEMS)))
    shadow = {**with_city(NO_WEDDINGS), "reason": "a trial"}
    done(world.post("province", "/v1/policies/shadow", shadow))
    steps = {one["number"]: one["step"] for one in done(world.get("auditor", "/v1/policies/activations"))["items"]}
    assert steps == {1: "initial", 2: "activate", 3: "activate", 4: "shadow"}
    for number in (4, 5, 1 << 53):
        refusal = refused(world.post("province", "/v1/policies/rollback", {**SAID, "to": number}), "invalid-input")
        assert f"step {number} put no policies in force" in refusal["detail"]
    refused(world.post("province", "/v1/policies/rollback", {**SAID, "to": 3}), "conflict")
    done(world.post("province", "/v1/policies/rollback", {**SAID, "to": 2}))
    assert digest_now(world) == second
    done(world.post("province", "/v1/policies/rollback", {**SAID, "to": 1}))
    assert digest_now(world) == first


def test_what_is_lost_is_told_why_and_what_flows_anew_is_said(world: World) -> None:
    """Decree 809 Art. 15: neither a loss without a reason nor a gain without a word, by activation or by rollback."""
    grant, before = world.grant()["id"], digest_now(world)
    strict = with_city(NO_WEDDINGS)
    refusal = refused(activate(world, {**strict, "reason": None}), "invalid-input")
    assert (refusal["loss"]["grants_losing"], refusal["faults"][0]["field"]) == ([grant], "reason")
    assert digest_now(world) == before
    done(activate(world, {**strict, "revives": False}))
    back = {"reason": "a mistake"}
    refusal = refused(world.post("province", "/v1/policies/rollback", back), "conflict")
    assert (refusal["loss"]["grants_gaining"], refusal["loss"]["gives"]) == ([grant], True)
    done(world.post("province", "/v1/policies/rollback", {**back, "revives": True}))
    assert digest_now(world) == before


def test_there_is_nothing_to_roll_back_to_at_first(world: World) -> None:
    refused(world.post("province", "/v1/policies/rollback", {}), "conflict")


@pytest.mark.parametrize("officer", ["registrar", "stranger", "police", "operator", "auditor", "civil"])
def test_only_the_competent_department_of_all_regions_may(world: World, officer: str) -> None:
    """Policies decide for every department, so a competence that leaves one out is not enough (Decree 809 Art. 8).

    Who is competent for a city tries and compares that city's layer, and puts no permit of it in force. What it could
    go back in, or end, is not there.
    """
    before = digest_now(world)
    in_its_city = officer == "registrar"
    of_a_city = "conflict" if officer in {"registrar", "stranger"} else "act-not-permitted"
    for path, body, code in (
        ("activation", shipped(*BOTH), "act-not-permitted"),
        ("rollback", {}, of_a_city),
        ("shadow/end", {}, of_a_city),
        ("shadow", shipped(*BOTH), "" if in_its_city else "act-not-permitted"),
        ("compare", shipped(*BOTH), "" if in_its_city else "act-not-permitted"),
        ("compare", {"layers": ["national"]}, "act-not-permitted"),
    ):
        answer = world.post(officer, f"/v1/policies/{path}", body)
        if code:
            refused(answer, code)
        else:
            done(answer)
    if not in_its_city:
        shadow = world.get(officer, "/v1/policies/shadow")
        refused(shadow, "not-found" if of_a_city == "conflict" else "act-not-permitted")
    assert digest_now(world) == before
    assert [event.step for event in world.store.policy_events()] == [PolicyStep.SHADOW] * in_its_city


def test_what_is_unsound_is_refused_with_every_finding(world: World) -> None:
    body = shipped()
    body["files"][GRADES] = body["files"][GRADES].replace('Grade::"3", ', "")
    body["files"]["national/idle.cedar"] = (
        note("idle") + 'forbid (principal, action in Action::"use", resource) when { context.assurance > 3 };'
    )
    for path in ("activation", "shadow", "compare"):
        faults = refused(world.post("province", f"/v1/policies/{path}", body), "invalid-input")["faults"]
        assert any(re.fullmatch(r"national/idle.cedar:[12]:[0-9]+: idle", fault["field"]) for fault in faults)
        assert any("decision" in fault["fault"] or "expected" in fault["fault"] for fault in faults)
    assert world.store.policy_events() == ()


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "national/../x.cedar",
        "/etc/x.cedar",
        "other/x.cedar",
        "national/sub/x.cedar",
        "x",
        "national/x.py",
    ],
)
def test_a_set_holds_nothing_but_its_own_files(world: World, name: str) -> None:
    faults = refused(activate(world, shipped(**{name: "x"})), "invalid-input")["faults"]
    assert [fault["field"] for fault in faults] == [name]


def test_a_set_is_bounded(world: World) -> None:
    faults = refused(activate(world, shipped(**{"national/x.cedar": "/" * (257 << 10)})), "invalid-input")["faults"]
    assert [fault["field"] for fault in faults] == ["national/x.cedar"]
    many = {f"national/x{number}.cedar": "" for number in range(501)}
    assert [f["field"] for f in refused(activate(world, shipped(**many)), "invalid-input")["faults"]] == ["files"]
    refused(activate(world, {"layers": ["national"], "files": {"national/x.cedar": "x" * (9 << 20)}}), "body-too-large")
    refused(activate(world, {**shipped(), "layers": ["national", "national"]}), "invalid-input")


def test_what_takes_away_says_from_whom_and_is_refused_with_no_loss(world: World) -> None:
    """Decree 809 Art. 15, 39(2): who loses is said before and in the act; `no_loss` refuses."""
    grant = world.grant()["id"]
    body, before = with_city(NO_WEDDINGS), digest_now(world)
    found = done(world.post("province", "/v1/policies/compare", body))
    assert (found["takes_away"], found["comparison"]["grants_losing"]) == (True, [grant])
    refusal = refused(activate(world, {**body, "no_loss": True}), "conflict")
    assert refusal["loss"]["grants_losing"] == [grant]
    assert {one["change"] for one in refusal["loss"]["differences"]} == {"loses"}
    assert digest_now(world) == before
    said = done(activate(world, body))
    assert (said["loss"]["losing"], digest_now(world)) == (1, said["activation"]["digest"])
    assert done(activate(world, {**shipped(), "no_loss": True}))["loss"]["grants_gaining"] == [grant]


def test_no_loss_counts_what_was_granted_while_it_was_compared(world: World) -> None:
    """A grant that was issued after the comparison began, and before the activation, is not lost either."""
    examine = world.services.policies.examine

    def meanwhile(*given: Any, **more: Any) -> Any:
        found = examine(*given, **more)
        with world.store.transaction() as tx:
            tx.insert_grant(msgspec.convert(GRANT, Grant))
        return found

    with patch.object(world.services.policies, "examine", meanwhile):
        refusal = refused(activate(world, {**with_city(NO_WEDDINGS), "no_loss": True}), "conflict")
    assert refusal["loss"]["losing"] == 0
    assert world.store.policies_in_force() is None


def test_what_cannot_be_compared_in_time_is_put_in_force_only_where_it_is_asked_for(world: World) -> None:
    """So far as it was compared it is told; a proposal and a rollback ask the same, `thorough` goes on to the end."""
    world.grant()
    body = with_city(NO_WEDDINGS)
    with patch("gateway.policy.offline.examining.COMPARE_SECONDS", 0.0):
        found = done(world.post("province", "/v1/policies/compare", body))
        assert (found["comparison"]["is_whole"], found["takes_away"]) == (False, True)
        refusal = refused(activate(world, {**body, "reason": "art. 25"}), "conflict")
        assert "thorough" in refusal["detail"]
        assert refusal["loss"]["is_whole"] is False
        assert world.store.policies_in_force() is None
        whole = done(world.post("province", "/v1/policies/compare", {**body, "thorough": True}))
        assert whole["comparison"]["is_whole"] is True
        done(activate(world, {**body, "reason": "art. 25", "thorough": True}))


def test_an_activation_that_another_overtook_is_refused(world: World) -> None:
    """What was compared with policies that are no longer in force says nothing about those that are."""
    examine = world.services.policies.examine

    def meanwhile(*given: Any, **more: Any) -> Any:
        found = examine(*given, **more)
        put(world.store, with_city(NO_NEW_SYSTEMS), number=1)
        return found

    with patch.object(world.services.policies, "examine", meanwhile):
        refused(activate(world, shipped(*BOTH)), "conflict")
    present = world.store.policies_in_force()
    assert present is not None
    assert present.by == "elsewhere"


def test_an_activation_is_recorded_before_it_stands(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a record nothing is put in force; a record whose commit failed is voided."""
    before = digest_now(world)

    def cannot(*_: Any, **__: Any) -> str:
        raise GatewayError("records-unavailable", "the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(world.acts, "append_all", cannot)
        refused(activate(world, shipped(*BOTH)), "records-unavailable")
    assert digest_now(world) == before
    assert world.store.policies_in_force() is None


def test_the_feed_names_an_activation_and_whether_it_can_withdraw(world: World) -> None:
    """Adding permits cuts nobody; a forbid more, or a permit less, can."""
    start = world.store.sequence()
    relief = 'permit (principal is System, action == Action::"query", resource) when { context.purpose == "relief" };'
    done(activate(world, with_city(relief)))
    done(world.post("province", "/v1/policies/rollback", SAID))
    changes = [one for one in world.store.changes_after(start) if one.kind is ChangeKind.POLICY]
    assert [(one.subject, one.withdraws) for one in changes] == [("activate", False), ("roll-back", True)]


def put(store: Store, body: dict[str, Any], number: int) -> None:
    """What another node's activation writes."""
    policies = PolicySet(tuple(body["layers"]), body["files"])
    layers = parse_layers(policies.files, policies.layers)
    at = datetime.fromtimestamp(standing_time(), UTC)
    event = PolicyEvent(number, PolicyStep.ACTIVATE, policies.id, layers.digest, layers.names, "elsewhere", at)
    with store.transaction() as tx:
        tx.put_policy_set(policies)
        tx.add_policy_event(event, withdraws=True)


def test_an_act_is_decided_by_the_policies_that_another_node_put_in_force(world: World) -> None:
    """A right that is gone is gone for the next act on every node, before that node's feed has said anything."""
    put(world.store, with_city(NO_NEW_SYSTEMS), number=1)
    refusal = refused(world.post("civil", "/v1/systems", NEW), "act-not-permitted")
    assert refusal["policies"] == ["city-rule"]
    done(activate(world, shipped()))
    done(world.post("civil", "/v1/systems", NEW))


def test_policies_that_cannot_be_loaded_let_no_act_stand(world: World) -> None:
    """Where the state names a set that it no longer keeps whole, acts are refused and not decided by the old one."""
    put(world.store, with_city(NO_NEW_SYSTEMS), number=1)
    with world.store.database.writing() as connection:
        connection.execute(text("UPDATE policy_sets SET body = replace(body, 'manageSystems', 'manageKeys')"))
    refused(world.post("civil", "/v1/systems", NEW), "conflict")
    assert world.store.system(NEW["id"]) is None


def test_a_candidate_goes_into_the_shadow_and_out_again(world: World) -> None:
    refused(world.get("province", "/v1/policies/shadow"), "not-found")
    refused(world.post("province", "/v1/policies/shadow/end", {}), "conflict")
    before = digest_now(world)
    step = done(world.post("province", "/v1/policies/shadow", shipped(*BOTH)))["shadow"]
    found = done(world.get("province", "/v1/policies/shadow"))
    assert (found["running"], found["digest"], found["by"]) == (True, step["digest"], "province")
    assert digest_now(world) == before
    done(world.post("province", "/v1/policies/shadow/end", {"reason": "seen enough"}))
    assert done(world.get("province", "/v1/policies/shadow"))["running"] is False
    assert [one.step for one in world.store.policy_events()] == [PolicyStep.SHADOW_END, PolicyStep.SHADOW]


SECRETS = "national/art03-secrets.cedar"


def one_rule(claim: str) -> dict[str, Any]:
    """A law of one sentence, which says what it is claimed to."""
    files = read_set(default_policies_root(), ("national",)).files
    theorem = f"""
- {{id: t3-one, article: Decree 809 Art. 3, sentence: A sentence., sentence_zh: 一句话。, claim: '{claim}'}}
"""
    articles = """
- article: Decree 809 Art. 3
  duty: state secrets are not shared
  at_call: true
  enforced_by: [policy]
  theorems: [t3-one]
"""
    kept = {name: files[name] for name in ("schema.cedarschema", SECRETS)}
    return {
        "layers": ["national"],
        "files": {**kept, "articles.yaml": articles, "national/theorems.yaml": theorem},
    }


@pytest.fixture
def _no_solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CEDAR", "CVC5"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))


@pytest.mark.usefixtures("_no_solver")
def test_what_was_proved_at_the_release_is_known_and_recorded(world: World) -> None:
    """A gateway without a solver says so of other policies, and refuses them where proofs are demanded."""
    said = done(activate(world, shipped(*BOTH)))
    proved = said["proving"]["proved"]
    assert (proved["result"], proved["layers"]) == ("proved", list(BOTH))
    assert said["activation"]["proved"] == proved
    now = done(world.get("province", "/v1/policies"))
    assert now["proved"] == proved
    assert len(now["theorems"]) == proved["theorems"]
    city = with_city(NO_WEDDINGS)
    world.services.policies.proofs = "required"
    assert "cargo install" in refused(activate(world, city), "conflict")["detail"]
    done(activate(world, shipped()))
    world.services.policies.proofs = "possible"
    told = done(activate(world, city))["proving"]
    assert told["proved"] is None
    assert "cargo install" in told["unasked"]
    assert done(world.get("province", "/v1/policies"))["proved"] is None


@pytest.mark.deep
def test_what_is_refuted_needs_a_reason_which_is_recorded(world: World) -> None:
    """The case is told; what it could ever be otherwise is told beside; `required` takes no reason."""
    try:
        find_tools()
    except GatewayError as error:
        pytest.skip(error.detail)
    wrong = one_rule('resource.dataset.classification == Classification::"public"')
    world.services.policies.proofs = "required"
    refused(activate(world, wrong), "conflict")
    world.services.policies.proofs = "possible"
    problem = refused(activate(world, {**wrong, "reason": None}), "invalid-input")
    assert [fault["field"] for fault in problem["faults"]] == ["reason"]
    (failed,) = problem["proving"]["failed"]
    assert failed["case"]["lines"]
    said = done(activate(world, wrong))
    assert said["activation"]["proved"]["failed"] == ["theorem t3-one"]
    assert {one["action"]: one["change"] for one in said["proving"]["ever"]}["suspend"] == "narrower"
