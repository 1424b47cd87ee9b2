"""Other people's programs read the log as tlog-tiles serves it, and find it right."""

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from pymerkle import InmemoryTree, verify_consistency, verify_inclusion

from gateway.domain.errors import GatewayError
from gateway.ledger.log.checkpoints import cosign, parse_checkpoint
from gateway.ledger.log.notes import COSIGNATURE, Note, VerifierKey, parse_note
from gateway.ledger.log.tiled_log import TiledLog
from gateway.ledger.log.tiles import WIDTH, bundle_path, full_tiles, partial_width, tile_path
from gateway.ledger.verify.log import verify_log
from tests.support.ledger import ORIGIN, City, TestSigner


def serve_plainly(log, target):
    """The log below `target` as HTTP serves it: checkpoint, hash tiles, bundles."""
    size = log.size

    def put(path, content):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(content)

    put("checkpoint", log.files.checkpoint())
    level = 0
    while size >> (8 * level):
        widths = [(n, WIDTH) for n in range(full_tiles(size, level))]
        if partial_width(size, level):
            widths.append((full_tiles(size, level), partial_width(size, level)))
        for n, width in widths:
            put(tile_path(level, n, width), log.files.tile(level, n, width))
            if level == 0:
                put(bundle_path(n, width), log.files.bundle_bytes(n, width))
        level += 1


@pytest.fixture
def log(tmp_path):
    made = TiledLog(tmp_path / "ledger", ORIGIN, TestSigner())
    yield made
    made.close()


def run_go(name, folder, *arguments):
    """Build the Go program `name` beside this file and run it."""
    if shutil.which("go") is None:
        pytest.skip(f"Go is not there: {name} was not asked")
    source = Path(__file__).with_name(name)
    if subprocess.run(["go", "mod", "download"], cwd=source, capture_output=True, check=False).returncode:
        pytest.skip(f"the Go modules of {name} cannot be fetched from here")
    subprocess.run(["go", "build", "-o", str(folder / name), "."], cwd=source, check=True)
    return subprocess.run(
        [str(folder / name), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )


def test_go_s_sumdb_tlog_and_note_confirm_the_log(tmp_path, log):
    """golang.org/x/mod: the note opens, every leaf is included, and the log continues its older self."""
    entries = list(City().entries(2700))
    log.commit(entries[:1000], {})
    older = parse_checkpoint(parse_note(log.note).text)
    log.commit(entries[1000:], {})
    serve_plainly(log, tmp_path / "served")
    said = run_go(
        "gocheck",
        tmp_path,
        tmp_path / "served",
        log.key.text(),
        older.size,
        base64.b64encode(older.root).decode(),
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip() == str(len(entries))


@pytest.mark.parametrize("origin", [ORIGIN, "go.example/another-program"])
def test_log_in_plain_tiles_verifies_and_a_turned_bit_is_named(tmp_path, origin):
    """What `/log/` serves, mirrored file by file, and a log of another program: verified from the first leaf."""
    made = TiledLog(tmp_path / "ledger", origin, TestSigner())
    ours = list(City().entries(400))[:700]
    made.commit(ours if origin == ORIGIN else [b"any bytes \x00\xff %d" % n for n in range(700)], {})
    serve_plainly(made, tmp_path / "served")
    made.close()
    checked = verify_log(tmp_path / "served", made.key.text())
    assert (checked.size, checked.entries) == (700, 700)
    for path in sorted(path for path in (tmp_path / "served").rglob("*") if path.is_file()):
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(GatewayError):
            verify_log(tmp_path / "served", made.key.text())
        path.unlink()
        with pytest.raises(GatewayError):
            verify_log(tmp_path / "served", made.key.text())
        path.write_bytes(content)


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "damaged", [None, "checkpoint", "tile/0/003", "tile/1/000.p/10", "tile/entries/002", "cosigned"]
)
def test_tessera_s_fsck_and_formats_confirm_the_log_and_a_cosignature(tmp_path, log, damaged):
    """transparency.dev: every tile derives from the bundles, the cosignature holds; one changed bit and they refuse."""
    log.commit(list(City().entries(1400))[:2700], {})
    serve_plainly(log, tmp_path / "served")
    witness = TestSigner(bytes([5]) * 32)
    note = parse_note(log.note)
    name = "witness.example/w1"
    signature = cosign(note.text, name, witness, 1_800_000_000)
    cosigned = Note(note.text, (*note.signatures, signature))
    (tmp_path / "served" / "cosigned").write_text(cosigned.encode(), encoding="utf-8")
    if damaged is not None:
        content = bytearray((tmp_path / "served" / damaged).read_bytes())
        # Of a note, a letter of the last signature; of a tile or bundle, any byte.
        content[-20 if damaged in {"checkpoint", "cosigned"} else len(content) // 2] ^= 1
        (tmp_path / "served" / damaged).write_bytes(content)
    witness_key = VerifierKey(name, COSIGNATURE, witness.public_bytes)
    said = run_go("fsck", tmp_path, tmp_path / "served", log.key.text(), witness_key.text())
    if damaged is None:
        assert said.returncode == 0, said.stderr
        assert said.stdout.split() == ["2700", "1800000000"]
    else:
        assert said.returncode == 1


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700])
def test_pymerkle_confirms_roots_and_proofs(log, size):
    """A tree written by others from RFC 9162 gives the same roots, and its proofs hold against ours."""
    entries = list(City().entries(400))[:size]
    theirs = InmemoryTree(algorithm="sha256")
    for entry in entries:
        theirs.append_entry(entry)
    ours = log.commit(entries, {})
    assert theirs.get_root() == ours.root
    for index in {0, size // 2, size - 1}:
        verify_inclusion(theirs.get_leaf(index + 1), ours.root, theirs.prove_inclusion(index + 1))
    for old in {1, size // 2 or 1, size}:
        verify_consistency(theirs.get_root(old), ours.root, theirs.prove_consistency(old, size))
