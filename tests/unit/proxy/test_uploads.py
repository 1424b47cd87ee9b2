"""Request bodies: whole, streamed, counted, chunked, awaited, too large, cut off."""

import asyncio
import hashlib
from typing import Any

import pytest
import uvloop

from tests.support.proxy_ports import (
    DIGEST_KEY,
    CallerSide,
    House,
    Supplier,
    interface_for,
    read_body,
    request,
    serving,
    until,
)

GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"data":[{"xm":"a"}]}'
POST = "POST"


def test_a_body_arrives_as_it_was_sent() -> None:
    """Counted and chunked, in one piece and in many, beside a digest in the record where it was at hand."""
    body = bytes(range(256)) * 1000

    async def story() -> None:
        async with Supplier(GOOD) as supplier:
            house = House(interface_for(supplier.port, methods=(POST,)))
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                assert (await caller.ask(request(method=POST, body=body)))[0] == 200
                chunks = b"".join(b"%x\r\n%b\r\n" % (1000, body[i : i + 1000]) for i in range(0, len(body), 1000))
                sent = request(method=POST, fields="Transfer-Encoding: chunked\r\n") + chunks + b"0\r\n\r\n"
                for start in range(0, len(sent), 7001):
                    caller.writer.write(sent[start : start + 7001])
                    await asyncio.sleep(0)
                assert (await caller.answer())[0] == 200
                assert (await caller.ask(request("/hukou/person", POST, body=b"small")))[0] == 200
                assert supplier.bodies == [body, body, b"small"]
                uses = [event[2] for event in house.ledger.events if event[0] == "opened"]
                said = b"POST /hukou/person?\nsmall"
                # NO-VALUES: keyed, so that without the key nobody finds what was asked by trying values.
                assert uses[2].request_digest == hashlib.blake2b(said, digest_size=32, key=DIGEST_KEY).hexdigest()

    uvloop.run(story())


def test_continue_is_sent_once_the_supplier_is_called() -> None:
    """`100 Continue` comes after the verdict and the record, not before."""

    async def story() -> None:
        async with Supplier(GOOD) as supplier:
            house = House(interface_for(supplier.port, methods=(POST,)))
            house.ledger.hold = True
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request(method=POST, fields="Expect: 100-continue\r\nContent-Length: 2\r\n"))
                await until(lambda: bool(house.ledger.events))
                assert not caller.reader._buffer  # type: ignore[attr-defined]
                house.ledger.release()
                assert (await caller.answer())[0] == 100
                caller.writer.write(b"hi")
                assert (await caller.answer())[0] == 200
                assert supplier.bodies == [b"hi"]

    uvloop.run(story())


def test_an_upload_waits_for_a_slow_supplier() -> None:
    """Backpressure: what the supplier does not take stays with the caller."""
    taken = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: Any, head: bytes) -> None:
        await taken.wait()
        await read_body(reader, head)
        writer.write(GOOD)

    async def story() -> None:
        async with Supplier(slow) as supplier:
            house = House(interface_for(supplier.port, methods=(POST,), body_limit_bytes=1 << 30))
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request(method=POST, fields=f"Content-Length: {64 << 20}\r\n"))
                caller.writer.write(bytes(64 << 20))
                await asyncio.sleep(0.3)
                held = [connection._buffer for connection in plane._connections]  # type: ignore[attr-defined]
                assert sum(map(len, held)) < 2 << 20
                assert caller.writer.transport.get_write_buffer_size() > 16 << 20
                taken.set()
                assert (await caller.answer())[0] == 200

    uvloop.run(story())


def test_a_caller_that_goes_within_its_body_cuts_the_supplier() -> None:
    """The supplier never takes half a request for a whole one."""

    async def story() -> None:
        async with Supplier(GOOD) as supplier:
            house = House(interface_for(supplier.port, methods=(POST,)))
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request(method=POST, fields="Content-Length: 1000\r\n") + b"half")
                await until(lambda: len(supplier.requests) == 1)
                caller.close()
                await until(lambda: bool(house.ledger.outcomes()))
                assert house.ledger.outcomes()[0].end == "aborted"
                assert supplier.bodies == []

    uvloop.run(story())


@pytest.mark.parametrize("early", [b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"data":[]}'])
def test_an_answer_before_the_body_is_whole_ends_the_connection(early: bytes) -> None:
    """An early answer passes, and neither connection is used again."""

    async def answer(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(early)
        await asyncio.sleep(1)

    async def story() -> None:
        async with Supplier(answer) as supplier:
            house = House(interface_for(supplier.port, methods=(POST,)))
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request(method=POST, fields="Content-Length: 1000\r\n") + b"half")
                status, fields, _ = await caller.answer()
                assert (status, fields[b"connection"]) == (200, b"close")
                assert plane.snapshot()["supplier_connections"] == 0

    uvloop.run(story())
