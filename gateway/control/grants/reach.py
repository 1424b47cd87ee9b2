"""/v1/orders/reach: what a stop would reach, shown before it is given (Decree 809 Art. 27 ¶2, 35)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from gateway.control.act.acting import Services, SignedIn, is_permitted, matter_between, matter_of_grant
from gateway.control.act.bodies import EntryId, Slug
from gateway.control.act.paging import every, json_response
from gateway.control.act.problems import invalid
from gateway.control.act.services import ControlServices
from gateway.control.grants.orders import matter_of_reach
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, GrantState
from gateway.domain.lifecycle import step
from gateway.domain.officers import Act, Officer
from gateway.domain.orders import Order, OrderKind, Reach
from gateway.store import GrantFilter, Store

router = APIRouter(prefix="/v1/orders", tags=["orders"])

LIVE = (GrantState.ISSUED, GrantState.SUSPENDED)
MOST_GRANTS = 500
"""How many grants are looked at; where there are more, the answer says so."""


@router.get("/reach", summary="What a stop would reach")
def show_reach(
    services: Services,
    officer: SignedIn,
    reach: Reach,
    target: Annotated[EntryId, Query(description="a grant, system, department, dataset or supplier")],
    supplier: Annotated[Slug | None, Query(description="only this supplier's data")] = None,
    *,
    subordinates: Annotated[bool, Query(description="of a department: whether those below it are stopped too")] = True,
) -> Response:
    """What a stop would reach, to whoever may give it: which departments, systems and grants, and what needs no grant.

    A suspension of one grant stops every road by which that department obtains that data. `without_grant` names the
    rules in force that permit uses without a grant; such uses are stopped too. Of grants whose matter you may not
    consult the number alone is told (`unseen`), and `more` says that there are more than were looked at. Systems are
    told of departments whose systems you may list.
    """
    order = Order(
        id="",
        kind=OrderKind.EMERGENCY,
        reach=reach,
        target=target,
        reason="",
        ordered_by=officer.id,
        ordered_at=datetime.fromtimestamp(services.now(), UTC),
        supplier=supplier,
        subordinates=reach is Reach.DEPARTMENT and subordinates,
    )
    _require_target(services.store, order)
    _require_permitted(services, officer, order)
    found = list(islice(grants_reached(services.store, order), MOST_GRANTS + 1))
    looked_at = found[:MOST_GRANTS]
    seen = [each for each in looked_at if _may_consult(services, officer, each)]
    departments = departments_reached(services.store, order, looked_at)
    return json_response(
        {
            "departments": departments,
            "systems": list(_systems(services, officer, order, departments)),
            "grants": [
                {"id": each.id, "department": each.department, "dataset": each.dataset, "state": each.state}
                for each in seen
            ],
            "unseen": len(looked_at) - len(seen),
            "more": len(found) > MOST_GRANTS,
            "without_grant": _without_grant(services),
        }
    )


def grants_reached(store: Store, order: Order) -> Iterator[Grant]:
    """The live grants under which nothing more would flow."""
    for narrow in _narrow(store, order):
        for grant in store.every_grant(narrow):
            if order.reach is not Reach.SYSTEM or not grant.systems or order.target in grant.systems:
                yield grant


def departments_reached(store: Store, order: Order, grants: Iterable[Grant]) -> list[str]:
    """The departments for which something would stop."""
    match order.reach:
        case Reach.DEPARTMENT if order.subordinates:
            return sorted({order.target, *store.departments_below(order.target)})
        case Reach.DEPARTMENT:
            return [order.target]
        case Reach.SYSTEM:
            system = store.system(order.target)
            return [] if system is None else [system.department]
    return sorted({each.department for each in grants})


def _systems(services: ControlServices, officer: Officer, order: Order, departments: Iterable[str]) -> Iterator[str]:
    """The active systems that would be stopped, of departments whose systems the officer may list."""
    for name in departments:
        if not is_permitted(services, officer, Act.CONSULT_GRANTS, matter_between(services.store, None, name)):
            continue
        for each in every(partial(services.store.list_systems, limit=1000, department=name)):
            if each.active and (order.reach is not Reach.SYSTEM or each.id == order.target):
                yield each.id


def _narrow(store: Store, order: Order) -> Iterator[GrantFilter]:
    match order.reach:
        case Reach.GRANT:
            grant = store.grant(order.target)
            if grant is not None:
                yield GrantFilter(states=LIVE, department=grant.department, dataset=grant.dataset)
        case Reach.SYSTEM | Reach.DEPARTMENT:
            for department in departments_reached(store, order, ()):
                yield GrantFilter(states=LIVE, department=department, supplier=order.supplier)
        case Reach.DATASET:
            yield GrantFilter(states=LIVE, dataset=order.target)
        case Reach.SUPPLIER:
            yield GrantFilter(states=LIVE, supplier=order.target)


def _require_target(store: Store, order: Order) -> None:
    """There is what would be stopped, as far as that is anybody's to know: whose it is, is asked next."""
    if order.supplier is not None and order.reach not in {Reach.SYSTEM, Reach.DEPARTMENT}:
        raise invalid([{"field": "supplier", "fault": "limits only an order on a department or a system"}])
    known: Mapping[Reach, Callable[[str], object]] = {
        Reach.GRANT: store.grant,
        Reach.SYSTEM: store.system,
        Reach.DEPARTMENT: store.department,
        Reach.DATASET: store.entry_owner,
        Reach.SUPPLIER: store.department,
    }
    if known[order.reach](order.target) is None:
        raise GatewayError("not-found", f"there is no {order.reach.value} `{order.target}`")


def _require_permitted(services: ControlServices, officer: Officer, order: Order) -> None:
    """Who may give the stop, or consult what it is about, is shown what it reaches; others find nothing there."""
    matter = matter_of_reach(services.store, order)
    either = step("order an emergency stop" if order.reach is not Reach.GRANT else "suspend in an emergency").acts
    if not any(is_permitted(services, officer, act, matter) for act in (*either, Act.CONSULT_GRANTS)):
        raise GatewayError("not-found", f"there is no {order.reach.value} `{order.target}`")


def _may_consult(services: ControlServices, officer: Officer, grant: Grant) -> bool:
    return is_permitted(services, officer, Act.CONSULT_GRANTS, matter_of_grant(services.store, grant))


def _without_grant(services: ControlServices) -> list[dict[str, Any]]:
    """The rules in force that permit uses without a grant; none until the settings name the decision."""
    layers = services.engine.layers
    if not layers.settled.decision:
        return []
    rules = [one for one in layers.policies.values() if one.for_uses and one.effect == "permit"]
    return [
        {"policy": one.id, "title": one.title, "title_zh": one.title_zh, "articles": list(one.articles)}
        for one in rules
    ]
