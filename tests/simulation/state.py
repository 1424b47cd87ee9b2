"""The state database of the simulation: one primary, a standby that may lag, and nodes that may not reach it."""

from gateway.domain.changes import Change, ChangeKind
from gateway.domain.errors import GatewayError
from gateway.store import Node
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
        self._journal: list[tuple[float, str, float, float]] = []

    def commit(self, grant: str) -> Change:
        subject = f"supplier/{grant}"
        change = Change(len(self.changes) + 1, ChangeKind.INTERFACE, subject, grant=grant, withdraws=True)
        self.changes.append(change)
        self.times.append(self.world.now)
        return change

    def note(self, node: str, field: int, value: float) -> None:
        """A node's beat (0) or what it has acknowledged (1); neither goes back."""
        book = self.books.setdefault(node, [0.0, 0.0])
        book[field] = max(book[field], value)
        self._journal.append((self.world.now, node, field, value))

    def fail_over(self, lag: float) -> list[str]:
        """A standby that lacks the last `lag` seconds is promoted; the grants whose suspension it lacks."""
        until = self.world.now - lag
        kept = sum(time <= until for time in self.times)
        lost = [change.grant or "" for change in self.changes[kept:]]
        del self.changes[kept:], self.times[kept:]
        self.books.clear()
        journal, self._journal = self._journal, []
        for time, node, field, value in journal:
            if time <= until:
                book = self.books.setdefault(node, [0.0, 0.0])
                book[int(field)] = max(book[int(field)], value)
                self._journal.append((time, node, field, value))
        self.number += 1
        return lost


class View:
    """The state as one node reaches it: what the feed, the barrier and the acts ask of a store."""

    def __init__(self, state: State, node: str) -> None:
        self._state = state
        self._node = node

    def _ask(self) -> State:
        if self._state.is_down or self._node in self._state.cut_off:
            raise GatewayError("unavailable", "the state cannot be reached")
        return self._state

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

    def commit(self, grant: str) -> Change:
        return self._ask().commit(grant)

    def stands(self, grant: str) -> bool:
        return all(change.grant != grant for change in self._ask().changes)
