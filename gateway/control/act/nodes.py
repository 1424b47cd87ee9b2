"""A request that concerns another node's things is answered by that node, whichever node a balancer sent it to.

Nodes share the state, and so grants, orders, sessions, used-up values and remembered answers. Records and exports are
a node's own: its log, its index, its spool. What names such a thing names its node by a mark, eight hex digits:

    an export      /v1/records/export/<mark><24 hex digits>-<officer>.<format>
    a later page   /v1/records?cursor=<mark>.<cursor>

and the request is passed on to that node as it came, with the officer's own credential; that node decides and records
it. A record's id names no node: one that this node does not have is asked for at the others.

A request that was passed on (`Sharing-Node`) is never passed on again. A caller who sends that field himself gets what
the node that he meets has.
"""

import hashlib
import logging
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qs

import httpx
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.control.act.problems import BODY_BYTES, problem_response
from gateway.domain.errors import GatewayError

log = logging.getLogger(__name__)

PASSED_ON = "sharing-node"
MARK_CHARACTERS = 8
HEARD_SECONDS = 30.0
"""A node that has not been heard for so long is not asked: what it alone has is then out of reach, and that is said."""
CONNECT_SECONDS = 3.0
READ_SECONDS = 130.0
"""Longer than an export's answer may take; the proxy in front gives up before."""

_EXPORT = re.compile(r"^/v1/records/export/([0-9a-f]{8})[0-9a-f]{24}-")
_RECORD = re.compile(r"^/v1/records/[A-Za-z0-9-]{1,64}(/proof)?$")
_LISTS = frozenset({"/v1/records", "/v1/records/search"})
_NOT_RECORDS = frozenset({"/v1/records/export", "/v1/records/search", "/v1/records/stats"})
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"transfer-encoding",
        b"te",
        b"trailer",
        b"upgrade",
        b"proxy-authorization",
        b"proxy-connection",
        b"host",
        b"content-length",
        b"expect",
        b"accept-encoding",
        b"x-forwarded-for",
        b"forwarded",
        b"client-cert",
    )
)


class KnownNode(Protocol):
    """What is known of a node."""

    @property
    def id(self) -> str: ...
    @property
    def beat_unix(self) -> float: ...
    @property
    def address(self) -> str: ...


def mark_of(node: str) -> str:
    """The mark of a node by its name."""
    return hashlib.sha256(node.encode("utf-8")).hexdigest()[:MARK_CHARACTERS]


def marked_cursor(mark: str, cursor: str | None) -> str | None:
    """`cursor` with the node that can read it; as it is where there is one node."""
    return f"{mark}.{cursor}" if mark and cursor is not None else cursor


def own_cursor(mark: str, cursor: str | None) -> str | None:
    """What this node's ledger gave out as `cursor`.

    Raises:
        GatewayError: `invalid-input` where it is another node's.
    """
    if cursor is None:
        return None
    named, dot, own = cursor.rpartition(".")
    if dot and named == mark:
        return own
    if dot:
        raise GatewayError("invalid-input", "the cursor is not one of this list", faults=[_CURSOR_FAULT])
    return cursor


_CURSOR_FAULT = {"field": "cursor", "fault": "is not the `next` of a page before"}


@dataclass(frozen=True, slots=True)
class NodeRoads:
    """The roads to the other nodes.

    Args:
        node: this node's name.
        known: every node that has been heard of; may block.
        now: Unix seconds.
        trust: what the other nodes' certificates are checked against; None is the system's authorities.
    """

    node: str
    known: Callable[[], Iterable[KnownNode]]
    now: Callable[[], float]
    trust: ssl.SSLContext | None = None

    def client(self) -> httpx.AsyncClient:
        """What requests are passed on by."""
        limits = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        verify = self.trust if self.trust is not None else True
        return httpx.AsyncClient(verify=verify, timeout=limits, trust_env=False, follow_redirects=False)

    def others(self) -> list[KnownNode]:
        """The other nodes."""
        return [each for each in self.known() if each.id != self.node]

    def is_heard(self, other: KnownNode) -> bool:
        """Whether the node lives, as far as the state knows, and has said where it is."""
        return bool(other.address) and self.now() - other.beat_unix <= HEARD_SECONDS


class NodeDoor:
    """Passes requests on to the node they are about; all others go to this node's application."""

    def __init__(self, app: ASGIApp, roads: NodeRoads) -> None:
        self._app = app
        self._roads = roads
        self._mark = mark_of(roads.node)
        self._client: httpx.AsyncClient | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or any(name.lower() == PASSED_ON.encode() for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        path = str(scope["path"])
        mark = self._mark_in(path, scope)
        if mark is not None and mark != self._mark:
            await self._to_marked(mark, scope, receive, send)
        elif scope["method"] == "GET" and _RECORD.match(path) and path not in _NOT_RECORDS:
            await self._here_or_elsewhere(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    @staticmethod
    def _mark_in(path: str, scope: Scope) -> str | None:
        """The mark of the node that the request is about; None where it names none."""
        found = _EXPORT.match(path)
        if found:
            return found[1]
        if path not in _LISTS:
            return None
        try:
            cursors = parse_qs(scope["query_string"].decode("ascii"), max_num_fields=64).get("cursor", [])
        except ValueError:
            return None
        mark, dot, _ = cursors[0].partition(".") if len(cursors) == 1 else ("", "", "")
        return mark if dot and len(mark) == MARK_CHARACTERS else None

    async def _to_marked(self, mark: str, scope: Scope, receive: Receive, send: Send) -> None:
        others = await run_in_threadpool(self._roads.others)
        for other in others:
            if mark_of(other.id) == mark:
                if not self._roads.is_heard(other):
                    raise GatewayError("unavailable", f"this is on the node `{other.id}`, which is not heard")
                await self._pass_on(other, scope, receive, send)
                return
        await self._app(scope, receive, send)  # which knows no such thing, and says so as ever

    async def _here_or_elsewhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        """This node's answer; where it does not have the record, that of the node that does."""
        held: list[Message] = []

        async def unless_not_found(message: Message) -> None:
            if (message["type"] == "http.response.start" and message["status"] == 404) or held:
                held.append(message)
            else:
                await send(message)

        await self._app(scope, receive, unless_not_found)
        if not held:
            return
        silent = []
        for other in await run_in_threadpool(self._roads.others):
            if not self._roads.is_heard(other):
                silent.append(other.id)
                continue
            if await self._pass_on(other, scope, receive, send, unless_status=404):
                return
        if silent:
            names = ", ".join(f"`{name}`" for name in silent)
            refusal = GatewayError("not-found", f"no node that is heard has it; not asked, since not heard: {names}")
            await problem_response(refusal, _field(scope, b"accept-language"))(scope, receive, send)
            return
        for message in held:
            await send(message)

    async def _pass_on(
        self, other: KnownNode, scope: Scope, receive: Receive, send: Send, unless_status: int | None = None
    ) -> bool:
        """Answer with what `other` answers; False, and nothing sent, where that has `unless_status`."""
        if self._client is None:
            self._client = self._roads.client()
        # What this node's proxy has settled (X-Forwarded-For) is not repeated: who believed it there is not asked here.
        fields = [(name, value) for name, value in scope["headers"] if name.lower() not in _HOP_BY_HOP]
        fields.append((PASSED_ON.encode(), self._mark.encode()))
        query = scope["query_string"].decode("latin-1")
        target = scope.get("raw_path", scope["path"].encode()).decode("latin-1") + (f"?{query}" if query else "")
        request = self._client.build_request(
            scope["method"], other.address.rstrip("/") + target, headers=fields, content=await _body(receive)
        )
        try:
            answer = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            log.warning("the node %s cannot be reached: %s", other.id, type(error).__name__)
            raise GatewayError("unavailable", f"the node `{other.id}` cannot be reached") from error
        try:
            if answer.status_code == unless_status:
                return False
            kept = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in _NOT_PASSED]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
            async for chunk in _chunks(answer):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await answer.aclose()
        return True


_NOT_PASSED = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"x-content-type-options", b"date"))


async def _chunks(answer: httpx.Response) -> AsyncIterator[bytes]:
    async for chunk in answer.aiter_raw():
        yield chunk


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > BODY_BYTES:
            raise GatewayError("body-too-large", f"a body here holds at most {BODY_BYTES} bytes")
        if not message.get("more_body"):
            return bytes(body)


def _field(scope: Scope, name: bytes) -> str:
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    return headers.get(name, b"").decode("latin-1")
