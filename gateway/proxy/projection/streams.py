"""Answers of many rows, reduced row by row in constant memory: NDJSON and CSV.

A row is complete when its line end has arrived, so nothing is released of a row that was not read whole. A row longer
than `row_bytes`, or one that cannot be reduced, ends the answer.

CSV is RFC 4180 with a header row: comma, `"` quotes, `""` within. Only the columns of granted items leave, in the
supplier's order, written anew. A row with more or fewer fields than the header is refused: its values would not stand
in the columns that were granted.
"""

import csv
import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from gateway.proxy.projection.document import DocumentProjector
from gateway.proxy.projection.envelope import not_filterable
from gateway.proxy.projection.masks import Mask
from gateway.proxy.projection.parts import require_light


class RowReducer(Protocol):
    """Takes an answer piece by piece and gives what may leave of it.

    Attributes:
        rows: rows given so far.
        items: names of the items that stood in at least one of them.
        content_type: of what is given.
    """

    rows: int
    items: set[str]
    content_type: bytes

    @property
    def held_bytes(self) -> int:
        """Octets of a row that is not whole yet."""

    def feed(self, data: bytes) -> bytes:
        """What may leave of the rows completed by `data`."""

    def finish(self) -> bytes:
        """What may leave of a last row without a line end."""


class _Lines:
    """Whole lines out of pieces."""

    __slots__ = ("_most", "_rest", "_started", "held_bytes", "mark")

    def __init__(self, row_bytes: int) -> None:
        self._rest: list[bytes] = []
        self._most = row_bytes
        self._started = False
        self.held_bytes = 0
        self.mark = ""

    def take(self, data: bytes, end: int) -> bytes:
        """Octets up to the last row's end so far, which is at `end` of `data`; empty where that is 0."""
        if not end:
            self._rest.append(data)
            self._hold(self.held_bytes + len(data))
            return b""
        whole = b"".join((*self._rest, data[:end]))
        self._rest = [data[end:]] if end < len(data) else []
        self._hold(len(data) - end)
        return self._without_mark(whole)

    def last(self) -> bytes:
        """What stands behind the last line end."""
        rest = b"".join(self._rest)
        self._rest = []
        self.held_bytes = 0
        return self._without_mark(rest)

    def _hold(self, octets: int) -> None:
        self.held_bytes = octets
        self.check(octets)

    def check(self, octets: int) -> None:
        """Raise where so many are too many for a row."""
        if octets > self._most:
            raise not_filterable("a row of the answer is too long")

    def _without_mark(self, data: bytes) -> bytes:
        if not self._started and data:
            self._started = True
            if data.startswith(b"\xef\xbb\xbf"):
                self.mark = "\ufeff"
                return data[3:]
        return data


class NdjsonReducer:
    """NDJSON: one object a line, empty lines left out."""

    __slots__ = ("_lines", "_projector", "content_type", "items", "rows")

    def __init__(
        self,
        places: Mapping[str, str],
        granted: tuple[str, ...],
        masks: Mapping[str, Mask],
        row_bytes: int,
        bounds: Mapping[str, frozenset[str]] = MappingProxyType({}),
    ) -> None:
        self._projector = DocumentProjector("", places, (), granted, masks, bounds=bounds)
        self._lines = _Lines(row_bytes)
        self.rows = 0
        self.items: set[str] = set()
        self.content_type = b"application/x-ndjson"

    @property
    def held_bytes(self) -> int:
        """As `RowReducer.held_bytes`."""
        return self._lines.held_bytes

    def feed(self, data: bytes) -> bytes:
        """As `RowReducer.feed`."""
        return self._reduce(self._lines.take(data, data.rfind(b"\n") + 1))

    def finish(self) -> bytes:
        """As `RowReducer.finish`."""
        return self._reduce(self._lines.last())

    def _reduce(self, lines: bytes) -> bytes:
        out: list[bytes] = []
        for line in lines.split(b"\n"):
            row = line.strip(b" \t\r")
            if not row:
                continue
            self._lines.check(len(row))
            if row[:1] != b"{":
                raise not_filterable("a row of the answer is not an object")
            require_light(row)
            projected = self._projector.project(row)
            self.rows += 1
            self.items.update(projected.items)
            out.append(projected.content)
        out.append(b"")
        return b"\n".join(out)


class CsvReducer:
    """CSV with a header row; places are column names."""

    __slots__ = (
        "_bounded",
        "_bounds",
        "_columns",
        "_is_quoted",
        "_lines",
        "_masks",
        "_names",
        "_wanted",
        "_width",
        "content_type",
        "items",
        "rows",
    )

    def __init__(
        self,
        places: Mapping[str, str],
        granted: tuple[str, ...],
        masks: Mapping[str, Mask],
        row_bytes: int,
        bounds: Mapping[str, frozenset[str]] = MappingProxyType({}),
    ) -> None:
        # INVARIANT: GRANTED-ITEMS-ONLY: a column that an item outside the grant also names does not leave.
        denied = {places[item] for item in places.keys() - set(granted)}
        self._wanted = {places[item]: item for item in granted if item in places and places[item] not in denied}
        self._masks = masks
        self._bounds = {places[item]: texts for item, texts in bounds.items() if item in places}
        self._bounded: list[tuple[int, frozenset[str]]] = []
        self._lines = _Lines(row_bytes)
        # The reader's own bound on a cell is the process's, and less than a row may have: rows alone are bounded here.
        if csv.field_size_limit() < row_bytes:
            csv.field_size_limit(row_bytes)
        self._is_quoted = False
        self._columns: list[int] | None = None
        self._names: list[str] = []
        self._width = 0
        self.rows = 0
        self.items: set[str] = set()
        self.content_type = b"text/csv; charset=utf-8"

    @property
    def held_bytes(self) -> int:
        """As `RowReducer.held_bytes`."""
        return self._lines.held_bytes

    def feed(self, data: bytes) -> bytes:
        """As `RowReducer.feed`."""
        return self._reduce(self._lines.take(data, self._last_row_end(data)))

    def _last_row_end(self, data: bytes) -> int:
        """Behind the last line end of `data` that does not stand within quotes, 0 where there is none."""
        inside = self._is_quoted = self._is_quoted != bool(data.count(b'"') % 2)
        position = len(data)
        while (line_end := data.rfind(b"\n", 0, position)) >= 0:
            inside = inside != bool(data.count(b'"', line_end, position) % 2)
            if not inside:
                return line_end + 1
            position = line_end
        return 0

    def finish(self) -> bytes:
        """As `RowReducer.finish`."""
        return self._reduce(self._lines.last())

    def _reduce(self, lines: bytes) -> bytes:
        if not lines:
            return b""
        try:
            text = lines.decode("utf-8")
            if "\0" in text:
                raise not_filterable("the answer holds a NUL")
            rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        except UnicodeDecodeError:
            raise not_filterable("the answer is not UTF-8") from None
        except csv.Error:
            raise not_filterable("the answer is not well-formed CSV") from None
        out = io.StringIO(newline="")
        # A byte order mark is no part of the first column's name; spreadsheet programs need it, so it goes on.
        out.write(self._lines.mark)
        self._lines.mark = ""
        writer = csv.writer(out)
        for row in rows:
            if not row:
                continue
            if self._columns is None:
                writer.writerow(self._read_header(row))
                continue
            self._lines.check(sum(map(len, row)))
            if len(row) != self._width:
                raise not_filterable("a row of the answer has another number of fields than its header")
            # INVARIANT: GRANTED-ITEMS-ONLY — a grant for one region gives rows of that region, whatever was asked for.
            if any(row[index] and row[index] not in texts for index, texts in self._bounded):
                raise not_filterable("a row of the answer is outside what the grant allows")
            writer.writerow(self._fields(row))
            self.rows += 1
        if self.rows:
            self.items.update(self._names)
        return out.getvalue().encode("utf-8")

    def _read_header(self, row: list[str]) -> list[str]:
        self._width = len(row)
        names = [name.strip() for name in row]
        self._columns = [index for index, name in enumerate(names) if name in self._wanted]
        self._bounded = [(index, self._bounds[name]) for index, name in enumerate(names) if name in self._bounds]
        columns = [names[index] for index in self._columns]
        if not columns or len(set(columns)) != len(columns):
            raise not_filterable("the answer's header does not name the granted items once each")
        self._names = [self._wanted[column] for column in columns]
        return columns

    def _fields(self, row: list[str]) -> list[str]:
        assert self._columns is not None
        fields = []
        for index, item in zip(self._columns, self._names, strict=True):
            mask = self._masks.get(item)
            fields.append((mask(row[index]) or "") if mask is not None else row[index])
        return fields
