"""What an exchange has and where it stands."""

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.domain.callers import Caller
from gateway.domain.credentials import Shown
from gateway.domain.uses import Use
from gateway.domain.verdicts import Call
from gateway.proxy.exchange import states
from gateway.proxy.exchange.admission import Admission
from gateway.proxy.exchange.asked import NOTHING_ASKED
from gateway.proxy.exchange.lanes import Lane
from gateway.proxy.exchange.release import Release
from gateway.proxy.exchange.routes import Plan, Route
from gateway.proxy.exchange.standing import Standing
from gateway.proxy.exchange.states import NEXT, Event, State
from gateway.proxy.http.bodies import NO_BODY, RequestBody
from gateway.proxy.http.heads import Block, Own, Trace
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
    that was durable, when the head of the answer had arrived. `_owed_bytes` must still move before the deadline,
    `_answer_bytes` and `_request_bytes` are held for it. `_tally` is the interface's once that is known, `_task` what
    is awaited at present, `_upstream` the supplier's connection for as long as more is to come from it.

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
        "_answer_bytes",
        "_answered_ns",
        "_asked",
        "_began_epoch",
        "_began_ticks",
        "_call",
        "_caller",
        "_durable_ns",
        "_ended_ns",
        "_fields",
        "_gather_due",
        "_is_overrun",
        "_is_reading",
        "_is_refused",
        "_is_told",
        "_known",
        "_lane",
        "_may_be_known",
        "_opened_ns",
        "_owed_bytes",
        "_own",
        "_plan",
        "_record",
        "_release",
        "_request_bytes",
        "_route",
        "_shown",
        "_standing",
        "_started_ns",
        "_subjects",
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
    _shown: Shown

    def __init__(
        self,
        plane: "DataPlane",
        connection: "CallerConnection",
        method: bytes,
        target: Target,
        block: Block,
        trace: Trace | None,
        own: Own = (),
        *,
        is_repeated: bool,
    ) -> None:
        self.plane = plane
        self.connection = connection
        self.method = method
        self.target = target
        self.block = block
        self.trace = trace
        self._known = block
        self._own = own
        self._lane: Lane | None = None
        self._may_be_known = is_repeated
        self.body = NO_BODY if block.content_length == 0 else RequestBody(block.content_length)
        self.state: State = states.IDENTIFYING
        self.use: Use | None = None
        self.status = 0
        self.question: Question | None = None
        self._started_ns = plane.clock()
        self._began_ticks = plane.ticks()
        self._began_epoch = plane.withdrawals.epoch
        self._opened_ns = self._durable_ns = self._answered_ns = self._ended_ns = 0
        self._asked = NOTHING_ASKED
        self._subjects: tuple[str, ...] = ()
        self._record: str | None = None
        self._release: Release | None = None
        self._admission: Admission | None = None
        self._upstream: SupplierConnection | None = None
        self._task: asyncio.Future[Any] | None = None
        self._is_overrun = self._is_refused = self._is_told = self._is_reading = False
        self._tally = plane.counters.nowhere
        self._total_due = self._gather_due = _NEVER
        self._owed_bytes = self._answer_bytes = self._request_bytes = 0

    def move(self, event: Event) -> None:
        """Go to the state that the table names; LookupError where it names none."""
        after = NEXT[self.state][event]
        if after is None:
            raise LookupError(event)
        self.state = after

    def set_deadline(self, seconds: float) -> None:
        """What is awaited must come within `seconds`, and within what is left of the call's total."""
        due = self.plane.now_seconds + seconds
        self.connection.set_due(min(self._total_due, self._gather_due, due))

    def gather_within(self, seconds: float) -> None:
        """The answer is gathered: it is whole within `seconds`, or the supplier is too slow."""
        self._gather_due = self.plane.now_seconds + seconds
        self.connection.set_due(min(self.connection.due, self._gather_due))

    def gathered(self) -> None:
        """It is whole, or leaves as it comes after all."""
        self._gather_due = _NEVER

    @property
    def total_due(self) -> float:
        """The loop's time by which it must have ended."""
        return self._total_due

    def hold(self, octets: int, *, is_sure: bool = False) -> str:
        """Hold so many octets of the answer in all; the limit that forbids it, or ""."""
        self._answer_bytes = octets
        return self._hold(is_sure=is_sure)

    def hold_request(self, octets: int) -> str:
        """Hold so many octets of the request in all; the limit that forbids it, or ""."""
        self._request_bytes = octets
        return self._hold()

    def _hold(self, *, is_sure: bool = False) -> str:
        admission = self._admission
        return "" if admission is None else admission.hold(self._answer_bytes + self._request_bytes, is_sure=is_sure)

    def set_pace(self, seconds: float) -> None:
        """As many octets as `least_rate_bytes` asks for must move within `seconds`, or who is awaited is too slow."""
        # INVARIANT: BOUNDED: an octet now and then does not move a deadline.
        self._owed_bytes = int(self.plane.limits.least_rate_bytes * seconds)
        self.set_deadline(seconds)

    def moved(self, octets: int, seconds: float) -> None:
        """So many have moved; once what was owed has, the next window begins."""
        self._owed_bytes -= octets
        if self._owed_bytes <= 0:
            self.set_pace(seconds)
