"""What one worker holds, and for whom: shares of a supplier, of a system, and of callers that are not yet known."""

import json
import random
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat
from gateway.proxy import Limits
from gateway.proxy.shares import MOST_IDLE, Shares
from tests.support.proxy_ports import CallerSide, House, Supplier, interface_for, permit, request, serving, until

MOST = 800
LIMITS = Limits(held_bytes=MOST, share=8, connections=80, system_concurrency=16)


@pytest.mark.parametrize("seed", range(6))
def test_nobody_takes_more_than_a_share_and_everything_comes_back(seed: int) -> None:
    """In any order of calls and octets the sums are right, no bound is passed, and all comes back."""
    draw = random.Random(seed)
    shares = Shares(LIMITS)
    calls: list[list[Any]] = []
    unknown = 0
    for _ in range(2000):
        act = draw.random()
        if act < 0.4:
            system, supplier = f"s{draw.randrange(4)}", f"p{draw.randrange(6)}"
            if not shares.enter(system, supplier):
                calls.append([system, supplier, 0])
        elif act < 0.7 and calls:
            call = draw.choice(calls)
            more = draw.randrange(-call[2], 120)
            if not shares.hold(call[0], call[1], more):
                call[2] += more
        elif act < 0.85 and calls:
            system, supplier, held = calls.pop(draw.randrange(len(calls)))
            assert not shares.hold(system, supplier, -held)
            shares.leave(system, supplier)
        else:
            more = draw.randrange(-unknown, 60)
            if shares.hold_unknown(more):
                unknown += more
        assert shares.held_bytes == unknown + sum(call[2] for call in calls) <= MOST
        assert unknown <= MOST // 2
        for place, most_calls in ((0, 2 * LIMITS.system_concurrency), (1, LIMITS.connections // LIMITS.share)):
            for name in {call[place] for call in calls}:
                mine = [call for call in calls if call[place] == name]
                assert sum(call[2] for call in mine) <= MOST // 4
                assert len(mine) <= most_calls
    for system, supplier, held in calls:
        shares.hold(system, supplier, -held)
        shares.leave(system, supplier)
    shares.hold_unknown(-unknown)
    assert not shares.are_held()
    assert not any(sum(system.at.values()) for system in shares._systems.values())


def test_who_holds_nothing_is_forgotten_and_who_holds_something_is_not() -> None:
    """However many come and go; a call that hangs keeps its count."""
    shares = Shares(LIMITS)
    assert not shares.enter("hangs", "slow")
    for number in range(3 * MOST_IDLE):
        assert not shares.enter(f"s{number}", f"p{number}")
        shares.leave(f"s{number}", f"p{number}")
        assert max(len(shares._systems), len(shares._suppliers)) <= MOST_IDLE
    assert shares._systems["hangs"].calls == shares._suppliers["slow"].calls == 1


def test_who_comes_late_has_its_share_though_others_took_all_that_was_free() -> None:
    """Two suppliers that take what they can, a quarter each, leave each other one its eighth."""
    shares = Shares(LIMITS)
    for number in range(8):
        shares.enter(f"s{number}", f"p{number}")
    assert [shares.hold(f"s{n}", f"p{n}", 200) for n in (0, 1)] == ["", ""]
    assert [shares.hold(f"s{n}", f"p{n}", 101) for n in (2, 3)] == ["supplier"] * 2
    assert [shares.hold(f"s{n}", f"p{n}", 100) for n in (2, 3, 4, 5)] == [""] * 4
    assert shares.hold("s6", "p6", 1) == "memory"


def test_a_system_whose_calls_hang_at_one_supplier_may_call_the_others() -> None:
    """Beyond its number of calls a system still has a share at each supplier where it has none; not without end."""
    shares = Shares(LIMITS)
    while not shares.enter("s", "hangs"):
        pass
    assert shares.enter("s", "hangs") == "supplier"
    shares = Shares(Limits(connections=8000, system_concurrency=16))
    for _ in range(16):
        assert not shares.enter("s", "hangs")
    assert shares.enter("s", "hangs") == "system"
    for number in range(8):
        assert [shares.enter("s", f"well-{number}") for _ in range(3)] == ["", "", "system"]
    assert shares.enter("s", "well-8") == "system"
    assert not shares.enter("another", "hangs")


def long_answer(size: int) -> bytes:
    body = b'{"data":[{"xm":"' + b"a" * size + b'","more":1}]}'
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def test_what_need_not_be_reduced_is_not_held() -> None:
    """Under a grant of all items a long answer of unknown length leaves as it comes; a short one is still reduced."""

    async def story() -> None:
        async with Supplier() as supplier:
            limits = Limits(tick_seconds=0.02)
            house = House(interface_for(supplier.port), limits=limits)
            house.verdict = permit(all_items=True)
            async with serving(house) as (plane, port):
                supplier.answer = long_answer(1000)
                caller = await CallerSide.connect(port)
                assert b"more" not in (await caller.ask(request()))[2]
                supplier.answer = long_answer(24 << 20)
                caller = await CallerSide.connect(port, limit=1024)
                caller.writer.write(request())
                await until(lambda: any(c.is_writing_paused for c in plane._connections))
                assert 0 < plane.shares.held_bytes < 3 << 20
                status, _, content = await caller.answer()
                assert (status, len(json.loads(content)["data"][0]["xm"])) == (200, 24 << 20)
                await until(lambda: plane.shares.held_bytes == 0)

    uvloop.run(story())


@pytest.mark.parametrize("answer_format", [AnswerFormat.JSON, AnswerFormat.OPAQUE])
def test_a_grant_that_counts_rows_lets_nothing_out_that_cannot_be_counted(answer_format: AnswerFormat) -> None:
    """A grant of all items passes what cannot be read, but not past a quota of rows."""

    async def story() -> None:
        async with Supplier(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n[broken") as supplier:
            house = House(interface_for(supplier.port, format=answer_format))
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                house.verdict = permit(all_items=True)
                assert (await caller.ask(request()))[::2] == (200, b"[broken")
                house.verdict = permit(all_items=True, metered=True, rows_a_day=10)
                assert (await caller.ask(request(fields="X-Y: z\r\n")))[0] == 502

    uvloop.run(story())
