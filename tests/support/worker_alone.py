"""A data plane in a process of its own, with ports in memory: for tests that measure a worker from outside.

`python -m tests.support.worker_alone` reads one JSON line (interfaces, limits), says its port, and then answers each
line on standard input with its counters. The token `good-NAME` is of the system NAME; an interface whose id begins with
`all` is granted whole.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import uvloop

from gateway.domain.callers import Assurance, Caller
from gateway.domain.directory import Interface
from gateway.domain.verdicts import Call, Verdict
from gateway.proxy import Limits
from gateway.runtime.memory import give_memory_back, keep_returning
from tests.support.proxy_ports import House, permit


class Systems(House):
    """A house in which each token is another system's."""

    def identify(self, head: Any, peer: Any) -> Caller:
        name = dict(head.fields)[b"authorization"].removeprefix(b"Bearer good-").decode()
        return Caller(name, f"department-of-{name}", Assurance.BEARER, f"jti-{name}", 1 << 40)

    def decide(self, call: Call) -> Verdict:
        return self.whole if call.interface.rpartition("/")[2].startswith("all") else self.verdict

    whole = permit(all_items=True)


async def serve() -> None:
    """Serve until standard input ends."""
    given = json.loads(sys.stdin.readline())
    interfaces = msgspec.convert(given["interfaces"], list[Interface])
    house = Systems(*interfaces, limits=msgspec.convert(given["limits"], Limits))
    plane = house.plane()
    server = await plane.serve("127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    returning = asyncio.create_task(keep_returning(lambda: plane.shares.held_bytes))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        # The ledger in memory would be the largest thing in it.
        house.ledger.events.clear()
        seen = {name: value for name, value in plane.snapshot().items() if name not in {"interfaces", "stages"}}
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()
    returning.cancel()


class WorkerAlone:
    """The process, from outside."""

    def __init__(self, interfaces: Sequence[Interface], limits: Limits) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.worker_alone"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(
            self._ask({"interfaces": msgspec.to_builtins(interfaces), "limits": msgspec.to_builtins(limits)})
        )

    def _ask(self, line: Any) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def snapshot(self) -> dict[str, Any]:
        """Its counters now."""
        return dict(json.loads(self._ask("")))

    def resident_bytes(self) -> int:
        """Its memory now."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text("ascii").split()[1]) * 4096

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


if __name__ == "__main__":
    give_memory_back()
    uvloop.run(serve())
