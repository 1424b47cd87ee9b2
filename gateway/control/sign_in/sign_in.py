"""Who acts on the control plane: officers, by a session token; and how they come by one.

    GET  /sign-in                   which ways there are
    POST /sign-in                   officer and password -> session token

`by_provider` has the ways by the OpenID provider, `command_line` those of a command line.

Each sign-in is on record before its token leaves, as a `consultation`: the kind of what officers do that changes
nothing. It is no `key`: those tell what became of keys and stored secrets, and are to be looked through without every
morning's sign-ins. What failed is counted and logged (`SecurityLog`), and is no record.

A token names a session and its officer and nothing else: whether the session stands, roles, region and dismissal are
read anew at every request, once its body is here, and once more within the transaction of an act (ASKED-AT-COMMIT).
The cookie is for the console's own pages, which send the token on; the control API takes no cookie, so that no other
site can make a browser act for an officer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from msgspec import to_builtins
from pydantic import BaseModel, ConfigDict, Field

from gateway.control.act.addresses import AddressOf, direct_address
from gateway.control.act.bodies import MAX_NAME_LENGTH
from gateway.control.sign_in.possession import CHALLENGE, Possession
from gateway.domain.errors import GatewayError
from gateway.domain.officers import AccountEvent, Authenticator, Officer, ProviderSession, Session
from gateway.domain.texts import Phrase
from gateway.domain.uses import RecordKind
from gateway.identity.callers.security_log import SecurityLog
from gateway.identity.keys.symmetric import FieldCipher
from gateway.identity.officers.accounts import LocalAccounts
from gateway.identity.officers.oidc import OpenIdSignIn, SignedOut
from gateway.identity.officers.one_time_codes import STEP_SECONDS, step_of
from gateway.identity.strict import MAX_TOKEN_BYTES, Unreadable
from gateway.identity.tokens.issuing import MAX_OFFICER_TOKEN_SECONDS, OFFICER_TOKEN_SECONDS, TokenIssuer
from gateway.identity.tokens.verify import TokenVerifier
from gateway.ledger.journal.acts import ActJournal
from gateway.store import Store

SESSION_COOKIE = "sharing-session"
"""Holds the session token of an officer who signed in by a page; `__Host-` stands before it over https."""

SESSION_SCOPE = "gateway.session"
"""Where the id of the session that a request was sent in stands in its scope."""

_BOUND_SCOPE = "gateway.bound"

_DEVICE_COOKIE = "sharing-device"
_DEVICE_CONTEXT = "sign-in/device"
DEVICE_SECONDS = 366 * 86_400


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
        possession: reads the proofs of sessions that are bound to a key.
        address: where a request comes from.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        state: PeopleState,
        security: SecurityLog,
        now: Callable[[], float],
        possession: Possession,
        *,
        address: AddressOf = direct_address,
    ) -> None:
        self._possession = possession
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
                "credential-missing", "sign in, or get a token by `gateway officers token`", headers=CHALLENGE
            )
        try:
            scheme, token = _credential(sent)
            claims = self._verifier.verify_officer(token)
            assert claims.session is not None
            if claims.certificate is not None or (scheme == "dpop") is (claims.proof_key is None):
                raise Unreadable("the token is shown by another scheme than it is bound by")  # noqa: TRY301 -- as all
            if claims.proof_key is not None:
                self._possession.required(request, token, claims.proof_key)
            # The token names its officer as well; only the session is asked, which is that officer's for good.
            officer = person_of(self._state, claims.session, self._now())
        except Unreadable as error:
            self._security.note(str(error), self._address(request))
            raise GatewayError("credential-invalid", str(error), headers=CHALLENGE) from error
        request.scope[SESSION_SCOPE] = claims.session
        request.scope[_BOUND_SCOPE] = {"jkt": claims.proof_key} if claims.proof_key is not None else None
        return officer

    def still(self, state: PeopleState, request: Request) -> Officer:
        """Who sent a request that `officer_of` has taken, as `state` has them and their session now.

        Raises:
            GatewayError: `credential-invalid` where the session has ended or the officer was dismissed meanwhile.
        """
        try:
            return person_of(state, session_of(request), self._now())
        except Unreadable as error:
            raise GatewayError("credential-invalid", str(error), headers=CHALLENGE) from error


def bound_of(request: Request) -> dict[str, str] | None:
    """What the session that a request was sent in is bound to (`cnf`), once `officer_of` has taken it."""
    bound: dict[str, str] | None = request.scope[_BOUND_SCOPE]
    return bound


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


def _credential(sent: list[str]) -> tuple[str, bytes]:
    """The scheme and the token of a request; raises `Unreadable`."""
    scheme, _, token = sent[0].partition(" ")
    if len(sent) > 1 or scheme.lower() not in ("bearer", "dpop") or len(token) > MAX_TOKEN_BYTES:
        raise Unreadable("the request bears no single session token")
    return scheme.lower(), token.strip(" ").encode("utf-8")


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """One-time codes beside the passwords of local accounts.

    Args:
        find: the authenticator of an officer, or None; may block.
        cipher: seals its secret.
        use_once: durable, shared by all processes; may block.
        now: the clock, Unix seconds.
    """

    find: Callable[[str], Authenticator | None]
    cipher: Callable[[], FieldCipher]
    use_once: Callable[[str, str, int], bool]
    now: Callable[[], float]

    def seal(self, officer: str, secret: bytes) -> str:
        """The secret of an officer's authenticator, as it is kept."""
        return self.cipher().seal(secret, f"authenticator/{officer}")

    def is_right(self, found: Authenticator, code: str) -> bool:
        """Whether `code` is one that the authenticator shows now, and was not used before."""
        secret = self.cipher().unseal(found.sealed, f"authenticator/{found.officer}")
        step = step_of(secret, code, self.now())
        until = int(self.now()) + 4 * STEP_SECONDS
        return step is not None and self.use_once("one-time-code", f"{found.officer} {step}", until)

    def check(self, officer: Officer, code: str) -> bool:
        """Whether the second factor lets an officer in whose password was right.

        Raises:
            GatewayError: `credential-invalid` with the member `needs` where a code is asked for.
        """
        found = self.find(officer.id)
        if found is None or not found.confirmed:
            return True
        if not code:
            raise GatewayError("credential-invalid", "this account asks for a one-time code", needs="one-time-code")
        return self.is_right(found, code)


class PasswordBody(BaseModel):
    """An officer's id and password, and what an earlier sign-in on this device was answered with as `device`."""

    model_config = ConfigDict(extra="forbid")

    officer: str = Field(min_length=1, max_length=MAX_NAME_LENGTH)
    password: str = Field(min_length=1, max_length=1024, repr=False)
    device: str = Field("", max_length=1024, repr=False)
    one_time_code: str = Field("", max_length=16, repr=False)


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
        end_as: ends the sessions that the provider signs out; may block.
        note_provider: keeps what the provider gave with a session; may block.
        tell: what the owner of an account has not been told yet of what others did about it; may block.
        signed_in: told of every sign-in, officer and method, before its token leaves, to record it; may block. What it
            raises ends the sign-in without a token.
        possession: reads the proof by which a sign-in binds its session to a key.
        second_factor: one-time codes beside passwords.
        lifetime_seconds: of a session, until it is renewed.
        longest_seconds: of a session that is renewed.
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
    end_as: Callable[[SignedOut], None]
    note_provider: Callable[[ProviderSession], None]
    tell: Callable[[str], tuple[AccountEvent, ...]]
    signed_in: Callable[[Officer, str], None]
    possession: Possession
    second_factor: SecondFactor
    lifetime_seconds: int = OFFICER_TOKEN_SECONDS
    longest_seconds: int = MAX_OFFICER_TOKEN_SECONDS
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
                "method": Phrase(method),
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
    _add_ways(router, services)
    if services.accounts is not None:
        _add_password(router, services, services.accounts)
    return router


def _add_ways(router: APIRouter, services: SignInServices) -> None:
    @router.get("", summary="The ways to sign in")
    async def ways() -> JSONResponse:
        """What this control plane calls itself, which proofs name, and by what officers can sign in.

        `device` is null until the provider has said whether it has that.
        """
        provider = services.provider
        found = {
            "issuer": services.issuer.issuer,
            "password": services.accounts is not None,
            "provider": provider.issuer if provider is not None else None,
            "device": provider.offers_devices if provider is not None else False,
        }
        return JSONResponse(found, headers={**NOT_STORED, **services.possession.nonce()})


def _add_password(router: APIRouter, services: SignInServices, accounts: LocalAccounts) -> None:
    @router.post("", summary="Sign in by a local account")
    def by_password(request: Request, body: PasswordBody) -> Response:
        address = services.address(request)
        bound = services.possession.offered(request)
        try:
            device = _device_of(services, request, body)
            second = lambda officer: services.second_factor.check(officer, body.one_time_code)  # noqa: E731
            officer = accounts.sign_in(body.officer, body.password, address, device=device, second=second)
        except GatewayError as error:
            services.security.note(f"sign-in: {error.code}", address)
            raise
        begun = begin_session(services, officer, "password", bound)
        answer = JSONResponse(begun, headers=NOT_STORED)
        set_cookie(services, answer, _DEVICE_COOKIE, str(begun["device"]), DEVICE_SECONDS)
        return answer


def teller(store: Store) -> Callable[[str], tuple[AccountEvent, ...]]:
    """`SignInServices.tell` over `store`."""

    def tell(officer: str) -> tuple[AccountEvent, ...]:
        with store.transaction() as tx:
            return tx.tell_account(officer)

    return tell


def begin_session(
    services: SignInServices,
    officer: Officer,
    method: str,
    bound: Mapping[str, str] | None = None,
    keep: Callable[[str], bool] = lambda _session: False,
) -> dict[str, object]:
    """A new session: its token, how long it lives, what names this device from now on, and what its owner is told.

    Args:
        services: what signing in needs.
        officer: whose.
        method: how it was begun.
        bound: the key that it is bound to, see `Possession.offered`.
        keep: keeps what else belongs to the session; whether that renews it.
    """
    session = services.open_session(officer.id, method, services.lifetime_seconds)
    return answer_with(services, officer, method, session.id, bound, renews=keep(session.id))


def answer_with(
    services: SignInServices,
    officer: Officer,
    method: str,
    session: str,
    bound: Mapping[str, str] | None,
    *,
    renews: bool,
) -> dict[str, object]:
    """What a sign-in is answered with, see `begin_session`: the first token of a session, which is on record then."""
    device = services.cipher().seal(f"{officer.id} {session}".encode(), _DEVICE_CONTEXT)
    shown = shown_session(services, officer, session, bound, services.lifetime_seconds)
    # Last, so that no sign-in is on record that came to no token; a failure ends here, with the token.
    services.signed_in(officer, method)
    told = [to_builtins(event) for event in services.tell(officer.id)]
    return {**shown, "officer": officer.id, "renews": renews, "device": device, "told": told}


def shown_session(
    services: SignInServices, officer: Officer, session: str, bound: Mapping[str, str] | None, seconds: int
) -> dict[str, object]:
    """A new token of a session, and how long it lives (RFC 6749 §5.1)."""
    token = services.issuer.issue_officer(officer, seconds, session=session, cnf=bound)
    return {"access_token": token, "token_type": "DPoP" if bound else "Bearer", "expires_in": seconds}


def _device_of(services: SignInServices, request: Request, body: PasswordBody) -> str:
    """The name of a device that this officer has signed in on before; "" where none is shown, or another officer's."""
    shown = body.device or request.cookies.get(cookie_name(services, _DEVICE_COOKIE), "")
    try:
        officer, _, name = services.cipher().unseal(shown, _DEVICE_CONTEXT).decode().partition(" ")
    except GatewayError:
        return ""
    return name if officer == body.officer else ""


def cookie_name(services: SignInServices, name: str) -> str:
    return f"__Host-{name}" if services.is_secure else name


def set_cookie(services: SignInServices, answer: Response, name: str, value: str, seconds: int) -> None:
    answer.set_cookie(
        cookie_name(services, name),
        value,
        max_age=seconds,
        path="/",
        secure=services.is_secure,
        httponly=True,
        samesite="lax",
    )


NOT_STORED = {"Cache-Control": "no-store"}
