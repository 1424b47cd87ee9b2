"""Directory files: departments, purposes, entries and interfaces to import, read whole or refused whole.

| file | content |
|---|---|
| `.json` | `{"departments": […], "purposes": […], "datasets": […], "interfaces": […]}` in the domain's field names |
| `.csv` | entries by the Chinese column names of the 2017 guide, one row a data item; UTF-8 or GB 18030 |
| `.xlsx` | the same, and departments and purposes by theirs, on any of its sheets |

Every fault is listed by row and field. A row is counted as a person sees it: in a sheet the column names are row 1,
in JSON the first element of a list is row 1.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.domain.directory import Dataset, Department, Interface, Purpose
from gateway.domain.errors import GatewayError
from gateway.domain.nesting import MAX_DEPTH, is_too_deep
from gateway.store.directory.spreadsheet import Stands, read_sheet
from gateway.store.directory.validation import (
    Fault,
    validate_dataset,
    validate_department,
    validate_interface,
    validate_purpose,
)

S = TypeVar("S", bound=msgspec.Struct)

MAX_FILE_BYTES = 256 << 20
"""The largest directory file: a nation's hundreds of thousands of entries take some 200 MiB as JSON."""

_KINDS: dict[str, type[msgspec.Struct]] = {
    "departments": Department,
    "purposes": Purpose,
    "datasets": Dataset,
    "interfaces": Interface,
}


class DirectoryFile(msgspec.Struct, frozen=True):
    """What a directory file holds, free of faults as far as the file alone can tell.

    Args:
        departments: by id.
        purposes: by id.
        datasets: entries.
        interfaces: of suppliers.
        skipped: what the file holds besides and is not read, in words.
    """

    departments: tuple[Department, ...] = ()
    purposes: tuple[Purpose, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def plain(self) -> "DirectoryFile":
        """What the file holds, wherever in it."""
        return self

    def located(self, faults: Sequence[Fault]) -> list[Fault]:
        """Faults by list and place in it, told as a person finds them in the file."""
        return list(faults)


class SheetFile(DirectoryFile, frozen=True):
    """What sheets hold.

    Args:
        stands: list -> where each of its elements stands.
    """

    stands: dict[str, tuple[Stands, ...]] = {}

    @property
    def plain(self) -> DirectoryFile:
        """As `DirectoryFile.plain`."""
        return DirectoryFile(**{name: getattr(self, name) for name in DirectoryFile.__struct_fields__})

    def located(self, faults: Sequence[Fault]) -> list[Fault]:
        """As `DirectoryFile.located`: by sheet, row and column."""
        return [self._located(fault) for fault in faults]

    def _located(self, fault: Fault) -> Fault:
        stands, row = self.stands.get(str(fault.get("list")), ()), fault.get("row")
        if not isinstance(row, int) or not 0 < row <= len(stands):
            return fault
        at = stands[row - 1]
        column = at.columns.get(str(fault["field"]), fault["field"])
        sheet = {"sheet": at.sheet} if at.sheet else {}
        return {"row": at.row, "field": column, "fault": fault["fault"], **sheet}


def read_directory(
    path: Path, *, departments: Sequence[Department] | None = None, purposes: Sequence[Purpose] | None = None
) -> DirectoryFile:
    """Read and check a directory file.

    Args:
        path: the file; its suffix says what it is.
        departments: every department, by whose name, code or id a sheet's providers are known; None takes any id.
        purposes: every purpose, by whose name or id a sheet's purposes are known; None takes any id.

    Raises:
        GatewayError: `invalid-input` with `faults`, each with `row` and `field`; nothing is to be imported then.
        OSError: if the file cannot be read.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise _refuse([{"field": "file", "fault": f"larger than {MAX_FILE_BYTES >> 20} MiB"}])
    kind = path.suffix.lower()
    if kind == ".json":
        return read_json(path.read_bytes())
    if kind in {".csv", ".xlsx"}:
        found = read_sheet(path, departments, purposes)
        content = SheetFile(
            tuple(found.departments),
            tuple(found.purposes),
            tuple(found.datasets),
            skipped=tuple(found.notes),
            stands={name: tuple(rows) for name, rows in found.stands.items()},
        )
        return _or_refuse(content, found.faults)
    raise _refuse([{"field": "file", "fault": f"`{path.name}` is neither .json, .csv nor .xlsx"}])


def read_json(content: bytes) -> DirectoryFile:
    """Read and check a directory file's JSON.

    Raises:
        GatewayError: `invalid-input` with `faults`.
    """
    if is_too_deep(content):
        raise _refuse([{"field": "file", "fault": f"nests deeper than {MAX_DEPTH}"}])
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _refuse([{"field": "file", "fault": "not JSON"}]) from error
    if not isinstance(document, dict):
        raise _refuse([{"field": "file", "fault": "not a JSON object"}])
    faults: list[Fault] = [
        {"field": name, "fault": f"unknown; known are {', '.join(_KINDS)}"} for name in document if name not in _KINDS
    ]
    found: dict[str, tuple[list[Any], list[int]]] = {}
    for name, kind in _KINDS.items():
        values, rows, wrong = _convert(name, document.get(name, []), kind)
        found[name] = values, rows
        faults += wrong
    faults += _all_faults("departments", *found["departments"], validate_department)
    faults += _all_faults("purposes", *found["purposes"], validate_purpose)
    faults += _all_faults("datasets", *found["datasets"], validate_dataset)
    faults += _all_faults("interfaces", *found["interfaces"], validate_interface)
    return _or_refuse(DirectoryFile(**{name: tuple(values) for name, (values, _) in found.items()}), faults)


def _convert(name: str, value: Any, kind: type[S]) -> tuple[list[S], list[int], list[Fault]]:
    if not isinstance(value, list):
        return [], [], [{"field": name, "fault": "not a list"}]
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    values: list[S] = []
    rows: list[int] = []
    faults: list[Fault] = []
    for row, element in enumerate(value, 1):
        wrong = _shape_faults(element, known, kind)
        if not wrong:
            values.append(msgspec.convert(element, kind))
            rows.append(row)
        faults += [{"list": name, "row": row, **fault} for fault in wrong]
    return values, rows, faults


def _shape_faults(element: Any, known: set[str], kind: type[msgspec.Struct]) -> list[Fault]:
    """Every member that is unknown, missing or of the wrong kind, each tried by itself."""
    if not isinstance(element, dict):
        return [{"field": None, "fault": "not a JSON object"}]
    faults: list[Fault] = [{"field": field, "fault": "unknown field"} for field in element if field not in known]
    for field in msgspec.structs.fields(kind):
        if field.encode_name not in element:
            if field.required:
                faults.append({"field": field.encode_name, "fault": "missing"})
            continue
        try:
            msgspec.convert(element[field.encode_name], field.type)
        except msgspec.ValidationError as error:
            faults.append({"field": field.encode_name, "fault": str(error).lower().replace(" - at `$", " at `")})
    return faults


def _all_faults(name: str, values: Iterable[Any], rows: Sequence[int], check: Any) -> list[Fault]:
    faults: list[Fault] = []
    seen: dict[str, int] = {}
    for row, value in zip(rows, values, strict=True):
        faults += [{"list": name, "row": row, **fault} for fault in check(value)]
        identity = getattr(value, "key", value.id)
        if identity in seen:
            faults.append(
                {"list": name, "row": row, "field": "id", "fault": f"`{identity}` stands in row {seen[identity]} too"}
            )
        seen.setdefault(identity, row)
    return faults


def _or_refuse(found: DirectoryFile, faults: list[Fault]) -> DirectoryFile:
    if faults:
        raise _refuse(faults)
    return found


def _refuse(faults: list[Fault]) -> GatewayError:
    number = len(faults)
    return GatewayError(
        "invalid-input", f"the directory file has {number} fault{'s' if number > 1 else ''}", faults=faults
    )
