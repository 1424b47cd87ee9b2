"""The hub: a Unix socket on a thread and an event loop of its own, so that nothing slow runs where leases are granted.

It keeps the last changes in memory for workers that come back, sends each worker what it lacks in order, grants
leases from the feed's last reading, and tells a waiting act when every worker has applied a change or can no longer
release anything. A worker whose lease has run out without an acknowledgement is killed by its pidfd: a stopped process
releases nothing itself, but what its kernel still holds for a caller would go on leaving. Workers that never spoke to
this process are known from the supervisor's roll, see `settling`.
"""

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from pathlib import Path

import msgspec

from gateway.control.barrier.hub_link import HubLink
from gateway.control.barrier.lease_clock import lease_clock
from gateway.control.barrier.roll import OnRoll, RollReader
from gateway.control.barrier.roster import Roster
from gateway.control.barrier.settling import Process, Settled, look
from gateway.control.barrier.wire import CHANGES_A_FRAME, Ask, Changes, Counted, Down, Hello, Lease, Reset, Up
from gateway.domain.changes import Change
from gateway.domain.errors import GatewayError

log = logging.getLogger(__name__)

KEPT_CHANGES = 20_000
"""Changes kept for workers that come back; who is further behind drops everything."""

TICK_SECONDS = 0.02
"""How often leases that end are looked for while an act waits; acknowledgements are seen at once."""


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
        roll: tells of every process that may hold a caller's socket; None where no supervisor stands above.
        loop: where it runs, on a thread of its own; a simulation brings one that needs none.
    """

    def __init__(
        self,
        path: Path,
        *,
        freshness: float = 2.0,
        acknowledge_within: float = 1.0,
        after_another: bool = True,
        kill: bool = True,
        roll: RollReader | None = None,
        clock: Callable[[], float] = lease_clock,
        loop: asyncio.AbstractEventLoop | None = None,
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
        self._links: dict[int, HubLink] = {}
        self._roll = roll
        self._processes: dict[int, Process] = {}
        self._pidfds: dict[int, int] = {}
        self._ended: set[int] = set()
        self._counters: dict[str, bytes] = {}
        self._waiting: list[_Waiting] = []
        self._rewound = False
        self._history = ""
        self._reset_since: set[int] = set()
        self._next_key = 0
        self._ticking = False
        self._loop = loop or asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)
        self._server: asyncio.Server | None = None
        self._stopped = False

    # From other threads.

    def start(self, position: int, history: str = "") -> None:
        """Listen; `position` is where the feed stands now, in which history of the state.

        Raises:
            GatewayError: `unavailable` if the socket cannot be made, or the roll is not whole.
        """
        self._roster.position = position
        self._history = history
        if self._roll is not None:
            self._roll.read_whole(self._started)
            self._loop.add_reader(self._roll.fileno(), self._read_roll)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self.path.unlink(missing_ok=True)
            listener.bind(str(self.path))
            self.path.chmod(0o600)
        except OSError as error:
            listener.close()
            raise GatewayError("unavailable", f"cannot listen on the control socket `{self.path}`") from error
        self._server = self._loop.run_until_complete(
            self._loop.create_unix_server(lambda: HubLink(self), sock=listener, backlog=128)
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

    def enter(self, history: str) -> None:
        """The state goes on in another history: the same numbers name other changes. Said before it is confirmed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._enter, history)

    def _enter(self, history: str) -> None:
        self._history = history

    @property
    def history(self) -> str:
        """In which history of the state its changes count."""
        return self._history

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
        for pid in list(self._processes):
            self._release(pid)
        if self._roll is not None:
            self._loop.remove_reader(self._roll.fileno())
            self._roll.close()
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
        """Whether nothing can leave under the state before the change; wakes who waits."""
        if waiting.future.cancelled():
            return True
        found = look(
            self._roster,
            self._processes,
            waiting.sequence,
            waiting.since,
            now,
            is_whole=self._roll is not None,
        )
        waiting.out |= found.out
        if self._kill:
            for pid, name in found.end.items():
                self._end(pid, name)
            if not found.is_settled:
                return False
        elif not found.is_settled and not found.end:
            return False
        self._roster.forget_ended(now)
        confirmed = tuple(
            sorted(s.worker for _, s in self._roster if s.applied >= waiting.sequence and s.worker not in waiting.out)
        )
        with contextlib.suppress(InvalidStateError):  # who waited has just given up
            waiting.future.set_result(Settled(confirmed, tuple(sorted(waiting.out))))
        return True

    def _end(self, pid: int, name: str) -> None:
        """Kill a worker that is out; it counts until its descriptor says that it has ended."""
        if pid not in self._ended:
            self._ended.add(pid)
            log.warning("worker `%s` did not acknowledge and its lease has run out: it is ended", name)
        try:
            signal.pidfd_send_signal(self._pidfds[pid], signal.SIGKILL)
        except ProcessLookupError:
            self._loop.call_soon(self.process_ended, pid)
        except OSError:
            log.error("worker `%s` cannot be ended; its lease has run out", name)

    # Processes.

    def _read_roll(self) -> None:
        assert self._roll is not None
        if not self._roll.read_on(self._started):
            self._loop.remove_reader(self._roll.fileno())

    def _started(self, entry: OnRoll) -> None:
        """The supervisor tells of a process."""
        earlier = self._pidfds.get(entry.pid)
        if earlier is not None and select.select([earlier], [], [], 0)[0]:
            # That was another process of this id, whose end was not seen yet.
            self.process_ended(entry.pid)
        elif earlier is not None:
            # It has connected before its supervisor was heard.
            os.close(entry.pidfd)
            self._processes[entry.pid] = Process(entry.name, entry.pulse.read)
            return
        self._know(entry.pid, entry.pidfd, Process(entry.name, entry.pulse.read))

    def _know(self, pid: int, pidfd: int, process: Process) -> None:
        self._processes[pid] = process
        self._pidfds[pid] = pidfd
        self._loop.add_reader(pidfd, self.process_ended, pid)

    def joined(self, link: HubLink, hello: Hello, pid: int) -> int:
        """A worker has introduced itself; the key of its session."""
        self._next_key += 1
        key = self._next_key
        self._links[key] = link
        if pid and pid not in self._processes and hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self._know(pid, os.pidfd_open(pid), Process(hello.worker))
        known = self._processes.get(pid)
        if known is not None and known.signs is not None:
            leased_until = known.signs().leased_until
        else:
            leased_until = self._roster.quiet_at if hello.after is not None else 0.0
        self._roster.join(
            key,
            hello.worker,
            pid,
            self.resumes_after(hello, pid) or 0,
            self._clock(),
            leased_until=leased_until,
        )
        return key

    def resumes_after(self, hello: Hello, pid: int) -> int | None:
        """The change after which a worker goes on, or None where it has to start anew."""
        # INVARIANT: BARRIER: what was applied in a history that a failover ended says nothing of this one, whichever
        # control process the worker heard it from.
        if hello.after is None or hello.after > self.position or hello.history != self._history:
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
        if self._roll is None:
            # With a roll a process is known until it has ended, spoken to or not.
            for pid in self._processes.keys() - {session.pid for _, session in self._roster}:
                self._release(pid)
        if self._waiting:
            self._look()

    def process_ended(self, pid: int) -> None:
        """A worker's process has ended: its sockets are closed and nothing leaves it."""
        for key, session in self._roster:
            if session.pid == pid:
                self._roster.died(key)
        self._release(pid)
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
            return Reset(position, self._history)
        skip = sequence + 1 - self._kept[0].sequence
        some = tuple(self._kept[i] for i in range(skip, min(skip + CHANGES_A_FRAME, len(self._kept))))
        return Changes(sequence, some)

    def _release(self, pid: int) -> None:
        self._ended.discard(pid)
        self._processes.pop(pid, None)
        pidfd = self._pidfds.pop(pid, None)
        if pidfd is not None:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)


def _interrupted() -> GatewayError:
    return GatewayError("barrier-incomplete", "the control process is stopping; the stop itself is committed")
