"""Entries, departments and purposes from sheets, by the column names of `columns`.

One row is a data item of an entry, a department or a purpose.

A row whose identity (目录标识 where the sheet has it, else the code) is empty, or repeats that of the row above, adds
its data item to the entry above; where such a row repeats a field of the entry it must say the same. One cell may also
name several items, divided by `、` or `;`.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.domain.directory import (
    DataItem,
    Dataset,
    Department,
    Level,
    Purpose,
    Recipients,
    SharingAttribute,
    SharingMode,
    UpdateCycle,
)
from gateway.domain.recipients import FIELDS
from gateway.store.directory.columns import (
    ATTRIBUTES,
    COLUMNS,
    CYCLES,
    DEPARTMENT_COLUMNS,
    EVERYONE,
    ITEM_FIELDS,
    LEVELS,
    MODES,
    NO,
    NOT_SECRET,
    PURPOSE_COLUMNS,
    TYPES,
    YES,
)
from gateway.store.directory.sheets import Cells, Table, read_tables
from gateway.store.directory.validation import (
    Fault,
    is_slug,
    split_words,
    validate_dataset,
    validate_department,
    validate_purpose,
)

E = TypeVar("E")

_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "datasets": ("name", "code", "supplier", "format", "items", "sharing_attribute", "update_cycle"),
    "departments": ("id", "name", "region", "level"),
    "purposes": ("id", "name"),
}
_COLUMNS_OF = {"datasets": COLUMNS, "departments": DEPARTMENT_COLUMNS, "purposes": PURPOSE_COLUMNS}

_COLUMN_OF = {
    "recipients": "recipient_departments",
    **{f"recipients.{field}": f"recipient_{field}" for field in FIELDS},
}
"""Field of an entry -> the column that says it, where that has another name."""

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


class SheetContent(msgspec.Struct):
    """What sheets hold.

    Args:
        departments: in the order of rows.
        purposes: likewise.
        datasets: likewise.
        faults: everything that is wrong, by row and column, and by sheet where there are several.
        notes: what was not read, in words.
        stands: list -> where each of its elements stands.
    """

    departments: list[Department]
    purposes: list[Purpose]
    datasets: list[Dataset]
    faults: list[Fault]
    notes: list[str]
    stands: dict[str, list["Stands"]]


class Stands(msgspec.Struct, frozen=True):
    """Where in a file something stands.

    Args:
        row: its first row.
        sheet: the sheet's name; empty where there is but one.
        columns: field -> what the sheet calls it.
    """

    row: int
    sheet: str
    columns: dict[str, str]


class _Entry(msgspec.Struct):
    row: int
    cells: Cells
    items: list[tuple[int, Cells]]


def read_sheet(
    path: Path, departments: Sequence[Department] | None = None, purposes: Sequence[Purpose] | None = None
) -> SheetContent:
    """What the sheets of a file hold, and every fault of it.

    Args:
        path: a `.csv` or `.xlsx` file.
        departments: every department there is, by whose name, code or id a provider is known; None: nobody knows, and
            an id is taken for one.
        purposes: every purpose there is, likewise.
    """
    tables, faults, notes = read_tables(path)
    found = SheetContent([], [], [], faults, notes, {})
    for table in tables:
        found.notes += table.notes
        columns = _COLUMNS_OF[table.kind]
        table.faults += [
            {"row": 1, "field": columns[field][0], "fault": "the sheet has no such column"}
            for field in _REQUIRED[table.kind]
            if field not in table.names
        ]
        if table.kind == "departments":
            _departments(table, found)
        elif table.kind == "purposes":
            _purposes(table, found)
    words = _Words(
        None if departments is None else (*departments, *found.departments),
        None if purposes is None else (*purposes, *found.purposes),
    )
    seen: dict[str, int] = {}
    for table in tables:
        rows = [row.number for row in table.rows]
        if table.kind == "datasets":
            rows = _datasets(table, words, found, seen)
        named = table.sheet if len(tables) > 1 else ""
        found.stands.setdefault(table.kind, []).extend(Stands(row, named, _columns(table)) for row in rows)
    for table in tables:
        table.faults.sort(key=lambda fault: int(str(fault["row"] or 0)))
        where = {"sheet": table.sheet} if table.sheet and len(tables) > 1 else {}
        found.faults += [{**fault, **where} for fault in table.faults]
    return found


def _departments(table: Table, found: SheetContent) -> None:
    for row in table.rows:
        reading = _Reading(row.number, row.cells, table)
        department = Department(
            id=reading.text("id"),
            name=reading.text("name"),
            region=reading.text("region"),
            level=reading.one_of("level", LEVELS, reading.text("level"), Level.COUNTY),
            parent=reading.text("parent") or None,
            competent=reading.yes("competent"),
            code=reading.text("code") or None,
            matters=tuple(split_words(reading.text("matters"))),
        )
        reading.lacks(validate_department(department))
        found.departments.append(department)
        table.faults += reading.faults


def _purposes(table: Table, found: SheetContent) -> None:
    for row in table.rows:
        reading = _Reading(row.number, row.cells, table)
        purpose = Purpose(reading.text("id"), reading.text("name"), reading.text("basis"))
        reading.lacks(validate_purpose(purpose))
        found.purposes.append(purpose)
        table.faults += reading.faults


def _columns(table: Table) -> dict[str, str]:
    """Field -> what the sheet calls it, or would; an entry's id comes from its code where it has no column."""
    columns = {field: names[0] for field, names in _COLUMNS_OF[table.kind].items()} | table.names
    columns |= {field: columns[name] for field, name in _COLUMN_OF.items() if name in columns}
    if "id" not in table.names and "code" in columns:
        columns["id"] = columns["code"]
    return columns


def _datasets(table: Table, words: "_Words", found: SheetContent, seen: dict[str, int]) -> list[int]:
    """Read a sheet of entries; returns the first row of each."""
    entries = _entries(table)
    for entry in entries:
        reading = _Reading(entry.row, entry.cells, table)
        dataset = _dataset(reading, entry, words)
        if dataset.id in seen:
            reading.fault("code", f"`{dataset.id}` stands in row {seen[dataset.id]} too")
        seen.setdefault(dataset.id, entry.row)
        told = {fault["field"] for fault in reading.faults}
        reading.lacks([each for each in validate_dataset(dataset) if reading.column(str(each["field"])) not in told])
        found.datasets.append(dataset)
        table.faults += reading.faults
    return [entry.row for entry in entries]


def _entries(table: Table) -> list[_Entry]:
    """Rows gathered to entries."""
    entries: list[_Entry] = []
    identity = "id" if "id" in table.names else "code"
    for row in table.rows:
        cells = dict.fromkeys(("code", "name"), "") | row.cells
        item = {field: cells.pop(field, "") for field in ITEM_FIELDS}
        above = entries[-1] if entries else None
        key = cells[identity] or cells["code"]
        if above is None or key not in ("", above.cells[identity] or above.cells["code"]):
            entries.append(_Entry(row.number, cells, [(row.number, item)]))
            continue
        if not key and cells["name"] not in ("", above.cells["name"]):
            fault = "missing: information resource code"
            table.faults.append({"row": row.number, "field": table.names["code"], "fault": fault})
            continue
        table.faults += [
            {
                "row": row.number,
                "field": table.names[field],
                "fault": f"differs from row {above.row} of the same entry",
            }
            for field, cell in cells.items()
            if cell and cell != above.cells[field]
        ]
        above.items.append((row.number, item))
    return entries


class _Words:
    """What cells may call departments and purposes by."""

    def __init__(self, departments: Sequence[Department] | None, purposes: Sequence[Purpose] | None) -> None:
        living = [each for each in departments or () if each.succeeded_by is None]
        self._are_departments_known = departments is not None
        self._are_purposes_known = purposes is not None
        self._ids = {each.id for each in departments or ()}
        self._names = _by_word(living, lambda each: (each.name, each.id, *each.former_names))
        self._codes = _by_word(living, lambda each: (each.code, each.id))
        self._purposes = _by_word(purposes or (), lambda each: (each.name, each.id))

    def supplier(self, reading: "_Reading") -> str:
        """The id of the provider that a row names, by name, by code, or by both if they agree."""
        name, code = reading.text("supplier"), reading.text("supplier_code")
        if not name and not code:
            reading.fault("supplier", "missing (Decree 809 Art. 13)")
            return "unknown"
        named, coded = self._names.get(name, ()), self._codes.get(code, ())
        found = [each for each in named if each in coded] if named and coded else named or coded
        if named and coded and not found:
            both = f"`{name[:40]}` is `{named[0]}`, and the code `{code[:40]}` is `{coded[0]}`"
            reading.fault("supplier", f"name and code name two departments: {both}")
            return named[0]
        if len(found) > 1:
            listed = ", ".join(found)
            reading.fault("supplier", f"`{name[:40]}` names several departments: {listed}; write the code or the id")
        if found:
            return found[0]
        if not self._are_departments_known and is_slug(name):
            return name
        fault = f"no department imported so far is named `{(name or code)[:40]}`; import it first, or"
        reading.fault("supplier", f"{fault} `gateway departments add`")
        return "unknown"

    def purpose(self, reading: "_Reading", word: str, field: str = "purposes") -> str:
        """The id of a purpose."""
        found = self._purposes.get(word, ())
        if len(found) > 1:
            reading.fault(field, f"`{word[:40]}` names several purposes: {', '.join(found)}; write the id")
        if found:
            return found[0]
        if not self._are_purposes_known and is_slug(word):
            return word
        fault = f"no purpose imported so far is named `{word[:40]}`; import it first, or `gateway purposes add`"
        reading.fault(field, fault)
        return "unknown"

    def recipient(self, reading: "_Reading", word: str) -> str:
        """The id of a department that may have the data: by its id, name or code."""
        if word in self._ids or (not self._are_departments_known and is_slug(word)):
            return word
        found = tuple(dict.fromkeys((*self._names.get(word, ()), *self._codes.get(word, ()))))
        if len(found) == 1:
            return found[0]
        listed = ", ".join(found)
        fault = f"`{word[:40]}` names several departments: {listed}; write the id"
        if not found:
            fault = f"no department imported so far is named `{word[:40]}`; what is no fact stands in 共享范围"
        reading.fault("recipient_departments", fault)
        return "unknown"


def _by_word(things: Sequence[Any], words: Any) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for each in things:
        for word in words(each):
            if word:
                found[word] = tuple(dict.fromkeys((*found.get(word, ()), each.id)))
    return found


class _Reading:
    """One row's cells being read, and the faults found in them."""

    def __init__(self, row: int, cells: Cells, table: Table) -> None:
        self.row, self.cells, self.table = row, cells, table
        self.faults: list[Fault] = []

    def column(self, field: str) -> str:
        """What the sheet calls a field; an entry's id comes from its code where it has no column."""
        name = "code" if field == "id" and "id" not in self.table.names else _COLUMN_OF.get(field, field)
        return self.table.names.get(name) or _COLUMNS_OF[self.table.kind].get(name, (name,))[0]

    def fault(self, field: str, sentence: str) -> None:
        self.faults.append({"row": self.row, "field": self.column(field), "fault": sentence})

    def lacks(self, faults: Sequence[Fault]) -> None:
        for each in faults:
            self.fault(str(each["field"]), str(each["fault"]))

    def text(self, field: str) -> str:
        return self.cells.get(field, "")

    def words(self, field: str) -> list[str]:
        return split_words(self.text(field))

    def yes(self, field: str) -> bool:
        word = self.text(field).lower()
        if word not in YES | NO:
            self.fault(field, "neither 是 nor 否")
        return word in YES

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
        found = (
            re.fullmatch(r"([0-9]{4})([-/.])([0-9]{1,2})\2([0-9]{1,2})(?:[ T]00:00(?::00)?)?", word)
            or re.fullmatch(r"([0-9]{4})(年)([0-9]{1,2})月([0-9]{1,2})日", word)
            or re.fullmatch(r"([0-9]{4})()([0-9]{2})([0-9]{2})", word)
        )
        try:
            day = date(int(found[1]), int(found[3]), int(found[4])) if found else None
        except ValueError:
            day = None
        if word and day is None:
            self.fault(field, f"`{word[:40]}` is not a date: write it as 2026-01-05")
        return day


def _recipients(reading: _Reading, words: _Words) -> Recipients | None:
    """Who may have the data, as facts; None where no cell says anything of it."""
    fields = ("recipient_departments", "recipient_levels", "recipient_regions", "recipient_matters")
    cells = {field: reading.words(field) for field in fields}
    named = [word for of_field in cells.values() for word in of_field]
    if not named:
        return None
    if EVERYONE in named:
        if set(named) != {EVERYONE}:
            first = next(field for field in fields if EVERYONE in cells[field])
            reading.fault(first, f"`{EVERYONE}` stands beside what bounds: write one of them")
        return Recipients()
    return Recipients(
        departments=tuple(words.recipient(reading, word) for word in cells["recipient_departments"]),
        levels=tuple(
            reading.one_of("recipient_levels", LEVELS, word, Level.NATIONAL) for word in cells["recipient_levels"]
        ),
        regions=tuple(cells["recipient_regions"]),
        matters=tuple(words.purpose(reading, word, "recipient_matters") for word in cells["recipient_matters"]),
    )


def _dataset(reading: _Reading, entry: _Entry, words: _Words) -> Dataset:
    """The entry; what could not be read stands in it as some valid value, so that its other faults are found too."""
    attribute = reading.one_of(
        "sharing_attribute", ATTRIBUTES, reading.text("sharing_attribute"), SharingAttribute.UNCONDITIONAL
    )
    modes = [reading.one_of("sharing_modes", MODES, word, SharingMode.QUERY) for word in reading.words("sharing_modes")]
    if reading.text("secrecy").lower() not in NOT_SECRET:
        reading.fault(
            "secrecy", f"says `{reading.text('secrecy')[:40]}`: no secret is government data (Decree 809 Art. 3)"
        )
    values: dict[str, Any] = {field: reading.text(field) for field in _TEXT_FIELDS}
    values.update(
        id=reading.text("id") or values["code"].replace("/", "."),
        supplier=words.supplier(reading),
        items=_items(entry, reading),
        sharing_attribute=attribute,
        sharing_modes=() if attribute is SharingAttribute.NON_SHAREABLE else tuple(dict.fromkeys(modes)),
        update_cycle=reading.one_of("update_cycle", CYCLES, reading.text("update_cycle"), UpdateCycle.YEAR),
        grade=reading.number("grade", 1, required=True),
        purposes=tuple(words.purpose(reading, word) for word in reading.words("purposes")),
        recipients=_recipients(reading, words),
        released_on=reading.day("released_on"),
        related_codes=tuple(reading.words("related_codes")),
        retention_years=reading.number("retention_years", 3, required=False),
    )
    return Dataset(**values)


def _items(entry: _Entry, reading: _Reading) -> tuple[DataItem, ...]:
    items: list[DataItem] = []
    for row, cells in entry.items:
        at = _Reading(row, cells, reading.table)
        ids = split_words(cells["item_id"])
        titles = [cells["items"]] if len(ids) == 1 and cells["items"] else split_words(cells["items"])
        if ids and len(ids) != len(titles):
            at.fault("item_id", f"{len(ids)} identifiers for {len(titles)} items")
        elif not ids and not titles and any(cells.values()):
            at.fault("items", "missing: the data item's name")
        else:
            type_ = TYPES.get(cells["item_type"], cells["item_type"] or "string")
            is_sensitive = at.yes("item_sensitive")
            pairs = zip(ids or titles, titles, strict=True)
            items += [DataItem(name, title, type_, is_sensitive) for name, title in pairs]
        reading.faults += at.faults
    return tuple(items)
