"""Long answers and bodies: a bounded part of the work in each turn, in order, and changes before it."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat, RequestPlaces
from gateway.proxy import long_work
from gateway.proxy.exchange.asked import Asks
from gateway.proxy.exchange.release import Release
from gateway.proxy.exchange.routes import Plan
from gateway.proxy.long_work import MOST_SECONDS, SHORT_BYTES, LongWork
from gateway.proxy.turns import HELD_TURNS
from tests.support.proxy_ports import CallerSide, House, Supplier, interface_for, json_answer, request, serving

LONG = SHORT_BYTES + 1
ROW = {"xm": "a" * 100, "hyzk": "b", "gmsfhm": "c"}


class Clockwork:
    """A loop whose turns a test makes; each piece of work takes `cost` of its time."""

    def __init__(self, cost: float = MOST_SECONDS / 3.5) -> None:
        self.now = 100.0
        self.cost = cost
        self.soon: list[Callable[[], Any]] = []
        self.done: list[int] = []
        self.work = LongWork(self, lambda: None, lambda: self.now)  # type: ignore[arg-type]

    def call_soon(self, callback: Callable[[], Any]) -> None:
        self.soon.append(callback)

    def arrive(self, *numbers: int) -> None:
        """Something long is to be worked on, for each of these."""
        for number in numbers:
            if self.work.may_go_on(LONG):
                self.do(number)
            else:
                self.work.put_off(number, lambda number=number: self.do(number))

    def do(self, number: int) -> None:
        self.done.append(number)
        self.now += self.cost

    def turn(self) -> list[int]:
        """The loop goes on to its next turn; what was done in it."""
        before = len(self.done)
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()
        return self.done[before:]


def test_a_turn_does_a_bounded_part_whatever_waits() -> None:
    """Of a hundred long answers that are there at once, four a turn, in the order in which they came."""
    house = Clockwork()
    house.arrive(*range(100))
    assert house.done == list(range(4))
    for turn in range(1, 25):
        assert house.turn() == list(range(4 * turn, 4 * turn + 4))
    assert not house.work
    house.turn()
    assert not house.soon, "an idle loop sleeps"


def test_one_step_at_least_is_done_in_a_turn() -> None:
    """However long it takes: nothing waits for ever."""
    house = Clockwork(cost=1.0)
    house.arrive(1, 2, 3)
    assert house.done == [1]
    assert (house.turn(), house.turn()) == ([2], [3])


def test_work_of_many_steps_has_the_same_part_of_each_turn() -> None:
    """Whatever is worked on asks for its next step from within its turn: that makes no second part of one."""
    house = Clockwork()

    def go_on(number: int, left: int) -> None:
        house.do(number)
        if left:
            house.work.put_off(number, lambda: go_on(number, left - 1))

    for number in range(10):
        house.work.put_off(number, lambda number=number: go_on(number, 9))
    done = [len(house.turn()) for _ in range(25)]
    assert done == [4] * 25
    assert not house.work


def test_who_comes_later_does_not_go_before_who_waits() -> None:
    """Nor does a piece that came in the meantime make another one of the same owner."""
    house = Clockwork(cost=1.0)
    house.arrive(1, 2)
    house.arrive(3, 2)
    assert [house.turn(), house.turn(), house.turn()] == [[2], [3], []]


def test_who_comes_waits_behind_who_waits_though_there_is_time_left() -> None:
    house = Clockwork()
    house.work.put_off(1, lambda: house.do(1))
    house.arrive(2)
    assert house.done == []
    assert house.turn() == [1, 2]


def test_barrier_a_change_holds_what_is_new_and_what_takes_long() -> None:
    """INVARIANT: BARRIER. The plane that is told to forget begins no call, and no long work, in the next turns."""

    async def story() -> None:
        async with serving(House(interface_for(1))) as (plane, _):
            for kind, may in (("long", lambda: plane.long_work.may_go_on(LONG)), ("new", plane.turns.may_begin)):
                assert may(), kind
                plane.forget()
                assert not may(), kind
                for _ in range(HELD_TURNS + 2):
                    await asyncio.sleep(0)
                assert may(), kind

    asyncio.run(story())


def test_short_answers_are_never_put_off() -> None:
    """Most calls are short; how many begin in a turn is bounded where they begin."""
    house = Clockwork(cost=1.0)
    house.arrive(1, 2)
    assert house.work.may_go_on(SHORT_BYTES)


def test_a_change_is_acknowledged_before_long_work_goes_on() -> None:
    """BARRIER: nothing long in the turns that an acknowledgement takes."""
    house = Clockwork(cost=1.0)
    house.arrive(1, 2, 3)
    house.work.hold()
    assert not house.work.may_go_on(LONG)
    for _ in range(HELD_TURNS):
        assert house.turn() == []
    assert house.turn() == [2]


DATA = [ROW] * 200
TOLD = {
    AnswerFormat.JSON: (json.dumps({"data": DATA}), {}),
    AnswerFormat.NDJSON: ("\n".join(map(json.dumps, DATA)), {}),
    AnswerFormat.CSV: (
        "\r\n".join([",".join(ROW), *(",".join(row.values()) for row in DATA)]),
        {"places": {name: name for name in ROW}},
    ),
    AnswerFormat.XML: (
        "<D>" + "".join("<R>" + "".join(f"<{n}>{v}</{n}>" for n, v in row.items()) + "</R>" for row in DATA) + "</D>",
        {"rows": "/D/R"},
    ),
}


@pytest.mark.parametrize("format_", TOLD)
def test_long_answers_of_many_callers_arrive_whole_a_step_a_turn(
    format_: AnswerFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BOUNDED, on the wire: where a turn has no time at all it works on one of them, and on one that has just come."""
    monkeypatch.setattr(long_work, "MOST_SECONDS", 0.0)
    answer, fields = TOLD[format_]
    turn = [0]
    worked: Counter[int] = Counter()

    def counted(whole: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **named: Any) -> Any:
            worked[turn[0]] += 1
            return whole(*args, **named)

        return count

    for owner, name in ((Plan, "project"), (Plan, "steps"), (Release, "_reduce")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))

    async def story() -> None:
        loop = asyncio.get_running_loop()

        def tick() -> None:
            turn[0] += 1
            loop.call_soon(tick)

        tick()
        async with Supplier(json_answer(answer)) as supplier:
            house = House(interface_for(supplier.port, format=format_, **fields))
            async with serving(house) as (plane, port):
                callers = [await CallerSide.connect(port) for _ in range(20)]
                answers = await asyncio.gather(*(caller.ask(request()) for caller in callers))
                assert {status for status, *_ in answers} == {200}
                (content,) = {content for _, _, content in answers}
                assert content.count(b"a" * 100) == len(DATA)
                assert b"gmsfhm" not in content
                assert not plane.long_work

    uvloop.run(story())
    assert sum(worked.values()) >= 20
    assert max(worked.values()) <= 2


def test_long_bodies_of_many_callers_are_read_one_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that says whom a call asks about is read before anything is decided, each in its turn."""
    monkeypatch.setattr(long_work, "MOST_SECONDS", 0.0)
    turn = [0]
    worked: Counter[int] = Counter()
    read = Asks.read

    def counted(*args: Any) -> Any:
        worked[turn[0]] += 1
        return read(*args)

    monkeypatch.setattr(Asks, "read", counted)

    async def story() -> None:
        loop = asyncio.get_running_loop()

        def tick() -> None:
            turn[0] += 1
            loop.call_soon(tick)

        tick()
        async with Supplier(json_answer('{"data":[{"xm":"a"}]}')) as supplier:
            named = RequestPlaces(subject=("body~json/id",))
            house = House(interface_for(supplier.port, request=named, methods=("POST",)))
            async with serving(house) as (_, port):
                body = json.dumps({"id": "442000199001011234", "other": "x" * LONG}).encode()
                sent = request(method="POST", fields="Content-Type: application/json\r\n", body=body)
                callers = [await CallerSide.connect(port) for _ in range(20)]
                answers = await asyncio.gather(*(caller.ask(sent) for caller in callers))
                assert {status for status, *_ in answers} == {200}

    uvloop.run(story())
    assert sum(worked.values()) == 20
    assert max(worked.values()) <= 2
