"""A ledger at work, to be killed: opens and closes uses through a journal, and integrates them, until told enough.

    python tests/durability/ledger_at_work.py LEDGER ROUNDS

It prints `ready`, waits for a line, and then prints what the outside world would have seen:

    answered RECORD     the use's record was durable: its supplier may have been called
    signed BASE64       a checkpoint that was published
    done                every round is over

Each line leaves by a write of its own, after the fact it states. A failure ends the process with status 3.
"""

import asyncio
import base64
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.ledger.uses import UseJournal
from tests.support.ledger import City, open_ledger

USES = 12


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


async def work(directory: Path, rounds: int) -> None:
    city = City(os.getpid())
    loop = asyncio.get_running_loop()
    service = open_ledger(directory)
    service.prepare()
    journal = UseJournal(
        directory,
        "worker-1",
        loop=loop,
        clock_ns=time.time_ns,
        on_poisoned=lambda _: None,
        low_water_bytes=0,
        segment_bytes=1 << 15,
    )
    for n in range(rounds):
        waiting = []
        for _ in range(USES):
            use = city.use(time.time_ns())
            durable = loop.create_future()
            waiting.append((journal.opened(use, durable.set_result), use, durable))
        for record, use, durable in waiting:
            error = await durable
            if error is not None:
                raise error
            say(f"answered {record}")
            if record.endswith("7"):
                continue  # left open, to be recovered
            journal.closed(record, use, city.outcome(use))
        service.step()
        say(f"signed {base64.b64encode(service.log.files.checkpoint()).decode()}")
        if n % 3 == 2:
            service.index.flush()
    journal.close()
    while service.step():
        pass
    service.close()


def main() -> None:
    say("ready")
    sys.stdin.readline()
    try:
        asyncio.run(work(Path(sys.argv[1]), int(sys.argv[2])))
    except Exception as error:  # noqa: BLE001 — whatever was injected, this process ends and says so
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(3)
    say("done")
    os._exit(0)


if __name__ == "__main__":
    main()
