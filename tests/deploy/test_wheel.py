"""The wheel carries all that the gateway needs: policies, migrations, texts; and it runs outside the repository."""

import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.support.installed import ROOT, bare_environment, build_wheel, install_alone

PROGRAM_SUFFIXES = {".py", ".cedar", ".cedarschema", ".yaml", ".json", ".html", ".css", ".js", ".svg", ".md", ".typed"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the working tree's sources."""
    return build_wheel(tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def bin_(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel in it."""
    return install_alone(wheel, tmp_path_factory.mktemp("venv"))


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
def test_wheel_makes_and_runs_a_gateway_outside_the_repository(bin_: Path, tmp_path: Path) -> None:
    """`gateway init`, `policies check` and `serve` from the wheel alone, in an empty folder."""
    environment = bare_environment(bin_, tmp_path, GATEWAY_DATA_PLANE__PORT="0", GATEWAY_CONTROL__PORT="0")

    def gateway(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(bin_ / "gateway"), *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    python = [str(bin_ / "python"), "-c", "import gateway; print(gateway.__file__)"]
    where = subprocess.run(python, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert where.startswith(str(bin_.parent)), where

    made = gateway("init", "home", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["verifier_key"]
    assert (tmp_path / "home" / "state.db").exists()
    checked = gateway("policies", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr

    server = subprocess.Popen(
        [str(bin_ / "gateway"), "serve", "--home", "home", "--json"],
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
