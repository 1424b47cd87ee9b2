"""Frames and messages of the control socket between a control process and its workers.

A frame is a 4-byte big-endian length and that many bytes of msgpack; a message is a tagged map. Both ends are of one
release: `Hello.format` says which, and a hub closes a connection that speaks another.
"""

from collections.abc import Iterator

import msgspec

from gateway.domain.changes import Change
from gateway.domain.errors import GatewayError

FORMAT = 2
"""The version of these messages."""

MAX_FRAME_BYTES = 1 << 20
"""A thousand changes are some 200 KiB; a longer frame is a broken peer, refused before it is buffered."""

CHANGES_A_FRAME = 500
"""Bound on one message, so that a lease never waits behind a long one."""


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """A worker's first message.

    Args:
        format: of these messages.
        worker: its name.
        after: the last change it has applied; None where it holds nothing and needs none.
        history: of the state in which that change counts, as the last `Reset` said.
    """

    format: int
    worker: str
    after: int | None
    history: str = ""


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A worker asks for a lease.

    Args:
        number: names this question; the lease counts from when it was sent.
        applied: the last change it has applied.
    """

    number: int
    applied: int


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """A worker has dropped and cut what the changes up to `sequence` ask for."""

    sequence: int


class Counted(msgspec.Struct, frozen=True, tag="counted"):
    """A worker's counters, as its own encoding: kept as they are, for the metrics."""

    counters: bytes


class Changes(msgspec.Struct, frozen=True, tag="changes"):
    """Changes that follow `after` without a gap."""

    after: int
    changes: tuple[Change, ...]


class Reset(msgspec.Struct, frozen=True, tag="reset"):
    """Drop and cut everything; count from `sequence`: what is missing can no longer be told one by one."""

    sequence: int
    history: str = ""


class Lease(msgspec.Struct, frozen=True, tag="lease"):
    """The answer to an `Ask`.

    Args:
        number: of the question.
        milliseconds: how long from the moment of asking the state may be taken as current; 0 is no lease.
        position: the change up to which it holds; all of them were sent before it.
    """

    number: int
    milliseconds: int
    position: int


Up = Hello | Ask | Applied | Counted
Down = Changes | Reset | Lease

_encoder = msgspec.msgpack.Encoder()


def frame(message: Up | Down) -> bytes:
    """The bytes of one frame."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


class Frames:
    """Bytes in, frames' bodies out, whatever the pieces they come in."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that `data` completes.

        Raises:
            GatewayError: `malformed-request` for a length beyond `MAX_FRAME_BYTES`.
        """
        self._held += data
        while len(self._held) >= 4:
            length = int.from_bytes(self._held[:4], "big")
            if length > MAX_FRAME_BYTES:
                raise GatewayError("malformed-request", "a frame on the control socket is too long")
            if len(self._held) < 4 + length:
                return
            body = bytes(self._held[4 : 4 + length])
            del self._held[: 4 + length]
            yield body
