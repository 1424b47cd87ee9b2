"""Waiting on the loop that runs, asyncio's or trio's; neither is imported by who has none."""

import contextlib
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")


def _is_asyncio() -> bool:
    """Whether the loop that runs is asyncio's."""
    if "asyncio" not in sys.modules:
        return False
    import asyncio  # noqa: PLC0415 - loaded already

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def sleep(seconds: float) -> None:
    """Wait so long."""
    if _is_asyncio():
        import asyncio  # noqa: PLC0415 - loaded already

        await asyncio.sleep(seconds)
    else:
        import trio  # noqa: PLC0415 - only trio's caller needs it

        await trio.sleep(seconds)


async def in_thread(work: Callable[[], None]) -> None:
    """Do what blocks beside the loop."""
    if _is_asyncio():
        import asyncio  # noqa: PLC0415 - loaded already

        await asyncio.to_thread(work)
    else:
        import trio  # noqa: PLC0415 - only trio's caller needs it

        await trio.to_thread.run_sync(work)


async def outcome(future: "Future[_T]", seconds: float) -> _T:
    """What a thread sets the future to, without a thread for each that waits.

    Raises:
        TimeoutError: it is not set within so many seconds.
    """
    if _is_asyncio():
        import asyncio  # noqa: PLC0415 - loaded already

        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(future)
    import trio  # noqa: PLC0415 - only trio's caller needs it

    done, loop = trio.Event(), trio.lowlevel.current_trio_token()

    def tell(_: "Future[_T]") -> None:
        with contextlib.suppress(trio.RunFinishedError):  # nobody waits any more
            loop.run_sync_soon(done.set)

    future.add_done_callback(tell)
    with trio.move_on_after(seconds):
        await done.wait()
    return future.result(0)
