"""Ten years of a log under retention, one grant in a hundred never closed: what stands on the disk, and what remains.

    python tests/bench/ledger_decade.py [--quick]

A hundred grants begin each year, are used for that year, and are disposed of at its end, all but one. Every quarter
an officer applies what retention allows. `tests/unit/ledger/test_retention.py` lives through a smaller decade,
verifies the log and proves what stays of it.
"""

import random
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from threading import Event, Thread

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import msgspec

from gateway.domain.calendar import CHINA
from gateway.ledger.journal.entries import Salts, UseEntries, new_run
from gateway.ledger.process.service import LedgerService, Pruned
from gateway.ledger.retention.retention import Holds
from tests.support.ledger import ORIGIN, City, TestSigner
from tests.support.measuring import Results, is_quick

YEARS = range(2026, 2036)
GRANTS_A_YEAR = 100
NEVER_CLOSED = 37
QUARTERS = (2, 5, 8, 11)


class Year(msgspec.Struct, frozen=True):
    """How the log stands at the end of a year.

    Args:
        year: which.
        logged: entries since the first day.
        standing: of which stand.
        owed: uses' entries that the law asks for: of grants disposed of less than three years ago, or never.
        entries_bytes: bundles and what was kept, on the disk.
        hash_bytes: hash tiles.
        index_bytes: the index.
    """

    year: int
    logged: int
    standing: int
    owed: int
    entries_bytes: int
    hash_bytes: int
    index_bytes: int


def decade(ledger: Path, uses_a_quarter: int) -> Iterator[Year]:
    """Live through ten years in `ledger`; what stands at each year's end, and the log closed."""
    city, chance = City(grants=GRANTS_A_YEAR * len(YEARS)), random.Random(7)
    now = [datetime(YEARS[0], 1, 1, tzinfo=CHINA).timestamp()]
    quarters: list[tuple[datetime, int, int]] = []
    for year in YEARS:
        # A process does not run for ten years: its journal's newest segment would keep what it wrote in the first.
        service = LedgerService(ledger, origin=ORIGIN, signer=TestSigner(), clock=lambda: now[0], ticks=lambda: now[0])
        service.prepare()
        for month in QUARTERS:
            moment = datetime(year, month, 15, tzinfo=CHINA)
            now[0] = moment.timestamp()
            ours = _quarter(service, city, chance, moment, uses_a_quarter)
            quarters.append((moment, 2 * uses_a_quarter, ours))
            apply(service, _holds(year))
        logged, standing = service.log.size, service.log.size - _gone(service)
        service.close()
        yield Year(
            year,
            logged,
            standing,
            sum(entries if moment.year >= year - 3 else ours for moment, entries, ours in quarters),
            _on_disk(ledger / "tree" / "tile" / "entries"),
            _on_disk(ledger / "tree" / "tile") - _on_disk(ledger / "tree" / "tile" / "entries"),
            _on_disk(ledger / "index"),
        )


def apply(service: LedgerService, holds: Holds) -> Pruned | None:
    """Plan and apply while the service is at work."""
    stop = Event()
    thread = Thread(target=service.run, args=(stop,))
    thread.start()
    try:
        plan = service.plan_retention(holds)
        return service.apply_retention(plan, holds, "officer-1") if plan.entries else None
    finally:
        stop.set()
        thread.join()


def _quarter(service: LedgerService, city: City, chance: random.Random, moment: datetime, uses: int) -> int:
    """Use this year's grants; how many entries are of the one that is never closed."""
    at_ns, first = int(moment.timestamp()) * 10**9, (moment.year - YEARS[0]) * GRANTS_A_YEAR
    made, entries, ours = UseEntries(new_run(at_ns), Salts()), [], 0
    for n in range(uses):
        use = city.use(at_ns + n, kind=first + (grant := chance.randrange(GRANTS_A_YEAR)))
        record, opened = made.opened(use)
        entries += [opened, made.closed(record, use, city.outcome(use), at_ns + n)]
        ours += 2 * (grant == NEVER_CLOSED)
    service.log.commit(entries, {})
    service.index.add(entries)
    service.index.flush()
    return ours


def _holds(year: int) -> Holds:
    """Grants of a year are disposed of at its end, and released three years after."""
    over = range(GRANTS_A_YEAR * max(0, year - YEARS[0] - 3))
    return Holds(released=frozenset(f"G-{n:04d}" for n in over if n % GRANTS_A_YEAR != NEVER_CLOSED))


def _gone(service: LedgerService) -> int:
    files, end = service.log.files, service.status().minimum_index
    return end - sum(sum(map(bool, entries)) for _, entries in files.kept_bundles(end // 256))


def _on_disk(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def main() -> None:
    uses, results = 1_000 if is_quick(__doc__ or "") else 10_000, Results("decade")
    with tempfile.TemporaryDirectory() as name:
        for year in decade(Path(name), uses):
            results.add(f"{year.year}: entries logged", year.logged, "")
            results.add(f"{year.year}: entries standing", year.standing, "", f"owed {year.owed:,}")
            for what in ("entries", "hash", "index"):
                results.add(f"{year.year}: {what}", getattr(year, f"{what}_bytes") / 2**20, "MiB")
    results.table()


if __name__ == "__main__":
    main()
