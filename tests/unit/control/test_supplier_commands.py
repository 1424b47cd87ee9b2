"""The commands about suppliers: hosts, certificates, interfaces tried and derived, departments and purposes."""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.cli.directory import read_openapi
from gateway.control.act.examples import CERTIFICATES, DERIVATION, INTERFACE
from gateway.control.suppliers.checks import HostChecks
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import Host, Networks
from gateway.runtime.operation.session.api import Api
from tests.support.control import ISSUER, World

HOST = "records.example:8443"


class Knowing(HostChecks):
    """Every service knows of its claim."""

    def prove(self, host: Host, signature: str | None) -> str:
        """By the nonce, or by a signature where one is given."""
        return "nonce" if signature is None else "certificate"


class Commands:
    """`gateway …` as one officer, over the control API in this process."""

    def __init__(self) -> None:
        self._runner = CliRunner()

    def __call__(self, *words: object, officer: str = "police", fails: bool = False) -> str:
        result = self._runner.invoke(app, [*map(str, words), "--as", officer])
        assert (result.exit_code != 0) == fails, result.output
        return result.output

    def json(self, *words: object, officer: str = "police", fails: bool = False) -> Any:
        return json.loads(self(*words, "--json", officer=officer, fails=fails))


@pytest.fixture
def gateway(world: World, monkeypatch: pytest.MonkeyPatch) -> Commands:
    networks = Networks(["192.0.2.0/24", "2001:db8::/32"])
    known = Knowing(networks, look_up=lambda _name, _port: ("192.0.2.9", "2001:db8::9"))
    object.__setattr__(world.services, "hosts", known)

    @contextmanager
    def open_here(_home: Path, officer: str | None = None, *, otherwise: str = "registrar") -> Iterator[Api]:
        headers = {"Authorization": f"Bearer {world.token(officer or otherwise)}"}
        transport = httpx.ASGITransport(app=world.app, raise_app_exceptions=False)
        with Api(httpx.AsyncClient(base_url=ISSUER, headers=headers, transport=transport), asyncio.Runner()) as api:
            yield api

    for name in ("directory", "departments", "hosts", "certificates", "credentials", "interfaces"):
        monkeypatch.setattr(sys.modules[f"gateway.cli.{name}"], "open_api", open_here)
    return Commands()


def test_host_goes_through_its_three_commands(gateway: Commands, tmp_path: Path) -> None:
    """What each prints leads to the next."""
    claimed = gateway("hosts", "claim", "public-security", HOST, "--share", "/civil=civil-affairs")
    assert "192.0.2.9" in claimed
    assert "/.well-known/sharing-gateway/public-security" in claimed
    assert f"gateway hosts prove public-security {HOST}" in claimed
    signature = tmp_path / "proof.sig"
    signature.write_bytes(b"x")
    proved = gateway("hosts", "prove", "public-security", HOST, "--signature", signature)
    assert f"gateway hosts confirm public-security {HOST}" in proved
    assert "confirmed" in gateway("hosts", "confirm", "public-security", HOST, officer="registrar")
    (row,) = [each for each in gateway.json("hosts", "list")["items"] if each["address"] == "records.example"]
    assert (row["state"], row["proof"], row["shares"]) == ("confirmed", "certificate", {"/civil": "civil-affairs"})
    assert "records.example" in gateway("hosts", "list")
    gateway("hosts", "withdraw", "public-security", HOST, "--reason", "moved")
    gateway("hosts", "prove", "public-security", HOST, fails=True)
    gateway("hosts", "claim", "public-security", HOST, "--share", "civil", fails=True)


def test_certificates_are_added_listed_and_withdrawn(gateway: Commands, tmp_path: Path) -> None:
    """From PEM files; a DER file is told what to do."""
    file = tmp_path / "ca.pem"
    file.write_text(CERTIFICATES["pem"])
    assert "good until 2056" in gateway("certificates", "add", "public-security", "police-ca", file)
    assert gateway.json("certificates", "list")["items"][0]["name"] == "police-ca"
    assert "police-ca" in gateway("certificates", "list")
    gateway("certificates", "withdraw", "public-security", "police-ca", "--reason", "replaced")
    file.write_bytes(b"\x30\x82\xff")
    assert "openssl" in gateway("certificates", "add", "public-security", "police-ca", file, fails=True)


def test_credentials_are_added_from_a_file_listed_and_withdrawn(gateway: Commands, tmp_path: Path) -> None:
    """A line end behind the secret is none of it; nothing that is printed holds it."""
    file = tmp_path / "secret"
    file.write_text("s3cret-word\n")
    add = ("credentials", "add", "public-security", "appcode", "--kind", "field", "--field", "X-Key")
    printed = gateway(*add, "--secret-file", file)
    assert gateway.json("credentials", "list")["items"][0]["name"] == "appcode"
    printed += gateway("credentials", "list") + gateway(*add, "--secret-file", file, "--overlap", "60")
    printed += gateway("credentials", "withdraw", "public-security", "appcode", "--reason", "replaced")
    assert "s3cret-word" not in printed
    file.write_bytes(b"\xff\xfe")
    assert "UTF-8" in gateway(*add, "--secret-file", file, fails=True)


def test_interface_is_tried_and_not_registered_where_it_cannot_work(gateway: Commands, tmp_path: Path) -> None:
    """By a saved answer; the faults are the exit status."""
    entry, answer = tmp_path / "i.json", tmp_path / "a.json"
    entry.write_text(json.dumps({**INTERFACE, "id": "tried"}))
    row = {"name": "张三", "id_number": "1", "marital_status": "x", "phone": "1"}
    answer.write_text(json.dumps({"code": 0, "data": [row]}), "utf-8")
    told = gateway("interfaces", "try", entry, "--answer", answer)
    assert "1 rows" in told
    assert "/phone" in told
    answer.write_text(json.dumps({"code": 0, "data": {"records": [row]}}), "utf-8")
    assert "cannot work" in gateway("interfaces", "try", entry, "--answer", answer, fails=True)
    gateway("directory", "register", entry, "--answer", answer, fails=True)
    assert "tried" not in gateway("directory", "list", "interfaces")
    entry.write_text(json.dumps({**INTERFACE, "id": "tried", "rows": "/data/records"}))
    told = gateway("directory", "register", entry, "--answer", answer)
    assert "1 rows" in told
    assert "is registered" in told
    assert "not tried" not in told
    assert "tried" in gateway("directory", "list", "interfaces")
    entry.write_text(json.dumps({**INTERFACE, "id": "bare", "places": {"name": "/name"}}))
    told = gateway("directory", "register", entry, "--untried")
    assert "not tried, and may yet find nothing: public-security/bare" in told
    assert "items without a place never leave: id_number, marital_status" in told


def test_derivation_prints_methods_and_envelope(gateway: Commands, tmp_path: Path) -> None:
    """From YAML as from JSON; aliases, which can stand for a huge document, are refused."""
    file = tmp_path / "openapi.yaml"
    file.write_text(json.dumps(DERIVATION["openapi"]))
    words = ("directory", "derive", file, "--path", "/persons", "--dataset", INTERFACE["dataset"], "--id", "x")
    told = gateway(*words)
    assert "methods: GET" in told
    assert "under every grant: nothing" in told
    file.write_text("openapi: 3.0.3\ninfo: {version: 2020-01-01}\npaths: {/a: {get: {}}}\n")
    assert read_openapi(file)["info"]["version"] == "2020-01-01"
    for content in ("a: &x [1]\nb: [*x, *x]\n", "a: [", "\t- : :", "!!python/object:os.system {}"):
        file.write_text(content)
        with pytest.raises(GatewayError, match="invalid-input"):
            read_openapi(file)


def test_departments_and_purposes_are_added_one_by_one(gateway: Commands) -> None:
    """And found again; entries by their state, with their code as it was given."""
    gateway(
        *("departments", "add", "education", "--name", "市教育局", "--region", "442000", "--level", "city"),
        officer="registrar",
    )
    gateway("purposes", "add", "enrolment", "--name", "入学", officer="province")
    assert "education" in gateway("departments", "list", "--region", "4420")
    assert "enrolment" in gateway("purposes", "list")
    assert "enrolment" in {each["id"] for each in gateway.json("purposes", "list")["items"]}
    assert gateway.json("directory", "list", "--state", "submitted")["items"] == []
    assert gateway.json("directory", "list")["items"][0]["code"] == "307010001/000012"
