"""What stays of the part of the log that retention went through: which leaves, and their entries.

`tree/kept` names the leaves below an end whose time has not come, one file for all of them:

    4    magic `SGK1`
    32   SHA-256 of the rest, unpacked: what the `prune` records in the log state
    8    the end, uint64 big-endian: below it nothing stands but for these leaves
    .    zstd: the leaves in order, each uint64 big-endian

`tree/kept.next` is the one that a prune under way brings. The entries lie in `tile/entries/<N>.kept`: bundles N to
N+15 as `at_rest` packs them, N a multiple of 16, in which an entry that went has no length, and a bundle of which
nothing stays has none either. Such a file is never served as a bundle: it is none.
"""

import hashlib
import sys
from array import array
from bisect import bisect_left
from itertools import pairwise
from pathlib import Path
from struct import Struct
from typing import NamedTuple

import zstandard

from gateway.domain.errors import GatewayError

KEPT = "kept"
KEPT_NEXT = "kept.next"
_MAGIC = b"SGK1"
_END = Struct(">Q")
_HEAD_BYTES = len(_MAGIC) + hashlib.sha256().digest_size
_LEVEL = 3


class Kept(NamedTuple):
    """The leaves below `end` that stay, in order; nothing else stands there.

    Args:
        end: a minimum index.
        leaves: numbers of leaves, 64 bits each.
    """

    end: int
    leaves: "array[int]"

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of end and leaves."""
        return hashlib.sha256(_END.pack(self.end) + _big_endian(self.leaves)).hexdigest()

    def within(self, first: int, end: int) -> "array[int]":
        """Those from leaf `first` to `end` (not included)."""
        return self.leaves[bisect_left(self.leaves, first) : bisect_left(self.leaves, end)]

    def holds(self, leaf: int) -> bool:
        """Whether a leaf is one of them."""
        at = bisect_left(self.leaves, leaf)
        return at < len(self.leaves) and self.leaves[at] == leaf

    def encode(self) -> bytes:
        """The file's content."""
        leaves = zstandard.ZstdCompressor(level=_LEVEL).compress(_big_endian(self.leaves))
        return b"".join((_MAGIC, bytes.fromhex(self.digest), _END.pack(self.end), leaves))


def read_kept(root: Path, name: str = KEPT) -> Kept | None:
    """What stays of a log that was pruned; None where no prune has said so (none was, or only by older releases).

    Raises:
        GatewayError: `conflict` if the file is damaged.
    """
    try:
        content = (root / name).read_bytes()
    except FileNotFoundError:
        return None
    kept = None
    if content.startswith(_MAGIC) and len(content) > _HEAD_BYTES + _END.size:
        (end,) = _END.unpack_from(content, _HEAD_BYTES)
        kept = _parse_leaves(end, content[_HEAD_BYTES + _END.size :])
    if kept is None or kept.digest != content[len(_MAGIC) : _HEAD_BYTES].hex():
        raise GatewayError("conflict", f"`{root / name}` is damaged")
    return kept


def kept_digest(root: Path) -> str:
    """The digest that `kept` bears; "" where there is none. It changes with every prune."""
    try:
        with (root / KEPT).open("rb") as file:
            return file.read(_HEAD_BYTES)[len(_MAGIC) :].hex()
    except FileNotFoundError:
        return ""


def _parse_leaves(end: int, frame: bytes) -> Kept | None:
    try:
        content = zstandard.ZstdDecompressor().decompress(frame, max_output_size=8 * end + 1)
        leaves = array("Q", content)
    except (zstandard.ZstdError, ValueError, MemoryError):
        return None
    if sys.byteorder == "little":
        leaves.byteswap()
    if any(later <= leaf for leaf, later in pairwise(leaves)) or (leaves and leaves[-1] >= end):
        return None
    return Kept(end, leaves)


def _big_endian(leaves: "array[int]") -> bytes:
    if sys.byteorder == "little":
        leaves = leaves[:]
        leaves.byteswap()
    return leaves.tobytes()
