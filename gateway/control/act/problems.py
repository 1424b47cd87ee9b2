"""Errors to RFC 9457 responses, once for the whole control plane; and the outermost guard of the application.

A 5xx never bears an exception's text: what was not foreseen is logged by its type and place and answered as
`internal`. Once an answer has begun, a failure cuts the connection.
"""

import asyncio
import logging
import re
import traceback
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.domain.errors import GatewayError, prefers_chinese, problem_document
from gateway.domain.nesting import MAX_DEPTH, is_too_deep

log = logging.getLogger(__name__)

LOOK_BYTES = 1 << 18
"""What is looked through at once; more goes to a thread."""
BODY_BYTES = 1 << 20
"""The largest request body, unless a route below takes more."""

LARGE_BODY_BYTES: Mapping[str, int] = {
    "/v1/grants": 16 << 20,
    "/v1/directory": 48 << 20,
    **dict.fromkeys(("/v1/policies/activation", "/v1/policies/shadow", "/v1/policies/compare"), 8 << 20),
}
"""Routes that take files: a batch of grants, a directory of a city (1,392 interfaces are some 3 MiB), policies."""
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::([0-9]{0,5}))?")
MAX_PORT = 65_535
ATTACHMENT_BYTES = 8 << 20
"""The largest attachment of a case."""
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_ATTACHMENTS = re.compile(r"/v1/[a-z]+/[^/]+/attachments")


ANYBODYS_BODY_BYTES = 64 << 10
"""The largest body of a route that takes no sign-in: what reading it costs is nobody's yet."""
_ANYBODYS = re.compile(r"/(?:complaints|sign-in|oauth|console/sign-in|console/enrol)(?:/.*)?")
MAX_FAULTS = 1000
"""Faults of a body that are named; of more it is said how many there are."""


BODY_SECONDS, LEAST_BYTES_A_SECOND = 20.0, 32 << 10
"""How long a body may take from its head on: so many seconds, and one more for each so many bytes that have come."""


def problem_response(error: GatewayError, accept_language: str) -> Response:
    """The response of `error`, with the header fields it bears."""
    chinese = prefers_chinese(accept_language)
    headers = dict(error.headers)
    if error.problem.retry_after_seconds is not None:
        headers.setdefault("Retry-After", str(error.problem.retry_after_seconds))
    headers["Content-Language"] = "zh" if chinese else "en"
    document = msgspec.json.encode(problem_document(error, chinese=chinese))
    return Response(document, error.problem.status, headers, media_type="application/problem+json")


def install_problems(app: FastAPI) -> None:
    """Answer every error of `app` with a problem."""

    def answer(request: Request, error: GatewayError) -> Response:
        return problem_response(error, request.headers.get("accept-language", ""))

    @app.exception_handler(GatewayError)
    async def refused(request: Request, error: GatewayError) -> Response:
        if error.problem.status >= 500:
            log.error("%s %s failed: %s", request.method, _route(request), error.code)
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def faulty(request: Request, error: RequestValidationError) -> Response:
        return answer(request, faults_of(error.errors()))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = {405: "method-not-allowed", 404: "not-found", 413: "body-too-large"}.get(error.status_code)
        if code is None:
            code = "malformed-request" if error.status_code < 500 else "internal"
        allowed = (("Allow", ", ".join(_methods_of(app, request))),) if code == "method-not-allowed" else ()
        return answer(request, GatewayError(code, headers=allowed))

    app.add_middleware(Shield)


def faults_of(errors: Any, *, row: int | None = None) -> GatewayError:
    """`invalid-input` with every fault that pydantic found, by field; without the values it found there."""
    faults = []
    for each in errors[:MAX_FAULTS]:
        place = [str(part) for part in each["loc"] if part not in {"body", "query", "path", "header"}]
        fault: dict[str, Any] = {"field": ".".join(place) or None, "fault": _sentence(each)}
        faults.append(fault if row is None else {"row": row, **fault})
    return GatewayError("invalid-input", f"the input has {_count(len(errors))}", faults=faults)


def invalid(faults: list[dict[str, Any]]) -> GatewayError:
    """`invalid-input` with these faults."""
    return GatewayError("invalid-input", f"the input has {_count(len(faults))}", faults=faults)


def _count(number: int) -> str:
    return "1 fault" if number == 1 else f"{number} faults"


def _sentence(error: Mapping[str, Any]) -> str:
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "extra_forbidden":
        return "is not a field here"
    if error["type"] == "string_pattern_mismatch":
        return "has a form that is not allowed here"
    message = str(error["msg"])
    return message[:1].lower() + message[1:]


def _methods_of(app: FastAPI, request: Request) -> list[str]:
    """Every method of a path: what a route by itself names are those of that route alone (RFC 9110 §10.2.1)."""
    found: set[str] = set()
    for method in _METHODS:
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in app.router.routes):
            found.add(method)
    return sorted(found)


def _route(request: Request) -> str:
    route = request.scope.get("route")
    return str(getattr(route, "path", "an unknown path"))


class _BoundedBody:
    """A request's body as it comes: no more of it than `limit`, and no slower than a request may send.

    One that says it is JSON is looked through before anything parses it: every parser and everything that walks what
    they make of it is bounded by that, on every route.

    Raises, when received from:
        GatewayError: `body-too-large`; `request-timeout`; `malformed-request` for JSON that nests too deeply.
    """

    def __init__(self, receive: Receive, limit: int, *, is_json: bool) -> None:
        self._receive = receive
        self._parts: list[bytes] | None = [] if is_json else None
        self._limit = limit
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()
        self._read = 0
        self._is_whole = False

    async def receive(self) -> Message:
        """The next message; once the body is whole it is waited for without a bound (the caller's leaving)."""
        if self._is_whole:
            return await self._receive()
        # INVARIANT: BOUNDED — a body that drips holds its place no longer than one that comes at the least rate.
        left = self._started + BODY_SECONDS + self._read / LEAST_BYTES_A_SECOND - self._clock()
        try:
            async with asyncio.timeout(left):
                message = await self._receive()
        except TimeoutError as error:
            raise GatewayError("request-timeout", "the body did not come in time") from error
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            self._is_whole = not message.get("more_body", False)
            if self._read > self._limit:
                raise GatewayError("body-too-large", f"a body here holds at most {self._limit} bytes")
            if self._parts is not None:
                self._parts.append(message.get("body", b""))
                if self._is_whole:
                    text, self._parts = b"".join(self._parts), None
                    # A body that takes long to look through is none of the loop's business.
                    deep = is_too_deep(text) if len(text) < LOOK_BYTES else await asyncio.to_thread(is_too_deep, text)
                    if deep:
                        raise GatewayError("malformed-request", f"the JSON nests deeper than {MAX_DEPTH}")
        return message


class Shield:
    """The application's outermost guard: bounds what is read, forbids caching, and lets no exception's text out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False
        path = str(scope["path"])
        limit = _limit_of(path)
        is_json = any(name == b"content-type" and b"json" in value.lower() for name, value in scope["headers"])
        bounded = _BoundedBody(receive, limit, is_json=is_json).receive

        async def watched(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message.setdefault("headers", [])
                names = {name.lower() for name, _ in message["headers"]}
                if b"cache-control" not in names:
                    message["headers"].append((b"cache-control", b"no-store"))
                message["headers"].append((b"x-content-type-options", b"nosniff"))
            await send(message)

        language = ""
        if not str(scope["http_version"]).startswith("1."):
            await problem_response(GatewayError("version-unsupported"), language)(scope, receive, watched)
            return
        if not _has_one_host(scope):
            refusal = GatewayError(
                "malformed-request", "a request names one `Host`: a name or address, and a port up to 65535"
            )
            await problem_response(refusal, language)(scope, receive, watched)
            return
        for name, value in scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or int(value) > limit):
                refusal = GatewayError("body-too-large", f"a body here holds at most {limit} bytes")
                await problem_response(refusal, language)(scope, receive, watched)
                return
            if name == b"accept-language":
                language = value.decode("latin-1")
        try:
            await self._app(scope, bounded, watched)
        except Exception as error:
            log.error("a request failed with %s at %s", type(error).__name__, _place(error))
            if begun:
                raise
            known = error if isinstance(error, GatewayError) else GatewayError("internal")
            await problem_response(known, language)(scope, receive, watched)


def _has_one_host(scope: Scope) -> bool:
    """RFC 9112 §3.2: one `Host` and a valid one; what is asked within the process needs none."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    found = _HOST.fullmatch(hosts[0]) if hosts else None
    return not hosts or (len(hosts) == 1 and found is not None and int(found[1] or 0) <= MAX_PORT)


def _limit_of(path: str) -> int:
    if _ANYBODYS.fullmatch(path):
        return ANYBODYS_BODY_BYTES
    return ATTACHMENT_BYTES if _ATTACHMENTS.fullmatch(path) else LARGE_BODY_BYTES.get(path, BODY_BYTES)


def _place(error: BaseException) -> str:
    """Where an exception arose, without its text: that could hold a value."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
