"""BARRIER: cutting what streams, deciding anew what has not begun, and what is in the buffers."""

import asyncio
import socket
import struct
from typing import Any

import msgspec
import pytest
import uvloop

from gateway.domain.credentials import Shown
from gateway.domain.directory import AnswerFormat
from gateway.domain.verdicts import Verdict
from gateway.proxy import DataPlane
from gateway.proxy.exchange.release import Release
from gateway.proxy.exchange.standing import KEPT_WITHDRAWALS, Withdrawals
from gateway.proxy.http.pools import Pool
from gateway.proxy.kernel import descriptor, unsent_bytes
from tests.support.proxy_ports import (
    CallerSide,
    House,
    MemoryMeter,
    Supplier,
    deny,
    interface_for,
    json_answer,
    permit,
    request,
    serving,
    until,
)


async def _read_to_the_end(caller: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(caller, 65536):
        pass


def is_grant_one(use: Any) -> bool:
    return bool(use.verdict.grant == "g-1")


def test_barrier_a_streaming_answer_is_reset_with_what_was_not_sent() -> None:
    """BARRIER: after `cut` returns, no byte of the answer comes that the kernel did not already have."""

    async def endless(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async def story() -> None:
        async with Supplier(endless) as supplier:
            house = House(interface_for(supplier.port, format=AnswerFormat.OPAQUE))
            house.verdict = permit(all_items=True)
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                other = await CallerSide.connect(port)
                caller.writer.write(request())
                await caller.reader.readexactly(100_000)
                assert plane.cut(lambda use: use.verdict.grant == "g-2") == 0
                assert plane.cut(is_grant_one) == 1
                with pytest.raises(ConnectionResetError):
                    await caller.rest()
                assert house.ledger.outcomes()[0].end == "cut"
                assert plane.snapshot()["cuts"] == 1
                house.verdict = deny("suspended")
                assert (await other.ask(request()))[0] == 403

    uvloop.run(story())


def test_barrier_what_has_not_begun_is_decided_anew_before_release() -> None:
    """BARRIER: a suspension while the supplier works refuses the answer with the order's own code."""
    arrived = asyncio.Event()
    go_on = asyncio.Event()

    async def slow(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        arrived.set()
        await go_on.wait()
        writer.write(json_answer('{"data":[{"xm":"secret"}]}'))

    async def story() -> None:
        async with Supplier(slow) as supplier:
            house = House(interface_for(supplier.port))
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request())
                await arrived.wait()
                house.verdict = deny("suspended")
                assert plane.cut(is_grant_one) == 0
                go_on.set()
                status, _, content = await caller.answer()
                assert status == 403
                assert b"suspended" in content
                assert b"secret" not in content
                assert house.ledger.outcomes()[0].end == "cut"
                assert house.ledger.outcomes()[0].bytes == 0

    uvloop.run(story())


@pytest.mark.parametrize("withdrawn", [True, False])
def test_barrier_holds_between_the_steps_of_work_on_a_long_answer(withdrawn: bool) -> None:
    """BARRIER, BOUNDED: others are served while it is worked on, and a stop that comes then lets nothing of it out."""
    row = b'{"xm":"secret"},'
    answer = json_answer('{"data":[' + (row * 60_000).decode() + '{"xm":"last"}]}')

    async def story() -> None:
        async with Supplier(answer) as supplier:
            house = House(interface_for(supplier.port))
            house.verdict = permit(masks={"xm": "last-4"})
            async with serving(house) as (plane, port):
                steps = 0
                going_on = Release._go_on

                def go_on(release: Release, *given: Any) -> None:
                    nonlocal steps
                    steps += 1
                    if steps == 3 and withdrawn:
                        house.verdict = deny("suspended")
                        plane.cut(is_grant_one)
                    going_on(release, *given)

                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(Release, "_go_on", go_on)
                    caller = await CallerSide.connect(port)
                    status, _, content = await caller.ask(request())
                assert steps > 5
                if withdrawn:
                    assert status == 403
                    assert b"cret" not in content
                    assert house.ledger.outcomes()[0].bytes == 0
                else:
                    assert status == 200
                    assert content.count(b"cret") == 60_000
                    assert house.ledger.outcomes()[0].rows == 60_001

    uvloop.run(story())


MEANWHILE = {"suspended": 403, "withdrawn": 503, "stale": 503, "nothing": 200}
"""What comes while something is waited for, and the status that a call then has."""


def comes(what: str, house: House, plane: DataPlane) -> None:
    """It comes now."""
    if what == "suspended":
        house.verdict = deny("suspended")
        plane.cut(is_grant_one)
    elif what == "withdrawn":
        plane.cut(is_grant_one, decided=False)
    elif what == "stale":
        house.fresh = False


class _WaitingMeter(MemoryMeter):
    """Rows are drawn once it is told so: the block of a quota is leased from the state."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    def draw_rows(self, verdict: Verdict, rows: int) -> Any:
        async def draw() -> bool:
            self.asked.set()
            await self.go_on.wait()
            return True

        return draw()


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("form", ["one document", "one in pieces", "rows"])
def test_barrier_holds_while_rows_are_drawn_from_a_quota(form: str, meanwhile: str) -> None:
    """BARRIER, STALE-DENIES: what comes while the state is asked for a block of the quota lets no row of it out."""
    whole = json_answer('{"data":[{"xm":"secret"}]}')
    rows = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n" + b'{"xm":"secret"}\n'

    async def answer(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        sent = rows if form == "rows" else whole
        cut = -4 if form == "one in pieces" else len(sent)
        writer.write(sent[:cut])
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(sent[cut:])

    async def story() -> None:
        async with Supplier(answer) as supplier:
            kind = AnswerFormat.NDJSON if form == "rows" else AnswerFormat.JSON
            house = House(interface_for(supplier.port, format=kind))
            house.meter = meter = _WaitingMeter()
            house.verdict = permit(metered=True, rows_a_day=10)
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request())
                await meter.asked.wait()
                comes(meanwhile, house, plane)
                meter.go_on.set()
                status, _, content = await caller.answer()
                assert status == MEANWHILE[meanwhile]
                assert (b"secret" in content) is (meanwhile == "nothing")

    uvloop.run(story())


class _WaitingCredential:
    """What a supplier is shown is fetched first."""

    names: frozenset[bytes] = frozenset()
    parameters = ()

    def __init__(self) -> None:
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def show(self) -> Shown:
        self.asked.set()
        await self.go_on.wait()
        return Shown(b"Authorization: Bearer theirs\r\n")

    def refused(self, _shown: Shown) -> None:
        pass


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("awaited", ["connection", "credential"])
def test_barrier_nobody_is_asked_under_what_was_stopped_while_the_way_was_made(
    awaited: str, meanwhile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BARRIER, STALE-DENIES: a connection or a credential of the supplier may take a while; then it is asked again."""

    async def story() -> None:
        credential, connecting = _WaitingCredential(), Pool.connect

        async def connect(pool: Pool) -> Any:
            if awaited == "connection":
                credential.asked.set()
                await credential.go_on.wait()
            return await connecting(pool)

        monkeypatch.setattr(Pool, "connect", connect)
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            reach = house.reach
            if awaited == "credential":
                house.reach = lambda each: msgspec.structs.replace(reach(each), credential=credential)  # type: ignore[method-assign]
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                if awaited == "credential":
                    # A connection is kept, so that nothing else is waited for.
                    credential.go_on.set()
                    assert (await caller.ask(request()))[0] == 200
                    credential.go_on.clear()
                    credential.asked.clear()
                    supplier.requests.clear()
                caller.writer.write(request())
                await credential.asked.wait()
                comes(meanwhile, house, plane)
                credential.go_on.set()
                status, _, _ = await caller.answer()
                assert status == MEANWHILE[meanwhile]
                assert len(supplier.requests) == (meanwhile == "nothing")
                # A connection that was made for nothing serves the next call.
                house.verdict, house.fresh = permit(), True
                assert (await caller.ask(request()))[0] == 200
                assert supplier.connections == 1

    uvloop.run(story())


def test_barrier_an_order_before_the_record_is_durable_stops_the_call() -> None:
    """BARRIER: the verdict is asked for again before the supplier is called."""

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            house.ledger.hold = True
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request())
                await until(lambda: bool(house.ledger.events))
                house.verdict = deny("terminated")
                plane.cut(is_grant_one)
                house.ledger.release()
                assert (await caller.answer())[0] == 403
                assert supplier.connections == 0

    uvloop.run(story())


def test_barrier_a_permit_that_was_on_its_way_is_asked_for_again() -> None:
    """BARRIER: a permit decided before a change is not acted on after it."""
    asked = []
    go_on = asyncio.Event()

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))

            async def decide(call: object) -> Verdict:
                asked.append(call)
                if len(asked) == 1:
                    await go_on.wait()
                    return permit()
                return deny("suspended")

            house.decide_later = decide
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request())
                await until(lambda: bool(asked))
                plane.cut(lambda _: True)
                go_on.set()
                assert (await caller.answer())[0] == 403
                assert supplier.connections == 0
                assert len(asked) == 2

    uvloop.run(story())


def test_barrier_a_verdict_that_runs_out_meanwhile_is_asked_for_again() -> None:
    """A grant that expires while the supplier works releases nothing."""

    async def story() -> None:
        house: House
        now = [1_000 * 10**9]

        async def late(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
            now[0] += 100 * 10**9
            house.verdict = deny("grant-expired")
            writer.write(json_answer('{"data":[{"xm":"secret"}]}'))

        async with Supplier(late) as supplier:
            house = House(interface_for(supplier.port))
            house.clock = lambda: now[0]
            house.verdict = permit(valid_until_unix=1_050)
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                assert (await caller.ask(request()))[0] == 403

    uvloop.run(story())


def test_barrier_a_small_answer_in_the_buffers_can_still_be_cut() -> None:
    """BARRIER: an exchange that is over but whose bytes are still in the process is cut as well."""

    async def story() -> None:
        async with Supplier(json_answer('{"data":[{"xm":"' + "a" * 60_000 + '"}]}')) as supplier:
            house = House(interface_for(supplier.port))
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port, limit=1024)
                caller.writer.transport.pause_reading()
                caller.writer.write(request() * 200)
                await until(lambda: any(c.leaving.unsent_bytes() for c in plane._connections))
                assert plane.cut(is_grant_one) >= 1
                caller.writer.transport.resume_reading()
                with pytest.raises(ConnectionResetError):
                    await caller.rest()

    uvloop.run(story())


@pytest.mark.parametrize("fields", ["", "Connection: close\r\n"], ids=["kept", "closing"])
def test_barrier_an_answer_that_only_the_kernel_still_holds_can_be_cut(fields: str) -> None:
    """BARRIER: an answer that was finished, but that its caller does not read, is dropped with its unsent bytes, also
    where its connection was to be closed after it."""

    async def large(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000)
        await writer.drain()

    async def story() -> None:
        async with Supplier(large) as supplier:
            house = House(interface_for(supplier.port, format=AnswerFormat.OPAQUE))
            house.verdict = permit(all_items=True)
            async with serving(house) as (plane, port):
                with socket.socket() as caller:
                    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    caller.setblocking(False)
                    loop = asyncio.get_running_loop()
                    await loop.sock_connect(caller, ("127.0.0.1", port))
                    await loop.sock_sendall(caller, request(fields=fields))
                    await until(lambda: house.ledger.kinds() == ["opened"] and not plane.snapshot()["exchanges"])
                    await asyncio.sleep(0.05)
                    assert plane.cut(lambda use: use.verdict.grant == "g-2") == 0
                    assert plane.cut(is_grant_one) == 1
                    assert [outcome.end for outcome in house.ledger.outcomes()] == ["cut"]
                    with pytest.raises(ConnectionResetError):
                        await _read_to_the_end(caller)

    uvloop.run(story())


def test_barrier_the_kernel_holds_little_for_a_caller() -> None:
    """BARRIER, BOUNDED: of an answer without an end the kernel holds a stated amount for a caller that does not read,
    and an orderly close waits until that has been sent."""

    async def endless(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n")
        for _ in range(9):
            writer.write(b"x" * 1_000_000)
            await writer.drain()

    async def story() -> None:
        async with Supplier(endless) as supplier:
            house = House(interface_for(supplier.port, format=AnswerFormat.OPAQUE))
            house.verdict = permit(all_items=True)
            async with serving(house) as (plane, port):
                with socket.socket() as caller:
                    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    caller.setblocking(False)
                    loop = asyncio.get_running_loop()
                    await loop.sock_connect(caller, ("127.0.0.1", port))
                    await loop.sock_sendall(caller, request(fields="Connection: close\r\n"))
                    await until(lambda: any(c.is_writing_paused for c in plane._connections))
                    (connection,) = plane._connections
                    held = unsent_bytes(descriptor(connection.transport))
                    assert 0 < held <= plane.limits.unsent_bytes + 65536, "and one segment"
                    received = bytearray()
                    while data := await loop.sock_recv(caller, 1 << 20):
                        received += data
                    assert received.endswith(b"x" * 9_000_000)

    uvloop.run(story())


def test_barrier_a_killed_workers_kernel_keeps_nothing_for_its_callers() -> None:
    """BARRIER: while a connection stands, its end without an orderly close drops what was not sent."""

    async def story() -> None:
        async with (
            Supplier(json_answer('{"data":[]}')) as supplier,
            serving(House(interface_for(supplier.port))) as (plane, port),
        ):
            caller = await CallerSide.connect(port)
            assert (await caller.ask(request()))[0] == 200
            (connection,) = plane._connections
            raw = connection.transport.get_extra_info("socket")
            linger = raw.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
            assert struct.unpack("ii", linger) == (1, 0)

    uvloop.run(story())


def test_stale_denies_within_a_stream() -> None:
    """STALE-DENIES: a worker that becomes stale while it streams cuts the answer at the next piece."""
    go_on = asyncio.Event()

    async def two_pieces(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789")
        await go_on.wait()
        writer.write(b"9876543210")

    async def story() -> None:
        async with Supplier(two_pieces) as supplier:
            house = House(interface_for(supplier.port, format=AnswerFormat.OPAQUE))
            house.verdict = permit(all_items=True)
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request())
                await caller.reader.readuntil(b"0123456789")
                house.fresh = False
                go_on.set()
                with pytest.raises(ConnectionResetError):
                    await caller.rest()
                assert house.ledger.outcomes()[0].end == "state-stale"

    uvloop.run(story())


@pytest.mark.parametrize("where", ["deciding", "recording", "at the supplier"])
@pytest.mark.parametrize("meant", [True, False], ids=["meant", "another's"])
def test_barrier_what_was_looked_up_and_withdrawn_releases_nothing(where: str, meant: bool) -> None:
    """BARRIER: a credential, a system or an interface is withdrawn while the call is decided, recorded or answered
    slowly: the policies would permit it still, and nothing is released; another's call goes on."""
    here, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        if where == "at the supplier":
            here.set()
            await go_on.wait()
        writer.write(json_answer('{"data":[{"xm":"secret"}]}'))

    async def decide(_: object) -> Verdict:
        here.set()
        await go_on.wait()
        return permit()

    async def story() -> None:
        async with Supplier(slow) as supplier:
            house = House(interface_for(supplier.port))
            house.ledger.hold = where == "recording"
            if where == "deciding":
                house.decide_later = decide
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request())
                await until(lambda: here.is_set() or bool(house.ledger.events))
                assert plane.cut(lambda _: meant, decided=False) == 0
                go_on.set()
                house.ledger.release()
                status, _, content = await caller.answer()
                assert (status, b"secret" in content) == ((503, False) if meant else (200, True))
                assert supplier.connections == int(where == "at the supplier" or not meant)
                house.decide_later = None
                house.ledger.hold = False
                assert (await caller.ask(request()))[0] == 200, "who comes again is looked up anew"

    uvloop.run(story())


def test_barrier_more_withdrawals_than_are_kept_reach_everybody() -> None:
    """BARRIER: where it is no longer known what was withdrawn since a call began, it is ended."""
    kept = Withdrawals()
    use: Any = object()
    kept.add(1, lambda _: False)
    assert not kept.reach(use, 0)
    kept.add(2, lambda _: True)
    assert kept.reach(use, 1)
    assert not kept.reach(use, 2)
    for epoch in range(3, 3 + KEPT_WITHDRAWALS):
        kept.add(epoch, lambda _: False)
    assert kept.reach(use, 1)
    assert not kept.reach(use, 3)
