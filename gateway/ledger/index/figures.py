"""Figures over the records: how much was used, by whom, and what was refused (Decree 809 Art. 38)."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.index.queries import Knows, RecordQuery

if TYPE_CHECKING:
    # The command line shows figures, and has no use for DuckDB.
    from gateway.ledger.index.index import Index

GROUPS = {
    "day": "strftime(make_timestamp(time_us + 28800000000), '%Y-%m-%d')",
    "department": "department",
    "system": "system",
    "supplier": "supplier",
    "dataset": "dataset",
    "interface": "interface",
    "grant": "grant_id",
    "purpose": "purpose",
    "code": "code",
    "reason": "code",
    "ending": "ending",
    "kind": "kind",
}
"""What figures can be grouped by; a day is one of China Standard Time."""

_SUMS = (
    "count(*) FILTER (kind = 'use'), count(*) FILTER (kind = 'use.refused'), coalesce(sum(rows), 0), "
    "coalesce(sum(bytes), 0), count(DISTINCT subject), "
    "coalesce(CAST(quantile_disc(duration_us, 0.5) AS BIGINT), 0), "
    "coalesce(CAST(quantile_disc(duration_us, 0.95) AS BIGINT), 0), coalesce(bool_or(besides IS NOT NULL), false)"
)


class Figure(msgspec.Struct, frozen=True):
    """One group's figures.

    Args:
        key: the group; "" where the records name none.
        uses: permitted uses.
        refused: refused calls.
        rows: rows released.
        bytes: bytes released.
        subjects: different data subjects, as far as the records name them.
        median_us: of the uses' duration, microseconds.
        p95_us: 95th percentile of the same.
    """

    key: str
    uses: int
    refused: int
    rows: int
    bytes: int
    subjects: int
    median_us: int
    p95_us: int


class FiguresAnswer(msgspec.Struct, frozen=True):
    """Figures by group, and what was looked into for them."""

    items: tuple[Figure, ...]
    knows: Knows


def every_day(days: Sequence[Figure], first: date | None = None, last: date | None = None) -> list[Figure]:
    """Figures by day with those between them on which nothing was called: an outage is a day without calls.

    Args:
        days: figures grouped by `day`, in any order.
        first: begin with this day, if it is earlier than theirs.
        last: end with this day, if it is later.
    """
    found = {date.fromisoformat(day.key): day for day in days}
    ends = [*found, *(day for day in (first, last) if day is not None)]
    if not ends:
        return []
    begin = min(ends)
    every = (begin + timedelta(days=n) for n in range((max(ends) - begin).days + 1))
    return [found.get(day) or Figure(day.isoformat(), 0, 0, 0, 0, 0, 0, 0) for day in every]


def figures(index: "Index", query: RecordQuery, by: str) -> list[Figure]:
    """Figures of the records of `query`, grouped.

    Raises:
        GatewayError: `invalid-input` if `by` is not in `GROUPS`.
    """
    if by not in GROUPS:
        raise GatewayError("invalid-input", f"figures are grouped by {', '.join(GROUPS)}; not `{by}`")
    rows = index.figures(query, GROUPS[by], _SUMS)
    persons = {row[0]: row[5] for row in rows}
    if any(row[-1] for row in rows):
        # Of uses that name several persons each counts; without any of them the rows need not be parted.
        persons |= dict(index.figures(query, GROUPS[by], "count(DISTINCT person)", of_each_person=True))
    return [Figure(key or "", *(int(value) for value in (*sums[:4], persons[key], *sums[5:7]))) for key, *sums in rows]
