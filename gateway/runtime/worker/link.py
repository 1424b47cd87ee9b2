"""A worker's end of the control socket: changes come down and are applied, leases are asked for and held.

The link runs on the worker's own loop, because what a change drops and cuts lives there. It reconnects by itself and
goes on after the last change it applied. `is_fresh` is one comparison, asked before every release.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec

from gateway.control.barrier.lease_clock import lease_clock
from gateway.control.barrier.pulse import Pulse
from gateway.control.barrier.settling import CUT_SECONDS
from gateway.control.barrier.wire import FORMAT, Applied, Ask, Counted, Down, Frames, Hello, Lease, Reset, Up, frame
from gateway.domain.changes import Change
from gateway.domain.errors import GatewayError
from gateway.runtime.worker.kernel_end import KernelEnd

log = logging.getLogger(__name__)

ASK_SECONDS = 0.25
"""How often a lease is asked for: several questions may be lost before a lease of 2 s runs out."""

COUNTERS_SECONDS = 1.0
"""How often counters go up."""

TURNS = 2
"""Turns of the loop between cutting and acknowledging: one closes the sockets (uvloop, asyncio), one is spare."""

END_SECONDS = CUT_SECONDS + 0.2
"""How long after its lease a worker that has not cut is ended by its kernel; hub and supervisor end it before."""

RETRY_SECONDS = 0.05
"""First pause before connecting again; it doubles up to `RETRY_MOST_SECONDS`."""

RETRY_MOST_SECONDS = 0.5


class Link:
    """The worker's side of the barrier.

    Args:
        socket_path: the hub's socket.
        worker: this worker's name.
        on_change: drop and cut what one change asks for; done when it returns. Called on the loop, in feed order.
        on_reset: drop and cut everything: what changed up to the given place in the feed can no longer be told one
            by one; the place is 0 where it is not known.
        on_stale: the lease has run out: cut what streams, since nothing more may leave.
        counters: the worker's counters in an encoding of its own, sent up every second; None where it has none.
        pulse: where lease and cut are seen by others; None where nobody looks.
        kernel_end: ends this process should it not cut when the lease runs out; None where nothing does.
        clock: the hub's clock (`lease_clock`).
    """

    def __init__(
        self,
        socket_path: Path,
        worker: str,
        on_change: Callable[[Change], None],
        *,
        on_reset: Callable[[int], None],
        on_stale: Callable[[], None] = lambda: None,
        counters: Callable[[], bytes | None] = lambda: None,
        pulse: Pulse | None = None,
        kernel_end: KernelEnd | None = None,
        clock: Callable[[], float] = lease_clock,
    ) -> None:
        self._path = socket_path
        self._worker = worker
        self._on_change = on_change
        self._on_reset = on_reset
        self._on_stale = on_stale
        self._counters = counters
        self._pulse = pulse
        self._kernel_end = kernel_end
        self._clock = clock
        self._applied: int | None = None
        self._history = ""
        self._said = 0
        self._fresh_until = 0.0
        self._asked: dict[int, float] = {}
        self._number = 0
        self._connection: _Connection | None = None
        self._stale_timer: asyncio.TimerHandle | None = None
        self._became_fresh = asyncio.Event()

    def is_fresh(self) -> bool:
        """Whether the lease on the state still holds now (INVARIANT: STALE-DENIES)."""
        return self._clock() < self._fresh_until

    @property
    def sequence(self) -> int:
        """The last change applied; 0 before the first connection."""
        return self._applied or 0

    async def wait_fresh(self) -> None:
        """Return once a lease is held; a worker opens its doors after that."""
        while not self.is_fresh():
            self._became_fresh.clear()
            await self._became_fresh.wait()

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        loop = asyncio.get_running_loop()
        pause = RETRY_SECONDS
        try:
            while True:
                try:
                    _, connection = await loop.create_unix_connection(lambda: _Connection(self), str(self._path))
                except OSError:
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, RETRY_MOST_SECONDS)
                    continue
                pause = RETRY_SECONDS
                self._connection = connection
                try:
                    await self._keep_asking(connection)
                finally:
                    self._connection = None
                    connection.close()
                await asyncio.sleep(pause)
        finally:
            self._fresh_until = 0.0
            if self._stale_timer is not None:
                self._stale_timer.cancel()

    async def _keep_asking(self, connection: "_Connection") -> None:
        self._asked.clear()
        self._said = 0
        connection.send(Hello(FORMAT, self._worker, self._applied, self._history))
        next_counters = self._clock()
        while not connection.lost.is_set():
            if self._applied is not None:
                self._ask(connection)
            if self._clock() >= next_counters:
                counters = self._counters()
                if counters is not None:
                    connection.send(Counted(counters))
                next_counters = self._clock() + COUNTERS_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connection.lost.wait(), ASK_SECONDS)

    def _ask(self, connection: "_Connection") -> None:
        self._number += 1
        self._asked[self._number] = self._clock()
        while len(self._asked) > 64:
            del self._asked[next(iter(self._asked))]
        connection.send(Ask(self._number, self._said))

    def receive(self, connection: "_Connection", message: Down) -> None:
        """Apply one message of the hub; raises where the hub broke the rules or a change could not be applied."""
        if isinstance(message, Lease):
            self._take(message)
            return
        if isinstance(message, Reset):
            self._on_reset(message.sequence)
            self._applied, self._history = message.sequence, message.history
            self._acknowledge(connection, message.sequence, TURNS)
            return
        if self._applied is None or message.after != self._applied:
            raise GatewayError("malformed-request", "changes with a gap")
        for change in message.changes:
            self._on_change(change)
            self._applied = change.sequence
        self._acknowledge(connection, self._applied, TURNS)

    def _acknowledge(self, connection: "_Connection", sequence: int, turns: int) -> None:
        """Say that all up to `sequence` is applied, once the loop has closed the sockets that were cut."""
        # INVARIANT: BARRIER: a transport closes its socket in a later turn of the loop than it is aborted in; until
        # then the kernel may still hand out what was written.
        if turns:
            asyncio.get_running_loop().call_soon(self._acknowledge, connection, sequence, turns - 1)
            return
        if self._applied is None or connection is not self._connection:
            return
        first = not self._said
        self._said = sequence
        connection.send(Applied(sequence))
        if first:
            self._ask(connection)

    def _take(self, lease: Lease) -> None:
        asked_at = self._asked.pop(lease.number, None)
        if asked_at is None or self._applied is None:
            return
        if lease.position > self._applied:
            raise GatewayError("malformed-request", "a lease ahead of its changes")
        until = asked_at + lease.milliseconds / 1000
        if lease.milliseconds and until > self._fresh_until:
            # INVARIANT: BARRIER: before anything is released under the lease, others can see it and the kernel knows
            # when to end this process, whatever becomes of it.
            if self._pulse is not None:
                self._pulse.leased(until)
            if self._kernel_end is not None:
                self._kernel_end.at(until + END_SECONDS)
            self._fresh_until = until
            self._became_fresh.set()
            if self._stale_timer is None:
                self._watch_lease()

    def _watch_lease(self) -> None:
        left = self._fresh_until - self._clock()
        if left > 0:
            self._stale_timer = asyncio.get_running_loop().call_later(left + 0.001, self._watch_lease)
            return
        self._stale_timer = None
        log.warning("worker `%s` has lost touch with its control process and denies until it is back", self._worker)
        self._on_stale()
        self._dry(TURNS)

    def _dry(self, turns: int) -> None:
        """Say that nothing leaves any more, once the loop has closed the sockets that were cut (as `_acknowledge`)."""
        if turns:
            asyncio.get_running_loop().call_soon(self._dry, turns - 1)
        elif not self.is_fresh():
            if self._pulse is not None:
                self._pulse.dried()
            if self._kernel_end is not None:
                self._kernel_end.never()

    def close(self) -> None:
        """Everything was cut and nothing will be released: call it when `run` has been cancelled."""
        self._fresh_until = 0.0
        self._dry(0)

    def fail(self) -> None:
        """A change could not be applied: nothing held may be trusted, so everything goes and the lease with it."""
        self._fresh_until = 0.0
        self._applied = None
        self._said = 0
        with contextlib.suppress(Exception):
            self._on_reset(0)


class _Connection(asyncio.Protocol):
    """One connection to the hub."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not a check: uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        self.lost.set()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def send(self, message: Up) -> None:
        if self._transport is not None:
            self._transport.write(frame(message))

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                self._link.receive(self, _decoder.decode(body))
        except Exception as error:  # noqa: BLE001 - an unapplied change must never be acknowledged or survived
            log.error("the control socket failed (%s): everything held is dropped", type(error).__name__)
            self._link.fail()
            self.close()


_decoder = msgspec.msgpack.Decoder(Down)
