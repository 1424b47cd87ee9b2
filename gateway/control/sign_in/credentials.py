"""/v1/keys and systems' keys of older contracts: acts on credentials, each decided and recorded.

Secrets come in and never go out: no answer, record or log holds one (INVARIANT: NO-VALUES).
"""

import hmac
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response
from pydantic import Field, SecretStr

from gateway.control.act.acting import (
    Answer,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    matter_of_department,
    matter_of_gateway,
    perform,
    shown_to,
)
from gateway.control.act.acting import require_permit as permit
from gateway.control.act.bodies import Body, Name, Slug, Statement, describes, model_of
from gateway.control.act.paging import json_response
from gateway.control.act.problems import invalid
from gateway.domain.changes import ChangeKind
from gateway.domain.directory import Department, System
from gateway.domain.errors import TAKEN, GatewayError
from gateway.domain.officers import Act, Matter
from gateway.domain.texts import Phrase
from gateway.domain.uses import EVERY_DEPARTMENT, RecordKind
from gateway.identity.callers.legacy import CONTRACTS, seal_secret
from gateway.identity.keys.keyring import TOKEN_OVERLAP_SECONDS, KeyRing, Rotation
from gateway.store import LegacyKey, Store

MAX_OVERLAP_SECONDS = 7 * 86400

Contract = Annotated[str, Path(description=f"one of {', '.join(CONTRACTS)}", max_length=32)]
KeyName = Annotated[str, Path(description="what the caller sends to name the key", max_length=128)]


class RotationBody(Body):
    """Why a key is rotated, and how long the replaced token key still verifies."""

    reason: Statement
    overlap_seconds: int = Field(TOKEN_OVERLAP_SECONDS, ge=0, le=MAX_OVERLAP_SECONDS)


class LegacyKeyBody(Body):
    """A key of an older contract: its secret and the one purpose it is bound to."""

    purpose: Slug
    secret: SecretStr = Field(min_length=1, max_length=1024)


def credentials_router(ring: KeyRing) -> APIRouter:
    """The routes over `ring`; hand it to `OAuthServices.further`."""
    router = APIRouter(prefix="/v1", tags=["keys and credentials"])
    _add_keys(router, ring)
    _add_legacy_keys(router, ring)
    return router


def _add_keys(router: APIRouter, ring: KeyRing) -> None:
    @router.get("/keys", summary="The gateway's keys")
    def list_keys(services: Services, officer: SignedIn) -> Response:
        """Every key of the ring, by purpose: names, algorithms, states and times."""
        permit(services, officer, Act.MANAGE_KEYS, matter_of_gateway(services.store))
        return json_response({"keys": ring.list()})

    @router.post("/keys/{purpose}/rotation", summary="Rotate a key", openapi_extra=describes(RotationBody))
    def rotate(
        request: Request,
        services: Services,
        officer: SignedIn,
        purpose: Annotated[str, Path(max_length=32)],
        body: Annotated[RotationBody, Depends(model_of(RotationBody))],
        key: IdempotencyKey = None,
    ) -> Response:
        """Make a new key for a purpose and put it in use; the record is durable before the key exists."""

        def work(deed: Deed) -> Answer:
            deed.permit(Act.MANAGE_KEYS, matter_of_gateway)

            def record(rotation: Rotation) -> None:
                told = {name: value for name, value in msgspec.to_builtins(rotation).items() if value is not None}
                deed.record(RecordKind.KEY, department=EVERY_DEPARTMENT, **told, reason=body.reason)

            if purpose == "token":
                deed.tx.change(ChangeKind.KEY, purpose, withdraws=body.overlap_seconds == 0)
                if body.overlap_seconds == 0:
                    # Withdrawn since it may be in others' hands: no session that it could name goes on.
                    deed.tx.end_sessions("key change")
            rotation = ring.rotate(purpose, overlap_seconds=body.overlap_seconds, record=record)
            return Answer({"rotation": rotation}, 201)

        return perform(services, request, officer, key, body.model_dump(), work)


def _add_legacy_keys(router: APIRouter, ring: KeyRing) -> None:
    @router.get("/systems/{id}/legacy-keys", summary="A system's keys of older contracts")
    def list_legacy_keys(services: Services, officer: SignedIn, id: Name) -> Response:  # noqa: A002 - the domain's name
        """Names, contracts and purposes; never a secret."""
        find, absent = (lambda store: store.system(id)), f"there is no system `{id}`"
        shown_to(services, officer, Act.MANAGE_SYSTEMS, find, _matter_of_system, absent)
        return json_response({"keys": [_shown(each) for each in services.store.legacy_keys(id)]})

    @router.put(
        "/systems/{id}/legacy-keys/{contract}/{name}",
        summary="Register a key of an older contract",
        openapi_extra=describes(LegacyKeyBody),
    )
    def put_legacy_key(
        request: Request,
        services: Services,
        officer: SignedIn,
        id: Name,  # noqa: A002 - the domain's name
        contract: Contract,
        name: KeyName,
        body: Annotated[LegacyKeyBody, Depends(model_of(LegacyKeyBody))],
        key: IdempotencyKey = None,
    ) -> Response:
        """One key, one system, one purpose (the contracts carry none)."""
        secret = body.secret.get_secret_value()
        sealed = seal_secret(ring.field_cipher(), contract, name, secret)
        mark = hmac.digest(ring.derived_secret("idempotency"), secret.encode("utf-8"), "sha256").hex()

        def work(deed: Deed) -> Answer:
            system, department = deed.about_system(id)
            if not system.active:
                raise GatewayError("conflict", f"system `{id}` is revoked")
            if body.purpose not in {purpose.id for purpose in deed.tx.purposes()}:
                raise invalid([{"field": "purpose", "fault": f"there is no purpose `{body.purpose}`"}])
            old = deed.tx.legacy_key(contract, name)
            if old is not None and old.system != id:
                raise GatewayError("conflict", TAKEN)
            kept = {**system.kept_by, f"{contract}:{name}": deed.officer.id}
            deed.tx.put_system(msgspec.structs.replace(system, kept_by=kept))
            return _store(deed, department, LegacyKey(contract, name, id, body.purpose, sealed), "registered")

        return perform(services, request, officer, key, {"purpose": body.purpose, "secret": mark}, work)

    @router.delete("/systems/{id}/legacy-keys/{contract}/{name}", summary="Withdraw a key of an older contract")
    def withdraw_legacy_key(
        request: Request,
        services: Services,
        officer: SignedIn,
        id: Name,  # noqa: A002 - the domain's name
        contract: Contract,
        name: KeyName,
        key: IdempotencyKey = None,
    ) -> Response:
        """Withdraw a key: nothing is taken under it once this call returns."""

        def work(deed: Deed) -> Answer:
            system, department = deed.about_system(id)
            old = deed.tx.legacy_key(contract, name)
            if old is None or old.system != id:
                raise GatewayError("not-found", f"system `{id}` has no such key")
            kept = {key: by for key, by in system.kept_by.items() if key != f"{contract}:{name}"}
            deed.tx.put_system(msgspec.structs.replace(system, kept_by=kept))
            return _store(deed, department, msgspec.structs.replace(old, active=False), "withdrawn")

        return perform(services, request, officer, key, name, work)


def _matter_of_system(store: Store, system: System) -> Matter:
    department = store.department(system.department)
    return Matter() if department is None else matter_of_department(department)


def _store(deed: Deed, department: Department, stored: LegacyKey, reason: str) -> Answer:
    deed.tx.put_legacy_key(stored)
    deed.record(
        RecordKind.KEY,
        department=department.id,
        system=stored.system,
        purpose=stored.purpose,
        contract=stored.contract,
        key=stored.id,
        reason=Phrase(f"key {reason}"),
    )
    return Answer({"key": _shown(stored)})


def _shown(stored: LegacyKey) -> dict[str, Any]:
    return {name: getattr(stored, name) for name in ("contract", "id", "system", "purpose", "active")}
