"""Problems as exceptions, one class for each thing a caller can do about it.

Each is an `httpx.HTTPStatusError` with its response, so that code which catches that goes on to work.
"""

import copy
import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Self

import httpx

_MEDIA_TYPE = "application/problem+json"
_PREFIX = "/problems/"
_NOWHERE = "http://gateway.invalid/"


class SharingProblem(httpx.HTTPStatusError):
    """A refusal or failure, as the gateway's problem document says it (RFC 9457).

    Args:
        code: the machine code, such as `items-not-granted`; "" where the answer was no problem document.
        status: the HTTP status.
        title: what kind of problem it is.
        detail: what is wrong this time.
        advice: what can be done about it: the next step.
        record: the id of the use record, if the use was recorded (`Sharing-Record`).
        members: every member of the document, among them the explanation of a denial.
        response: the answer that said so.
        retry_after: seconds to wait before it makes sense to try again; None where the answer does not say.
    """

    def __init__(
        self,
        code: str,
        status: int,
        title: str,
        *,
        detail: str = "",
        advice: str = "",
        record: str | None = None,
        members: Mapping[str, Any] | None = None,
        response: httpx.Response | None = None,
        retry_after: float | None = None,
    ) -> None:
        request = getattr(response, "_request", None) or httpx.Request("GET", _NOWHERE)
        super().__init__(title, request=request, response=response or httpx.Response(status, request=request))
        self.args = (code, status, title)
        self.code = code
        self.status = status
        self.title = title
        self.detail = detail
        self.advice = advice
        self.record = record
        self.retry_after = retry_after
        self.members: Mapping[str, Any] = dict(members or {})

    @property
    def article(self) -> str | None:
        """The article of law that a denial rests on, where the answer names one."""
        articles = self._explanation.get("articles")
        return str(articles[0]) if isinstance(articles, list) and articles else None

    @property
    def next_step(self) -> str:
        """What to do now, in the words of the answer."""
        return str(self._explanation.get("next_step") or self.advice)

    @property
    def _explanation(self) -> Mapping[str, Any]:
        found = self.members.get("explanation")
        return found if isinstance(found, Mapping) else {}

    def again(self) -> Self:
        """The same, to be raised once more: for each of those who waited for one outcome."""
        other = copy.copy(self)
        other.__traceback__ = other.__context__ = None
        return other

    def __str__(self) -> str:
        sentences = [f"{self.code or self.status}: {self.title}", self.detail, self.advice]
        return "; ".join(sentence for sentence in sentences if sentence)

    def __reduce__(self) -> Any:
        """Pickled with its words, without the connection's remains."""
        state = {name: value for name, value in self.__dict__.items() if name != "_request"}
        request = httpx.Request(self.request.method, self.request.url)
        state["response"] = httpx.Response(self.status, headers=self.response.headers, request=request)
        return _remade, (type(self), self.code, self.status, self.title, state)


def _remade(kind: type[SharingProblem], code: str, status: int, title: str, state: dict[str, Any]) -> SharingProblem:
    made = kind(code, status, title, response=state.pop("response"))
    made.__dict__.update(state)
    return made


class CallMalformed(SharingProblem):
    """The call must be corrected: purpose missing, unknown items, malformed or too large."""


class CredentialRefused(SharingProblem):
    """The credential does not hold, even after it was renewed."""


class TokenRefused(CredentialRefused):
    """The token endpoint gave no token: check the client id and the registered key."""


class BodyNotRepeatable(CredentialRefused):
    """The call must be sent again, and its body was a stream: give a function that makes it (`content=make`)."""


class NotGranted(SharingProblem):
    """No grant covers this call: another purpose, other items, another mode, or its time has passed."""


class SharingStopped(NotGranted):
    """Sharing is suspended or terminated (Decree 809 Art. 27)."""


class NotServed(SharingProblem):
    """There is no such interface."""


class QuotaExhausted(SharingProblem):
    """The grant's quota of today is used up."""


class RateLimited(SharingProblem):
    """Too many calls at once: slow down."""


class SupplierFailed(SharingProblem):
    """The supplier did not answer, or not in a form that can be released."""


class GatewayUnavailable(SharingProblem):
    """The gateway cannot serve now; the call was not made, so it can be made again."""


class TokenTimeout(httpx.TimeoutException):
    """No token came within the call's time; the call was not made. The fetch goes on for those who come next."""


class AnswerCut(httpx.RemoteProtocolError):
    """The answer ended before its end: what came of it is a part, and is not to be used as the whole."""


_CLASSES: Mapping[str, type[SharingProblem]] = {
    "malformed-request": CallMalformed,
    "purpose-missing": CallMalformed,
    "items-unknown": CallMalformed,
    "body-too-large": CallMalformed,
    "target-too-long": CallMalformed,
    "headers-too-large": CallMalformed,
    "request-timeout": CallMalformed,
    "method-not-allowed": CallMalformed,
    "method-unknown": CallMalformed,
    "version-unsupported": CallMalformed,
    "credential-missing": CredentialRefused,
    "credential-invalid": CredentialRefused,
    "assurance-too-low": NotGranted,
    "not-granted": NotGranted,
    "purpose-not-granted": NotGranted,
    "unit-mismatch": NotGranted,
    "declaration-missing": NotGranted,
    "guess-refused": NotGranted,
    "items-not-granted": NotGranted,
    "carrier-cannot-limit": NotGranted,
    "outside-hours": NotGranted,
    "outside-scope": NotGranted,
    "keeper-calls": NotGranted,
    "parameters-not-granted": NotGranted,
    "system-not-granted": NotGranted,
    "mode-not-granted": NotGranted,
    "grant-not-yet-valid": NotGranted,
    "grant-expired": NotGranted,
    "grant-closed": NotGranted,
    "non-shareable": NotGranted,
    "suspended": SharingStopped,
    "terminated": SharingStopped,
    "interface-unknown": NotServed,
    "quota-exhausted": QuotaExhausted,
    "words-exhausted": QuotaExhausted,
    "rate-limited": RateLimited,
    "answer-not-filterable": SupplierFailed,
    "supplier-unreachable": SupplierFailed,
    "supplier-refused": SupplierFailed,
    "supplier-timeout": SupplierFailed,
    "records-unavailable": GatewayUnavailable,
    "state-stale": GatewayUnavailable,
    "draining": GatewayUnavailable,
    "unavailable": GatewayUnavailable,
    "overloaded": GatewayUnavailable,
    "memory-exhausted": GatewayUnavailable,
    "supplier-busy": GatewayUnavailable,
    "host-not-proved": SupplierFailed,
}


def raise_for_problem(response: httpx.Response) -> httpx.Response:
    """`response` itself, if it is an answer (2xx); a streamed one is read where it is none.

    Raises:
        SharingProblem: of the class that fits the problem's code. A supplier's own error answer, which is no problem
            document of the gateway, raises `SharingProblem` itself with an empty code; so does a redirect, which the
            gateway never sends.
    """
    if response.is_success:
        return response
    if not response.is_stream_consumed and not isinstance(response.stream, httpx.SyncByteStream):
        raise TypeError("this answer is an async stream: `await raise_for_problem_async(response)`")
    response.read()
    raise problem_for(response)


async def raise_for_problem_async(response: httpx.Response) -> httpx.Response:
    """As `raise_for_problem`, for an answer of an async client that may still be streaming."""
    if response.is_success:
        return response
    await response.aread()
    raise problem_for(response)


def problem_for(response: httpx.Response) -> SharingProblem:
    """The problem that an answer which has been read tells."""
    document = problem_of(response)
    code = str(document.get("type", "")).removeprefix(_PREFIX) if document else ""
    return _CLASSES.get(code, SharingProblem)(
        code,
        response.status_code,
        str(document.get("title") or response.reason_phrase),
        detail=str(document.get("detail", "")),
        advice=str(document.get("advice", "")),
        record=response.headers.get("Sharing-Record"),
        members=document,
        response=response,
        retry_after=retry_after_of(response),
    )


def retry_after_of(response: httpx.Response, now: float | None = None) -> float | None:
    """Seconds that `Retry-After` asks to wait (RFC 9110 §10.2.3: seconds or a date); None where it does not."""
    asked = response.headers.get("Retry-After", "").strip()
    if asked.isascii() and asked.isdecimal():
        return float(asked) if len(asked) < 10 else float(10**9)
    at = _moment(asked)
    # The answer's own clock, so that a caller's wrong one changes nothing.
    here = now if now is not None else _moment(response.headers.get("Date", ""))
    return max(0.0, at - here) if at is not None and here is not None else None


def date_of(response: httpx.Response) -> float | None:
    """The answer's `Date`, Unix seconds."""
    return _moment(response.headers.get("Date", ""))


def _moment(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (TypeError, ValueError):
        return None


def problem_of(response: httpx.Response) -> dict[str, Any]:
    """The problem document of a response that has been read; empty where it is none of the gateway's."""
    if response.headers.get("sharing-origin", "gateway").strip().lower() != "gateway":
        return {}
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != _MEDIA_TYPE:
        return {}
    try:
        document = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict) or not str(document.get("type", "")).startswith(_PREFIX):
        return {}
    return document
