"""The chapters of the story that tell of cases beside sharing: rectification, disposal, incidents, complaints, …"""

from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from gateway.control.act.examples import (
    CLOSURE,
    COMPLAINT,
    CORRECTION,
    DATASET,
    DIRECTORY_CHANGE,
    DISPOSAL,
    EXAMPLES,
    INCIDENT,
    RETURN_REQUEST,
    STANDS_AT,
    SUSPENSION,
)
from gateway.domain.calendar import Due
from gateway.domain.officers import Officer, Role
from gateway.domain.orders import Order, OrderKind, Reach
from gateway.domain.processes.cases import Event
from tests.answers.teller import Teller

REASONS = {"reasons": "the need has gone"}
TOLD = EXAMPLES["ToldBody"]
AGAIN = EXAMPLES["AgainBody"]
URGING = {"reasons": "it was due a month ago"}


def case_of(
    teller: Teller, process: str, officer: str, body: dict[str, Any], *steps: tuple[str, str, dict[str, Any] | None]
) -> str:
    """A case after some steps that are told of elsewhere."""
    world = teller.world
    answer = world.post(officer, f"/v1/{process}", body)
    answer.raise_for_status()
    id_ = Path(answer.headers["Location"]).name
    for who, name, said in steps:
        stated = {"digest": answer.json()["digest"]} if said is None else said
        world.post(who, f"/v1/{process}/{id_}/{name}", stated).raise_for_status()
    return id_


def talk(teller: Teller, process: str, officer: str, other: str, id_: str, *, brief: bool = False) -> None:
    """A comment, and a file that the other side fetches."""
    said = {"comment": "see the attached note"}
    teller.tell(f"POST /v1/{process}/{{id}}/comments", officer, said, brief=brief, id=id_)
    sent = {"content": b"a note\n", "params": {"name": "note.txt"}}
    at = f"POST /v1/{process}/{{id}}/attachments"
    plain = {"Content-Type": "text/plain"}
    file = teller.tell(at, officer, options=sent, headers=plain, brief=brief, id=id_).json()["attachment"]
    fetched = f"GET /v1/{process}/{{id}}/attachments/{{digest}}"
    teller.tell(fetched, other, brief=brief, id=id_, digest=file["digest"])


def make_late(teller: Teller, process: str, id_: str) -> None:
    """Put a case back as if what is due had been due a month ago."""
    store = teller.world.store
    found = store.case(id_, process)
    assert found is not None
    event = Event(id_, 9, "comment", "civil", "civil-affairs", STANDS_AT, said={"comment": "a month ago"})
    with store.transaction() as tx:
        tx.put_case(msgspec.structs.replace(found, due=Due(date(2026, 5, 11), provisional=False)), event)


class _Steps:
    """The steps of one process, told briefly."""

    def __init__(self, teller: Teller, process: str) -> None:
        self._teller, self._process = teller, process

    def __call__(self, name: str, officer: str, said: dict[str, Any], id_: str) -> Any:
        path = f"POST /v1/{self._process}/{{id}}/{name}"
        return self._teller.tell(path, officer, said, brief=True, id=id_).json()


def _read(teller: Teller, process: str, officer: str, other: str, id_: str) -> None:
    teller.tell(f"GET /v1/{process}", officer, brief=True)
    teller.tell(f"GET /v1/{process}/{{id}}", officer, brief=True, id=id_)
    teller.tell(f"GET /v1/{process}/lifecycle", None, brief=True)
    talk(teller, process, officer, other, id_, brief=True)


def _suspended(teller: Teller, grant: str) -> str:
    """A grant that was suspended: the id of its rectification."""
    teller.world.grant(id=grant)
    teller.world.post("police", f"/v1/grants/{grant}/suspension", SUSPENSION).raise_for_status()
    (case,) = teller.world.get("civil", "/v1/rectifications", grant=grant).json()["items"]
    return str(case["id"])


def rectifications(teller: Teller) -> None:
    """Shown and accepted; sent back; urged, and ended."""
    step = _Steps(teller, "rectifications")
    first = _suspended(teller, "g-2026-0401")
    _read(teller, "rectifications", "civil", "police", first)
    step("prove", "civil", TOLD, first)
    step("return", "police", AGAIN, first)
    make_late(teller, "rectifications", first)
    teller.tell("POST /v1/rectifications/{id}/urge", "police", URGING, brief=True, id=first)
    teller.world.post("civil", f"/v1/rectifications/{first}/prove", TOLD).raise_for_status()
    step("accept", "police", {"reasons": "the list is whole"}, first)
    second = _suspended(teller, "g-2026-0402")
    step("terminate", "police", EXAMPLES["FailureBody"], second)
    teller.world.grant(id="g-2026-0403")
    order = Order(
        "o-20250601-0c1b4e5f9a27",
        OrderKind.SUSPENSION,
        Reach.GRANT,
        "g-2026-0403",
        "queries at night",
        "police",
        STANDS_AT,
        rectify_by=date(2026, 6, 30),
    )
    with teller.world.store.transaction() as tx:  # as an earlier version ordered it
        tx.put_order(order)
    teller.tell("POST /v1/rectifications", "police", {"order": order.id})


def disposals(teller: Teller) -> None:
    """Required, reported, objected to and confirmed; one that an earlier version opened is entered."""
    step = _Steps(teller, "disposals")
    teller.world.grant(id="g-2026-0404")
    closed = teller.world.post("civil", "/v1/grants/g-2026-0404/closure", CLOSURE)
    closed.raise_for_status()
    (case,) = teller.world.get("civil", "/v1/disposals", grant="g-2026-0404").json()["items"]
    id_ = case["id"]
    _read(teller, "disposals", "civil", "police", id_)
    teller.tell("POST /v1/disposals/{id}/require", "police", EXAMPLES["RequirementBody"], brief=True, id=id_)
    make_late(teller, "disposals", id_)
    teller.tell("POST /v1/disposals/{id}/urge", "police", URGING, brief=True, id=id_)
    step("report", "civil", DISPOSAL, id_)
    step("object", "police", AGAIN, id_)
    teller.world.post("civil", f"/v1/disposals/{id_}/report", DISPOSAL).raise_for_status()
    step("confirm", "police", {"reasons": "as required"}, id_)
    teller.world.grant(id="g-2026-0405")
    teller.world.post("civil", "/v1/grants/g-2026-0405/closure", CLOSURE).raise_for_status()
    with teller.world.store.transaction() as tx:  # as an earlier version closed it
        for one in tx.open_cases_of("g-2026-0405", "disposals"):
            tx.put_case_event(Event(one.id, 8, "comment", "", "civil-affairs", STANDS_AT))
            tx._connection.exec_driver_sql("DELETE FROM cases WHERE grant_id = 'g-2026-0405'")
    teller.tell("POST /v1/disposals", "civil", {"grant": "g-2026-0405"})


def incidents(teller: Teller) -> None:
    """Contained, reported, sent back, and closed."""
    step = _Steps(teller, "incidents")
    id_ = teller.tell("POST /v1/incidents", "civil", INCIDENT).json()["incident"]["id"]
    _read(teller, "incidents", "civil", "police", id_)
    teller.tell("POST /v1/incidents/{id}/update", "civil", TOLD, brief=True, id=id_)
    step("contain", "civil", TOLD, id_)
    step("report", "civil", EXAMPLES["ConclusionBody"], id_)
    step("return", "registrar", AGAIN, id_)
    teller.world.post("civil", f"/v1/incidents/{id_}/report", EXAMPLES["ConclusionBody"]).raise_for_status()
    step("close", "registrar", {"reasons": "the hazard is removed"}, id_)


def returns(teller: Teller) -> None:
    """Promised, urged, came, not whole, came again; one refused, another taken back."""
    with teller.world.store.transaction() as tx:
        tx.put_officer(Officer("portal", "province-bureau", "440000", (Role.SUPPLIER,)))
    step = _Steps(teller, "returns")
    id_ = teller.tell("POST /v1/returns", "civil", RETURN_REQUEST).json()["return"]["id"]
    _read(teller, "returns", "civil", "portal", id_)
    step("promise", "portal", EXAMPLES["PromiseBody"], id_)
    make_late(teller, "returns", id_)
    teller.tell("POST /v1/returns/{id}/urge", "province", URGING, brief=True, id=id_)
    step("return", "portal", EXAMPLES["ReturnedBody"], id_)
    step("miss", "civil", {"reasons": "the files of the last week are missing"}, id_)
    teller.world.post("portal", f"/v1/returns/{id_}/return", EXAMPLES["ReturnedBody"]).raise_for_status()
    step("confirm", "civil", {"statement": "12 files, whole"}, id_)
    step("refuse", "portal", {"reasons": "under assessment"}, case_of(teller, "returns", "civil", RETURN_REQUEST))
    step("withdraw", "civil", REASONS, case_of(teller, "returns", "civil", RETURN_REQUEST))


def complaints(teller: Teller) -> None:
    """Of somebody without an account; handed over, given back, answered; another dismissed."""
    step, over = _Steps(teller, "complaints"), EXAMPLES["HandOverBody"]
    filed = teller.tell("POST /complaints", None, COMPLAINT, is_noise=True).json()
    asked = {"Complaint-Code": filed["code"]}
    id_ = filed["reference"]
    teller.tell("GET /complaints/{reference}", None, headers=asked, reference=id_)
    teller.tell("POST /v1/complaints/{id}/hand-over", "registrar", over, brief=True, id=id_)
    _read(teller, "complaints", "civil", "registrar", id_)
    step("return", "civil", {"reasons": "it was at the police's counter"}, id_)
    teller.world.post("registrar", f"/v1/complaints/{id_}/hand-over", over).raise_for_status()
    make_late(teller, "complaints", id_)
    teller.tell("POST /v1/complaints/{id}/urge", "registrar", URGING, brief=True, id=id_)
    step("answer", "civil", EXAMPLES["ReplyBody"], id_)
    other = teller.tell("POST /v1/complaints", "registrar", COMPLAINT).json()["complaint"]["id"]
    step("dismiss", "registrar", {"reply": "this is a matter of the court"}, other)


def corrections(teller: Teller) -> None:
    """Reported, sent back, accepted; urged and reported further; taken back."""
    step = _Steps(teller, "corrections")
    id_ = teller.tell("POST /v1/corrections", "registrar", CORRECTION).json()["correction"]["id"]
    _read(teller, "corrections", "civil", "registrar", id_)
    step("report", "civil", TOLD, id_)
    step("return", "registrar", AGAIN, id_)
    teller.world.post("civil", f"/v1/corrections/{id_}/report", TOLD).raise_for_status()
    step("accept", "registrar", {"reasons": "the records are whole"}, id_)
    second = case_of(teller, "corrections", "registrar", CORRECTION)
    make_late(teller, "corrections", second)
    teller.tell("POST /v1/corrections/{id}/urge", "registrar", URGING, brief=True, id=second)
    step("escalate", "registrar", EXAMPLES["EscalationBody"], second)
    step("withdraw", "registrar", REASONS, case_of(teller, "corrections", "registrar", CORRECTION))


def directory_changes(teller: Teller) -> None:
    """Put off, submitted, rejected, released; one not put off and urged; one taken back."""
    step = _Steps(teller, "directory-changes")
    world = teller.world
    opened = teller.tell("POST /v1/directory-changes", "police", DIRECTORY_CHANGE).json()["change"]["id"]
    _read(teller, "directory-changes", "police", "registrar", opened)
    extension = EXAMPLES["ExtensionBody"]
    step("request-extension", "police", extension, opened)
    step("approve-extension", "registrar", EXAMPLES["ExtensionApprovalBody"], opened)

    def submitted(name: str) -> dict[str, Any]:
        world.post("police", "/v1/datasets", {**DATASET, "name": name}).raise_for_status()
        versions = world.get("police", f"/v1/datasets/{DATASET['id']}").json()["versions"]
        return {"dataset": DATASET["id"], "entry_version": max(each["version"] for each in versions)}

    step("submit", "police", submitted("户籍人口信息"), opened)
    step("reject", "registrar", {"reasons": "the new item is missing"}, opened)
    world.post("police", f"/v1/directory-changes/{opened}/submit", submitted("户籍人口及婚姻信息")).raise_for_status()
    step("release", "registrar", {"reasons": "examined, 政数目〔2026〕2号", "revives": True}, opened)
    asked = ("police", "request-extension", extension)
    second = case_of(teller, "directory-changes", "police", DIRECTORY_CHANGE, asked)
    step("deny-extension", "registrar", {"reasons": "no special reason is stated"}, second)
    make_late(teller, "directory-changes", second)
    teller.tell("POST /v1/directory-changes/{id}/urge", "registrar", URGING, brief=True, id=second)
    step("withdraw", "police", REASONS, second)


BESIDE_SHARING = (rectifications, disposals, incidents, returns, complaints, corrections, directory_changes)
