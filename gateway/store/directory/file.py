"""Directory files: departments, purposes, entries and interfaces to import, read whole or refused whole.

| file | content |
|---|---|
| `.json` | `{"departments": […], "purposes": […], "datasets": […], "interfaces": […]}` in the domain's field names |
| `.csv` | entries by the Chinese column names of the 2017 guide, one row a data item; UTF-8 or GB 18030 |
| `.xlsx` | the same on the first sheet |

Every fault is listed by row and field. A row is counted as a person sees it: in a sheet the column names are row 1,
in JSON the first element of a list is row 1.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.domain.directory import Dataset, Department, Interface, Purpose
from gateway.domain.errors import GatewayError
from gateway.domain.nesting import MAX_DEPTH, is_too_deep
from gateway.store.directory.columns import COLUMNS
from gateway.store.directory.spreadsheet import read_sheet
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
    """What a directory file holds, free of faults as far as the file alone can tell."""

    departments: tuple[Department, ...] = ()
    purposes: tuple[Purpose, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    interfaces: tuple[Interface, ...] = ()


def read_directory(
    path: Path, *, departments: Sequence[Department] = (), purposes: Sequence[Purpose] = ()
) -> DirectoryFile:
    """Read and check a directory file.

    Args:
        path: the file; its suffix says what it is.
        departments: by whose name, code or id a sheet's providers are known; an id needs none.
        purposes: by whose name or id a sheet's purposes are known; an id needs none.

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
        found, faults, names = read_sheet(path, departments, purposes)
        entries = tuple(entry for _, entry in found)
        lacks = _all_faults("datasets", entries, [row for row, _ in found], validate_dataset)
        faults += [
            {"row": fault["row"], "field": _column(str(fault["field"]), names), "fault": fault["fault"]}
            for fault in lacks
        ]
        faults.sort(key=lambda fault: int(str(fault["row"] or 0)))
        return _or_refuse(DirectoryFile(datasets=entries), faults)
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
    entries = {entry.id: entry for entry in found["datasets"][0]}
    faults += _all_faults("departments", *found["departments"], validate_department)
    faults += _all_faults("purposes", *found["purposes"], validate_purpose)
    faults += _all_faults("datasets", *found["datasets"], validate_dataset)
    faults += _all_faults(
        "interfaces", *found["interfaces"], lambda one: validate_interface(one, entries.get(one.dataset))
    )
    return _or_refuse(DirectoryFile(**{name: tuple(values) for name, (values, _) in found.items()}), faults)


def _column(field: str, names: Mapping[str, str]) -> str:
    """What a sheet calls a field; an entry's id comes from its code."""
    column = "code" if field == "id" else field
    return names.get(column) or COLUMNS.get(column, (column,))[0]


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
