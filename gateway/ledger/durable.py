"""What survives a crash, and how: the only file of this room that syncs.

On Linux a file is durable when its content has been synced (`fsync`, or `fdatasync` where the size stands already)
*and* the directory that names it has been synced. A rename within one directory is atomic; it is durable once that
directory has been synced. None of these functions tries a failed sync again: the kernel marks the pages clean and
reports the error once, so a second sync that succeeds proves nothing.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gateway.domain.errors import GatewayError
from gateway.ledger.names import WRITING

_CHUNK_BYTES = 1 << 20
_LOCK_PAUSE_SECONDS = 0.02
_ZEROS = bytes(_CHUNK_BYTES)
_SYNCS_AT_ONCE = 16
_MAX_UNSYNCED = 256
"""Files open at once in a batch: far below what a process may have."""

T = TypeVar("T")
R = TypeVar("R")


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(directory: Path) -> None:
    """Create `directory` and what is missing above it. Durability: its name, and each above it, is synced on return.

    A folder that stands there empty may be one whose maker was killed before it had synced the name, so that it is
    synced here. One that holds something has a durable name: nothing is put into a folder before this has returned.
    """
    unsure = []
    at = directory.absolute()
    while not _holds_something(at):
        unsure.append(at)
        at = at.parent
    for path in reversed(unsure):
        if not path.is_dir():
            path.mkdir(mode=0o700, exist_ok=True)
        elif not os.access(path.parent, os.W_OK, effective_ids=True):
            continue  # whoever made it, none of our processes did
        try:
            sync_directory(path.parent)
        except OSError:
            # Who tries again must not take a name for durable that is not.
            with suppress(OSError):
                path.rmdir()
            raise


def _holds_something(directory: Path) -> bool:
    try:
        return any(directory.iterdir())
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # whoever made it, none of our processes did, which list what they make


def write_all(fd: int, content: bytes | memoryview, offset: int) -> None:
    """Write the whole of `content` at `offset`; a short write is continued. Durability: none."""
    view = memoryview(content)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written


def replace_file(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Put `content` at `path` in one step: a reader sees the old file or the new one, whole.

    Durability: content and name are synced on return; with `sync=False` the name is left to the caller's
    `sync_directory`, the content is synced all the same.
    """
    temporary = _beside(path)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, content, 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    temporary.rename(path)
    if sync:
        sync_directory(path.parent)


class FileBatch:
    """New files that become durable together: syncs that wait at the same time share the disk's work.

    On ext4 sixteen at once take a tenth of the time of one after the other (`tests/bench/ledger_integration.py`).
    One thread uses it.
    """

    def __init__(self) -> None:
        self._unsynced: list[int] = []
        self._waiting: list[Path] = []
        self._threads = ThreadPoolExecutor(_SYNCS_AT_ONCE, thread_name_prefix="ledger-sync")

    def put(self, path: Path, content: bytes) -> None:
        """Write `content` beside `path`; `sync` puts it there. Durability: none yet."""
        fd = os.open(_beside(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._sync_later(fd)
        self._waiting.append(path)
        write_all(fd, content, 0)

    def put_once(self, path: Path, content: bytes) -> None:
        """As `put`, unless the same bytes stand at `path`: then that file is synced.

        Raises:
            GatewayError: `conflict` if other bytes stand there (INVARIANT: APPEND-ONLY).
        """
        try:
            standing = path.read_bytes()
        except FileNotFoundError:
            self.put(path, content)
            return
        # INVARIANT: APPEND-ONLY: what was published under a name is never replaced by something else.
        if standing != content:
            raise GatewayError("conflict", f"`{path}` holds other bytes than the log would write there")
        self._sync_later(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def sync(self) -> None:
        """Sync what was put, then give each file its name. Durability: contents; names are for `sync_directories`.

        No file stands under its name before all are synced; after a failure none of them does.
        """
        self._sync_contents()
        waiting, self._waiting = self._waiting, []
        for path in waiting:
            _beside(path).rename(path)

    def sync_directories(self, directories: Iterable[Path]) -> None:
        """Make the names in several directories durable at once."""
        list(self._threads.map(sync_directory, directories))

    def map(self, work: Callable[[T], R], values: Iterable[T]) -> Iterable[R]:
        """`work` of each value, several at once; the results in their order."""
        return self._threads.map(work, values)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=True)

    def _sync_later(self, fd: int) -> None:
        if len(self._unsynced) >= _MAX_UNSYNCED:
            self._sync_contents()
        self._unsynced.append(fd)

    def _sync_contents(self) -> None:
        unsynced, self._unsynced = self._unsynced, []
        try:
            list(self._threads.map(os.fsync, unsynced))
        except OSError:
            # What was put cannot be known to be durable: it must not get its name.
            self._waiting.clear()
            raise
        finally:
            for fd in unsynced:
                os.close(fd)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}{WRITING}")


def preallocate(path: Path, size_bytes: int) -> int:
    """Create `path` as `size_bytes` zeros and return its descriptor, open for reading and writing.

    Zeros are written, not only reserved: a later `fdatasync` then has no extent to convert and no size to change.
    Durability: the content is synced; the name is not.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size_bytes)
        for offset in range(0, size_bytes, _CHUNK_BYTES):
            write_all(fd, _ZEROS[: min(_CHUNK_BYTES, size_bytes - offset)], offset)
        os.fsync(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def unlink_all(paths: Iterable[Path]) -> None:
    """Remove `paths`, those that are there. Durability: the directories are synced on return."""
    directories = set()
    for path in paths:
        path.unlink(missing_ok=True)
        directories.add(path.parent)
    for directory in directories:
        if directory.exists():
            sync_directory(directory)


def take_lock(path: Path, what: str, wait_seconds: float = 0.0) -> int:
    """Lock `path` for this process and return the descriptor that holds it; closing it lets go.

    The lock falls with the process, however it ends.

    Raises:
        GatewayError: `conflict` if another process holds it and does not let go within `wait_seconds`.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until:
                os.close(fd)
                raise GatewayError("conflict", f"{what} is in use by another process") from error
            time.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return fd


def free_bytes(directory: Path) -> int:
    """Bytes an ordinary user can still write on the disk of `directory`."""
    figures = os.statvfs(directory)
    return figures.f_bavail * figures.f_frsize
