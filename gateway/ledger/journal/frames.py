"""The journal's file format: frames in segments (specified byte by byte in the package's docstring).

Pure: bytes in, frames out. Three outcomes of reading are told apart: a frame, the preallocated end, and a fault.
Whether a fault is a torn tail, which may be repaired, or corruption, which may not, is decided by `segments`,
which knows what had been confirmed.
"""

import zlib
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

import msgspec

from gateway.domain.errors import GatewayError

MAGIC = b"SGJRNL1\n"
SEED = zlib.crc32(MAGIC)
HEAD = Struct("<II")
MAX_PAYLOAD_BYTES = 65_535
"""An entry must fit a bundle's 16-bit length; a longer frame length is a fault, found before allocating."""
MAX_HEADER_BYTES = 1 << 24
SUFFIX = ".journal"
NAME_DIGITS = 20


class Opening(msgspec.Struct, frozen=True):
    """A segment's first frame: which writer, from which sequence on, and which uses were open then.

    Args:
        v: format number, 1.
        writer: the writer's name.
        run: the writer's start, the first part of its record ids.
        first: sequence of the first entry in this segment.
        chain: the checksum at which the segment before this ended, 0 for a writer's first.
        open: (record id, retention years) of the uses open when the segment began.
    """

    v: int
    writer: str
    run: str
    first: int
    chain: int
    open: tuple[tuple[str, int], ...]


class Frame(NamedTuple):
    """One entry as read: its payload, where it begins, and the chained checksum after it."""

    payload: bytes
    offset: int
    checksum: int


class FrameFault(Exception):  # noqa: N818 — a fault of the file, as the format names it
    """A frame that cannot be read: at which byte, and why."""

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(offset, why)
        self.offset = offset
        self.why = why


def frame(payload: bytes, checksum: int) -> tuple[bytes, int]:
    """`payload` as a frame after a frame that ended with `checksum`; returns the bytes and the new checksum."""
    after = zlib.crc32(payload, checksum)
    return HEAD.pack(len(payload), after) + payload, after


def opening_bytes(opening: Opening) -> tuple[bytes, int]:
    """Magic and first frame of a segment, and the checksum the first entry goes on from."""
    content, checksum = frame(msgspec.json.encode(opening), SEED)
    return MAGIC + content, checksum


def parse_opening(content: bytes | memoryview, name: str) -> tuple[Opening, int, int]:
    """The opening of a segment, the offset of its first entry, and the checksum to go on from.

    Raises:
        FrameFault: if the magic or the first frame does not hold.
        GatewayError: `conflict` if the format is a later one than this program knows.
    """
    if bytes(content[: len(MAGIC)]) != MAGIC:
        raise FrameFault(0, "the file does not begin with the journal's magic")
    read = read_frame(content, len(MAGIC), SEED, limit_bytes=MAX_HEADER_BYTES)
    if read is None:
        raise FrameFault(len(MAGIC), "the opening frame is missing")
    try:
        opening = msgspec.json.decode(read.payload, type=Opening)
    except msgspec.DecodeError as error:
        raise FrameFault(len(MAGIC), "the opening frame is not an opening") from error
    if opening.v != 1:
        raise GatewayError("conflict", f"`{name}` has journal format {opening.v}; this program knows format 1")
    return opening, len(MAGIC) + HEAD.size + len(read.payload), read.checksum


def read_frame(
    content: bytes | memoryview, offset: int, checksum: int, *, limit_bytes: int = MAX_PAYLOAD_BYTES
) -> Frame | None:
    """The frame at `offset`, or None at the end: zero length, or no byte left.

    Raises:
        FrameFault: if the frame is cut short, too long or fails its checksum.
    """
    left = len(content) - offset
    if left < HEAD.size:
        if any(content[offset:]):
            raise FrameFault(offset, "the frame is cut short")
        return None
    length, stated = HEAD.unpack_from(content, offset)
    if length == 0:
        if stated:
            raise FrameFault(offset, "a checksum stands without a length")
        return None
    if length > limit_bytes:
        raise FrameFault(offset, f"a frame of {length} bytes is longer than any entry")
    if left < HEAD.size + length:
        raise FrameFault(offset, "the frame is cut short")
    payload = bytes(content[offset + HEAD.size : offset + HEAD.size + length])
    after = zlib.crc32(payload, checksum)
    if after != stated:
        raise FrameFault(offset, "the frame fails its checksum")
    return Frame(payload, offset, after)


def frames(content: bytes | memoryview, offset: int, checksum: int) -> Iterator[Frame]:
    """Every frame from `offset` to the end; raises `FrameFault` at the first that cannot be read."""
    while (read := read_frame(content, offset, checksum)) is not None:
        yield read
        offset += HEAD.size + len(read.payload)
        checksum = read.checksum


def check_chain(opening: Opening, first: int, chain: int | None) -> None:
    """Raise `FrameFault` if a segment that begins with `first` does not go on from checksum `chain`; None is any."""
    if chain is not None and opening.first == first and opening.chain != chain:
        raise FrameFault(len(MAGIC), "it does not follow the segment before it")


def segment_name(first: int) -> str:
    """The file name of the segment whose first entry has sequence `first`."""
    return f"{first:0{NAME_DIGITS}d}{SUFFIX}"


def first_of(name: str) -> int:
    """The sequence in a segment's file name."""
    return int(name.removesuffix(SUFFIX))
