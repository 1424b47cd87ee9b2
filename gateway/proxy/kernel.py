"""What the kernel holds of a connection, asked at the moment it matters. Linux; elsewhere it is said to hold nothing.

A file descriptor may be asked only while its transport is open: afterwards the number may be another connection's.
"""

import contextlib
import fcntl
import select
import socket
import struct
import sys
from typing import Any

from gateway.proxy.limits import Limits

_SIOCOUTQ = 0x5411
"""Octets written that the peer has not acknowledged."""
_SIOCOUTQNSD = 0x894B
"""Octets written that have not been sent."""
_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", 18)
_READABLE = select.POLLIN | getattr(select, "POLLRDHUP", 0)
_ROOM = bytes(4)
_BYTES_ACKED = 120
"""Where `tcpi_bytes_acked` stands in Linux's `tcp_info` (since 4.1)."""
_TCP_INFO_BYTES = 128

DROP_UNSENT = struct.pack("ii", 1, 0)
SEND_UNSENT = struct.pack("ii", 0, 0)


def bound_what_kernels_hold(listener: socket.socket, limits: Limits) -> None:
    """Bound the octets that the kernel holds unsent for a caller, and for how long it goes on offering them.

    A node whose processes all stand still has a kernel that goes on sending: no more than this much a connection, and
    nothing to a caller that acknowledges nothing for twice as long as a living worker would wait for it. Set once on a
    listening socket: accepted connections inherit it.
    """
    # INVARIANT: BARRIER, BOUNDED.
    # A system that lacks them has no bound but its own.
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, limits.unsent_bytes)
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, int(limits.write_progress_seconds * 2000))


def cease_to_listen(listener: socket.socket) -> None:
    """Take no more connections, whoever else holds the socket too; it stays bound, and may listen again.

    Who waits in its queue is reset.
    """
    # A socket that does not listen would be marked as shut, and what it accepts later would be born so (Linux).
    with contextlib.suppress(OSError):
        if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            listener.shutdown(socket.SHUT_RDWR)


def descriptor(transport: Any) -> int:
    """The descriptor of a transport's socket; -1 where it has none."""
    raw = transport.get_extra_info("socket")
    return -1 if raw is None else int(raw.fileno())


def set_linger(transport: Any, value: bytes) -> None:
    """What a close does with octets that have not been sent: `DROP_UNSENT` or `SEND_UNSENT`."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)


def unacknowledged_bytes(fd: int) -> int:
    """What was written to a TCP peer whose kernel has not acknowledged it."""
    return _ask(fd, _SIOCOUTQ)


def unsent_bytes(fd: int) -> int:
    """What the kernel holds for a TCP peer and has not sent."""
    return _ask(fd, _SIOCOUTQNSD)


def _ask(fd: int, question: int) -> int:
    if fd < 0:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(fd, question, _ROOM), sys.byteorder)
    except OSError:
        return 0


class Ear:
    """Hears whether anything waits to be read from a connection: octets, its end, or a fault.

    Args:
        fd: the connection's.
    """

    __slots__ = ("_poll",)

    def __init__(self, fd: int) -> None:
        self._poll = None
        if fd >= 0 and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(fd, _READABLE)

    def hears(self) -> bool:
        """Whether something waits."""
        return self._poll is not None and bool(self._poll.poll(0))


def first_waiting(fd: int) -> bytes | None:
    """The first octet that waits unread, b"" at the end of what the peer sends; None for nothing or a fault."""
    return _peek(fd, 1, socket.MSG_PEEK)


def read_waiting(fd: int, most: int) -> bytes:
    """What waits unread, at most `most` octets, taken: for a connection whose transport has given up."""
    return _peek(fd, most, 0) or b""


def _peek(fd: int, most: int, flags: int) -> bytes | None:
    if fd < 0:
        return None
    raw = socket.socket(fileno=fd)
    try:
        return raw.recv(most, flags | socket.MSG_DONTWAIT)
    except OSError:
        return None
    finally:
        raw.detach()


def acknowledged_bytes(fd: int) -> int:
    """What a TCP peer has acknowledged since the connection began, its beginning included; 0 where it is not told."""
    if fd < 0 or not hasattr(socket, "TCP_INFO"):
        return 0
    raw = socket.socket(fileno=fd)
    try:
        told = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return 0
    finally:
        raw.detach()
    return int.from_bytes(told[_BYTES_ACKED : _BYTES_ACKED + 8], sys.byteorder)


def is_cut(fd: int) -> bool:
    """Whether a connection was reset, or is closed on both sides."""
    if fd < 0 or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))
