"""Grants over the API: issued with every reason at once, listed by right, stopped, ended; each act a record."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.control.act.examples import (
    CLOSURE,
    DATASET,
    DISPOSAL,
    DISPUTE,
    GRANT,
    LIFT,
    REPORT,
    SUSPENSION,
    SYSTEM,
    TERMINATION,
)
from gateway.control.barrier.barrier import Barrier, BarrierReport
from gateway.domain.changes import Change
from tests.support.control import World, done, refused, standing_time


def faults_of(document: dict[str, Any]) -> set[str]:
    return {fault["field"] for fault in document["faults"]}


def test_issue_shows_the_grant_and_its_record(world: World) -> None:
    """The supplier's officer issues; the answer bears the grant, its tag, its place and the act's record."""
    answer = world.post("police", "/v1/grants", GRANT)
    body = done(answer)
    assert answer.status_code == 201
    assert answer.headers["location"] == "/v1/grants/g-2026-0001"
    assert answer.headers["sharing-record"] == body["record"]
    shown = world.get("civil", "/v1/grants/g-2026-0001")
    assert done(shown)["standing"] == "active"
    assert shown.headers["etag"] == answer.headers["etag"]


WORDS = {
    "suspension": ("police", "suspension", SUSPENSION, "violation"),
    "termination": ("police", "termination", TERMINATION, "filing"),
    "closure": ("civil", "closure", CLOSURE, "reason"),
    "dispute": ("civil", "dispute", DISPUTE, "reason"),
}


def test_words_that_hold_an_identity_number_do_nothing(world: World) -> None:
    """INVARIANT: NO-VALUES: a record is never altered; the refusal gives a hint, and the grant stands as it did."""
    world.grant()
    before = done(world.get("police", f"/v1/grants/{GRANT['id']}"))
    for who, act, body, field in WORDS.values():
        said = {**body, field: "of 1101 0119 9001 0112 34, see the file"}
        problem = refused(world.post(who, f"/v1/grants/{GRANT['id']}/{act}", said), "invalid-input")
        assert "15 or 18 digits" in problem["detail"]
        assert "1101" not in json.dumps(problem)
    assert done(world.get("police", f"/v1/grants/{GRANT['id']}")) == before


def test_issue_names_every_reason_at_once(world: World) -> None:
    """Unknown item, purpose, another department's system, times, approvals: all in one refusal."""
    done(world.post("registrar", "/v1/systems", {**SYSTEM, "id": "of-market", "department": "market", "keys": []}))
    bad = {
        **GRANT,
        "items": ["name", "blood_type"],
        "purposes": ["marketing"],
        "systems": ["of-market", "nobody"],
        "interfaces": ["nowhere"],
        "modes": ["batch"],
        "valid_from": "2027-01-01T00:00:00+08:00",
        "valid_until": "2026-01-01T00:00:00+08:00",
        "legal_basis": " ",
        "supply_approval": {"person": "", "at": "2999-01-01T00:00:00+08:00"},
    }
    document = refused(world.post("police", "/v1/grants", bad), "invalid-input")
    assert faults_of(document) == {
        "items", "purposes", "systems", "interfaces", "modes", "valid_until", "legal_basis", "supply_approval.person",
        "supply_approval.at", "supply_approval.reference",
    }  # fmt: skip
    assert sum(fault["field"] == "systems" for fault in document["faults"]) == 2
    assert world.store.grant("g-2026-0001") is None


def test_issue_refuses_an_unknown_dataset(world: World) -> None:
    """An unknown dataset is named as such to who may issue at all."""
    document = refused(world.post("police", "/v1/grants", {**GRANT, "dataset": "none.such"}), "invalid-input")
    assert faults_of(document) == {"dataset"}


def test_issue_names_faults_of_form_at_once(world: World) -> None:
    """A body that is no grant is refused with each missing and unknown field, without repeating its values."""
    bad = {**GRANT, "secret": "13800000000", "valid_from": "yesterday", "items": "name"}
    del bad["scenario"]
    answer = world.post("police", "/v1/grants", bad)
    assert faults_of(refused(answer, "invalid-input")) == {"secret", "valid_from", "items", "scenario"}
    assert "13800000000" not in answer.text


@pytest.mark.parametrize(
    "time", ["1700000000", "1700000000000", "2027-01-01_00:00:00Z", "2027-01-01", "20270101T000000Z"]
)
def test_a_time_is_told_by_its_field_where_it_is_none(world: World, time: str) -> None:
    """Digits alone are nobody's seconds or milliseconds: the field is named, and how a time is written."""
    faults = refused(world.post("police", "/v1/grants", {**GRANT, "valid_until": time}), "invalid-input")["faults"]
    assert [(one["field"], "2027-01-01T09:00:00+08:00" in one["fault"]) for one in faults] == [("valid_until", True)]


def test_return_flow_takes_no_added_condition(world: World) -> None:
    """Data returned to a lower level bears no hours, quota, parameters or assurance (Art. 24)."""
    bad = {
        **GRANT,
        "return_flow": True,
        "hours": {"start_minute": 0, "end_minute": 60},
        "quota": {"calls_a_day": 5},
        "assurance": "mtls",
    }
    document = refused(world.post("police", "/v1/grants", bad), "invalid-input")
    assert faults_of(document) == {"items", "hours", "quota", "assurance"}


def test_non_shareable_data_is_not_granted(world: World) -> None:
    """No grant overrides a non-shareable entry (Art. 14)."""
    entry = {
        **DATASET,
        "id": "secret.1",
        "code": "secret/1",
        "sharing_attribute": "non-shareable",
        "sharing_modes": [],
        "conditions": "",
        "purposes": [],
        "scope": "",
        "non_shareable_reason": "investigation files",
        "legal_basis": "Criminal Procedure Law Art. 54",
    }
    done(world.post("registrar", "/v1/datasets?release=true", entry))
    document = refused(world.post("police", "/v1/grants", {**GRANT, "dataset": "secret.1"}), "invalid-input")
    assert "dataset" in faults_of(document)


@pytest.mark.parametrize("officer", ["civil", "market-both", "auditor", "operator", "stranger"])
def test_only_the_supplier_and_the_competent_department_issue(world: World, officer: str) -> None:
    """Whoever is neither is refused, with the act named."""
    document = refused(world.post(officer, "/v1/grants", GRANT), "act-not-permitted")
    assert document["act"] == "issueGrant"
    assert world.store.grant("g-2026-0001") is None


def test_bulk_issue_is_all_or_none_and_lists_faults_by_row(world: World) -> None:
    """An array and lines of JSON are issued whole; one bad row refuses all, each fault with its row."""
    rows = [{**GRANT, "id": f"g-{n}"} for n in range(1, 6)]
    rows[1] = {**rows[1], "items": ["nonsense"]}
    rows[4] = {**rows[4], "id": "g-1"}
    document = refused(world.post("police", "/v1/grants", rows), "invalid-input")
    assert [(fault["row"], fault["field"]) for fault in document["faults"]] == [(2, "items"), (5, "id")]
    assert world.store.grant("g-1") is None
    good = [{**GRANT, "id": f"g-{n}"} for n in range(1, 6)]
    assert done(world.post("police", "/v1/grants?check=true", good)) == {"checked": 5}
    assert world.store.grant("g-1") is None
    lines = "\n".join(json.dumps(row) for row in good)
    answer = world.ask("police", "POST", "/v1/grants", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert done(answer)["issued"] == 5
    assert world.store.grant("g-5") is not None


def test_idempotency_key_acts_once(world: World) -> None:
    """The same key and request acts once and is answered alike; another request under the key is refused."""
    key = {"Idempotency-Key": "issue-0001"}
    first = world.post("police", "/v1/grants", GRANT, headers=key)
    second = world.post("police", "/v1/grants", GRANT, headers=key)
    assert second.json() == first.json()
    assert second.status_code == first.status_code == 201
    assert second.headers["idempotency-replayed"] == "true"
    assert second.headers["etag"] == first.headers["etag"]
    refused(world.post("police", "/v1/grants", {**GRANT, "scenario": "other"}, headers=key), "idempotency-mismatch")


def test_barrier_is_held_for_a_replayed_stop_too(make_world: Callable[..., World]) -> None:
    """Whoever repeats a stop whose answer was lost is told of it only once it holds; a repeated lift waits for none."""
    held: list[int] = []

    class Noting(Barrier):
        def hold_at(self, sequence: int, changes: Sequence[Change] = ()) -> BarrierReport:
            held.append(sequence)
            return super().hold_at(sequence, changes)

    world = make_world(barrier=Noting(None))
    world.grant()
    path = "/v1/grants/g-2026-0001/suspension"
    for body, where in ((SUSPENSION, path), (LIFT, f"{path}/lift")):
        for _ in range(2):
            done(world.post("police", where, body, headers={"Idempotency-Key": f"repeated-{where[-4:]}"}))
    assert len(held) == 2
    assert held[0] <= held[1] < world.store.sequence()


def test_if_match_keeps_officers_from_overwriting_each_other(world: World) -> None:
    """An act on what was read before someone else's act is refused; with the present tag it goes."""
    world.grant()
    seen = world.get("police", "/v1/grants/g-2026-0001").headers["etag"]
    done(world.post("registrar", "/v1/grants/g-2026-0001/suspension", SUSPENSION))
    old = {"If-Match": seen}
    refused(world.post("police", "/v1/grants/g-2026-0001/suspension/lift", LIFT, headers=old), "act-not-permitted")
    refused(world.post("registrar", "/v1/grants/g-2026-0001/suspension/lift", LIFT, headers=old), "precondition-failed")
    new = {"If-Match": world.get("police", "/v1/grants/g-2026-0001").headers["etag"]}
    done(world.post("registrar", "/v1/grants/g-2026-0001/suspension/lift", LIFT, headers=new))


def test_suspension_needs_violation_and_date(world: World) -> None:
    """Art. 27 ¶2: a suspension names the violation and sets a date; both lacks are named at once."""
    world.grant()
    document = refused(world.post("police", "/v1/grants/g-2026-0001/suspension", {}), "invalid-input")
    assert faults_of(document) == {"violation", "rectify_by"}
    past = {**SUSPENSION, "rectify_by": "2020-01-01"}
    document = refused(world.post("police", "/v1/grants/g-2026-0001/suspension", past), "invalid-input")
    assert faults_of(document) == {"rectify_by"}


def test_suspension_lift_and_failed_rectification(world: World) -> None:
    """Suspended, lifted, suspended again; terminated only once rectification failed; the duty to dispose opens."""
    world.grant()
    path = "/v1/grants/g-2026-0001"
    body = done(world.post("police", f"{path}/suspension", SUSPENSION))
    assert body["grant"]["state"] == "suspended"
    assert body["barrier"]["sequence"] > 0
    assert done(world.get("civil", path))["standing"] == "suspended"
    assert done(world.post("police", f"{path}/suspension/lift", LIFT))["grant"]["state"] == "issued"
    refused(world.post("police", f"{path}/suspension/lift", LIFT), "conflict")
    done(world.post("police", f"{path}/suspension", SUSPENSION))
    early = {"reason": "not rectified", "rectification": "no answer to 2 reminders"}
    assert "runs until" in refused(world.post("police", f"{path}/termination", early), "conflict")["detail"]
    ended = done(world.post("police", f"{path}/termination", {**early, "refused": True}))
    assert ended["grant"]["state"] == "terminated"
    assert ended["disposal"]["department"] == "civil-affairs"
    refused(world.post("police", f"{path}/suspension", SUSPENSION), "conflict")


def test_supplier_does_not_lift_what_the_competent_department_ordered(world: World) -> None:
    """A suspension is lifted by who ordered it or by the competent department."""
    world.grant()
    path = "/v1/grants/g-2026-0001"
    done(world.post("registrar", f"{path}/suspension", SUSPENSION))
    refused(world.post("police", f"{path}/suspension/lift", LIFT), "act-not-permitted")
    done(world.post("police", f"{path}/suspension", SUSPENSION))
    document = refused(world.post("police", f"{path}/suspension/lift", LIFT), "conflict")
    assert len(document["orders"]) == 2
    own = next(order["id"] for order in done(world.get("police", path))["orders"] if order["ordered_by"] == "police")
    left = done(world.post("police", f"{path}/suspension/lift", {**LIFT, "order": own}))
    assert left["grant"]["state"] == "suspended", "the other order still stands"
    assert done(world.post("registrar", f"{path}/suspension/lift", LIFT))["grant"]["state"] == "issued"


def test_emergency_stops_are_either_sides(world: World) -> None:
    """Art. 35: the demand department suspends its own grant in an incident, owes a report, and lifts it again."""
    world.grant()
    path = "/v1/grants/g-2026-0001/suspension"
    refused(world.post("civil", path, SUSPENSION), "act-not-permitted")
    incident = {"emergency": True, "incident": "a workstation with shared data was stolen"}
    assert faults_of(refused(world.post("civil", path, {"emergency": True}), "invalid-input")) == {"incident"}
    refused(world.post("market-both", path, incident), "not-found")
    stopped = done(world.post("civil", path, incident))
    assert stopped["order"]["kind"] == "emergency"
    assert stopped["order"]["report_due"]
    assert stopped["barrier"]["sequence"] > 0
    assert done(world.post("civil", f"{path}/lift", LIFT))["grant"]["state"] == "issued"
    done(world.post("police", path, incident))
    refused(world.post("civil", f"{path}/lift", LIFT), "act-not-permitted")
    done(world.post("police", f"{path}/lift", LIFT))


def test_termination_without_violation_needs_consultation_and_filing(world: World) -> None:
    """Art. 27 ¶3: reason, consultation record and filing reference."""
    world.grant()
    path = "/v1/grants/g-2026-0001/termination"
    document = refused(world.post("police", path, {"reason": "new interface"}), "invalid-input")
    assert faults_of(document) == {"consultation", "filing"}
    assert done(world.post("police", path, TERMINATION))["order"]["filing"] == TERMINATION["filing"]


def test_closure_opens_a_duty_and_disposal_fulfils_it(make_world: Callable[..., World]) -> None:
    """Art. 27 ¶1: the demand department closes, then files the destruction record."""
    world = make_world(ledger=True)
    world.grant()
    path = "/v1/grants/g-2026-0001"
    refused(world.post("civil", f"{path}/disposal", DISPOSAL), "conflict")
    closed = done(world.post("civil", f"{path}/closure", CLOSURE))
    assert closed["disposal"]["due_on"] == CLOSURE["dispose_by"]
    disposed = done(world.post("civil", f"{path}/disposal", DISPOSAL))
    assert disposed["grant"]["state"] == "disposed"
    assert disposed["disposal"]["destroyed_record"] == disposed["record"]
    refused(world.post("civil", f"{path}/disposal", DISPOSAL), "conflict")


def test_dispute_leaves_the_state_and_is_settled_by_the_competent_department(world: World) -> None:
    """Art. 28: either side disputes, the competent department settles; the grant goes on meanwhile."""
    world.grant()
    path = "/v1/grants/g-2026-0001/dispute"
    assert done(world.post("civil", path, {"reason": "the suspension was announced without findings"}))["grant"][
        "disputed"
    ]
    refused(world.post("police", path, {"reason": "again"}), "conflict")
    refused(world.post("police", f"{path}/settlement", {"outcome": "agreed"}), "act-not-permitted")
    settled = done(world.post("registrar", f"{path}/settlement", {"outcome": "agreed on sampling"}))["grant"]
    assert (settled["disputed"], settled["state"]) == (False, "issued")


def test_renewal_is_a_new_version_with_approvals_of_its_own(world: World) -> None:
    """A change never edits: the old version is kept, superseded; the same approvals are not taken twice."""
    world.grant()
    path = "/v1/grants/g-2026-0001/versions"
    wider = {**GRANT, "items": ["name", "marital_status", "id_number"]}
    document = refused(world.post("police", path, wider), "invalid-input")
    assert faults_of(document) == {"demand_approval", "supply_approval"}
    for side in ("demand_approval", "supply_approval"):
        wider[side] = {**GRANT[side], "reference": "2026-2"}
    assert done(world.post("police", path, wider))["grant"]["version"] == 2
    shown = done(world.get("police", "/v1/grants/g-2026-0001"))
    assert shown["versions"] == [1, 2]
    old = done(world.get("police", "/v1/grants/g-2026-0001", version=1))["grant"]
    assert (old["state"], old["items"]) == ("superseded", GRANT["items"])


def test_lists_show_what_concerns_the_officer(world: World) -> None:
    """Supplier, demand and competent department see theirs; another city's competent department sees none of it."""
    world.grant()
    for officer in ("police", "civil", "registrar", "auditor"):
        assert [each["id"] for each in done(world.get(officer, "/v1/grants"))["items"]] == ["g-2026-0001"]
    assert done(world.get("stranger", "/v1/grants"))["items"] == []
    assert done(world.get("stranger", "/v1/grants", supplier="public-security"))["items"] == []
    refused(world.get("civil", "/v1/grants", department="market"), "act-not-permitted")
    refused(world.get("stranger", "/v1/grants/g-2026-0001"), "not-found")
    refused(world.get("operator", "/v1/grants"), "act-not-permitted")
    refused(world.get("market-both", "/v1/grants"), "invalid-input")
    assert done(world.get("market-both", "/v1/grants", supplier="market"))["items"] == []
    refused(world.get(None, "/v1/grants"), "credential-missing")


def test_lists_filter_and_page(world: World) -> None:
    """By state, department, dataset and expiry; pages join without gap or repetition."""
    soon = (datetime.fromtimestamp(standing_time(), UTC) + timedelta(days=3)).isoformat()
    batch = [{**GRANT, "id": f"g-{n:02}", **({"valid_until": soon} if n < 3 else {})} for n in range(10)]
    done(world.post("police", "/v1/grants", batch))
    done(world.post("police", "/v1/grants/g-04/suspension", SUSPENSION))

    def ids(**params: Any) -> list[str]:
        found: list[str] = []
        cursor = None
        while True:
            page = done(world.get("police", "/v1/grants", **params, **({"cursor": cursor} if cursor else {})))
            found += [each["id"] for each in page["items"]]
            cursor = page["next"]
            if cursor is None:
                return found

    assert ids(limit=3) == [f"g-{n:02}" for n in range(10)]
    assert ids(state="suspended") == ["g-04"]
    assert ids(expires_within_days=7) == ["g-00", "g-01", "g-02"]
    assert ids(department="civil-affairs", dataset=GRANT["dataset"], limit=4) == [f"g-{n:02}" for n in range(10)]
    refused(world.get("police", "/v1/grants", cursor="nonsense"), "invalid-input")


def test_lists_by_where_a_grant_stands_in_time(world: World) -> None:
    """Active, not yet valid and expired are asked for like stored states, and agree with what a grant's page says."""
    now = datetime.fromtimestamp(standing_time(), UTC)
    later, past = (now + timedelta(days=2)).isoformat(), (now - timedelta(days=9)).isoformat()
    soon, future = (now + timedelta(minutes=5)).isoformat(), (now + timedelta(days=60)).isoformat()
    world.grant(id="runs", valid_from=past, valid_until=future)
    world.grant(id="begins", valid_from=later, valid_until=future)
    world.grant(id="ends", valid_from=past, valid_until=soon)
    world.grant(id="stopped", valid_from=past, valid_until=soon)
    done(world.post("police", "/v1/grants/stopped/suspension", SUSPENSION))
    world.now = lambda: now.timestamp() + 900

    def ids(**params: Any) -> list[str]:
        found = [each["id"] for each in done(world.get("police", "/v1/grants", **params))["items"]]
        if isinstance(params["state"], str):
            for each in found:
                assert done(world.get("police", f"/v1/grants/{each}"))["standing"] == params["state"]
        return found

    assert ids(state="active") == ["runs"]
    assert ids(state="not-yet-valid") == ["begins"]
    assert ids(state="expired") == ["ends"]
    assert ids(state="active", department="civil-affairs", expires_within_days=70) == ["runs"]
    assert ids(state="active", expires_within_days=3) == []
    assert ids(state=["issued", "suspended"]) == ["runs", "begins", "ends", "stopped"]
    for wrong in ({"state": ["active", "suspended"]}, {"state": "expired", "expires_within_days": 3}, {"state": "x"}):
        refused(world.get("police", "/v1/grants", **wrong), "invalid-input")


def test_lifecycle_is_shown_as_one_table(world: World) -> None:
    """The table can be read over the API, each row with its article."""
    rows = {row["name"]: row for row in done(world.get("civil", "/v1/grants/lifecycle"))["items"]}
    assert set(rows) >= {"issue", "renew", "suspend", "lift", "close", "dispose", "dispute", "settle", "expire"}
    assert all("Art." in row["article"] for row in rows.values())
    assert all(row["who"] or row["subject"] == "time" for row in rows.values())


def test_lifecycle_says_who_may_by_the_policies(world: World) -> None:
    """Each row's officers are those whom the policies permit the act, and no others."""
    rows = {row["name"]: row for row in done(world.get("civil", "/v1/grants/lifecycle"))["items"]}
    who = {name: {power["who"] for power in row["who"]} for name, row in rows.items()}
    supplier, demand = "supply department", "demand department"
    competent = {f"competent department of the {side}'s region" for side in ("supplier", "demand")}
    assert who["suspend"] == {supplier} | competent
    assert who["suspend in an emergency"] == {supplier, demand} | competent
    assert who["close"] == who["dispose"] == {demand}
    assert who["settle"] == {"competent department of both sides' region"}
    assert who["order a stop"] == {supplier} | competent
    assert [power["policies"] for power in rows["close"]["who"]] == [["national-art27-demand-closes"]]


def test_emergency_is_reported_once(world: World) -> None:
    """Art. 35: the duty to report stands until a report is filed, also after the stop was lifted."""
    world.grant()
    path = "/v1/grants/g-2026-0001/suspension"
    soon = datetime.fromtimestamp(standing_time(), UTC) + timedelta(seconds=1)
    incident = {"emergency": True, "incident": "a workstation was stolen", "report_due": soon.isoformat()}
    stopped = done(world.post("civil", path, incident))["order"]
    done(world.post("civil", f"{path}/lift", LIFT))
    plain = done(world.post("police", path, SUSPENSION))["order"]
    world.now = lambda: soon.timestamp() + 1
    overdue = done(world.get("registrar", "/v1/figures/overdue"))
    assert [order["id"] for order in overdue["reports"]] == [stopped["id"]]
    assert done(world.get("police", "/v1/figures"))["report_overdue"] == 1
    report = f"/v1/orders/{stopped['id']}/report"
    refused(world.post("market-both", report, REPORT), "not-found")
    tag = {"If-Match": '"of another state"'}
    refused(world.post("civil", report, REPORT, headers=tag), "precondition-failed")
    said = done(world.post("civil", report, REPORT))
    assert (said["order"]["reported_by"], said["order"]["report"]) == ("civil", REPORT["reference"])
    refused(world.post("civil", report, REPORT), "conflict")
    refused(world.post("police", f"/v1/orders/{plain['id']}/report", REPORT), "conflict")
    refused(world.post("police", "/v1/orders/none/report", REPORT), "not-found")
    assert done(world.get("registrar", "/v1/figures/overdue"))["reports"] == []
    assert done(world.get("police", "/v1/figures"))["report_overdue"] == 0
