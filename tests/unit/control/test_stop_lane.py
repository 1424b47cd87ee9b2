"""Nothing is before a stop: a suspension has threads of its own and goes first to the writer's lock."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.control.act.examples import GRANT, ORDER, SUSPENSION, TERMINATION
from gateway.domain.errors import GatewayError
from gateway.store.turns import Turns
from tests.support.control import World, done

STOPS = {
    "suspension": (f"/v1/grants/{GRANT['id']}/suspension", SUSPENSION),
    "termination": (f"/v1/grants/{GRANT['id']}/termination", TERMINATION),
    "order": ("/v1/orders", ORDER),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.furnish()
    made.grant()
    yield made
    made.close()


@pytest.mark.parametrize("stop", STOPS)
def test_a_stop_returns_while_every_other_thread_is_taken(
    world: World, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    """More questions than there are threads hang in the state; the stop is signed in, decided, done and answered."""
    may_go, hanging = threading.Event(), threading.Semaphore(0)
    list_grants = world.store.list_grants

    def hang(*given: Any) -> Any:
        hanging.release()
        assert may_go.wait(60)
        return list_grants(*given)

    monkeypatch.setattr(world.store, "list_grants", hang)
    path, body = STOPS[stop]
    headers = {"Authorization": f"Bearer {world.token('registrar')}"}

    async def story() -> tuple[httpx.Response, list[httpx.Response]]:
        questions = [asyncio.ensure_future(world._client.get("/v1/grants", headers=headers)) for _ in range(60)]
        while not hanging.acquire(blocking=False):  # noqa: ASYNC110 -- threads tell it
            await asyncio.sleep(0.01)
        try:
            stopped = await asyncio.wait_for(world._client.post(path, json=body, headers=headers), 60)
            assert not any(question.done() for question in questions)
        finally:
            may_go.set()
        return stopped, await asyncio.gather(*questions)

    stopped, questions = world._runner.run(story())
    done(stopped)
    assert all(each.is_success for each in questions)


def test_what_is_urgent_takes_the_next_turn() -> None:
    """Of many that wait for the writer, what is urgent goes next and the others in the order they came; none twice."""
    turns, order = Turns(60), []
    waiting: list[threading.Thread] = []

    def write(name: str) -> None:
        with turns.turn(urgent=name.startswith("stop")):
            order.append(name)

    with turns.turn():
        for name in ("a", "b", "stop-1", "c", "stop-2"):
            waiting.append(threading.Thread(target=write, args=(name,)))
            waiting[-1].start()
            while len(turns._urgent) + len(turns._others) < len(waiting):
                pass
    for each in waiting:
        each.join(60)
    assert order == ["stop-1", "stop-2", "a", "b", "c"]


def test_a_turn_that_does_not_come_is_given_up() -> None:
    """Who has waited in vain stands in nobody's way afterwards."""
    turns = Turns(0.01)
    refusals = []

    def wait() -> None:
        try:
            with turns.turn():
                pass
        except GatewayError as error:
            refusals.append(error.code)

    with turns.turn():
        late = threading.Thread(target=wait)
        late.start()
        late.join(60)
    assert refusals == ["unavailable"]
    with turns.turn():
        pass
