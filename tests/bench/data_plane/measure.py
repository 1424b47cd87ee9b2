"""Load and what it costs: wrk's figures, and the processor time and memory of the processes under test."""

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def cpu_seconds(pids: Sequence[int]) -> float:
    """Processor time of processes, user and system."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICK


def resident_mib(pids: Sequence[int]) -> float:
    """Resident memory of processes, MiB."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * _PAGE / (1 << 20)


def _milliseconds(text: str) -> float:
    match = re.fullmatch(r"([0-9.]+)(us|ms|s|m)", text)
    assert match is not None, text
    return round(float(match[1]) * _UNITS[match[2]], 3)


def load(
    url: str, connections: int, seconds: float, fields: dict[str, str], pids: Sequence[int], script: Path | None = None
) -> dict[str, Any]:
    """Run wrk against `url`; what it says, and what it cost the processes `pids`."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "30s"]
    for name, value in fields.items():
        command += ["-H", f"{name}: {value}"]
    if script is not None:
        command += ["-s", str(script)]
    before = cpu_seconds(pids)
    done = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    cpu = cpu_seconds(pids) - before
    calls = int(re.search(r"(\d+) requests in", done)[1])  # type: ignore[index]
    rate = float(re.search(r"Requests/sec:\s+([0-9.]+)", done)[1])  # type: ignore[index]
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", done)
    errors = re.search(r"Socket errors: (.*)", done)
    return {
        "connections": connections,
        "calls": calls,
        "calls_per_second": round(rate),
        "p50_ms": _milliseconds(re.search(r"\n\s+50%\s+(\S+)", done)[1]),  # type: ignore[index]
        "p99_ms": _milliseconds(re.search(r"\n\s+99%\s+(\S+)", done)[1]),  # type: ignore[index]
        "cpu_us_per_call": round(cpu / max(calls, 1) * 1e6, 1),
        "calls_per_cpu_second": round(calls / cpu) if cpu else None,
        "memory_mib": round(resident_mib(pids), 1),
        "not_ok": int(wrong[1]) if wrong else 0,
        "errors": errors[1] if errors else "",
    }


class _Pacer(asyncio.Protocol):
    """One connection that asks at a fixed pace and notes how long each answer took."""

    def __init__(self, request: bytes, took: list[float]) -> None:
        self._request = request
        self._took = took
        self._asked = 0.0
        self._got = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self) -> None:
        if not self._asked:
            self._asked = time.perf_counter()
            self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if end and length and len(body) >= int(length[1]):
            self._took.append(time.perf_counter() - self._asked)
            self._asked, self._got = 0.0, b""


async def paced(host: str, port: int, path: str, fields: dict[str, str], rate: int, seconds: float) -> dict[str, Any]:
    """Latency at a fixed rate over eight connections, milliseconds."""
    loop = asyncio.get_running_loop()
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{lines}\r\n".encode()
    took: list[float] = []
    pacers = [(await loop.create_connection(lambda: _Pacer(request, took), host, port))[1] for _ in range(8)]
    began, sent = loop.time(), 0
    while loop.time() - began < seconds:
        while sent < (loop.time() - began) * rate:
            pacers[sent % len(pacers)].ask()
            sent += 1
        await asyncio.sleep(0.0005)
    for pacer in pacers:
        pacer.transport.close()
    if not took:
        return {"calls": 0, "p50_ms": None, "p99_ms": None}
    took.sort()
    return {
        "calls": len(took),
        "p50_ms": round(took[len(took) // 2] * 1e3, 3),
        "p99_ms": round(took[int(len(took) * 0.99)] * 1e3, 3),
    }
