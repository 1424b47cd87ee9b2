"""What a caller says is kept before a record names it, and a record is written before anybody is called."""

import asyncio
from typing import Any

import pytest
import uvloop

from gateway.domain.errors import GatewayError
from gateway.domain.texts import UNKEPT, Said
from gateway.domain.uses import Use
from tests.support.proxy_ports import CallerSide, House, Supplier, deny, interface_for, request, serving, until

WORDS = "Sharing-Scenario: at the counter\r\nSharing-Operator: clerk 7\r\n"
KEPT = Said("marriage", "sealed:" + "5" * 64, "sealed:" + "7" * 64)


class SlowHouse(House):
    """A house that answers later what may be named, or not at all."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.asked: list[tuple[Any, ...]] = []
        self.answer: asyncio.Future[Said] | Said | GatewayError = KEPT

    def seal(self, call: Any, scenario: str, operator: str, years: int) -> Any:
        self.asked.append((call.purpose, scenario, operator, years))
        if isinstance(self.answer, GatewayError):
            raise self.answer
        return self.answer


async def asking(story: Any) -> SlowHouse:
    async with Supplier() as supplier:
        house = SlowHouse(interface_for(supplier.port))
        async with serving(house) as (plane, port):
            await story(house, plane, await CallerSide.connect(port), supplier)
    return house


@pytest.mark.parametrize("is_permitted", [True, False])
def test_no_record_names_a_text_before_it_is_kept(is_permitted: bool) -> None:
    """INVARIANT: RECORD-FIRST: neither a record nor a call until then; denied calls say what they said, too."""

    async def story(house: SlowHouse, plane: Any, caller: CallerSide, supplier: Supplier) -> None:
        if not is_permitted:
            house.verdict = deny("not-granted")
        house.answer = asyncio.get_running_loop().create_future()
        asked = asyncio.ensure_future(caller.ask(request(fields=WORDS)))
        await until(lambda: bool(house.asked))
        assert house.ledger.events == []
        assert supplier.requests == []
        house.answer.set_result(KEPT)
        assert (await asked)[0] == (200 if is_permitted else 403)
        ((_, _, use), *_) = house.ledger.events
        assert (use.purpose, use.scenario, use.operator) == (KEPT.purpose, KEPT.scenario, KEPT.operator)
        assert "clerk 7" not in repr(use)

    assert uvloop.run(asking(story)).asked[0][1:3] == ("at the counter", "clerk 7")


def test_what_cannot_be_kept_now_ends_in_a_refusal_without_a_record() -> None:
    """The state is away: nobody is called, and no record says half of it."""

    async def story(house: SlowHouse, plane: Any, caller: CallerSide, supplier: Supplier) -> None:
        house.answer = GatewayError("records-unavailable")
        assert (await caller.ask(request(fields=WORDS)))[0] == 503
        house.answer = asyncio.get_running_loop().create_future()
        house.answer.set_exception(GatewayError("records-unavailable"))
        assert (await caller.ask(request(fields=WORDS)))[0] == 503
        assert (house.ledger.events, supplier.requests) == ([], [])

    uvloop.run(asking(story))


def test_a_use_whose_words_the_state_took_no_more_is_refused_on_record() -> None:
    """Art. 29 wants the scenario on record: no use goes on without it, and its refusal says so."""

    async def story(house: SlowHouse, plane: Any, caller: CallerSide, supplier: Supplier) -> None:
        house.answer = Said("marriage", UNKEPT)
        status, _, content = await caller.ask(request(fields=WORDS))
        assert (status, b"words-exhausted" in content) == (429, True)
        assert supplier.requests == []
        ((kind, _, use),) = house.ledger.events
        assert isinstance(use, Use)
        assert (kind, use.verdict.code, use.scenario) == ("refused", "words-exhausted", UNKEPT)
        house.verdict = deny("not-granted")
        assert (await caller.ask(request(fields=WORDS)))[0] == 403

    uvloop.run(asking(story))


def test_barrier_a_change_while_words_are_on_their_way_is_asked_about() -> None:
    """INVARIANT: BARRIER: what was permitted before the words were kept is decided anew."""

    async def story(house: SlowHouse, plane: Any, caller: CallerSide, supplier: Supplier) -> None:
        house.answer = asyncio.get_running_loop().create_future()
        asked = asyncio.ensure_future(caller.ask(request(fields=WORDS)))
        await until(lambda: bool(house.asked))
        house.verdict = deny("suspended")
        plane.cut(lambda _use: True)
        house.answer.set_result(KEPT)
        assert (await asked)[0] == 403
        assert supplier.requests == []

    uvloop.run(asking(story))


def test_a_lane_names_no_text_beyond_its_time() -> None:
    """What is remembered of a repeated request ends with what its record may name."""

    async def story(house: SlowHouse, plane: Any, caller: CallerSide, supplier: Supplier) -> None:
        house.answer = Said("marriage", "sealed:" + "5" * 64, until_unix_ns=plane.clock() + 10**12)
        for _ in range(3):
            assert (await caller.ask(request(fields=WORDS)))[0] == 200
        assert plane.lanes.followed == 1
        (lane,) = plane.lanes._kept.values()
        assert lane.until_ns == house.answer.until_unix_ns
        lane.until_ns = 0
        house.answer = Said("marriage", "sealed:" + "6" * 64)
        assert (await caller.ask(request(fields=WORDS)))[0] == 200
        assert house.ledger.events[-2][2].scenario == "sealed:" + "6" * 64

    uvloop.run(asking(story))
