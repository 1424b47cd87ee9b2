"""Checks and evaluations of one desk: how many a second of its core, and how long one takes over one connection.

A desk over ports in memory stands in a process of its own: what is measured is the listener's framing, who asks,
the call, the answer. Deciding, identity and the journal are measured by their own benchmarks.
"""

import asyncio
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from multiprocessing import Process, Queue
from pathlib import Path
from typing import Any

import uvloop

from tests.support.beside import CREDENTIALS, asking, check
from tests.support.proxy_ports import House, interface_for, permit

DEPTH = 32

EVALUATION = json.dumps(
    {
        "subject": {"type": "system", "id": "alice"},
        "action": {"name": "query"},
        "resource": {"type": "interface", "id": "hukou/person"},
        "context": {"purpose": "p"},
    }
).encode()
QUESTIONS = {
    "check": check(),
    "evaluation": (
        f"POST /access/v1/evaluation HTTP/1.1\r\nHost: pdp\r\nAuthorization: Bearer {CREDENTIALS['pdp']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(EVALUATION)}\r\n\r\n"
    ).encode()
    + EVALUATION,
}


async def _serve(port: "Queue[int]", done: "Queue[float]") -> None:
    house = House(interface_for(1))
    house.verdict = permit(all_items=True)
    with tempfile.TemporaryDirectory() as folder:
        async with asking(house, Path(folder), seconds=1) as at:
            port.put(at.port)
            while os.getppid() != 1:
                await asyncio.sleep(0.2)
                house.ledger.events.clear()
                house.calls.clear()
                house.heads.clear()
                house.peers.clear()
                done.put(time.process_time())


def _run(port: "Queue[int]", done: "Queue[float]") -> None:
    uvloop.run(_serve(port, done))


def _ask(port: int, question: bytes, calls: int, depth: int) -> list[float]:
    """Seconds that each call took; `depth` are on their way at once."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    took: list[float] = []
    for _ in range(calls // depth):
        began = time.perf_counter()
        connection.sendall(question * depth)
        seen = b""
        while seen.count(b"HTTP/1.1 200") < depth or not _is_whole(seen):
            seen += connection.recv(1 << 20)
        took += [(time.perf_counter() - began) / depth] * depth
    connection.close()
    return took


def _is_whole(seen: bytes) -> bool:
    head, _, content = seen[seen.rindex(b"HTTP/1.1 200") :].partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    return len(content) >= length


def _latest(done: "Queue[float]") -> float:
    time.sleep(0.5)
    used = 0.0
    while not done.empty():
        used = done.get()
    return used


def measure(calls: int) -> dict[str, Any]:
    """p50 and p99 over one connection, one call after the other; calls a second of the desk's processor time."""
    port: Queue[int] = Queue()
    done: Queue[float] = Queue()
    process = Process(target=_run, args=(port, done), daemon=True)
    process.start()
    at = port.get()
    results: dict[str, Any] = {}
    for name, question in QUESTIONS.items():
        _ask(at, question, 2000, 1)
        alone = _ask(at, question, calls // 4, 1)
        before = _latest(done)
        _ask(at, question, calls, DEPTH)
        used = _latest(done) - before
        results[name] = {
            "p50_ms": round(statistics.median(alone) * 1000, 3),
            "p99_ms": round(sorted(alone)[len(alone) * 99 // 100] * 1000, 3),
            "a_second_of_core": round(calls // DEPTH * DEPTH / used),
        }
    process.terminate()
    process.join()
    return results


if __name__ == "__main__":
    json.dump(measure(5_000 if "--quick" in sys.argv else 40_000), sys.stdout, indent=2)
    sys.stdout.write("\n")
