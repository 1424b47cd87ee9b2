"""Whether a stop is settled on this node: the decision alone, without sockets, processes and a clock.

A worker is done with a change when it has applied it, when its process has ended, or when its pulse says that it has
cut everything since its last lease ran out. One that is none of these when its lease has run out is ended, and waited
for. Known are the workers that speak to this control process and those on the supervisor's roll that do not.
"""

from collections.abc import Callable, Mapping

import msgspec

from gateway.control.barrier.pulse import Signs
from gateway.control.barrier.roster import Roster

CUT_SECONDS = 0.3
"""How long a worker that lives may take to cut what streams once its lease has run out. The kernel ends it a little
later by itself (`runtime.link`)."""


class Process(msgspec.Struct, frozen=True):
    """A process that may hold a caller's socket.

    Args:
        name: `worker-N`.
        signs: reads what its pulse says; None where it has none.
    """

    name: str
    signs: Callable[[], Signs] | None = None


class Settled(msgspec.Struct, frozen=True):
    """How the workers of one node came to stop.

    Args:
        confirmed: workers that said so.
        out: workers whose lease has run out, or that ended.
    """

    confirmed: tuple[str, ...]
    out: tuple[str, ...]


class Look(msgspec.Struct):
    """What a look at one change found.

    Args:
        is_settled: whether nothing can leave under the state before it.
        end: processes to be ended: pid to name.
        out: names of those that are done without having applied it, or are to be ended.
    """

    is_settled: bool = True
    end: dict[int, str] = msgspec.field(default_factory=dict)
    out: set[str] = msgspec.field(default_factory=set)

    def wait(self) -> None:
        """Somebody may still release."""
        self.is_settled = False


def look(
    roster: Roster, processes: Mapping[int, Process], sequence: int, since: float, now: float, *, is_whole: bool
) -> Look:
    """Look at the change `sequence`, committed at `since` or before.

    Args:
        roster: who holds which lease and has applied what.
        processes: by pid, those that have not ended: on the roll, or connected.
        sequence: of the change.
        since: a moment after its commit.
        now: the moment.
        is_whole: whether `processes` has every process that an earlier control process may have granted a lease.
    """
    found = Look()
    # INVARIANT: BARRIER: only when every session has applied the change, is dead, or holds no lease and nothing of one.
    if (roster.position < sequence and now < since + roster.freshness) or roster.outstanding(sequence, since, now):
        found.wait()
    if not is_whole and now < roster.quiet_at:
        found.wait()
    if not found.is_settled:
        return found
    for key in roster.out(sequence):
        session = roster.session(key)
        found.out.add(session.worker)
        _end_unless_dry(found, session.pid, processes.get(session.pid), session.leased_until, now)
    met = {session.pid for _, session in roster if not session.dead}
    for pid, process in processes.items():
        if pid not in met:
            _look_at_stranger(found, pid, process, roster.quiet_at, now)
    return found


def _end_unless_dry(found: Look, pid: int, process: Process | None, lapsed_at: float, now: float) -> None:
    """What is to be done about a process whose lease ran out at `lapsed_at` and that has not applied the change."""
    if process is None:
        return
    if process.signs is None:
        found.end[pid] = process.name
        found.wait()
        return
    signs = process.signs()
    if not signs.may_hold:
        return
    found.wait()
    if now >= max(lapsed_at, signs.leased_until) + CUT_SECONDS:
        found.end[pid] = process.name


def _look_at_stranger(found: Look, pid: int, process: Process, quiet_at: float, now: float) -> None:
    """A process on the roll that has not spoken to this control process."""
    if now < quiet_at:
        # It may find a lease of the earlier control process in its socket.
        found.wait()
    elif process.signs is None or process.signs().may_hold:
        found.out.add(process.name)
        _end_unless_dry(found, pid, process, quiet_at, now)
