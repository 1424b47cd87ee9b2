"""Verifications and disputes by their tables; and that every table is sound, and told as it is."""

from typing import Any

import pytest

from gateway.control.act.examples import CONTENTION, DOUBT, GRANT, SETTLEMENT
from gateway.domain.officers import Act
from gateway.domain.processes.register import PROCESSES
from gateway.domain.processes.table import STATED, Process
from gateway.policy.live.powers import table_of
from tests.policies.cases import NATIONAL, ZHONGSHAN
from tests.support.control import World, done, refused


@pytest.mark.parametrize("process", PROCESSES.values(), ids=list(PROCESSES))
def test_a_table_is_sound(process: Process) -> None:
    """Each state is reached, and left unless it is an end; each step leads somewhere known and is somebody's."""
    states = {each.name: each for each in process.states}
    opening, *steps = process.steps
    assert not opening.before
    assert all(step.before for step in steps)
    assert {step.after for step in process.steps} - {None} == set(states)
    left = {name for step in steps if step.after is not None for name in step.before}
    assert left == {name for name, state in states.items() if not state.is_end}
    assert len({step.name for step in process.steps}) == len(process.steps)
    assert all(state.duty and state.duty_zh for state in process.states if not state.is_end)
    for layers, nobodys in ((NATIONAL, {"approve-instead"}), (ZHONGSHAN, set())):
        told = table_of(layers, process, 0)
        assert {row.name for row in told.items if not row.who} <= nobodys
    named = {row.clock for row in told.items if row.clock and "{" not in row.clock}
    assert named - {STATED} <= set(told.clocks).union(*told.regional.values())


def test_a_doubt_is_answered_by_the_supplier_in_its_time(world: World) -> None:
    """Due after ten working days; who asked may take it back, and nobody else may answer (Decree 809 Art. 26)."""
    made = done(world.post("civil", "/v1/verifications", DOUBT))["verification"]
    assert (made["state"], made["supplier"], made["due"]["on"]) == ("received", "public-security", "2026-06-15")
    path = f"/v1/verifications/{made['id']}"
    answer = {"outcome": "corrected", "statement": "corrected on the day"}
    for officer, code in (("civil", "act-not-permitted"), ("stranger", "not-found")):
        refused(world.post(officer, f"{path}/answer", answer), code)
    refused(world.post("police", f"{path}/answer", {**answer, "outcome": "perhaps"}), "invalid-input")
    told = done(world.post("police", f"{path}/answer", answer))["verification"]
    assert (told["state"], told["due"], told["facts"]["outcome"]) == ("answered", None, "corrected")
    refused(world.post("civil", f"{path}/withdraw", {"reasons": "x"}), "conflict")
    for wrong in ({"items": ["shoe_size"]}, {"dataset": "none"}, {"statement": " "}, {"person": "x"}):
        refused(world.post("civil", "/v1/verifications", {**DOUBT, **wrong}), "invalid-input")


@pytest.fixture
def disputed(world: World) -> Any:
    """A grant, and its dispute opened by the demand side."""
    world.grant()
    return done(world.post("civil", "/v1/disputes", CONTENTION))["dispute"]["id"]


def is_held(world: World) -> bool:
    grant = world.store.grant(GRANT["id"])
    assert grant is not None
    return grant.disputed


def test_an_agreement_is_of_both_sides(world: World, disputed: str) -> None:
    """Who offers does not agree for the other; the hold on the grant's records lasts until the end."""
    path = f"/v1/disputes/{disputed}"
    assert is_held(world)
    refused(world.post("police", "/v1/disputes", CONTENTION), "conflict")
    refused(world.post("registrar", f"/v1/grants/{GRANT['id']}/dispute/settlement", SETTLEMENT), "conflict")
    done(world.post("civil", f"{path}/offer", {"outcome": "the item is shared for a year"}))
    refused(world.post("civil", f"{path}/agree", {"reasons": "we do"}), "conflict")
    refused(world.post("police", f"{path}/withdraw", {"reasons": "we want no dispute"}), "conflict")
    assert is_held(world)
    done(world.post("police", f"{path}/agree", {"reasons": "for a year"}))
    assert not is_held(world)


def test_what_is_not_agreed_is_settled_above_or_decided(world: World, disputed: str) -> None:
    """The sides do not settle; what coordination does not end, the people's government decides (Art. 28)."""
    path = f"/v1/disputes/{disputed}"
    outcome = {"outcome": "the item stays out", "reference": "政数协〔2026〕5号"}
    for officer in ("civil", "police"):
        refused(world.post(officer, f"{path}/settle", outcome), "act-not-permitted")
    refused(world.post("registrar", f"{path}/refer", {"reasons": "too early"}), "conflict")
    done(world.post("civil", f"{path}/apply", {"reasons": "no agreement"}))
    done(world.post("registrar", f"{path}/refer", {"reasons": "coordination failed"}))
    assert is_held(world)
    done(world.post("registrar", f"{path}/decide", outcome))
    assert not is_held(world)
    refused(world.post("registrar", f"{path}/settle", outcome), "conflict")


def test_nobody_disputes_what_one_may_not_see(world: World) -> None:
    """A grant that is another's is told of as one that is not there."""
    world.grant()
    there, nowhere = (
        world.post("market-both", "/v1/disputes", {**CONTENTION, "grant": name}) for name in (GRANT["id"], "g-none")
    )
    refused(nowhere, "not-found")
    assert there.text.replace(GRANT["id"], "g-none") == nowhere.text


def test_every_step_is_on_record_with_its_article_and_no_words_of_a_person(world: World) -> None:
    """Who, what, by which policies; what is doubted stays in the state."""
    recorded: list[tuple[Any, dict[str, Any]]] = []
    append = world.acts.append_all

    def told(kind: Any, rows: Any, **more: Any) -> tuple[str, ...]:
        recorded.extend((kind, dict(fields)) for fields in rows)
        return append(kind, rows, **more)

    world.acts.append_all = told  # type: ignore[method-assign]
    made = done(world.post("civil", "/v1/verifications", DOUBT))["verification"]
    (kind, fields), *_ = recorded
    assert kind.value == "process"
    assert {fields[name] for name in ("process", "case", "step", "article", "act")} == {
        "verifications",
        made["id"],
        "request",
        "Decree 809 Art. 26",
        Act.REQUEST_VERIFICATION.value,
    }
    assert DOUBT["statement"] not in str(fields)
