"""Content codings undone under a bound, and character sets turned into UTF-8 and back, or refused.

The gateway asks suppliers for no coding (`Accept-Encoding: identity`); some code their answers all the same. `gzip`,
`x-gzip` and `deflate` are undone; anything else is not filterable. A coded answer may not grow beyond
`inflate_ratio` times what has arrived (above 1 MiB), nor beyond `inflate_bytes` (no zip bomb), and is fed on in pieces
of at most `PIECE_BYTES`, so memory stays bounded.

UTF-8, UTF-16 and GB18030 are read; GBK and GB2312, which are common in government systems, as GB18030 (their superset).
What leaves is in the character set that came. It is named by the answer's byte order mark, its header and, of XML, its
declaration: where two of them say different things, or a character is not well formed, the answer is not filterable.
An interface's entry may name the character set that its answers are really in; then header and declaration count for
nothing.

Source: RFC 9110 §8.3.2, §8.4; RFC 7303 §3; XML 1.0 §4.3.3. Stricter: what names a character set must agree.
"""

import codecs
import re
import zlib
from collections.abc import Iterable, Iterator

from gateway.domain.errors import GatewayError
from gateway.domain.places.documents import DocumentFault, charset_named
from gateway.proxy.limits import Limits

PIECE_BYTES = 256 * 1024
SLICE_BYTES = 16 * 1024
XML_BYTES = 32 * 1024
"""Longest piece of XML, which takes longer to read than rows of other formats."""
_FREE_BYTES = 1 << 20
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([A-Za-z0-9_.:\-]{1,40})"?', re.IGNORECASE)
_DECLARED = re.compile(
    r"""<\?xml[ \t\r\n][^>]*?[ \t\r\n]encoding[ \t\r\n]*=[ \t\r\n]*["']([A-Za-z][A-Za-z0-9._\-]*)["']"""
)
_HEAD_BYTES = 512
"""How much is looked at for a mark and a declaration."""
_MARK_BYTES = 4
_UTF_8 = "utf-8"
_MARKS = ((_UTF_8, codecs.BOM_UTF8), ("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE))


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
    """An answer's octets as UTF-8 without content coding, and what leaves of it in its own character set.

    Args:
        content_encoding: the answer's `Content-Encoding`, "" if none.
        content_type: the answer's `Content-Type`, "" if none.
        limits: bounds.
        charset: what the interface's entry says the answer is in, whatever the answer says; "" where it says nothing.
        is_xml: whether the answer may name its character set itself.

    Raises:
        GatewayError: `answer-not-filterable` for a coding or character set that is not read.
    """

    __slots__ = ("_codec", "_decoder", "_head", "_inflater", "_is_declared", "_is_xml", "_mark", "_name", "_named")

    def __init__(
        self, content_encoding: str, content_type: str, limits: Limits, *, charset: str = "", is_xml: bool = False
    ) -> None:
        coding = content_encoding.strip().lower()
        self._inflater: Inflater | None = None
        if coding in {"gzip", "x-gzip", "deflate"}:
            self._inflater = Inflater(coding, limits)
        elif coding not in {"", "identity"}:
            raise _refused("the answer's content coding is not read here")
        match = _CHARSET.search(content_type)
        self._name = charset or (match[1] if match else "")
        self._named = _codec_of(self._name) if self._name else ""
        self._is_declared = bool(charset)
        self._is_xml = is_xml
        self._head: bytes | None = b""
        self._mark = b""
        self._codec = _UTF_8
        self._decoder: codecs.IncrementalDecoder | None = None
        if not is_xml and self._named in {"", _UTF_8}:
            # A mark of UTF-8 is left to whoever reads it, any other is no JSON and no CSV in UTF-8.
            self._head = None

    @property
    def is_plain(self) -> bool:
        """Whether the octets are passed as they are."""
        return self._inflater is None and self._head is None and self._codec == _UTF_8 and not self._is_xml

    @property
    def charset(self) -> str:
        """What the header of what leaves says of its character set: `; charset=…`, "" where it is UTF-8."""
        return "" if self._codec == _UTF_8 else f"; charset={self._name or self._codec}"

    def feed(self, data: bytes) -> Iterable[bytes]:
        """Octets of UTF-8, in bounded pieces."""
        pieces: Iterable[bytes] = (data,) if self._inflater is None else self._inflater.feed(data)
        is_as_it_is = self._head is None and self._decoder is None and not self._is_xml
        return pieces if is_as_it_is else self._recode(pieces)

    def _recode(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces if not self._is_xml else _sliced(pieces):
            octets = piece
            if self._head is not None:
                octets = self._head = self._head + piece
                enough = _HEAD_BYTES if self._is_xml else _MARK_BYTES
                if len(octets) < enough and b"?>" not in octets.replace(b"\0", b""):
                    continue
                octets = self._settle(octets)
            yield self._decoded(octets)

    def _decoded(self, octets: bytes, *, final: bool = False) -> bytes:
        if self._decoder is None:
            return octets
        try:
            return self._decoder.decode(octets, final).encode("utf-8")
        except UnicodeError:
            raise _refused("the answer is not in the character set it names") from None

    def _settle(self, head: bytes) -> bytes:
        """Find the character set; what of the head is behind its mark."""
        self._head = None
        marked = next(((codec, mark) for codec, mark in _MARKS if head.startswith(mark)), None)
        codec = self._named
        if marked is not None:
            self._mark = marked[1]
            if codec not in {"", marked[0]} and not (codec == "utf-16" and marked[0] != _UTF_8):
                raise _refused("the answer names two character sets")
            codec = marked[0]
            self._name = self._name or ("UTF-16" if codec != _UTF_8 else "")
        elif codec == "utf-16":
            raise _refused("the answer is said to be UTF-16 and has no byte order mark")
        declared = self._declared(head[len(self._mark) :], codec)
        self._codec = codec or (_codec_of(declared) if declared else _UTF_8)
        self._name = self._name or declared
        if self._codec != _UTF_8:
            self._decoder = codecs.getincrementaldecoder(self._codec)("strict")
        return head[len(self._mark) :]

    def _declared(self, head: bytes, codec: str) -> str:
        """The name of the character set that an XML declaration gives, "" where it gives none or does not count."""
        if not self._is_xml or self._is_declared:
            return ""
        text = head.decode(codec or "latin-1", "replace")
        found = _DECLARED.match(text)
        if found is None:
            return ""
        named = _codec_of(found[1])
        if codec and named != codec and not (named == "utf-16" and codec.startswith("utf-16-")):
            raise _refused("the answer names two character sets")
        return found[1]

    def encode(self, octets: bytes, *, is_first: bool = True) -> bytes:
        """Octets of UTF-8 that leave, in the answer's own character set.

        Args:
            octets: whole characters.
            is_first: whether nothing left before.
        """
        if self._codec == _UTF_8:
            return octets
        return (self._mark if is_first else b"") + octets.decode("utf-8").encode(self._codec)

    def finish(self) -> bytes:
        """What was held back until the end; raise where the answer ended within a code or a character."""
        if self._inflater is not None:
            self._inflater.finish()
        octets = self._settle(self._head) if self._head is not None else b""
        return self._decoded(octets, final=True)


def _sliced(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), XML_BYTES):
            yield piece[start : start + XML_BYTES]


def _codec_of(name: str) -> str:
    try:
        return charset_named(name)
    except DocumentFault:
        raise _refused("the answer's character set is not read here") from None
