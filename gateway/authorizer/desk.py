"""What all who ask here share, on a worker's loop."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from gateway.authorizer.askers import Carrier
from gateway.authorizer.authzen.questions import AuthZen
from gateway.authorizer.connection import AskingConnection
from gateway.authorizer.hook import listen
from gateway.authorizer.open_uses import OpenUses
from gateway.authorizer.relay import Relay
from gateway.proxy.http.heads import BlockReader
from gateway.proxy.http.targets import TargetReader
from gateway.proxy.plane import DataPlane

_log = logging.getLogger(__name__)


class Desk:
    """The listener of those who carry calls themselves.

    Args:
        plane: the data plane, whose ports it asks.
        carriers: who may ask for checks.
        authzen: what evaluators ask.
        seconds: until a use that nobody closes is closed by itself.

    Attributes:
        blocks: header blocks that were read; its own, so that callers' are not pushed out by checks.
        targets: paths that were read.
    """

    relay: Relay

    def __init__(self, plane: DataPlane, carriers: Sequence[Carrier], authzen: AuthZen, seconds: float) -> None:
        self.plane = plane
        self.carriers = tuple(carriers)
        self.authzen = authzen
        self.open_uses = OpenUses(plane, seconds)
        self.blocks = BlockReader(plane.limits)
        self.targets = TargetReader()
        self._lines: asyncio.DatagramTransport | None = None

    async def serve(self, sock: socket.socket, folder: Path, worker: str, run: str, tls: ssl.SSLContext | None) -> None:
        """Listen on a bound socket, and on its port for lines of logs.

        Args:
            sock: the listener's.
            folder: of the workers' sockets, through which closings find their use.
            worker: this worker's name.
            run: what its record ids begin with.
            tls: the listener's context.
        """
        self.relay = Relay(folder, worker, run, self.open_uses)
        host, port = sock.getsockname()[:2]
        await self.plane.serve(sock=sock, tls=tls, accept=lambda: AskingConnection(self))
        try:
            self._lines = await listen(self.relay, host, port)
        except OSError as error:
            _log.error("no lines of logs are taken on UDP port %d: %s", port, error.strerror)

    def stop(self) -> None:
        """Close what is open; call it when the data plane has drained, before the ledger is closed."""
        if self._lines is not None:
            self._lines.close()
        self.open_uses.close_all()
        self.relay.stop()
