"""Memory stays bounded however much flows: a gigabyte down, a gigabyte up."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat
from tests.support.proxy_ports import CallerSide, House, Supplier, interface_for, permit, request, serving

GIBIBYTE = 1 << 30
PIECE = bytes(1 << 18)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.deep
@pytest.mark.timeout(300)
@pytest.mark.parametrize("direction", ["down", "up", "rows"])
def test_a_gibibyte_passes_in_constant_memory(direction: str) -> None:
    """Opaque download, upload, and NDJSON filtered row by row: less than 32 MiB more, caller and supplier included."""
    line = b'{"xm":"a","gmsfhm":"' + b"x" * 1000 + b'"}\n'
    rows = line * (len(PIECE) // len(line))

    async def supply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        if direction == "up":
            left = GIBIBYTE
            while left:
                left -= len(await reader.read(1 << 18))
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"data":[]}')
            return
        piece = rows if direction == "rows" else PIECE
        count = GIBIBYTE // len(piece)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (count * len(piece)))
        for _ in range(count):
            writer.write(piece)
            await writer.drain()

    async def story() -> None:
        async with Supplier(supply) as supplier:
            changes: dict[str, Any] = {"methods": ("GET", "POST"), "body_limit_bytes": 2 * GIBIBYTE}
            if direction != "up":
                changes["format"] = AnswerFormat.OPAQUE if direction == "down" else AnswerFormat.NDJSON
            house = House(interface_for(supplier.port, **changes))
            house.verdict = permit(all_items=direction == "down")
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                before, most = resident_bytes(), 0
                if direction == "up":
                    caller.writer.write(request(method="POST", fields=f"Content-Length: {GIBIBYTE}\r\n"))
                    for _ in range(GIBIBYTE // len(PIECE)):
                        caller.writer.write(PIECE)
                        await caller.writer.drain()
                        most = max(most, resident_bytes())
                    assert (await caller.answer())[0] == 200
                else:
                    caller.writer.write(request(fields="Connection: close\r\n"))
                    while await caller.reader.read(1 << 18):
                        most = max(most, resident_bytes())
                assert house.ledger.outcomes()[0].end == "complete"
                assert most - before < 32 << 20

    uvloop.run(story())
