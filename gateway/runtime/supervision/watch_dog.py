"""The supervisor's eye on its workers: which processes may hold callers' sockets, and which of them must be ended.

Every worker process that was started stays on the roll until it has ended, also one that was given up. A worker is
ended, whether anybody waits for a stop or not and whether the control process lives or not,

- when its lease has run out and it has not cut everything shortly after (INVARIANT: BARRIER; its kernel does the same
  by a timer of the worker's own a little later, should the supervisor stand still);
- when its loop has stood for more than two seconds.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

from gateway.control.barrier.lease_clock import lease_clock
from gateway.control.barrier.pulse import ENDING, Pulse, make_page
from gateway.control.barrier.roll import RollCaller
from gateway.control.barrier.settling import CUT_SECONDS
from gateway.runtime.supervision.heartbeat import read_stack

log = logging.getLogger("gateway.supervisor")

LOOK_SECONDS = 0.1
STANDS_SECONDS = 2.0
"""How long a worker's loop may stand."""
REASONS = ("lease", "loop")
"""Why a worker was ended: it did not cut when its lease ran out, or its loop stood."""


_HELD = {"T": "it was stopped", "t": "it was traced"}
"""By the kernel's word: whatever its loop did before, this is why it does not turn."""


class Watched:
    """One worker process.

    Args:
        name: `worker-N`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.page = make_page(name)
        self.stack = os.memfd_create(f"stack-{name}")
        for descriptor in (self.page, self.stack):
            os.set_inheritable(descriptor, True)
        self.pulse = Pulse(self.page)
        self.pid = 0
        self.pidfd = -1
        self.is_ready = False
        self.ended_for: str | None = None
        self._beat = 0.0
        self._looks = 0

    def fault(self, now: float) -> str | None:
        """Why it must be ended, one of `REASONS`, or None; called every `LOOK_SECONDS`.

        How long the loop stands is counted in looks: a supervisor that stood still itself, or a machine that slept,
        has seen nothing.
        """
        signs = self.pulse.read()
        if signs.may_hold and now > signs.leased_until + CUT_SECONDS:
            return "lease"
        if not self.is_ready or signs.beat == ENDING or signs.beat != self._beat:
            self._beat, self._looks = signs.beat, 0
            return None
        self._looks += 1
        return "loop" if self._looks * LOOK_SECONDS > STANDS_SECONDS else None

    def why(self) -> str:
        """What is known of where and how it stood, as half a sentence."""
        state = _state_of(self.pid)
        if state in _HELD:
            return _HELD[state]
        stack = read_stack(self.stack)
        if stack:
            return f"its loop stood at {' < '.join(stack)}"
        return "it waited for a disk or a device" if state == "D" else "its loop did not turn"

    def close(self) -> None:
        """It has ended."""
        self.pulse.close()
        for descriptor in (self.page, self.stack, self.pidfd):
            if descriptor >= 0:
                os.close(descriptor)


class WatchDog:
    """All worker processes of one supervisor that have not ended.

    Args:
        clock: the clock of leases.
    """

    def __init__(self, clock: Callable[[], float] = lease_clock) -> None:
        self._clock = clock
        self._watched: dict[int, Watched] = {}
        self._callers: list[RollCaller] = []
        self.ended: dict[tuple[str, str], int] = {}

    def started(self, watched: Watched, pid: int) -> None:
        """A worker process runs: it is on the roll from now until it has ended."""
        watched.pid = pid
        try:
            watched.pidfd = os.pidfd_open(pid)
        except OSError:
            watched.close()
            return
        self._watched[pid] = watched
        asyncio.get_running_loop().add_reader(watched.pidfd, self._has_ended, pid)
        self._call()

    def roll(self) -> RollCaller:
        """A roll for a control process that is about to start, in place of its predecessor's."""
        for caller in self._callers:
            caller.close()
        caller = RollCaller()
        self._callers = [caller]
        self._call()
        caller.complete()
        return caller

    def processes(self) -> list[tuple[str, int]]:
        """Name and process id of everything on the roll."""
        return [(watched.name, pid) for pid, watched in self._watched.items()]

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """End who must be ended, and call who could not be told of."""
        now = self._clock()
        for watched in list(self._watched.values()):
            reason = watched.fault(now)
            if reason is not None:
                self._end(watched, reason)
        self._call()

    def _call(self) -> None:
        for caller in self._callers:
            for watched in self._watched.values():
                caller.call(watched.name, watched.pid, watched.pidfd, watched.page)

    def _end(self, watched: Watched, reason: str) -> None:
        if watched.ended_for is None:
            watched.ended_for = reason
            self._count(watched, reason)
        # Again at every look: a process that waits for a device ends when that answers.
        try:
            signal.pidfd_send_signal(watched.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _count(self, watched: Watched, reason: str) -> None:
        said = {
            "lease": "its lease on the state ran out and it did not cut",
            "loop": f"its loop stood for more than {STANDS_SECONDS:.0f} s",
        }
        self.ended[watched.name, reason] = self.ended.get((watched.name, reason), 0) + 1
        log.error("%s (%d) is ended and replaced: %s; %s", watched.name, watched.pid, said[reason], watched.why())

    def _has_ended(self, pid: int) -> None:
        watched = self._watched.pop(pid)
        asyncio.get_running_loop().remove_reader(watched.pidfd)
        signs = watched.pulse.read()
        if watched.ended_for is None and signs.may_hold and self._clock() > signs.leased_until:
            self._count(watched, "lease")
        for caller in self._callers:
            caller.forget(watched.pidfd)
        watched.close()

    def close(self) -> None:
        """Watch no more."""
        for caller in self._callers:
            caller.close()
        for watched in self._watched.values():
            asyncio.get_running_loop().remove_reader(watched.pidfd)
            watched.close()
        self._watched.clear()


def _state_of(pid: int) -> str:
    """The process's state by the kernel's word (`proc(5)`), or an empty text."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
