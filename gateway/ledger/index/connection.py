"""A DuckDB of its own, in memory and bounded, and paths as its SQL takes them."""

from pathlib import Path

import duckdb

FREE_BYTES = 1 << 20
"""Freed memory that DuckDB keeps: with its own 128 MB the process grew by some 8 MB with each file of the index."""


def connect(spill: Path, threads: int, memory_bytes: int) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory, bounded; what does not fit spills into `spill`."""
    connection = duckdb.connect(":memory:")
    connection.execute(f"SET threads = {int(threads)}")
    connection.execute(f"SET memory_limit = '{int(memory_bytes)}B'")
    connection.execute("SET preserve_insertion_order = false")
    # What a file was made in goes back to the system with it, and not once 128 MB of it are free.
    connection.execute(f"SET allocator_flush_threshold = '{FREE_BYTES}B'")
    connection.execute(f"SET allocator_bulk_deallocation_flush_threshold = '{FREE_BYTES}B'")
    connection.execute(f"SET temp_directory = '{quoted(spill)}'")
    return connection


def quoted(path: Path) -> str:
    """A path between the quotes of an SQL text."""
    return str(path).replace("'", "''")
