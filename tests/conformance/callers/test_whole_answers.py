"""The programs of `docs/callers` that know whether an answer is whole, in their languages, at a real data plane."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.client.test_whole_answers import GIVEN, standing

pytestmark = pytest.mark.deep

CALLERS = Path(__file__).parents[3] / "docs" / "callers"
PROGRAMS = {
    "go": ["go", "run", str(CALLERS / "go" / "whole_answer.go")],
    "node": ["node", str(CALLERS / "node" / "whole-answer.mjs")],
    "java": ["java", str(CALLERS / "java" / "WholeAnswer.java")],
}
CUT = (
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    b"Trailer: Content-Digest\r\nSharing-Closing: line\r\n\r\n5\r\n{}\n{}\r\n0\r\n\r\n"
)
"""Ended in good order by whoever stands between: the last chunk is there, and what was announced is not."""


@contextlib.asynccontextmanager
async def cutting() -> AsyncIterator[str]:
    """The address of what cuts every answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(CUT)
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def run(program: str, url: str) -> tuple[int, bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        *PROGRAMS[program],
        f"{url}/hukou/person/v1",
        "good",
        "marriage-registration",
        stdout=asyncio.subprocess.PIPE,
        env={**environment, "GOFLAGS": "-mod=mod", "GO111MODULE": "off"},
    )
    told, _ = await asyncio.wait_for(process.communicate(), 100)
    return process.returncode or 0, told


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_tells_the_whole_from_a_part(program: str) -> None:
    """Asked as the language's HTTP client can see it; the content is what was sent, and a cut one is not printed."""
    if shutil.which(program) is None:
        pytest.skip(f"`{program}` is not here")

    async def story() -> None:
        async with standing("ndjson") as (url, between, _):
            between.version = b"HTTP/1.1"
            assert await run(program, url) == (0, GIVEN["ndjson"][2])
            assert (b"Content-Digest" in between.last) is (program == "go"), "asked for what this client can see"
            assert (b"sharing-closing" in between.last) is (program != "go")
        async with cutting() as url:
            assert await run(program, url) == (1, b"")

    asyncio.run(story())
