"""/v1/account: what an officer does with the own account, and nobody else: its password, its sessions, its news."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response
from pydantic import Field, SecretStr
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from gateway.control.act.acting import Answer, Deed, Services, SignedIn, matter_of_person, perform, require_permit
from gateway.control.act.bodies import Body, describes, model_of
from gateway.control.act.paging import json_response
from gateway.control.sign_in.by_provider import kept_with, sealed_with
from gateway.control.sign_in.sign_in import SignInServices, begin_session, bound_of, session_of, shown_session
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act
from gateway.domain.texts import Phrase
from gateway.domain.uses import RecordKind
from gateway.identity.officers.accounts import LocalAccounts
from gateway.identity.officers.oidc import OpenIdSignIn, Person
from gateway.identity.officers.passwords import MAX_PASSWORD_BYTES, require_strong

RENEWAL_SECONDS = 30
"""After an asking that came to nothing, another one may be made."""

SessionPath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="the session's id")]


class SignOutBody(Body):
    """Whether every session of the officer ends, or the one that asks."""

    everywhere: bool = False


class OwnPasswordBody(Body):
    """The password that holds, and the one that is to hold."""

    current: SecretStr = Field(min_length=1, max_length=MAX_PASSWORD_BYTES)
    password: SecretStr = Field(min_length=1, max_length=MAX_PASSWORD_BYTES)


def account_router(sign_in: SignInServices) -> APIRouter:
    """The routes of an officer's own account; hand it to `OAuthServices.further`."""
    router = APIRouter(prefix="/v1/account", tags=["sign-in"])
    _add_sessions(router, sign_in)
    if sign_in.provider is not None:
        _add_renewal(router, sign_in, sign_in.provider)
    if sign_in.accounts is not None:
        _add_password(router, sign_in, sign_in.accounts)
    return router


def _add_sessions(router: APIRouter, sign_in: SignInServices) -> None:
    @router.get("", summary="The own account")
    def show(request: Request, services: Services, officer: SignedIn) -> Response:
        """Who is signed in, the sessions that stand, and what others did about the account in the last year."""
        now = int(services.now())
        sessions = [each for each in services.store.sessions_of(officer.id, now) if each.ended_unix is None]
        pending = services.store.enrolment(officer.id)
        return json_response(
            {
                "officer": officer,
                "session": session_of(request),
                "sessions": sessions,
                "recovery": _shown_recovery(pending, now),
                "events": services.store.account_events(officer.id),
            }
        )

    @router.post("/sign-out", summary="Sign out", openapi_extra=describes(SignOutBody, {"everywhere": True}))
    def sign_out(
        request: Request,
        services: Services,
        officer: SignedIn,
        body: Annotated[SignOutBody, Depends(model_of(SignOutBody))],
    ) -> Response:
        """End the session that asks, or with `everywhere` every one: no token of theirs is taken any more.

        What the OpenID provider gave with the one that asks is given back (RFC 7009); where a browser signs out there
        too stands as `provider_sign_out` in the answer.
        """
        only = None if body.everywhere else session_of(request)
        return _end(request, services, officer, only, sign_in)

    @router.delete("/sessions/{id}", summary="End one of the own sessions")
    def end_session(request: Request, services: Services, officer: SignedIn, id: SessionPath) -> Response:  # noqa: A002
        """End one session, as on a device that was left behind."""
        return _end(request, services, officer, id)

    @router.delete("/recovery", summary="Refuse the recovery of the own account")
    def refuse_recovery(request: Request, services: Services, officer: SignedIn) -> Response:
        """Say no to a new password that two others have asked for: the code is worth nothing any more."""

        def work(deed: Deed) -> Answer:
            deed.permit(Act.KEEP_ACCOUNT, matter_of_person(deed.officer))
            if deed.tx.enrolment(officer.id) is None:
                raise GatewayError("not-found", "nobody has asked for a recovery of this account")
            deed.tx.end_enrolment(officer.id)
            deed.tx.note_account(officer.id, "the recovery of this account was refused", officer.id)
            deed.record(
                RecordKind.DIRECTORY, department=officer.department, of=officer.id, reason=Phrase("recovery refused")
            )
            return Answer({"officer": officer.id})

        return perform(services, request, officer, None, None, work)


def _end(
    request: Request, services: Services, officer: SignedIn, only: str | None, sign_in: SignInServices | None = None
) -> Response:
    provider = sign_in.provider if sign_in is not None else None
    found = services.store.provider_session(session_of(request)) if provider is not None else None

    def work(deed: Deed) -> Answer:
        deed.permit(Act.KEEP_ACCOUNT, matter_of_person(deed.officer))
        ended = deed.tx.end_sessions("sign-out", officer=officer.id, session=only)
        if not ended:
            raise GatewayError("not-found", "there is no such session of yours")
        deed.record(RecordKind.CONSULTATION, department=officer.department, reason=Phrase("signed out"), sessions=ended)
        there = {"provider_sign_out": provider.sign_out_url()} if provider is not None and found is not None else {}
        return Answer({"ended": ended, **there})

    answer = perform(services, request, officer, None, None, work)
    if provider is not None and sign_in is not None and found is not None:
        _, refresh_token = kept_with(sign_in, found)
        if refresh_token:
            answer.background = BackgroundTask(provider.revoke, refresh_token)
    return answer


def _add_renewal(router: APIRouter, sign_in: SignInServices, provider: OpenIdSignIn) -> None:
    @router.post("/renewal", summary="Renew the session that asks")
    async def renew(request: Request, services: Services, officer: SignedIn) -> Response:
        """Let a session of the OpenID provider's go on, if the person may still sign in there; else it ends."""
        session = session_of(request)
        stands = await run_in_threadpool(services.store.session, session)
        found = await run_in_threadpool(services.store.provider_session, session)
        subject, refresh_token = kept_with(sign_in, found) if found is not None else ("", "")
        now = int(services.now())
        if found is None or stands is None or not refresh_token or now >= found.expires_unix:
            raise GatewayError("conflict", "this session cannot be renewed: sign in again")
        # One asking at a time, on whichever node: a provider takes a refresh token that comes twice for a thief's.
        mark = f"{session} {stands.expires_unix}"
        if not await run_in_threadpool(sign_in.use_once, "renewal", mark, now + RENEWAL_SECONDS):
            raise GatewayError("conflict", "this session is being renewed")
        try:
            newest = await provider.renew(refresh_token, subject)
        except GatewayError as refusal:
            if refusal.code == "credential-invalid":
                await run_in_threadpool(_disowned, services, request, officer)
            raise
        person = Person(found.issuer, subject, officer.id, found.sid, newest)
        seconds = min(sign_in.lifetime_seconds, found.expires_unix - now)

        def work(deed: Deed) -> Answer:
            deed.permit(Act.KEEP_ACCOUNT, matter_of_person(deed.officer))
            deed.tx.renew_session(session, now + seconds)
            deed.tx.note_provider_session(sealed_with(sign_in, session, person, found.expires_unix))
            deed.record(RecordKind.CONSULTATION, department=officer.department, reason=Phrase("session renewed"))
            return Answer({"expires_unix": now + seconds})

        renewed = await run_in_threadpool(perform, services, request, officer, None, None, work)
        shown = shown_session(sign_in, officer, session, bound_of(request), seconds)
        return json_response(shown, headers={"Cache-Control": "no-store", **_record_of(renewed)})


def _disowned(services: Services, request: Request, officer: SignedIn) -> None:
    """End the session that asks: its person may not sign in at the provider any more."""

    def work(deed: Deed) -> Answer:
        deed.permit(Act.KEEP_ACCOUNT, matter_of_person(deed.officer))
        ended = deed.tx.end_sessions("not renewed by the provider", session=session_of(request))
        deed.record(
            RecordKind.CONSULTATION, department=officer.department, reason=Phrase("not renewed"), sessions=ended
        )
        return Answer({"ended": ended})

    perform(services, request, officer, None, None, work)


def _record_of(answer: Response) -> dict[str, str]:
    return {"Sharing-Record": answer.headers["Sharing-Record"]}


def _add_password(router: APIRouter, sign_in: SignInServices, accounts: LocalAccounts) -> None:
    @router.post("/password", summary="Change the own password", openapi_extra=describes(OwnPasswordBody))
    def change_password(
        request: Request,
        services: Services,
        officer: SignedIn,
        body: Annotated[OwnPasswordBody, Depends(model_of(OwnPasswordBody))],
    ) -> Response:
        """Change the own password: every session ends, and the answer begins a new one.

        A password is set by its owner alone: the first one by a code of `POST /v1/officers/{id}/enrolment`.
        """
        # Costly work comes after the decision, here and in `work` both.
        require_permit(services, officer, Act.KEEP_ACCOUNT, matter_of_person(officer))
        password = body.password.get_secret_value()
        require_strong(password, (officer.id, officer.name, officer.department))
        stored = services.store.officer_secret(officer.id)
        if stored is None:
            raise GatewayError("conflict", "this account has no password yet: ask for a code to set one")
        current = body.current.get_secret_value()
        lane = f"{officer.id} {session_of(request)}"
        accounts.attempt(lane, sign_in.address(request), lambda: accounts.pool.is_right(stored, current))
        hashed = accounts.pool.hash(password)

        def work(deed: Deed) -> Answer:
            deed.permit(Act.KEEP_ACCOUNT, matter_of_person(deed.officer))
            if deed.tx.officer_secret(officer.id) != stored:
                raise GatewayError("precondition-failed", "the password was changed meanwhile")
            deed.tx.put_officer(deed.officer, secret_hash=hashed)
            deed.tx.note_account(officer.id, "the password was changed", officer.id)
            deed.record(
                RecordKind.DIRECTORY, department=officer.department, of=officer.id, reason=Phrase("password changed")
            )
            return Answer({"officer": officer.id})

        changed = perform(services, request, officer, None, None, work)
        begun: dict[str, Any] = begin_session(sign_in, officer, "password", bound_of(request))
        record = _record_of(changed)
        return json_response({"record": record["Sharing-Record"], **begun}, headers=record)


def _shown_recovery(pending: Any, now: int) -> dict[str, Any] | None:
    if pending is None or now >= pending.expires_unix:
        return None
    return {
        name: getattr(pending, name) for name in ("asked_by", "approved_by", "asked_unix", "expires_unix", "reason")
    }
