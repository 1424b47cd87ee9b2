"""Kill the ledger at any system call, fail any write, sync, rename or open: nothing answered is lost or doubled.

A child works (`ledger_at_work`), and `strace` injects one fault into it. Then the ledger is opened again, as after a
crash, and compared with what the outside world had seen.
`python tests/durability/test_crashes.py [STEP] [TASKS] [CALLS]` prints the matrix; whole (some 4,500 faults) it takes
an hour and a half on two cores; tasks and calls share it out. `tests/bench/results/crashes.txt` is the last whole run.
The deep test takes a sample of every row.
"""

import asyncio
import base64
import collections
import contextlib
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.domain.errors import GatewayError
from gateway.ledger.index.queries import RecordQuery
from gateway.ledger.journal.writer import JournalWriter
from gateway.ledger.log.checkpoints import verify_checkpoint
from gateway.ledger.log.minimum import minimum_index
from gateway.ledger.log.proofs import Hashes
from gateway.ledger.verify.record import verify_log
from tests.durability.ledger_at_work import NEVER_CLOSED
from tests.support.ledger import NOON_NS, City, ledger_with, open_ledger, record_uses

CHILD = Path(__file__).with_name("ledger_at_work.py")
CALLS = (
    "pwrite64",
    "write",
    "fdatasync",
    "fsync",
    "msync",
    "rename",
    "openat",
    "fallocate",
    "ftruncate",
    "unlink",
    "mkdir",
    "chmod",
    "fchown",
)
FAULTS = ("SIGKILL", "EIO", "ENOSPC")
TASKS = ("uses", "writer", "log", "prune")
ANY_CALL = "all"
ANY_CALL_STEP = 37
"""A run makes thousands of calls that change nothing; each 37th is enough beside every one that does.

`strace` counts each call by itself, and each thread's: `writer` is there so that the journal's own thread, which makes
fewer calls than the one that integrates, meets every one of its faults too.
"""
SPREAD = 4
"""Each occurrence the deep test takes of a row is so many times the one before."""
MATRIX = [(task, call, fault) for task in TASKS for call in CALLS for fault in FAULTS]
MATRIX += [(task, ANY_CALL, "SIGKILL") for task in TASKS]

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there")


class Seen:
    """What the outside world saw of a child: answered records, published checkpoints, prunes, and how it ended."""

    def __init__(self, lines=(), status=0, *, injected=False):
        said = [line.split(" ") for line in lines]
        self.answered = {words[1]: words[2] for words in said if words[0] == "answered" and len(words) == 3}
        self.signed = [base64.b64decode(words[1]) for words in said if words[0] == "signed"]
        self.pruned = max([0, *(int(words[1]) for words in said if words[0] == "pruned")])
        self.stays = {}
        self.is_done = ["done"] in said
        self.status = status
        self.injected = injected or status == -9

    @property
    def outcome(self):
        if not self.injected:
            return "not reached"
        if self.is_done:
            return "went on"
        return "killed" if self.status < 0 else "stopped"

    def add(self, other):
        """What was seen of another child over the same ledger."""
        self.answered |= other.answered
        self.signed += other.signed
        self.stays |= other.stays
        self.pruned = max(self.pruned, other.pruned)


def run_child(ledger, task="uses", inject=None, kill_after=None):
    """Run the child over `ledger` with one fault injected, or killed after some seconds."""
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(ledger), task],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    tracer = None
    trace = ledger.with_name("trace")
    try:
        assert child.stdout is not None
        assert child.stdin is not None
        ready, thread = child.stdout.readline().split()
        assert ready == "ready"
        if inject is not None:
            call, fault, occurrence = inject
            action = f"signal={fault}" if fault.startswith("SIG") else f"error={fault}"
            tracer = subprocess.Popen(
                ["strace", *(["-p", thread] if thread != "0" else ["-f", "-p", str(child.pid)]), "-o", str(trace),
                 "-e", f"trace={call}", "-e", f"inject={call}:{action}:when={occurrence}"],
                stderr=subprocess.PIPE,
                text=True,
            )  # fmt: skip
            assert tracer.stderr is not None
            assert "attached" in tracer.stderr.readline()
        timer = threading.Timer(kill_after, child.kill) if kill_after is not None else None
        if timer is not None:
            timer.start()
        lines, _ = child.communicate("go\n", timeout=90)
        if timer is not None:
            timer.cancel()
    finally:
        child.kill()
        child.wait()
        if tracer is not None:
            tracer.terminate()
            tracer.communicate()
    injected = trace.exists() and "INJECTED" in trace.read_text(errors="replace")
    return Seen(lines.splitlines(), child.returncode, injected=injected)


def check(ledger, seen):
    """Open the ledger again as after a crash, and compare it with what was seen; returns how many uses it holds."""
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
    gone = minimum_index(ledger / "tree")
    entries = [json.loads(service.log.files.entry(leaf, size)) for leaf in range(gone, size)]
    hashes = Hashes(size, service.log.files.tile)
    for note in seen.signed:
        checkpoint, _ = verify_checkpoint(note, key)
        assert checkpoint.size <= size, "a published checkpoint is ahead of the log"
        if checkpoint.size:
            assert hashes.span(0, checkpoint.size) == checkpoint.root, "the log was forked"
    rows = service.index.leaves(RecordQuery())[0]
    stays = {leaf: entry for leaf, entry in seen.stays.items() if leaf < gone}
    assert {leaf: service.log.files.entry(leaf, size) for leaf in stays} == stays, "what had to stay went"
    service.close()
    assert verify_log(ledger, key.text()).entries == size - gone + len(stays)
    assert gone >= seen.pruned, "what was told to be gone is back"
    below = {leaf for pair in rows for leaf in pair if leaf is not None and leaf < gone}
    assert below == set(stays), "the index holds what was pruned, or lacks what stays"
    counted = collections.Counter((entry["id"], entry["kind"]) for entry in entries)
    assert max(counted.values(), default=1) == 1, "an entry is in the log twice"
    opened = {entry["id"]: entry["request"] for entry in entries if entry["kind"] == "use.opened"}
    ended = collections.Counter(record for record, kind in counted if kind in {"use.closed", "recovered"})
    if gone:
        return len(opened)
    assert seen.answered.items() <= opened.items(), "an answered use is lost, or another than was answered"
    assert ended == collections.Counter(list(opened)), "a use has no end, or two"
    if seen.is_done:
        left_open = {record for record, kind in counted if kind == "recovered"}
        assert not {record for record in seen.answered if not record.endswith("7")} & left_open, "a closing is lost"
    assert len({leaf for leaf, _ in rows}) == len(rows), "the index holds a record twice"
    assert len(rows) == len({record for record, _ in counted}), "the index lacks a record"
    return len(opened)


def prepared(directory, task):
    """A ledger as `task` finds it, and what was seen of it before."""
    ledger = directory / "ledger"
    seen = Seen()
    if task == "log":
        city = City(3)
        uses = [city.use(time.time_ns()) for _ in range(700)]
        directory.mkdir(parents=True, exist_ok=True)
        records = asyncio.run(record_uses(ledger, uses, city, segment_bytes=1 << 16))
        assert len(records) == len(uses)
    elif task == "prune":
        city = City(3)
        service = ledger_with(ledger, list(City(3).entries(2400, start_ns=NOON_NS)), commit=4096)
        service.index.flush()
        seen.signed.append(service.log.files.checkpoint())
        size = service.log.size
        for first, last in service.index.leaves(RecordQuery(kinds=("use",), grant=NEVER_CLOSED))[0]:
            seen.stays |= {leaf: service.log.files.entry(leaf, size) for leaf in (first, last)}
        service.close()
    return ledger, seen


def crash(directory, task, call, fault, occurrence):
    """One fault, a new start, and the comparison; returns how the child ended."""
    directory.mkdir(parents=True, exist_ok=True)
    ledger, seen = prepared(directory, task)
    child = run_child(ledger, task, (call, fault, occurrence))
    child.add(seen)
    check(ledger, child)
    if task == "prune" and not child.is_done:
        # Asked for again, or begun already: the officer gets it done.
        again = run_child(ledger, task)
        assert again.is_done, "a prune that was interrupted cannot be done"
        again.add(seen)
        check(ledger, again)
        assert minimum_index(ledger / "tree") > 0
    return child.outcome


def occurrences(call, step=1):
    """Which occurrences of a call are tried; who asks stops at the first that the run does not reach."""
    return itertools.count(1, ANY_CALL_STEP * step if call == ANY_CALL else step)


def sampled(row):
    """A few occurrences over the whole of a run, each row's its own: the early ones densely, the late ones rarely."""
    first = 1 + zlib.crc32(" ".join(row).encode()) % 3
    return (first * SPREAD**power for power in itertools.count())


@needs_strace
@pytest.mark.parametrize(
    ("task", "call", "fault", "occurrence"),
    [
        ("uses", "fdatasync", "EIO", 2),
        ("uses", "pwrite64", "ENOSPC", 5),
        ("log", "fsync", "SIGKILL", 9),
        ("log", "rename", "SIGKILL", 6),
        ("prune", "unlink", "SIGKILL", 3),
    ],
)
def test_never_forked_nothing_lost_nothing_doubled(tmp_path, task, call, fault, occurrence):
    """INVARIANT: NEVER-FORKED, RECORD-FIRST: a sample of the matrix; the whole of it is the deep test."""
    assert crash(tmp_path / "run", task, call, fault, occurrence) in {"killed", "stopped"}


@needs_strace
@pytest.mark.deep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("task", "call", "fault"), MATRIX)
def test_every_call_and_fault(tmp_path, task, call, fault):
    """Each call fails or kills at some of its occurrences, until the run ends before the next one."""
    outcomes = collections.Counter()
    for occurrence in sampled((task, call, fault)):
        outcome = crash(tmp_path / str(occurrence), task, call, fault, occurrence)
        shutil.rmtree(tmp_path / str(occurrence))
        if outcome == "not reached":
            break
        outcomes[outcome] += 1
    print(f"{task} {call} {fault}: {dict(outcomes)}")


@pytest.mark.parametrize("crashes", [2, pytest.param(25, marks=[pytest.mark.deep, pytest.mark.timeout(900)])])
def test_killed_again_and_again(tmp_path, crashes):
    """One ledger, killed at whatever moment it happens to be, many times over: all of it holds together at the end."""
    seen = Seen()
    for n in range(crashes):
        seen.add(run_child(tmp_path / "ledger", kill_after=0.12 + 0.03 * (n % 9)))
    check(tmp_path / "ledger", seen)


def test_a_corrupt_journal_stops_the_start_and_says_where(tmp_path):
    """What had been confirmed is never cut off quietly: the gateway says where it is broken, and does not start."""
    seen = run_child(tmp_path / "ledger")
    assert seen.is_done
    (*_, path) = sorted((tmp_path / "ledger" / "journal" / "worker-1").glob("*.journal"))
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with pytest.raises(GatewayError, match="corrupt at byte"):
        check(tmp_path / "ledger", seen)


def main():
    """Run the matrix, every nth occurrence of each call (1 unless said), and print it; status 1 if anything broke."""
    step = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    tasks = sys.argv[2].split(",") if len(sys.argv) > 2 else TASKS
    calls = sys.argv[3].split(",") if len(sys.argv) > 3 else (*CALLS, ANY_CALL)
    total, broken = 0, []
    print(f"{'task':6} {'call':10} {'fault':8} {'killed':>7} {'stopped':>8} {'went on':>8} {'broken':>7}")
    for task, call, fault in MATRIX:
        if task not in tasks or call not in calls:
            continue
        outcomes = collections.Counter()
        for occurrence in occurrences(call, step):
            with tempfile.TemporaryDirectory() as directory:
                try:
                    outcome = crash(Path(directory) / "run", task, call, fault, occurrence)
                except (AssertionError, GatewayError) as error:
                    outcome = "broken"
                    broken.append(f"{task} {call} {fault} {occurrence}: {error}")
            if outcome == "not reached":
                break
            outcomes[outcome] += 1
        total += outcomes.total()
        counts = [outcomes[each] for each in ("killed", "stopped", "went on", "broken")]
        print(f"{task:6} {call:10} {fault:8} {counts[0]:7} {counts[1]:8} {counts[2]:8} {counts[3]:7}", flush=True)
    print(f"{total} faults injected, {len(broken)} broke a promise", *broken, sep="\n")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
