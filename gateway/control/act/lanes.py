"""Two lanes into the rooms that block: one for stops, so that nothing else is ever before a stop, and one for the rest.

A request that stops something is signed in, decided and done on threads of its own, and goes first to the writer's lock
of the state. Everything else shares so few threads that what holds the interpreter is never many: a stop's thread gets
it in its turn, and its turn comes soon. What waits is a request, on the loop, and no thread.
"""

import re
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import anyio
from anyio.lowlevel import RunVar
from fastapi import Request

P = ParamSpec("P")
T = TypeVar("T")

_STOPS = re.compile(r"/v1/(?:grants/[^/]+/(?:suspension|termination)|orders)")
STOP_THREADS = 8
"""Suspensions side by side; they do not wait for each other's barrier."""

OTHER_THREADS = 8
"""Everything else side by side: most of it waits for the disk, the writer's lock or the ledger process."""
SWITCH_SECONDS = 0.001
"""How long a thread holds the interpreter while another wants it; else 5 ms, for each thread that is before."""

_stop_lane: RunVar[anyio.CapacityLimiter] = RunVar("gateway.stop_lane")


def share_threads() -> None:
    """Bound the threads of the lane for the rest, in this event loop's process; call it once, before any request."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = OTHER_THREADS
    sys.setswitchinterval(SWITCH_SECONDS)


def is_stop(request: Request) -> bool:
    """Whether a request is to stop something (Decree 809 Art. 27 ¶2, 35)."""
    return request.method == "POST" and _STOPS.fullmatch(request.url.path) is not None


async def in_lane(request: Request, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` gives, done on a thread of the lane that `request` belongs to."""
    limiter = _stops() if is_stop(request) else None
    return await anyio.to_thread.run_sync(lambda: work(*args, **kwargs), limiter=limiter)


def _stops() -> anyio.CapacityLimiter:
    try:
        return _stop_lane.get()
    except LookupError:
        made = anyio.CapacityLimiter(STOP_THREADS)
        _stop_lane.set(made)
        return made
