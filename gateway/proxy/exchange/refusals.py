"""Refusals as they leave: RFC 9457 problem documents, worded for the caller, with the record that names them."""

from functools import lru_cache
from typing import Any

import msgspec

from gateway.domain.errors import GatewayError, problem_document
from gateway.domain.verdicts import Explanation

_encode = msgspec.json.Encoder().encode
_CHALLENGES = {
    "credential-missing": b'WWW-Authenticate: Bearer, DPoP algs="ES256"\r\n',
    "credential-invalid": b'WWW-Authenticate: Bearer error="invalid_token", DPoP algs="ES256"\r\n',
}

REASONS: dict[int, bytes] = {
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    203: b"Non-Authoritative Information",
    204: b"No Content",
    205: b"Reset Content",
    206: b"Partial Content",
    304: b"Not Modified",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    412: b"Precondition Failed",
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}


def status_line(status: int) -> bytes:
    """The status line with its CRLF; a supplier's own reason phrase never passes."""
    return b"HTTP/1.1 %d %b\r\n" % (status, REASONS.get(status, b""))


def explanation_member(explanation: Explanation, *, chinese: bool) -> dict[str, Any]:
    """An explanation as a member of a problem, in one language."""
    return {
        "near": [
            {
                "grant": miss.grant,
                "failed": list(miss.failed),
                "articles": list(miss.articles),
                "detail": list(miss.detail_zh if chinese else miss.detail),
            }
            for miss in explanation.near
        ],
        "articles": list(explanation.articles),
        "rules": [
            {"id": rule.id, "title": rule.title_zh if chinese else rule.title, "articles": list(rule.articles)}
            for rule in explanation.rules
        ],
        "next_step": explanation.next_step_zh if chinese else explanation.next_step,
    }


def refusal(
    error: GatewayError,
    *,
    chinese: bool,
    record: str | None = None,
    explanation: Explanation | None = None,
) -> tuple[int, bytes, bytes]:
    """Status, header fields and content of a refusal.

    The fields are `Content-Type`, `Content-Language`, and where they apply `Retry-After`, `WWW-Authenticate` and
    `Sharing-Record`; framing is the sender's.
    """
    if record is None and explanation is None and not error.headers and not error.members:
        # What depends on its code and its sentence alone is made once: a worker that sheds says the same to all.
        return _plain(error.code, error.detail, chinese=chinese)
    return _refusal(error, chinese=chinese, record=record, explanation=explanation)


@lru_cache(256)
def _plain(code: str, detail: str, *, chinese: bool) -> tuple[int, bytes, bytes]:
    return _refusal(GatewayError(code, detail), chinese=chinese, record=None, explanation=None)


def _refusal(
    error: GatewayError, *, chinese: bool, record: str | None, explanation: Explanation | None
) -> tuple[int, bytes, bytes]:
    document = problem_document(error, chinese=chinese, instance=record)
    if explanation is not None:
        told = explanation_member(explanation, chinese=chinese)
        document["explanation"] = told
        # Of a rule with words of its own, those: not two pieces of advice that differ.
        document["advice"] = told["next_step"] or document["advice"]
    row = error.problem
    fields = (
        b"Content-Type: application/problem+json\r\n"
        b"Cache-Control: no-store\r\n"
        b"Sharing-Origin: gateway\r\n"
        b"Content-Language: " + (b"zh" if chinese else b"en") + b"\r\n"
    )
    if error.headers:
        fields += b"".join(f"{name}: {value}\r\n".encode("latin-1", "replace") for name, value in error.headers)
    else:
        fields += _CHALLENGES.get(error.code, b"")
    if row.retry_after_seconds is not None:
        fields += b"Retry-After: %d\r\n" % row.retry_after_seconds
    if record is not None:
        fields += b"Sharing-Record: %b\r\n" % record.encode()
    return row.status, fields, _encode(document)
