"""Tests against changed modules: each run is a fork that imports the house anew, with what is changed in its place."""

import ast
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

HOUSE = Path(__file__).resolve().parents[2]
SECONDS = 120.0
"""A run that lasts longer hangs: `Room.judge` says whether the change or the machine is slow."""
FOUND = "MUTANTS_COVERING"
"""The environment's name of the file that `covering` writes to."""
_OUTSIDE = (
    "cedarpy",
    "cryptography.x509",
    "duckdb",
    "fastapi",
    "httpx",
    "msgspec",
    "prometheus_client",
    "pydantic",
    "_pytest",
    "sqlalchemy",
    "typer",
    "uvloop",
)
"""What no change touches: imported once, before the forks; pytest's own plugins are its own to import."""


class Ended(NamedTuple):
    """How a run ended: pytest's exit status, None where it hangs, and the test that failed first, or ""."""

    status: int | None
    failed: str


class _Told:
    """Writes the name of each test that fails, or of a file that is not imported, to a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            os.write(self._descriptor, f"{report.nodeid}\n".encode())

    pytest_collectreport = pytest_runtest_logreport


class _Planted(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        super().__init__(name, path)
        self._tree = tree

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._tree, self.get_filename(fullname), "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, trees: Mapping[str, ast.Module]) -> None:
        self._trees = trees

    def find_spec(self, name: str, _path: Any, _target: ModuleType | None = None) -> Any:
        if name not in self._trees:
            return None
        path = str(path_of(name))
        return importlib.util.spec_from_file_location(name, path, loader=_Planted(name, path, self._trees[name]))


def path_of(module: str) -> Path:
    """Where a module of the house stands."""
    path = HOUSE / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def prepare() -> None:
    """Import what every fork needs and none changes."""
    os.chdir(HOUSE)
    sys.path.insert(0, str(HOUSE))
    for name in _OUTSIDE:
        importlib.import_module(name)
    assert not [name for name in sys.modules if name.partition(".")[0] == "gateway"], "the house is imported"


def run(
    trees: Mapping[str, ast.Module], tests: Sequence[str], *options: str, seconds: float = SECONDS, shown: bool = False
) -> Ended:
    """How the tests end with those modules in place of theirs."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        status = _forked(lambda: _tried(trees, tests, options, writing, shown=shown), seconds)
        with contextlib.suppress(BlockingIOError):
            return Ended(status, os.read(reading, 1 << 16).decode().partition("\n")[0])
        return Ended(status, "")
    finally:
        os.close(reading)
        os.close(writing)


def _tried(
    trees: Mapping[str, ast.Module], tests: Sequence[str], options: Sequence[str], told: int, *, shown: bool
) -> int:
    import pytest  # noqa: PLC0415 - `prepare` has imported it

    if not shown:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
    sys.meta_path.insert(0, _Finder(trees))
    # No test has a time of its own: on a busy machine that would be a failure, and a failure is a verdict.
    given = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist", "--timeout", "0", *options)
    given += ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # of what `prepare` imported
    return int(pytest.main([*given, *tests], plugins=[_Told(told)]))


def _forked(what: Callable[[], int], seconds: float) -> int | None:
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.setsid()
            status = what()
        except BaseException:  # noqa: BLE001 - a fork says what went wrong, and ends here whatever that was
            traceback.print_exc()
        finally:
            os._exit(status)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            _end(child)
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    _end(child)
    os.waitpid(child, 0)
    return None


def _end(session: int) -> None:
    """End what a run has started and left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)
