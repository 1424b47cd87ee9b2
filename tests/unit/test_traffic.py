"""The traffic that is measured is the traffic that is told, whoever is asked."""

import asyncio
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import httptools
import pytest

from gateway.domain.directory import System
from gateway.identity.keys.keyring import KeyRing
from tests.bench.data_plane import traffic
from tests.bench.data_plane.callers import Told, call
from tests.bench.data_plane.world import CITY, MIX, PURPOSE, SMALL, Asking, World

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
NONCE = b"HTTP/1.1 401 Unauthorized\r\nDPoP-Nonce: n1\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("world", [MIX, CITY])
def test_calls_are_granted_but_for_the_share_that_is_refused(world: World) -> None:
    """Another system, another interface at each call; every system comes; as many are refused as is said."""
    drawn = list(islice(world.draws(3), 4000))
    assert drawn == list(islice(world.draws(3), 4000))
    refused = [pair for pair in drawn if not world.is_granted(world.department_of(pair[0]), pair[1])]
    assert len(refused) / len(drawn) == pytest.approx(world.refused, abs=0.02)
    assert {system for system, _ in drawn} == set(range(world.systems))
    assert sum(a == b for a, b in pairwise(drawn)) < 40


def test_the_mix_is_as_large_as_it_says() -> None:
    """1,000 grants under which each of 200 systems asks each of 20 interfaces, once each when it is cold."""
    assert sum(MIX.is_granted(one, other) for one in range(MIX.departments) for other in range(MIX.interfaces)) == 1000
    assert len(MIX.pairs()) == len(set(MIX.pairs())) == 4000


def test_every_load_asks_well_formed_requests_of_its_own(tmp_path: Path) -> None:
    """Each request parses; only `repeated` says the same twice, and its trace is a traced call's own."""
    systems = [System(f"system-{number:03}", "office-00", "s") for number in range(SMALL.systems)]
    ask = Asking(KeyRing.create(tmp_path / "keys"), "http://127.0.0.1:1", systems)
    for load in traffic.loads(SMALL, SMALL):
        requests = list(islice(load.requests("http://127.0.0.1:2/api", ask, 1, Told()), 20))
        assert len(set(requests)) == (1 if load.name == "repeated" else 20), load.name
        assert all(_purpose(request) == PURPOSE.encode() for request in requests)
        assert load.name in str(traffic.__doc__)


def _purpose(request: bytes) -> bytes:
    found: dict[bytes, bytes] = {}

    class Reader:
        def on_header(self, name: bytes, value: bytes) -> None:
            found[name] = value

        def on_message_complete(self) -> None:
            found[b"whole"] = b""

    httptools.HttpRequestParser(Reader()).feed_data(request)
    assert b"whole" in found
    return found[b"Sharing-Purpose"]


@pytest.mark.parametrize("is_single", [False, True])
def test_callers_count_each_answer_and_each_that_did_not_come(*, is_single: bool) -> None:
    """Answers in pieces are one each, a connection that ends instead is counted, and a nonce is kept."""
    script = [ANSWER, NONCE, ANSWER, b""]

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            answer = script.pop(0)
            for number in range(len(answer)):
                writer.write(answer[number : number + 1])
                await writer.drain()
            if not answer:
                break
        writer.close()

    async def told() -> Told:
        out = Told()
        server = await asyncio.start_server(answering, "127.0.0.1", 0)
        async with server:
            base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api"
            await call(base, iter([b"x"] * 4), 1, 30, out, is_single=is_single)
        return out

    found = asyncio.run(told())
    assert found == Told(Counter({200: 2, 401: 1, 0: 1}), "n1")
