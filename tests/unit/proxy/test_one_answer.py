"""ONE-ANSWER over real sockets: a supplier's stray octets reach nobody, end their connection, and are counted."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat
from gateway.proxy import DataPlane, Limits
from gateway.proxy.exchange import states
from gateway.proxy.http.pools import DISTRUST_SECONDS
from tests.support.proxy_ports import (
    CallerSide,
    House,
    Supplier,
    interface_for,
    json_answer,
    permit,
    read_body,
    request,
    serving,
    until,
)

STRAY = json_answer('{"data":[{"xm":"stray"}]}')


def answer_to(head: bytes) -> bytes:
    """An answer that says which request it is of."""
    return json_answer(json.dumps({"data": [{"xm": head.split(b"id=")[1].split()[0].decode()}]}))


async def ask(caller: CallerSide, number: int) -> tuple[int, object]:
    """The status and the name in the answer to request `number`."""
    status, _, content = await caller.ask(request(f"/hukou/person?id={number}"))
    return status, json.loads(content).get("data", [{}])[0].get("xm")


def behind(writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(answer_to(head) + STRAY)


def in_two_segments(writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(answer_to(head))
    asyncio.get_running_loop().call_later(0.005, writer.write, STRAY)


def late(writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(answer_to(head))
    asyncio.get_running_loop().call_later(0.03, writer.write, STRAY)


def one_octet(writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(answer_to(head) + b"\n")


@pytest.mark.parametrize("misbehave", [behind, in_two_segments, late, one_octet])
def test_callers_one_after_another_get_their_own_answers(
    misbehave: Callable[[asyncio.StreamWriter, bytes], None],
) -> None:
    """Each of a supplier's answers is followed by a stray; three callers take turns.

    Once the first has been noticed no connection is kept, so that a later one cannot come behind another request.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        misbehave(writer, head)
        await writer.drain()

    async def story() -> None:
        async with Supplier(answer) as supplier:
            house = House(interface_for(supplier.port))
            async with serving(house) as (plane, port):
                callers = [await CallerSide.connect(port) for _ in range(3)]
                for number in range(9):
                    caller = callers[number % 3]
                    if number == 1:
                        # The first can cross the next request on its way; here it does not.
                        await until(lambda: sum(plane.counters.strays.values()) == 1)
                    assert await ask(caller, number) == (200, str(number))
                await until(lambda: plane.snapshot()["supplier_connections"] == 0)
                assert supplier.connections == 9
                assert sum(plane.counters.strays.values()) == (9 if misbehave in {behind, one_octet} else 1)
                ends = {outcome.end for outcome in house.ledger.outcomes()}
                assert ends == ({"overrun"} if misbehave in {behind, one_octet} else {"complete"})

    uvloop.run(story())


def test_a_supplier_that_strays_once_is_called_on_new_connections_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is kept, also of those that were: what a stray can become the answer to is not there."""
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        if writer not in writers:
            writers.append(writer)
        writer.write(answer_to(head))

    async def story() -> None:
        async with Supplier(answer) as supplier:
            house = House(interface_for(supplier.port), limits=Limits(pool_idle_seconds=600.0))
            async with serving(house) as (plane, port):
                callers = [await CallerSide.connect(port) for _ in range(2)]
                await asyncio.gather(*(ask(caller, number) for number, caller in enumerate(callers)))
                assert (await ask(callers[0], 2), supplier.connections) == ((200, "2"), 2)
                writers[0].write(STRAY)
                await until(lambda: plane.snapshot()["supplier_connections"] == 0, 20)
                for number in range(3):
                    assert await ask(callers[0], number) == (200, str(number))
                assert supplier.connections == 5
                (pool,) = plane._pools.values()
                monkeypatch.setattr(pool, "_now", lambda: plane.loop.time() + DISTRUST_SECONDS)
                for number in range(3):
                    assert await ask(callers[0], number) == (200, str(number))
                assert supplier.connections == 6

    uvloop.run(story())


def test_what_waits_unread_when_a_request_is_about_to_be_written_is_nobodys() -> None:
    """The loop has not yet heard of it: the connection is passed over all the same, and the call is made on another."""
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        writers.append(writer)
        writer.write(answer_to(head))

    async def story() -> None:
        async with Supplier(answer) as supplier:
            house = House(interface_for(supplier.port))
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                assert await ask(caller, 1) == (200, "1")
                house.ledger.hold = True
                asking = asyncio.ensure_future(ask(caller, 2))
                await until(lambda: len(house.ledger.events) == 3)
                os.write(writers[0].get_extra_info("socket").fileno(), STRAY)
                house.ledger.release()
                assert await asking == (200, "2")
                assert plane.counters.strays == {("hukou", "unasked"): 1}
                assert supplier.connections == 2

    uvloop.run(story())


@contextlib.asynccontextmanager
async def greeting(
    greet: Callable[[asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[tuple[House, DataPlane, CallerSide]]:
    """A gateway whose supplier does something as soon as it has accepted, and a caller."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await greet(writer)
            await reader.read()
        writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    house = House(interface_for(server.sockets[0].getsockname()[1]))
    async with serving(house) as (plane, port):
        yield house, plane, await CallerSide.connect(port)
    server.close()


@pytest.mark.parametrize("greets", [STRAY, b"SSH-2.0-OpenSSH_9.6\r\n", b""])
def test_a_supplier_that_speaks_or_goes_before_it_is_asked_is_unreachable(greets: bytes) -> None:
    """An answer, another protocol's banner, or the connection's end right after accepting: 502 at once."""

    async def greet(writer: asyncio.StreamWriter) -> None:
        writer.write(greets)
        if not greets:
            writer.transport.abort()

    async def story() -> None:
        async with greeting(greet) as (house, plane, caller):
            for number in range(4):
                status, _, content = await caller.ask(request(f"/hukou/person?id={number}"))
                assert (status, json.loads(content)["type"]) == (502, "/problems/supplier-unreachable")
            assert {outcome.end for outcome in house.ledger.outcomes()} == {"supplier-failed"}
            assert plane.counters.failures == 0
            assert plane.snapshot()["supplier_connections"] == 0
            if greets:
                assert plane.counters.strays

    uvloop.run(story())


def test_a_slow_reader_leaves_its_suppliers_connection_reading() -> None:
    """The supplier's answer ended while its connection was paused; the next call on that connection is answered."""
    size = 1 << 20

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        count = size if b"big" in head else 2
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count + b"x" * count)

    async def story() -> None:
        async with Supplier(answer) as supplier:
            house = House(interface_for(supplier.port, format=AnswerFormat.OPAQUE))
            house.verdict = permit(all_items=True)
            async with serving(house) as (_, port):
                for _ in range(3):
                    slow = await CallerSide.connect(port, limit=1024)
                    slow.writer.write(request("/hukou/person/big"))
                    await asyncio.sleep(0.05)
                    assert len((await slow.answer())[2]) == size
                    assert (await slow.ask(request()))[2] == b"xx"
                assert supplier.connections == 1

    uvloop.run(story())


@pytest.mark.parametrize("close", [True, False])
def test_an_early_final_answer_reaches_the_caller(close: bool) -> None:
    """413 before the body is read, and the supplier goes or stays: the caller reads it, however its writing ends."""
    fields = "Connection: close\r\n" if close else ""
    early = json_answer("{}", status="413 Content Too Large", fields=fields)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> bool | None:
        if b"/big" not in head:
            await read_body(reader, head)
            writer.write(json_answer('{"data":[]}'))
            return None
        writer.write(early)
        if close:
            return False
        await read_body(reader, head)
        return None

    async def story() -> None:
        async with Supplier(answer) as supplier:
            house = House(interface_for(supplier.port, methods=("POST",), body_limit_bytes=64 << 20))
            async with serving(house) as (plane, port):
                for size in (1000, 100_000, 8 << 20) * 3:
                    caller = await CallerSide.connect(port)
                    caller.writer.write(request("/hukou/person/big", "POST", f"Content-Length: {size}\r\n"))
                    caller.writer.write(bytes(size))
                    status, _, _ = await caller.answer()
                    assert (status, size) == (413, size)
                    caller.close()
                    caller = await CallerSide.connect(port)
                    assert (await caller.ask(request(method="POST", body=b"x")))[0] == 200
                    caller.close()
                assert plane.counters.failures == 0
                assert plane.counters.strays == {}
            assert [outcome.status for outcome in house.ledger.outcomes()].count(413) == 9

    uvloop.run(story())


def test_what_is_left_of_a_request_stays_away_from_a_supplier_that_refused_it() -> None:
    """The supplier's refusal is still on its way, and its caller goes on writing: nothing more is sent."""
    go_on = asyncio.Event()
    taken: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> bool:
        early = json_answer("{}", status="413 Content Too Large")
        writer.write(early[:-1])
        await go_on.wait()
        taken.append(reader._buffer)  # type: ignore[attr-defined]
        writer.write(early[-1:])
        return False

    async def story() -> None:
        async with Supplier(answer) as supplier:
            house = House(interface_for(supplier.port, methods=("POST",)))
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request(method="POST", fields="Content-Length: 2000\r\n") + b"x" * 10)
                await until(
                    lambda: [c.exchange and c.exchange.state for c in plane._connections] == [states.COLLECTING]
                )
                caller.writer.write(b"x" * 1000)
                await asyncio.sleep(0.05)
                go_on.set()
                assert (await caller.answer())[0] == 413
                assert len(taken[0]) == 10

    uvloop.run(story())
