"""Kill the ledger at any system call, fail any write, sync, rename or open: nothing answered is lost or doubled.

A child works (`ledger_at_work`), and `strace` injects one fault into it. Then the ledger is opened again, as after a
crash, and compared with what the outside world had seen. `python tests/durability/test_crashes.py [STEP]` prints the
matrix.
"""

import base64
import collections
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.domain.errors import GatewayError
from gateway.ledger.checkpoints import verify_checkpoint
from gateway.ledger.journal import JournalWriter
from gateway.ledger.proofs import Hashes
from gateway.ledger.verify import verify_log
from tests.support.ledger import open_ledger

CHILD = Path(__file__).with_name("ledger_at_work.py")
ROUNDS = 6
CALLS = ("pwrite64", "fdatasync", "fsync", "rename", "openat", "fallocate", "unlink")
FAULTS = ("SIGKILL", "EIO", "ENOSPC")
LAST_OCCURRENCE = 60
MATRIX = [(call, fault) for call in CALLS for fault in FAULTS if not (call == "unlink" and fault == "ENOSPC")]

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there")


class Seen:
    """What the outside world saw of a child: answered records, published checkpoints, and how it ended."""

    def __init__(self, lines, status):
        said = [line.split(" ", 1) for line in lines]
        self.answered = [words[1] for words in said if words[0] == "answered"]
        self.signed = [base64.b64decode(words[1]) for words in said if words[0] == "signed"]
        self.is_done = ["done"] in said
        self.status = status

    @property
    def outcome(self):
        if self.is_done:
            return "went on"
        return "killed" if self.status < 0 else "stopped"


def run_child(ledger, inject=None, kill_after=None):
    """Run the child over `ledger` with one fault injected, or killed after some seconds."""
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(ledger), str(ROUNDS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    tracer = None
    try:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        if inject is not None:
            call, fault, occurrence = inject
            action = f"signal={fault}" if fault.startswith("SIG") else f"error={fault}"
            tracer = subprocess.Popen(
                ["strace", "-f", "-p", str(child.pid), "-o", "/dev/null",
                 "-e", f"trace={call}", "-e", f"inject={call}:{action}:when={occurrence}"],
                stderr=subprocess.PIPE,
                text=True,
            )  # fmt: skip
            assert tracer.stderr is not None
            assert "attached" in tracer.stderr.readline()
        timer = threading.Timer(kill_after, child.kill) if kill_after is not None else None
        if timer is not None:
            timer.start()
        lines, _ = child.communicate("go\n", timeout=60)
        if timer is not None:
            timer.cancel()
        return Seen(lines.splitlines(), child.returncode)
    finally:
        child.kill()
        child.wait()
        if tracer is not None:
            tracer.terminate()
            tracer.communicate()


def check(ledger, seen):
    """Open the ledger again as after a crash, and compare it with what was seen."""
    service = open_ledger(ledger)
    service.prepare()
    with contextlib.suppress(FileNotFoundError):
        journal = JournalWriter(
            ledger,
            "worker-1",
            clock_ns=time.time_ns,
            tell=lambda _waiters, _error: None,
            on_poisoned=lambda _: None,
            low_water_bytes=0,
            segment_bytes=1 << 15,
        )
        journal.close()
    while service.step():
        pass
    size, key = service.log.size, service.log.key
    entries = [json.loads(service.log.files.entry(leaf, size)) for leaf in range(size)]
    hashes = Hashes(size, service.log.files.tile)
    for note in seen.signed:
        checkpoint, _ = verify_checkpoint(note, key)
        assert checkpoint.size <= size, "a published checkpoint is ahead of the log"
        if checkpoint.size:
            assert hashes.span(0, checkpoint.size) == checkpoint.root, "the log was forked"
    service.close()
    assert verify_log(ledger, key.text()).entries == size
    counted = collections.Counter((entry["id"], entry["kind"]) for entry in entries)
    assert max(counted.values(), default=1) == 1, "an entry is in the log twice"
    opened = {record for record, kind in counted if kind == "use.opened"}
    ended = collections.Counter(record for record, kind in counted if kind in {"use.closed", "recovered"})
    assert set(seen.answered) <= opened, "an answered use is lost"
    assert ended == collections.Counter(opened), "a use has no end, or two"


def crash(directory, call, fault, occurrence):
    """One fault, a new start, and the comparison; returns how the child ended."""
    ledger = directory / "ledger"
    seen = run_child(ledger, (call, fault, occurrence))
    check(ledger, seen)
    return seen.outcome


@needs_strace
@pytest.mark.parametrize(
    ("call", "fault", "occurrence"),
    [("fdatasync", "EIO", 2), ("pwrite64", "ENOSPC", 5), ("fsync", "SIGKILL", 9), ("rename", "SIGKILL", 6)],
)
def test_never_forked_nothing_lost_nothing_doubled(tmp_path, call, fault, occurrence):
    """INVARIANT: NEVER-FORKED, RECORD-FIRST: a sample of the matrix; the whole of it is the deep test."""
    crash(tmp_path, call, fault, occurrence)


@needs_strace
@pytest.mark.deep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("call", "fault"), MATRIX)
def test_every_call_and_fault(tmp_path, call, fault):
    """Each call fails or kills at each of its occurrences, until the run ends before the next one."""
    outcomes = collections.Counter()
    for occurrence in range(1, LAST_OCCURRENCE + 1):
        outcome = crash(tmp_path / str(occurrence), call, fault, occurrence)
        outcomes[outcome] += 1
        shutil.rmtree(tmp_path / str(occurrence))
    print(f"{call} {fault}: {dict(outcomes)}")
    assert outcomes["killed"] + outcomes["stopped"] + outcomes["went on"] == LAST_OCCURRENCE


@pytest.mark.parametrize("crashes", [2, pytest.param(25, marks=[pytest.mark.deep, pytest.mark.timeout(900)])])
def test_killed_again_and_again(tmp_path, crashes):
    """One ledger, killed at whatever moment it happens to be, many times over: all of it holds together at the end."""
    lines = []
    for n in range(crashes):
        seen = run_child(tmp_path / "ledger", kill_after=0.12 + 0.03 * (n % 9))
        lines += [f"answered {record}" for record in seen.answered]
        lines += [f"signed {base64.b64encode(note).decode()}" for note in seen.signed]
    check(tmp_path / "ledger", Seen(lines, 0))


def test_a_corrupt_journal_stops_the_start_and_says_where(tmp_path):
    """What had been confirmed is never cut off quietly: the gateway says where it is broken, and does not start."""
    seen = run_child(tmp_path / "ledger")
    assert seen.outcome == "went on"
    (*_, path) = sorted((tmp_path / "ledger" / "journal" / "worker-1").glob("*.journal"))
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with pytest.raises(GatewayError, match="corrupt at byte"):
        check(tmp_path / "ledger", seen)


def main():
    """Run the matrix, every nth occurrence of each call (1 unless said), and print it."""
    step = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    print(f"{'call':10} {'fault':8} {'killed':>7} {'stopped':>8} {'went on':>8}   lost  doubled  forked")
    for call, fault in MATRIX:
        outcomes = collections.Counter()
        for occurrence in range(1, LAST_OCCURRENCE + 1, step):
            with tempfile.TemporaryDirectory() as directory:
                outcomes[crash(Path(directory), call, fault, occurrence)] += 1
        killed, stopped, on = outcomes["killed"], outcomes["stopped"], outcomes["went on"]
        print(f"{call:10} {fault:8} {killed:7} {stopped:8} {on:8}      0        0       0", flush=True)


if __name__ == "__main__":
    main()
