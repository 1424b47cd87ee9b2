"""Problems as exceptions, one class for each thing a caller can do about it."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

_MEDIA_TYPE = "application/problem+json"
_PREFIX = "/problems/"


class SharingProblem(Exception):  # noqa: N818  (RFC 9457 calls it a problem)
    """A refusal or failure, as the gateway's problem document says it (RFC 9457).

    Args:
        code: the machine code, such as `items-not-granted`; "" where the answer was no problem document.
        status: the HTTP status.
        title: what kind of problem it is.
        detail: what is wrong this time.
        advice: what can be done about it.
        record: the id of the use record, if the use was recorded (`Sharing-Record`).
        members: every member of the document, among them the explanation of a denial.
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
    ) -> None:
        super().__init__(code, status, title)
        self.code = code
        self.status = status
        self.title = title
        self.detail = detail
        self.advice = advice
        self.record = record
        self.members: Mapping[str, Any] = dict(members or {})

    def __str__(self) -> str:
        sentences = [f"{self.code or self.status}: {self.title}", self.detail, self.advice]
        return "; ".join(sentence for sentence in sentences if sentence)


class CallMalformed(SharingProblem):
    """The call must be corrected: purpose missing, unknown items, malformed or too large."""


class CredentialRefused(SharingProblem):
    """The credential does not hold, even after it was renewed."""


class TokenRefused(CredentialRefused):
    """The token endpoint gave no token: check the client id and the registered key."""


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
    "items-not-granted": NotGranted,
    "mode-not-granted": NotGranted,
    "grant-not-yet-valid": NotGranted,
    "grant-expired": NotGranted,
    "non-shareable": NotGranted,
    "suspended": SharingStopped,
    "terminated": SharingStopped,
    "interface-unknown": NotServed,
    "quota-exhausted": QuotaExhausted,
    "rate-limited": RateLimited,
    "answer-not-filterable": SupplierFailed,
    "supplier-refused": SupplierFailed,
    "supplier-unreachable": SupplierFailed,
    "supplier-timeout": SupplierFailed,
    "records-unavailable": GatewayUnavailable,
    "state-stale": GatewayUnavailable,
    "draining": GatewayUnavailable,
    "memory-exhausted": GatewayUnavailable,
    "overloaded": GatewayUnavailable,
    "supplier-busy": GatewayUnavailable,
    "unavailable": GatewayUnavailable,
}


def raise_for_problem(response: httpx.Response) -> httpx.Response:
    """`response` itself, if it is no error.

    A streamed response must have been read (`response.read()`, `await response.aread()`).

    Raises:
        SharingProblem: of the class that fits the problem's code. A supplier's own error answer, which is no problem
            document of the gateway, raises `SharingProblem` itself with an empty code.
    """
    if not response.is_error:
        return response
    document = problem_of(response)
    code = str(document.get("type", "")).removeprefix(_PREFIX) if document else ""
    raise _CLASSES.get(code, SharingProblem)(
        code,
        response.status_code,
        str(document.get("title") or response.reason_phrase),
        detail=str(document.get("detail", "")),
        advice=str(document.get("advice", "")),
        record=response.headers.get("Sharing-Record"),
        members=document,
    )


def problem_of(response: httpx.Response) -> dict[str, Any]:
    """The problem document of a response that has been read; empty where it is none of the gateway's."""
    if response.headers.get("sharing-origin", "gateway").strip().lower() != "gateway":
        return {}
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != _MEDIA_TYPE:
        return {}
    try:
        document = json.loads(response.content)
    except ValueError:
        return {}
    if not isinstance(document, dict) or not str(document.get("type", "")).startswith(_PREFIX):
        return {}
    return document
