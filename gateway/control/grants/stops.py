"""What stopping, lifting and ending a grant write (Decree 809 Art. 27, 35), whichever act does it."""

import secrets
from collections.abc import Sequence
from datetime import date, datetime

import msgspec

from gateway.control.act.acting import Choice, Deed
from gateway.control.act.services import ControlServices
from gateway.control.grants.duties import open_disposal
from gateway.domain.grants import Grant, GrantState
from gateway.domain.officers import Act, Matter
from gateway.domain.orders import Order, OrderKind, Reach
from gateway.store import Disposal, OrderFilter, StoreTransaction


def new_order_id(now: datetime) -> str:
    """An order's id: its day, and 48 random bits."""
    return f"o-{now:%Y%m%d}-{secrets.token_hex(6)}"


def suspensions_of(services: ControlServices, grant: str) -> list[Order]:
    """The suspensions of a grant that are in force; call it with the writer's lock held to rely on it."""
    narrow = OrderFilter(in_force=True, reach=Reach.GRANT, target=grant)
    orders = services.store.list_orders(narrow, limit=1000).items
    return [order for order in orders if order.kind is not OrderKind.TERMINATION]


def lift_choices(tx: StoreTransaction, order: Order, of: Matter) -> list[Choice]:
    """The acts that each give the right to lift an order; `of` is what the order is about.

    Whose officer ordered it is a fact of the matter, and what follows from it is the policies' (Art. 27 ¶2).
    """
    ordering = tx.officer(order.ordered_by)
    whose = None if ordering is None else ordering.department
    return [(Act.LIFT, msgspec.structs.replace(of, ordered_by=whose))]


def lift_suspension(
    deed: Deed, order: Order, grant: Grant, standing: Sequence[Order], reason: str
) -> tuple[Order, Grant]:
    """Lift one of the suspensions of a grant that stand: the order, and the grant as it is then."""
    lifted = deed.tx.lift_order(order.id, deed.officer.id, deed.now, reason)
    # The duty to rectify outlives the grant, and so does the stop, until this; an end stays an end.
    if len(standing) == 1 and grant.state is GrantState.SUSPENDED:
        return lifted, deed.tx.set_grant_state(grant.id, grant.version, GrantState.ISSUED)
    return lifted, grant


class Ending(msgspec.Struct, frozen=True):
    """Why a grant is terminated; consultation and filing where that is without a violation (Art. 27 ¶3)."""

    reason: str
    consultation: str = ""
    filing: str = ""
    dispose_by: date | None = None


def end_grant(deed: Deed, grant: Grant, matter: Matter, said: Ending) -> tuple[Order, Grant, Disposal]:
    """Terminate a grant: the order, the grant as it is then, and the duty to dispose of what was drawn."""
    order = Order(
        id=new_order_id(deed.now),
        kind=OrderKind.TERMINATION,
        reach=Reach.GRANT,
        target=grant.id,
        reason=said.reason,
        ordered_by=deed.officer.id,
        ordered_at=deed.now,
        consultation=said.consultation,
        filing=said.filing,
    )
    deed.tx.put_order(order)
    new = deed.tx.set_grant_state(grant.id, grant.version, GrantState.TERMINATED)
    return order, new, open_disposal(deed, grant, matter, said.dispose_by, said.reason)
