"""Faults of running processes: still, killed, a loop that hangs, slow, cut off; each can be healed again."""

import contextlib
import ctypes
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

_ATTACH, _DETACH = 16, 17
_ALL_THREADS = 0x40000000
_PIDFD_GETFD = 438


class Fault(StrEnum):
    STILL = "still"
    KILLED = "killed"
    HUNG = "hung loop"
    SLOW = "slow"
    CUT_OFF = "cut off"


class Held:
    """Faults that last until they are healed."""

    def __init__(self) -> None:
        self._healings: list[Callable[[], None]] = []

    def heal(self) -> None:
        while self._healings:
            with contextlib.suppress(OSError):
                self._healings.pop()()

    def strike_all(self, fault: Fault, pids: list[int], cut: Callable[[], Callable[[], None]]) -> None:
        """Let a fault befall every process of a node; `cut` cuts it off as a whole."""
        if fault is Fault.CUT_OFF:
            self._healings.append(cut())
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                self.strike(fault, pid, cut)

    def until_healed(self, heal: Callable[[], None]) -> None:
        """Have something done when everything is healed."""
        self._healings.append(heal)

    def strike(self, fault: Fault, pid: int, cut: Callable[[], Callable[[], None]]) -> None:
        """Let a fault befall a process; `cut` cuts it off and returns what heals that."""
        if fault is Fault.STILL:
            os.kill(pid, signal.SIGSTOP)
            self._healings.append(lambda: os.kill(pid, signal.SIGCONT))
        elif fault is Fault.KILLED:
            os.kill(pid, signal.SIGKILL)
        elif fault is Fault.HUNG:
            self.while_it_lasts(lambda ended: _hang(pid, ended))
        elif fault is Fault.SLOW:
            self.while_it_lasts(lambda ended: _slow_down(pid, ended))
        else:
            self._healings.append(cut())

    def lock(self, fault: Fault, database: Path) -> None:
        """Let a fault befall a SQLite state: another process holds it, for good or most of the time."""
        self.while_it_lasts(lambda ended: _hold(database, fault, ended))

    def while_it_lasts(self, what: Callable[[threading.Event], None]) -> None:
        """Have `what` go on in a thread until its event is set."""
        ended = threading.Event()
        thread = threading.Thread(target=what, args=(ended,))
        thread.start()

        def heal() -> None:
            ended.set()
            thread.join()

        self._healings.append(heal)


def _hang(pid: int, ended: threading.Event) -> None:
    """Hold the process's first thread, where its loop runs; its other threads go on."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.ptrace(_ATTACH, pid, None, None) != 0:
        return
    while not ended.wait(0.02):
        with contextlib.suppress(ChildProcessError):
            # Whoever traces a process is told of its end first, and its parent only then.
            os.waitpid(pid, os.WNOHANG | _ALL_THREADS)
    library.ptrace(_DETACH, pid, None, None)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG | _ALL_THREADS)


def _slow_down(pid: int, ended: threading.Event) -> None:
    with contextlib.suppress(ProcessLookupError):
        while not ended.is_set():
            os.kill(pid, signal.SIGSTOP)
            ended.wait(0.2)
            os.kill(pid, signal.SIGCONT)
            ended.wait(0.05)


def _hold(database: Path, fault: Fault, ended: threading.Event) -> None:
    connection = sqlite3.connect(database, isolation_level=None, timeout=5)
    with contextlib.closing(connection):
        while not ended.is_set():
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("BEGIN IMMEDIATE")
                ended.wait(0.2 if fault is Fault.SLOW else 60)
                connection.execute("ROLLBACK")
            ended.wait(0.05)


def cut_connections(pids: list[int], path: Path, door: Path | None = None) -> Callable[[], None]:
    """Tear what the processes have connected to a Unix socket, and let nobody connect to it; returns what heals it.

    Args:
        pids: the processes.
        path: the socket as its server has bound it.
        door: what leads these processes there, if not `path` itself.
    """
    door = door or path
    away = door.with_name(f"{door.name}.away")
    with contextlib.suppress(FileNotFoundError):
        door.rename(away)  # who is cut off second finds it gone
    for pid in pids:
        for descriptor in _descriptors(pid):
            with contextlib.suppress(OSError), _taken(pid, descriptor) as found:
                if found.family == socket.AF_UNIX and found.getpeername() == str(path):
                    found.shutdown(socket.SHUT_RDWR)

    def heal() -> None:
        if not door.exists():
            away.rename(door)

    return heal


def cut_messages(pid: int) -> Callable[[], None]:
    """Tear the sockets by which the process's supervisor tells it of others."""
    for descriptor in _descriptors(pid):
        with contextlib.suppress(OSError), _taken(pid, descriptor) as found:
            if found.family == socket.AF_UNIX and found.type == socket.SOCK_SEQPACKET:
                found.shutdown(socket.SHUT_RDWR)
    return lambda: None


def _descriptors(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return []


def _taken(pid: int, descriptor: int) -> socket.socket:
    """Another process's socket."""
    pidfd = os.pidfd_open(pid)
    try:
        own = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, pidfd, descriptor, 0)
    finally:
        os.close(pidfd)
    if own < 0:
        raise OSError(ctypes.get_errno(), "cannot be taken")
    try:
        return socket.socket(fileno=own)
    except OSError:
        os.close(own)
        raise


def until_gone(pid: int, seconds: float = 60.0) -> None:
    """Wait for a process's end."""
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
