"""Whatever the loop calls may raise: it ends its own exchange, gives everything back, and touches no other."""

import ast
import asyncio
import contextlib
import gzip
import itertools
import json
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

import gateway.proxy
from gateway.domain.directory import AnswerFormat
from gateway.domain.verdicts import Verdict
from gateway.proxy import DataPlane, Limits
from gateway.proxy.downstream import CallerConnection
from gateway.proxy.exchange.exchange import Exchange
from gateway.proxy.guards import ends_exchange, is_guarded
from gateway.proxy.handshakes import Handshake, TlsListener
from gateway.proxy.http.upstream import SupplierConnection
from gateway.proxy.long_work import LongWork
from gateway.proxy.turns import Turns
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

ROOM = Path(gateway.proxy.__file__).parent
OWNERS: tuple[type, ...] = (CallerConnection, SupplierConnection, Exchange, DataPlane)
SCHEDULERS = {"add_done_callback", "call_soon", "call_later", "call_at", "call_soon_threadsafe"}
HANDED_OVER = {"ledger.opened": 1, "admission.enter": 0, "long_work.put_off": 1}
"""What the ledger, the slots and the long work call back: the position of the callback among the arguments."""
TOLD_BY_TRANSPORTS = {"connection_lost", "data_received", "eof_received", "pause_writing", "resume_writing", "expired"}

CALLBACKS = [
    *((owner, name) for owner in (CallerConnection, SupplierConnection) for name in sorted(TOLD_BY_TRANSPORTS)),
    *((owner, "_made") for owner in (CallerConnection, SupplierConnection)),
    *((Exchange, name) for name in ("_admitted_at_last", "_awaited", "_connect_ended", "_recorded", "release_on")),
    *((DataPlane, name) for name in ("_ask_arrivals", "_tick", "_turn")),
    *((CallerConnection, name) for name in ("_close_once_arrived", "confirm")),
    (Turns, "_next"),
    (LongWork, "_next"),
]
CALLBACKS.remove((SupplierConnection, "expired"))
TRIED = [each for each in CALLBACKS if each != (DataPlane, "_tick")]
"""The clock's own callback does nothing before it has set the next one, and then calls `_turn`."""


def scheduled() -> Iterator[tuple[Path, str]]:
    """Every name that the data plane gives to a scheduler as a callback."""
    for file in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name = ".".join(ast.unparse(node.func).split(".")[-2:])
                if node.func.attr in SCHEDULERS or name in HANDED_OVER:
                    given = node.args[HANDED_OVER.get(name, -1)]
                    if isinstance(given, ast.Call):
                        given = given.args[0]
                    yield file, ast.unparse(given)


def test_every_callback_is_guarded_and_tried() -> None:
    """By construction: what is given to the loop, or is called by a transport, is guarded, and raises below."""
    names = {name.removeprefix("self.") for _, name in scheduled()}
    seen = {
        "_connect_ended",
        "_awaited",
        "_tick",
        "_recorded",
        "_admitted_at_last",
        "_next",
        "_ask_arrivals",
        "release_on",
        "read_on",
    }
    assert names == {*seen, "_close_once_arrived", "_listen"}
    tried = {(owner, name) for owner, name in CALLBACKS}
    for owner in OWNERS:
        for name in TOLD_BY_TRANSPORTS & set(vars(owner)) | {"_made"} & set(vars(owner)):
            assert (owner, name) in tried, (owner, name)
    of_tls = [(TlsListener, "_listen"), (TlsListener, "_accept"), (Handshake, "begin_call"), (Handshake, "shed_call")]
    # What `read_on` does is done by the same step where the body is short.
    for owner, name in [*CALLBACKS, *of_tls, (Exchange, "read_on")]:
        assert is_guarded(getattr(owner, name)), (owner, name)


LIMITS = Limits(tick_seconds=0.02, queue_seconds=5, circuit_failures=1000, write_high_bytes=4096)


_HIDDEN = (random.Random(7).randbytes(10_000).hex().encode() for _ in range(80))
_LINES = gzip.compress(b"".join(b'{"xm":"a","gmsfhm":"%b"}\n' % hidden for hidden in _HIDDEN), 1)
ROWS = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(_LINES) + _LINES
"""More rows than are reduced in one turn of the loop."""


async def upload(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> bool | None:
    """A supplier that takes uploads slowly, streams long answers, hangs up in mid-answer, or answers."""
    if b"/hang" in head:
        await asyncio.sleep(30)
    if b"/up" in head:
        await asyncio.sleep(0.3)
        await read_body(reader, head)
    if b"/rows" in head:
        writer.write(ROWS)
        return None
    if b"/half" in head:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        return False
    if b"/down" in head:
        size = int(head.split(b"size=")[1].split()[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    else:
        writer.write(json_answer('{"data":[]}'))
    return None


async def use_everything(port: int, size: int) -> None:
    """Calls that between them have every callback called; what they get is not asked here."""

    async def one(*asked: bytes, pause: float = 0, read: bool = True, eof: bool = False) -> None:
        lost = contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError, RuntimeError)
        with lost, contextlib.ExitStack() as after:
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            raw.connect(("127.0.0.1", port))
            caller = CallerSide(*await asyncio.open_connection(sock=raw, limit=4096))
            after.callback(caller.close)
            for data in asked:
                caller.writer.write(data)
                await asyncio.sleep(pause)
            if eof:
                caller.writer.write_eof()
            if read:
                async with asyncio.timeout(1):
                    await caller.answer()

    await asyncio.gather(
        one(request()),
        one(request("/hukou/person/up", "POST", f"Content-Length: {size}\r\n"), bytes(size)),
        one(request(f"/hukou/person/down?size={size}"), pause=0.05),
        one(request(f"/hukou/person/down?size={size}", fields="Connection: close\r\n"), pause=0.05),
        one(request("/hukou/person/half")),
        one(request("/hukou/short/hang")),
        one(request("/hukou/rows/rows")),
        one(request("/hukou/person/v1", "POST", body=b"x" * 10)[:-5], b"x" * 5, pause=0.02),
        one(request(), read=False, eof=True),
        one(request()[:20], read=False),
    )


@pytest.mark.parametrize(("owner", "name"), TRIED, ids=[f"{owner.__name__}.{name.strip('_')}" for owner, name in TRIED])
@pytest.mark.parametrize("spare", [0, pytest.param(1, marks=pytest.mark.deep)])
def test_a_callback_that_raises_ends_its_exchange_and_gives_everything_back(
    owner: type, name: str, spare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each raises, from its first call or its second on; afterwards nothing is held, and the next call is served."""
    true = getattr(owner, name).__wrapped__
    calls = itertools.count()
    next(calls)
    wild: list[Any] = []

    def raises(self: Any, *args: Any) -> Any:
        if next(calls) <= spare:
            return true(self, *args)
        raise ZeroDivisionError

    async def later(house: House) -> Verdict:
        await asyncio.sleep(0)
        return house.verdict

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wild.append(context))
        async with Supplier(upload) as supplier:
            supplier.take_slowly()
            common = {"methods": ("GET", "POST"), "format": AnswerFormat.OPAQUE, "concurrency": 2}
            house = House(
                interface_for(supplier.port, body_limit_bytes=16 << 20, **common),
                interface_for(supplier.port, id="short", first_byte_timeout_seconds=0.05, **common),
                interface_for(supplier.port, id="rows", format=AnswerFormat.NDJSON),
                limits=LIMITS,
            )
            house.verdict = permit(all_items=True)
            house.decide_later = lambda _: later(house)
            async with serving(house) as (plane, port):
                with monkeypatch.context() as broken:
                    broken.setattr(owner, name, ends_exchange(raises))
                    # On a busy machine a call may be given up before the callback has come twice.
                    for _ in range(12):
                        if not plane.counters.failures:
                            # The kernels on the way take some megabytes before a writer is paused.
                            await use_everything(port, 8 << 20 if "writing" in name else 1 << 16)
                await until(lambda: plane.snapshot()["exchanges"] == plane.snapshot()["connections"] == 0)
                assert plane.counters.failures > 0
                assert all(slots.in_use == 0 and not slots.waiting for slots in plane._slots.values())
                assert not plane.shares.are_held()
                assert plane.shares.held_bytes == 0
                idle = sum(len(pool._idle) for pool in plane._pools.values())
                assert plane.snapshot()["supplier_connections"] == idle
                kinds = house.ledger.kinds()
                assert kinds.count("opened") == kinds.count("closed")
                caller = await CallerSide.connect(port)
                status, _, content = await caller.ask(request())
                assert (status, json.loads(content)) == (200, {"data": []})
        # Only what this test's own supplier says of connections that were cut may reach the loop.
        assert [context for context in wild if "ZeroDivisionError" in repr(context)] == []

    uvloop.run(story())


def test_a_port_that_fails_in_the_middle_of_an_end_gives_everything_back() -> None:
    """A ledger or a watch that raises while a use is closed: the slot, the share and the connection come back."""

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port, concurrency=1), limits=LIMITS)
            true: Callable[..., None] = house.ledger.closed

            def closed(*args: Any) -> None:
                true(*args)
                raise OSError

            house.ledger.closed = closed  # type: ignore[method-assign]
            async with serving(house) as (plane, port):
                for count in range(1, 4):
                    caller = await CallerSide.connect(port)
                    caller.writer.write(request())
                    await until(lambda count=count: plane.counters.failures >= count)  # type: ignore[misc]
                    await until(lambda: plane.snapshot()["exchanges"] == 0)
                    assert not plane.shares.are_held()
                    assert [slots.in_use for slots in plane._slots.values()] == [0]

    uvloop.run(story())


def test_a_queue_that_fails_at_once_is_no_deeper_than_one_call() -> None:
    """Every call that waits is refused in the step that gives it a slot: all of them end, and all is given back."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        await asyncio.sleep(30)

    async def story() -> None:
        async with Supplier(hang) as supplier:
            house = House(
                interface_for(supplier.port, concurrency=1), limits=Limits(system_concurrency=2000, queue_seconds=100)
            )
            async with serving(house) as (plane, port):
                callers = [await CallerSide.connect(port) for _ in range(400)]
                callers[0].writer.write(request())
                await until(lambda: len(supplier.requests) == 1)
                for caller in callers[1:]:
                    caller.writer.write(request())
                await until(lambda: plane.snapshot()["waiting"] == 399)
                house.ledger.poisoned = True
                callers[0].close()
                assert {(await caller.answer())[0] for caller in callers[1:]} == {503}
                assert plane.counters.failures == 0
                assert [slots.in_use for slots in plane._slots.values()] == [0]

    uvloop.run(story())
