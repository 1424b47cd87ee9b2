"""The whole gateway under a clock that is set while it works."""

import sys
from pathlib import Path

import pytest

from tests.clocks.moved import MovedClock

pytestmark = [pytest.mark.deep, pytest.mark.timeout(600)]


def test_a_clock_that_is_set_costs_no_call_and_no_record(tmp_path: Path) -> None:
    """-1 s, -1 h, +1 h, +20 d, a leap second, -30 d over a restart: no duration and no budget goes by that clock."""
    clock = MovedClock(tmp_path)
    assert clock.run(sys.executable, "-m", "tests.clocks.stepping", tmp_path) == 0
