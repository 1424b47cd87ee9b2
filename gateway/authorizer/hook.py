"""Closings by the lines of a carrier's log: a datagram each (syslog, RFC 5424 or 3164), on the listener's port by UDP.

    … sharing-close=<token> <status> <octets>
    {…, "sharing_close": "<token>", "status": <status>, "size": <octets>, …}    as Caddy writes it

What stands besides is not read. The token is all that a line shows of who sent it: nobody can guess one, and a
carrier tells it to nobody but its log. A line that is lost leaves its use to be closed as `unknown`.
"""

import asyncio
import re
import socket

import msgspec

from gateway.authorizer.closing import make_closing
from gateway.authorizer.relay import Relay
from gateway.domain.errors import GatewayError

_LINE = re.compile(rb"sharing-close=([\w.\-]{24,90}) ([0-9]{3}) ([0-9]{1,15})(?=[ \"\n]|\Z)")


class _Line(msgspec.Struct, frozen=True):
    """A line in JSON."""

    sharing_close: str
    status: int
    size: int


def words_of(data: bytes) -> tuple[str, str, str] | None:
    """Token, status and octets of a line; None where it tells of no use."""
    if data[:1] == b"{":
        try:
            line = msgspec.json.decode(data, type=_Line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return line.sharing_close, f"{line.status:03d}", str(line.size)
    found = _LINE.search(data)
    return None if found is None else (found[1].decode(), found[2].decode(), found[3].decode())


class LogHook(asyncio.DatagramProtocol):
    """Takes lines.

    Args:
        relay: closes uses.

    Attributes:
        taken: lines that closed a use.
        unfit: lines that were none, or closed nothing.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._closing: set[asyncio.Task[None]] = set()
        self.taken = self.unfit = 0

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - asyncio's signature
        words = words_of(data)
        if words is None:
            self.unfit += 1
            return
        task = asyncio.get_running_loop().create_task(self._close(*words))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, token: str, status: str, octets: str) -> None:
        try:
            closed = self._relay.close(None, make_closing(token, status, octets))
            if not (closed if isinstance(closed, bool) else await closed):
                self.unfit += 1
                return
        except GatewayError:
            self.unfit += 1
            return
        self.taken += 1


async def listen(relay: Relay, host: str, port: int) -> asyncio.DatagramTransport:
    """Take lines on an address, which other workers may share."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    lines = socket.socket(family, socket.SOCK_DGRAM)
    lines.setblocking(False)
    lines.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    lines.bind((host, port))
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: LogHook(relay), sock=lines)
    return transport
