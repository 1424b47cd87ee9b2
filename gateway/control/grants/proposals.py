"""/v1/proposals: a grant is proposed and approved by the demand side, then approved by the supplier (Art. 20, 21).

Each approval is an act of a signed-in person on the digest of what is approved; the last one issues the grant.
"""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from gateway.control.act.acting import (
    Answer,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    is_permitted,
    matter_between,
    perform,
    shown_to,
)
from gateway.control.act.bodies import (
    Body,
    EntryId,
    Identifier,
    Slug,
    body_model,
    describes,
    model_of,
    parse,
    read_json,
)
from gateway.control.act.examples import PROPOSAL
from gateway.control.act.paging import json_response
from gateway.control.act.preconditions import entity_tag
from gateway.control.act.problems import invalid
from gateway.control.grants.checks import GrantChecks
from gateway.control.grants.routes import GrantBody, record_of, valid_days
from gateway.domain.errors import TAKEN, GatewayError
from gateway.domain.grants import Approval, Grant
from gateway.domain.lifecycle import require_step, step
from gateway.domain.officers import Act, Matter
from gateway.domain.proposals import NOBODY, Proposal, ProposalState
from gateway.domain.uses import RecordKind
from gateway.store import Store, StoreTransaction

router = APIRouter(prefix="/v1/proposals", tags=["proposals"])

ProposalBody = body_model(
    Grant,
    name="ProposalBody",
    without=frozenset({"version", "state", "disputed", "demand_approval", "supply_approval"}),
    forms={"id": Identifier, "department": Slug, "dataset": EntryId},
)
ProposalPath = Annotated[Identifier, Path(description="the id of the grant that it is to become, or to renew")]


class ApprovalBody(Body):
    """An approval: of just what was read."""

    digest: str = Field(pattern="^[0-9a-f]{64}$", description="of the proposal, as it was shown")
    reference: str = Field("", max_length=200, description="the number of the approval document, if there is one")


class RefusalBody(Body):
    """A supplier's refusal, or the demand side's withdrawal (Decree 809 Art. 21)."""

    reasons: str = Field(min_length=1, max_length=2000)


async def _proposed(request: Request) -> Grant:
    """The grant in a request's body; approvals are acts, and no fields of it."""
    raw = await read_json(request)
    try:
        document = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise GatewayError("malformed-request", "the body is no JSON object") from error
    given = [side for side in ("demand_approval", "supply_approval") if side in document]
    if given:
        raise invalid([{"field": side, "fault": "is an act of a signed-in person, and no field"} for side in given])
    blank = {"demand_approval": NOBODY, "supply_approval": NOBODY}
    return parse(GrantBody, Grant, msgspec.json.encode({**document, **blank}))


@router.get("", summary="Proposals of your department, on either side")
def list_proposals(services: Services, officer: SignedIn) -> Response:
    """Those that you may see."""
    found = [
        _told(each)
        for each in services.store.proposals_of(officer.department)
        if is_permitted(services, officer, Act.CONSULT_GRANTS, matter_of(services.store, each))
    ]
    return json_response({"items": found, "next": None})


@router.get("/{id}", summary="A proposal")
def show_proposal(services: Services, officer: SignedIn, id: ProposalPath) -> Response:  # noqa: A002
    """A proposal with its digest, which an approval names."""
    find: Callable[[Store], Proposal | None] = lambda store: store.proposal(id)  # noqa: E731
    found = shown_to(services, officer, Act.CONSULT_GRANTS, find, matter_of, f"there is no proposal `{id}`")
    return json_response(_told(found), headers={"ETag": entity_tag(found)})


@router.post("", summary="Propose a grant", status_code=201, openapi_extra=describes(ProposalBody, PROPOSAL))
async def propose(
    request: Request,
    services: Services,
    officer: SignedIn,
    grant: Annotated[Grant, Depends(_proposed)],
    key: IdempotencyKey = None,
) -> Response:
    """Propose a grant for the own department, or a next version of one; approvals of an earlier proposal fall.

    Every reason against it is named at once (Decree 809 Art. 21).
    """

    def work(deed: Deed) -> Answer:
        def matter(tx: StoreTransaction) -> Matter:
            entry = tx.dataset(grant.dataset)
            found = matter_between(tx, entry.supplier if entry else None, grant.department, grant.dataset)
            return msgspec.structs.replace(found, valid_days=valid_days(grant))

        deed.permit(Act.PROPOSE_GRANT, matter)
        before = deed.tx.proposal(grant.id)
        is_own = before is not None and before.grant.department == grant.department
        if before is not None and is_own and before.application and before.is_open:
            raise _applied_for(before)
        faults = faults_of_proposed(deed, grant)
        if faults:
            raise invalid(faults)
        entry = deed.tx.dataset(grant.dataset)
        assert entry is not None
        proposal = Proposal(grant.id, grant, entry.supplier, officer.id, deed.now)
        return _put(deed, proposal, "propose", 201)

    return await run_in_threadpool(perform, services, request, officer, key, grant, work)


@router.post("/{id}/demand-approval", summary="Approve on the demand side")
def approve_demand(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: ProposalPath,  # noqa: A002 - the domain's name
    body: Annotated[ApprovalBody, Depends(model_of(ApprovalBody))],
    key: IdempotencyKey = None,
) -> Response:
    """The demand side's approval, which comes first (Decree 809 Art. 20)."""

    def work(deed: Deed) -> Answer:
        proposal = _about(deed, id, Act.APPROVE_DEMAND)
        proposal.require(body.digest, ProposalState.PROPOSED)
        approval = Approval(officer.id, deed.now, body.reference, proposal.digest)
        state = ProposalState.APPROVED
        return _put(deed, msgspec.structs.replace(proposal, demand_approval=approval, state=state), "approve (demand)")

    return perform(services, request, officer, key, [id, body.model_dump()], work)


@router.post("/{id}/supply-approval", summary="Approve as the supplier, and issue the grant", status_code=201)
def approve_supply(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: ProposalPath,  # noqa: A002 - the domain's name
    body: Annotated[ApprovalBody, Depends(model_of(ApprovalBody))],
    key: IdempotencyKey = None,
) -> Response:
    """The supplier's approval, by another person, of what the demand side approved: the grant is issued (Art. 21)."""

    def work(deed: Deed) -> Answer:
        proposal = _about(deed, id, Act.APPROVE_SUPPLY)
        proposal.require(body.digest, ProposalState.APPROVED)
        approval = Approval(officer.id, deed.now, body.reference, proposal.digest)
        grant, told = issue_proposed(deed, msgspec.structs.replace(proposal, supply_approval=approval))
        deed.record(RecordKind.GRANT, **told)
        location = {"ETag": entity_tag(grant), "Location": f"/v1/grants/{grant.id}"}
        return Answer({"grant": grant}, 201, location)

    return perform(services, request, officer, key, [id, body.model_dump()], work)


@router.post("/{id}/refusal", summary="Refuse a proposal, or withdraw it")
def refuse(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: ProposalPath,  # noqa: A002 - the domain's name
    body: Annotated[RefusalBody, Depends(model_of(RefusalBody))],
    key: IdempotencyKey = None,
) -> Response:
    """The supplier refuses with reasons (Decree 809 Art. 21), or the demand side withdraws."""

    def work(deed: Deed) -> Answer:
        proposal = _about(deed, id, Act.REFUSE_GRANT, Act.PROPOSE_GRANT)
        proposal.require(proposal.digest, ProposalState.PROPOSED, ProposalState.APPROVED)
        act = deed.decided[-1][0]
        state = ProposalState.REFUSED if act is Act.REFUSE_GRANT else ProposalState.WITHDRAWN
        told = msgspec.structs.replace(proposal, state=state, reasons=body.reasons)
        return _put(deed, told, "refuse" if state is ProposalState.REFUSED else "withdraw")

    return perform(services, request, officer, key, [id, body.model_dump()], work)


def matter_of(state: Store | StoreTransaction, proposal: Proposal) -> Matter:
    """What an act on a proposal is about; an approval counts while who gave it is an officer of that side."""
    found = matter_between(state, proposal.supplier, proposal.grant.department, proposal.grant.dataset)
    return msgspec.structs.replace(
        found,
        valid_days=valid_days(proposal.grant),
        proposed_by=proposal.proposed_by,
        approved_by=_standing(state, proposal.demand_approval, proposal.grant.department),
        supplied_by=_standing(state, proposal.supply_approval, proposal.supplier),
    )


def _standing(state: Store | StoreTransaction, approval: Approval | None, department: str) -> str | None:
    """Who gave an approval, while that person is an officer of the department."""
    person = state.officer(approval.person) if approval is not None else None
    stands = person is not None and person.active and person.department == department
    return person.id if person is not None and stands else None


def issue_proposed(deed: Deed, proposal: Proposal) -> tuple[Grant, dict[str, Any]]:
    """Issue the grant, or its next version, that both sides approved; with what its record says.

    Raises:
        GatewayError: `invalid-input` with every fault that it has by now.
    """
    faults = faults_of_proposed(deed, proposal.grant)
    if faults:
        raise invalid(faults)
    grant, old = proposal.granted(), deed.tx.grant(proposal.id)
    if old is None:
        deed.tx.issue_grants([grant])
    else:
        grant = msgspec.structs.replace(grant, version=old.version + 1, disputed=old.disputed)
        deed.tx.insert_grant(grant)
    deed.tx.put_proposal(msgspec.structs.replace(proposal, state=ProposalState.ISSUED))
    row = step("issue" if old is None else "renew")
    told = {**record_of(grant, proposal.supplier), "step": row.name, "article": row.article}
    return grant, {**told, "digest": proposal.digest, "version": grant.version}


def _about(deed: Deed, id_: str, *acts: Act) -> Proposal:
    found = deed.about(
        lambda tx: tx.proposal(id_),
        lambda tx, found: [(act, matter_of(tx, found)) for act in acts],
        lambda tx, found: (Act.CONSULT_GRANTS, matter_of(tx, found)),
        f"there is no proposal `{id_}`",
    )
    if found.application:
        raise _applied_for(found)
    return found


def _applied_for(proposal: Proposal) -> GatewayError:
    where = f"proposal `{proposal.id}` belongs to application `{proposal.application}`: act there"
    return GatewayError("conflict", where, application=proposal.application)


def faults_of_proposed(deed: Deed, grant: Grant) -> list[dict[str, Any]]:
    """Every fault of what is proposed, but for its approvals."""
    checks = GrantChecks(deed.tx, deed.now)
    most = deed.services.engine.settled.longest_grant_days
    faults: list[dict[str, Any]] = []
    if valid_days(grant) > most:
        fault = f"is more than {most} days after `valid_from`, the longest that is approved here (Decree 809 Art. 20)"
        faults.append({"field": "valid_until", "fault": fault})
    old = deed.tx.grant(grant.id)
    if old is None or old.department != grant.department:
        # Another's grant is not renewed, and how it stands is not told.
        return faults + checks.new(grant, on_paper=False)
    require_step("renew", old)
    return faults + checks.renewal(old, grant, on_paper=False)


def _put(deed: Deed, proposal: Proposal, name: str, status: int = 200) -> Answer:
    before = deed.tx.proposal(proposal.id)
    if before is not None and before.grant.department != proposal.grant.department:
        raise invalid([{"field": "id", "fault": TAKEN}])
    deed.tx.put_proposal(proposal)
    told = {**record_of(proposal.grant, proposal.supplier), "step": name, "article": "Decree 809 Art. 20, 21"}
    deed.record(RecordKind.GRANT, **told, digest=proposal.digest, reasons=proposal.reasons)
    return Answer(_told(proposal), status, {"ETag": entity_tag(proposal)})


def _told(proposal: Proposal) -> dict[str, Any]:
    return {"proposal": proposal, "digest": proposal.digest}
