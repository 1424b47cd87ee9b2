"""A grant's later life: suspension, lift, termination, closure, disposal, dispute (Decree 809 Art. 27, 28, 35)."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from gateway.control.act.acting import (
    Answer,
    Choice,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    decided_first,
    matter_of_grant,
    perform,
)
from gateway.control.act.bodies import describes, model_of
from gateway.control.act.examples import CLOSURE, DISPOSAL, DISPUTE, LIFT, SETTLEMENT, SUSPENSION, TERMINATION
from gateway.control.act.lanes import in_lane
from gateway.control.act.preconditions import IfMatch, entity_tag, require_match
from gateway.control.act.problems import invalid
from gateway.control.act.services import ControlServices
from gateway.control.grants.bodies import (
    ClosureBody,
    DisposalBody,
    DisputeBody,
    LiftBody,
    SettlementBody,
    SuspensionBody,
    TerminationBody,
)
from gateway.control.grants.duties import (
    accept_rectification,
    fail_rectifications,
    last_drawn,
    open_disposal,
    open_rectification,
    report_disposal,
    require_destroyed_after,
)
from gateway.control.grants.routes import GrantPath
from gateway.control.grants.stops import (
    Ending,
    end_grant,
    lift_choices,
    lift_suspension,
    new_order_id,
    suspensions_of,
)
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, GrantState
from gateway.domain.lifecycle import Step, require_step, step
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.orders import Order, OrderKind, Reach
from gateway.domain.processes.disposals import Destruction
from gateway.domain.processes.disputes import DISPUTES
from gateway.domain.processes.rectifications import Failure
from gateway.domain.texts import Phrase
from gateway.domain.uses import RecordKind
from gateway.store import StoreTransaction

router = APIRouter(prefix="/v1/grants/{id}", tags=["a grant's life"])

REPORT_HOURS = 24
"""Time to report an emergency where the act sets none. Ours: Art. 35 says as required."""


@router.post("/suspension", summary="Suspend a grant", openapi_extra=describes(SuspensionBody, SUSPENSION))
async def suspend(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: GrantPath,  # noqa: A002 - the domain's name
    body: Annotated[SuspensionBody, Depends(model_of(SuspensionBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Suspend: when this call returns, no worker on any node releases one more byte under the grant."""

    def work(deed: Deed, grant: Grant, matter: Matter) -> Answer:
        row = require_step("suspend in an emergency" if body.emergency else "suspend", grant)
        faults = _suspension_faults(body, deed.today)
        if faults:
            raise invalid(faults)
        order = Order(
            id=new_order_id(deed.now),
            kind=OrderKind.EMERGENCY if body.emergency else OrderKind.SUSPENSION,
            reach=Reach.GRANT,
            target=grant.id,
            reason=body.incident or body.violation or "",
            ordered_by=officer.id,
            ordered_at=deed.now,
            rectify_by=body.rectify_by,
            report_due=(body.report_due or deed.now + timedelta(hours=REPORT_HOURS)) if body.emergency else None,
        )
        deed.tx.put_order(order)
        case = open_rectification(deed, order, matter)
        new = deed.tx.set_grant_state(grant.id, grant.version, GrantState.SUSPENDED)
        _record(
            deed,
            RecordKind.ORDER,
            row,
            grant,
            new,
            matter,
            order=order.id,
            case=case.id if case is not None else "",
            reason=order.reason,
            rectify_by=order.rectify_by.isoformat() if order.rectify_by else "",
            report_due=order.report_due.isoformat() if order.report_due else "",
        )
        return _answer(new, order=order)

    # Either side may stop in an incident (Art. 35): who may end its own use for good may also suspend it.
    row = step("suspend in an emergency" if body.emergency else "suspend")
    said = body.model_dump(mode="json")
    return await in_lane(
        request, _act, request, services, officer, id, if_match, key, said, Act.SUSPEND, work, or_act=row.or_act
    )


@router.post("/suspension/lift", summary="Lift a suspension", openapi_extra=describes(LiftBody, LIFT))
def lift(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: GrantPath,  # noqa: A002 - the domain's name
    body: Annotated[LiftBody, Depends(model_of(LiftBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Lift one suspension, by the department that ordered it or the competent department."""

    def work(deed: Deed, grant: Grant, matter: Matter) -> Answer:
        row = require_step("lift", grant)
        standing = suspensions_of(services, grant.id)
        order = _one_of(standing, body.order)
        deed.permit_one(lambda tx: lift_choices(tx, order, matter))
        lifted, new = lift_suspension(deed, order, grant, standing, body.reason)
        accept_rectification(deed, order.id, body.reason)
        _record(deed, RecordKind.ORDER, row, grant, new, matter, order=order.id, reason=body.reason)
        return _answer(new, order=lifted)

    return _act(request, services, officer, id, if_match, key, body.model_dump(), Act.LIFT, work, named=body.order)


@router.post("/termination", summary="Terminate a grant", openapi_extra=describes(TerminationBody, TERMINATION))
async def terminate(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: GrantPath,  # noqa: A002 - the domain's name
    body: Annotated[TerminationBody, Depends(model_of(TerminationBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Terminate for good; a duty to dispose of what was drawn opens."""

    def work(deed: Deed, grant: Grant, matter: Matter) -> Answer:
        failed = body.rectification is not None
        row = require_step(
            "terminate after a failed rectification" if failed else "terminate without a violation", grant
        )
        faults = _termination_faults(body, deed.today)
        if faults:
            raise invalid(faults)
        if failed:
            _require_rectification_over(services, grant.id, body, deed.today)
        said = Ending(body.reason, body.consultation or "", body.filing or "", body.dispose_by)
        order, new, duty = end_grant(deed, grant, matter, said)
        if body.rectification is not None:
            list(fail_rectifications(deed, grant.id, Failure(body.rectification, body.refused)))
        _record(
            deed,
            RecordKind.ORDER,
            row,
            grant,
            new,
            matter,
            order=order.id,
            reason=body.reason,
            rectification=body.rectification or "",
            consultation=order.consultation,
            filing=order.filing,
            dispose_by=duty.due_on.isoformat(),
        )
        return _answer(new, order=order, disposal=duty)

    sent = body.model_dump(mode="json")
    return await in_lane(request, _act, request, services, officer, id, if_match, key, sent, Act.TERMINATE, work)


@router.post("/closure", summary="Close a grant", openapi_extra=describes(ClosureBody, CLOSURE))
def close(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: GrantPath,  # noqa: A002 - the domain's name
    body: Annotated[ClosureBody, Depends(model_of(ClosureBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Close a grant whose purpose is over; a duty to dispose of what was drawn opens."""

    def work(deed: Deed, grant: Grant, matter: Matter) -> Answer:
        row = require_step("close", grant)
        if body.dispose_by is not None and body.dispose_by < deed.today:
            raise invalid([{"field": "dispose_by", "fault": "has passed"}])
        new = deed.tx.set_grant_state(grant.id, grant.version, GrantState.CLOSED)
        duty = open_disposal(deed, grant, matter, body.dispose_by, f"{body.outcome.value}: {body.reason}")
        _record(
            deed,
            RecordKind.GRANT,
            row,
            grant,
            new,
            matter,
            outcome=Phrase(body.outcome.value),
            reason=body.reason,
            dispose_by=duty.due_on.isoformat(),
        )
        return _answer(new, disposal=duty)

    return _act(request, services, officer, id, if_match, key, body.model_dump(mode="json"), Act.CLOSE, work)


@router.post("/disposal", summary="Record the destruction", openapi_extra=describes(DisposalBody, DISPOSAL))
def dispose(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: GrantPath,  # noqa: A002 - the domain's name
    body: Annotated[DisposalBody, Depends(model_of(DisposalBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """File the destruction record that fulfils the duty to dispose."""
    drawn: list[date | GatewayError | None] = []

    def prepare() -> None:
        grant, _ = decided_first(services, officer, lambda deed: deed.about_grant(id, Act.DISPOSE))
        drawn.append(last_drawn(services, grant))

    def work(deed: Deed, grant: Grant, matter: Matter) -> Answer:
        row = require_step("dispose", grant)
        require_destroyed_after(body.destroyed_on, drawn[0], deed.today)
        report_disposal(deed, grant.id, Destruction(body.method, body.destroyed_on, body.carried_out_by))
        new = deed.tx.set_grant_state(grant.id, grant.version, GrantState.DISPOSED)
        record = _record(
            deed,
            RecordKind.DESTRUCTION,
            row,
            grant,
            new,
            matter,
            method=body.method,
            destroyed_on=body.destroyed_on.isoformat(),
            carried_out_by=body.carried_out_by,
        )
        return _answer(new, disposal=deed.tx.record_disposal(grant.id, record, body.destroyed_on))

    said = body.model_dump(mode="json")
    return _act(request, services, officer, id, if_match, key, said, Act.DISPOSE, work, prepare=prepare)


@router.post("/dispute", summary="Open a dispute", openapi_extra=describes(DisputeBody, DISPUTE))
def dispute(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: GrantPath,  # noqa: A002 - the domain's name
    body: Annotated[DisputeBody, Depends(model_of(DisputeBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Open a dispute: the grant's records are held from pruning; its state is unchanged (Art. 28)."""
    return _set_disputed(request, services, officer, id, if_match, key, "dispute", body.reason)


@router.post("/dispute/settlement", summary="Settle a dispute", openapi_extra=describes(SettlementBody, SETTLEMENT))
def settle(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: GrantPath,  # noqa: A002 - the domain's name
    body: Annotated[SettlementBody, Depends(model_of(SettlementBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Settle a dispute: its records are pruned in their time again."""
    return _set_disputed(request, services, officer, id, if_match, key, "settle", body.outcome)


Work = Callable[[Deed, Grant, Matter], Answer]


def _act(
    request: Request,
    services: ControlServices,
    officer: Officer,
    id: str,  # noqa: A002 - the domain's name
    if_match: str | None,
    key: str | None,
    body: Any,
    act: Act,
    work: Work,
    *,
    or_act: Act | None = None,
    named: str | None = None,
    prepare: Callable[[], None] = lambda: None,
) -> Response:
    def decided(deed: Deed) -> Answer:
        if act is Act.LIFT:
            grant, matter = _about_lift(deed, id, named)
        else:
            grant, matter = deed.about_grant(id, act, or_act)
        require_match(grant, if_match)
        return work(deed, grant, matter)

    return perform(services, request, officer, key, body, decided, prepare=prepare)


def _about_lift(deed: Deed, id_: str, named: str | None) -> tuple[Grant, Matter]:
    """The grant whose suspension is to be lifted: decided for the orders that stand, or the one that is named.

    With none that could be lifted it is decided as if the grant's supplier had ordered one, so that what stands is told
    only to who may lift.
    """
    found: list[Matter] = []

    def choices(tx: StoreTransaction, grant: Grant) -> list[Choice]:
        found.append(matter_of_grant(tx, grant))
        standing = suspensions_of(deed.services, id_)
        meant = [order for order in standing if named is None or order.id == named]
        suppliers = (Act.LIFT, msgspec.structs.replace(found[0], ordered_by=found[0].supplier))
        return [each for order in meant for each in lift_choices(tx, order, found[0])] or [suppliers]

    seen = lambda _tx, _grant: (Act.CONSULT_GRANTS, found[0])  # noqa: E731
    return deed.about(lambda tx: tx.grant(id_), choices, seen, f"there is no grant `{id_}`"), found[0]


def _set_disputed(
    request: Request,
    services: ControlServices,
    officer: Officer,
    id: str,  # noqa: A002 - the domain's name
    if_match: str | None,
    key: str | None,
    name: str,
    reason: str,
) -> Response:
    def work(deed: Deed, grant: Grant, matter: Matter) -> Answer:
        row = require_step(name, grant)
        if grant.disputed == (name == "dispute"):
            raise GatewayError("conflict", f"grant `{id}` is {'already' if grant.disputed else 'not'} disputed")
        for case in deed.tx.open_cases_of(id, DISPUTES.name) if name == "settle" else ():
            raise GatewayError("conflict", f"grant `{id}` is disputed in `{case.id}`: settle it there")
        new = deed.tx.set_disputed(id, not grant.disputed, version_expected=grant.version)
        _record(deed, RecordKind.GRANT, row, grant, new, matter, reason=reason)
        return _answer(new)

    act = Act.DISPUTE if name == "dispute" else Act.SETTLE
    return _act(request, services, officer, id, if_match, key, reason, act, work)


def _answer(grant: Grant, **more: Any) -> Answer:
    return Answer({"grant": grant, **more}, headers={"ETag": entity_tag(grant)})


def _record(deed: Deed, kind: RecordKind, row: Step, old: Grant, new: Grant, matter: Matter, **fields: Any) -> str:
    return deed.record(
        kind,
        step=row.name,
        article=row.article,
        grant=old.id,
        version=old.version,
        before=old.state.value,
        after=new.state.value,
        department=old.department,
        supplier=matter.supplier or "",
        dataset=old.dataset,
        **fields,
    )


def _suspension_faults(body: SuspensionBody, today: date) -> list[dict[str, Any]]:
    faults = []
    if body.emergency:
        if body.incident is None:
            faults.append({"field": "incident", "fault": "is missing: an emergency names its incident (Art. 35)"})
        return faults
    if body.violation is None:
        faults.append({"field": "violation", "fault": "is missing: a suspension names the violation (Art. 27 ¶2)"})
    if body.rectify_by is None:
        faults.append({"field": "rectify_by", "fault": "is missing: a suspension sets a date (Art. 27 ¶2)"})
    elif body.rectify_by < today:
        faults.append({"field": "rectify_by", "fault": "has passed"})
    return faults


def _termination_faults(body: TerminationBody, today: date) -> list[dict[str, Any]]:
    faults = []
    if body.rectification is None:
        faults += [
            {"field": field, "fault": f"is missing: {what} without a violation (Art. 27 ¶3)"}
            for field, what in (("consultation", "a record of consultation"), ("filing", "a filing reference"))
            if getattr(body, field) is None
        ]
    if body.dispose_by is not None and body.dispose_by < today:
        faults.append({"field": "dispose_by", "fault": "has passed"})
    return faults


def _require_rectification_over(services: ControlServices, grant: str, body: TerminationBody, today: date) -> None:
    """Raises `conflict` while every rectification date is yet to come and rectification is not refused."""
    dates = [order.rectify_by for order in suspensions_of(services, grant) if order.rectify_by is not None]
    if not dates:
        raise GatewayError("conflict", f"no rectification was asked for on grant `{grant}`")
    if not body.refused and all(day >= today for day in dates):
        raise GatewayError(
            "conflict", f"the time for rectification runs until {min(dates)}; say `refused` if it was refused"
        )


def _one_of(standing: list[Order], named: str | None) -> Order:
    """The suspension to lift.

    Raises:
        GatewayError: `conflict` where none is in force, or several are and none is named.
    """
    found = [order for order in standing if named is None or order.id == named]
    if len(found) == 1:
        return found[0]
    names = [order.id for order in standing]
    if not found:
        raise GatewayError("conflict", "no such suspension is in force on this grant", orders=names)
    raise GatewayError("conflict", "several suspensions are in force: name one as `order`", orders=names)
