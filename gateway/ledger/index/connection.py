"""A DuckDB of its own, in memory and bounded, and paths as its SQL takes them."""

from pathlib import Path

import duckdb


def connect(spill: Path, threads: int, memory_bytes: int) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory, bounded; what does not fit spills into `spill`."""
    connection = duckdb.connect(":memory:")
    connection.execute(f"SET threads = {int(threads)}")
    connection.execute(f"SET memory_limit = '{int(memory_bytes)}B'")
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(f"SET temp_directory = '{quoted(spill)}'")
    return connection


def quoted(path: Path) -> str:
    """A path between the quotes of an SQL text."""
    return str(path).replace("'", "''")
