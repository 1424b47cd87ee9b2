"""Bulkheads: suppliers that misbehave take no more than their share, and the others' callers do not notice.

Twenty suppliers behind one worker; five of them hang, drip, flood, close right after accepting, and send garbage. The
same systems call all of them. `python -m tests.unit.proxy.test_bulkheads` prints the table; one stands in
`tests/bench/results/bulkheads.txt`.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import Interface
from gateway.proxy import Limits
from tests.support.proxy_ports import CallerSide, Supplier, interface_for, json_answer
from tests.support.worker_alone import WorkerAlone

GOOD = 15
SECONDS = 20.0
CALLS_A_SECOND = 4.0
"""Of each supplier; the bad ones have four times as many."""
SYSTEMS = 3
LIMITS = Limits(
    system_concurrency=24,
    connections=4000,
    held_bytes=64 << 20,
    collect_bytes=4 << 20,
    body_progress_seconds=4.0,
    write_progress_seconds=4.0,
    least_rate_bytes=200,
    queue_seconds=2.0,
)


async def hang(_: Any, __: Any, ___: Any) -> None:
    await asyncio.sleep(1000)


async def drip(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not writer.transport.is_closing():
        writer.write(b" ")
        await asyncio.sleep(0.1)


async def flood(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        while not writer.transport.is_closing():
            writer.write(b"10000\r\n" + b"[" * 65536 + b"\r\n")
            await writer.drain()


async def garbage(_: Any, writer: asyncio.StreamWriter, __: bytes) -> bool:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\x00\xff\r\n\r\n")
    return False


class Closing(Supplier):
    """Closes each connection as soon as it stands."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.transport.abort()


BAD: dict[str, Callable[[], Supplier]] = {
    "hangs": lambda: Supplier(hang),
    "drips": lambda: Supplier(drip),
    "floods": lambda: Supplier(flood),
    "closes": Closing,
    "garbage": lambda: Supplier(garbage),
}


async def one_call(port: int, system: str, supplier: str) -> tuple[str, float]:
    """How one call ends: 200, or a problem's code; and after how many seconds."""
    began = time.monotonic()
    caller = CallerSide(*await asyncio.open_connection("127.0.0.1", port))
    try:
        fields = f"Authorization: Bearer good-{system}\r\nSharing-Purpose: marriage-registration\r\n"
        head = f"GET /{supplier}/person HTTP/1.1\r\nHost: g\r\n{fields}\r\n"
        status, _, content = await caller.ask(head.encode())
        told = "200" if status == 200 else str(json.loads(content)["type"].removeprefix("/problems/"))
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
        told = type(error).__name__
    finally:
        caller.close()
    return told, time.monotonic() - began


async def run(*, with_bad: bool) -> tuple[dict[str, list[tuple[str, float]]], dict[str, Any], dict[str, Any]]:
    """Calls of every supplier for `SECONDS`: how they ended, by supplier; the worker's counters at worst and after."""
    seen: dict[str, list[tuple[str, float]]] = {}
    async with contextlib.AsyncExitStack() as suppliers:
        interfaces: list[Interface] = []
        kinds: dict[str, Callable[[], Supplier]] = {
            f"good-{number}": lambda: Supplier(json_answer('{"data":[{"xm":"a"}]}')) for number in range(GOOD)
        }
        for name, make in {**kinds, **(BAD if with_bad else {})}.items():
            supplier = await suppliers.enter_async_context(make())
            interfaces.append(
                interface_for(supplier.port, supplier=name, concurrency=64, first_byte_timeout_seconds=4.0)
            )
            seen[name] = []
        with WorkerAlone(interfaces, LIMITS) as worker:

            async def call(name: str, number: int) -> None:
                seen[name].append(await one_call(worker.port, f"s{number % SYSTEMS}", name))

            async def stream(name: str, rate: float) -> None:
                async with asyncio.TaskGroup() as calls:
                    for number in range(int(SECONDS * rate)):
                        calls.create_task(call(name, number))
                        await asyncio.sleep(1 / rate)

            worst: dict[str, Any] = {}

            async def look() -> None:
                while True:
                    now = worker.snapshot()
                    for name in ("exchanges", "supplier_connections", "waiting", "held_bytes"):
                        worst[name] = max(worst.get(name, 0), now[name])
                    worst["troubles"] = sorted({*map(tuple, now["troubles"]), *worst.get("troubles", ())})
                    worst["shed"] = now["shed"]
                    await asyncio.sleep(0.25)

            looking = asyncio.create_task(look())
            async with asyncio.TaskGroup() as load:
                for name in seen:
                    load.create_task(stream(name, CALLS_A_SECOND * (4 if name in BAD else 1)))
            looking.cancel()
            await asyncio.sleep(1)
            return seen, worst, worker.snapshot()


def quantile(calls: list[tuple[str, float]], share: float) -> float:
    """Seconds below which that share of the calls ended."""
    times = sorted(seconds for _, seconds in calls)
    return times[min(int(len(times) * share), len(times) - 1)]


def table(seen: dict[str, list[tuple[str, float]]]) -> str:
    """What was seen, for people."""
    good = [call for name, calls in seen.items() if name not in BAD for call in calls]
    rows = {"the fifteen good ones": good, **{f"one that {name}": seen[name] for name in BAD if name in seen}}
    return "\n".join(
        f"{len(calls):5} calls of {name:22} p50 {quantile(calls, 0.5) * 1000:7.1f} ms, "
        f"p99 {quantile(calls, 0.99) * 1000:7.1f} ms, {dict(Counter(told for told, _ in calls))}"
        for name, calls in rows.items()
    )


def in_one_loop(story: Callable[[], Awaitable[Any]]) -> Any:
    """What a story gives."""
    return uvloop.run(story())  # type: ignore[arg-type]


@pytest.mark.deep
@pytest.mark.timeout(300)
def test_five_suppliers_that_misbehave_take_nothing_of_the_other_fifteen() -> None:
    """Every call of a good supplier is answered; what the bad ones hold stays within their shares, and comes back."""
    alone, _, _ = in_one_loop(lambda: run(with_bad=False))
    seen, worst, after = in_one_loop(lambda: run(with_bad=True))
    print("without the five:\n" + table(alone) + "\nwith them:\n" + table(seen))
    print(f"at worst {worst}\nafterwards {after}")
    good = {name: Counter(told for told, _ in calls) for name, calls in seen.items() if name not in BAD}
    assert all(set(told) == {"200"} for told in good.values()), good
    # A bad one's call is answered too, with what is the matter.
    told = {name: {told for told, _ in seen[name]} for name in BAD}
    assert told["hangs"] <= {"supplier-timeout", "supplier-unreachable", "supplier-busy", "rate-limited"}
    assert told["drips"] <= {"supplier-timeout", "supplier-unreachable", "supplier-busy", "rate-limited"}
    assert told["floods"] <= {"answer-not-filterable", "memory-exhausted", "supplier-unreachable"}
    assert told["closes"] == told["garbage"] == {"supplier-unreachable"}
    # Shares: connections and waiting calls by slots and queue, memory by a quarter.
    assert worst["supplier_connections"] <= 5 * 64 + GOOD * 64
    assert worst["held_bytes"] <= LIMITS.held_bytes // 2
    named = {supplier for supplier, _, _ in worst["troubles"]}
    assert named == set(BAD)
    assert (after["exchanges"], after["waiting"], after["held_bytes"]) == (0, 0, 0)


if __name__ == "__main__":
    test_five_suppliers_that_misbehave_take_nothing_of_the_other_fifteen()
