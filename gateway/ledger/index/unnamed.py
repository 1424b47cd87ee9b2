"""Uses that name no data subject: a question about a person cannot look into them, and says so.

The entry of their interface gave no place of the subject when they were made, or the request held none there; what is
registered today tells of neither. So each Parquet file says in its footer (`without_subject`) of which interfaces it
holds such uses: `supplier/interface dataset`, separated by line feeds. A question reads footers, and no rows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from gateway.ledger.index.connection import quoted
from gateway.ledger.index.rows import USE

KEY = "without_subject"


class Unnamed(msgspec.Struct, frozen=True):
    """What a question about a person cannot look into.

    Args:
        interfaces: (interface, dataset) of the uses that name no data subject.
        first_year: the first year (China Standard Time) of any record; None where there is none.
    """

    interfaces: tuple[tuple[str, str], ...]
    first_year: int | None


def unnamed_of(connection: duckdb.DuckDBPyConnection, source: str, values: Sequence[Any] = ()) -> set[tuple[str, str]]:
    """(interface, dataset) of the uses of `source`, the program's own SQL, that name no data subject."""
    found = connection.execute(
        f"SELECT DISTINCT interface, coalesce(dataset, '') FROM ({source}) "  # noqa: S608 — our own SQL
        f"WHERE kind = '{USE}' AND subject IS NULL AND interface IS NOT NULL",
        list(values),
    )
    return set(found.fetchall())


def footer_option(pairs: set[tuple[str, str]]) -> str:
    """The option of `COPY … TO` that writes them into a file's footer."""
    text = "\n".join(sorted(f"{interface} {dataset}" for interface, dataset in pairs)).replace("'", "''")
    return f"KV_METADATA {{{KEY}: '{text}'}}"


def unnamed_in(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> set[tuple[str, str]]:
    """What the footers of index files say."""
    if not paths:
        return set()
    named = ", ".join(f"'{quoted(path)}'" for path in paths)
    found = connection.execute(
        f"SELECT DISTINCT decode(value) FROM parquet_kv_metadata([{named}]) WHERE decode(key) = '{KEY}'"  # noqa: S608 — our own paths
    )
    lines = {line for (text,) in found.fetchall() for line in text.splitlines()}
    return {(interface, dataset) for interface, _, dataset in (line.partition(" ") for line in lines)}
