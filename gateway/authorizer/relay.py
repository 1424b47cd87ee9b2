"""A closing that came to another worker than its use: a datagram to the one that has it, and its answer.

Connections go to whichever worker takes them, and a use is closed where it was opened. Its token begins with the run
that wrote its record, and each worker's socket in the home's run folder bears its run. Who reaches that folder is
trusted (it is 0700). A run that is no more has no socket: its open uses are recorded as `recovered`.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable
from pathlib import Path

import msgspec

from gateway.authorizer.open_uses import Closing, OpenUses
from gateway.domain.errors import GatewayError

ANSWER_SECONDS = 1.0
MOST_ASKED = 1024
"""Closings on their way to other workers at once."""
_DATAGRAM_BYTES = 4096


class _Ask(msgspec.Struct, frozen=True, tag="ask", array_like=True):
    number: int
    carrier: str | None
    closing: Closing


class _Answer(msgspec.Struct, frozen=True, tag="answer", array_like=True):
    number: int
    is_closed: bool


_decode = msgspec.msgpack.Decoder(_Ask | _Answer).decode
_encode = msgspec.msgpack.Encoder().encode


class Relay:
    """Closes uses, wherever among this node's workers they are open.

    Args:
        folder: of the workers' sockets.
        worker: this worker's name: what one of before left of that name is taken away.
        run: what this worker's record ids begin with.
        open_uses: its own.
    """

    def __init__(self, folder: Path, worker: str, run: str, open_uses: OpenUses) -> None:
        self._folder = folder
        self._run = run
        self._own = open_uses
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._asked: dict[int, asyncio.Future[bool]] = {}
        folder.mkdir(mode=0o700, exist_ok=True)
        for left in folder.glob(f"{worker}.*"):
            left.unlink(missing_ok=True)
        self._path = folder / f"{worker}.{run}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(self._path))
        self._loop.add_reader(self._socket, self._receive)

    def close(self, carrier: str | None, closing: Closing) -> bool | Awaitable[bool]:
        """Close a use; whether one was open, and `carrier`'s.

        Raises:
            GatewayError: `overloaded`, `unavailable` where the worker that has it does not answer.
        """
        run = closing.token.partition("-")[0]
        if run == self._run:
            return self._close_own(carrier, closing)
        return self._ask(run, carrier, closing)

    def stop(self) -> None:
        """Answer no more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _close_own(self, carrier: str | None, closing: Closing) -> bool:
        try:
            self._own.close(carrier, closing)
        except GatewayError:
            return False
        return True

    async def _ask(self, run: str, carrier: str | None, closing: Closing) -> bool:
        other = next(self._folder.glob(f"*.{run}"), None)
        if other is None:
            return False
        if len(self._asked) >= MOST_ASKED:
            raise GatewayError("overloaded", "too many closings are on their way to other workers")
        self._number += 1
        number = self._number
        answer = self._asked[number] = self._loop.create_future()
        try:
            self._socket.sendto(_encode(_Ask(number, carrier, closing)), str(other))
            return await asyncio.wait_for(answer, ANSWER_SECONDS)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except (OSError, TimeoutError):
            raise GatewayError("unavailable", "the worker that has this use does not answer") from None
        finally:
            del self._asked[number]

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                octets, sender = self._socket.recvfrom(_DATAGRAM_BYTES)
                with contextlib.suppress(msgspec.MsgspecError, OSError):
                    self._take(octets, sender)

    def _take(self, octets: bytes, sender: str) -> None:
        said = _decode(octets)
        if isinstance(said, _Ask):
            is_closed = self._close_own(said.carrier, said.closing)
            self._socket.sendto(_encode(_Answer(said.number, is_closed)), sender)
            return
        answer = self._asked.get(said.number)
        if answer is not None and not answer.done():
            answer.set_result(said.is_closed)
