"""/v1/systems and /v1/officers: who calls, and who acts. A demand department answers for its own (Art. 34, 35)."""

from datetime import date
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from gateway.control.act.acting import (
    Answer,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    is_permitted,
    matter_of_department,
    matter_of_person,
    perform,
    shown_to,
)
from gateway.control.act.bodies import Body, Name, Region, Slug, Statement, body_model, body_of, describes, model_of
from gateway.control.act.examples import SYSTEM
from gateway.control.act.pages import Pages, concerned_of
from gateway.control.act.paging import json_response
from gateway.control.act.preconditions import IfMatch, entity_tag, require_match
from gateway.control.act.problems import invalid
from gateway.control.act.scopes import require_departments, scope_of
from gateway.domain.directory import Certification, Department, System
from gateway.domain.errors import TAKEN, GatewayError
from gateway.domain.free_text import HINT, holds_identity_number
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.texts import Phrase
from gateway.domain.uses import RecordKind
from gateway.identity.keys.jwk import check_public_jwk, thumbprint
from gateway.identity.tokens.verify import is_thumbprint
from gateway.store import Store, StoreTransaction

router = APIRouter(prefix="/v1", tags=["systems and officers"])

MAX_KEYS = 8
"""Keys a system may have at once: one in use, one to come, and room for several machines."""

WRITTEN_BY_ACTS = frozenset({"active", "kept_by", "registered_unix", "certification"})
MAX_CERTIFIED_DAYS = 3_660
"""Ten years and a little: graded protection is assessed anew each year or two; what is longer is a slip of the pen."""
FIRST_CERTIFIED_DAY, LAST_CERTIFIED_DAY = date(1970, 1, 1), date(2999, 12, 31)
"""Days that policies can compare in seconds since 1970, the day after the last one too."""

SystemBody = body_model(System, without=WRITTEN_BY_ACTS, forms={"id": Name, "department": Slug})
OfficerBody = body_model(Officer, forms={"id": Name, "department": Slug, "region": Region})
SystemPath = Annotated[Name, Path(description="the system's id, which is its `client_id`")]


class KeyBody(Body):
    """A public key, a certificate's thumbprint, or both, to add to a system."""

    key: dict[str, Any] | None = None
    certificate: str | None = None


class SystemCertificationBody(Body):
    """That a system was certified: by which certificate or report, from which day to which, both included."""

    number: Statement
    since: date
    until: date


class RevocationBody(Body):
    """Why a system or one of its keys is revoked."""

    reason: Statement


@router.get("/systems", summary="Demand departments' systems")
def list_systems(
    services: Services,
    officer: SignedIn,
    department: Annotated[Slug | None, Query(description="demand department")] = None,
    *,
    pages: Pages,
) -> Response:
    """Systems of the departments the officer may look at, active and revoked."""
    scope = scope_of(services, officer, Act.CONSULT_GRANTS, None, department)
    concerned = concerned_of(services, officer, Act.CONSULT_GRANTS)
    return pages.of_visible(
        lambda cursor, limit: services.store.list_systems(
            cursor, limit, department=scope.department, concerned=concerned
        ),
        lambda each: is_permitted(services, officer, Act.CONSULT_GRANTS, _matter_of_system(services.store, each)),
        lambda each: (each.id,),
    )


@router.get("/systems/{id}", summary="A system")
def show_system(services: Services, officer: SignedIn, id: SystemPath) -> Response:  # noqa: A002 - the domain's name
    """One system with its public keys."""
    absent = f"there is no system `{id}`"
    found = shown_to(services, officer, Act.CONSULT_GRANTS, lambda store: store.system(id), _matter_of_system, absent)
    return json_response(found, headers={"ETag": entity_tag(found)})


@router.post("/systems", summary="Register a system", status_code=201, openapi_extra=describes(SystemBody, SYSTEM))
def add_system(
    request: Request,
    services: Services,
    officer: SignedIn,
    system: Annotated[System, Depends(body_of(SystemBody, System))],
    replaces: Annotated[Name | None, Query(description="the id again, to register it anew after a revocation")] = None,
    key: IdempotencyKey = None,
) -> Response:
    """Register a system of a department; its keys can be added later.

    A revoked id is registered anew by naming it in `replaces`, with keys that it did not have before.
    """

    def work(deed: Deed) -> Answer:
        deed.permit(Act.MANAGE_SYSTEMS, lambda tx: matter_of_department(_department(tx, system.department)))
        department = _department(deed.tx, system.department)
        old = deed.tx.system(system.id)
        if old is None or old.department != system.department:
            deed.require_own_name(system.id, system.department)
        if replaces is not None:
            _require_revoked(deed, system, replaces)
        elif old is not None and not old.active and old.department == system.department:
            how = "was revoked: name it in `replaces` to register it anew, with new keys"
            raise GatewayError("conflict", f"there already is a system `{system.id}`, which {how}")
        elif old is not None:
            raise GatewayError("conflict", TAKEN)
        faults = _key_faults(system, old)
        if old is not None and set(_thumbprints(system)) & set(_thumbprints(old)):
            faults.append({"field": "keys", "fault": "holds a key of the revoked registration: make a new one"})
        if not system.name.strip():
            faults.append({"field": "name", "fault": "is missing"})
        if faults:
            raise invalid(faults)
        deed.tx.claim_keys(system.id, _thumbprints(system))
        kept = msgspec.structs.replace(
            _kept(system, None, deed.officer), registered_unix=int(deed.now.timestamp()), certification=None
        )
        deed.tx.put_system(kept)
        anew = {"step": "registered anew", "replaces": old.id} if old is not None else {}
        deed.record(RecordKind.DIRECTORY, department=department.id, system=system.id, **anew, **_key_names(system))
        return Answer({"system": kept}, 201, {"ETag": entity_tag(kept), "Location": f"/v1/systems/{system.id}"})

    return perform(services, request, officer, key, {"system": system, "replaces": replaces}, work)


def _require_revoked(deed: Deed, new: System, replaces: str) -> None:
    """Hold that the id is named twice, stands, is revoked, and is in a department whose systems the officer manages."""
    if replaces != new.id:
        raise invalid([{"field": "replaces", "fault": "is another id: a registration is replaced under its own"}])
    old, _ = deed.about_system(replaces)
    if old.active:
        raise GatewayError("conflict", f"system `{replaces}` is not revoked: add or withdraw a key")


@router.post(
    "/systems/{id}/keys", summary="Add a key or certificate", status_code=201, openapi_extra=describes(KeyBody)
)
def add_key(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: SystemPath,  # noqa: A002 - the domain's name
    body: Annotated[KeyBody, Depends(model_of(KeyBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Add a public key or a certificate's thumbprint to a system."""

    def change(system: System) -> System:
        if not system.active:
            raise GatewayError("conflict", f"system `{id}` is revoked")
        if body.key is None and body.certificate is None:
            raise invalid([{"field": "key", "fault": "name a `key` or a `certificate`"}])
        keys = system.keys
        if body.key is not None:
            keys = (*(each for each in keys if each.get("kid") != body.key.get("kid")), body.key)
        certificates = system.certificates
        if body.certificate is not None and body.certificate not in certificates:
            certificates = (*certificates, body.certificate)
        return msgspec.structs.replace(system, keys=keys, certificates=certificates)

    return _change_system(request, services, officer, id, if_match, key, body.model_dump(), change, Phrase("key added"))


@router.delete("/systems/{id}/keys/{name}", summary="Withdraw a key or certificate")
def withdraw_key(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: SystemPath,  # noqa: A002 - the domain's name
    name: Annotated[str, Path(max_length=256, description="a key's `kid`, or a certificate's thumbprint")],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Withdraw a key: tokens it was used for are no longer taken when this call returns."""

    def change(system: System) -> System:
        left = msgspec.structs.replace(
            system,
            keys=tuple(each for each in system.keys if each.get("kid") != name),
            certificates=tuple(each for each in system.certificates if each != name),
        )
        if left == system:
            raise GatewayError("not-found", f"system `{id}` has no key `{name}`")
        return left

    return _change_system(request, services, officer, id, if_match, key, name, change, Phrase("key withdrawn"))


@router.post(
    "/systems/{id}/certification",
    summary="Enter that a system is certified",
    openapi_extra=describes(
        SystemCertificationBody, {"number": "等保测评〔2026〕114号", "since": "2026-03-01", "until": "2027-02-28"}
    ),
)
def certify_system(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: SystemPath,  # noqa: A002 - the domain's name
    body: Annotated[SystemCertificationBody, Depends(model_of(SystemCertificationBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Enter a certification, in place of one before; the competent department's act, which policies may ask for."""

    def change(system: System) -> System:
        if not system.active:
            raise GatewayError("conflict", f"system `{id}` is revoked")
        if not 0 <= (body.until - body.since).days <= MAX_CERTIFIED_DAYS:
            raise invalid([{"field": "until", "fault": f"is 0 to {MAX_CERTIFIED_DAYS} days after `since`"}])
        if body.until > LAST_CERTIFIED_DAY or body.since < FIRST_CERTIFIED_DAY:
            what = f"is no day from {FIRST_CERTIFIED_DAY} to {LAST_CERTIFIED_DAY}"
            raise invalid([{"field": "until" if body.until > LAST_CERTIFIED_DAY else "since", "fault": what}])
        return msgspec.structs.replace(system, certification=Certification(body.number, body.since, body.until))

    said = body.model_dump(mode="json")
    why = f"certified by {body.number} from {body.since} to {body.until}"
    return _change_system(request, services, officer, id, if_match, key, said, change, why, act=Act.MANAGE_DEPARTMENTS)


@router.post(
    "/systems/{id}/certification/withdrawal",
    summary="Withdraw a system's certification",
    openapi_extra=describes(RevocationBody),
)
def withdraw_certification(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: SystemPath,  # noqa: A002 - the domain's name
    body: Annotated[RevocationBody, Depends(model_of(RevocationBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Withdraw it: what policies let out for it alone ends when this call returns."""

    def change(system: System) -> System:
        if system.certification is None:
            raise GatewayError("conflict", f"system `{id}` has no certification")
        return msgspec.structs.replace(system, certification=None)

    said = body.model_dump()
    return _change_system(
        request, services, officer, id, if_match, key, said, change, body.reason, act=Act.MANAGE_DEPARTMENTS
    )


@router.post("/systems/{id}/revocation", summary="Revoke a system", openapi_extra=describes(RevocationBody))
def revoke_system(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: SystemPath,  # noqa: A002 - the domain's name
    body: Annotated[RevocationBody, Depends(model_of(RevocationBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """Revoke a system: nothing more leaves to it when this call returns."""

    def change(system: System) -> System:
        return msgspec.structs.replace(system, active=False)

    return _change_system(request, services, officer, id, if_match, key, body.model_dump(), change, body.reason)


def _change_system(
    request: Request,
    services: Services,
    officer: Officer,
    id: str,  # noqa: A002 - the domain's name
    if_match: str | None,
    key: str | None,
    body: Any,
    change: Any,
    reason: str,
    *,
    act: Act = Act.MANAGE_SYSTEMS,
) -> Response:
    def work(deed: Deed) -> Answer:
        old, department = deed.about_system(id, act)
        require_match(old, if_match)
        new = _kept(change(old), old, deed.officer)
        faults = _key_faults(new, old)
        if faults:
            raise invalid(faults)
        deed.tx.claim_keys(id, _thumbprints(new))
        deed.tx.put_system(new)
        deed.record(
            RecordKind.DIRECTORY,
            department=department.id,
            system=id,
            state="active" if new.active else "revoked",
            reason=reason,
            **_key_names(new),
        )
        return Answer({"system": new}, headers={"ETag": entity_tag(new)})

    return perform(services, request, officer, key, body, work)


@router.get("/officers", summary="Officers")
def list_officers(
    services: Services,
    officer: SignedIn,
    department: Annotated[Slug | None, Query()] = None,
    *,
    pages: Pages,
) -> Response:
    """Officers whom the asking officer may manage, or whose grants and records the asking officer may consult."""
    require_departments(services.store, department=department)
    acts = (Act.MANAGE_OFFICERS, Act.CONSULT_GRANTS)
    concerned = concerned_of(services, officer, *acts)
    if concerned is None:
        return pages.response([], None)
    if concerned.region is None and department is None:
        department = concerned.department
    return pages.of_visible(
        lambda cursor, limit: services.store.list_officers(cursor, limit, department=department),
        lambda each: any(is_permitted(services, officer, act, matter_of_person(each)) for act in acts),
        lambda each: (each.id,),
    )


@router.post("/officers", summary="Register or change an officer", openapi_extra=describes(OfficerBody))
def put_officer(
    request: Request,
    services: Services,
    officer: SignedIn,
    person: Annotated[Officer, Depends(body_of(OfficerBody, Officer))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """An officer, new or changed; `active: false` dismisses. Nobody gives a wider region than their own."""

    def work(deed: Deed) -> Answer:
        deed.permit_all(Act.MANAGE_OFFICERS, lambda tx: _matters_of_person(tx, person))
        department = _department(deed.tx, person.department)
        old = deed.tx.officer(person.id)
        of_old = matter_of_person(old) if old is not None else None
        if of_old is None or not is_permitted(services, deed.officer, Act.CONSULT_GRANTS, of_old, deed.tx):
            deed.require_own_name(person.id, person.department)
            if of_old is not None:
                raise GatewayError("conflict", TAKEN)
        else:
            deed.permit(Act.MANAGE_OFFICERS, of_old)
            require_match(old, if_match)
        if not person.roles:
            raise invalid([{"field": "roles", "fault": "names no role"}])
        deed.tx.put_officer(person)
        deed.record(
            RecordKind.DIRECTORY,
            department=department.id,
            of=person.id,
            roles=[role.value for role in person.roles],
            region=person.region,
            state="active" if person.active else "dismissed",
        )
        return Answer({"officer": person}, headers={"ETag": entity_tag(person)})

    return perform(services, request, officer, key, person, work)


def _matters_of_person(tx: StoreTransaction, person: Officer) -> list[Matter]:
    """What registering or changing an officer is about: the person as they are to be."""
    of_department = matter_of_department(_department(tx, person.department))
    return [msgspec.structs.replace(of_department, person=person.id, roles=person.roles), matter_of_person(person)]


def _matter_of_system(state: Store | StoreTransaction, system: System) -> Matter:
    department = state.department(system.department)
    return Matter() if department is None else matter_of_department(department)


def _department(tx: StoreTransaction, id: str) -> Department:  # noqa: A002 - the domain's name
    found = tx.department(id)
    if found is None:
        raise invalid([{"field": "department", "fault": f"there is no department `{id}`"}])
    return found


def _key_faults(system: System, old: System | None) -> list[dict[str, Any]]:
    """Every fault of a system's keys and certificates; a name that an earlier version took stands."""
    before = set() if old is None else {each.get("kid") for each in old.keys}
    faults: list[dict[str, Any]] = []
    if len(system.keys) + len(system.certificates) > MAX_KEYS:
        faults.append({"field": "keys", "fault": f"a system has at most {MAX_KEYS} keys and certificates"})
    for place, jwk in enumerate(system.keys):
        if not isinstance(jwk.get("kid"), str):
            faults.append({"field": f"keys.{place}", "fault": "has no `kid`"})
        elif holds_identity_number(jwk["kid"]) and jwk["kid"] not in before:
            faults.append({"field": f"keys.{place}", "fault": f"its `kid` {HINT}"})
        try:
            check_public_jwk(jwk)
        except GatewayError as error:
            faults.append({"field": f"keys.{place}", "fault": error.detail})
    for place, certificate in enumerate(system.certificates):
        if not is_thumbprint(certificate):
            faults.append({"field": f"certificates.{place}", "fault": "is not a SHA-256 thumbprint in base64url"})
    return faults


def _thumbprints(system: System) -> set[str]:
    """What the system's keys and certificates are, whatever they are called."""
    return {thumbprint(jwk) for jwk in system.keys} | set(system.certificates)


def _kept(new: System, old: System | None, officer: Officer) -> System:
    """The system, with who entered each key that it has now: who enters one keeps it (Decree 809 Art. 10)."""
    held = {} if old is None else old.kept_by
    before = set() if old is None else _thumbprints(old)
    keys = {name: held.get(name, officer.id) for name in _thumbprints(new) if name in held or name not in before}
    older = {name: by for name, by in held.items() if ":" in name}
    return msgspec.structs.replace(new, kept_by=dict(sorted({**keys, **older}.items())))


def _key_names(system: System) -> dict[str, Any]:
    return {"keys": [str(each.get("kid", "")) for each in system.keys], "certificates": list(system.certificates)}
