"""The hub: a Unix socket on a thread and an event loop of its own, so that nothing slow runs where leases are granted.

It keeps the last changes in memory for workers that come back, sends each worker what it lacks in order, grants
leases from the feed's last reading, and tells a waiting act when every worker has applied a change or can no longer
release anything. A worker whose lease has run out without an acknowledgement is killed by its pidfd: a stopped process
releases nothing itself, but what its kernel still holds for a caller would go on leaving.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from pathlib import Path

import msgspec

from gateway.control.barrier.lease_clock import lease_clock
from gateway.control.barrier.roster import Roster, Session
from gateway.control.barrier.wire import (
    CHANGES_A_FRAME,
    FORMAT,
    Ask,
    Changes,
    Counted,
    Down,
    Frames,
    Hello,
    Lease,
    Reset,
    Up,
    frame,
)
from gateway.domain.changes import Change
from gateway.domain.errors import GatewayError

log = logging.getLogger(__name__)

KEPT_CHANGES = 20_000
"""Changes kept for workers that come back; who is further behind drops everything."""

TICK_SECONDS = 0.02
"""How often leases that end are looked for while an act waits; acknowledgements are seen at once."""

BUFFER_BYTES = 4 << 20
"""What may wait for a worker that does not read; then it is sent a reset once it reads again."""


class Settled(msgspec.Struct, frozen=True):
    """How the workers of one node came to stop.

    Args:
        confirmed: workers that said so.
        out: workers whose lease has run out, or that ended.
    """

    confirmed: tuple[str, ...]
    out: tuple[str, ...]


class _Waiting(msgspec.Struct):
    sequence: int
    since: float
    future: "Future[Settled]"
    out: set[str]


class Hub:
    """The control process's end of the control socket.

    Args:
        path: where it listens; mode 0600.
        freshness: the freshness limit in seconds, at most 2.
        acknowledge_within: how long a worker may take to apply a change before its lease is no longer renewed.
        after_another: whether an earlier control process of this home may have granted leases that still run; then
            nothing settles until they have run out.
        kill: whether workers that are out are killed; only a test of the lease itself says False.
    """

    def __init__(
        self,
        path: Path,
        *,
        freshness: float = 2.0,
        acknowledge_within: float = 1.0,
        after_another: bool = True,
        kill: bool = True,
        clock: Callable[[], float] = lease_clock,
    ) -> None:
        self.path = path
        self.freshness = freshness
        self._clock = clock
        self._kill = kill and hasattr(os, "pidfd_open")
        self._roster = Roster(
            freshness=freshness,
            acknowledge_within=acknowledge_within,
            started=clock(),
            after_another=after_another,
        )
        self._kept: deque[Change] = deque(maxlen=KEPT_CHANGES)
        self._links: dict[int, _Link] = {}
        self._pidfds: dict[int, int] = {}
        self._counters: dict[str, bytes] = {}
        self._waiting: list[_Waiting] = []
        self._rewound = False
        self._reset_since: set[int] = set()
        self._next_key = 0
        self._ticking = False
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)
        self._server: asyncio.Server | None = None
        self._stopped = False

    # From other threads.

    def start(self, position: int) -> None:
        """Listen; `position` is where the feed stands now.

        Raises:
            GatewayError: `unavailable` if the socket cannot be made.
        """
        self._roster.position = position
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self.path.unlink(missing_ok=True)
            listener.bind(str(self.path))
            self.path.chmod(0o600)
        except OSError as error:
            listener.close()
            raise GatewayError("unavailable", f"cannot listen on the control socket `{self.path}`") from error
        self._server = self._loop.run_until_complete(
            self._loop.create_unix_server(lambda: _Link(self), sock=listener, backlog=128)
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the socket and every connection; acts that still wait are told so."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop)
            self._thread.join(5)

    def confirm(self, asked_at: float, position: int, changes: Sequence[Change]) -> None:
        """The feed was read: begun at `asked_at` (of this hub's clock), up to `position`, which gave `changes`."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the hub has stopped, and grants nothing
            self._loop.call_soon_threadsafe(self._confirm, asked_at, position, tuple(changes))

    def settle(self, sequence: int, since: float | None = None) -> "Future[Settled]":
        """Done when no worker can release one more byte under the state before `sequence`.

        Args:
            sequence: of a committed change.
            since: a moment after that commit; default now.
        """
        future: Future[Settled] = Future()
        waiting = _Waiting(sequence, self._clock() if since is None else since, future, set())
        try:
            self._loop.call_soon_threadsafe(self._wait, waiting)
        except RuntimeError:
            future.set_exception(_interrupted())
        return future

    def counters(self) -> dict[str, bytes]:
        """The last counters of every connected worker, as they sent them."""
        return dict(self._counters)

    def workers(self) -> dict[str, bool]:
        """Names of connected workers, and whether each has applied everything."""
        position = self._roster.position
        return {session.worker: session.applied >= position for _, session in list(self._roster) if session.connected}

    # On the hub's loop.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _stop(self) -> None:
        self._stopped = True
        if self._server is not None:
            self._server.close()
        for link in list(self._links.values()):
            link.close()
        for waiting in self._waiting:
            with contextlib.suppress(InvalidStateError):
                waiting.future.set_exception(_interrupted())
        self._waiting.clear()
        for key in list(self._pidfds):
            self._release_pidfd(key)
        self._loop.call_soon(self._loop.stop)

    def _confirm(self, asked_at: float, position: int, changes: tuple[Change, ...]) -> None:
        known = self._roster.position
        if position < known:
            self._rewind(position)
        fresh = [change for change in changes if change.sequence > known]
        if position > known and (not fresh or fresh[0].sequence != known + 1 or fresh[-1].sequence != position):
            self._kept.clear()
            fresh = []
        self._kept.extend(fresh)
        self._roster.confirm(asked_at, position, self._clock())
        for link in self._links.values():
            link.catch_up()
        if self._waiting:
            self._look()

    def _rewind(self, position: int) -> None:
        """The feed went back (a failover that lost commits): nothing that workers applied counts any more."""
        log.error("the change feed went back to %d: every worker starts anew", position)
        self._rewound = True
        self._reset_since.clear()
        self._kept.clear()
        self._roster.rewind(position, self._clock())
        for link in list(self._links.values()):
            link.close()

    def _wait(self, waiting: _Waiting) -> None:
        if self._stopped:
            waiting.future.set_exception(_interrupted())
            return
        self._waiting.append(waiting)
        self._look()

    def _tick(self) -> None:
        self._ticking = False
        self._look()

    def _look(self) -> None:
        now = self._clock()
        self._waiting = [waiting for waiting in self._waiting if not self._is_settled(waiting, now)]
        if self._waiting and not self._ticking:
            self._ticking = True
            self._loop.call_later(TICK_SECONDS, self._tick)

    def _is_settled(self, waiting: _Waiting, now: float) -> bool:
        """Whether nothing can leave under the state before the change; wakes who waits.

        INVARIANT: BARRIER: only when every session has applied the change, is dead, or holds no lease.
        """
        if waiting.future.cancelled():
            return True
        untold = self._roster.position < waiting.sequence and now < waiting.since + self.freshness
        if untold or not self._roster.is_quiet(now):
            return False
        if self._roster.outstanding(waiting.sequence, waiting.since, now):
            return False
        for key in self._roster.out(waiting.sequence):
            session = self._roster.session(key)
            waiting.out.add(session.worker)
            if self._kill and self._is_killed_but_alive(key, session):
                return False
        self._roster.forget_ended(now)
        confirmed = tuple(
            sorted(s.worker for _, s in self._roster if s.applied >= waiting.sequence and s.worker not in waiting.out)
        )
        with contextlib.suppress(InvalidStateError):  # who waited has just given up
            waiting.future.set_result(Settled(confirmed, tuple(sorted(waiting.out))))
        return True

    def _is_killed_but_alive(self, key: int, session: Session) -> bool:
        """Kill a worker that is out; True while it has not ended yet."""
        pidfd = self._pidfds.get(key)
        if pidfd is None:
            return False
        log.warning("worker `%s` did not acknowledge and its lease has run out: it is ended", session.worker)
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            self.process_ended(key)
            return False
        except OSError:
            log.error("worker `%s` cannot be ended; its lease has run out", session.worker)
            return False
        return True

    def joined(self, link: "_Link", hello: Hello, pid: int) -> int:
        """A worker has introduced itself; the key of its session."""
        self._next_key += 1
        key = self._next_key
        self._links[key] = link
        self._roster.join(key, hello.worker, pid, self.resumes_after(hello, pid) or 0, self._clock())
        if pid and hasattr(os, "pidfd_open"):
            try:
                self._pidfds[key] = os.pidfd_open(pid)
            except OSError:
                return key
            self._loop.add_reader(self._pidfds[key], self.process_ended, key)
        return key

    def resumes_after(self, hello: Hello, pid: int) -> int | None:
        """The change after which a worker goes on, or None where it has to start anew."""
        if hello.after is None or hello.after > self.position:
            return None
        return None if self._rewound and pid not in self._reset_since else hello.after

    def was_reset(self, pid: int) -> None:
        """A worker was sent a reset."""
        self._reset_since.add(pid)

    @property
    def position(self) -> int:
        """The last change this process has read."""
        return self._roster.position

    def left(self, key: int) -> None:
        """A worker's connection is gone."""
        self._links.pop(key, None)
        self._roster.leave(key)
        self._counters.pop(self._roster.session(key).worker, None)
        self._roster.forget_ended(self._clock())
        self._release_forgotten()
        if self._waiting:
            self._look()

    def process_ended(self, key: int) -> None:
        """A worker's process has ended: its sockets are closed and nothing leaves it."""
        if self._roster.is_known(key):
            self._roster.died(key)
        self._release_pidfd(key)
        if self._waiting:
            self._look()

    def heard(self, key: int, message: Up) -> Down | None:
        """A message of a worker after its `Hello`; the answer, if one is due."""
        now = self._clock()
        if isinstance(message, Counted):
            self._counters[self._roster.session(key).worker] = message.counters
            return None
        if isinstance(message, Hello):
            raise GatewayError("malformed-request", "a worker introduced itself twice")
        sequence = message.applied if isinstance(message, Ask) else message.sequence
        self._roster.applied(key, sequence, now)
        if self._waiting:
            self._look()
        if isinstance(message, Ask):
            return Lease(message.number, self._roster.lease(key, now), self._roster.position)
        return None

    def since(self, sequence: int) -> Changes | Reset | None:
        """What follows `sequence`: the next changes, a reset where they are no longer kept, or None."""
        position = self._roster.position
        if sequence == position:
            return None
        if not self._kept or sequence + 1 < self._kept[0].sequence:
            return Reset(position)
        skip = sequence + 1 - self._kept[0].sequence
        some = tuple(self._kept[i] for i in range(skip, min(skip + CHANGES_A_FRAME, len(self._kept))))
        return Changes(sequence, some)

    def _release_forgotten(self) -> None:
        for key in list(self._pidfds):
            if not self._roster.is_known(key):
                self._release_pidfd(key)

    def _release_pidfd(self, key: int) -> None:
        pidfd = self._pidfds.pop(key, None)
        if pidfd is not None:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)


class _Link(asyncio.Protocol):
    """One worker's connection."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._frames = Frames()
        self._key: int | None = None
        self._sent = 0
        self._transport: asyncio.Transport | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=BUFFER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        if self._key is not None:
            self._hub.left(self._key)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.catch_up()

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                self._receive(_decoder.decode(body))
        except (GatewayError, msgspec.MsgspecError) as error:
            log.error("a worker broke the control socket's rules (%s): its connection is closed", type(error).__name__)
            self.close()

    def _receive(self, message: Up) -> None:
        if self._key is None:
            if not isinstance(message, Hello) or message.format != FORMAT:
                raise GatewayError("malformed-request", "a worker of another release")
            pid = _peer_pid(self._transport)
            after = self._hub.resumes_after(message, pid)
            self._key = self._hub.joined(self, message, pid)
            if after is None:
                self._sent = self._hub.position
                self._send(Reset(self._sent))
                self._hub.was_reset(pid)
            else:
                self._sent = after
            self.catch_up()
            return
        answer = self._hub.heard(self._key, message)
        if answer is not None and not self._paused:
            self._send(answer)

    def catch_up(self) -> None:
        """Send what the worker lacks, in order."""
        while not self._paused and self._transport is not None:
            message = self._hub.since(self._sent)
            if message is None:
                return
            self._send(message)
            self._sent = message.sequence if isinstance(message, Reset) else message.changes[-1].sequence

    def _send(self, message: Down) -> None:
        if self._transport is not None:
            self._transport.write(frame(message))


_decoder = msgspec.msgpack.Decoder(Up)


def _peer_pid(transport: asyncio.Transport | None) -> int:
    """The pid of the process that connected, by the kernel's word; 0 where it gives none."""
    peer = transport.get_extra_info("socket") if transport is not None else None
    if peer is None or not hasattr(socket, "SO_PEERCRED"):
        return 0
    pid, _, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(pid)


def _interrupted() -> GatewayError:
    return GatewayError("barrier-incomplete", "the control process is stopping; the stop itself is committed")
