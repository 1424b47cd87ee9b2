"""Durability by a disk that loses power: the journal's calls are recorded, and cut after every one."""

import subprocess
import sys
import threading

import pytest

from gateway.ledger import durable
from gateway.ledger.journal import writer as writing
from gateway.ledger.journal.segments import SegmentReader
from gateway.ledger.journal.writer import JournalWriter, journal_directory
from tests.support.power import WAYS, Disk, put_back

WRITER = "worker-1"
SEGMENT_BYTES = 4096


def entry(number):
    return b'{"id":"run-%d","kind":"grant","retain_until":"2029-01-01","time":1000000000000000000,"x":"%s"}' % (
        number,
        b"y" * 700,
    )


def opened(folder, told):
    return JournalWriter(
        folder,
        WRITER,
        clock_ns=lambda: 10**18,
        tell=lambda waiters, error: told(0 if error else len(waiters)),
        on_poisoned=lambda _: None,
        segment_bytes=SEGMENT_BYTES,
        low_water_bytes=0,
    )


def record(root, monkeypatch, batches=12, **options):
    """Entries through a journal, one to three at a time; the cuts, each with what had been confirmed by then."""
    confirmed, room = [0], threading.Semaphore(0)

    def told(count):
        confirmed[0] += count
        for _ in range(count):
            room.release()

    with monkeypatch.context() as patch:
        disk = Disk(root, patch, lambda: confirmed[0], **options)
        journal = opened(root, told)
        number = 0
        for batch in range(batches):
            some = [entry(number + at) for at in range(1 + batch % 3)]
            number += len(some)
            for each in some:
                journal.put((each, object(), "", 0))
            for _ in some:
                assert room.acquire(timeout=30)
        journal.close()
    return disk.cuts, [entry(each) for each in range(number)]


def require_all_confirmed(cuts, entries, way, folder):
    """After a loss at each cut the journal opens, and holds what was confirmed, in order, and nothing else."""
    for at, (call, confirmed, survived) in enumerate(cuts):
        root = folder / f"{at}"
        put_back(survived[way], root)
        opened(root, lambda _count: None).close()
        reader = SegmentReader(journal_directory(root, WRITER), 0)
        found = []
        while some := reader.read(1 << 20):
            found += some
        reader.close()
        assert len(found) >= confirmed, f"power lost after call {at}, {call}: {confirmed} confirmed, {len(found)} left"
        assert found == entries[: len(found)]


@pytest.mark.parametrize("way", [WAYS[0], *(pytest.param(way, marks=pytest.mark.deep) for way in WAYS[1:])])
def test_what_was_confirmed_survives_a_loss_of_power_at_every_call(tmp_path, monkeypatch, way):
    """INVARIANT RECORD-FIRST: whatever of the unsynced survives besides."""
    root = tmp_path / "ledger"
    root.mkdir()
    cuts, entries = record(root, monkeypatch)
    assert len({call for call, _, _ in cuts} & {"pwrite", "fsync", "fdatasync", "rename"}) == 4
    assert cuts[-1][1] == len(entries)
    require_all_confirmed(cuts, entries, way, tmp_path)


def not_synced(*_args):
    return None


@pytest.mark.parametrize("left_out", ["the entries", "a new segment's folder", "the journal's own folder"])
def test_a_sync_that_is_left_out_is_seen(tmp_path, monkeypatch, left_out):
    """The harness finds each loss that the syncs are there for."""
    root = tmp_path / "ledger"
    root.mkdir()
    lies = frozenset({"fdatasync"} if left_out == "the entries" else ())
    with monkeypatch.context() as patch:
        if left_out == "a new segment's folder":
            patch.setattr(writing, "sync_directory", not_synced)
        elif left_out == "the journal's own folder":
            patch.setattr(durable, "sync_directory", not_synced)
        cuts, entries = record(root, patch, lies=lies)
    with pytest.raises(AssertionError, match="power lost after call"):
        require_all_confirmed(cuts, entries, "nothing unsynced", tmp_path)


WRITE = """
import os, sys
from gateway.domain.directory import Department, Level
from gateway.store import Store

def here(name):
    try:
        os.stat(f"/here/{name}")
    except FileNotFoundError:
        pass

with Store.open(f"sqlite:///{sys.argv[1]}") as store:
    here("act")
    with store.transaction() as tx:
        tx.put_department(Department("civil", "民政局", "442000", Level.CITY))
    here("acted")
    store.use_once("jti", "a", 2_000_000_000)
    here("used")
"""


def test_an_act_is_synced_before_it_returns(tmp_path):
    """What SQLite asks the kernel for, seen from outside: an act's transaction syncs its log; a brief one need not."""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,stat,newfstatat", "-o", trace]
    subprocess.run([*command, sys.executable, "-c", WRITE, tmp_path / "state.db"], check=True, capture_output=True)
    lines = trace.read_text().splitlines()
    at = [next(n for n, line in enumerate(lines) if f'/here/{name}"' in line) for name in ("act", "acted")]
    act = [line for line in lines[at[0] : at[1]] if "sync(" in line]
    assert any("state.db-wal" in line for line in act), act
