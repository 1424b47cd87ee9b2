"""What stands beside a log: what was taken away or turned there is named, and what is absent is said to be."""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from gateway.domain.errors import GatewayError
from gateway.domain.uses import RecordKind
from gateway.ledger.index.index import Index
from gateway.ledger.index.manifest import parse_manifest
from gateway.ledger.journal.acts import ActJournal
from gateway.ledger.journal.frames import frames, parse_opening
from gateway.ledger.log.minimum import minimum_index
from gateway.ledger.verify.record import VerificationFailed, verify_log
from tests.support.ledger import open_ledger


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A ledger of 300 acts in the log and 200 more that were confirmed since, and its key."""
    ledger = tmp_path_factory.mktemp("beside") / "ledger"
    acts = ActJournal(ledger, "control", clock_ns=time.time_ns, low_water_bytes=0, segment_bytes=1 << 14)
    service = open_ledger(ledger)
    service.prepare()
    acts.append_all(RecordKind.KEY, [{"act": f"x{n}"} for n in range(300)])
    while service.step():
        pass
    service.index.flush()
    service.index.settle()
    for _ in range(20):
        acts.append_all(RecordKind.KEY, [{"act": "not in the log yet"} for _ in range(10)])
    key = service.log.key.text()
    service.close()
    acts.close()
    (ledger / "tree" / "minimum-index").write_text("0\n", "ascii")
    return ledger, key


@pytest.fixture
def ledger(made, tmp_path):
    """A copy of that ledger."""
    shutil.copytree(made[0], tmp_path / "ledger")
    return tmp_path / "ledger"


def flip(path, at, bit=0):
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def remove_segments(ledger):
    for path in (ledger / "journal" / "control").glob("*.journal"):
        path.unlink()


def remove_all_but_the_newest(ledger):
    *others, _ = sorted((ledger / "journal" / "control").glob("*.journal"))
    for path in others:
        path.unlink()


def cut_off_the_last_entry(ledger):
    """The newest segment ends one entry before what was confirmed, whole frame by whole frame."""
    *_, path = sorted((ledger / "journal" / "control").glob("*.journal"))
    content = path.read_bytes()
    _, offset, checksum = parse_opening(content, "")
    *_, last = frames(content, offset, checksum)
    path.write_bytes(content[: last.offset])


def turn_trigger(ledger):
    path = ledger / "signer.db"
    flip(path, path.read_bytes().index(b"NEW.size < OLD.size") + 9)


def drop_trigger(ledger):
    with closing(sqlite3.connect(ledger / "signer.db")) as connection:
        connection.execute("DROP TRIGGER never_forgotten")


def write_minimum(text):
    return lambda ledger: (ledger / "tree" / "minimum-index").write_text(text, "ascii")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda ledger: flip(ledger / "journal/control/durable", 3), "durable"),
        (lambda ledger: flip(ledger / "journal/control/durable", 15), "durable"),
        (lambda ledger: (ledger / "journal/control/durable").unlink(), "durable"),
        (lambda ledger: (ledger / "journal/control/durable").write_bytes(b"1234"), "durable"),
        (lambda ledger: (ledger / "journal/control/durable").write_bytes(b""), "durable"),
        (remove_segments, "control: it has no segment"),
        (remove_all_but_the_newest, "control: entries 301 to "),
        (cut_off_the_last_entry, "control: it ends before entry 500"),
        (lambda ledger: shutil.rmtree(ledger / "journal/control"), "control: it is missing"),
        (lambda ledger: shutil.rmtree(ledger / "journal"), "control: it is missing"),
        (lambda ledger: (ledger / "signer.db").unlink(), "signer.db: it is missing"),
        (turn_trigger, "signer.db: table and triggers"),
        (drop_trigger, "signer.db: table and triggers"),
        (write_minimum("256\n"), "minimum-index: it says 256"),
        (write_minimum("p\n"), "minimum-index"),
        (write_minimum("0"), "minimum-index"),
    ],
)
def test_what_was_taken_away_or_turned_is_named(made, ledger, change, where):
    """One change each; the report names the file or the folder."""
    change(ledger)
    with pytest.raises(VerificationFailed) as failure:
        verify_log(ledger, made[1])
    assert where in failure.value.detail


@pytest.mark.parametrize("acts", [200, 300])
def test_sound_signer_of_another_log_does_not_know_this_one(made, ledger, tmp_path, acts):
    """What was signed last is put back to a shorter log of the same key, or to another of the same length."""
    service = open_ledger(tmp_path / "another")
    service.prepare()
    with closing(ActJournal(tmp_path / "another", "control", clock_ns=time.time_ns, low_water_bytes=0)) as journal:
        journal.append_all(RecordKind.KEY, [{"act": f"another {n}"} for n in range(acts)])
        while service.step():
            pass
    service.close()
    shutil.copy(tmp_path / "another" / "signer.db", ledger / "signer.db")
    with pytest.raises(VerificationFailed, match="does not know the checkpoint") as failure:
        verify_log(ledger, made[1])
    assert failure.value.where == str(ledger / "signer.db")


def test_durable_behind_the_log_is_a_power_failure_and_no_change(made, ledger):
    """It is not synced: what the log has taken is checked all the same, and what came after is not called confirmed."""
    (ledger / "journal/control/durable").write_bytes(bytes(16))
    oldest, *_, newest = sorted((ledger / "journal" / "control").glob("*.journal"))
    flip(newest, len(newest.read_bytes().rstrip(b"\0")) - 20)
    verify_log(ledger, made[1])
    content = oldest.read_bytes()
    flip(oldest, parse_opening(content, "it")[1] + 20)
    with pytest.raises(VerificationFailed, match=oldest.name):
        verify_log(ledger, made[1])


def test_any_flipped_bit_of_the_index_s_manifest_is_found(made, ledger):
    """Every byte, in two of its bits, offline and at the next start."""
    path = ledger / "index" / "manifest.json"
    content = path.read_bytes()
    assert parse_manifest(content)[1]
    for at in range(len(content)):
        for bit in (0, 1 + at % 7):
            with pytest.raises(GatewayError):
                parse_manifest(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
    flip(path, 20)
    with pytest.raises(VerificationFailed, match=r"manifest\.json"):
        verify_log(ledger, made[1])
    with pytest.raises(GatewayError, match="it is rebuilt from the log"):
        Index(ledger / "index")


def test_manifest_of_an_older_release_is_read_and_sealed_when_written_again(made, ledger):
    """It has no digest, which the report says; the next flush gives it one."""
    path = ledger / "index" / "manifest.json"
    said = json.loads(path.read_bytes())
    del said["sha256"]
    path.write_bytes(json.dumps(said, separators=(",", ":")).encode())
    assert any("gave it no digest" in each for each in verify_log(ledger, made[1]).not_checked)
    service = open_ledger(ledger)
    service.prepare()
    while service.step():
        pass
    service.index.flush()
    service.close()
    checked = verify_log(ledger, made[1])
    assert not any("digest" in each for each in checked.not_checked)


def test_what_is_absent_is_said_to_be_unchecked(made, ledger):
    """A log that was handed over alone verifies, and the report does not pass over the rest."""
    shutil.rmtree(ledger / "index")
    assert any(each.startswith("the index") for each in verify_log(ledger, made[1]).not_checked)
    shutil.rmtree(ledger / "journal")
    (ledger / "signer.db").unlink()
    assert any(each.startswith("journals and `signer.db`") for each in verify_log(ledger, made[1]).not_checked)


def test_turned_durable_and_frame_stop_the_writer(ledger):
    """What was confirmed is never cut off as a torn tail because nobody knows any more that it was."""
    directory = ledger / "journal" / "control"
    newest = max(directory.glob("*.journal"))
    before = newest.read_bytes()
    flip(directory / "durable", 7)
    flip(newest, len(before.rstrip(b"\0")) - 20)
    for _ in range(2):
        with pytest.raises(GatewayError, match=r"durable` is corrupt"):
            ActJournal(ledger, "control", clock_ns=time.time_ns, low_water_bytes=0)
        (directory / "durable").unlink(missing_ok=True)
    assert len(newest.read_bytes()) == len(before)


KILLED_IN_COMMIT = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE signed SET staged = zeroblob(3000000)")
os._exit(9)
"""


def test_signer_of_a_process_killed_in_a_commit_is_whole(made, ledger):
    """The commit left a journal that only a writer may play back: a copy is looked at, and nothing is written here."""
    path = ledger / "signer.db"
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_COMMIT, path], check=False, timeout=60)
    assert killed.returncode == 9
    before = {each: each.read_bytes() for each in (path, path.with_name("signer.db-journal"))}
    assert before[path] != (made[0] / "signer.db").read_bytes()
    verify_log(ledger, made[1])
    assert {each: each.read_bytes() for each in before} == before
    service = open_ledger(ledger)
    assert service.log.size == 300
    service.close()
    verify_log(ledger, made[1])


def test_trigger_that_turned_stops_the_start(ledger):
    """The log is not signed on where the database no longer guards it (INVARIANT: NEVER-FORKED)."""
    turn_trigger(ledger)
    with pytest.raises(GatewayError, match="table and triggers"):
        open_ledger(ledger)


def test_minimum_index_that_holds_no_leaf_is_named_at_the_start(ledger):
    """The start says which file it is."""
    write_minimum("p\n")(ledger)
    service = open_ledger(ledger)
    with pytest.raises(GatewayError, match="minimum-index` does not hold"):
        service.prepare()
    with pytest.raises(GatewayError, match="minimum-index` does not hold"):
        minimum_index(ledger / "tree")
    service.close()
