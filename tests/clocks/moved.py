"""A wall clock of one's own for processes that are started with it: `moved.c`, compiled and preloaded.

Debian's libfaketime was tried first: with monotonic clocks left alone, its `clock_nanosleep` takes CPython's absolute
monotonic deadline for a date, and `time.sleep` fails; with them moved as well, waits of libc that it does not know
last for as long as the clock was moved. Here monotonic clocks are never touched.
"""

import mmap
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path
from typing import Self

SOURCE = Path(__file__).with_name("moved.c")
DAY_SECONDS = 86_400


class MovedClock:
    """The wall clock of every process that is started with `environment`, moved at once by `set_ns`.

    Args:
        folder: for the compiled file and the number; other users may read it, for a server that runs as one.

    Raises:
        FileNotFoundError: where there is no C compiler.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise FileNotFoundError("no C compiler, which another clock needs: install gcc")
        library, number = folder / "moved.so", folder / "moved_ns"
        flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, "-o", library, SOURCE, "-ldl"], check=True)
        number.write_bytes(struct.pack("<q", 0))
        for path in (library, number):
            path.chmod(0o644)
        self._mapped = _mapped(number)
        self.environment = {"LD_PRELOAD": str(library), "MOVED_CLOCK": str(number)}

    @classmethod
    def own(cls) -> Self:
        """The clock under which this process was started."""
        clock = cls.__new__(cls)
        clock.environment = {name: os.environ[name] for name in ("LD_PRELOAD", "MOVED_CLOCK")}
        clock._mapped = _mapped(Path(clock.environment["MOVED_CLOCK"]))
        return clock

    def set_ns(self, by_ns: int) -> None:
        """Move the clock so far from the machine's, from now on."""
        struct.pack_into("<q", self._mapped, 0, by_ns)

    def step(self, by_seconds: float) -> None:
        """Move the clock on or back from where it stands."""
        self.set_ns(self.moved_ns + int(by_seconds * 1_000_000_000))

    def begin_at(self, unix_seconds: float) -> None:
        """Let the clock stand at a moment now."""
        self.set_ns(int(unix_seconds * 1_000_000_000) - time.time_ns())

    @property
    def moved_ns(self) -> int:
        """How far it is from the machine's."""
        found: int = struct.unpack_from("<q", self._mapped, 0)[0]
        return found

    def run(self, *command: str | Path) -> int:
        """The exit status of a command that runs under it."""
        return subprocess.run(command, env={**os.environ, **self.environment}, check=False).returncode


def _mapped(number: Path) -> mmap.mmap:
    with number.open("r+b") as file:
        return mmap.mmap(file.fileno(), 8)
