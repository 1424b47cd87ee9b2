"""How a request body ends: counted octets or chunks, read by one strict grammar.

Source: RFC 9112 §6, §7.1. Stricter: chunk sizes of at most 12 hex digits, chunk extensions of printable ASCII and at
most 256 octets a chunk, trailers parsed as fields are and dropped (§7.1.2 allows that). Every line ends with CRLF.
"""

import re
from typing import Protocol

from gateway.domain.errors import GatewayError
from gateway.proxy.http.heads import TOKEN

_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,12})(?:[ \t]*;[ \t]*"
    + TOKEN
    + rb"(?:[ \t]*=[ \t]*(?:"
    + TOKEN
    + rb'|"[\x20\x21\x23-\x5b\x5d-\x7e]*"))?)*'
)
_TRAILER_LINE = re.compile(TOKEN + rb":[\t\x20-\x7e\x80-\xff]*")
_LONGEST_LINE = 512
_TRAILER_LINES = 32


class BodyReader(Protocol):
    """Takes what arrives and gives the body's octets.

    Attributes:
        is_complete: whether the body has ended.
    """

    is_complete: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Body octets in `data`, and what is left over of `data`: the start of the next request, or unfinished."""


class Counted:
    """A body of `Content-Length` octets."""

    __slots__ = ("_left", "is_complete")

    def __init__(self, length: int) -> None:
        self._left = length
        self.is_complete = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """As `BodyReader.feed`."""
        if len(data) < self._left:
            self._left -= len(data)
            return data, b""
        body, rest = data[: self._left], data[self._left :]
        self._left = 0
        self.is_complete = True
        return body, rest


class Chunked:
    """A chunked body. What `feed` leaves over before the body is complete must be fed again with more behind it."""

    __slots__ = ("_left", "_phase", "_trailers", "is_complete")

    def __init__(self) -> None:
        self._left = 0
        self._phase = "size"
        self._trailers = 0
        self.is_complete = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """As `BodyReader.feed`.

        Raises:
            GatewayError: `malformed-request`.
        """
        body: list[bytes] = []
        position = 0
        while not self.is_complete:
            if self._phase == "data":
                piece = data[position : position + self._left]
                position += len(piece)
                self._left -= len(piece)
                body.append(piece)
                if self._left:
                    break
                self._phase = "end"
            if self._phase == "end":
                if len(data) - position < 2:
                    if data[position : position + 1] not in {b"", b"\r"}:
                        raise _broken()
                    break
                if data[position : position + 2] != b"\r\n":
                    raise _broken()
                position += 2
                self._phase = "size"
            end = data.find(b"\r\n", position)
            if end < 0 or end - position > _LONGEST_LINE:
                # INVARIANT: ONE-MEANING.
                # A bare LF would end this line for another parser.
                if len(data) - position > _LONGEST_LINE or b"\n" in data[position:]:
                    raise _broken()
                break
            self._line(data[position:end])
            position = end + 2
        return b"".join(body), data[position:]

    def _line(self, line: bytes) -> None:
        if self._phase == "size":
            match = _CHUNK_LINE.fullmatch(line)
            if match is None:
                raise _broken()
            self._left = int(match[1], 16)
            self._phase = "data" if self._left else "trailer"
        elif not line:
            self.is_complete = True
        else:
            self._trailers += 1
            if self._trailers > _TRAILER_LINES or _TRAILER_LINE.fullmatch(line) is None:
                raise _broken()


def _broken() -> GatewayError:
    return GatewayError("malformed-request", "the chunked body is not well formed")


def body_reader(content_length: int | None) -> BodyReader:
    """The reader for a body of that length; None is chunked."""
    return Chunked() if content_length is None else Counted(content_length)
