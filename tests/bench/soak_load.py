"""Load at a fixed rate: `python tests/bench/soak_load.py` reads one JSON line of what to do and prints counts at last.

Every call is noted by (status, problem code), and the record it bore in a file: nothing the callers saw may be missing
from the ledger, and nothing may be in the gateway's figures that no caller saw.
"""

import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

import uvloop

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
RECORD = re.compile(rb"sharing-record: ([^\r]+)", re.IGNORECASE)
CODE = re.compile(rb"/problems/([a-z-]+)")
WAIT_SECONDS = 45.0


class Job:
    """What to do, shared by all connections.

    Args:
        given: host, port, path, records (file), token (file), rate, connections, seconds.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        self.host, self.port = str(given["host"]), int(given["port"])
        self.path = str(given["path"])
        self.token_file = Path(given["token"])
        self.interval = given["connections"] / given["rate"] if given["rate"] else 0.0
        self.connections = int(given["connections"])
        self.until = time.monotonic() + float(given["seconds"])
        self.seen: Counter[str] = Counter()
        self.took: list[float] = []
        self.token = self.token_file.read_text("ascii")

    async def keep_token(self) -> None:
        """Take a new token up as soon as it is written."""
        while True:
            await asyncio.sleep(5)
            self.token = self.token_file.read_text("ascii")


async def call_on_and_on(job: Job, records: TextIO, chance: random.Random) -> None:
    """One connection's calls until time is over."""
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    next_call = time.monotonic() + chance.uniform(0, job.interval)
    while time.monotonic() < job.until:
        wait = next_call - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        next_call = max(next_call + job.interval, time.monotonic() - job.interval)
        try:
            if reader is None or writer is None:
                reader, writer = await asyncio.open_connection(job.host, job.port)
            began = time.perf_counter()
            number = f"4400001990{chance.randrange(10**8):08d}"
            writer.write(
                f"GET {job.path}?id_number={number} HTTP/1.1\r\nHost: {job.host}:{job.port}\r\n"
                f"Authorization: Bearer {job.token}\r\nSharing-Purpose: housing-fund-withdrawal\r\n\r\n".encode()
            )
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_SECONDS)
            length = LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length and int(length[1]) else b""
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            job.seen["broken"] += 1
            if writer is not None:
                writer.close()
            reader = writer = None
            continue
        job.took.append(time.perf_counter() - began)
        status = int(head[9:12])
        code = CODE.search(body) if b"problem+json" in head else None
        job.seen[f"{status} {code[1].decode() if code else ''}".strip()] += 1
        record = RECORD.search(head)
        if record:
            records.write(record[1].decode() + "\n")
        if b"onnection: close" in head:
            writer.close()
            reader = writer = None
    if writer is not None:
        writer.close()


async def call_all(job: Job, records: TextIO) -> None:
    """All connections' calls."""
    token = asyncio.create_task(job.keep_token())
    await asyncio.gather(*(call_on_and_on(job, records, random.Random(index)) for index in range(job.connections)))
    token.cancel()


def main() -> None:
    """Do what the line says."""
    given = json.loads(sys.stdin.readline())
    job = Job(given)
    with Path(given["records"]).open("a", encoding="ascii") as records:
        uvloop.run(call_all(job, records))
    job.took.sort()
    quantiles = {name: job.took[int(len(job.took) * share)] for name, share in (("p50", 0.5), ("p99", 0.99))}
    print(json.dumps({"seen": job.seen, "calls": len(job.took), **quantiles}), flush=True)


if __name__ == "__main__":
    main()
