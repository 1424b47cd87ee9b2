"""One exchange: a call on its way from its caller to a supplier and back, as `states` lays down.

Every step is a short method; what is at hand goes on at once, what must be waited for goes on in a callback, and a
callback that comes after the exchange has moved on is ignored. Nothing here touches a socket: the caller's connection
(`downstream`) and the supplier's (`upstream`) move the bytes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from gateway.domain.callers import Caller
from gateway.domain.directory import Interface, SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.uses import Outcome, Use
from gateway.domain.verdicts import Call, Decision, Explanation, Verdict
from gateway.proxy import states
from gateway.proxy.admission import Admission
from gateway.proxy.bodies import NO_BODY, RequestBody
from gateway.proxy.heads import Block, Trace
from gateway.proxy.lanes import Lane
from gateway.proxy.ports import RequestHead
from gateway.proxy.projection.matching import Question, parse_question
from gateway.proxy.refusals import refusal, status_line
from gateway.proxy.release import Release
from gateway.proxy.requests import (
    body_limit_bytes,
    check_question,
    make_call,
    make_use,
    parameters_for,
    request_digest,
    request_head,
)
from gateway.proxy.routes import Plan, Route
from gateway.proxy.standing import Standing
from gateway.proxy.states import NEXT, Event, State
from gateway.proxy.targets import Target
from gateway.proxy.upstream import AnswerHead, SupplierConnection

if TYPE_CHECKING:
    from gateway.proxy.downstream import CallerConnection
    from gateway.proxy.plane import DataPlane

T = TypeVar("T")

_NEVER = float("inf")
_PERMIT = Decision.PERMIT
_VERIFY = SharingMode.VERIFY
_RELEASING = frozenset({states.COLLECTING, states.STREAMING})
_AT_SUPPLIER = frozenset({states.CONNECTING, states.FORWARDING, states.COLLECTING})


class Exchange:
    """One call. `begin` starts it; its two connections tell it the rest.

    Attributes:
        state: where it stands.
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

    # Steps 1 to 3: identify, resolve, decide.

    def begin(self) -> None:
        """Start: who calls?"""
        plane, connection = self.plane, self.connection
        lane = plane.lanes.get((id(self.block), self.method, self.target.path))
        if (
            lane is not None
            and self._started_ns < lane.until_ns
            and lane.certificate_der == connection.peer.certificate_der
            and self.body is NO_BODY
        ):
            self._follow(lane)
            return
        head = RequestHead(self.method, self.target.path, self.target.query, self.block.fields, self.block.host)
        self.wait(self._identified, plane.identify, head, connection.peer)

    def _follow(self, lane: Lane) -> None:
        """What this request means is at hand: go on as if it had been identified, resolved and permitted just now."""
        self.move(states.ON_KNOWN)
        plane, route = self.plane, lane.route
        plane.lanes.followed += 1
        self._caller = lane.caller
        self._call = call = lane.call
        self._fields = lane.fields
        self._plan = lane.plan
        self._take(route)
        self._standing = Standing(self, call, lane.verdict)
        if route.parameter_names:
            try:
                _, self._subject = parameters_for(route, self.target, plane.pseudonym)
            except GatewayError as error:
                self.refuse(error)
                return
        self._note_use(lane.verdict)
        self._admit(route)

    def _take(self, route: Route) -> None:
        self._route = route
        self._tally = route.tally
        total = route.interface.total_timeout_seconds
        if total:
            self._total_due = self.plane.now_seconds + total

    def _identified(self, caller: Caller) -> None:
        self.move(states.ON_IDENTIFIED)
        self._caller = caller
        target = self.target
        self.wait(self._resolved, self.plane.resolve, target.supplier, target.interface)

    def _resolved(self, interface: Interface) -> None:
        self.move(states.ON_RESOLVED)
        plane, body = self.plane, self.body
        try:
            route = plane.route_of(interface)
            self._take(route)
            self._call, self._subject = make_call(
                route, self._caller, self.method, self.target, self.block, plane.pseudonym
            )
            if body is not NO_BODY:
                body.limit_bytes = body_limit_bytes(route, self._call.mode)
                body.take(b"")
        except GatewayError as error:
            self.refuse(error)
            return
        if self._call.mode is _VERIFY:
            self._read_question()
        else:
            self._decide()

    def _read_question(self) -> None:
        """Verify mode: what is compared, and which items are asked for, stands in the body, so it is read first."""
        body = self.body
        if not body.is_whole:
            self.set_deadline(self.plane.limits.body_progress_seconds)
            if self.block.expects_continue:
                self.connection.send_continue()
            return
        try:
            question = self.question = parse_question(b"".join(body.pieces))
            check_question(question, self._route)
        except GatewayError as error:
            self.refuse(error)
            return
        self._call = msgspec.structs.replace(self._call, items=tuple(sorted(question.values)))
        self._decide()

    def _decide(self) -> None:
        self._standing = Standing(self, self._call)
        bound = self._caller.purpose
        if bound is not None and bound != self._call.purpose:
            self._decided(Verdict(Decision.DENY, "purpose-not-granted", (), "", 0))
        else:
            self._standing.decide(self._decided)

    def _decided(self, verdict: Verdict) -> None:
        self._note_use(verdict)
        if verdict.decision is not _PERMIT:
            assert self.use is not None
            self._deny(self.use)
            return
        self.move(states.ON_PERMITTED)
        plane, block, route = self.plane, self.block, self._route
        try:
            plan = self._plan = plane.plan_of(route, self._call, verdict)
        except GatewayError as error:
            self.refuse(error)
            return
        self._fields = b"" if self.question is not None else plan.fields_for(block)
        if self._may_be_known and self.body is NO_BODY:
            key = (id(block), self.method, self.target.path)
            peer, now_ns = self.connection.peer, self._started_ns
            plane.lanes.keep(key, block, peer, self._caller, route, self._call, verdict, plan, now_ns)
        self._admit(route)

    def _note_use(self, verdict: Verdict) -> None:
        body = self.body
        self.use = make_use(
            self._route,
            self._caller,
            self._call,
            verdict,
            self.block,
            self.trace,
            request_digest(self.plane.digest, self.method, self.target, body.pieces if body.is_whole else ()),
            self._subject,
            self._started_ns,
            self.plane.sample_ratio,
        )

    def _deny(self, use: Use) -> None:
        self.use = use
        # INVARIANT: STALE-DENIES: a denial rests on the state as much as a permit does.
        if not self.plane.is_fresh():
            self.refuse(GatewayError("state-stale"))
            return
        try:
            self._record = self.plane.ledger.refused(use)
        except GatewayError as error:
            self.refuse(error)
            return
        for watch in self.plane.watches:
            watch.denied(self._record, use)
        self.refuse(GatewayError(use.verdict.code or "not-granted"), use.verdict.explanation)

    # Step 4: the quota, the record.

    def _admit(self, route: Route) -> None:
        try:
            admission = self._admission = Admission(self.plane, route, self._call.system)
            if not admission.enter(self._admitted):
                self.set_deadline(self.plane.limits.queue_seconds)
                return
        except GatewayError as error:
            self.refuse(error)
            return
        self._admitted()

    def _admitted(self) -> None:
        use = self.use
        assert use is not None
        if use.verdict.metered:
            self.wait(self._drawn, self.plane.meter.draw_call, use.verdict)
        else:
            self._open(use)

    def _drawn(self, is_left: bool) -> None:
        use = self.use
        assert use is not None
        if is_left:
            self._open(use)
            return
        verdict = msgspec.structs.replace(use.verdict, decision=Decision.DENY, code="quota-exhausted", items=())
        self._deny(msgspec.structs.replace(use, verdict=verdict))

    def _open(self, use: Use) -> None:
        self.move(states.ON_ADMITTED)
        self._opened_ns = self.plane.clock()
        try:
            self._record = self.plane.ledger.opened(use, self._recorded)
        except GatewayError as error:
            self.refuse(error)

    def _recorded(self, error: BaseException | None) -> None:
        if self.state is not states.RECORDING:
            return
        try:
            # INVARIANT: RECORD-FIRST.
            # No supplier is called, not even connected to, before the record is durable.
            if error is not None:
                self._record = None
                self.refuse(GatewayError("records-unavailable"))
                return
            self._durable_ns = durable_ns = self.plane.clock()
            self.plane.counters.recorded.note(durable_ns - self._opened_ns)
            if self._standing.holds(self._forward):
                self._forward()
        except Exception:  # noqa: BLE001 - the ledger wakes others besides this exchange
            self.broken()

    # Step 5: forward.

    def _forward(self) -> None:
        self.move(states.ON_RECORDED)
        assert self._admission is not None
        kept = self._admission.pool.take()
        if kept is not None:
            self._connected(kept)
            return
        self.set_deadline(self._route.interface.connect_timeout_seconds)
        task = self._task = asyncio.ensure_future(self._admission.pool.connect())
        task.add_done_callback(self._connect_ended)

    def _connect_ended(self, task: "asyncio.Future[SupplierConnection]") -> None:
        if self.state is not states.CONNECTING:
            if not task.cancelled() and task.exception() is None:
                task.result().abort()
            return
        self._task = None
        if task.cancelled() or task.exception() is not None:
            self.answer_failed("no connection to the supplier could be made")
            return
        self._connected(task.result())

    def _connected(self, connection: SupplierConnection) -> None:
        self.move(states.ON_CONNECTED)
        self._upstream = connection
        body, question, use, record = self.body, self.question, self.use, self._record
        assert use is not None
        assert record is not None
        framing = octets = b""
        method = self.method
        if question is not None:
            method, octets = question.method, bytes(question.query)
            framing = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(octets) if octets else b""
        elif body is not NO_BODY:
            framing, octets = body.start(connection)
        head = request_head(self._plan, method, self.target, self._fields, use, record, framing)
        if body.is_whole:
            self.set_deadline(self._route.interface.first_byte_timeout_seconds)
        else:
            self.set_deadline(self.plane.limits.body_progress_seconds)
            if self.block.expects_continue and not octets:
                self.connection.send_continue()
        connection.start(
            self, head + octets if octets else head, is_head_request=self.method == b"HEAD", is_whole=body.is_whole
        )
        if not body.is_whole:
            self.connection.resume_body()

    # The request's body, as the caller's connection tells it.

    def request_piece(self, data: bytes) -> None:
        """More of the request's body."""
        if self.state >= states.FLUSHING:
            return
        try:
            self.body.take(data)
        except GatewayError as error:
            self.refuse(error)
            return
        if self.state is states.FORWARDING:
            self.set_deadline(self.plane.limits.body_progress_seconds)

    def request_ended(self) -> None:
        """The request's body is whole."""
        self.body.end()
        if self.state is states.DECIDING and self._call.mode is _VERIFY and self.question is None:
            self._read_question()
        elif self.state is states.FORWARDING:
            self.set_deadline(self._route.interface.first_byte_timeout_seconds)

    def pause_request(self) -> None:
        """The supplier is slow."""
        self.connection.pause_body()

    def resume_request(self) -> None:
        """The supplier takes more."""
        self.connection.resume_body()

    # Step 6: the answer, as the supplier's connection tells it; `release` lets it out.

    def answer_begun(self, head: AnswerHead) -> None:
        """The supplier's head has arrived."""
        assert self._admission is not None
        self._admission.pool.succeeded()
        self._answered_ns = self.plane.clock()
        self._release = Release(self, self._plan, self._standing, head)
        self._release.begin()

    def answer_whole(self, head: AnswerHead, content: bytes) -> None:
        """The supplier's answer has arrived at once; its connection is no longer ours."""
        admission = self._admission
        assert admission is not None
        self._upstream = None
        self._answered_ns = self.plane.clock()
        admission.answered()
        release = self._release = Release(self, self._plan, self._standing, head)
        release.begin_whole(content)

    def answer_piece(self, data: bytes) -> None:
        """Content from the supplier."""
        if self._release is not None and self.state in _RELEASING:
            self._release.piece(data)

    def answer_ended(self) -> None:
        """The supplier's answer is whole, and its connection is no longer ours."""
        self._upstream = None
        if self._release is not None and self.state in _RELEASING:
            if self._admission is not None:
                self._admission.free_slot()
            self._release.ended()

    @property
    def record_name(self) -> bytes:
        """The record's id as it stands in a header field."""
        assert self._record is not None
        return self._record.encode()

    def is_without_content(self, status: int) -> bool:
        """Whether an answer of that status has no content here (RFC 9112 §6.3)."""
        return status in {204, 304} or self.method == b"HEAD"

    def draw_rows(self, rows: int, then: Callable[[], None]) -> None:
        """Draw `rows` from the quota, then go on; refuse where too few are left."""
        use = self.use
        assert use is not None

        def drawn(is_left: bool) -> None:
            if is_left:
                then()
            else:
                self.refuse(GatewayError("quota-exhausted"))

        self.wait(drawn, self.plane.meter.draw_rows, use.verdict, rows)

    def resume_answer(self) -> None:
        """The caller has taken what was written."""
        if self.state is states.FLUSHING:
            self.connection.answer_flushed()
        elif self._release is not None:
            self.resume_supplier()
            self._release.pump()

    def pause_supplier(self) -> None:
        """Take no more of the answer for now."""
        if self._upstream is not None:
            self._upstream.pause_answer()

    def resume_supplier(self) -> None:
        """Take more of the answer."""
        if self._upstream is not None:
            self._upstream.resume_answer()

    # Endings.

    def refuse(self, error: GatewayError, explanation: Explanation | None = None, *, end: str | None = None) -> None:
        """End with a problem where nothing was released yet; cut where the answer has begun."""
        if self.state >= states.STREAMING:
            self._cut_off(states.ON_TIMED_OUT if error.code == "supplier-timeout" else states.ON_CUT, end or error.code)
            return
        self.move(states.ON_REFUSED)
        self.drop_upstream()
        status, fields, content = refusal(
            error, chinese=self.block.chinese, record=self._record, explanation=explanation
        )
        self.status = status
        self._is_refused = True
        self.plane.counters.refused(error.code)
        self._tell(end or error.code)
        self._leave()
        head = status_line(status) + fields + b"Content-Length: %d\r\n" % len(content)
        self.connection.send_answer(head, b"" if self.method == b"HEAD" else content)

    def answer_failed(self, reason: str) -> None:
        """The supplier did not give a whole answer."""
        self._upstream = None
        if self._admission is not None:
            self._admission.pool.failed()
        if self.state >= states.STREAMING:
            self._cut_off(states.ON_SUPPLIER_FAILED, "supplier-failed")
        else:
            self.refuse(GatewayError("supplier-unreachable", reason), end="supplier-failed")

    def timed_out(self) -> None:
        """The deadline has passed."""
        state = self.state
        if state >= states.STREAMING:
            self._cut_off(states.ON_TIMED_OUT, "timed-out")
        elif not self.body.is_whole and (state is states.FORWARDING or state <= states.DECIDING):
            self.refuse(GatewayError("request-timeout"))
        elif state in _AT_SUPPLIER:
            assert self._admission is not None
            self._admission.pool.failed()
            self.refuse(GatewayError("supplier-timeout"))
        elif state is states.ADMITTING:
            self.refuse(GatewayError("draining", "no place at this supplier became free in time"))
        else:
            self.refuse(GatewayError("records-unavailable" if state is states.RECORDING else "state-stale"))

    def cut(self) -> bool:
        """An order stands over this use: what streams stops here (True), what has not begun is decided anew first."""
        # INVARIANT: BARRIER.
        if self.state < states.STREAMING:
            self._standing.doubt()
            return False
        if self._is_told:
            return False
        self._cut_off(states.ON_CUT, "cut")
        return True

    def broken(self) -> None:
        """The gateway made a mistake in this exchange: end it, whatever its state, and no other."""
        self._failed()
        if self.state is not states.CLOSED:
            self._cut_off(states.ON_CUT, "internal")

    def _failed(self, error: BaseException | None = None) -> None:
        trace = self.use.trace_id if self.use is not None else self.trace and self.trace[0]
        self.plane.failed(error, record=self._record, trace=trace)

    def caller_gone(self) -> None:
        """The caller's connection is lost."""
        if self.state is not states.CLOSED:
            self._end(states.ON_CALLER_GONE, "caller-gone")

    def flushed(self) -> None:
        """The caller has taken everything."""
        if self.state is states.FLUSHING:
            self._end(states.ON_FLUSHED, "complete")

    def _cut_off(self, event: Event, end: str) -> None:
        if self.state is states.CLOSED:
            return
        self._end(event, end)
        self.connection.reset()

    def _end(self, event: Event, end: str) -> None:
        self.move(event)
        self.drop_upstream()
        self._tell(end)
        self._leave()
        # Both point back here: let go, so that no exchange waits for the garbage collector.
        self._release = None
        self._standing = cast("Standing", None)

    def _tell(self, end: str) -> None:
        """Say how the call ended, once: to the ledger where a use was opened, and to the counters."""
        if self._is_told:
            return
        self._is_told = True
        use, record, release = self.use, self._record, self._release
        ended_ns = self.plane.clock()
        duration_ns = ended_ns - self._started_ns
        tally = self._tally
        if use is None or record is None or use.verdict.decision is not _PERMIT:
            is_denied = use is not None and use.verdict.decision is not _PERMIT
            tally.ended("deny" if is_denied else "refused", end, duration_ns)
            return
        if release is not None and not self._is_refused:
            outcome = release.outcome(self.status, duration_ns // 1000, end)
        else:
            outcome = Outcome(self.status, (), 0, 0, "", duration_ns // 1000, end)
        tally.ended("permit", end, duration_ns, outcome.rows, outcome.bytes)
        durable_ns, answered_ns = self._durable_ns, self._answered_ns
        if answered_ns:
            self.plane.counters.supplied.note(answered_ns - durable_ns)
            self.plane.counters.released.note(ended_ns - answered_ns)
        elif durable_ns:
            self.plane.counters.supplied.note(ended_ns - durable_ns)
        self.plane.ledger.closed(record, use, outcome)
        for watch in self.plane.watches:
            watch.used(record, use, outcome, self._opened_ns, durable_ns, answered_ns, ended_ns)

    def drop_upstream(self) -> None:
        """Let the supplier's connection go: its answer is not wanted any more."""
        if self._upstream is not None:
            upstream, self._upstream = self._upstream, None
            upstream.abort()

    def _leave(self) -> None:
        """Give back what this exchange holds."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
        if self._admission is not None:
            admission, self._admission = self._admission, None
            admission.leave()
        if self._release is not None:
            self._release.forget()
        self.body.stop()

    # What holds it together.

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

    def wait(self, then: Callable[[T], None], port: Callable[..., T | Awaitable[T]], *asked: Any) -> None:
        """Go on with what a port answers: at once, or when its awaitable is done; a `GatewayError` refuses."""
        try:
            answer = port(*asked)
        except GatewayError as error:
            self.refuse(error)
            return
        except Exception:  # noqa: BLE001 - a port that fails must refuse this call and no other
            self._failed()
            self.refuse(GatewayError("internal"))
            return
        if hasattr(answer, "__await__"):
            self._may_be_known = False
            self.set_deadline(self.plane.limits.port_timeout_seconds)
            self._await(asyncio.ensure_future(cast("Awaitable[T]", answer)), then)
        else:
            then(answer)

    def _await(self, task: "asyncio.Future[T]", then: Callable[[T], None]) -> None:
        self._task = task
        state = self.state

        def done(task: "asyncio.Future[T]") -> None:
            if task.cancelled():
                return
            error = task.exception()
            if self.state is not state:
                return
            self._task = None
            try:
                if error is None:
                    then(task.result())
                elif isinstance(error, GatewayError):
                    self.refuse(error)
                else:
                    self._failed(error)
                    self.refuse(GatewayError("internal"))
            except Exception:  # noqa: BLE001 - nobody else would end this exchange
                self.broken()

        task.add_done_callback(done)
