"""/v1/credentials: what suppliers are shown of who calls; given once, sealed, named, and a department's own."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import Field, SecretStr

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
from gateway.control.act.bodies import Body, Slug, Statement, describes, model_of
from gateway.control.act.examples import CREDENTIAL
from gateway.control.act.paging import page_response
from gateway.control.act.scopes import require_departments
from gateway.domain.credentials import MAX_OVERLAP_SECONDS, ClientAuth, CredentialKind, SupplierCredential
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import may_reach, parse_upstream
from gateway.domain.officers import Act
from gateway.domain.uses import RecordKind
from gateway.identity.suppliers.credentials import MAX_SECRET_BYTES, seal_credential

router = APIRouter(prefix="/v1/credentials", tags=["certificates"])

SupplierPath = Annotated[Slug, Path(description="the department whose services ask for it")]
NamePath = Annotated[Slug, Path(description="what it is called")]


class CredentialBody(Body):
    """A credential that a supply department's services ask for."""

    supplier: Slug
    name: Slug
    kind: Annotated[CredentialKind, Field(strict=False, description="how it is shown")]
    secret: SecretStr = Field(max_length=MAX_SECRET_BYTES, description="sealed; it is never shown again")
    field: str = Field("", max_length=64, description="the header field or parameter that holds it")
    prefix: str = Field("", max_length=33, description="what stands before it there, such as `APPCODE `")
    user: str = Field("", max_length=256, description="the user of `basic`, the `client_id` of `oauth`")
    token_url: str = Field("", max_length=1000, description="the token endpoint, on a host of the department's")
    scope: str = Field("", max_length=1024, description="what is asked of the token endpoint")
    client_auth: Annotated[ClientAuth, Field(strict=False, description="where the client shows itself there")] = (
        ClientAuth.HEADER
    )
    overlap_seconds: int = Field(
        0, ge=0, le=MAX_OVERLAP_SECONDS, description="how long the secret that it replaces is tried where it is refused"
    )


class CredentialWithdrawalBody(Body):
    """Why a credential is withdrawn."""

    reason: Statement


@router.get("", summary="Credentials for the departments whose interfaces you may manage")
def list_credentials(
    services: Services,
    officer: SignedIn,
    supplier: Annotated[Slug | None, Query(description="supply department")] = None,
) -> Response:
    """Names, kinds and users; secrets never leave."""
    require_departments(services.store, supplier=supplier)
    shown = [
        shown_credential(each)
        for each in services.store.supplier_credentials(supplier)
        if is_permitted(services, officer, Act.MANAGE_INTERFACES, matter_between(services.store, each.supplier, None))
    ]
    return page_response(shown, None)


@router.post(
    "",
    summary="Store a credential under a name, or another in place of it",
    status_code=201,
    openapi_extra=describes(CredentialBody, CREDENTIAL),
)
def put_credential(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[CredentialBody, Depends(model_of(CredentialBody))],
    key: IdempotencyKey = None,
) -> Response:
    """The secret is sealed; interfaces of the department name the credential, and show the new secret from now on."""
    require_permit(services, officer, Act.MANAGE_INTERFACES, matter_between(services.store, body.supplier, None))
    secret = body.secret.get_secret_value()
    told = body.model_dump(exclude={"secret", "overlap_seconds"})
    said = SupplierCredential(**told)

    def work(deed: Deed) -> Answer:
        deed.permit(Act.MANAGE_INTERFACES, deed.between(body.supplier, None))
        known = deed.tx.supplier_credential(body.supplier, body.name)
        found = seal_credential(
            said, secret, known, overlap_seconds=body.overlap_seconds, seal=services.seal, now_unix=services.now()
        )
        if found.token_url:
            # INVARIANT: HOST-OWNED.
            endpoint = parse_upstream(found.token_url)
            fault = may_reach(deed.tx.host(endpoint.host), found.supplier, endpoint)
            if fault is not None:
                listed = [{"field": "token_url", "fault": fault}]
                raise GatewayError("invalid-input", "the token endpoint may not be called", faults=listed)
        deed.tx.put_supplier_credential(found)
        deed.record(RecordKind.DIRECTORY, step="credential stored", **_told(found))
        return Answer({"credential": shown_credential(found)}, 201)

    # What a key of idempotency is bound to is kept: of the secret there is a mark alone.
    asked = [told, body.overlap_seconds, services.secret_mark(secret)]
    return perform(services, request, officer, key, asked, work)


@router.post(
    "/{supplier}/{name}/withdrawal",
    summary="Withdraw a credential",
    openapi_extra=describes(CredentialWithdrawalBody, {"reason": "the supplier has given another, 公科〔2026〕3号"}),
)
def withdraw_credential(
    request: Request,
    services: Services,
    officer: SignedIn,
    supplier: SupplierPath,
    name: NamePath,
    body: Annotated[CredentialWithdrawalBody, Depends(model_of(CredentialWithdrawalBody))],
    key: IdempotencyKey = None,
) -> Response:
    """From the return of this call on nobody is shown it; interfaces that name it are told, and not called."""

    def work(deed: Deed) -> Answer:
        deed.permit(Act.MANAGE_INTERFACES, deed.between(supplier, None))
        found = deed.tx.supplier_credential(supplier, name)
        if found is None:
            raise GatewayError("not-found", f"`{supplier}` has no credential `{name}`")
        naming = [one.key for one in deed.tx.interfaces_showing(found)]
        deed.tx.remove_supplier_credential(found)
        deed.record(RecordKind.DIRECTORY, step="credential withdrawn", reason=body.reason, **_told(found))
        return Answer({"credential": shown_credential(found), "interfaces": naming})

    return perform(services, request, officer, key, body.model_dump(), work)


def shown_credential(found: SupplierCredential) -> dict[str, Any]:
    """What anyone is shown of a stored credential: all but its secrets, sealed as they are."""
    return {
        "supplier": found.supplier,
        "name": found.name,
        "kind": found.kind.value,
        "field": found.field,
        "prefix": found.prefix,
        "user": found.user,
        "token_url": found.token_url,
        "scope": found.scope,
        "client_auth": found.client_auth.value,
        "stored_unix": found.stored_unix,
        "overlap_until_unix": found.before_until_unix,
    }


def _told(found: SupplierCredential) -> dict[str, Any]:
    """What a record says of a credential: no secret, and no user, which may be a person's name."""
    return {"supplier": found.supplier, "credential": found.name, "use": found.kind.value}
