"""Every way out of an exchange, and what is said of it on each.

Before anything was released an exchange ends with a problem; once the answer has begun it can only be cut. Whatever
the way, the end is told once: to the counters, and to the ledger where a use was opened.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from gateway.domain.errors import GatewayError
from gateway.domain.uses import Outcome
from gateway.domain.verdicts import Decision, Explanation
from gateway.proxy.exchange import states
from gateway.proxy.exchange.refusals import refusal, status_line
from gateway.proxy.exchange.state import Course
from gateway.proxy.exchange.states import Event, State
from gateway.proxy.guards import ends_exchange
from gateway.proxy.http.upstream import SupplierConnection

T = TypeVar("T")

_PERMIT = Decision.PERMIT
_NONE: Any = None
_MEMORY = {
    "memory": "no more can be held in memory",
    "supplier": "this supplier's calls take their whole share of the memory",
    "system": "the system's calls take their whole share of the memory",
}
SHED = GatewayError("overloaded", "the call has waited too long to be begun")
_AT_SUPPLIER = frozenset({states.CONNECTING, states.FORWARDING, states.COLLECTING})


class Ending(Course):
    """The layer of an exchange that ends it, see `exchange`; it also waits, since what is awaited may fail."""

    __slots__ = ()

    # With a problem, or where the answer has begun with a cut.

    def refuse(self, error: GatewayError, explanation: Explanation | None = None, *, end: str | None = None) -> None:
        """End with a problem where nothing was released yet; cut where the answer has begun."""
        if self.state >= states.STREAMING:
            self._cut_off(states.ON_TIMED_OUT if error.code == "supplier-timeout" else states.ON_CUT, end or error.code)
            return
        if error.code == "answer-not-filterable" and self._admission is not None:
            # Whoever keeps the entry is told, by its words alone (INVARIANT: KNOWN-SHAPE).
            self._admission.trouble("misfits")
        self.move(states.ON_REFUSED)
        self.gathered()
        self.drop_upstream()
        status, fields, content = refusal(
            error, chinese=self.block.chinese, record=self._record, explanation=explanation
        )
        self.status = status = self.told_status(status)
        self._is_refused = True
        self.plane.counters.refused(error.code)
        self._tell(end or error.code)
        self._leave()
        head = status_line(status) + fields + b"Content-Length: %d\r\n" % len(content)
        self.connection.send_answer(head, b"" if self.method == b"HEAD" else content)

    def told_status(self, status: int) -> int:
        """The status by which a refusal is told to who asks: its own."""
        return status

    def tell_misfit(self, found: Callable[[], str]) -> None:
        """The answer does not fit the interface's entry: tell whoever keeps it what was found instead."""
        if self._admission is not None:
            self._admission.trouble("misfits", found)

    def refuse_memory(self, limit: str) -> None:
        """End because more would be held than a limit of the `shares` allows."""
        if limit == "supplier":
            self.supplier_floods()
        # The supplier may have been called: none of the codes after which a client may send anything again.
        self.refuse(GatewayError("memory-exhausted", _MEMORY[limit]))

    def supplier_floods(self) -> None:
        """The supplier's answer is larger than may be held."""
        if self._admission is not None:
            self._admission.failed("floods")

    def shed(self) -> None:
        """There is more to do than the worker can: refuse before anything costly is done."""
        if self.state < states.STREAMING:
            self.plane.counters.turned_away("load")
            self.refuse(SHED)

    def answer_failed(self, reason: str) -> None:
        """The supplier did not give a whole answer."""
        self._upstream = None
        if self._admission is not None:
            self._admission.failed("fails")
        if self.state >= states.STREAMING:
            self._cut_off(states.ON_SUPPLIER_FAILED, "supplier-failed")
        else:
            self.refuse(GatewayError("supplier-unreachable", reason), end="supplier-failed")

    def timed_out(self) -> None:
        """The deadline has passed."""
        state = self.state
        if state >= states.STREAMING:
            self._cut_off(states.ON_TIMED_OUT, self._who_is_slow())
        elif not self.body.is_whole and (
            (state is states.FORWARDING and not self.connection.is_body_paused) or self._awaits_body()
        ):
            self.refuse(GatewayError("request-timeout"))
        elif state is states.COLLECTING and self._task is not None:
            # A port is awaited, with the answer at hand: no fault of the supplier's.
            self.refuse(GatewayError("state-stale"))
        elif state in _AT_SUPPLIER:
            assert self._admission is not None
            self._admission.failed("slow")
            detail = "its answer came too slowly" if state is states.COLLECTING else ""
            self.refuse(GatewayError("supplier-timeout", detail), end=detail and "supplier-slow")
        elif state is states.ADMITTING and self._admission is not None and self._admission.is_waiting:
            self._admission.turned_away("wait")
            self.refuse(GatewayError("supplier-busy", "no place at this supplier became free in time"))
        else:
            self.refuse(GatewayError("records-unavailable" if state is states.RECORDING else "state-stale"))

    def _who_is_slow(self) -> str:
        """How an answer ends that has begun and whose time is over."""
        if self.plane.now_seconds >= self._total_due or self._task is not None:
            return "timed-out"
        if self.connection.is_writing_paused:
            if self._admission is not None:
                self._admission.trouble("slow callers")
            return "caller-slow"
        if self._upstream is not None:
            assert self._admission is not None
            self._admission.failed("slow")
            return "supplier-slow"
        return "timed-out"

    def _awaits_body(self) -> bool:
        """Whether the body is awaited before anything is decided."""
        return self.state is states.DECIDING and (
            self._is_reading or (self.question is None and self._route.is_asked_by_values(self._call.mode))
        )

    # With a cut.

    def cut(self, *, decided: bool = True) -> bool:
        """What this use rests on was withdrawn: what streams stops here (True), what has not begun is asked anew first.

        Args:
            decided: whether deciding anew tells; else nothing goes on under it.
        """
        # INVARIANT: BARRIER.
        if self.state < states.STREAMING:
            self._standing.doubt(is_withdrawn=not decided)
            return False
        if self._is_told:
            return False
        self._cut_off(states.ON_CUT, "cut")
        return True

    def broken(self) -> None:
        """The gateway made a mistake in this exchange: end it, whatever its state, and no other. Raises nothing."""
        self._failed()
        try:
            self._cut_off(states.ON_CUT, "internal")
        except Exception:  # noqa: BLE001 - it was cut off and left all the same
            self._failed()
        if self.connection.exchange is self:
            self.connection.reset()

    def _failed(self, error: BaseException | None = None) -> None:
        trace = self.use.trace_id if self.use is not None else self.trace and self.trace[0]
        self.plane.failed(error, record=self._record, trace=trace)

    def _cut_off(self, event: Event, end: str) -> None:
        if self.state is states.CLOSED:
            return
        try:
            self._end(event, end)
        finally:
            self.connection.reset()

    # With the caller.

    def caller_gone(self) -> None:
        """The caller is not there any more."""
        if self.state is not states.CLOSED:
            self._end(states.ON_CALLER_GONE, "aborted")

    def flushed(self) -> bool:
        """Everything is written: True where it is still to be told whether it arrived."""
        if self.state is not states.FLUSHING:
            return False
        self.move(states.ON_FLUSHED)
        self._ended_ns = self.plane.ticks()
        self._leave()
        if self._is_told:
            self._forget()
        return not self._is_told

    def delivered(self) -> None:
        """The answer has arrived whole."""
        self._tell("overrun" if self._is_overrun else "complete")
        self._forget()

    def undelivered(self, missing_bytes: int, end: str) -> None:
        """The last `missing_bytes` of the answer did not arrive."""
        self._tell(end, missing_bytes)
        self._forget()

    # What every end has in common.

    def _end(self, event: Event, end: str) -> None:
        self.move(event)
        try:
            self.drop_upstream()
            self._tell(end, self.connection.missing_bytes())
        finally:
            self._leave()
            self._forget()

    def _forget(self) -> None:
        # Both point back here: let go, so that no exchange waits for the garbage collector.
        self._release = None
        self._standing = _NONE

    def _tell(self, end: str, missing_bytes: int = 0) -> None:
        """Say how the call ended, once: to the ledger where a use was opened, and to the counters."""
        if self._is_told:
            return
        self._is_told = True
        use, record, release = self.use, self._record, self._release
        ended_ns = self._ended_ns or self.plane.ticks()
        duration_ns = ended_ns - self._began_ticks
        tally = self._tally
        if use is None or record is None or use.verdict.decision is not _PERMIT:
            is_denied = use is not None and use.verdict.decision is not _PERMIT
            tally.ended("deny" if is_denied else "refused", end, duration_ns)
            return
        if release is not None and not self._is_refused:
            # Octets count when the caller's kernel has acknowledged them.
            arrived_bytes = max(release.sent_bytes - missing_bytes, 0)
            outcome = release.outcome(self.status, arrived_bytes, duration_ns // 1000, end)
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
        watches = self.plane.watches
        if watches:
            # Who looks on is told moments: they count from the start, as the durations do, and never go back.
            since = self._started_ns - self._began_ticks
            moments = tuple(at and at + since for at in (self._opened_ns, durable_ns, answered_ns, ended_ns))
            for watch in watches:
                watch.used(record, use, outcome, *moments)

    def drop_upstream(self) -> None:
        """Let the supplier's connection go: its answer is not wanted any more."""
        if self._upstream is not None:
            upstream, self._upstream = self._upstream, None
            upstream.abort()

    def _leave(self) -> None:
        """Give back what this exchange holds."""
        if self._task is not None:
            task, self._task = self._task, None
            if not task.cancel() and not task.cancelled() and task.exception() is None:
                # A connection that was made for this exchange, and that nobody has taken over.
                made = task.result()
                if isinstance(made, SupplierConnection):
                    made.abort()
        if self._admission is not None:
            admission, self._admission = self._admission, None
            admission.leave()
        if self._release is not None:
            self._release.forget()
        self.body.stop()

    # What is awaited, and may fail.

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
        task.add_done_callback(functools.partial(self._awaited, self.state, then))

    @ends_exchange
    def _awaited(self, state: State, then: Callable[[T], None], task: "asyncio.Future[T]") -> None:
        if task.cancelled():
            return
        error = task.exception()
        if self.state is not state:
            return
        self._task = None
        if error is None:
            then(task.result())
        elif isinstance(error, GatewayError):
            self.refuse(error)
        else:
            self._failed(error)
            self.refuse(GatewayError("internal"))
