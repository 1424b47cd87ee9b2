"""How many calls one interface of a supplier takes at once, and who waits."""

from collections import deque
from collections.abc import Callable

from gateway.proxy.limits import Limits


class Slots:
    """The slots of one interface; first come, first served."""

    __slots__ = ("_limits", "in_use", "most", "waiting")

    def __init__(self, most: int, limits: Limits) -> None:
        self.most = most
        self.in_use = 0
        self.waiting: deque[Callable[[], None]] = deque()
        self._limits = limits

    def take(self) -> bool:
        """Take a slot if one is free."""
        if self.in_use < self.most:
            self.in_use += 1
            return True
        return False

    def wait(self, go: Callable[[], None]) -> bool:
        """Call `go` once a slot is taken for it; False where the queue is full."""
        if len(self.waiting) >= self._limits.queue:
            return False
        self.waiting.append(go)
        return True

    def leave(self, go: Callable[[], None]) -> None:
        """Wait no longer."""
        if go in self.waiting:
            self.waiting.remove(go)

    def free(self) -> None:
        """Give a slot back; the next that waits gets it."""
        self.in_use -= 1
        while self.waiting and self.in_use < self.most:
            self.in_use += 1
            self.waiting.popleft()()
