"""Processes that stand still or are killed on a running gateway: nobody waits for ever, and no orphan stays."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.gateways import RunningGateway, running_gateway, wait_for

pytestmark = pytest.mark.deep


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path_factory.mktemp("lost") / "var") as running:
        yield running


def pids(gateway: RunningGateway) -> dict[str, int]:
    return dict((gateway.home.addresses() or {}).get("children", {}))


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_stale_denies_from_a_workers_first_moment_while_control_stands_still(gateway: RunningGateway) -> None:
    """STALE-DENIES: a worker that starts while the control process is away answers 503; no call hangs."""
    wait_for(lambda: len(pids(gateway)) == 4)
    control, worker = gateway.pid("control"), gateway.pid("worker-0")
    os.kill(control, signal.SIGSTOP)
    try:
        os.kill(worker, signal.SIGKILL)
        assert wait_for(lambda: pids(gateway).get("worker-0") not in {None, worker}, 60), "it starts all the same"
        for _ in range(16):
            answer = httpx.get(f"{gateway.data_plane}/public-security/persons", trust_env=False, timeout=20)
            assert answer.status_code in {401, 503}
    finally:
        os.kill(control, signal.SIGCONT)


def test_a_worker_that_stands_still_is_replaced_without_a_stop(gateway: RunningGateway) -> None:
    """A stopped worker is ended and replaced by itself, and the log says why."""
    worker = gateway.pid("worker-1")
    os.kill(worker, signal.SIGSTOP)
    assert wait_for(lambda: pids(gateway).get("worker-1") not in {None, worker}, 60)
    assert wait_for(lambda: "is ended and replaced" in gateway.log.read_text("utf-8"), 10)
    assert "it was stopped" in gateway.log.read_text("utf-8")


def test_killed_supervisor_leaves_nobody_and_the_next_starts_at_once(gateway: RunningGateway) -> None:
    """While it lives a second `serve` is refused with the names of all that run; when it is killed, while a worker of
    its stands still, all end with it and `serve` starts."""
    command = [sys.executable, "-m", "gateway", "serve", "--home", str(gateway.home.root)]
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 1
    for name in ("the supervisor (process ", "control (process ", "ledger (process ", "worker-0 (process "):
        assert name in again.stderr
    assert wait_for(lambda: len(pids(gateway)) == 4)
    children = pids(gateway)
    os.kill(children["worker-0"], signal.SIGSTOP)
    assert gateway._process is not None
    gateway._process.kill()
    gateway._process.wait()
    gateway.home.addresses_file.unlink()
    gateway.start()
    try:
        assert all(map(is_gone, children.values()))
        assert not set(pids(gateway).values()) & set(children.values())
    finally:
        for pid in children.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
