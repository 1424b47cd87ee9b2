"""The benchmark of a city's traffic, at its smallest: the mix runs, and says what a call costs of each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.data_plane.traffic import GATEWAY, NGINX

ROOT = Path(__file__).parents[2]


@pytest.mark.deep
def test_the_mix_runs_and_is_answered(tmp_path: Path) -> None:
    """Nothing is refused, so that what is measured is calls; each process has its cost."""
    kept = tmp_path / "traffic.json"
    program = str(ROOT / "tests" / "bench" / "data_plane" / "traffic.py")
    command = [sys.executable, program, "--quick", "--seconds", "0.3", "--loads", "mix", "--save", str(kept)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert kept.exists(), done.stdout + done.stderr
    found = json.loads(kept.read_text("utf-8"))
    (lines,) = found["loads"].values()
    assert set(lines[GATEWAY]["statuses"]) == set(lines[NGINX]["statuses"]) == {"200"}
    assert {"ledger", "control"} <= set(lines[GATEWAY]["beside_us_per_call"])
    assert found["could_not_run"]
