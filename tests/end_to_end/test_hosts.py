"""HOST-OWNED on a running gateway: no entry reaches through another's host, and a withdrawn one is not called."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import GatewayError
from gateway.runtime.demo.stage import register_hosts
from gateway.runtime.demo.world import directory_document
from tests.support.gateways import RunningGateway, running_gateway, wait_for
from tests.support.nodes import two_nodes
from tests.support.postgres import running_postgres

PERSONS, COMPANIES = "/public-security/persons", "/market-regulation/companies"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path_factory.mktemp("hosts") / "home") as running:
        yield running


def entry(gateway: RunningGateway, **fields: Any) -> dict[str, Any]:
    """The market regulator's own interface, as its officer would register it."""
    document = directory_document({id_: server.url for id_, server in gateway.suppliers.items()})
    (found,) = [each for each in document["interfaces"] if each["supplier"] == "market-regulation"]
    return {**found, **fields}


def test_small_department_reads_nothing_through_the_polices_host(gateway: RunningGateway) -> None:
    """Whatever the address of the police's service is written like; nobody is called, and the police stay well."""
    police = gateway.suppliers["public-security"]
    port = police.url.rpartition(":")[2]
    reached = police.calls
    names = ("127.0.0.1", "LOCALHOST", "2130706433", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "[::ffff:127.0.0.1]")
    hosts = [f"{name}:{port}" for name in names]
    own = [url.partition("://")[2] for url in (gateway.data_plane, gateway.control)]
    with gateway.officer("market-zhao") as api:
        for host in hosts:
            with pytest.raises(GatewayError, match="invalid-input"):
                api.post("/v1/interfaces", entry(gateway, id="mine", upstream=f"http://{host}/api/persons"))
        assert police.calls == reached
        asked: list[str] = []

        def prove(address: str) -> None:
            claim = {"supplier": "market-regulation", "address": address, "tls": False}
            host = api.post("/v1/hosts", claim)["host"]
            asked.append(address)
            api.post(f"/v1/hosts/market-regulation/{host['address']}:{host['port']}/proof", {})

        for address in (*hosts, *own):
            # A claim does not tell whether another has the host; it is never proved.
            with pytest.raises(GatewayError, match=r"invalid-input|host-not-proved"):
                prove(address)
        with pytest.raises(GatewayError, match="act-not-permitted"):
            api.post("/v1/hosts", {"supplier": "public-security", "address": hosts[0], "tls": False})
    assert police.calls == reached + len(asked), "for the proof alone, which the police do not show"


def test_redirect_of_a_supplier_leads_the_gateway_nowhere(gateway: RunningGateway) -> None:
    """A supplier's own host that sends on to another's: the other one is not called."""
    police = gateway.suppliers["public-security"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown = gateway.home.root / "shown"
            is_proof = self.path.startswith("/.well-known/")
            body = shown.read_bytes() if is_proof else b""
            self.send_response(200 if is_proof else 302)
            self.send_header("Location", f"{police.url}/api/persons?id_number=1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        register_hosts(
            gateway.home,
            {"market-regulation": url},
            lambda _url, _path, nonce: Path(gateway.home.root / "shown").write_text(nonce) and None,
        )
        with gateway.officer("market-zhao") as api:
            api.post("/v1/interfaces", entry(gateway, upstream=f"{url}/api/companies"))
        reached = police.calls
        with gateway.client(purpose="social-insurance-enrolment") as client:
            client.get(COMPANIES, params={"uscc": "x"})
        assert police.calls == reached
    finally:
        server.shutdown()
        server.server_close()


def test_withdrawn_host_is_not_called_from_the_return_on(gateway: RunningGateway) -> None:
    """BARRIER: the very next call reaches nobody; registered again it does."""
    police = gateway.suppliers["public-security"]
    number = gateway.population.persons[0]["id_number"]
    host = police.url.partition("://")[2]
    with gateway.client() as client:
        assert client.get(PERSONS, params={"id_number": number}).status_code == 200
        with gateway.officer("police-chen") as api:
            api.post(f"/v1/hosts/public-security/{host}/withdrawal", {"reason": "the service moves"})
        reached = police.calls
        refused = client.get(PERSONS, params={"id_number": number})
        assert (refused.status_code, refused.json()["type"]) == (502, "/problems/supplier-unreachable")
        assert police.calls == reached
        register_hosts(gateway.home, {"public-security": police.url})
        assert wait_for(lambda: client.get(PERSONS, params={"id_number": number}).status_code == 200)


@pytest.mark.deep
def test_no_supplier_is_claimed_where_another_node_listens(tmp_path: Path) -> None:
    """Each node tells the others on what it listens: calls cannot be sent round through the gateway itself."""
    with running_postgres() as postgres, two_nodes(tmp_path, postgres) as nodes, nodes.one.officer() as api:
        for url in (nodes.other.data_plane, nodes.other.control):
            claim = {"supplier": "public-security", "address": url.partition("://")[2], "tls": False}

            def is_refused(claim: dict[str, Any] = claim) -> bool:
                try:
                    api.post("/v1/hosts", claim)
                except GatewayError as error:
                    return "is this gateway itself" in str(error.members)
                return False

            assert wait_for(is_refused), url
