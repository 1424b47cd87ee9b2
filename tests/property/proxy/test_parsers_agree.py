"""ONE-MEANING: what the data plane accepts, llhttp and h11 read in the very same way, however it is cut."""

import contextlib
from collections.abc import Callable

import h11
import httptools
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import GatewayError
from gateway.proxy.http.framing import Chunked
from gateway.proxy.http.heads import Block, BlockReader, parse_block, parse_request_line, with_own
from gateway.proxy.http.targets import TargetReader
from gateway.proxy.limits import Limits

LIMITS = Limits()

names = st.sampled_from(
    [
        b"Host",
        b"host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Connection",
        b"Expect",
        b"X-A",
        b"x_b",
        b"",
        b"X ",
        b"X\t",
    ]
)
values = st.one_of(
    st.sampled_from(
        [
            b"gateway",
            b"5",
            b"+5",
            b"5, 5",
            b"chunked",
            b"Chunked",
            b"gzip, chunked",
            b"close",
            b"keep-alive",
            b"100-continue",
        ]
    ),
    st.binary(max_size=12),
)
colons = st.sampled_from([b": ", b":", b" : ", b":\t", b":  "])
ends = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n ", b"\r\r\n"])
fields = st.tuples(names, colons, values, ends).map(b"".join)
lines = st.one_of(
    st.sampled_from([b"GET /a/b HTTP/1.1", b"POST /a/b?x=1 HTTP/1.1", b"GET  /a/b HTTP/1.1", b"GET /a/b HTTP/1.0"]),
    st.tuples(st.sampled_from([b"GET", b"POST", b"get", b"G ET"]), st.binary(max_size=8)).map(
        lambda pair: pair[0] + b" /" + pair[1] + b" HTTP/1.1"
    ),
)
heads = st.tuples(lines, ends, st.lists(st.one_of(fields, st.just(b"Host: g\r\n")), max_size=6)).map(
    lambda parts: parts[0] + parts[1] + b"".join(parts[2])
)


traces = st.tuples(
    st.sampled_from([b"traceparent", b"Traceparent", b"TRACEPARENT", b"xraceparent", b"X-Traceparent"]),
    st.sampled_from([b": ", b":", b":  "]),
    st.sampled_from([b"00-" + b"a" * 32, b"00-" + b"0" * 32, b"00-" + b"A" * 32, b"01-" + b"a" * 32]),
    st.sampled_from([b"-" + b"b" * 16 + b"-01", b"-" + b"b" * 16 + b"-01,", b"-" + b"b" * 16, b"-0"]),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r\n "]),
).map(b"".join)
own = st.tuples(
    st.sampled_from([b"X-Request-Id", b"x-request-id", b"B3", b"tracestate", b"X-Request-Id-", b"Connection"]),
    st.sampled_from([b": ", b":", b":  "]),
    st.sampled_from([b"1", b"2", b"", b"a b", b"x-request-id", b"b3, close", b"\x80", b"a" * 300]),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b" \r\n", b"\r\n "]),
).map(b"".join)
blocks = st.lists(st.one_of(st.just(b"Host: g\r\n"), traces, own, fields), min_size=1, max_size=5).map(
    lambda lines: b"".join(lines) + b"\r\n"
)


def meaning(read: Block) -> dict[str, object]:
    """What a block says; fields of different names may stand in any order (RFC 9110 §5.3)."""
    said = {name: getattr(read, name) for name in Block.__struct_fields__ if name != "names_own"}
    rendered = sorted(read.forwarded.split(b"\r\n"), key=lambda line: line.partition(b":")[0])
    return {**said, "fields": sorted(read.fields, key=lambda pair: pair[0]), "forwarded": rendered}


def outcome(read: Callable[[bytes], tuple[Block, tuple[str, str, str] | None]], block: bytes) -> object:
    """What a block says and its trace, or the code by which it is refused."""
    try:
        found, trace = read(block)
    except GatewayError as error:
        return error.code
    return meaning(found), trace


@settings(max_examples=400, deadline=None)
@given(st.lists(blocks, min_size=1, max_size=4))
def test_a_remembered_block_says_what_it_says_read_alone(said: list[bytes]) -> None:
    """Memory of blocks, and a call's own fields read by themselves, change no meaning and let nothing refused in."""
    reader = BlockReader(LIMITS)

    def alone(block: bytes) -> tuple[Block, tuple[str, str, str] | None]:
        parsed = parse_block(block, LIMITS)
        return parsed, parsed.trace

    def remembered(block: bytes) -> tuple[Block, tuple[str, str, str] | None]:
        known, own, trace, _ = reader.read(block)
        return with_own(known, own), trace

    for block in said * 2:
        assert outcome(remembered, block) == outcome(alone, block)


class Reading:
    """What llhttp reads."""

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.is_whole = False
        self.has_head = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:
            self.fields.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.is_whole = True


def accept(head: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]], int | None] | None:
    """Method, target, fields and length as the data plane reads a head; None where it refuses."""
    line, end, block = head.partition(b"\r\n")
    if not end:
        return None
    try:
        method, target, _ = parse_request_line(line)
        parsed = parse_block(block + b"\r\n", LIMITS)
    except GatewayError:
        return None
    return method, target, list(parsed.fields), parsed.content_length


@settings(max_examples=300, deadline=None)
@given(heads)
def test_accepted_heads_are_read_alike_by_llhttp_and_h11(head: bytes) -> None:
    """Three parsers, one reading."""
    mine = accept(head)
    if mine is None:
        return
    method, target, read, length = mine
    whole = head + b"\r\n"
    reading = Reading()
    parser = httptools.HttpRequestParser(reading)
    with contextlib.suppress(httptools.HttpParserUpgrade):
        parser.feed_data(whole)
    assert parser.get_method() == method
    assert reading.url == target
    assert reading.fields == read
    assert reading.has_head
    assert reading.is_whole == (length == 0)
    other = h11.Connection(h11.SERVER)
    other.receive_data(whole)
    event = other.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (method, target)
    assert [(bytes(name), bytes(value)) for name, value in event.headers] == [
        (name, value if name != b"transfer-encoding" else value.lower()) for name, value in read
    ]


@settings(max_examples=100, deadline=None)
@given(heads, st.binary(max_size=3), st.integers(0, 200))
def test_one_changed_octet_is_refused_or_read_alike(head: bytes, octets: bytes, at: int) -> None:
    """A head with something pushed into it never gets a second meaning."""
    test_accepted_heads_are_read_alike_by_llhttp_and_h11.hypothesis.inner_test(head[:at] + octets + head[at:])  # type: ignore[attr-defined]


chunk_ends = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""])
sizes = st.sampled_from([b"5", b"05", b"5;a=b", b'5;a="b"', b" 5", b"5 ", b"+5", b"0x5", b"a", b"", b"0"])
chunks = st.tuples(sizes, chunk_ends, st.sampled_from([b"hello", b"hell", b"hello!", b"0123456789"]), chunk_ends)
bodies = st.tuples(
    st.lists(chunks.map(b"".join), max_size=3),
    st.sampled_from([b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"0\n\n", b"00\r\n\r\n"]),
).map(lambda parts: b"".join(parts[0]) + parts[1])


def feed(body: bytes, step: int) -> tuple[bytes, bool, bytes] | None:
    """What `Chunked` reads of a body cut into steps; None where it refuses."""
    reader, read, rest = Chunked(), b"", b""
    try:
        for start in range(0, len(body), step):
            piece, rest = reader.feed(rest + body[start : start + step])
            read += piece
            if reader.is_complete:
                rest += body[start + step :]
                break
    except GatewayError:
        return None
    return read, reader.is_complete, rest if reader.is_complete else b""


@settings(max_examples=150, deadline=None)
@given(bodies)
def test_chunked_bodies_are_read_alike_by_llhttp_whole_and_byte_by_byte(body: bytes) -> None:
    """What is accepted is accepted by llhttp with the same octets, and cuts change nothing."""
    whole = feed(body, len(body) or 1)
    pieces = feed(body, 1)
    if whole is None or pieces is None:
        # A cut may show a fault later, never another meaning.
        assert whole is None or not whole[1]
        assert pieces is None or not pieces[1]
        return
    assert whole == pieces
    if whole[1] and not whole[2]:
        reading = Reading()
        httptools.HttpRequestParser(reading).feed_data(
            b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n" + body
        )
        assert (reading.body, reading.is_whole) == whole[:2]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                b"/",
                b"a",
                b".",
                b"..",
                b"%2e",
                b"%2F",
                b"%25",
                b"2",
                b"%46",
                b"%E5%BC%A0",
                b"\\",
                b";",
                b"#",
                b"?",
                b"%00",
            ]
        )
    )
)
def test_accepted_paths_have_one_spelling(parts: list[bytes]) -> None:
    """An accepted path survives normalisation and decoding unchanged in its segments."""
    from urllib.parse import unquote  # noqa: PLC0415 - only this oracle needs it

    try:
        target = TargetReader().read(b"/s/i/" + b"".join(parts), b"g")
    except GatewayError:
        return
    decoded = unquote(target.path.decode("ascii"), errors="strict")
    segments = decoded.split("/")[1:]
    assert decoded.count("/") == target.path.count(b"/")
    assert not {".", ".."} & set(segments)
    assert "" not in segments[:-1]
    assert not set(decoded) & set("\\;#\0%")
