"""The client's own package: built from this repository, it holds the client alone and works where nothing else is."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import gateway

ROOT = Path(__file__).parents[2]
CALL = """
import sys, time
sys.path.insert(0, {wheel!r})
sys.modules["click"] = None  # of httpx's command line, which the client does not bring along
began = time.process_time()
import httpx
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
theirs, before = time.process_time(), set(sys.modules)
import gateway_client
from gateway_client import SharingClient, new_private_key
ours, more = time.process_time(), set(sys.modules) - before
heavy = {{"gateway", "jwt", "asyncio", "anyio", "trio", "prometheus_client", "opentelemetry", "rich", "pydantic"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert len(more) <= 24, sorted(more)
document = {{"access_token": "t", "token_type": "DPoP", "expires_in": 300}}
token = httpx.MockTransport(lambda _: httpx.Response(200, json=document))
plane = httpx.MockTransport(lambda _: httpx.Response(200, json={{"data": [1]}}))
with SharingClient("https://d.example", token_endpoint="https://c.example/t", client_id="s", key=new_private_key(),
                   purpose="p", transport=plane, token_transport=token, environment={{}}) as sharing:
    rows = sharing.call("a/b", id=1).json()["data"]
print(rows, f"{{(theirs - began) * 1000:.0f}} and {{(ours - theirs) * 1000:.0f}} ms")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left behind in the repository."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "clients", source / "clients")
    (source / "gateway").mkdir()
    shutil.copy(ROOT / "gateway" / "__init__.py", source / "gateway")
    shutil.copytree(ROOT / "gateway" / "client", source / "gateway" / "client", ignore=shutil.ignore_patterns("__pyc*"))
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=source / "clients" / "python", check=True, capture_output=True, timeout=120)
    return next(target.glob("*.whl"))


def test_wheel_is_the_client_and_nothing_else(wheel: Path) -> None:
    """Every module of the client, its types marker, the gateway's version; two dependencies."""
    held = {name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name}
    modules = {f"gateway_client/{path.name}" for path in (ROOT / "gateway" / "client").iterdir() if path.is_file()}
    assert held == modules
    assert "gateway_client/py.typed" in held
    assert wheel.name.startswith(f"gateway_client-{gateway.__version__}-")
    project = tomllib.loads((ROOT / "clients" / "python" / "pyproject.toml").read_text("utf-8"))["project"]
    assert [re.split(r"[<>=]", each)[0] for each in project["dependencies"]] == ["cryptography", "httpx"]


def test_client_works_without_the_gateway(wheel: Path) -> None:
    """Under its own name, from the wheel; beyond httpx and cryptography its import loads its own modules and four more.

    What that takes of a processor's time is printed (theirs, ours; below 150 ms in all); modules are what is counted.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", CALL.format(wheel=str(wheel))],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.stdout.startswith("[1]"), done.stderr
    print("import:", done.stdout.split("] ")[1])
