"""Memory that is let go returns to the system: a worker that once held much is not large ever after.

glibc keeps what is freed: it raises its mark for blocks of their own with each large one, up to 32 MiB, and what lies
below goes back only from the end of the heap. Where there is no glibc nothing is done.
"""

import asyncio
import contextlib
import ctypes
from collections.abc import Callable

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's `mallopt`."""
LOOK_SECONDS = 2.0
MUCH_BYTES = 16 << 20
"""What must have been held, and half of it let go, before the heap is walked for pages to return (some ms)."""


def give_memory_back() -> None:
    """Have large blocks returned at once, for as long as the process lives."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for option, value in ((_M_MMAP_THRESHOLD, 256 << 10), (_M_TRIM_THRESHOLD, 1 << 20)):
            libc.mallopt(option, value)


async def keep_returning(held_bytes: Callable[[], int]) -> None:
    """Return the rest whenever much was held and half of that has gone; until cancelled."""
    most = 0
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        held = held_bytes()
        most = max(most, held)
        if most > MUCH_BYTES and held < most // 2:
            most = held
            with contextlib.suppress(OSError, AttributeError):
                # In a thread: the interpreter is let go meanwhile, and calls go on.
                await asyncio.to_thread(ctypes.CDLL(None).malloc_trim, 0)
