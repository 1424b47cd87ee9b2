"""Real proxies that carry calls by this gateway's decision and record, before the suppliers of a running gateway."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.ledger.verify.record import verify_record
from gateway.runtime.demo.world import grant_documents
from tests.support.beside import gateway_with_checks
from tests.support.deploy_tools import DEPLOY, tool
from tests.support.fronts import free_port, started
from tests.support.gateways import RunningGateway, wait_for

pytestmark = pytest.mark.deep

CREDENTIAL = "c" * 40
SETTINGS = """
port = 0
unclosed_seconds = 3.0
carriers = [
    {name = "nginx", kind = "nginx", paths = {"/api/persons" = "public-security/persons"}},
]
"""
WHOLE = "G-WHOLE"
PURPOSE = "statistical-survey"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with a grant of the whole dataset, for a purpose of its own."""
    folder = tmp_path_factory.mktemp("home") / "var"
    with gateway_with_checks(folder, SETTINGS, {"nginx": CREDENTIAL}) as running:
        now = datetime.now(UTC)
        model = grant_documents(now)[0]
        with running.officer() as api:
            held = api.get("/v1/datasets/household")["released"]
            wanted = {"id": WHOLE, "items": [item["name"] for item in held["items"]], "purposes": [PURPOSE]}
            api.post("/v1/grants", {**model, **wanted})
        yield running


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@contextlib.contextmanager
def nginx(gateway: RunningGateway, folder: Path) -> Iterator[str]:
    """deploy/nginx/checks.conf before the police's service; yields its base URL."""
    found = tool("nginx")
    if found is None:
        pytest.skip("nginx is not here")
    port = free_port()
    carrier = folder / "sharing_carrier.conf"
    carrier.write_text(f'proxy_set_header Sharing-Carrier "{CREDENTIAL}";', "ascii")
    text = (DEPLOY / "nginx" / "checks.conf").read_text("utf-8")
    for old, new in (
        ("127.0.0.1:8082", gateway.addresses["checks"].removeprefix("http://")),
        ("127.0.0.1:9000", gateway.suppliers["public-security"].url.removeprefix("http://")),
        ("listen 8443", f"listen 127.0.0.1:{port}"),
        ("/etc/nginx/sharing_carrier.conf", str(carrier)),
    ):
        assert old in text
        text = text.replace(old, new)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"worker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{text}\n}}\n",
        "utf-8",
    )
    with started([found, "-c", str(configuration), "-g", "daemon off; user root;"], port):
        yield f"http://127.0.0.1:{port}"


def record_of(gateway: RunningGateway, id_: str) -> list[dict[str, Any]]:
    """The entries of a use, once it is closed."""

    def closed() -> Any:
        with gateway.officer("auditor-he") as api, contextlib.suppress(Exception):
            entries = api.get(f"/v1/records/{id_}")["entries"]
            return entries if len(entries) > 1 else None

    found = wait_for(closed, 30)
    assert found, "the use was not closed"
    return list(found)


def test_nginx_carries_a_call_by_decision_and_record(gateway: RunningGateway, tmp_path: Path) -> None:
    """One call through auth_request: its answer passes, the log's line closes the record, and the proof verifies."""
    person = gateway.population.persons[1]
    with nginx(gateway, tmp_path) as url, httpx.Client(base_url=url, trust_env=False, timeout=15) as client:
        auth = gateway.auth(purpose=PURPOSE)
        client.auth = auth
        answer = client.get(
            "/api/persons", params={"id_number": person["id_number"]}, headers={"X-Original-URI": "/api/persons/other"}
        )
        assert answer.status_code == 200, (answer.text, (tmp_path / "error.log").read_text())
        assert person["name"] in answer.text
        entries = record_of(gateway, answer.headers["Sharing-Record"])
        assert [entry["kind"] for entry in entries] == ["use.opened", "use.closed"]
        assert (entries[1]["end"], entries[1]["status"]) == ("complete", 200)
        assert entries[1]["bytes"] == len(answer.content)
        with gateway.officer("auditor-he") as api:
            proof = api.text(f"/v1/records/{answer.headers['Sharing-Record']}/proof", part="closed")
        checked = verify_record(
            proof.encode(), str(gateway.made["verifier_key"]), record=answer.headers["Sharing-Record"]
        )
        assert checked.origin == gateway.made["origin"]
