"""One request of the gateway's own to a supplier's host, such as for a token: whole answers, bounded in size and time.

It goes by the very connections that calls go by: to checked addresses, with the same reading of what comes back.
"""

import asyncio

from gateway.domain.errors import GatewayError
from gateway.proxy.http.answers import AnswerHead
from gateway.proxy.http.pools import Pool
from gateway.proxy.limits import Limits
from gateway.proxy.ports import Reach

ANSWER_BYTES = 64 << 10


class _Asked:
    """The exchange of one such request, as `upstream.Answered`."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._status = 0
        self._content = b""

    def answer_waits(self, octets: int) -> None:
        """The head is bounded by the limits."""

    def answer_begun(self, head: AnswerHead) -> None:
        self._status = head.status
        if head.named.get(b"content-encoding", b"identity") != b"identity":
            self.answer_failed("its answer is compressed, though nobody asked for that")

    def answer_whole(self, head: AnswerHead, content: bytes) -> None:
        self.answer_begun(head)
        self.answer_piece(content)
        self.answer_ended()

    def answer_piece(self, data: bytes) -> None:
        self._content += data
        if len(self._content) > ANSWER_BYTES:
            self.answer_failed(f"its answer is longer than {ANSWER_BYTES >> 10} KiB")

    def answer_overran(self) -> None:
        """What stands behind the answer ended its connection."""

    def answer_ended(self) -> None:
        if not self.answer.done():
            self.answer.set_result((self._status, self._content))

    def answer_failed(self, reason: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(GatewayError("supplier-unreachable", reason))

    def broken(self) -> None:
        self.answer_failed("its answer could not be read")

    def pause_request(self) -> None:
        """The request is short."""

    def resume_request(self) -> None:
        """The request is short."""


async def ask(reach: Reach, port: int, request: bytes, limits: Limits, *, seconds: float) -> tuple[int, bytes]:
    """Status and content of the answer to a request.

    Raises:
        GatewayError: `supplier-unreachable`: no connection, no whole answer in time, or one that is too long.
    """
    pool = Pool(reach, port, limits, asyncio.get_running_loop().time, lambda *_: None, lambda: None)
    asked = _Asked()
    try:
        async with asyncio.timeout(seconds):
            connection = await pool.connect()
            try:
                while connection.is_settling():
                    await connection.settled()
                # INVARIANT: ONE-ANSWER.
                if not connection.is_quiet():
                    raise GatewayError(
                        "supplier-unreachable", "its connection was closed, or written to, before it was asked"
                    )
                connection.start(asked, request, is_head_request=False, is_whole=True)
                return await asked.answer
            finally:
                connection.abort()
    except (OSError, TimeoutError):
        raise GatewayError("supplier-unreachable", "no whole answer came in time") from None
    finally:
        pool.close()
