"""How a use ended, as its carrier tells it: one request whose fields say it.

    POST /closing
    Sharing-Close: what the check's answer gave
    Sharing-Status: the status that the caller got
    Sharing-Bytes: octets of content that it got
    Sharing-End: `complete` (where it is missing), or `aborted`

204 says that it is on record. What a carrier tells is on record as told: no gateway saw the bytes.
"""

import re
from typing import TYPE_CHECKING

from gateway.authorizer.open_uses import Closing
from gateway.authorizer.question import Question
from gateway.domain.errors import GatewayError
from gateway.proxy.http.heads import Block, malformed

if TYPE_CHECKING:
    from gateway.authorizer.askers import Carrier
    from gateway.authorizer.connection import AskingConnection
    from gateway.authorizer.desk import Desk

ENDS = frozenset({"complete", "aborted"})
_TOKEN = re.compile(r"[\w\-]{1,64}\.[\w\-]{22}", re.ASCII)
_STATUS = re.compile(r"[1-5][0-9]{2}|000", re.ASCII)
_OCTETS = re.compile(r"[0-9]{1,15}", re.ASCII)


def make_closing(token: str, status: str, octets: str, end: str = "complete") -> Closing:
    """A closing of its words; 499 is nginx's way to say that its caller has gone.

    Raises:
        GatewayError: `malformed-request`.
    """
    if _TOKEN.fullmatch(token) is None:
        raise malformed("`Sharing-Close` is not what a check's answer gave")
    if _STATUS.fullmatch(status) is None or _OCTETS.fullmatch(octets) is None or end not in ENDS:
        raise malformed("a closing says a status of three digits, a number of octets, and `complete` or `aborted`")
    return Closing(token, int(status), int(octets), "aborted" if status == "499" else end)


class ClosingCall(Question):
    """One closing by a request."""

    __slots__ = ("_carrier",)

    def __init__(
        self, desk: "Desk", connection: "AskingConnection", carrier: "Carrier", method: bytes, block: Block
    ) -> None:
        super().__init__(desk, connection, method, block)
        self._carrier = carrier

    def read(self, body: bytes) -> None:
        """Close the use, here or at the worker that has it."""
        if body:
            raise malformed("a closing has no body")
        told: dict[bytes, str] = {}
        for name, value in self.block.fields:
            if name in told:
                raise malformed("a field of the closing stands twice")
            if name.startswith(b"sharing-"):
                told[name] = value.decode("latin-1")
        closing = make_closing(
            told.get(b"sharing-close", ""),
            told.get(b"sharing-status", ""),
            told.get(b"sharing-bytes", "0"),
            told.get(b"sharing-end", "complete"),
        )
        self.wait(self._closed, self._desk.relay.close, self._carrier.name, closing)

    def _closed(self, is_closed: bool) -> None:
        if is_closed:
            self.say(204)
        else:
            self.refuse(GatewayError("not-found", "no such use is open: it was closed, or is another's"))
