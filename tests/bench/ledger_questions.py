"""How long questions take over three years of uses: an index made by a generator, without a log under it.

    python tests/bench/ledger_questions.py [--quick] [--uses MILLIONS] [--keep FOLDER]

100 million uses over 1,096 days unless said otherwise (`--quick`: 4 million), every row of them made. Targets: one
grant's month below 0.5 s, one day's refusals below 1 s, one person's three years below 2 s. Each is asked twice: the
first reads from disk what the operating system does not have in memory. Also says bytes a use.
"""

import argparse
import datetime as dt
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import duckdb

from gateway.domain.calendar import CHINA
from gateway.ledger.index.index import PARQUET, Index
from gateway.ledger.index.manifest import MANIFEST, IndexFile, Manifest, encode_manifest
from gateway.ledger.index.queries import RecordQuery
from gateway.ledger.index.rows import COLUMNS, subject_key
from gateway.ledger.index.subject_filter import filter_path, write_filter
from gateway.ledger.journal.entries import new_run
from tests.support.measuring import Results

FIRST_DAY = dt.date(2026, 1, 1)
DAYS = 1096
GRANTS = 2000
PEOPLE = 4_000_000
PERSON = ("2026.somebody", "2027.somebody", "2028.somebody")

GENERATE = """
COPY (
  WITH uses AS (
    SELECT i, hash(i + {seed}) AS h, hash(i * 7 + {seed}) AS g, CAST(floor({grants} * pow(random(), 3)) AS INTEGER) AS k
    FROM range({first}, {end}) t(i)
  )
  SELECT
    2 * i AS leaf,
    CASE WHEN refused THEN 2 * i ELSE 2 * i + 1 + h % 128 END AS last,
    '{run}' AS run,
    i - {first} AS seq,
    {day_us} + CAST((i - {first}) * 86400000000 // {count} + h % 400000 AS BIGINT) AS time_us,
    CASE WHEN i % {person_every} = 17 THEN {person} ELSE hash(g % {people} + {year}) END AS subject,
    CASE WHEN refused THEN NULL ELSE 200 END AS status,
    CASE WHEN refused THEN NULL ELSE h % 3 END AS rows,
    CASE WHEN refused THEN NULL ELSE 60 + h % 700 END AS bytes,
    CASE WHEN refused THEN NULL ELSE 3000 + g % 20000 END AS duration_us,
    CASE WHEN refused THEN NULL ELSE 'complete' END AS ending,
    CASE WHEN refused THEN NULL ELSE 'id_number name status' END AS released,
    CASE WHEN refused THEN 'use.refused' ELSE 'use' END AS kind,
    'department-' || k % 200 AS department,
    'department-' || k % 200 || '-system-' || k % 3 AS system,
    'supplier-' || k % 40 AS supplier,
    '30700' || k % 40 || '.' || k % 300 AS dataset,
    'supplier-' || k % 40 || '/interface-' || k % 300 AS interface,
    'query' AS mode,
    'purpose-' || k % 50 AS purpose,
    '窗口办理' AS scenario,
    NULL AS operator,
    CASE WHEN refused THEN NULL ELSE 'G-' || k END AS grant_id,
    CASE WHEN refused THEN 'purpose-not-granted' ELSE NULL END AS code,
    'grant/G-' || k || ' national/purpose' AS policies,
    'mtls' AS assurance,
    NULL AS officer,
    NULL AS act
  FROM (SELECT *, h % 50 = 0 AS refused FROM uses) ORDER BY leaf
) TO '{path}' ({parquet})
"""


def run_of(midnight: dt.datetime) -> str:
    """The writer's start of a day, the same each time."""
    return new_run(int(midnight.timestamp()) * 10**9)[:8] + "abcd"


def generate(directory: Path, uses: int) -> int:
    """Write an index of `uses` uses as `Index` would have flushed and merged it; returns its bytes."""
    connection = duckdb.connect()
    types = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    connection.execute(f"CREATE TABLE shape ({types})")
    files, total = [], 0
    count = uses // DAYS
    for n in range(DAYS):
        day = FIRST_DAY + dt.timedelta(days=n)
        folder = directory / f"date={day.isoformat()}"
        folder.mkdir(parents=True)
        path = folder / "merged.parquet"
        files.append(IndexFile(day, path.name, count))
        midnight = dt.datetime.combine(day, dt.time(), CHINA)
        connection.execute(
            GENERATE.format(
                seed=n, first=n * count, end=(n + 1) * count, count=count, grants=GRANTS, people=PEOPLE,
                run=run_of(midnight),
                               day_us=int(midnight.timestamp()) * 1_000_000, year=day.year, path=path, parquet=PARQUET,
                person=subject_key(PERSON[day.year - 2026 if day.year < 2029 else 2]), person_every=count * 20,
            )
        )  # fmt: skip
        write_filter(connection, path)
        total += path.stat().st_size + filter_path(path).stat().st_size
    (directory / MANIFEST).write_bytes(encode_manifest(Manifest(size=2 * uses + 200, files=tuple(files))))
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--uses", type=float, default=100.0, help="millions")
    parser.add_argument("--keep", type=Path, help="an index to ask, made there if it is not")
    options = parser.parse_args()
    uses = 4_000_000 if options.quick else int(options.uses * 1_000_000)
    results = Results("questions")
    with tempfile.TemporaryDirectory() as name:
        directory = options.keep or Path(name) / "index"
        if not (directory / MANIFEST).exists():
            began = time.perf_counter()
            total = generate(directory, uses)
            results.add(f"made {uses / 1e6:.0f} million rows", time.perf_counter() - began, "s")
            results.add("index", total / uses, "bytes/use", "<= 60")
        index = Index(directory)

        def unix(day: dt.date) -> int:
            return int(dt.datetime.combine(day, dt.time(), CHINA).timestamp())

        month = RecordQuery(grant="G-100", from_unix=unix(dt.date(2026, 3, 1)), until_unix=unix(dt.date(2026, 4, 1)))
        day = RecordQuery(verdict="deny", from_unix=unix(dt.date(2026, 4, 9)), until_unix=unix(dt.date(2026, 4, 10)))
        person = RecordQuery(subjects=PERSON)
        questions = (
            ("one grant's month, newest 100", month, "< 0.5 s"),
            ("one day's refusals, newest 100", day, "< 1 s"),
            ("one person's three years", person, "< 2 s"),
        )
        for what, query, target in questions:
            for turn in ("first", "again"):
                began = time.perf_counter()
                page = index.find(query, None, 100)
                results.add(f"{what} ({len(page.rows)} rows), {turn}", time.perf_counter() - began, "s", target)
        began = time.perf_counter()
        leaves, _ = index.leaves(month)
        results.add(f"all {len(leaves)} leaves of that month", time.perf_counter() - began, "s")
        began = time.perf_counter()
        index.locate(f"{run_of(dt.datetime(2026, 5, 2, tzinfo=CHINA))}-17")
        results.add("one record by its id", time.perf_counter() - began, "s")
        index.close()
    results.table()


if __name__ == "__main__":
    main()
