"""What is said of bad credentials: counters always, log lines seldom, never a credential (INVARIANT: NO-VALUES).

A flood must not fill a disk: in each window of 10 seconds the first lines are written, the rest are counted, and
one line says how many were left out. No use record is written for a credential that does not hold.
"""

import logging
from collections.abc import Callable

_LOG = logging.getLogger("gateway.security")

WINDOW_SECONDS = 10.0
LINES_PER_WINDOW = 10
MAX_REASONS = 256
"""Reasons are this package's constant sentences, fewer than a hundred; the bound is for whoever breaks that."""


class SecurityLog:
    """Counts refusals by reason and logs some of them.

    Args:
        now: the clock, monotonic seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._window_ends = 0.0
        self._lines = 0
        self.counters: dict[str, int] = {}

    def note(self, reason: str, address: str) -> None:
        """A credential was refused for `reason` (a constant sentence), coming from `address`."""
        counters = self.counters
        if reason in counters or len(counters) < MAX_REASONS:
            counters[reason] = counters.get(reason, 0) + 1
        at = self._now()
        if at >= self._window_ends:
            left_out = self._lines - LINES_PER_WINDOW
            if left_out > 0:
                _LOG.warning("credentials refused and not logged one by one: %d", left_out)
            self._window_ends, self._lines = at + WINDOW_SECONDS, 0
        self._lines += 1
        if self._lines <= LINES_PER_WINDOW:
            _LOG.warning("credential refused: %s (from %s)", reason, address)


class FailureBudget:
    """How many signatures that fail one address may make us check a second; beyond that they are not checked.

    A check costs about as much as a whole call; without a budget a flood of well-formed forgeries would be the
    cheapest way to keep a worker busy. The default rate is 3 % of a processor. It is not lower because behind a proxy
    that passes TLS through all callers are one address, and whoever has spent the budget spends it for all of them.
    Tokens that are remembered are not touched by it.

    Args:
        now: the clock, monotonic seconds: a step of the wall clock neither spends a budget nor fills it.
        per_second: sustained rate, in checks of an ES256 signature.
        burst: how many at once.
        max_addresses: how many addresses are told apart; the longest known is forgotten first.
    """

    def __init__(
        self, now: Callable[[], float], *, per_second: float = 400.0, burst: float = 800.0, max_addresses: int = 4096
    ) -> None:
        self._now = now
        self._per_second = per_second
        self._burst = burst
        self._max = max_addresses
        self._left: dict[str, tuple[float, float]] = {}

    def is_spent(self, address: str) -> bool:
        """Whether `address` must wait."""
        held = self._left.get(address)
        if held is None:
            return False
        left, at = held
        return left + (self._now() - at) * self._per_second < 1.0

    def spend(self, address: str, cost: float = 1.0) -> None:
        """One more failed check for `address`, which took as long as `cost` checks of an ES256 signature."""
        at = self._now()
        left, since = self._left.pop(address, (self._burst, at))
        if len(self._left) >= self._max:
            del self._left[next(iter(self._left))]
        self._left[address] = (min(self._burst, left + (at - since) * self._per_second) - cost, at)
