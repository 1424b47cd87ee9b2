"""The built wheel in an environment of its own, with what it declares to need and nothing else."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def build_wheel(source: Path, target: Path) -> Path:
    """The wheel of the working tree's sources, built from a copy so that nothing is left behind in the repository."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in ("gateway", "policies", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    return next(target.glob("*.whl"))


def install_alone(wheel: Path, folder: Path) -> Path:
    """Make an environment that holds the wheel and the distributions it requires, without extras; returns its `bin`.

    Its dependencies are links to this environment's own: no index is asked, and what the wheel does not declare is not
    there to be imported.
    """
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*command, "--disable-pip-version-check", str(wheel)], check=True, timeout=120)
    for each in _required("sharing-gateway"):
        for top in {file.parts[0] for file in each.files or () if file.parts[0] not in {"..", "__pycache__"}}:
            link = site / top
            if not link.exists():
                link.symlink_to(Path(str(each.locate_file(top))).resolve())
    return folder / "bin"


def _required(name: str, extras: frozenset[str] = frozenset()) -> list[Distribution]:
    """The distributions that one needs, with theirs."""
    found: dict[str, Distribution] = {}
    waiting = [(name, extras)]
    seen = set()
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        for text in distribution(one[0]).requires or ():
            wanted = Requirement(text)
            if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in (*one[1], "")):
                continue
            try:
                found[wanted.name] = distribution(wanted.name)
            except PackageNotFoundError:
                continue  # for another platform or Python
            waiting.append((wanted.name, frozenset(wanted.extras)))
    return list(found.values())


def bare_environment(bin_: Path, home: Path, **more: str) -> dict[str, str]:
    """The variables of a shell in which nothing of the gateway or of Python is set."""
    kept = {name: value for name, value in os.environ.items() if name in {"LANG", "LC_ALL", "TMPDIR", "TZ"}}
    return {**kept, "PATH": f"{bin_}:/usr/local/bin:/usr/bin:/bin", "HOME": str(home), **more}
