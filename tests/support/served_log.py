"""A log as another program's server has it: plain C2SP tiles over HTTP on loopback, and whatever that server may do."""

import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from gateway.ledger.log.bundles import encode_bundle
from gateway.ledger.log.checkpoints import Checkpoint
from gateway.ledger.log.notes import Signer, sign_note
from gateway.ledger.log.tiles import WIDTH, bundle_path, tile_path
from gateway.ledger.log.tree import Edge, leaf_hash

Answer = Callable[[BaseHTTPRequestHandler], None]


def plain_tiles(
    entries: Sequence[bytes], origin: str, signer: Signer, *, leaves: Sequence[bytes] | None = None
) -> dict[str, bytes]:
    """Every file of a log of `entries` by its path; with `leaves`, its hashes are those instead of the entries'."""
    edge, files = Edge(), {}
    for level, n, hashes in edge.append(leaves or [leaf_hash(entry) for entry in entries]):
        files[tile_path(level, n)] = hashes
    for level, hashes in enumerate(edge.partial):
        if hashes:
            files[tile_path(level, edge.size >> (8 * (level + 1)), len(hashes) // 32)] = bytes(hashes)
    for at in range(0, len(entries), WIDTH):
        some = entries[at : at + WIDTH]
        files[bundle_path(at // WIDTH, len(some))] = encode_bundle(some)
    files["checkpoint"] = sign_note(Checkpoint(origin, edge.size, edge.root()).text(), origin, signer).encode().encode()
    return files


class LogServer:
    """Serves `files` below `/log/`; a path in `answers` is answered by the first of its list, until that is empty.

    `asked` is every path that was asked for, in order, and `shown` those that came with `Authorization`.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[str] = []
        self.shown: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.removeprefix("/log/")
                site.asked.append(path)
                if self.headers.get("Authorization"):
                    site.shown.append(path)
                if site.answers.get(path):
                    site.answers[path].pop(0)(self)
                elif path in site.files:
                    answer(200, site.files[path])(self)
                else:
                    answer(404)(self)

            def log_message(self, *_said: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/log"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    """An answer of this status, body and header fields (`_` in a name is `-`)."""

    def give(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)
        request.close_connection = "Content_Length" in headers

    return give


def cut(request: BaseHTTPRequestHandler) -> None:
    """The connection ends before an answer."""
    request.close_connection = True
