"""A caller that went away is a fact: its exchange ends, its slot comes back, and its record does not say `complete`."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat
from gateway.proxy import DataPlane, Limits
from gateway.proxy.exchange import states
from gateway.proxy.leaving import MAX_LEAVING
from tests.support.proxy_ports import (
    CallerSide,
    House,
    Supplier,
    interface_for,
    json_answer,
    permit,
    request,
    serving,
    until,
)

QUICK = Limits(tick_seconds=0.02, queue_seconds=30, write_progress_seconds=30)
ROOMY = Limits(tick_seconds=0.02, write_high_bytes=8 << 20, held_bytes=1 << 34, connections=100)
"""Under which a caller's whole answer is written at once, whether it reads or not."""
SIZE = 4 << 20


async def supply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    """Hangs, gives half an answer, streams without an end, or answers with much."""
    if b"/hang" in head:
        await asyncio.sleep(30)
    if b"/half" in head:
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"data":')
        await asyncio.sleep(30)
    if b"/endless" in head:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + bytes(4096) + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.001)
    if b"/big" in head:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE))
    else:
        writer.write(json_answer('{"data":[{"xm":"a"}]}'))


@contextlib.asynccontextmanager
async def gateway(limits: Limits = QUICK, **interface: Any) -> AsyncIterator[tuple[House, DataPlane, int]]:
    async with Supplier(supply) as supplier:
        house = House(
            interface_for(supplier.port, **interface),
            interface_for(supplier.port, id="opaque", format=AnswerFormat.OPAQUE, **interface),
            limits=limits,
        )
        house.verdict = permit(all_items=True)
        async with serving(house) as (plane, port):
            yield house, plane, port


def is_in(plane: DataPlane, state: states.State) -> bool:
    return any(each.exchange is not None and each.exchange.state is state for each in plane._connections)


WHILE_OWED = {
    states.RECORDING: "/hukou/person/held",
    states.ADMITTING: "/hukou/person/hang",
    states.FORWARDING: "/hukou/person/hang",
    states.COLLECTING: "/hukou/person/half",
    states.STREAMING: "/hukou/opaque/endless",
}


@pytest.mark.parametrize("state", list(WHILE_OWED), ids=lambda state: state.name.lower())
def test_a_caller_that_ends_its_side_while_an_answer_is_owed_has_gone(state: states.State) -> None:
    """FIN on plain HTTP, as clients send it at their own time-out: nothing is held for it a moment later."""

    async def story() -> None:
        async with gateway(methods=("GET", "POST"), concurrency=1) as (house, plane, port):
            other = await CallerSide.connect(port)
            if state is states.ADMITTING:
                other.writer.write(request("/hukou/person/hang"))
                await until(lambda: is_in(plane, states.FORWARDING))
            house.ledger.hold = state is states.RECORDING
            caller = await CallerSide.connect(port)
            caller.writer.write(request(WHILE_OWED[state]))
            await until(lambda: is_in(plane, state))
            caller.writer.write_eof()
            await until(lambda: not is_in(plane, state))
            if state is states.ADMITTING:
                assert house.ledger.outcomes() == []
                other.close()
                await until(lambda: plane.snapshot()["exchanges"] == 0)
            assert [slots.in_use for slots in plane._slots.values()] == [0]
            assert not plane.shares.are_held()
            assert plane.snapshot()["supplier_connections"] == 0
            assert {outcome.end for outcome in house.ledger.outcomes()} == {"aborted"}

    uvloop.run(story())


def test_a_caller_that_ends_its_side_within_its_body_has_gone() -> None:
    """What has not come of the request never will."""

    async def story() -> None:
        async with gateway(Limits(half_close=True), methods=("POST",)) as (house, plane, port):
            caller = await CallerSide.connect(port)
            caller.writer.write(request("/hukou/person/hang", "POST", "Content-Length: 10\r\n") + b"half")
            await until(lambda: is_in(plane, states.FORWARDING))
            caller.writer.write_eof()
            await until(lambda: [outcome.end for outcome in house.ledger.outcomes()] == ["aborted"])
            assert plane.snapshot()["supplier_connections"] == 0

    uvloop.run(story())


async def lazy(port: int) -> socket.socket:
    """A caller whose kernel takes little, and that reads only what it is told to."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    return raw


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("fields", ["", "Connection: close\r\n"])
def test_what_a_caller_did_not_take_is_not_on_record_as_taken(leave: str, fields: str) -> None:
    """It reads some of a large answer and goes: `aborted`, with no more octets than its kernel acknowledged."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        async with gateway() as (house, plane, port):
            caller = await lazy(port)
            await loop.sock_sendall(caller, request("/hukou/opaque/big", fields=fields))
            read = 0
            while read < 200_000:
                read += len(await loop.sock_recv(caller, 4096))
            if leave == "reset":
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            caller.close()
            await until(lambda: bool(house.ledger.outcomes()))
            outcome = house.ledger.outcomes()[0]
            assert (outcome.end, outcome.status) == ("aborted", 200)
            # What its kernel held unread was acknowledged too.
            assert read - 1000 <= outcome.bytes <= read + 300_000
            await until(lambda: plane.snapshot()["connections"] == 0)

    uvloop.run(story())


@pytest.mark.parametrize("fields", ["", "Connection: close\r\n"])
@pytest.mark.parametrize("path", ["/hukou/person", "/hukou/opaque/big"])
def test_an_answer_that_was_read_whole_is_complete_however_its_caller_goes(path: str, fields: str) -> None:
    """Read to its last octet, then a reset: nothing is missing."""

    async def story() -> None:
        async with gateway() as (house, _, port):
            caller = await CallerSide.connect(port)
            _, _, content = await caller.ask(request(path, fields=fields))
            caller.close()
            await until(lambda: bool(house.ledger.outcomes()))
            outcome = house.ledger.outcomes()[0]
            assert (outcome.end, outcome.bytes) == ("complete", len(content))

    uvloop.run(story())


def test_an_answer_in_the_kernel_of_a_caller_that_never_reads_is_not_complete() -> None:
    """The gateway has written all of it, and the caller's kernel has not taken it: its end is not on record yet."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        async with gateway(ROOMY) as (house, plane, port):
            caller = await lazy(port)
            await loop.sock_sendall(caller, request("/hukou/opaque/big"))
            await until(lambda: plane.snapshot()["exchanges"] == 0 and bool(house.ledger.events))
            await asyncio.sleep(0.1)
            assert house.ledger.outcomes() == []
            caller.close()
            await until(lambda: bool(house.ledger.outcomes()))
            outcome = house.ledger.outcomes()[0]
            assert outcome.end == "aborted"
            assert 0 < outcome.bytes < SIZE

    uvloop.run(story())


def test_pipelined_answers_are_told_one_by_one_and_bounded() -> None:
    """Hundreds of requests in one segment: each is complete once it has arrived; few are not known."""
    count = 300

    async def story() -> None:
        async with gateway() as (house, plane, port):
            caller = await CallerSide.connect(port)
            caller.writer.write(request("/hukou/person") * count)
            for _ in range(count):
                assert (await caller.answer())[0] == 200
                assert all(len(each.leaving.waiting) <= MAX_LEAVING for each in plane._connections)
            await until(lambda: len(house.ledger.outcomes()) == count)
            assert {outcome.end for outcome in house.ledger.outcomes()} == {"complete"}

    uvloop.run(story())


def test_a_stop_tells_answers_that_were_on_their_way_from_those_that_arrived() -> None:
    """A cut drops what has not been sent: that use is `cut`, with what arrived; an earlier one is complete."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        async with gateway(ROOMY) as (house, plane, port):
            caller = await lazy(port)
            await loop.sock_sendall(caller, request("/hukou/person"))
            while b"xm" not in await loop.sock_recv(caller, 4096):
                pass
            await loop.sock_sendall(caller, request("/hukou/opaque/big"))
            await until(lambda: plane.snapshot()["exchanges"] == 0 and len(house.ledger.events) == 3)
            assert plane.cut(lambda use: True) == 1
            ends = [(outcome.end, 0 < outcome.bytes < SIZE) for outcome in house.ledger.outcomes()]
            assert ends == [("complete", True), ("cut", True)]
            caller.close()

    uvloop.run(story())
