"""Records a second from journals into the signed log and the index, in one process; and bytes a use at rest.

    python tests/bench/ledger_integration.py [--quick]

Target: at least 25,000 records a second sustained; at most 300 bytes a use in all, of which at most 60 in the index.
The journals are written beforehand; what is measured ends with everything committed, synced, indexed and flushed.
"""

import asyncio
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.domain.errors import GatewayError
from gateway.ledger.journal.writer import JournalWriter
from gateway.ledger.process.service import LedgerService
from gateway.ledger.verify.log import verify_log
from tests.support.ledger import City, open_ledger, record_uses
from tests.support.measuring import Results, is_quick

CITY_CALLS_A_DAY = 20_000_000
DAYS = 1096
DAY_NS = 86_400 * 10**9


def write_journal(directory: Path, entries: list[bytes]) -> None:
    """Put `entries` into one writer's journal."""
    left = threading.Semaphore(0)
    journal = JournalWriter(
        directory,
        "worker-1",
        clock_ns=time.time_ns,
        tell=lambda waiters, _error: [left.release() for _ in waiters],
        on_poisoned=print,
        low_water_bytes=0,
    )
    for entry in entries:
        journal.put((entry, None, "", 0))
    journal.put((entries[-1], object(), "", 0))
    left.acquire()
    journal.close()


def waited_seconds() -> float:
    """How long this thread has stood ready without a processor: on a machine of its own it would not have."""
    return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]) / 1e9


def size_of(directory: Path, pattern: str) -> int:
    """Bytes of disk the files below `directory` take, in whole blocks."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob(pattern) if path.is_file())


async def seconds_until_found(directory: Path, uses: int) -> list[float]:
    """How long after each use has closed it is found as closed, by a ledger at work."""
    service = open_ledger(directory)
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    city, found = City(), []
    for _ in range(uses):
        (record,) = await record_uses(directory, [city.use(time.time_ns())], city)
        closed = time.perf_counter()
        await asyncio.to_thread(wait_until_closed, service, record)
        found.append(time.perf_counter() - closed)
    stop.set()
    thread.join()
    service.close()
    return sorted(found)


def wait_until_closed(service: LedgerService, record: str) -> None:
    """Ask until the record is found with its end."""
    while True:
        try:
            leaf, last = service.index.locate(record)
        except GatewayError:
            leaf, last = -1, None
        if last not in {None, leaf}:
            return
        time.sleep(0.005)


def main() -> None:
    quick = is_quick(__doc__ or "")
    uses = 40_000 if quick else 400_000
    results = Results("integration")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "ledger"
        spacing = DAY_NS // 100_000
        for part in range(0, uses, 40_000):
            entries = list(
                City(part).entries(40_000, spacing_ns=spacing, start_ns=1_767_240_000 * 10**9 + part * spacing)
            )
            write_journal(directory, entries)
        service = open_ledger(directory)
        service.prepare()
        began, spent, waited = time.perf_counter(), time.process_time(), waited_seconds()
        while service.step():
            pass
        service.index.flush()
        seconds, spent = time.perf_counter() - began, time.process_time() - spent
        waited = waited_seconds() - waited
        size = service.log.size
        service.index.settle()
        results.add("integrated, committed, indexed", size / seconds, "records/s", ">= 25,000")
        results.add("the same less waiting for a processor", size / (seconds - waited), "records/s")
        results.add("the same by processor time", size / spent, "records/s")
        key = service.log.key.text()
        service.close()

        tree, index = directory / "tree" / "tile", directory / "index"
        bundles = size_of(tree, "*.pack") + size_of(tree, "*.sgb")
        hashes = size_of(tree, "*") - bundles
        rows = size_of(index, "*")
        results.add("bundles at rest", bundles / uses, "bytes/use")
        results.add("hash tiles", hashes / uses, "bytes/use")
        results.add("index", rows / uses, "bytes/use", "<= 60")
        whole = (bundles + hashes + rows) / uses
        results.add("in all", whole, "bytes/use", "<= 300")
        results.add("20 million calls a day for three years", whole * CITY_CALLS_A_DAY * DAYS / 1e12, "TB")

        for processes in (1, None):
            began, spent, waited = time.perf_counter(), time.process_time(), waited_seconds()
            checked = verify_log(directory, key, processes=processes)
            seconds, spent, waited = (
                time.perf_counter() - began,
                time.process_time() - spent,
                waited_seconds() - waited,
            )
            cores = "every core" if processes is None else "one core"
            target = "" if processes else ">= 150,000"
            results.add(f"verified from the first leaf, {cores}", checked.entries / seconds, "records/s", target)
            if processes:
                rate = checked.entries / (seconds - waited)
                results.add("the same less waiting for a processor", rate, "records/s")
                results.add("the same by processor time", checked.entries / spent, "records/s")
    with tempfile.TemporaryDirectory() as name:
        found = asyncio.run(seconds_until_found(Path(name) / "ledger", 10 if quick else 40))
        results.add("a finished use is found after, median", found[len(found) // 2], "s")
        results.add("a finished use is found after, at most", found[-1], "s", "< 2 s")
    results.table()


if __name__ == "__main__":
    main()
