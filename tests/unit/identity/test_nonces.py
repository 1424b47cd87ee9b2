"""Nonces are of the cluster: what any node gave out holds at every other, over every rotation, and not much longer."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.identity.callers.nonces import (
    HOLDS_SECONDS,
    LEAD_SECONDS,
    PERIOD_SECONDS,
    REFRESH_SECONDS,
    ROTATE_SECONDS,
    NonceKeeper,
)
from gateway.identity.callers.replay import MAX_BATCH, ClusterReplay, SharedReplay
from gateway.identity.keys.keyring import KeyRing

START = 1_772_000_000.0


class Clock:
    at = START
    ahead = 0.0

    def __call__(self) -> float:
        return self.at + self.ahead


class State:
    """The state's rows, as `Coordination` keeps them."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[int, str, int]] = {}
        self.used: set[tuple[str, str]] = set()
        self.batches: list[int] = []
        self.is_away = False

    def nonce_secrets(self) -> Sequence[tuple[int, str, int]]:
        if self.is_away:
            raise GatewayError("unavailable")
        return [self.rows[number] for number in sorted(self.rows)]

    def add_nonce_secret(self, number: int, sealed: str, made_unix: int) -> None:
        self.rows.setdefault(number, (number, sealed, made_unix))
        self.rows = {each: row for each, row in self.rows.items() if each >= number - 1}

    def use_each(self, values: Sequence[tuple[str, str, int]]) -> list[bool]:
        if self.is_away:
            raise GatewayError("unavailable")
        self.batches.append(len(values))
        fresh = []
        for namespace, value, _ in values:
            fresh.append((namespace, value) not in self.used)
            self.used.add((namespace, value))
        return fresh


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return KeyRing.create(tmp_path_factory.mktemp("ring"))


def test_nonce_of_any_node_holds_at_every_other_over_rotations(ring: KeyRing) -> None:
    """Three nodes, clocks up to 20 s apart, refreshing out of step, for three days: none is ever refused at another."""
    clocks = [Clock(), Clock(), Clock()]
    clocks[1].ahead, clocks[2].ahead = 20.0, -10.0
    state = State()
    nodes = [NonceKeeper(state, ring.field_cipher, clock) for clock in clocks]
    for node in nodes:
        node.refresh()
    numbers = set()
    step, given = 0, ["", "", ""]
    while clocks[0].at < START + 3 * ROTATE_SECONDS:
        near = clocks[0].at % ROTATE_SECONDS < 2000
        for clock in clocks:
            clock.at += REFRESH_SECONDS / 2 if near else PERIOD_SECONDS / 2
        step += 1
        if given[0]:  # of the step before: on its way while the nodes refreshed
            assert all(node.nonces.is_current(nonce) for node in nodes for nonce in given)
        for number, node in enumerate(nodes):
            if not near or step % 2 == number % 2:
                node.refresh()
        given = [node.nonces.current() for node in nodes]
        assert all(node.nonces.is_current(nonce) for node in nodes for nonce in given)
        numbers.update(state.rows)
    assert len(numbers) >= 3, "secrets are rotated"
    assert len(state.rows) <= 2


def test_no_step_of_the_clock_brings_a_nonce_back(ring: KeyRing) -> None:
    """On a node that is alone: an hour later a nonce is none, also where the clock is set back by that hour, and one of
    now is one, wherever the clock is set."""
    clock, ticks = Clock(), Clock()
    node = NonceKeeper(State(), ring.field_cipher, clock, "this boot", ticks)
    node.refresh()
    for seconds in (-3600.0, -1.0, 3600.0, 20 * 86_400.0, -20 * 86_400.0):
        old = node.nonces.current()
        assert node.nonces.is_current(old)
        clock.ahead += seconds
        node.refresh()
        assert node.nonces.is_current(old), "nobody's nonce is refused for a step"
        ticks.at += HOLDS_SECONDS
        assert not node.nonces.is_current(old)
        assert node.nonces.is_current(node.nonces.current())


def test_nonce_holds_for_minutes_and_its_secret_not_longer(ring: KeyRing) -> None:
    """A nonce ends after at most two periods, and one made with a secret that has ended is none at once."""
    clock, state = Clock(), State()
    node = NonceKeeper(state, ring.field_cipher, clock)
    node.refresh()
    nonce, old = node.nonces.current(), node.nonces
    clock.at += 2 * PERIOD_SECONDS + 1
    assert not node.nonces.is_current(nonce)
    first = NonceKeeper(state, ring.field_cipher, clock)
    first.refresh()
    clock.at += ROTATE_SECONDS
    node.refresh()
    assert node.nonces.is_current(old.current())
    thief = NonceKeeper(state, ring.field_cipher, clock)
    thief.nonces.take(first.nonces._held)
    clock.at += LEAD_SECONDS + 3 * PERIOD_SECONDS
    assert not node.nonces.is_current(thief.nonces.current()), "made with the secret of yesterday"
    for other in ("", "AAAA", None, 7, nonce[:-1], nonce + "A"):
        assert not node.nonces.is_current(other)


def test_secret_of_another_ring_is_replaced_and_said(
    ring: KeyRing, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A node whose ring cannot open the newest secret says so and makes one; what stands goes on without the state."""
    clock, state = Clock(), State()
    NonceKeeper(state, ring.field_cipher, clock).refresh()
    node = NonceKeeper(state, KeyRing.create(tmp_path / "other").field_cipher, clock)
    node.refresh()
    assert "does not hold" in caplog.text
    assert node.nonces.is_current(node.nonces.current())
    assert sorted(state.rows) == [1, 2]
    state.is_away = True
    with pytest.raises(GatewayError):
        node.refresh()
    assert node.nonces.is_current(node.nonces.current())


def test_proof_used_at_one_node_is_used_at_all(tmp_path: Path) -> None:
    """Each of many values, sent to two nodes at once, goes through at exactly one, and in far fewer round trips."""
    state = State()

    async def run() -> None:
        with ThreadPoolExecutor(2) as pool:
            nodes = [ClusterReplay(SharedReplay(tmp_path / name, Clock()), state.use_each, pool) for name in ("a", "b")]

            async def send(node: ClusterReplay, value: str) -> bool:
                fresh = node.use_once("dpop", value, int(START) + 60)
                return fresh if isinstance(fresh, bool) else await fresh

            values = [f"v{number}" for number in range(2 * MAX_BATCH)]
            answers = await asyncio.gather(*(send(node, value) for value in values for node in nodes))
            assert [sum(pair) for pair in zip(answers[::2], answers[1::2], strict=True)] == [1] * len(values)
            assert len(state.batches) <= 8, "one round trip serves all that came meanwhile"
            assert nodes[0].use_once("dpop", "v0", int(START) + 60) is False, "refused by its own memory"
            state.is_away = True
            with pytest.raises(GatewayError) as refused:
                await send(nodes[0], "while the state is away")
            assert refused.value.code == "state-stale"
            state.is_away = False
            assert await send(nodes[0], "afterwards")

    asyncio.run(run())
