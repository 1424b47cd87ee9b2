"""Waiting on the loop that runs, asyncio's or trio's."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def is_asyncio() -> bool:
    """Whether the loop that runs is asyncio's."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def sleep(seconds: float) -> None:
    """Wait so long."""
    if is_asyncio():
        await asyncio.sleep(seconds)
        return
    import trio  # noqa: PLC0415 - only trio's caller needs it

    await trio.sleep(seconds)


async def in_thread(work: Callable[[], None]) -> None:
    """Do what blocks beside the loop."""
    if is_asyncio():
        await asyncio.to_thread(work)
        return
    import trio  # noqa: PLC0415 - only trio's caller needs it

    await trio.to_thread.run_sync(work)


async def wait_on_trio(future: "Future[Any]", seconds: float) -> None:
    """Until a thread has set the future, or so long; without a thread for each that waits."""
    import trio  # noqa: PLC0415 - only trio's caller needs it

    done, loop = trio.Event(), trio.lowlevel.current_trio_token()

    def tell(_: "Future[Any]") -> None:
        with contextlib.suppress(trio.RunFinishedError):  # nobody waits any more
            loop.run_sync_soon(done.set)

    future.add_done_callback(tell)
    with trio.move_on_after(seconds):
        await done.wait()
