"""The journal's writer: group commit, so that one sync makes many records durable.

One thread owns the file. It takes whatever waits, writes it with one write and one `fdatasync`, then tells all
waiters at once; batches grow by themselves under load. A sync costs the processor the same whether one use waits for
it or twenty, so a sync that many waited for is followed by a pause of a millisecond at most (`SPREAD_SECONDS`), in
which more gather; a use that comes alone waits for nobody. Nobody is told before the sync has returned (INVARIANT:
RECORD-FIRST). After a write or sync that failed the journal is poisoned: every waiter fails, nothing is synced on that
file again, and only a new start, which rewrites the unconfirmed tail, heals it.
"""

import logging
import math
import os
import queue
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gateway.domain.errors import GatewayError
from gateway.ledger.durable import (
    free_bytes,
    make_directory,
    preallocate,
    sync_directory,
    take_lock,
    write_all,
)
from gateway.ledger.journal import frames
from gateway.ledger.journal.entries import Salts, UseEntries, new_run
from gateway.ledger.journal.segments import Recovered, Watermark, recover

log = logging.getLogger("gateway.ledger")

SEGMENT_BYTES = 32 << 20
LOW_WATER_BYTES = 1 << 30
MAX_BATCH = 8192
MAX_BATCH_BYTES = 4 << 20
SPREAD_SECONDS = 0.00025
"""Pause between the beginnings of two syncs for each use beyond the first that waited for the earlier one."""
SPREAD_MOST_SECONDS = 0.001
MAX_SYNCS = 65_536
"""Syncs noted between two looks at them; a look is a second."""
_DISK_LOOK_SECONDS = 1.0
SEGMENT_SECONDS = 30 * 86_400.0
"""How long a segment is written to: what a writer that works for years holds open keeps nothing from retention."""
_IDLE_LOOK_SECONDS = 3600.0

Waiting = tuple[bytes, Any, str, int]
"""An entry that waits: its bytes, who waits (None: nobody), the record id, and +years, -1 or 0.

Years above zero open the use `record id` with so many years of retention, -1 closes it, 0 is neither.
"""
Tell = Callable[[list[Any], BaseException | None], None]


def journal_directory(ledger: Path, writer: str) -> Path:
    """Where a writer's segments live below the ledger's folder."""
    return ledger / "journal" / writer


def _parts(batch: list[Waiting]) -> Iterator[list[Waiting]]:
    """`batch` in parts, each of which one write and one sync may take."""
    if len(batch) <= MAX_BATCH and sum(len(item[0]) for item in batch) <= MAX_BATCH_BYTES:
        if batch:
            yield batch
        return
    part: list[Waiting] = []
    size = 0
    for item in batch:
        if part and (len(part) == MAX_BATCH or size + len(item[0]) > MAX_BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append(item)
        size += len(item[0])
    yield part


class JournalWriter:
    """Appends entries to one writer's journal and tells who waits once they are durable.

    Opening it takes the writer's lock, repairs a torn tail and writes `recovered` for every use that was open when
    the writer died; these are durable on return.

    Args:
        ledger: the ledger's folder.
        writer: the writer's name, one folder; one process at a time.
        clock_ns: Unix nanoseconds.
        tell: called on the writer's thread with those whose entries are now durable, or with the error.
        on_poisoned: called once, on the writer's thread, when the journal is poisoned.
        segment_bytes: size of a segment.
        low_water_bytes: free disk below which `accepts` turns False, until there is as much again.
        lock_seconds: how long to wait for a process that is just leaving the writer's folder.

    Raises:
        GatewayError: `conflict` if another process writes here, `records-unavailable` if the journal is corrupt.
    """

    def __init__(
        self,
        ledger: Path,
        writer: str,
        *,
        clock_ns: Callable[[], int],
        tell: Tell,
        on_poisoned: Callable[[BaseException], None],
        segment_bytes: int = SEGMENT_BYTES,
        low_water_bytes: int = LOW_WATER_BYTES,
        lock_seconds: float = 5.0,
    ) -> None:
        self.writer = writer
        self.directory = journal_directory(ledger, writer)
        self.run = new_run(clock_ns())
        self.salts = Salts()
        self.fault: BaseException | None = None
        self.low = False
        self._tell = tell
        self._on_poisoned = on_poisoned
        self._segment_bytes = segment_bytes
        self._low_water_bytes = low_water_bytes
        self.syncs: deque[tuple[float, int]] = deque(maxlen=MAX_SYNCS)
        """(seconds, uses opened) of each sync since they were last taken."""
        self._queue: queue.SimpleQueue[list[Waiting] | None] = queue.SimpleQueue()
        self._open: dict[str, int] = {}
        self._fd = -1
        self._first, self._begun = 0, 0.0
        self._looked = -math.inf
        self._prepared: Future[Path] | None = None
        make_directory(self.directory)
        self._lock = take_lock(self.directory / "lock", f"the journal of writer `{writer}`", lock_seconds)
        try:
            self.recovered: Recovered = recover(self.directory)
            self._sequence = self.recovered.sequence
            self._checksum = self._chain = self.recovered.chain
            self._begun_after = -1
            self._open = dict(self.recovered.open)
            self._mark = Watermark(self.directory)
            self._preparer = ThreadPoolExecutor(1, thread_name_prefix=f"journal-{writer}-next")
            self._switch()
            self._look_at_disk(time.monotonic())
            self._close_recovered(clock_ns())
        except BaseException:
            os.close(self._lock)
            raise
        self._thread = threading.Thread(target=self._work, name=f"journal-{writer}", daemon=True)
        self._thread.start()

    @property
    def accepts(self) -> bool:
        """Whether a new use can be recorded: not poisoned, not closed, and room on the disk."""
        if self.low and self.fault is None:
            # What is refused for want of room is never committed: nobody else would see that there is room again.
            self._look_at_disk(time.monotonic())
        return self.fault is None and not self.low

    def put(self, *waiting: Waiting) -> None:
        """Queue entries; who waits is told in queue order. Thread-safe."""
        self._queue.put(list(waiting))

    def put_all(self, waiting: list[Waiting]) -> None:
        """As `put`; the list is the journal's from now on."""
        self._queue.put(waiting)

    def close(self) -> None:
        """Write and sync what waits, then let the journal go."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        if self.fault is None:
            self.fault = GatewayError("records-unavailable", "the journal is closed")
        self._preparer.shutdown(wait=True)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._mark.close()
            os.close(self._lock)

    def _close_recovered(self, now: int) -> None:
        entries = UseEntries(self.run, self.salts)
        batch: list[Waiting] = [
            (entries.recovered(record, years, now), None, record, -1) for record, years in self._open.items()
        ]
        for at in range(0, len(batch), MAX_BATCH):
            self._commit(batch[at : at + MAX_BATCH])

    def _work(self) -> None:
        waits, clock = self._queue, time.monotonic
        began = clock()
        pause = 0.0
        stop = False
        while not stop:
            try:
                more = waits.get(True, _IDLE_LOOK_SECONDS)
            except queue.Empty:
                self._roll_or_fail()
                continue
            if pause and more is not None:
                time.sleep(max(began + pause - clock(), 0.0))
            began = clock()
            batch: list[Waiting] = []
            while more is not None:
                batch += more
                if len(batch) >= MAX_BATCH or waits.empty():
                    break
                more = waits.get()
            stop = more is None
            opened = sum(self._commit_or_fail(part) for part in _parts(batch))
            pause = min(max(opened - 1, 0) * SPREAD_SECONDS, SPREAD_MOST_SECONDS)

    def _roll_or_fail(self) -> None:
        """Go on in a new segment where the open one is old: what it holds goes by retention, also of an idle writer."""
        if self.fault is not None:
            return
        try:
            self._roll(time.monotonic())
        except OSError as error:
            self.fault = error
            self._on_poisoned(error)

    def _roll(self, now: float) -> None:
        if now - self._begun >= SEGMENT_SECONDS and self._sequence >= self._first:
            self._switch()

    def _commit_or_fail(self, batch: list[Waiting]) -> int:
        """Commit `batch` and tell who waits; how many did."""
        waiters = [item[1] for item in batch if item[1] is not None]
        fault = self.fault
        if fault is None:
            try:
                self._commit(batch)
            except OSError as error:
                # Never sync this file again: the kernel reports a lost page once and then calls it clean.
                fault = self.fault = error
                self._on_poisoned(error)
        if waiters:
            self._tell(waiters, fault)
        return len(waiters)

    def _commit(self, batch: list[Waiting]) -> None:
        """Write and sync `batch`. Durability: all of it on return."""
        needed = sum(len(item[0]) for item in batch) + frames.HEAD.size * len(batch)
        if self._offset + needed > self._capacity:
            self._switch(needed)
        parts: list[bytes] = []
        opened = 0
        checksum, pack, crc32 = self._checksum, frames.HEAD.pack, zlib.crc32
        for payload, _, record, use in batch:
            # As `frames.frame`, written out: one copy of the payload less (`tests/bench/ledger_journal.py`).
            checksum = crc32(payload, checksum)
            parts += (pack(len(payload), checksum), payload)
            if use > 0:
                self._open[record] = use
                opened += 1
            elif use:
                self._open.pop(record, None)
        began = time.monotonic()
        write_all(self._fd, b"".join(parts), self._offset)
        os.fdatasync(self._fd)
        self._offset += needed
        self._checksum = checksum
        self._sequence += len(batch)
        self._mark.store(self._sequence)
        now = time.monotonic()
        self.syncs.append((now - began, opened))
        self._look_at_disk(now)
        self._roll(now)

    def _switch(self, needed: int = 0) -> None:
        """Go on in a new segment. Durability: its name and opening are synced on return."""
        if self._sequence != self._begun_after:
            # One that takes the place of an empty segment follows the same one before it.
            self._chain, self._begun_after = self._checksum, self._sequence
        opening, checksum = frames.opening_bytes(
            frames.Opening(1, self.writer, self.run, self._sequence + 1, self._chain, tuple(self._open.items()))
        )
        size = len(opening) + needed
        if size > self._segment_bytes or self._prepared is None:
            path = self._prepare(max(size, self._segment_bytes), "large")
        else:
            path, self._prepared = self._prepared.result(), None
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._capacity = os.fstat(fd).st_size
        write_all(fd, opening, 0)
        os.fdatasync(fd)
        # Only now: whoever reads beside this writer finds no segment that has not begun.
        path.rename(self.directory / frames.segment_name(self._sequence + 1))
        sync_directory(self.directory)
        self._offset = len(opening)
        self._checksum = checksum
        self._first, self._begun = self._sequence + 1, time.monotonic()
        if self._prepared is None:
            self._prepared = self._preparer.submit(self._prepare, self._segment_bytes, "next")

    def _prepare(self, size_bytes: int, name: str) -> Path:
        path = self.directory / f"{name}.tmp"
        os.close(preallocate(path, size_bytes))
        return path

    def _look_at_disk(self, now: float) -> None:
        """See how much disk is free, unless that was seen within `_DISK_LOOK_SECONDS`."""
        if now - self._looked > _DISK_LOOK_SECONDS:
            self._looked = now
            free = free_bytes(self.directory)
            low = free < self._low_water_bytes
            if low and not self.low:
                log.error(
                    "journal `%s` refuses records: %d MiB are free on its disk, %d are set (`ledger.low_water_bytes`)",
                    *(self.writer, free >> 20, self._low_water_bytes >> 20),
                )
            elif self.low and not low:
                log.warning("journal `%s` takes records again: %d MiB are free on its disk", self.writer, free >> 20)
            self.low = low
