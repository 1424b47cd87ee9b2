"""The offline verifier imports readers of the log alone: no writer of ours, and none of the gateway's libraries."""

import json
import subprocess
import sys

from gateway.ledger.index import exports
from gateway.ledger.index.queries import RecordQuery
from gateway.ledger.process.answers import Answers
from tests.support.ledger import City, open_ledger

READERS = {
    "index.manifest", "journal.frames", "journal.marks", "log.at_rest", "log.bundles", "log.checkpoints",
    "log.decimals", "log.export_names", "log.kept",
    "log.minimum", "log.notes", "log.proofs", "log.reading", "log.record_ids",
    "log.signed", "log.tiles", "log.tree", "names", "verify.beside", "verify.entries", "verify.log", "verify.record",
    "verify.report",
}  # fmt: skip
SCRIPT = """
import json, sys
from pathlib import Path
from gateway.ledger.verify.record import verify_export, verify_log, verify_record
folder, key = Path(sys.argv[1]), sys.argv[2]
verify_record(folder / "a.tlog-proof", key)
verify_export(folder / "a.ndjson", key)
verify_log(folder / "ledger", key)
print(json.dumps(sorted(sys.modules)))
import gateway.ledger.verify.over_http
import gateway.ledger.verify.over_s3
import gateway.ledger.verify.walk
print(json.dumps(sorted(sys.modules)))
"""


def test_the_verifier_loads_readers_alone(tmp_path):
    """A record, an export and a whole log, here or at an address, are verified by what holds no way of writing one."""
    service = open_ledger(tmp_path / "ledger")
    service.log.commit(list(City().entries(600)), {})
    service.prepare()
    service.index.flush()
    record = service.index.find(RecordQuery(), None, 1).rows[0].record
    proof = Answers(service).prove({"record": record}, lambda _done, _of: None)
    (tmp_path / "a.tlog-proof").write_text(proof)
    exports.export_records(service.index, service.log, RecordQuery(), "ndjson", tmp_path / "a.ndjson", now_unix=1)
    key = service.log.key.text()
    service.close()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path, key], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    loaded, served = map(json.loads, done.stdout.splitlines())
    rooms = {name.removeprefix("gateway.ledger.") for name in loaded if name.startswith("gateway.ledger.")}
    assert rooms - {"index", "journal", "log", "verify"} == READERS
    assert {name for name in loaded if name.startswith("gateway.")} - {f"gateway.ledger.{name}" for name in rooms} == {
        "gateway.domain", "gateway.domain.calendar", "gateway.domain.errors", "gateway.domain.free_text",
        "gateway.domain.texts", "gateway.ledger",
    }  # fmt: skip
    foreign = {"duckdb", "fastapi", "httpx", "sqlalchemy", "uvloop", "pydantic", "cedarpy", "chinese_calendar"}
    assert foreign & set(loaded) <= {"chinese_calendar"}
    ours = {name for name in set(served) - set(loaded) if name.startswith("gateway.")}
    assert {name.removeprefix("gateway.ledger.") for name in ours} == {
        "archive", "archive.reading", "archive.target", "verify.over_http", "verify.over_s3", "verify.walk",
    }  # fmt: skip
    assert "boto3" not in served
