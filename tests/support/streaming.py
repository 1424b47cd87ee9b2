"""A supplier whose answers never end, and callers that take them slowly through a real gateway."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from gateway.runtime.demo.stage import bearer_token, register_hosts
from gateway.runtime.demo.story import PURPOSE
from tests.support.gateways import RunningGateway

SUPPLIER = "public-security"
DEMAND = "housing-fund"
DATASET = "stream.1"
CHUNK = b"x" * 16384


class EndlessSupplier:
    """A service on loopback whose every answer is a stream without an end, but what it is told to show.

    Where the path says `/slow`, the answer comes once it `may_answer`, and ends.

    Args:
        chunk: what is sent again and again.
        content_type: what that is.
        context: for TLS.
    """

    def __init__(
        self,
        chunk: bytes = CHUNK,
        content_type: str = "application/octet-stream",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.shown: dict[str, str] = {}
        self.is_asked_slowly, self.may_answer = threading.Event(), threading.Event()
        self._chunk, self._type, self._context = chunk, content_type.encode(), context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._context is not None:
                with self._context.wrap_socket(connection, server_side=True) as secured:
                    self._answer(secured)
            else:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            if not (data := connection.recv(65536)):
                return
            asked += data
        path = asked.split(b" ", 2)[1].decode()
        whole = self.shown[path].encode() if path in self.shown else None
        if whole is None and path.startswith("/slow"):
            self.is_asked_slowly.set()
            self.may_answer.wait(60)
            whole = self._chunk
        head = b"HTTP/1.1 200 OK\r\nContent-Type: " + self._type + b"\r\n"
        if whole is not None:
            connection.sendall(head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(whole) + whole)
            return
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(f"{len(self._chunk):x}\r\n".encode() + self._chunk + b"\r\n")
            time.sleep(0.002)

    def close(self) -> None:
        self.may_answer.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def grant_document(id_: str) -> dict[str, Any]:
    """A grant of all of the endless dataset."""
    now = datetime.now(UTC)
    approval = {"person": "zhang-san", "at": (now - timedelta(days=1)).isoformat(), "reference": id_}
    return {
        "id": id_,
        "department": DEMAND,
        "dataset": DATASET,
        "items": ["bytes"],
        "purposes": [PURPOSE],
        "modes": ["query"],
        "valid_from": (now - timedelta(days=1)).isoformat(),
        "valid_until": (now + timedelta(days=30)).isoformat(),
        "legal_basis": "Decree 809 Art. 20",
        "scenario": "a test of the barrier",
        "scope_of_use": "this test",
        "demand_approval": approval,
        "supply_approval": {**approval, "person": "li-si"},
    }


def furnish_endless(gateway: RunningGateway, supplier: EndlessSupplier) -> None:
    """Register the endless dataset, the supplier's host and the interface."""
    entry = {
        "id": DATASET,
        "code": "stream/1",
        "name": "endless",
        "supplier": SUPPLIER,
        "format": "opaque",
        "update_cycle": "real-time",
        "sharing_attribute": "conditional",
        "sharing_modes": ["query"],
        "conditions": "as granted",
        "scope": "as granted",
        "purposes": [PURPOSE],
        "grade": 1,
        "classification": "general",
        "items": [{"name": "bytes"}],
    }
    interface = {
        "id": "endless",
        "supplier": SUPPLIER,
        "dataset": DATASET,
        "upstream": supplier.url,
        "plain_http": True,
        "format": "opaque",
        "total_timeout_seconds": 0.0,
    }
    with gateway.officer() as api:
        api.post("/v1/directory", {"datasets": [entry]})
    register_hosts(
        gateway.home, {SUPPLIER: supplier.url}, lambda _, path, nonce: supplier.shown.__setitem__(path, nonce)
    )
    with gateway.officer() as api:
        api.post("/v1/directory", {"interfaces": [interface]})


class SlowCaller:
    """Calls an interface and reads no further than told, so that every kernel on the way is full.

    Args:
        gateway: whom it calls.
        token: a bearer token; by default one is fetched for the demand system.
        path: what it asks for, by default the endless interface.
        fields: header fields in place of token and purpose.
        waits: whether for the answer's first octets.
    """

    def __init__(
        self,
        gateway: RunningGateway,
        token: str | None = None,
        *,
        path: str = f"/{SUPPLIER}/endless",
        fields: Mapping[str, str] | None = None,
        waits: bool = True,
    ) -> None:
        address = urlsplit(gateway.data_plane)
        if fields is None:
            token = token or bearer_token(f"{gateway.control}/oauth/token", gateway.key)
            fields = {"Authorization": f"Bearer {token}", "Sharing-Purpose": PURPOSE}
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.socket.settimeout(20)
        self.socket.connect((address.hostname, address.port))
        told = "".join(f"{name}: {value}\r\n" for name, value in {"Host": address.netloc, **fields}.items())
        self.socket.sendall(f"GET {path} HTTP/1.1\r\n{told}\r\n".encode())
        self.status = int(self.socket.recv(64).split()[1]) if waits else 0

    def close(self) -> None:
        self.socket.close()


def status_now(gateway: RunningGateway) -> int:
    """The status that a call of the endless interface is answered with now."""
    caller = SlowCaller(gateway)
    caller.close()
    return caller.status
