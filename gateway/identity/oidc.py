"""Officers' sign-in by an OpenID Connect provider: the authorization code flow with PKCE.

The protocol's pieces (request, code challenge, ID token rules) are Authlib's (`oidc` extra); requests go by httpx, and
the ID token's bytes and signature are read by this room's own strict rules before Authlib sees a claim.

    begin    state, nonce and PKCE verifier are made, and kept sealed by whoever asks until the answer comes
    finish   `state` and `iss` are compared, the code is exchanged, the ID token verified, the officer named

Source: OpenID Connect Core 1.0 §3.1; RFC 7636 (S256 only); RFC 9207 (`iss` in the answer); RFC 9700 §2.1.
"""

import asyncio
import hmac
import json
import logging
import math
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx
import msgspec

from gateway.domain.errors import GatewayError
from gateway.identity.assertions import ASSERTION_TYPE
from gateway.identity.issuers import REFRESH_SECONDS, TIMEOUT_SECONDS, AnswerRefused, ExternalIssuer, fetch_document
from gateway.identity.strict import Jws, Unreadable, is_text, parse_jws, parse_object
from gateway.identity.verify import SKEW_SECONDS, check_audience, check_times

MAX_DOCUMENT_BYTES = 256 * 1024
SIGN_IN_SECONDS = 600
MAX_ID_TOKEN_BYTES = 64 * 1024
METADATA_SECONDS = 3600.0
_CLIENT_ERRORS = frozenset({"invalid_client", "unauthorized_client"})
MAX_SUBJECT_CHARACTERS = 255
"""OpenID Connect Core §2."""
_ID_TOKEN_TYPES = frozenset({"", "jwt"})
_LOGOUT_TOKEN_TYPES = frozenset({"", "jwt", "logout+jwt"})
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_LOG = logging.getLogger("gateway.security")


class Provider(msgspec.Struct, frozen=True):
    """An OpenID provider, as settings describe it.

    Args:
        issuer: its issuer identifier; its metadata stand under it.
        client_id: the gateway's client there.
        client_secret: that client's secret (`client_secret_basic`); "" where `assertion` is given.
        redirect_uri: the control plane's callback URL as registered there.
        officer_claim: the ID token's claim that is an officer's id.
        allow_rs256: whether its ID tokens may be signed by RS256, the provider's default nearly everywhere.
        assertion: a new signed assertion for an audience (`private_key_jwt`, RFC 7523), in place of the secret.
        scopes: asked for besides `openid`.
    """

    issuer: str
    client_id: str
    client_secret: str
    redirect_uri: str
    officer_claim: str = "preferred_username"
    allow_rs256: bool = True
    assertion: Callable[[str], str] | None = None
    scopes: tuple[str, ...] = ("profile",)

    def __repr__(self) -> str:
        """Never shows the secret (INVARIANT: NO-VALUES)."""
        return f"Provider(issuer={self.issuer!r}, client_id={self.client_id!r})"


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
    """

    issuer: str
    subject: str
    officer: str


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
        self._client = client or httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False)
        self._metadata: dict[str, Any] | None = None
        self._discovered_at = float("-inf")
        self._keys: ExternalIssuer | None = None

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
        metadata = await self._discover()
        until = int(self._now()) + SIGN_IN_SECONDS
        pending = Pending(generate_token(32), generate_token(32), generate_token(64), local_path(return_to), until)
        uri = prepare_grant_uri(
            metadata["authorization_endpoint"],
            self._provider.client_id,
            "code",
            redirect_uri=self._provider.redirect_uri,
            scope=" ".join(("openid", *self._provider.scopes)),
            state=pending.state,
            nonce=pending.nonce,
            code_challenge=create_s256_code_challenge(pending.verifier),
            code_challenge_method="S256",
        )
        return str(uri), pending

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
        metadata = await self._discover()
        if issuer is None and metadata.get("authorization_response_iss_parameter_supported") is True:
            raise GatewayError("credential-invalid", "the answer does not name its provider")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._provider.redirect_uri,
            "code_verifier": pending.verifier,
        }
        endpoint = str(metadata["token_endpoint"])
        try:
            answer = await self._json("POST", endpoint, **self._as_client(form, endpoint))
            return await self._officer(answer, pending)
        except AnswerRefused as error:
            if error.status == 401 or error.error in _CLIENT_ERRORS:
                _LOG.error(
                    "the OpenID provider does not take this gateway's client (%s): look at `officers.client_id` and "
                    "`officers.%s`, and at how the client is registered there",
                    error,
                    "client_key_file" if self._provider.assertion else "client_secret_file",
                )
                raise GatewayError("unavailable", "the OpenID provider does not know this gateway") from error
            _LOG.warning("the OpenID provider does not take a code: %s", error)
            raise GatewayError("credential-invalid", "the provider does not take the code: begin again") from error
        except Unreadable as error:
            _LOG.warning("an ID token of the OpenID provider is refused: %s", error)
            raise GatewayError("credential-invalid", f"the provider's ID token is refused: {error}") from error

    async def signed_out(self, logout_token: str) -> tuple[str, str, int]:
        """Whom a logout token of the provider signs out: issuer and `sub`; and until when it must not come again.

        Raises:
            GatewayError: `credential-invalid` where it is none; `unavailable` where the provider cannot be asked.

        Source: OpenID Connect Back-Channel Logout 1.0 §2.6.
        """
        await self._discover()
        try:
            jws = parse_jws(logout_token.encode("utf-8"), types=_LOGOUT_TOKEN_TYPES, most_bytes=MAX_ID_TOKEN_BYTES)
            payload = whole_seconds(jws.payload)
            if payload.get("iss") != self._provider.issuer:
                raise Unreadable("its issuer is another")  # noqa: TRY301 -- as every step here
            check_audience(payload.get("aud"), self._provider.client_id)
            until = check_times(payload, self._now())
            await self._verify_signature(jws)
            events, subject = payload.get("events"), payload.get("sub")
            if not isinstance(events, dict) or _LOGOUT_EVENT not in events or "nonce" in payload:
                raise Unreadable("it is no logout token")  # noqa: TRY301
            if not is_text(subject):
                raise Unreadable("it names no subject")  # noqa: TRY301
        except Unreadable as error:
            _LOG.warning("a logout token of the OpenID provider is refused: %s", error)
            raise GatewayError("credential-invalid", f"the logout token is refused: {error}") from error
        return self._provider.issuer, str(subject), until + SKEW_SECONDS

    def _as_client(self, form: dict[str, str], endpoint: str) -> dict[str, Any]:
        """A request of this gateway's client: `private_key_jwt` where there is a key, else its secret in Basic.

        The two halves of Basic are form-encoded first (RFC 6749 §2.3.1): a secret may hold `+`, `%`, `&` or `:`.
        """
        if self._provider.assertion is not None:
            proof = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": self._provider.assertion(endpoint)}
            return {"data": {**form, "client_id": self._provider.client_id, **proof}}
        halves = (quote_plus(self._provider.client_id), quote_plus(self._provider.client_secret))
        return {"data": form, "auth": httpx.BasicAuth(*halves)}

    async def check(self) -> None:
        """Ask for the metadata, and log what is wrong with the settings or the provider; never raises."""
        try:
            await self._discover()
            await self._issuer_keys().refresh(in_turn=True)
        except GatewayError as error:
            _LOG.error("officers cannot sign in by `officers.provider`: %s", error.detail)

    async def _officer(self, answer: dict[str, Any], pending: Pending) -> Person:
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise Unreadable("there is none")
        jws = parse_jws(token.encode("utf-8"), types=_ID_TOKEN_TYPES, most_bytes=MAX_ID_TOKEN_BYTES)
        if jws.payload.get("iss") != self._provider.issuer:
            raise Unreadable("its issuer is another")
        check_audience(jws.payload.get("aud"), self._provider.client_id)
        check_times(whole_seconds(jws.payload), self._now())
        await self._verify_signature(jws)
        self._check_claims(jws.header, jws.payload, answer.get("access_token"), pending)
        officer = jws.payload.get(self._provider.officer_claim)
        if not is_text(officer):
            raise Unreadable(f"it has no `{self._provider.officer_claim}`")
        subject = jws.payload.get("sub")
        if not is_text(subject) or len(str(subject)) > MAX_SUBJECT_CHARACTERS:
            raise Unreadable("it names no subject")
        return Person(self._provider.issuer, str(subject), str(officer))

    async def _verify_signature(self, jws: Jws) -> None:
        """By the key it names, or the only one there is; asked for anew where that is unknown, old, or does not fit.

        A key that the provider has withdrawn is not known here for longer than five minutes, and one that it has put
        under a name of before is met at once.
        """
        keys = self._issuer_keys()
        if keys.age_seconds >= REFRESH_SECONDS:
            await keys.refresh(in_turn=True)
        for is_last in (False, True):
            key = keys.only_key() if jws.key_id is None else keys.key(jws.key_id)
            if key is not None:
                try:
                    key.verify_signature(jws.algorithm, jws.signing_input, jws.signature)
                except Unreadable:
                    if is_last:
                        raise
                else:
                    return
            if not is_last:
                await keys.refresh()
        raise Unreadable("its key is not known")

    def _check_claims(self, header: dict[str, Any], payload: dict[str, Any], access: Any, pending: Pending) -> None:
        """The rules of OpenID Connect Core §3.1.3.7 beyond a token's: `nonce`, `azp`, `at_hash`; by Authlib."""
        from authlib.oidc.core.claims import CodeIDToken  # noqa: PLC0415 -- an extra
        from joserfc.errors import JoseError  # noqa: PLC0415 -- comes with it

        params = {"nonce": pending.nonce, "client_id": self._provider.client_id, "access_token": access}
        try:
            CodeIDToken(payload, header, {}, params).validate(int(self._now()), SKEW_SECONDS)
        except JoseError as error:
            raise Unreadable("its claims do not belong to this sign-in") from error

    def _issuer_keys(self) -> ExternalIssuer:
        if self._keys is None:
            assert self._metadata is not None
            uri = str(self._metadata["jwks_uri"])
            self._keys = ExternalIssuer(
                self._provider.issuer,
                self._provider.client_id,
                uri,
                {},
                self._now,
                client=self._client,
                allow_rs256=self._provider.allow_rs256,
            )
        return self._keys

    async def _discover(self) -> dict[str, Any]:
        """The provider's metadata, asked for hourly; its issuer must be the one settings name (Discovery §4.3)."""
        if self._metadata is None or self._now() - self._discovered_at >= METADATA_SECONDS:
            url = self._provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
            found = await self._json("GET", url)
            places = [found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
            if found.get("issuer") != self._provider.issuer or not all(is_safe_url(place) for place in places):
                raise GatewayError("unavailable", "the OpenID provider's metadata are not its own, or not over https")
            if self._metadata is not None and found["jwks_uri"] != self._metadata["jwks_uri"]:
                self._keys = None
            self._metadata, self._discovered_at = found, self._now()
        return self._metadata

    async def _json(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                body = await fetch_document(self._client, method, url, MAX_DOCUMENT_BYTES, **options)
            return parse_object(body, most_brackets=1024)
        except AnswerRefused as error:
            if error.status in {400, 401} and method == "POST":
                raise  # RFC 6749 §5.2: what was sent is at fault, not the provider
            raise GatewayError("unavailable", f"the OpenID provider answered {error.status}") from error
        except Unreadable as error:
            raise GatewayError("unavailable", f"the OpenID provider cannot be understood: {error}") from error
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise GatewayError("unavailable", "the OpenID provider cannot be reached") from error


def whole_seconds(payload: dict[str, Any]) -> dict[str, Any]:
    """A payload whose times are whole: a NumericDate may have a fraction (RFC 7519 §2), and some providers send one."""
    times = ("exp", "iat", "nbf", "auth_time")
    floats = {name: payload[name] for name in times if type(payload.get(name)) is float}
    if not all(math.isfinite(value) for value in floats.values()):
        raise Unreadable("a time is missing or malformed")
    return {**payload, **{name: int(value) for name, value in floats.items()}}


def is_safe_url(url: object) -> bool:
    """Whether a provider may be asked there: https, or http on this machine."""
    parts = urlsplit(url) if isinstance(url, str) else None
    return parts is not None and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1"))
    )


def local_path(wanted: str) -> str:
    """`wanted` if it is a path on this host, else `/`: a sign-in never forwards elsewhere (RFC 9700 §4.11)."""
    plain = wanted.isascii() and wanted.isprintable() and "\\" not in wanted and len(wanted) <= 1024
    return wanted if plain and wanted.startswith("/") and not wanted.startswith("//") else "/"


def encode_pending(pending: Pending) -> bytes:
    """What to seal of a pending sign-in."""
    return json.dumps(msgspec.to_builtins(pending)).encode("utf-8")


def parse_pending(data: bytes) -> Pending:
    """A pending sign-in as it was sealed; raises `credential-invalid` where it is none."""
    try:
        return msgspec.json.decode(data, type=Pending)
    except msgspec.DecodeError as error:
        raise GatewayError("credential-invalid", "the sign-in was begun elsewhere: begin again") from error
