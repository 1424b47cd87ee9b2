"""Values used once, shared by the workers of one node without SQL: a table in a file they all map.

    header    magic (8) ‖ boot id digest (16) ‖ opened first in that boot, monotonic ns (8)
    buckets   BUCKETS times: forgotten until (4) ‖ forgotten from (4) ‖ zero (8), then BUCKET_SLOTS slots:
              SHA-256 of namespace and value, first 12 bytes ‖ expiry, seconds (4, big-endian)

A bucket is looked through and written under an advisory lock on its bytes, which the kernel frees when its holder dies.
What stands in a slot is known, expired or not: clocks are set back, and a value may be of now again. Only a bucket
without an empty slot forgets, the value that expired first, and notes until when it has forgotten; a value of a time
that was forgotten is answered "used", never "fresh". Where none has expired, one of far in the future yields, which a
clock that ran ahead has left, and is noted alike; else the bucket is full and refuses.

Durability: survives the death of any process, not of the machine: what was used in its last half minute may be lost
with it. `since` says from when on a table of this boot knows everything: whoever asks must refuse what was signed
before. It is told by the clock as it is now: set back, it refuses nobody who signs by it. A table that `outlives` the
boot goes on with what it knows; another is begun anew, and where a node is alone, proofs are tied to one table, and so
to one boot, by nonces that are made with its `epoch`.

Where several nodes share a state, a nonce of one is a nonce of all, and so must be the memory: what the node's own
table has not seen is then used up in the state (`ClusterReplay`), in batches, so that a round trip is shared by all
calls that came meanwhile.
"""

import asyncio
import fcntl
import hashlib
import logging
import mmap
import os
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path

from gateway.domain.errors import GatewayError

log = logging.getLogger(__name__)

MAGIC = b"replay02"
HEADER_BYTES = 32
SLOT_BYTES = 16
BUCKET_SLOTS = 63
BUCKETS = 16384
"""A million slots, 16 MiB of which only touched pages take memory: 8,000 proofs a second for two minutes."""
FUTURE_SECONDS = 3600
"""No value of now expires so late."""

_BUCKET_BYTES = (1 + BUCKET_SLOTS) * SLOT_BYTES
_SIZE_BYTES = HEADER_BYTES + BUCKETS * _BUCKET_BYTES
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FRESH_SECONDS = 2
"""A value signed in the very second the table was made is let pass."""


class SharedReplay:
    """Remembers values among the processes that open the same file. Thread-safe.

    Args:
        path: the file; made 0600 where it is missing.
        now: the clock that expiries are told by: Unix seconds, or one that nobody can set.
        outlives: whether a table of an earlier boot is gone on with.
        ticks: a clock of this boot that nobody can set, in seconds.

    Raises:
        GatewayError: `unavailable` where the file cannot be made or mapped.
    """

    def __init__(
        self,
        path: Path,
        now: Callable[[], float] = time.time,
        *,
        outlives: bool = False,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._ticks = ticks
        self._outlives = outlives
        self._lock = threading.Lock()
        try:
            self._file = self._open(path)
            self._map = mmap.mmap(self._file, _SIZE_BYTES)
        except OSError as error:
            reason = (error.strerror or "refused").lower()
            raise GatewayError("unavailable", f"the replay table `{path}` cannot be opened: {reason}") from error
        self._opened = int.from_bytes(self._map[24:32]) / 1e9
        self.epoch = self._map[len(MAGIC) : HEADER_BYTES].hex()

    def _open(self, path: Path) -> int:
        """The file, of this boot and the right size; one that is not is replaced whole, since others may map it."""
        header = MAGIC + _boot()
        while True:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.lockf(file, fcntl.LOCK_EX, HEADER_BYTES)
            try:
                found = os.fstat(file)
                if found.st_ino == path.stat().st_ino:
                    if found.st_size == _SIZE_BYTES and self._goes_on(file, header):
                        return os.dup(file)
                    self._replace(path, header)
            finally:
                # Closing frees the lock, and with it every lock of this process on the file: none is held here yet.
                os.close(file)

    def _goes_on(self, file: int, header: bytes) -> bool:
        known = os.pread(file, len(header), 0)
        if self._outlives and known != header and known.startswith(MAGIC):
            os.pwrite(file, self._header(header), 0)
            return True
        return known == header

    def _header(self, header: bytes) -> bytes:
        return header + struct.pack(">Q", int(self._ticks() * 1e9))

    def since(self) -> float:
        """From when on every use is known, by the clock as it is now."""
        return self._now() - (self._ticks() - self._opened) - _FRESH_SECONDS

    def _replace(self, path: Path, header: bytes) -> None:
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        file = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, _SIZE_BYTES)
            os.pwrite(file, self._header(header), 0)
        finally:
            os.close(file)
        partial.replace(path)

    def use_once(self, namespace: str, value: str, expires: int) -> bool:
        """Whether this is the first use of `value` in `namespace`; known until `expires` at least."""
        mark = hashlib.sha256(f"{namespace}\x00{value}".encode()).digest()
        start = HEADER_BYTES + int.from_bytes(mark[12:16]) % BUCKETS * _BUCKET_BYTES
        wanted, now = mark[:12], int(self._now())
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX, _BUCKET_BYTES, start)
            try:
                return self._take(start, wanted, min(expires, _LATEST), now)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, _BUCKET_BYTES, start)

    def _take(self, start: int, wanted: bytes, expires: int, now: int) -> bool:
        bucket = self._map[start : start + _BUCKET_BYTES]
        at = bucket.find(wanted, SLOT_BYTES)
        while at % SLOT_BYTES and at >= 0:
            at = bucket.find(wanted, at + 1)
        if at >= 0:
            return False
        until, since = _FORGOTTEN.unpack_from(bucket)
        if expires <= until or expires >= (since or _LATEST + 1):
            return False
        # Slots are taken in order: behind an empty one there is nothing.
        empty = bucket.find(_EMPTY, SLOT_BYTES)
        at = -(-empty // SLOT_BYTES) * SLOT_BYTES
        if not 0 < at < _BUCKET_BYTES:
            found = self._forget(start, bucket, until, since, now)
            if found is None:
                return False
            at = found
        _SLOTS.pack_into(self._map, start + at, wanted, expires)
        return True

    def _forget(self, start: int, bucket: bytes, until: int, since: int, now: int) -> int | None:
        """The place of a slot whose value is forgotten from now on; None where each has to be known."""
        expiries = [expires for _, expires in _SLOTS.iter_unpack(bucket[SLOT_BYTES:])]
        oldest, newest = min(expiries), max(expiries)
        if oldest < now:
            _FORGOTTEN.pack_into(self._map, start, max(until, oldest), since)
            return (1 + expiries.index(oldest)) * SLOT_BYTES
        if newest > now + FUTURE_SECONDS:
            _FORGOTTEN.pack_into(self._map, start, until, min(since or newest, newest))
            return (1 + expiries.index(newest)) * SLOT_BYTES
        return None

    def close(self) -> None:
        """Let the file go."""
        self._map.close()
        os.close(self._file)


_SLOTS = struct.Struct(">12sI")
_FORGOTTEN = struct.Struct(">II")
_EMPTY = bytes(SLOT_BYTES)
_LATEST = 2**32 - 1

MAX_BATCH = 1000
MAX_WAITING = 20_000
"""Values that wait for the state; more are turned away, as they could not be told within the caller's patience."""


class ClusterReplay:
    """Remembers values among all nodes. Belongs to one event loop.

    Args:
        own: what this node remembers: a value used here before is refused without asking anyone.
        use_each: durable in the state, for a batch of namespace, value and expiry; blocks.
        executor: where it may.
    """

    def __init__(
        self,
        own: SharedReplay,
        use_each: Callable[[Sequence[tuple[str, str, int]]], Sequence[bool]],
        executor: Executor,
    ) -> None:
        self._own = own
        self._use_each = use_each
        self._executor = executor
        self._waiting: list[tuple[tuple[str, str, int], asyncio.Future[bool]]] = []
        self._sending: asyncio.Task[None] | None = None

    def use_once(self, namespace: str, value: str, expires_unix: int) -> bool | Awaitable[bool]:
        """As `SharedReplay.use_once`, among all nodes; what the state does not confirm was not used.

        Raises:
            GatewayError: by the awaitable, `state-stale` where the state cannot be asked.
        """
        if not self._own.use_once(namespace, value, expires_unix):
            return False
        if len(self._waiting) >= MAX_WAITING:
            raise GatewayError("state-stale", "too many proofs wait to be looked up among the nodes")
        told = asyncio.get_running_loop().create_future()
        self._waiting.append(((namespace, value, expires_unix), told))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="used-once")
        return told

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                try:
                    fresh = await loop.run_in_executor(self._executor, self._use_each, [value for value, _ in batch])
                except Exception as error:  # noqa: BLE001 - whatever a driver raises: nobody waits for ever, none goes through
                    refused = GatewayError("state-stale", "used proofs cannot be looked up among the nodes")
                    log.warning("used proofs cannot be looked up among the nodes: %s", type(error).__name__)
                    for _, told in batch:
                        if not told.done():
                            told.set_exception(refused)
                    continue
                for (_, told), is_fresh in zip(batch, fresh, strict=True):
                    if not told.done():
                        told.set_result(is_fresh)
        finally:
            self._sending = None


def _boot() -> bytes:
    """Which boot of the machine this is, 16 bytes; the same constant where the kernel does not say."""
    try:
        return hashlib.sha256(_BOOT_ID.read_bytes()).digest()[:16]
    except OSError:
        return bytes(16)
