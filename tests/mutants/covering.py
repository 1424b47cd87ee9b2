"""Which tests call which function, seen by a plugin of pytest while a room's functions tell that they are called.

What a fixture for several tests calls counts for all of the file.
"""

import json
import os
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.running import FOUND

_now = ""
_called: dict[str, set[str]] = defaultdict(set)


def entered(module: str, function: str) -> None:
    """A function of a room is called."""
    _called[f"{module}:{function}"].add(_now)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, None]:
    global _now  # noqa: PLW0603 - one test runs at a time
    _now = item.nodeid
    yield
    _now = ""


@pytest.hookimpl(hookwrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Generator[None, Any, None]:
    global _now  # noqa: PLW0603 - the same
    before = _now
    if fixturedef.scope != "function":
        _now = before.partition("::")[0]
    yield
    _now = before


def pytest_sessionfinish() -> None:
    # A test with many cases is one test: its name is shorter than theirs.
    found = {name: sorted({test.partition("[")[0] for test in tests} - {""}) for name, tests in sorted(_called.items())}
    Path(os.environ[FOUND]).write_text(json.dumps(found), "utf-8")
