"""A request's body on its way: held until the supplier may have it, then passed on as it comes."""

from gateway.domain.errors import GatewayError
from gateway.proxy.http.upstream import SupplierConnection


class RequestBody:
    """The body of one request.

    Args:
        content_length: as declared; None is chunked.

    Attributes:
        is_whole: whether it has arrived to its end.
        pieces: what is held.
        limit_bytes: the most that is taken; set once the interface is known.
        wanted_bytes: so much is read before anything is decided.
    """

    __slots__ = ("_bytes", "_content_length", "_is_stopped", "_to", "is_whole", "limit_bytes", "pieces", "wanted_bytes")

    def __init__(self, content_length: int | None) -> None:
        self._content_length = content_length
        self._bytes = 0
        self._to: SupplierConnection | None = None
        self._is_stopped = False
        self.is_whole = content_length == 0
        self.limit_bytes = -1
        self.wanted_bytes = 0
        self.pieces: list[bytes] = []

    def held_bytes(self) -> int:
        """How much is held here."""
        return self._bytes if self._to is None and not self._is_stopped else 0

    def take(self, data: bytes) -> None:
        """More has come.

        Raises:
            GatewayError: `body-too-large`.
        """
        if self._is_stopped:
            return
        self._bytes += len(data)
        if 0 <= self.limit_bytes < self._bytes:
            raise GatewayError("body-too-large", f"the interface takes at most {self.limit_bytes} bytes")
        if self._to is None:
            self.pieces.append(data)
        else:
            self._to.send(self._frame(data), is_last=False)

    def end(self) -> None:
        """It is whole."""
        self.is_whole = True
        if self._to is not None:
            self._to.send(b"0\r\n\r\n" if self._content_length is None else b"", is_last=True)

    def start(self, to: SupplierConnection) -> tuple[bytes, bytes]:
        """Framing fields and first octets for the supplier; what comes later goes to it at once.

        A body that is whole is sent with its length, another one as it was declared (RFC 9112 §6).
        """
        body = b"".join(self.pieces)
        self.pieces = []
        self._to = to
        if self.is_whole:
            return (b"Content-Length: %d\r\n" % len(body) if self._content_length != 0 else b""), body
        if self._content_length is None:
            return b"Transfer-Encoding: chunked\r\n", self._frame(body) if body else b""
        return b"Content-Length: %d\r\n" % self._content_length, body

    def stop(self) -> None:
        """The supplier takes no more: what still comes is thrown away."""
        if self is not NO_BODY:
            self._is_stopped = True
            self._to = None
            self.pieces = []
            self.limit_bytes = -1

    def _frame(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._content_length is None else data


NO_BODY = RequestBody(0)
"""The body of every request without one; never changed."""
