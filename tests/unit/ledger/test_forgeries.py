"""Consistent forgeries: each step of the verifier is the only one that sees at least one of them.

A forger who can write the whole folder makes everything fit but for what he cannot: he rewrites entry, bundle and tiles
together, uses the keys that he has, and drops, doubles, reorders and swaps between logs. Every row of the table is
found; and with its step left out, what he made is taken for the log. So no step can go, and none stands for another.
"""

import functools
import json
from array import array
from contextlib import suppress

import pytest

from gateway.cli.records import _check_proof as check_proof
from gateway.domain.errors import GatewayError
from gateway.domain.uses import RecordKind
from gateway.ledger.index import exports
from gateway.ledger.index.queries import RecordQuery
from gateway.ledger.journal.entries import act_entry
from gateway.ledger.log import at_rest
from gateway.ledger.log.bundles import encode_bundle
from gateway.ledger.log.checkpoints import Checkpoint, parse_checkpoint
from gateway.ledger.log.export_names import MANIFEST_HEADER, manifest_path
from gateway.ledger.log.files import LogFiles
from gateway.ledger.log.kept import KEPT, Kept
from gateway.ledger.log.minimum import MINIMUM_INDEX
from gateway.ledger.log.notes import ED25519, VerifierKey, parse_note, sign_note
from gateway.ledger.log.proofs import Hashes, TlogProof
from gateway.ledger.log.reading import COSIGNED
from gateway.ledger.log.tiles import WIDTH, bundle_path, tile_path
from gateway.ledger.log.tree import Edge, leaf_hash
from gateway.ledger.verify import log as verifier
from gateway.ledger.verify import record as record_verifier
from gateway.ledger.verify.record import VerificationFailed, verify_export, verify_log, verify_record
from tests.support.ledger import NOON_NS, ORIGIN, TestSigner

OURS, ANOTHER = TestSigner(), TestSigner(b"\x07" * 32)
KEY = VerifierKey(ORIGIN, ED25519, OURS.public_bytes).text()
PRUNED = 2 * WIDTH


def entry(number, **said):
    kind = said.pop("kind", RecordKind.EFFECT)
    return act_entry(kind, f"r-{number}", {"grant": "G-1", **said}, f"{number:032x}", NOON_NS + number, years=3)


def prune(number, **said):
    return entry(number, kind=RecordKind.PRUNE, first=0, end=PRUNED, **said)


@functools.cache
def entries_of(size):
    return [entry(number) for number in range(size)]


def tiles_of(leaves):
    """Every tile of a log of these leaf hashes: (level, number) -> its hashes."""
    tiles = {}
    edge = Edge(0, [])
    for level, n, hashes in edge.append(leaves):
        tiles[level, n] = hashes
    size = len(leaves)
    for level, partial in enumerate(edge.partial):
        if partial:
            tiles[level, size >> (8 * (level + 1))] = partial
    return tiles, edge.root()


def write(root, entries, *, signer=OURS, origin=ORIGIN, leaves=None, signed_root=None):
    """A whole log as its writer would leave it, of these entries; `leaves` and `signed_root` where they are others."""
    files = LogFiles(root)
    tiles, made = tiles_of(leaves or [leaf_hash(each) for each in entries])
    for (level, n), hashes in tiles.items():
        files.put_tile(level, n, hashes)
    files.put_bundles(0, [entries[at : at + WIDTH] for at in range(0, len(entries), WIDTH)])
    files.sync()
    files.publish(checkpoint_of(len(entries), signed_root or made, signer=signer, origin=origin))
    files.close()
    return made


def checkpoint_of(size, root, *, signer=OURS, origin=ORIGIN):
    return sign_note(Checkpoint(origin, size, root).text(), origin, signer).encode().encode()


def put_tile(root, level, n, hashes):
    width = len(hashes) // 32
    path = root / tile_path(level, n, width)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(hashes)


def put_bundle(root, n, entries):
    for path in root.glob(f"{bundle_path(n)}*"):
        with suppress(IsADirectoryError):
            path.unlink()
    files = LogFiles(root)
    files._put_loose(n, entries)
    files.sync()
    files.close()


def drop_bundle(root, n):
    (root / f"{bundle_path(n)}.sgb").unlink()


# Each makes a log that holds in all but one thing; `without` says how the step that sees it is left out.


def rewritten_with_the_forgers_key(root):
    """The whole log written anew, without the record that he minds, and signed by the key that he has."""
    write(root, [each for number, each in enumerate(entries_of(600)) if number != 7], signer=ANOTHER)


def swapped_for_another_log(root):
    """A sound log of another origin, whose own key signed it."""
    write(root, entries_of(600), origin="other.example/log")


def rewritten_entry(root):
    """An entry in its bundle; all hashes are left as they were."""
    write(root, entries_of(600))
    put_bundle(root, 0, [entry(0, grant="G-2"), *entries_of(600)[1:WIDTH]])


def doubled_entry(root):
    """An entry in the place of another."""
    write(root, entries_of(600))
    put_bundle(root, 0, [entries_of(600)[1], *entries_of(600)[1:WIDTH]])


def reordered_entries(root):
    write(root, entries_of(600))
    put_bundle(root, 0, entries_of(600)[:WIDTH][::-1])


def rewritten_entry_with_its_tile(root):
    """Entry and leaf tile fit each other; the tile above is left."""
    write(root, entries_of(600))
    forged = [entry(0, grant="G-2"), *entries_of(600)[1:WIDTH]]
    put_bundle(root, 0, forged)
    put_tile(root, 0, 0, b"".join(map(leaf_hash, forged)))


def rewritten_entry_with_all_tiles(root):
    """Entry and every tile fit each other; the signature is of the root that was."""
    forged = [entry(0, grant="G-2"), *entries_of(600)[1:]]
    _, signed = tiles_of([leaf_hash(each) for each in entries_of(600)])
    write(root, forged, signed_root=signed)


def cut_short(root):
    """The last entry is left out of bundle and tiles; the signature is of a root with it under the smaller size."""
    _, signed = tiles_of([leaf_hash(each) for each in entries_of(600)])
    write(root, entries_of(599), signed_root=signed)


def rewritten_older_partial_tile(root):
    """What a checkpoint of before was proven by: the partial tile that it needs is another."""
    write(root, entries_of(600))
    put_tile(root, 0, 2, b"".join(leaf_hash(entry(number, grant="G-2")) for number in range(50)))


def rewritten_older_partial_bundle(root):
    write(root, entries_of(600))
    put_bundle(root, 2, [entry(512, grant="G-2"), *entries_of(600)[513:560]])


def cosigned_of_another_tree(root):
    """The key signed two trees, and a witness saw the other."""
    write(root, entries_of(600))
    _, other = tiles_of([leaf_hash(entry(number, grant="G-2")) for number in range(300)])
    (root / COSIGNED).write_bytes(checkpoint_of(300, other))


def cosigned_ahead(root):
    """The log was set back behind what a witness saw."""
    _, later = tiles_of([leaf_hash(each) for each in entries_of(700)])
    write(root, entries_of(600))
    (root / COSIGNED).write_bytes(checkpoint_of(700, later))


def set_back_behind_what_a_witness_saw(root):
    """An older checkpoint is put back; the tiles of the later one, which a witness cosigned, still stand."""
    later = write(root, entries_of(700))
    _, earlier = tiles_of([leaf_hash(each) for each in entries_of(600)])
    (root / COSIGNED).write_bytes(checkpoint_of(700, later))
    (root / "checkpoint").write_bytes(checkpoint_of(600, earlier))


def dropped_bundle(root):
    write(root, entries_of(600))
    drop_bundle(root, 1)


def dropped_more_than_was_pruned(root):
    """A prune is on record, and a bundle behind its end went with the others."""
    write(root, [*entries_of(800), prune(800)])
    for n in range(3):
        drop_bundle(root, n)
    (root / MINIMUM_INDEX).write_text(f"{PRUNED}\n")


def dropped_after_a_prune_that_failed(root):
    """The intent is on record, and that nothing came of it."""
    failed = prune(801, step="failed", intent="r-800")
    write(root, [*entries_of(800), prune(800, step="begun"), failed])
    for n in range(2):
        drop_bundle(root, n)
    (root / MINIMUM_INDEX).write_text(f"{PRUNED}\n")


def minimum_index_that_no_prune_made(root):
    write(root, entries_of(600))
    (root / MINIMUM_INDEX).write_text(f"{PRUNED}\n")


def keeping(root, *, stays=(1, 300), put=(1, 300), said=None):
    """A log of which a prune kept the leaves `stays` below `PRUNED`; `put` stand, and `kept` says `said`."""
    entries, kept = entries_of(800), Kept(PRUNED, array("Q", stays))
    write(root, [*entries, prune(800, kept=kept.digest)])
    files = LogFiles(root)
    files.drop_bundles(0, Kept(PRUNED, array("Q", put)))
    files.close()
    (root / KEPT).write_bytes((kept if said is None else Kept(PRUNED, array("Q", said))).encode())
    (root / MINIMUM_INDEX).write_text(f"{PRUNED}\n")


def dropped_what_was_kept(root):
    """An entry that stays by the prune on record went with the others."""
    keeping(root, put=(1,))


def dropped_from_what_is_said_to_stay(root):
    """The same, and the list of what stays is made to fit."""
    keeping(root, put=(1,), said=(1,))


def dropped_the_list_of_what_stays(root):
    keeping(root, put=(1,))
    (root / KEPT).unlink()


def rewritten_entry_that_was_kept(root):
    keeping(root)
    (path,) = root.rglob("*.kept")
    forged = [b""] * WIDTH
    forged[1] = entry(1, grant="G-2")
    packed = at_rest.decode(path.read_bytes(), "")
    path.write_bytes(at_rest.encode([encode_bundle(forged), *packed[1:]], at_rest.PACK_LEVEL))


def unsigned(content, key):
    """As `verify_checkpoint`, whoever signed it."""
    return parse_checkpoint(parse_note(content).text), parse_note(content)


def nothing(*_args):
    return None


def of_the_same_tree(files, _checkpoint, older):
    """As `_verify_older`, however far the cosigned one reaches."""
    if Hashes(older.size, files.tile).span(0, older.size) != older.root:
        raise GatewayError("conflict", "it is of another tree")


TABLE = [
    ("signature", rewritten_with_the_forgers_key, "verify_checkpoint", unsigned),
    ("signature", swapped_for_another_log, "verify_checkpoint", unsigned),
    ("entries", rewritten_entry, "verify_entries", nothing),
    ("entries", doubled_entry, "verify_entries", nothing),
    ("entries", reordered_entries, "verify_entries", nothing),
    ("tile above", rewritten_entry_with_its_tile, "_verify_tile", nothing),
    ("root", rewritten_entry_with_all_tiles, "_verify_root", nothing),
    ("root", cut_short, "_verify_root", nothing),
    ("partial tiles", rewritten_older_partial_tile, "_verify_partial_tiles", nothing),
    ("partial bundles", rewritten_older_partial_bundle, "_verify_partial_bundles", nothing),
    ("cosigned", cosigned_of_another_tree, "_verify_older", nothing),
    ("cosigned", cosigned_ahead, "_verify_older", nothing),
    ("cosigned", set_back_behind_what_a_witness_saw, "_verify_older", of_the_same_tree),
    ("pruned", dropped_bundle, "_pruned", lambda *_: 0),
    ("pruned", dropped_more_than_was_pruned, "_pruned", lambda *_: 0),
    ("pruned", dropped_after_a_prune_that_failed, "_pruned", lambda *_: 0),
    ("pruned", minimum_index_that_no_prune_made, "_pruned", lambda *_: 0),
    ("kept", dropped_what_was_kept, "_require_staying", nothing),
    ("kept", dropped_from_what_is_said_to_stay, "_require_kept_on_record", nothing),
    ("kept", dropped_the_list_of_what_stays, "_require_kept_on_record", nothing),
    ("kept", rewritten_entry_that_was_kept, "verify_entries", nothing),
]


@pytest.mark.parametrize(
    ("step", "forge", "name", "without"), TABLE, ids=[f"{row[0]}: {row[1].__name__}" for row in TABLE]
)
def test_each_step_is_the_only_one_that_sees_a_forgery(tmp_path, monkeypatch, step, forge, name, without):
    """With every step it is found; with this one left out it passes for the log."""
    forge(tmp_path)
    with pytest.raises(VerificationFailed):
        verify_log(tmp_path, KEY)
    monkeypatch.setattr(verifier, name, without)
    assert verify_log(tmp_path, KEY).size


@pytest.mark.parametrize("forge", [cosigned_ahead, set_back_behind_what_a_witness_saw])
def test_a_log_that_is_behind_its_witness_is_told_so(tmp_path, forge):
    """Not as another tree: what is left may well be the beginning of it."""
    forge(tmp_path)
    with pytest.raises(VerificationFailed, match="ahead of the checkpoint of 600 leaves"):
        verify_log(tmp_path, KEY)


def test_what_is_not_forged_holds(tmp_path):
    """The table's own log, whole and pruned, passes: what is found above is the forgery."""
    write(tmp_path / "whole", entries_of(600))
    assert verify_log(tmp_path / "whole", KEY).entries == 600
    for size in (300, 600):
        _, root_then = tiles_of([leaf_hash(each) for each in entries_of(size)])
        (tmp_path / "whole" / COSIGNED).write_bytes(checkpoint_of(size, root_then))
        assert f"of {size} leaves is of the same tree" in " ".join(verify_log(tmp_path / "whole", KEY).checked)
    for said in ({}, {"step": "begun"}, {"step": "done", "intent": "r-799"}):
        root = tmp_path / f"pruned {said}"
        write(root, [*entries_of(800), prune(800, **said)])
        for n in range(2):
            drop_bundle(root, n)
        (root / MINIMUM_INDEX).write_text(f"{PRUNED}\n")
        assert verify_log(root, KEY).entries == 801 - PRUNED
    keeping(tmp_path / "kept")
    assert verify_log(tmp_path / "kept", KEY).entries == 801 - PRUNED + 2


@pytest.mark.deep
def test_a_tile_of_the_middle_is_seen_by_the_one_above(tmp_path, monkeypatch):
    """In a log of more than 65,536 leaves a whole tile of hashes is rewritten with all that is below it."""
    forged = [entry(0, grant="G-2"), *entries_of(WIDTH * WIDTH + 300)[1:]]
    write(tmp_path, entries_of(WIDTH * WIDTH + 300))
    tiles, _ = tiles_of([leaf_hash(each) for each in forged])
    put_tile(tmp_path, 1, 0, tiles[1, 0])
    monkeypatch.setattr(verifier, "verify_entries", nothing)
    put_tile(tmp_path, 0, 0, tiles[0, 0])
    with pytest.raises(VerificationFailed, match="tile 0 at level 1"):
        verify_log(tmp_path, KEY, processes=1)


def proof_of(entries, index, *, signer=OURS, said=None):
    tiles, root = tiles_of([leaf_hash(each) for each in entries])
    hashes = Hashes(len(entries), lambda level, n, width=WIDTH: tiles[level, n][: width * 32])
    checkpoint = checkpoint_of(len(entries), root, signer=signer)
    return TlogProof(index, hashes.inclusion(index), checkpoint, said or entries[index]).encode().encode()


PROOFS = [
    ("signature", lambda: proof_of(entries_of(300), 5, signer=ANOTHER), "verify_checkpoint", unsigned),
    ("inclusion", lambda: proof_of(entries_of(300), 5, said=entry(5, grant="G-2")), "verify_inclusion", nothing),
]


@pytest.mark.parametrize(("step", "forge", "name", "without"), PROOFS, ids=[row[0] for row in PROOFS])
def test_each_step_of_a_proof_is_the_only_one_that_sees_a_forgery(monkeypatch, step, forge, name, without):
    """A proof of a tree of the forger's own, and another entry under a path that is sound."""
    with pytest.raises(VerificationFailed):
        verify_record(forge(), KEY)
    monkeypatch.setattr(record_verifier, name, without)
    assert verify_record(forge(), KEY).entries == 1


def test_a_proof_that_does_not_hold_is_not_written(tmp_path):
    """`gateway records prove` looks at what was answered before it leaves a file that fails at the auditor's."""
    sound, file = proof_of(entries_of(300), 5), tmp_path / "a.tlog-proof"
    file.write_bytes(sound)
    check_proof(file, "r-5")
    for content, record in (
        (sound, "r-6"),
        (proof_of(entries_of(300), 5, said=entry(5, grant="G-2")), "r-5"),
        (sound[:-60], "r-5"),
        (b"<html>", "r-5"),
        (b"", "r-5"),
    ):
        file.write_bytes(content)
        with pytest.raises(GatewayError, match="is not kept"):
            check_proof(file, record)
        assert not file.exists()


def test_a_sound_proof_of_another_record_is_not_the_one_asked_for():
    with pytest.raises(VerificationFailed, match="of record `r-5`"):
        verify_record(proof_of(entries_of(300), 5), KEY, record="r-6")


def test_each_step_of_an_export_is_the_only_one_that_sees_a_forgery(tmp_path):
    """File and manifest rewritten together by another key; the file alone; a row dropped; another log's; other text."""
    path = tmp_path / "x.ndjson"
    lines = b"".join(b'{"entries":[],"leaf":%d}\n' % number for number in range(3))

    def put(content, *, signer=OURS, origin=ORIGIN, name=ORIGIN, header=MANIFEST_HEADER, **said):
        path.write_bytes(content)
        manifest = exports.Manifest(
            "ndjson", RecordQuery(), said.get("records", 3), len(content), said.get("sha256", exports._digest(path)[0]),
            origin, 600, 1,
        )  # fmt: skip
        text = manifest.text()
        assert text.startswith(MANIFEST_HEADER)
        note = sign_note(text.replace(MANIFEST_HEADER, header, 1), name, signer)
        manifest_path(path).write_bytes(note.encode().encode())

    put(lines)
    was = json.loads(manifest_path(path).read_text().splitlines()[1])["sha256"]
    verify_export(path, KEY)
    for forged in (
        lambda: put(lines[:-10], signer=ANOTHER),
        lambda: put(lines.replace(b"0", b"9"), sha256=was),
        lambda: put(lines, records=4),
        lambda: put(lines, origin="other.example/log"),
        # Signed by the log's own key, for something else.
        lambda: put(lines, header="sharing-gateway/export/v2"),
    ):
        forged()
        with pytest.raises(VerificationFailed):
            verify_export(path, KEY)
    manifest_path(path).unlink()
    with pytest.raises(GatewayError, match="is missing") as failure:
        verify_export(path, KEY)
    assert failure.value.code == "not-found"
