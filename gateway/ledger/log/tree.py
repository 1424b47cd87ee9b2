"""The Merkle tree of RFC 6962, held as its right edge: what an appending log needs and nothing more."""

import hashlib
from collections.abc import Iterable, Sequence

from gateway.ledger.log.tiles import HASH_BYTES, WIDTH, partial_width

EMPTY_ROOT = hashlib.sha256(b"").digest()

_sha256 = hashlib.sha256


def leaf_hash(entry: bytes) -> bytes:
    """`H(0x00 ‖ entry)` (RFC 6962 §2.1)."""
    return _sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """`H(0x01 ‖ left ‖ right)` (RFC 6962 §2.1)."""
    return _sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: bytes) -> bytes:
    """The root over a power of two of hashes that stand one after the other."""
    while len(hashes) > HASH_BYTES:
        hashes = b"".join([_sha256(b"\x01" + hashes[at : at + 64]).digest() for at in range(0, len(hashes), 64)])
    return hashes


def fold(peaks: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees, largest first: the right ones are joined before the left ones."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


class Edge:
    """The unfinished tiles of a growing log, level by level: enough to append and to state the root.

    Args:
        size: leaves so far.
        partial: for each level from 0 the hashes of its unfinished tile, one after the other.
    """

    def __init__(self, size: int = 0, partial: Iterable[bytes] = ()) -> None:
        self.size = size
        self.partial = [bytearray(hashes) for hashes in partial]
        for level, hashes in enumerate(self.partial):
            if len(hashes) != partial_width(size, level) * HASH_BYTES:
                raise ValueError(f"level {level} of a log of {size} leaves has another width")

    def copy(self) -> "Edge":
        """An edge of its own with the same content."""
        return Edge(self.size, [bytes(hashes) for hashes in self.partial])

    def append(self, leaves: Sequence[bytes]) -> list[tuple[int, int, bytes]]:
        """Append leaf hashes; returns the tiles that became full, as (level, index, hashes)."""
        finished: list[tuple[int, int, bytes]] = []
        at = 0
        while at < len(leaves):
            room = WIDTH - partial_width(self.size, 0)
            some = leaves[at : at + room]
            self._grow(0, b"".join(some))
            self.size += len(some)
            at += len(some)
            if len(some) == room:
                self._finish(finished)
        return finished

    def _grow(self, level: int, hashes: bytes) -> None:
        while len(self.partial) <= level:
            self.partial.append(bytearray())
        self.partial[level] += hashes

    def _finish(self, finished: list[tuple[int, int, bytes]]) -> None:
        level = 0
        while len(self.partial[level]) == WIDTH * HASH_BYTES:
            hashes = bytes(self.partial[level])
            finished.append((level, (self.size >> (8 * (level + 1))) - 1, hashes))
            self.partial[level].clear()
            self._grow(level + 1, perfect_root(hashes))
            level += 1

    def root(self) -> bytes:
        """The root over all leaves."""
        peaks = []
        for hashes in reversed(self.partial):
            width, at = len(hashes) // HASH_BYTES, 0
            bit = WIDTH // 2
            while bit:
                if width & bit:
                    peaks.append(perfect_root(bytes(hashes[at * HASH_BYTES : (at + bit) * HASH_BYTES])))
                    at += bit
                bit //= 2
        return fold(peaks)
