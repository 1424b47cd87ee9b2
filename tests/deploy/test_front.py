"""nginx and Envoy in front: the client certificate arrives whole, and what a caller could forge does not."""

import contextlib
import http.client
import http.server
import re
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.deploy_tools import DEPLOY, needs, run, tool
from tests.support.fronts import free_port, make_certificate, nginx_text, running_front

FORGED = {
    "Client-Cert": ":AAAA:",
    "X-SSL-Client-Cert": "forged",
    "X-Forwarded-Client-Cert": "forged",
    "Forwarded": "for=10.0.0.1",
    "X-Forwarded-For": "10.0.0.1",
}


@dataclass
class Behind:
    """What stands in for the gateway: it says what reached it."""

    folder: Path
    data_plane: int = 0
    control: int = 0
    fields: list[dict[str, str]] = field(default_factory=list)
    certificates: list[str] = field(default_factory=list)


@contextlib.contextmanager
def behind(folder: Path) -> Iterator[Behind]:
    """A TLS server that asks for client certificates, and a plain HTTP server that notes header fields."""
    seen = Behind(folder)
    certificate, key = make_certificate(folder, "gateway")
    make_certificate(folder, "control")
    client, _ = make_certificate(folder, "client")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen.fields.append({name.lower(): value for name, value in self.headers.items()})
            if isinstance(self.connection, ssl.SSLSocket):
                peer = self.connection.getpeercert()
                assert peer is not None
                seen.certificates.append(str(dict(part[0] for part in peer["subject"])["commonName"]))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            return

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(client)
    context.verify_mode = ssl.CERT_REQUIRED
    plane = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    plane.socket = context.wrap_socket(plane.socket, server_side=True)
    control = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen.data_plane, seen.control = plane.server_port, control.server_port
    for server in (plane, control):
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield seen
    finally:
        for server in (plane, control):
            server.shutdown()
            server.server_close()


@dataclass(frozen=True)
class Front:
    """The proxy under test: its ports, and what is behind it."""

    data_plane: int
    control: int
    seen: Behind


@pytest.fixture(params=["nginx", "envoy"])
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Front]:
    if tool(request.param) is None:
        pytest.skip(f"{request.param} is not here: deploy/tools says how to get it")
    with (
        behind(tmp_path) as seen,
        running_front(request.param, tmp_path, [seen.data_plane], [seen.control]) as (plane, control),
    ):
        yield Front(plane, control, seen)


def client_context(seen: Behind, authority: str, *, with_certificate: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=seen.folder / f"{authority}.crt")
    if with_certificate:
        context.load_cert_chain(seen.folder / "client.crt", seen.folder / "client.key")
    return context


def get(front: Front, path: str, **fields: str) -> int:
    """The status of a GET on the control plane, through the front."""
    context = client_context(front.seen, "control", with_certificate=False)
    connection = http.client.HTTPSConnection("localhost", front.control, context=context, timeout=10)
    with contextlib.closing(connection):
        for _ in range(100):
            connection.request("GET", path, headers=fields)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 503:  # Envoy's first health check is still on its way
                break
            time.sleep(0.1)
        return answer.status


def test_client_certificate_reaches_the_gateway_in_the_handshake(front: Front) -> None:
    """Data plane: the front is a wire. The gateway's own certificate is seen outside, the caller's inside."""
    context = client_context(front.seen, "gateway", with_certificate=True)
    connection = http.client.HTTPSConnection("localhost", front.data_plane, context=context, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/police/register", headers={"Client-Cert": ":AAAA:"})
        assert connection.getresponse().status == 200
    assert front.seen.certificates == ["client"]


def test_caller_without_certificate_gets_no_further_than_the_handshake(front: Front) -> None:
    """What the gateway requires, the front does not relax."""
    context = client_context(front.seen, "gateway", with_certificate=False)
    connection = http.client.HTTPSConnection("localhost", front.data_plane, context=context, timeout=10)

    def call() -> None:
        connection.request("GET", "/police/register")
        connection.getresponse()

    with contextlib.closing(connection), pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
        call()
    assert front.seen.certificates == []


def test_forged_fields_do_not_reach_the_control_plane(front: Front) -> None:
    """A caller can neither claim a certificate nor another address by a header field."""
    assert get(front, "/v1/grants", **FORGED) == 200
    passed = next(fields for fields in reversed(front.seen.fields) if "x-forwarded-proto" in fields)
    assert passed["x-forwarded-proto"] == "https"
    assert not {"client-cert", "x-ssl-client-cert", "x-forwarded-client-cert", "forwarded"} & set(passed)
    assert passed["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_figures_and_probes_are_not_shown_outside(front: Front, path: str) -> None:
    """They name suppliers and systems, and are for the inside."""
    assert get(front, path) == 404


@needs("nginx")
def test_nginx_accepts_its_configuration(tmp_path: Path) -> None:
    """`nginx -t` on the committed files."""
    with behind(tmp_path) as seen:
        text = nginx_text(tmp_path, [seen.data_plane], [seen.control], free_port(), free_port())
    (tmp_path / "nginx.conf").write_text(text, "utf-8")
    (tmp_path / "proxy_control.conf").write_bytes((DEPLOY / "nginx" / "proxy_control.conf").read_bytes())
    assert "successful" in run("nginx", "-t", "-c", tmp_path / "nginx.conf")


@needs("envoy")
def test_envoy_accepts_its_configuration(tmp_path: Path) -> None:
    """`envoy --mode validate` on the committed file."""
    make_certificate(tmp_path, "control")
    text = (DEPLOY / "envoy" / "envoy.yaml").read_text("utf-8").replace("/etc/envoy/tls", str(tmp_path))
    (tmp_path / "envoy.yaml").write_text(text, "utf-8")
    said = run("envoy", "--mode", "validate", "-c", tmp_path / "envoy.yaml", "-l", "error")
    assert re.search(r"configuration '.*' OK", said)
