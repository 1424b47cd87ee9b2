"""Entries from CSV and XLSX by the column names of `columns`: one row a data item, as the 2017 guide's sheets have it.

A row whose code is empty, or repeats the code above it, adds its data item to the entry above; where such a row
repeats a field of the entry it must say the same. One cell may also name several items, divided by `、` or `;`.
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.domain.directory import DataItem, Dataset, Department, Purpose, SharingAttribute, SharingMode, UpdateCycle
from gateway.store.directory.columns import (
    ATTRIBUTES,
    COLUMNS,
    CYCLES,
    FORMULA_STARTS,
    ITEM_FIELDS,
    MODES,
    NO,
    TYPES,
    YES,
)
from gateway.store.directory.validation import Fault

E = TypeVar("E")

MAX_ROWS = 2_000_000
"""The most rows of one sheet: a spreadsheet program holds 1,048,576."""

MAX_CELL_CHARACTERS = 32_767
"""The most characters of one cell, as spreadsheet programs have it."""

MAX_UNPACKED_BYTES = 1 << 30
"""The most bytes an XLSX may unpack to, so that a small file cannot fill the memory."""

_HEADER_ROWS = 10
"""Within how many rows the column names stand: titles and notes may stand above them."""

_DIVIDERS = re.compile(r"[、，,；;|\n]+")
_FIELDS = {name: field for field, names in COLUMNS.items() for name in names}
_REQUIRED = ("name", "code", "supplier", "format", "items", "sharing_attribute", "update_cycle")

Cells = dict[str, str]


_TEXT_FIELDS = (
    "category",
    "code",
    "name",
    "format",
    "abstract",
    "conditions",
    "openness",
    "scope",
    "classification",
    "non_shareable_reason",
    "legal_basis",
    "retention_citation",
)


class _Entry(msgspec.Struct):
    row: int
    cells: Cells
    items: list[tuple[int, Cells]]


def read_sheet(
    path: Path, departments: Sequence[Department] = (), purposes: Sequence[Purpose] = ()
) -> tuple[list[tuple[int, Dataset]], list[Fault], Mapping[str, str]]:
    """The entries of a sheet with the row each begins at, what could not be read, and field to column name.

    Args:
        path: a `.csv` or `.xlsx` file.
        departments: by whose name, code or id a provider is known.
        purposes: by whose name or id a purpose is known.
    """
    try:
        rows = _xlsx_rows(path) if path.suffix.lower() == ".xlsx" else _csv_rows(path)
        header, names, body = _header(rows)
        if not header:
            fault = (
                f"no row among the first {_HEADER_ROWS} names the columns {COLUMNS['name'][1]} and {COLUMNS['code'][1]}"
            )
            return [], [{"row": 1, "field": "header", "fault": fault}], {}
        lacking = [field for field in _REQUIRED if field not in names]
        faults: list[Fault] = [
            {"row": 1, "field": COLUMNS[field][0], "fault": "the sheet has no such column"} for field in lacking
        ]
        entries, wrong = _entries(header, body, names)
    except (zipfile.BadZipFile, KeyError, ValueError, csv.Error):
        return [], [{"row": None, "field": "file", "fault": "not a readable sheet"}], {}
    faults += wrong
    words = _Words(departments, purposes)
    found: list[tuple[int, Dataset]] = []
    for entry in entries:
        dataset, wrong = _dataset(entry, names, words)
        faults += wrong
        found.append((entry.row, dataset))
    return found, faults, names


def _csv_rows(path: Path) -> Iterator[Sequence[Any]]:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("gb18030")
    delimiter = max(",\t;", key=text[:4096].count)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)


def _xlsx_rows(path: Path) -> Iterator[Sequence[Any]]:
    # openpyxl takes half a second to import; only who reads such a file pays it.
    import openpyxl  # noqa: PLC0415 - see above

    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED_BYTES:
            raise ValueError("unpacks to more than a sheet holds")
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        yield from book.worksheets[0].iter_rows(values_only=True)
    finally:
        book.close()


def _header(
    rows: Iterator[Sequence[Any]],
) -> tuple[dict[int, str], dict[str, str], Iterable[tuple[int, Sequence[Any]]]]:
    """Column index to field, field to column name, and the numbered rows below the column names."""
    numbered = enumerate(rows, 1)
    for number, row in numbered:
        names = {index: _text(cell).replace(" ", "").rstrip("*：:") for index, cell in enumerate(row)}
        header = {index: _FIELDS[name] for index, name in names.items() if name in _FIELDS}
        if {"name", "code"} <= set(header.values()):
            return header, {field: names[index] for index, field in header.items()}, numbered
        if number >= _HEADER_ROWS:
            break
    return {}, {}, ()


def _text(cell: Any) -> str:
    """A cell as a person reads it: spreadsheet programs turn codes into numbers and dates into dates."""
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return cell.date().isoformat()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    text = str(cell).strip()
    return text[1:] if text.startswith("'") and text[1:2] in FORMULA_STARTS else text


def _entries(
    header: Mapping[int, str], body: Iterable[tuple[int, Sequence[Any]]], names: Mapping[str, str]
) -> tuple[list[_Entry], list[Fault]]:
    entries: list[_Entry] = []
    faults: list[Fault] = []
    for number, row in body:
        cells = {field: _text(row[index]) if index < len(row) else "" for index, field in header.items()}
        if not any(cells.values()):
            continue
        if number > MAX_ROWS:
            faults.append({"row": number, "field": "file", "fault": f"more than {MAX_ROWS} rows"})
            break
        faults += [
            {"row": number, "field": names[field], "fault": f"longer than {MAX_CELL_CHARACTERS} characters"}
            for field, cell in cells.items()
            if len(cell) > MAX_CELL_CHARACTERS
        ]
        item = {field: cells.pop(field, "") for field in ITEM_FIELDS}
        above = entries[-1] if entries else None
        if above is None or cells["code"] not in ("", above.cells["code"]):
            entries.append(_Entry(number, cells, [(number, item)]))
            continue
        if not cells["code"] and cells["name"] not in ("", above.cells["name"]):
            faults.append({"row": number, "field": names["code"], "fault": "missing: information resource code"})
            continue
        faults += [
            {"row": number, "field": names[field], "fault": f"differs from row {above.row} of the same entry"}
            for field, cell in cells.items()
            if cell and cell != above.cells[field]
        ]
        above.items.append((number, item))
    return entries, faults


class _Words:
    """What cells may call departments and purposes by."""

    def __init__(self, departments: Sequence[Department], purposes: Sequence[Purpose]) -> None:
        self._departments = {
            word: department.id
            for department in departments
            for word in (department.name, department.code, department.id)
            if word
        }
        self._purposes = {word: purpose.id for purpose in purposes for word in (purpose.name, purpose.id)}

    def supplier(self, cells: Cells) -> str | None:
        name, code = cells.get("supplier", ""), cells.get("supplier_code", "")
        found = self._departments.get(code) or self._departments.get(name)
        return found or (name if not name or _is_slug(name) else None)

    def purpose(self, word: str) -> str | None:
        return self._purposes.get(word) or (word if _is_slug(word) else None)


def _is_slug(word: str) -> bool:
    return re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", word) is not None


class _Reading:
    """One entry's cells being read, and the faults found in them."""

    def __init__(self, entry: _Entry, names: Mapping[str, str]) -> None:
        self.row, self.cells, self.names = entry.row, entry.cells, names
        self.faults: list[Fault] = []

    def fault(self, field: str, sentence: str) -> None:
        self.faults.append({"row": self.row, "field": self.names.get(field, COLUMNS[field][0]), "fault": sentence})

    def text(self, field: str) -> str:
        return self.cells.get(field, "")

    def words(self, field: str) -> list[str]:
        return _split(self.text(field))

    def one_of(self, field: str, known: Mapping[str, E], word: str, instead: E) -> E:
        if not word:
            self.fault(field, "missing (Decree 809 Art. 13)")
        elif word not in known:
            self.fault(field, f"`{word[:40]}` is not one of {', '.join(known)}")
        return known.get(word, instead)

    def number(self, field: str, instead: int, *, required: bool) -> int:
        word = self.text(field).removesuffix("级").removesuffix("年")
        if re.fullmatch(r"[0-9]{1,3}", word):
            return int(word)
        if word:
            self.fault(field, f"`{word[:40]}` is not a number")
        elif required:
            self.fault(field, "missing (Decree 809 Art. 13)")
        return instead

    def day(self, field: str) -> date | None:
        word = self.text(field)
        found = re.fullmatch(r"([0-9]{4})[-/.年]?([0-9]{1,2})[-/.月]?([0-9]{1,2})日?", word)
        try:
            day = date(*map(int, found.groups())) if found else None
        except ValueError:
            day = None
        if word and day is None:
            self.fault(field, f"`{word[:40]}` is not a date")
        return day

    def named(self, field: str, word: str, identity: str | None) -> str:
        """The id that `word` was found to name."""
        if identity is None:
            self.fault(field, f"nothing imported so far is named `{word[:40]}`; import {field} first")
        return identity or "unknown"


def _dataset(entry: _Entry, names: Mapping[str, str], words: _Words) -> tuple[Dataset, list[Fault]]:
    """The entry; what could not be read stands in it as some valid value, so that its other faults are found too."""
    reading = _Reading(entry, names)
    attribute = reading.one_of(
        "sharing_attribute", ATTRIBUTES, reading.text("sharing_attribute"), SharingAttribute.UNCONDITIONAL
    )
    modes = [reading.one_of("sharing_modes", MODES, word, SharingMode.QUERY) for word in reading.words("sharing_modes")]
    values: dict[str, Any] = {field: reading.text(field) for field in _TEXT_FIELDS}
    values.update(
        id=values["code"].replace("/", "."),
        supplier=reading.named("supplier", reading.text("supplier"), words.supplier(reading.cells)),
        items=_items(entry, names, reading.faults),
        sharing_attribute=attribute,
        sharing_modes=() if attribute is SharingAttribute.NON_SHAREABLE else tuple(dict.fromkeys(modes)),
        update_cycle=reading.one_of("update_cycle", CYCLES, reading.text("update_cycle"), UpdateCycle.YEAR),
        grade=reading.number("grade", 1, required=True),
        purposes=tuple(reading.named("purposes", word, words.purpose(word)) for word in reading.words("purposes")),
        released_on=reading.day("released_on"),
        related_codes=tuple(reading.words("related_codes")),
        retention_years=reading.number("retention_years", 3, required=False),
    )
    return Dataset(**values), reading.faults


def _items(entry: _Entry, names: Mapping[str, str], faults: list[Fault]) -> tuple[DataItem, ...]:
    items: list[DataItem] = []
    for row, cells in entry.items:
        ids = _split(cells["item_id"])
        titles = [cells["items"]] if len(ids) == 1 and cells["items"] else _split(cells["items"])
        if ids and len(ids) != len(titles):
            faults.append(
                {"row": row, "field": names["item_id"], "fault": f"{len(ids)} identifiers for {len(titles)} items"}
            )
            continue
        sensitive = cells["item_sensitive"].lower()
        if sensitive not in YES | NO:
            faults.append({"row": row, "field": names["item_sensitive"], "fault": "neither 是 nor 否"})
        type_ = TYPES.get(cells["item_type"], cells["item_type"] or "string")
        items += [
            DataItem(name, title, type_, sensitive in YES) for name, title in zip(ids or titles, titles, strict=True)
        ]
    return tuple(items)


def _split(cell: str) -> list[str]:
    return [word.strip() for word in _DIVIDERS.split(cell) if word.strip()]
