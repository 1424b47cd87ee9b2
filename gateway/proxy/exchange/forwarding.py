"""Steps 5 and 6 of an exchange: the request goes to the supplier, and its answer comes back.

The supplier's connection (`upstream`) tells what comes; `release` lets it out, reduced to the granted items, through
the caller's connection (`downstream`). Where one side is slow, the other is paused.
"""

import asyncio
from collections.abc import Callable

from gateway.domain.credentials import Shown
from gateway.domain.errors import GatewayError
from gateway.proxy.exchange import states
from gateway.proxy.exchange.endings import Ending
from gateway.proxy.exchange.release import Release
from gateway.proxy.exchange.requests import request_head
from gateway.proxy.guards import ends_exchange
from gateway.proxy.http import hygiene
from gateway.proxy.http.answers import AnswerHead
from gateway.proxy.http.bodies import NO_BODY
from gateway.proxy.http.heads import forwarded_own, malformed
from gateway.proxy.http.targets import parameters_of
from gateway.proxy.http.upstream import SupplierConnection

_RELEASING = frozenset({states.COLLECTING, states.STREAMING})


class Forwarding(Ending):
    """The layer of an exchange between its supplier and its caller, see `exchange`."""

    __slots__ = ()

    # Step 5: the request.

    def _forward(self) -> None:
        self.move(states.ON_RECORDED)
        credential = self._route.credential
        if credential is None:
            self._connect()
        else:
            self.wait(self._may_show, credential.show)

    def _may_show(self, shown: Shown) -> None:
        """What the supplier is shown of who calls is at hand."""
        self._shown = shown
        credential = self._route.credential
        assert credential is not None
        try:
            # INVARIANT: ONE-MEANING: a parameter is the gateway's or the caller's, and never both.
            if credential.parameters and parameters_of(self.target.query, credential.parameters):
                raise malformed("the query holds a parameter that the gateway itself sets for this supplier")
        except GatewayError as error:
            self.refuse(error)
            return
        # INVARIANT: STALE-DENIES, BARRIER: as below.
        if self._standing.holds(self._connect):
            self._connect()

    def credential_refused(self) -> None:
        """The supplier has not taken what it was shown."""
        credential = self._route.credential
        if credential is not None:
            credential.refused(self._shown)

    def _connect(self) -> None:
        assert self._admission is not None
        kept = self._admission.pool.take()
        if kept is not None:
            self._connected(kept)
            return
        self.set_deadline(self._route.interface.connect_timeout_seconds)
        task = self._task = asyncio.ensure_future(self._admission.pool.connect())
        task.add_done_callback(self._connect_ended)

    @ends_exchange
    def _connect_ended(self, task: "asyncio.Future[SupplierConnection]") -> None:
        if self.state is not states.CONNECTING:
            if not task.cancelled() and task.exception() is None:
                task.result().abort()
            return
        self._task = None
        if task.cancelled() or task.exception() is not None:
            self.answer_failed("no connection to the supplier could be made")
            return
        connection = task.result()
        if connection.is_settling():
            # A server of TLS 1.3 sends its tickets behind the handshake (RFC 8446 §4.6.1): the loop reads them first.
            again = self._task = asyncio.ensure_future(connection.settled())
            again.add_done_callback(self._connect_ended)
            return
        # INVARIANT: ONE-ANSWER: what a supplier says or does before it was asked answers nobody.
        if not connection.is_quiet():
            self.answer_failed("the supplier closed its connection, or wrote to it, before it was asked")
            return
        # INVARIANT: STALE-DENIES, BARRIER: nobody is asked under what was stopped while the connection was made.
        if self._standing.is_certain():
            self._connected(connection)
            return
        assert self._admission is not None
        self._admission.pool.give_back(connection)
        if self._standing.holds(self._connect):
            self._connect()

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
        target, fields, credential = self.target, self._fields, self._route.credential
        own = forwarded_own(self._own)
        if credential is not None:
            fields = hygiene.without(fields or self._plan.own_fields, credential.names)
            own = self._shown.fields + hygiene.without(own, credential.names)
            target = target.with_parameter(self._shown.query)
        head = request_head(self._plan, method, target, fields, use, record, own + framing)
        if body.is_whole:
            self.set_deadline(self._route.interface.first_byte_timeout_seconds)
        else:
            self.set_pace(self.plane.limits.body_progress_seconds)
            if self.block.expects_continue and not octets:
                self.connection.send_continue()
        connection.start(
            self,
            head + octets if octets else head,
            is_head_request=self.method == b"HEAD",
            is_whole=body.is_whole,
            about=record,
        )
        if body is not NO_BODY:
            self.connection.count_held()
            if not body.is_whole:
                self.connection.resume_body()

    def pause_request(self) -> None:
        """The supplier is slow."""
        self.connection.pause_body()
        if self._upstream is not None:
            beyond = self.hold_request(self._upstream.unsent_bytes)
            if beyond:
                self.refuse_memory(beyond)
        if self.state is states.FORWARDING:
            self.set_deadline(self._route.interface.first_byte_timeout_seconds)

    def resume_request(self) -> None:
        """The supplier takes more."""
        self.hold_request(0)
        if self.state is states.FORWARDING and not self.body.is_whole:
            self.set_pace(self.plane.limits.body_progress_seconds)
        self.connection.resume_body()

    # Step 6: the answer, as the supplier's connection tells it.

    def answer_waits(self, octets: int) -> None:
        """A part of the supplier's head has arrived."""
        beyond = self.hold(octets)
        if beyond:
            self.refuse_memory(beyond)

    def answer_begun(self, head: AnswerHead) -> None:
        """The supplier's head has arrived."""
        assert self._admission is not None
        self._admission.pool.answers()
        self._answered_ns = self.plane.ticks()
        if head.status >= 300:
            self._send_no_more()
        self._release = Release(self, self._plan, self._standing, head)
        self._release.begin()

    def _send_no_more(self) -> None:
        """The supplier has answered, so what is left of the request is not for it (RFC 9112 §9.5)."""
        if not self.body.is_whole:
            self.body.stop()
            self.connection.resume_body()

    def answer_whole(self, head: AnswerHead, content: bytes) -> None:
        """The supplier's answer has arrived at once; its connection is no longer ours."""
        admission = self._admission
        assert admission is not None
        self._upstream = None
        self._answered_ns = self.plane.ticks()
        self._send_no_more()
        admission.answered()
        release = self._release = Release(self, self._plan, self._standing, head)
        release.begin_whole(content)

    def answer_piece(self, data: bytes) -> None:
        """Content from the supplier."""
        if self._release is not None and self.state in _RELEASING:
            self._release.piece(data)

    def answer_overran(self) -> None:
        """More came behind the supplier's answer; the record says so."""
        self._is_overrun = True

    def answer_ended(self) -> None:
        """The supplier's answer is whole, and its connection is no longer ours."""
        self._upstream = None
        self._send_no_more()
        if self._release is not None and self.state in _RELEASING:
            if self._admission is not None:
                self._admission.answered()
            self._release.ended()

    # What `release` asks for, and what it is told when the caller has taken what was written.

    @property
    def record_name(self) -> bytes:
        """The record's id as it stands in a header field."""
        assert self._record is not None
        return self._record.encode()

    def is_without_content(self, status: int) -> bool:
        """Whether an answer of that status has no content here (RFC 9112 §6.3)."""
        return status in {204, 304} or self.method == b"HEAD"

    def draw_rows(self, rows: int, then: Callable[[], None]) -> None:
        """Draw `rows` from the quota, then go on if the verdict stands still; refuse where too few are left."""
        use = self.use
        assert use is not None

        def drawn(is_left: bool) -> None:
            if not is_left:
                self.refuse(GatewayError("quota-exhausted"), use.verdict.exhausted)
            # INVARIANT: STALE-DENIES, BARRIER: a draw may have waited for the state, and changes come meanwhile.
            elif self._standing.holds(then):
                then()

        self.wait(drawn, self.plane.meter.draw_rows, use.verdict, rows)

    def guessed_right(self) -> None:
        """What was verified is so: it was no wrong guess."""
        assert self.use is not None
        self.plane.meter.right(self.use)

    def release_on_soon(self) -> None:
        """Go on with the answer once the loop has served others, and its turn among long ones has come."""
        self.plane.long_work.put_off(self, self.release_on)

    @ends_exchange
    def release_on(self) -> None:
        """Go on with the answer."""
        if self._release is not None and self.state in _RELEASING:
            self.resume_supplier()
            self._release.go_on()

    def pause_supplier(self) -> None:
        """Take no more of the answer for now."""
        if self._upstream is not None:
            self._upstream.pause_answer()

    def resume_supplier(self) -> None:
        """Take more of the answer."""
        if self._upstream is not None:
            self._upstream.resume_answer()

    def resume_answer(self) -> None:
        """The caller has taken what was written."""
        if self.state is states.FLUSHING:
            self.connection.answer_flushed()
        elif self._release is not None:
            # From here on the supplier is awaited, in a window of its own.
            self.set_pace(self._route.interface.first_byte_timeout_seconds)
            self.resume_supplier()
            self._release.pump()
