"""BOUNDED: every octet, slot and second held for anyone has a bound, and returns when that party is gone."""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat, SharingMode
from gateway.proxy import DataPlane, Limits
from tests.support.proxy_ports import (
    CallerSide,
    House,
    Supplier,
    interface_for,
    permit,
    request,
    serving,
    until,
)

WINDOW = 0.3
TIGHT = Limits(
    tick_seconds=0.02,
    body_progress_seconds=WINDOW,
    write_progress_seconds=WINDOW,
    least_rate_bytes=2000,
    gather_seconds=0.8,
    linger_seconds=0.1,
    circuit_failures=1000,
)
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def code_of(content: bytes) -> str:
    return str(json.loads(content)["type"].removeprefix("/problems/"))


def nothing_is_held(plane: DataPlane) -> bool:
    seen = plane.snapshot()
    names = ("exchanges", "supplier_connections", "waiting", "held_bytes")
    return not any(seen[name] for name in names) and not any(slots.in_use for slots in plane._slots.values())


async def small_reader(port: int) -> CallerSide:
    """A caller whose kernel takes little for it: what it has not read is the gateway's."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    caller = CallerSide(*await asyncio.open_connection(sock=raw, limit=1024))
    CallerSide.connected.append(caller)
    return caller


def dripping(head: bytes, piece: bytes, pause: float = 0.01) -> Callable[..., Awaitable[None]]:
    """A supplier that always makes progress and never gets anywhere."""

    async def drip(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(head)
        while not writer.transport.is_closing():
            writer.write(piece)
            await asyncio.sleep(pause)

    return drip


ROW = b'1b\r\n{"xm":"a","hyzk":"1","q":1}\r\n1\r\n\n\r\n'
DRIPS = {
    "head": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", {}, {}, (504, "supplier-timeout")),
    "sized": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b" ", {}, {}, (504, "supplier-slow")),
    "chunked": (STREAM, b"1\r\n \r\n", {}, {}, (504, "supplier-slow")),
    "chunk extension": (STREAM, b"1;" + b"x" * 50 + b"\r\n \r\n", {}, {}, (504, "supplier-slow")),
    "gathered for long": (STREAM, b"40\r\n" + b" " * 64 + b"\r\n", {}, {}, (504, "supplier-slow")),
    "rows": (STREAM, b"1\r\n{\r\n", {"format": AnswerFormat.NDJSON}, {}, (504, "supplier-slow")),
    "rows that leave": (STREAM + ROW, b"1\r\n\n\r\n", {"format": AnswerFormat.NDJSON}, {}, (0, "supplier-slow")),
    "as it is": (STREAM, b"1\r\nx\r\n", {"format": AnswerFormat.OPAQUE}, {"all_items": True}, (0, "supplier-slow")),
}


@pytest.mark.parametrize("where", DRIPS)
def test_a_supplier_that_drips_keeps_no_place(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever in its answer it does so, an octet now and then moves no deadline; log and status name the interface."""
    head, piece, entry, verdict, (status, end) = DRIPS[where]

    async def story() -> None:
        async with Supplier(dripping(head, piece)) as supplier:
            house = House(interface_for(supplier.port, first_byte_timeout_seconds=WINDOW, **entry), limits=TIGHT)
            house.verdict = permit(**verdict)
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                try:
                    seen, _, content = await caller.ask(request())
                except (asyncio.IncompleteReadError, ConnectionError):
                    seen, content = 0, b""
                assert seen == status
                assert not content or code_of(content) == "supplier-timeout"
                await until(lambda: nothing_is_held(plane))
                assert house.ledger.outcomes()[0].end == end
                assert plane.snapshot()["troubles"] == [("hukou", "person", "slow")]

    with caplog.at_level(logging.WARNING):
        uvloop.run(story())
    assert caplog.messages.count("interface hukou/person: the supplier answers too slowly") == 1


def test_a_stream_at_the_least_rate_goes_on() -> None:
    """What moves as it must lives through many windows, also where its pieces are small."""

    async def steady(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(STREAM)
        for _ in range(100):
            writer.write(b"64\r\n" + b"x" * 100 + b"\r\n")
            await asyncio.sleep(0.01)
        writer.write(b"0\r\n\r\n")

    async def story() -> None:
        async with Supplier(steady) as supplier:
            entry = interface_for(supplier.port, first_byte_timeout_seconds=WINDOW, format=AnswerFormat.OPAQUE)
            house = House(entry, limits=Limits(tick_seconds=0.02, least_rate_bytes=500))
            house.verdict = permit(all_items=True)
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                status, _, content = await caller.ask(request())
                assert (status, len(content)) == (200, 10_000)
                assert house.ledger.outcomes()[0].end == "complete"

    uvloop.run(story())


def test_every_exchange_has_a_total_without_one_in_its_entry() -> None:
    """A stream that is quick enough for ever ends all the same."""

    async def story() -> None:
        async with Supplier(dripping(STREAM, b"400\r\n" + b"x" * 1024 + b"\r\n")) as supplier:
            limits = Limits(tick_seconds=0.02, exchange_seconds=0.4)
            house = House(interface_for(supplier.port, format=AnswerFormat.OPAQUE), limits=limits)
            house.verdict = permit(all_items=True)
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await caller.ask(request())
                await until(lambda: nothing_is_held(plane))
                assert house.ledger.outcomes()[0].end == "timed-out"

    uvloop.run(story())


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("mode", ["query", "verify"])
def test_a_caller_that_drips_its_request_keeps_no_place(mode: str, *, chunked: bool) -> None:
    """A request's body makes its rate, or the caller is told so, before anything is decided and after."""

    async def story() -> None:
        async with Supplier(dripping(b"", b"")) as supplier:
            modes = tuple(SharingMode)
            house = House(interface_for(supplier.port, methods=("GET", "POST"), modes=modes), limits=TIGHT)
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 5000"
                caller.writer.write(request(method="POST", fields=f"{framing}\r\nSharing-Mode: {mode}\r\n"))
                answer = asyncio.create_task(caller.answer())
                while not answer.done():
                    caller.writer.write(b"1\r\nx\r\n" if chunked else b"x")
                    await asyncio.sleep(0.01)
                status, _, content = await answer
                assert (status, code_of(content)) == (408, "request-timeout")
                await until(lambda: nothing_is_held(plane))

    uvloop.run(story())


def test_a_supplier_that_does_not_take_a_body_is_the_one_that_is_late() -> None:
    """A caller that would send on is not told that it was too slow."""

    async def deaf(reader: asyncio.StreamReader, _: Any, __: bytes) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(30)

    async def story() -> None:
        async with Supplier(deaf) as supplier:
            entry = interface_for(
                supplier.port, methods=("POST",), first_byte_timeout_seconds=WINDOW, body_limit_bytes=1 << 30
            )
            house = House(entry, limits=TIGHT)
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request(method="POST", fields="Content-Length: 50000000\r\n"))
                for _ in range(500):
                    caller.writer.write(bytes(100_000))
                await until(lambda: bool(house.ledger.outcomes()) and nothing_is_held(plane))
                assert house.ledger.outcomes()[0].end == "supplier-timeout"

    uvloop.run(story())


@pytest.mark.parametrize("form", ["gathered", "as it is", "last answer"])
def test_a_caller_that_does_not_read_is_cut_and_one_that_reads_slowly_is_not(form: str) -> None:
    """A window in which it took what it must is followed by another; one in which it took nothing is the last."""
    body = b'{"data":[' + b",".join(b'{"xm":"%b"}' % (b"a" * 1000) for _ in range(8000)) + b"]}"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    def taken(connection: Any) -> int:
        """Octets of this window; where room was made meanwhile and filled again, a new one has begun."""
        return int(connection._unsent_mark - connection.leaving.missing_bytes())

    async def story() -> None:
        async with Supplier(answer) as supplier:
            entry = interface_for(
                supplier.port, format=AnswerFormat.OPAQUE if form == "as it is" else AnswerFormat.JSON
            )
            house = House(entry, limits=Limits(write_progress_seconds=1000, least_rate_bytes=1))
            house.verdict = permit(all_items=form == "as it is")
            async with serving(house) as (plane, port):
                caller = await small_reader(port)
                caller.writer.write(request(fields="Connection: close\r\n" if form == "last answer" else ""))
                await until(lambda: bool(plane._connections))
                (connection,) = plane._connections
                await until(lambda: connection.is_writing_paused)
                for _ in range(3):
                    while not (connection.is_writing_paused and taken(connection) >= 1000):
                        await caller.reader.read(1 << 13)
                        await asyncio.sleep(0.001)
                    connection.expired()
                    assert not house.ledger.outcomes()
                connection.expired()
                assert [outcome.end for outcome in house.ledger.outcomes()] == ["caller-slow"]
                await until(lambda: nothing_is_held(plane))
                assert plane.snapshot()["troubles"] == [("hukou", "person", "slow callers")]

    uvloop.run(story())


def test_a_call_whose_place_comes_in_the_last_moment_is_made() -> None:
    """Where one call's time and another's wait end in one turn, the second has its place, and is not timed out."""

    async def story() -> None:
        async with Supplier(dripping(b"", b"")) as supplier:
            house = House(interface_for(supplier.port, concurrency=1), limits=Limits(tick_seconds=0.02))
            async with serving(house) as (plane, port):
                first, second = [await CallerSide.connect(port) for _ in range(2)]
                first.writer.write(request())
                await until(lambda: len(supplier.requests) == 1)
                second.writer.write(request())
                await until(lambda: plane.snapshot()["waiting"] == 1)
                supplier.answer = b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"data":[]}'
                for connection in sorted(plane._connections, key=lambda c: c.exchange.state, reverse=True):  # type: ignore[union-attr]
                    connection.set_due(plane.loop.time() + 0.03)
                assert (await first.answer())[0] == 504
                assert (await second.answer())[0] == 200

    uvloop.run(story())


def test_a_refused_caller_that_never_reads_is_let_go() -> None:
    """Nor does an answer that was written and is never read keep a connection that is being closed."""

    async def story() -> None:
        house = House(limits=TIGHT)
        async with serving(house) as (plane, port):
            caller = await CallerSide.connect(port, limit=64)
            one = request("/nobody/nothing", fields=f"X-Fill: {'x' * 200}\r\n")
            caller.writer.write(one * 60_000)
            await until(lambda: plane.snapshot()["connections"] == 1)
            await until(lambda: plane.snapshot()["connections"] == 0, 20)

    uvloop.run(story())


@pytest.mark.parametrize("half_close", [False, True])
def test_what_a_gone_caller_held_returns_at_once_though_nothing_was_read_of_it(*, half_close: bool) -> None:
    """A caller whose further octets are not read goes as soon as any other; where it may half close, by a reset."""

    async def story() -> None:
        async with Supplier(dripping(b"", b"")) as supplier:
            house = House(
                interface_for(supplier.port, concurrency=1), limits=Limits(tick_seconds=0.02, half_close=half_close)
            )
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request() + request() * 2000)
                await until(lambda: len(plane.deaf) == 1 and bool(supplier.requests))
                if half_close:
                    caller.writer.write_eof()
                    await asyncio.sleep(0.1)
                    assert plane.snapshot()["exchanges"] == 1
                    caller.close()
                else:
                    caller.writer.close()
                await until(lambda: nothing_is_held(plane))
                assert house.ledger.outcomes()[0].end == "aborted"

    uvloop.run(story())
