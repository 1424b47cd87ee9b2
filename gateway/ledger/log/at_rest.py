"""Entry bundles as they lie on disk: the bytes tlog-tiles serves, packed so that three years fit.

Most of a use's bytes are random by nature: salts, digests, trace ids, written as hex. Those are taken out of the
text and kept as raw bytes; the rest is zstd over up to sixteen bundles at once, since neighbours say nearly the same.
`decode` gives back every bundle byte for byte. A file is:

    4   magic `SGB1`
    1   flags: bit i set where `_MOVED[i]` was taken out
    1   number of bundles, 1 to 16
    4n  length of each bundle, uint32 big-endian
    4   length of the zstd frame, uint32 big-endian
    .   the zstd frame: the bundles one after the other, each taken-out value empty
    .   the taken-out values as raw bytes, for each flag in order, as they stood
    4   CRC-32 (zlib) of all before, uint32 big-endian
"""

import zlib
from collections.abc import Sequence
from struct import Struct

import zstandard

from gateway.domain.errors import GatewayError

MAGIC = b"SGB1"
PACK = 16
"""Bundles in a full pack: more save little and make one record dearer to read; `tests/bench/ledger_size.py`."""
PACK_LEVEL = 6
LOOSE_LEVEL = 1
MAX_BUNDLE_BYTES = 256 * (2 + 65_535)

_MOVED = ((b'"salt":"', 32), (b'"trace":"', 32), (b'"request":"', 64), (b'"digest":"', 64))
_U32 = Struct(">I")


def encode(bundles: Sequence[bytes], level: int) -> bytes:
    """One to sixteen bundles as a file's content; below `PACK_LEVEL`, which does not last, nothing is taken out."""
    content = b"".join(bundles)
    flags = 0
    values = []
    for bit, (marker, digits) in enumerate(_MOVED if level >= PACK_LEVEL else ()):
        text, moved = _take_out(content, marker, digits)
        if moved:
            content, flags = text, flags | 1 << bit
            values.append(moved)
    frame = zstandard.ZstdCompressor(level=level).compress(content)
    lengths = b"".join(_U32.pack(len(bundle)) for bundle in bundles)
    whole = b"".join((MAGIC, bytes((flags, len(bundles))), lengths, _U32.pack(len(frame)), frame, *values))
    return whole + _U32.pack(zlib.crc32(whole))


def decode(whole: bytes, what: str) -> list[bytes]:
    """The bundles of a file; `what` names it in the error.

    Raises:
        GatewayError: `conflict` if the file is damaged.
    """
    fault = GatewayError("conflict", f"`{what}` is damaged")
    if len(whole) < 14 or whole[:4] != MAGIC or _U32.pack(zlib.crc32(whole[:-4])) != whole[-4:]:
        raise fault
    flags, count = whole[4], whole[5]
    if len(whole) < 14 + 4 * count:
        raise fault
    lengths = [_U32.unpack_from(whole, 6 + 4 * n)[0] for n in range(count)]
    at = 6 + 4 * count
    (size,) = _U32.unpack_from(whole, at)
    at += 4
    try:
        content = zstandard.ZstdDecompressor().decompress(
            whole[at : at + size], max_output_size=PACK * MAX_BUNDLE_BYTES
        )
    except zstandard.ZstdError as error:
        raise fault from error
    values = whole[at + size : -4]
    # Taken out in order, put back in the opposite one: the same text is split as when it was joined, and the values
    # taken out last stand last.
    for bit, (marker, digits) in reversed(tuple(enumerate(_MOVED))):
        if flags >> bit & 1:
            content, values = _put_back(content, marker, digits, values)
    if values or len(content) != sum(lengths):
        raise fault
    bundles = []
    at = 0
    for length in lengths:
        bundles.append(content[at : at + length])
        at += length
    return bundles


def _take_out(content: bytes, marker: bytes, digits: int) -> tuple[bytes, bytes]:
    """`content` without the hex digits that follow each `marker`, and those as bytes; none if one is no such hex."""
    first, *pieces = content.split(marker)
    joined = b"".join([piece[:digits] for piece in pieces])
    if not pieces or len(joined) != digits * len(pieces):
        return content, b""
    text = joined.decode("ascii", "replace")
    try:
        moved = bytes.fromhex(text)
    except ValueError:
        return content, b""
    if moved.hex() != text:
        return content, b""
    return marker.join([first, *[piece[digits:] for piece in pieces]]), moved


def _put_back(content: bytes, marker: bytes, digits: int, values: bytes) -> tuple[bytes, bytes]:
    """`content` with the last of `values` as hex digits after each `marker`, and the values that are left."""
    first, *pieces = content.split(marker)
    left = max(0, len(values) - len(pieces) * digits // 2)
    text = values[left:].hex().encode()
    # Each piece is preceded by its marker and value: one join over both (`tests/bench/ledger_integration.py`).
    parts = [first] * (2 * len(pieces) + 1)
    parts[1::2] = [marker + text[at : at + digits] for at in range(0, digits * len(pieces), digits)]
    parts[2::2] = pieces
    return b"".join(parts), values[:left]
