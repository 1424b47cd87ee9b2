"""Asking the control API as one officer, in process: what the API refuses, nobody reaches."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PASSED = (b"x-forwarded-for", b"host", b"user-agent")
"""Fields of the browser's request that the API hears too: failures are counted by the address that they tell."""


class RefusedError(Exception):
    """The API's answer is a problem (RFC 9457).

    Args:
        problem: the document, in the language that was asked for.
    """

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("type", "")))
        self.problem = problem

    @property
    def code(self) -> str:
        """The problem's code."""
        return str(self.problem.get("type", "")).rpartition("/")[2]

    @property
    def status(self) -> int:
        """The status that the API answered with."""
        return int(self.problem.get("status", 500))


@dataclass(slots=True)
class Answer:
    """What the API answered.

    Args:
        status: its status.
        headers: its fields, names in lower case.
        body: its octets.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def etag(self) -> str:
        """The state of what was read."""
        return self.headers.get("etag", "")


class Api:
    """The control API, asked in the place of one browser.

    Args:
        app: the control plane's application.
        request: the browser's request, for its address.
        language: of problems.
        token: the officer's session token; "" before anybody has signed in.
    """

    def __init__(self, app: ASGIApp, request: Request, language: str, token: str = "") -> None:
        self._app = app
        self._request = request
        self._language = language
        self.token = token

    async def get(self, path: str, **query: Any) -> Answer:
        """Read; parameters that are None or empty are left out."""
        return await self.ask("GET", path, query=query)

    async def post(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Act, with a JSON body."""
        return await self.ask("POST", path, body=body, headers=headers)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request.

        Raises:
            RefusedError: for every status from 400 on.
        """
        content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        answer = Answer()

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
            elif message["type"] == "http.response.body":
                answer.body += message.get("body", b"")

        fields = dict(headers or {})
        if body is not None:
            fields["content-type"] = "application/json"
        await self._app(self._scope(method, path, query or {}, fields, len(content)), _receiver(content), send)
        if answer.status >= 400:
            raise RefusedError(_problem(answer))
        return answer

    async def relay(self, path: str, send: Send, query: Mapping[str, Any]) -> None:
        """Let the API answer the browser itself, as it is asked for a file."""
        await self._app(self._scope("GET", path, query, {}, 0), _receiver(b""), send)

    def _scope(self, method: str, path: str, query: Mapping[str, Any], fields: Mapping[str, str], length: int) -> Scope:
        given = self._request.scope
        sent = [(name, value) for name, value in given["headers"] if name in _PASSED]
        sent += [(name.lower().encode(), value.encode("latin-1", "ignore")) for name, value in fields.items()]
        sent.append((b"accept-language", self._language.encode()))
        if length:
            sent.append((b"content-length", str(length).encode()))
        if self.token:
            sent.append((b"authorization", b"Bearer " + self.token.encode()))
        pairs = [
            (name.rstrip("_"), each)
            for name, value in query.items()
            if value not in (None, "", [], ())
            for each in (value if isinstance(value, (list, tuple)) else [value])
        ]
        return {
            "type": "http",
            "asgi": given["asgi"],
            "http_version": "1.1",
            "method": method,
            "scheme": given["scheme"],
            "path": path,
            "raw_path": quote(path, safe="/:@!$&'()*+,;=~").encode(),
            "root_path": "",
            "query_string": urlencode(pairs).encode(),
            "headers": sent,
            "client": given.get("client"),
            "server": given.get("server"),
        }


def _receiver(content: bytes) -> Receive:
    """A body in one piece, from somebody who then waits for the answer."""
    told = False

    async def receive() -> Message:
        nonlocal told
        if told:
            await asyncio.Event().wait()
        told = True
        return {"type": "http.request", "body": content, "more_body": False}

    return receive


def _problem(answer: Answer) -> Mapping[str, Any]:
    try:
        document = answer.json
    except ValueError:
        document = None
    if isinstance(document, dict) and "type" in document:
        return document
    return {"type": "/problems/internal", "status": answer.status}
