"""BARRIER through the whole house: not one byte under a grant after the call that stopped it has returned."""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.domain.errors import GatewayError
from tests.support.barrier import arrived_bytes, read_to_end
from tests.support.gateways import RunningGateway, running_gateway, wait_for
from tests.support.streaming import EndlessSupplier, SlowCaller, furnish_endless, grant_document, status_now

pytestmark = pytest.mark.deep

STOP = {"violation": "found in a test", "rectify_by": "2099-12-31"}
LIFT = {"reason": "the next round of the test"}
GRANT = "endless-1"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    supplier = EndlessSupplier()
    with running_gateway(tmp_path_factory.mktemp("home") / "var") as running:
        furnish_endless(running, supplier)
        with running.officer() as api:
            api.post("/v1/grants", grant_document(GRANT))
        yield running
    supplier.close()


@contextlib.contextmanager
def load(gateway: RunningGateway) -> Iterator[None]:
    """Calls under other grants, as many as go, until the block ends."""
    ended = threading.Event()

    def call() -> None:
        with gateway.client() as client:
            while not ended.is_set():
                with contextlib.suppress(httpx.HTTPError):
                    client.get("/public-security/persons", params={"id_number": "440000199001010011"})

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def callers(gateway: RunningGateway, number: int) -> list[SlowCaller]:
    """Callers that stream under the grant; a process that has just been replaced may first need a moment."""
    found: list[SlowCaller] = []

    def more() -> bool:
        with contextlib.suppress(OSError, IndexError, ValueError, httpx.HTTPError):
            caller = SlowCaller(gateway)
            if caller.status == 200:
                found.append(caller)
            else:
                caller.close()
        return len(found) == number

    assert wait_for(more, 20)
    time.sleep(0.3)
    return found


def stop_and_count(gateway: RunningGateway, streaming: list[SlowCaller], key: str) -> list[int]:
    """Suspend; bytes that came to each caller after the call had returned."""
    counted, _ = stop(gateway, streaming, key)
    return counted


def stop(gateway: RunningGateway, streaming: list[SlowCaller], key: str) -> tuple[list[int], dict[str, Any]]:
    """Suspend; bytes that came to each caller after the call had returned, and the barrier's report."""
    while True:
        try:
            with gateway.officer() as api:
                path = f"/v1/grants/{GRANT}/suspension"
                report = api.post(path, STOP, headers={"Idempotency-Key": key})["barrier"]
            break
        except GatewayError as error:
            if error.code not in {"unavailable", "barrier-incomplete"}:
                raise
            time.sleep(0.1)
    in_flight = [arrived_bytes(caller.socket) for caller in streaming]
    counted = [read_to_end(caller.socket) - before for caller, before in zip(streaming, in_flight, strict=True)]
    return counted, report


def lift(gateway: RunningGateway) -> None:
    with gateway.officer() as api:
        api.post(f"/v1/grants/{GRANT}/suspension/lift", LIFT)


def test_barrier_cuts_streaming_answers_under_load(gateway: RunningGateway) -> None:
    """Slow callers' answers are cut with all that the kernel still held, while other calls go on; lifting resumes."""
    with load(gateway):
        for round_ in range(3):
            streaming = callers(gateway, 4)
            counted, report = stop(gateway, streaming, f"plain-round-{round_}")
            assert counted == [0] * 4
            assert (report["confirmed"], report["out"]) == (["worker-0", "worker-1"], []), "all said so, none was ended"
            assert status_now(gateway) == 403
            lift(gateway)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("who", "how"),
    [
        ("worker-0", signal.SIGKILL),
        ("worker-0", signal.SIGSTOP),
        ("control", signal.SIGKILL),
        ("control", signal.SIGSTOP),
    ],
)
def test_barrier_holds_when_a_process_is_lost_at_any_step(
    gateway: RunningGateway, who: str, how: signal.Signals, seed: int
) -> None:
    """A worker or the control process is killed or stopped at a random moment of the call, which is repeated until
    it returns: nothing leaves after that."""
    wait_for(lambda: {"worker-0", "worker-1", "control"} <= set((gateway.home.addresses() or {}).get("children", ())))
    streaming = callers(gateway, 4)
    pid = gateway.pid(who)
    moment = random.Random(seed).uniform(0.0, 0.06)

    def lose() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
        if how is signal.SIGSTOP and who == "control":
            time.sleep(3)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    timer = threading.Timer(moment, lose)
    timer.start()
    try:
        assert stop_and_count(gateway, streaming, f"lost-{who}-{how.name}-{seed}") == [0] * 4
    finally:
        timer.join()
        if how is signal.SIGSTOP:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        lift(gateway)


def test_stale_denies_while_the_control_process_is_stopped(gateway: RunningGateway, tmp_path: Path) -> None:
    """A worker that hears nothing for the freshness limit cuts what streams and answers 503, and comes back."""
    streaming = callers(gateway, 2)
    pid = gateway.pid("control")
    os.kill(pid, signal.SIGSTOP)
    try:
        for caller in streaming:
            read_to_end(caller.socket)
        answer = httpx.get(f"{gateway.data_plane}/public-security/endless", trust_env=False, timeout=10)
        assert answer.status_code in {401, 503}
    finally:
        os.kill(pid, signal.SIGCONT)
    for caller in callers(gateway, 1):
        caller.close()
