"""How an officer comes by a password that nobody else has ever known.

    POST /v1/officers/{id}/enrolment          the first one: who may manage the officer is given a code, once
    POST /v1/officers/{id}/recovery           another one: a first person asks for it
    POST /v1/officers/{id}/recovery/approval  and a second person, who is given the code
    POST /sign-in/enrolment                   the owner sets a password by the code, which is good once

Every step is on record, and told to the owner at the next sign-in; the owner of an account can refuse a recovery while
it has not been used. Nothing is kept of a code but a digest.
"""

import hashlib
import hmac
import secrets
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.control.act.acting import (
    Answer,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    matter_of_person,
    perform,
    require_permit,
)
from gateway.control.act.bodies import MAX_NAME_LENGTH, Body, Name, Statement, describes, model_of
from gateway.control.act.recorded import recorded
from gateway.control.act.services import ControlServices
from gateway.control.sign_in.account import account_router
from gateway.control.sign_in.authenticators import authenticator_router
from gateway.control.sign_in.command_line import command_line_routers
from gateway.control.sign_in.sign_in import SignInServices, begin_session, session_of, sign_in_router
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Enrolment, Officer
from gateway.domain.texts import Phrase
from gateway.domain.uses import RecordKind
from gateway.identity.officers.accounts import LocalAccounts
from gateway.identity.officers.passwords import require_strong
from gateway.store import StoreTransaction

ENROLMENT_SECONDS = 3 * 86_400
RECOVERY_SECONDS = 86_400

OfficerPath = Annotated[Name, Path(description="the officer's id")]


class ReasonBody(Body):
    """Why a code is asked for; it stands in the record, and the owner is told."""

    reason: Statement


class EnrolmentBody(BaseModel):
    """An officer's id, the code that was handed over, and the password that the officer chooses."""

    model_config = ConfigDict(extra="forbid")

    officer: str = Field(min_length=1, max_length=MAX_NAME_LENGTH)
    code: str = Field(min_length=1, max_length=64, repr=False)
    password: str = Field(min_length=1, max_length=1024, repr=False)


def people_routers(sign_in: SignInServices) -> tuple[APIRouter, ...]:
    """Every route by which officers sign in, keep their accounts and come by them; for `OAuthServices.further`."""
    by_code: tuple[APIRouter, ...] = ()
    if sign_in.accounts is not None:
        accounts = sign_in.accounts
        by_code = (set_by_code_router(sign_in, accounts), authenticator_router(sign_in, accounts))
    routers = (sign_in_router(sign_in), *command_line_routers(sign_in), account_router(sign_in), enrolment_router())
    return (*routers, *by_code)


def enrolment_router() -> APIRouter:
    """The routes by which others ask for a code; hand it to `OAuthServices.further`."""
    router = APIRouter(prefix="/v1/officers/{id}", tags=["systems and officers"])

    @router.post("/enrolment", summary="Give an officer a code to set a first password by", status_code=201)
    def enrol(
        request: Request,
        services: Services,
        officer: SignedIn,
        id: OfficerPath,  # noqa: A002
        key: IdempotencyKey = None,
    ) -> Response:
        """A code for an account that has no password, said once; another one takes its place."""

        def work(deed: Deed) -> Answer:
            person = _own_at_home(deed, request) if id == officer.id else _managed(deed, id)
            if deed.tx.officer_secret(id) is not None:
                raise GatewayError(
                    "conflict", f"`{id}` has a password: its owner changes it, or two persons recover it"
                )
            asked = Enrolment(
                id, False, officer.id, int(deed.now.timestamp()), "", int(deed.now.timestamp()) + ENROLMENT_SECONDS
            )
            return _give(deed, person, asked, "a code to set the first password by was made")

        return perform(services, request, officer, key, None, work)

    @router.post("/recovery", summary="Ask for another password for an officer", openapi_extra=describes(ReasonBody))
    def recover(
        request: Request,
        services: Services,
        officer: SignedIn,
        id: OfficerPath,  # noqa: A002
        body: Annotated[ReasonBody, Depends(model_of(ReasonBody))],
        key: IdempotencyKey = None,
    ) -> Response:
        """The first of two persons; the password that is there holds on, and its owner is told."""

        def work(deed: Deed) -> Answer:
            person = _managed(deed, id)
            if deed.tx.officer_secret(id) is None:
                raise GatewayError("conflict", f"`{id}` has no password to recover: enrol the officer")
            at = int(deed.now.timestamp())
            asked = Enrolment(id, True, officer.id, at, body.reason, at + RECOVERY_SECONDS)
            deed.tx.put_enrolment(asked)
            _note(deed, person, "another password was asked for", body.reason)
            return Answer({"officer": id, "asked_by": officer.id, "expires_unix": asked.expires_unix}, 202)

        return perform(services, request, officer, key, body.model_dump(), work)

    @router.post("/recovery/approval", summary="Agree to another password for an officer", status_code=201)
    def approve(
        request: Request,
        services: Services,
        officer: SignedIn,
        id: OfficerPath,  # noqa: A002
        key: IdempotencyKey = None,
    ) -> Response:
        """The second of two persons, who is given the code, once, and hands it to the owner."""

        def work(deed: Deed) -> Answer:
            person = _managed(deed, id)
            asked = deed.tx.enrolment(id)
            at = int(deed.now.timestamp())
            if asked is None or not asked.recovery or asked.digest or at >= asked.expires_unix:
                raise GatewayError("not-found", f"nobody has asked for a recovery of `{id}`")
            if asked.asked_by == officer.id:
                raise GatewayError("conflict", "a recovery takes two persons: another one agrees to it")
            first = deed.tx.officer(asked.asked_by)
            if first is None:
                raise GatewayError("conflict", "who asked for the recovery is not known any more")
            # The first person's right is asked anew as well: it may have ended since.
            require_permit(services, first, Act.MANAGE_OFFICERS, matter_of_person(person))
            agreed = msgspec.structs.replace(asked, approved_by=officer.id, expires_unix=at + RECOVERY_SECONDS)
            return _give(deed, person, agreed, f"another password was agreed to, which `{first.id}` had asked for")

        return perform(services, request, officer, key, None, work)

    return router


def _own_at_home(deed: Deed, request: Request) -> Officer:
    """The asking officer, for the first account of a home: only in a session that the home's own keys began."""
    deed.permit(Act.KEEP_ACCOUNT, matter_of_person(deed.officer))
    session = deed.tx.session(session_of(request))
    if session is None or session.method != "home":
        return _managed(deed, deed.officer.id)
    return deed.officer


def _managed(deed: Deed, id: str) -> Officer:  # noqa: A002 - the domain's name
    """The officer of that id, whom the asking officer may manage."""
    person = deed.about_person(id)
    if not person.active:
        raise GatewayError("conflict", f"officer `{id}` is dismissed")
    return person


def _give(deed: Deed, person: Officer, asked: Enrolment, what: str) -> Answer:
    """Make the code, keep its digest, and say it this once."""
    code = secrets.token_urlsafe(32)
    deed.tx.put_enrolment(msgspec.structs.replace(asked, digest=digest_of(code)))
    _note(deed, person, what)
    body = {"officer": person.id, "expires_unix": asked.expires_unix}
    return Answer(body, 201, once={"code": code})


def _note(deed: Deed, person: Officer, what: str, why: str = "") -> None:
    deed.tx.note_account(person.id, f"{what}: {why}" if why else what, deed.officer.id)
    said = {"step": what, "reason": why} if why else {"reason": Phrase(what)}
    deed.record(RecordKind.DIRECTORY, department=person.department, of=person.id, **said)


def digest_of(code: str) -> str:
    """What is kept of a code; it has 256 bits of chance, so that a plain digest tells nobody what it was."""
    return hashlib.sha256(code.encode("utf-8")).hexdigest()


def set_by_code_router(sign_in: SignInServices, accounts: LocalAccounts) -> APIRouter:
    """The route by which an owner sets a password; hand it to `OAuthServices.further`."""
    router = APIRouter(prefix="/sign-in", tags=["sign-in"])

    @router.post("/enrolment", summary="Set a password by a code, and sign in")
    def set_password(request: Request, services: Services, body: EnrolmentBody) -> Response:
        """Set the password that only its owner knows; every session of the account ends, and one begins."""
        address = sign_in.address(request)
        digest = digest_of(body.code)

        def is_known() -> bool:
            found = services.store.enrolment(body.officer)
            is_right = hmac.compare_digest(digest, found.digest if found is not None else "0" * 64)
            return found is not None and is_right and services.now() < found.expires_unix

        try:
            accounts.attempt(f"{body.officer} code", address, is_known)
        except GatewayError as error:
            sign_in.security.note(f"enrolment: {error.code}", address)
            if error.code != "credential-invalid":
                raise
            raise GatewayError("credential-invalid", "officer or code is not right, or the code was used") from error
        person = services.store.officer(body.officer)
        known = (person.id, person.name, person.department) if person is not None else ()
        require_strong(body.password, known)
        officer = _set(services, body.officer, digest, accounts.pool.hash(body.password))
        begun = begin_session(sign_in, officer, "password", sign_in.possession.offered(request))
        return JSONResponse(begun, headers={"Cache-Control": "no-store"})

    return router


def _set(services: ControlServices, officer: str, digest: str, hashed: str) -> Officer:
    """Use the code up and store the password, in one transaction and on record."""
    with recorded(services.unsettled, services.acts) as written, services.store.transaction() as tx:
        found, person = _of_code(tx, officer, digest)
        tx.end_enrolment(officer)
        tx.put_officer(person, secret_hash=hashed)
        tx.end_authenticator(officer)
        tx.note_account(officer, "a password was set by a code", officer)
        told: dict[str, Any] = {
            "act": "enrol",
            "officer": officer,
            "officer_department": person.department,
            "department": person.department,
            "of": officer,
            "asked_by": found.asked_by,
            **({"approved_by": found.approved_by} if found.approved_by else {}),
            "reason": Phrase("password set by its owner"),
            "position": tx.began_at,
        }
        records = (services.acts.append(RecordKind.DIRECTORY, told),)
        written.note(records, [told])
        tx.note_acts(records)
    return person


def _of_code(tx: StoreTransaction, officer: str, digest: str) -> tuple[Enrolment, Officer]:
    found, person = tx.enrolment(officer), tx.officer(officer)
    if found is None or person is None or not person.active or found.digest != digest:
        raise GatewayError("credential-invalid", "officer or code is not right, or the code was used")
    return found, person
