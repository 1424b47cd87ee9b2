"""Interfaces are read once, remembered, and never given out after a change that overtook them."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.domain.callers import Assurance, Caller
from gateway.domain.changes import Change, ChangeKind
from gateway.domain.directory import Interface, SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.uses import Use
from gateway.domain.verdicts import Call, Decision, Verdict
from gateway.proxy.ports import Reach
from gateway.runtime.worker.resolver import Resolver, is_touched

OLD = Interface(id="persons", supplier="police", dataset="household", upstream="http://127.0.0.1:1")
NEW = Interface(id="persons", supplier="police", dataset="household", upstream="http://127.0.0.1:2")
CHANGED = Change(sequence=1, kind=ChangeKind.INTERFACE, subject="police/persons")


def reach_of(interface: Interface) -> Reach:
    return Reach((interface.upstream,), None, "")


async def _settle(answer: object) -> object:
    return await answer if asyncio.iscoroutine(answer) else answer


def test_an_interface_is_read_once_and_then_answered_at_once() -> None:
    """A hot call reads no state."""
    reads = []

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as pool:
            resolver = Resolver(lambda *key: reads.append(key) or OLD, pool, reach_of)
            first = await asyncio.gather(*(_settle(resolver("police", "persons")) for _ in range(5)))
            assert first == [OLD] * 5
            assert resolver("police", "persons") is OLD

    asyncio.run(scenario())
    assert reads == [("police", "persons")]


def test_what_a_change_overtakes_is_read_again() -> None:
    """BARRIER: an entry read before a change is never given out after it."""
    state = [OLD]
    reading, go_on = threading.Event(), threading.Event()

    def read(supplier: str, interface: str) -> Interface:
        found = state[0]
        reading.set()
        go_on.wait(5)
        return found

    async def scenario() -> object:
        with ThreadPoolExecutor(2) as pool:
            resolver = Resolver(read, pool, reach_of)
            task = asyncio.ensure_future(_settle(resolver("police", "persons")))
            await asyncio.to_thread(reading.wait, 5)
            state[0] = NEW
            resolver.drop(CHANGED)
            go_on.set()
            return await task

    assert asyncio.run(scenario()) is NEW


def test_an_unknown_interface_is_refused_and_not_remembered() -> None:
    """It may be registered a moment later."""

    async def scenario() -> None:
        state: list[Interface | None] = [None]
        with ThreadPoolExecutor(1) as pool:
            resolver = Resolver(lambda *_: state[0], pool, reach_of)
            with pytest.raises(GatewayError, match="interface-unknown"):
                await _settle(resolver("police", "persons"))
            state[0] = OLD
            assert await _settle(resolver("police", "persons")) is OLD

    asyncio.run(scenario())


def test_what_the_state_cannot_say_of_a_supplier_is_asked_again() -> None:
    """A host that may not be called stays so until a change; one that could not be looked up for now does not."""

    async def scenario() -> None:
        said = [GatewayError("unavailable", "the database is gone"), GatewayError("supplier-unreachable", "not there")]

        def prepare(_: Interface) -> Reach:
            raise said[0]

        with ThreadPoolExecutor(1) as pool:
            resolver = Resolver(lambda *_: OLD, pool, prepare)
            with pytest.raises(GatewayError, match="unavailable"):
                await _settle(resolver("police", "persons"))
            del said[0]
            assert await _settle(resolver("police", "persons")) is OLD
            with pytest.raises(GatewayError, match="supplier-unreachable"):
                resolver.reach(OLD)

    asyncio.run(scenario())


def test_a_state_that_cannot_be_read_fails_the_call_and_not_the_next() -> None:
    """One failed reading is told to who waited for it, and forgotten."""

    async def scenario() -> None:
        answers: list[object] = [GatewayError("unavailable", "the database is gone"), OLD]

        def read(*_: str) -> Interface:
            answer = answers.pop(0)
            if isinstance(answer, GatewayError):
                raise answer
            assert isinstance(answer, Interface)
            return answer

        with ThreadPoolExecutor(1) as pool:
            resolver = Resolver(read, pool, reach_of)
            with pytest.raises(GatewayError, match="database is gone"):
                await _settle(resolver("police", "persons"))
            assert await _settle(resolver("police", "persons")) is OLD

    asyncio.run(scenario())


def _use(grant: str | None = "G-1") -> Use:
    return Use(
        caller=Caller("system-a", "housing", Assurance.DPOP, "jti", 0),
        call=Call(
            "system-a", "housing", Assurance.DPOP, "police/persons", "household", SharingMode.QUERY, "purpose", None
        ),
        verdict=Verdict(Decision.PERMIT, "", (), "", 0, grant=grant),
        supplier="police",
        scenario="",
        operator="",
        trace_id="0" * 32,
        request_digest="",
        subject=None,
        started_unix_ns=0,
    )


@pytest.mark.parametrize(
    ("reach", "touched"),
    [
        ({}, True),
        ({"grant": "G-1"}, True),
        ({"grant": "G-2"}, False),
        ({"system": "system-a"}, True),
        ({"system": "system-b"}, False),
        ({"department": "housing", "dataset": "household"}, True),
        ({"department": "housing", "dataset": "marriage"}, False),
        ({"supplier": "police"}, True),
        ({"supplier": "civil-affairs"}, False),
        ({"department": "other", "grant": "G-1"}, False),
    ],
)
def test_a_change_touches_just_the_uses_in_its_reach(reach: dict[str, str], touched: bool) -> None:
    """BARRIER: what is named must fit, what is not named does not narrow."""
    change = Change(sequence=1, kind=ChangeKind.ORDER, subject="O-1", withdraws=True, **reach)
    assert is_touched(change, _use()) is touched
