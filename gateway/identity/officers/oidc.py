"""Officers' sign-in by an OpenID Connect provider: the authorization code flow with PKCE, and the device grant.

The protocol's pieces (request, code challenge, ID token rules) are Authlib's (`oidc` extra); requests go by httpx, and
the ID token's bytes and signature are read by this room's own strict rules before Authlib sees a claim.

    begin            state, nonce and PKCE verifier are made, and kept sealed by whoever asks until the answer comes
    finish           `state` and `iss` are compared, the code is exchanged, the ID token verified, the officer named
    begin_device     a code to type on another device is asked for
    finish_device    asked until the officer has typed it there and agreed
    renew            whether the person may still sign in there, by the refresh token
    revoke           the refresh token is given back
    signed_out       whom a logout token signs out

Source: OpenID Connect Core 1.0 §3.1, §5.3; RFC 7636 (S256 only); RFC 9207 (`iss` in the answer); RFC 9700 §2.1;
RFC 8628; RFC 7009; OpenID Connect Back-Channel Logout 1.0 §2.6; RP-Initiated Logout 1.0 §2.
"""

import hmac
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec

from gateway.domain.errors import GatewayError
from gateway.identity.officers.oidc_endpoints import Provider, ProviderEndpoints, is_safe_url
from gateway.identity.strict import Unreadable, is_text
from gateway.identity.tokens.issuers import ERROR_WORD, AnswerRefused
from gateway.identity.tokens.verify import SKEW_SECONDS

__all__ = ["DeviceAsked", "OpenIdSignIn", "Pending", "Person", "Provider", "SignedOut", "is_safe_url"]

SIGN_IN_SECONDS = 600
MAX_SUBJECT_CHARACTERS = 255
"""OpenID Connect Core §2."""
MAX_REFRESH_TOKEN_BYTES = 16 * 1024
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_DEVICE_INTERVAL_SECONDS = 5
"""RFC 8628 §3.2, where the provider names none."""
_ID_TOKEN_TYPES = frozenset({"", "jwt"})
_LOGOUT_TOKEN_TYPES = frozenset({"", "jwt", "logout+jwt"})
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_LOG = logging.getLogger("gateway.security")


class Pending(msgspec.Struct, frozen=True):
    """A sign-in that has begun: what must be kept, sealed, until the provider's answer comes.

    Args:
        state: binds the answer to the browser that asked.
        nonce: binds the ID token to this sign-in.
        verifier: PKCE's secret.
        return_to: the local path to go to afterwards.
        until_unix: when it lapses.
    """

    state: str
    nonce: str
    verifier: str
    return_to: str
    until_unix: int


class Person(msgspec.Struct, frozen=True):
    """Who signed in at a provider.

    Args:
        issuer: the provider.
        subject: its own name for the person (`sub`), which it never gives to another.
        officer: whom `officer_claim` names.
        sid: its own name for the session; "" where it gives none.
        refresh_token: what the session can be renewed by; "" where it gives none.
    """

    issuer: str
    subject: str
    officer: str
    sid: str = ""
    refresh_token: str = ""

    def __repr__(self) -> str:
        """Never shows the refresh token (INVARIANT: NO-VALUES)."""
        return f"Person(issuer={self.issuer!r}, officer={self.officer!r})"


class DeviceAsked(msgspec.Struct, frozen=True):
    """A sign-in by the device grant that has begun.

    Args:
        device_code: what the provider is asked by; a secret.
        user_code: what the officer types.
        verification_uri: where.
        verification_uri_complete: the same with the code in it; "" where the provider gives none.
        expires_in: seconds in which it must be done.
        interval: seconds between two askings.
    """

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class SignedOut(msgspec.Struct, frozen=True):
    """Whom a logout token signs out.

    Args:
        issuer: the provider.
        subject: the person; "" where it names a session alone.
        sid: the session; "" where it names the person alone, and so every session.
        until_unix: until when the token must not come again.
    """

    issuer: str
    subject: str
    sid: str
    until_unix: int


class OpenIdSignIn:
    """Signs officers in at one provider. Belongs to one event loop.

    Args:
        provider: which one.
        now: the clock, Unix seconds.
        client: makes the requests; its redirects must be off.
    """

    def __init__(
        self, provider: Provider, now: Callable[[], float], *, client: httpx.AsyncClient | None = None
    ) -> None:
        self._provider = provider
        self._now = now
        self._endpoints = ProviderEndpoints(provider, now, client=client)
        self.watch, self.fault = self._endpoints.watch, self._endpoints.fault

    @property
    def issuer(self) -> str:
        """The provider's issuer identifier."""
        return self._provider.issuer

    @property
    def offers_devices(self) -> bool | None:
        """Whether the provider has the device grant; None before it has said so, which nobody waits for."""
        if not self._endpoints.is_known:
            return None
        return self._endpoints.known_endpoint("device_authorization_endpoint") is not None

    async def begin(self, return_to: str) -> tuple[str, Pending]:
        """The provider's URL to send the officer to, and what to keep meanwhile.

        Raises:
            GatewayError: `unavailable` where the provider cannot be asked, or Authlib is not installed.
        """
        try:
            from authlib.common.security import generate_token  # noqa: PLC0415 -- an extra
            from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # noqa: PLC0415 -- the same
            from authlib.oauth2.rfc7636 import create_s256_code_challenge  # noqa: PLC0415 -- the same
        except ImportError as error:
            raise GatewayError("unavailable", "sign-in by OpenID Connect needs the extra `oidc`") from error
        metadata = await self._endpoints.metadata()
        until = int(self._now()) + SIGN_IN_SECONDS
        pending = Pending(generate_token(32), generate_token(32), generate_token(64), local_path(return_to), until)
        uri = prepare_grant_uri(
            metadata["authorization_endpoint"],
            self._provider.client_id,
            "code",
            redirect_uri=self._provider.redirect_uri,
            scope=self._scope,
            state=pending.state,
            nonce=pending.nonce,
            code_challenge=create_s256_code_challenge(pending.verifier),
            code_challenge_method="S256",
            # OpenID Connect Core §11: without it, a refresh token that outlives the browser is not given.
            **({"prompt": "consent"} if "offline_access" in self._provider.scopes else {}),
        )
        return str(uri), pending

    @property
    def _scope(self) -> str:
        return " ".join(("openid", *self._provider.scopes))

    async def finish(self, pending: Pending, *, code: str, state: str, issuer: str | None) -> Person:
        """Who signed in.

        Args:
            pending: what `begin` gave, as it was kept.
            code: the answer's `code`.
            state: its `state`.
            issuer: its `iss`, where it has one.

        Raises:
            GatewayError: `credential-invalid` where anything does not fit; `unavailable` where the provider fails.
        """
        if self._now() >= pending.until_unix or not hmac.compare_digest(state.encode(), pending.state.encode()):
            raise GatewayError("credential-invalid", "the sign-in has lapsed or was begun elsewhere: begin again")
        if issuer is not None and issuer != self._provider.issuer:
            raise GatewayError("credential-invalid", "the answer is of another provider")
        metadata = await self._endpoints.metadata()
        if issuer is None and metadata.get("authorization_response_iss_parameter_supported") is True:
            raise GatewayError("credential-invalid", "the answer does not name its provider")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._provider.redirect_uri,
            "code_verifier": pending.verifier,
        }
        found = await self._person(form, pending.nonce)
        if found is None:
            raise GatewayError("unavailable", "the OpenID provider lets a code wait")
        return found

    def note_refusal(self, error: str) -> None:
        """Log why the provider sent an officer back without a code, if it says so by a word of RFC 6749 §4.1.2.1."""
        word = error if ERROR_WORD.fullmatch(error) else "no reason that can be read"
        _LOG.warning("the OpenID provider signed nobody in: %s", word)

    async def begin_device(self) -> DeviceAsked:
        """Ask for a code that the officer types on another device.

        Raises:
            GatewayError: `unavailable` where the provider does not offer it or fails.
        """
        endpoint = await self._endpoints.endpoint("device_authorization_endpoint", "sign-in by another device")
        try:
            answer = await self._endpoints.post(endpoint, {"scope": self._scope})
        except AnswerRefused as error:
            _LOG.error("the OpenID provider refuses the device grant: %s", error)
            raise GatewayError("unavailable", "the OpenID provider does not let this gateway use devices") from error
        try:
            asked = msgspec.convert(
                {"verification_uri_complete": "", "interval": _DEVICE_INTERVAL_SECONDS, **answer}, DeviceAsked
            )
        except msgspec.ValidationError as error:
            raise GatewayError("unavailable", "the OpenID provider's answer about devices is malformed") from error
        if not is_safe_url(asked.verification_uri) or not is_safe_url(
            asked.verification_uri_complete or asked.verification_uri
        ):
            raise GatewayError("unavailable", "the OpenID provider sends devices to what is no https URL")
        return asked

    async def finish_device(self, device_code: str) -> Person | None:
        """Who has signed in on the other device; None while nobody has.

        Raises:
            GatewayError: `rate-limited` where it is asked too often; `credential-invalid` where the officer refused,
                time is over, or anything does not fit; `unavailable` where the provider fails.
        """
        return await self._person({"grant_type": DEVICE_GRANT, "device_code": device_code}, None)

    async def _person(self, form: dict[str, str], nonce: str | None) -> Person | None:
        endpoint = str((await self._endpoints.metadata())["token_endpoint"])
        try:
            answer = await self._endpoints.post(endpoint, form)
            return await self._officer(answer, nonce)
        except AnswerRefused as error:
            if error.error == "authorization_pending":
                return None
            if error.error == "slow_down":
                raise GatewayError("rate-limited", "the OpenID provider is asked too often") from error
            _LOG.warning("the OpenID provider does not take a code: %s", error)
            raise GatewayError("credential-invalid", "the provider does not take the code: begin again") from error
        except Unreadable as error:
            _LOG.warning("an ID token of the OpenID provider is refused: %s", error)
            raise GatewayError("credential-invalid", f"the provider's ID token is refused: {error}") from error

    async def renew(self, refresh_token: str, subject: str) -> str:
        """The refresh token to keep from now on, if the person may still sign in.

        Raises:
            GatewayError: `credential-invalid` where not; `unavailable` where the provider fails.
        """
        endpoint = str((await self._endpoints.metadata())["token_endpoint"])
        try:
            answer = await self._endpoints.post(
                endpoint, {"grant_type": "refresh_token", "refresh_token": refresh_token}
            )
            if answer.get("id_token") is not None:
                # Core §12.2: what comes with it is about the same person.
                _, payload, _ = await self._endpoints.verified(answer["id_token"], _ID_TOKEN_TYPES)
                if payload.get("sub") != subject:
                    raise Unreadable("it is another person's")  # noqa: TRY301 -- as every step
        except AnswerRefused as error:
            _LOG.warning("the OpenID provider does not renew a session: %s", error)
            raise GatewayError("credential-invalid", "the provider does not renew the session") from error
        except Unreadable as error:
            _LOG.warning("an ID token of the OpenID provider is refused: %s", error)
            raise GatewayError("credential-invalid", f"the provider's ID token is refused: {error}") from error
        return _refresh_token(answer) or refresh_token

    async def revoke(self, refresh_token: str) -> None:
        """Give a refresh token back (RFC 7009), where the provider takes it; what fails is logged."""
        try:
            endpoint = await self._endpoints.endpoint("revocation_endpoint", "revocation")
            form = {"token": refresh_token, "token_type_hint": "refresh_token"}
            await self._endpoints.post(endpoint, form, is_read=False)
        except (GatewayError, AnswerRefused) as error:
            _LOG.warning("a refresh token stays at the OpenID provider: %s", error)

    def sign_out_url(self) -> str | None:
        """Where a browser signs out at the provider itself (RP-Initiated Logout §2); None where it has no such page.

        It bears no ID token: that would stand in the browser's history. So the provider asks whether it is meant.
        """
        endpoint = self._endpoints.known_endpoint("end_session_endpoint")
        if endpoint is None:
            return None
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode({'client_id': self._provider.client_id})}"

    async def signed_out(self, logout_token: str) -> SignedOut:
        """Whom a logout token of the provider signs out.

        Raises:
            GatewayError: `credential-invalid` where it is none; `unavailable` where the provider cannot be asked.

        Source: OpenID Connect Back-Channel Logout 1.0 §2.6.
        """
        await self._endpoints.metadata()
        try:
            _, payload, until = await self._endpoints.verified(logout_token, _LOGOUT_TOKEN_TYPES)
            events, subject, sid = payload.get("events"), payload.get("sub", ""), payload.get("sid", "")
            if not isinstance(events, dict) or _LOGOUT_EVENT not in events or "nonce" in payload:
                raise Unreadable("it is no logout token")  # noqa: TRY301 -- as every step here
            if not (is_text(subject) or is_text(sid)) or not isinstance(subject, str) or not isinstance(sid, str):
                raise Unreadable("it names no subject and no session")  # noqa: TRY301
        except Unreadable as error:
            _LOG.warning("a logout token of the OpenID provider is refused: %s", error)
            raise GatewayError("credential-invalid", f"the logout token is refused: {error}") from error
        return SignedOut(self._provider.issuer, subject, sid, until + SKEW_SECONDS)

    async def _officer(self, answer: dict[str, Any], nonce: str | None) -> Person:
        jws, payload, _ = await self._endpoints.verified(answer.get("id_token"), _ID_TOKEN_TYPES)
        self._check_claims(jws.header, payload, answer.get("access_token"), nonce)
        subject, sid = payload.get("sub"), payload.get("sid", "")
        if not is_text(subject) or len(str(subject)) > MAX_SUBJECT_CHARACTERS:
            raise Unreadable("it names no subject")
        if not isinstance(sid, str) or len(sid) > MAX_SUBJECT_CHARACTERS:
            raise Unreadable("its session is malformed")
        officer = payload.get(self._provider.officer_claim)
        if officer is None:
            officer = await self._asked_claim(answer.get("access_token"), str(subject))
        if not is_text(officer):
            raise Unreadable(f"neither it nor UserInfo has `{self._provider.officer_claim}`: look at `officers.scopes`")
        return Person(self._provider.issuer, str(subject), str(officer), sid, _refresh_token(answer))

    async def _asked_claim(self, access_token: object, subject: str) -> object:
        """The officer's claim as UserInfo has it (Core §5.3), whose `sub` must be the ID token's; or None."""
        endpoint = self._endpoints.known_endpoint("userinfo_endpoint")
        if endpoint is None or not isinstance(access_token, str):
            return None
        told = await self._endpoints.ask("GET", endpoint, auth=_Access(access_token))
        if told.get("sub") != subject:
            raise Unreadable("UserInfo is about another person")
        return told.get(self._provider.officer_claim)

    def _check_claims(self, header: dict[str, Any], payload: dict[str, Any], access: Any, nonce: str | None) -> None:
        """The rules of OpenID Connect Core §3.1.3.7 beyond a token's: `nonce`, `azp`, `at_hash`; by Authlib."""
        from authlib.oidc.core.claims import CodeIDToken  # noqa: PLC0415 -- an extra
        from joserfc.errors import JoseError  # noqa: PLC0415 -- comes with it

        params = {"nonce": nonce, "client_id": self._provider.client_id, "access_token": access}
        try:
            CodeIDToken(payload, header, {}, params).validate(int(self._now()), SKEW_SECONDS)
        except JoseError as error:
            raise Unreadable("its claims do not belong to this sign-in") from error


class _Access(httpx.Auth):
    """A bearer token for the provider's own UserInfo."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def _refresh_token(answer: dict[str, Any]) -> str:
    found = answer.get("refresh_token")
    return found if isinstance(found, str) and len(found) <= MAX_REFRESH_TOKEN_BYTES else ""


def local_path(wanted: str) -> str:
    """`wanted` if it is a path on this host, else `/`: a sign-in never forwards elsewhere (RFC 9700 §4.11)."""
    plain = wanted.isascii() and wanted.isprintable() and "\\" not in wanted and len(wanted) <= 1024
    return wanted if plain and wanted.startswith("/") and not wanted.startswith("//") else "/"
