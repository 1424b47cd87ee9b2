"""A caller's connection: bytes in, one request at a time out of them, answers back in order.

Requests that a caller pipelines wait as bytes until the exchange before them has ended (RFC 9112 §9.3.2). What the
connection does is in `Phase`; what the exchange does is its own table.
"""

import asyncio
import re
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, cast

from gateway.domain.errors import GatewayError
from gateway.domain.uses import Use
from gateway.proxy.exchange import states
from gateway.proxy.exchange.endings import SHED
from gateway.proxy.exchange.exchange import Exchange
from gateway.proxy.exchange.refusals import refusal, status_line
from gateway.proxy.guards import ends_exchange
from gateway.proxy.http.framing import BodyReader, body_reader
from gateway.proxy.http.heads import parse_request_line
from gateway.proxy.kernel import DROP_UNSENT, SEND_UNSENT, set_linger
from gateway.proxy.leaving import Leaving
from gateway.proxy.ports import Peer

if TYPE_CHECKING:
    from gateway.proxy.plane import DataPlane

_NEVER = float("inf")
_EMPTY_LINES = re.compile(rb"(?:\r\n)*")
_BARE_LF = re.compile(rb"(?<!\r)\n")
CLOSE_PAUSE_SECONDS = 0.01
"""How soon it is looked again whether a closing connection's last bytes arrived, at first; it doubles up to 0.25 s."""


class Phase(IntEnum):
    """What a caller's connection does."""

    IDLE = 0
    HEAD = 1
    EXCHANGE = 2
    LINGER = 3
    LEAVING = 4
    CLOSED = 5


_IDLE, _HEAD, _EXCHANGE, _LINGER, _LEAVING, _CLOSED = Phase


class CallerConnection(asyncio.Protocol):
    """One caller's connection."""

    __slots__ = (
        "_advancing",
        "_body",
        "_buffer",
        "_close_pause",
        "_closes",
        "_held_bytes",
        "_is_shed",
        "_line_end",
        "_lingered",
        "_may_begin",
        "_paused_for",
        "_phase",
        "_plane",
        "_reads_end",
        "_searched",
        "_unsent_mark",
        "due",
        "exchange",
        "is_writing_paused",
        "leaving",
        "peer",
        "slot",
        "takes_chunks",
        "transport",
    )

    def __init__(self, plane: "DataPlane") -> None:
        self._plane = plane
        self._buffer = b""
        self._body: BodyReader | None = None
        self._phase = _IDLE
        self._closes = False
        self._close_pause = CLOSE_PAUSE_SECONDS
        self._lingered = 0
        self._searched = 0
        self._line_end = -1
        self._held_bytes = 0
        self._paused_for = 0
        self._unsent_mark = 0
        self._advancing = self._may_begin = self._is_shed = False
        self._reads_end = False
        self.is_writing_paused = False
        self.exchange: Exchange | None = None
        self.leaving: Leaving = cast("Leaving", None)
        self.peer = Peer("")
        self.takes_chunks = True
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.due = _NEVER
        self.slot = -1

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._made(transport)

    @ends_exchange
    def _made(self, transport: asyncio.BaseTransport) -> None:
        plane = self._plane
        self.transport.set_write_buffer_limits(high=plane.limits.unseen_bytes, low=0)
        # INVARIANT: BARRIER: the kernel of a worker that is killed drops what it holds for its callers. Only what is
        # closed in good order (`_close`) is sent to its end.
        set_linger(self.transport, DROP_UNSENT)
        address = transport.get_extra_info("peername")
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        self.peer = Peer(address[0] if address else "", tls is not None, certificate)
        self.leaving = Leaving(self.transport, is_tls=tls is not None)
        if not plane.connected(self):
            self._phase = _CLOSED
            self.transport.abort()
            return
        plane.wheel.arm(self, plane.loop.time() + plane.limits.idle_timeout_seconds)

    @ends_exchange
    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - asyncio's name
        self.leaving.lost()
        self._phase = _CLOSED
        exchange, self.exchange = self.exchange, None
        try:
            if exchange is not None:
                exchange.caller_gone()
        finally:
            self._gone()

    def _gone(self) -> None:
        self._phase = _CLOSED
        self.due = _NEVER
        self._plane.wheel.disarm(self)
        self._plane.deaf.discard(self)
        self._plane.turns.leave(self)
        self._plane.shares.hold_unknown(-self._held_bytes)
        self._held_bytes = 0
        self._plane.disconnected(self)
        if self.leaving is not None:
            self.leaving.give_up("aborted")

    def broken(self) -> None:
        """As `guards.Breakable.broken`: the exchange under way ends, and the connection with it."""
        exchange = self.exchange
        if exchange is not None:
            exchange.broken()
        else:
            self._plane.failed()
        self.exchange = None
        self._gone()
        self.transport.abort()

    @ends_exchange
    def eof_received(self) -> bool:
        """The caller sends no more: a caller that waits for an answer has gone, unless half-closing ones are served.

        Source: RFC 9112 §9.6; stricter by default: one that gives up closes its side, and looks the same.
        """
        self._reads_end = True
        if self._plane.turns.leave(self) and self._plane.limits.half_close:
            self.begin_call()
        exchange, can_wait = self.exchange, not self.peer.is_tls
        if self._phase is _EXCHANGE and exchange is not None:
            if self._plane.limits.half_close and can_wait and exchange.body.is_whole:
                return True
            self.reset("aborted")
            return False
        if self._phase is _CLOSED:
            return False
        self.leaving.confirm()
        if can_wait and (self.leaving.waiting or self.leaving.unsent_bytes()):
            self._close()
            return True
        if not self.leaving.unsent_bytes():
            set_linger(self.transport, SEND_UNSENT)
        return False

    @ends_exchange
    def pause_writing(self) -> None:
        self.is_writing_paused = True

    @ends_exchange
    def resume_writing(self) -> None:
        self.is_writing_paused = False
        exchange = self.exchange
        if exchange is not None:
            exchange.resume_answer()

    @ends_exchange
    def data_received(self, data: bytes) -> None:
        if self._phase >= _LINGER:
            self._lingered += len(data)
            if self._lingered > self._plane.limits.linger_bytes:
                self.transport.abort()
            return
        self._buffer = self._buffer + data if self._buffer else data
        if self.leaving.waiting:
            self.leaving.confirm()
        self._advance()
        if self._buffer or self._held_bytes or self._body is not None:
            self.count_held()

    def count_held(self) -> None:
        """Count what is held of requests before they go on; refuse where that is too much."""
        octets, exchange = len(self._buffer), self.exchange
        if exchange is not None and exchange.body.pieces:
            octets += exchange.body.held_bytes()
        # INVARIANT: BOUNDED: what nobody has answered for yet has its part of the budget.
        if octets != self._held_bytes:
            if self._plane.shares.hold_unknown(octets - self._held_bytes):
                self._held_bytes = octets
                return
            self._plane.counters.turned_away("memory")
            error = GatewayError("overloaded", "no more can be held in memory")
            if exchange is not None and exchange.state < states.FLUSHING:
                exchange.refuse(error)
            elif self._phase < _EXCHANGE:
                self._refuse_head(error)
            else:
                self.reset()

    # From bytes to requests.

    def _advance(self) -> None:
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._buffer and self._phase < _LINGER:
                if self._phase is _EXCHANGE:
                    if not self._read_body():
                        break
                elif self.leaving.waiting and self.leaving.is_full:
                    self._pause(1)
                    break
                elif not self._read_head():
                    break
        finally:
            self._advancing = False

    def _read_head(self) -> bool:
        """Start an exchange if a head has arrived; True where there is more to do."""
        buffer, limits = self._buffer, self._plane.limits
        if buffer[:2] == b"\r\n":
            # Empty lines before a request line are tolerated (RFC 9112 §2.2), within the header time-out.
            buffer = self._buffer = buffer[_EMPTY_LINES.match(buffer).end() :]  # type: ignore[union-attr]
            self._searched = 0
        # What was searched before is not searched again, however small the pieces are in which a head comes.
        seen = max(self._searched - 3, 0)
        line_end = self._line_end if self._searched else -1
        if line_end < 0:
            line_end = buffer.find(b"\r\n", seen)
        if line_end > limits.request_line_bytes or (line_end < 0 and len(buffer) > limits.request_line_bytes):
            self._refuse_head(GatewayError("target-too-long"))
            return False
        end = buffer.find(b"\r\n\r\n", max(seen, line_end)) + 4 if line_end >= 0 else 3
        if end < 4:
            if self._phase is _IDLE:
                self._phase = _HEAD
                self.set_deadline(limits.header_timeout_seconds)
            if not self._is_hopeless(buffer, line_end):
                self._searched, self._line_end = len(buffer), line_end
            return False
        self._searched = 0
        if not (self._may_begin or self._plane.turns.may_begin()):
            self._await_turn()
            return False
        self._may_begin = False
        self._phase = _EXCHANGE
        self._buffer = buffer[end:]
        try:
            exchange = self._parse_head(buffer[:line_end], buffer[line_end + 2 : end])
        except GatewayError as error:
            self._refuse_head(error)
            return False
        block = exchange.block
        if self._is_shed and not block.content_length and not self.is_writing_paused and exchange.method != b"HEAD":
            self._shed(chinese=block.chinese)
            return bool(self._buffer)
        self.exchange = exchange
        if block.content_length != 0:
            self._body = body_reader(block.content_length)
            if self._buffer:
                self._read_body()
        if self._is_shed:
            self._is_shed = False
            exchange.shed()
        elif exchange.state is states.IDENTIFYING:
            exchange.begin()
        return True

    def _parse_head(self, line: bytes, fields: bytes) -> Exchange:
        plane = self._plane
        method, raw_target, is_old = parse_request_line(line)
        block, own, trace, is_repeated = plane.blocks.read(fields)
        target = plane.targets.read(raw_target, block.host, is_tls=self.peer.is_tls)
        if is_old and block.content_length is None:
            # RFC 9112 §6.1: HTTP/1.0 has no chunks, so who speaks it may see another end.
            raise GatewayError("malformed-request", "a request of HTTP/1.0 has a transfer coding")
        self._closes = block.is_last or is_old
        self.takes_chunks = not is_old
        return Exchange(plane, self, method, target, block, trace, own, is_repeated=is_repeated)

    def _await_turn(self) -> None:
        """The call that has arrived begins in a later turn."""
        self._plane.turns.wait(self)
        if len(self._buffer) > self._plane.limits.read_high_bytes:
            self._pause(1)

    def _shed(self, *, chinese: bool) -> None:
        """Refuse a call that has waited too long in the cheapest way: nothing of it has begun."""
        self._is_shed = False
        counters = self._plane.counters
        counters.turned_away("load")
        counters.refused(SHED.code)
        counters.nowhere.ended("refused", SHED.code, 0)
        status, fields, content = refusal(SHED, chinese=chinese)
        self._write(status_line(status) + fields + b"Content-Length: %d\r\n" % len(content), content)
        self._finish()

    @ends_exchange
    def begin_call(self) -> None:
        """As `turns.Waiting.begin_call`."""
        if self._phase < _EXCHANGE:
            self._may_begin = True
            self._resume(1)
            self._advance()
            self.count_held()

    @ends_exchange
    def shed_call(self) -> None:
        """As `turns.Waiting.shed_call`."""
        self._is_shed = True
        try:
            self.begin_call()
        finally:
            self._is_shed = False

    def _is_hopeless(self, buffer: bytes, line_end: int) -> bool:
        """Refuse a head that no further byte can save."""
        limits = self._plane.limits
        if len(buffer) > limits.head_bytes + (max(line_end, 0)):
            self._refuse_head(GatewayError("headers-too-large"))
            return True
        # INVARIANT: ONE-MEANING.
        # A bare LF ends a line for lenient parsers; it is refused as soon as it is seen.
        if _BARE_LF.search(buffer, self._searched):
            self._refuse_head(GatewayError("malformed-request", "a line ends with a bare LF"))
            return True
        return False

    def _read_body(self) -> bool:
        """Bring what has arrived of the body to the exchange; True where there is more to do."""
        exchange, reader = self.exchange, self._body
        if reader is None or exchange is None:
            if len(self._buffer) > self._plane.limits.read_high_bytes:
                self._pause(1)
            return False
        if exchange.body.held_bytes() >= max(self._plane.limits.read_high_bytes, exchange.body.wanted_bytes + 1):
            self._pause(1)
            return False
        data, self._buffer = self._buffer, b""
        try:
            body, rest = reader.feed(data)
        except GatewayError as error:
            exchange.refuse(error)
            return False
        self._buffer = rest
        if body:
            exchange.request_piece(body)
        if reader.is_complete:
            self._body = None
            exchange.request_ended()
            return bool(self._buffer)
        return bool(body) and bool(rest)

    def _refuse_head(self, error: GatewayError) -> None:
        """Answer a request that is none, and close: what follows it has no meaning."""
        self._phase = _EXCHANGE
        self._plane.counters.nowhere.ended("refused", error.code, 0)
        self._plane.counters.refused(error.code)
        status, fields, content = refusal(error, chinese=False)
        self._closes = True
        self._buffer = b""
        self._write(status_line(status) + fields + b"Content-Length: %d\r\n" % len(content), content)
        self._finish()

    # What the exchange does.

    @property
    def unsent_bytes(self) -> int:
        """What was written and the kernel has not taken."""
        return self.transport.get_write_buffer_size()

    @property
    def is_body_paused(self) -> bool:
        """Whether the request's body is not read because its supplier does not take it."""
        return bool(self._paused_for & 2)

    def pause_body(self) -> None:
        """Read no more of the request's body for now."""
        self._pause(2)

    def resume_body(self) -> None:
        """Read on."""
        self._resume(3)
        if self._buffer:
            self._advance()

    def send_continue(self) -> None:
        """Ask for the body (RFC 9110 §10.1.1); a caller of HTTP/1.0 would not understand."""
        if not self.takes_chunks:
            return
        self.leaving.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def send_answer(self, head: bytes, content: bytes) -> None:
        """Send an answer whole; `head` has its framing."""
        self._write(head, content)
        if self.is_writing_paused:
            self._await_reader()
        else:
            self.answer_flushed()

    def begin_answer(self, head: bytes) -> None:
        """Send the head of an answer whose content comes in pieces; `head` has its framing."""
        self._write(head, b"")

    def send_piece(self, data: bytes, *, is_chunk: bool) -> None:
        """Send more of the content."""
        if is_chunk:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self.leaving.write(data)
        if self.is_writing_paused:
            self._await_reader()

    def end_answer(self, data: bytes) -> None:
        """Send what ends the content."""
        self.leaving.write(data)
        if self.is_writing_paused:
            self._await_reader()
        else:
            self.answer_flushed()

    def _write(self, head: bytes, content: bytes) -> None:
        exchange = self.exchange
        if self._plane.is_draining or self._reads_end or (exchange is not None and not exchange.body.is_whole):
            self._closes = True
        date = self._plane.date
        closing = b"Connection: close\r\n\r\n" if self._closes else b"\r\n"
        if len(content) < 65536:
            self.leaving.write(b"%b%b%b%b" % (head, date, closing, content))
        else:
            self.leaving.write_all((head, date, closing, content))

    def answer_flushed(self) -> None:
        """The answer is written: the exchange is over but for its arrival."""
        exchange = self.exchange
        if exchange is not None and exchange.flushed():
            # INVARIANT: BARRIER: what is still on its way to the caller can be cut.
            self.leaving.add(exchange)
            self._plane.ask_arrival(self)
        self._finish()

    @ends_exchange
    def confirm(self) -> None:
        """Ask what has arrived, and go on with what waits for that."""
        self.leaving.confirm()
        if self.leaving.waiting:
            return
        if self._phase < _EXCHANGE and self._buffer:
            self._resume(1)
            self._advance()

    def _finish(self) -> None:
        """The answer is written: go on with the next request, or close."""
        exchange, self.exchange = self.exchange, None
        is_whole = exchange.body.is_whole if exchange is not None else False
        self._body = None
        if self._phase >= _LINGER:
            return
        if self._closes:
            if is_whole or self._reads_end:
                self._close()
            else:
                self._linger()
            return
        self._phase = _IDLE
        self.due = self._plane.now_seconds + self._plane.limits.idle_timeout_seconds
        self._resume(3)
        if self._buffer and not self._advancing:
            self._advance()

    def _linger(self) -> None:
        """Let the caller read its refusal before the rest of its request resets the connection (RFC 9112 §9.6)."""
        if self.peer.is_tls:
            # Its end is said within TLS, and what still comes is read and thrown away until the caller says so too.
            self._close()
            return
        self._phase = _LINGER
        self._buffer = b""
        self._resume(3)
        self.leaving.write_eof()
        self.set_deadline(self._plane.limits.linger_seconds)

    def reset(self, end: str = "cut") -> None:
        """Cut the connection: what has not been sent is dropped, the caller sees a reset; `end` is on record."""
        exchange, self.exchange = self.exchange, None
        try:
            if self._phase is not _CLOSED:
                self.leaving.confirm()
                self.missing_bytes()
            self._phase = _CLOSED
            if exchange is not None:
                exchange.caller_gone()
            self.leaving.give_up(end)
            set_linger(self.transport, DROP_UNSENT)
        finally:
            self.transport.abort()

    def missing_bytes(self) -> int:
        """Of all that was written, what has not arrived; once the connection has ended, what never will."""
        return self.leaving.last_missing_bytes if self._phase is _CLOSED else self.leaving.missing_bytes()

    def gone(self) -> None:
        """The caller has gone while nothing was read of it: there is nobody to answer."""
        self.reset("aborted")

    def is_leaving_under(self, matches: Callable[[Use], bool]) -> bool:
        """Whether bytes of a finished answer under a use that `matches` may still wait here or in the kernel."""
        return self.leaving.is_under(matches)

    def _close(self) -> None:
        """Close in good order: what was written is sent, and whether it arrived is learned.

        INVARIANT: BARRIER: it is closed only when that has been sent: what the kernel holds of a closed connection
        could not be dropped any more, and would go on leaving.
        """
        if self._phase >= _LEAVING:
            return
        self.leaving.confirm()
        if not self.leaving.waiting and not self.leaving.unsent_bytes():
            self._close_now()
            return
        self._phase = _LEAVING
        self._buffer = b""
        # It is read on, and thrown away: its end is heard, and no octet left unread makes a reset of the close.
        self._resume(3)
        # INVARIANT: BOUNDED: what was written is sent, but not to a caller that never reads it.
        self._await_reader()
        # In its next turn the loop has given the kernel what was just written: for most answers that is all.
        self._plane.loop.call_soon(self._close_once_arrived)

    @ends_exchange
    def _close_once_arrived(self) -> None:
        if self._phase is not _LEAVING:
            return
        self.leaving.confirm()
        if not self.leaving.waiting and not self.leaving.unsent_bytes():
            self._close_now()
        elif self.leaving.is_cut:
            self.transport.abort()
        else:
            self._plane.loop.call_later(self._close_pause, self._close_once_arrived)
            self._close_pause = min(self._close_pause * 2, 0.25)

    def _close_now(self) -> None:
        self._phase = _CLOSED
        # For what was sent and is not acknowledged yet: it may have to be sent again.
        set_linger(self.transport, SEND_UNSENT)
        self.transport.close()

    # Time.

    def _await_reader(self) -> None:
        """The caller must take of what was written, and go on taking."""
        self._unsent_mark = self.leaving.missing_bytes()
        due = self._plane.now_seconds + self._plane.limits.write_progress_seconds
        self.set_due(due if self.exchange is None else min(due, self.exchange.total_due))

    def _has_taken(self) -> bool:
        """Whether the caller has taken in this window what it must at least, and may have more of its time."""
        limits, exchange = self._plane.limits, self.exchange
        # What has arrived there: the kernel passes it on by larger steps than it is read.
        taken = self._unsent_mark - self.leaving.missing_bytes()
        is_in_time = exchange is None or self._plane.now_seconds < exchange.total_due
        return is_in_time and taken >= limits.least_rate_bytes * limits.write_progress_seconds

    def set_deadline(self, seconds: float) -> None:
        """What is awaited must come within `seconds`."""
        self.set_due(self._plane.now_seconds + seconds)

    def set_due(self, due: float) -> None:
        """What is awaited must come by `due`, in the loop's time."""
        if due < self.due or self.slot < 0:
            self._plane.wheel.arm(self, due)
        else:
            self.due = due

    @ends_exchange
    def expired(self) -> None:
        """The deadline has passed."""
        self.due = _NEVER
        is_leaving = self.is_writing_paused or self._phase is _LEAVING
        if is_leaving and self._has_taken():
            self._await_reader()
        elif self._phase is _EXCHANGE and self.exchange is not None:
            self.exchange.timed_out()
        elif self._phase is _HEAD:
            self._refuse_head(GatewayError("request-timeout"))
        elif self._phase is _IDLE or (self._phase is _LINGER and not self.leaving.unsent_bytes()):
            self._close()
        else:
            self.transport.abort()

    def drain(self, idle_seconds: float) -> None:
        """Close after the call that is under way, or the one that comes within so many seconds; else then.

        A request that is on its way here while an idle connection is closed has no answer, and its caller cannot know
        whether it was made (RFC 9112 §9.6).
        """
        if self._plane.turns.leave(self):
            self.shed_call()
        if self._phase is _IDLE:
            self.set_deadline(idle_seconds)
        elif self._phase is _LINGER and self.leaving.unsent_bytes():
            self.transport.abort()
        elif self._phase is _LINGER:
            self._close()

    def _pause(self, reason: int) -> None:
        if not self._paused_for:
            self.transport.pause_reading()
            self._plane.deaf.add(self)
        self._paused_for |= reason

    def _resume(self, reasons: int) -> None:
        if self._paused_for:
            self._paused_for &= ~reasons
            if not self._paused_for:
                self._plane.deaf.discard(self)
                if not self.transport.is_closing():
                    self.transport.resume_reading()
