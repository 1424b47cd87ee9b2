"""What the index holds in memory while records arrive for hours, in one process.

    python tests/bench/ledger_memory.py [--quick]

Records come a few hundred at a time, as they do at 450 a second in a city, and are flushed and merged as the ledger
process does it; the same entries come again and again, so that nothing but the index can grow. Resident memory is
looked at 200 times; the median of the last quarter of the run stands beside that of the second.
"""

import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.ledger.index.index import FLUSH_ROWS, Index
from tests.support.ledger import City
from tests.support.measuring import Results, is_quick

AT_ONCE = 230
SOME_USES = 20_000
PAGE_BYTES = 4096


def resident_mib() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES / (1 << 20)


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
