"""/v1/certificates: what suppliers' interfaces are called with; uploaded, checked, named, and a department's own."""

from hashlib import sha256
from typing import Annotated, Any

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
from gateway.control.act.bodies import Body, Slug, Statement, describes, model_of
from gateway.control.act.examples import CERTIFICATES
from gateway.control.act.paging import page_response
from gateway.control.act.scopes import require_departments
from gateway.domain.certificates import CertificateUse, StoredCertificates
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act
from gateway.domain.uses import RecordKind
from gateway.identity.keys.supplier_certificates import MAX_PEM_BYTES, read_certificates

router = APIRouter(prefix="/v1/certificates", tags=["certificates"])

SupplierPath = Annotated[Slug, Path(description="the department whose they are")]
NamePath = Annotated[Slug, Path(description="what they are called")]


class CertificatesBody(Body):
    """Certificates of a supply department, as PEM."""

    supplier: Slug
    name: Slug
    use: Annotated[CertificateUse, Field(strict=False, description="what they are for")]
    pem: Annotated[
        str,
        Field(
            max_length=MAX_PEM_BYTES,
            description="authorities; or a client certificate, its chain, and its private key, which is sealed",
        ),
    ]


class CertificatesWithdrawalBody(Body):
    """Why certificates are withdrawn."""

    reason: Statement


@router.get("", summary="Certificates of the departments whose interfaces you may manage")
def list_certificates(
    services: Services,
    officer: SignedIn,
    supplier: Annotated[Slug | None, Query(description="supply department")] = None,
) -> Response:
    """Names, subjects, fingerprints and when they end; private keys never leave."""
    require_departments(services.store, supplier=supplier)
    shown = [
        shown_certificates(each)
        for each in services.store.all_certificates(supplier)
        if is_permitted(services, officer, Act.MANAGE_INTERFACES, matter_between(services.store, each.supplier, None))
    ]
    return page_response(shown, None)


@router.post(
    "",
    summary="Store certificates under a name, or others in place of them",
    status_code=201,
    openapi_extra=describes(CertificatesBody, CERTIFICATES),
)
def put_certificates(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[CertificatesBody, Depends(model_of(CertificatesBody))],
    key: IdempotencyKey = None,
) -> Response:
    """Certificates are parsed whole and written anew; interfaces of the department name them."""
    require_permit(services, officer, Act.MANAGE_INTERFACES, matter_between(services.store, body.supplier, None))
    found = read_certificates(
        body.supplier, body.name, body.use, body.pem.encode(), seal=services.seal, now_unix=services.now()
    )

    def work(deed: Deed) -> Answer:
        deed.permit(Act.MANAGE_INTERFACES, deed.between(body.supplier, None))
        deed.tx.put_certificates(found)
        deed.record(RecordKind.DIRECTORY, step="certificates stored", **_told(found))
        return Answer({"certificates": shown_certificates(found)}, 201)

    # The digest that a key is bound to is kept; of a private key there is only that.
    asked = [body.supplier, body.name, body.use, sha256(body.pem.encode()).hexdigest()]
    return perform(services, request, officer, key, asked, work)


@router.post(
    "/{supplier}/{name}/withdrawal",
    summary="Withdraw certificates",
    openapi_extra=describes(CertificatesWithdrawalBody, {"reason": "the key was replaced, 公科〔2026〕3号"}),
)
def withdraw_certificates(
    request: Request,
    services: Services,
    officer: SignedIn,
    supplier: SupplierPath,
    name: NamePath,
    body: Annotated[CertificatesWithdrawalBody, Depends(model_of(CertificatesWithdrawalBody))],
    key: IdempotencyKey = None,
) -> Response:
    """From the return of this call on no interface is called with them; those that name them are told."""

    def work(deed: Deed) -> Answer:
        deed.permit(Act.MANAGE_INTERFACES, deed.between(supplier, None))
        found = deed.tx.certificates(supplier, name)
        if found is None:
            raise GatewayError("not-found", f"`{supplier}` has no certificates `{name}`")
        naming = [one.key for one in deed.tx.interfaces_naming(found)]
        deed.tx.remove_certificates(found)
        deed.record(RecordKind.DIRECTORY, step="certificates withdrawn", reason=body.reason, **_told(found))
        return Answer({"certificates": shown_certificates(found), "interfaces": naming})

    return perform(services, request, officer, key, body.model_dump(), work)


def shown_certificates(found: StoredCertificates) -> dict[str, Any]:
    """What anyone is shown of stored certificates: all but the private key, sealed as it is."""
    return {
        "supplier": found.supplier,
        "name": found.name,
        "use": found.use.value,
        "subjects": found.subjects,
        "fingerprints": found.fingerprints,
        "not_after_unix": found.not_after_unix,
        "chain": found.chain,
    }


def _told(found: StoredCertificates) -> dict[str, Any]:
    """What a record says of certificates: no key, and no name of a person that a subject may hold."""
    return {
        "supplier": found.supplier,
        "certificates": found.name,
        "use": found.use.value,
        "fingerprints": list(found.fingerprints),
    }
