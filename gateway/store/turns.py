"""Whose turn it is to write, within one process: first come, first served, and what is urgent before all that waits."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.domain.errors import GatewayError


class Turns:
    """A lock whose waiters are served in order, urgent ones first. Thread-safe; a thread does not take it twice.

    Args:
        wait_seconds: how long a turn is waited for.
    """

    def __init__(self, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._is_taken = False
        self._urgent: deque[threading.Event] = deque()
        self._others: deque[threading.Event] = deque()

    @contextmanager
    def turn(self, *, urgent: bool = False) -> Iterator[None]:
        """Hold the turn for the block.

        Raises:
            GatewayError: `unavailable` where it did not come in time.
        """
        self._take(self._urgent if urgent else self._others)
        try:
            yield
        finally:
            self._give()

    def _take(self, queue: deque[threading.Event]) -> None:
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            mine = threading.Event()
            queue.append(mine)
        if mine.wait(self._wait_seconds):
            return
        with self._lock:
            if not mine.is_set():
                queue.remove(mine)
                raise GatewayError("unavailable", "the state is busy; try again")

    def _give(self) -> None:
        with self._lock:
            # The turn goes over from hand to hand, so that nobody who comes just now is before who waits.
            for queue in (self._urgent, self._others):
                if queue:
                    queue.popleft().set()
                    return
            self._is_taken = False
