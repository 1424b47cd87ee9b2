"""Step 6 of an exchange: the supplier's answer on its way to the caller, reduced to the granted items.

How an answer leaves is chosen once, when its head has arrived (`How`):

    WHOLE    gathered, reduced as one document, sent with its length (JSON, XML that is short or failed, verify mode)
    ROWS     reduced row by row as it comes (NDJSON, CSV, other XML)
    AS_IS    not read: only under a grant of all items without masks, where it cannot be filtered
    EMPTY    its status alone: a failure whose content cannot be filtered, or an answer without content

A supplier's error answer is filtered as any other; what cannot be filtered of it is dropped and its status is kept. An
answer below 300 that cannot be filtered is refused (`answer-not-filterable`). Redirects, 401 and 407 never pass
(`supplier-refused`). Nothing of a supplier's header section passes but what `hygiene.PASSED_TO_CALLER` lists, and that
only as it is. `Sharing-Origin` says whose the status is: the supplier's, or the gateway's.
"""

from collections import deque
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from gateway.domain.directory import AnswerFormat
from gateway.domain.errors import GatewayError
from gateway.domain.uses import Outcome
from gateway.proxy.exchange import states
from gateway.proxy.exchange.closing import Closing, closing_of
from gateway.proxy.exchange.refusals import status_line
from gateway.proxy.http import hygiene
from gateway.proxy.http.answers import PLAIN_TYPES
from gateway.proxy.projection import matching
from gateway.proxy.projection.answers import XmlProjector
from gateway.proxy.projection.codings import Reader
from gateway.proxy.projection.projected import Projected, Steps
from gateway.proxy.projection.shapes import shape_of
from gateway.proxy.projection.streams import CsvReducer, NdjsonReducer, RowReducer

if TYPE_CHECKING:
    from gateway.proxy.exchange.forwarding import Forwarding
    from gateway.proxy.exchange.routes import Plan
    from gateway.proxy.exchange.standing import Standing
    from gateway.proxy.http.answers import AnswerHead

TURN_BYTES = 512 * 1024
"""Decoded octets of one answer that are reduced row by row, or as a whole, before the loop serves others."""

XML_TURN_BYTES = 24 * 1024
"""The same of XML, which takes longer where its rows are not alike."""

_RELEASING = (states.COLLECTING, states.STREAMING)
_UNAUTHENTICATED = frozenset({401, 407})


def _found(content: bytes, *, is_xml: bool) -> str:
    """Words for the shape of an answer."""
    names = shape_of(content, is_xml=is_xml)
    return f"(found: {', '.join(names)})" if names else ""


class How(IntEnum):
    """How an answer leaves."""

    WHOLE = 0
    ROWS = 1
    AS_IS = 2
    EMPTY = 3


_WHOLE, _ROWS, _AS_IS, _EMPTY = How
_JSON, _NDJSON, _OPAQUE, _XML = AnswerFormat.JSON, AnswerFormat.NDJSON, AnswerFormat.OPAQUE, AnswerFormat.XML
_XML_TYPES = frozenset({b"text/xml", b"application/xml", b"application/soap+xml"})


class Release:
    """The answer of one exchange.

    Args:
        exchange: whose answer it is.
        plan: what its verdict permits.
        standing: whether the verdict still stands.
        head: the supplier's.
    """

    __slots__ = (
        "_closing",
        "_exchange",
        "_gathered_bytes",
        "_head",
        "_how",
        "_is_chunked",
        "_is_ended",
        "_is_held",
        "_is_pumping",
        "_length",
        "_most_gathered_bytes",
        "_pending",
        "_pending_bytes",
        "_pieces",
        "_plan",
        "_reader",
        "_reducer",
        "_standing",
        "_steps",
        "_turn_bytes",
        "digest",
        "items",
        "rows",
        "sent_bytes",
        "status",
    )

    def __init__(
        self,
        exchange: "Forwarding",
        plan: "Plan",
        standing: "Standing",
        head: "AnswerHead",
    ) -> None:
        self._exchange = exchange
        self._plan = plan
        self._standing = standing
        self._head = head
        self._length = head.length
        self._how = _WHOLE
        self._reader: Reader | None = None
        self._reducer: RowReducer | None = None
        self._closing: Closing | None = None
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._gathered_bytes = 0
        self._most_gathered_bytes = exchange.plane.limits.collect_bytes
        self._pieces: Iterator[bytes] | None = None
        self._is_chunked = self._is_held = self._is_pumping = self._is_ended = False
        self._turn_bytes = 0
        self._steps: Steps[tuple[bytes, bytes]] | None = None
        self.status = head.status
        self.rows = self.sent_bytes = 0
        self.items: tuple[str, ...] = ()
        self.digest: Any = None

    # The head.

    def begin(self) -> None:
        """The supplier's head has arrived: choose how the answer leaves."""
        exchange = self._exchange
        exchange.move(states.ON_GATHERS)
        exchange.set_pace(self._plan.route.interface.first_byte_timeout_seconds)
        refusal = self._refusal()
        if refusal:
            if self.status in _UNAUTHENTICATED:
                exchange.credential_refused()
            exchange.refuse(GatewayError("supplier-refused", refusal))
            return
        try:
            self._how = self._choose()
        except GatewayError as error:
            # INVARIANT: GRANTED-ITEMS-ONLY.
            # What cannot be filtered passes only where it holds nothing but what is granted.
            if self._may_pass:
                self._how = _AS_IS
            elif self.status >= 300 and exchange.question is None:
                self._how = _EMPTY
            else:
                exchange.refuse(error)
                return
        if self._how is _EMPTY:
            exchange.drop_upstream()
            self._send_whole(b"", b"")
        elif self._how is _AS_IS:
            self._start_stream(hygiene.answer_fields(self._head.fields), self._length)
        elif self._how is _WHOLE:
            # INVARIANT: BOUNDED: what is gathered is held, so it has a total besides its pace.
            exchange.gather_within(exchange.plane.limits.gather_seconds)

    @property
    def _most_turn_bytes(self) -> int:
        return XML_TURN_BYTES if self._plan.route.interface.format is _XML else TURN_BYTES

    def _refusal(self) -> str:
        """Why a status of the supplier's is not the caller's to act upon, "" where it may pass.

        What it says of credentials is said of the gateway's, and what it says of another place would lead the caller
        past the gateway.
        """
        if self.status in _UNAUTHENTICATED:
            return "the supplier does not accept the gateway's own credential"
        if 300 <= self.status < 400:
            is_opaque = self._plan.route.interface.format is _OPAQUE
            if self.status != 304:
                return "the supplier answered with a redirect, which is neither followed nor passed on"
            if not (is_opaque and self._may_pass):
                return "the supplier answered `not modified`, though it was asked without a condition"
        return ""

    @property
    def _may_pass(self) -> bool:
        """Whether the answer may leave unread: never where its rows are counted, or where no value may leave."""
        plan = self._plan
        return plan.passes_unfiltered and plan.verdict.rows_a_day is None and self._exchange.question is None

    def _choose(self) -> How:
        exchange, plan = self._exchange, self._plan
        named = self._head.named
        coding, kind = named.get(b"content-encoding", b""), named.get(b"content-type", b"")
        form = plan.route.interface.format
        if exchange.question is not None:
            if self.status >= 300 and self.status != 404:
                raise GatewayError("answer-not-filterable", "the supplier answered with an error")
            form = _XML if form is _XML else _JSON
        if self._length == 0:
            return _AS_IS if form is _OPAQUE and self._may_pass else _WHOLE
        if self.status == 206 or form is _OPAQUE:
            raise GatewayError("answer-not-filterable", "a part of an answer, or an opaque one, cannot be filtered")
        charset = plan.route.interface.charset
        if coding or charset or form is _XML or kind not in PLAIN_TYPES:
            reader = Reader(
                coding.decode("latin-1"),
                kind.decode("latin-1"),
                exchange.plane.limits,
                charset=charset,
                is_xml=form is _XML,
            )
            self._reader = None if reader.is_plain else reader
        if form is _XML and self._streams_xml():
            return _ROWS
        if form in {_JSON, _XML}:
            if self._length is not None and self._length > exchange.plane.limits.collect_bytes:
                raise GatewayError("answer-not-filterable", "the answer is too large to be filtered as a whole")
            if self._length is None and self._may_pass:
                # Nobody knows how long it is, and nothing must be taken out of it: a long one is not held.
                self._most_gathered_bytes = min(exchange.plane.limits.unreduced_bytes, self._most_gathered_bytes)
            return _WHOLE
        if self.status >= 300:
            raise GatewayError("answer-not-filterable")
        kind_of_reducer = NdjsonReducer if form is _NDJSON else CsvReducer
        self._reducer = kind_of_reducer(
            plan.route.interface.places,
            plan.items,
            plan.masks,
            exchange.plane.limits.row_bytes,
            plan.bounds,
        )
        return _ROWS

    def _streams_xml(self) -> bool:
        """Whether an XML answer leaves as it comes: its rows do not stand in a text of it, and it is no short one."""
        projector = self._plan.projector
        assert isinstance(projector, XmlProjector)
        is_short = self._length is not None and self._length <= TURN_BYTES
        if is_short or self.status >= 300 or self._exchange.question is not None or not projector.streams:
            return False
        self._reducer = projector.reducer()
        return True

    def begin_whole(self, content: bytes) -> None:
        """The supplier's answer has arrived at once."""
        exchange = self._exchange
        if (
            self.status == 200
            and self._head.is_plain_json
            and self._plan.is_document
            and exchange.question is None
            and len(content) <= min(TURN_BYTES, exchange.plane.limits.collect_bytes)
        ):
            # What `begin` would choose for most answers.
            exchange.move(states.ON_GATHERS)
            self._pending.append(content)
            self._is_ended = True
            is_now = not self._plan.verdict.metered and exchange.plane.long_work.may_go_on(len(content))
            if not is_now or not self._release_document(content):
                self._release_whole()
            return
        self.begin()
        if self._exchange.state in _RELEASING:
            self.piece(content)
        if self._exchange.state in _RELEASING:
            self.ended()

    # The content.

    def piece(self, data: bytes) -> None:
        """Content from the supplier."""
        exchange = self._exchange
        self._pending.append(data)
        self._pending_bytes += len(data)
        exchange.moved(len(data), self._plan.route.interface.first_byte_timeout_seconds)
        if self._how is _WHOLE:
            self._gather(len(data))
        else:
            self.pump()

    def _gather(self, more_bytes: int) -> None:
        exchange, plane = self._exchange, self._exchange.plane
        self._gathered_bytes += more_bytes
        plane.gathered_bytes += more_bytes
        # INVARIANT: BOUNDED: what is gathered is held for somebody.
        beyond = exchange.hold(self._gathered_bytes)
        if beyond:
            exchange.refuse_memory(beyond)
        elif self._gathered_bytes > self._most_gathered_bytes:
            if self._may_pass:
                self._how = _AS_IS
                exchange.gathered()
                self.forget()
                self._start_stream(hygiene.answer_fields(self._head.fields), self._length)
                self.pump()
            else:
                exchange.supplier_floods()
                exchange.refuse(
                    GatewayError("answer-not-filterable", "the answer is too large to be filtered as a whole")
                )
        elif plane.gathered_bytes > plane.limits.collect_total_bytes:
            exchange.refuse_memory("memory")

    def outcome(self, status: int, arrived_bytes: int, duration_us: int, end: str) -> Outcome:
        """What the record says of this answer."""
        digest = self.digest.hexdigest() if self.digest is not None else ""
        rows, items = (self.rows, self.items) if status else (0, ())
        return Outcome(status, items, rows, arrived_bytes, digest, duration_us, end)

    def forget(self) -> None:
        """Count what was gathered as no longer held."""
        if self._gathered_bytes:
            self._exchange.plane.gathered_bytes -= self._gathered_bytes
            self._gathered_bytes = 0

    def ended(self) -> None:
        """The supplier's answer is whole."""
        self._is_ended = True
        if self._how is _WHOLE:
            self._exchange.gathered()
            self._release_whole()
        else:
            self.pump()

    # As a whole.

    def _release_whole(self) -> None:
        if not self._standing.holds(self._release_whole):
            return
        pending = self._pending
        content = pending[0] if len(pending) == 1 else b"".join(pending)
        steps = self._reduced(content)
        if self._exchange.plane.long_work.may_go_on(len(content)):
            self._go_on(steps, self._leave)
        else:
            self._steps = steps
            self._exchange.release_on_soon()

    def _go_on(self, steps: Steps[tuple[bytes, bytes]], leave: Callable[[bytes, bytes], None]) -> None:
        """One step of the work on an answer; most answers are done in it."""
        self._steps = None
        try:
            next(steps)
        except StopIteration as end:
            leave(*end.value)
        except GatewayError as error:
            self._exchange.refuse(error)
        else:
            # INVARIANT: BOUNDED: a long answer is worked on turn by turn of the loop, which serves others between.
            self._steps = steps
            self._exchange.release_on_soon()

    def _reduced(self, raw: bytes) -> Steps[tuple[bytes, bytes]]:
        """What may leave of the whole answer, with its content type."""
        plan, question = self._plan, self._exchange.question
        content = raw
        try:
            if self._reader is not None:
                content = yield from self._read_whole(raw, self._reader)
            if question is not None:
                content = yield from self._matched(content, question)
            elif not content:
                return b"", b""
            elif len(content) > self._most_turn_bytes:
                self._took(projected := (yield from plan.steps(content, is_failure=self.status >= 300)))
                content = projected.content
            else:
                self._took(projected := plan.project(content, is_failure=self.status >= 300))
                content = projected.content
        except GatewayError:
            if self._may_pass:
                return hygiene.answer_fields(self._head.fields), raw
            if self.status >= 300 and question is None:
                return b"", b""
            is_xml = plan.route.interface.format is _XML
            self._exchange.tell_misfit(lambda: _found(content, is_xml=is_xml))
            raise
        if question is not None:
            return b"Content-Type: application/json\r\n", content
        return self._content_type(b"application/json"), self._encoded(content)

    def _content_type(self, base: bytes) -> bytes:
        """The field that says what leaves: its kind by the interface's entry, its character set as it came."""
        charset = self._reader.charset.encode() if self._reader is not None else b""
        if self._plan.route.interface.format is _XML:
            kind = self._head.named.get(b"content-type", b"").partition(b";")[0].strip().lower()
            base = kind if kind in _XML_TYPES else b"application/xml"
            charset = charset or b"; charset=utf-8"
        elif charset:
            base = base.partition(b";")[0]
        return b"Content-Type: %b%b\r\n" % (base, charset)

    def _encoded(self, content: bytes, *, is_first: bool = True) -> bytes:
        return self._reader.encode(content, is_first=is_first) if self._reader is not None else content

    def _took(self, projected: Projected) -> None:
        self.rows, self.items = projected.rows, projected.items

    def _leave(self, fields: bytes, content: bytes) -> None:
        """What was reduced leaves, once its rows are drawn."""
        self._pending.clear()
        self.forget()
        if self.rows and self._plan.verdict.metered and self._exchange.question is None:
            self._exchange.draw_rows(self.rows, lambda: self._send_whole(fields, content))
        else:
            self._send_whole(fields, content)

    def _leave_still(self, fields: bytes, content: bytes) -> None:
        """As `_leave`, where turns have passed since it was asked whether the verdict stands."""
        # INVARIANT: STALE-DENIES, BARRIER.
        if self._standing.holds(lambda: self._leave_still(fields, content)):
            self._leave(fields, content)

    def _release_document(self, content: bytes) -> bool:
        """The way of most answers, in one step: False where it is another one, or must wait, and nothing was done."""
        exchange, plan = self._exchange, self._plan
        if not self._standing.is_certain():
            return False
        try:
            projected = plan.project(content)
        except GatewayError:
            return False
        content, self.rows, self.items = projected.content, projected.rows, projected.items
        self.sent_bytes = len(content)
        digest = self.digest = exchange.plane.digest.copy()
        digest.update(content)
        exchange.move(states.ON_RELEASED)
        exchange.status = 200
        exchange.connection.send_answer(
            b"%b%d\r\nSharing-Record: %b\r\n" % (plan.document_head, self.sent_bytes, exchange.record_name), content
        )
        self._hold_unsent()
        return True

    def _read_whole(self, content: bytes, reader: Reader) -> Steps[bytes]:
        pieces: list[bytes] = []
        size = turn_bytes = 0
        for piece in reader.feed(content):
            size += len(piece)
            if size > self._exchange.plane.limits.collect_bytes:
                raise GatewayError("answer-not-filterable", "the decoded answer is too large to be filtered as a whole")
            pieces.append(piece)
            if size - turn_bytes > TURN_BYTES:
                turn_bytes = size
                yield
        pieces.append(reader.finish())
        return b"".join(pieces)

    def _matched(self, content: bytes, question: matching.Question) -> Steps[bytes]:
        """What leaves in verify mode: never a value.

        INVARIANT: KNOWN-SHAPE: a 404, a 204 and an answer without rows say that there is nobody; an empty 200 does not.
        """
        verdict = self._plan.verdict
        compared, count = matching.Matching(question, verdict.types), 0
        if self.status not in {204, 404}:
            for rows in self._plan.values(content):
                compared.compare(rows)
                count += len(rows)
                if verdict.grant is None and count > 1:
                    # Whether anybody is so, in a whole register, is no question about the person who was named.
                    raise GatewayError("answer-not-filterable", "the supplier's answer is about more than one person")
                if len(content) > self._most_turn_bytes:
                    yield
        self.status = 200
        self.rows = count
        self.items = tuple(sorted(question.values))
        found = compared.found()
        if verdict.guesses_a_day is not None and all(found.values()):
            self._exchange.guessed_right()
        return matching.told(found)

    def _send_whole(self, fields: bytes, content: bytes) -> None:
        exchange, plan = self._exchange, self._plan
        if exchange.state is not states.COLLECTING:
            return
        framing = b"" if exchange.is_without_content(self.status) else b"Content-Length: %d\r\n" % len(content)
        self.sent_bytes = len(content)
        if content:
            self.digest = exchange.plane.digest.copy()
            self.digest.update(content)
        exchange.move(states.ON_RELEASED)
        exchange.status = self.status
        exchange.connection.send_answer(
            b"%b%b%b%bSharing-Record: %b\r\n"
            % (status_line(self.status), fields, framing, plan.answer_fields, exchange.record_name),
            content,
        )
        self._hold_unsent()

    def _hold_unsent(self) -> None:
        """What the caller has not taken of a whole answer is held until it has; it stands in for what was gathered."""
        exchange = self._exchange
        if exchange.state is states.FLUSHING:
            exchange.hold(exchange.connection.unsent_bytes, is_sure=True)

    # As it comes.

    def _start_stream(self, fields: bytes, length: int | None) -> None:
        exchange = self._exchange
        self._is_held = True
        if not self._standing.holds(lambda: self._start_stream(fields, length)):
            return
        self._is_held = False
        exchange.move(states.ON_STREAMS)
        exchange.status = self.status
        self.digest = exchange.plane.digest.copy()
        framing = b""
        if not exchange.is_without_content(self.status):
            framing = self._framing(length)
        self._length = length
        exchange.connection.begin_answer(
            b"%b%b%b%bSharing-Record: %b\r\n"
            % (status_line(self.status), fields, framing, self._plan.answer_fields, exchange.record_name)
        )
        self.pump()

    def _framing(self, length: int | None) -> bytes:
        """How the caller knows where the content ends: by its length, by chunks, or in HTTP/1.0 by the connection's.

        Where it has no length, whoever asked for it is told at the end what the whole was (`closing`).
        """
        if length is not None:
            return b"Content-Length: %d\r\n" % length
        is_chunked = self._is_chunked = self._exchange.connection.takes_chunks
        counts_rows = self._reducer is not None
        self._closing = closing_of(self._exchange.block.closing, counts_rows=counts_rows, is_chunked=is_chunked)
        framing = b"Transfer-Encoding: chunked\r\n" if is_chunked else b""
        return framing + self._closing.fields if self._closing is not None else framing

    def pump(self) -> None:
        """Release what has come, now or when long work may be done; it is called again."""
        if self._is_pumping:
            return
        exchange = self._exchange
        if self._how is _WHOLE:
            if self._steps is not None:
                exchange.release_on_soon()
        elif self._reducer is not None and not exchange.plane.long_work.may_go_on(self._pending_bytes):
            exchange.pause_supplier()
            self._hold_waiting()
            exchange.release_on_soon()
        else:
            self.go_on()

    def go_on(self) -> None:
        """Release what has come; stops where something must be waited for, and is called again."""
        if self._is_pumping:
            return
        if self._how is _WHOLE:
            if self._steps is not None:
                self._go_on(self._steps, self._leave_still)
            return
        self._is_pumping = True
        self._turn_bytes = 0
        try:
            while self._step():
                # INVARIANT: BOUNDED: a few octets that grow to many rows are reduced turn by turn of the loop.
                if self._turn_bytes > self._most_turn_bytes:
                    self._exchange.pause_supplier()
                    self._exchange.release_on_soon()
                    break
            self._hold_waiting()
        except GatewayError as error:
            self._exchange.refuse(error)
        finally:
            self._is_pumping = False

    def _hold_waiting(self) -> None:
        """Count what waits here, in the rows' reader and for the caller; cut where that is too much."""
        exchange = self._exchange
        if exchange.state not in _RELEASING:
            return
        octets = self._pending_bytes
        if self._reducer is not None:
            octets += self._reducer.held_bytes
        if exchange.connection.is_writing_paused:
            octets += exchange.connection.unsent_bytes
        beyond = exchange.hold(octets)
        if beyond:
            exchange.refuse_memory(beyond)

    def _step(self) -> bool:
        """Release one piece; False where there is none, or something must be waited for."""
        exchange = self._exchange
        if self._is_held or exchange.state not in _RELEASING:
            return False
        if exchange.connection.is_writing_paused:
            exchange.pause_supplier()
            return False
        # INVARIANT: STALE-DENIES: asked before every piece.
        self._is_held = True
        if not self._standing.holds(self._unhold):
            exchange.pause_supplier()
            return not self._is_held
        self._is_held = False
        if self._pieces is not None:
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
            else:
                self._reduce(piece)
        elif self._pending:
            data = self._pending.popleft()
            self._pending_bytes -= len(data)
            if self._how is _AS_IS:
                self._emit(data)
            elif self._reader is not None:
                self._pieces = iter(self._reader.feed(data))
            else:
                self._reduce(data)
        elif self._is_ended:
            self._finish()
            return False
        else:
            return False
        return True

    def _reduce(self, piece: bytes) -> None:
        assert self._reducer is not None
        self._turn_bytes += len(piece)
        before = self.rows
        self._emit_rows(self._reducer.feed(piece), before)

    def _finish(self) -> None:
        exchange, reducer = self._exchange, self._reducer
        if reducer is not None:
            before = self.rows
            last = self._reader.finish() if self._reader is not None else b""
            self._emit_rows((reducer.feed(last) if last else b"") + reducer.finish(), before)
            if self._is_held:
                return
            if exchange.state is states.COLLECTING:
                # No row came: the answer is empty.
                self._send_whole(self._content_type(reducer.content_type), b"")
                return
        self._end_stream()

    def _end_stream(self) -> None:
        exchange = self._exchange
        if exchange.state is not states.STREAMING:
            return
        exchange.move(states.ON_RELEASED)
        if self._closing is not None:
            exchange.connection.end_answer(self._closing.end(self.rows))
        else:
            exchange.connection.end_answer(b"0\r\n\r\n" if self._is_chunked else b"")

    def _emit_rows(self, out: bytes, before: int) -> None:
        reducer, exchange = self._reducer, self._exchange
        assert reducer is not None
        self.rows = reducer.rows
        if len(self.items) != len(reducer.items):
            self.items = tuple(sorted(reducer.items))
        if not out:
            return
        out = self._encoded(out, is_first=exchange.state is states.COLLECTING)
        drawn = self.rows - before
        if drawn and self._plan.verdict.metered:
            self._is_held = True
            exchange.draw_rows(drawn, lambda: self._emit_drawn(out))
            if self._is_held:
                exchange.pause_supplier()
        else:
            self._emit(out)

    def _emit_drawn(self, out: bytes) -> None:
        self._emit(out)
        self._unhold()

    def _emit(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange.state is states.COLLECTING:
            assert self._reducer is not None
            self._length = None
            exchange.move(states.ON_STREAMS)
            exchange.status = self.status
            self.digest = exchange.plane.digest.copy()
            exchange.connection.begin_answer(
                b"%b%b%b%bSharing-Record: %b\r\n"
                % (
                    status_line(self.status),
                    self._content_type(self._reducer.content_type),
                    self._framing(None),
                    self._plan.answer_fields,
                    exchange.record_name,
                )
            )
        if exchange.state is not states.STREAMING:
            return
        self.digest.update(data)
        if self._closing is not None:
            self._closing.take(data)
        self.sent_bytes += len(data)
        exchange.connection.send_piece(data, is_chunk=self._is_chunked)

    def _unhold(self) -> None:
        self._is_held = False
        # Whoever was asked has answered: the supplier is awaited again.
        self._exchange.set_pace(self._plan.route.interface.first_byte_timeout_seconds)
        self._exchange.resume_supplier()
        self.pump()
