"""Files that were merged into others: they go once no question that began before is left to read them."""

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path


class Retired:
    """Who reads which state of the index, and what none of them reads any more. Thread-safe."""

    def __init__(self) -> None:
        self._generation = 0
        self._reading: Counter[int] = Counter()
        self._kept: list[tuple[int, Sequence[Path]]] = []
        self._lock = threading.Lock()

    def begin(self) -> int:
        """A question begins, on the files that count now; what to end it with."""
        with self._lock:
            self._reading[self._generation] += 1
            return self._generation

    def end(self, generation: int) -> list[Path]:
        """It has ended; what can go now."""
        with self._lock:
            self._reading[generation] -= 1
            if not self._reading[generation]:
                del self._reading[generation]
            return self._free()

    def retire(self, paths: Sequence[Path]) -> list[Path]:
        """The files that count are others from now on; what can go now."""
        with self._lock:
            self._generation += 1
            self._kept.append((self._generation, paths))
            return self._free()

    def all(self) -> list[Path]:
        """Everything, read or not: what must not stay."""
        with self._lock:
            kept, self._kept = self._kept, []
            return [path for _, paths in kept for path in paths]

    def _free(self) -> list[Path]:
        oldest = min(self._reading, default=self._generation)
        free = [path for generation, paths in self._kept if generation <= oldest for path in paths]
        self._kept = [each for each in self._kept if each[0] > oldest]
        return free
