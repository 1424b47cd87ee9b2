"""Suppliers as they are, on a running gateway: a package in SOAP, JSON in a string, GBK, a fault, a shape unknown.

And what they ask of whoever calls them: a key in a field or a parameter, a password, a token.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pytest

from gateway.domain.errors import GatewayError
from gateway.runtime.demo.stage import register_hosts
from tests.support.gateways import RunningGateway, running_gateway, wait_for

PERSONS = "/public-security/persons"
PACKAGE = (
    '<?xml version="1.0" encoding="UTF-8"?><PACKAGE><PACKAGEHEAD><FHDM>{code}</FHDM><FHMS>{said}</FHMS></PACKAGEHEAD>'
    '<DATA><RECORD no="1"><GMSFHM>SECRET</GMSFHM><XM>王小明</XM><CSRQ>1990-03-07</CSRQ></RECORD></DATA></PACKAGE>'
)
SOAP = (
    '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><n:out xmlns:n="urn:n">{}'
    "</n:out></soap:Body></soap:Envelope>"
)
WAY = "/*:Envelope/*:Body/*:out~xml/PACKAGE"
SUBJECT = ("subject_parameter", "scope_parameters")
CODE = {"type": "code", "most": 8}


class Spoken(ThreadingHTTPServer):
    """A supplier that answers what it is told, to whoever shows what it `wants`."""

    content, kind = b"", "text/xml; charset=utf-8"
    wants = b""
    tokens = 0
    proof = Path()

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Spoken)
        content = server.proof.read_bytes() if self.path.startswith("/.well-known/") else server.content
        self.seen = [
            self.path.encode(),
            *(f"{name.title()}: {value}".encode("latin-1") for name, value in self.headers.items()),
        ]
        self.answer(200 if server.wants in b"\n".join(self.seen) else 401, content)

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Spoken)
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        is_client = self.headers["Authorization"] == "Basic Z2F0ZTpzMQ==" and b"client_credentials" in asked
        server.tokens += is_client
        server.wants = b"Bearer token-%d" % server.tokens
        told = {"access_token": f"token-{server.tokens}", "token_type": "bearer", "expires_in": 3600}
        self.answer(200 if is_client else 401, json.dumps(told).encode())

    def answer(self, status: int, content: bytes) -> None:
        server = self.server
        assert isinstance(server, Spoken)
        self.send_response(status)
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, Spoken]]:
    """A gateway, and a host of the police that answers in ways of its own."""
    with running_gateway(tmp_path_factory.mktemp("spoken") / "home") as gateway:
        supplier = Spoken()
        supplier.proof = gateway.home.root / "shown"
        try:
            register_hosts(
                gateway.home,
                {"public-security": supplier.url},
                lambda _url, _path, nonce: supplier.proof.write_text(nonce) and None,
            )
            yield gateway, supplier
        finally:
            supplier.shutdown()
            supplier.server_close()


def register(gateway: RunningGateway, supplier: Spoken, **changes: Any) -> None:
    """The police's interface as it is now; its supplier asks for no credential yet."""
    supplier.wants, supplier.kind, supplier.tokens = b"", "text/xml; charset=utf-8", 0
    with gateway.officer() as api:
        found = next(each for each in api.get("/v1/interfaces")["items"] if each["id"] == "persons")
        kept = {name: found[name] for name in ("id", "supplier", "dataset", "title", "modes", "plain_http", *SUBJECT)}
        api.post("/v1/interfaces", {**kept, "envelope": [], "upstream": f"{supplier.url}/x", **changes})


def test_what_suppliers_really_say_leaves_as_granted(spoken: tuple[RunningGateway, Spoken]) -> None:
    """GRANTED-ITEMS-ONLY and KNOWN-SHAPE: names leave in the form they came in; what is unknown is told."""
    gateway, supplier = spoken
    number = gateway.population.persons[0]["id_number"]
    register(
        gateway,
        supplier,
        format="xml",
        rows=f"{WAY}/DATA/RECORD",
        places={"name": "/XM", "birth_date": "/CSRQ", "id_number": "/GMSFHM"},
        envelope_members={f"{WAY}/PACKAGEHEAD/FHDM": CODE, f"{WAY}/PACKAGEHEAD/FHMS": {"type": "text", "most": 20}},
        code_at=f"{WAY}/PACKAGEHEAD/FHDM",
        code_meanings={"10": "成功"},
    )
    with gateway.client() as client:

        def ask() -> Any:
            return client.get(PERSONS, params={"id_number": number})

        supplier.content = SOAP.format(escape(PACKAGE.format(code="10", said="SECRET 110101199003070000"))).encode()
        assert wait_for(lambda: ask().headers["content-type"] == "text/xml; charset=utf-8")
        answer = ask()
        out = ET.fromstring(answer.content).find(".//{urn:n}out")
        assert out is not None
        inner = ET.fromstring(out.text or "")
        assert [(each.tag, each.text) for each in inner.iter() if each.text] == [
            ("FHDM", "10"),
            ("FHMS", "成功"),
            ("XM", "王小明"),
            ("CSRQ", "1990-03-07"),
        ]
        assert (b"SECRET" in answer.content, len(answer.content)) == (False, int(answer.headers["content-length"]))

        supplier.content = SOAP.format(escape("<PACKAGE><LIST><XM>SECRET</XM></LIST></PACKAGE>")).encode()
        refused = ask()
        assert (refused.status_code, refused.json()["type"]) == (502, "/problems/answer-not-filterable")
        wait_for(lambda: "(found: /Envelope" in gateway.log.read_text("utf-8"))
        assert "SECRET" not in gateway.log.read_text("utf-8")

        register(
            gateway,
            supplier,
            format="json",
            rows="/datas~json/data",
            charset="gbk",
            places={"name": "/xm", "birth_date": "/csrq", "id_number": "/sfzh"},
            envelope_members={"/code": CODE},
        )
        datas = {"success": True, "data": [{"xm": "王小明", "sfzh": "SECRET"}]}
        supplier.kind = "application/json;charset=UTF-8"
        supplier.content = json.dumps({"code": "00", "datas": json.dumps(datas)}, ensure_ascii=False).encode("gbk")
        assert wait_for(lambda: ask().headers["content-type"] == "application/json; charset=gbk")
        left = json.loads(ask().content.decode("gbk"))
        assert (left["code"], json.loads(left["datas"])) == ("00", {"data": [{"xm": "王小明"}]})


def test_an_entry_that_could_never_find_its_rows_is_no_entry(spoken: tuple[RunningGateway, Spoken]) -> None:
    """What is wrong is said, and where: places, members beside the rows, meanings without a code, character sets."""
    gateway, supplier = spoken
    good: dict[str, Any] = {"format": "xml", "rows": "/P/D/R", "places": {"name": "/XM"}}
    for field, changes in (
        ("rows", {"rows": "P/D/R"}),
        ("rows", {"rows": "/P/@R"}),
        ("rows", {"rows": "/P~json/a~xml/b/c~json/d"}),
        ("places", {"places": {"name": "/n:XM"}}),
        ("places", {"places": {"name": "/XM~json/a"}}),
        ("envelope_members", {"envelope_members": {"/P/D/R/CODE": CODE}}),
        ("envelope_members", {"envelope_members": {"/P/XM": CODE}}),
        ("envelope_members", {"envelope_members": {"/P/C": {"type": "integer", "most": 0}}}),
        ("failed_when", {"failed_when": {"/P/X~json/a": ["1"]}}),
        ("code_at", {"code_meanings": {"1": "x"}}),
        ("charset", {"charset": "big5"}),
        ("match_codes", {"match_codes": {"city": ["1"]}}),
    ):
        with pytest.raises(GatewayError, match="invalid-input") as refused:
            register(gateway, supplier, **{**good, **changes})
        assert field in {fault["field"] for fault in refused.value.members["faults"]}, field


KEY = {"supplier": "public-security", "name": "key"}
APPCODE = {"field": "X-Api-Key", "prefix": "APPCODE "}


@pytest.mark.parametrize("kind", ["field", "oauth"])
def test_suppliers_are_shown_what_they_ask_for(spoken: tuple[RunningGateway, Spoken], kind: str) -> None:
    """Beside no field of the caller's; another secret needs no restart, and none is written anywhere."""
    gateway, supplier = spoken
    number = gateway.population.persons[0]["id_number"]
    is_token = kind == "oauth"
    said = {"user": "gate", "token_url": f"{supplier.url}/token"} if is_token else APPCODE
    with gateway.officer() as api:
        api.post("/v1/credentials", {**KEY, "kind": kind, "secret": "not-yet", **said})
    register(gateway, supplier, places={"name": "/xm"}, credential="key")
    supplier.kind, supplier.content = "application/json", b'{"data":[{"xm":"\xe7\x8e\x8b"}]}'
    with gateway.client() as client:

        def ask() -> Any:
            return client.get(PERSONS, params={"id_number": number}, headers={"X-Api-Key": "mine"})

        supplier.wants = b"Bearer token-" if is_token else b"X-Api-Key: APPCODE s1"
        refused = ask()
        assert (refused.status_code, refused.json()["type"]) == (502, "/problems/supplier-refused")
        with gateway.officer() as api:
            api.post("/v1/credentials", {**KEY, "kind": kind, "secret": "s1", "overlap_seconds": 60, **said})
        assert wait_for(lambda: ask().status_code == 200)
        assert ask().json()["data"] == [{"xm": "王"}]
        supplier.wants = b"X-Api-Key: mine"
        assert (ask().status_code, supplier.tokens) == ((200, 1) if is_token else (502, 0))
    kept = b"".join(
        file.read_bytes() for file in gateway.home.root.rglob("*") if file.is_file() and "keys" not in str(file)
    )
    assert (b"not-yet" in kept, b"token-1" in kept, b"APPCODE s1" in kept) == (False, False, False)
