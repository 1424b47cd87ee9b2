"""Which days a person's uses can lie in, without opening every day's file.

Beside each Parquet file stands `<file>.subjects`: a Bloom filter of the subject keys in it, as 64-bit little-endian
words. A key sets four bits of one word, so a question reads eight bytes a file. About one file in thirty is opened for
nothing; none is left out that holds the key. `tests/bench/ledger_questions.py` shows what it saves.
"""

import os
import sys
from array import array
from collections.abc import Iterable
from pathlib import Path

import duckdb

from gateway.ledger.durable import replace_file

BITS_A_KEY = 12
_SHIFTS = (6, 18, 30, 42)
_MASK = " | ".join(f"(1::UBIGINT << ((subject >> {shift}) & 63))" for shift in _SHIFTS)
_WORD_BYTES = 8
_ROWS_AT_ONCE = 10_000


def filter_path(parquet: Path) -> Path:
    """Where the filter of a Parquet file stands."""
    return parquet.with_name(f"{parquet.name}.subjects")


def write_filter(connection: duckdb.DuckDBPyConnection, parquet: Path) -> None:
    """Make the filter of an index file. Durability: its content; the name is left to the caller."""
    file = f"read_parquet('{str(parquet).replace(chr(39), chr(39) * 2)}', hive_partitioning = false)"
    source = f"(SELECT subject FROM {file} UNION ALL SELECT unnest(besides) FROM {file} WHERE besides IS NOT NULL)"  # noqa: S608 — our path
    counted = connection.execute(f"SELECT count(DISTINCT subject) FROM {source}").fetchone()  # noqa: S608 — our path
    words = array("Q", bytes(_WORD_BYTES * (int(counted[0] if counted else 0) * BITS_A_KEY // 64 + 1)))
    found = connection.execute(
        f"SELECT subject % {len(words)}, bit_or({_MASK}) FROM {source} "  # noqa: S608 — our path and numbers
        "WHERE subject IS NOT NULL GROUP BY 1"
    )
    while rows := found.fetchmany(_ROWS_AT_ONCE):
        for place, mask in rows:
            words[place] = mask
    if sys.byteorder == "big":
        words.byteswap()
    replace_file(filter_path(parquet), words.tobytes(), sync=False)


def may_hold(parquet: Path, keys: Iterable[int]) -> bool:
    """Whether an index file can hold one of `keys`; True where there is no filter to say."""
    try:
        fd = os.open(filter_path(parquet), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        words = os.fstat(fd).st_size // _WORD_BYTES
        for key in keys:
            mask = 0
            for shift in _SHIFTS:
                mask |= 1 << (key >> shift & 63)
            word = int.from_bytes(os.pread(fd, _WORD_BYTES, key % words * _WORD_BYTES), "little")
            if word & mask == mask:
                return True
    finally:
        os.close(fd)
    return False
