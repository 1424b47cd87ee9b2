"""The thundering herd: many callers at once against a token endpoint that expires, fails, is slow or cuts.

Each row prints the number of token requests and the longest wait; what is asserted are counts and outcomes.
"""

import functools
import gc
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest

from gateway.client import GatewayUnavailable, SharingAuth, new_private_key

pytestmark = [
    pytest.mark.deep,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
"""A thousand sockets of clients that are cut off are let go of by the collector, which says so."""


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What is said of sockets is said here and not in the next test."""
    yield
    gc.collect()


GATEWAY, CONTROL, KEY = "https://data.example", "https://control.example/oauth/token", new_private_key()
THREADS, TASKS = 200, 1000
SLOW_SECONDS = 5.0


class Endpoint(httpx.BaseTransport):
    """A token endpoint with a trouble."""

    def __init__(self, trouble: str) -> None:
        self.trouble = trouble
        self.requests = 0
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.requests += 1
            turn = self.requests
        if self.trouble == "slow":
            time.sleep(SLOW_SECONDS)
        if self.trouble == "503" or (self.trouble == "503 twice" and turn <= 2):
            return httpx.Response(503)
        if self.trouble == "cut once" and turn == 1:
            raise httpx.RemoteProtocolError("cut")
        document = {"access_token": f"t{turn}", "token_type": "DPoP", "expires_in": 300}
        return httpx.Response(200, json=document, headers={"DPoP-Nonce": "n"})


def plane(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200)


def in_threads(auth: SharingAuth, times: int) -> tuple[Counter[str], float]:
    """How so many threads that start at once fare, and the longest wait."""
    with httpx.Client(transport=httpx.MockTransport(plane), auth=auth, timeout=60) as http:
        start = threading.Barrier(times)

        def call(_: int) -> tuple[str, float]:
            start.wait()
            began = time.monotonic()
            try:
                http.get(GATEWAY)
            except GatewayUnavailable:
                return "unavailable", time.monotonic() - began
            return "answered", time.monotonic() - began

        with ThreadPoolExecutor(times) as pool:
            found = list(pool.map(call, range(times)))
    return Counter(outcome for outcome, _ in found), max(seconds for _, seconds in found)


def in_tasks(auth: SharingAuth, times: int, loop: str = "asyncio") -> tuple[Counter[str], float]:
    """How so many tasks on one loop fare, and the longest wait."""
    found: list[tuple[str, float]] = []

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(plane), auth=auth, timeout=60) as http:

            async def call() -> None:
                began, outcome = time.monotonic(), "answered"
                try:
                    await http.get(GATEWAY)
                except GatewayUnavailable:
                    outcome = "unavailable"
                found.append((outcome, time.monotonic() - began))

            async with anyio.create_task_group() as group:
                for _ in range(times):
                    group.start_soon(call)

    anyio.run(run, backend=loop)
    return Counter(outcome for outcome, _ in found), max(seconds for _, seconds in found)


HERDS: dict[str, tuple[Callable[[SharingAuth, int], tuple[Counter[str], float]], int]] = {
    "threads": (in_threads, THREADS),
    "tasks": (in_tasks, TASKS),
    "tasks on trio": (functools.partial(in_tasks, loop="trio"), TASKS),
}


@pytest.mark.parametrize("herd", HERDS)
@pytest.mark.parametrize(
    ("trouble", "requests", "outcome"),
    [
        ("none", 1, "answered"),
        ("503 twice", 3, "answered"),
        ("503", 4, "unavailable"),
        ("slow", 1, "answered"),
        ("cut once", 2, "answered"),
    ],
)
def test_herd_asks_once_and_shares_the_outcome(herd: str, trouble: str, requests: int, outcome: str) -> None:
    """Whoever they are and however many: one fetch, whose outcome is everybody's."""
    endpoint = Endpoint(trouble)
    auth = SharingAuth(CONTROL, "s", KEY, purpose="p", transport=endpoint)
    run, times = HERDS[herd]
    found, longest = run(auth, times)
    print(f"{times} {herd}, endpoint {trouble}: {endpoint.requests} token requests, longest wait {longest:.2f} s")
    assert found == {outcome: times}
    assert endpoint.requests == requests


@pytest.mark.parametrize("herd", HERDS)
def test_herd_at_expiry_waits_for_nobody(herd: str) -> None:
    """When the token is due all go on with it while one renewal runs beside them; when it has ended, one fetch."""
    now = [1_000_000.0]
    endpoint = Endpoint("none")
    auth = SharingAuth(CONTROL, "s", KEY, purpose="p", transport=endpoint, clock=lambda: now[0])
    run, times = HERDS[herd]
    run(auth, 2)
    now[0] += 250
    found, longest = run(auth, times)
    print(f"{times} {herd}, token due: {endpoint.requests - 1} token requests, longest wait {longest:.2f} s")
    assert found == {"answered": times}
    assert endpoint.requests == 2
    now[0] += 400
    found, _ = run(auth, times)
    assert found == {"answered": times}
    assert endpoint.requests == 3


def test_long_run_loses_and_doubles_nothing() -> None:
    """Twenty thousand calls of one client over forty renewals and a withdrawn token: each answered, each made once."""
    now = [1_000_000.0]
    endpoint, made = Endpoint("none"), Counter[str]()
    withdrawn: set[str] = set()

    def answer(request: httpx.Request) -> httpx.Response:
        token = request.headers["Authorization"].partition(" ")[2]
        if token in withdrawn:
            return httpx.Response(401, headers={"WWW-Authenticate": "DPoP"}, request=request)
        made[str(request.url.params["n"])] += 1
        return httpx.Response(200)

    auth = SharingAuth(CONTROL, "s", KEY, purpose="p", transport=endpoint, clock=lambda: now[0])
    calls = 20_000
    with httpx.Client(transport=httpx.MockTransport(answer), auth=auth) as http, ThreadPoolExecutor(4) as pool:

        def call(number: int) -> int:
            if number % 500 == 0:
                now[0] += 240
            if number == calls // 2:
                withdrawn.add(f"t{endpoint.requests}")
            return http.get(GATEWAY, params={"n": number}).status_code

        assert Counter(pool.map(call, range(calls))) == {200: calls}
    assert len(made) == calls
    assert set(made.values()) == {1}
    assert 30 <= endpoint.requests <= 60
