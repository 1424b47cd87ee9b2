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

from hypothesis import settings

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
