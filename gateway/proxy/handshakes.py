"""A caller's TLS handshake takes its turn like a call: it costs as much, and nobody is known before it.

A connection that has come waits as a socket that nobody reads. Under a load that lasts it is reset after the patience
of `turns`, before anything was computed for it, and counted (`handshake`).
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.proxy.downstream import CallerConnection
from gateway.proxy.guards import ends_exchange

if TYPE_CHECKING:
    from gateway.proxy.plane import DataPlane

_log = logging.getLogger(__name__)

AT_ONCE = 64
"""Connections taken from the kernel's queue in one turn."""
PAUSE_SECONDS = 1.0
"""How long none is taken where none can be, such as without a descriptor left."""
_RESET = struct.pack("ii", 1, 0)


class TlsListener:
    """Takes connections from a listening socket and lets their handshakes begin in their turns.

    Args:
        plane: the data plane.
        listening: bound; not blocking from now on.
        context: the listener's.
        backlog: connections that the kernel queues.
        accept: makes the end of a connection here.
    """

    def __init__(
        self,
        plane: "DataPlane",
        listening: socket.socket,
        context: ssl.SSLContext,
        backlog: int,
        accept: Callable[[], CallerConnection],
    ) -> None:
        self.accept = accept
        self._plane = plane
        self._context = context
        self._socket = listening
        self._pause: asyncio.TimerHandle | None = None
        self.handshakes: set[Handshake] = set()
        listening.setblocking(False)
        listening.listen(backlog)
        self._listen()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """As `asyncio.Server.sockets`."""
        return (self._socket,)

    def close(self) -> None:
        """Take no more; who waits for a turn hears so at once."""
        if self._socket.fileno() >= 0:
            self._plane.loop.remove_reader(self._socket)
            self._socket.close()
        if self._pause is not None:
            self._pause.cancel()
        for handshake in tuple(self.handshakes):
            handshake.end()

    @ends_exchange
    def _listen(self) -> None:
        self._pause = None
        self._plane.loop.add_reader(self._socket, self._accept)

    @ends_exchange
    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                taken, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                _log.error("no connection can be taken for now: %s", error.strerror)
                self._plane.loop.remove_reader(self._socket)
                self._pause = self._plane.loop.call_later(PAUSE_SECONDS, self._listen)
                return
            taken.setblocking(False)
            Handshake(self._plane, self, taken, self._context).come()

    def broken(self) -> None:
        """As `guards.Breakable.broken`: one connection is lost, the next is taken."""
        self._plane.failed()


class Handshake:
    """One connection from its accepting until TLS stands."""

    __slots__ = ("_context", "_listener", "_plane", "_socket", "_task")

    def __init__(
        self, plane: "DataPlane", listener: TlsListener, taken: socket.socket, context: ssl.SSLContext
    ) -> None:
        self._plane = plane
        self._listener = listener
        self._socket = taken
        self._context = context
        self._task: asyncio.Task[None] | None = None

    @ends_exchange
    def come(self) -> None:
        """Begin now, or in a later turn."""
        self._listener.handshakes.add(self)
        if self._plane.turns.may_begin():
            self.begin_call()
        else:
            self._plane.turns.wait(self)

    @ends_exchange
    def begin_call(self) -> None:
        """As `turns.Waiting.begin_call`."""
        self._task = self._plane.loop.create_task(self._shake_hands(), name="handshake")

    @ends_exchange
    def shed_call(self) -> None:
        """As `turns.Waiting.shed_call`."""
        self._plane.counters.turned_away("handshake")
        self._reset()

    def end(self) -> None:
        """Who has not begun hears so at once; who has begun is closed with the rest."""
        if self._plane.turns.leave(self):
            self._reset()

    def broken(self) -> None:
        """As `guards.Breakable.broken`."""
        self._plane.failed()
        self._reset()

    def _reset(self) -> None:
        self._listener.handshakes.discard(self)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._socket.close()

    async def _shake_hands(self) -> None:
        plane = self._plane
        try:
            await plane.loop.connect_accepted_socket(
                self._listener.accept,
                self._socket,
                ssl=self._context,
                ssl_handshake_timeout=plane.limits.handshake_timeout_seconds,
            )
        except OSError:
            self._reset()  # no TLS, or not in time: nobody is told more
        finally:
            self._listener.handshakes.discard(self)
