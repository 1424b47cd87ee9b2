"""Work on long answers and bodies: a bounded part of it in each turn of the loop, in the order in which it came.

One answer is worked on in steps of a few milliseconds (`exchange.release`). Of hundreds at once each would take its
step in every turn, and the turn, and a stop that waits for its end, would take seconds. So all of them together have
`MOST_SECONDS` of a turn, and a step at least; what comes besides waits for the next ones, and its supplier with it.
What is short is not asked here: `turns` bounds how much of it there is. After a change of the state nothing is worked
on for `turns.HELD_TURNS`, so that it is acknowledged first (INVARIANT: BARRIER).
"""

import asyncio
import time
from collections.abc import Callable

from gateway.proxy.guards import Breakable, ends_exchange
from gateway.proxy.turns import Paced

MOST_SECONDS = 0.005
SHORT_BYTES = 4096
"""What is worked on at once, whatever waits: the answers and bodies of most calls."""


class LongWork(Paced):
    """The long work of one worker's loop; made as `turns.Paced`."""

    __slots__ = ("_waiting",)

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        failed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(loop, failed, clock)
        self._waiting: dict[Breakable, Callable[[], object]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def may_go_on(self, size_bytes: int) -> bool:
        """Whether work on so much may be done now; else `put_off`."""
        if size_bytes <= SHORT_BYTES:
            return True
        if not self._is_marked:
            # Nothing waits and nothing is held: either would have marked the next turn.
            self._mark()
            self._began = self._clock()
            return True
        return not self._waiting and not self._held and self._clock() - self._began < MOST_SECONDS

    def put_off(self, owner: Breakable, work: Callable[[], object]) -> None:
        """Do an owner's `work`, an `@ends_exchange`, in its order; once, however often it is asked for."""
        self._waiting.setdefault(owner, work)
        if not self._is_marked:
            self._began = self._clock()
            self._mark()

    @ends_exchange
    def _next(self) -> None:
        """The loop begins a turn."""
        self._began = self._clock()
        if self._held:
            self._held -= 1
        else:
            while self._waiting:
                self._waiting.pop(next(iter(self._waiting)))()
                if self._clock() - self._began >= MOST_SECONDS:
                    break
        # Not before: what is worked on asks for its next step from within a turn, and that begins no other one.
        self._is_marked = False
        if self._waiting or self._held:
            self._mark()

    def broken(self) -> None:
        """As `guards.Breakable.broken`: whoever waits is ended."""
        self._failed()
        self._is_marked = False
        self._held = 0
        waiting, self._waiting = self._waiting, {}
        for owner in waiting:
            owner.broken()
