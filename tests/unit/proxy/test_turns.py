"""When calls begin: newest first, a little in each turn, the oldest refused, changes before calls."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.proxy import turns
from gateway.proxy.tls import caller_context
from gateway.proxy.turns import (
    HELD_TURNS,
    PATIENCE_SECONDS,
    REFUSE_SECONDS,
    SHORT_PATIENCE_SECONDS,
    TURN_SECONDS,
    Turns,
)
from tests.support.certificates import Authority
from tests.support.proxy_ports import CallerSide, House, Supplier, interface_for, json_answer, request, serving, until

GOOD = json_answer('{"data":[{"xm":"a"}]}')


class Clockwork:
    """A loop whose turns a test makes, and the time that passes in them; each call takes `cost` of it."""

    def __init__(self, cost: float = 0.0005) -> None:
        self.now = 100.0
        self.cost = cost
        self.refusal = 0.0
        self.soon: list[Callable[[], Any]] = []
        self.begun: list[int] = []
        self.refused: list[int] = []
        self.turns = Turns(self, lambda: None, lambda: self.now)  # type: ignore[arg-type]

    def call_soon(self, callback: Callable[[], Any]) -> None:
        self.soon.append(callback)

    def arrive(self, *numbers: int) -> None:
        """Heads arrive, each of another caller."""
        for number in numbers:
            caller = One(self, number)
            if self.turns.may_begin():
                caller.begin_call()
            else:
                self.turns.wait(caller)

    def turn(self, seconds: float = 0.0) -> None:
        """The loop goes on to its next turn, and so much time passes in what stands there besides."""
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()
        self.now += seconds


class One:
    """A caller."""

    def __init__(self, house: Clockwork, number: int) -> None:
        self._house = house
        self._number = number

    def begin_call(self) -> None:
        self._house.begun.append(self._number)
        self._house.now += self._house.cost

    def shed_call(self) -> None:
        self._house.refused.append(self._number)
        self._house.now += self._house.refusal


def test_at_rest_every_call_begins_at_once_and_in_order() -> None:
    """What keeps up knows no queue."""
    house = Clockwork()
    for start in range(0, 100, 10):
        house.arrive(*range(start, start + 10))
        house.turn(0.001)
    assert house.begun == list(range(100))
    assert not house.refused
    assert not house.soon


def test_a_burst_is_begun_in_some_turns_the_newest_first_and_nobody_is_refused() -> None:
    """A line that empties within its patience refuses nobody."""
    house = Clockwork()
    house.arrive(*range(300))
    assert len(house.begun) <= 21
    first = len(house.begun)
    while len(house.turns):
        house.turn(0.002)
    assert sorted(house.begun) == list(range(300))
    assert house.begun[first] == 299
    assert not house.refused


@pytest.mark.parametrize("cost", [0.0002, 0.002, 0.05])
def test_at_twice_what_can_be_done_who_is_served_is_served_soon_and_who_is_not_hears_soon(cost: float) -> None:
    """No turn grows, no caller waits long for either answer, and as much is done as can be."""
    house = Clockwork(cost)
    number, longest, ends = 0, 0.0, 106.0
    while house.now < ends:
        began = house.now
        due = int((house.now - 100.0) * 2 / cost)
        house.arrive(*range(number, due))
        number = due
        house.turn(0.0001)
        longest = max(longest, house.now - began)
    assert longest <= TURN_SECONDS + 3 * cost
    assert len(house.begun) >= 0.9 * (ends - 100) / cost
    assert len(house.turns) <= (SHORT_PATIENCE_SECONDS + 4 * TURN_SECONDS + 4 * cost) * 2 / cost


def test_a_long_line_is_refused_within_some_turns_none_of_which_is_long() -> None:
    """All who have waited too long hear so as soon as that can be said, in turns that keep their length."""
    house = Clockwork()
    house.refusal = 0.00004
    house.arrive(*range(2000))
    house.now += PATIENCE_SECONDS + 0.001
    took: list[float] = []
    while len(house.turns):
        began = house.now
        house.turn()
        took.append(house.now - began)
    assert len(house.refused) > 1700
    assert max(took) <= turns.MOST_SECONDS + REFUSE_SECONDS + 2 * house.cost
    assert sum(took) < 2000 * house.refusal * 2.5


def test_a_line_that_stands_has_little_patience_and_one_at_least_is_served_in_each_turn() -> None:
    """However late the loop is."""
    house = Clockwork(cost=turns.MOST_SECONDS * 2)
    house.arrive(*range(10))
    house.turn(PATIENCE_SECONDS + 0.1)
    assert (house.begun, house.refused) == ([0, 9], [])
    house.turn()
    assert house.begun == [0, 9, 8]
    # Those who came first have waited too long.
    assert house.refused == [1, 2, 3, 4, 5, 6, 7]


def test_after_a_change_nothing_begins_until_it_can_have_been_acknowledged() -> None:
    """Control messages before calls, also where a line stands; then calls go on by themselves."""
    house = Clockwork()
    house.turns.hold()
    house.arrive(1)
    for _ in range(HELD_TURNS):
        house.turn()
        house.arrive()
        assert house.begun == []
    house.turn()
    assert house.begun == [1]
    assert not house.soon


def test_shed_calls_are_told_and_their_connections_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """`overloaded` with `Retry-After` before who calls is asked; bodies and pipelined requests keep their order."""
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", -1.0)
    monkeypatch.setattr(turns, "SHORT_PATIENCE_SECONDS", -1.0)
    monkeypatch.setattr(turns, "MOST_SECONDS", 0.0)
    monkeypatch.setattr(turns, "LEAST_SECONDS", 0.0)

    async def story() -> None:
        async with Supplier(GOOD) as supplier:
            house = House(interface_for(supplier.port, methods=("GET", "POST")))
            async with serving(house) as (plane, port):
                callers = [await CallerSide.connect(port) for _ in range(20)]
                plane.turns.hold()
                for caller in callers:
                    caller.writer.write(request())
                answers = await asyncio.gather(*(caller.answer() for caller in callers))
                served = sum(status == 200 for status, _, _ in answers)
                # One in each turn, and some refused in each.
                assert 1 <= served <= 4
                shed = [(fields, content) for status, fields, content in answers if status == 503]
                assert all(b"/problems/overloaded" in content for _, content in shed)
                assert all(fields[b"retry-after"] == b"1" and b"connection" not in fields for fields, _ in shed)
                assert (len(house.heads), plane.snapshot()["shed"]) == (served, {"load": 20 - served})
                assert [(await caller.ask(request()))[0] for caller in callers] == [200] * 20
                # One that pipelines has all its answers, in order.
                plane.turns.hold()
                callers[0].writer.write(request() + request("/nobody/here") + request(method="POST", body=b"{}"))
                assert [(await callers[0].answer())[0] for _ in range(3)] == [200, 404, 200]

    uvloop.run(story())


def test_handshakes_wait_for_their_turn_and_are_shed_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a load that lasts a connection is reset without a handshake; one that waits gets it in its turn, with the
    request that it sent along; one that leaves is forgotten."""
    authority = Authority()
    context = caller_context(authority.write("127.0.0.1", tmp_path / "server.pem"))
    calling = {
        "ssl": ssl.create_default_context(cafile=authority.write_ca(tmp_path / "ca.pem")),
        "server_hostname": "127.0.0.1",
    }

    async def story() -> None:
        async with Supplier(GOOD) as supplier:
            house = House(interface_for(supplier.port))
            async with serving(house, tls=context) as (plane, port):
                assert (await (await CallerSide.connect(port, **calling)).ask(request()))[0] == 200
                plane.turns._held = 1 << 30
                plane.turns.may_begin()
                waiting = [asyncio.create_task(CallerSide.connect(port, **calling)) for _ in range(3)]
                await until(lambda: plane.snapshot()["queued"] == 3)
                assert not any(each.done() for each in waiting)
                plane.turns._held = 1
                for each in waiting:
                    assert (await (await each).ask(request()))[0] == 200
                # Nobody has patience, and a turn begins one.
                for name in ("PATIENCE_SECONDS", "SHORT_PATIENCE_SECONDS"):
                    monkeypatch.setattr(turns, name, -1.0)
                monkeypatch.setattr(turns, "MOST_SECONDS", 0.0)
                monkeypatch.setattr(turns, "LEAST_SECONDS", 0.0)
                plane.turns._held = 1 << 30
                plane.turns.may_begin()
                many = [asyncio.create_task(CallerSide.connect(port, **calling)) for _ in range(12)]
                await until(lambda: plane.snapshot()["queued"] == 12)
                plane.turns._held = 1
                ends = await asyncio.gather(*many, return_exceptions=True)
                refused = [end for end in ends if isinstance(end, ConnectionError)]
                assert len(refused) >= 8, ends
                assert plane.snapshot()["shed"] == {"handshake": len(refused)}
                for end in ends:
                    if isinstance(end, CallerSide):
                        end.close()

    uvloop.run(story())


def test_a_caller_that_leaves_the_line_is_forgotten_and_draining_tells_who_waits() -> None:
    """Nothing is begun for who is gone; who still waits hears that it was not begun."""

    async def story() -> None:
        async with Supplier(GOOD) as supplier:
            house = House(interface_for(supplier.port))
            async with serving(house) as (plane, port):
                gone, waits = [await CallerSide.connect(port) for _ in range(2)]
                plane.turns._held = 1 << 30
                plane.turns.may_begin()
                for caller in (gone, waits):
                    caller.writer.write(request())
                await until(lambda: plane.snapshot()["queued"] == 2)
                gone.close()
                await until(lambda: plane.snapshot()["queued"] == 1)
                draining = asyncio.create_task(plane.drain(5))
                assert (await waits.answer())[0] == 503
                assert await draining
                assert house.heads == []
                plane.turns._held = 0

    uvloop.run(story())
