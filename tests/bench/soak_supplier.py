"""A supplier that fails: `python tests/bench/soak_supplier.py SEEN` prints its port and serves until its input ends.

Most answers are one row in the usual envelope. Some are late, refused with 500, cut off, broken, or never come; once a
minute it is away for two seconds. Under which records it was called is written to SEEN, one a line: each must be in the
ledger, for no supplier is called before its record is durable. Its last line on standard output counts what it did.
"""

import asyncio
import json
import random
import re
import sys
from pathlib import Path
from typing import TextIO

FAULTS = (("late", 0.01), ("error", 0.01), ("gone", 0.005), ("short", 0.005), ("broken", 0.005), ("silent", 0.0001))
AWAY_EVERY_SECONDS = 60.0
AWAY_SECONDS = 2.0
ROW = {
    "certificate": "J440000-2020-000001",
    "registered_on": "2020-05-20",
    "status": "married",
    "wife": {"name": "王某", "id_number": "440000199001010020"},
    "husband": {"name": "李某", "id_number": "440000199001010010"},
}
GOOD = json.dumps({"code": 0, "message": "ok", "data": [ROW]}, ensure_ascii=False).encode()
RECORD = re.compile(rb"sharing-record: ([^\r]+)", re.IGNORECASE)


class Supplier(asyncio.Protocol):
    """One connection."""

    def __init__(self, counts: dict[str, int], seen: TextIO, chance: random.Random, open_: "set[Supplier]") -> None:
        self._counts = counts
        self._seen = seen
        self._chance = chance
        self._open = open_
        self._got = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head, self._got = self._got[:end], self._got[end + 4 :]
            if head.startswith(b"GET /.well-known/"):
                shown = Path(f"{self._seen.name}.nonce").read_bytes()
                assert self.transport is not None
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(shown), shown))
                continue
            record = RECORD.search(head)
            assert record is not None, "called without a record"
            self._seen.write(record[1].decode() + "\n")
            self._answer()

    def _answer(self) -> None:
        draw, kind = self._chance.random(), "good"
        for name, share in FAULTS:
            if draw < share:
                kind = name
                break
            draw -= share
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if kind == "late":
            asyncio.get_running_loop().call_later(self._chance.uniform(0.05, 0.3), self._send, 200, GOOD)
        elif kind == "error":
            self._send(500, b'{"code": 500, "message": "internal", "data": []}')
        elif kind == "gone":
            self._close()
        elif kind == "short":
            self._send(200, GOOD, len(GOOD) + 100)
            self._close()
        elif kind == "broken":
            self._send(200, b"<html>maintenance</html>")
        elif kind == "good":
            self._send(200, GOOD)

    def _send(self, status: int, body: bytes, length: int | None = None) -> None:
        if self.transport is not None:
            size = length or len(body)
            head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
            self.transport.write(head.encode() + body)

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.close()


async def serve(seen_path: Path) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    counts: dict[str, int] = {}
    open_: set[Supplier] = set()
    chance = random.Random(809)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    over = asyncio.ensure_future(reader.read())
    port = 0
    with seen_path.open("w", encoding="ascii") as seen:
        while not over.done():
            server = await loop.create_server(
                lambda: Supplier(counts, seen, chance, open_), "127.0.0.1", port, reuse_address=True, backlog=1024
            )
            if not port:
                port = server.sockets[0].getsockname()[1]
                print(port, flush=True)
            await asyncio.wait([over], timeout=AWAY_EVERY_SECONDS)
            if over.done():
                break
            server.close()
            for connection in tuple(open_):
                connection._close()
            counts["away"] = counts.get("away", 0) + 1
            await asyncio.wait([over], timeout=AWAY_SECONDS)
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
