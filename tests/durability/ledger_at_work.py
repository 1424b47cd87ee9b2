"""A ledger at work, to be killed: opens and closes uses through a journal, integrates them, prunes them.

    python tests/durability/ledger_at_work.py LEDGER TASK

It prints `ready THREAD` (whose calls are to fail; 0 for every thread's), waits for a line, and then prints what the
outside world would have seen:

    answered RECORD DIGEST   the use's record was durable: its supplier may have been called
    signed BASE64            a checkpoint that was published
    pruned END               the officer was told that every entry below this leaf is gone
    done                     all is done

TASK is `uses` (journal and log at work), `writer` (the same, but only the calls of the thread that writes the journal
are to fail, once it has begun), `log` (integrates what stands in the journals) or `prune` (lets go, years later, what
the log holds, but for the records of a grant that was never closed). Each line leaves by a write of its own, after the
fact it states. A failure ends the
process with status 3. Files are synced on the thread that wrote them: `strace` counts calls thread by thread.
"""

import asyncio
import base64
import os
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.domain.calendar import CHINA
from gateway.ledger import durable
from gateway.ledger.journal.uses import UseJournal
from gateway.ledger.retention.retention import Holds
from tests.support.ledger import City, open_ledger

USES = 12
ROUNDS = 6
NEVER_CLOSED = "G-0001"
YEARS_LATER = datetime(2035, 1, 1, tzinfo=CHINA).timestamp


class OneThread:
    """A pool that works where it is asked to."""

    def __init__(self, *_args, **_options):
        self.map = map

    def shutdown(self, *, wait):
        pass


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def begin(thread: int = 0) -> None:
    say(f"ready {thread}")
    sys.stdin.readline()


async def uses(directory: Path, task: str) -> None:
    if task == "uses":
        begin()
    city = City(os.getpid())
    loop = asyncio.get_running_loop()
    service = open_ledger(directory)
    service.prepare()
    poisoned: list[BaseException] = []
    journal = UseJournal(
        directory,
        "worker-1",
        loop=loop,
        clock_ns=time.time_ns,
        on_poisoned=poisoned.append,
        low_water_bytes=0,
        segment_bytes=1 << 15,
    )
    if task == "writer":
        (writer,) = [thread for thread in threading.enumerate() if thread.name == "journal-worker-1"]
        begin(writer.native_id)
    for n in range(ROUNDS):
        waiting = []
        for _ in range(USES):
            use = city.use(time.time_ns())
            durable = loop.create_future()
            waiting.append((journal.opened(use, durable.set_result), use, durable))
        for record, use, durable in waiting:
            error = await durable
            if error is not None:
                raise error
            say(f"answered {record} {use.request_digest}")
            if record.endswith("7"):
                continue  # left open, to be recovered
            journal.closed(record, use, city.outcome(use))
        service.step()
        say_signed(service)
        if n % 3 == 2:
            service.index.flush()
    journal.close()
    await asyncio.sleep(0)
    if poisoned:
        raise poisoned[0]  # a worker says so and is started anew: what it had left to write is `recovered`
    while service.step():
        pass
    service.close()


def log(directory: Path) -> None:
    service = open_ledger(directory)
    service.prepare()
    while service.step():
        say_signed(service)
        service.index.flush()
        service.index.settle()
    service.close()


def prune(directory: Path) -> None:
    service = open_ledger(directory, YEARS_LATER)
    stop = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            service.run(stop)
        except BaseException as error:  # noqa: BLE001 — the main thread says it
            failed.append(error)
            os._exit(3)

    thread = threading.Thread(target=run)
    thread.start()
    released = all_but_one(City(3).released)
    plan = service.plan_retention(released)
    if plan.entries:
        pruned = service.apply_retention(plan, released, "officer-1")
        say(f"pruned {pruned.end}")
    say_signed(service)
    stop.set()
    thread.join()
    service.close()


def all_but_one(holds: Holds) -> Holds:
    """One grant was never closed: its records stay."""
    return Holds(released=holds.released - {NEVER_CLOSED})


def say_signed(service) -> None:
    say(f"signed {base64.b64encode(service.log.files.checkpoint()).decode()}")


def main() -> None:
    durable.ThreadPoolExecutor = OneThread
    directory, task = Path(sys.argv[1]), sys.argv[2]
    try:
        if task in {"uses", "writer"}:
            asyncio.run(uses(directory, task))
        else:
            begin()
            {"log": log, "prune": prune}[task](directory)
    except Exception as error:  # noqa: BLE001 — whatever was injected, this process ends and says so
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(3)
    say("done")
    os._exit(0)


if __name__ == "__main__":
    main()
