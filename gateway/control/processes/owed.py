"""What the steps of a rectification and of a disposal do besides: stop lifted, grant ended, destruction on record.

The same is done by the acts of a grant's life (`gateway.control.grants.life`), which move these cases too.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec

from gateway.control.act.acting import Deed, matter_of_grant
from gateway.control.act.problems import invalid
from gateway.control.grants.duties import last_drawn, rectification_id, rectification_of, require_destroyed_after
from gateway.control.grants.orders import matter_of_reach
from gateway.control.grants.stops import Ending, end_grant, lift_suspension, suspensions_of
from gateway.control.processes.plain import again, require_to_come, said_alone, with_reasons
from gateway.control.processes.steps import Done, Effects, State, matter_of_case
from gateway.domain.errors import GatewayError
from gateway.domain.grants import GrantState
from gateway.domain.lifecycle import require_step
from gateway.domain.officers import Matter
from gateway.domain.orders import Order, Reach
from gateway.domain.processes.cases import Case
from gateway.domain.processes.disposals import DISPOSALS as TABLE
from gateway.domain.processes.disposals import Destruction, Ended, Requirement
from gateway.domain.processes.rectifications import Failure, Notice
from gateway.domain.processes.statements import Again, Reasons
from gateway.domain.processes.table import Party
from gateway.domain.uses import RecordKind
from gateway.store import StoreTransaction

# Rectification


def _notified(tx: StoreTransaction, said: Notice, _department: str) -> Matter | None:
    order = tx.order(said.order)
    return None if order is None else matter_of_reach(tx, order)


def _notify(deed: Deed, _case: Case, said: Notice) -> Done:
    order = deed.tx.order(said.order)
    if order is None or not order.is_in_force or order.rectify_by is None:
        fault = f"`{said.order}` is no suspension in force that sets a time for rectification"
        raise invalid([{"field": "order", "fault": fault}])
    standing = rectification_of(deed.tx, order.id)
    if standing is not None:
        raise GatewayError("conflict", f"rectification under `{order.id}` is `{standing.id}`: go on there")
    matter = matter_of_reach(deed.tx, order)
    if matter.demand is None:
        raise invalid([{"field": "order", "fault": "stops no demand department: nobody is to rectify"}])
    is_own = deed.officer.department == matter.supplier
    fields: Mapping[str, Any] = {
        "id": rectification_id(order.id),
        "supplier": matter.supplier,
        "demand": matter.demand,
        "dataset": matter.dataset,
        "grant": order.target if order.reach is Reach.GRANT else None,
    }
    facts = {
        "ordering": (Party.SUPPLIER if is_own else Party.COMPETENT).value,
        "due_on": order.rectify_by.isoformat(),
    }
    return Done(fields, facts, told={"order": order.id})


def _order(state: State, case: Case) -> Order:
    order = state.order(case.facts["order"])
    assert order is not None, "a rectification has its order"
    return order


def _rectified(state: State, case: Case) -> Matter:
    """What the order is about, with whose officer ordered it: so the policies on lifting decide."""
    order = _order(state, case)
    ordering = state.officer(order.ordered_by)
    matter = matter_of_reach(state, order)
    return msgspec.structs.replace(matter, ordered_by=None if ordering is None else ordering.department)


def _accept(deed: Deed, case: Case, said: Reasons) -> Done:
    order = _order(deed.tx, case)
    if not order.is_in_force:
        raise GatewayError("conflict", f"order `{order.id}` is lifted already")
    told = {"order": order.id, "reasons": said.reasons}
    if order.reach is not Reach.GRANT:
        lifted = deed.tx.lift_order(order.id, deed.officer.id, deed.now, said.reasons)
        return Done(kept=(), told=told, kind=RecordKind.ORDER, shown={"order": lifted})
    grant = deed.tx.grant(order.target)
    assert grant is not None, "an order on a grant has it"
    lifted, new = lift_suspension(deed, order, grant, suspensions_of(deed.services, grant.id), said.reasons)
    return Done(kept=(), told=told, kind=RecordKind.ORDER, shown={"order": lifted, "grant": new})


def _terminate(deed: Deed, case: Case, said: Failure) -> Done:
    order = _order(deed.tx, case)
    grant = deed.tx.grant(case.grant or "")
    if grant is None:
        raise GatewayError("conflict", f"order `{order.id}` stops more than one grant: order the end of that itself")
    require_step("terminate after a failed rectification", grant)
    if not said.refused and case.due is not None and case.due.on >= deed.today:
        fault = f"the time for rectification runs until {case.due.on}; say `refused` if it was refused"
        raise GatewayError("conflict", fault, state=case.state)
    about = matter_of_grant(deed.tx, grant)
    ended, new, duty = end_grant(deed, grant, about, Ending(said.rectification))
    told = {"order": ended.id, "rectification": said.rectification, "dispose_by": duty.due_on.isoformat()}
    shown = {"order": ended, "grant": new, "disposal": duty}
    return Done(kept=("refused",), told=told, kind=RecordKind.ORDER, shown=shown)


RECTIFICATIONS = Effects(
    _notified,
    {
        "notify": _notify,
        "prove": said_alone,
        "return": again,
        "accept": _accept,
        "urge": with_reasons,
        "terminate": _terminate,
    },
    _rectified,
    absent=lambda said: f"there is no order `{said.order}`",
)
"""Of `gateway.domain.processes.rectifications`."""


# Disposal


def _ended(tx: StoreTransaction, said: Ended, _department: str) -> Matter | None:
    grant = tx.grant(said.grant)
    return None if grant is None else matter_of_grant(tx, grant)


def _open(deed: Deed, _case: Case, said: Ended) -> Done:
    grant, duty = deed.tx.grant(said.grant), deed.tx.disposal(said.grant)
    if grant is None or duty is None or duty.destroyed_record is not None:
        raise invalid([{"field": "grant", "fault": f"nothing is to be disposed of under `{said.grant}`"}])
    for standing in deed.tx.open_cases_of(grant.id, TABLE.name):
        raise GatewayError("conflict", f"disposal under `{grant.id}` is `{standing.id}`: go on there")
    fields = {"supplier": duty.supplier, "demand": duty.department, "dataset": grant.dataset, "grant": grant.id}
    return Done(fields, {"due_on": duty.due_on.isoformat(), "provisional": duty.provisional}, kept=())


def _require(deed: Deed, case: Case, said: Requirement) -> Done:
    require_to_come(deed, said.due_on)
    _due_anew(deed, case, said.due_on)
    return Done(kept=("statement", "due_on"), facts={"provisional": False})


def _object(deed: Deed, case: Case, said: Again) -> Done:
    require_to_come(deed, said.due_on)
    _due_anew(deed, case, said.due_on)
    return Done(kept=("due_on",), facts={"provisional": False}, told={"reasons": said.reasons})


def _due_anew(deed: Deed, case: Case, day: date) -> None:
    duty = deed.tx.disposal(case.grant or "")
    assert duty is not None, "a disposal has its duty"
    deed.tx.open_disposal(
        msgspec.structs.replace(duty, due_on=day, provisional=False, destroyed_record=None, destroyed_on=None)
    )


def _report(deed: Deed, case: Case, said: Destruction) -> Done:
    require_destroyed_after(said.destroyed_on, deed.ahead, deed.today)
    grant = deed.tx.grant(case.grant or "")
    assert grant is not None, "a disposal has its grant"
    if grant.state is not GrantState.DISPOSED:
        require_step("dispose", grant)
        grant = deed.tx.set_grant_state(grant.id, grant.version, GrantState.DISPOSED)
    told = {
        "version": grant.version,
        "method": said.method,
        "destroyed_on": said.destroyed_on.isoformat(),
        "carried_out_by": said.carried_out_by,
    }
    return Done(
        kept=("destroyed_on",),
        told=told,
        kind=RecordKind.DESTRUCTION,
        shown={"grant": grant},
        then=lambda record: deed.tx.record_disposal(grant.id, record, said.destroyed_on),
    )


DISPOSALS = Effects(
    _ended,
    {
        "open": _open,
        "require": _require,
        "report": _report,
        "confirm": with_reasons,
        "object": _object,
        "urge": with_reasons,
    },
    matter_of_case,
    ahead={"report": last_drawn},
    absent=lambda said: f"there is no grant `{said.grant}`",
)
"""Of `gateway.domain.processes.disposals`."""
