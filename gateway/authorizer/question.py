"""A question to this listener that is no use of data: read whole, and answered whole.

It walks the first states of an exchange, so that its connection, its deadlines and its end are those of every call.
"""

from typing import TYPE_CHECKING

from gateway.domain.errors import GatewayError
from gateway.proxy.exchange import states
from gateway.proxy.exchange.exchange import Exchange
from gateway.proxy.exchange.refusals import status_line
from gateway.proxy.http.heads import Block
from gateway.proxy.http.targets import Target

if TYPE_CHECKING:
    from gateway.authorizer.connection import AskingConnection
    from gateway.authorizer.desk import Desk

TOTAL_SECONDS = 30.0
BODY_BYTES = 1 << 20
NOWHERE = Target(b"", b"", "", "", b"")
"""The target of what names no interface by its path."""


class Question(Exchange):
    """One question; `read` is told its body.

    Args:
        desk: what those who ask share.
        connection: who asks.
        method: of the request.
        block: its header block.
    """

    __slots__ = ("_desk",)

    def __init__(self, desk: "Desk", connection: "AskingConnection", method: bytes, block: Block) -> None:
        super().__init__(desk.plane, connection, method, NOWHERE, block, block.trace, is_repeated=False)
        self._desk = desk

    def begin(self) -> None:
        """Start: read the body."""
        self.move(states.ON_IDENTIFIED)
        self.move(states.ON_RESOLVED)
        # INVARIANT: BOUNDED: no exchange without a total.
        self._total_due = self.plane.now_seconds + TOTAL_SECONDS
        body = self.body
        self._is_reading = True
        if not body.is_whole:
            body.limit_bytes = body.wanted_bytes = BODY_BYTES
            try:
                body.take(b"")
            except GatewayError as error:
                self.refuse(error)
                return
        self._read_parameters()

    def _read_parameters(self) -> None:
        if not self._has_body():
            return
        self._is_reading = False
        try:
            self.read(b"".join(self.body.pieces))
        except GatewayError as error:
            self.refuse(error)

    def read(self, body: bytes) -> None:
        """Answer, now or later (`say`); what it raises is told as a problem."""
        raise NotImplementedError

    def say(self, status: int, fields: bytes = b"", content: bytes = b"") -> None:
        """The answer; `fields` are its own, without framing."""
        if self.state is not states.DECIDING:
            return
        self.move(states.ON_RELEASED)
        self.status = status
        self._leave()
        framing = b"" if status == 204 else b"Content-Length: %d\r\n" % len(content)
        self.connection.send_answer(status_line(status) + b"Cache-Control: no-store\r\n" + fields + framing, content)

    def _tell(self, end: str, missing_bytes: int = 0) -> None:  # noqa: ARG002 - as the layer below has it
        # No use, so nothing for the ledger; who asks counts it.
        self._is_told = True
