"""The state database of the simulation: one primary, a standby that may lag, and nodes that may not reach it.

Which of two primaries a node uses is judged by the real `judge`, and what a call may under forbids and permits by the
real `Answer`.
"""

from collections.abc import Callable
from copy import copy
from datetime import date
from types import SimpleNamespace
from typing import Any

from gateway.domain.changes import Change, ChangeKind
from gateway.domain.errors import GatewayError, InDoubtError
from gateway.domain.officers import Officer, Role, Session
from gateway.policy.live.slices import Answer
from gateway.store import Node, servers
from gateway.store.servers import History as Line
from gateway.store.servers import Host, Told
from gateway.store.values import Answer as Answered
from tests.simulation.loop import World


class State:
    """What is committed, in the order of its journal, so that a standby has a beginning of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.changes: list[Change] = []
        self.times: list[float] = []
        self.books: dict[str, list[float]] = {}
        self.number = 1
        self.is_down = False
        self.cut_off: set[str] = set()
        self.began = 0.0
        self.old: State | None = None
        """The primary before a failover, where it is still there: it answers, and no standby confirms its commits."""
        self.old_reaches: set[str] = set()
        self.is_confirmed = True
        self.asked: Callable[[str, int, bool], None] = lambda *_: None
        """Told of each question: the node, the number of the primary, whether the node reaches two of them."""
        self.leases: list[tuple[float, int]] = []
        self.breaks_off: set[str] = set()
        """Nodes whose connection breaks at a commit: before it is done, or after."""
        self.dismissed: dict[str, float] = {}
        self.committed: Callable[[str, int, str], None] = lambda *_: None
        """Told of each stop: the grant, the change, whose act it is."""
        self._answers: dict[tuple[str, str], tuple[float, Answered]] = {}
        self._acts: dict[str, float] = {}
        self.lost_acts: set[str] = set()
        self._journal: list[tuple[float, str, float, float]] = []

    @staticmethod
    def kind_of(grant: str) -> ChangeKind:
        """What a stop of a grant takes away: the grant, or the interface that it is used at."""
        return ChangeKind.INTERFACE if int(grant[1:]) % 2 else ChangeKind.GRANT

    @classmethod
    def change_of(cls, sequence: int, grant: str, *, withdraws: bool) -> Change:
        """What the feed tells of a stop, or of another grant like it."""
        return Change(sequence, cls.kind_of(grant), f"supplier/{grant}", grant=grant, withdraws=withdraws)

    def commit(self, grant: str, *, withdraws: bool = True) -> Change:
        """A grant is suspended; or another one like it is issued."""
        self._require_confirmed()
        change = self.change_of(len(self.changes) + 1, grant, withdraws=withdraws)
        self.changes.append(change)
        self.times.append(self.world.now)
        return change

    def apply(self, tx: Any) -> None:
        """What an officer's act has written stands from now on."""
        now = self.world.now
        for grant in tx.stops:
            self.commit(grant)
        for (key, officer), answer in tx.answers.items():
            self._answers[key, officer] = now, answer
        self._acts.update(dict.fromkeys(tx.noted, now))
        for change in tx.changes:
            self.committed(change.grant or "", change.sequence, next(iter(tx.answers))[1])

    def session(self, id: str) -> Session:  # noqa: A002 - as the store has it
        return Session(id, id, "password", 0, 1 << 40)

    def officer(self, id: str) -> Officer:  # noqa: A002 - as the store has it
        return Officer(id, "supplier", "440000", (Role.SUPPLIER,), active=id not in self.dismissed)

    def answer_of(self, key: str, officer: str) -> Answered | None:
        found = self._answers.get((key, officer))
        return found[1] if found else None

    def acts(self) -> set[str]:
        """The records of the acts that stand."""
        return set(self._acts)

    def note(self, node: str, field: int, value: float) -> None:
        """A node's beat (0) or what it has acknowledged (1); neither goes back."""
        self._require_confirmed()
        book = self.books.setdefault(node, [0.0, 0.0])
        book[field] = max(book[field], value)
        self._journal.append((self.world.now, node, field, value))

    def lease(self, block: int, limit: int, least: int) -> int:
        """A block of the quota, as `lease_quota` gives it."""
        self._require_confirmed()
        left = limit - self.leased()
        taken = min(block, left) if left >= least else 0
        self.leases.append((self.world.now, taken))
        return taken

    def leased(self) -> int:
        return sum(taken for _, taken in self.leases)

    def _require_confirmed(self) -> None:
        if not self.is_confirmed:
            raise GatewayError("unavailable", "no standby confirms the commit")

    def leave_old(self) -> None:
        """The primary of now stays, cut off from its standby and from other nodes, while another one takes over."""
        self.old, self.old_reaches = copy(self), set()
        self.old.old, self.old.is_confirmed = None, False
        self.old.changes, self.old.leases = list(self.changes), list(self.leases)
        self.old._answers, self.old._acts = dict(self._answers), dict(self._acts)
        self.old.dismissed = dict(self.dismissed)
        self.old.books = {name: list(book) for name, book in self.books.items()}

    def fail_over(self, lag: float) -> list[str]:
        """A standby that lacks the last `lag` seconds is promoted; the grants whose suspension it lacks."""
        until = self.world.now - lag
        kept = sum(time <= until for time in self.times)
        lost = [change.grant or "" for change in self.changes[kept:] if change.withdraws]
        self.leases = [each for each in self.leases if each[0] <= until]
        del self.changes[kept:], self.times[kept:]
        self.lost_acts |= {record for record, time in self._acts.items() if time > until}
        self._acts = {record: time for record, time in self._acts.items() if time <= until}
        self._answers = {key: kept for key, kept in self._answers.items() if kept[0] <= until}
        self.dismissed = {name: time for name, time in self.dismissed.items() if time <= until}
        self.books.clear()
        journal, self._journal = self._journal, []
        for time, node, field, value in journal:
            if time <= until:
                book = self.books.setdefault(node, [0.0, 0.0])
                book[int(field)] = max(book[int(field)], value)
                self._journal.append((time, node, field, value))
        self.number += 1
        self.began = self.world.now
        return lost


class View:
    """The state as one node reaches it: what the feed, the barrier and the acts ask of a store."""

    def __init__(self, state: State, node: str) -> None:
        self._state = state
        self._node = node
        self._known: Line | None = None

    def _ask(self) -> State:
        state, old = self._state, self._state.old
        reached: dict[Host, State] = {}
        if not (state.is_down or self._node in state.cut_off):
            reached[Host("new", "")] = state
        if old is not None and self._node in state.old_reaches:
            reached[Host("old", "")] = old
        now = state.world.now
        told = {host: Told(Line("cluster", each.number), True, True, now, each.began) for host, each in reached.items()}
        host = servers.judge(told, self._known).primary
        if host is None:
            raise GatewayError("unavailable", "the state cannot be reached")
        self._known = told[host].history
        state.asked(self._node, reached[host].number, len(reached) > 1)
        return reached[host]

    def sequence(self) -> int:
        return len(self._ask().changes)

    def changes_after(self, sequence: int, limit: int = 1000) -> list[Change]:
        return self._ask().changes[sequence : sequence + limit]

    def timeline(self) -> str:
        return f"timeline-{self._ask().number}"

    def beat(self, node: str, now_unix: float) -> None:
        self._ask().note(node, 0, now_unix)

    def acknowledge(self, node: str, sequence: int, timeline: str) -> None:
        if timeline != self.timeline():
            raise GatewayError("conflict", "another server is the primary")
        self._ask().note(node, 1, sequence)

    def nodes(self) -> tuple[Node, ...]:
        return tuple(Node(name, beat, int(done)) for name, (beat, done) in self._ask().books.items())

    def state(self) -> State:
        """The primary, as this node reaches it."""
        return self._ask()

    def commit(self, asked: State, tx: Any) -> None:
        """Commit what was written over `asked`; raises where nobody knows whether it stands."""
        state = self._ask()
        if state is not asked:
            raise GatewayError("unavailable", "another server is the primary")
        breaks_off = self._node in self._state.breaks_off
        if not breaks_off or state.world.random.random() < 0.5:
            state.apply(tx)
        if breaks_off:
            raise InDoubtError("unavailable", "the state did not say whether it has kept this")

    def stands(self, grant: str) -> bool:
        """Whether a call under a grant may be made, whatever else was issued."""
        changes = [change for change in self._ask().changes if change.grant == grant]
        forbids = tuple(str(change.sequence) for change in changes if change.withdraws)
        asked: Any = SimpleNamespace(id=grant, version=1)
        return Answer(asked, (f"grant:{grant}:v1",), forbids, ()).is_permit

    def lease_quota(self, _grant: str, _day: date, kind: str, block: int, limit: int, least: int) -> int:
        """As `Store.lease_quota`; of calls there are enough."""
        if kind == "calls":
            self._ask()
            return block
        return self._ask().lease(block, limit, least)
