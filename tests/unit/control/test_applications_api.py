"""An application from draft to its grant, by its table: who, when, in which order, and what nobody can get around."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.control.act.examples import DATASET, PROPOSAL, STANDS_AT
from gateway.domain.officers import Officer, Role
from gateway.policy.law.settled import Settled
from tests.support.control import CITY, World, done, refused

DRAFT = {"grant": PROPOSAL, "answers": ["only at the counter, for couples that register"]}
APPLICATIONS = "/v1/applications"


class Applying:
    """One application, and who takes its steps."""

    def __init__(self, world: World, **changes: Any) -> None:
        self.world = world
        made = done(world.post("civil", APPLICATIONS, {**DRAFT, "grant": {**PROPOSAL, **changes}}))
        self.id = made["application"]["id"]
        self.digest = made["digest"]

    def step(self, officer: str, name: str, **said: Any) -> Any:
        return self.world.post(officer, f"{APPLICATIONS}/{self.id}/{name}", said)

    def show(self, officer: str = "civil") -> dict[str, Any]:
        return done(self.world.get(officer, f"{APPLICATIONS}/{self.id}"))

    def submit(self) -> dict[str, Any]:
        return done(self.step("civil", "submit", digest=self.digest))["application"]


@pytest.fixture
def at(make_world: Callable[..., World]) -> Callable[[datetime], World]:
    """Worlds whose clock stands where a test sets it."""

    def make(moment: datetime) -> World:
        return make_world(now=moment.timestamp)

    return make


def move(world: World, **by: int) -> None:
    """Move the day on."""
    then = world.now() + timedelta(**by).total_seconds()
    world.now = lambda: then


def test_an_approved_application_is_its_grant(world: World) -> None:
    """Draft, submission, approval: the grant of that digest stands with the acts of both sides."""
    applying = Applying(world)
    assert applying.show()["yours"] == ["amend", "submit", "withdraw"]
    received = applying.submit()
    assert (received["state"], received["clock"], received["due"]["on"]) == (
        "received",
        "reply-conditional",
        "2026-06-15",
    )
    answer = done(applying.step("police", "approve", digest=applying.digest))
    grant = world.store.grant(PROPOSAL["id"])
    assert grant is not None
    for approval, person in ((grant.demand_approval, "civil"), (grant.supply_approval, "police")):
        assert (approval.person, approval.digest) == (person, applying.digest)
    assert answer["application"]["state"] == "approved"
    assert answer["application"]["clock"] == "sharing"
    assert answer["application"]["due"] == {"on": "2026-06-30", "provisional": False}
    shared = done(applying.step("police", "share", shared_on="2026-06-01", statement="by the interface household"))
    assert shared["application"]["state"] == "shared"
    history = applying.show()["history"]
    assert [(each["step"], each["in_time"]) for each in history] == [
        ("draft", None),
        ("submit", None),
        ("approve", True),
        ("share", True),
    ]


def test_missing_materials_are_asked_once_and_what_is_completed_is_approved_anew(world: World) -> None:
    """No clock runs meanwhile; a second asking is refused with the steps that fit (Decree 809 Art. 21)."""
    applying = Applying(world)
    applying.submit()
    asked = done(applying.step("police", "ask-materials", missing=["the basis", "a list of counters"]))["application"]
    assert (asked["state"], asked["due"]) == ("awaiting-materials", None)
    refused(applying.step("police", "approve", digest=applying.digest), "conflict")
    changed = {**DRAFT, "grant": {**PROPOSAL, "items": ["name"]}}
    amended = done(world.post("civil", f"{APPLICATIONS}/{applying.id}/amend", changed))
    refused(applying.step("civil", "complete", digest=applying.digest), "invalid-input")
    move(world, days=3)
    completed = done(applying.step("civil", "complete", digest=amended["digest"]))["application"]
    assert completed["due"]["on"] == "2026-06-18"
    told = refused(applying.step("police", "ask-materials", missing=["more"]), "conflict")
    assert told["state"] == "received"
    assert "ask-materials" not in told["possible"]
    assert "approve" in told["possible"]


def test_a_reply_is_put_off_once_by_the_competent_department(world: World) -> None:
    """At most by the law's days; the supplier's own word puts nothing off (Decree 809 Art. 21)."""
    applying = Applying(world)
    applying.submit()
    document = refused(applying.step("police", "request-extension", days=11, reasons="holidays"), "invalid-input")
    assert document["faults"][0]["field"] == "days"
    asked = done(applying.step("police", "request-extension", days=10, reasons="the register moves"))["application"]
    assert asked["due"]["on"] == "2026-06-15"
    refused(applying.step("police", "approve-extension"), "act-not-permitted")
    refused(applying.step("stranger", "approve-extension"), "not-found")
    later = done(applying.step("registrar", "approve-extension", reference="政数〔2026〕3号"))["application"]
    # The Dragon Boat Festival lies between.
    assert (later["state"], later["due"]["on"]) == ("received", "2026-06-30")
    refused(applying.step("police", "request-extension", days=1, reasons="once more"), "conflict")


def test_less_than_applied_for_is_a_grant_only_once_accepted(world: World) -> None:
    """The supplier approves less with reasons; the applicant accepts that digest, or not; nothing may be wider."""
    applying = Applying(world)
    applying.submit()
    narrowed = {**PROPOSAL, "items": ["name"]}
    for wrong in (
        {**narrowed, "modes": ["query", "verify"]},
        PROPOSAL,
        {**narrowed, "legal_basis": "another"},
        {**narrowed, "id": "g-other"},
    ):
        refused(applying.step("police", "narrow", grant=wrong, reasons="less will do"), "invalid-input")
    refused(applying.step("police", "narrow", grant=narrowed), "invalid-input")
    answer = done(applying.step("police", "narrow", grant=narrowed, reasons="the registration needs the name"))
    assert world.store.grant(PROPOSAL["id"]) is None
    refused(applying.step("police", "accept", digest=answer["digest"]), "act-not-permitted")
    refused(applying.step("civil", "accept", digest=applying.digest), "invalid-input")
    done(applying.step("civil", "accept", digest=answer["digest"]))
    grant = world.store.grant(PROPOSAL["id"])
    assert grant is not None
    assert grant.items == ("name",)
    assert {grant.demand_approval.digest, grant.supply_approval.digest} == {answer["digest"]}


def test_what_is_applied_for_too_long_is_narrowed_to_what_is_approved_here(world: World) -> None:
    """The settings changed meanwhile: it is not approved, and the supplier is shown the way: to approve less."""
    applying = Applying(world)
    applying.submit()
    layers = world.engine._layers
    before, layers.settled = layers.settled, Settled(longest_grant_days=300)
    try:
        refused(applying.step("police", "approve", digest=applying.digest), "act-not-permitted")
        yours = applying.show("police")["yours"]
        assert ("approve" in yours, "narrow" in yours) == (False, True)
        begins = datetime.fromisoformat(PROPOSAL["valid_from"])
        longer, shorter = (
            {**PROPOSAL, "items": ["name"], "valid_until": (begins + timedelta(days=days)).isoformat()}
            for days in (301, 300)
        )
        refused(applying.step("police", "narrow", grant=longer, reasons="less is enough"), "act-not-permitted")
        answer = done(applying.step("police", "narrow", grant=shorter, reasons="less is enough"))
        done(applying.step("civil", "accept", digest=answer["digest"]))
    finally:
        layers.settled = before
    grant = world.store.grant(PROPOSAL["id"])
    assert grant is not None
    assert grant.valid_until - grant.valid_from == timedelta(days=300)


def test_what_was_narrowed_by_a_person_who_left_is_not_accepted(world: World) -> None:
    """The supplier's approval falls with the office of who gave it; another person approves anew; nobody takes both
    sides."""
    applying = Applying(world)
    applying.submit()
    narrowed = {"grant": {**PROPOSAL, "items": ["name"]}, "reasons": "the registration needs the name"}

    def appoint(department: str, *roles: Role) -> None:
        with world.store.transaction() as tx:
            tx.put_officer(Officer("turncoat", department, CITY, roles))

    appoint("public-security", Role.SUPPLIER)
    digest = done(applying.step("turncoat", "narrow", **narrowed))["digest"]
    appoint("civil-affairs", Role.DEMAND)
    for officer in ("turncoat", "civil"):
        refused(applying.step(officer, "accept", digest=digest), "act-not-permitted")
    again = done(applying.step("police", "narrow", **narrowed))["digest"]
    done(applying.step("civil", "accept", digest=again))


def test_a_refusal_states_its_reasons_and_ends_the_application(world: World) -> None:
    applying = Applying(world)
    applying.submit()
    refused(applying.step("police", "refuse"), "invalid-input")
    refused(applying.step("civil", "refuse", reasons="x"), "act-not-permitted")
    ended = done(applying.step("police", "refuse", reasons="more than the registration needs"))["application"]
    assert (ended["state"], ended["due"], ended["facts"]["reasons"]) == (
        "refused",
        None,
        "more than the registration needs",
    )
    told = refused(applying.step("police", "approve", digest=applying.digest), "conflict")
    assert told["possible"] == []
    # The same is applied for again, as another application.
    assert Applying(world).id != applying.id


def test_no_reply_in_time_is_urged_and_where_a_layer_says_so_provided(at: Callable[[datetime], World]) -> None:
    """Not a day before; the decree's competent department orders the reply, and does not reply itself."""
    world = at(STANDS_AT)
    applying = Applying(world)
    applying.submit()
    move(world, days=14)
    told = refused(applying.step("registrar", "urge", reasons="no reply"), "conflict")
    assert "overdue" in told["detail"]
    move(world, days=1)
    done(applying.step("registrar", "urge", reasons="no reply since 15 June", reference="政数催〔2026〕1号"))
    refused(applying.step("registrar", "approve-instead", digest=applying.digest), "act-not-permitted")
    late = done(applying.step("police", "approve", digest=applying.digest))
    assert late["application"]["state"] == "approved"
    assert applying.show()["history"][-1]["in_time"] is False


def test_conditions_are_answered_one_by_one(world: World) -> None:
    """Each condition of the entry without an answer is named with its words, beside every other fault."""
    entry = {**DATASET, "conditions": "at the counter; with the person's consent"}
    done(world.post("registrar", "/v1/datasets?release=true", entry))
    wrong = {"grant": {**PROPOSAL, "items": ["nothing"]}, "answers": ["yes", " "]}
    faults = refused(world.post("civil", APPLICATIONS, {**wrong, "answers": ["yes"]}), "invalid-input")["faults"]
    assert {each["field"] for each in faults} == {"grant.items", "answers.1"}
    assert "consent" in next(each["fault"] for each in faults if each["field"] == "answers.1")
    refused(world.post("civil", APPLICATIONS, {"grant": PROPOSAL, "answers": ["a", "b", "c"]}), "invalid-input")
    done(world.post("civil", APPLICATIONS, {"grant": PROPOSAL, "answers": ["yes", "in writing"]}))


def test_a_proposal_of_an_application_is_acted_on_there_alone(world: World) -> None:
    """Neither the short way nor a second application overtakes it; the proposal's own acts name the application."""
    applying = Applying(world)
    proposal = f"/v1/proposals/{PROPOSAL['id']}"
    for officer, act in (("civil", "demand-approval"), ("police", "supply-approval"), ("police", "refusal")):
        body = {"reasons": "x"} if act == "refusal" else {"digest": applying.digest}
        if act == "supply-approval":
            applying.submit()
        assert refused(world.post(officer, f"{proposal}/{act}", body), "conflict")["application"] == applying.id
    refused(world.post("civil", "/v1/proposals", PROPOSAL), "conflict")
    refused(world.post("civil", APPLICATIONS, DRAFT), "conflict")
    assert world.store.grant(PROPOSAL["id"]) is None


def test_late_and_concurrent_steps_do_nothing_by_half(world: World) -> None:
    """Of approvals sent side by side one issues the grant; `If-Match` of what was read before is refused."""
    applying = Applying(world)
    read = world.get("police", f"{APPLICATIONS}/{applying.id}").headers["ETag"]
    applying.submit()
    path = f"{APPLICATIONS}/{applying.id}/approve"
    body = {"digest": applying.digest}
    refused(world.post("police", path, body, headers={"If-Match": read}), "precondition-failed")
    answers = world.at_once("police", path, body, 5)
    assert sorted(each.status_code for each in answers) == [200, 409, 409, 409, 409]
    once = {"Idempotency-Key": "share-once-1"}
    said = {"shared_on": "2026-06-01", "statement": "by the interface"}
    for _ in range(2):
        done(world.post("police", f"{APPLICATIONS}/{applying.id}/share", said, headers=once))
    assert len(applying.show()["history"]) == 4


def test_who_may_not_see_an_application_is_told_of_nothing(world: World) -> None:
    """List, case, steps, comments and attachments: as if there were none."""
    applying = Applying(world)
    path = f"{APPLICATIONS}/{applying.id}"
    for officer in ("stranger", "market-both", "operator"):
        refused(world.get(officer, path), "not-found")
        refused(world.post(officer, f"{path}/comments", {"comment": "x"}), "not-found")
        refused(world.post(officer, f"{path}/approve", {"digest": applying.digest}), "not-found")
    assert done(world.get("market-both", APPLICATIONS, supplier="market"))["items"] == []
    for officer in ("civil", "police", "registrar", "auditor"):
        assert [each["id"] for each in done(world.get(officer, APPLICATIONS))["items"]] == [applying.id]
    # Who only watches says nothing.
    refused(world.post("auditor", f"{path}/comments", {"comment": "x"}), "act-not-permitted")


def test_comments_and_attachments_stand_beside_the_case(world: World) -> None:
    """A file is taken by what it is, once, and comes back as it came; a comment changes nothing."""
    applying = Applying(world)
    path = f"{APPLICATIONS}/{applying.id}"
    done(world.post("police", f"{path}/comments", {"comment": "which counters?"}))

    def attach(content: bytes, kind: str, name: str = "依据.pdf") -> Any:
        return world.ask(
            "civil",
            "POST",
            f"{path}/attachments",
            content=content,
            params={"name": name},
            headers={"Content-Type": kind},
        )

    for content, kind, name in (
        (b"MZ\x90", "application/pdf", "a.pdf"),
        (b"%PDF-1.7", "application/zip", "a.pdf"),
        (b"%PDF-1.7", "application/pdf", "../a.pdf"),
        (b"", "application/pdf", "a.pdf"),
        (b"a\x00b", "text/plain", "a.txt"),
    ):
        refused(attach(content, kind, name), "invalid-input")
    taken = done(attach(b"%PDF-1.7 scan", "application/pdf"))["attachment"]
    refused(attach(b"%PDF-1.7 scan", "application/pdf"), "conflict")
    fetched = world.get("police", f"{path}/attachments/{taken['digest']}")
    assert fetched.content == b"%PDF-1.7 scan"
    assert fetched.headers["Content-Disposition"].startswith("attachment;")
    refused(world.get("stranger", f"{path}/attachments/{taken['digest']}"), "not-found")
    shown = applying.show()
    assert [each["step"] for each in shown["history"]] == ["draft", "comment", "attach"]
    assert shown["application"]["state"] == "draft"
    assert len(shown["attachments"]) == 1


def test_pages_are_the_newest_first_and_cursors_are_nobodys_else(world: World) -> None:
    ids = [Applying(world, id=f"g-2026-02{number:02d}").id for number in range(5)]
    first = done(world.get("civil", APPLICATIONS, limit=2))
    second = done(world.get("civil", APPLICATIONS, limit=2, cursor=first["next"]))
    assert [each["id"] for each in first["items"] + second["items"]] == ids[:0:-1]
    refused(world.get("police", APPLICATIONS, limit=2, cursor=first["next"]), "invalid-input")
    refused(world.get("civil", APPLICATIONS, state="nowhere"), "invalid-input")
    assert done(world.get("civil", APPLICATIONS, state="received"))["items"] == []
