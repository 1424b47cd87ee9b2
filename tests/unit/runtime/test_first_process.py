"""The first process of a PID namespace reaps what nobody waits for, passes signals on and ends as its child does."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.runtime.supervision.first_process import leave_the_first_place
from tests.support.gateways import wait_for

UNSHARE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
ALLOWED = subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
namespaced = pytest.mark.skipif(not ALLOWED, reason="this machine lets nobody make a PID namespace")

ORPHAN = """
import os, pathlib, sys, time
from gateway.runtime.supervision.first_process import leave_the_first_place
leave_the_first_place()
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(0.05)  # by then its parent has ended, and it is the first process's
    os._exit(0)
os.wait()
def zombies():
    return [each.parent.name for each in pathlib.Path("/proc").glob("[0-9]*/stat")
            if each.read_text().rpartition(")")[2].split()[0] == "Z"]
for _ in range(200):
    time.sleep(0.02)
    left = [each for each in pathlib.Path("/proc").glob("[0-9]*") if int(each.name) > 2]
    if not left:
        break
print(os.getpid(), zombies())
sys.exit(7)
"""
WAITING = """
import pathlib, signal, sys
from gateway.runtime.supervision.first_process import leave_the_first_place
leave_the_first_place()
signal.signal(signal.SIGHUP, lambda *_: None)
if sys.argv[2] == "heeds":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
pathlib.Path(sys.argv[1]).write_text("ready")
while True:
    signal.pause()
"""


def test_elsewhere_nothing_happens() -> None:
    """A process that is not the first goes on as it is."""
    before = os.getpid()
    leave_the_first_place()
    assert os.getpid() == before


@namespaced
def test_orphans_are_reaped_and_the_end_is_the_childs() -> None:
    """No zombie is left of a process whose parent has gone; the exit status is the child's."""
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-c", ORPHAN], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.returncode) == ("2 []\n", 7), done.stderr


@namespaced
@pytest.mark.parametrize(("how", "status"), [("heeds", 3), ("dies", 128 + signal.SIGTERM)])
def test_signals_reach_the_child(tmp_path: Path, how: str, status: int) -> None:
    """SIGTERM to the first process ends its child, whether the child heeds it or dies of it."""
    ready = tmp_path / "ready"
    started = subprocess.Popen([*UNSHARE, sys.executable, "-c", WAITING, str(ready), how])
    assert wait_for(ready.exists, 30)
    first = int(Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text("ascii").split()[0])
    os.kill(first, signal.SIGHUP)
    os.kill(first, signal.SIGTERM)
    assert started.wait(30) == status


@namespaced
@pytest.mark.deep
def test_a_gateway_serves_and_drains_as_the_first_process(tmp_path: Path, init: Callable[[Path], None]) -> None:
    """`gateway serve` as the first process: it is ready, ends well on SIGTERM, and nothing is left."""
    init(tmp_path / "var")
    environment = {**os.environ, "GATEWAY_DATA_PLANE__PORT": "0", "GATEWAY_CONTROL__PORT": "0"}
    command = [*UNSHARE, sys.executable, "-m", "gateway", "serve", "--home", str(tmp_path / "var")]
    with (tmp_path / "log").open("wb") as log:
        started = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    assert wait_for(lambda: b"ready" in (tmp_path / "log").read_bytes(), 60), (tmp_path / "log").read_text("utf-8")
    first = int(Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text("ascii").split()[0])
    os.kill(first, signal.SIGTERM)
    assert started.wait(60) == 0, (tmp_path / "log").read_text("utf-8")


@pytest.fixture
def init() -> Callable[[Path], None]:
    def made(home: Path) -> None:
        words = ["init", "--home", str(home), "--region", "442000", "--department", "data-bureau"]
        subprocess.run([sys.executable, "-m", "gateway", *words], check=True, capture_output=True, timeout=60)

    return made
