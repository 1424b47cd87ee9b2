"""A supplier's answer: what its head says, and where it ends. Pure.

A head is checked as octets, then read by one compiled grammar and again by llhttp; where they differ the answer is
refused (INVARIANT: ONE-MEANING). Where an answer ends follows from its head, its status and the request's method
alone, and is found here to the octet, so that whoever holds the connection knows what stands behind it (INVARIANT:
ONE-ANSWER).

Source: RFC 9112 §4, §5, §6.3; RFC 9110 §15. Stricter: an answer with both framing fields, with a repeated field of a
single value, with a status outside 100 to 599 or with a bare LF is refused, and so is an interim answer that frames
content; chunks are read by the grammar of `framing`.
"""

import re
from typing import NamedTuple

import httptools

from gateway.proxy.http.framing import BodyReader, Chunked, Counted
from gateway.proxy.http.heads import TOKEN

_BEGINNING = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")
# INVARIANT: ONE-MEANING: no control octets, every CR and LF part of a CRLF, no fold, no space before a colon.
_FIELD = re.compile(
    rb"(" + TOKEN + rb"):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?|)[ \t]*\r\n"
)
_FIELDS = re.compile(rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_ONCE = (b"content-length", b"transfer-encoding", b"content-type", b"content-encoding", b"content-range")

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
    """The head of an answer.

    Args:
        status: 100 to 599.
        fields: (lower-case name, value) in order.
        named: the same by name.
        length: of the content, None where it is not known.
        is_plain_json: whether content may be read as JSON without decoding it first.
        is_chunked: whether the content comes in chunks; where it does not and has no length, it ends as the connection
            does.
        keeps: whether the supplier keeps the connection for another request.
        counted_bytes: what follows the head for certain, -1 where that depends on more than the head.
    """

    status: int
    fields: list[tuple[bytes, bytes]]
    named: dict[bytes, bytes]
    length: int | None
    is_plain_json: bool
    is_chunked: bool
    keeps: bool
    counted_bytes: int


class UnreadableError(Exception):
    """An answer that is none, or could be read in two ways; the text says why and repeats nothing of it."""


class UntilClose:
    """Content that ends with its connection."""

    __slots__ = ("is_complete",)

    def __init__(self) -> None:
        self.is_complete = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """As `framing.BodyReader.feed`."""
        return data, b""


def check_beginning(octets: bytes | bytearray, searched: int) -> None:
    """Refuse what cannot become a head any more: another protocol's first octets, a bare LF.

    Args:
        octets: of the head so far.
        searched: how many of them were looked at before.

    Raises:
        UnreadableError: at once, and not when a time-out ends the wait for more.
    """
    if searched < len(_BEGINNING) and not _BEGINNING.startswith(octets[: len(_BEGINNING)]):
        raise UnreadableError("the supplier does not speak HTTP/1.1")
    if _BARE_LF.search(octets, searched):
        raise UnreadableError("a line of the answer's head ends with a bare LF")


def parse_head(raw: bytes) -> AnswerHead:
    """What a head says, from its status line up to and with its empty line.

    Raises:
        UnreadableError: it is malformed, ambiguous, or of no status that HTTP has.
    """
    line = _STATUS_LINE.match(raw)
    if line is None or _FIELDS.fullmatch(raw, line.end()) is None:
        check_beginning(raw, 0)
        raise UnreadableError("the answer's head is malformed")
    fields = [(name.lower(), value) for name, value in _FIELD.findall(raw, line.end())]
    named = dict(fields)
    status = int(line[2])
    if status == 101:
        raise UnreadableError("the supplier upgrades, though nobody asked it to")
    length, is_chunked = _framing(fields, named)
    keeps = _agree(raw, status, fields)
    if status < 200:
        if length or is_chunked:
            raise UnreadableError("an interim answer has content")
        keeps = True
    elif length is None and not is_chunked and status not in {204, 304}:
        keeps = False
    is_plain_json = not named.get(b"content-encoding") and named.get(b"content-type", b"") in PLAIN_TYPES
    counted = length if length and status >= 200 and status not in {204, 205, 304} else -1
    return AnswerHead(status, fields, named, length, is_plain_json, is_chunked, keeps, counted)


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


def _agree(raw: bytes, status: int, fields: list[tuple[bytes, bytes]]) -> bool:
    """Let llhttp read the same head: whether the connection is kept; raise where it reads another one."""
    witness = _Witness()
    parser = httptools.HttpResponseParser(witness)
    try:
        parser.feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        raise UnreadableError("the answer's head can be read in more than one way") from None
    # INVARIANT: ONE-MEANING.
    if not witness.complete or witness.fields != fields or parser.get_status_code() != status:
        raise UnreadableError("the answer's head can be read in more than one way")
    options = b",".join(value for name, value in fields if name == b"connection").lower().split(b",")
    if any(option.strip(b" \t") == b"close" for option in options):
        return False
    return parser.get_http_version() == "1.1" or any(option.strip(b" \t") == b"keep-alive" for option in options)


def _framing(fields: list[tuple[bytes, bytes]], named: dict[bytes, bytes]) -> tuple[int | None, bool]:
    """The length of the content, None where it is not known, and whether it is chunked (RFC 9112 §6.3)."""
    if len(named) != len(fields):
        names = [name for name, _ in fields]
        if any(names.count(name) > 1 for name in _ONCE):
            raise UnreadableError("the answer repeats a field of a single value")
    length, coding = named.get(b"content-length"), named.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or coding.lower() != b"chunked":
            raise UnreadableError("the answer's framing is ambiguous")
        return None, True
    if length is None:
        return None, False
    if not length.isdigit() or len(length) > 18:
        raise UnreadableError("the answer's length is not one number")
    return int(length), False


def is_without_content(head: AnswerHead, *, is_head_request: bool) -> bool:
    """Whether the answer ends with its head, whatever its fields say (RFC 9112 §6.3)."""
    return is_head_request or head.status in {204, 304}


def content_reader(head: AnswerHead) -> BodyReader:
    """What finds the end of the content that follows a final head which has some."""
    if head.is_chunked:
        return Chunked()
    return UntilClose() if head.length is None else Counted(head.length)
