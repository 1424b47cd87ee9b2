"""ONE-ANSWER: whatever a supplier writes, however it is cut, each caller gets its own answer and no other octet."""

import contextlib
import itertools
from collections.abc import Sequence
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy.http import upstream
from gateway.proxy.http.answers import AnswerHead
from gateway.proxy.http.pools import Pool
from gateway.proxy.http.upstream import SupplierConnection
from gateway.proxy.limits import Limits
from gateway.proxy.ports import Reach

LIMITS = Limits(head_bytes=4096)


class Wire:
    """A transport without a socket."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_over = self.is_paused = False

    def write(self, data: bytes) -> None:
        assert not self.is_over
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.is_over

    def abort(self) -> None:
        self.is_over = True

    close = abort

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, **_: int) -> None: ...
    def get_extra_info(self, _: str) -> Any: ...


class Call:
    """One exchange, as the supplier's connection sees it."""

    def __init__(self) -> None:
        self.status = 0
        self.content = b""
        self.end = ""
        self.overran = False

    def answer_waits(self, held_bytes: int) -> None: ...

    def answer_begun(self, head: AnswerHead) -> None:
        assert not self.end
        assert not self.status
        self.status = head.status

    def answer_whole(self, head: AnswerHead, content: bytes) -> None:
        self.answer_begun(head)
        self.answer_piece(content)
        self.answer_ended()

    def answer_piece(self, data: bytes) -> None:
        assert self.status
        assert not self.end
        self.content += data

    def answer_overran(self) -> None:
        assert not self.end
        self.overran = True

    def answer_ended(self) -> None:
        assert not self.end
        self.end = "whole"

    def answer_failed(self, reason: str) -> None:
        assert not self.end
        self.end = f"failed: {reason}"

    def broken(self) -> None:
        raise AssertionError("the gateway made a mistake")

    def pause_request(self) -> None: ...
    def resume_request(self) -> None: ...


class Side:
    """The gateway's side towards one supplier."""

    def __init__(self) -> None:
        self.strays: list[str] = []
        self.pool = Pool(
            Reach(("127.0.0.1",), None, ""), 1, LIMITS, lambda: 1.0, lambda when, _: self.strays.append(when), self.fail
        )

    def fail(self) -> None:
        raise AssertionError("the gateway made a mistake")

    def ask(self, *, is_head: bool = False) -> tuple[SupplierConnection, Call]:
        connection = self.pool.take()
        if connection is None:
            connection = SupplierConnection(self.pool, LIMITS)
            connection.connection_made(Wire())  # type: ignore[arg-type]
        call = Call()
        assert not wire(connection).is_paused
        connection.start(call, b"GET / HTTP/1.1\r\n\r\n", is_head_request=is_head, is_whole=True, about="r")
        return connection, call


def wire(connection: SupplierConnection) -> Wire:
    assert isinstance(connection.transport, Wire)
    return connection.transport


def hear(connection: SupplierConnection, data: bytes, cuts: Sequence[int]) -> None:
    """Let the connection receive `data` cut at `cuts`, for as long as it stands."""
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    for start, end in itertools.pairwise(edges):
        if start < end and not wire(connection).is_over:
            connection.data_received(data[start:end])


KINDS = (
    "sized",
    "chunked",
    "trailers",
    "close",
    "204",
    "304",
    "head",
    "interim",
    "many",
    "1.0",
    "empty",
    "205",
)


def answer_of(kind: str, number: int) -> tuple[bytes, int, bytes]:
    """An answer to call `number`: its octets, status and content."""
    content = b"<answer %d>" % number * 3
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (content[:5], content[5:]))
    counted = b"Content-Length: %d\r\n\r\n" % len(content)
    ok = b"HTTP/1.1 200 OK\r\n"
    early = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"
    return {
        "sized": (ok + counted + content, 200, content),
        "chunked": (ok + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n", 200, content),
        "trailers": (ok + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX: y\r\n\r\n", 200, content),
        "close": (ok + b"\r\n" + content, 200, content),
        "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        "304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 20\r\n\r\n", 304, b""),
        "head": (ok + counted, 200, b""),
        "interim": (early + b"HTTP/1.1 100 Continue\r\n\r\n" + ok + counted + content, 200, content),
        "many": (early * upstream.MAX_INTERIM + ok + counted + content, 200, content),
        "1.0": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + counted + content, 200, content),
        "empty": (ok + b"Content-Length: 0\r\n\r\n", 200, b""),
        "205": (b"HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 205, b""),
    }[kind]


STRAY = b"<stray>"
STRAY_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" + STRAY
strays = st.sampled_from(
    [
        b"",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" + STRAY,
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
        + STRAY
        + b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
        + STRAY,
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"\r\n",
        b"\n",
        b"\0",
        b"0\r\n\r\n",
        b"H",
        STRAY,
    ]
)
calls = st.lists(
    st.tuples(st.sampled_from(KINDS), strays, strays, st.lists(st.integers(0, 400), max_size=6)), min_size=2, max_size=6
)


@settings(max_examples=300, deadline=None)
@given(calls)
def test_each_call_gets_its_own_answer_whole_and_nothing_else(said: list[tuple[str, bytes, bytes, list[int]]]) -> None:
    """Strays behind an answer, and on an idle connection, end the connection; the next call is given another."""
    side = Side()
    for number, (kind, behind, idle, cuts) in enumerate(said):
        octets, status, content = answer_of(kind, number)
        connection, call = side.ask(is_head=kind == "head")
        counted = len(side.strays)
        hear(connection, octets + (b"" if kind == "close" else behind), cuts)
        if kind == "close":
            connection.eof_received()
        assert (call.status, call.content, call.end) == (status, content, "whole")
        if behind and kind != "close":
            assert wire(connection).is_over
            # A connection that is not kept is closed before it hears more: then nothing was heard, either.
            assert len(side.strays) == counted + 1 or not call.overran
        kept = not wire(connection).is_over
        assert kept == (connection in side.pool._idle)
        if kept and idle:
            hear(connection, idle, cuts)
            assert wire(connection).is_over
            assert side.strays[counted:] == ["idle"]
        assert side.pool.open == len(side.pool._idle)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(KINDS),
    strays,
    st.binary(max_size=4),
    st.integers(0, 300),
    st.lists(st.integers(0, 400), max_size=5),
)
def test_what_is_taken_for_whole_h11_takes_for_the_same(
    kind: str, behind: bytes, pushed: bytes, at: int, cuts: list[int]
) -> None:
    """With octets pushed into it an answer fails, or means what an independent reader says; cuts change nothing."""
    octets, _, _ = answer_of(kind, 1)
    at %= len(octets) + 1
    octets = octets[:at] + pushed + octets[at:] + behind
    seen = []
    for each in ([], cuts):
        connection, call = Side().ask(is_head=kind == "head")
        hear(connection, octets, each)
        if call.end == "" and kind == "close":
            connection.eof_received()
        seen.append((call.status, call.content, call.end) if call.end == "whole" else "not whole")
    assert seen[0] == seen[1]
    if seen[0] == "not whole":
        return
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="HEAD" if kind == "head" else "GET", target="/", headers=[("Host", "h")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(octets)
    if kind == "close":
        reader.receive_data(b"")
    status, content = 0, b""
    with contextlib.suppress(h11.RemoteProtocolError):
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            assert event is not h11.NEED_DATA
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                content += bytes(event.data)
        assert seen[0] == (status, content, "whole")


def test_an_answer_that_was_sent_before_it_was_asked_for_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Octets that come while the supplier's kernel has not acknowledged one of the request's were there before it."""
    side = Side()
    unacknowledged = 18
    monkeypatch.setattr(upstream, "unacknowledged_bytes", lambda _: unacknowledged)
    connection, call = side.ask()
    connection.data_received(answer_of("sized", 0)[0])
    assert (call.status, call.content, side.strays) == (0, b"", ["unasked"])
    assert call.end == "failed: the supplier sent an answer before it was asked"
    unacknowledged = 17
    connection, call = side.ask()
    connection.data_received(answer_of("sized", 0)[0])
    assert (call.status, call.end) == (200, "whole")


def test_a_connection_that_was_paused_is_kept_reading() -> None:
    """A caller that reads slowly pauses its supplier; the next caller of that connection hears its answer."""
    side = Side()
    connection, call = side.ask()
    octets, _, _ = answer_of("sized", 0)
    connection.data_received(octets[:-4])
    connection.pause_answer()
    connection.data_received(octets[-4:])
    assert call.end == "whole"
    assert side.ask()[0] is connection


def test_an_answer_that_came_before_writing_failed_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supplier answered early and went; the body's next piece met a reset before the answer was read."""
    for waiting, end in (
        (answer_of("sized", 0)[0], "whole"),
        (answer_of("sized", 0)[0][:-1], "failed: the connection to the supplier was lost"),
        (answer_of("close", 0)[0], "failed: the connection to the supplier was lost"),
        (b"", "failed: the connection to the supplier was lost"),
    ):
        monkeypatch.setattr(upstream, "read_waiting", lambda *_, waiting=waiting: waiting)
        connection, call = Side().ask()
        connection.request_whole = False
        connection.connection_lost(BrokenPipeError())
        assert call.end == end


def test_every_refusal_says_why_at_once() -> None:
    """Another protocol, a bare LF, endless interim answers, a status that HTTP has not: no time-out is awaited."""
    ok = b"HTTP/1.1 200 OK\r\n"
    for octets, reason in (
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the supplier does not speak HTTP/1.1"),
        (b"\0\0\x12\x04\0\0\0\0\0\0\0", "the supplier does not speak HTTP/1.1"),
        (b"\x15\x03\x01\0\x02\x02", "the supplier does not speak HTTP/1.1"),
        (b"HTTP/2", "the supplier does not speak HTTP/1.1"),
        (b"h", "the supplier does not speak HTTP/1.1"),
        (b"\r\n", "the supplier does not speak HTTP/1.1"),
        (b"HTTP/1.1 200 OK\nX", "a line of the answer's head ends with a bare LF"),
        (ok + b"A: b\n", "a line of the answer's head ends with a bare LF"),
        (b"HTTP/1.1 600 Six\r\n\r\n", "the answer's head is malformed"),
        (b"HTTP/1.1 099 Old\r\n\r\n", "the answer's head is malformed"),
        (ok + b"A b: c\r\n\r\n", "the answer's head is malformed"),
        (b"HTTP/1.1 101 Switch\r\n\r\n", "the supplier upgrades, though nobody asked it to"),
        (b"HTTP/1.1 100 C\r\nContent-Length: 3\r\n\r\n", "an interim answer has content"),
        (b"HTTP/1.1 103 E\r\n\r\n" * 17, "the supplier sends interim answers without an end"),
        (b"HTTP/1.1 205 R\r\nContent-Length: 2\r\n\r\nxx", "an answer of status 205 has content"),
        (ok + b"Content-Length: +5\r\n\r\n", "the answer's length is not one number"),
        (ok + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "the answer's framing is ambiguous"),
        (ok + b"Content-Type: a\r\nContent-Type: b\r\n\r\n", "the answer repeats a field of a single value"),
        (ok + b"A: " + b"b" * 5000, "the answer's header section is too large"),
        (ok + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\n", "the answer's chunks are malformed"),
    ):
        for step in (1, len(octets)):
            side = Side()
            connection, call = side.ask()
            hear(connection, octets, range(0, len(octets), step))
            assert call.end == f"failed: {reason}", (octets, step)
            assert wire(connection).is_over
            assert side.pool.open == 0
