"""`gateway verify`: one command for a record, an export and a log, with nothing but the key."""

import json
from datetime import datetime

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from gateway.cli.verify import verify
from gateway.domain.calendar import CHINA
from gateway.ledger.index.exports import export_records
from gateway.ledger.index.queries import RecordQuery, RecordRow
from gateway.ledger.log.proofs import Hashes, TlogProof
from gateway.ledger.log.tiled_log import TiledLog
from gateway.ledger.process.answers import Answers
from gateway.ledger.verify.record import VerificationFailed, parse_key, verify_record
from tests.support.ledger import ORIGIN, City, TestSigner, ledger_with

APP = typer.Typer()
APP.command()(verify)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A log, a proof and an export of it, and the log's key in a file."""
    directory = tmp_path_factory.mktemp("verify")
    service = ledger_with(directory / "ledger", list(City().entries(200)))
    rows = service.index.find(RecordQuery(kinds=("use",)), None, 2).rows
    (directory / "rows.json").write_bytes(msgspec.json.encode(rows))
    for part, name in (("opened", "record"), ("closed", "record.closed")):
        proof = Answers(service).prove({"record": rows[0].record, "part": part}, lambda _done, _of: None)
        (directory / f"{name}.tlog-proof").write_text(proof, encoding="utf-8")
    export_records(service.index, service.log, RecordQuery(), "csv", directory / "all.csv", now_unix=1)
    (directory / "key").write_text(service.log.key.text() + "\n", encoding="utf-8")
    service.close()
    return directory


@pytest.mark.parametrize(
    ("target", "what"), [("record.tlog-proof", "record"), ("all.csv", "export"), ("ledger", "log")]
)
def test_each_is_verified_and_named(made, target, what):
    """It says what it checked, and what it cannot show."""
    said = CliRunner().invoke(APP, [str(made / target), "--key", str(made / "key"), "--json"])
    assert said.exit_code == 0, said.output
    report = json.loads(said.stdout)
    assert report["what"] == what
    assert report["checked"]
    assert report["not_checked"]


def test_a_key_is_given_as_text_or_as_the_file_that_holds_it(made):
    text = (made / "key").read_text("utf-8")
    assert parse_key(text) == parse_key(str(made / "key"))
    assert parse_key(text).text() == text.strip()


def rows_of(made):
    return msgspec.json.decode((made / "rows.json").read_bytes(), type=list[RecordRow])


def test_a_proof_says_whose_it_is(made):
    """Record, kind, time and grant come from the entry that was proven, for people and for programs."""
    row = rows_of(made)[0]
    key = ("--key", str(made / "key"), "--record", row.record)
    opened = CliRunner().invoke(APP, [str(made / "record.tlog-proof"), *key, "--json"])
    began = datetime.fromtimestamp(row.time_unix_us / 1_000_000, CHINA)
    said = json.loads(opened.stdout)["record"]
    assert (said["id"], said["kind"], said["grant"]) == (row.record, "use.opened", row.grant)
    assert datetime.fromisoformat(said["time"]) == began
    closed = CliRunner().invoke(APP, [str(made / "record.closed.tlog-proof"), *key, "--json"])
    said = json.loads(closed.stdout)["record"]
    assert (said["id"], said["kind"], said["grant"]) == (row.record, "use.closed", None)
    shown = CliRunner().invoke(APP, [str(made / "record.tlog-proof"), *key])
    assert shown.exit_code == 0
    for each in (row.record, "use.opened", row.grant, began.date().isoformat()):
        assert each in shown.output


def test_the_proof_of_another_record_fails(made):
    """Who is handed a proof says which record it has to be of."""
    first, second = rows_of(made)
    for name in ("record", "record.closed"):
        target = [str(made / f"{name}.tlog-proof"), "--key", str(made / "key"), "--record"]
        assert CliRunner().invoke(APP, [*target, first.record]).exit_code == 0
        other = CliRunner().invoke(APP, [*target, second.record, "--json"])
        assert other.exit_code == 1
        assert f"`{first.record}`, not of `{second.record}`" in json.loads(other.stdout)["detail"]


@pytest.mark.parametrize("target", ["all.csv", "ledger"])
def test_only_a_proof_is_of_one_record(made, target):
    """Asked whether an export or a log is of one record, it does not say yes."""
    said = CliRunner().invoke(APP, [str(made / target), "--key", str(made / "key"), "--record", "a-1"])
    assert said.exit_code == 1
    assert "--record" in said.output


@pytest.mark.parametrize(
    "entry",
    [
        b"not JSON",
        b'{"id":"\xff"}',
        b'{"use":' + b"[" * 9000 + b"]" * 9000 + b',"id":"a-1","kind":"order","time":1}',
        b"[]",
        b'{"id":"a-1"}',
        b'{"id":"\\u001b[2J-1","kind":"order","time":1}',
        b'{"id":"a-1","kind":"\\u001b[2J","time":1}',
        b'{"id":"a-1","kind":"order","time":999999999999999999999999999}',
        b'{"id":"a-1","kind":"order","time":-99999999999999999999}',
    ],
)
def test_an_entry_that_is_no_record_is_no_proof_of_one(tmp_path, entry):
    """A log can hold anything its writer puts there; what names no record fails, with no traceback."""
    log = TiledLog(tmp_path, ORIGIN, TestSigner())
    log.commit([entry], {})
    published = log.published()
    proof = TlogProof(0, Hashes(published.size, log.files.tile).inclusion(0), published.note, entry)
    with pytest.raises(VerificationFailed, match="no record"):
        verify_record(proof.encode().encode(), log.key.text())
    log.close()


def test_what_does_not_hold_fails_with_status_1(made, tmp_path):
    """A changed record, a missing file and a wrong key: one sentence and status 1."""
    proof = (made / "record.tlog-proof").read_text(encoding="utf-8")
    (tmp_path / "changed").write_text(proof.replace("index ", "index 1", 1), encoding="utf-8")
    for target, key in (
        (tmp_path / "changed", made / "key"),
        (tmp_path / "nothing", made / "key"),
        (made / "key", made / "key"),
        (made / "ledger", "not+a+key"),
    ):
        said = CliRunner().invoke(APP, [str(target), "--key", str(key)])
        assert said.exit_code == 1
        assert "Traceback" not in said.output
