"""`python -m tests.clocks [NAME…]`: tests on a 29 February two years on or more, and across New Year in China.

Those that can depend on the clock, as their source says (`reading.py`): the others are told the time by themselves, and
what they say on one day they say on every day.
"""

import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

from gateway.domain.calendar import china_day, first_moment
from tests.clocks.moved import MovedClock
from tests.clocks.reading import files_on_the_clock


class Run(NamedTuple):
    """One run of the tests.

    Args:
        begins: when, Unix seconds, from the time now.
        tests: folders; every test of theirs that is not `deep` and can depend on the clock.
    """

    begins: float
    tests: tuple[str, ...]


EVERYTHING = ("tests",)
CALENDAR = ("tests/unit/control", "tests/unit/ledger", "tests/unit/store", "tests/unit/runtime", "tests/policies")
"""What counts days, months and years. All that failed on the first New Year it met stood in `unit/control`."""

BEFORE_NEW_YEAR_SECONDS = 30


def runs(now: float) -> dict[str, Run]:
    """The runs, by name. On a leap day that far off all is past that is past two years on: one run shows both."""
    today = china_day(now)
    leap_year = next(year for year in range(today.year + 3, today.year + 12) if _is_leap(year))
    leap_day = datetime(leap_year, 2, 29, 1, tzinfo=UTC).timestamp()
    new_year = first_moment(date(today.year + 1, 1, 1)).timestamp()
    return {
        "leap-day": Run(leap_day, EVERYTHING),
        "new-year": Run(new_year - BEFORE_NEW_YEAR_SECONDS, CALENDAR),
    }


def _is_leap(year: int) -> bool:
    try:
        return bool(date(year, 2, 29))
    except ValueError:
        return False


def main(names: list[str]) -> int:
    """Run them, all or the named; 0 where every test passed."""
    found = runs(time.time())
    for name in names or found:
        run = found[name]
        with tempfile.TemporaryDirectory(prefix="clock-") as folder:
            Path(folder).chmod(0o755)
            clock = MovedClock(Path(folder))
            clock.begin_at(run.begins)
            print(
                f"{name}: the clock stands at {datetime.fromtimestamp(run.begins, UTC):%Y-%m-%d %H:%M:%S} UTC",
                flush=True,
            )
            options = ("-q", "-m", "not deep", "-n", "3", "-p", "no:cacheprovider")
            status = clock.run(sys.executable, "-m", "pytest", *options, *files_on_the_clock(run.tests))
        if status:
            print(f"{name}: failed")
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
