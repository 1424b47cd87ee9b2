"""The state at size: importing, the reading a decision waits for, pages of lists, opening, figures.

    python tests/bench/store_scale.py [--quick] [--postgres] [--random-ids] [--grants N] [--datasets N]

Prints a JSON line a measurement, then a table. Targets (SQLite, one million grants, 100,000 datasets): import at least
20,000 grants a second, `slice_state` p99 below 1 ms, every page below 50 ms.
"""

import argparse
import contextlib
import gc
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.domain.directory import (
    DataItem,
    Dataset,
    Department,
    Interface,
    Level,
    Purpose,
    SharingAttribute,
    SharingMode,
    System,
    UpdateCycle,
)
from gateway.domain.grants import Approval, Grant, GrantState
from gateway.store import DatasetFilter, GrantFilter, Store
from gateway.store.directory.file import DirectoryFile

DEPARTMENTS = 304
NOW = datetime(2026, 3, 2, tzinfo=UTC)
APPROVAL = Approval("负责人", NOW, "批准〔2026〕1号")
ITEMS = tuple(DataItem(f"item_{number}", f"信息项{number}") for number in range(12))


class Report:
    """Measurements as JSON lines, and a table at the end."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str]] = []

    def line(self, what: str, said: str, target: str = "", **values: float) -> None:
        print(json.dumps({"what": what, **values}), flush=True)
        self._rows.append((what, said, target))

    def timed(self, what: str, work: Callable[[], object], times: int, target_ms: float | None) -> None:
        work()
        gc.collect()
        walls, works = [], []
        for _ in range(times):
            begin, worked = time.perf_counter(), time.thread_time()
            work()
            walls.append((time.perf_counter() - begin) * 1000)
            works.append((time.thread_time() - worked) * 1000)
        p50, p99, core = _share(walls, 0.5), _share(walls, 0.99), _share(works, 0.99)
        target = f"p99 < {target_ms:g} ms" if target_ms else ""
        said = f"p50 {p50:.3f} ms, p99 {p99:.3f} ms, of the core's time {core:.3f} ms"
        self.line(what, said, target, p50_ms=round(p50, 3), p99_ms=round(p99, 3), p99_core_ms=round(core, 3))

    def table(self) -> None:
        width = max(len(row[0]) for row in self._rows)
        for what, said, target in self._rows:
            print(f"{what:<{width}}  {said:<60}  {target}")


def _share(taken: list[float], share: float) -> float:
    return sorted(taken)[min(len(taken) - 1, int(len(taken) * share))]


def directory(datasets: int) -> DirectoryFile:
    return DirectoryFile(
        departments=tuple(Department(f"d{n}", f"部门{n}", "442000", Level.CITY) for n in range(DEPARTMENTS)),
        purposes=tuple(Purpose(f"p{n}", f"目的{n}") for n in range(50)),
        datasets=tuple(
            Dataset(
                id=f"set-{n}",
                code=f"307010001/{n:06}",
                name=f"信息资源{n}",
                supplier=f"d{n % DEPARTMENTS}",
                items=ITEMS,
                sharing_attribute=SharingAttribute.CONDITIONAL,
                update_cycle=UpdateCycle.DAY,
                format="json",
                grade=1 + n % 4,
                classification="general",
                sharing_modes=(SharingMode.QUERY,),
                conditions="as granted",
                scope="departments of the city",
                purposes=(f"p{n % 50}",),
            )
            for n in range(datasets)
        ),
        interfaces=tuple(
            Interface(f"i{n}", f"d{n % DEPARTMENTS}", f"set-{n}", "https://supplier.example/")
            for n in range(datasets // 10)
        ),
    )


def grants(count: int, datasets: int, *, random_ids: bool) -> Iterator[Grant]:
    """Grants skewed as departments are: one department in ten holds half of them. Ids are the approving platform's
    running numbers, or random."""
    chance = random.Random(809)
    for number in range(count):
        few = chance.random() < 0.5
        yield Grant(
            id=f"{chance.getrandbits(64):016x}-{number}" if random_ids else f"442000-2026-{number:08}",
            department=f"d{chance.randrange(30 if few else DEPARTMENTS)}",
            dataset=f"set-{chance.randrange(datasets)}",
            items=("item_0", "item_1", "item_2", "item_3"),
            purposes=(f"p{chance.randrange(50)}",),
            modes=(SharingMode.QUERY,),
            valid_from=NOW - timedelta(days=100),
            valid_until=NOW + timedelta(days=chance.randrange(-60, 700), minutes=chance.randrange(1440)),
            legal_basis="政务数据共享条例第二十条",
            scenario="办理事项核验",
            scope_of_use="本部门办理事项",
            demand_approval=APPROVAL,
            supply_approval=APPROVAL,
            state=GrantState.SUSPENDED if chance.random() < 0.001 else GrantState.ISSUED,
        )


def measure(url: str, count: int, datasets: int, report: Report, *, random_ids: bool) -> None:
    begin = time.perf_counter()
    store = Store.open(url)
    report.line(
        "open an empty state", f"{time.perf_counter() - begin:.2f} s", seconds=round(time.perf_counter() - begin, 2)
    )

    begin = time.perf_counter()
    with store.transaction() as tx:
        tx.import_directory(directory(datasets), release=True)
        for number in range(DEPARTMENTS):
            tx.put_system(System(f"s{number}", f"d{number}", f"系统{number}"))
    taken = time.perf_counter() - begin
    report.line("import the directory, one transaction", f"{datasets / taken:,.0f} entries/s", seconds=round(taken, 2))

    ready = list(grants(count, datasets, random_ids=random_ids))
    chance = random.Random(1)
    pairs = [(one.department, one.dataset) for one in chance.sample(ready, min(5000, count))]
    ids = [one.id for one in chance.sample(ready, min(5000, count))]
    # In a real import grants come from a file and go again; a million kept alive would be the collector's work.
    gc.collect()
    gc.freeze()
    begin, worked = time.perf_counter(), time.process_time()
    store.import_grants(ready)
    taken, worked = time.perf_counter() - begin, time.process_time() - worked
    del ready
    gc.collect()
    report.line(
        "import grants", f"{count / taken:,.0f} grants/s", ">= 20,000/s", per_second=round(count / taken), grants=count
    )
    report.line(
        "  of one core's time alone", f"{count / worked:,.0f} grants/s", per_second=round(count / worked), grants=count
    )
    begin = time.perf_counter()
    store.close()
    store = Store.open(url, migrate_forward=False)
    store.slice_state(*pairs[0])
    taken = time.perf_counter() - begin
    report.line("open the full state, first slice", f"{taken * 1000:.1f} ms", "< 3 s", seconds=round(taken, 4))

    pair, one = iter(pairs * 10), iter(ids * 10)
    report.timed("slice_state", lambda: store.slice_state(*next(pair)), min(4000, count), 1)
    report.timed("grant by id", lambda: store.grant(next(one)), 2000, None)
    issued, suspended = (GrantState.ISSUED,), (GrantState.SUSPENDED,)
    soon = {"expires_after": NOW, "expires_before": NOW + timedelta(days=30)}
    for name, narrow in {
        "all": GrantFilter(),
        "a large department": GrantFilter(department="d3"),
        "a small department, suspended": GrantFilter(department="d200", states=suspended),
        "a supplier": GrantFilter(supplier="d7"),
        "a dataset": GrantFilter(dataset="set-5"),
        "suspended": GrantFilter(states=suspended),
        "a region": GrantFilter(region="4420"),
        "expiring in 30 days": GrantFilter(states=issued, **soon),
        "a department's, expiring": GrantFilter(states=issued, department="d200", **soon),
        "a supplier's, expiring": GrantFilter(states=issued, supplier="d7", **soon),
        "disputed (none)": GrantFilter(disputed=True),
        "active": GrantFilter(states=issued, expires_after=NOW, begins_before=NOW),
        "expired": GrantFilter(states=issued, expires_before=NOW),
        "not yet valid (none)": GrantFilter(states=issued, expires_after=NOW, begins_after=NOW),
    }.items():
        report.timed(f"page of 100 grants: {name}", lambda n=narrow: store.list_grants(n, None, 100), 30, 50)
        cursor = store.list_grants(narrow, None, 100).cursor
        if cursor is not None:
            report.timed(f"  its second page: {name}", lambda n=narrow, c=cursor: store.list_grants(n, c, 100), 30, 50)
    report.timed("page of 100 datasets", lambda: store.list_datasets(None, None, 100), 30, 50)
    report.timed(
        "page of 100 datasets: words", lambda: store.list_datasets(DatasetFilter(words="资源999"), None, 100), 30, 50
    )
    report.timed("page of 100 systems", lambda: store.list_systems(None, 100), 30, 50)
    report.timed("figures", lambda: store.figures(NOW), 5, None)
    report.timed("figures of a supplier", lambda: store.figures(NOW, supplier="d7"), 5, None)

    def suspend() -> None:
        with store.transaction() as tx:
            found = tx.grant(next(one))
            tx.set_grant_state(found.id, found.version, GrantState.SUSPENDED)

    report.timed("suspend a grant, synced", suspend, 200, None)
    if url.startswith("sqlite"):
        size = Path(url.removeprefix("sqlite:///")).stat().st_size
        report.line("size of state.db", f"{size / 2**20:,.0f} MiB", bytes=size)
    store.close()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="a twentieth of the size, in seconds")
    options.add_argument("--postgres", action="store_true", help="on a PostgreSQL started for this run")
    options.add_argument("--random-ids", action="store_true", help="grants with random ids instead of running numbers")
    options.add_argument("--grants", type=int)
    options.add_argument("--datasets", type=int)
    given = options.parse_args()
    count = given.grants or (50_000 if given.quick else 1_000_000)
    datasets = given.datasets or (5_000 if given.quick else 100_000)
    report = Report()
    with contextlib.ExitStack() as stack:
        if given.postgres:
            from tests.support.postgres import running_postgres  # noqa: PLC0415 - needs a server only here

            server = stack.enter_context(running_postgres(fsync="on", full_page_writes="on", shared_buffers="256MB"))
            url = server.url(server.create_database())
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="store-scale-"))
            url = f"sqlite:///{folder}/state.db"
        measure(url, count, datasets, report, random_ids=given.random_ids)
    report.table()


if __name__ == "__main__":
    main()
