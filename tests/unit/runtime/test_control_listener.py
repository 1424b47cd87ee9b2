"""The control plane's listener holds no connection for a head that never comes."""

import asyncio

import pytest
from fastapi import FastAPI

from gateway.runtime import control_listener


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
