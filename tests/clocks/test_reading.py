"""Which tests another day is tried with: whatever can depend on the clock, found in their source."""

from pathlib import Path

import pytest

from tests.clocks import reading


def is_chosen(text: str, tmp_path: Path) -> bool:
    path = tmp_path / "test_it.py"
    path.write_text(text, "utf-8")
    return reading._is_on_the_clock(path)


@pytest.mark.parametrize(
    "text",
    [
        "import time\nnow = time.time()",
        "import datetime as dt\nnow = dt.datetime.now(dt.UTC)",
        "from datetime import date\nnow = date.today()",
        "def test_of(clock=lambda: 0):\n    clock = time.time",
        "import subprocess",
        "from gateway.store import Store\nStore.open('sqlite:///x')",
        "ledger = open_ledger(folder)",
        "barrier = Barrier(None)",
        "from gateway.cli import main",
        "from gateway.runtime.worker.worker import Worker",
    ],
)
def test_what_reads_the_clock_is_tried_on_another_day(tmp_path: Path, text: str) -> None:
    """Named, left out where it would be taken, in a process, or taken by the house itself."""
    assert is_chosen(text, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "began = time.monotonic()",
        "Store.open('sqlite:///x', clock=clock)",
        "Store.open('sqlite:///x', **options)",
        "ledger = open_ledger(folder, clock)",
        "Barrier(None, now=clock)",
        "world.now()",
        "from gateway.policy import Engine",
    ],
)
def test_what_is_told_the_time_is_not(tmp_path: Path, text: str) -> None:
    assert not is_chosen(text, tmp_path)


def test_a_helper_speaks_for_who_imports_it() -> None:
    """A gateway that runs is on the clock, whatever its test says; the control plane's world is told the time."""
    folder = reading.ROOT / "tests/end_to_end"
    running = [path for path in folder.rglob("test_*.py") if "import running_gateway" in path.read_text("utf-8")]
    assert running
    chosen = set(reading.files_on_the_clock(("tests/end_to_end",)))
    assert {str(path.relative_to(reading.ROOT)) for path in running} <= chosen
    assert not reading._is_on_the_clock(reading.ROOT / "tests/support/control.py")
