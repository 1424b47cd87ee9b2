"""Many calls through one client: `python -m tests.bench.client_calls 1000000` loses none, doubles none, and stays flat.

One `SharingClient`, shared by threads, calls a real gateway (ledger, policies, DPoP) in front of a supplier that counts
each call's number. Meanwhile the token is due again and again, the gateway's token key is rotated and the old one
withdrawn at once, the gateway is stopped and started, and the key is rotated once more. A call that ended without an
answer in a way that says it was not made is made again by its thread, as a developer's code would; any other end is
told as `unknown`. At the end: every number has its answer, the supplier saw each once (but what the gateway stopped on
its way and the client was told to send again), every record is in the log, and the client's memory has not grown.
Exit status 0 where all of that holds; the report goes to results/client_calls.json.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).parents[2]))

import httpx
import msgspec

from gateway.client import GatewayUnavailable, SharingClient, TokenTimeout, new_private_key
from gateway.runtime.demo.population import Population
from gateway.runtime.demo.stage import furnish
from gateway.runtime.demo.story import PURPOSE, SYSTEM
from gateway.runtime.demo.suppliers import register_servers, show
from gateway.runtime.demo.world import REGION
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from tests.bench.soak import MEMORY_GROWTH, MEMORY_SLACK_BYTES, WARM_SHARE, Check, check_records
from tests.bench.soak_supplier import GOOD, RECORD
from tests.support.fronts import free_port
from tests.support.gateways import RunningGateway

HERE = Path(__file__).parent
NUMBER = re.compile(rb"[?&]n=(\d+)")
DUE_EVERY_SECONDS = 20.0


class Counting(asyncio.Protocol):
    """A connection to the supplier, which counts the numbers it is called with."""

    def __init__(self, seen: bytearray, supplied: TextIO) -> None:
        self._seen = seen
        self._supplied = supplied
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head, self._got = self._got[:end], self._got[end + 4 :]
            content = GOOD
            number, record = NUMBER.search(head), RECORD.search(head)
            if number is None or record is None:
                content = Path(f"{self._supplied.name}.nonce").read_bytes()
            else:
                self._seen[int(number[1])] = min(self._seen[int(number[1])] + 1, 255)
                self._supplied.write(record[1].decode() + "\n")
            fields = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content)
            self._transport.write(fields + content)


async def supply(supplied: Path, calls: int) -> None:
    """Serve until standard input ends, then tell how often each number was seen."""
    loop, seen = asyncio.get_running_loop(), bytearray(calls)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    with supplied.open("w", encoding="ascii") as file:
        server = await loop.create_server(lambda: Counting(seen, file), "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await reader.read()
    print(json.dumps(Counter(seen)), flush=True)


@contextlib.contextmanager
def counting_supplier(folder: Path, calls: int) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The supplier's base URL and process."""
    command = [sys.executable, "-m", "tests.bench.client_calls", str(calls), "--supply", str(folder / "supplied")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}", process
    finally:
        process.communicate()


class Callers:
    """Threads that share a client and the numbers to call with.

    Args:
        sharing: the client.
        calls: how many.
        folder: where the records that were told are written.
    """

    def __init__(self, sharing: SharingClient, calls: int, folder: Path) -> None:
        self._sharing = sharing
        self._numbers = iter(range(calls))
        self._told = (folder / "told").open("w", encoding="ascii")
        self._lock = threading.Lock()
        self.answered = 0
        self.again: Counter[str] = Counter()
        self.unknown: dict[int, str] = {}

    def run(self) -> None:
        """One thread's share."""
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            while not self._call(number):
                time.sleep(0.2)

    def _call(self, number: int) -> bool:
        """Whether it has ended; not where it is certain that it was not made."""
        try:
            answer = self._sharing.call("civil-affairs/marriages", n=number)
        except (httpx.ConnectError, httpx.ConnectTimeout, TokenTimeout) as error:
            with self._lock:
                self.again[type(error).__name__] += 1
            return False
        except GatewayUnavailable as error:
            with self._lock:
                if error.record is None:
                    self.again[error.code] += 1
                    return False
                self.unknown[number] = error.code
            return True
        except (httpx.HTTPError, ValueError) as error:
            with self._lock:
                self.unknown[number] = f"{type(error).__name__}: {error}"
            return True
        with self._lock:
            self._told.write(answer.headers["Sharing-Record"] + "\n")
            self.answered += 1
        return True

    def close(self) -> None:
        self._told.close()


def rss_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def rotate(gateway: RunningGateway) -> None:
    """Another key signs tokens, and those under the old one end at once."""
    command = [sys.executable, "-m", "gateway", "keys", "rotate", "token", "--reason", "bench", "--overlap", "0"]
    subprocess.run([*command, "--home", str(gateway.home.root), "--json"], check=True, capture_output=True)


def measure(calls: int, threads: int, folder: Path) -> dict[str, Any]:
    """Run it; the report."""
    population = Population()
    suppliers = register_servers(population)
    home = GatewayHome(folder / "var")
    made = initialise(home, region=REGION, department="data-bureau")
    ports = {"GATEWAY_DATA_PLANE__PORT": str(free_port()), "GATEWAY_CONTROL__PORT": str(free_port())}
    gateway = RunningGateway(home, made, population, suppliers, new_private_key(), ports)
    memory: list[int] = []
    with contextlib.ExitStack() as stack:
        for supplier in suppliers.values():
            supplier.start()
            stack.callback(supplier.stop)
        url, counting = stack.enter_context(counting_supplier(folder, calls))
        gateway.start()
        stack.callback(gateway.stop)

        def show_nonce(at: str, path: str, nonce: str) -> None:
            if at == url:
                (folder / "supplied.nonce").write_text(nonce, "ascii")
            else:
                show(at, path, nonce)

        upstreams = {id_: server.url for id_, server in suppliers.items()} | {"civil-affairs": url}
        furnish(home, upstreams, gateway.key, show_nonce)
        sharing = SharingClient(
            gateway.data_plane,
            token_endpoint=f"{gateway.control}/oauth/token",
            client_id=SYSTEM,
            key=gateway.key,
            purpose=PURPOSE,
            environment={},
        )
        stack.callback(sharing.close)
        callers = Callers(sharing, calls, folder)
        working = [threading.Thread(target=callers.run, name=f"caller-{number}") for number in range(threads)]
        began = due = time.monotonic()
        for thread in working:
            thread.start()
        to_come = [(0.25, "rotation"), (0.5, "restart"), (0.75, "rotation")]
        while any(thread.is_alive() for thread in working):
            time.sleep(0.5)
            memory.append(rss_bytes())
            if time.monotonic() - due > DUE_EVERY_SECONDS:
                due = time.monotonic()
                held = sharing.auth.source.state.token
                if held is not None:
                    sharing.auth.source.state.token = replace(held, renew_at=0.0)
            if to_come and callers.answered >= to_come[0][0] * calls:
                _, what = to_come.pop(0)
                print(f"{what} after {callers.answered} calls", file=sys.stderr, flush=True)
                if what == "rotation":
                    rotate(gateway)
                else:
                    gateway.stop()
                    gateway.start()
        seconds = time.monotonic() - began
        callers.close()
        status = gateway.stop()
        seen = Counter({int(times): count for times, count in json.loads(counting.communicate()[0]).items()})
        checks = [
            *check_calls(callers, calls, seen, sharing.auth.source.counts["retry 503"]),
            check_memory(memory),
            Check("everything befell it", not to_come, f"{3 - len(to_come)} of 3"),
            Check("the gateway ended in order", status == 0, f"exit status {status}"),
            *check_records(home, str(made["verifier_key"]), folder),
        ]
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"system": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()},
        "calls": calls,
        "threads": threads,
        "seconds": round(seconds, 1),
        "rate": round(calls / seconds),
        "client": dict(sharing.auth.source.counts),
        "made_again_by_the_caller": dict(callers.again),
        "unknown": dict(list(callers.unknown.items())[:20]),
        "memory_mib": [round(value / (1 << 20), 1) for value in memory[:: max(1, len(memory) // 20)]],
        "checks": msgspec.to_builtins(checks),
    }


def check_calls(callers: Callers, calls: int, seen: Counter[int], stopped: int) -> Iterator[Check]:
    """What callers were told against what the supplier saw; `stopped` calls were sent again as the gateway asked."""
    yield Check("no call is lost", callers.answered == calls, f"{callers.answered} answered of {calls}")
    yield Check("no call ended in doubt", not callers.unknown, f"{len(callers.unknown)} unknown")
    # A worker without a fresh lease releases nothing, whatever the supplier has answered (INVARIANT: STALE-DENIES);
    # it says 503 with the record, and only a GET is sent again then.
    twice = sum(count for times, count in seen.items() if times > 1)
    none = seen[0] == 0 and twice <= stopped
    yield Check("none is made twice but what was stopped on its way", none, f"{json.dumps(seen)}, {stopped} stopped")


def check_memory(memory: list[int]) -> Check:
    """The client's, once warm."""
    warm = memory[int(len(memory) * WARM_SHARE) :]
    part = max(1, len(warm) // 4)
    before, after = statistics.median(warm[:part]), statistics.median(warm[-part:])
    grown = after <= before * (1 + MEMORY_GROWTH) + MEMORY_SLACK_BYTES
    return Check("the client's memory is flat", grown, f"{before / (1 << 20):.1f} -> {after / (1 << 20):.1f} MiB")


def main() -> int:
    """Run it and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("calls", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="20,000 calls")
    parser.add_argument("--report", type=Path, default=HERE / "results" / "client_calls.json")
    parser.add_argument("--supply", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.supply is not None:
        asyncio.run(supply(given.supply, given.calls))
        return 0
    with tempfile.TemporaryDirectory(prefix="gateway-client-calls-") as folder:
        report = measure(20_000 if given.quick else given.calls, given.threads, Path(folder))
    given.report.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for check in report["checks"]:
        print(f"{'ok  ' if check['kept'] else 'FAIL'} {check['promise']}: {check['detail']}")
    print("{calls} calls by {threads} threads in {seconds} s, {rate} a second; {client}".format_map(report))
    return 0 if all(check["kept"] for check in report["checks"]) else 1


if __name__ == "__main__":
    sys.exit(main())
