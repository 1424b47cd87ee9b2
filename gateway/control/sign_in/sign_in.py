"""Who acts on the control plane: officers, by a session token; and how they come by one.

    POST /sign-in                   officer and password -> session token
    GET  /sign-in/provider          to the OpenID provider, and back by
    GET  /sign-in/provider/answer   its answer -> session token, in a cookie where a page asked
    POST /sign-in/provider/logout   the provider says that somebody has signed out there, or was disabled

Each sign-in is on record before its token leaves, as a `consultation`: the kind of what officers do that changes
nothing. It is no `key`: those tell what became of keys and stored secrets, and are to be looked through without every
morning's sign-ins. What failed is counted and logged (`SecurityLog`), and is no record.

A token names a session and its officer and nothing else: whether the session stands, roles, region and dismissal are
read anew at every request, once its body is here, and once more within the transaction of an act (ASKED-AT-COMMIT).
The cookie is for the console's own pages, which send the token on; the control API takes no cookie, so that no other
site can make a browser act for an officer.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from msgspec import to_builtins
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from gateway.control.act.addresses import AddressOf, direct_address
from gateway.domain.errors import GatewayError
from gateway.domain.officers import AccountEvent, Officer, Session
from gateway.domain.uses import RecordKind
from gateway.identity.accounts import LocalAccounts
from gateway.identity.oidc import OpenIdSignIn, Pending, Person, encode_pending, parse_pending
from gateway.identity.security_log import SecurityLog
from gateway.identity.strict import MAX_TOKEN_BYTES, Unreadable
from gateway.identity.symmetric import FieldCipher
from gateway.identity.tokens import OFFICER_TOKEN_SECONDS, TokenIssuer
from gateway.identity.verify import TokenVerifier
from gateway.ledger.journal.acts import ActJournal
from gateway.store import Store

SESSION_COOKIE = "sharing-session"
"""Holds the session token of an officer who signed in by a page; `__Host-` stands before it over https."""

SESSION_SCOPE = "gateway.session"
"""Where the id of the session that a request was sent in stands in its scope."""

_DEVICE_COOKIE = "sharing-device"
_DEVICE_CONTEXT = "sign-in/device"
DEVICE_SECONDS = 366 * 86_400

_PENDING_COOKIE = "sharing-sign-in"
_PENDING_CONTEXT = "sign-in/provider"
_CHALLENGE = (("WWW-Authenticate", 'Bearer realm="control"'),)


class PeopleState(Protocol):
    """Where officers and their sessions stand: the state, or a transaction on it; may block."""

    def officer(self, id_: str, /) -> Officer | None: ...
    def session(self, id_: str, /) -> Session | None: ...


class OfficerSignIn:
    """Tells officers by their session tokens.

    Args:
        verifier: verifies tokens.
        state: officers and sessions; may block.
        security: counters and log of refusals.
        now: the clock, Unix seconds.
        address: where a request comes from.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        state: PeopleState,
        security: SecurityLog,
        now: Callable[[], float],
        *,
        address: AddressOf = direct_address,
    ) -> None:
        self._verifier = verifier
        self._state = state
        self._security = security
        self._now = now
        self._address = address

    def officer_of(self, request: Request) -> Officer:
        """The officer who sends `request`, as registered now: a FastAPI dependency that runs in a thread.

        Raises:
            GatewayError: `credential-missing` or `credential-invalid`.
        """
        sent = request.headers.getlist("authorization")
        if not sent:
            raise GatewayError(
                "credential-missing", "sign in, or get a token by `gateway officers token`", headers=_CHALLENGE
            )
        try:
            claims = self._verifier.verify_officer(_bearer(sent).encode("utf-8"))
            assert claims.session is not None
            # The token names its officer as well; only the session is asked, which is that officer's for good.
            officer = person_of(self._state, claims.session, self._now())
        except Unreadable as error:
            self._security.note(str(error), self._address(request))
            raise GatewayError("credential-invalid", str(error), headers=_CHALLENGE) from error
        request.scope[SESSION_SCOPE] = claims.session
        return officer

    def still(self, state: PeopleState, request: Request) -> Officer:
        """Who sent a request that `officer_of` has taken, as `state` has them and their session now.

        Raises:
            GatewayError: `credential-invalid` where the session has ended or the officer was dismissed meanwhile.
        """
        try:
            return person_of(state, session_of(request), self._now())
        except Unreadable as error:
            raise GatewayError("credential-invalid", str(error), headers=_CHALLENGE) from error


def session_of(request: Request) -> str:
    """The id of the session that a request was sent in which `officer_of` has taken."""
    session: str = request.scope[SESSION_SCOPE]
    return session


def person_of(state: PeopleState, session_id: str, now_unix: float) -> Officer:
    """The officer of a session that stands, as registered in `state`; raises `Unreadable`."""
    session = state.session(session_id)
    if session is None or not session.stands(now_unix):
        why = f": {session.ended_by}" if session is not None and session.ended_by else ""
        raise Unreadable(f"the session has ended{why}")
    officer = state.officer(session.officer)
    if officer is None or not officer.active:
        raise Unreadable("the officer is not known or dismissed")
    return officer


def _bearer(sent: list[str]) -> str:
    scheme, _, token = sent[0].partition(" ")
    if len(sent) > 1 or scheme.lower() != "bearer" or len(token) > MAX_TOKEN_BYTES:
        raise Unreadable("the request bears no single bearer token")
    return token.strip(" ")


class PasswordBody(BaseModel):
    """An officer's id and password, and what an earlier sign-in on this device was answered with as `device`."""

    model_config = ConfigDict(extra="forbid")

    officer: str = Field(min_length=1, max_length=64)
    password: str = Field(min_length=1, max_length=1024, repr=False)
    device: str = Field("", max_length=1024, repr=False)


@dataclass(frozen=True, slots=True)
class SignInServices:
    """What signing in needs.

    Args:
        issuer: signs session tokens.
        officer: the officer of an id, or None; may block.
        open_session: begins a session of an officer (officer, method, seconds); may block.
        known_as: which officer a person (issuer, `sub`) at the OpenID provider is, given whom the provider names;
            raises where the name was another person's; may block.
        security: counters and log of refusals.
        accounts: local accounts; None leaves them out.
        provider: the OpenID provider; None leaves it out.
        cipher: seals what a browser keeps for us meanwhile.
        use_once: durable, shared by all processes; may block.
        end_as: ends every session of whoever a person (issuer, `sub`) at the provider is; may block.
        tell: what the owner of an account has not been told yet of what others did about it; may block.
        signed_in: told of every sign-in, officer and method, before its token leaves, to record it; may block. What it
            raises ends the sign-in without a token.
        lifetime_seconds: of a session.
        address: where a request comes from.
    """

    issuer: TokenIssuer
    officer: Callable[[str], Officer | None]
    open_session: Callable[[str, str, int], Session]
    known_as: Callable[[str, str, str], None]
    security: SecurityLog
    accounts: LocalAccounts | None
    provider: OpenIdSignIn | None
    cipher: Callable[[], FieldCipher]
    use_once: Callable[[str, str, int], bool]
    end_as: Callable[[str, str], None]
    tell: Callable[[str], tuple[AccountEvent, ...]]
    signed_in: Callable[[Officer, str], None]
    lifetime_seconds: int = OFFICER_TOKEN_SECONDS
    address: AddressOf = direct_address

    @property
    def is_secure(self) -> bool:
        """Whether browsers come over https, also where a proxy ends it: what the issuer's URL says."""
        return self.issuer.issuer.startswith("https://")


def recorder(acts: ActJournal) -> Callable[[Officer, str], None]:
    """Records sign-ins, for `SignInServices.signed_in`: who, by which method, and never with what.

    Durability: a sign-in is synced on return.

    Raises, when called:
        GatewayError: `records-unavailable` if it could not be made durable.
    """

    def record(officer: Officer, method: str) -> None:
        acts.append(
            RecordKind.CONSULTATION,
            {
                "act": "signIn",
                "method": method,
                "officer": officer.id,
                "officer_department": officer.department,
                # Who may consult the officer's department's records finds it.
                "department": officer.department,
            },
        )

    return record


def sign_in_router(services: SignInServices) -> APIRouter:
    """The routes by which officers get session tokens; hand it to `OAuthServices.further`."""
    router = APIRouter(prefix="/sign-in", tags=["sign-in"])
    if services.accounts is not None:
        _add_password(router, services, services.accounts)
    if services.provider is not None:
        _add_provider(router, services, services.provider)
        _add_logout(router, services, services.provider)
    return router


def _add_password(router: APIRouter, services: SignInServices, accounts: LocalAccounts) -> None:
    @router.post("", summary="Sign in by a local account")
    def by_password(request: Request, body: PasswordBody) -> Response:
        address = services.address(request)
        try:
            device = _device_of(services, request, body)
            officer = accounts.sign_in(body.officer, body.password, address, device=device)
        except GatewayError as error:
            services.security.note(f"sign-in: {error.code}", address)
            raise
        begun = begin_session(services, officer, "password")
        answer = JSONResponse(begun, headers=_NOT_STORED)
        _set_cookie(services, answer, _DEVICE_COOKIE, str(begun["device"]), DEVICE_SECONDS)
        return answer


def _add_provider(router: APIRouter, services: SignInServices, provider: OpenIdSignIn) -> None:
    @router.get("/provider", summary="Sign in by the OpenID provider")
    async def to_provider(
        return_to: Annotated[str, Query(max_length=1024, description="a path to come back to")] = "/",
    ) -> Response:
        url, pending = await provider.begin(return_to)
        answer = RedirectResponse(url, 303, headers=_NOT_STORED)
        sealed = services.cipher().seal(encode_pending(pending), _PENDING_CONTEXT)
        _set_cookie(services, answer, _PENDING_COOKIE, sealed, 600)
        return answer

    @router.get("/provider/answer", summary="The OpenID provider's answer")
    async def from_provider(
        request: Request,
        code: Annotated[str, Query(max_length=2048)] = "",
        state: Annotated[str, Query(max_length=256)] = "",
        iss: Annotated[str | None, Query(max_length=512)] = None,
        error: Annotated[str, Query(max_length=256)] = "",
    ) -> Response:
        try:
            sealed = "" if error else request.cookies.get(_cookie_name(services, _PENDING_COOKIE), "")
            pending = await _pending(services, sealed, code)
            person = await provider.finish(pending, code=code, state=state, issuer=iss)
            officer = await run_in_threadpool(_known, services, person)
        except GatewayError as refusal:
            services.security.note(f"sign-in: {refusal.code}", services.address(request))
            raise
        session = await run_in_threadpool(begin_session, services, officer, "provider")
        answer = RedirectResponse(pending.return_to, 303, headers=_NOT_STORED)
        _set_cookie(services, answer, SESSION_COOKIE, str(session["access_token"]), services.lifetime_seconds)
        answer.delete_cookie(_cookie_name(services, _PENDING_COOKIE))
        return answer


def _add_logout(router: APIRouter, services: SignInServices, provider: OpenIdSignIn) -> None:
    @router.post("/provider/logout", summary="The OpenID provider's back-channel logout")
    async def logout(request: Request) -> Response:
        """A form with `logout_token` (OpenID Connect Back-Channel Logout 1.0): the person's sessions end here too."""
        form = dict(parse_qsl((await request.body()).decode("ascii", "replace"), max_num_fields=16))
        try:
            issuer, subject, until = await provider.signed_out(form.get("logout_token", ""))
        except GatewayError as refusal:
            services.security.note(f"logout: {refusal.code}", services.address(request))
            raise
        digest = hashlib.sha256(form["logout_token"].encode()).hexdigest()
        if await run_in_threadpool(services.use_once, "logout", digest, until):
            await run_in_threadpool(services.end_as, issuer, subject)
        return JSONResponse({"signed_out": subject}, headers=_NOT_STORED)


async def _pending(services: SignInServices, sealed: str, code: str) -> Pending:
    """The sign-in that this browser began; it can be finished once."""
    if not sealed or not code:
        raise GatewayError("credential-invalid", "the provider did not sign the officer in: begin again")
    try:
        pending = parse_pending(services.cipher().unseal(sealed, _PENDING_CONTEXT))
    except GatewayError as error:
        raise GatewayError("credential-invalid", "the sign-in was begun elsewhere: begin again") from error
    if not await run_in_threadpool(services.use_once, "sign-in", pending.state, pending.until_unix):
        raise GatewayError("credential-invalid", "this answer was used before: begin again")
    return pending


def _known(services: SignInServices, person: Person) -> Officer:
    officer = services.officer(person.officer)
    if officer is None or not officer.active:
        raise GatewayError("credential-invalid", "the provider knows this person, the gateway does not")
    services.known_as(person.issuer, person.subject, officer.id)
    return officer


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


def ender(store: Store, acts: ActJournal) -> Callable[[str, str], None]:
    """`SignInServices.end_as` over `store`, on record."""

    def end(issuer: str, subject: str) -> None:
        officer = store.provider_officer(issuer, subject)
        person = store.officer(officer) if officer is not None else None
        if person is None:
            return
        with store.transaction() as tx:
            ended = tx.end_sessions("sign-out at the provider", officer=person.id)
            if ended:
                said = {"act": "signOut", "method": "provider", "officer": person.id, "sessions": ended}
                department = {"officer_department": person.department, "department": person.department}
                acts.append(RecordKind.CONSULTATION, {**said, **department})

    return end


def teller(store: Store) -> Callable[[str], tuple[AccountEvent, ...]]:
    """`SignInServices.tell` over `store`."""

    def tell(officer: str) -> tuple[AccountEvent, ...]:
        with store.transaction() as tx:
            return tx.tell_account(officer)

    return tell


def begin_session(services: SignInServices, officer: Officer, method: str) -> dict[str, object]:
    """A new session: its token, how long it lives, what names this device from now on, and what its owner is told."""
    session = services.open_session(officer.id, method, services.lifetime_seconds)
    token = services.issuer.issue_officer(officer, services.lifetime_seconds, session=session.id)
    device = services.cipher().seal(f"{officer.id} {session.id}".encode(), _DEVICE_CONTEXT)
    # Last, so that no sign-in is on record that came to no token; a failure ends here, with the token.
    services.signed_in(officer, method)
    return {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": services.lifetime_seconds,
        "device": device,
        "told": [to_builtins(event) for event in services.tell(officer.id)],
    }


def _device_of(services: SignInServices, request: Request, body: PasswordBody) -> str:
    """The name of a device that this officer has signed in on before; "" where none is shown, or another officer's."""
    shown = body.device or request.cookies.get(_cookie_name(services, _DEVICE_COOKIE), "")
    try:
        officer, _, name = services.cipher().unseal(shown, _DEVICE_CONTEXT).decode().partition(" ")
    except GatewayError:
        return ""
    return name if officer == body.officer else ""


def _cookie_name(services: SignInServices, name: str) -> str:
    return f"__Host-{name}" if services.is_secure else name


def _set_cookie(services: SignInServices, answer: Response, name: str, value: str, seconds: int) -> None:
    answer.set_cookie(
        _cookie_name(services, name),
        value,
        max_age=seconds,
        path="/",
        secure=services.is_secure,
        httponly=True,
        samesite="lax",
    )


_NOT_STORED = {"Cache-Control": "no-store"}
