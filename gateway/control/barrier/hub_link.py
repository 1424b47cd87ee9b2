"""One worker's connection to the hub: frames in and out, and what the worker still lacks, in order."""

import asyncio
import logging
import socket
import struct
from typing import Protocol

import msgspec

from gateway.control.barrier.wire import FORMAT, Changes, Down, Frames, Hello, Reset, Up, frame
from gateway.domain.errors import GatewayError

log = logging.getLogger(__name__)

BUFFER_BYTES = 4 << 20
"""What may wait for a worker that does not read; then it is sent a reset once it reads again."""


class Host(Protocol):
    """What a connection needs of the hub."""

    @property
    def position(self) -> int: ...
    @property
    def history(self) -> str: ...

    def joined(self, link: "HubLink", hello: Hello, pid: int) -> int: ...
    def resumes_after(self, hello: Hello, pid: int) -> int | None: ...
    def was_reset(self, pid: int) -> None: ...
    def left(self, key: int) -> None: ...
    def heard(self, key: int, message: Up) -> Down | None: ...
    def since(self, sequence: int) -> Changes | Reset | None: ...


class HubLink(asyncio.Protocol):
    """One worker's connection."""

    def __init__(self, hub: Host) -> None:
        self._hub = hub
        self._frames = Frames()
        self._key: int | None = None
        self._sent = 0
        self._transport: asyncio.Transport | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=BUFFER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        if self._key is not None:
            self._hub.left(self._key)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.catch_up()

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                self._receive(_decoder.decode(body))
        except (GatewayError, msgspec.MsgspecError) as error:
            log.error("a worker broke the control socket's rules (%s): its connection is closed", type(error).__name__)
            self.close()

    def _receive(self, message: Up) -> None:
        if self._key is None:
            if not isinstance(message, Hello) or message.format != FORMAT:
                raise GatewayError("malformed-request", "a worker of another release")
            pid = _peer_pid(self._transport)
            after = self._hub.resumes_after(message, pid)
            self._key = self._hub.joined(self, message, pid)
            if after is None:
                self._sent = self._hub.position
                self._send(Reset(self._sent, self._hub.history))
                self._hub.was_reset(pid)
            else:
                self._sent = after
            self.catch_up()
            return
        answer = self._hub.heard(self._key, message)
        if answer is not None and not self._paused:
            self._send(answer)

    def catch_up(self) -> None:
        """Send what the worker lacks, in order."""
        while not self._paused and self._transport is not None:
            message = self._hub.since(self._sent)
            if message is None:
                return
            self._send(message)
            self._sent = message.sequence if isinstance(message, Reset) else message.changes[-1].sequence

    def _send(self, message: Down) -> None:
        if self._transport is not None:
            self._transport.write(frame(message))


_decoder = msgspec.msgpack.Decoder(Up)


def _peer_pid(transport: asyncio.Transport | None) -> int:
    """The pid of the process that connected, by the kernel's word; 0 where it gives none."""
    peer = transport.get_extra_info("socket") if transport is not None else None
    if peer is None or not hasattr(socket, "SO_PEERCRED"):
        return 0
    pid, _, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(pid)
