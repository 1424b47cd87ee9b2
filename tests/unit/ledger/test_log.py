"""The log: what is signed, what is on disk, and that it never forks."""

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing, contextmanager
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.errors import GatewayError
from gateway.ledger.index.exports import FORMATS, export_records
from gateway.ledger.index.queries import RecordQuery
from gateway.ledger.log.checkpoints import verify_checkpoint
from gateway.ledger.log.export_names import manifest_path
from gateway.ledger.log.files import LogFiles
from gateway.ledger.log.signed import Signed
from gateway.ledger.log.signing import SignedState
from gateway.ledger.log.tiled_log import TiledLog
from gateway.ledger.log.tree import EMPTY_ROOT, leaf_hash
from gateway.ledger.process.answers import Answers
from gateway.ledger.verify import log as verifying
from gateway.ledger.verify.record import VerificationFailed, verify_export, verify_log, verify_record
from tests.support.ledger import ORIGIN, City, TestSigner, ledger_with, open_ledger, record_uses
from tests.unit.ledger.test_tree import root_by_definition

SIGNER = TestSigner()


def open_log(directory):
    return TiledLog(directory, ORIGIN, SIGNER)


def entries(count, size=40):
    return [f"{n:0{size}d}".encode() for n in range(count)]


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([1, 2, 100, 255, 256, 257, 1000, 4096]), min_size=1, max_size=5))
def test_every_commit_is_whole_on_disk(tmp_path_factory, portions):
    """After each commit the checkpoint verifies, the root is that of the definition, and every entry is served."""
    directory = tmp_path_factory.mktemp("log")
    log = open_log(directory)
    everything = entries(sum(portions))
    at = 0
    for portion in portions:
        checkpoint = log.commit(everything[at : at + portion], {"w": at + portion})
        at += portion
        assert checkpoint.size == at
    assert checkpoint.root == root_by_definition([leaf_hash(each) for each in everything])
    assert verify_checkpoint(log.files.checkpoint(), log.key)[0] == checkpoint
    for n in range((at + 255) // 256):
        width = min(256, at - n * 256)
        assert log.files.bundle(n, width) == everything[n * 256 : n * 256 + width]
    log.close()
    assert verify_log(directory / "tree", log.key.text()).entries == at
    again = open_log(directory)
    assert (again.size, dict(again.cursors)) == (at, {"w": at})
    again.close()


def test_a_commit_cut_off_after_signing_is_finished_at_the_next_start(tmp_path):
    """Whatever of the last commit's files is missing is put in place again, byte for byte."""
    log = open_log(tmp_path / "one")
    log.commit(entries(4000), {"w": 4000})
    log.close()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    log = open_log(tmp_path / "one")
    log.commit(entries(700, 50), {"w": 4700})
    log.close()
    shutil.copy(tmp_path / "one" / "signer.db", tmp_path / "two" / "signer.db")
    log = open_log(tmp_path / "two")
    assert log.size == 4700
    log.close()
    for path in (tmp_path / "one" / "tree").rglob("*"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert other.exists()
        assert path.is_dir() or path.read_bytes() == other.read_bytes()


def test_never_forked_by_a_second_writer(tmp_path):
    """INVARIANT: NEVER-FORKED: the commit compares what was signed last; who is behind does not sign."""
    first = SignedState(tmp_path / "signer.db", ORIGIN)
    second = SignedState(tmp_path / "signer.db", ORIGIN)
    first.advance(Signed(ORIGIN, 5, bytes([1]) * 32, b"n", {}, 0, b""))
    with pytest.raises(GatewayError, match="another process has signed"):
        second.advance(Signed(ORIGIN, 6, bytes([2]) * 32, b"n", {}, 0, b""))
    first.close()
    second.close()


@pytest.mark.parametrize(("size", "root"), [(4, bytes(32)), (5, bytes([9]) * 32)])
def test_never_forked_by_the_database_itself(tmp_path, size, root):
    """INVARIANT: NEVER-FORKED: neither a smaller size nor another root for the same size can be stored."""
    state = SignedState(tmp_path / "signer.db", ORIGIN)
    state.advance(Signed(ORIGIN, 5, bytes([1]) * 32, b"n", {}, 0, b""))
    with pytest.raises(GatewayError, match="forked"):
        state.advance(Signed(ORIGIN, size, root, b"n", {}, 0, b""))
    state.close()
    with sqlite3.connect(tmp_path / "signer.db") as connection:
        for statement in ("UPDATE signed SET size = 1", "DELETE FROM signed", "UPDATE signed SET root = zeroblob(32)"):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(statement)
    connection.close()


def test_never_forked_by_two_processes(tmp_path):
    """INVARIANT: NEVER-FORKED: one process a log."""
    log = open_log(tmp_path)
    with pytest.raises(GatewayError, match="in use by another process"):
        open_log(tmp_path)
    log.close()


def test_never_forked_by_an_older_signer_db(tmp_path):
    """INVARIANT: NEVER-FORKED: a `signer.db` restored from before what was published is refused."""
    log = open_log(tmp_path)
    log.commit(entries(300), {})
    log.close()
    shutil.copy(tmp_path / "signer.db", tmp_path / "older.db")
    log = open_log(tmp_path)
    log.commit(entries(10), {})
    log.close()
    shutil.copy(tmp_path / "older.db", tmp_path / "signer.db")
    with pytest.raises(GatewayError, match="would fork the log"):
        open_log(tmp_path)


def test_a_signed_size_beyond_the_disk_is_refused(tmp_path):
    """A tree older than `signer.db` is not signed on from: what was signed cannot be borne out."""
    log = open_log(tmp_path)
    log.commit(entries(300), {})
    log.close()
    shutil.copytree(tmp_path / "tree", tmp_path / "older")
    log = open_log(tmp_path)
    for n in range(3):
        log.commit(entries(300, 30 + n), {})
    log.close()
    shutil.rmtree(tmp_path / "tree")
    shutil.copytree(tmp_path / "older", tmp_path / "tree")
    with pytest.raises(GatewayError, match="do not bear it out"):
        open_log(tmp_path)


def test_another_log_s_database_is_refused(tmp_path):
    """A ledger keeps its origin."""
    open_log(tmp_path).close()
    with pytest.raises(GatewayError, match="is of log"):
        TiledLog(tmp_path, "another.example/log", SIGNER)


def test_append_only(tmp_path):
    """INVARIANT: APPEND-ONLY: no tile or bundle is written over by other content."""
    log = open_log(tmp_path)
    log.commit(entries(5000), {})
    log.close()
    files = LogFiles(tmp_path / "tree")
    tile, bundle = files.tile(0, 3), files.bundle(18)
    files.put_tile(0, 3, tile)
    files.put_bundles(18, [bundle])
    with pytest.raises(GatewayError, match="other bytes"):
        files.put_tile(0, 3, bytes(len(tile)))
    with pytest.raises(GatewayError, match="other entries"):
        files.put_bundles(18, [[b"another", *bundle[1:]]])
    with pytest.raises(GatewayError, match="other entries"):
        files.put_bundles(0, [entries(256, 7)] * 16)


def test_a_log_begins_signed_and_empty(tmp_path):
    """So that a witness can be asked before the first leaf whether there was a log of this name."""
    log = open_log(tmp_path)
    checkpoint, _ = verify_checkpoint(log.note, log.key)
    assert (checkpoint.size, checkpoint.root) == (0, EMPTY_ROOT)
    log.close()


def test_only_a_commit_signs_checkpoints(tmp_path):
    """The log's key signs other statements under a first line that no checkpoint of the log has."""
    log = open_log(tmp_path)
    with pytest.raises(GatewayError, match="only a commit"):
        log.sign(f"{ORIGIN}\n5\nAAAA\n")
    log.close()


@contextmanager
def flipped(path, at, bit):
    """One bit of a file turned, for as long as it lasts; in place, for writing a file whole costs a wait."""
    with path.open("r+b", buffering=0) as file:
        turned = os.pread(file.fileno(), 1, at)[0] ^ 1 << bit
        os.pwrite(file.fileno(), bytes([turned]), at)
        yield
        os.pwrite(file.fileno(), bytes([turned ^ 1 << bit]), at)


def test_any_flipped_bit_of_a_log_is_found_and_located(tmp_path):
    """Whatever file of the tree is changed, verification fails and names the file or the leaf."""
    log = open_log(tmp_path)
    everything = list(City().entries(2150))
    log.commit(everything[:4200], {})
    log.commit(everything[4200:], {})
    key = log.key.text()
    log.close()
    files = sorted(path for path in (tmp_path / "tree").rglob("*") if path.is_file() and path.name != ".lock")
    assert len(files) > 20
    verify_log(tmp_path, key)
    for n, path in enumerate(files):
        size = path.stat().st_size
        with flipped(path, (0, size // 2, size - 1)[n % 3], 4), pytest.raises(VerificationFailed) as failure:
            verify_log(tmp_path, key)
        assert failure.value.where
    verify_log(tmp_path, key)


@pytest.mark.parametrize("name", ["tile/0/001.p/x", "tile/entries/001.p/².sgb", f"tile/entries/001.p/{'9' * 200}.sgb"])
def test_a_file_of_a_log_that_no_log_names_so_is_named(tmp_path, name):
    """The verifier is handed folders by others: what is called otherwise than a log calls it fails, and is said."""
    log = open_log(tmp_path)
    log.commit(entries(300), {})
    log.commit(entries(310)[300:], {})
    key = log.key.text()
    log.close()
    path = tmp_path / "tree" / name
    path.write_bytes(b"")
    with pytest.raises(VerificationFailed, match="no width"):
        verify_log(tmp_path, key)


def test_any_flipped_bit_of_a_checkpoint_proof_or_export_is_found(tmp_path):
    """Every byte of the small files, in two of its bits: no other text stands for the same signed thing."""
    service = ledger_with(tmp_path / "ledger", list(City().entries(40)))
    key, exports = service.log.key.text(), []
    record = service.index.find(RecordQuery(), None, 1).rows[0].record
    proof = tmp_path / "record.proof"
    proof.write_text(Answers(service).prove({"record": record}, lambda _done, _of: None), encoding="utf-8")
    for name in FORMATS:
        exports.append(tmp_path / f"uses.{name}")
        export_records(service.index, service.log, RecordQuery(grant="G-0000"), name, exports[-1], now_unix=1)
    service.close()
    checks = [(proof, partial(verify_record, proof), 1)]
    checks += [(tmp_path / "ledger" / "tree" / "checkpoint", partial(verify_log, tmp_path / "ledger"), 1)]
    checks += [(path, partial(verify_export, path), 17) for path in exports]
    checks += [(manifest_path(path), partial(verify_export, path), 1 + 16 * (n > 0)) for n, path in enumerate(exports)]
    for path, check, step in checks:
        check(key)
        for at in range(0, path.stat().st_size, step):
            for bit in (0, 1 + at % 7):
                with flipped(path, at, bit), pytest.raises(GatewayError):
                    check(key)


def test_any_flipped_bit_beside_the_log_is_found_and_located(tmp_path):
    """Journals, index and signer.db are not the log, but what turned there is named."""
    city = City()
    asyncio.run(record_uses(tmp_path / "ledger", [city.use() for _ in range(300)], city, segment_bytes=1 << 16))
    service = open_ledger(tmp_path / "ledger")
    while service.step():
        pass
    service.index.flush()
    key = service.log.key.text()
    service.close()
    assert any("journals" in each for each in verify_log(tmp_path / "ledger", key).checked)
    named = 0
    for path in sorted((tmp_path / "ledger").rglob("*")):
        used = path.read_bytes().rstrip(b"\0") if path.is_file() else b""
        if path.suffix in {".journal", ".parquet", ".subjects"} and used:
            for at in {0, len(used) // 3, len(used) // 2, len(used) - 1}:
                with flipped(path, at, at % 8), pytest.raises(VerificationFailed, match=path.name):
                    verify_log(tmp_path / "ledger", key)
                named += 1
    assert named >= 12
    path = tmp_path / "ledger" / "signer.db"
    row = path.read_bytes().index(key.split("+")[0].encode() + b"\n")
    cursors = path.read_bytes().index(b'{"', row)
    for at in (row + 40, *range(cursors, path.read_bytes().index(b"}", cursors) + 60, 3)):
        with flipped(path, at, at % 8), pytest.raises(VerificationFailed, match=r"signer\.db"):
            verify_log(tmp_path / "ledger", key)
    verify_log(tmp_path / "ledger", key)


def test_cursor_that_turned_stops_the_start(tmp_path):
    """From a wrong cursor entries would go into the log twice, or not at all."""
    state = SignedState(tmp_path / "signer.db", ORIGIN)
    state.advance(Signed(ORIGIN, 5, bytes([1]) * 32, b"n", {"worker-1": 5}, 0, b""))
    state.close()
    with closing(sqlite3.connect(tmp_path / "signer.db")) as connection, connection:
        connection.execute("""UPDATE signed SET cursors = '{"worker-1":4}'""")
    with pytest.raises(GatewayError, match="not as it was written"):
        SignedState(tmp_path / "signer.db", ORIGIN)


def test_signer_of_an_older_release_is_taken_over(tmp_path):
    """Its row had no digest: it is read once as it stands, and proves itself from then on."""
    state = SignedState(tmp_path / "signer.db", ORIGIN)
    signed = Signed(ORIGIN, 5, bytes([1]) * 32, b"n", {"worker-1": 5}, 0, b"x")
    state.advance(signed)
    state.close()
    with closing(sqlite3.connect(tmp_path / "signer.db")) as connection, connection:
        texts = [text for (text,) in connection.execute("SELECT sql FROM sqlite_master ORDER BY type")]
        *row, _ = connection.execute("SELECT * FROM signed").fetchone()
        connection.executescript("DROP TRIGGER never_forgotten; DROP TABLE signed")
        for text in texts:
            connection.execute(text.replace(",\n    digest  BLOB", ""))
        connection.execute("INSERT INTO signed VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    for _ in range(2):
        state = SignedState(tmp_path / "signer.db", ORIGIN)
        assert state.last == signed
        state.close()
    with closing(sqlite3.connect(tmp_path / "signer.db")) as connection:
        assert connection.execute("SELECT digest FROM signed").fetchone() == (signed.digest,)


@pytest.mark.parametrize("damaged", [None, "000", "014"])
def test_several_processes_verify_what_one_does(tmp_path, monkeypatch, damaged):
    """A long log is shared out; what is found in any share is named."""
    monkeypatch.setattr(verifying, "_SMALL_LEAVES", 0)
    monkeypatch.setattr(verifying, "SPAN_BUNDLES", 3)
    log = open_log(tmp_path)
    log.commit(entries(4000), {})
    key = log.key.text()
    log.close()
    if damaged is None:
        assert verify_log(tmp_path, key, processes=2).entries == 4000
    else:
        (path,) = (tmp_path / "tree" / "tile" / "entries").rglob(f"{damaged}*.sgb")
        with flipped(path, 100, 3), pytest.raises(VerificationFailed, match=f"leaves {int(damaged) * 256} to"):
            verify_log(tmp_path, key, processes=2)


def test_a_missing_bundle_is_found(tmp_path):
    """Bundles may be missing at the front only, and only where a prune record says so."""
    log = open_log(tmp_path)
    log.commit(entries(9000), {})
    key = log.key.text()
    log.close()
    (tmp_path / "tree" / "tile" / "entries" / "000.pack").unlink()
    with pytest.raises(VerificationFailed, match="no prune record"):
        verify_log(tmp_path, key)
