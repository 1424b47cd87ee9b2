"""Ports answer now, later, never, with a refusal or by a mistake, in every order: the call ends as it must.

And whatever they do, nothing stays held: no slot, no share, no octet, no connection that is not idle, no open record.
"""

import asyncio
import hashlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.directory import AnswerFormat
from gateway.domain.errors import GatewayError
from gateway.domain.uses import Outcome
from gateway.proxy import Limits
from tests.support.proxy_ports import (
    DIGEST_KEY,
    CallerSide,
    House,
    MemoryLedger,
    MemoryMeter,
    Supplier,
    interface_for,
    permit,
    request,
    serving,
    until,
)

LIMITS = Limits(tick_seconds=0.02, port_timeout_seconds=0.06, circuit_failures=1000)
PORTS = ("identify", "resolve", "decide", "draw_call", "opened", "draw_rows")
WAYS = ("now", "later", "never", "refuses", "refuses later", "errs", "errs later")

CSV_PLACES = {"xm": "a", "gmsfhm": "b"}
FORMATS: dict[AnswerFormat, tuple[bytes, bytes]] = {
    AnswerFormat.JSON: (b'{"data":[{"xm":"x","gmsfhm":"s"},{"xm":"y"}]}', b'{"data":[{"xm":"x"},{"xm":"y"}]}'),
    AnswerFormat.NDJSON: (b'{"xm":"x","gmsfhm":"s"}\n{"xm":"y"}', b'{"xm":"x"}\n{"xm":"y"}\n'),
    AnswerFormat.CSV: (b"b,a\r\ns,x\r\ns,y", b"a\r\nx\r\ny\r\n"),
    AnswerFormat.OPAQUE: (b"\0\1\2", b"\0\1\2"),
}
"""What a supplier answers, without a line end behind its last row, and what leaves of it."""


def answering(way: str, port: Callable[..., Any]) -> Callable[..., Any]:
    """`port`, which answers in that way."""

    def answer(*asked: Any) -> Any:
        async def late() -> Any:
            await asyncio.sleep(0)
            if way == "refuses later":
                raise GatewayError("rate-limited")
            if way == "errs later":
                raise ZeroDivisionError
            return port(*asked)

        if way == "now":
            return port(*asked)
        if way == "never":
            return asyncio.get_running_loop().create_future()
        if way == "refuses":
            raise GatewayError("rate-limited")
        if way == "errs":
            raise ZeroDivisionError
        return late()

    return answer


class Ledger(MemoryLedger):
    """Becomes durable in a given way."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def opened(self, use: Any, done: Callable[[BaseException | None], None]) -> str:
        if self.way == "refuses":
            raise GatewayError("records-unavailable")
        if self.way == "errs":
            raise ZeroDivisionError
        self.events.append(("opened", "r-1", use))
        error = OSError() if self.way in {"refuses later", "errs later"} else None
        if self.way == "now":
            done(error)
        elif self.way != "never":
            asyncio.get_running_loop().call_later(0.005, done, error)
        return "r-1"


def expected(ways: dict[str, str]) -> int:
    """The status of a call whose ports answer so; 0 where its connection is cut."""
    for port in PORTS:
        way = ways[port]
        if way in {"now", "later"}:
            continue
        if port == "opened":
            return 0 if way == "errs" else 503
        return {"never": 503, "refuses": 429, "refuses later": 429, "errs": 500, "errs later": 500}[way]
    return 200


async def call(form: AnswerFormat, ways: dict[str, str]) -> None:
    """One call, and what it leaves behind."""
    answered, leaves = FORMATS[form]
    octets = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answered) + answered
    async with Supplier(octets) as supplier:
        places = {"places": CSV_PLACES} if form is AnswerFormat.CSV else {}
        house = House(interface_for(supplier.port, format=form, concurrency=1, **places), limits=LIMITS)
        opaque = form is AnswerFormat.OPAQUE
        house.verdict = permit(items=("xm",), metered=True, all_items=opaque)
        house.ledger = ledger = Ledger(ways["opened"])
        meter = MemoryMeter()
        meter.draw_call = answering(ways["draw_call"], meter.draw_call)  # type: ignore[method-assign]
        meter.draw_rows = answering(ways["draw_rows"], meter.draw_rows)  # type: ignore[method-assign]
        house.meter = meter
        ports = {name: answering(ways[name], getattr(house, name)) for name in ("identify", "resolve", "decide")}
        async with serving(house, **ports) as (plane, port):
            caller = await CallerSide.connect(port)
            status, content = 0, b""
            try:
                status, _, content = await caller.ask(request())
            except (ConnectionError, asyncio.IncompleteReadError):
                caller.close()
            # Of an answer that is not read, no rows are counted.
            assert status == expected({**ways, "draw_rows": "now"} if opaque else ways), (form, ways)
            await until(lambda: plane.snapshot()["exchanges"] == 0)
            await asyncio.sleep(0.01)
            assert all(slots.in_use == 0 for slots in plane._slots.values())
            assert not plane.shares.are_held()
            assert (plane.shares.held_bytes, plane.gathered_bytes) == (0, 0)
            assert plane.snapshot()["supplier_connections"] == sum(len(pool._idle) for pool in plane._pools.values())
            if status == 200:
                assert content == leaves
                (outcome,) = ledger.outcomes()
                assert (outcome.end, outcome.status, outcome.bytes) == ("complete", 200, len(leaves))
                assert outcome.rows == (0 if opaque else 2)
                digest = hashlib.blake2b(leaves, digest_size=32, key=DIGEST_KEY).hexdigest()
                assert outcome.response_digest == digest
            else:
                assert [outcome.bytes for outcome in ledger.outcomes()] in ([], [0])
                assert all(isinstance(outcome, Outcome) and outcome.end != "complete" for outcome in ledger.outcomes())


NOW = dict.fromkeys(PORTS, "now")


@pytest.mark.parametrize("form", list(FORMATS), ids=lambda form: form.value)
@pytest.mark.parametrize("port", PORTS)
def test_one_port_answers_in_every_way(form: AnswerFormat, port: str) -> None:
    """The others are at hand: and where all is well, the digest on record is that of what left, in every format."""

    async def story() -> None:
        for way in WAYS if form is AnswerFormat.NDJSON else ("now", "later", "refuses later"):
            await call(form, {**NOW, port: way})

    uvloop.run(story())


@pytest.mark.deep
@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(FORMATS)), st.fixed_dictionaries({port: st.sampled_from(WAYS) for port in PORTS}))
def test_ports_answer_in_every_order(form: AnswerFormat, ways: dict[str, str]) -> None:
    """Any way beside any other."""
    uvloop.run(call(form, ways))


def test_ports_that_answer_now_or_later_make_no_difference() -> None:
    """Each order gives the same answer and the same record."""

    async def story() -> None:
        for order in itertools.product(("now", "later"), repeat=4):
            ways = dict(zip(("decide", "draw_call", "opened", "draw_rows"), order, strict=True))
            await call(AnswerFormat.NDJSON, {**NOW, **ways})

    uvloop.run(story())


def test_rows_that_a_late_quota_refuses_in_mid_stream_do_not_leave() -> None:
    """The first rows are drawn and leave, the next are refused a moment later: cut, and not on record as complete."""
    go_on = asyncio.Event()

    async def by_row(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"xm":"x"}\n')
        await go_on.wait()
        writer.write(b'{"xm":"y"}')

    async def story() -> None:
        async with Supplier(by_row) as supplier:
            house = House(interface_for(supplier.port, format=AnswerFormat.NDJSON), limits=LIMITS)
            house.verdict = permit(items=("xm",), metered=True)
            house.meter.rows = 1
            meter = house.meter
            meter.draw_rows = answering("later", meter.draw_rows)  # type: ignore[method-assign]
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request())
                assert await caller.reader.readuntil(b"}\n")
                go_on.set()
                with pytest.raises(ConnectionError):
                    await caller.rest()
                (outcome,) = house.ledger.outcomes()
                assert (outcome.end, outcome.bytes) == ("quota-exhausted", 11)

    uvloop.run(story())
