"""Durable records a second through one worker's journal, at 64 concurrent uses, on a real event loop.

    python tests/bench/ledger_journal.py [--quick]

A use writes `use.opened`, waits until it is durable, and writes `use.closed`. Target: at least 20,000 durable records
a second. Besides: the same with uvloop, the delay of one use alone, and what rendering the entries costs.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import uvloop

from gateway.ledger.journal.entries import Salts, UseEntries, new_run
from gateway.ledger.journal.uses import UseJournal
from tests.support.ledger import City
from tests.support.measuring import Results, is_quick

CONCURRENT = 64


async def journal_uses(directory: Path, count: int, concurrent: int) -> tuple[float, list[float]]:
    """Seconds for `count` uses, and each one's wait for durability."""
    loop = asyncio.get_running_loop()
    journal = UseJournal(directory, "worker-1", loop=loop, clock_ns=time.time_ns, on_poisoned=print, low_water_bytes=0)
    city = City()
    uses = [city.use(time.time_ns()) for _ in range(2000)]
    outcomes = [city.outcome(use) for use in uses]
    finished = loop.create_future()
    waits: list[float] = []
    left = running = 0

    def start() -> None:
        nonlocal left, running
        if left == count:
            if running == 0:
                finished.set_result(None)
            return
        n = left % len(uses)
        left += 1
        running += 1
        began = time.perf_counter()

        def done(error: BaseException | None) -> None:
            nonlocal running
            assert error is None
            waits.append(time.perf_counter() - began)
            journal.closed(record, uses[n], outcomes[n])
            running -= 1
            start()

        record = journal.opened(uses[n], done)

    began = time.perf_counter()
    for _ in range(concurrent):
        start()
    await finished
    journal.close()
    return time.perf_counter() - began, sorted(waits)


def main() -> None:
    quick = is_quick(__doc__ or "")
    count = 20_000 if quick else 200_000
    results = Results("journal")
    for name, runner in (("asyncio", asyncio.run), ("uvloop", uvloop.run)):
        with tempfile.TemporaryDirectory() as directory:
            seconds, waits = runner(journal_uses(Path(directory), count, CONCURRENT))
        target = ">= 20,000" if name == "uvloop" else ""
        results.add(f"{name}: durable records, 64 uses at once", 2 * count / seconds, "records/s", target)
        results.add(f"{name}: wait for durability, median", waits[len(waits) // 2] * 1e3, "ms")
        results.add(f"{name}: wait for durability, p99", waits[len(waits) * 99 // 100] * 1e3, "ms")
    with tempfile.TemporaryDirectory() as directory:
        seconds, waits = uvloop.run(journal_uses(Path(directory), count // 50, 1))
    results.add("uvloop: one use alone, median wait", waits[len(waits) // 2] * 1e3, "ms")

    city, made = City(), UseEntries(new_run(time.time_ns()), Salts())
    uses = [city.use(time.time_ns()) for _ in range(2000)]
    outcomes = [city.outcome(use) for use in uses]
    began = time.process_time()
    for at in range(count):
        use = uses[at % 2000]
        record, _ = made.opened(use)
        made.closed(record, use, outcomes[at % 2000], use.started_unix_ns)
    results.add("rendering one entry, processor time", (time.process_time() - began) / count / 2 * 1e6, "us")
    results.table()


if __name__ == "__main__":
    main()
