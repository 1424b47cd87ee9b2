"""Values used once, shared by the workers of one node without SQL: a table in a file they all map.

    header    magic (8) ‖ boot id digest (16) ‖ made, Unix seconds (8)
    slots     SLOTS times: SHA-256 of namespace and value, first 12 bytes ‖ expiry, Unix seconds (4, big-endian)

A value may stand in one of the 64 slots of its bucket; a bucket is looked through and written under an advisory lock
on its bytes, which the kernel frees when its holder dies. An expired slot is free. A full bucket refuses the value:
the answer is "used", never "fresh".

Durability: survives the death of any process, not of the machine: the file's pages may be lost with it. So a file
from before this boot is begun anew, and `since_unix` says from when on it knows everything: whoever asks must refuse
what was signed before. Proofs are tied to one table, and so to one node and boot, by nonces that are made with its
`epoch`; across nodes the table is not shared.
"""

import fcntl
import hashlib
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gateway.domain.errors import GatewayError

MAGIC = b"replay01"
HEADER_BYTES = 32
SLOT_BYTES = 16
BUCKET_SLOTS = 64
BUCKETS = 16384
"""A million slots, 16 MiB of which only touched pages take memory: 8,000 proofs a second for two minutes."""

_BUCKET_BYTES = BUCKET_SLOTS * SLOT_BYTES
_SIZE_BYTES = HEADER_BYTES + BUCKETS * _BUCKET_BYTES
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FRESH_SECONDS = 2
"""A value signed in the very second the table was made is let pass."""


class SharedReplay:
    """Remembers values among the processes that open the same file. Thread-safe.

    Args:
        path: the file; made 0600 where it is missing.
        now: the clock, Unix seconds.

    Raises:
        GatewayError: `unavailable` where the file cannot be made or mapped.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        try:
            self._file = self._open(path)
            self._map = mmap.mmap(self._file, _SIZE_BYTES)
        except OSError as error:
            reason = (error.strerror or "refused").lower()
            raise GatewayError("unavailable", f"the replay table `{path}` cannot be opened: {reason}") from error
        self.since_unix = int.from_bytes(self._map[24:32]) - _FRESH_SECONDS
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
                    if found.st_size == _SIZE_BYTES and os.pread(file, len(header), 0) == header:
                        return os.dup(file)
                    self._replace(path, header)
            finally:
                # Closing frees the lock, and with it every lock of this process on the file: none is held here yet.
                os.close(file)

    def _replace(self, path: Path, header: bytes) -> None:
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        file = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, _SIZE_BYTES)
            os.pwrite(file, header + struct.pack(">Q", int(self._now())), 0)
        finally:
            os.close(file)
        partial.replace(path)

    def use_once(self, namespace: str, value: str, expires_unix: int) -> bool:
        """Whether this is the first use of `value` in `namespace`; remembered until `expires_unix`."""
        mark = hashlib.sha256(f"{namespace}\x00{value}".encode()).digest()
        start = HEADER_BYTES + int.from_bytes(mark[12:16]) % BUCKETS * _BUCKET_BYTES
        wanted, now = mark[:12], int(self._now())
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX, _BUCKET_BYTES, start)
            try:
                return self._take(start, wanted, expires_unix, now)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, _BUCKET_BYTES, start)

    def _take(self, start: int, wanted: bytes, expires_unix: int, now: int) -> bool:
        bucket, free = self._map[start : start + _BUCKET_BYTES], None
        for at, (mark, expires) in enumerate(_SLOTS.iter_unpack(bucket)):
            if expires < now:
                if free is None:
                    free = at
                if expires == 0:
                    break  # slots are taken in order: behind an empty one there is nothing
            elif mark == wanted:
                return False
        if free is None:
            return False
        _SLOTS.pack_into(self._map, start + free * SLOT_BYTES, wanted, min(expires_unix, 2**32 - 1))
        return True

    def close(self) -> None:
        """Let the file go."""
        self._map.close()
        os.close(self._file)


_SLOTS = struct.Struct(">12sI")


def _boot() -> bytes:
    """Which boot of the machine this is, 16 bytes; the same constant where the kernel does not say."""
    try:
        return hashlib.sha256(_BOOT_ID.read_bytes()).digest()[:16]
    except OSError:
        return bytes(16)
