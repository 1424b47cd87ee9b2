"""Sheets (.csv, .xlsx) to tables whose columns are known: which sheet holds what, and what in it is not known.

Nothing is dropped in silence: a column that nobody knows is named, a cell without a column, two columns of one field
that disagree, a number that is not what is shown and an error in place of a value are faults.
"""

import csv
import difflib
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from gateway.domain.formulas import unescaped
from gateway.store.directory.columns import COLUMNS, DEPARTMENT_COLUMNS, PURPOSE_COLUMNS, SECRECY
from gateway.store.directory.validation import Fault
from gateway.store.directory.workbook import ERRORS, Doubtful, NotAWorkbook, Sheet, read_workbook

MAX_ROWS = 2_000_000
"""The most rows of one sheet: a spreadsheet program holds 1,048,576."""

MAX_CELL_CHARACTERS = 32_767
"""The most characters of one cell, as spreadsheet programs have it."""

HEADER_ROWS = 10
"""Within how many rows the column names stand: titles and notes may stand above them."""
MAX_NAME_CHARACTERS = 200
"""Longest name of a column that is looked at for what templates put around it; the work grows with its square."""

_KINDS: Mapping[str, tuple[Mapping[str, tuple[str, ...]], frozenset[str]]] = {
    "datasets": ({**COLUMNS, "secrecy": SECRECY}, frozenset({"name", "code"})),
    "departments": (DEPARTMENT_COLUMNS, frozenset({"id", "name", "region"})),
    "purposes": (PURPOSE_COLUMNS, frozenset({"id", "name"})),
}
"""What a sheet may hold: its columns, and those without which it is none."""

_NUMBERS = frozenset({"grade", "retention_years", "sharing_attribute"})
"""Fields that are numbers: what a program shows of one matters no more than its value."""

_NEAR = 0.75
"""How alike a column's name is to a known one to be taken for a slip of the pen."""

csv.field_size_limit(max(csv.field_size_limit(), 256 << 20))
# The library's own limit says nothing of where the cell is: `MAX_CELL_CHARACTERS` does.

Cells = dict[str, str]


class Row(msgspec.Struct):
    """One row of a table: where it stands, its cells by field, and what is wrong with it as a row."""

    number: int
    cells: Cells


class Table(msgspec.Struct):
    """One sheet that holds entries, departments or purposes.

    Args:
        kind: what it holds.
        sheet: its name; empty in a CSV file.
        names: field -> column as the sheet writes it.
        rows: those that hold something.
        faults: of header and rows.
        notes: what is not read of it, in words.
    """

    kind: str
    sheet: str
    names: dict[str, str]
    rows: list[Row]
    faults: list[Fault]
    notes: list[str]


def read_tables(path: Path) -> tuple[list[Table], list[Fault], list[str]]:
    """Every table of a file, what keeps it from being read at all, and what of it is not read."""
    tables: list[Table] = []
    notes: list[str] = []
    faults: list[Fault] = []
    near: list[str] = []
    try:
        for sheet in read_workbook(path) if path.suffix.lower() == ".xlsx" else [_csv_sheet(path)]:
            found = _table(sheet, notes, near)
            if found is not None:
                tables.append(found)
    except (NotAWorkbook, csv.Error, ValueError) as error:
        said = str(error) if isinstance(error, NotAWorkbook) else "not a readable sheet: save it as CSV in UTF-8 again"
        return [], [{"row": None, "field": "file", "fault": said}], []
    for sheet_name in near if tables else []:
        fault = f"sheet `{sheet_name}` has no row among its first {HEADER_ROWS} that names its columns"
        faults.append({"row": 1, "field": "header", "fault": fault, "sheet": sheet_name})
    if not tables:
        first, second = COLUMNS["name"][1], COLUMNS["code"][1]
        fault = f"no row among the first {HEADER_ROWS} names the columns {first} and {second}"
        faults.append({"row": 1, "field": "header", "fault": fault})
    return tables, faults, notes


def _csv_sheet(path: Path) -> Sheet:
    content = path.read_bytes()
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        text = content.decode("utf-16")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("gb18030")
    known = {name for columns, _ in _KINDS.values() for names in columns.values() for name in names}

    def columns_known(divider: str) -> int:
        """How many names of columns the divider finds: what stands in cells says nothing of it."""
        reader = csv.reader(io.StringIO(text[:65536], newline=""), delimiter=divider)
        try:
            rows = [row for row, _ in zip(reader, range(HEADER_ROWS), strict=False)]
        except csv.Error:
            return 0
        return max((sum(plain_name(cell) in known for cell in row) for row in rows), default=0)

    divider = max(",\t;|", key=columns_known)

    return Sheet("", iter(enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=divider, strict=True), 1)))


def plain_name(cell: str) -> str:
    """A column's name without what templates put around it: required marks, notes in brackets, blanks, line ends."""
    text = re.sub(r"\s+", "", unicodedata.normalize("NFKC", cell))
    if len(text) > MAX_NAME_CHARACTERS:
        return text
    while (bare := re.sub(r"\([^()]*\)$|^\([^()]*\)|\[[^\[\]]*\]$", "", text.strip("*:#★☆●.、"))) != text:
        text = bare
    return text


def _table(sheet: Sheet, notes: list[str], near: list[str]) -> Table | None:
    """The table that a sheet holds; None where it holds none, which is noted."""
    looked: list[Sequence[str]] = []
    for number, row in sheet.rows:
        looked.append(row)
        for kind, (columns, needed) in _KINDS.items():
            fields = {name: field for field, names in columns.items() for name in names}
            named = [(index, plain_name(cell), cell) for index, cell in enumerate(row)]
            header = {index: fields[name] for index, name, _ in named if name in fields}
            if needed <= set(header.values()):
                return _filled(sheet, kind, number, header, named, fields)
        if len(looked) >= HEADER_ROWS:
            break
    if any(cell for row in looked for cell in row):
        every = {name for columns, _ in _KINDS.values() for names in columns.values() for name in names}
        is_near = any(sum(plain_name(cell) in every for cell in row) > 1 for row in looked)
        (near if is_near else notes).append(sheet.name if is_near else f"sheet `{sheet.name}` was not read")
    return None


def _filled(
    sheet: Sheet,
    kind: str,
    at: int,
    header: Mapping[int, str],
    named: Sequence[tuple[int, str, str]],
    fields: Mapping[str, str],
) -> Table:
    names: dict[str, str] = {}
    unknown: dict[int, str] = {}
    table = Table(kind, sheet.name, names, [], [], [])
    for index, name, cell in named:
        if index in header:
            names.setdefault(header[index], " ".join(cell.split()))
        elif name:
            unknown[index] = name
            slips = difflib.get_close_matches(name, fields, 1, _NEAR)
            if slips and fields[slips[0]] not in header.values():
                fault = f"the column `{name[:40]}` is not known; did you mean `{slips[0]}`?"
                table.faults.append({"row": at, "field": name[:40], "fault": fault})
    if kind == "datasets":
        secret = {index: "secrecy" for index, name in unknown.items() if "密" in name}
        header = {**header, **secret}
        for index in secret:
            names.setdefault("secrecy", unknown.pop(index))
    labels = {index: " ".join(cell.split()) for index, _, cell in named}
    used: set[int] = set()
    width = max((*header, *unknown), default=-1) + 1
    for number, row in sheet.rows:
        if number > MAX_ROWS:
            table.faults.append({"row": number, "field": "file", "fault": f"more than {MAX_ROWS} rows"})
            break
        cells = _row_cells(row, number, header, labels, table)
        used |= {index for index in unknown if index < len(row) and row[index].strip()}
        if any(cell.strip() for cell in row[width:]):
            fault = "more cells than there are columns: a divider stands in an unquoted text, or a column has no name"
            table.faults.append({"row": number, "field": "row", "fault": fault})
        if any(cells.values()):
            table.rows.append(Row(number, cells))
    where = f" of sheet `{sheet.name}`" if sheet.name else ""
    table.notes += [f"column `{unknown[index]}`{where} was not read" for index in sorted(used)]
    return table


def _row_cells(
    row: Sequence[str], number: int, header: Mapping[int, str], labels: Mapping[int, str], table: Table
) -> Cells:
    """A row's cells by field; of two columns of one field the one that says something, if they do not disagree."""
    cells: Cells = dict.fromkeys(header.values(), "")
    said_by: dict[str, int] = {}
    for index, field in header.items():
        raw = row[index] if index < len(row) else ""
        text = unescaped(raw.strip())
        fault = ""
        if (isinstance(raw, Doubtful) and field not in _NUMBERS) or (isinstance(raw, Doubtful) and not raw.isdigit()):
            fault = raw.reason
        elif text in ERRORS:
            fault = f"is the error {text} and no value"
        elif len(text) > MAX_CELL_CHARACTERS:
            fault = f"longer than {MAX_CELL_CHARACTERS} characters"
        elif text and cells[field] and text != cells[field]:
            first, second = labels[said_by[field]][:40], labels[index][:40]
            fault = (
                f"column `{first}` says `{cells[field][:40]}`, and column `{second}`, which is the same, `{text[:40]}`"
            )
        if fault:
            table.faults.append({"row": number, "field": table.names[field], "fault": fault})
        if text and not cells[field]:
            cells[field], said_by[field] = text, index
    return cells
