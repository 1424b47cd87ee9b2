"""How far an answer has to know to be whole: "not known" is not "none".

A use is found within two seconds of being durable. So an answer is whole where the index holds everything that was
durable two seconds ago, and all that was when this process began: an index that is rebuilt, or that stands still behind
the journals, knows a part, and says so instead of letting a part pass for the whole.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

EXPLAINED_SECONDS = 2.0
SAMPLE_SECONDS = 0.2


class Horizon:
    """Samples of how many leaves the log will have once all that is durable is in it; any thread may ask.

    Args:
        at_start: of them, when the process began: these are owed from the first answer on.
        clock: monotonic seconds.
    """

    def __init__(self, at_start: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._owed = at_start
        self._samples: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def note(self, durable: Callable[[], int]) -> None:
        """Take a sample, unless one was taken just now."""
        now = self._clock()
        with self._lock:
            if self._samples and now - self._samples[-1][0] < SAMPLE_SECONDS:
                return
        leaves = durable()
        with self._lock:
            self._samples.append((now, leaves))

    def owed(self) -> int:
        """Leaves below this number are known to an answer that is whole."""
        before = self._clock() - EXPLAINED_SECONDS
        with self._lock:
            while self._samples and self._samples[0][0] <= before:
                self._owed = max(self._owed, self._samples.popleft()[1])
            return self._owed
