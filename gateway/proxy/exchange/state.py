"""What an exchange has and where it stands."""

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.domain.callers import Caller
from gateway.domain.uses import Use
from gateway.domain.verdicts import Call
from gateway.proxy.exchange import states
from gateway.proxy.exchange.admission import Admission
from gateway.proxy.exchange.release import Release
from gateway.proxy.exchange.routes import Plan, Route
from gateway.proxy.exchange.standing import Standing
from gateway.proxy.exchange.states import NEXT, Event, State
from gateway.proxy.http.bodies import NO_BODY, RequestBody
from gateway.proxy.http.heads import Block, Trace
from gateway.proxy.http.targets import Target
from gateway.proxy.http.upstream import SupplierConnection
from gateway.proxy.projection.matching import Question

if TYPE_CHECKING:
    from gateway.proxy.downstream import CallerConnection
    from gateway.proxy.plane import DataPlane


_NEVER = float("inf")


class Course:
    """The lowest layer of an exchange, see `exchange`: everything it has, its state, its deadline.

    Times are Unix nanoseconds, 0 before they come: when the call started, when its use was opened, when the record of
    that was durable, when the head of the answer had arrived. `_tally` is the interface's once that is known, `_task`
    what is awaited at present, `_upstream` the supplier's connection for as long as more is to come from it.

    Attributes:
        state: where it stands; `move` alone changes it.
        use: what it is, once decided.
        status: of the answer that was sent, 0 before.
        question: what is compared, in verify mode.
        body: the request's body.
        trace: of the caller, if it sent any.
    """

    __slots__ = (
        "_admission",
        "_answered_ns",
        "_call",
        "_caller",
        "_durable_ns",
        "_fields",
        "_is_refused",
        "_is_told",
        "_may_be_known",
        "_opened_ns",
        "_plan",
        "_record",
        "_release",
        "_route",
        "_standing",
        "_started_ns",
        "_subject",
        "_tally",
        "_task",
        "_total_due",
        "_upstream",
        "block",
        "body",
        "connection",
        "method",
        "plane",
        "question",
        "state",
        "status",
        "target",
        "trace",
        "use",
    )

    # Each is set by the step that leads to the first state in which it is read.
    _caller: Caller
    _route: Route
    _call: Call
    _standing: Standing
    _plan: Plan
    _fields: bytes

    def __init__(
        self,
        plane: "DataPlane",
        connection: "CallerConnection",
        method: bytes,
        target: Target,
        block: Block,
        trace: Trace | None,
        *,
        is_repeated: bool,
    ) -> None:
        self.plane = plane
        self.connection = connection
        self.method = method
        self.target = target
        self.block = block
        self.trace = trace
        self._may_be_known = is_repeated
        self.body = NO_BODY if block.content_length == 0 else RequestBody(block.content_length)
        self.state: State = states.IDENTIFYING
        self.use: Use | None = None
        self.status = 0
        self.question: Question | None = None
        self._started_ns = plane.clock()
        self._opened_ns = self._durable_ns = self._answered_ns = 0
        self._subject: str | None = None
        self._record: str | None = None
        self._release: Release | None = None
        self._admission: Admission | None = None
        self._upstream: SupplierConnection | None = None
        self._task: asyncio.Future[Any] | None = None
        self._is_refused = self._is_told = False
        self._tally = plane.counters.nowhere
        self._total_due = _NEVER

    def move(self, event: Event) -> None:
        """Go to the state that the table names; LookupError where it names none."""
        after = NEXT[self.state][event]
        if after is None:
            raise LookupError(event)
        self.state = after

    def set_deadline(self, seconds: float) -> None:
        """What is awaited must come within `seconds`, and within what is left of the call's total."""
        due = self.plane.now_seconds + seconds
        self.connection.set_due(min(self._total_due, due))
