"""How many calls one interface of a supplier takes at once, and who waits."""

from collections.abc import Callable

from gateway.proxy.limits import Limits


class Slots:
    """The slots of one interface, and a queue bounded by number and by time.

    The newest that waits goes first: under a load that lasts, the oldest has waited so long that its caller may have
    given up, and serving it would let each call wait as long. A queue that has not been empty for `queue_seconds`
    stands, it does not take up a burst: whoever comes to it waits a tenth of that time (after CoDel, and the adaptive
    LIFO of Facebook's queues).
    """

    __slots__ = ("_is_giving", "_limits", "_since", "in_use", "most", "waiting")

    def __init__(self, most: int, limits: Limits) -> None:
        self.most = most
        self.in_use = 0
        self._is_giving = False
        self.waiting: dict[Callable[[], None], None] = {}
        self._since = 0.0
        self._limits = limits

    def wait(self, go: Callable[[], None], now: float) -> float:
        """Call `go` once a slot is taken for it; how many seconds to wait for that at most, 0 where the queue is full.

        Args:
            go: called once; it is told apart by its identity and equality.
            now: the loop's time in seconds.
        """
        if len(self.waiting) >= self._limits.queue:
            return 0.0
        if not self.waiting:
            self._since = now
        self.waiting[go] = None
        patience = self._limits.queue_seconds
        return patience if now - self._since < patience else patience / 10

    def leave(self, go: Callable[[], None]) -> None:
        """Wait no longer."""
        self.waiting.pop(go, None)

    def free(self) -> None:
        """Give a slot back; the newest that waits gets it."""
        self.in_use -= 1
        # Who is given a slot may give it back at once: the loop below goes on with it, and no stack grows by the queue.
        if self._is_giving:
            return
        self._is_giving = True
        try:
            while self.waiting and self.in_use < self.most:
                self.in_use += 1
                self.waiting.popitem()[0]()
        finally:
            self._is_giving = False
