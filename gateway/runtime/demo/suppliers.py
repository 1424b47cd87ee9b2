"""Three supply departments' service interfaces: real HTTP servers on loopback, as their own systems would serve.

Each answers `GET` in the usual envelope `{"code", "message", "data": […]}` with whole rows: reducing them to what
was granted is the gateway's work. They count the calls that reach them, and keep the last one's trace.
"""

import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gateway.runtime.demo.population import Population

Row = dict[str, Any]
Search = Callable[[dict[str, str]], list[Row]]
PAGE_ROWS = 20


class SupplierServer:
    """One supply department's HTTP service on loopback.

    Args:
        routes: path -> search over the query's parameters.
        port: 0 is one of the system's choice.

    `calls` counts the calls that reached it, `shown` is what it shows to prove that it knows of a claim.
    """

    def __init__(self, routes: dict[str, Search], port: int = 0) -> None:
        self.calls = 0
        self.traceparent = ""
        self.shown: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler(routes))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="supplier", daemon=True)

    @property
    def url(self) -> str:
        """The service's base URL."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Serve in a thread."""
        RUNNING[self.url] = self
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        RUNNING.pop(self.url, None)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self, routes: dict[str, Search]) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                target = urlsplit(self.path)
                if target.path in server.shown:
                    self._send(HTTPStatus.OK, "text/plain", server.shown[target.path].encode())
                    return
                server.calls += 1
                server.traceparent = self.headers.get("traceparent", "")
                search = routes.get(target.path)
                if search is None:
                    self._answer(HTTPStatus.NOT_FOUND, {"code": 404, "message": "no such interface", "data": []})
                    return
                wanted = {name: values[0] for name, values in parse_qs(target.query).items()}
                self._answer(HTTPStatus.OK, {"code": 0, "message": "ok", "data": search(wanted)[:PAGE_ROWS]})

            def _answer(self, status: HTTPStatus, document: dict[str, Any]) -> None:
                body = json.dumps(document, ensure_ascii=False).encode()
                self._send(status, "application/json; charset=utf-8", body)

            def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
                """Keep quiet: the query holds identity numbers."""

        return Handler


RUNNING: dict[str, SupplierServer] = {}
"""The servers that run in this process, by base URL."""


def show(url: str, path: str, nonce: str) -> None:
    """Have the server at a base URL show a nonce, as a supplier's administrator would put a file in its place."""
    RUNNING[url].shown[path] = nonce


def register_servers(population: Population, ports: Mapping[str, int] | None = None) -> dict[str, SupplierServer]:
    """The household, marriage and enterprise registers, by supplier id; not yet started.

    Args:
        population: whom they know.
        ports: where each listens; default: where the system chooses.
    """

    def persons(wanted: dict[str, str]) -> list[Row]:
        return _matching(population.persons, wanted, ("id_number", "region"))

    def marriages(wanted: dict[str, str]) -> list[Row]:
        number = wanted.get("id_number")
        return [
            row for row in population.marriages if number in {row["wife"]["id_number"], row["husband"]["id_number"]}
        ]

    def companies(wanted: dict[str, str]) -> list[Row]:
        return _matching(population.companies, wanted, ("uscc", "region"))

    routes: dict[str, dict[str, Search]] = {
        "public-security": {"/api/persons": persons},
        "civil-affairs": {"/api/marriages": marriages},
        "market-regulation": {"/api/companies": companies},
    }
    return {id_: SupplierServer(searches, (ports or {}).get(id_, 0)) for id_, searches in routes.items()}


def _matching(rows: list[Row], wanted: dict[str, str], keys: tuple[str, ...]) -> list[Row]:
    asked = {key: wanted[key] for key in keys if key in wanted}
    return [row for row in rows if all(row[key] == value for key, value in asked.items())] if asked else []
