"""The control plane's listener holds no connection for a head that never comes."""

import asyncio

import pytest
from fastapi import FastAPI

from gateway.runtime.listeners import control as control_listener


@pytest.mark.parametrize("sent", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_drips_ends_its_connection(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """BOUNDED: nothing, a part of the first line, and fields without an end are all closed in their time."""
    monkeypatch.setattr(control_listener, "HEAD_SECONDS", 0.1)

    async def story() -> None:
        server = control_listener.control_server(FastAPI(), None)
        server.config.host, server.config.port = "127.0.0.1", 0
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 -- uvicorn tells it by this flag alone
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()
        server.should_exit = True
        await serving

    asyncio.run(story())


def test_a_body_behind_an_upgrade_is_refused_and_not_read_as_empty() -> None:
    """ONE-MEANING: in one piece or in two, with a length or in chunks; without a body the field is passed over."""
    app = FastAPI()

    @app.api_route("/", methods=["GET", "POST"])
    async def root() -> str:
        return "answered"

    async def ask(port: int, *parts: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        return answer

    async def story() -> None:
        server = control_listener.control_server(app, None)
        server.config.host, server.config.port = "127.0.0.1", 0
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 -- uvicorn tells it by this flag alone
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        upgrade = b" / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        counted = b"POST" + upgrade + b"Content-Length: 3\r\n\r\n"
        chunked = b"POST" + upgrade + b"Transfer-Encoding: chunked\r\n\r\n"
        for parts in ((counted + b"abc",), (counted, b"abc"), (chunked + b"3\r\nabc\r\n0\r\n\r\n",)):
            answer = await ask(port, *parts)
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"/problems/malformed-request" in answer
        plain = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n"
        assert b"answered" in await ask(port, plain)
        server.should_exit = True
        await serving

    asyncio.run(story())
