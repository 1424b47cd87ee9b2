"""Workers that are restarted, or killed, under load: who tries once more has lost nothing."""

import os
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.support.gateways import RunningGateway, running_gateway, wait_for

pytestmark = pytest.mark.deep

CALLERS = 4


class Caller:
    """Calls one after the other until it is stopped, each at most twice."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.answered = 0
        self.retried = 0
        self.lost: list[str] = []
        self._gateway = gateway
        self._number = gateway.population.persons[0]["id_number"]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with self._gateway.client() as client:
            while not self._ended.is_set():
                said = self._once(client)
                if said:
                    self.retried += 1
                    said = self._once(client)
                if said:
                    self.lost.append(said)
                else:
                    self.answered += 1

    def _once(self, client: httpx.Client) -> str:
        """What went wrong, "" for nothing."""
        try:
            answer = client.get("/public-security/persons", params={"id_number": self._number})
        except httpx.TransportError as error:
            return type(error).__name__
        return "" if answer.status_code == 200 else f"{answer.status_code} {answer.text[:120]}"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["drained", "killed"])
def test_restarted_workers_lose_no_call_that_is_tried_once_more(tmp_path: Path, how: signal.Signals) -> None:
    """Each worker in turn ends and starts again under calls: every call is answered, on a second try at most."""
    with running_gateway(tmp_path / "var") as gateway:
        callers = [Caller(gateway) for _ in range(CALLERS)]
        try:
            for round_ in range(6):
                name = f"worker-{round_ % 2}"
                before = gateway.pid(name)
                answered = sum(caller.answered for caller in callers)
                os.kill(before, how)
                assert wait_for(lambda name=name, before=before: _is_another(gateway, name, before), 30)
                assert wait_for(
                    lambda answered=answered: sum(caller.answered for caller in callers) > answered + 20, 30
                ), "the calls have stopped"
                time.sleep(0.3)
        finally:
            for caller in callers:
                caller.stop()
    assert [caller.lost for caller in callers] == [[]] * CALLERS
    assert all(caller.answered for caller in callers)


def _is_another(gateway: RunningGateway, name: str, before: int) -> bool:
    addresses = gateway.home.addresses()
    return bool(addresses) and addresses["children"].get(name) not in (None, before)
