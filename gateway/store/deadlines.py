"""Ends what a database server does not answer in time, whatever hangs: the server, its host, or the network between.

A driver waits for its server as long as the server's kernel acknowledges what was sent, which it does also where the
server itself stands still. So what is asked has an end that does not depend on the server: the socket is shut down,
which wakes the thread that waits on it, and the connection is of no use any more.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

LOOK_SECONDS = 0.05
"""How often it is looked whether something is due."""


class _Entry:
    __slots__ = ("due", "end", "has_ended", "lock")

    def __init__(self, due: float, end: Callable[[], None]) -> None:
        self.due = due
        self.end = end
        self.has_ended = False
        self.lock = threading.Lock()


class Deadlines:
    """The deadlines of one process: one thread, made when it is first needed. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[_Entry, None] = {}
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def within(self, seconds: float, end: Callable[[], None]) -> Iterator[None]:
        """Call `end`, on another thread, where the block has not ended after `seconds`; its end waits for that."""
        entry = _Entry(self._clock() + seconds, end)
        self._entries[entry] = None
        self._some.set()
        if self._thread is None:
            self._begin()
        try:
            yield
        finally:
            self._entries.pop(entry, None)
            with entry.lock:
                entry.has_ended = True

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._look_on, name="state-deadlines", daemon=True)
                self._thread.start()

    def _look_on(self) -> None:
        while True:
            self._some.wait()
            self._some.clear()
            while self._entries:
                now = self._clock()
                for entry in list(self._entries):
                    if entry.due <= now:
                        self._entries.pop(entry, None)
                        # Each on a thread of its own: one that takes long delays no other.
                        threading.Thread(target=_end, args=(entry,), name="state-deadline", daemon=True).start()
                time.sleep(LOOK_SECONDS)


def _end(entry: _Entry) -> None:
    with entry.lock:
        if not entry.has_ended:
            entry.end()


def shut(connection: Any) -> None:
    """Shut a psycopg connection's socket down, whoever waits on it: its thread is told that the server is gone."""
    with suppress(Exception):  # closed already
        raw = socket.socket(fileno=os.dup(connection.fileno()))
        try:
            raw.shutdown(socket.SHUT_RDWR)
        finally:
            raw.close()
