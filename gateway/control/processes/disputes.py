"""What the steps of a dispute do besides: the hold on the grant's records (Decree 809 Art. 28)."""

from typing import Any

from gateway.control.act.acting import Deed, matter_of_grant
from gateway.control.processes.plain import with_reasons
from gateway.control.processes.steps import Done, Effects
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Matter
from gateway.domain.processes.cases import Case
from gateway.domain.processes.disputes import DISPUTES, Agreement, Contention
from gateway.domain.processes.statements import Reasons
from gateway.store import StoreTransaction


def _opens(tx: StoreTransaction, said: Contention, _department: str) -> Matter | None:
    grant = tx.grant(said.grant)
    return None if grant is None else matter_of_grant(tx, grant)


def _open(deed: Deed, _case: Case, said: Contention) -> Done:
    grant = deed.tx.grant(said.grant)
    assert grant is not None, "what is opened about a grant has it"
    standing = deed.tx.open_cases_of(grant.id, DISPUTES.name)
    if standing:
        raise GatewayError("conflict", f"grant `{grant.id}` is disputed in `{standing[0].id}`: go on there")
    deed.tx.set_disputed(grant.id, disputed=True)
    supplier = matter_of_grant(deed.tx, grant).supplier
    fields = {"supplier": supplier, "demand": grant.department, "dataset": grant.dataset, "grant": grant.id}
    return Done(fields, {"opened_for": _side(deed, supplier)}, kept=("reason",), told={"reason": said.reason})


def _side(deed: Deed, supplier: str | None) -> str:
    """Which side an officer speaks for, in a dispute of which the officer's department is one."""
    return "supplier" if deed.officer.department == supplier else "demand"


def _offer(deed: Deed, case: Case, said: Agreement) -> Done:
    return Done(facts={"offered_by": _side(deed, case.supplier)}, told={"outcome": said.outcome})


def _agree(deed: Deed, case: Case, said: Reasons) -> Done:
    if case.facts["offered_by"] == _side(deed, case.supplier):
        raise GatewayError("conflict", "the other side agrees to what your side has offered", state=case.state)
    return _ended(deed, case, told={"reasons": said.reasons})


def _withdraw(deed: Deed, case: Case, said: Reasons) -> Done:
    if case.facts["opened_for"] != _side(deed, case.supplier):
        raise GatewayError("conflict", "who opened a dispute withdraws it: the other side", state=case.state)
    return _ended(deed, case, told={"reasons": said.reasons})


def _settle(deed: Deed, case: Case, said: Agreement) -> Done:
    return _ended(deed, case, told={"outcome": said.outcome})


def _ended(deed: Deed, case: Case, told: dict[str, Any]) -> Done:
    deed.tx.set_disputed(case.grant or "", disputed=False)
    return Done(told=told)


EFFECTS = Effects(
    _opens,
    {
        "open": _open,
        "offer": _offer,
        "agree": _agree,
        "apply": with_reasons,
        "settle": _settle,
        "refer": with_reasons,
        "decide": _settle,
        "withdraw": _withdraw,
    },
    absent=lambda said: f"there is no grant `{said.grant}`",
)
"""Of `gateway.domain.processes.disputes`."""
