"""The kernel ends a worker that no longer cuts, and a child whose parent has ended; where a loop stands is found."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.control.barrier.pulse import ENDING
from gateway.runtime.supervision.heartbeat import Heartbeat, read_stack
from gateway.runtime.supervision.watch_dog import LOOK_SECONDS, STANDS_SECONDS, Watched
from tests.support.gateways import wait_for

ARMED = """
import os, signal, sys, time
from gateway.control.barrier.lease_clock import lease_clock
from gateway.runtime.worker.kernel_end import KernelEnd
end = KernelEnd()
end.at(lease_clock() + 0.3)
assert end.is_armed
end.at(lease_clock() + 60)
if sys.argv[1] == "never":
    end.at(lease_clock() + 0.3)
    end.never()
    time.sleep(0.5)
    sys.exit(0)
end.at(lease_clock() + 0.3)
os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(60)
"""

PARENT = """
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE)
child.stdout.readline()
os.kill(child.pid, signal.SIGSTOP)
print(child.pid, flush=True)
sys.stdin.read()
"""
CHILD = """
import os, sys, time
from gateway.runtime.supervision.parentage import end_with_parent
assert end_with_parent(int(sys.argv[1]))
print("asked", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("how", "status"), [("stands still", -signal.SIGKILL), ("never", 0)])
def test_barrier_the_kernel_ends_a_worker_that_stands_still(how: str, status: int) -> None:
    """BARRIER: a stopped process is ended at the moment it last set, and one that has said `never` is not."""
    assert subprocess.run([sys.executable, "-c", ARMED, how], timeout=60, check=False).returncode == status


def test_child_ends_with_its_parent_though_it_is_stopped() -> None:
    """A killed supervisor leaves no orphan, and a child that finds another parent than it was told ends itself."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert wait_for(lambda: not Path(f"/proc/{child}").exists() or "Z" in _state(child), 20)
    orphan = subprocess.run([sys.executable, "-c", CHILD, "1"], capture_output=True, timeout=60, check=False)
    assert b"AssertionError" in orphan.stderr
    for pipe in (parent.stdin, parent.stdout):
        assert pipe is not None
        pipe.close()


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_where_a_loop_stands_is_written_down(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The stack of a loop that does not turn is written while it stands, and told once it turns again."""
    monkeypatch.setattr("gateway.runtime.supervision.heartbeat.STACK_SECONDS", 0.2)
    watched = Watched("worker-0")

    def stand_here() -> None:
        deadline = time.monotonic() + 30
        while not read_stack(watched.stack) and time.monotonic() < deadline:
            time.sleep(0.05)

    async def story() -> None:
        heart = Heartbeat(watched.pulse, watched.stack)
        heart.start()
        assert watched.pulse.read().beat > 0
        await asyncio.sleep(0.01)
        stand_here()
        assert "stand_here" in watched.why()
        # The beat that was due comes first.
        await asyncio.sleep(0.05)
        heart.stop()
        assert watched.pulse.read().beat == ENDING

    asyncio.run(story())
    assert "stand_here" in caplog.text
    assert read_stack(watched.stack) == []
    watched.close()


def test_a_stopped_worker_is_told_as_stopped_wherever_its_loop_stood() -> None:
    """A loop that was slow for a moment has its stack written down; a process that was stopped after it is stopped."""
    watched = Watched("worker-0")
    os.pwrite(watched.stack, b'Thread 0x1 (most recent call first):\n  File "a.py", line 7 in slow_once\n', 0)
    assert watched.why() == "its loop stood at a.py:7 slow_once"
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        watched.pid = child.pid
        os.kill(child.pid, signal.SIGSTOP)
        assert wait_for(lambda: watched.why() == "it was stopped", 20)
    finally:
        child.kill()
        child.wait()
        watched.close()


def test_watch_dog_counts_only_what_it_has_seen_itself() -> None:
    """A loop that stands is found after two seconds of looks; a worker that starts, turns or ends is let be."""
    watched = Watched("worker-0")
    looks = range(int(STANDS_SECONDS / LOOK_SECONDS) + 2)
    assert {watched.fault(now=1e9) for _ in looks} == {None}, "it starts"
    watched.is_ready = True
    watched.pulse.beat(1.0)
    assert [watched.fault(now=0.0) for _ in looks][-1] == "loop"
    watched.pulse.beat(2.0)
    assert watched.fault(now=0.0) is None
    watched.pulse.leased(5.0)
    assert watched.fault(now=5.1) is None, "it may be cutting"
    assert watched.fault(now=6.0) == "lease"
    watched.pulse.dried()
    watched.pulse.beat(ENDING)
    assert {watched.fault(now=1e9) for _ in looks} == {None}
    watched.pid = os.getpid()
    assert watched.why() == "its loop did not turn"
    watched.close()
