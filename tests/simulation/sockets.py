"""TCP sockets of the simulation: what a process writes lies in its kernel, which goes on delivering without it.

A socket's kernel holds a bounded number of octets, hands them to the peer at the peer's pace while the process stands
still, and drops or sends what is left when the socket is closed, as its linger says. What the data plane asks the
kernel of Linux by number of descriptor (`gateway.proxy.kernel`) is answered here for the descriptors of these.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol
from unittest.mock import patch

from gateway.proxy import kernel, leaving
from gateway.proxy.http import upstream
from tests.simulation.loop import Loop, Process

FIRST_DESCRIPTOR = 1 << 20
"""No real one is as high: what is asked of a lower one is asked of the real kernel."""
PIECE_OCTETS = 1500

_open: dict[int, "Socket"] = {}


class Peer(Protocol):
    """The other end, on some other machine."""

    def received(self, data: bytes) -> None:
        """Octets have come."""

    def ended(self) -> None:
        """Nothing more comes."""


class Socket(asyncio.Transport):
    """A process's end of a connection.

    Args:
        loop: of the process.
        process: whose it is.
        room: octets that its kernel holds for the peer at most.
        pause: seconds until the peer takes the next piece; asked for each.
        on_write: told each write, before it happens.
    """

    def __init__(
        self,
        loop: Loop,
        process: Process,
        room: int,
        pause: Callable[[], float],
        on_write: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self.protocol: Any = None
        self.peer: Peer
        self.fd = FIRST_DESCRIPTOR + len(process.world.sockets)
        self.is_paused = False
        self.arrived = self.unread = b""
        self.is_reset = self.has_gone = False
        """Whether the peer has reset the connection, or has sent all that it will."""
        self.acknowledged = 0
        self._loop, self._process = loop, process
        self._room, self._pause, self._on_write = room, pause, on_write
        self._own, self._held = bytearray(), bytearray()
        self._high = self._low = 0
        self._drops_unsent = self._is_delivering = self._is_closing = self._is_closed = False
        self._is_write_paused = self._reads_soon = self._has_eof = self._told_end = False
        process.world.sockets.append(self)
        _open[self.fd] = self
        process.on_death.append(self._closed)

    # What the process does: asyncio's transport.

    def write(self, data: Any) -> None:
        if self._is_closing or self._is_closed:
            return
        self._on_write(data)
        self._own += data
        self._fill()
        if len(self._own) > self._high and not self._is_write_paused:
            self._is_write_paused = True
            self.protocol.pause_writing()

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._has_eof = True
        self._end_soon()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high, self._low = high or 0, low or 0

    def get_write_buffer_size(self) -> int:
        return len(self._own)

    def is_closing(self) -> bool:
        return self._is_closing or self._is_closed

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False
        self._read_soon()

    def abort(self) -> None:
        if not self._is_closing or self._own:
            self._own.clear()
            self._is_closing = True
            self._loop.call_soon(self._lost)

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            if not self._own:
                self._loop.call_soon(self._lost)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"socket": self, "peername": ("127.0.0.1", 1)}.get(name, default)

    def _lost(self) -> None:
        if not self._is_closed:
            try:
                self.protocol.connection_lost(None)
            finally:
                self._closed()

    # What the process asks of the socket itself.

    def fileno(self) -> int:
        return -1 if self._is_closed else self.fd

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self._drops_unsent = value == kernel.DROP_UNSENT

    # The kernel.

    @property
    def held(self) -> int:
        """Octets that it holds for the peer; the end of what is sent counts as one (Linux)."""
        return len(self._held) + (self._has_eof and not self._own and not self._told_end)

    def _fill(self) -> None:
        taken = self._own[: self._room - len(self._held)]
        if taken:
            del self._own[: len(taken)]
            self._held += taken
            self._deliver_soon()

    def _deliver_soon(self) -> None:
        if not self._is_delivering:
            self._is_delivering = True
            machine = self._process.machine
            machine.world.after(self._pause(), lambda: machine.when_awake(self._deliver))

    def _deliver(self) -> None:
        self._is_delivering = False
        if self.is_reset:
            # What it holds was never acknowledged, and will not be.
            return
        piece = bytes(self._held[:PIECE_OCTETS])
        del self._held[: len(piece)]
        self.acknowledged += len(piece)
        if piece:
            self.peer.received(piece)
        if self._own and not self._is_closed:
            self._loop.call_soon(self._writable)
        if self._held:
            self._deliver_soon()
        else:
            self._end_soon()

    def _writable(self) -> None:
        """The kernel takes more: the loop hears it in its turn."""
        if self._is_closed:
            return
        self._fill()
        if self._is_write_paused and len(self._own) <= self._low:
            self._is_write_paused = False
            if not self._is_closing:
                self.protocol.resume_writing()
        if self._is_closing and not self._own:
            self._loop.call_soon(self._lost)

    def _end_soon(self) -> None:
        """The peer hears of the end once it has all that was sent."""
        is_over = self._is_closed or (self._has_eof and not self._own)
        if is_over and not self._held and not self._told_end:
            self._told_end = True
            self._process.world.after(0.001, self.peer.ended)

    def _closed(self) -> None:
        """The descriptor is closed, by the process or with it."""
        if not self._is_closed:
            self._is_closed = True
            _open.pop(self.fd, None)
            self._own.clear()
            if self._drops_unsent:
                self._held.clear()
            self._end_soon()

    # What comes from the peer.

    def receive(self, data: bytes) -> None:
        """Octets have arrived at the kernel."""
        if not self._is_closed:
            self.unread += data
            self._read_soon()

    def end(self, *, is_reset: bool) -> None:
        """The peer sends no more, or breaks the connection."""
        if not self._is_closed:
            self.has_gone = True
            self.is_reset = self.is_reset or is_reset
            self._read_soon()

    def _read_soon(self) -> None:
        if not self._reads_soon:
            self._reads_soon = True
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        self._reads_soon = False
        if self.protocol is None or self.is_paused or self.is_closing():
            return
        data, self.unread = self.unread, b""
        if data:
            self.protocol.data_received(data)
        if not self.has_gone or self.unread or self.is_closing():
            return
        if self.is_reset or not self.protocol.eof_received():
            self._own.clear()
            self._is_closing = True
            self._loop.call_soon(self._lost)


# What the data plane asks a kernel by descriptor.


class _Ear(kernel.Ear):
    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def hears(self) -> bool:
        end = _open.get(self._fd)
        return end is not None and bool(end.unread or end.has_gone)


def _ask(fd: int, _question: int) -> int:
    end = _open.get(fd)
    return 0 if end is None else end.held


def _peek(fd: int, most: int, flags: int) -> bytes | None:
    end = _open.get(fd)
    if end is None or not (end.unread or end.has_gone):
        return None
    data = end.unread[:most]
    if not flags:
        end.unread = end.unread[most:]
    return data


def _acknowledged_bytes(fd: int) -> int:
    end = _open.get(fd)
    return 0 if end is None else end.acknowledged


def _is_cut(fd: int) -> bool:
    end = _open.get(fd)
    return end is not None and end.is_reset


@contextmanager
def kernels() -> Iterator[None]:
    """The kernels of the simulated machines answer."""
    with ExitStack() as stack:
        for where, name, value in (
            (kernel, "_ask", _ask),
            (kernel, "_peek", _peek),
            (leaving, "acknowledged_bytes", _acknowledged_bytes),
            (leaving, "is_cut", _is_cut),
            (upstream, "Ear", _Ear),
        ):
            stack.enter_context(patch.object(where, name, value))
        yield
        _open.clear()
