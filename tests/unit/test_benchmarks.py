"""`make bench` runs what is there."""

from pathlib import Path

from tests.bench.__main__ import HERE, SUITES


def test_every_benchmark_of_the_ledger_is_run() -> None:
    """Each suite is a file, and each of the ledger's files is a suite."""
    assert [path for path in SUITES.values() if not path.is_file()] == []
    assert {Path(path) for path in HERE.glob("ledger_*.py")} <= set(SUITES.values())
