"""One call, from its first attempt to the answer that is the caller's: a generator that does no I/O.

It yields steps and is sent what they came to; who drives it does them, waiting as threads, asyncio or trio wait.
"""

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.client.core import (
    MAX_ATTEMPTS,
    Declared,
    RetryBudget,
    Token,
    may_be_made_again,
    pause,
    refuses_token,
    wants_nonce,
)
from gateway.client.problems import BodyNotRepeatable, retry_after_of
from gateway.client.source import TokenSource


@dataclass(frozen=True, slots=True)
class GetToken:
    """Get a token within so many seconds; sent back: the `Token`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GetNonce:
    """Get a fresh nonce."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request; sent back: its response, unread, or `Unsent`."""

    request: httpx.Request


@dataclass(frozen=True, slots=True)
class Unsent:
    """Sent back in place of a response: nothing was sent, or the connection broke under what is safe to repeat."""

    error: httpx.TransportError


@dataclass(frozen=True, slots=True)
class Read:
    """Read this response whole."""

    response: httpx.Response


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait so many seconds."""

    seconds: float


Step = GetToken | GetNonce | Send | Read | Wait
Flow = Generator[Step, Any, None]


def call_flow(
    source: TokenSource,
    declared: Declared,
    budget: RetryBudget,
    request: httpx.Request,
    deadline_seconds: float,
    patience_seconds: float,
) -> Flow:
    """The steps of one call; the response of the last `Send` is the caller's answer.

    Sent again, within the caller's time and the budget, are: a call whose token or nonce was refused; one that the
    gateway says it did not make; one that there was no connection for; and a GET or HEAD whose connection broke before
    an answer came, as idle ones do (RFC 9110 §9.2.2). Never a body that can be read only once, once it was read.

    Args:
        source: of tokens.
        declared: of every call.
        budget: of repetitions, shared by a client's calls.
        request: the call.
        deadline_seconds: the longest it may take to its answer's head, waits and repetitions included.
        patience_seconds: the longest it may wait for a token.

    Raises:
        BodyNotRepeatable: where it must be sent again and cannot be.
    """
    deadline = time.monotonic() + deadline_seconds
    is_repeatable = isinstance(request.stream, httpx.ByteStream) or getattr(request.stream, "is_made_anew", False)
    declared.apply(request)
    renewed = nonces = 0
    source.note("call")
    for attempt in range(1, MAX_ATTEMPTS + 1):
        left = deadline - time.monotonic()
        token: Token = yield GetToken(max(min(left, patience_seconds), 0.0))
        state = source.state
        if not is_repeatable and not state.has_fresh_nonce(request.url):
            yield GetNonce()
        state.authorize(request, token)
        response: httpx.Response | Unsent = yield Send(request)
        if isinstance(response, Unsent):
            wait = pause(attempt, None, deadline - time.monotonic())
            is_whole = is_repeatable or isinstance(response.error, (httpx.ConnectError, httpx.ConnectTimeout))
            if wait is None or not is_whole or attempt == MAX_ATTEMPTS or not budget.take():
                raise response.error
            source.note("retry", "connection")
            yield Wait(wait)
            continue
        state.note_nonce(response)
        if response.status_code not in {401, 429, 503}:
            budget.succeeded()
            return
        yield Read(response)
        if wants_nonce(response):
            nonces += 1
            wait = 0.0 if nonces < MAX_ATTEMPTS else None
        elif refuses_token(response):
            source.refused(token)
            source.note("refusal", "credential-invalid")
            corrected = state.correct_clock(response)
            renewed += 1
            wait = 0.0 if renewed == 1 or (corrected and renewed == 2) else None
        elif may_be_made_again(response):
            wait = pause(attempt, retry_after_of(response), deadline - time.monotonic())
        else:
            return
        if wait is None or attempt == MAX_ATTEMPTS or not budget.take():
            return
        if not is_repeatable:
            if response.status_code == 401:
                raise _not_repeatable(response)
            return
        source.note("retry", str(response.status_code))
        request = _once_more(request)
        if wait:
            yield Wait(wait)


def _once_more(request: httpx.Request) -> httpx.Request:
    """The same request to be sent again; of the one that was refused, which a history may show, the proof is taken."""
    again = httpx.Request(
        request.method, request.url, headers=request.headers, stream=request.stream, extensions=request.extensions
    )
    if isinstance(request.stream, httpx.ByteStream):
        again.read()
    for name in ("Authorization", "DPoP"):
        request.headers.pop(name, None)
    return again


def patience_of(request: httpx.Request, most: float) -> float:
    """Seconds that a call may wait for a token: what its time-outs say, and no more than `most`.

    An `httpx` time-out bounds each step of a call; whoever gave one second will not wait a minute for a token.
    """
    timeouts = request.extensions.get("timeout", {})
    given = [each for each in timeouts.values() if isinstance(each, (int, float))]
    return min(max(given), most) if given else most


def _not_repeatable(response: httpx.Response) -> BodyNotRepeatable:
    return BodyNotRepeatable(
        "credential-invalid",
        response.status_code,
        "the call must be sent again, and its body was a stream that can be read once",
        advice="give the body as bytes, or a function that makes it anew (`content=make`, with `SharingClient`)",
        response=response,
        record=response.headers.get("Sharing-Record"),
    )
