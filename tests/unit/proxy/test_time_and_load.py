"""Time-outs, concurrency, queues, circuits, draining: one slow party takes nobody else's place."""

import asyncio
import json
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat
from gateway.proxy import Limits
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

QUICK = Limits(
    tick_seconds=0.02,
    header_timeout_seconds=0.1,
    idle_timeout_seconds=0.2,
    body_progress_seconds=0.1,
    write_progress_seconds=0.2,
    linger_seconds=0.1,
    queue_seconds=0.1,
    circuit_failures=2,
    circuit_seconds=0.2,
)
GOOD = json_answer('{"data":[{"xm":"a"}]}')


async def hang(_: Any, __: Any, ___: Any) -> None:
    await asyncio.sleep(30)


def code_of(content: bytes) -> str:
    return str(json.loads(content)["type"].removeprefix("/problems/"))


@pytest.mark.parametrize(
    ("send", "status"),
    [
        (b"GET /hukou/person HTTP/1.1\r\nHost: g\r\n", 408),
        (request(method="POST", fields="Content-Length: 10\r\n") + b"abc", 408),
        (request(method="POST", fields="Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n", 408),
    ],
)
def test_a_slow_sender_is_told_and_closed(send: bytes, status: int) -> None:
    """Header and body must make progress."""

    async def story() -> None:
        async with Supplier(hang) as supplier:
            house = House(interface_for(supplier.port, methods=("GET", "POST")), limits=QUICK)
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                seen, fields, content = await caller.ask(send)
                assert (seen, code_of(content)) == (status, "request-timeout")
                assert fields[b"connection"] == b"close"
                assert await caller.rest() == 0

    uvloop.run(story())


def test_an_idle_connection_is_closed_without_a_word() -> None:
    """Keep-alive ends after its time."""

    async def story() -> None:
        house = House(limits=QUICK)
        async with serving(house) as (plane, port):
            caller = await CallerSide.connect(port)
            assert await caller.rest() == 0
            await until(lambda: plane.snapshot()["connections"] == 0)

    uvloop.run(story())


def test_a_supplier_that_does_not_answer_is_a_timeout_and_its_connection_is_not_kept() -> None:
    """504, the record says so, and the late answer reaches nobody."""

    async def story() -> None:
        async with Supplier(hang) as supplier:
            house = House(interface_for(supplier.port, first_byte_timeout_seconds=0.1), limits=QUICK)
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                status, _, content = await caller.ask(request())
                assert (status, code_of(content)) == (504, "supplier-timeout")
                assert house.ledger.outcomes()[0].end == "supplier-timeout"
                assert plane.snapshot()["supplier_connections"] == 0

    uvloop.run(story())


def test_the_total_time_bounds_a_supplier_that_drips() -> None:
    """Progress alone does not keep a call alive beyond its total."""

    async def drip(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b" ")
            await asyncio.sleep(0.02)

    async def story() -> None:
        async with Supplier(drip) as supplier:
            house = House(interface_for(supplier.port, total_timeout_seconds=0.3), limits=QUICK)
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                assert (await caller.ask(request()))[0] == 504

    uvloop.run(story())


def test_a_reader_that_stops_is_cut() -> None:
    """A caller that does not take its answer loses it, and its supplier's connection is freed."""

    async def endless(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async def story() -> None:
        async with Supplier(endless) as supplier:
            house = House(interface_for(supplier.port, format=AnswerFormat.OPAQUE), limits=QUICK)
            house.verdict = permit(all_items=True)
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port, limit=1024)
                caller.writer.write(request())
                await until(lambda: bool(house.ledger.outcomes()))
                assert house.ledger.outcomes()[0].end == "caller-slow"
                assert plane.snapshot()["supplier_connections"] == 0

    uvloop.run(story())


def test_a_hanging_supplier_slows_no_other_and_sheds_beyond_its_queue() -> None:
    """Slots are an interface's own; beyond its queue calls are shed with `Retry-After`."""

    async def story() -> None:
        limits = Limits(queue=1, tick_seconds=0.02)
        async with Supplier(hang) as bad, Supplier(GOOD) as good:
            house = House(
                interface_for(bad.port, id="bad", concurrency=1), interface_for(good.port, id="good"), limits=limits
            )
            async with serving(house) as (plane, port):
                callers = [await CallerSide.connect(port) for _ in range(4)]
                callers[0].writer.write(request("/hukou/bad"))
                await until(lambda: len(bad.requests) == 1)
                callers[1].writer.write(request("/hukou/bad"))
                await until(lambda: plane.snapshot()["waiting"] == 1)
                status, fields, content = await callers[2].ask(request("/hukou/bad"))
                assert (status, code_of(content), fields[b"retry-after"]) == (503, "supplier-busy", b"2")
                assert (await callers[3].ask(request("/hukou/good")))[0] == 200
                assert plane.snapshot()["shed"] == {"queue": 1}
                callers[0].close()
                await until(lambda: len(bad.requests) == 2)
                assert plane.snapshot()["waiting"] == 0

    uvloop.run(story())


def test_a_call_waits_for_a_slot_no_longer_than_its_time() -> None:
    """A queue does not hold a call for ever."""

    async def story() -> None:
        async with Supplier(hang) as supplier:
            house = House(interface_for(supplier.port, concurrency=1), limits=QUICK)
            async with serving(house) as (_, port):
                first, second = await CallerSide.connect(port), await CallerSide.connect(port)
                first.writer.write(request())
                await until(lambda: len(supplier.requests) == 1)
                assert (await second.ask(request()))[0] == 503
                assert house.ledger.kinds() == ["opened"]

    uvloop.run(story())


def test_one_system_takes_no_more_than_its_share() -> None:
    """Calls beyond a system's share are `rate-limited`."""

    async def story() -> None:
        async with Supplier(hang) as supplier:
            house = House(interface_for(supplier.port), limits=Limits(system_concurrency=1))
            async with serving(house) as (_, port):
                first, second = await CallerSide.connect(port), await CallerSide.connect(port)
                first.writer.write(request())
                await until(lambda: len(supplier.requests) == 1)
                status, _, content = await second.ask(request())
                assert (status, code_of(content)) == (429, "rate-limited")

    uvloop.run(story())


def test_a_circuit_opens_and_one_call_probes() -> None:
    """After failures in a row the supplier is left alone; then one probe closes the circuit again."""

    async def refuse(_: Any, __: Any, ___: Any) -> bool:
        return False

    async def story() -> None:
        async with Supplier(refuse) as supplier:
            house = House(interface_for(supplier.port), limits=QUICK)
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                for _ in range(4):
                    status, _, content = await caller.ask(request())
                    assert (status, code_of(content)) == (502, "supplier-unreachable")
                assert len(supplier.requests) == 2
                assert plane.snapshot()["circuits_open"] == 1
                supplier.answer = GOOD
                await asyncio.sleep(0.25)
                caller = await CallerSide.connect(port)
                assert (await caller.ask(request()))[0] == 200
                assert plane.snapshot()["circuits_open"] == 0

    uvloop.run(story())


def test_a_supplier_that_is_not_there_is_unreachable() -> None:
    """A refused connection is a 502 and is on record."""

    async def story() -> None:
        async with Supplier() as supplier:
            port_of_nobody = supplier.port
        house = House(interface_for(port_of_nobody))
        async with serving(house) as (_, port):
            caller = await CallerSide.connect(port)
            assert (await caller.ask(request()))[0] == 502
            assert house.ledger.outcomes()[0].end == "supplier-failed"

    uvloop.run(story())


def test_plain_http_needs_the_entrys_leave() -> None:
    """No plain HTTP to a supplier unless its entry says so."""

    async def story() -> None:
        house = House(interface_for(1, plain_http=False))
        async with serving(house) as (_, port):
            caller = await CallerSide.connect(port)
            assert (await caller.ask(request()))[0] == 502
            assert house.ledger.events == []

    uvloop.run(story())


def test_a_kept_connection_that_the_supplier_closed_is_not_used() -> None:
    """A closed kept connection costs no call."""

    async def once(_: Any, writer: asyncio.StreamWriter, __: bytes) -> bool:
        writer.write(GOOD)
        await writer.drain()
        return False

    async def story() -> None:
        async with Supplier(once) as supplier:
            house = House(interface_for(supplier.port))
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                for _ in range(5):
                    assert (await caller.ask(request()))[0] == 200
                    await asyncio.sleep(0.01)

    uvloop.run(story())


def test_draining_ends_running_calls_and_tells_keep_alive_connections() -> None:
    """SIGTERM: what runs, and what was on its way, finishes and says `close`; idle ones are closed; none is taken."""
    go_on = asyncio.Event()

    async def slow(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        await go_on.wait()
        writer.write(GOOD)

    async def story() -> None:
        async with Supplier(slow) as supplier:
            house = House(interface_for(supplier.port))
            plane = house.plane()
            server = await plane.serve("127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            busy, idle, late = [await CallerSide.connect(port) for _ in range(3)]
            busy.writer.write(request())
            await until(lambda: len(supplier.requests) == 1 and len(plane._connections) == 3)
            draining = asyncio.create_task(plane.drain(5))
            await asyncio.sleep(0)
            assert plane.is_draining
            late.writer.write(request())
            assert await idle.rest() == 0
            with pytest.raises(ConnectionError):
                await CallerSide.connect(port)
            go_on.set()
            for caller in (busy, late):
                status, fields, _ = await caller.answer()
                assert (status, fields[b"connection"]) == (200, b"close")
            assert await draining
            for caller in (busy, idle, late):
                caller.close()
            await asyncio.sleep(0.01)

    uvloop.run(story())


def test_draining_is_bounded() -> None:
    """What does not end in time is cut, and its record says so."""

    async def story() -> None:
        async with Supplier(hang) as supplier:
            house = House(interface_for(supplier.port))
            plane = house.plane()
            server = await plane.serve("127.0.0.1", 0)
            caller = await CallerSide.connect(server.sockets[0].getsockname()[1])
            caller.writer.write(request())
            await until(lambda: len(supplier.requests) == 1)
            assert not await plane.drain(0.1)
            await until(lambda: bool(house.ledger.outcomes()))
            caller.close()
            await asyncio.sleep(0.01)

    uvloop.run(story())


def test_a_caller_that_goes_frees_everything() -> None:
    """Cancellation from the caller's side reaches the supplier's connection, the slot and the share."""

    async def story() -> None:
        async with Supplier(hang) as supplier:
            house = House(interface_for(supplier.port, concurrency=1), limits=Limits(system_concurrency=1))
            async with serving(house) as (plane, port):
                for count in range(1, 4):
                    caller = await CallerSide.connect(port)
                    caller.writer.write(request())
                    await until(lambda count=count: len(supplier.requests) == count)  # type: ignore[misc]
                    caller.close()
                    await until(lambda count=count: len(house.ledger.outcomes()) == count)  # type: ignore[misc]
                assert {outcome.end for outcome in house.ledger.outcomes()} == {"aborted"}
                assert plane.snapshot()["supplier_connections"] == 0

    uvloop.run(story())


def test_a_half_closed_caller_gets_its_answer() -> None:
    """A caller may end its side after the request (RFC 9112 §9.6)."""

    async def story() -> None:
        async with Supplier(GOOD) as supplier:
            house = House(interface_for(supplier.port), limits=Limits(half_close=True))
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request())
                caller.writer.write_eof()
                assert (await caller.answer())[0] == 200
                assert await caller.rest() == 0

    uvloop.run(story())
