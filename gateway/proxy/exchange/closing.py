"""How a streamed answer says that it ends here: by digest and count, for a caller who asks.

An answer whose length nobody knows beforehand ends with its last chunk, or in HTTP/1.0 with its connection. Whoever
stands between may end it early and in good order, so a caller can ask for more:

    TE: trailers            the trailer fields `Content-Digest` (RFC 9530) and `Sharing-Rows`, behind the last chunk
    Sharing-Closing: line   one more line of content, which every HTTP client gives its caller and every proxy passes:

        LF {"sharing-closing":{"sha-256":"<base64>","rows":<number>}} LF

The digest is SHA-256 of the content before it, as it was sent; rows are told where they were counted. The line is at
most `LINE_BYTES` long, and the answer's head says `Sharing-Closing: line` where one will come. Who asks for both gets
the line. An answer that has a length has neither: its end is known. Nor has one that was cut.

Source: RFC 9110 §6.5, §10.1.4; RFC 9112 §7.1.2.
"""

import hashlib
from base64 import b64encode

LINE, TRAILERS = "line", "trailers"
LINE_BYTES = 128


class Closing:
    """The end of one streamed answer.

    Args:
        asked: `LINE` or `TRAILERS`.
        counts_rows: whether the answer's rows are counted.
        is_chunked: whether it leaves in chunks.

    Attributes:
        fields: what the answer's head says of it.
    """

    __slots__ = ("_asked", "_counts_rows", "_is_chunked", "_sha256", "fields")

    def __init__(self, asked: str, *, counts_rows: bool, is_chunked: bool) -> None:
        self._asked = asked
        self._counts_rows = counts_rows
        self._is_chunked = is_chunked
        self._sha256 = hashlib.sha256()
        if asked == LINE:
            self.fields = b"Sharing-Closing: line\r\n"
        else:
            self.fields = b"Trailer: Content-Digest%b\r\n" % (b", Sharing-Rows" if counts_rows else b"")

    def take(self, data: bytes) -> None:
        """More of the content is sent."""
        self._sha256.update(data)

    def end(self, rows: int) -> bytes:
        """What is sent behind the last of the content, its framing included."""
        digest = b64encode(self._sha256.digest())
        if self._asked == TRAILERS:
            counted = b"Sharing-Rows: %d\r\n" % rows if self._counts_rows else b""
            return b"0\r\nContent-Digest: sha-256=:%b:\r\n%b\r\n" % (digest, counted)
        counted = b',"rows":%d' % rows if self._counts_rows else b""
        line = b'\n{"sharing-closing":{"sha-256":"%b"%b}}\n' % (digest, counted)
        return b"%x\r\n%b\r\n0\r\n\r\n" % (len(line), line) if self._is_chunked else line


def closing_of(asked: str, *, counts_rows: bool, is_chunked: bool) -> Closing | None:
    """The end that was asked for, where this answer can have it: trailers stand behind chunks alone."""
    if not asked or (asked == TRAILERS and not is_chunked):
        return None
    return Closing(asked, counts_rows=counts_rows, is_chunked=is_chunked)
