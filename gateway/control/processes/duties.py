"""/v1/duties: one list of what waits for an officer, over all processes and over the duties of grants.

As supplier and as demand side what waits for the own department; as the competent department what waits for one in the
region, and what is overdue there. The overdue come first, then by date; what has no date comes last.
"""

from collections.abc import Iterator
from datetime import date

import msgspec
from fastapi import APIRouter
from fastapi.responses import Response

from gateway.control.act.acting import Services, SignedIn, is_permitted, matter_between
from gateway.control.act.cases import clocks_of
from gateway.control.act.paging import json_response
from gateway.control.act.scopes import region_prefix
from gateway.control.act.services import ControlServices
from gateway.control.grants.duties import rectification_id
from gateway.domain.calendar import china_day
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.orders import Order
from gateway.domain.processes.cases import Case, owing
from gateway.domain.processes.register import PROCESSES
from gateway.domain.processes.table import Party
from gateway.store import Disposal

router = APIRouter(prefix="/v1/duties", tags=["duties"])

MAX_DUTIES = 1000
"""Duties of one list: the first due; more than that nobody works through."""


class Duty(msgspec.Struct, frozen=True):
    """What waits for somebody.

    Args:
        process: of the case; `grants` or `orders` of what a grant's life owes.
        id: of the case, grant or order.
        state: where that stands.
        waits_for: who owes it: `demand`, `supplier`, `competent`.
        duty: what is owed, in words.
        duty_zh: the same in Chinese.
        article: what it rests on; the clock's, where one runs.
        department: the demand department.
        supplier: the supply department.
        dataset: the entry, if one.
        due_on: the last day, China Standard Time; None where no clock runs.
        provisional: whether that day is not certain: some day on the way lies in a year without an announced calendar.
        days_left: calendar days until it, negative once it is overdue; None where no clock runs.
    """

    process: str
    id: str
    state: str
    waits_for: str
    duty: str
    duty_zh: str
    article: str = ""
    department: str | None = None
    supplier: str | None = None
    dataset: str | None = None
    due_on: date | None = None
    provisional: bool = False
    days_left: int | None = None


@router.get("", summary="What waits for you")
def list_duties(services: Services, officer: SignedIn) -> Response:
    """Of your department and, as the competent department, of your region; the overdue first; at most 1,000."""
    found = {(each.process, each.id, each.waits_for): each for each in duties_of(services, officer)}
    ordered = sorted(found.values(), key=lambda each: (each.due_on is None, each.due_on or date.max, each.id))
    return json_response({"items": ordered[:MAX_DUTIES], "next": None})


def duties_of(services: ControlServices, officer: Officer) -> Iterator[Duty]:
    """What waits for an officer, in no order; something may come twice."""
    today, store, own = china_day(services.now()), services.store, officer.department

    def may(act: Act, matter: Matter) -> bool:
        return is_permitted(services, officer, act, matter)

    # Who may examine, or apply, owes what waits for that side; who only looks on owes nothing.
    of_supplier, of_demand = matter_between(store, own, None), matter_between(store, None, own)
    for party, act, matter in (
        (Party.SUPPLIER, Act.EXAMINE_APPLICATION, of_supplier),
        (Party.DEMAND, Act.PROPOSE_GRANT, of_demand),
    ):
        if may(act, matter):
            for case in store.cases_waiting_for(party, own, MAX_DUTIES):
                yield _of_case(services, case, party, today)
    if may(Act.DISPOSE, of_demand):
        # What was owed before there were cases of it has none, nor has what a change of departments opens.
        with_case = {case.grant for case in store.open_cases(process="disposals", demand=own)}
        for disposal in store.open_disposals(department=own):
            if disposal.grant not in with_case:
                yield _of_disposal(disposal, today)
        for order in store.open_rectifications(own):
            if store.case(rectification_id(order.id), "rectifications") is None:
                yield _of_rectification(order, own, today)
    if may(Act.SUPERVISE_SHARING, Matter(region=officer.region)):
        region = region_prefix(officer.region)
        for case in store.cases_waiting_for(Party.COMPETENT, None, MAX_DUTIES, region=region):
            yield _of_case(services, case, Party.COMPETENT, today)
        for case in store.overdue_cases(today, MAX_DUTIES, region=region):
            for party in owing(PROCESSES[case.process], case):
                yield _of_case(services, case, party, today)


def _of_case(services: ControlServices, case: Case, party: Party, today: date) -> Duty:
    state = PROCESSES[case.process].state(case.state)
    clock = clocks_of(services, services.store, case).get(case.clock) if case.clock else None
    due = case.due
    return Duty(
        case.process,
        case.id,
        case.state,
        party.value,
        state.duty,
        state.duty_zh,
        clock.article if clock is not None else "",
        case.demand,
        case.supplier,
        case.dataset,
        due.on if due is not None else None,
        due is not None and due.provisional,
        (due.on - today).days if due is not None else None,
    )


def _of_disposal(disposal: Disposal, today: date) -> Duty:
    return Duty(
        "grants",
        disposal.grant,
        "ended",
        Party.DEMAND.value,
        "dispose of what was drawn, and record it",
        "妥善处置所获取的数据，并予以记录",
        "Decree 809 Art. 27 ¶1",
        disposal.department,
        disposal.supplier,
        None,
        disposal.due_on,
        disposal.provisional,
        (disposal.due_on - today).days,
    )


def _of_rectification(order: Order, department: str, today: date) -> Duty:
    assert order.rectify_by is not None
    return Duty(
        "orders",
        order.id,
        "in force",
        Party.DEMAND.value,
        "rectify, and show that it is done",
        "限期整改，并提交整改情况",
        "Decree 809 Art. 27 ¶2",
        department,
        order.supplier,
        None,
        order.rectify_by,
        provisional=False,
        days_left=(order.rectify_by - today).days,
    )
