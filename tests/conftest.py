"""What every test shares: a reproducible search for counterexamples without time limits, and memory for a disk.

Half of what the tests waited for was `fsync`. No test cuts the machine's power: they kill processes, and what a loss of
power would leave is worked out from recorded calls (`support/power.py`), so a disk in memory shows the same. `TMPDIR`
names another place. Modules are compiled once, even where the environment says never: the tests start hundreds of
processes.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler.loadfile import LoadFileScheduling

from tests.support.share import drawn

MEMORY = Path("/dev/shm")
ROOM_BYTES = 6 << 30


def _has_room(folder: Path) -> bool:
    """Whether it has room for a run, and programs made by tests may start there (as not in every container)."""
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:
        return False
    return found.f_bavail * found.f_frsize >= ROOM_BYTES and not found.f_flag & os.ST_NOEXEC


if "TMPDIR" not in os.environ and _has_room(MEMORY):
    os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None

sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile("gateway", derandomize=True, deadline=None)
settings.load_profile("gateway")


STARTS_PROCESSES = ("tests/end_to_end/", "tests/deploy/", "tests/conformance/")
IN_PROCESS = ("tests/unit/", "tests/durability/", "tests/simulation/")
SHARE_NOTHING = ("tests/simulation/", "tests/durability/test_crashes.py")


class Spread(LoadFileScheduling):
    """A file's tests stay with one worker, for they share what it has started; those that share nothing go singly."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(SHARE_NOTHING) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Spread:
    """Whatever `--dist` says; in the order of `pytest_collection_modifyitems`."""
    config.option.loadscopereorder = False
    return Spread(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """What CI runs of the long runs."""
    parser.addoption("--share", type=int, default=1, help="of deep tests with many cases, run every N-th")
    parser.addoption("--drawn-by", default="", help="what decides which: the commit")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files come first, and in random order otherwise, so that no worker is left alone with one."""
    share = config.getoption("--share")
    if share > 1:
        deep = {item.nodeid for item in items if item.get_closest_marker("deep")}
        left_out = deep - drawn(deep, share, config.getoption("--drawn-by"))
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
        items[:] = [item for item in items if item.nodeid not in left_out]
    items.sort(key=lambda item: (not item.nodeid.startswith(STARTS_PROCESSES), not item.nodeid.startswith(IN_PROCESS)))
