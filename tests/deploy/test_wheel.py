"""The wheel carries all that the gateway needs: policies, migrations, texts; and it runs outside the repository."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM_SUFFIXES = {".py", ".cedar", ".cedarschema", ".yaml", ".json", ".html", ".css", ".js", ".svg", ".md", ".typed"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the working tree's sources, built from a copy so that nothing is left behind in the repository."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in ("gateway", "policies", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; its dependencies are those of this one, by a path file.

    A path file and not a second installation: no index is asked, and the wheel's own files are still the only
    `gateway` that can be imported, since the editable one here is an import hook that the file does not carry over.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    purelib = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    dependencies = purelib / "dependencies.pth"
    dependencies.write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*command, "--disable-pip-version-check", str(wheel)], check=True, timeout=120)
    return folder


def test_wheel_holds_every_file_of_the_package_and_the_policies(wheel: Path) -> None:
    """What the code reads at run time is in the wheel; what only the repository needs is not."""
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "gateway").rglob("*")
        if path.is_file() and path.suffix in PROGRAM_SUFFIXES
    }
    wanted |= {
        "gateway/_policies/" + str(path.relative_to(ROOT / "policies"))
        for path in (ROOT / "policies").rglob("*")
        if path.is_file()
    }
    assert wanted - held == set()
    assert [name for name in held if name.endswith(".data/data/share/doc/sharing-gateway/operate.md")]
    assert not [name for name in held if name.startswith(("tests/", "deploy/", "docs/", "keys/"))]
    assert [name for name in held if name.endswith("LICENSE")]


@pytest.mark.deep
def test_wheel_makes_and_runs_a_gateway_outside_the_repository(installed: Path, tmp_path: Path) -> None:
    """`gateway init`, `policies check` and `serve` from the wheel alone, in an empty folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "PYTHON"))}
    environment |= {"GATEWAY_DATA_PLANE__PORT": "0", "GATEWAY_CONTROL__PORT": "0"}

    def gateway(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(installed / "bin" / "gateway"), *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    python = [str(installed / "bin" / "python"), "-c", "import gateway; print(gateway.__file__)"]
    where = subprocess.run(python, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert where.startswith(str(installed)), where

    made = gateway("init", "home", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["verifier_key"]
    assert (tmp_path / "home" / "state.db").exists()
    checked = gateway("policies", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr

    server = subprocess.Popen(
        [str(installed / "bin" / "gateway"), "serve", "--home", "home", "--json"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        said = json.loads(server.stdout.readline())
        assert re.match(r"http://127\.0\.0\.1:\d+", said["data_plane"])
        seen = gateway("status", "--home", "home")
        assert "gateway in" in seen.stdout
    finally:
        server.terminate()
        server.communicate(timeout=60)
    assert server.returncode == 0
