"""What the steps of an application do besides: the proposal that is approved, and the grant that it becomes.

INVARIANT: ACTS-NOT-FIELDS — an application becomes a grant by the approvals of both sides on one digest, through the
checks of every proposal; its other steps cannot make one.
"""

import re
from typing import Any

import msgspec

from gateway.control.act.acting import Deed, china_day, matter_between
from gateway.control.act.problems import invalid
from gateway.control.grants.proposals import faults_of_proposed, issue_proposed, matter_of
from gateway.control.grants.routes import valid_days
from gateway.control.processes.plain import request_extension, with_reasons
from gateway.control.processes.steps import Done, Effects, State, matter_of_case
from gateway.domain.conditions import narrows
from gateway.domain.directory import Dataset
from gateway.domain.errors import TAKEN, GatewayError
from gateway.domain.grants import Approval, Grant
from gateway.domain.officers import Matter
from gateway.domain.processes.applications import (
    APPLICATIONS,
    Draft,
    Missing,
    Narrowing,
    Sharing,
)
from gateway.domain.processes.cases import Case
from gateway.domain.processes.statements import DigestApproval, Reasons
from gateway.domain.proposals import Proposal, ProposalState
from gateway.domain.uses import RecordKind
from gateway.store import StoreTransaction

_PARTS = re.compile(r"[;；\n]+")


def conditions_of(entry: Dataset) -> tuple[str, ...]:
    """The conditions of an entry, one by one: they stand apart by semicolons or lines (Decree 809 Art. 13, 15)."""
    return tuple(part.strip() for part in _PARTS.split(entry.conditions) if part.strip())


def _opens(tx: StoreTransaction, said: Draft, _department: str) -> Matter:
    entry = tx.dataset(said.grant.dataset)
    found = matter_between(tx, entry.supplier if entry else None, said.grant.department, said.grant.dataset)
    return msgspec.structs.replace(found, valid_days=valid_days(said.grant))


def _matter(state: State, case: Case) -> Matter:
    proposal = state.proposal(case.grant or "")
    # The grant's id may be applied for again once this has ended.
    is_own = proposal is not None and proposal.application == case.id
    return matter_of(state, proposal) if proposal is not None and is_own else matter_of_case(state, case)


def _as_narrowed(matter: Matter, said: Narrowing | None) -> Matter:
    """The supplier approves for as long as it says and not for as long as is applied for: what is too long is cut."""
    return msgspec.structs.replace(matter, valid_days=None if said is None else valid_days(said.grant))


def _draft(deed: Deed, case: Case, said: Draft) -> Done:
    before = deed.tx.proposal(said.grant.id)
    faults: list[dict[str, Any]] = []
    if case.grant is not None and case.grant != said.grant.id:
        faults.append({"field": "grant.id", "fault": f"an application stays that of `{case.grant}`"})
    elif before is not None and before.grant.department != said.grant.department:
        faults.append({"field": "grant.id", "fault": TAKEN})
    elif before is not None and before.is_open and before.application != case.id:
        where = f"in application `{before.application}`" if before.application else "as a proposal by itself"
        raise GatewayError("conflict", f"`{said.grant.id}` is applied for already, {where}")
    if case.dataset is not None and case.dataset != said.grant.dataset:
        faults.append({"field": "grant.dataset", "fault": "an application keeps its entry: draft another one"})
    if case.demand is not None and case.demand != said.grant.department:
        faults.append({"field": "grant.department", "fault": "an application keeps its department"})
    faults += [{**each, "field": _within(each["field"])} for each in faults_of_proposed(deed, said.grant)]
    entry = deed.tx.dataset(said.grant.dataset)
    if entry is not None:
        faults += _unanswered(entry, said.answers)
    if faults or entry is None:
        raise invalid(faults)
    proposal = Proposal(said.grant.id, said.grant, entry.supplier, deed.officer.id, deed.now, application=case.id)
    deed.tx.put_proposal(proposal)
    fields = {
        "supplier": entry.supplier,
        "demand": said.grant.department,
        "dataset": entry.id,
        "grant": said.grant.id,
    }
    facts = {"attribute": entry.sharing_attribute.value, "digest": proposal.digest}
    return Done(
        fields,
        facts,
        kept=("answers",),
        told={"items": list(said.grant.items), "purposes": list(said.grant.purposes), "digest": proposal.digest},
        shown={"digest": proposal.digest},
    )


def _within(field: str | None) -> str | None:
    return None if field is None else f"grant.{field}"


def _unanswered(entry: Dataset, answers: tuple[str, ...]) -> list[dict[str, Any]]:
    """Each condition of the entry that has no answer, or an answer that has no condition."""
    conditions = conditions_of(entry)
    found = [
        {"field": f"answers.{number}", "fault": f"is missing: how is this condition met: {condition}"}
        for number, condition in enumerate(conditions)
        if number >= len(answers) or not answers[number].strip()
    ]
    if len(answers) > len(conditions):
        found.append({"field": "answers", "fault": f"are {len(answers)} to {len(conditions)} conditions"})
    return found


def _proposal(deed: Deed, case: Case, digest: str | None, *states: ProposalState) -> Proposal:
    """The proposal of a case; what a person has read is what they act on."""
    proposal = deed.tx.proposal(case.grant or "")
    assert proposal is not None, "an application has its proposal"
    proposal.require(proposal.digest if digest is None else digest, *states)
    return proposal


def _approval(deed: Deed, said: DigestApproval | Narrowing, digest: str) -> Approval:
    return Approval(deed.officer.id, deed.now, said.reference, digest)


def _submit(deed: Deed, case: Case, said: DigestApproval) -> Done:
    states = (ProposalState.PROPOSED, ProposalState.APPROVED)
    proposal = _proposal(deed, case, said.digest, *states)
    approved = msgspec.structs.replace(
        proposal, demand_approval=_approval(deed, said, proposal.digest), state=ProposalState.APPROVED
    )
    deed.tx.put_proposal(approved)
    return Done(kept=(), told={"digest": proposal.digest})


def _ask(_deed: Deed, _case: Case, said: Missing) -> Done:
    return Done(told={"missing": len(said.missing)})


def _issue(deed: Deed, proposal: Proposal) -> Done:
    grant, told = issue_proposed(deed, proposal)
    return Done(
        kept=(),
        facts={"granted_version": grant.version, "digest": proposal.digest},
        told=told,
        kind=RecordKind.GRANT,
        shown={"grant": grant},
    )


def _approve(deed: Deed, case: Case, said: DigestApproval) -> Done:
    proposal = _proposal(deed, case, said.digest, ProposalState.APPROVED)
    approval = _approval(deed, said, proposal.digest)
    return _issue(deed, msgspec.structs.replace(proposal, supply_approval=approval))


def _narrow(deed: Deed, case: Case, said: Narrowing) -> Done:
    proposal = deed.tx.proposal(case.grant or "")
    assert proposal is not None, "an application has its proposal"
    applied = _applied_for(deed, case)
    faults: list[dict[str, Any]] = [
        {"field": f"grant.{name}", "fault": "is not what is applied for"}
        for name in ("id", "department", "dataset", "legal_basis", "scenario", "return_flow")
        if getattr(said.grant, name) != getattr(applied, name)
    ]
    if not faults and not _is_less(said.grant, applied):
        faults.append({"field": "grant", "fault": "is to be narrower than what is applied for, and wider in nothing"})
    faults += [{**each, "field": _within(each["field"])} for each in faults_of_proposed(deed, said.grant)]
    if faults:
        raise invalid(faults)
    narrowed = msgspec.structs.replace(proposal, grant=said.grant, state=ProposalState.PROPOSED)
    # The demand side's approval stays known until another takes its place: it was given on what was applied for.
    narrowed = msgspec.structs.replace(narrowed, supply_approval=_approval(deed, said, narrowed.digest))
    deed.tx.put_proposal(narrowed)
    return Done(
        kept=("reasons",),
        facts={"digest": narrowed.digest},
        told={"items": list(said.grant.items), "reasons": said.reasons, "digest": narrowed.digest},
        shown={"digest": narrowed.digest},
    )


def _applied_for(deed: Deed, case: Case) -> Grant:
    """What was applied for, as it was stated last."""
    stated = [each.said["grant"] for each in deed.tx.case_events(case.id) if each.step in ("draft", "amend")]
    return msgspec.convert(stated[-1], Grant)


def _is_less(new: Grant, old: Grant) -> bool:
    """Whether one grant permits less than another, and nothing that the other does not."""
    return narrows(old, new) and not narrows(new, old)


def _accept(deed: Deed, case: Case, said: DigestApproval) -> Done:
    proposal = _proposal(deed, case, said.digest, ProposalState.PROPOSED)
    approval = _approval(deed, said, proposal.digest)
    return _issue(deed, msgspec.structs.replace(proposal, demand_approval=approval))


def _end(state: ProposalState) -> Any:
    def end(deed: Deed, case: Case, said: Reasons) -> Done:
        proposal = _proposal(deed, case, None, ProposalState.PROPOSED, ProposalState.APPROVED)
        deed.tx.put_proposal(msgspec.structs.replace(proposal, state=state, reasons=said.reasons))
        return Done(told={"reasons": said.reasons})

    return end


def _share(deed: Deed, case: Case, said: Sharing) -> Done:
    approved = max(each.at for each in deed.tx.case_events(case.id) if each.after == "approved")
    faults = []
    if said.shared_on > deed.today:
        faults.append({"field": "shared_on", "fault": "lies in the future"})
    if said.shared_on < china_day(approved):
        faults.append({"field": "shared_on", "fault": "lies before the approval"})
    if faults:
        raise invalid(faults)
    return Done(kept=("shared_on",), on=said.shared_on, told={"shared_on": said.shared_on.isoformat()})


def _shows(state: State, case: Case) -> dict[str, Any]:
    proposal = state.proposal(case.grant or "")
    return {} if proposal is None or proposal.application != case.id else {"proposal": proposal}


EFFECTS = Effects(
    _opens,
    {
        "draft": _draft,
        "amend": _draft,
        "submit": _submit,
        "ask-materials": _ask,
        "complete": _submit,
        "request-extension": request_extension,
        "deny-extension": with_reasons,
        "approve": _approve,
        "narrow": _narrow,
        "accept": _accept,
        "decline": _end(ProposalState.WITHDRAWN),
        "refuse": _end(ProposalState.REFUSED),
        "withdraw": _end(ProposalState.WITHDRAWN),
        "share": _share,
        "urge": with_reasons,
        "approve-instead": _approve,
    },
    _matter,
    _shows,
    says={"narrow": _as_narrowed},
)
"""Of `gateway.domain.processes.applications`."""

assert set(EFFECTS.steps) <= {step.name for step in APPLICATIONS.steps}
