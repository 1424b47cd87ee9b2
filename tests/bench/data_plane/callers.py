"""Callers that send whatever requests they are given, one call at a time on each connection.

They are Python and cost more than a proxy that is measured: what a load costs is read from the processes under test,
never from how long it took.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: (\d+)\r\n")
_NONCE = re.compile(rb"\r\nDPoP-Nonce: (\S+)\r\n", re.IGNORECASE)


class Told(msgspec.Struct):
    """What callers were told.

    Args:
        statuses: how often each status came; 0 is a connection that ended before the answer was whole.
        nonce: the newest nonce for DPoP proofs.
    """

    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    nonce: str | None = None

    @property
    def calls(self) -> int:
        """How many calls ended, in any way."""
        return sum(self.statuses.values())


class _Caller(asyncio.Protocol):
    """One connection; the next request goes out when an answer is whole."""

    def __init__(self, requests: Iterator[bytes], end: float, told: Told, *, is_single: bool) -> None:
        self._requests = requests
        self._end = end
        self._told = told
        self._is_single = is_single
        self._got = b""
        self._is_asking = False
        self._transport: Any = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        request = None if time.monotonic() >= self._end else next(self._requests, None)
        if request is None:
            self._transport.close()
            return
        self._is_asking = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        got = self._got = self._got + data if self._got else data
        head = got.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(got, 0, head + 2)
        if length is None or len(got) < head + 4 + int(length[1]):
            return
        status = int(got[9:12])
        self._told.statuses[status] += 1
        nonce = _NONCE.search(got, 0, head + 2)
        if nonce is not None:
            self._told.nonce = nonce[1].decode()
        self._got, self._is_asking = b"", False
        if self._is_single:
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._is_asking:
            self._told.statuses[0] += 1
        if not self.over.done():
            self.over.set_result(None)


async def call(
    base: str, requests: Iterator[bytes], connections: int, seconds: float, told: Told, *, is_single: bool = False
) -> None:
    """Send requests over so many connections until there are no more or the time is over; `is_single`: one on each."""
    host, port = base.removeprefix("http://").split("/")[0].split(":")
    loop = asyncio.get_running_loop()
    end = time.monotonic() + seconds

    async def one() -> None:
        while time.monotonic() < end:
            before = told.calls
            made = await loop.create_connection(
                lambda: _Caller(requests, end, told, is_single=is_single), host, int(port)
            )
            await made[1].over
            if not is_single or told.calls == before:
                return

    await asyncio.gather(*(one() for _ in range(connections)))
