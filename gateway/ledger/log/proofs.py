"""Inclusion and consistency proofs (RFC 6962 §2.1.1, §2.1.2), made from tiles and verified without them."""

import base64
from collections.abc import Callable, Sequence

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.log.decimals import parse_decimal
from gateway.ledger.log.notes import decode_base64
from gateway.ledger.log.tiles import HASH_BYTES, WIDTH
from gateway.ledger.log.tree import fold, leaf_hash, node_hash, perfect_root

PROOF_HEADER = "c2sp.org/tlog-proof@v1"
MAX_PATH = 63

TileReader = Callable[[int, int, int], bytes]
"""(level, index, width) -> the first `width` hashes of that tile."""


class TlogProof(msgspec.Struct, frozen=True):
    """A proof that an entry stands in a log (c2sp.org/tlog-proof).

    Args:
        index: the leaf.
        path: the inclusion path, from the leaf up.
        checkpoint: the signed note it leads to.
        extra: the entry itself, so that the proof needs no other file.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes

    def encode(self) -> str:
        """The proof as a file."""
        lines = [PROOF_HEADER]
        if self.extra:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(each).decode() for each in self.path]
        return "\n".join(lines) + "\n\n" + self.checkpoint.decode()


def parse_proof(content: bytes) -> TlogProof:
    """A proof from its file.

    Raises:
        GatewayError: `invalid-input` if it is none.
    """
    fault = GatewayError("invalid-input", "this is not a tlog-proof")
    head, split, checkpoint = content.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise fault from error
    if not split or lines.pop(0) != PROOF_HEADER or not lines:
        raise fault
    try:
        extra = b""
        if lines[0].startswith("extra "):
            extra = decode_base64(lines.pop(0)[6:])
        word, _, stated = lines.pop(0).partition(" ")
        index = parse_decimal(stated)
        path = tuple(decode_base64(line) for line in lines)
    except (ValueError, IndexError) as error:
        raise fault from error
    if word != "index" or len(path) > MAX_PATH or any(len(each) != HASH_BYTES for each in path):
        raise fault
    return TlogProof(index, path, checkpoint, extra)


class Hashes:
    """Subtree roots of a log of `size` leaves, from its tiles; tiles once read are kept for this object's life."""

    def __init__(self, size: int, tile: TileReader) -> None:
        self.size = size
        self._tile = tile
        self._kept: dict[tuple[int, int], bytes] = {}

    def perfect(self, level: int, index: int) -> bytes:
        """The root over leaves `index << level` to `(index + 1) << level`."""
        tile_level, inner = divmod(level, 8)
        at = index << inner
        n, first = divmod(at, WIDTH)
        hashes = self._kept.get((tile_level, n))
        if hashes is None:
            width = min(WIDTH, (self.size >> (8 * tile_level)) - n * WIDTH)
            hashes = self._kept[tile_level, n] = self._tile(tile_level, n, width)
        return perfect_root(hashes[first * HASH_BYTES : (first + (1 << inner)) * HASH_BYTES])

    def span(self, low: int, high: int) -> bytes:
        """The root over leaves `low` to `high`, as RFC 6962 splits a tree."""
        peaks = []
        while low < high:
            level = (high - low).bit_length() - 1
            peaks.append(self.perfect(level, low >> level))
            low += 1 << level
        return fold(peaks)

    def inclusion(self, index: int) -> tuple[bytes, ...]:
        """The path from leaf `index` to the root (RFC 6962 §2.1.1)."""
        if not 0 <= index < self.size:
            raise GatewayError("not-found", f"the log has no leaf {index}")
        path = []
        low, high = 0, self.size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self.span(middle, high))
                high = middle
            else:
                path.append(self.span(low, middle))
                low = middle
        return tuple(reversed(path))

    def consistency(self, old: int) -> tuple[bytes, ...]:
        """The proof that the log of `old` leaves is a beginning of this one (RFC 6962 §2.1.2)."""
        if not 0 <= old <= self.size:
            raise GatewayError("not-found", f"the log has never had {old} leaves")
        if old in {0, self.size}:
            return ()
        proof = []
        low, high, is_whole = 0, self.size, True
        while old != high:
            middle = low + _split(high - low)
            if old <= middle:
                proof.append(self.span(middle, high))
                high = middle
            else:
                proof.append(self.span(low, middle))
                low, is_whole = middle, False
        if not is_whole:
            proof.append(self.span(low, high))
        return tuple(reversed(proof))


def root_from_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """The root that `path` leads to from the leaf hash (RFC 9162 §2.1.3.2).

    Raises:
        GatewayError: `conflict` if the path has another length than a log of `size` leaves gives it.
    """
    fault = GatewayError("conflict", f"the path does not fit leaf {index} of {size}")
    if not 0 <= index < size:
        raise fault
    at, last, root = index, size - 1, leaf
    for each in path:
        if last == 0:
            raise fault
        if at & 1 or at == last:
            root = node_hash(each, root)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            root = node_hash(root, each)
        at >>= 1
        last >>= 1
    if last:
        raise fault
    return root


def verify_inclusion(index: int, size: int, root: bytes, entry: bytes, path: Sequence[bytes]) -> None:
    """Raise `conflict` unless `entry` is leaf `index` of the log with `root` at `size`."""
    if root_from_inclusion(index, size, leaf_hash(entry), path) != root:
        raise GatewayError("conflict", f"the entry is not leaf {index} of the log at {size} leaves")


def verify_consistency(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Raise `conflict` unless the log of `old` leaves is a beginning of the log of `size` (RFC 9162 §2.1.4.2)."""
    fault = GatewayError("conflict", f"the log at {size} leaves does not continue the log at {old}")
    if old > size or (old in {0, size} and proof):
        raise fault
    if old == size:
        if old_root != root:
            raise fault
        return
    if old == 0:
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise fault
    at, last = old - 1, size - 1
    while at & 1:
        at >>= 1
        last >>= 1
    first = second = path[0]
    for each in path[1:]:
        if last == 0:
            raise fault
        if at & 1 or at == last:
            first, second = node_hash(each, first), node_hash(each, second)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            second = node_hash(second, each)
        at >>= 1
        last >>= 1
    if last or first != old_root or second != root:
        raise fault


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)
