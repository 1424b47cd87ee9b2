"""What the kernel may hold for callers, what it holds for one, and what becomes of that when its connection ends."""

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys

from gateway.proxy.limits import Limits

_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", 18)
_SIOCOUTQNSD = 0x894B
"""Linux: bytes that the kernel holds for a TCP peer and has not sent yet."""


def bound_what_kernels_hold(listener: socket.socket, limits: Limits) -> None:
    """Bound the octets that the kernel holds unsent for a caller, and for how long it goes on offering them.

    A node whose processes all stand still has a kernel that goes on sending: no more than this much a connection, and
    nothing to a caller that acknowledges nothing for as long as a living worker would wait for it. Set once on a
    listening socket: accepted connections inherit it.
    """
    # INVARIANT: BARRIER, BOUNDED.
    # A system that lacks them has no bound but its own.
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, limits.unsent_bytes)
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, int(limits.write_progress_seconds * 1000))


def cease_to_listen(listener: socket.socket) -> None:
    """Take no more connections, whoever else holds the socket too; it stays bound, and may listen again.

    Who waits in its queue is reset.
    """
    # A socket that does not listen would be marked as shut, and what it accepts later would be born so (Linux).
    with contextlib.suppress(OSError):
        if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            listener.shutdown(socket.SHUT_RDWR)


def unsent_bytes(transport: asyncio.Transport) -> int:
    """What the kernel holds for the caller and has not sent; 0 where that cannot be asked."""
    raw = transport.get_extra_info("socket")
    if raw is None:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(raw.fileno(), _SIOCOUTQNSD, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def drop_unsent(transport: asyncio.Transport) -> None:
    """When the connection ends from now on, however it does, what was not sent is dropped and the caller is reset."""
    _set_linger(transport, 1)


def send_unsent(transport: asyncio.Transport) -> None:
    """When the connection ends from now on, what was written is sent to its end, and sent again where it was lost."""
    _set_linger(transport, 0)


def _set_linger(transport: asyncio.Transport, is_on: int) -> None:
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", is_on, 0))
