"""A supplier's connection: a request out, its answer in, one exchange at a time.

INVARIANT: ONE-ANSWER: an octet from a supplier is part of the answer to the request that this connection bears, or it
is nobody's, and then its connection ends, is counted, and is never used again. That holds

    before  nothing may wait unread when a request is written, and no octet of an answer is taken before the supplier's
            kernel has acknowledged an octet of the request: what came earlier was sent before anybody asked
    within  where the answer ends is known to the octet (`answers`), and nothing behind that is read as part of it
    behind  octets behind the end, or on an idle connection, end it; so does an answer that was not whole

An answer that comes whole before its request was sent whole is its answer (RFC 9112 §9.5), but the connection is not
kept. Requests are never pipelined to a supplier, and none is sent twice.

Source: RFC 9112 §6.3, §9.3, §9.6.
"""

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from gateway.domain.errors import GatewayError
from gateway.proxy.guards import ends_exchange
from gateway.proxy.http import answers
from gateway.proxy.http.answers import AnswerHead, UnreadableError
from gateway.proxy.http.framing import BodyReader
from gateway.proxy.kernel import Ear, descriptor, first_waiting, read_waiting, unacknowledged_bytes
from gateway.proxy.limits import Limits

if TYPE_CHECKING:
    from gateway.proxy.http.pools import Pool

MAX_INTERIM = 16
"""Interim answers taken before the final one; no service sends more than a few."""
_LAST_WORDS_BYTES = 64 * 1024


class Answered(Protocol):
    """What a supplier's connection tells the exchange that uses it."""

    def answer_waits(self, octets: int) -> None:
        """So much of a head has come, and is held."""

    def answer_begun(self, head: AnswerHead) -> None:
        """The final head has arrived."""

    def answer_whole(self, head: AnswerHead, content: bytes) -> None:
        """Head and content have arrived at once; stands for `answer_begun`, `answer_piece` and `answer_ended`."""

    def answer_piece(self, data: bytes) -> None:
        """Content, in order."""

    def answer_overran(self) -> None:
        """More than the answer has come; said before the answer is told to be whole."""

    def answer_ended(self) -> None:
        """The content is whole; the connection is already back in its pool or closed."""

    def answer_failed(self, reason: str) -> None:
        """The answer will not become whole."""

    def broken(self) -> None:
        """The gateway made a mistake with this answer."""

    def pause_request(self) -> None:
        """The supplier does not take the request's body as fast as it comes."""

    def resume_request(self) -> None:
        """It takes more."""


SETTLED_TURNS = 3
"""Turns of the loop without anything to read before a new connection over TLS is used."""


class SupplierConnection(asyncio.Protocol):
    """One connection to a supplier; at most one exchange uses it at a time.

    Attributes:
        exchange: whose request is under way here.
        about: the record of the use it was last used for, "" before.
    """

    __slots__ = (
        "_buffer",
        "_ear",
        "_fd",
        "_has_body",
        "_head",
        "_interims",
        "_is_head_request",
        "_is_heard",
        "_is_paused",
        "_is_tls",
        "_limits",
        "_pool",
        "_reader",
        "_searched",
        "_silent_turns",
        "_telling",
        "_written",
        "about",
        "exchange",
        "idle_since",
        "request_whole",
        "transport",
    )

    def __init__(self, pool: "Pool", limits: Limits) -> None:
        self._pool = pool
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0
        self._head: AnswerHead | None = None
        self._reader: BodyReader | None = None
        self._interims = 0
        self._written = 0
        self._fd = -1
        self._silent_turns = 0
        self._is_tls = False
        self._is_paused = self._is_heard = self._has_body = self._is_head_request = False
        self._telling: Answered | None = None
        self.exchange: Answered | None = None
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.idle_since = -1.0
        self.request_whole = True
        self.about = ""

    # What the exchange does.

    def is_quiet(self) -> bool:
        """Whether a request may be written: the connection stands, and nothing came that nobody asked for.

        One that is not quiet is given up here. What has just settled was asked by that, and is not asked again: what
        a server of TLS sends between two questions is its tickets.
        """
        if self.transport.is_closing():
            return False
        if self._silent_turns > SETTLED_TURNS:
            self._silent_turns = 0
            return True
        if not self._ear.hears():
            return True
        # What waits under TLS may be a record of TLS itself: it is given up all the same, but not counted.
        if not self._is_tls and first_waiting(self._fd):
            self._pool.stray("unasked", self.about)
        self.abort()
        return False

    def is_settling(self) -> bool:
        """Whether records of TLS itself may wait on a connection that was just made, such as session tickets.

        What is an answer among them comes to `data_received` once the loop has read and decrypted it, which takes it a
        turn or two after the kernel has nothing more, and ends the connection.
        """
        if not self._is_tls or self.transport.is_closing():
            return False
        self._silent_turns = 0 if self._ear.hears() else self._silent_turns + 1
        return self._silent_turns <= SETTLED_TURNS

    async def settled(self) -> "SupplierConnection":
        """Itself, once the loop has read what waits; given up where nobody waits for it any more."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.abort()
            raise
        return self

    def start(
        self, exchange: Answered, request: bytes, *, is_head_request: bool, is_whole: bool, about: str = ""
    ) -> None:
        """Send a request's head, and what stands behind it, for `exchange`."""
        self.exchange = exchange
        self.about = about
        self.request_whole = is_whole
        self._is_head_request = is_head_request
        self._has_body = not is_whole
        self._is_heard = False
        self._interims = 0
        self._head = self._reader = None
        self._written = len(request)
        self.transport.write(request)

    def send(self, data: bytes, *, is_last: bool) -> None:
        """Send more of the request's body."""
        self.request_whole = is_last
        self._written += len(data)
        self.transport.write(data)

    @property
    def unsent_bytes(self) -> int:
        """What was written and the kernel has not taken."""
        return self.transport.get_write_buffer_size()

    def pause_answer(self) -> None:
        """Read no more of the answer for now."""
        self._is_paused = True
        self.transport.pause_reading()

    def resume_answer(self) -> None:
        """Read on."""
        self._is_paused = False
        self.transport.resume_reading()

    def abort(self) -> None:
        """Give the exchange up: whatever still comes belongs to nobody."""
        self.exchange = None
        self._pool.gone(self)
        self.transport.abort()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._made(transport)

    @ends_exchange
    def _made(self, transport: asyncio.BaseTransport) -> None:
        self._pool.made(self)
        self.transport.set_write_buffer_limits(high=self._limits.unseen_bytes, low=0)
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        self._fd = descriptor(transport)
        self._ear = Ear(self._fd)

    @ends_exchange
    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.pause_request()

    @ends_exchange
    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.resume_request()

    @ends_exchange
    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            # INVARIANT: ONE-ANSWER: what comes on an idle connection, or before the first request, answers nobody.
            self._stray("idle" if self.about else "unasked")
            return
        if not self._is_heard:
            self._is_heard = True
            # INVARIANT: ONE-ANSWER: an answer bears the acknowledgement of what it answers.
            if self._written <= unacknowledged_bytes(self._fd) + self.transport.get_write_buffer_size():
                self._pool.stray("unasked", self.about)
                self._fail("the supplier sent an answer before it was asked")
                return
        self._telling = exchange
        try:
            if self._reader is not None:
                self._content(self._reader, data, exchange)
            else:
                self._heads(data, exchange)
        except UnreadableError as error:
            self._fail(str(error))
        self._telling = None

    def _heads(self, data: bytes, exchange: Answered) -> None:
        """Read heads until the final one has come; then what stands behind it."""
        buffer = self._buffer
        if not buffer:
            end = data.find(b"\r\n\r\n") + 4
            # Equal octets mean the same: a head that has been read before need not be read again.
            known = self._pool.heads.get(data[:end]) if end > 3 else None
            if known is not None and known.counted_bytes == len(data) - end and not self._is_head_request:
                # The way of most answers: whole, and nothing behind it.
                self._let_go(known)
                exchange.answer_whole(known, data[end:])
                return
        buffer += data
        while True:
            end = buffer.find(b"\r\n\r\n", max(self._searched - 3, 0)) + 4
            if end < 4:
                answers.check_beginning(buffer, self._searched)
                self._searched = len(buffer)
            if max(end, 0 if end > 3 else len(buffer)) > self._limits.head_bytes:
                raise UnreadableError("the answer's header section is too large")
            if end < 4:
                exchange.answer_waits(len(buffer))
                return
            raw = bytes(buffer[:end])
            head = self._pool.heads.get(raw)
            if head is None:
                head = answers.parse_head(raw)
                self._pool.learn(raw, head)
            del buffer[:end]
            self._searched = 0
            if head.status >= 200:
                break
            # An interim answer (RFC 9110 §15.2) ends with its head and goes no further.
            self._interims += 1
            if self._interims > MAX_INTERIM:
                raise UnreadableError("the supplier sends interim answers without an end")
            if not buffer:
                return
        self._final(head, exchange)

    def _final(self, head: AnswerHead, exchange: Answered) -> None:
        rest = bytes(self._buffer)
        self._buffer.clear()
        if answers.is_without_content(head, is_head_request=self._is_head_request):
            # A connection on which content was announced is not kept: some services send it all the same, later.
            is_bare = not head.length and not head.is_chunked and not self._is_head_request
            head = head._replace(length=0, keeps=head.keeps and is_bare)
            content, is_complete = b"", True
        else:
            reader = self._reader = answers.content_reader(head)
            content, rest = self._feed(reader, rest)
            is_complete = reader.is_complete
            if head.status == 205 and content:
                raise UnreadableError("an answer of status 205 has content")
        if is_complete and content:
            self._let_go(head, rest, exchange)
            exchange.answer_whole(head, content)
            return
        self._head = head
        exchange.answer_begun(head)
        if self.exchange is not exchange:
            return
        if is_complete:
            self._let_go(head, rest, exchange)
            exchange.answer_ended()
        else:
            self._buffer += rest
            if content:
                exchange.answer_piece(content)

    def _content(self, reader: BodyReader, data: bytes, exchange: Answered) -> None:
        head = self._head
        assert head is not None
        if self._buffer:
            data = bytes(self._buffer) + data
            self._buffer.clear()
        content, rest = self._feed(reader, data)
        if head.status == 205 and content:
            raise UnreadableError("an answer of status 205 has content")
        if not reader.is_complete:
            self._buffer += rest
            if content:
                exchange.answer_piece(content)
            return
        if content:
            exchange.answer_piece(content)
        if self.exchange is exchange:
            self._let_go(head, rest, exchange)
            exchange.answer_ended()

    @staticmethod
    def _feed(reader: BodyReader, data: bytes) -> tuple[bytes, bytes]:
        try:
            return reader.feed(data)
        except GatewayError:
            raise UnreadableError("the answer's chunks are malformed") from None

    def _let_go(self, head: AnswerHead, rest: bytes = b"", exchange: Answered | None = None) -> None:
        """The answer is whole: keep the connection for another call where that is safe."""
        self.exchange = None
        self._head = self._reader = None
        if rest:
            # INVARIANT: ONE-ANSWER: what stands behind the end answers nobody.
            assert exchange is not None
            exchange.answer_overran()
            self._stray("behind")
            return
        if not head.keeps or not self.request_whole or self._is_unsent():
            self._pool.gone(self)
            if self.unsent_bytes:
                # INVARIANT: BOUNDED: a supplier that reads no more holds nothing of a request that it has answered.
                self.transport.abort()
            else:
                self.transport.close()
            return
        if self._is_paused:
            self.resume_answer()
        self._pool.give_back(self)

    def _is_unsent(self) -> bool:
        """Whether the supplier has still to take what was written to it; only a body may be answered before that."""
        if self.transport.is_closing() or self.transport.get_write_buffer_size():
            return True
        return self._has_body and unacknowledged_bytes(self._fd) > 0

    def _stray(self, when: str) -> None:
        self._pool.stray(when, self.about)
        self.abort()

    @ends_exchange
    def eof_received(self) -> bool:
        exchange, head = self.exchange, self._head
        if exchange is not None:
            self._telling = exchange
            if isinstance(self._reader, answers.UntilClose) and head is not None:
                self._let_go(head)
                exchange.answer_ended()
            else:
                self._fail("the supplier closed the connection before its answer was whole")
            self._telling = None
        return False

    @ends_exchange
    def connection_lost(self, exc: BaseException | None) -> None:
        self._pool.gone(self)
        exchange = self.exchange
        if exchange is None:
            return
        if exc is not None and not self._is_tls and not self.request_whole and not self._is_paused:
            # The supplier answered and went while the body was still being written to it, so that writing failed
            # first: what it said is in the kernel (RFC 9112 §9.5).
            last_words = read_waiting(self._fd, _LAST_WORDS_BYTES)
            if last_words:
                self.data_received(last_words)
        if self.exchange is exchange:
            self._fail("the connection to the supplier was lost")

    def _fail(self, reason: str) -> None:
        exchange, self.exchange = self.exchange, None
        self._telling = exchange
        self._pool.gone(self)
        self.transport.abort()
        if exchange is not None:
            exchange.answer_failed(reason)

    def broken(self) -> None:
        """As `guards.Breakable.broken`: the exchange that was being told ends, and its connection where it has one."""
        exchange, self._telling = self._telling or self.exchange, None
        if self.exchange is exchange:
            self.exchange = None
            self._pool.gone(self)
            self.transport.abort()
        if exchange is not None:
            exchange.broken()
        else:
            self._pool.failed_here()
