"""Tree, tiles, proofs and packs, against definitions written down a second time."""

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import GatewayError
from gateway.ledger.log import at_rest
from gateway.ledger.log.bundles import encode_bundle, parse_bundle
from gateway.ledger.log.proofs import Hashes, TlogProof, parse_proof, verify_consistency, verify_inclusion
from gateway.ledger.log.tiles import bundle_path, parse_tile_path, partial_width, tile_path
from gateway.ledger.log.tree import EMPTY_ROOT, Edge, leaf_hash
from tests.support.ledger import City


def root_by_definition(leaves):
    """RFC 6962 §2.1, as it is written."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = root_by_definition(leaves[:split]), root_by_definition(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


class Memory:
    """Tiles of a log, in memory."""

    def __init__(self, entries):
        self.leaves = [leaf_hash(entry) for entry in entries]
        self.levels = [self.leaves]
        while len(self.levels[-1]) >= 256:
            below = self.levels[-1]
            self.levels.append(
                [root_by_definition(below[at : at + 256]) for at in range(0, len(below) // 256 * 256, 256)]
            )

    def tile(self, level, n, width):
        return b"".join(self.levels[level][n * 256 : n * 256 + width])


ENTRIES = [n.to_bytes(4, "big") for n in range(1100)]
MEMORY = Memory(ENTRIES)
SIZES = [0, 1, 2, 3, 7, 8, 255, 256, 257, 511, 512, 513, 700, 1024, 1099, 1100]
ROOTS = {size: root_by_definition(MEMORY.leaves[:size]) for size in SIZES}


@given(st.lists(st.integers(0, 400), max_size=8))
def test_the_root_does_not_depend_on_how_leaves_came(steps):
    """Appending in any portions gives the root of the definition, and the tiles that became full."""
    edge, at, finished = Edge(), 0, []
    for step in steps:
        finished += edge.append(MEMORY.leaves[at : at + step])
        at = min(at + step, len(ENTRIES))
    assert edge.size == at
    assert edge.root() == root_by_definition(MEMORY.leaves[:at])
    assert [(level, n) for level, n, _ in finished] == [(0, n) for n in range(at // 256)]
    for level, n, hashes in finished:
        assert hashes == MEMORY.tile(level, n, 256)


def test_an_empty_log_has_the_hash_of_nothing():
    """RFC 6962 §2.1: the root of no leaves is the hash of the empty string."""
    assert Edge().root() == EMPTY_ROOT == hashlib.sha256().digest()


@pytest.mark.parametrize("size", SIZES[1:])
def test_inclusion_proofs_hold_for_their_leaf_alone(size):
    """Every proof leads to the root; for another entry, leaf, size or a changed path it does not."""
    hashes = Hashes(size, MEMORY.tile)
    for index in {0, size // 3, size // 2, size - 1}:
        path = hashes.inclusion(index)
        verify_inclusion(index, size, ROOTS[size], ENTRIES[index], path)
        with pytest.raises(GatewayError):
            verify_inclusion(index, size, ROOTS[size], b"another entry", path)
        with pytest.raises(GatewayError):
            verify_inclusion(index, size, ROOTS[size], ENTRIES[index], (*path, bytes(32)))
        if path:
            turned = (bytes([path[0][0] ^ 1]) + path[0][1:], *path[1:])
            with pytest.raises(GatewayError):
                verify_inclusion(index, size, ROOTS[size], ENTRIES[index], turned)


@pytest.mark.parametrize("size", SIZES)
def test_consistency_proofs_hold_for_their_sizes_alone(size):
    """A log continues each of its earlier states, and no state it never had."""
    hashes = Hashes(size, MEMORY.tile)
    for old in (each for each in SIZES if each <= size):
        proof = hashes.consistency(old)
        verify_consistency(old, ROOTS[old], size, ROOTS[size], proof)
        if old > 0:
            with pytest.raises(GatewayError):
                verify_consistency(old, bytes(32), size, ROOTS[size], proof)
        if 0 < old < size:
            with pytest.raises(GatewayError):
                verify_consistency(old, ROOTS[old], size, bytes(32), proof)
            with pytest.raises(GatewayError):
                verify_consistency(old, ROOTS[old], size, ROOTS[size], proof[:-1])


@pytest.mark.parametrize(
    ("n", "path"), [(0, "000"), (5, "005"), (1234067, "x001/x234/067"), (999, "999"), (1000, "x001/000")]
)
def test_tile_paths(n, path):
    """c2sp.org/tlog-tiles: groups of three digits, all but the last with an x."""
    assert tile_path(3, n) == f"tile/3/{path}"
    assert bundle_path(n, 17) == f"tile/entries/{path}.p/17"
    assert parse_tile_path(f"tile/3/{path}") == (3, n, 256)
    assert parse_tile_path(f"tile/entries/{path}.p/17") == (None, n, 17)


@pytest.mark.parametrize(
    "path",
    [
        "tile/64/000", "tile/0/0", "tile/0/x000/001", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/012",
        "tile/0/../checkpoint", "tile/00/000", "tile/entries/000\n", "tile/0/１２３", "checkpoint", "",
    ],
)  # fmt: skip
def test_paths_that_are_none_are_refused(path):
    """Only the one path of a tile is answered: nothing climbs out of the folder."""
    with pytest.raises(GatewayError, match="no such tile"):
        parse_tile_path(path)


def test_the_tiles_of_the_specification_s_example():
    """c2sp.org/tlog-tiles: a log of 70,000 has partial tiles of width 112, 17 and 1."""
    assert [partial_width(70_000, level) for level in range(3)] == [112, 17, 1]


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_bundles_come_back(entries):
    """A bundle gives back its entries; cut anywhere it does not pass for one."""
    content = encode_bundle(entries)
    assert parse_bundle(content) == entries


@given(st.lists(st.lists(st.binary(max_size=80), max_size=20), min_size=1, max_size=16), st.sampled_from([1, 9]))
def test_packs_come_back_byte_for_byte(bundles, level):
    """At rest is another form, never another content."""
    contents = [encode_bundle(bundle) for bundle in bundles]
    assert at_rest.decode(at_rest.encode(contents, level), "it") == contents


@given(
    st.lists(
        st.sampled_from([b'"salt":"', b'"digest":"', b"ab" * 16, b"AB" * 16, b"0" * 31, b'"', b"\xff"]), max_size=40
    )
)
def test_packs_come_back_whatever_stands_after_a_marker(pieces):
    """What looks like a value to take out, and is none, stays where it is."""
    content = encode_bundle([b"".join(pieces)])
    assert at_rest.decode(at_rest.encode([content], 1), "it") == [content]


def test_any_flipped_bit_of_a_pack_is_found():
    """A pack that is not what was written does not decode."""
    content = at_rest.encode([encode_bundle(list(City().entries(20)))], 9)
    chosen = random.Random(1)
    for at in chosen.sample(range(len(content)), 300):
        broken = bytearray(content)
        broken[at] ^= 1 << chosen.randrange(8)
        with pytest.raises(GatewayError, match="damaged"):
            at_rest.decode(bytes(broken), "the pack")


def test_a_proof_comes_back_from_its_file():
    """c2sp.org/tlog-proof: header, extra, index, path, empty line, checkpoint."""
    proof = TlogProof(5, (bytes(32), bytes([1]) * 32), b"origin\n6\nroot\n\n", b"entry")
    text = proof.encode()
    assert text.startswith("c2sp.org/tlog-proof@v1\nextra ZW50cnk=\nindex 5\n")
    assert parse_proof(text.encode()) == proof
    for broken in (text.replace("@v1", "@v2"), text.replace("index 5", "index 05"), text[:30], "\n\n"):
        with pytest.raises(GatewayError):
            parse_proof(broken.encode())
