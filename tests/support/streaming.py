"""A supplier whose answers never end, and callers that take them slowly through a real gateway."""

import contextlib
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from gateway.runtime.demo.stage import _bearer_token, register_hosts
from gateway.runtime.demo.story import PURPOSE
from tests.support.gateways import RunningGateway

SUPPLIER = "public-security"
DEMAND = "housing-fund"
DATASET = "stream.1"
CHUNK = b"x" * 16384


class EndlessSupplier:
    """An HTTP service on loopback whose every answer is a stream without an end, but what it is told to show."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += connection.recv(65536)
            shown = self.shown.get(asked.split(b" ", 2)[1].decode())
            if shown is not None:
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(shown)}\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode() + shown.encode())
                return
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.sendall(head)
            while True:
                connection.sendall(f"{len(CHUNK):x}\r\n".encode() + CHUNK + b"\r\n")
                time.sleep(0.002)

    def close(self) -> None:
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
        "supply_approval": approval,
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
        "classification": "test",
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
    """Calls the endless interface and reads no further than told, so that every kernel on the way is full."""

    def __init__(self, gateway: RunningGateway, token: str | None = None) -> None:
        address = urlsplit(gateway.data_plane)
        token = token or _bearer_token(f"{gateway.control}/oauth/token", gateway.key)
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.socket.settimeout(20)
        self.socket.connect((address.hostname, address.port))
        head = (
            f"GET /{SUPPLIER}/endless HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}\r\n"
            f"Sharing-Purpose: {PURPOSE}\r\n\r\n"
        )
        self.socket.sendall(head.encode())
        self.status = int(self.socket.recv(64).split()[1])

    def close(self) -> None:
        self.socket.close()


def status_now(gateway: RunningGateway) -> int:
    """The status that a call of the endless interface is answered with now."""
    caller = SlowCaller(gateway)
    caller.close()
    return caller.status
