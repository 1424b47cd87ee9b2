"""What a worker says of itself by memory alone: it can be read when the worker stands still, hangs or has ended.

One page that a worker shares with its supervisor and with the control process: when its loop last turned, until when
it holds a lease on the state, and whether it has cut everything since its last lease ran out. Each is one aligned
number of eight octets, written by the worker alone, so that no reader sees half of one.
"""

import mmap
import os

import msgspec

PAGE_BYTES = 4096
ENDING = -1.0
"""The beat of a worker that has drained and ends by itself."""
_BEAT, _LEASED_UNTIL, _DRY = range(3)


class Signs(msgspec.Struct, frozen=True):
    """What a pulse said at one moment.

    Args:
        beat: when the worker's loop last turned, seconds of the monotonic clock; 0 before it first did.
        leased_until: until when it holds its latest lease, seconds of the lease clock; 0 where it never had one.
        is_dry: whether it has cut everything since that lease ran out, so that nothing leaves it.
    """

    beat: float
    leased_until: float
    is_dry: bool

    @property
    def may_hold(self) -> bool:
        """Whether anything that was released may still be on its way out of the worker."""
        return self.leased_until > 0 and not self.is_dry


class Pulse:
    """The page of one worker process.

    Args:
        descriptor: of the page; it stays the caller's.
    """

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, PAGE_BYTES)
        self._numbers = memoryview(self._map).cast("d")

    def beat(self, now: float) -> None:
        """The worker's loop turns."""
        self._numbers[_BEAT] = now

    def leased(self, until: float) -> None:
        """The worker is about to rely on a lease until then; said before it does."""
        # Dry goes first: between the two a reader sees a worker that may hold something, never one that may not.
        self._numbers[_DRY] = 0.0
        self._numbers[_LEASED_UNTIL] = until

    def dried(self) -> None:
        """The worker has cut everything, and the sockets are closed."""
        self._numbers[_DRY] = 1.0

    def read(self) -> Signs:
        """What it says now."""
        # The other way round than they are written.
        until, is_dry = self._numbers[_LEASED_UNTIL], self._numbers[_DRY]
        return Signs(self._numbers[_BEAT], until, bool(is_dry))

    def close(self) -> None:
        """Let go of the page."""
        self._numbers.release()
        self._map.close()


def make_page(name: str) -> int:
    """A descriptor of a new page that lives as long as someone holds it.

    Args:
        name: for whoever looks at the process's open files.
    """
    descriptor = os.memfd_create(f"pulse-{name}")
    os.ftruncate(descriptor, PAGE_BYTES)
    return descriptor
