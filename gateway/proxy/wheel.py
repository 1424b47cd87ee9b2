"""Deadlines of many connections on one coarse clock: a wheel, so that no call costs a timer.

An entry carries its own `due`. Moving it later costs one attribute: the wheel finds out when it comes by and puts the
entry back. Moving it earlier than the slot it waits in takes it to an earlier one.
"""

from typing import Protocol


class Timed(Protocol):
    """What waits on the wheel.

    Attributes:
        due: loop time in seconds at which `expired` is called, `inf` for never.
        slot: the wheel's own: the tick it waits in, -1 for none.
    """

    due: float
    slot: int

    def expired(self) -> None:
        """Time has run out. May set `due` anew."""


class Wheel:
    """A timer wheel without a timer: `advance` is called about once a tick.

    Args:
        tick_seconds: the width of a slot; an entry expires at most two ticks after it is due.
    """

    __slots__ = ("_last", "_slots", "_tick")

    def __init__(self, tick_seconds: float, now: float) -> None:
        self._tick = tick_seconds
        self._slots: dict[int, dict[Timed, None]] = {}
        self._last = int(now / tick_seconds)

    def arm(self, entry: Timed, due: float) -> None:
        """Let `entry` expire at `due`, in place of what it waited for."""
        entry.due = due
        slot = int(due / self._tick) + 1
        if entry.slot < 0:
            self._put(entry, slot)
        elif slot < entry.slot:
            self._slots.get(entry.slot, {}).pop(entry, None)
            self._put(entry, slot)

    def disarm(self, entry: Timed) -> None:
        """Let `entry` go: the wheel would hold a closed connection, and all it holds, until its slot comes by."""
        if entry.slot >= 0:
            # Its slot is gone where it is being expired right now; `advance` then finds it without a deadline.
            self._slots.get(entry.slot, {}).pop(entry, None)
            entry.slot = -1

    def _put(self, entry: Timed, slot: int) -> None:
        slot = max(slot, self._last + 1)
        entry.slot = slot
        self._slots.setdefault(slot, {})[entry] = None

    def advance(self, now: float) -> None:
        """Expire what is due at `now`; later ones are put on."""
        current = int(now / self._tick)
        while self._last < current:
            self._last += 1
            for entry in self._slots.pop(self._last, ()):
                entry.slot = -1
                if entry.due <= now:
                    entry.expired()
                if entry.slot < 0 and entry.due != float("inf"):
                    self._put(entry, int(entry.due / self._tick) + 1)
