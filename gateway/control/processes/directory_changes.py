"""What the steps of a change of the directory do besides: the version that is examined (Decree 809 Art. 16, 17)."""

from typing import Any

from gateway.control.act.acting import Deed, matter_between
from gateway.control.act.problems import invalid
from gateway.control.directory.importing import require_said
from gateway.control.processes.plain import request_extension, with_reasons
from gateway.control.processes.steps import Done, Effects
from gateway.domain.directory import Dataset, EntryState
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Matter
from gateway.domain.processes.cases import Case
from gateway.domain.processes.directory_changes import DirectoryChange, Release, Submission
from gateway.domain.processes.statements import ExtensionApproval, Reasons
from gateway.domain.uses import RecordKind
from gateway.store import StoreTransaction


def _opens(tx: StoreTransaction, said: DirectoryChange, department: str) -> Matter:
    return matter_between(tx, _whose(tx, said, department), None, said.dataset or None)


def _whose(tx: StoreTransaction, said: DirectoryChange, department: str) -> str:
    """Whose directory is to be changed: an entry says that itself."""
    owner = tx.entry_owner(said.dataset) if said.dataset else None
    return owner or said.supplier or department


def _announce(deed: Deed, _case: Case, said: DirectoryChange) -> Done:
    supplier = _whose(deed.tx, said, deed.officer.department)
    faults = []
    if said.occurred_on > deed.today:
        faults.append({"field": "occurred_on", "fault": "lies in the future"})
    if said.dataset and deed.tx.entry_owner(said.dataset) is None:
        faults.append({"field": "dataset", "fault": f"there is no entry `{said.dataset}`"})
    if said.supplier not in ("", supplier):
        faults.append({"field": "supplier", "fault": f"the entry is of `{supplier}`"})
    if faults:
        raise invalid(faults)
    fields = {"supplier": supplier, "dataset": said.dataset or None}
    told = {"cause": said.cause.value, "occurred_on": said.occurred_on.isoformat()}
    return Done(fields, kept=("cause", "occurred_on"), on=said.occurred_on, told=told)


def _submit(deed: Deed, case: Case, said: Submission) -> Done:
    if case.dataset is not None and case.dataset != said.dataset:
        raise invalid([{"field": "dataset", "fault": f"this change is of `{case.dataset}`"}])
    entry = _version(deed, said.dataset, said.entry_version)
    if entry is None or entry.supplier != case.supplier or entry.state is not EntryState.SUBMITTED:
        fault = f"`{said.dataset}` has no such version to be examined: submit it first"
        raise invalid([{"field": "entry_version", "fault": fault}])
    return Done({"dataset": said.dataset}, kept=("entry_version",), told={"version": said.entry_version})


def _version(deed: Deed, dataset: str, version: int) -> Dataset | None:
    return next((each for each in deed.tx.dataset_versions(dataset) if each.version == version), None)


def _examined(deed: Deed, case: Case) -> Dataset:
    entry = _version(deed, case.dataset or "", case.facts["entry_version"])
    assert entry is not None, "what is examined was submitted"
    return entry


def _release(deed: Deed, case: Case, said: Release) -> Done:
    entry = _examined(deed, case)
    shown: dict[str, Any] = {"dataset": entry}
    revived: list[str] = []
    if entry.state is EntryState.SUBMITTED:
        revived = require_said(deed.tx, [entry], said=said.revives)
        shown = {"dataset": deed.tx.release_dataset(entry.id, entry.version, on=deed.today)}
    elif entry.state is EntryState.REJECTED:
        raise GatewayError("conflict", f"version {entry.version} was rejected", state=case.state)
    told = {"version": entry.version, "reasons": said.reasons, "revives": revived}
    return Done(kept=(), told=told, kind=RecordKind.DIRECTORY, shown=shown)


def _reject(deed: Deed, case: Case, said: Reasons) -> Done:
    entry = _examined(deed, case)
    if entry.state is EntryState.SUBMITTED:
        entry = deed.tx.reject_dataset(entry.id, entry.version)
    elif entry.state is not EntryState.REJECTED:
        raise GatewayError("conflict", f"version {entry.version} is {entry.state.value}", state=case.state)
    told = {"version": entry.version, "reasons": said.reasons}
    return Done(kept=(), told=told, kind=RecordKind.DIRECTORY, shown={"dataset": entry})


def _approve_extension(_deed: Deed, _case: Case, said: ExtensionApproval) -> Done:
    return Done(kept=("reference",), told={"reference": said.reference})


EFFECTS = Effects(
    _opens,
    {
        "announce": _announce,
        "request-extension": request_extension,
        "approve-extension": _approve_extension,
        "deny-extension": with_reasons,
        "submit": _submit,
        "release": _release,
        "reject": _reject,
        "urge": with_reasons,
        "withdraw": with_reasons,
    },
)
"""Of `gateway.domain.processes.directory_changes`."""
