"""What goes on beside sharing: rectification, disposal, incidents, returns, complaints, corrections, the directory."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from gateway.control.act.examples import (
    CLOSURE,
    COMPLAINT,
    CORRECTION,
    DATASET,
    DIRECTORY_CHANGE,
    DISPOSAL,
    GRANT,
    INCIDENT,
    LIFT,
    RETURN_REQUEST,
    SUSPENSION,
    TERMINATION,
)
from gateway.domain.calendar import CHINA
from gateway.domain.officers import Officer, Role
from tests.support.control import World, done, refused

SUSPENDED = f"/v1/grants/{GRANT['id']}/suspension"
LATER = datetime(2026, 7, 10, 9, tzinfo=CHINA)


def only(world: World, process: str, officer: str) -> tuple[str, dict[str, Any]]:
    """The one case of a process that an officer may see: its path, and itself."""
    (case,) = done(world.get(officer, f"/v1/{process}"))["items"]
    return f"/v1/{process}/{case['id']}", case


def state(world: World, path: str, officer: str = "registrar") -> str:
    (case,) = (each for each in done(world.get(officer, path)).values() if isinstance(each, dict) and "state" in each)
    return str(case["state"])


def test_a_rectification_is_proved_by_the_demand_side_and_ends_the_stop(world: World) -> None:
    """A suspension opens it; who was stopped shows what was done, who stopped accepts, and the grant gives again."""
    world.grant()
    done(world.post("police", SUSPENDED, {**SUSPENSION, "rectify_by": "2026-06-30"}))
    path, case = only(world, "rectifications", "civil")
    assert (case["state"], case["due"]["on"], case["demand"]) == ("notified", "2026-06-30", "civil-affairs")
    told = {"statement": "the batch job was removed"}
    refused(world.post("police", f"{path}/prove", told), "act-not-permitted")
    refused(world.post("police", f"{path}/urge", {"reasons": "soon"}), "conflict")
    done(world.post("civil", f"{path}/prove", told))
    again = {"reasons": "the list is missing", "due_on": "2026-07-15"}
    refused(world.post("civil", f"{path}/return", again), "act-not-permitted")
    refused(world.post("police", f"{path}/return", {**again, "due_on": "2026-05-30"}), "invalid-input")
    done(world.post("police", f"{path}/return", again))
    done(world.post("civil", f"{path}/prove", told))
    refused(world.post("civil", f"{path}/accept", {"reasons": "done"}), "act-not-permitted")
    accepted = done(world.post("police", f"{path}/accept", {"reasons": "done"}))
    assert (accepted["rectification"]["state"], accepted["grant"]["state"]) == ("accepted", "issued")
    assert accepted["order"]["lifted_by"] == "police"


def test_lifting_or_ending_elsewhere_ends_the_rectification_too(world: World) -> None:
    """One truth: what the acts of a grant's life do is told in the case, and the other way."""
    world.grant()
    done(world.post("police", SUSPENDED, SUSPENSION))
    path, _ = only(world, "rectifications", "civil")
    done(world.post("police", f"{SUSPENDED}/lift", LIFT))
    assert state(world, path) == "accepted"
    world.grant(id="g-2026-0002")
    done(world.post("police", "/v1/grants/g-2026-0002/suspension", {**SUSPENSION, "rectify_by": "2026-06-30"}))
    (case,) = done(world.get("civil", "/v1/rectifications", grant="g-2026-0002"))["items"]
    path, failure = f"/v1/rectifications/{case['id']}", {"rectification": "the batch job runs still"}
    refused(world.post("police", f"{path}/terminate", failure), "conflict")
    world.now = LATER.timestamp
    ended = done(world.post("police", f"{path}/terminate", failure))
    assert (ended["rectification"]["state"], ended["grant"]["state"]) == ("terminated", "terminated")
    assert ended["barrier"]["sequence"]
    (duty,) = done(world.get("civil", "/v1/disposals", grant="g-2026-0002"))["items"]
    assert (duty["state"], duty["due"]["on"]) == ("due", ended["disposal"]["due_on"])


def test_a_wider_stop_is_rectified_too(world: World) -> None:
    """An order on a system asks its department; accepting lifts the order, and no grant is named."""
    stop = {"kind": "suspension", "reach": "system", "target": "marriage-registry", "reason": "queries at night"}
    order = done(world.post("registrar", "/v1/orders", {**stop, "rectify_by": "2026-06-30"}))["order"]["id"]
    path, case = only(world, "rectifications", "civil")
    assert case.get("grant") is None
    failure = {"rectification": "none", "refused": True}
    refused(world.post("registrar", f"{path}/terminate", failure), "act-not-permitted")
    done(world.post("civil", f"{path}/prove", {"statement": "the job runs by day"}))
    refused(world.post("registrar", "/v1/rectifications", {"order": order}), "conflict")
    assert done(world.post("registrar", f"{path}/accept", {"reasons": "seen"}))["order"]["lifted_at"]


def test_a_disposal_is_done_as_the_supplier_requires_and_confirmed_by_it(make_world: Callable[..., World]) -> None:
    """Closing opens it; an objection makes it due again, and keeps the grant's records as if nothing were destroyed."""
    world = make_world(ledger=True)
    world.grant()
    done(world.post("civil", f"/v1/grants/{GRANT['id']}/closure", CLOSURE))
    path, case = only(world, "disposals", "police")
    assert case["due"]["on"] == CLOSURE["dispose_by"]
    required = {"statement": "overwritten, with all backups", "due_on": "2026-06-20"}
    refused(world.post("civil", f"{path}/require", required), "act-not-permitted")
    assert done(world.post("police", f"{path}/require", required))["disposal"]["due"]["on"] == "2026-06-20"
    shown = done(world.get("civil", f"/v1/grants/{GRANT['id']}"))
    assert shown["disposal"]["due_on"] == "2026-06-20"
    refused(world.post("police", f"{path}/report", DISPOSAL), "act-not-permitted")
    early = {**DISPOSAL, "destroyed_on": "2026-06-02"}
    refused(world.post("civil", f"{path}/report", early), "invalid-input")
    done(world.post("civil", f"/v1/grants/{GRANT['id']}/disposal", DISPOSAL))
    assert state(world, path) == "reported"
    assert world.store.destructions(until=LATER.date())
    done(world.post("police", f"{path}/object", {"reasons": "the backups remain", "due_on": "2026-06-25"}))
    assert not world.store.destructions(until=LATER.date())
    reported = done(world.post("civil", f"{path}/report", DISPOSAL))
    assert reported["grant"]["state"] == "disposed"
    ((_, day),) = world.store.destructions(until=LATER.date())
    assert day.isoformat() == DISPOSAL["destroyed_on"]
    refused(world.post("civil", f"{path}/confirm", {"reasons": "it was"}), "act-not-permitted")
    done(world.post("police", f"{path}/confirm", {"reasons": "as required"}))
    refused(world.post("police", "/v1/disposals", {"grant": GRANT["id"]}), "invalid-input")


def test_an_incident_is_the_matter_of_the_side_where_it_happened(world: World) -> None:
    """The other side looks on; the report fulfils the duty that an emergency stop opened (Art. 35)."""
    world.grant()
    stopped = done(world.post("civil", SUSPENDED, {"emergency": True, "incident": "a key was lost"}))
    of_stop = {**INCIDENT, "grant": "", "order": stopped["order"]["id"]}
    refused(world.post("market-both", "/v1/incidents", INCIDENT), "invalid-input")
    refused(world.post("civil", "/v1/incidents", {**INCIDENT, "grant": ""}), "invalid-input")
    made = done(world.post("civil", "/v1/incidents", of_stop))["incident"]
    path = f"/v1/incidents/{made['id']}"
    told = {"statement": "the key was revoked"}
    refused(world.post("police", f"{path}/contain", told), "act-not-permitted")
    refused(world.post("stranger", f"{path}/contain", told), "not-found")
    done(world.post("civil", f"{path}/contain", told))
    report = {"cause": "a disk", "harm": "none known", "remedy": "none are kept", "reference": "网安报〔2026〕12号"}
    done(world.post("civil", f"{path}/report", report))
    order = world.store.order(stopped["order"]["id"])
    assert order is not None
    assert order.report == report["reference"]
    refused(world.post("police", f"{path}/close", {"reasons": "well"}), "act-not-permitted")
    assert "incidents" in {each["process"] for each in done(world.get("registrar", "/v1/duties"))["items"]}
    done(world.post("registrar", f"{path}/close", {"reasons": "the hazard is removed"}))


def test_nobody_orders_oneself_or_a_higher_level_to_correct(world: World) -> None:
    """Of its region alone; the ordered side reports, and who ordered accepts, or reports further (Art. 39 to 41)."""
    for department, officer in (("data-bureau", "registrar"), ("province-bureau", "registrar"), ("market", "stranger")):
        body = {**CORRECTION, "department": department}
        refused(world.post(officer, "/v1/corrections", body), "act-not-permitted")
    refused(world.post("civil", "/v1/corrections", CORRECTION), "act-not-permitted")
    refused(world.post("registrar", "/v1/corrections", {**CORRECTION, "due_on": "2026-05-01"}), "invalid-input")
    done(world.post("province", "/v1/corrections", {**CORRECTION, "department": "data-bureau", "ground": "39(9)"}))
    made = done(world.post("registrar", "/v1/corrections", CORRECTION))["correction"]
    path = f"/v1/corrections/{made['id']}"
    assert (made["demand"], made.get("supplier"), made["due"]["on"]) == ("civil-affairs", None, "2026-06-30")
    refused(world.post("police", f"{path}/report", {"statement": "x"}), "not-found")
    world.now = LATER.timestamp
    assert made["id"] in {each["id"] for each in done(world.get("registrar", "/v1/duties"))["items"]}
    done(world.post("registrar", f"{path}/urge", {"reasons": "overdue"}))
    done(world.post("civil", f"{path}/report", {"statement": "drawn up"}))
    refused(world.post("civil", f"{path}/accept", {"reasons": "well"}), "act-not-permitted")
    done(world.post("registrar", f"{path}/accept", {"reasons": "seen"}))
    refused(world.post("registrar", f"{path}/escalate", {"reasons": "x", "to": "y"}), "conflict")


def test_data_flow_back_from_a_higher_level_alone(world: World) -> None:
    """What is asked back, promised, came, and did not come whole (Art. 24)."""
    with world.store.transaction() as tx:
        tx.put_officer(Officer("portal", "province-bureau", "440000", (Role.SUPPLIER,)))
    refused(world.post("civil", "/v1/returns", {**RETURN_REQUEST, "department": "public-security"}), "invalid-input")
    path = f"/v1/returns/{done(world.post('civil', '/v1/returns', RETURN_REQUEST))['return']['id']}"
    refused(world.post("police", f"{path}/promise", {"due_on": "2026-06-30", "statement": "x"}), "not-found")
    done(world.post("portal", f"{path}/promise", {"due_on": "2026-06-30", "statement": "by batch"}))
    came = {"returned_on": "2026-06-01", "statement": "12 files"}
    world.grant()
    refused(world.post("portal", f"{path}/return", {**came, "grant": GRANT["id"]}), "invalid-input")
    done(world.post("portal", f"{path}/return", came))
    done(world.post("civil", f"{path}/miss", {"reasons": "May is missing"}))
    done(world.post("portal", f"{path}/return", came))
    assert done(world.post("civil", f"{path}/confirm", {"statement": "whole"}))["return"]["state"] == "confirmed"


def test_anyone_complains_without_an_account_and_reads_the_reply(world: World) -> None:
    """Who is complained of sees nothing before it is handed over; number and code together open the reply."""
    filed = done(world.post(None, "/complaints", COMPLAINT))
    where, path = f"/complaints/{filed['reference']}", f"/v1/complaints/{filed['reference']}"
    asked = {"headers": {"Complaint-Code": filed["code"]}}
    assert done(world.ask(None, "GET", where, **asked))["state"] == "filed"
    assert refused(world.ask(None, "GET", where, headers={"Complaint-Code": "x"}), "not-found") == refused(
        world.ask(None, "GET", "/complaints/k-none", headers={"Complaint-Code": "x"}), "not-found"
    )
    assert not done(world.get("civil", "/v1/complaints"))["items"]
    refused(world.get("civil", path), "not-found")
    assert filed["code"] not in world.get("registrar", path).text
    over = {"department": "civil-affairs", "reasons": "it is about its counter", "due_on": "2026-06-30"}
    refused(world.post("stranger", f"{path}/hand-over", over), "not-found")
    done(world.post("registrar", f"{path}/hand-over", over))
    assert ("complaints", "demand") in {
        (each["process"], each["waits_for"]) for each in done(world.get("civil", "/v1/duties"))["items"]
    }
    contact = COMPLAINT["contact"]
    assert contact not in world.get("civil", path).text, "who is complained of learns who complained"
    assert contact in world.get("registrar", path).text
    done(world.post("civil", f"{path}/answer", {"reply": "statuses are no longer read out"}))
    told = done(world.ask(None, "GET", where, **asked))
    assert (told["state"], told["reply"]) == ("answered", "statuses are no longer read out")
    refused(world.post(None, "/complaints", {**COMPLAINT, "department": "none"}), "invalid-input")
    with pytest.MonkeyPatch.context() as fewer:
        fewer.setattr("gateway.control.processes.complaints.MAX_WAITING", 1)
        done(world.post(None, "/complaints", COMPLAINT))
        refused(world.post(None, "/complaints", COMPLAINT), "rate-limited")
    answers = [world.post(None, "/complaints", COMPLAINT).status_code for _ in range(12)]
    assert answers[-1] == 429
    assert 201 in answers


def test_a_change_of_the_directory_is_due_from_its_cause_and_released_with_the_case(world: World) -> None:
    """Ten working days from the day of the cause, five more with consent, two to examine (Art. 17)."""
    made = done(world.post("police", "/v1/directory-changes", DIRECTORY_CHANGE))["change"]
    path = f"/v1/directory-changes/{made['id']}"
    assert (made["state"], made["due"]["on"]) == ("due", "2026-06-11")
    refused(world.post("police", f"{path}/request-extension", {"days": 6, "reasons": "long"}), "invalid-input")
    done(world.post("police", f"{path}/request-extension", {"days": 5, "reasons": "the register moves"}))
    refused(world.post("police", f"{path}/approve-extension", {}), "act-not-permitted")
    assert done(world.post("registrar", f"{path}/approve-extension", {}))["change"]["due"]["on"] == "2026-06-18"
    sent = {"dataset": DATASET["id"], "entry_version": 2}
    refused(world.post("police", f"{path}/submit", sent), "invalid-input")
    done(world.post("police", "/v1/datasets", {**DATASET, "name": "户籍人口信息"}))
    submitted = done(world.post("police", f"{path}/submit", sent))["change"]
    assert submitted["due"]["on"] == "2026-06-03"
    refused(world.post("police", f"{path}/release", {"reasons": "fine"}), "act-not-permitted")
    done(world.post("registrar", f"{path}/reject", {"reasons": "the new item is missing"}))
    done(world.post("police", "/v1/datasets", {**DATASET, "name": "户籍人口基本信息 2"}))
    done(world.post("police", f"{path}/submit", {**sent, "entry_version": 3}))
    released = done(world.post("registrar", f"{path}/release", {"reasons": "examined"}))
    assert (released["change"]["state"], released["dataset"]["state"]) == ("released", "released")
    entry = world.store.dataset(DATASET["id"])
    assert entry is not None
    assert entry.version == 3


def test_what_was_ordered_before_there_were_such_cases_is_entered_by_hand(world: World) -> None:
    """A stop or a duty without a case is still a duty, and its case is opened by who may order it."""
    world.grant()
    order = done(world.post("police", SUSPENDED, SUSPENSION))["order"]["id"]
    done(world.post("police", f"/v1/grants/{GRANT['id']}/termination", TERMINATION))
    with world.store.transaction() as tx:
        tx._connection.exec_driver_sql("DELETE FROM cases")
    listed = {each["process"] for each in done(world.get("civil", "/v1/duties"))["items"]}
    assert listed == {"orders", "grants"}
    refused(world.post("civil", "/v1/rectifications", {"order": order}), "act-not-permitted")
    refused(world.post("police", "/v1/rectifications", {"order": "o-none"}), "not-found")
    done(world.post("police", "/v1/rectifications", {"order": order}))
    done(world.post("police", "/v1/disposals", {"grant": GRANT["id"]}))
    listed = {each["process"] for each in done(world.get("civil", "/v1/duties"))["items"]}
    assert listed == {"rectifications", "disposals"}
