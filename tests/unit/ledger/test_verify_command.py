"""`gateway verify`: one command for a record, an export and a log, with nothing but the key."""

import json

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli.verify import verify
from gateway.ledger.answers import Answers
from gateway.ledger.exports import export_records
from gateway.ledger.queries import RecordQuery
from tests.support.ledger import City, ledger_with

APP = typer.Typer()
APP.command()(verify)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A log, a proof and an export of it, and the log's key in a file."""
    directory = tmp_path_factory.mktemp("verify")
    service = ledger_with(directory / "ledger", list(City().entries(200)))
    record = service.index.find(RecordQuery(), None, 1).rows[0].record
    proof = Answers(service).prove({"record": record}, lambda _done, _of: None)
    (directory / "record.tlog-proof").write_text(proof, encoding="utf-8")
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
