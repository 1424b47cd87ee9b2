"""Bearer tokens for suppliers by client credentials (RFC 6749 §4.4).

A token is fetched when the first call needs one, once for all who wait, and anew behind the calls' back in the last
quarter of its life. One that the supplier refuses is fetched anew once: whoever got the refusal is told of it, and no
request is sent twice. A failure is everybody's for a moment, so that a token endpoint that is down is not asked by
every call.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote_plus, urlencode

import msgspec

from gateway.domain.credentials import ClientAuth, Shown, SupplierCredential
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import parse_upstream
from gateway.identity.suppliers.showing import basic

Ask = Callable[[bytes], Awaitable[tuple[int, bytes]]]
"""Sends one request to the token endpoint; status and content of the answer. Raises `supplier-unreachable`."""

DEFAULT_LIFE_SECONDS = 300.0
"""Of a token whose end is not told (RFC 6749 §5.1 only recommends it)."""
MOST_LIFE_SECONDS = 86_400.0
RENEWED_AFTER = 0.75
FAILED_SECONDS = 2.0
"""How long a failure is remembered, and how soon after a fetch a refused token is not fetched anew."""

_log = logging.getLogger(__name__)

_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")


class _Held(NamedTuple):
    shown: Shown
    fetched: float
    renew: float
    end: float


class ClientCredentials:
    """A credential that is a token. Belongs to one event loop.

    Args:
        stored: what is stored.
        secrets: the client's secret, and the one that it took the place of, which is tried where this is refused.
        ask: asks the token endpoint.
        ticks: monotonic seconds.
    """

    names = frozenset({b"authorization"})
    parameters: tuple[str, ...] = ()

    def __init__(
        self, stored: SupplierCredential, secrets: Sequence[bytes], ask: Ask, ticks: Callable[[], float]
    ) -> None:
        self._requests = [token_request(stored, secret) for secret in secrets]
        self._ask = ask
        self._ticks = ticks
        self._held: _Held | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._failure: tuple[float, GatewayError] | None = None

    def show(self) -> Shown | Awaitable[Shown]:
        """As `showing.Credential.show`."""
        held, at = self._held, self._ticks()
        if held is None or at >= held.end:
            return self._fetched()
        if at >= held.renew and not self._has_failed(at):
            self._start()
        return held.shown

    def refused(self, shown: Shown) -> None:
        """As `showing.Credential.refused`."""
        held, at = self._held, self._ticks()
        if held is not None and held.shown is shown and at >= held.fetched + FAILED_SECONDS:
            self._held = None
            self._start()

    async def _fetched(self) -> Shown:
        if self._has_failed(self._ticks()):
            assert self._failure is not None
            raise GatewayError(self._failure[1].code, self._failure[1].detail)
        # Shielded: one caller that goes away does not take the token from the others who wait for it.
        await asyncio.shield(self._start())
        if self._held is None:
            assert self._failure is not None
            raise GatewayError(self._failure[1].code, self._failure[1].detail)
        return self._held.shown

    def _has_failed(self, at: float) -> bool:
        return self._failure is not None and at < self._failure[0]

    def _start(self) -> "asyncio.Task[None]":
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._fetch(), name="supplier-token")
        return self._fetching

    async def _fetch(self) -> None:
        """Hold a new token, or remember why there is none; raises nothing."""
        try:
            content = await self._answered()
            self._held = _read(content, self._ticks())
            self._failure = None
        except GatewayError as error:
            self._failure = (self._ticks() + FAILED_SECONDS, error)
        except Exception:  # noqa: BLE001 - those who wait are told, and the endpoint is not asked by every call
            _log.exception("a supplier's token could not be fetched")
            unforeseen = GatewayError("supplier-unreachable", "the supplier's token could not be fetched")
            self._failure = (self._ticks() + FAILED_SECONDS, unforeseen)
        finally:
            self._fetching = None

    async def _answered(self) -> bytes:
        for request in self._requests:
            status, content = await self._ask(request)
            if status == 200:
                return content
            if status not in {400, 401, 403}:
                raise GatewayError("supplier-unreachable", f"the supplier's token endpoint answered {status}")
        raise GatewayError("supplier-refused", "the supplier's token endpoint does not accept the gateway's credential")


def token_request(stored: SupplierCredential, secret: bytes) -> bytes:
    """A request for a token, head and body."""
    upstream = parse_upstream(stored.token_url)
    asked = {"grant_type": "client_credentials"}
    if stored.scope:
        asked["scope"] = stored.scope
    shown = b""
    if stored.client_auth is ClientAuth.HEADER:
        # RFC 6749 §2.3.1: both are encoded as a form's before they are joined.
        shown = b"Authorization: %b\r\n" % basic(quote_plus(stored.user), quote_plus(secret).encode())
    else:
        asked |= {"client_id": stored.user, "client_secret": secret.decode()}
    body = urlencode(asked).encode()
    default = 443 if upstream.is_tls else 80
    host = upstream.host.rpartition(":")[0] if upstream.port == default else upstream.host
    return (
        f"POST {upstream.path or '/'} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n"
        "Accept-Encoding: identity\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n"
    ).encode() + b"%bConnection: close\r\n\r\n%b" % (shown, body)


def _read(content: bytes, at: float) -> _Held:
    try:
        answer: Any = msgspec.json.decode(content)
        token, kind, life = answer["access_token"], answer.get("token_type", "bearer"), answer.get("expires_in")
        seconds = DEFAULT_LIFE_SECONDS if life is None else float(life)
    except (
        msgspec.DecodeError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        OverflowError,
        RecursionError,
    ):
        raise GatewayError("supplier-refused", "the supplier's token endpoint answered with no token") from None
    is_bearer = isinstance(kind, str) and kind.lower() == "bearer"
    if not isinstance(token, str) or not _TOKEN.fullmatch(token) or not is_bearer or not seconds > 0:
        raise GatewayError("supplier-refused", "the supplier's token endpoint answered with no bearer token")
    seconds = min(seconds, MOST_LIFE_SECONDS)
    # It is on its way to the supplier for a while yet.
    end = at + seconds - min(seconds / 10, 10.0)
    return _Held(Shown(b"Authorization: Bearer %b\r\n" % token.encode()), at, at + seconds * RENEWED_AFTER, end)
