"""The soak itself, for twenty seconds: what `make soak` holds for ten minutes holds here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.deep
def test_short_soak_keeps_every_promise(tmp_path: Path) -> None:
    """Suppliers fail, orders come and go: nothing grows, no record is lost, every answer is accounted for."""
    report = tmp_path / "soak.json"
    command = [sys.executable, "-m", "tests.bench.soak", "--minutes", "0.34", "--rate", "200", "--report", str(report)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert report.exists(), done.stderr
    found = json.loads(report.read_text("utf-8"))
    assert [check for check in found["checks"] if not check["kept"]] == []
    assert found["calls"] > 1000
    assert found["stops"] >= 3
