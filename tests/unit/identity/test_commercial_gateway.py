"""A gateway made with the commercial suite under a passphrase, by the commands alone; the README's call through it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import jwt
import pytest

from gateway.ledger.verify.record import verify_record
from gateway.runtime.demo.world import REGION
from gateway.runtime.home import GatewayHome
from tests.support.gateways import RunningGateway, served_home, wait_for

pytestmark = pytest.mark.deep
ROOT = Path(__file__).parents[3]
PASSPHRASE = "eleven grey herons on a wire"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """The passphrase comes as a systemd credential, for the commands as for the processes."""
    folder = tmp_path_factory.mktemp("commercial")
    credentials = folder / "credentials"
    credentials.mkdir()
    (credentials / "gateway-passphrase").write_text(PASSPHRASE + "\n")
    home = GatewayHome(folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
        line = ["init", str(home.root), "--region", REGION, "--suite", "commercial", "--tokens", "SM2"]
        said = command(*line).stdout
        assert "no certification" in said
        made = {"origin": home.origin(home.settings()), "verifier_key": said.split("for auditors: ")[1].split("\n")[0]}
        with served_home(home, made) as running:
            yield running


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "gateway", *words]
    return subprocess.run(line, env={**os.environ, **environment}, capture_output=True, text=True, check=True)


def test_tokens_calls_and_records_hold_under_it(gateway: RunningGateway) -> None:
    """SM2 signs tokens that workers verify; the log is signed and proven as ever; a rotation keeps the suite."""
    number = gateway.population.persons[0]["id_number"]
    with gateway.client() as client:
        answer = client.get("/public-security/persons", params={"id_number": number})
        assert answer.status_code == 200
        token = answer.request.headers["Authorization"].split(" ")[1]
        assert jwt.get_unverified_header(token)["alg"] == "SM2"
        published = client.get(f"{gateway.control}/.well-known/jwks.json", auth=lambda request: request).json()["keys"]
        assert [(key["crv"], key["alg"]) for key in published] == [("SM2", "SM2")]
        record = answer.headers["Sharing-Record"]
        with gateway.officer("auditor-he") as api:
            asked = {"kind": "use", "limit": 10}
            assert wait_for(lambda: record in {use["record"] for use in api.get("/v1/records", **asked)["items"]})
            proof = api.text(f"/v1/records/{record}/proof")
        assert verify_record(proof.encode(), str(gateway.made["verifier_key"])).origin == gateway.made["origin"]
        command("keys", "rotate", "token", "--reason", "yearly", "--overlap", "0", "--home", str(gateway.home.root))
        again = client.get("/public-security/persons", params={"id_number": number})
        assert again.status_code == 200
    listed = json.loads(command("keys", "list", "--json", "--home", str(gateway.home.root)).stdout)["keys"]
    algorithms = {key["purpose"]: key["algorithm"] for key in listed}
    assert algorithms["token"] == "SM2"
    assert algorithms["pseudonym"] == algorithms["field"] == "commercial"


def test_secrets_on_disk_are_sealed(gateway: RunningGateway) -> None:
    """No key file holds a secret that opens without the passphrase; without it, or with another, no command works."""
    keys = list((gateway.home.root / "keys").glob("*.json"))
    assert {file.stat().st_mode & 0o777 for file in keys} == {0o600}
    assert json.loads((gateway.home.root / "keys" / "ring.json").read_text())["kdf"]["name"] == "scrypt"
    for environment in ({"CREDENTIALS_DIRECTORY": ""}, {"GATEWAY_PASSPHRASE": "another passphrase"}):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            command("officers", "token", "operator", "--home", str(gateway.home.root), **environment)
        assert "passphrase" in refused.value.stderr + refused.value.stdout
        assert PASSPHRASE not in refused.value.stderr
    assert PASSPHRASE not in gateway.log.read_text("utf-8")


@pytest.mark.parametrize("page", ["README.md", "docs/callers.md"])
def test_first_call_of_the_pages_works_as_printed(gateway: RunningGateway, page: str, tmp_path: Path) -> None:
    """The example is run as it stands, but for the two addresses and the person asked for; it fits ten lines."""
    example = re.search(
        r"```python\n((?:import httpx|from gateway).*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL
    )
    assert example is not None
    lines = [line for line in example[1].splitlines() if line.strip()]
    assert next(number for number, line in enumerate(lines, 1) if line.lstrip().startswith("answer = ")) <= 10
    person = gateway.population.persons[0]
    token_endpoint = re.findall(r'"(https?://[^"]+?)/oauth', example[1])[0]
    data_plane = next(each for each in re.findall(r'"(https?://[^"/]+)', example[1]) if each != token_endpoint)
    script = example[1].replace(token_endpoint, gateway.control).replace(data_plane, gateway.data_plane)
    script = script.replace("…", person["id_number"])
    (tmp_path / "system.pem").write_text(gateway.key)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    line = [sys.executable, "-c", script]
    ran = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert person["name"] in ran.stdout
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"{gateway.control}/healthz").status_code == 200
