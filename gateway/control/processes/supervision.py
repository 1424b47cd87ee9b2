"""What the steps of an incident, of an order to correct and of a return of data do besides: whom they are about.

Of an incident and of an order to correct the one side concerned acts, and the other has no say in it.
"""

from typing import Any

from gateway.control.act.acting import Deed, matter_between, matter_of_grant
from gateway.control.act.problems import invalid
from gateway.control.grants.orders import matter_of_reach
from gateway.control.processes.plain import again, require_to_come, said_alone, with_reasons
from gateway.control.processes.steps import Done, Effects, State, in_region_of, of_the_side
from gateway.domain.directory import Department, Level
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Matter
from gateway.domain.processes.cases import Case
from gateway.domain.processes.corrections import Correction, Escalation
from gateway.domain.processes.incidents import Conclusion, Incident
from gateway.domain.processes.returns import Promise, Returned, ReturnRequest
from gateway.store import StoreTransaction

# Incidents


def _sides(state: State, said: Incident) -> Matter | None:
    """The two sides of what an incident is about; None where that is nothing that there is."""
    if said.grant:
        grant = state.grant(said.grant)
        return None if grant is None else matter_of_grant(state, grant)
    if said.order:
        order = state.order(said.order)
        return None if order is None else matter_of_reach(state, order)
    entry = state.dataset(said.dataset) if said.dataset else None
    return None if entry is None else matter_between(state, entry.supplier, None, entry.id)


def _happened(tx: StoreTransaction, said: Incident, department: str) -> Matter:
    """The matter of the officer's own side alone, the supplier's or the demand department's."""
    found = _sides(tx, said)
    if found is not None and found.supplier == department:
        return matter_between(tx, department, None, found.dataset)
    return in_region_of(tx, matter_between(tx, None, department), department)


def _open_incident(deed: Deed, _case: Case, said: Incident) -> Done:
    own = deed.officer.department
    found = _sides(deed.tx, said)
    # An entry is anybody's to have drawn from; a grant or a stop concerns its two sides.
    if found is None or (not said.dataset and own not in (found.supplier, found.demand)):
        what = {"grant": said.grant, "order": said.order, "dataset": said.dataset}
        named = next((name for name, value in what.items() if value), None)
        fault = "name the grant, the order or the entry that it is about" if named is None else "is none of yours"
        raise invalid([{"field": named or "dataset", "fault": fault}])
    if said.order:
        order = deed.tx.order(said.order)
        if order is None or order.report_due is None:
            raise invalid([{"field": "order", "fault": "is no emergency stop: it owes no report"}])
    if said.due_on is not None:
        require_to_come(deed, said.due_on)
    fields = {
        "supplier": found.supplier,
        "demand": None if own == found.supplier else own,
        "dataset": found.dataset,
        "grant": said.grant or None,
        "at": own,
    }
    return Done(fields, kept=("order", "due_on"), told={"order": said.order})


def _report(deed: Deed, case: Case, said: Conclusion) -> Done:
    stop = case.facts.get("order")
    order = deed.tx.order(stop) if stop else None
    if order is not None and order.reported_at is None:
        deed.tx.report_order(order.id, deed.officer.id, deed.now, said.reference)
    return Done(kept=("reference",), told={"reference": said.reference, "order": stop or ""})


INCIDENTS = Effects(
    _happened,
    {
        "open": _open_incident,
        "update": said_alone,
        "contain": said_alone,
        "report": _report,
        "return": again,
        "close": with_reasons,
    },
    of_the_side,
)
"""Of `gateway.domain.processes.incidents`."""


# Orders to correct


def _ordered(tx: StoreTransaction, said: Correction, _department: str) -> Matter:
    if said.ground.is_suppliers:
        return matter_between(tx, said.department, None)
    return in_region_of(tx, matter_between(tx, None, said.department), said.department)


def _order(deed: Deed, _case: Case, said: Correction) -> Done:
    require_to_come(deed, said.due_on)
    side = "supplier" if said.ground.is_suppliers else "demand"
    told = {"ground": said.ground.article, "reference": said.reference, "due_on": said.due_on.isoformat()}
    return Done({side: said.department}, kept=("ground", "due_on", "reference"), told=told)


def _escalate(_deed: Deed, _case: Case, said: Escalation) -> Done:
    return Done(kept=("to", "reference"), told={"reasons": said.reasons, "reference": said.reference})


CORRECTIONS = Effects(
    _ordered,
    {
        "order": _order,
        "report": said_alone,
        "accept": with_reasons,
        "return": again,
        "urge": with_reasons,
        "escalate": _escalate,
        "withdraw": with_reasons,
    },
    of_the_side,
)
"""Of `gateway.domain.processes.corrections`."""


# Return of data

_LEVELS = tuple(Level)


def _asked_back(tx: StoreTransaction, said: ReturnRequest, department: str) -> Matter:
    return matter_between(tx, said.department, department, said.dataset or None)


def _request(deed: Deed, _case: Case, said: ReturnRequest) -> Done:
    above, own = deed.tx.department(said.department), deed.tx.department(deed.officer.department)
    assert own is not None, "an officer is of a department"
    if above is None or not _lies_above(above, own):
        fault = f"`{said.department}` is no department of a higher level: data flow back from one"
        raise invalid([{"field": "department", "fault": fault}])
    if said.dataset and deed.tx.entry_owner(said.dataset) != above.id:
        raise invalid([{"field": "dataset", "fault": f"is no entry of `{above.id}`"}])
    fields = {"supplier": above.id, "demand": own.id, "dataset": said.dataset or None}
    return Done(fields, kept=())


def _lies_above(above: Department, below: Department) -> bool:
    """Whether a department is of a higher level of government."""
    return _LEVELS.index(above.level) < _LEVELS.index(below.level)


def _promise(deed: Deed, _case: Case, said: Promise) -> Done:
    require_to_come(deed, said.due_on)
    return Done(kept=("due_on",))


def _return(deed: Deed, case: Case, said: Returned) -> Done:
    if said.returned_on > deed.today:
        raise invalid([{"field": "returned_on", "fault": "lies in the future"}])
    fields: dict[str, Any] = {}
    if said.grant:
        grant = deed.tx.grant(said.grant)
        about = matter_of_grant(deed.tx, grant) if grant is not None else Matter()
        if grant is None or (about.supplier, about.demand) != (case.supplier, case.demand):
            raise invalid([{"field": "grant", "fault": "is no grant of the two departments"}])
        if not grant.return_flow:
            raise GatewayError("conflict", f"`{grant.id}` is no grant of return flow", state=case.state)
        fields = {"grant": grant.id, "dataset": grant.dataset}
    return Done(
        fields,
        kept=("returned_on",),
        on=said.returned_on,
        told={"returned_on": said.returned_on.isoformat()},
    )


RETURNS = Effects(
    _asked_back,
    {
        "request": _request,
        "promise": _promise,
        "return": _return,
        "confirm": said_alone,
        "miss": with_reasons,
        "refuse": with_reasons,
        "urge": with_reasons,
        "withdraw": with_reasons,
    },
)
"""Of `gateway.domain.processes.returns`."""
