"""/readyz says ready while a use can be served, and no longer: what fails is named, and what does not matter is not."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateways import RunningGateway, running_gateway, wait_for
from tests.support.postgres import running_postgres

PERSONS = "/public-security/persons"


def ready(gateway: RunningGateway) -> tuple[int, list[str]]:
    """The status of /readyz, and the parts that do not work."""
    answer = httpx.get(f"{gateway.control}/readyz", trust_env=False, timeout=30)
    return answer.status_code, [part for part, works in answer.json()["parts"].items() if not works]


def is_ready(gateway: RunningGateway, seconds: float = 30) -> bool:
    """Whether every part works within that time: on a machine short of processors a lease may lapse for a moment."""
    return bool(wait_for(lambda: ready(gateway) == (200, []), seconds))


def call(client: httpx.Client) -> tuple[int, str]:
    """Status and problem of a use."""
    answer = client.get(PERSONS, params={"id_number": "x"})
    return answer.status_code, "" if answer.status_code == 200 else answer.json()["type"]


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Those processes stand still meanwhile; one that was ended for it is no matter."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def status(gateway: RunningGateway) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "status", "--home", str(gateway.home.root)]
    settings = {**os.environ, "GATEWAY_SUPPLIERS__NETWORKS": "127.0.0.0/8"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=settings)


@pytest.mark.deep
def test_uses_go_on_without_the_ledger_process(tmp_path: Path) -> None:
    """Records go into the journals: ready stays true because uses are served, and `gateway status` names the fault."""
    with running_gateway(tmp_path / "var", GATEWAY_LOG__LEVEL="debug") as gateway, gateway.client() as client:
        assert is_ready(gateway)
        assert call(client) == (200, "")
        with stopped(gateway.pid("ledger")):
            assert call(client) == (200, "")
            assert is_ready(gateway)
            seen = status(gateway)
        assert seen.returncode == 1
        assert "the ledger process does not answer" in seen.stdout
        assert wait_for(lambda: status(gateway).returncode == 0)
        person = gateway.population.persons[1]
        answer = client.get(PERSONS, params={"id_number": person["id_number"]})
        record = answer.headers["Sharing-Record"]
        assert wait_for(lambda: record in gateway.log.read_text("utf-8"))
        text = gateway.log.read_text("utf-8")
    # At its most talkative, the log names each use by record and trace, and no value (NO-VALUES).
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    ended = next(line for line in lines if line.get("record") == record)
    assert (ended["process"][:7], ended["code"], len(ended["trace"])) == ("worker-", "complete", 32)
    assert [mark for mark in (person["id_number"], person["name"], "Bearer", "eyJ") if mark in text] == []


def test_full_disk_is_not_ready(tmp_path: Path) -> None:
    """RECORD-FIRST: below the low-water mark no use is served, and the probe says so as soon as the gateway is up.

    Officers' acts go on below it: what furnishes this gateway is recorded.
    """
    mark = 2 * shutil.disk_usage(tmp_path).free
    with running_gateway(tmp_path / "var", GATEWAY_LEDGER__LOW_WATER_BYTES=str(mark)) as gateway:
        assert wait_for(lambda: ready(gateway) == (503, ["records"]))
        with gateway.client() as client:
            assert call(client) == (503, "/problems/records-unavailable")
        assert gateway.suppliers["public-security"].calls == 0
        seen = status(gateway)
        assert seen.returncode == 1
        assert "no worker can record a use" in seen.stdout
        assert "free or add disk" in seen.stdout


@pytest.mark.deep
def test_no_worker_with_a_lease_is_not_ready(tmp_path: Path) -> None:
    """One worker that hangs leaves the other; both leave nobody; ready again once they are back or replaced."""
    with running_gateway(tmp_path / "var") as gateway:
        with stopped(gateway.pid("worker-0")):
            assert is_ready(gateway)
            with stopped(gateway.pid("worker-1")):
                assert wait_for(lambda: ready(gateway) == (503, ["workers", "records"]))
        assert is_ready(gateway)


@pytest.mark.deep
def test_database_that_is_gone_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """STALE-DENIES: nobody serves without the state; it comes back by itself with the database."""
    with running_postgres() as postgres:
        monkeypatch.setenv("GATEWAY_STATE__URL", postgres.url(postgres.create_database()))
        with running_gateway(tmp_path / "var") as gateway, gateway.client() as client:
            assert call(client) == (200, "")
            postgres.stop(signal.SIGQUIT)

            def is_out() -> Any:
                code, parts = ready(gateway)
                return code == 503 and "state" in parts

            assert wait_for(is_out, 30)
            assert wait_for(lambda: call(client) == (503, "/problems/state-stale"))
            postgres.start()
            assert is_ready(gateway, 60)
            assert wait_for(lambda: call(client) == (200, ""), 30)
