"""The journal: durable before it is told, poisoned after a failed sync, repaired at its torn end alone."""

import asyncio
import errno
import json
import os
import random
import shutil
import threading
import time

import pytest

from gateway.domain.errors import GatewayError
from gateway.domain.uses import RecordKind
from gateway.ledger.journal import frames
from gateway.ledger.journal import writer as journals
from gateway.ledger.journal import writer as writer_module
from gateway.ledger.journal.acts import ActJournal, acts_low_water_bytes
from gateway.ledger.journal.marks import confirmed_sequence, segment_paths
from gateway.ledger.journal.segments import SegmentReader, Watermark, recover
from gateway.ledger.journal.uses import UseJournal
from gateway.ledger.journal.writer import JournalWriter, journal_directory
from tests.support.ledger import City, record_uses

WRITER = "worker-1"


def write(directory, payloads, *, segment_bytes=1 << 16, **options):
    """Write `payloads` through a journal, one batch or many as it comes, and wait until all are durable."""
    told = threading.Semaphore(0)
    journal = JournalWriter(
        directory,
        WRITER,
        clock_ns=time.time_ns,
        tell=lambda waiters, error: [told.release() for _ in waiters if error is None],
        on_poisoned=lambda _: None,
        segment_bytes=segment_bytes,
        low_water_bytes=0,
        **options,
    )
    for at in range(0, len(payloads), 20):
        some = payloads[at : at + 20]
        for payload in some:
            journal.put((payload, object(), "", 0))
        for _ in some:
            assert told.acquire(timeout=20)
    return journal


def entry(n, kind="grant", size=0):
    return json.dumps(
        {"id": f"run-{n}", "kind": kind, "retain_until": "2029-01-01", "time": 10**18, "x": "y" * size}
    ).encode()


def read_all(directory, sequence=0):
    reader = SegmentReader(journal_directory(directory, WRITER), sequence)
    taken = []
    while some := reader.read(1 << 16):
        taken += some
    reader.close()
    return taken


def test_what_was_confirmed_is_read_in_order_across_segments(tmp_path):
    """A reader behind the writer gets every confirmed entry once, in order, whatever segment it stands in."""
    payloads = [entry(n, size=n % 700) for n in range(2000)]
    write(tmp_path, payloads).close()
    assert len(segment_paths(journal_directory(tmp_path, WRITER))) > 5
    assert read_all(tmp_path) == payloads
    assert read_all(tmp_path, 1234) == payloads[1234:]


def test_a_segment_is_written_to_for_a_while_alone(tmp_path, monkeypatch):
    """Then another one begins, behind what was written, and none behind an empty one; what is read stays the same."""
    monkeypatch.setattr(writer_module, "SEGMENT_SECONDS", 0.0)
    monkeypatch.setattr(writer_module, "_IDLE_LOOK_SECONDS", 0.001)
    payloads = [entry(n) for n in range(60)]
    journal = write(tmp_path, payloads)
    paths = segment_paths(journal.directory)
    assert 3 < len(paths) <= 61
    time.sleep(0.05)  # some fifty looks, each of which finds nothing written
    assert segment_paths(journal.directory) == paths
    journal.close()
    assert read_all(tmp_path) == payloads
    write(tmp_path, payloads[:1]).close()
    assert read_all(tmp_path) == [*payloads, payloads[0]]


def test_an_entry_larger_than_a_segment_gets_one_of_its_own(tmp_path):
    """No entry is too large for the journal that fits a bundle."""
    payloads = [entry(1), entry(2, size=60_000), entry(3)]
    write(tmp_path, payloads, segment_bytes=8192).close()
    assert read_all(tmp_path) == payloads


def test_record_first(tmp_path):
    """INVARIANT: RECORD-FIRST: when a waiter is told, its frame stands in the file and the sync has returned."""
    synced = []
    real = os.fdatasync

    def watch(fd):
        real(fd)
        synced.append(os.pread(fd, 1 << 20, 0))

    seen = []
    os.fdatasync = watch
    try:
        journal = JournalWriter(
            tmp_path,
            WRITER,
            clock_ns=time.time_ns,
            tell=lambda waiters, error: seen.extend((waiter, error, waiter in synced[-1]) for waiter in waiters),
            on_poisoned=lambda _: None,
            segment_bytes=1 << 16,
            low_water_bytes=0,
        )
        for n in range(200):
            payload = entry(n)
            journal.put((payload, payload, "", 0))
        journal.close()
    finally:
        os.fdatasync = real
    assert len(seen) == 200
    assert all(error is None and is_there for _, error, is_there in seen)


def test_a_failed_sync_poisons_and_fails_every_waiter(tmp_path, monkeypatch):
    """After a failed sync nobody is told of success, nothing is synced again, and a new start loses nothing told."""
    city, calls = City(), []

    async def story():
        loop = asyncio.get_running_loop()
        poisoned = loop.create_future()
        journal = UseJournal(
            tmp_path,
            WRITER,
            loop=loop,
            clock_ns=time.time_ns,
            on_poisoned=poisoned.set_result,
            segment_bytes=1 << 16,
            low_water_bytes=0,
        )
        first = loop.create_future()
        told = journal.opened(city.use(), first.set_result)
        assert await first is None

        def fail(fd):
            calls.append(fd)
            raise OSError(errno.EIO, "injected")

        monkeypatch.setattr(os, "fdatasync", fail)
        waiters = [loop.create_future() for _ in range(5)]
        for waiter in waiters:
            journal.opened(city.use(), waiter.set_result)
        assert all(isinstance(error, OSError) for error in await asyncio.gather(*waiters))
        assert (await poisoned).errno == errno.EIO
        assert journal.is_poisoned
        with pytest.raises(GatewayError, match="takes no more records"):
            journal.opened(city.use(), lambda _: None)
        journal.closed(told, city.use(), city.outcome(city.use()))
        journal.close()
        assert len(calls) == 1
        return told

    told = asyncio.run(story())
    monkeypatch.undo()
    journal = write(tmp_path, [])
    journal.close()
    said = [json.loads(content) for content in read_all(tmp_path)]
    assert [each["kind"] for each in said if each["id"] == told] == ["use.opened", "recovered"]


def test_uses_that_were_open_are_recovered_once(tmp_path):
    """A use open when its worker died gets one `recovered`, also where its opening is in a recycled segment."""
    city = City()
    records = asyncio.run(record_uses(tmp_path, [city.use() for _ in range(40)], city, close=False))
    directory = journal_directory(tmp_path, WRITER)
    journal = write(tmp_path, [])
    assert sorted(journal.recovered.open) == sorted(records)
    journal.close()
    for path in segment_paths(directory)[:-1]:
        path.unlink()
    kinds = [json.loads(content)["kind"] for content in read_all(tmp_path, 40)]
    assert kinds == ["recovered"] * 40
    again = write(tmp_path, [])
    assert not again.recovered.open
    again.close()


def test_open_uses_are_carried_over_segments(tmp_path):
    """Which uses are open stands at the head of each segment, so that older segments can go."""
    city = City()

    async def story():
        loop = asyncio.get_running_loop()
        journal = UseJournal(
            tmp_path,
            WRITER,
            loop=loop,
            clock_ns=time.time_ns,
            on_poisoned=print,
            segment_bytes=1 << 14,
            low_water_bytes=0,
        )
        long = journal.opened(city.use(), lambda _: None)
        for _ in range(100):
            use = city.use()
            journal.closed(journal.opened(use, lambda _: None), use, city.outcome(use))
        journal.close()
        return long

    long = asyncio.run(story())
    paths = segment_paths(journal_directory(tmp_path, WRITER))
    for path in paths[:-1]:
        path.unlink()
    recovered = recover(journal_directory(tmp_path, WRITER))
    assert recovered.open == {long: 3}
    assert recovered.sequence == 201


def test_two_writers_of_one_name_are_refused(tmp_path):
    """One folder, one process at a time."""
    journal = write(tmp_path, [entry(1)])
    with pytest.raises(GatewayError, match="in use by another process"):
        write(tmp_path, [], lock_seconds=0)
    journal.close()
    write(tmp_path, []).close()


def test_new_uses_are_refused_before_the_disk_is_full(tmp_path):
    """Below the low-water mark no use is opened; what is open can still be closed."""
    city = City()

    async def story():
        journal = UseJournal(
            tmp_path,
            WRITER,
            loop=asyncio.get_running_loop(),
            clock_ns=time.time_ns,
            on_poisoned=print,
            segment_bytes=1 << 14,
            low_water_bytes=1 << 60,
        )
        with pytest.raises(GatewayError, match="nearly full") as refusal:
            journal.opened(city.use(), lambda _: None)
        assert refusal.value.code == "records-unavailable"
        journal.close()

    asyncio.run(story())


def test_what_was_refused_for_want_of_disk_goes_on_once_there_is_room(tmp_path, monkeypatch, caplog):
    """Uses and acts are refused while the disk is low, and taken again when it is free; the log says both."""
    free = [1 << 40]
    monkeypatch.setattr(journals, "free_bytes", lambda _: free[0])
    monkeypatch.setattr(journals, "_DISK_LOOK_SECONDS", -1.0)
    low_water_bytes = 1 << 30
    city = City()

    async def story():
        loop = asyncio.get_running_loop()
        uses = UseJournal(
            tmp_path, WRITER, loop=loop, clock_ns=time.time_ns, on_poisoned=print, low_water_bytes=low_water_bytes
        )
        acts = ActJournal(
            tmp_path, "control", clock_ns=time.time_ns, low_water_bytes=acts_low_water_bytes(low_water_bytes)
        )

        async def use():
            durable = loop.create_future()
            uses.opened(city.use(), durable.set_result)
            assert await durable is None

        free[0] = low_water_bytes - 1
        await use()  # the look follows a sync
        acts.append(RecordKind.ORDER, {"act": "suspend"})
        for _ in range(2):
            assert not uses.accepts
            with pytest.raises(GatewayError, match="nearly full"):
                uses.opened(city.use(), print)
            acts.append(RecordKind.ORDER, {"act": "suspend"})
        free[0] = acts_low_water_bytes(low_water_bytes) - 1
        acts.append(RecordKind.ORDER, {"act": "suspend"})
        with pytest.raises(GatewayError, match="cannot be recorded"):
            acts.append(RecordKind.ORDER, {"act": "suspend"})
        free[0] = low_water_bytes
        acts.append(RecordKind.ORDER, {"act": "suspend"})
        assert uses.accepts
        await use()
        uses.close()
        acts.close()

    asyncio.run(story())
    told = [record.getMessage() for record in caplog.records]
    assert sum(f"`{WRITER}` refuses records" in each and "`ledger.low_water_bytes`" in each for each in told) == 1
    assert sum(f"`{WRITER}` takes records again" in each for each in told) == 1


def test_a_low_disk_is_looked_at_once_a_second(tmp_path, monkeypatch):
    """Refusing costs no system call a use."""
    looks, now = [], [100.0]
    monkeypatch.setattr(journals, "free_bytes", lambda _: looks.append(now[0]) or 0)
    journal = JournalWriter(
        tmp_path, WRITER, clock_ns=time.time_ns, tell=print, on_poisoned=print, segment_bytes=1 << 14, low_water_bytes=1
    )
    monkeypatch.setattr(journals.time, "monotonic", lambda: now[0])
    looks.clear()
    journal._looked = now[0]
    for _ in range(50):
        assert not journal.accepts
        now[0] += 0.125
    monkeypatch.undo()
    journal.close()
    assert len(looks) == 5


def test_acts_are_durable_when_append_returns(tmp_path):
    """Many threads write acts at once, and each record is confirmed when its `append` returns."""
    acts = ActJournal(tmp_path, "control", clock_ns=time.time_ns, low_water_bytes=0, segment_bytes=1 << 16)
    directory = journal_directory(tmp_path, "control")
    records = []

    def act():
        for _ in range(20):
            records.append(acts.append(RecordKind.GRANT, {"officer": "li", "grant": "G-1"}))
            assert confirmed_sequence(directory) >= 1

    threads = [threading.Thread(target=act) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    acts.close()
    assert len(set(records)) == 160 == confirmed_sequence(directory)
    with pytest.raises(GatewayError, match="cannot be recorded"):
        acts.append(RecordKind.GRANT, {})
    with pytest.raises(GatewayError, match="data plane alone"):
        acts.append(RecordKind.USE_CLOSED, {})


def broken_copies(tmp_path, payloads):
    """A folder of one written segment, and a way to get a copy of it with the last segment changed."""
    write(tmp_path / "whole", payloads).close()
    source = journal_directory(tmp_path / "whole", WRITER)
    path = segment_paths(source)[-1]
    content = path.read_bytes()

    def copy(changed, confirmed):
        target = journal_directory(tmp_path / "copy", WRITER)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        (target / path.name).write_bytes(changed)
        mark = Watermark(target)
        mark.store(confirmed)
        mark.close()
        return target

    return content, copy


def ends_of_frames(content):
    """Offsets after each frame, the opening's first."""
    _, offset, checksum = frames.parse_opening(content, "it")
    read = frames.frames(content, offset, checksum)
    return [offset, *(each.offset + frames.HEAD.size + len(each.payload) for each in read)]


@pytest.mark.parametrize("step", [37, pytest.param(1, marks=pytest.mark.deep)])
def test_truncation_at_every_offset_keeps_what_was_whole(tmp_path, step):
    """Cut anywhere, the last segment gives back every whole frame; what was confirmed is never cut silently."""
    payloads = [entry(n, size=n) for n in range(8)]
    content, copy = broken_copies(tmp_path, payloads)
    ends = ends_of_frames(content)
    for at in sorted({*range(0, ends[-1] + 1, step), *ends, *(end - 1 for end in ends)}):
        whole = max(0, sum(end <= at for end in ends) - 1)
        target = copy(content[:at], 0)
        found = recover(target)
        assert found.sequence == whole
        assert confirmed_sequence(target) == whole
        if whole:
            reader = SegmentReader(target, 0)
            assert reader.read(1 << 20) == payloads[:whole]
            reader.close()
        assert bool(list(target.glob("*.broken"))) == found.torn
        if whole < len(payloads):
            target = copy(content[:at], whole + 1)
            with pytest.raises(GatewayError, match=r"confirmed|corrupt"):
                recover(target)


def test_any_flipped_bit_in_what_was_confirmed_is_found_and_located(tmp_path):
    """A changed bit is corruption, named with its place, and never repaired away."""
    payloads = [entry(n, size=30) for n in range(20)]
    content, copy = broken_copies(tmp_path, payloads)
    ends = ends_of_frames(content)
    chosen = random.Random(3)
    for at in chosen.sample(range(ends[-1]), 80):
        changed = bytearray(content)
        changed[at] ^= 1 << chosen.randrange(8)
        with pytest.raises(GatewayError, match=r"corrupt at byte \d+") as error:
            recover(copy(bytes(changed), len(payloads)))
        stated = int(error.value.detail.split("at byte ")[1].split(":")[0])
        assert stated <= at


def test_a_changed_bit_in_the_unconfirmed_tail_is_a_torn_tail(tmp_path):
    """What nobody was told of may be cut off; a copy of it is kept."""
    payloads = [entry(n) for n in range(20)]
    content, copy = broken_copies(tmp_path, payloads)
    ends = ends_of_frames(content)
    changed = bytearray(content)
    changed[ends[12] + 9] ^= 4
    target = copy(bytes(changed), 12)
    found = recover(target)
    assert (found.sequence, found.torn) == (12, True)
    (kept,) = target.glob("*.broken")
    assert kept.read_bytes() == bytes(changed)
    assert not recover(target).torn


def test_a_reader_names_the_place_of_corruption(tmp_path):
    """Integration stops at a corrupt entry and says where it is."""
    write(tmp_path, [entry(n) for n in range(50)]).close()
    (path, *_) = segment_paths(journal_directory(tmp_path, WRITER))
    content = bytearray(path.read_bytes())
    ends = ends_of_frames(bytes(content))
    content[ends[30] + 12] ^= 1
    path.write_bytes(content)
    with pytest.raises(GatewayError, match=f"corrupt at byte {ends[30]}"):
        read_all(tmp_path)


def test_a_missing_segment_is_named(tmp_path):
    """A gap between segments is not read over."""
    write(tmp_path, [entry(n, size=400) for n in range(600)]).close()
    paths = segment_paths(journal_directory(tmp_path, WRITER))
    paths[2].unlink()
    with pytest.raises(GatewayError, match="records-unavailable"):
        read_all(tmp_path)


def test_a_journal_behind_the_log_is_refused(tmp_path):
    """A journal that lost entries the log has would give their numbers out again."""
    write(tmp_path, [entry(1)]).close()
    with pytest.raises(GatewayError, match="entry 5 is in the log"):
        SegmentReader(journal_directory(tmp_path, WRITER), 5).read(100)


def test_a_later_format_is_refused(tmp_path):
    """A journal of a format this program does not know is left alone."""
    opening, _ = frames.opening_bytes(frames.Opening(2, WRITER, "run", 1, 0, ()))
    directory = journal_directory(tmp_path, WRITER)
    directory.mkdir(parents=True)
    (directory / frames.segment_name(1)).write_bytes(opening)
    Watermark(directory).close()
    with pytest.raises(GatewayError, match="journal format 2"):
        recover(directory)
