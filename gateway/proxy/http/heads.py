"""A request's head: one strict grammar, and a second parser that must agree (INVARIANT: ONE-MEANING).

A head is read whole, up to its empty line, and is checked as bytes before anything looks at it. The request line is
parsed here; the header block is parsed by one compiled grammar and again by llhttp, and where the two differ the
request is refused. What a block means depends on its bytes alone, so the meaning of a block that a caller repeats is
remembered (`BlockReader`): a connection that repeats its header fields is parsed by a look-up
(tests/bench/data_plane shows it).

Source: RFC 9112 §2.2 (bare CR and LF), §3 (request line), §3.2 (Host), §5.1 (no space before the colon), §5.2
(obs-fold), §6.3 (framing). Stricter than the RFC, which lets a server repair or choose: every doubt is a 400.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import httptools
import msgspec

from gateway.domain.directory import METHODS
from gateway.domain.errors import GatewayError, prefers_chinese
from gateway.domain.free_text import HINT, holds_identity_number
from gateway.proxy.http import hygiene
from gateway.proxy.limits import Limits

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) ([!-~]+) HTTP/1\.([01])")
_ANY_VERSION = re.compile(rb"[A-Z]{1,16} [!-~]+ HTTP/[0-9]\.[0-9]")
_FIELD = re.compile(
    rb"(" + TOKEN + rb"):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?|)[ \t]*\r\n"
)
_BLOCK = re.compile(rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_BROKEN = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")
_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
OWN_FIELDS = frozenset(
    {
        b"b3",
        b"request-id",
        b"traceparent",
        b"tracestate",
        b"uber-trace-id",
        b"x-amzn-trace-id",
        b"x-b3-parentspanid",
        b"x-b3-sampled",
        b"x-b3-spanid",
        b"x-b3-traceid",
        b"x-correlation-id",
        b"x-request-id",
        b"x-trace-id",
    }
)
"""Fields by which callers' libraries name one call: another value with each, and nothing else of the block changes."""
_OWN_LINE = re.compile(
    rb"\r\n(" + b"|".join(map(re.escape, sorted(OWN_FIELDS))) + rb"): ([!-~]{1,256})(?=\r\n)", re.IGNORECASE
)
_SINGLE = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"dpop",
        b"expect",
        b"host",
        b"sharing-closing",
        b"sharing-items",
        b"sharing-mode",
        b"sharing-operator",
        b"sharing-purpose",
        b"sharing-scenario",
        b"traceparent",
        b"transfer-encoding",
        b"user-agent",
    }
)


KNOWN_METHODS = frozenset(method.encode() for method in METHODS | {"OPTIONS"})
"""Others are not implemented, CONNECT and TRACE among them."""

Trace = tuple[str, str, str]
"""Trace id, span id and flags, as hex digits."""

Own = tuple[tuple[bytes, bytes], ...]
"""(lower-case name, value) of the fields by which one call is named (`OWN_FIELDS`), in order."""


class Block(msgspec.Struct, frozen=True):
    """What one header block says.

    Args:
        fields: (lower-case name, value) in order.
        host: the value of `Host`.
        content_length: of the body; 0 if there is none, None if it is chunked.
        is_last: whether the caller asks to close after this exchange.
        expects_continue: whether it waits for `100 Continue` before the body.
        purpose: `Sharing-Purpose`, "" if missing.
        items: `Sharing-Items`, sorted and without repetition; None if missing.
        scenario: `Sharing-Scenario`, "" if missing.
        operator: `Sharing-Operator`, "" if missing.
        mode: `Sharing-Mode`, "" if missing.
        trace: trace id, span id and flags of a valid `traceparent`, else None.
        names_own: whether any of `OWN_FIELDS` is there, or is named by `Connection`.
        chinese: whether problems are worded in Chinese.
        forwarded: the fields that go on to the supplier, rendered (RFC 9112 §5), without those the gateway sets.
        conditions: the range and precondition fields, rendered: they go on only where the answer passes as it is.
        withheld: (name, rendered) of fields that go on only where the interface's entry lists them.
        via: what `Via` already says, to be continued.
        closing: how the end of a streamed answer is told (`exchange.closing`): "line", "trailers", or "".
    """

    fields: Sequence[tuple[bytes, bytes]]
    host: bytes
    content_length: int | None
    is_last: bool
    expects_continue: bool
    purpose: str
    items: tuple[str, ...] | None
    scenario: str
    operator: str
    mode: str
    trace: Trace | None
    names_own: bool
    chinese: bool
    forwarded: bytes
    conditions: bytes
    withheld: tuple[tuple[bytes, bytes], ...]
    via: bytes
    closing: str = ""


def malformed(detail: str) -> GatewayError:
    """A request that is not one well-formed HTTP/1.1 request with one meaning."""
    return GatewayError("malformed-request", detail)


class RequestLine(NamedTuple):
    """A request line.

    Args:
        method: one of those that the gateway knows.
        target: as sent.
        is_old: whether it is of HTTP/1.0: such a caller takes no chunks and no interim answer, and its connection ends
            with the answer.
    """

    method: bytes
    target: bytes
    is_old: bool


def parse_request_line(line: bytes) -> RequestLine:
    """A request line without its line end.

    Raises:
        GatewayError: `malformed-request`; `method-unknown`; `version-unsupported`.

    Source: RFC 9112 §3, RFC 9110 §9.1, §2.5; stricter: exactly one space, a method in upper case.
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        if _ANY_VERSION.fullmatch(line):
            raise GatewayError("version-unsupported", "HTTP/1.1 is spoken here, and HTTP/1.0")
        raise malformed("the request line is not `METHOD target HTTP/1.1` with single spaces")
    if match[1] not in KNOWN_METHODS:
        raise GatewayError("method-unknown")
    return RequestLine(match[1], match[2], match[3] == b"0")


class _Witness:
    """Collects what llhttp reads of a head."""

    __slots__ = ("complete", "fields")

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_fields(block: bytes, limits: Limits) -> list[tuple[bytes, bytes]]:
    """The fields of a header block that ends with its empty line, by two parsers that agree.

    Args:
        block: from after the request line's CRLF up to and with the empty line.
        limits: bounds on bytes and fields.

    Raises:
        GatewayError: `malformed-request`, `headers-too-large`.
    """
    if len(block) > limits.head_bytes:
        raise GatewayError("headers-too-large", f"the header section is longer than {limits.head_bytes} bytes")
    # INVARIANT: ONE-MEANING.
    # No bare CR or LF, no control, no fold, no space before a colon: every line is one field.
    if _BLOCK.fullmatch(block, 0, len(block) - 2) is None:
        raise malformed(_fault_of_block(block))
    fields = [(name.lower(), value) for name, value in _FIELD.findall(block)]
    if len(fields) > limits.fields:
        raise GatewayError("headers-too-large", f"the request has more than {limits.fields} header fields")
    if len(fields) != block.count(b"\n") - 1:
        raise malformed("a header line is not one field")
    return fields


def _fault_of_block(block: bytes) -> str:
    """What is wrong with a block that the grammar refuses, without repeating any of it (INVARIANT: NO-VALUES)."""
    lines = block[:-2].split(b"\r\n")
    for line in lines[:-1]:
        if line[:1] in {b" ", b"\t"}:
            return "a header line begins with white space (obs-fold)"
        if b"\r" in line or b"\n" in line:
            return "a header line ends with a bare CR or LF"
        name, colon, _ = line.partition(b":")
        if not colon:
            return "a header line has no colon"
        if name[-1:] in {b" ", b"\t"}:
            return "white space stands before the colon of a header field"
        if not re.fullmatch(TOKEN, name):
            return "a header field's name is not a token"
    return "a header field's value has a NUL or another control character"


def _agree(block: bytes, fields: list[tuple[bytes, bytes]], *, has_body: bool) -> None:
    """Let llhttp read the same block; raise where it does not read the very same fields (INVARIANT: ONE-MEANING)."""
    witness = _Witness()
    parser = httptools.HttpRequestParser(witness)
    try:
        parser.feed_data((b"POST" if has_body else b"GET") + b" / HTTP/1.1\r\n" + block)
    except httptools.HttpParserUpgrade:
        # The block asks for an upgrade, which is never granted (RFC 9110 §7.8); llhttp stops at the head's end.
        pass
    except httptools.HttpParserError:
        raise malformed("the header section can be read in more than one way") from None
    if not witness.complete or witness.fields != fields:
        raise malformed("the header section can be read in more than one way")


def parse_block(block: bytes, limits: Limits) -> Block:
    """What a header block says.

    Raises:
        GatewayError: `malformed-request`, `headers-too-large`.

    Source: RFC 9112 §3.2, §6.1 to §6.3; RFC 9110 §7.6.1, §10.1.1. Stricter: a request with both framing fields, a
    repeated field of a single value, or a transfer coding other than one `chunked` is refused.
    """
    fields = parse_fields(block, limits)
    single: dict[bytes, bytes] = {}
    takes_trailers = False
    for name, value in fields:
        if name in _SINGLE:
            if name in single:
                raise malformed(f"the field `{name.decode()}` is repeated")
            single[name] = value
        elif name == b"te":
            takes_trailers = takes_trailers or b"trailers" in [each.strip(b" \t") for each in value.lower().split(b",")]
    host = single.get(b"host")
    if host is None:
        raise malformed("the field `host` is missing")
    named = _HOST.fullmatch(host)
    if named is None or int(named[1] or 0) > 65535:
        raise malformed("the field `host` is not a host")
    length = _content_length(single)
    expect = single.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise malformed("the field `expect` asks for something other than `100-continue`")
    options = hygiene.connection_options(fields)
    _agree(block, fields, has_body=length != 0)
    passing = hygiene.request_fields(fields, options)
    return Block(
        fields=tuple(fields),
        host=host,
        content_length=length,
        is_last=b"close" in options,
        expects_continue=expect is not None and length != 0,
        purpose=_text(single, b"sharing-purpose"),
        items=_items(single),
        scenario=_text(single, b"sharing-scenario"),
        operator=_text(single, b"sharing-operator"),
        mode=_text(single, b"sharing-mode"),
        trace=trace_of(single.get(b"traceparent", b"")),
        names_own=not OWN_FIELDS.isdisjoint(options) or any(name in OWN_FIELDS for name, _ in fields),
        chinese=prefers_chinese(
            ",".join(value.decode("latin-1") for name, value in fields if name == b"accept-language")
        ),
        forwarded=passing.forwarded,
        conditions=passing.conditions,
        withheld=passing.withheld,
        via=passing.via,
        closing=_closing(single, takes_trailers=takes_trailers),
    )


def _content_length(single: dict[bytes, bytes]) -> int | None:
    """The length of the body, None where it is chunked (RFC 9112 §6.3)."""
    coding, length = single.get(b"transfer-encoding"), single.get(b"content-length")
    # INVARIANT: ONE-MEANING.
    if coding is not None:
        if length is not None:
            raise malformed("both `transfer-encoding` and `content-length` are present")
        if coding.lower() != b"chunked":
            raise malformed("the transfer coding is not a single `chunked`")
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise malformed("the field `content-length` is not one number")
    return int(length)


def _closing(single: dict[bytes, bytes], *, takes_trailers: bool) -> str:
    """What was asked of the end of a streamed answer: by `Sharing-Closing`, else by `TE` (RFC 9110 §10.1.4)."""
    asked = single.get(b"sharing-closing")
    if asked is None:
        return "trailers" if takes_trailers else ""
    if asked.lower() != b"line":
        raise malformed("the field `sharing-closing` asks for something other than `line`")
    return "line"


def _text(single: dict[bytes, bytes], name: bytes) -> str:
    """A `Sharing-*` value as text of at most 256 characters."""
    value = _decoded(single.get(name, b""), name)
    if len(value) > 256:
        raise malformed(f"the field `{name.decode()}` is longer than 256 characters")
    # INVARIANT: NO-VALUES: it would stand in the record, which is never altered.
    if holds_identity_number(value):
        raise malformed(f"the field `{name.decode()}` {HINT}")
    return value


def _decoded(raw: bytes, name: bytes) -> str:
    """A text as it was sent, or percent-encoded as clients must that send ASCII alone; decoded once.

    A `%` always begins an encoded octet, so that a text has one meaning (INVARIANT: ONE-MEANING): itself it is `%25`.
    """
    if b"%" in raw:
        if _BROKEN.search(raw):
            raise malformed(f"the field `{name.decode()}` holds a `%` that begins no encoded octet; write `%25`")
        raw = unquote_to_bytes(raw)
    try:
        value = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed(f"the field `{name.decode()}` is not UTF-8") from None
    if _CONTROL.search(value):
        raise malformed(f"the field `{name.decode()}` holds a control character")
    return value


def _items(single: dict[bytes, bytes]) -> tuple[str, ...] | None:
    """The items asked for; an empty list is a mistake and not every item."""
    raw = single.get(b"sharing-items")
    if raw is None:
        return None
    names = {_decoded(part.strip(b" \t"), b"sharing-items") for part in raw.split(b",")}
    if "" in names or len(names) > 512:
        raise malformed("the field `sharing-items` is not a list of item names")
    return tuple(sorted(names))


def trace_of(value: bytes) -> Trace | None:
    """Trace id, span id and flags of a `traceparent` (W3C Trace Context §3.2), None where it is not valid."""
    trace = _TRACEPARENT.fullmatch(value)
    if trace is None or not trace[1].strip(b"0") or not trace[2].strip(b"0"):
        return None
    return trace[1].decode(), trace[2].decode(), trace[3].decode()


def with_own(block: Block, own: Own) -> Block:
    """A block with the call's own fields, as if it had been read whole."""
    if not own:
        return block
    trace = trace_of(dict(own).get(b"traceparent", b""))
    fields, forwarded = (*block.fields, *own), block.forwarded + forwarded_own(own)
    return msgspec.structs.replace(block, fields=fields, forwarded=forwarded, trace=trace, names_own=True)


def forwarded_own(own: Own) -> bytes:
    """What of a call's own fields goes on to the supplier, rendered."""
    return hygiene.request_fields(own, frozenset()).forwarded if own else b""


class BlockReader:
    """`parse_block` with a memory: equal bytes have equal meaning, so a block seen before is not parsed again.

    A caller that traces, or numbers its requests, sends another `traceparent` or `X-Request-Id` with each call, and
    nothing else of its block changes. So lines of such a name (`OWN_FIELDS`) with a plain value are read by themselves,
    and the block is remembered without them. That cannot change what the rest means: what is left is held to the same
    grammar, and where it names one of them once more, or `Connection` does, or it would be too much with them, the
    block is parsed whole.

    Bounded by count and by size of what is kept; the oldest goes first.
    """

    __slots__ = ("_kept", "_limits", "_most")

    def __init__(self, limits: Limits, most: int = 1024) -> None:
        self._limits = limits
        self._most = most
        self._kept: dict[bytes, Block] = {}

    def forget(self) -> None:
        """Forget every block: they hold what callers said."""
        self._kept.clear()

    def read(self, block: bytes) -> tuple[Block, Own, Trace | None, bool]:
        """What a block says but for its own fields, those, its trace, and whether it was read before.

        `with_own` puts the two together.

        Raises:
            GatewayError: as `parse_block`.
        """
        kept = self._kept.get(block)
        if kept is not None:
            return kept, (), kept.trace, True
        parts = _OWN_LINE.split(b"\r\n" + block)
        if len(parts) > 1 and len(block) <= self._limits.head_bytes:
            own = tuple(zip(map(bytes.lower, parts[1::3]), parts[2::3], strict=True))
            values = dict(own)
            if len(values) == len(own):
                rest = b"".join(parts[::3])[2:]
                kept = self._kept.get(rest)
                is_known = kept is not None
                if kept is None:
                    kept = self._learn(rest, parse_block(rest, self._limits))
                if not kept.names_own and len(kept.fields) + len(own) <= self._limits.fields:
                    trace = values.get(b"traceparent")
                    return kept, own, None if trace is None else trace_of(trace), is_known
        parsed = parse_block(block, self._limits)
        return self._learn(block, parsed), (), parsed.trace, False

    def _learn(self, block: bytes, parsed: Block) -> Block:
        if len(block) <= 4096:
            if len(self._kept) >= self._most:
                del self._kept[next(iter(self._kept))]
            self._kept[block] = parsed
        return parsed
