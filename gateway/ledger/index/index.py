# ruff: noqa: S608 — names of columns and files are the program's own; what a reader asks for goes in as parameters
"""The index: Parquet by day and a tail in memory, asked through DuckDB. It can always be rebuilt from the log.

`index/manifest.json` names the files that count, up to which leaf they reach, and the first leaves of the uses that
were open then; any other file in the folder is left over from a crash and goes. What came later than the manifest is
read from the log again at start.

What the index holds in memory is bounded: `FLUSH_ROWS` rows of the tail, and DuckDB's limit. A day's small files are
merged beside the thread that adds, in a DuckDB of its own with a limit of its own, which is given back afterwards.
"""

import logging
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.durable import make_directory, replace_file, sync_directory, unlink_all
from gateway.ledger.index.connection import connect, quoted
from gateway.ledger.index.manifest import MANIFEST, ROWS, IndexFile, Manifest, SetAside, encode_manifest, parse_manifest
from gateway.ledger.index.queries import (
    MAX_PAGE,
    RecordPage,
    RecordQuery,
    days_of,
    encode_cursor,
    parse_cursor,
    row_of,
    where,
)
from gateway.ledger.index.retired import Retired
from gateway.ledger.index.rows import COLUMNS, SEPARATOR, Rows, subject_key
from gateway.ledger.index.subject_filter import filter_path, may_hold, write_filter
from gateway.ledger.index.unnamed import Unnamed, footer_option, unnamed_in, unnamed_of
from gateway.ledger.journal.entries import china_day
from gateway.ledger.log.kept import Kept
from gateway.ledger.log.record_ids import parse_record_id, started_unix
from gateway.ledger.verify.beside import digest

log = logging.getLogger(__name__)

ROW_GROUP_ROWS = 122_880
PARQUET = f"FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
"""How DuckDB writes the index's files; `tests/bench/ledger_questions.py` shows their size and speed."""
FLUSH_ROWS = 60_000
"""Rows of the tail at which it is written: some 20 MB of memory (`tests/bench/ledger_memory.py`)."""
MERGE_FILES = 8
MERGE_BELOW_BYTES = 64 << 20
MERGE_MEMORY_BYTES = 256 << 20
"""A day's 2.4 million rows sort in 6 s of one core; with half of it they take four times as long."""
MEMORY_BYTES = 512 << 20
_SPILL = ".spill"
_NAMES = ", ".join(COLUMNS)
_CELLS = ", ".join(f"nullif(cells[{n}], '')::{kind}" for n, kind in enumerate(COLUMNS.values(), 1))
_LINES = f"SELECT {_CELLS} FROM (SELECT string_split(unnest(?::VARCHAR[]), chr({ord(SEPARATOR)})) AS cells)"
_TABLE = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
_DAY = "CAST(make_timestamp(time_us + 28800000000) AS DATE)"


class Index:
    """Rows of the log's records; one thread adds, any thread asks.

    Args:
        directory: `index/` below the ledger's folder.
        threads: DuckDB's threads.
        memory_bytes: DuckDB's memory.
    """

    def __init__(self, directory: Path, *, threads: int = 2, memory_bytes: int = MEMORY_BYTES) -> None:
        make_directory(directory)
        self.directory = directory
        self._manifest = self._read_manifest()
        self._discard_left_over()
        self.size = self._manifest.size
        self._set_aside = {each.leaf: each for each in self._manifest.set_aside}
        self._rows = Rows()
        self._lock = threading.Lock()
        self._retired = Retired()
        self._merger = ThreadPoolExecutor(1, thread_name_prefix="ledger-merge")
        self._merging: Future[None] | None = None
        self._grown = {file.day for file in self._manifest.files}
        self._connection = connect(directory / _SPILL, threads, memory_bytes)
        self._connection.execute("SET parquet_metadata_cache = true")
        self._begin_tail()

    @property
    def open_at_flush(self) -> tuple[int, ...]:
        """First leaves of the uses that were open when the files were written: read these before going on."""
        return self._manifest.open

    @property
    def tail_rows(self) -> int:
        """Rows not yet in a file."""
        with self._lock:
            return self._count("tail")

    @property
    def set_aside(self) -> tuple[SetAside, ...]:
        """The leaves that the index could not take, in order."""
        return tuple(each for _, each in sorted(self._set_aside.copy().items()))

    @property
    def unreadable(self) -> int:
        """How many of them nobody knows, for the log's file could not be read."""
        return sum(each.count for each in self.set_aside if each.is_unreadable)

    def reopen(self, openings: Iterable[tuple[int, bytes]]) -> None:
        """Take in the opening entries (leaf, entry) of the uses that were open at the last flush."""
        for leaf, entry in openings:
            self._rows.add(leaf, entry)
        with self._lock:
            self._insert("openings", self._rows.open_lines())

    def add(self, entries: Sequence[bytes], *, is_kept: bool = False) -> None:
        """Take in the entries from leaf `size` on; they can be asked for on return.

        One that cannot be taken is set aside with its leaf, whatever is wrong with it: the rest goes on. Of what a
        prune kept, b"" is the place of an entry that went.
        """
        leaf = self.size
        for entry in entries:
            try:
                if entry or not is_kept:
                    self._rows.add(leaf, entry)
            except Exception as error:  # noqa: BLE001 - whatever an entry holds, it stops no other
                self._put_aside(SetAside(leaf, f"it is no entry the index knows ({type(error).__name__})"))
            leaf += 1
        lines, closed = self._rows.take()
        with self._lock:
            openings = [line for line in self._rows.open_lines() if self._is_new(line)]
            try:
                self._take_in(lines, openings, closed)
            except duckdb.Error:
                self._take_in([taken for line in lines for taken in self._takeable(line)], openings, closed)
            self.size = leaf

    def leave_out(self, leaf: int, why: str) -> None:
        """Set a leaf aside that the log could not be read for."""
        self._put_aside(SetAside(leaf, why, is_unreadable=True))

    def skip(self, count: int, why: str) -> None:
        """Go on behind `count` leaves that the log could not be read for."""
        self._put_aside(SetAside(self.size, why, count, is_unreadable=True))
        self.size += count

    def flush(self) -> None:
        """Write the tail to Parquet, one file a day. Durability: synced on return.

        A day's small files are merged afterwards, beside this thread: `settle` waits for that.
        """
        if not self.tail_rows:
            return
        days = [row[0] for row in self._connection.execute(f"SELECT DISTINCT {_DAY} FROM tail ORDER BY 1").fetchall()]
        written = [
            self._write(self._connection, day, f"SELECT {_NAMES} FROM tail WHERE {_DAY} = ?", [day]) for day in days
        ]
        with self._lock:
            self._commit(
                Manifest(
                    ROWS,
                    self.size,
                    tuple(sorted(leaf for leaf, _, _ in self._rows.open.values())),
                    (*self._manifest.files, *written),
                    self.set_aside,
                )
            )
            self._begin_tail()
            self._grown.update(days)
        if self._merging is None or self._merging.done():
            self.settle()
            self._merging = self._merger.submit(self._merge_days)

    def settle(self) -> None:
        """Wait until no files are being merged; raises what stopped it."""
        if self._merging is not None:
            merging, self._merging = self._merging, None
            merging.result()

    def begin_at(self, leaf: int) -> None:
        """Leave out what lies below a leaf: it was pruned."""
        self.size = max(self.size, leaf)

    def keep_below(self, stays: Kept) -> None:
        """Remove the rows of records below the end of `stays` but for its leaves. Durability: synced on return."""
        self.flush()
        self.settle()
        kept: list[IndexFile] = []
        gone: list[Path] = []
        for file in self._manifest.files:
            source = f"read_parquet('{quoted(self._path(file))}', hive_partitioning = false)"
            ends = self._connection.execute(f"SELECT min(leaf), max(leaf) FROM {source}").fetchone()
            low, high = ends if ends and ends[0] is not None else (0, 0)
            if low >= stays.end:
                kept.append(file)
                continue
            stay, values = (
                "leaf >= ? OR leaf IN (SELECT unnest(?::UBIGINT[]))",
                [stays.end, [*stays.within(low, high + 1)]],
            )
            counted = self._connection.execute(f"SELECT count(*) FROM {source} WHERE {stay}", values).fetchone()
            left = int(counted[0]) if counted else 0
            if left == file.rows:
                kept.append(file)
                continue
            gone.append(self._path(file))
            if left:
                select = f"SELECT {_NAMES} FROM {source} WHERE {stay}"
                kept.append(self._write(self._connection, file.day, select, values))
        for each in self.set_aside:
            if each.leaf + each.count <= stays.end and not stays.within(each.leaf, each.leaf + each.count):
                del self._set_aside[each.leaf]
        with self._lock:
            self._commit(msgspec.structs.replace(self._manifest, files=tuple(kept), set_aside=self.set_aside))
        # Files that were merged into others hold the same rows: they go too.
        self._unlink([*gone, *self._retired.all()])

    def find(self, query: RecordQuery, cursor: str | None, limit: int) -> RecordPage:
        """A page of records, newest first; what a later page holds does not change while records arrive."""
        limit = max(1, min(limit, MAX_PAGE))
        condition, values = where(query)
        with self._snapshot() as (connection, files, size):
            below, log_size = parse_cursor(cursor) if cursor else (size, size)
            # A use's place is its first leaf, which stands from the moment it is opened: closing moves nothing.
            # Which rows first, from few columns; then all columns of those alone.
            source = self._source(files, query)
            wanted = connection.execute(
                f"SELECT leaf FROM ({source}) WHERE leaf < ? AND {condition} ORDER BY leaf DESC LIMIT {limit + 1}",
                [min(below, log_size), *values],
            ).fetchall()
            leaves = [leaf for (leaf,) in wanted] or [-1]
            found = connection.execute(
                f"SELECT {_NAMES} FROM ({source}) WHERE leaf BETWEEN {leaves[-1]} AND {leaves[0]} "
                "AND leaf IN (SELECT unnest(?)) ORDER BY leaf DESC",
                [leaves],
            ).fetchall()
        rows = tuple(row_of(each) for each in found[:limit])
        return RecordPage(rows, encode_cursor(rows[-1].leaf, log_size) if len(found) > limit else None, log_size)

    def leaves(self, query: RecordQuery) -> tuple[list[tuple[int, int | None]], int]:
        """(first, last) leaves of every record of `query`, in log order, and the log size they were read at."""
        condition, values = where(query)
        with self._snapshot() as (connection, files, size):
            sql = f"SELECT leaf, last FROM ({self._source(files, query)}) WHERE {condition} ORDER BY leaf"
            return connection.execute(sql, values).fetchall(), size

    def unnamed(self, query: RecordQuery) -> Unnamed:
        """What a question about a person within the times of `query` cannot look into."""
        first, last = days_of(query)
        with self._snapshot() as (connection, files, _):
            paths = [
                self._path(file)
                for file in files
                if (first is None or file.day >= first) and (last is None or file.day <= last)
            ]
            fresh = f"SELECT {_NAMES} FROM tail UNION ALL SELECT {_NAMES} FROM openings"
            pairs = unnamed_in(connection, paths) | unnamed_of(connection, fresh)
            oldest = connection.execute(f"SELECT min({_DAY}) FROM ({fresh})").fetchone()
        days = [file.day for file in files] + [day for day in oldest or () if day is not None]
        return Unnamed(tuple(sorted(pairs)), min(days).year if days else None)

    def locate(self, record: str) -> tuple[int, int | None]:
        """First and last leaf of a record.

        Raises:
            GatewayError: `not-found`, or `invalid-input` if no record can have this id.
        """
        run, seq = parse_record_id(record)
        began = china_day(started_unix(run) * 1_000_000_000)
        with self._snapshot() as (connection, files, _):
            # A record lies on its writer's first day or later, unless the clock was set back meanwhile.
            for some in ([file for file in files if file.day >= began], [file for file in files if file.day < began]):
                sql = f"SELECT leaf, last FROM ({self._source(some, RecordQuery())}) WHERE run = ? AND seq = ?"
                found = connection.execute(sql, [run, seq]).fetchone()
                if found is not None:
                    return found
        raise GatewayError("not-found", "there is no such record, or it is not in the log yet")

    def is_below_what_is_kept(self, record: str, minimum: int) -> bool:
        """Whether a record that is not here lies below the first leaf kept, going by its writer's order and start."""
        if not minimum:
            return False
        run, seq = parse_record_id(record)
        with self._snapshot() as (connection, files, _):
            # Below the minimum a prune may have kept records that lie beyond those that went.
            source = f"SELECT * FROM ({self._source(files, RecordQuery())}) WHERE leaf >= {int(minimum)}"
            found = connection.execute(f"SELECT min(seq) FROM ({source}) WHERE run = ?", [run]).fetchone()
            oldest = connection.execute(f"SELECT min(time_us) FROM ({source})").fetchone()
        if found is not None and found[0] is not None:
            return bool(seq < found[0])
        return oldest is None or oldest[0] is None or started_unix(run) * 1_000_000 < oldest[0]

    def figures(self, query: RecordQuery, by: str, sql: str, *, of_each_person: bool = False) -> list[tuple[Any, ...]]:
        """Rows of `SELECT {by}, {sql} … GROUP BY {by}` over the records of `query`; both are the program's own text.

        With `of_each_person` a record stands once for each of the data subjects that it names, as `person`.
        """
        condition, values = where(query)
        with self._snapshot() as (connection, files, _):
            rows = f"(SELECT * FROM ({self._source(files, query)}) WHERE {condition})"
            if of_each_person:
                rows = (
                    f"(SELECT *, unnest(list_prepend(subject, coalesce(besides, []::UBIGINT[]))) AS person FROM {rows})"
                )
            return connection.execute(f"SELECT {by}, {sql} FROM {rows} GROUP BY {by} ORDER BY {by}", values).fetchall()

    def copy_csv_to_parquet(self, source: Path, target: Path, columns: Iterable[str]) -> None:
        """Turn an export's CSV of texts into Parquet."""
        types = "{" + ", ".join(f"'{name}': 'VARCHAR'" for name in columns) + "}"
        with self._connection.cursor() as connection:
            connection.execute(
                f"COPY (SELECT * FROM read_csv('{quoted(source)}', header = true, auto_detect = false, delim = ',', "
                f"quote = '\"', escape = '\"', nullstr = '', columns = {types}, max_line_size = 1048576)) "
                f"TO '{quoted(target)}' (FORMAT parquet, COMPRESSION zstd)"
            )

    def close(self) -> None:
        """Let the index go."""
        self._merger.shutdown(wait=True)
        self._connection.close()

    def _take_in(self, lines: Sequence[str], openings: Sequence[str], closed: Sequence[int]) -> None:
        self._connection.execute("BEGIN")
        try:
            if closed:
                self._connection.execute("DELETE FROM openings WHERE leaf IN (SELECT unnest(?))", [closed])
            self._insert("tail", lines)
            self._insert("openings", openings)
        except duckdb.Error:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _takeable(self, line: str) -> Iterator[str]:
        """The line if DuckDB takes it, or that line without how the use ended, or nothing; what is left out is told."""
        cells = line.split(SEPARATOR)
        ended = list(COLUMNS).index("status"), list(COLUMNS).index("kind")
        bare = SEPARATOR.join([*cells[: ended[0]], *[""] * (ended[1] - ended[0]), *cells[ended[1] :]])
        for each in (line, bare):
            try:
                self._connection.execute(f"CREATE OR REPLACE TEMP TABLE tried AS {_LINES}", [[each]])
            except duckdb.Error:
                continue
            if each is bare:
                self._put_aside(SetAside(int(cells[1] or cells[0]), "the numbers of how it ended are none"))
            yield each
            return
        self._put_aside(SetAside(int(cells[1] or cells[0]), "its numbers are none"))

    def _put_aside(self, what: SetAside) -> None:
        self._set_aside[what.leaf] = what
        log.error("leaf %d is set aside by the index: %s; it stands in the log", what.leaf, what.why)

    def _is_new(self, line: str) -> bool:
        return int(line[: line.index(SEPARATOR)]) >= self.size

    def _insert(self, table: str, lines: Sequence[str]) -> None:
        if lines:
            self._connection.execute(f"INSERT INTO {table} {_LINES}", [lines])

    def _begin_tail(self) -> None:
        """An empty tail and the open uses anew; questions under way go on with the tables they began with.

        New tables, for DuckDB keeps some kilobytes of every transaction that deleted from one, as long as it stands.
        """
        self._connection.execute("BEGIN")
        self._connection.execute(f"CREATE OR REPLACE TABLE tail ({_TABLE})")
        self._connection.execute(f"CREATE OR REPLACE TABLE openings ({_TABLE})")
        self._insert("openings", self._rows.open_lines())
        self._connection.execute("COMMIT")

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, tuple[IndexFile, ...], int]]:
        """A connection that sees one state of the tail, the files that go with it, and the log size of both."""
        with self._connection.cursor() as connection:
            with self._lock:
                files, size = self._manifest.files, self.size
                connection.execute("BEGIN")
                connection.execute("SELECT count(*) FROM tail").fetchone()
                generation = self._retired.begin()
            try:
                yield connection, files, size
            finally:
                connection.execute("ROLLBACK")
                self._unlink(self._retired.end(generation))

    def _source(self, files: Iterable[IndexFile], query: RecordQuery) -> str:
        first, last = days_of(query)
        keys = None if query.subjects is None else [subject_key(pseudonym) for pseudonym in query.subjects]
        paths = [
            f"'{quoted(self._path(file))}'"
            for file in files
            if (first is None or file.day >= first)
            and (last is None or file.day <= last)
            and (keys is None or may_hold(self._path(file), keys))
        ]
        parts = [f"SELECT {_NAMES} FROM tail", f"SELECT {_NAMES} FROM openings"]
        if paths:
            parts.append(f"SELECT {_NAMES} FROM read_parquet([{', '.join(paths)}], hive_partitioning = false)")
        return " UNION ALL ".join(parts)

    def _path(self, file: IndexFile) -> Path:
        return self.directory / f"date={file.day.isoformat()}" / file.name

    def _write(self, connection: duckdb.DuckDBPyConnection, day: date, select: str, values: list[Any]) -> IndexFile:
        folder = self.directory / f"date={day.isoformat()}"
        make_directory(folder)
        name = f"{self.size:016d}-{os.urandom(3).hex()}.parquet"
        path = folder / name
        footer = footer_option(unnamed_of(connection, select, values))
        connection.execute(f"COPY ({select} ORDER BY leaf) TO '{quoted(path)}' ({PARQUET}, {footer})", values)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        write_filter(connection, path)
        sync_directory(folder)
        counted = connection.execute(f"SELECT count(*) FROM read_parquet('{quoted(path)}')").fetchone()
        return IndexFile(day, name, int(counted[0]) if counted else 0, digest(path), digest(filter_path(path)))

    def _merge_days(self) -> None:
        """Merge the small files of the days that have grown; on the merging thread."""
        with self._lock:
            files, days = self._manifest.files, self._grown
            self._grown = set()
        for day in sorted(days):
            small = [file for file in files if file.day == day and self._path(file).stat().st_size < MERGE_BELOW_BYTES]
            if len(small) >= MERGE_FILES:
                self._merge(day, small)

    def _merge(self, day: date, small: list[IndexFile]) -> None:
        paths = ", ".join(f"'{quoted(self._path(file))}'" for file in small)
        # An instance of its own: what it takes is bounded, and wholly given back.
        with connect(self.directory / f"{_SPILL}-merge", 1, MERGE_MEMORY_BYTES) as connection:
            select = f"SELECT {_NAMES} FROM read_parquet([{paths}], hive_partitioning = false)"
            merged = self._write(connection, day, select, [])
        with self._lock:
            kept = tuple(file for file in self._manifest.files if file not in small)
            self._commit(msgspec.structs.replace(self._manifest, files=(*kept, merged)))
            free = self._retired.retire([self._path(file) for file in small])
        self._unlink(free)

    @staticmethod
    def _unlink(paths: Iterable[Path]) -> None:
        unlink_all(each for path in paths for each in (path, filter_path(path)))

    def _commit(self, manifest: Manifest) -> None:
        replace_file(self.directory / MANIFEST, encode_manifest(manifest))
        self._manifest = manifest

    def _read_manifest(self) -> Manifest:
        try:
            manifest = parse_manifest((self.directory / MANIFEST).read_bytes())[0]
        except FileNotFoundError:
            return Manifest()
        except GatewayError as error:
            raise GatewayError("conflict", f"{error.detail}: remove `index/`, it is rebuilt from the log") from error
        return manifest if manifest.v == ROWS else Manifest()

    def _discard_left_over(self) -> None:
        named = {self._path(file) for file in self._manifest.files}
        named |= {filter_path(path) for path in named}
        unlink_all(path for path in self.directory.glob("date=*/*") if path not in named)
        for spilled in self.directory.glob(f"{_SPILL}*"):
            shutil.rmtree(spilled)

    def _count(self, table: str) -> int:
        found = self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(found[0]) if found else 0
