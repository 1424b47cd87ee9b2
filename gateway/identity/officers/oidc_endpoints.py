"""An OpenID provider as it is reached: its metadata, its keys, and requests of the gateway's client there.

Metadata are asked for hourly, keys as those of every other issuer (`issuers`): every five minutes, and out of turn
where a signature does not fit. Whatever a provider says of a fault is at most a word of RFC 6749 §5.2 in the log, and
no secret (INVARIANT: NO-VALUES).

Source: OpenID Connect Discovery 1.0 §4; RFC 6749 §2.3.1; RFC 7523.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx
import msgspec

from gateway.domain.errors import GatewayError
from gateway.identity.callers.assertions import ASSERTION_TYPE
from gateway.identity.strict import Jws, Unreadable, parse_jws, parse_object
from gateway.identity.tokens.issuers import (
    REFRESH_SECONDS,
    TIMEOUT_SECONDS,
    AnswerRefused,
    ExternalIssuer,
    fetch_document,
)
from gateway.identity.tokens.verify import check_audience, check_times

MAX_DOCUMENT_BYTES = 256 * 1024
MAX_ID_TOKEN_BYTES = 64 * 1024
METADATA_SECONDS = 3600.0
FAULTY_SECONDS = 30.0
"""How soon a provider is looked at again with which something is wrong."""
_CLIENT_ERRORS = frozenset({"invalid_client", "unauthorized_client"})
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


class ProviderEndpoints:
    """Reaches one provider. Belongs to one event loop.

    Args:
        provider: which one.
        now: the clock, Unix seconds.
        client: makes the requests; its redirects must be off.
    """

    def __init__(
        self, provider: Provider, now: Callable[[], float], *, client: httpx.AsyncClient | None = None
    ) -> None:
        self.provider = provider
        self.now = now
        self._client = client or httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False)
        self._metadata: dict[str, Any] | None = None
        self._discovered_at = float("-inf")
        self._keys: ExternalIssuer | None = None

    async def metadata(self) -> dict[str, Any]:
        """The provider's metadata, asked for hourly; its issuer must be the one settings name (Discovery §4.3).

        Raises:
            GatewayError: `unavailable`.
        """
        if self._metadata is None or self.now() - self._discovered_at >= METADATA_SECONDS:
            url = self.provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
            found = await self.ask("GET", url)
            places = [found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
            if found.get("issuer") != self.provider.issuer or not all(is_safe_url(place) for place in places):
                raise GatewayError("unavailable", "the OpenID provider's metadata are not its own, or not over https")
            if self._metadata is not None and found["jwks_uri"] != self._metadata["jwks_uri"]:
                self._keys = None
            self._metadata, self._discovered_at = found, self.now()
        return self._metadata

    @property
    def is_known(self) -> bool:
        """Whether the provider has told its metadata."""
        return self._metadata is not None

    def known_endpoint(self, name: str) -> str | None:
        """An endpoint that the metadata named when they were last asked for."""
        found = (self._metadata or {}).get(name)
        return str(found) if is_safe_url(found) else None

    async def endpoint(self, name: str, what: str) -> str:
        """An endpoint that not every provider has.

        Raises:
            GatewayError: `unavailable` where it does not offer `what`.
        """
        await self.metadata()
        found = self.known_endpoint(name)
        if found is None:
            raise GatewayError("unavailable", f"the OpenID provider does not offer {what}")
        return found

    async def post(self, endpoint: str, form: dict[str, str], *, is_read: bool = True) -> dict[str, Any]:
        """The answer to a form that this gateway's client sends; nothing where it is not to be read.

        Raises:
            AnswerRefused: where what was sent is at fault.
            GatewayError: `unavailable` where the provider fails, or does not know this client.
        """
        try:
            return await self.ask("POST", endpoint, is_read=is_read, **self._as_client(form, endpoint))
        except AnswerRefused as error:
            if error.status != 401 and error.error not in _CLIENT_ERRORS:
                raise
            _LOG.error(
                "the OpenID provider does not take this gateway's client (%s): look at `officers.client_id` and "
                "`officers.%s`, and at how the client is registered there",
                error,
                "client_key_file" if self.provider.assertion else "client_secret_file",
            )
            raise GatewayError("unavailable", "the OpenID provider does not know this gateway") from error

    def _as_client(self, form: dict[str, str], endpoint: str) -> dict[str, Any]:
        """A request of this gateway's client: `private_key_jwt` where there is a key, else its secret in Basic.

        The two halves of Basic are form-encoded first (RFC 6749 §2.3.1): a secret may hold `+`, `%`, `&` or `:`.
        """
        if self.provider.assertion is not None:
            proof = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": self.provider.assertion(endpoint)}
            return {"data": {**form, "client_id": self.provider.client_id, **proof}}
        halves = (quote_plus(self.provider.client_id), quote_plus(self.provider.client_secret))
        return {"data": form, "auth": httpx.BasicAuth(*halves)}

    async def fault(self) -> str:
        """Ask for the metadata and keys; what is wrong with the settings or the provider, or ""."""
        try:
            await self.metadata()
            await self._issuer_keys().refresh(in_turn=True)
        except GatewayError as error:
            return error.detail
        return "" if self._issuer_keys().keys() else "the OpenID provider publishes no key that verifies ID tokens here"

    async def watch(self) -> None:
        """Look at the provider from the start and every five minutes, and log what becomes wrong, until cancelled."""
        known = ""
        while True:
            fault = await self.fault()
            if fault and fault != known:
                _LOG.error("officers cannot sign in by `officers.provider`: %s", fault)
            elif known and not fault:
                _LOG.warning("officers can sign in by `officers.provider` again")
            known = fault
            await asyncio.sleep(FAULTY_SECONDS if fault else REFRESH_SECONDS)

    async def verified(self, token: object, types: frozenset[str]) -> tuple[Jws, dict[str, Any], int]:
        """A token that the provider signed for this gateway: as it is, its claims with whole times, and its `exp`.

        Raises:
            Unreadable: where it is none.
        """
        if not isinstance(token, str):
            raise Unreadable("there is none")
        jws = parse_jws(token.encode("utf-8"), types=types, most_bytes=MAX_ID_TOKEN_BYTES)
        payload = whole_seconds(jws.payload)
        if payload.get("iss") != self.provider.issuer:
            raise Unreadable("its issuer is another")
        check_audience(payload.get("aud"), self.provider.client_id)
        expires = check_times(payload, self.now())
        await self._verify_signature(jws)
        return jws, payload, expires

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

    def _issuer_keys(self) -> ExternalIssuer:
        if self._keys is None:
            assert self._metadata is not None
            uri = str(self._metadata["jwks_uri"])
            self._keys = ExternalIssuer(
                self.provider.issuer,
                self.provider.client_id,
                uri,
                {},
                self.now,
                client=self._client,
                allow_rs256=self.provider.allow_rs256,
            )
        return self._keys

    async def ask(self, method: str, url: str, *, is_read: bool = True, **options: Any) -> dict[str, Any]:
        """A JSON answer of the provider.

        Raises:
            AnswerRefused: where what was posted is at fault.
            GatewayError: `unavailable`.
        """
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                body = await fetch_document(self._client, method, url, MAX_DOCUMENT_BYTES, **options)
            return parse_object(body, most_brackets=1024) if is_read else {}
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
