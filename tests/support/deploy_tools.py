"""Finds the programs that check deploy/: on the path, or where deploy/tools puts them."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def tool(name: str) -> str | None:
    """The program's path, or None."""
    places = f"{ROOT / 'build' / 'tools' / 'bin'}:/usr/sbin:/usr/bin:/usr/local/bin"
    return shutil.which(name) or shutil.which(name, path=places)


def needs(name: str) -> pytest.MarkDecorator:
    """Skip, and say why, where the program is missing."""
    return pytest.mark.skipif(tool(name) is None, reason=f"{name} is not here: deploy/tools says how to get it")


def run(name: str, *arguments: str | Path) -> str:
    """Run a tool; its output. A failure fails the test with what the tool said."""
    found = tool(name)
    assert found is not None
    done = subprocess.run(
        [found, *map(str, arguments)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said
