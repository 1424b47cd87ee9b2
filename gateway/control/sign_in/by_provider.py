"""Sign-in by the OpenID provider: pages in a browser, and what becomes of a session when it ends or goes on.

    GET  /sign-in/provider          to the provider, and back by
    GET  /sign-in/provider/answer   its answer -> a session, in a cookie where a page asked; else see `command_line`
    POST /sign-in/provider/logout   the provider says that somebody has signed out there, or was disabled

What the provider gives with a session, its refresh token among it, is kept sealed in the state and shown to nobody.
"""

import hashlib
from collections.abc import Callable
from hmac import compare_digest
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from gateway.control.sign_in.sign_in import (
    NOT_STORED,
    SESSION_COOKIE,
    SignInServices,
    begin_session,
    cookie_name,
    set_cookie,
)
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Officer, ProviderSession
from gateway.domain.texts import Phrase
from gateway.domain.uses import RecordKind
from gateway.identity.officers.oidc import OpenIdSignIn, Pending, Person, SignedOut
from gateway.ledger.journal.acts import ActJournal
from gateway.store import Store

PENDING_COOKIE = "sharing-sign-in"
_PENDING_CONTEXT = "sign-in/provider"
_KEPT_CONTEXT = "sign-in/session"


class Asker(msgspec.Struct, frozen=True):
    """A command line that asks for a sign-in in a browser.

    Args:
        redirect_uri: its listener on loopback.
        state: its own, which it gets back.
        challenge: PKCE's (S256).
        key: the thumbprint of the key that the session is to be bound to.
    """

    redirect_uri: str
    state: str
    challenge: str
    key: str


class Begun(msgspec.Struct, frozen=True):
    """A sign-in that this browser began, and for whom: None for the pages themselves."""

    pending: Pending
    asker: Asker | None = None


class _Kept(msgspec.Struct, frozen=True):
    """What is sealed with a session: its person at the provider, and the refresh token."""

    subject: str
    refresh_token: str


Ask = Callable[[Request, Begun, Officer, Person], Response]
"""The page on which an officer who has signed in agrees that a command line acts; see `command_line`."""


def provider_router(services: SignInServices, provider: OpenIdSignIn, ask: Ask) -> APIRouter:
    """The routes of sign-in by `provider`; `ask` answers where a command line asked."""
    router = APIRouter(prefix="/sign-in/provider", tags=["sign-in"])

    @router.get("", summary="Sign in by the OpenID provider")
    async def to_provider(
        return_to: Annotated[str, Query(max_length=1024, description="a path to come back to")] = "/",
    ) -> Response:
        return await go_to_provider(services, provider, return_to, None)

    @router.get("/answer", summary="The OpenID provider's answer")
    async def from_provider(
        request: Request,
        code: Annotated[str, Query(max_length=2048)] = "",
        state: Annotated[str, Query(max_length=256)] = "",
        iss: Annotated[str | None, Query(max_length=512)] = None,
        error: Annotated[str, Query(max_length=256)] = "",
    ) -> Response:
        begun = None
        try:
            begun = pending_of(services, request.cookies.get(cookie_name(services, PENDING_COOKIE), ""))
            await _use_up(services, provider, begun, code, error)
            person = await provider.finish(begun.pending, code=code, state=state, issuer=iss)
            officer = await run_in_threadpool(known, services, person)
        except GatewayError as refusal:
            services.security.note(f"sign-in: {refusal.code}", services.address(request))
            if begun is None or begun.asker is None or not compare_digest(state.encode(), begun.pending.state.encode()):
                raise
            # The command line waits: it is told, in our own words.
            told = {"error": "access_denied", "error_description": refusal.detail}
            return send_back(services, begun.asker, told)
        if begun.asker is not None:
            return await run_in_threadpool(ask, request, begun, officer, person)
        session = await run_in_threadpool(begin_at_provider, services, officer, person, "provider", None)
        answer = RedirectResponse(begun.pending.return_to, 303, headers=NOT_STORED)
        set_cookie(services, answer, SESSION_COOKIE, str(session["access_token"]), services.lifetime_seconds)
        answer.delete_cookie(cookie_name(services, PENDING_COOKIE))
        return answer

    @router.post("/logout", summary="The OpenID provider's back-channel logout")
    async def logout(request: Request) -> Response:
        """A form with `logout_token` (OpenID Connect Back-Channel Logout 1.0): the person's sessions end here too."""
        form = dict(parse_qsl((await request.body()).decode("ascii", "replace"), max_num_fields=16))
        try:
            signed_out = await provider.signed_out(form.get("logout_token", ""))
        except GatewayError as refusal:
            services.security.note(f"logout: {refusal.code}", services.address(request))
            raise
        digest = hashlib.sha256(form["logout_token"].encode()).hexdigest()
        if await run_in_threadpool(services.use_once, "logout", digest, signed_out.until_unix):
            await run_in_threadpool(services.end_as, signed_out)
        return JSONResponse({"signed_out": signed_out.subject or signed_out.sid}, headers=NOT_STORED)

    return router


async def go_to_provider(
    services: SignInServices, provider: OpenIdSignIn, return_to: str, asker: Asker | None
) -> Response:
    """Send a browser to the provider; what must be kept meanwhile stands sealed in its cookie."""
    url, pending = await provider.begin(return_to)
    answer = RedirectResponse(url, 303, headers=NOT_STORED)
    sealed = services.cipher().seal(msgspec.json.encode(Begun(pending, asker)), _PENDING_CONTEXT)
    set_cookie(services, answer, PENDING_COOKIE, sealed, 600)
    return answer


def pending_of(services: SignInServices, sealed: str) -> Begun:
    """What a browser's cookie keeps of a sign-in; `credential-invalid` where it keeps none."""
    try:
        return msgspec.json.decode(services.cipher().unseal(sealed, _PENDING_CONTEXT), type=Begun)
    except (GatewayError, msgspec.DecodeError) as error:
        raise GatewayError("credential-invalid", "the sign-in was begun elsewhere: begin again") from error


async def _use_up(services: SignInServices, provider: OpenIdSignIn, begun: Begun, code: str, error: str) -> None:
    """Let the answer to a sign-in count once, where it bears a code."""
    if error or not code:
        provider.note_refusal(error)
        raise GatewayError("credential-invalid", "the provider did not sign the officer in: begin again")
    if not await run_in_threadpool(services.use_once, "sign-in", begun.pending.state, begun.pending.until_unix):
        raise GatewayError("credential-invalid", "this answer was used before: begin again")


def send_back(services: SignInServices, asker: Asker, told: dict[str, str]) -> Response:
    """Send the browser to the listener of a command line, with what it is told."""
    told = {**told, "state": asker.state, "iss": services.issuer.issuer}
    headers = {**NOT_STORED, "Referrer-Policy": "no-referrer"}
    answer = RedirectResponse(f"{asker.redirect_uri}?{urlencode(told)}", 303, headers=headers)
    answer.delete_cookie(cookie_name(services, PENDING_COOKIE))
    return answer


def known(services: SignInServices, person: Person) -> Officer:
    """The officer whom the provider names, bound to that person; `credential-invalid` where the gateway has none."""
    officer = services.officer(person.officer)
    if officer is None or not officer.active:
        raise GatewayError("credential-invalid", "the provider knows this person, the gateway does not")
    services.known_as(person.issuer, person.subject, officer.id)
    return officer


def begin_at_provider(
    services: SignInServices, officer: Officer, person: Person, method: str, key: str | None
) -> dict[str, object]:
    """A new session, and what the provider gave with it."""
    bound = {"jkt": key} if key is not None else None
    return begin_session(services, officer, method, bound, lambda id_: keep(services, id_, person))


def keep(services: SignInServices, session: str, person: Person) -> bool:
    """Keep what the provider gave with a session; whether that renews it."""
    ends = int(services.issuer.now()) + services.longest_seconds
    services.note_provider(sealed_with(services, session, person, ends))
    return bool(person.refresh_token)


def sealed_with(services: SignInServices, session: str, person: Person, ends_unix: int) -> ProviderSession:
    """What is kept of `person` with a session that is not renewed beyond `ends_unix`."""
    kept = _Kept(person.subject, person.refresh_token)
    sealed = services.cipher().seal(msgspec.json.encode(kept), f"{_KEPT_CONTEXT}/{session}")
    return ProviderSession(session, person.issuer, person.sid, ends_unix, sealed)


def kept_with(services: SignInServices, found: ProviderSession) -> tuple[str, str]:
    """The person at the provider, and the refresh token, of a session; "" where it has none."""
    try:
        opened = services.cipher().unseal(found.sealed, f"{_KEPT_CONTEXT}/{found.session}")
        kept = msgspec.json.decode(opened, type=_Kept)
    except (GatewayError, msgspec.DecodeError):
        return "", ""
    return kept.subject, kept.refresh_token


def bound_for_good(store: Store) -> Callable[[str, str, str], None]:
    """`SignInServices.known_as` over `store`: the first sign-in binds a person to an account, both ways, for good.

    A provider gives a name such as `preferred_username` to another person one day; its `sub` never (OpenID Connect
    Core §5.7). So whoever comes by the name of one who was here before is not let in as that one.
    """

    def bind(issuer: str, subject: str, officer: str) -> None:
        if store.provider_officer(issuer, subject) == officer:
            return
        try:
            with store.transaction() as tx:
                tx.know_at_provider(issuer, subject, officer)
        except GatewayError as error:
            if error.code != "conflict":
                raise
            raise GatewayError(
                "credential-invalid", "the provider gave this officer's name to another person"
            ) from error

    return bind


def noter(store: Store) -> Callable[[ProviderSession], None]:
    """`SignInServices.note_provider` over `store`."""

    def note(found: ProviderSession) -> None:
        with store.transaction() as tx:
            tx.note_provider_session(found)

    return note


def ender(store: Store, acts: ActJournal) -> Callable[[SignedOut], None]:
    """`SignInServices.end_as` over `store`, on record.

    A session that the token names ends alone; a token that names the person alone ends every session.
    """

    def end(signed_out: SignedOut) -> None:
        named = store.sessions_by_sid(signed_out.issuer, signed_out.sid) if signed_out.sid else ()
        if named:
            found = store.session(named[0])
            officer = found.officer if found is not None else None
        else:
            officer = store.provider_officer(signed_out.issuer, signed_out.subject) if signed_out.subject else None
        person = store.officer(officer) if officer is not None else None
        if person is None:
            return
        with store.transaction() as tx:
            ended = sum(
                tx.end_sessions("sign-out at the provider", officer=person.id, session=session)
                for session in (named or (None,))
            )
            if ended:
                said = {"act": "signOut", "method": Phrase("provider"), "officer": person.id, "sessions": ended}
                department = {"officer_department": person.department, "department": person.department}
                acts.append(RecordKind.CONSULTATION, {**said, **department})

    return end
