"""An ASGI application as a synchronous transport: what a client's own thread asks for tokens."""

import asyncio
from typing import Any

import httpx


class Bridge(httpx.BaseTransport):
    """Answers requests by `app`, on a loop of its own for each."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The application's answer, read whole."""

        async def ask() -> httpx.Response:
            made = await httpx.ASGITransport(self._app).handle_async_request(request)
            return httpx.Response(made.status_code, headers=made.headers, content=await made.aread())

        return asyncio.run(ask())
