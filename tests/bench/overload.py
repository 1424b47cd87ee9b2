"""At twice its capacity: how long served and refused calls take, and how long a stop does.

    python tests/bench/overload.py [--seconds 10] [--callers 1600] [--out tests/bench/results/overload.json]

A real gateway (`gateway serve`, one worker). Two processes find out what it serves with few callers at once (its
capacity), then keep `--callers` connections calling at twice that rate together; meanwhile a grant under which others
stream is suspended and lifted again and again. Times are from a call's writing to its answer's end. `acknowledged` is
the part of a stop from its commit until the worker has confirmed it; `killed` counts workers that were replaced.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[2]))

import uvloop

GRANT = "bench"
STREAMING = 4
STOP = {"violation": "measured", "rectify_by": "2099-12-31"}


class Caller(asyncio.Protocol):
    """One connection that calls at its times, each call after the answer to the one before."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._buffer = b""
        self._began = 0.0
        self._due = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._due = time.monotonic() + self._load.interval * (id(self) % 1009) / 1009
        self._call_later()

    def _call_later(self) -> None:
        now = time.monotonic()
        self._due = max(self._due, now - self._load.interval)
        asyncio.get_running_loop().call_later(max(self._due - now, 0), self._call)
        self._due += self._load.interval

    def _call(self) -> None:
        if time.monotonic() < self._load.until and not self._transport.is_closing():
            self._began = time.monotonic()
            self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0]):
            return
        self._buffer = b""
        took = time.monotonic() - self._began
        if self._began > self._load.since:
            self._load.seen.setdefault(head[9:12].decode(), []).append(took)
        self._call_later()

    def connection_lost(self, exc: BaseException | None) -> None:
        if time.monotonic() < self._load.until:
            self._load.seen.setdefault("lost", []).append(0.0)


class Answering(asyncio.Protocol):
    """A supplier that answers at once."""

    BODY = b'{"data":[{"bytes":"' + b"x" * 200 + b'"}]}'
    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            self._buffer = self._buffer.partition(b"\r\n\r\n")[2]
            self._transport.write(self.ANSWER)


async def supply(sock: socket.socket) -> None:
    """Answer until killed."""
    server = await asyncio.get_running_loop().create_server(Answering, sock=sock, backlog=4096)
    await server.serve_forever()


class Load:
    """What one process of callers does."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.interval = given["callers"] / given["rate"] if given["rate"] else 0.0
        self.until = time.monotonic() + given["seconds"]
        # All callers connect at once: what the kernel makes of that is not what is measured.
        self.since = self.until - given["seconds"] * 0.75
        self.request = given["request"].encode()
        self.seen: dict[str, list[float]] = {}

    async def run(self, host: str, port: int, callers: int) -> None:
        """Call until time is over."""
        loop = asyncio.get_running_loop()
        for _ in range(callers):
            await loop.create_connection(lambda: Caller(self), host, port)
        await asyncio.sleep(max(self.until - time.monotonic(), 0) + 3)


def start_load(**given: Any) -> tuple["subprocess.Popen[bytes]", Path]:
    """A process that calls, and the file in which it says what it saw; `finish` reads that."""
    told = Path(tempfile.mkstemp(dir=given.pop("folder"))[1])
    return subprocess.Popen([sys.executable, __file__, "--load", json.dumps(given), "--out", str(told)]), told


def finish(processes: list[tuple["subprocess.Popen[bytes]", Path]]) -> dict[str, list[float]]:
    """What those processes saw together: seconds by status."""
    seen: dict[str, list[float]] = {}
    for process, told in processes:
        process.wait()
        for status, times in json.loads(told.read_text("utf-8")).items():
            seen.setdefault(status, []).extend(times)
    return seen


def percentiles(seconds: list[float]) -> dict[str, float]:
    """How many, p50, p99 and the most, in milliseconds."""
    ordered = sorted(seconds)
    at = lambda share: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 1)  # noqa: E731 - two uses
    return {"count": len(ordered), "p50_ms": at(0.5), "p99_ms": at(0.99), "most_ms": round(ordered[-1] * 1000, 1)}


def measure(seconds: float, callers: int, folder: Path) -> dict[str, Any]:
    """Capacity, then twice that."""
    from gateway.runtime.demo.stage import bearer_token  # noqa: PLC0415 - the callers' processes need none of it
    from gateway.runtime.demo.story import PURPOSE  # noqa: PLC0415
    from tests.support.gateways import running_gateway  # noqa: PLC0415
    from tests.support.streaming import (  # noqa: PLC0415
        SUPPLIER,
        EndlessSupplier,
        SlowCaller,
        furnish_endless,
        grant_document,
    )

    settings = {"GATEWAY_DATA_PLANE__WORKERS": "1", "GATEWAY_DATA_PLANE__SYSTEM_CONCURRENCY": "4096"}
    with running_gateway(folder / "var", **settings) as gateway, contextlib.ExitStack() as stack:
        supplier = EndlessSupplier()
        stack.callback(supplier.close)
        furnish_endless(gateway, supplier)
        quick = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
        register_quick(gateway, quick)
        process = subprocess.Popen(
            [sys.executable, __file__, "--supply", str(quick.fileno())], pass_fds=[quick.fileno()]
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        address = urlsplit(gateway.data_plane)
        token = bearer_token(f"{gateway.control}/oauth/token", gateway.key)
        given = {
            "folder": folder,
            "host": address.hostname,
            "port": address.port,
            "request": f"GET /{SUPPLIER}/quick HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: Bearer {token}\r\nSharing-Purpose: {PURPOSE}\r\n\r\n",
        }
        few = finish([start_load(**given, seconds=seconds / 2, callers=16, rate=0) for _ in range(2)])
        capacity = len(few["200"]) / (seconds / 2 * 0.75)
        with gateway.officer() as api:
            api.post("/v1/grants", grant_document(GRANT))
            time.sleep(2.5)
            pid = gateway.pid("worker-0")
            streaming = [SlowCaller(gateway, token) for _ in range(STREAMING)]
            stack.callback(lambda: [caller.close() for caller in streaming])
            many = [start_load(**given, seconds=seconds, callers=callers // 2, rate=capacity) for _ in range(2)]
            stops: list[float] = []
            acknowledged: list[float] = []
            unconfirmed = 0
            until = time.monotonic() + seconds
            time.sleep(seconds / 4)
            while time.monotonic() < until - 0.5:
                began = time.monotonic()
                answer = api.post(f"/v1/grants/{GRANT}/suspension", STOP)
                stops.append(time.monotonic() - began)
                acknowledged.append(answer["barrier"]["milliseconds"] / 1000)
                unconfirmed += bool(answer["barrier"]["out"])
                api.post(f"/v1/grants/{GRANT}/suspension/lift", {"reason": "the next round"})
                time.sleep(0.1)
            seen = finish(many)
            return {
                "callers": callers,
                "capacity_a_second": round(capacity),
                "offered_a_second": round(2 * capacity),
                "with_few": percentiles(few["200"]),
                "at_twice": {status: percentiles(times) for status, times in sorted(seen.items())},
                "stop": percentiles(stops),
                "acknowledged": percentiles(acknowledged),
                "unconfirmed": unconfirmed,
                "killed": int(gateway.pid("worker-0") != pid),
            }


def register_quick(gateway: Any, quick: socket.socket) -> None:
    """A dataset of its own, and its interface at a supplier that answers at once; granted."""
    from gateway.runtime.demo.stage import register_hosts  # noqa: PLC0415 - as above
    from gateway.runtime.demo.story import PURPOSE  # noqa: PLC0415 - as above
    from tests.support.streaming import SUPPLIER, grant_document  # noqa: PLC0415 - as above

    url = f"http://127.0.0.1:{quick.getsockname()[1]}"

    def show(_: str, path: str, nonce: str) -> None:
        """Answer the one question for the proof, before the supplier proper does."""
        threading.Thread(target=_show_once, args=(quick, nonce)).start()

    register_hosts(gateway.home, {SUPPLIER: url}, show)
    with gateway.officer() as api:
        entry = {
            "id": "quick.1",
            "code": "quick/1",
            "name": "quick",
            "supplier": SUPPLIER,
            "format": "json",
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
            "id": "quick",
            "supplier": SUPPLIER,
            "dataset": "quick.1",
            "upstream": url,
            "plain_http": True,
            "places": {"bytes": "/bytes"},
            "concurrency": 4096,
        }
        api.post("/v1/directory", {"datasets": [entry], "interfaces": [interface]})
        api.post("/v1/grants", grant_document("quick") | {"dataset": "quick.1"})
    time.sleep(2.5)


def _show_once(quick: socket.socket, nonce: str) -> None:
    connection, _ = quick.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b"
            % (len(nonce), nonce.encode())
        )


def main() -> None:
    """Measure and write the results with the hardware they ran on."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=10)
    options.add_argument("--callers", type=int, default=1600)
    options.add_argument("--out", type=Path)
    options.add_argument("--load", type=json.loads, help=argparse.SUPPRESS)
    options.add_argument("--supply", type=int, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.supply is not None:
        uvloop.run(supply(socket.socket(fileno=chosen.supply)))
        return
    if chosen.load is not None:
        load = Load(chosen.load)
        uvloop.run(load.run(chosen.load["host"], chosen.load["port"], chosen.load["callers"]))
        chosen.out.write_text(json.dumps(load.seen), "utf-8")
        return
    with tempfile.TemporaryDirectory() as folder:
        results = {
            "hardware": f"{os.cpu_count()} CPUs, {platform.processor() or platform.machine()}, {platform.system()}",
            "load_average": round(os.getloadavg()[0], 1),
            **measure(chosen.seconds, chosen.callers, Path(folder)),
        }
    text = json.dumps(results, indent=2)
    print(text)
    if chosen.out is not None:
        chosen.out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
