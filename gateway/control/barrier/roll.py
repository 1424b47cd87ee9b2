"""The roll: every process that may hold a caller's socket, as its supervisor knows it.

The supervisor calls it to the control process over a socket pair: each worker that it has started and that has not
ended, also one that it gave up, with a descriptor of the process (pidfd) and its pulse. What had been started before
the control process was is on the roll before that process begins, so a new control process knows workers that never
spoke to it.
"""

import os
import socket
from collections.abc import Callable

import msgspec

from gateway.control.barrier.pulse import Pulse
from gateway.domain.errors import GatewayError

MAX_MESSAGE_BYTES = 512
READ_SECONDS = 5.0
"""How long a starting control process waits for the roll; it was called before the process was started."""


class Called(msgspec.Struct, frozen=True):
    """One entry as it is sent, with two descriptors; the last has no name and none.

    Args:
        name: `worker-N`; empty in the entry that says that the roll is complete.
        pid: its process.
    """

    name: str
    pid: int


class OnRoll(msgspec.Struct, frozen=True):
    """A process that may hold a caller's socket.

    Args:
        name: `worker-N`.
        pid: its process id.
        pidfd: its descriptor, readable once it has ended; the owner of this entry closes it.
        pulse: what it says of itself.
    """

    name: str
    pid: int
    pidfd: int
    pulse: Pulse


class RollCaller:
    """The supervisor's end, for one control process."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self._descriptor: int | None = other.detach()
        os.set_inheritable(self._descriptor, True)
        self._called: set[int] = set()

    @property
    def descriptor(self) -> int:
        """What the control process inherits."""
        assert self._descriptor is not None
        return self._descriptor

    def call(self, name: str, pid: int, pidfd: int, page: int) -> bool:
        """Tell of a process, once; False where the control process does not read now: call again later."""
        return pidfd in self._called or self._send(Called(name, pid), [pidfd, page])

    def complete(self) -> None:
        """Say that all that had been started before was called."""
        self._send(Called("", 0), [])

    def _send(self, message: Called, descriptors: list[int]) -> bool:
        try:
            socket.send_fds(self._socket, [msgspec.msgpack.encode(message)], descriptors)
        except BlockingIOError:
            return False
        except OSError:
            # The control process has ended: its successor gets a roll of its own.
            return True
        self._called.update(descriptors[:1])
        return True

    def forget(self, pidfd: int) -> None:
        """The process has ended: its descriptor's number may be another's."""
        self._called.discard(pidfd)

    def inherited(self) -> None:
        """The control process has its end: this one lets go of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def close(self) -> None:
        """No more is told."""
        self.inherited()
        self._socket.close()


class RollReader:
    """The control process's end.

    Args:
        descriptor: as inherited.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)

    def fileno(self) -> int:
        """For a loop to watch."""
        return self._socket.fileno()

    def read_whole(self, on_started: Callable[[OnRoll], None]) -> None:
        """Read what had been started before; blocks for `READ_SECONDS` at most.

        Raises:
            GatewayError: `unavailable` where it is not whole: this process cannot know who holds callers' sockets.
        """
        self._socket.settimeout(READ_SECONDS)
        try:
            while (entry := self._next()) is not None:
                on_started(entry)
        except (OSError, EOFError) as error:
            raise GatewayError("unavailable", "the supervisor did not say which workers run") from error
        self._socket.setblocking(False)

    def read_on(self, on_started: Callable[[OnRoll], None]) -> bool:
        """Read what has come since; False once the supervisor is gone."""
        try:
            while True:
                entry = self._next()
                if entry is not None:
                    on_started(entry)
        except BlockingIOError:
            return True
        except (OSError, EOFError):
            return False

    def _next(self) -> OnRoll | None:
        """The next entry, None for the one that says that the roll is complete."""
        data, descriptors, _, _ = socket.recv_fds(self._socket, MAX_MESSAGE_BYTES, 2, socket.MSG_CMSG_CLOEXEC)
        if not data:
            raise EOFError
        called = msgspec.msgpack.decode(data, type=Called)
        if not called.name:
            return None
        pidfd, page = descriptors
        try:
            return OnRoll(called.name, called.pid, pidfd, Pulse(page))
        finally:
            os.close(page)

    def close(self) -> None:
        """Read no more."""
        self._socket.close()
