"""What the steps of a verification do besides: what is doubted was drawn by who doubts it (Decree 809 Art. 26)."""

from typing import Any

from gateway.control.act.acting import Deed, matter_between
from gateway.control.act.problems import invalid
from gateway.control.processes.steps import Done, Effects
from gateway.domain.free_text import require_no_identity_number
from gateway.domain.officers import Matter
from gateway.domain.processes.cases import Case
from gateway.domain.processes.verifications import Doubt, Outcome
from gateway.domain.texts import Phrase
from gateway.store import StoreTransaction


def _opens(tx: StoreTransaction, said: Doubt, department: str) -> Matter:
    entry = tx.dataset(said.dataset)
    return matter_between(tx, entry.supplier if entry else None, department, said.dataset)


def _request(deed: Deed, _case: Case, said: Doubt) -> Done:
    entry = deed.tx.dataset(said.dataset)
    if entry is None:
        raise invalid([{"field": "dataset", "fault": f"`{said.dataset}` is not a released dataset"}])
    require_no_identity_number(said.record, "record")
    faults = [
        {"field": "items", "fault": f"dataset `{entry.id}` has no item `{item}`"}
        for item in sorted(set(said.items) - entry.item_names)
    ]
    if faults:
        raise invalid(faults)
    fields = {"supplier": entry.supplier, "demand": deed.officer.department, "dataset": entry.id}
    told: dict[str, Any] = {"items": list(said.items), "use": said.record}
    return Done(fields, kept=("items", "record"), told=told)


def _answer(_deed: Deed, _case: Case, said: Outcome) -> Done:
    return Done(kept=("outcome",), told={"outcome": Phrase(said.outcome.value)})


EFFECTS = Effects(_opens, {"request": _request, "answer": _answer})
"""Of `gateway.domain.processes.verifications`."""
