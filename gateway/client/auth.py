"""`httpx` authentication: gets, keeps and renews tokens, proves possession, declares the use, retries what is safe."""

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from gateway.client.keys import ClientKey, PrivateKey, new_private_key, public_jwk
from gateway.client.problems import GatewayUnavailable, RateLimited, SharingProblem, TokenRefused, problem_of

__all__ = ["SharingAuth", "new_private_key", "public_jwk"]

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
RENEW_BEFORE_SECONDS = 30
"""A token is renewed while it still holds, so that none runs out on its way."""

MAX_ATTEMPTS = 4
MAX_WAIT_SECONDS = 5.0

_NOT_MADE = frozenset({"draining", "overloaded", "supplier-busy", "state-stale", "records-unavailable", "rate-limited"})
"""Problems that say the supplier was not called: sending again is safe for every method."""


class _Token:
    """An access token and until when it is used."""

    __slots__ = ("kind", "until", "value")

    def __init__(self, value: str, kind: str, until: float) -> None:
        self.value = value
        self.kind = kind
        self.until = until


class SharingAuth(httpx.Auth):
    """Authenticates calls through the gateway; for `httpx.Client` and `httpx.AsyncClient`, shared by threads and tasks.

    A header that a request sets itself (`Sharing-Purpose`, `Sharing-Items`, …) is left as it is, so that one client
    can serve several purposes. Sent again, at most three times, are token requests, and calls that the gateway says it
    did not make (RFC 9110 §9.2.2 asks idempotence only where that is unknown), unless their body is a stream. A call
    that has a record may have reached the supplier: it is sent again only if it is a GET or HEAD, and never where the
    answer is the supplier's. A connection that fails is left to the caller: only `httpx.HTTPTransport(retries=…)` knows
    whether anything had been sent.

    Args:
        token_endpoint: URL of the gateway's `/oauth/token`.
        client_id: the system's id.
        private_key: the key whose public half is registered: PEM, or as `cryptography` holds it. None where the
            `httpx` client shows a registered certificate (`verify=` with a client chain): then that is the proof.
        purpose: declared with every call (`Sharing-Purpose`).
        scenario: declared with every call (`Sharing-Scenario`).
        items: the data items asked for (`Sharing-Items`); None asks for what the grant gives.
        operator: who in the department makes the calls (`Sharing-Operator`).
        kid: the name the key is registered under; by default its RFC 7638 thumbprint.
        issuer: the audience of assertions; by default the token endpoint.
        dpop: whether tokens are bound to the key, where there is one (RFC 9449). Turn it off only behind mutual TLS.
        clock: Unix seconds.
    """

    def __init__(
        self,
        token_endpoint: str,
        client_id: str,
        private_key: "PrivateKey | str | bytes | None" = None,
        *,
        purpose: str,
        scenario: str | None = None,
        items: Sequence[str] | None = None,
        operator: str | None = None,
        kid: str | None = None,
        issuer: str | None = None,
        dpop: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint = httpx.URL(token_endpoint)
        self._client_id = client_id
        self._key = ClientKey(private_key, kid) if private_key is not None else None
        self._audience = issuer or token_endpoint
        self._prover = self._key if dpop else None
        self._clock = clock
        declared = {
            "Sharing-Purpose": purpose,
            "Sharing-Scenario": scenario,
            "Sharing-Operator": operator,
            "Sharing-Items": ",".join(items) if items is not None else None,
        }
        self._declared = [
            (name.encode("ascii"), _field(value)) for name, value in declared.items() if value is not None
        ]
        self._token: _Token | None = None
        self._nonces: dict[str, str] = {}
        self._lock = threading.Lock()
        self._loop_locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            weakref.WeakKeyDictionary()
        )

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """As `httpx.Auth` asks: yields requests, is sent their responses."""
        refused: list[httpx.Response] = []
        for attempt in range(1, MAX_ATTEMPTS + 1):
            token = self._held()
            if token is None:
                with self._lock:
                    token, asked = self._held(), 0
                    while token is None:
                        answer = yield self._token_request()
                        answer.read()
                        asked += 1
                        wait = self._wait_before_asking(answer, asked)
                        if wait is None:
                            token = self._take_token(answer)
                        elif wait:
                            time.sleep(wait)
            self._authorize(request, token)
            response = yield request
            self._note_nonce(request, response)
            if attempt == MAX_ATTEMPTS or not _may_repeat(request) or not _is_worth_reading(response):
                return
            response.read()
            wait = self._wait_before_repeat(response, token, refused)
            if wait is None:
                return
            if wait:
                time.sleep(wait)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As `httpx.Auth` asks: yields requests, is sent their responses."""
        refused: list[httpx.Response] = []
        for attempt in range(1, MAX_ATTEMPTS + 1):
            token = self._held()
            if token is None:
                async with self._loop_lock():
                    token, asked = self._held(), 0
                    while token is None:
                        answer = yield self._token_request()
                        await answer.aread()
                        asked += 1
                        wait = self._wait_before_asking(answer, asked)
                        if wait is None:
                            token = self._take_token(answer)
                        elif wait:
                            await asyncio.sleep(wait)
            self._authorize(request, token)
            response = yield request
            self._note_nonce(request, response)
            if attempt == MAX_ATTEMPTS or not _may_repeat(request) or not _is_worth_reading(response):
                return
            await response.aread()
            wait = self._wait_before_repeat(response, token, refused)
            if wait is None:
                return
            if wait:
                await asyncio.sleep(wait)

    def _loop_lock(self) -> asyncio.Lock:
        return self._loop_locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    def _held(self) -> _Token | None:
        token = self._token
        return token if token is not None and self._clock() < token.until else None

    def _token_request(self) -> httpx.Request:
        now = int(self._clock())
        headers = {"Accept": "application/json"}
        form = {"grant_type": "client_credentials", "client_id": self._client_id}
        if self._key is not None:
            form["client_assertion_type"] = ASSERTION_TYPE
            form["client_assertion"] = self._key.assertion(self._client_id, self._audience, now)
        if self._prover is not None:
            nonce = self._nonces.get(_origin(self._endpoint))
            headers["DPoP"] = self._prover.proof("POST", _target(self._endpoint), now, nonce=nonce, token=None)
        return httpx.Request("POST", self._endpoint, data=form, headers=headers)

    def _wait_before_asking(self, answer: httpx.Response, asked: int) -> float | None:
        """Seconds to wait before the token endpoint is asked again; None where its answer stands.

        Asking again is always safe: each request bears a new assertion and proof.
        """
        self._note_nonce(answer.request, answer)
        if asked >= MAX_ATTEMPTS:
            return None
        if answer.status_code in (429, 503):
            return _retry_after(answer)
        # RFC 9449 §8: it only wants a (newer) nonce, which it has just given.
        wants_nonce = answer.status_code == 400 and _error_of(answer)[0] == "use_dpop_nonce"
        return 0.0 if wants_nonce and "DPoP-Nonce" in answer.headers else None

    def _take_token(self, answer: httpx.Response) -> _Token:
        document = _json_object(answer)
        value, lifetime = document.get("access_token"), document.get("expires_in")
        if answer.status_code == 200 and isinstance(value, str):
            seconds = lifetime if isinstance(lifetime, int) else 60
            until = self._clock() + max(seconds - RENEW_BEFORE_SECONDS, seconds / 2)
            self._token = _Token(value, str(document.get("token_type", "Bearer")), until)
            return self._token
        kind: type[SharingProblem] = TokenRefused
        code = "credential-invalid"
        if answer.status_code == 429:
            kind, code = RateLimited, "rate-limited"
        elif answer.status_code >= 500:
            kind, code = GatewayUnavailable, "unavailable"
        raise kind(
            code,
            answer.status_code,
            "the token endpoint gave no token",
            detail=": ".join(part for part in _error_of(answer) if part),
            advice=str(document.get("advice", "")),
        )

    def _authorize(self, request: httpx.Request, token: _Token) -> None:
        # As bytes: `Headers` takes text in whatever encoding it last guessed, and Chinese text is not ASCII.
        added = [(name, value) for name, value in self._declared if name.decode("ascii") not in request.headers]
        request.headers = httpx.Headers([*request.headers.raw, *added])
        if token.kind.lower() == "dpop" and self._prover is not None:
            nonce = self._nonces.get(_origin(request.url))
            now = int(self._clock())
            proof = self._prover.proof(request.method, _target(request.url), now, nonce=nonce, token=token.value)
            request.headers["DPoP"] = proof
            request.headers["Authorization"] = f"DPoP {token.value}"
        else:
            request.headers["Authorization"] = f"Bearer {token.value}"

    def _note_nonce(self, request: httpx.Request, response: httpx.Response) -> None:
        nonce = response.headers.get("DPoP-Nonce")
        if nonce:
            self._nonces[_origin(request.url)] = nonce

    def _wait_before_repeat(
        self, response: httpx.Response, token: _Token, refused: list[httpx.Response]
    ) -> float | None:
        """Seconds to wait before the call is sent again; None where it is not to be.

        Args:
            response: which has been read.
            token: what the call was sent with.
            refused: earlier answers of this call that refused the token; added to.
        """
        if "Sharing-Record" in response.headers and not _is_safe_though_recorded(response):
            return None
        if response.status_code == 401:
            if "use_dpop_nonce" in response.headers.get("WWW-Authenticate", ""):
                # Each of several nodes has nonces of its own, and the next attempt may meet another node.
                return 0.0 if "DPoP-Nonce" in response.headers else None
            if refused:
                return None
            refused.append(response)
            if self._token is token:
                self._token = None
            return 0.0
        code = str(problem_of(response).get("type", "")).rpartition("/")[2]
        if code not in _NOT_MADE:
            return None
        return _retry_after(response)


def _retry_after(answer: httpx.Response) -> float:
    """Seconds that the answer asks to wait, at most five; one where it does not say."""
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), MAX_WAIT_SECONDS) if asked.isascii() and asked.isdecimal() else 1.0


def _json_object(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _error_of(answer: httpx.Response) -> tuple[str, str]:
    """`error` and `error_description` (RFC 6749 §5.2)."""
    document = _json_object(answer)
    return str(document.get("error", "")), str(document.get("error_description", ""))


def _may_repeat(request: httpx.Request) -> bool:
    """Whether the body is at hand to be sent again."""
    return isinstance(request.stream, httpx.ByteStream)


def _is_safe_though_recorded(response: httpx.Response) -> bool:
    """Whether a call that has a record may be sent again: its answer is the gateway's own, and its method is safe.

    A record says that the supplier may have been called; the gateway's own problem names that record as `instance`,
    and whatever does not is the supplier's answer.
    """
    own = problem_of(response).get("instance") == f"/v1/records/{response.headers['Sharing-Record']}"
    return own and response.request.method in ("GET", "HEAD")


def _is_worth_reading(response: httpx.Response) -> bool:
    return response.status_code in (401, 429, 503)


def _origin(url: httpx.URL) -> str:
    parts = urlsplit(str(url))
    return f"{parts.scheme}://{parts.netloc}"


def _target(url: httpx.URL) -> str:
    """The URI of a DPoP proof: without query and fragment (RFC 9449 §4.2)."""
    return str(url.copy_with(query=None, fragment=None))


_PLAIN = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What stands in a declared value as it is: all of ASCII but `%`, which begins an encoded octet."""


def _field(value: str) -> bytes:
    """A declared value as every header can bear it: one line of text, percent-encoded where it is not ASCII."""
    if not value.isprintable():
        raise ValueError("a declared value is one line of text")
    return quote(value, safe=_PLAIN).encode("ascii")
