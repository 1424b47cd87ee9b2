"""What a grant's life owes, as cases of their own: rectification (Decree 809 Art. 27 ¶2) and disposal (¶1)."""

from collections.abc import Iterator
from datetime import date

import msgspec
from anyio import from_thread

from gateway.control.act.acting import Deed, due_in
from gateway.control.act.cases import move, new_case
from gateway.control.act.problems import invalid
from gateway.control.act.services import ControlServices
from gateway.domain.calendar import china_day
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant
from gateway.domain.officers import Matter
from gateway.domain.orders import Order, Reach
from gateway.domain.processes.cases import Case
from gateway.domain.processes.disposals import DISPOSALS, Destruction, Ended
from gateway.domain.processes.rectifications import RECTIFICATIONS, Failure, Notice
from gateway.domain.processes.statements import Reasons
from gateway.domain.processes.table import Party
from gateway.ledger.index.queries import RecordQuery
from gateway.store import Disposal, StoreTransaction

DISPOSAL_WORKING_DAYS = 20
"""Time to dispose of what was drawn where the act sets none. Ours: Art. 27 ¶1 leaves it to the supplier."""


def open_rectification(deed: Deed, order: Order, matter: Matter) -> Case | None:
    """Open the case of what a demand department is to rectify by a day; None where an order sets none, or names none.

    It is found by the order: `rectification_id`.
    """
    if order.rectify_by is None or matter.demand is None:
        return None
    own = deed.officer.department
    ordering = next(
        (side for side, named in ((Party.SUPPLIER, matter.supplier), (Party.DEMAND, matter.demand)) if named == own),
        Party.COMPETENT,
    )
    empty = msgspec.structs.replace(
        new_case(deed.today, RECTIFICATIONS, deed.officer.id, deed.now),
        id=rectification_id(order.id),
        supplier=matter.supplier,
        demand=matter.demand,
        dataset=matter.dataset,
        grant=order.target if order.reach is Reach.GRANT else None,
    )
    facts = {"order": order.id, "ordering": ordering.value, "due_on": order.rectify_by.isoformat()}
    return move(deed, RECTIFICATIONS.opening, empty, Notice(order.id), facts)


def rectification_of(tx: StoreTransaction, order: str) -> Case | None:
    """The case of what an order asks to be rectified, open or not; None where there is none."""
    return tx.case(rectification_id(order), RECTIFICATIONS.name)


def rectification_id(order: str) -> str:
    """The id of the case of an order: it bears the order's day and number."""
    return f"{RECTIFICATIONS.prefix}{order.removeprefix('o')}"


def accept_rectification(deed: Deed, order: str, reason: str) -> None:
    """End the case of an order that was lifted, if one is open."""
    case = rectification_of(deed.tx, order)
    if case is not None and not RECTIFICATIONS.state(case.state).is_end:
        move(deed, RECTIFICATIONS.step("accept"), case, Reasons(reason), {})


def fail_rectifications(deed: Deed, grant: str, said: Failure) -> Iterator[Case]:
    """End every open case of a grant that is terminated because it was not rectified."""
    for case in deed.tx.open_cases_of(grant, RECTIFICATIONS.name):
        yield move(deed, RECTIFICATIONS.step("terminate"), case, said, {"refused": said.refused})


def open_disposal(deed: Deed, grant: Grant, matter: Matter, due_on: date | None, reason: str) -> Disposal:
    """Open the duty to dispose of what was drawn, due on a day that is named or after our own time, and its case."""
    due = due_in(deed.today, DISPOSAL_WORKING_DAYS)
    duty = Disposal(
        grant=grant.id,
        department=grant.department,
        supplier=matter.supplier or "",
        due_on=due_on or due.on,
        provisional=due_on is None and due.provisional,
        reason=reason,
    )
    deed.tx.open_disposal(duty)
    empty = new_case(deed.today, DISPOSALS, deed.officer.id, deed.now)
    filled = msgspec.structs.replace(
        empty, supplier=matter.supplier, demand=grant.department, dataset=grant.dataset, grant=grant.id
    )
    facts = {"due_on": duty.due_on.isoformat(), "provisional": duty.provisional}
    move(deed, DISPOSALS.opening, filled, Ended(grant.id), facts)
    return duty


def report_disposal(deed: Deed, grant: str, said: Destruction) -> None:
    """Move the open case of a grant's disposal, if there is one, by the destruction record."""
    for case in deed.tx.open_cases_of(grant, DISPOSALS.name):
        if case.state in DISPOSALS.step("report").before:
            move(deed, DISPOSALS.step("report"), case, said, {"destroyed_on": said.destroyed_on.isoformat()})


def last_drawn(services: ControlServices, thing: Grant | Case) -> date | GatewayError | None:
    """The last day on which a use under a grant began; None where none is on record, or why that is not known; blocks.

    Args:
        services: the rooms.
        thing: the grant or its case as the decision gave it (`decided_first`): of whoever may not act the ledger is
            asked nothing. Call it on a thread of a lane.
    """
    grant = thing.id if isinstance(thing, Grant) else thing.grant
    if grant is None:
        return None
    query = RecordQuery(grant=grant, kinds=("use",))
    try:
        found = from_thread.run(services.ledger.find, query, None, 1)
    except GatewayError as error:
        return error
    return china_day(found.rows[0].time_unix_us // 1_000_000) if found.rows else None


def require_destroyed_after(day: date, drawn: date | GatewayError | None, today: date) -> None:
    """Hold that what was drawn was destroyed after it was drawn, and not on a day to come.

    Args:
        day: the day that is stated.
        drawn: as `last_drawn` found it.
        today: China Standard Time.

    Raises:
        GatewayError: `invalid-input`; what `drawn` is, where that is not known.
    """
    if day > today:
        raise invalid([{"field": "destroyed_on", "fault": "lies in the future"}])
    if isinstance(drawn, GatewayError):
        raise drawn
    if drawn is not None and day < drawn:
        fault = f"lies before {drawn}, when data was drawn under the grant: that was not destroyed"
        raise invalid([{"field": "destroyed_on", "fault": fault}])
