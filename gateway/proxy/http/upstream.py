"""A supplier's connection: a request out, its answer in, one exchange at a time.

An answer's head is checked as raw octets before llhttp reads it; an answer that could be read in two ways, or that
its connection ends too early, is a failure of the supplier. A connection is used again only after an answer whose end
was known and with nothing behind it, so that no answer is ever given to another call.

Source: RFC 9112 §6.3, §9.3, §9.6. Requests are never pipelined to a supplier.
"""

import asyncio
import re
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import httptools

from gateway.proxy.limits import Limits

if TYPE_CHECKING:
    from gateway.proxy.http.pools import Pool

_ONCE = (b"content-length", b"transfer-encoding", b"content-type", b"content-encoding", b"content-range")
# INVARIANT: ONE-MEANING: no control octets, every CR and LF part of a CRLF, no fold, no space before a colon.
_STRICT_HEAD = re.compile(
    rb"HTTP/1\.[01] [1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?\r\n"
    rb"(?:[^\x00-\x20:\x7f-\xff]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n"
)


PLAIN_TYPES = frozenset(
    {
        b"",
        b"application/json",
        b"application/json; charset=utf-8",
        b"application/json;charset=utf-8",
        b"application/json; charset=UTF-8",
        b"application/json;charset=UTF-8",
    }
)
"""Values of `Content-Type` under which JSON is read as it is, in UTF-8 (RFC 8259 §8.1)."""


class AnswerHead(NamedTuple):
    """The final head of an answer.

    Args:
        status: 200 to 999.
        fields: (lower-case name, value) in order.
        named: the same by name.
        length: of the content, None where it is not known.
        is_plain_json: whether content may be read as JSON without decoding it first.
    """

    status: int
    fields: list[tuple[bytes, bytes]]
    named: dict[bytes, bytes]
    length: int | None
    is_plain_json: bool


class Answered(Protocol):
    """What a supplier's connection tells the exchange that uses it."""

    def answer_begun(self, head: "AnswerHead") -> None:
        """The final head has arrived."""

    def answer_whole(self, head: "AnswerHead", content: bytes) -> None:
        """Head and content have arrived at once; stands for `answer_begun`, `answer_piece` and `answer_ended`."""

    def answer_piece(self, data: bytes) -> None:
        """Content, in order."""

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


class SupplierConnection(asyncio.Protocol):
    """One connection to a supplier; at most one exchange uses it at a time."""

    __slots__ = (
        "_buffer",
        "_complete",
        "_dirty",
        "_fields",
        "_head_done",
        "_in_head",
        "_is_head_request",
        "_keeps",
        "_limits",
        "_parser",
        "_pieces",
        "_pool",
        "_told",
        "_until_close",
        "exchange",
        "idle_since",
        "request_whole",
        "transport",
    )

    def __init__(self, pool: "Pool", limits: Limits) -> None:
        self._pool = pool
        self._limits = limits
        self._parser = httptools.HttpResponseParser(self)
        self._buffer = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._in_head = True
        self._head_done = False
        self._told = False
        self._complete = False
        self._dirty = False
        self._keeps = False
        self._until_close = False
        self._is_head_request = False
        self.exchange: Answered | None = None
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.idle_since = 0.0
        self.request_whole = True

    # What llhttp tells; nothing is decided in here, since it cannot carry an exception out.

    def on_message_begin(self) -> None:
        if self._complete:
            self._dirty = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:
            self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._head_done = True
        self._keeps = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        self._complete = True

    # What the exchange does.

    def start(self, exchange: Answered, request: bytes, *, is_head_request: bool, is_whole: bool) -> None:
        """Send a request's head, and what stands behind it, for `exchange`."""
        self.exchange = exchange
        self._fields = []
        self._pieces = []
        self.request_whole = is_whole
        self._is_head_request = is_head_request
        self._in_head = True
        self._head_done = self._told = self._complete = self._until_close = False
        self.transport.write(request)

    def send(self, data: bytes, *, is_last: bool) -> None:
        """Send more of the request's body."""
        self.request_whole = is_last
        self.transport.write(data)

    def pause_answer(self) -> None:
        """Read no more of the answer for now."""
        self.transport.pause_reading()

    def resume_answer(self) -> None:
        """Read on."""
        self.transport.resume_reading()

    def abort(self) -> None:
        """Give the exchange up: whatever still comes belongs to nobody."""
        self.exchange = None
        self._pool.gone(self)
        self.transport.abort()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=self._limits.write_high_bytes)

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.pause_request()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.resume_request()

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self.abort()
            return
        try:
            self._received(data)
        except Exception:  # noqa: BLE001 - a mistake ends this exchange and no other
            self.abort()
            exchange.broken()

    def _received(self, data: bytes) -> None:
        if self._in_head:
            if self._buffer:
                data = self._buffer + data
                self._buffer = b""
            end = data.find(b"\r\n\r\n") + 4
            # Equal octets mean the same: the head of an answer that comes whole need not be read twice.
            known = self._pool.heads.get(data[:end])
            if known is not None and len(data) - end == known.length and not self._is_head_request:
                exchange = self.exchange
                assert exchange is not None
                self._keeps = True
                self._let_go()
                exchange.answer_whole(known, data[end:])
                return
            while self._in_head:
                if end < 4 or end > self._limits.head_bytes:
                    if len(data) > self._limits.head_bytes:
                        self._fail("the answer's header section is too large")
                    else:
                        self._buffer = data
                    return
                if _STRICT_HEAD.fullmatch(data, 0, end) is None:
                    self._fail("the answer's head is malformed")
                    return
                if data[9:10] != b"1":
                    self._in_head = False
                    break
                # An interim answer (RFC 9110 §15.2) ends with its head and goes no further.
                if not self._feed(data[:end]):
                    return
                self._fields.clear()
                self._head_done = self._complete = False
                data = data[end:]
                if not data:
                    return
                end = data.find(b"\r\n\r\n") + 4
            if self._feed(data):
                self._tell(data[:end])
        elif self._feed(data):
            self._tell(b"")

    def _feed(self, data: bytes) -> bool:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # A HEAD answer has no content, which llhttp cannot know; what stands behind it is checked in `_tell`.
            if not (self._is_head_request and self._head_done):
                self._fail("the answer is malformed")
                return False
            self._dirty = True
        return True

    def _tell(self, raw: bytes) -> None:
        """Tell the exchange what has come; `raw` is the final head if that has come just now."""
        exchange = self.exchange
        if exchange is None:
            return
        if not self._told:
            if not self._head_done:
                return
            self._told = True
            fields, self._fields = self._fields, []
            named = dict(fields)
            status = self._parser.get_status_code()
            length = _content_length(fields, named)
            if length == -2 or status < 200:
                self._fail("the answer's framing is malformed")
                return
            if self._is_head_request or status == 204 or status == 304:  # noqa: PLR1714 - a set would be hashed
                self._dirty = self._dirty or bool(self._pieces)
                self._pieces.clear()
                self._keeps = self._keeps and (self._complete or length in {0, -1})
                self._complete = True
                length = 0
            elif length == -1:
                self._until_close = b"transfer-encoding" not in named
                self._keeps = self._keeps and not self._until_close
            is_plain_json = not named.get(b"content-encoding") and named.get(b"content-type", b"") in PLAIN_TYPES
            head = AnswerHead(status, fields, named, None if length == -1 else length, is_plain_json)
            if self._complete and len(self._pieces) == 1:
                content, self._pieces = self._pieces[0], []
                if self._keeps and not self._dirty and length > 0:
                    self._pool.learn(raw, head)
                self._let_go()
                exchange.answer_whole(head, content)
                return
            exchange.answer_begun(head)
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            for piece in pieces:
                if self.exchange is None:
                    return
                exchange.answer_piece(piece)
        if self._complete and self.exchange is not None:
            self._end()

    def _let_go(self) -> None:
        """The answer is whole: keep the connection for another call where that is safe."""
        self.exchange = None
        whole = self.request_whole and not self._dirty and not self._is_head_request
        if self._keeps and whole and not self.transport.is_closing():
            self._pool.give_back(self)
        else:
            self._pool.gone(self)
            self.transport.close()

    def _end(self) -> None:
        exchange = self.exchange
        self._let_go()
        if exchange is not None:
            exchange.answer_ended()

    def eof_received(self) -> bool:
        if self.exchange is not None:
            if self._until_close and self._head_done:
                self._keeps = False
                self._end()
            else:
                self._fail("the supplier closed the connection before its answer was whole")
        return False

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - asyncio's name
        self._pool.gone(self)
        if self.exchange is not None:
            self._fail("the connection to the supplier was lost")

    def _fail(self, reason: str) -> None:
        exchange, self.exchange = self.exchange, None
        self._pool.gone(self)
        self.transport.abort()
        if exchange is not None:
            exchange.answer_failed(reason)


def _content_length(fields: list[tuple[bytes, bytes]], named: dict[bytes, bytes]) -> int:
    """The answer's `Content-Length`; -1 where there is none, -2 where it is ambiguous (RFC 9112 §6.3)."""
    if len(named) != len(fields):
        names = [name for name, _ in fields]
        if any(names.count(name) > 1 for name in _ONCE):
            return -2
    length, coding = named.get(b"content-length"), named.get(b"transfer-encoding")
    if coding is not None:
        return -1 if length is None and coding.lower() == b"chunked" else -2
    if length is None:
        return -1
    return int(length) if length.isdigit() and len(length) <= 18 else -2
