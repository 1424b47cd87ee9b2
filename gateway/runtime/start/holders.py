"""Which processes hold a home: those that have its lock file open, as `proc(5)` tells."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

SUPERVISOR = "the supervisor"


class Holder(msgspec.Struct, frozen=True):
    """A process that holds a home.

    Args:
        name: `worker-0`, `control`, `the supervisor`, or where it is none of ours `a process`.
        pid: its process id.
        is_stopped: whether it is stopped by a signal.
    """

    name: str
    pid: int
    is_stopped: bool

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid}{', stopped' if self.is_stopped else ''})"


def holders_of(lock: Path) -> list[Holder]:
    """Each other process that holds `lock` open; empty where that cannot be seen."""
    try:
        wanted = lock.stat()
    except OSError:
        return []
    return [_describe(process) for process in _processes() if _has_open(process, wanted)]


def _processes() -> Iterator[Path]:
    own = str(os.getpid())
    try:
        found = sorted((path for path in Path("/proc").iterdir() if path.name.isdigit()), key=lambda p: int(p.name))
    except OSError:
        return
    yield from (path for path in found if path.name != own)


def _has_open(process: Path, wanted: os.stat_result) -> bool:
    try:
        for descriptor in (process / "fd").iterdir():
            # One that has been closed meanwhile is none of the lock's.
            try:
                seen = descriptor.stat()
            except OSError:
                continue
            if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    except OSError:
        # It has ended, or is another user's.
        return False
    return False


def _describe(process: Path) -> Holder:
    try:
        arguments = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        state = (process / "stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        arguments, state = [], ""
    name = "a process"
    if "--name" in arguments[:-1]:
        name = arguments[arguments.index("--name") + 1]
    elif "serve" in arguments or "demo" in arguments:
        name = SUPERVISOR
    return Holder(name, int(process.name), state in {"T", "t"})
