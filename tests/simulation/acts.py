"""Officers' acts in the simulation: the real `perform`, `Deed` and `SignIn.still` over the simulated state.

A request's head is taken, its body comes a while later, and only then is the act done. The state may break off at the
commit, so that nobody knows whether the act stands; who asked then asks again under the same `Idempotency-Key`, perhaps
another node. An officer may be dismissed meanwhile. What the policies say of roles is left out.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from gateway.control.act.acting import Answer, Deed, perform
from gateway.control.act.recorded import Unsettled
from gateway.control.barrier.barrier import BarrierReport
from gateway.control.sign_in.sign_in import SESSION_SCOPE, OfficerSignIn, person_of
from gateway.domain.changes import Change
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter, Officer, Session
from gateway.domain.uses import RecordKind
from gateway.identity.strict import Unreadable
from gateway.store.values import Answer as Kept
from tests.simulation.state import State

_MATTER = Matter(supplier="supplier", region="440000")


class Transaction:
    """A transaction of one node: what it writes stands once it is committed, all at once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.began_at = len(state.changes)
        self.changes: list[Change] = []
        self.stops: list[str] = []
        self.answers: dict[tuple[str, str], Kept] = {}
        self.noted: list[str] = []

    def session(self, id_: str) -> Session:
        return self._state.session(id_)

    def officer(self, id_: str) -> Officer | None:
        return self._state.officer(id_)

    def department(self, _id: str) -> None:
        return None

    def answer_of(self, key: str, officer: str) -> Kept | None:
        return self.answers.get((key, officer)) or self._state.answer_of(key, officer)

    def remember_answer(self, key: str, officer: str, digest: str, status: int, body: bytes) -> None:
        self.answers[key, officer] = Kept(digest, status, body)

    def note_acts(self, records: Sequence[str], _outcome: str = "done") -> None:
        self.noted += records

    def has_acts(self, records: Sequence[str]) -> set[str]:
        return set(records) & self._state.acts()

    def stop(self, grant: str) -> None:
        """Suspend a grant."""
        self.stops.append(grant)
        change = State.change_of(self.began_at + len(self.stops), grant, withdraws=True)
        self.changes.append(change)


class Acts:
    """What a node's control process does for officers.

    Args:
        node: it.
        process: the control process.
    """

    def __init__(self, node: Any, process: Any) -> None:
        self._node = node
        self._process = process
        self._history = node.history
        self.unsettled = Unsettled()
        self.held: list[Change] = []
        self._sequence = 0
        sign_in = object.__new__(OfficerSignIn)
        sign_in._now = lambda: 0.0
        self._services: Any = SimpleNamespace(
            store=self,
            acts=self,
            unsettled=self.unsettled,
            engine=SimpleNamespace(
                authorize=lambda *_: SimpleNamespace(is_permit=True, policies=()), layers=SimpleNamespace(digest="")
            ),
            policies=SimpleNamespace(require_current=lambda _: None),
            sign_in=sign_in,
            barrier=self,
            now=lambda: 0.0,
        )

    def signed_in(self, officer: str) -> Officer:
        """Who sends a request's head; raises `GatewayError`."""
        try:
            return person_of(self._node.view.state(), officer, 0.0)  # type: ignore[arg-type]
        except Unreadable as error:
            raise GatewayError("credential-invalid", str(error)) from error

    def suspend(self, grant: str, officer: Officer, key: str) -> tuple[int, list[Change]]:
        """Do the act; the change to be waited for, and those that it has made.

        Raises:
            GatewayError: it is refused, or nobody knows.
        """
        path = f"/v1/grants/{grant}/suspend"
        request: Any = SimpleNamespace(
            method="POST",
            url=SimpleNamespace(path=path),
            scope={SESSION_SCOPE: officer.id},
            query_params=SimpleNamespace(multi_items=list),
            headers={},
        )

        def work(deed: Deed) -> Answer:
            deed.permit(Act.SUSPEND, _MATTER)
            tx: Any = deed.tx
            tx.stop(grant)
            deed.record(RecordKind.ORDER, supplier="supplier", grant=grant)
            return Answer({"state": "suspended"})

        self.held.clear()
        perform(self._services, request, officer, key, grant, work)
        return self._sequence, list(self.held)

    # What `perform` asks of the rooms.

    @contextmanager
    def transaction(self, *, urgent: bool = False) -> Iterator[Transaction]:
        state = self._node.view.state()
        tx = Transaction(state)
        yield tx
        self._node.view.commit(state, tx)

    def answer_of(self, key: str, officer: str) -> Kept | None:
        found: Kept | None = self._node.view.state().answer_of(key, officer)
        return found

    def department(self, _id: str) -> None:
        return None

    def heir(self, department: str) -> str:
        return department

    def sequence(self) -> int:
        return int(self._node.view.sequence())

    def append_all(self, kind: RecordKind, rows: Sequence[Any]) -> tuple[str, ...]:
        if self._node.has_full_disk:
            raise GatewayError("records-unavailable")
        return tuple(self._history.new_act(self._process, kind, row) for row in rows)

    def hold(self, changes: Sequence[Change]) -> BarrierReport:
        self.held += changes
        self._sequence = changes[-1].sequence
        return BarrierReport(0)

    def hold_at(self, sequence: int) -> BarrierReport:
        self._sequence = sequence
        return BarrierReport(0)

    def settle(self) -> None:
        """As the control process does now and then."""
        self.unsettled.settle(self, self)  # type: ignore[arg-type]
