"""Quotas: a grant's calls and rows a day, exact over every worker and node.

A worker leases a block of the quota from the shared state and draws from it without asking; what is leased counts as
used, so the quota is never exceeded, and a worker that dies loses at most its open blocks until the day ends (China
Standard Time). Blocks are small beside the quota, so that one worker does not starve the others. What is more than a
block is leased whole or not at all: a draw that is refused has taken nothing from the others.
"""

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from datetime import date, timedelta

from gateway.domain.uses import Use
from gateway.domain.verdicts import Verdict
from gateway.policy.law.time_limits import china_day, minute_of_day

Lease = Callable[[str, date, str, int, int, int], int]
"""(grant, day, kind `calls` or `rows`, block, limit, least) -> how many are granted: at most `block`, and at least
`least`, or else 0. Atomic; of one limit, what is left never grows."""

MAX_BLOCK = 1024
SHARES = 64
"""A block is at most this part of the quota."""

MAX_METERS = 16_384
_EPOCH = date(1970, 1, 1)


MeterKey = tuple[str, int, str]
"""Grant, day (counted from 1970-01-01, China Standard Time), kind."""


class _Meter:
    """The open block of one grant, day and kind: what is left of it, and how many could not be leased any more."""

    __slots__ = ("_limit", "_refused", "left", "lock")

    def __init__(self) -> None:
        self.left = 0
        self.lock = threading.Lock()
        self._limit = 0
        self._refused: int | None = None

    def note_refused(self, limit: int, least: int) -> None:
        """Of a quota of `limit`, fewer than `least` are left to lease."""
        if self._limit == limit and self._refused is not None:
            least = min(least, self._refused)
        self._limit, self._refused = limit, least

    def has_refused(self, limit: int) -> bool:
        """Whether a draw on a quota of `limit` was refused, or its last was taken."""
        return self._limit == limit and self._refused is not None

    def is_short(self, limit: int, amount: int) -> bool:
        """Whether it is known that `amount` cannot be had any more."""
        return self._limit == limit and self._refused is not None and amount - self.left >= self._refused


class QuotaMeter:
    """Draws on quotas; usable as the data plane's meter. `draw_*` answer at once while the open block lasts.

    Args:
        lease: takes a block from the shared state.
        executor: where `lease` runs.
        now: Unix time in seconds.
        give_back: returns to the shared state what was leased and not used; runs there too.
    """

    def __init__(
        self,
        lease: Lease,
        executor: Executor,
        now: Callable[[], float],
        give_back: Callable[[str, date, str, int], None] | None = None,
    ) -> None:
        self._lease = lease
        self._give_back = give_back
        self._executor = executor
        self._now = now
        self._lock = threading.Lock()
        self._meters: dict[MeterKey, _Meter] = {}

    def draw_call(self, verdict: Verdict) -> bool | Awaitable[bool]:
        """Take one call from today's quota; False where it is used up.

        Also where rows were refused by this worker today and there is another grant to make the call under: what an
        answer holds is not known before, and it would be refused again.
        """
        if verdict.otherwise is not None and self._has_refused_rows(verdict):
            return False
        limit = verdict.calls_a_minute
        if limit is None:
            return self._draw(verdict.meter, "calls", verdict.calls_a_day, 1)
        minute = f"calls/{minute_of_day(int(self._now())):04}"
        taken = self._draw(verdict.meter, minute, limit, 1)
        if isinstance(taken, bool):
            return taken and self._draw(verdict.meter, "calls", verdict.calls_a_day, 1)
        return self._draw_after(taken, verdict)

    async def _draw_after(self, taken: Awaitable[bool], verdict: Verdict) -> bool:
        """Today's call, once this minute's is had: what a minute refuses costs nothing of the day."""
        if not await taken:
            return False
        of_day = self._draw(verdict.meter, "calls", verdict.calls_a_day, 1)
        return of_day if isinstance(of_day, bool) else await of_day

    def draw_rows(self, verdict: Verdict, rows: int) -> bool | Awaitable[bool]:
        """Take `rows` from today's quota, all or none; False where too few are left."""
        return self._draw(verdict.meter, "rows", verdict.rows_a_day, rows)

    def draw_guess(self, use: Use) -> bool | Awaitable[bool]:
        """Take one of today's wrong answers that a system may get about a person; False where there is none left.

        It is taken before the supplier is asked, so that many at once are no more, and given back by `right`.
        """
        return self._draw(_guesser(use), "guesses", use.verdict.guesses_a_day, 1)

    def right(self, use: Use) -> None:
        """What was guessed was right, so it counts no more."""
        if self._give_back is None or use.verdict.guesses_a_day is None:
            return
        day = china_day(int(self._now()))
        self._executor.submit(self._give_back, _guesser(use), _EPOCH + timedelta(days=day), "guesses", 1)

    def _has_refused_rows(self, verdict: Verdict) -> bool:
        if verdict.rows_a_day is None:
            return False
        meter = self._meters.get((verdict.meter, china_day(int(self._now())), "rows"))
        return meter is not None and meter.has_refused(verdict.rows_a_day)

    def _draw(self, name: str, kind: str, limit: int | None, amount: int) -> bool | Awaitable[bool]:
        if limit is None or amount <= 0:
            return True
        key = (name, china_day(int(self._now())), kind)
        meter = self._meters.get(key)
        if meter is not None and meter.lock.acquire(blocking=False):
            try:
                if meter.left >= amount:
                    meter.left -= amount
                    return True
                if meter.is_short(limit, amount):
                    return False
            finally:
                meter.lock.release()
        return self._draw_slowly(key, limit, amount)

    async def _draw_slowly(self, key: MeterKey, limit: int, amount: int) -> bool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self.draw_leasing, key, limit, amount)

    def draw_leasing(self, key: MeterKey, limit: int, amount: int) -> bool:
        """Take `amount`, leasing a block, or what is needed, if it can be had whole. Blocks the calling thread.

        Where it cannot, nothing is leased: what is left may serve smaller draws of any worker.
        """
        grant, day, kind = key
        meter = self._meter(key)
        with meter.lock:
            needed = amount - meter.left
            if amount > limit:
                meter.note_refused(limit, needed)
            elif needed > 0 and not meter.is_short(limit, amount):
                block = max(needed, block_size(limit))
                leased = self._lease(grant, _EPOCH + timedelta(days=day), kind, block, limit, needed)
                if leased < block:
                    meter.note_refused(limit, 1 if leased else needed)
                meter.left += leased
            if meter.left < amount:
                return False
            meter.left -= amount
            return True

    def _meter(self, key: MeterKey) -> _Meter:
        with self._lock:
            if len(self._meters) >= MAX_METERS:
                # Meters of past days are of no use; those of today that go lose their open block, never the count.
                today = max(held[1] for held in self._meters)
                self._meters = {held: meter for held, meter in self._meters.items() if held[1] == today}
                while len(self._meters) >= MAX_METERS:
                    del self._meters[next(iter(self._meters))]
            return self._meters.setdefault(key, _Meter())


def _guesser(use: Use) -> str:
    """The name under which wrong answers about one person are counted for one system; it tells of neither."""
    parts = (use.verdict.meter, use.caller.system, use.subject or "")
    return "?" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]


def block_size(limit: int) -> int:
    """How much is leased at a time of a quota of `limit`."""
    return max(1, min(MAX_BLOCK, limit // SHARES))
