"""What a caller knows and decides, without any I/O: the same for threads, loops and whatever language mirrors it.

Requests     token requests and calls, signed and declared
TokenState   the token held, when to renew it, nonces, the difference to the gateway's clock
Retrying     whether, and after how long, something is sent again
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from gateway.client.keys import ClientKey
from gateway.client.problems import GatewayUnavailable, RateLimited, SharingProblem, TokenRefused, date_of, problem_of
from gateway.client.problems import retry_after_of as _retry_after_of

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

RENEW_AT = 0.75
"""The part of a token's life after which it is renewed in the background, a little earlier or later at random."""
USED_UNTIL_SECONDS = 5.0
"""A token is used until so shortly before its end: what remains is for the way."""
NONCE_FRESH_SECONDS = 60.0
"""A nonce younger than this holds when a call arrives, whatever period of the gateway it came from."""
SKEW_SECONDS = 20.0
"""A clock that differs by more from the gateway's is the reason of a refusal, and is corrected."""

MAX_ATTEMPTS = 4
BASE_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 8.0

_NOT_MADE = frozenset(
    {"draining", "state-stale", "records-unavailable", "rate-limited", "supplier-busy", "unavailable", "overloaded"}
)
"""Problems that say the supplier was not called: sending again is safe for every method."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. Times are Unix seconds by the gateway's clock as far as it is known."""

    value: str
    kind: str
    renew_at: float
    ends_at: float


@dataclass(frozen=True, slots=True)
class AskAgain:
    """The token endpoint is to be asked again, after so many seconds; `problem` is what was wrong."""

    seconds: float | None
    problem: SharingProblem
    is_at_once: bool = False


class Declared:
    """What every call declares; a call's own words stand above.

    Args:
        purpose: `Sharing-Purpose`.
        scenario: `Sharing-Scenario`.
        operator: `Sharing-Operator`.
        items: `Sharing-Items`: one item's name, or several.
    """

    def __init__(
        self,
        purpose: str | None = None,
        scenario: str | None = None,
        operator: str | None = None,
        items: "str | Sequence[str] | None" = None,
    ) -> None:
        # `items="status"` is one item, and not six of one letter.
        several = [items] if isinstance(items, str) else items
        values = {
            "Sharing-Purpose": purpose,
            "Sharing-Scenario": scenario,
            "Sharing-Operator": operator,
            "Sharing-Items": ",".join(several) if several is not None else None,
        }
        self.fields = [(name.encode("ascii"), _field(text)) for name, text in values.items() if text is not None]

    def apply(self, request: httpx.Request) -> None:
        """Add what the request does not say itself."""
        # As bytes: `Headers` takes text in whatever encoding it last guessed, and Chinese text is not ASCII.
        added = [(name, text) for name, text in self.fields if name.decode("ascii") not in request.headers]
        request.headers = httpx.Headers([*request.headers.raw, *added])


class TokenState:
    """A system's token and all that is known for asking for the next one. Not synchronised: its owner is.

    Args:
        endpoint: the token endpoint.
        client_id: the system's id.
        key: signs assertions and proofs; None where a client certificate is the proof.
        audience: of assertions.
        dpop: whether tokens are bound to the key.
        clock: Unix seconds.
    """

    def __init__(
        self,
        endpoint: httpx.URL,
        client_id: str,
        key: ClientKey | None,
        audience: str,
        *,
        dpop: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.endpoint = endpoint
        self._client_id = client_id
        self._key = key
        self._audience = audience
        self._prover = key if dpop else None
        self._clock = clock
        self._offset = 0.0
        self._nonces: dict[str, tuple[str, float]] = {}
        self.token: Token | None = None

    def now(self) -> float:
        """Unix seconds by the gateway's clock, as far as it is known."""
        return self._clock() + self._offset

    def usable(self) -> Token | None:
        """The token, while it can still be used."""
        token = self.token
        return token if token is not None and self.now() < token.ends_at else None

    def is_due(self, token: Token) -> bool:
        """Whether it is time to renew `token`."""
        return self.now() >= token.renew_at

    def drop(self, token: Token) -> None:
        """Use `token` no more: the gateway has refused it."""
        if self.token is token:
            self.token = None

    @property
    def proves(self) -> bool:
        """Whether tokens are bound to a key that each call proves."""
        return self._prover is not None

    def token_request(self) -> httpx.Request:
        """A request for a token, good once."""
        now = int(self.now())
        headers = {"Accept": "application/json"}
        form = {"grant_type": "client_credentials", "client_id": self._client_id}
        if self._key is not None:
            form["client_assertion_type"] = ASSERTION_TYPE
            form["client_assertion"] = self._key.assertion(self._client_id, self._audience, now)
        if self._prover is not None:
            headers["DPoP"] = self._prover.proof(
                "POST", target_of(self.endpoint), now, nonce=self._nonce(self.endpoint), token=None
            )
        return httpx.Request("POST", self.endpoint, data=form, headers=headers)

    def nonce_request(self) -> httpx.Request:
        """A request that the token endpoint answers with a fresh nonce, and uses nothing up."""
        assert self._prover is not None
        proof = self._prover.proof("POST", target_of(self.endpoint), int(self.now()), nonce=None, token=None)
        form = {"grant_type": "client_credentials", "client_id": self._client_id}
        return httpx.Request("POST", self.endpoint, data=form, headers={"DPoP": proof})

    def take(self, answer: httpx.Response) -> "Token | AskAgain":
        """What the token endpoint's answer, which has been read, comes to."""
        self.note_nonce(answer)
        document = _json_object(answer)
        value, lifetime = document.get("access_token"), document.get("expires_in")
        if answer.status_code == 200 and isinstance(value, str):
            seconds = float(lifetime) if isinstance(lifetime, int) and lifetime > 0 else 60.0
            now = self.now()
            # At random, so that many callers that began at once do not renew at once for ever.
            renew = seconds * RENEW_AT * random.uniform(0.9, 1.0)  # noqa: S311 - no secret
            ends = max(seconds - USED_UNTIL_SECONDS, seconds / 2)
            self.token = Token(value, str(document.get("token_type", "Bearer")), now + min(renew, ends), now + ends)
            return self.token
        error = str(document.get("error", ""))
        problem = self._problem(answer, document, error)
        if error == "use_dpop_nonce" and "DPoP-Nonce" in answer.headers:
            return AskAgain(0.0, problem, is_at_once=True)
        if answer.status_code in {400, 401} and self.correct_clock(answer):
            return AskAgain(0.0, problem, is_at_once=True)
        is_lasting = answer.status_code < 500 and answer.status_code != 429
        return AskAgain(None if is_lasting else problem.retry_after or 0.0, problem)

    def _problem(self, answer: httpx.Response, document: Mapping[str, Any], error: str) -> SharingProblem:
        kind: type[SharingProblem] = TokenRefused
        code = "credential-invalid"
        if answer.status_code == 429:
            kind, code = RateLimited, "rate-limited"
        elif answer.status_code >= 500:
            kind, code = GatewayUnavailable, "unavailable"
        title = "the token endpoint gave no token"
        if 300 <= answer.status_code < 400:
            title = "the token endpoint answered with a redirect, which is not followed: it would carry the proof away"
        return kind(
            code,
            answer.status_code,
            title,
            detail=": ".join(part for part in (error, str(document.get("error_description", ""))) if part),
            advice=str(document.get("advice", "")),
            members=document,
            response=answer,
            retry_after=_retry_after_of(answer),
        )

    def correct_clock(self, answer: httpx.Response) -> bool:
        """Go by the gateway's clock from now on, where this machine's is off so far that proofs are refused by it."""
        date = date_of(answer)
        if date is None or abs(date - self.now()) <= SKEW_SECONDS:
            return False
        self._offset = date - self._clock()
        return True

    def authorize(self, request: httpx.Request, token: Token) -> None:
        """Show the token, and prove the key that it is bound to."""
        if token.kind.lower() == "dpop" and self._prover is not None:
            proof = self._prover.proof(
                request.method,
                target_of(request.url),
                int(self.now()),
                nonce=self._nonce(request.url),
                token=token.value,
            )
            request.headers["DPoP"] = proof
            request.headers["Authorization"] = f"DPoP {token.value}"
        else:
            request.headers["Authorization"] = f"Bearer {token.value}"

    def note_nonce(self, response: httpx.Response) -> None:
        """Keep the nonce that an answer gives."""
        nonce = response.headers.get("DPoP-Nonce")
        if nonce:
            self._nonces[origin_of(response.request.url)] = (nonce, time.monotonic())

    def _nonce(self, url: httpx.URL) -> str | None:
        """The newest nonce for `url`: nonces are the cluster's, so the token endpoint's serves the data plane too."""
        own, other = self._nonces.get(origin_of(url)), self._nonces.get(origin_of(self.endpoint))
        found = max((each for each in (own, other) if each is not None), key=lambda each: each[1], default=None)
        return found[0] if found is not None else None

    def has_fresh_nonce(self, url: httpx.URL) -> bool:
        """Whether a proof for `url` will bear a nonce that holds, as far as can be known."""
        if self._prover is None:
            return True
        ages = [self._nonces[each][1] for each in {origin_of(url), origin_of(self.endpoint)} if each in self._nonces]
        return bool(ages) and time.monotonic() - max(ages) < NONCE_FRESH_SECONDS


class RetryBudget:
    """How much may be sent again, so that callers do not multiply a gateway's trouble.

    Args:
        most: repetitions in a row; each costs one, each success gives a tenth back.
    """

    def __init__(self, most: float = 20.0) -> None:
        self._most = most
        self._left = most

    def take(self) -> bool:
        """Whether one more may be sent again."""
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def succeeded(self) -> None:
        """A call came through."""
        self._left = min(self._most, self._left + 0.1)


def pause(attempt: int, asked: float | None, left: float) -> float | None:
    """Seconds until attempt number `attempt` + 1; None where that would be after the caller's time.

    Exponential with full jitter, never before what `Retry-After` asks for, which is spread by up to a tenth: fifty
    callers that were refused together do not come back together.

    Args:
        attempt: how many were made.
        asked: what `Retry-After` asks for.
        left: seconds that the caller still has.
    """
    spread = random.uniform(0.0, min(LONGEST_BACKOFF_SECONDS, BASE_SECONDS * 2**attempt))  # noqa: S311 - no secret
    wait = asked * random.uniform(1.0, 1.1) + spread / 10 if asked else spread  # noqa: S311 - no secret
    return wait if wait < left else None


def may_be_made_again(response: httpx.Response) -> bool:
    """Whether a call that was answered so may be sent again: the gateway says that the supplier was not called.

    A call that has a record may have reached the supplier: it is sent again only if it is a GET or HEAD, and never
    where the answer is the supplier's.
    """
    document = problem_of(response)
    if response.headers.get("Sharing-Origin", "gateway").lower() != "gateway":
        return False
    if str(document.get("type", "")).rpartition("/")[2] not in _NOT_MADE:
        return False
    record = response.headers.get("Sharing-Record")
    if record is None:
        return True
    return document.get("instance") == f"/v1/records/{record}" and response.request.method in {"GET", "HEAD"}


def refuses_token(response: httpx.Response) -> bool:
    """Whether the gateway (and not a supplier behind it) has refused the credential."""
    return response.status_code == 401 and "Sharing-Record" not in response.headers


def wants_nonce(response: httpx.Response) -> bool:
    """Whether only a newer nonce is lacking, which the answer gives (RFC 9449 §9)."""
    asked = "use_dpop_nonce" in response.headers.get("WWW-Authenticate", "")
    return refuses_token(response) and asked and "DPoP-Nonce" in response.headers


def origin_of(url: httpx.URL) -> str:
    """Scheme, host and port, the default one left out."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}" + (f":{url.port}" if url.port is not None else "")


def target_of(url: httpx.URL) -> str:
    """The URI of a DPoP proof: without query and fragment (RFC 9449 §4.2)."""
    return str(url.copy_with(query=None, fragment=None))


def _json_object(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


_PLAIN = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What stands in a declared value as it is: all of ASCII but `%`, which begins an encoded octet."""


def _field(value: str) -> bytes:
    """A declared value as every header can bear it: one line of text, percent-encoded where it is not ASCII."""
    if not value.isprintable():
        raise ValueError("a declared value is one line of text")
    return quote(value, safe=_PLAIN).encode("ascii")
