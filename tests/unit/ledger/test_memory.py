"""What the ledger's index holds in memory and on the disk stays within bounds, however many files it has written."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

FILES = 16
HELD_MIB = 60
"""More than before the first file. Where DuckDB keeps what it freed, it is 70 to 90 from the first file on."""
SCRIPT = """
import json, sys
from pathlib import Path
from tests.bench.ledger_memory import file_after_file
print(json.dumps(list(file_after_file(Path(sys.argv[1]), int(sys.argv[2])))))
"""


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_file_after_file_the_ledger_holds_no_more(tmp_path: Path) -> None:
    """A soak of hours in a minute: many small files over days, merged and asked about, in a process of its own."""
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(FILES)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    steps = json.loads(done.stdout.splitlines()[-1])  # DuckDB may show how far it is before
    held = [each for each, _, _ in steps]
    print("MiB held:", [round(each) for each in held])
    assert statistics.median(held) < HELD_MIB
    assert statistics.median(held[-FILES // 4 :]) < statistics.median(held[: FILES // 4]) + HELD_MIB / 2
    assert [there for _, there, _ in steps] == [counted for _, _, counted in steps], "merged-away files lie there"
    assert max(there for _, there, _ in steps) < FILES
