"""Issuers that settings trust besides this gateway: a national or provincial identity service, a Keycloak.

Their keys come from the one URL that settings name, over TLS; never from where a token points (`jku`, `x5u`, `jwk`).
They are asked for every five minutes, and out of turn when a token names a key that is not at hand, but not more
often than every ten seconds, however many such tokens come. An asking ends after five seconds, however
slowly the answer drips, and reads no more than 256 KiB, uncompressed. Keys that could not be asked for within an hour
no longer verify: what was withdrawn there meanwhile is not known here.

An issuer vouches for the clients that settings list and for no others, so that it cannot name another's system.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from gateway.domain.errors import GatewayError
from gateway.identity.keys.jwk import VerifyingKey, parse_public_jwk
from gateway.identity.strict import Unreadable, parse_object
from gateway.identity.tokens.issuing import ACCESS_TOKEN_TYPE

REFRESH_SECONDS = 300.0
MIN_REFRESH_SECONDS = 10.0
MAX_AGE_SECONDS = 3600.0
TIMEOUT_SECONDS = 5.0
MAX_SET_BYTES = 256 * 1024
MAX_KEYS = 64
MAX_REFUSAL_BYTES = 4096
OUT_OF_TURN = 1
"""Askings out of turn within ten seconds: they have a budget of their own, so that the first token after a rotation is
met at once, also just after the keys were asked for in turn; a flood of unknown names asks no more."""
ERROR_WORD = re.compile(r"[a-z_]{1,40}", re.ASCII)

_LOG = logging.getLogger("gateway.security")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class AnswerRefused(Unreadable):
    """Another answer than 200.

    Args:
        status: which.
        error: the `error` it named (RFC 6749 §5.2), if it did: a word of a few, and no secret.
    """

    def __init__(self, status: int, error: str = "") -> None:
        super().__init__(f"it answered {status}{f' `{error}`' if error else ''}")
        self.status = status
        self.error = error


class ExternalIssuer:
    """An external issuer and its keys. Belongs to one event loop.

    Args:
        name: its `iss`, exactly as its tokens bear it.
        audience: the `aud` its tokens for this gateway bear.
        jwks_uri: where its keys are; https, or http on loopback.
        systems: its client ids, each with the system it is registered as here.
        client: makes the requests; its redirects must be off. By default one that verifies TLS by the system's
            authorities.
        now: the clock, Unix seconds.
        token_types: `typ` of its access tokens; a provider that does not follow RFC 9068 may need `jwt`.
        allow_rs256: whether its keys may verify RS256.

    Raises:
        GatewayError: `invalid-input` for an address that is not safe to trust keys from.
    """

    def __init__(
        self,
        name: str,
        audience: str,
        jwks_uri: str,
        systems: Mapping[str, str],
        now: Callable[[], float],
        *,
        client: httpx.AsyncClient | None = None,
        token_types: frozenset[str] = frozenset({ACCESS_TOKEN_TYPE}),
        allow_rs256: bool = False,
    ) -> None:
        parts = urlsplit(jwks_uri)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise GatewayError("invalid-input", f"keys of the issuer `{name}` must come over https")
        self.name = name
        self.audience = audience
        self.token_types = token_types
        self._uri = jwks_uri
        self._systems = dict(systems)
        self._now = now
        self._client = client or httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False)
        self._allow_rs256 = allow_rs256
        self._keys: dict[str, VerifyingKey] = {}
        self._learnt_at = float("-inf")
        self._out_of_turn: deque[float] = deque(maxlen=OUT_OF_TURN)
        self._asking: asyncio.Task[None] | None = None

    @property
    def may_refresh(self) -> bool:
        """Whether asking is under way, or fewer than a few were asked for out of turn lately."""
        few = len(self._out_of_turn) < OUT_OF_TURN
        return self._asking is not None or few or self._now() - self._out_of_turn[0] >= MIN_REFRESH_SECONDS

    @property
    def age_seconds(self) -> float:
        """How long ago its keys were learnt."""
        return self._now() - self._learnt_at

    def only_key(self) -> VerifyingKey | None:
        """Its key, where it has one alone: a token need not name it then."""
        keys = self.keys()
        return next(iter(keys.values())) if len(keys) == 1 else None

    def keys(self) -> Mapping[str, VerifyingKey]:
        """Its keys, unless they are too old to be trusted."""
        return self._keys if self._now() - self._learnt_at < MAX_AGE_SECONDS else {}

    def key(self, kid: str) -> VerifyingKey | None:
        """Its key of that name."""
        return self.keys().get(kid)

    def system_of(self, client_id: str) -> str:
        """The system that its client is registered as; raises `Unreadable` for a client that settings do not list."""
        try:
            return self._systems[client_id]
        except KeyError as error:
            raise Unreadable("the issuer does not vouch for this client") from error

    async def refresh(self, *, in_turn: bool = False) -> None:
        """Ask for the keys anew; all who ask meanwhile share one request. What fails is logged and changes nothing.

        Args:
            in_turn: whether it is time to; what is asked out of turn has a budget of its own.
        """
        if self._asking is None:
            if not in_turn:
                if not self.may_refresh:
                    return
                self._out_of_turn.append(self._now())
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        await asyncio.shield(self._asking)

    def _asked(self, _task: asyncio.Task[None]) -> None:
        self._asking = None

    async def keep_fresh(self) -> None:
        """Ask every five minutes, until cancelled."""
        while True:
            await self.refresh(in_turn=True)
            await asyncio.sleep(REFRESH_SECONDS)

    async def _ask(self) -> None:
        try:
            self._keys = self._parse(await self._fetch())
            self._learnt_at = self._now()
        except Unreadable as error:
            _LOG.error("keys of the issuer `%s` could not be had: %s", self.name, error)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the next asking must still come
            _LOG.error("keys of the issuer `%s` could not be had: %s", self.name, type(error).__name__)

    async def _fetch(self) -> bytes:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await fetch_document(self._client, "GET", self._uri, MAX_SET_BYTES)

    def _parse(self, body: bytes) -> dict[str, VerifyingKey]:
        """The usable keys of a JWK Set; others (for encryption, of unknown types, weak) are left out (RFC 7517 §5)."""
        members: Any = parse_object(body, most_brackets=8 * MAX_KEYS).get("keys")
        if not isinstance(members, list) or len(members) > MAX_KEYS:
            raise Unreadable("its key set is malformed")
        keys: dict[str, VerifyingKey] = {}
        twice = set()
        for jwk in members:
            # A key that stands alone need bear no name, nor need tokens name it (RFC 7515 §4.1.4).
            if not isinstance(jwk, dict) or ("kid" not in jwk and len(members) > 1):
                continue
            try:
                key = parse_public_jwk(jwk, allow_rs256=self._allow_rs256)
            except Unreadable:
                continue
            if key.kid in keys:
                twice.add(key.kid)
            keys[key.kid] = key
        return {kid: key for kid, key in keys.items() if kid not in twice}


async def _error_of(answer: httpx.Response) -> str:
    """The `error` member of a refusal of an OAuth endpoint, or ""."""
    begun = bytearray()
    async for chunk in answer.aiter_bytes():
        begun += chunk
        if len(begun) > MAX_REFUSAL_BYTES:
            return ""
    try:
        error = parse_object(bytes(begun)).get("error")
    except Unreadable:
        return ""
    return error if isinstance(error, str) and ERROR_WORD.fullmatch(error) else ""


async def fetch_document(client: httpx.AsyncClient, method: str, url: str, most_bytes: int, **options: Any) -> bytes:
    """The body of a 200 answer, at most `most_bytes` of it; the caller bounds the time.

    Compressed answers are not taken: a few bytes of them could fill the memory before they are counted.

    Raises:
        AnswerRefused: where the answer is another.
        Unreadable: where it is compressed or too large.
        httpx.HTTPError: where there is none.
    """
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    body = bytearray()
    async with client.stream(method, url, headers=headers, **options) as answer:
        if answer.status_code != 200:
            raise AnswerRefused(answer.status_code, await _error_of(answer))
        if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise Unreadable("it answered compressed")
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > most_bytes:
                raise Unreadable("its answer is too large")
    return bytes(body)
