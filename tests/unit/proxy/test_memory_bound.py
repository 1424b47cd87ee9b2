"""A worker's memory stays below its stated bound under the worst mix, and comes back."""

import asyncio
import contextlib
import time
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat, Interface
from gateway.proxy import Limits
from tests.support.proxy_ports import CallerSide, Supplier, interface_for
from tests.support.worker_alone import WorkerAlone

MIB = 1 << 20
LIMITS = Limits(
    held_bytes=96 * MIB,
    collect_bytes=8 * MIB,
    collect_total_bytes=96 * MIB,
    connections=4000,
    write_progress_seconds=1000,
    body_progress_seconds=1000,
    header_timeout_seconds=1000,
    gather_seconds=1000,
    circuit_failures=1 << 30,
    system_concurrency=2000,
)
CALLS = 80
"""Callers of each kind; what each would take without a bound is 8 MiB and more."""


def stated_bound_bytes(limits: Limits) -> int:
    """What a worker takes above what it takes at rest (docs/operate.md, "Memory of a worker")."""
    return limits.held_bytes * 3 // 2 + 4 * limits.collect_bytes + limits.connections * 20 * 1024


async def gathered(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
    row = b'{"xm":"' + b"a" * 1000 + b'"}'
    body = b'{"data":[' + b",".join([row] * 7000) + b"]}"
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


async def flood(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        while not writer.transport.is_closing():
            writer.write(b"10000\r\n" + b"[" * 65536 + b"\r\n")
            await writer.drain()


async def long_row(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nf0000\r\n" + b'{"xm":"' + b"a" * 983033 + b"\r\n"
    )
    await asyncio.sleep(1000)


async def long_head(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n" + b"X-Fill: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 700)
    await asyncio.sleep(1000)


async def deaf(reader: asyncio.StreamReader, _: Any, __: bytes) -> None:
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(1000)


KINDS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "gathered": (gathered, {}, "GET"),
    "all-gathered": (gathered, {}, "GET"),
    "all-flood": (flood, {}, "GET"),
    "flood": (flood, {}, "GET"),
    "rows": (long_row, {"format": AnswerFormat.NDJSON}, "GET"),
    "heads": (long_head, {}, "GET"),
    "all-opaque": (flood, {"format": AnswerFormat.OPAQUE}, "GET"),
    "upload": (deaf, {"methods": ("POST",), "body_limit_bytes": 1 << 40}, "POST"),
}


@pytest.mark.deep
@pytest.mark.timeout(300)
def test_a_workers_memory_stays_below_its_bound_under_the_worst_mix() -> None:
    """Callers that do not read, heads and bodies without end, floods, long rows: all at once."""
    with contextlib.ExitStack() as stack:

        async def story() -> None:
            async with contextlib.AsyncExitStack() as suppliers:
                interfaces: list[Interface] = []
                for kind, (answer, entry, _) in KINDS.items():
                    supplier = await suppliers.enter_async_context(Supplier(answer))
                    # Two suppliers of each kind.
                    interfaces += [interface_for(supplier.port, supplier=f"{kind}-{i}", id=kind, **entry) for i in "ab"]
                worker = stack.enter_context(WorkerAlone(interfaces, LIMITS))
                rest_bytes = worker.resident_bytes()
                callers = await attack(worker)
                most_bytes = most_held = 0
                until = time.monotonic() + 20
                while time.monotonic() < until:
                    most_bytes = max(most_bytes, worker.resident_bytes())
                    await asyncio.sleep(0.05)
                    seen = worker.snapshot()
                    most_held = max(most_held, seen["held_bytes"])
                print(
                    f"at rest {rest_bytes >> 20} MiB, most {most_bytes >> 20} MiB, held {most_held >> 20} MiB, {seen}"
                )
                assert most_held <= LIMITS.held_bytes
                # It was an attack: most of what may be held was.
                assert most_held > LIMITS.held_bytes // 2
                assert seen["shed"]["memory"] > 0
                assert most_bytes - rest_bytes < stated_bound_bytes(LIMITS)
                for caller in callers:
                    caller.close()
                await gone(worker)
                back_bytes = worker.resident_bytes() - rest_bytes
                print(f"afterwards {back_bytes >> 20} MiB above rest")
                assert worker.snapshot()["held_bytes"] == 0
                assert back_bytes < LIMITS.held_bytes // 2

        uvloop.run(story())


async def attack(worker: WorkerAlone) -> list[CallerSide]:
    """Every kind of call, and heads that do not end."""
    callers = []
    for number in range(CALLS):
        for kind, (_, _, method) in KINDS.items():
            caller = await CallerSide.connect(worker.port, limit=1024)
            callers.append(caller)
            system, supplier = f"{kind}-{number % 4}", f"{kind}-{'ab'[number % 2]}"
            fields = f"Authorization: Bearer good-{system}\r\nSharing-Purpose: marriage-registration\r\n"
            if method == "POST":
                fields += "Content-Length: 900000000\r\n"
            caller.writer.write(f"{method} /{supplier}/{kind} HTTP/1.1\r\nHost: g\r\n{fields}\r\n".encode())
            if method == "POST":
                caller.writer.write(bytes(3 * MIB))
    for _ in range(1500):
        caller = await CallerSide.connect(worker.port, limit=1024)
        callers.append(caller)
        caller.writer.write(b"GET /x/y HTTP/1.1\r\nHost: g\r\n" + b"X-Fill: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 800)
    return callers


async def gone(worker: WorkerAlone) -> None:
    """Until it holds no caller's connection."""
    for _ in range(600):
        if not worker.snapshot()["connections"]:
            # More than `memory.LOOK_SECONDS`.
            await asyncio.sleep(5)
            return
        await asyncio.sleep(0.05)
    raise AssertionError(worker.snapshot())
