"""/v1/hosts: whose the hosts are that interfaces lead to (INVARIANT: HOST-OWNED).

A department claims a host, its service proves that it knows, and another person, of the competent department,
confirms. What stands meanwhile goes on standing.
"""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import Field

from gateway.control.act.acting import (
    Answer,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    is_permitted,
    matter_between,
    perform,
    require_permit,
)
from gateway.control.act.bodies import Body, Slug, Statement, Text, describes, model_of
from gateway.control.act.examples import HOST
from gateway.control.act.paging import page_response
from gateway.control.act.problems import invalid
from gateway.control.act.scopes import require_departments
from gateway.control.act.services import ControlServices
from gateway.control.suppliers.checks import new_nonce
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import (
    CLAIM_SECONDS,
    STANDING,
    Host,
    HostState,
    conflicting,
    parse_host,
    parse_name,
    parse_prefix,
)
from gateway.domain.officers import Act, Officer
from gateway.domain.texts import Phrase
from gateway.domain.uses import RecordKind
from gateway.store import Store, StoreTransaction

router = APIRouter(prefix="/v1/hosts", tags=["hosts"])

HostId = Annotated[
    str, Path(max_length=300, pattern=r"^[a-z0-9.:\[\]-]+$", description="`address:port` as the list of hosts has it")
]
SupplierPath = Annotated[Slug, Path(description="the department that claimed it")]


class ClaimBody(Body):
    """A host that a department serves from."""

    supplier: Slug
    address: Annotated[str, Field(max_length=300, description="name or IP address, with `:port` where it needs one")]
    tls: Annotated[bool, Field(description="whether it speaks TLS")] = True
    certificate_name: Annotated[Text | None, Field(description="the name its certificate bears, if another")] = None
    authority: Annotated[Slug | None, Field(description="stored authority certificates that sign it")] = None
    shares: dict[str, Slug] = Field(default_factory=dict, description="path prefix -> department whose part that is")


class ProofBody(Body):
    """How the service shows that it knows: without a signature the nonce is fetched from it."""

    signature: Annotated[str | None, Field(max_length=4096, description="base64, by the certificate's key")] = None


class HostWithdrawalBody(Body):
    """Why a host is withdrawn."""

    reason: Statement


@router.get("", summary="Hosts of the departments whose interfaces you may manage")
def list_hosts(
    services: Services,
    officer: SignedIn,
    supplier: Annotated[Slug | None, Query(description="supply department")] = None,
) -> Response:
    """Claims on their way, and hosts that stand; of another department's hosts those that a part is shared of."""
    require_departments(services.store, supplier=supplier)
    shown = [
        host
        for host in services.store.hosts()
        if supplier in (None, host.supplier) and any(_may_manage(services, officer, each) for each in _seen_by(host))
    ]
    return page_response(shown, None)


@router.post("", summary="Claim a host", status_code=201, openapi_extra=describes(ClaimBody, HOST))
def claim_host(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[ClaimBody, Depends(model_of(ClaimBody))],
    key: IdempotencyKey = None,
) -> Response:
    """Look up where a host is, and give the nonce that its service shows at `proof_path`."""
    # Decided before the network is asked, and again within the transaction.
    require_permit(services, officer, Act.MANAGE_INTERFACES, matter_between(services.store, body.supplier, None))
    host = _claimed(services.store, body, officer)
    looked_up: list[str] = []

    def prepare() -> None:
        with services.hosts.bounds.asking(officer.department):
            looked_up.extend(services.hosts.addresses_of(host.address, host.port))

    def work(deed: Deed) -> Answer:
        deed.permit(Act.MANAGE_INTERFACES, deed.between(body.supplier, None))
        claimed = msgspec.structs.replace(
            host,
            addresses=tuple(looked_up),
            nonce=new_nonce(),
            claimed_unix=int(services.now()),
            in_networks=True,
        )
        made = deed.tx.put_host(claimed)
        deed.record(RecordKind.DIRECTORY, step="host claimed", concerning=_concerned(made), **_told(made))
        return Answer({"host": made, "proof_path": made.proof_path}, 201)

    return perform(services, request, officer, key, body.model_dump(), work, prepare=prepare)


@router.post(
    "/{supplier}/{id}/proof", summary="Prove a claim", openapi_extra=describes(ProofBody, {"signature": "MEUCIQDkT3…"})
)
def prove_host(
    request: Request,
    services: Services,
    officer: SignedIn,
    supplier: SupplierPath,
    id: HostId,  # noqa: A002 - the domain's name
    body: Annotated[ProofBody, Depends(model_of(ProofBody))],
    key: IdempotencyKey = None,
) -> Response:
    """Ask every address of the host for the nonce, or check the signature by the key of its certificate.

    What fails is on record too: who asked, and of which addresses. It takes as long and is told alike whatever failed,
    and is bounded: a department learns nothing of the network behind the gateway. The operator's log says why.
    """
    require_permit(services, officer, Act.MANAGE_INTERFACES, matter_between(services.store, supplier, None))
    claim = _a_claim(services.store, supplier, id)
    proof: list[str] = []

    def note_failure(failure: GatewayError) -> None:
        def note(deed: Deed) -> Answer:
            deed.permit(Act.MANAGE_INTERFACES, deed.between(supplier, None))
            deed.record(RecordKind.DIRECTORY, step="host not proved", reason=Phrase(failure.detail), **_told(claim))
            return Answer({})

        perform(services, request, officer, None, {}, note)

    def prepare() -> None:
        # Before anything is noted: what is asked too often leaves no records either.
        with services.hosts.bounds.asking(officer.department):
            try:
                _require_recent(claim, services)
                proof.append(services.hosts.prove(claim, body.signature))
            except GatewayError as error:
                note_failure(error)
                raise

    def work(deed: Deed) -> Answer:
        deed.permit(Act.MANAGE_INTERFACES, deed.between(supplier, None))
        if deed.tx.claim(supplier, id) != claim:
            raise GatewayError("conflict", f"the claim on host `{id}` was changed meanwhile")
        proved = deed.tx.put_host(msgspec.structs.replace(claim, state=HostState.PROVED, proof=proof[0]))
        told = _told(proved)
        deed.record(RecordKind.DIRECTORY, step="host proved", proof=proof[0], concerning=_concerned(proved), **told)
        return Answer({"host": proved})

    return perform(
        services,
        request,
        officer,
        key,
        body.model_dump(),
        work,
        prepare=prepare,
    )


@router.post("/{supplier}/{id}/confirmation", summary="Confirm a proved claim")
def confirm_host(
    request: Request,
    services: Services,
    officer: SignedIn,
    supplier: SupplierPath,
    id: HostId,  # noqa: A002 - the domain's name
    key: IdempotencyKey = None,
) -> Response:
    """From the return of this call on the host is the department's, and its interfaces may lead there."""

    def work(deed: Deed) -> Answer:
        deed.permit(Act.CONFIRM_HOST, deed.between(supplier, None))
        claim = _a_claim(deed.tx, supplier, id)
        if claim.state is not HostState.PROVED:
            raise GatewayError("conflict", f"the claim on host `{id}` is not proved yet")
        _require_recent(claim, services)
        if claim.claimed_by == officer.id:
            raise GatewayError("conflict", "a host is confirmed by another person than claimed it")
        # Asked again: an earlier version may have taken the claim, and the settings may have been narrowed.
        for address in claim.addresses:
            if (fault := services.hosts.networks.fault(address)) is not None:
                raise GatewayError("host-not-proved", fault)
        host = msgspec.structs.replace(
            claim, state=HostState.CONFIRMED, confirmed_by=officer.id, nonce="", in_networks=True
        )
        # Whose it was until now: its own earlier parts, and what others had only inherited.
        before = [deed.tx.host(host.id), *conflicting(host, deed.tx.hosts(standing=True))]
        deed.tx.put_host(host)
        deed.record(RecordKind.DIRECTORY, step="host confirmed", concerning=_concerned(host, *before), **_told(host))
        return Answer({"host": host})

    return perform(services, request, officer, key, {}, work)


@router.post(
    "/{supplier}/{id}/withdrawal",
    summary="Withdraw a host, and what is claimed of it",
    openapi_extra=describes(HostWithdrawalBody, {"reason": "the service has moved to another address"}),
)
def withdraw_host(
    request: Request,
    services: Services,
    officer: SignedIn,
    supplier: SupplierPath,
    id: HostId,  # noqa: A002 - the domain's name
    body: Annotated[HostWithdrawalBody, Depends(model_of(HostWithdrawalBody))],
    key: IdempotencyKey = None,
) -> Response:
    """From the return of this call on nothing reaches the host by this gateway."""

    def work(deed: Deed) -> Answer:
        deed.permit(Act.MANAGE_INTERFACES, deed.between(supplier, None))
        standing, claim = deed.tx.host(id), deed.tx.claim(supplier, id)
        if standing is not None and standing.supplier != supplier:
            standing = None
        found = standing or claim
        if found is None:
            raise GatewayError("not-found", f"there is no host `{id}` of `{supplier}`")
        if claim is not None:
            deed.tx.remove_claim(claim)
        if standing is not None:
            deed.tx.remove_host(standing)
        concerned = _concerned(standing, claim)
        deed.record(
            RecordKind.DIRECTORY, step="host withdrawn", reason=body.reason, concerning=concerned, **_told(found)
        )
        return Answer({"host": found})

    return perform(services, request, officer, key, body.model_dump(), work)


def _claimed(store: Store, body: ClaimBody, officer: Officer) -> Host:
    """The claim of a body, every fault named at once."""
    faults: list[dict[str, object]] = []

    def fault(field: str, error: ValueError) -> None:
        faults.append({"field": field, "fault": str(error)})

    address, port, certificate_name, shares = "", 0, None, {}
    try:
        address, port = parse_host(body.address, is_tls=body.tls)
    except ValueError as error:
        fault("address", error)
    try:
        certificate_name = parse_name(body.certificate_name) if body.certificate_name else None
    except ValueError as error:
        fault("certificate_name", error)
    for prefix, department in body.shares.items():
        try:
            shares[parse_prefix(prefix)] = department
        except ValueError as error:
            fault("shares", error)
        if store.department(department) is None:
            faults.append({"field": "shares", "fault": f"there is no department `{department}`"})
    if len({prefix.casefold() for prefix in shares}) < len(body.shares):
        faults.append({"field": "shares", "fault": "two prefixes mean the same path"})
    if body.authority is not None and store.certificates(body.supplier, body.authority) is None:
        faults.append({"field": "authority", "fault": f"`{body.supplier}` has no certificates `{body.authority}`"})
    if faults:
        raise invalid(faults)
    return Host(
        supplier=body.supplier,
        address=address,
        port=port,
        is_tls=body.tls,
        certificate_name=certificate_name,
        authority=body.authority,
        shares=shares,
        claimed_by=officer.id,
    )


def _a_claim(state: Store | StoreTransaction, supplier: str, id_: str) -> Host:
    claim = state.claim(supplier, id_)
    if claim is None:
        raise GatewayError("not-found", f"`{supplier}` has no claim on host `{id_}` that is on its way")
    return claim


def _require_recent(claim: Host, services: ControlServices) -> None:
    """Raises `host-not-proved` where a claim is too old, or its time is not known."""
    if claim.has_lapsed(services.now()):
        days = CLAIM_SECONDS // 86_400
        raise GatewayError(
            "host-not-proved", f"host `{claim.id}` was claimed more than {days} days ago: claim it again"
        )


def _may_manage(services: ControlServices, officer: Officer, supplier: str) -> bool:
    return is_permitted(services, officer, Act.MANAGE_INTERFACES, matter_between(services.store, supplier, None))


def _seen_by(host: Host) -> set[str]:
    """The departments whose officers see a host: a claim is its claimant's, what stands is theirs too that share it."""
    return {host.supplier, *(host.shares.values() if host.state in STANDING else ())}


def _concerned(*hosts: Host | None) -> list[str]:
    """The departments that an act on hosts is about, besides the one that claims: their records say so."""
    return sorted({each for host in hosts if host is not None for each in (host.supplier, *host.shares.values())})


def _told(host: Host) -> dict[str, Any]:
    """What a record says of a host."""
    shares = {"shares": sorted(set(host.shares.values()))} if host.shares else {}
    return {"supplier": host.supplier, "host": host.id, "addresses": host.addresses, **shares}
