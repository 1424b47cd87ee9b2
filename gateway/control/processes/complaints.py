"""What the steps of a complaint do besides; and its intake without an account (Decree 809 Art. 37).

POST /complaints              anyone complains, and is given a reference number and a code, told once
GET  /complaints/{reference}  with the code: how it stands, and the reply

Who complains is not asked, and where an answer is to reach the complainant is shown to no department but the
competent one. What a stranger may leave here is bounded, so that nobody's complaint is crowded out by one
address: so many of an address in an hour, and so many that wait to be handed over in all.
"""

import hashlib
import hmac
import secrets
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from gateway.control.act.acting import Deed, Services, matter_between
from gateway.control.act.bodies import Identifier, body_of, describes
from gateway.control.act.cases import new_case
from gateway.control.act.examples import COMPLAINT
from gateway.control.act.paging import every, json_response
from gateway.control.act.problems import invalid
from gateway.control.act.recorded import recorded
from gateway.control.act.services import ControlServices
from gateway.control.processes.bodies import step_body
from gateway.control.processes.plain import require_to_come, with_reasons
from gateway.control.processes.steps import Done, Effects, State, in_region_of
from gateway.domain.calendar import china_day
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Matter
from gateway.domain.processes.cases import Case, Event, advance
from gateway.domain.processes.complaints import COMPLAINTS, Complaint, HandOver
from gateway.domain.regions import region_chain
from gateway.domain.uses import RecordKind
from gateway.store import Store, StoreTransaction

router = APIRouter(prefix="/complaints", tags=["complaints of anyone"])

MAX_WAITING = 1000
"""Complaints that wait to be handed over: more than that nobody works through, and no more are taken in."""

ComplaintBody = step_body(Complaint, is_shown=True)
Reference = Annotated[Identifier, Path(description="the reference number")]
Code = Annotated[str, Header(alias="Complaint-Code", max_length=64, description="the code that was told with it")]


@router.post("", summary="Complain", status_code=201, openapi_extra=describes(ComplaintBody, COMPLAINT))
async def complain(
    request: Request, services: Services, said: Annotated[Complaint, Depends(body_of(ComplaintBody, Complaint))]
) -> Response:
    """Complain without an account; the reference number and the code are told once, and open the reply."""
    address = services.address(request)
    if services.intake.is_spent(address):
        raise GatewayError("rate-limited", "too many complaints came from this address: send it later, or by letter")
    services.intake.spend(address)
    return await run_in_threadpool(_take_in, services, said)


@router.get("/{reference}", summary="How a complaint stands")
def ask(request: Request, services: Services, reference: Reference, code: Code) -> Response:
    """Its state and the reply, to whoever knows the code."""
    address = services.address(request)
    if services.intake.is_spent(address):
        raise GatewayError("rate-limited", "too many codes that are wrong came from this address")
    case = services.store.case(reference, COMPLAINTS.name)
    known = case.facts.get("code_digest", "") if case is not None else ""
    if not hmac.compare_digest(_digest(code), known) or case is None:
        services.intake.spend(address)
        raise GatewayError("not-found", "there is no complaint of this number and code")
    replies = [each.said["reply"] for each in services.store.case_events(case.id) if "reply" in each.said]
    return json_response({"reference": case.id, "state": case.state, "reply": replies[-1] if replies else None})


def _take_in(services: ControlServices, said: Complaint) -> Response:
    takes_in = _takes_in(services.store, said.department)
    code, at = secrets.token_hex(16), datetime.fromtimestamp(services.now(), UTC)
    with recorded(services.unsettled, services.acts) as written, services.store.transaction() as tx:
        _require_room(tx, said)
        step = COMPLAINTS.opening
        empty = msgspec.structs.replace(new_case(china_day(services.now()), COMPLAINTS, "", at), at=said.department)
        case, _ = advance(step, empty, {"code_digest": _digest(code)}, {}, china_day(services.now()))
        stated = msgspec.to_builtins(said)
        tx.put_case(case, Event(case.id, 1, step.name, "", "", at, after=case.state, said=stated))
        told: dict[str, Any] = {
            "act": "complain",
            "process": COMPLAINTS.name,
            "case": case.id,
            "step": step.name,
            "article": step.article,
            "after": case.state,
            "position": tx.began_at,
            # Whoever is complained of is not told by this.
            **({"department": takes_in} if takes_in else {}),
        }
        records = (services.acts.append(RecordKind.PROCESS, told),)
        written.note(records, [told])
        tx.note_acts(records)
    return json_response({"reference": case.id, "code": code, "record": records[0]}, 201)


def _takes_in(store: Store, department: str) -> str | None:
    """The competent department that takes in complaints of another: of the nearest region that has one (Art. 37)."""
    about = store.department(department)
    known = every(lambda cursor: store.list_departments(cursor, 1000))
    near = {each.region: each.id for each in known if each.competent and each.succeeded_by is None}
    return next((near[each] for each in (region_chain(about.region) if about else ()) if each in near), None)


def _require_room(tx: StoreTransaction, said: Complaint) -> None:
    _require_department(tx, said.department)
    if tx.count_cases(COMPLAINTS.name, "filed") >= MAX_WAITING:
        raise GatewayError("rate-limited", "too many complaints wait to be handed over: send it by letter")


def _require_department(tx: StoreTransaction, department: str) -> None:
    if tx.department(department) is None:
        raise invalid([{"field": "department", "fault": f"there is no department `{department}`"}])


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def _opens(tx: StoreTransaction, said: Complaint, _department: str) -> Matter:
    return in_region_of(tx, Matter(), said.department)


def _file(_deed: Deed, _case: Case, said: Complaint) -> Done:
    return Done({"at": said.department}, kept=())


def _hand_over(deed: Deed, _case: Case, said: HandOver) -> Done:
    require_to_come(deed, said.due_on)
    _require_department(deed.tx, said.department)
    # Whatever its officers are, they find it: it is no matter of one side of sharing.
    fields = {"supplier": said.department, "demand": said.department}
    return Done(fields, kept=("due_on",), told={"reasons": said.reasons})


def _give_back(_deed: Deed, _case: Case, said: Any) -> Done:
    return Done({"supplier": None, "demand": None}, told={"reasons": said.reasons})


def _reply(_deed: Deed, _case: Case, _said: Any) -> Done:
    return Done(kept=())


def _matter(state: State, case: Case) -> Matter:
    """The department that handles it, and the region of the one that it is about."""
    return in_region_of(state, matter_between(state, case.supplier, case.demand), case.overseen)


EFFECTS = Effects(
    _opens,
    {
        "file": _file,
        "hand-over": _hand_over,
        "return": _give_back,
        "answer": _reply,
        "dismiss": _reply,
        "urge": with_reasons,
    },
    _matter,
    # Whoever is complained of handles it, perhaps, and need not know who complained.
    hidden=frozenset({"contact"}),
)
"""Of `gateway.domain.processes.complaints`."""
