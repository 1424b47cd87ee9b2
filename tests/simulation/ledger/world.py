"""Processes that work on simulated disks, one at a time, in an order that a seed decides.

Each process is a thread that runs only while it holds the baton. At every call that changes a disk it may give it back,
be killed, find the machine without power or the disk dead, full or failing. What a process does on threads of its own
is done in its own turns: the journal's thread where somebody waits for it, a pool's work where it is asked for.
"""

import random
import sqlite3
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.simulation.ledger.disk import REAL, Disk

SWITCHES = 0.12
"""How often a call lets others go first."""
CALL_SECONDS = 2e-4
BEGAN_UNIX = 1_767_240_000


def _shut() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


class Killed(BaseException):
    """The process has ended, or the machine."""


class Process:
    """One process: a thread, the descriptors and databases it has open, and its threads' work."""

    def __init__(self, world: "World", name: str, machine: str, main: Callable[[], None]) -> None:
        self.world, self.name, self.machine = world, name, machine
        self.wake = world.now
        self.is_dead = False
        self.has_ended = False
        self.files: dict[int, tuple[Disk, Any]] = {}
        self.databases: list[sqlite3.Connection] = []
        self.threads: list[InlineThread] = []
        self.fault: BaseException | None = None
        self._main = main
        self._go = _shut()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def take_turn(self) -> None:
        """Let it work until it gives the baton back."""
        self.world.current = self
        self._go.release()
        self.world.back.acquire()
        self.world.current = None
        if self.has_ended:
            self._thread.join()

    def give_back(self, seconds: float = 0.0) -> None:
        """Let others work, and go on not before so many seconds."""
        self.wake = self.world.now + seconds
        self.world.back.release()
        self._go.acquire()
        if self.is_dead:
            raise Killed

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self.is_dead:
                self._main()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - the history says what it means
            self.fault = error
        self._let_go()
        self.has_ended = True
        self.world.back.release()

    def _let_go(self) -> None:
        """What the kernel does when a process ends."""
        for fd in self.files:
            REAL["close"](fd)
        self.files.clear()
        for database in self.databases:
            database.close()


class InlineThread:
    """The journal's thread: what waits for it is done when it is driven."""

    def __init__(self, *, target: Callable[[], None], name: str = "", daemon: bool = False) -> None:
        self._target = target
        self._is_alive = self._is_driven = False

    def start(self) -> None:
        self._is_alive = True
        THE.process().threads.append(self)

    def is_alive(self) -> bool:
        return self._is_alive

    def drive(self) -> None:
        """Do what waits, unless it is being done."""
        waits = self._target.__self__._queue  # type: ignore[attr-defined]
        if not self._is_driven and not waits.empty():
            self._is_driven = True
            waits.put(None)
            self._target()
            self._is_driven = False

    def join(self) -> None:
        self._target()
        self._is_alive = False


class NoThread:
    """A thread whose work the history does itself."""

    def __init__(self, **_: Any) -> None:
        """It does not begin."""

    start = join = lambda self: None


class InlinePool:
    """A pool that works where it is asked to, in some order; what is submitted is done at once or when it is wanted."""

    does_at_once = False

    def __init__(self, *_args: Any, **_options: Any) -> None:
        self._left: list[LateFuture] = []

    def map(self, work: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
        given = list(values)
        order = sorted(range(len(given)), key=lambda at: str(given[at]) if isinstance(given[at], Path) else at)
        THE.random.shuffle(order)
        done: dict[int, Any] = {}
        failed: BaseException | None = None
        for at in order:
            try:
                done[at] = work(given[at])
            except Exception as error:  # noqa: BLE001 - the others are at work meanwhile
                failed = failed or error
        if failed is not None:
            raise failed
        return [done[at] for at in range(len(given))]

    def submit(self, work: Callable[..., Any], *args: Any) -> "LateFuture":
        future = LateFuture(work, args)
        self._left.append(future)
        if self.does_at_once or THE.random.random() < 0.5:
            future.do()
        return future

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        for future in self._left:
            if not cancel_futures:
                future.do()


class PromptPool(InlinePool):
    """One that does what is submitted at once."""

    does_at_once = True


class LateFuture(Future):  # type: ignore[type-arg]
    """What a pool's thread has still to do."""

    def __init__(self, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
        super().__init__()
        self._work: Callable[..., Any] | None = work
        self._args = args

    def do(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            try:
                self.set_result(work(*self._args))
            except Exception as error:  # noqa: BLE001 - whoever asks for it is told
                self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        self.do()
        return super().result(timeout)


class WaitedFuture(Future):  # type: ignore[type-arg]
    """What another thread of the process will say."""

    def result(self, timeout: float | None = None) -> Any:
        while not self.done():
            for thread in list(THE.process().threads):
                thread.drive()
            if not self.done():
                THE.pause(0.05)
        return super().result(0)


class SeenDatabase(sqlite3.Connection):
    """A connection to a database on a simulated disk: what it commits is told."""

    disk: Disk
    path: str

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:  # type: ignore[override]
        word = sql.lstrip().partition(" ")[0].upper()
        writes = word not in {"SELECT", "PRAGMA", "BEGIN"} and (word == "COMMIT" or not self.in_transaction)
        if not writes:
            return super().execute(sql, *values)
        try:
            what = THE.call(self.disk, "commit", self.path)
        except OSError as error:
            if THE.random.random() < 0.5:
                # It is not known whether the commit stands.
                super().execute(sql, *values)
                self._tell()
            elif self.in_transaction:
                super().execute("ROLLBACK")
            raise sqlite3.OperationalError("disk I/O error") from error
        found = super().execute(sql, *values)
        self._tell()
        if what != "done":
            THE.call(self.disk, "committed", self.path)
        return found

    def executescript(self, sql: str) -> sqlite3.Cursor:
        found = super().executescript(sql)
        self._tell()
        return found

    def _tell(self) -> None:
        (level,) = super().execute("PRAGMA synchronous").fetchone()
        self.disk.committed(self.path, is_durable=level >= 2)


class World:
    """Disks, processes and the clock of one history."""

    data_is_synced = True
    syncs_again = False

    def __init__(self, seed: int, root: Path) -> None:
        self.random = random.Random(seed)
        self.root = root
        self.now = 0.0
        self.calls = 0
        self.story: list[str] = []
        self.disks: list[Disk] = []
        self.processes: list[Process] = []
        self.current: Process | None = None
        self.back = _shut()
        self.befall: Callable[[Disk, str, str], str] = lambda *_: ""
        self.may_switch: Callable[[Disk], bool] = lambda _: True
        self._bytes = random.Random(seed)

    # What the house asks.

    def clock(self) -> float:
        return BEGAN_UNIX + self.now

    def clock_ns(self) -> int:
        return int(self.clock() * 1_000_000_000)

    def ticks(self) -> float:
        return self.now

    def urandom(self, count: int) -> bytes:
        return self._bytes.randbytes(count)

    def pause(self, seconds: float) -> None:
        """The process has nothing to do for so long; who looks on from outside does not wait."""
        if self.current is not None:
            self.current.give_back(seconds)

    def process(self) -> Process:
        assert self.current is not None
        return self.current

    def tell(self, what: str) -> None:
        self.story.append(f"{self.now:9.4f}  {what}")

    # What happens.

    def disk(self, name: str) -> Disk:
        root = self.root / name
        root.mkdir()
        disk = Disk(root, self.call)
        self.disks.append(disk)
        return disk

    def begin(self, name: str, machine: str, main: Callable[[], None]) -> Process:
        process = Process(self, name, machine, main)
        self.processes.append(process)
        return process

    def call(self, disk: Disk, name: str, path: str) -> str:
        """A process asks a disk for something."""
        if self.current is None:
            return "done"
        if self.current.is_dead:
            raise Killed
        self.calls += 1
        self.now += CALL_SECONDS
        if self.random.random() < SWITCHES and self.may_switch(disk):
            self.current.give_back()
        return self.befall(disk, name, path)

    def kill(self, chosen: Callable[[Process], bool]) -> None:
        """SIGKILL; the one that runs ends here."""
        for process in self.processes:
            if chosen(process):
                process.is_dead = True
        if self.current is not None and self.current.is_dead:
            raise Killed

    def run(self, until: float, ended: Callable[[Process], None]) -> None:
        """Let processes work; `ended` is told of each that has."""
        while True:
            gone = [each for each in self.processes if each.is_dead or each.has_ended]
            for process in gone:
                while not process.has_ended:
                    process.take_turn()
                self.processes.remove(process)
            for process in gone:
                ended(process)
            if gone:
                continue
            ready = [each for each in self.processes if each.wake <= self.now]
            if ready:
                self.random.choice(ready).take_turn()
                continue
            wakes = min((each.wake for each in self.processes), default=until)
            if wakes >= until:
                self.now = until
                return
            self.now = wakes

    def put_away(self) -> None:
        """End what still runs."""
        for process in self.processes:
            process.is_dead = True
            while not process.has_ended:
                process.take_turn()
        self.processes.clear()

    # `os`, for what lies on a simulated disk.

    def _of(self, path: Any) -> Disk | None:
        if isinstance(path, int):
            return None
        return next((disk for disk in self.disks if disk.holds(path)), None)

    def _file(self, fd: Any) -> tuple[Disk, Any] | None:
        for process in self.processes:
            if fd in process.files:
                return process.files[fd]
        return None

    def interposed(self) -> dict[str, Callable[..., Any]]:
        """Name of `os` -> what stands in its place."""

        def open_(path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
            disk = self._of(path)
            if disk is None:
                return int(REAL["open"](path, flags, mode, **options))
            fd, node = disk.open(path, flags, mode)
            if self.current is not None:
                self.current.files[fd] = disk, node
            return fd

        def close(fd: int) -> None:
            for process in self.processes:
                process.files.pop(fd, None)
            REAL["close"](fd)

        def on_file(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
            def call(fd: int, *args: Any) -> Any:
                found = self._file(fd)
                return REAL[name](fd, *args) if found is None else do(*found, fd, *args)

            return call

        def on_path(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
            def call(path: Any, *args: Any, **options: Any) -> Any:
                disk = self._of(path)
                return REAL[name](path, *args, **options) if disk is None else do(disk, path, *args, **options)

            return call

        def statvfs(path: Any) -> Any:
            disk = self._of(path)
            return REAL["statvfs"](path) if disk is None else SimpleNamespace(f_bavail=disk.free_bytes, f_frsize=1)

        def scandir(path: Any = ".") -> Any:
            disk = self._of(path)
            if disk is not None and self.current is not None:
                self.call(disk, "scandir", str(path))
            return REAL["scandir"](path)

        def pread(disk: Disk, _node: Any, fd: int, *args: Any) -> Any:
            self.call(disk, "pread", "")
            return REAL["pread"](fd, *args)

        return {
            "open": open_,
            "close": close,
            "pwrite": on_file("pwrite", lambda disk, node, fd, content, at: disk.pwrite(fd, node, content, at)),
            "pread": on_file("pread", pread),
            "fsync": on_file("fsync", lambda disk, node, _fd: disk.sync(node)),
            "fdatasync": on_file("fdatasync", lambda disk, node, _fd: self._sync_data(disk, node)),
            "ftruncate": on_file("ftruncate", lambda disk, node, fd, size: disk.truncate(fd, node, size)),
            "posix_fallocate": on_file(
                "posix_fallocate", lambda disk, node, fd, at, size: disk.allocate(fd, node, at + size)
            ),
            "rename": on_path("rename", lambda disk, source, target: disk.rename(source, target)),
            "replace": on_path("replace", lambda disk, source, target: disk.rename(source, target)),
            "unlink": on_path("unlink", lambda disk, path: disk.unlink(path)),
            "mkdir": on_path("mkdir", lambda disk, path, mode=0o777: disk.mkdir(path, mode)),
            "rmdir": on_path("rmdir", lambda disk, path: disk.rmdir(path)),
            "statvfs": statvfs,
            "scandir": scandir,
            "urandom": self.urandom,
        }

    def _sync_data(self, disk: Disk, node: Any) -> None:
        if self.data_is_synced:
            try:
                disk.sync(node)
            except OSError:
                if not self.syncs_again:
                    raise
                disk.sync(node)

    def connect(self, path: Any, *args: Any, **options: Any) -> sqlite3.Connection:
        """As `sqlite3.connect`, for a database on a simulated disk."""
        disk = self._of(path)
        if disk is None:
            return CONNECT(path, *args, **options)
        connection = CONNECT(path, *args, factory=SeenDatabase, **options)
        connection.disk, connection.path = disk, str(path)
        if self.current is not None and self.may_switch(disk):
            self.current.databases.append(connection)
        return connection


class _The:
    """The world that is at work: one at a time in a process."""

    world: World

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)


THE = _The()
CONNECT = sqlite3.connect
VIRTUAL_TIME = SimpleNamespace(
    monotonic=lambda: THE.ticks(),  # noqa: PLW0108 - of whichever world is at work then
    time=lambda: THE.clock(),  # noqa: PLW0108
    time_ns=lambda: THE.clock_ns(),  # noqa: PLW0108
    sleep=lambda seconds: THE.pause(seconds),  # noqa: PLW0108
)
