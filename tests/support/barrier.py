"""Real workers in small, the barrier over them, and callers that read slowly."""

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

from gateway.control.barrier.barrier import Barrier
from gateway.control.barrier.feed import Feed
from gateway.control.barrier.hub import Hub
from gateway.domain.changes import Change, ChangeKind

ROOT = Path(__file__).parents[2]
PROCESSES = ROOT / "tests" / "unit" / "control"
SENDER = PROCESSES / "sender_process.py"


def start(script: Path, *args: object, inherited: tuple[int, ...] = ()) -> "subprocess.Popen[str]":
    """A Python process with pipes for lines in and out."""
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=inherited,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def end(process: "subprocess.Popen[str]") -> None:
    """Kill and reap."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


class MemoryFeed:
    """A change feed in memory, ordered and gapless, that can be made unreachable."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.lock = threading.Lock()
        self.is_down = False
        self.history = ""

    def commit(self, grant: str | None = None, *, withdraws: bool = True) -> list[Change]:
        with self.lock:
            change = Change(len(self.changes) + 1, ChangeKind.GRANT, grant or "", grant=grant, withdraws=withdraws)
            self.changes.append(change)
            return [change]

    def sequence(self) -> int:
        if self.is_down:
            raise ConnectionError
        return len(self.changes)

    def timeline(self) -> str:
        return self.history

    def changes_after(self, sequence: int, limit: int = 1000) -> list[Change]:
        if self.is_down:
            raise ConnectionError
        with self.lock:
            return self.changes[sequence : sequence + limit]


class Node:
    """One control process's barrier in this process, over real worker processes."""

    def __init__(self, run: Path, feed: MemoryFeed, **hub: object) -> None:
        self.socket = run / "c.sock"
        self.feed = feed
        hub.setdefault("after_another", False)
        hub.setdefault("acknowledge_within", 0.4)
        hub.setdefault("freshness", 1.0)
        self.hub = Hub(self.socket, **hub)
        self.reader = Feed(feed, self.hub)
        self.reader.start()
        self.barrier = Barrier(self.hub, self.reader.tell)
        self.workers: list[subprocess.Popen[str]] = []

    def worker(self, name: str, through: Path | None = None, page: int | None = None) -> "Worker":
        pages = () if page is None else (page,)
        process = start(SENDER, through or self.socket, name, *pages, inherited=pages)
        self.workers.append(process)
        assert process.stdout is not None
        return Worker(process, int(process.stdout.readline()))

    def close(self) -> None:
        for process in self.workers:
            end(process)
        self.reader.stop()
        self.hub.stop()


class Worker:
    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process = process
        self.port = port

    def stream(self, grant: str) -> socket.socket:
        """A caller that reads slowly, so that kernels on both sides hold bytes for it."""
        caller = socket.socket()
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        caller.settimeout(5)
        caller.connect(("127.0.0.1", self.port))
        caller.sendall(grant.encode() + b"\n")
        assert caller.recv(100)
        time.sleep(0.2)
        return caller


def arrived_bytes(caller: socket.socket) -> int:
    """Bytes that have left the gateway for good: they lie in the caller's own kernel."""
    return struct.unpack("i", fcntl.ioctl(caller, termios.FIONREAD, b"\0\0\0\0"))[0]


def read_to_end(caller: socket.socket) -> int:
    """Bytes still to be read until the connection ends; it has to end."""
    total = 0
    with contextlib.suppress(ConnectionError):
        while data := caller.recv(65536):
            total += len(data)
    caller.close()
    return total


def read_within(caller: socket.socket, seconds: float) -> bytes:
    """What is still to be read until the connection ends, or until the time is over, if it does not."""
    found, deadline = b"", time.monotonic() + seconds
    with contextlib.suppress(ConnectionError, TimeoutError):
        while (left := deadline - time.monotonic()) > 0:
            caller.settimeout(left)
            if not (data := caller.recv(65536)):
                break
            found += data
    caller.close()
    return found
