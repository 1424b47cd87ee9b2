"""Real proxies that carry calls by this gateway's decision and record, before a supplier of a running gateway."""

import contextlib
import http.server
import os
import re
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.ledger.verify.record import verify_record
from gateway.runtime.demo.story import SYSTEM
from gateway.runtime.demo.world import grant_documents
from tests.support.beside import gateway_with_checks
from tests.support.deploy_tools import DEPLOY, ROOT, tool
from tests.support.fronts import free_port, started
from tests.support.gateways import RunningGateway, wait_for

pytestmark = pytest.mark.deep

CARRIERS = ("nginx", "haproxy", "caddy", "envoy")
CREDENTIALS = {name: name[0] * 40 for name in (*CARRIERS, "portal")}
PATHS = '{"/api/persons" = "public-security/persons"}'
SETTINGS = (
    "port = 0\nunclosed_seconds = 5.0\ncarriers = [\n"
    + "".join(f'    {{name = "{name}", kind = "{name}", paths = {PATHS}}},\n' for name in CARRIERS)
    + ']\nevaluators = [{name = "portal", departments = ["housing-fund"]}]\n'
)
WHOLE = "G-WHOLE"
PURPOSE = "statistical-survey"
FORGED = {
    "X-Original-URI": "/api/persons/other",
    "X-Forwarded-Uri": "/api/persons/other",
    "X-Forwarded-Method": "POST",
    "Sharing-Carrier": "forged",
    "Sharing-System": "another",
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway that four carriers and one evaluator may ask, with a grant of a whole dataset."""
    with gateway_with_checks(tmp_path_factory.mktemp("home") / "var", SETTINGS, CREDENTIALS) as running:
        with running.officer() as api:
            held = api.get("/v1/datasets/household")["released"]
            wanted = {"id": WHOLE, "items": [item["name"] for item in held["items"]], "purposes": [PURPOSE]}
            api.post("/v1/grants", {**grant_documents(datetime.now(UTC))[0], **wanted})
        yield running


@pytest.fixture(scope="module")
def heard(gateway: RunningGateway) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The address of one who stands before the police's service, and the fields of each request that came there."""
    fields: list[dict[str, str]] = []
    behind = gateway.suppliers["public-security"].url

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            fields.append({name.lower(): value for name, value in self.headers.items()})
            answer = httpx.get(behind + self.path, trust_env=False)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", fields
    server.shutdown()
    server.server_close()


def caddyfile() -> str:
    """The one that docs/beside.md shows."""
    text = re.search(r"```\n(example\.gov\.cn \{.*?)```", (ROOT / "docs" / "beside.md").read_text("utf-8"), re.DOTALL)
    assert text is not None
    return "{\n\tadmin off\n\tauto_https off\n}\n" + text[1].replace("example.gov.cn {", "http://127.0.0.1:8443 {")


def configuration(kind: str, folder: Path) -> tuple[str, list[str]]:
    """The text of a carrier's configuration, and what it is started with before the configuration's path."""
    if kind == "nginx":
        (folder / "carrier.conf").write_text(f'proxy_set_header Sharing-Carrier "{CREDENTIALS[kind]}";', "ascii")
        own = (DEPLOY / "nginx" / "checks.conf").read_text("utf-8")
        own = own.replace("/etc/nginx/sharing_carrier.conf", str(folder / "carrier.conf"))
        own = own.replace("listen 8443", "listen 127.0.0.1:8443")
        head = f"worker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        return f"{head}http {{\naccess_log off;\n{own}}}\n", ["-g", "daemon off; user root;", "-c"]
    if kind == "haproxy":
        own = (DEPLOY / "haproxy" / "checks.cfg").read_text("utf-8")
        own = own.replace("/etc/haproxy/checks.lua", str(DEPLOY / "haproxy" / "checks.lua"))
        return own.replace("bind :8443", "bind 127.0.0.1:8443"), ["-db", "-f"]
    if kind == "caddy":
        return caddyfile(), ["run", "--adapter", "caddyfile", "--config"]
    own = (DEPLOY / "envoy" / "checks.yaml").read_text("utf-8").replace("@SHARING_CARRIER@", CREDENTIALS[kind])
    own = re.sub(r"127\.0\.0\.1, port_value: (\d+)", r"127.0.0.1:\1", own)
    own = own.replace("0.0.0.0, port_value: 8443", "127.0.0.1:8443")
    return own, ["--concurrency", "1", "--use-dynamic-base-id", "-l", "off", "-c"]


@contextlib.contextmanager
def carrying(kind: str, gateway: RunningGateway, supplier: str, folder: Path) -> Iterator[str]:
    """A real carrier before the police's service; yields its base URL."""
    found = tool(kind)
    if found is None:
        pytest.skip(f"{kind} is not here")
    text, options = configuration(kind, folder)
    port = free_port()
    places = {
        "127.0.0.1:8082": gateway.addresses["checks"].removeprefix("http://"),
        "127.0.0.1:9000": supplier,
        "127.0.0.1:8443": f"127.0.0.1:{port}",
    }
    for old, new in places.items():
        assert old in text
        text = text.replace(old, new)
    if kind == "envoy":
        text = re.sub(r"address: 127\.0\.0\.1:(\d+)", r"address: 127.0.0.1, port_value: \1", text)
    file = folder / ("envoy.yaml" if kind == "envoy" else "carrier.cfg")
    file.write_text(text, "utf-8")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SHARING_CHECKS", gateway.addresses["checks"])
        environment.setenv("SHARING_CARRIER", CREDENTIALS[kind])
        with started([found, *options, str(file)], port):
            yield f"http://127.0.0.1:{port}"


def entries_of(gateway: RunningGateway, record: str, count: int = 2) -> list[dict[str, Any]]:
    """The entries of a use, once there are so many."""

    def found() -> Any:
        with gateway.officer("auditor-he") as api, contextlib.suppress(Exception):
            entries = api.get(f"/v1/records/{record}")["entries"]
            return entries if len(entries) >= count else None

    entries = wait_for(found, 40)
    assert entries, "the record does not come"
    return list(entries)


@pytest.mark.parametrize("kind", CARRIERS)
def test_a_carrier_passes_a_call_by_decision_and_record(
    gateway: RunningGateway, heard: tuple[str, list[dict[str, str]]], tmp_path: Path, kind: str
) -> None:
    """RECORD-FIRST, BARRIER: one call passes, its log or call closes the record, its proof verifies; a stop ends it."""
    person = gateway.population.persons[1]
    query = {"id_number": person["id_number"]}
    supplier, fields = heard
    with (
        carrying(kind, gateway, supplier, tmp_path) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=15) as client,
    ):
        auth = gateway.auth(purpose=PURPOSE)
        answer = client.get("/api/persons", params=query, headers=FORGED, auth=auth)
        assert answer.status_code == 200
        assert person["name"] in answer.text
        record = answer.headers["Sharing-Record"]
        told = fields[-1]
        assert (told["sharing-record"], told["sharing-system"], told["sharing-grant"]) == (record, SYSTEM, WHOLE)
        assert not {"authorization", "dpop", "sharing-close"} & told.keys()
        opened, closed = entries_of(gateway, record)
        assert (opened["kind"], opened["use"]["grant"], opened["use"]["assurance"]) == ("use.opened", WHOLE, "dpop")
        assert (closed["kind"], closed["end"], closed["status"]) == ("use.closed", "complete", 200)
        assert closed["bytes"] == len(answer.content) or kind == "haproxy"
        with gateway.officer("auditor-he") as api:
            proof = api.text(f"/v1/records/{record}/proof", part="closed").encode()
        assert verify_record(proof, str(gateway.made["verifier_key"]), record=record).origin == gateway.made["origin"]

        reached = len(fields)
        assert client.get("/api/persons", params=query).status_code == 401
        assert client.get("/api/persons", params=query, auth=gateway.auth()).status_code == 403
        for path in ("/api/persons;x", "/api/persons/%2e%2e/x", "/api/persons//x", "/api/persons-x"):
            assert client.get(path, auth=auth).status_code in {400, 401, 403, 404}, path
        with gateway.officer("police-chen") as api:
            api.post(f"/v1/grants/{WHOLE}/suspension", {"emergency": True, "incident": "a leak was seen"})
        assert client.get("/api/persons", params=query, auth=auth).status_code == 403
        assert len(fields) == reached
        with gateway.officer("police-chen") as api:
            api.post(f"/v1/grants/{WHOLE}/suspension/lift", {"reason": "it was none"})


def test_a_worker_that_is_killed_between_check_and_closing_leaves_a_recovered_record(gateway: RunningGateway) -> None:
    """Its successor records what stood open; a closing that comes later finds nothing."""
    with httpx.Client(base_url=gateway.addresses["checks"], trust_env=False, timeout=15) as client:
        url = httpx.URL("http://supplier.example/api/persons?id_number=x")
        call = httpx.Request("GET", url, headers={"Sharing-Carrier": CREDENTIALS["nginx"]})
        flow = gateway.auth(purpose=PURPOSE).sync_auth_flow(call)
        signed = next(flow)
        while signed.url != url:
            signed = flow.send(httpx.Client(trust_env=False).send(signed))
        described = {
            "X-Original-Method": "GET",
            "X-Original-URI": "/api/persons?id_number=x",
            "X-Forwarded-Host": "supplier.example",
        }
        signed.headers.update(described)
        signed.headers.pop("Host", None)
        answer = client.get("/check", headers=signed.headers)
        assert answer.status_code == 200, answer.text
        for name in ("worker-0", "worker-1"):
            os.kill(gateway.pid(name), signal.SIGKILL)
        kinds = [entry["kind"] for entry in entries_of(gateway, answer.headers["Sharing-Record"])]
        assert kinds == ["use.opened", "recovered"]
        late = {"Sharing-Carrier": CREDENTIALS["nginx"], "Sharing-Close": answer.headers["Sharing-Close"]}
        told = httpx.post(
            f"{gateway.addresses['checks']}/closing", headers={**late, "Sharing-Status": "200"}, trust_env=False
        )
        assert told.status_code == 404


def test_an_evaluator_asks_by_authzen_and_nothing_is_recorded(gateway: RunningGateway) -> None:
    """The same decision as a call's, with what binds; a search says which interfaces a system may use."""
    document: dict[str, Any] = {
        "subject": {"type": "system", "id": "housing-fund-approval", "properties": {"assurance": "dpop"}},
        "action": {"name": "query"},
        "resource": {"type": "interface", "id": "public-security/persons"},
        "context": {"purpose": PURPOSE},
    }
    bearer = {"Authorization": f"Bearer {CREDENTIALS['portal']}"}
    with httpx.Client(base_url=gateway.addresses["checks"], trust_env=False, timeout=15, headers=bearer) as client:
        answer = client.post("/access/v1/evaluation", json=document).json()
        assert (answer["decision"], answer["context"]["grant"]) == (True, WHOLE)
        weaker = {**document, "subject": {"type": "system", "id": "housing-fund-approval"}}
        assert client.post("/access/v1/evaluation", json=weaker).json()["context"]["reason"] == "assurance-too-low"
        found = client.post("/access/v1/search/resource", json={**document, "resource": {"type": "interface"}}).json()
        assert [each["id"] for each in found["results"]] == ["public-security/persons"]
        subjects = client.post("/access/v1/search/subject", json={**document, "subject": {"type": "system"}}).json()
        assert subjects["results"] == []
