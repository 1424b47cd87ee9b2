"""/v1/orders: stops that reach wider than one grant: a system, a department, a dataset, a supplier (Art. 27 ¶2, 35)."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import AwareDatetime

from gateway.control.act.acting import (
    Answer,
    Choice,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    is_permitted,
    matter_between,
    matter_of_grant,
    perform,
    shown_to,
)
from gateway.control.act.bodies import Body, EntryId, Identifier, Slug, Statement, describes, model_of
from gateway.control.act.examples import LIFT, ORDER, REPORT
from gateway.control.act.lanes import in_lane
from gateway.control.act.pages import Pages, concerned_of
from gateway.control.act.paging import json_response
from gateway.control.act.preconditions import IfMatch, entity_tag, require_match
from gateway.control.act.problems import invalid
from gateway.control.act.scopes import require_departments
from gateway.control.grants.bodies import LiftBody, ReportBody
from gateway.control.grants.duties import accept_rectification, open_rectification
from gateway.control.grants.life import REPORT_HOURS
from gateway.control.grants.stops import lift_choices, new_order_id
from gateway.domain.errors import GatewayError
from gateway.domain.lifecycle import step
from gateway.domain.officers import Act, Matter
from gateway.domain.orders import Order, OrderKind, Reach
from gateway.domain.uses import RecordKind
from gateway.store import OrderFilter, Store, StoreTransaction

router = APIRouter(prefix="/v1/orders", tags=["orders"])

OrderPath = Annotated[Identifier, Path(description="the order's id")]


class OrderBody(Body):
    """A stop of wider reach.

    `supplier` limits an order on a department or system to one supplier's data; an order on a department stops the
    departments below it too, unless `subordinates` is false.
    """

    kind: OrderKind
    reach: Reach
    target: EntryId
    reason: Statement
    supplier: Slug | None = None
    subordinates: bool | None = None
    rectify_by: date | None = None
    consultation: Statement | None = None
    filing: Statement | None = None
    report_due: AwareDatetime | None = None


@router.get("", summary="Orders you may see")
def list_orders(
    services: Services,
    officer: SignedIn,
    in_force: Annotated[bool | None, Query()] = None,
    reach: Reach | None = None,
    target: Annotated[EntryId | None, Query()] = None,
    supplier: Annotated[Slug | None, Query()] = None,
    *,
    pages: Pages,
) -> Response:
    """Orders by id, of those you may see."""
    require_departments(services.store, supplier=supplier)
    concerned = concerned_of(services, officer, Act.CONSULT_GRANTS)
    if concerned is None:
        return pages.response([], None)
    narrow = OrderFilter(in_force=in_force, reach=reach, target=target, supplier=supplier, concerned=concerned)
    return pages.of_visible(
        lambda cursor, limit: services.store.list_orders(narrow, cursor, limit),
        lambda order: is_permitted(services, officer, Act.CONSULT_GRANTS, matter_of_reach(services.store, order)),
        lambda order: (order.id,),
    )


@router.get("/{id}", summary="An order")
def show_order(services: Services, officer: SignedIn, id: OrderPath) -> Response:  # noqa: A002 - the domain's name
    """One order, in force or lifted."""
    find, absent = (lambda store: store.order(id)), f"there is no order `{id}`"
    order = shown_to(services, officer, Act.CONSULT_GRANTS, find, matter_of_reach, absent)
    return json_response(order, headers={"ETag": entity_tag(order)})


@router.post("", summary="Order a stop", status_code=201, openapi_extra=describes(OrderBody, ORDER))
async def put_order(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[OrderBody, Depends(model_of(OrderBody))],
    key: IdempotencyKey = None,
) -> Response:
    """Order a stop: when this call returns, no worker on any node releases one more byte under it."""

    def work(deed: Deed) -> Answer:
        order = Order(
            id=new_order_id(deed.now),
            kind=body.kind,
            reach=body.reach,
            target=body.target,
            reason=body.reason,
            ordered_by=officer.id,
            ordered_at=deed.now,
            rectify_by=body.rectify_by,
            consultation=body.consultation or "",
            filing=body.filing or "",
            report_due=(body.report_due or deed.now + timedelta(hours=REPORT_HOURS))
            if body.kind is OrderKind.EMERGENCY
            else None,
            supplier=body.supplier,
            subordinates=body.reach is Reach.DEPARTMENT and body.subordinates is not False,
        )
        faults = _faults(body, deed.today)
        if faults:
            raise invalid(faults)
        # Either side may stop in an incident (Art. 35): a demand department its own system, or itself.
        row = step("order an emergency stop" if body.kind is OrderKind.EMERGENCY else "order a stop")
        deed.permit_one(lambda tx: _choices(Act.ORDER, row.or_act, matter_of_reach(tx, order)))
        matter = matter_of_reach(deed.tx, order)
        deed.tx.put_order(order)
        case = open_rectification(deed, order, matter)
        _record(deed, order, matter, "order", order.reason, case.id if case is not None else "")
        return Answer({"order": order}, 201, {"ETag": entity_tag(order), "Location": f"/v1/orders/{order.id}"})

    return await in_lane(request, perform, services, request, officer, key, body.model_dump(mode="json"), work)


@router.post("/{id}/lift", summary="Lift an order", openapi_extra=describes(LiftBody, LIFT))
def lift_order(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: OrderPath,  # noqa: A002 - the domain's name
    body: Annotated[LiftBody, Depends(model_of(LiftBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Lift an order: its forbid goes, and nothing else."""

    def work(deed: Deed) -> Answer:
        order = _about(deed, id, lift_choices)
        matter = matter_of_reach(deed.tx, order)
        require_match(order, if_match)
        if order.reach is Reach.GRANT:
            raise GatewayError("conflict", f"lift it at `/v1/grants/{order.target}/suspension/lift`")
        if order.kind is OrderKind.TERMINATION:
            raise GatewayError("conflict", "a termination is not lifted; issue anew (Decree 809 Art. 27 ¶2)")
        lifted = deed.tx.lift_order(id, officer.id, deed.now, body.reason)
        accept_rectification(deed, id, body.reason)
        _record(deed, order, matter, "lift", body.reason)
        return Answer({"order": lifted}, headers={"ETag": entity_tag(lifted)})

    return perform(services, request, officer, key, body.model_dump(), work)


@router.post("/{id}/report", summary="Report an emergency", openapi_extra=describes(ReportBody, REPORT))
def report_order(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: OrderPath,  # noqa: A002 - the domain's name
    body: Annotated[ReportBody, Depends(model_of(ReportBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Fulfil the duty to report an emergency stop, of one grant or wider, in force or lifted (Art. 35)."""

    def work(deed: Deed) -> Answer:
        or_act = step("report an emergency").or_act
        order = _about(deed, id, lambda _tx, _order, matter: _choices(Act.ORDER, or_act, matter))
        matter = matter_of_reach(deed.tx, order)
        require_match(order, if_match)
        reported = deed.tx.report_order(id, officer.id, deed.now, body.reference)
        _record(deed, order, matter, "report", body.reference)
        return Answer({"order": reported}, headers={"ETag": entity_tag(reported)})

    return perform(services, request, officer, key, body.model_dump(), work)


Choose = Callable[[StoreTransaction, Order, Matter], list[Choice]]


def _about(deed: Deed, id_: str, choose: Choose) -> Order:
    """The order that an act is about, once it is permitted."""
    return deed.about(
        lambda tx: tx.order(id_),
        lambda tx, order: choose(tx, order, matter_of_reach(tx, order)),
        lambda tx, order: (Act.CONSULT_GRANTS, matter_of_reach(tx, order)),
        f"there is no order `{id_}`",
    )


def _choices(act: Act, or_act: Act | None, matter: Matter) -> list[Choice]:
    return [(each, matter) for each in (act, or_act) if each is not None]


def matter_of_reach(state: Store | StoreTransaction, order: Order) -> Matter:
    """What an order is about: whose data it stops, and for whom.

    An order on a department or system without `supplier` stops every supplier's data for it: no supplier's own
    matter, so only a power over the demand department's region covers it.
    """
    if order.reach is Reach.GRANT:
        grant = state.grant(order.target)
        return matter_of_grant(state, grant) if grant is not None else Matter()
    if order.reach is Reach.SYSTEM:
        system = state.system(order.target)
        return matter_between(state, order.supplier, system.department if system else None)
    if order.reach is Reach.DEPARTMENT:
        return matter_between(state, order.supplier, order.target)
    if order.reach is Reach.DATASET:
        return matter_between(state, state.entry_owner(order.target), None, order.target)
    return matter_between(state, order.target, None)


def _faults(body: OrderBody, today: date) -> list[dict[str, Any]]:
    faults: list[dict[str, Any]] = []

    def need(field: str, why: str) -> None:
        if getattr(body, field) is None:
            faults.append({"field": field, "fault": f"is missing: {why}"})

    if body.reach is Reach.GRANT:
        faults.append({"field": "reach", "fault": "a grant has acts of its own under `/v1/grants/{id}`"})
    if body.supplier is not None and body.reach not in {Reach.SYSTEM, Reach.DEPARTMENT}:
        faults.append({"field": "supplier", "fault": "limits only an order on a department or a system"})
    if body.subordinates is not None and body.reach is not Reach.DEPARTMENT:
        faults.append({"field": "subordinates", "fault": "is about orders on a department alone"})
    if body.kind is OrderKind.SUSPENSION:
        need("rectify_by", "a suspension sets a date (Decree 809 Art. 27 ¶2)")
        if body.rectify_by is not None and body.rectify_by < today:
            faults.append({"field": "rectify_by", "fault": "has passed"})
    if body.kind is OrderKind.TERMINATION:
        need("consultation", "a record of consultation (Decree 809 Art. 27 ¶3)")
        need("filing", "a filing reference (Decree 809 Art. 27 ¶3)")
    return faults


def _record(deed: Deed, order: Order, matter: Matter, step: str, reason: str, case: str = "") -> None:
    deed.record(
        RecordKind.ORDER,
        step=step,
        order=order.id,
        case=case,
        order_kind=order.kind.value,
        reach=order.reach.value,
        target=order.target,
        department=matter.demand or "",
        supplier=matter.supplier or "",
        dataset=matter.dataset or "",
        system=order.target if order.reach is Reach.SYSTEM else "",
        reason=reason,
        rectify_by=order.rectify_by.isoformat() if order.rectify_by else "",
        consultation=order.consultation,
        filing=order.filing,
        report_due=order.report_due.isoformat() if order.report_due else "",
        article="Decree 809 Art. 35" if order.kind is OrderKind.EMERGENCY else "Decree 809 Art. 27 ¶2",
    )
