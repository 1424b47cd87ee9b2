"""The first calls of `docs/callers`, each in its language, against a running gateway."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.runtime.demo.story import PURPOSE, SYSTEM
from tests.support.gateways import RunningGateway, running_gateway
from tests.support.loopback import Eavesdropper

pytestmark = pytest.mark.deep

CALLERS = Path(__file__).parents[3] / "docs" / "callers"
FIRST_CALLS = {
    "java": ["java", str(CALLERS / "java" / "FirstCall.java")],
    "node": ["node", str(CALLERS / "node" / "first-call.mjs")],
    "go": ["go", "run", str(CALLERS / "go" / "first_call.go")],
    "curl": [str(CALLERS / "shell" / "first-call.sh")],
}
"""By the program that must be here; C# needs .NET, which no test machine of ours has."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """One furnished gateway for the module."""
    with running_gateway(tmp_path_factory.mktemp("home") / "var") as running:
        yield running


def run(command: list[str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command, where the environment names a proxy: it uses none. Go leaves loopback out by itself."""
    proxy = Eavesdropper()
    try:
        return subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
            env={**os.environ, **proxy.environment, "GOFLAGS": "-mod=mod", "GO111MODULE": "off"},
        )
    finally:
        proxy.close()
        assert proxy.heard == 0, f"`{command[0]}` asked the environment's proxy"


def test_first_call_that_cannot_be_tried_here_names_no_proxy() -> None:
    """Go takes no proxy for loopback, and .NET is not here: what each sets stands in the file."""
    assert "Proxy: nil" in (CALLERS / "go" / "first_call.go").read_text("utf-8")
    assert "UseProxy = false" in (CALLERS / "csharp" / "FirstCall.cs").read_text("utf-8")


@pytest.mark.parametrize("program", FIRST_CALLS)
def test_first_call_gets_the_granted_items(gateway: RunningGateway, program: str, tmp_path: Path) -> None:
    """Token, nonces, proofs and call as the file has them; the answer holds the granted items alone."""
    if shutil.which(program) is None:
        pytest.skip(f"`{program}` is not here")
    key = tmp_path / "system.pem"
    key.write_text(gateway.key, encoding="ascii")
    person = gateway.population.persons[3]
    url = f"{gateway.data_plane}/public-security/persons?id_number={person['id_number']}"
    endpoint = f"{gateway.control}/oauth/token"
    done = run(FIRST_CALLS[program], endpoint, SYSTEM, str(key), PURPOSE, url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"] == [
        {"name": person["name"], "birth_date": person["birth_date"], "address": {"city": person["address"]["city"]}}
    ]
    assert "record " in done.stderr
    refused = run(FIRST_CALLS[program], endpoint, SYSTEM, str(key), "another-purpose", url)
    assert refused.returncode == 1
    assert "/problems/purpose-not-granted" in refused.stderr


def test_national_platform_call_is_signed_as_the_gateway_reads_it(gateway: RunningGateway, tmp_path: Path) -> None:
    """A Java caller of a national platform's contract passes with a legacy key and nothing else."""
    if shutil.which("java") is None:
        pytest.skip("`java` is not here")
    secret = tmp_path / "secret"
    secret.write_text("a secret of thirty-two characters", encoding="ascii")
    with gateway.officer() as api:
        api.put(
            f"/v1/systems/{SYSTEM}/legacy-keys/gjgxjhpt/rid-0001",
            {"purpose": PURPOSE, "secret": secret.read_text("ascii")},
        )
    person = gateway.population.persons[4]
    url = f"{gateway.data_plane}/civil-affairs/marriages?id_number={person['id_number']}"
    signed = ["java", str(CALLERS / "java" / "NationalPlatformCall.java")]
    done = run(signed, "rid-0001", "sid-0001", str(secret), url)
    assert done.returncode == 0, done.stderr
    assert all(set(row) <= {"status", "registered_on"} for row in json.loads(done.stdout)["data"])
    secret.write_text("another one of thirty-two letters", encoding="ascii")
    forged = run(
        ["java", str(CALLERS / "java" / "NationalPlatformCall.java")], "rid-0001", "sid-0001", str(secret), url
    )
    assert forged.returncode == 1
    assert "/problems/credential-invalid" in forged.stderr
