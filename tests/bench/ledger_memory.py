"""What the index holds in memory while records arrive for hours, in one process.

    python tests/bench/ledger_memory.py [--quick]

Records come a few hundred at a time, as they do at 450 a second in a city, and are flushed and merged as the ledger
process does it; the same entries come again and again, so that nothing but the index can grow. Resident memory is
looked at 200 times; the median of the last quarter of the run stands beside that of the second.

`file_after_file` makes in a minute the index files that such a city makes in a day, day after day, and asks between
them: what the ledger process would hold after hours, without the hours (`tests/unit/ledger/test_memory.py`).
"""

import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.ledger.index.figures import figures
from gateway.ledger.index.index import FLUSH_ROWS, Index
from gateway.ledger.index.queries import RecordQuery
from tests.support.ledger import NOON_NS, City
from tests.support.measuring import Results, is_quick

AT_ONCE = 230
SOME_USES = 20_000
PAGE_BYTES = 4096
DAY_NS = 86_400 * 10**9


def resident_mib() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES / (1 << 20)


def file_after_file(folder: Path, files: int, uses: int = 40_000, a_day: int = 8) -> Iterator[tuple[float, int, int]]:
    """Write index files, `a_day` of one day and as many of the next by turns, and ask after each.

    Yields after each what this process holds more than before the first (MiB), the files that lie on the disk, and
    those that count.
    """
    index = Index(folder / "index")
    batches = [list(City().entries(uses, start_ns=NOON_NS + day * DAY_NS)) for day in range(2)]
    began = resident_mib()
    for n in range(files):
        # The same entries again, of two days by turns: nothing but the index can grow.
        day = n // a_day % len(batches)
        entries = batches[day]
        for at in range(0, len(entries), 10 * AT_ONCE):
            index.add(entries[at : at + 10 * AT_ONCE])
        index.flush()
        index.settle()
        of_day = RecordQuery(from_unix=(NOON_NS + day * DAY_NS) // 10**9)
        index.find(of_day, None, 100)
        figures(index, of_day, "department")
        yield resident_mib() - began, len(list(folder.rglob("*.parquet"))), len(index._manifest.files)
    index.close()


def main() -> None:
    uses = 200_000 if is_quick(__doc__ or "") else 1_200_000
    results = Results("memory")
    seen: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        index = Index(Path(name) / "index")
        entries = list(City().entries(SOME_USES, spacing_ns=4_400_000))
        rounds = uses // SOME_USES
        every = rounds * len(entries) // AT_ONCE // 200
        for n in range(rounds):
            for at in range(0, len(entries), AT_ONCE):
                index.add(entries[at : at + AT_ONCE])
                if index.tail_rows >= FLUSH_ROWS:
                    index.flush()
                if not (n * len(entries) + at) // AT_ONCE % every:
                    seen.append(resident_mib())
        index.settle()
        index.close()
    quarter = len(seen) // 4
    results.add("resident, second quarter", statistics.median(seen[quarter : 2 * quarter]), "MiB")
    results.add("resident, last quarter", statistics.median(seen[-quarter:]), "MiB")
    results.add("resident, at most", max(seen), "MiB")
    results.table()


if __name__ == "__main__":
    main()
