"""When calls begin: at once while the worker keeps up; else a few in each turn of the loop, the newest first.

A loop that begins every call as its head arrives has no bound to one of its turns: with two thousand callers a turn
takes a second, each call needs several turns, and a stop waits for one like everything else. So a turn begins calls for
`MOST_SECONDS`, and for less where turns take longer than `TURN_SECONDS` in all, since each call that has begun makes
work for the next ones; what comes besides waits, as bytes and a place in line. The next turn takes the newest first,
whose callers are still there. Who has waited too long is refused (`overloaded`) before anything costly is done for it:
after `PATIENCE_SECONDS`, or `SHORT_PATIENCE_SECONDS` once some have waited all the time for as long as that, since such
a line does not take up a burst but delays everyone (after CoDel and the adaptive LIFO of Facebook's queues).

What has begun goes on before what has not: answers, records and time-outs are never put off. After a change of the
state nothing begins for `HELD_TURNS`, so that it is acknowledged first (INVARIANT: BARRIER).

Measured by tests/bench/overload.py.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from gateway.proxy.guards import ends_exchange

TURN_SECONDS = 0.01
"""A stop waits for the rest of one turn and two more, in the worker: at twice its capacity 20 ms, 63 at most. With
0.025 s it was 70 ms, 116 at most. Callers who hear sooner ask again sooner: twice as many were refused, and a seventh
fewer served."""
MOST_SECONDS, LEAST_SECONDS = 0.005, 0.0005
PATIENCE_SECONDS = 0.25
SHORT_PATIENCE_SECONDS = 0.05
REFUSE_SECONDS = 0.003
"""How long a turn refuses who has waited too long, one at least: a third of a turn. A refusal costs little beside a
call, and who is not refused in time waits until the whole line before was (48 in a turn made that 0.8 s and more)."""
HELD_TURNS = 4
"""Turns after a change: the link closes what was cut in two, and says so in the next (`runtime.link`)."""


class Waiting(Protocol):
    """A caller's connection with a request that has arrived, or one that asks for TLS."""

    def begin_call(self) -> None:
        """Begin it now."""

    def shed_call(self) -> None:
        """Refuse it: it has waited too long."""


class Paced:
    """What a worker's loop does in parts: a bounded one in each turn, and none after a change of the state.

    Args:
        loop: the loop.
        failed: counts a mistake.
        clock: seconds, rising, read anew at each call (a loop's own time stands still within a turn).
    """

    __slots__ = ("_began", "_clock", "_failed", "_held", "_is_marked", "_loop")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        failed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._failed = failed
        self._clock = clock
        self._is_marked = False
        self._held = 0
        self._began = 0.0

    def hold(self) -> None:
        """A change has come: do nothing until it can have been acknowledged."""
        self._held = HELD_TURNS
        self._mark()

    def _mark(self) -> None:
        """Ask for the next turn."""
        if not self._is_marked:
            self._is_marked = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        """The loop begins a turn."""
        raise NotImplementedError


class Turns(Paced):
    """The calls that begin in the turns of one worker's loop; made as `Paced`."""

    __slots__ = ("_empty_at", "_slice", "_waiting")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        failed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(loop, failed, clock)
        self._waiting: dict[Waiting, float] = {}
        self._slice = MOST_SECONDS
        self._empty_at = clock()

    def __len__(self) -> int:
        return len(self._waiting)

    def may_begin(self) -> bool:
        """Whether a call may begin now; else `wait`."""
        if not self._is_marked:
            self._mark()
            self._began = self._clock()
            return not self._held
        return not self._waiting and not self._held and self._clock() - self._began < self._slice

    def wait(self, caller: Waiting) -> None:
        """Begin the call of `caller` in a later turn, or refuse it."""
        if caller not in self._waiting:
            self._waiting[caller] = self._clock()

    def leave(self, caller: Waiting) -> bool:
        """Wait no longer; whether it waited."""
        return self._waiting.pop(caller, None) is not None

    @ends_exchange
    def _next(self) -> None:
        """The loop begins a turn."""
        self._is_marked = False
        now = self._clock()
        is_long = now - self._began > TURN_SECONDS
        self._slice = max(self._slice * 0.7, LEAST_SECONDS) if is_long else min(self._slice * 1.2, MOST_SECONDS)
        self._began = now
        if self._held:
            self._held -= 1
        elif self._waiting:
            self._take_turns(now)
        if not self._waiting:
            self._empty_at = self._clock()
        if self._waiting or self._held:
            self._mark()

    def broken(self) -> None:
        """As `guards.Breakable.broken`: who waits is refused, and whoever comes begins at once."""
        self._failed()
        self._is_marked = False
        self._held = 0
        while self._waiting:
            self._waiting.popitem()[0].shed_call()

    def _take_turns(self, now: float) -> None:
        waiting = self._waiting
        is_standing = now - self._empty_at > PATIENCE_SECONDS
        patience = SHORT_PATIENCE_SECONDS if is_standing else PATIENCE_SECONDS
        # The newest first. One at least: however late the loop is, somebody is served.
        while waiting:
            waiting.popitem()[0].begin_call()
            if self._clock() - now > self._slice:
                break
        # And the oldest out, which costs little.
        began = self._clock()
        while waiting:
            caller = next(iter(waiting))
            if now - waiting[caller] <= patience:
                break
            del waiting[caller]
            caller.shed_call()
            if self._clock() - began > REFUSE_SECONDS:
                break
