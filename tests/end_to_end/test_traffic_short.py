"""The benchmark of a city's traffic, at its smallest: every load runs, and says what a call costs of each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.data_plane.traffic import GATEWAY, NGINX, loads
from tests.bench.data_plane.world import SMALL

ROOT = Path(__file__).parents[2]


@pytest.mark.deep
def test_every_load_runs_and_is_answered(tmp_path: Path) -> None:
    """Nothing is refused but what the load says, so that what is measured is calls; each process has its cost."""
    kept = tmp_path / "traffic.json"
    program = str(ROOT / "tests" / "bench" / "data_plane" / "traffic.py")
    command = [sys.executable, program, "--quick", "--seconds", "0.3", "--save", str(kept)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert kept.exists(), done.stdout + done.stderr
    found = json.loads(kept.read_text("utf-8"))
    assert list(found["loads"]) == [load.name for load in loads(SMALL, SMALL)]
    for name, lines in found["loads"].items():
        assert {"200"} <= set(lines[GATEWAY]["statuses"]) <= {"200", "403"}, name
        assert set(lines[NGINX]["statuses"]) == {"200"}, name
        assert {"ledger", "control"} <= set(lines[GATEWAY]["beside_us_per_call"]), name
        assert ("403" in lines[GATEWAY]["statuses"]) <= (name == "city"), name
    assert found["could_not_run"]
