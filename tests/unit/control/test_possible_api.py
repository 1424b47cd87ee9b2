"""Whether a dataset can ever be obtained, over the API: who may ask, and what is told of whom."""

import pytest

from gateway.control.act.examples import GRANT, SUSPENSION
from gateway.control.policies import desk
from gateway.policy.proofs import solver
from tests.support.control import World, done, refused

POSSIBLE = "/v1/policies/possible"
REGISTER = GRANT["dataset"]
PAIR = {"department": "civil-affairs", "dataset": REGISTER}


def test_before_and_after_a_grant_and_its_suspension(world: World) -> None:
    """Never without a permit; then an example that can be called so; then never again, or not found if unproved."""
    (before,) = done(world.get("civil", POSSIBLE, **PAIR))["found"]
    assert (before["outcome"], before["by"]) == ("never", "no-permit")
    world.grant()
    (found,) = done(world.get("civil", POSSIBLE, **PAIR, item="name"))["found"]
    assert found["outcome"] == "possible"
    example = found["example"]
    assert (example["grant"], example["needs"]) == ("g-2026-0001", [])
    supplier, _, interface = example["interface"].partition("/")
    call = {
        "department": "civil-affairs",
        "supplier": supplier,
        "interface": interface,
        **{name: example[name] for name in ("system", "purpose", "mode", "items", "parameters", "assurance", "at")},
    }
    verdict = done(world.post("civil", "/v1/policies/explain", call))["verdict"]
    assert verdict["decision"] == "permit"
    assert "name" in verdict["items"]
    done(world.post("police", "/v1/grants/g-2026-0001/suspension", SUSPENSION))
    (after,) = done(world.get("civil", POSSIBLE, **PAIR))["found"]
    assert after["outcome"] in ("never", "not-found")
    assert any(cause["id"].startswith("order:") for cause in after["causes"])


def test_who_may_ask_and_of_whom(world: World) -> None:
    """Those who may read the policies and grants of a pair, of that pair: nothing is told of another department."""
    world.grant()
    for officer in ("police", "registrar", "province", "auditor", "inspector"):
        answer = done(world.get(officer, POSSIBLE, dataset=REGISTER))
        assert answer["not_shown"] == 0
        found = {one["department"]: one["outcome"] for one in answer["found"]}
        assert found["civil-affairs"] == "possible"
        assert found["market"] == "never"
    for officer, own in (("civil", "civil-affairs"), ("market-both", "market"), ("stranger", "elsewhere")):
        answer = done(world.get(officer, POSSIBLE, dataset=REGISTER))
        assert [(one["department"], one["alike"]) for one in answer["found"]] == [(own, [])]
        assert answer["not_shown"] == 5
    for officer in ("market-both", "stranger"):
        refused(world.get(officer, POSSIBLE, **PAIR), "act-not-permitted")
    # Decree 809 Art. 36: an operator reads no grant, nor what follows from one.
    refused(world.get("operator", POSSIBLE, **PAIR), "act-not-permitted")
    refused(world.get("operator", POSSIBLE, dataset=REGISTER), "act-not-permitted")


def test_what_is_not_shown_does_not_tell_whether_there_is_a_grant(world: World) -> None:
    """To an officer of another department the answer before and after a grant is the same."""
    before = done(world.get("market-both", POSSIBLE, dataset=REGISTER))
    world.grant()
    after = done(world.get("market-both", POSSIBLE, dataset=REGISTER))
    assert {**before, "at": ""} == {**after, "at": ""}


def test_what_there_is_not_is_refused_after_who_asks(world: World) -> None:
    """An entry or a department that there is not is no `never`; and who may not ask learns of neither."""
    refused(world.get("auditor", POSSIBLE, department="civil-affairs", dataset="no-such-entry"), "not-found")
    refused(world.get("police", POSSIBLE, department="no-such-department", dataset=REGISTER), "not-found")
    refused(world.get("civil", POSSIBLE, department="no-such-department", dataset=REGISTER), "act-not-permitted")
    refused(world.get("civil", POSSIBLE, dataset="no-such-entry", department="market"), "act-not-permitted")
    refused(world.get("civil", POSSIBLE, **PAIR, mode="telepathy"), "invalid-input")
    refused(world.get("civil", POSSIBLE, **PAIR, item="x" * 201), "invalid-input")


@pytest.mark.parametrize("odd", ['"] && true) || ("', "\x00", "名称", "name\n};permit(principal,action,resource);"])
def test_words_are_asked_and_never_read_as_policy(odd: str, world: World) -> None:
    """Whatever stands in a purpose is a purpose."""
    world.grant()
    (found,) = done(world.get("civil", POSSIBLE, **PAIR, purpose=odd))["found"]
    assert found["outcome"] in ("never", "not-found")
    (found,) = done(world.get("civil", POSSIBLE, **PAIR, item=odd))["found"]
    assert (found["outcome"], found["by"]) == ("never", "gateway")


def test_without_the_programs_it_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a permit speaks of is never called never then."""
    world.grant()
    done(world.post("police", "/v1/grants/g-2026-0001/suspension", SUSPENSION))
    monkeypatch.setattr(solver, "_program", lambda *_: None)
    (found,) = done(world.get("civil", POSSIBLE, **PAIR, mode="query"))["found"]
    assert (found["outcome"], found["by"], found["unproved"]) == ("not-found", "", "no-solver")


def test_one_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that takes seconds waits for another, and not for long."""
    monkeypatch.setattr(desk, "QUESTION_SECONDS", 0.05)
    with world.services.policies.one_question():
        refused(world.get("civil", POSSIBLE, **PAIR), "conflict")
    assert done(world.get("civil", POSSIBLE, **PAIR))["found"]
