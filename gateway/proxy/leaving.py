"""What was written to a caller, and whether it has arrived there.

An answer has left when its last octet was written. It has arrived when the caller's kernel has acknowledged that octet,
and only then is its use on record as `complete`: a caller that went away before is on record as `aborted`, with the
octets that were acknowledged. On one machine and in most networks that is known a moment after writing; where it is
not, it is asked again as the clock ticks, when the caller says something, and when the connection ends.

Under TLS the kernel counts octets of TLS, which are more than ours: what is acknowledged is then told too low until all
of it is, never too high.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.domain.uses import Use
from gateway.proxy.kernel import acknowledged_bytes, descriptor, is_cut, unacknowledged_bytes, unsent_bytes

MAX_LEAVING = 64
"""Answers to one caller whose arrival is not known, before its next request waits; only one that pipelines has many."""


class Leaver(Protocol):
    """The exchange of an answer that has left.

    Attributes:
        use: whose answer it is.
    """

    use: Use | None

    def delivered(self) -> None:
        """The caller's kernel has the whole answer."""

    def undelivered(self, missing_bytes: int, end: str) -> None:
        """The answer's last `missing_bytes` were not acknowledged, and will not be."""


class Leaving:
    """What was written to one caller.

    Args:
        transport: the connection's.
        is_tls: whether it is TLS.

    Attributes:
        waiting: the answers that have left and of which it is not known whether they arrived: to which octet each goes.
    """

    __slots__ = ("_acknowledged", "_before", "_fd", "_has_eof", "_is_tls", "_transport", "_written", "waiting")

    def __init__(self, transport: asyncio.Transport, *, is_tls: bool) -> None:
        self._transport = transport
        self._is_tls = is_tls
        self._fd = descriptor(transport)
        self._before = acknowledged_bytes(self._fd)
        self._written = self._acknowledged = 0
        self._has_eof = False
        self.waiting: deque[tuple[int, Leaver]] = deque()

    @property
    def is_full(self) -> bool:
        """Whether the next request must wait until something has arrived."""
        return len(self.waiting) >= MAX_LEAVING

    def write(self, data: bytes) -> None:
        """Write to the caller."""
        self._written += len(data)
        self._transport.write(data)

    def write_all(self, pieces: Sequence[bytes]) -> None:
        """Write several pieces."""
        self._written += sum(map(len, pieces))
        self._transport.writelines(pieces)

    def write_eof(self) -> None:
        """Write no more."""
        if self._transport.can_write_eof():
            self._has_eof = True
            self._transport.write_eof()

    def add(self, exchange: Leaver) -> None:
        """An answer has left: all of it was written just now."""
        self.waiting.append((self._written, exchange))

    def missing_bytes(self) -> int:
        """Of all that was written, what has not been acknowledged; not to be asked once the transport is gone."""
        held = self._transport.get_write_buffer_size() + unacknowledged_bytes(self._fd)
        if held and self._has_eof:
            # The end of what is sent counts as an octet.
            held -= 1
        self._acknowledged = max(self._acknowledged, self._written - held)
        return self._written - self._acknowledged

    def unsent_bytes(self) -> int:
        """Of all that was written, what has not been sent."""
        return self._transport.get_write_buffer_size() + unsent_bytes(self._fd)

    @property
    def is_cut(self) -> bool:
        """Whether the connection was reset: nothing more will be acknowledged."""
        return is_cut(self._fd)

    def confirm(self) -> None:
        """Tell those whose answers have arrived."""
        if self.waiting:
            self.missing_bytes()
            self._tell_arrived()

    def _tell_arrived(self) -> None:
        while self.waiting and self.waiting[0][0] <= self._acknowledged:
            self.waiting.popleft()[1].delivered()

    def lost(self) -> None:
        """The connection has ended, and its transport is about to close: learn what can still be learned."""
        if not self._is_tls and self._fd >= 0:
            # What the transport held is gone by now, so what has arrived is asked for, not what has not.
            arrived = acknowledged_bytes(self._fd) - self._before
            self._acknowledged = max(self._acknowledged, min(arrived, self._written))
        self._fd = -1
        self._tell_arrived()

    @property
    def last_missing_bytes(self) -> int:
        """As `missing_bytes`, as far as is known already."""
        return self._written - self._acknowledged

    def give_up(self, end: str) -> None:
        """Nothing more will arrive: tell the others how their answers ended."""
        while self.waiting:
            through, exchange = self.waiting.popleft()
            exchange.undelivered(through - self._acknowledged, end)

    def is_under(self, matches: Callable[[Use], bool]) -> bool:
        """Whether octets of an answer under a use that `matches` may still wait here or in the kernel."""
        if not self.waiting or not self.unsent_bytes():
            return False
        return any(exchange.use is not None and matches(exchange.use) for _, exchange in self.waiting)
