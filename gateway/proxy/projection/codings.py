"""Content codings undone under a bound, and character sets other than UTF-8 turned into it or refused.

The gateway asks suppliers for no coding (`Accept-Encoding: identity`); some code their answers all the same. `gzip`,
`x-gzip` and `deflate` are undone; anything else is not filterable. A coded answer may not grow beyond
`inflate_ratio` times what has arrived (above 1 MiB), nor beyond `inflate_bytes` (no zip bomb), and is fed on in pieces
of at most `PIECE_BYTES`, so memory stays bounded.

GBK, GB2312 and GB18030, which are common in government systems, are read as GB18030 (their superset); a character
that is not well formed makes the answer not filterable.
"""

import codecs
import re
import zlib
from collections.abc import Iterable, Iterator

from gateway.domain.errors import GatewayError
from gateway.proxy.limits import Limits

PIECE_BYTES = 256 * 1024
SLICE_BYTES = 16 * 1024
_FREE_BYTES = 1 << 20
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([A-Za-z0-9_.:\-]{1,40})"?', re.IGNORECASE)
_UTF8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_GB = frozenset({"gbk", "gb2312", "gb18030", "gb-18030", "cp936", "gb_2312-80", "x-gbk"})


def _refused(detail: str) -> GatewayError:
    return GatewayError("answer-not-filterable", detail)


class Inflater:
    """Undoes one content coding piece by piece."""

    __slots__ = ("_arrived", "_coding", "_decoder", "_grown", "_limits")

    def __init__(self, coding: str, limits: Limits) -> None:
        self._coding = coding
        self._limits = limits
        self._arrived = 0
        self._grown = 0
        # 32: gzip and zlib by their headers; `deflate` is zlib's format (RFC 9110 §8.4.1.2).
        self._decoder = zlib.decompressobj(wbits=47)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded octets of `data`, in bounded pieces.

        Raises:
            GatewayError: `answer-not-filterable`.
        """
        # In slices, since what the decoder has not consumed yet is copied each time.
        for start in range(0, len(data), SLICE_BYTES):
            yield from self._feed(data[start : start + SLICE_BYTES])

    def _feed(self, data: bytes) -> Iterator[bytes]:
        self._arrived += len(data)
        while data:
            if self._decoder.eof:
                raise _refused("something stands behind the coded answer")
            try:
                piece = self._decoder.decompress(data, PIECE_BYTES)
            except zlib.error:
                raise _refused("the answer's content coding is broken") from None
            self._grown += len(piece)
            if self._grown > max(_FREE_BYTES, self._arrived * self._limits.inflate_ratio):
                raise _refused("the answer grows too much when its content coding is undone")
            if self._grown > self._limits.inflate_bytes:
                raise _refused("the decoded answer is too large")
            data = self._decoder.unconsumed_tail or self._decoder.unused_data
            if piece:
                yield piece

    def finish(self) -> None:
        """Raise where the coded answer ended too early."""
        if not self._decoder.eof:
            raise _refused("the coded answer ended too early")


class Reader:
    """An answer's octets as UTF-8 without content coding.

    Args:
        content_encoding: the answer's `Content-Encoding`, "" if none.
        content_type: the answer's `Content-Type`, "" if none.
        limits: bounds.

    Raises:
        GatewayError: `answer-not-filterable` for a coding or character set that is not read.
    """

    __slots__ = ("_inflater", "_text")

    def __init__(self, content_encoding: str, content_type: str, limits: Limits) -> None:
        coding = content_encoding.strip().lower()
        self._inflater: Inflater | None = None
        if coding in {"gzip", "x-gzip", "deflate"}:
            self._inflater = Inflater(coding, limits)
        elif coding not in {"", "identity"}:
            raise _refused("the answer's content coding is not read here")
        match = _CHARSET.search(content_type)
        charset = match[1].lower() if match else "utf-8"
        self._text: codecs.IncrementalDecoder | None = None
        if charset in _GB:
            self._text = codecs.getincrementaldecoder("gb18030")("strict")
        elif charset not in _UTF8:
            raise _refused("the answer's character set is not read here")

    @property
    def is_plain(self) -> bool:
        """Whether the octets are passed as they are."""
        return self._inflater is None and self._text is None

    def feed(self, data: bytes) -> Iterable[bytes]:
        """Octets of UTF-8, in bounded pieces."""
        pieces: Iterable[bytes] = (data,) if self._inflater is None else self._inflater.feed(data)
        return pieces if self._text is None else self._recode(pieces)

    def _recode(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        assert self._text is not None
        for piece in pieces:
            try:
                yield self._text.decode(piece).encode("utf-8")
            except UnicodeDecodeError:
                raise _refused("the answer is not in the character set it names") from None

    def finish(self) -> None:
        """Raise where the answer ended within a code or a character."""
        if self._inflater is not None:
            self._inflater.finish()
        if self._text is not None:
            try:
                self._text.decode(b"", final=True)
            except UnicodeDecodeError:
                raise _refused("the answer is not in the character set it names") from None
