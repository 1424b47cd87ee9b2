"""The directory as a file that `read_directory` reads back to the same.

JSON holds it whole, a workbook all but the interfaces, CSV the entries.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from gateway.domain.directory import DataItem, Dataset, Department, EntryState, Purpose, Recipients, SharingAttribute
from gateway.domain.formulas import escaped
from gateway.store.directory.columns import (
    ATTRIBUTES,
    COLUMNS,
    CYCLES,
    DEPARTMENT_COLUMNS,
    EVERYONE,
    LEVELS,
    MODES,
    PURPOSE_COLUMNS,
)
from gateway.store.directory.file import DirectoryFile
from gateway.store.directory.workbook import write_workbook

_DIVIDER = "、"


def export_json(directory: DirectoryFile) -> bytes:
    """The JSON directory file; versions and states are the state's own and are left out."""
    plain = msgspec.structs.replace(
        directory,
        datasets=tuple(
            msgspec.structs.replace(entry, version=1, state=EntryState.SUBMITTED) for entry in directory.datasets
        ),
        interfaces=tuple(msgspec.structs.replace(interface, version=1) for interface in directory.interfaces),
    )
    listed = {name: getattr(plain, name) for name in ("departments", "purposes", "datasets", "interfaces")}
    return msgspec.json.format(msgspec.json.encode(listed), indent=2) + b"\n"


def export_csv(datasets: Iterable[Dataset], departments: Iterable[Department] = ()) -> str:
    """The entries as CSV by the Chinese column names, one row a data item; begins with a byte order mark for Excel.

    Args:
        datasets: entries.
        departments: for the providers' names; a provider without one stands by its id.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    for row in _entry_rows(datasets, departments):
        writer.writerow([escaped(cell) for cell in row])
    return "\ufeff" + out.getvalue()


def export_xlsx(directory: DirectoryFile) -> bytes:
    """Entries, departments and purposes as a workbook of texts, one sheet each; interfaces are not in it."""
    return write_workbook(
        (
            ("目录", _escaped(_entry_rows(directory.datasets, directory.departments))),
            ("部门", _escaped(_department_rows(directory.departments))),
            ("用途", _escaped(_purpose_rows(directory.purposes))),
        )
    )


def _escaped(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    return ([escaped(cell) for cell in row] for row in rows)


def _entry_rows(datasets: Iterable[Dataset], departments: Iterable[Department]) -> Iterator[list[str]]:
    providers = {department.id: department for department in departments}
    named_twice = {name for name, count in Counter(each.name for each in providers.values()).items() if count > 1}
    yield [names[0] for names in COLUMNS.values()]
    for entry in datasets:
        provider = providers.get(entry.supplier)
        cells = _entry_cells(entry, None if provider and provider.name in named_twice else provider)
        for item in entry.items:
            row = {**cells, **_item_cells(item)}
            yield [row.get(field, "") for field in COLUMNS]
            # Repeated, so that rows that were sorted still find their entry.
            cells = {"id": entry.id, "code": entry.code}


def _department_rows(departments: Iterable[Department]) -> Iterator[list[str]]:
    yield [names[0] for names in DEPARTMENT_COLUMNS.values()]
    for each in departments:
        cells = {
            "id": each.id,
            "name": each.name,
            "region": each.region,
            "level": _word(LEVELS, each.level),
            "parent": each.parent or "",
            "competent": "是" if each.competent else "否",
            "code": each.code or "",
            "matters": _DIVIDER.join(each.matters),
        }
        yield [cells[field] for field in DEPARTMENT_COLUMNS]


def _purpose_rows(purposes: Iterable[Purpose]) -> Iterator[list[str]]:
    yield [names[0] for names in PURPOSE_COLUMNS.values()]
    for each in purposes:
        yield [each.id, each.name, each.basis]


def _entry_cells(entry: Dataset, provider: Department | None) -> dict[str, str]:
    text = ("id", "category", "name", "code", "abstract", "format", "conditions", "openness", "classification", "scope")
    return {
        **{
            field: getattr(entry, field)
            for field in (*text, "non_shareable_reason", "legal_basis", "retention_citation")
        },
        "supplier": provider.name if provider else entry.supplier,
        "supplier_code": provider.code or provider.id if provider else "",
        "sharing_attribute": _word(ATTRIBUTES, entry.sharing_attribute),
        "sharing_modes": ""
        if entry.sharing_attribute is SharingAttribute.NON_SHAREABLE
        else _DIVIDER.join(_word(MODES, mode) for mode in entry.sharing_modes),
        "update_cycle": _word(CYCLES, entry.update_cycle),
        "released_on": entry.released_on.isoformat() if entry.released_on else "",
        "related_codes": _DIVIDER.join(entry.related_codes),
        "grade": str(entry.grade),
        "purposes": _DIVIDER.join(entry.purposes),
        **_recipient_cells(entry.recipients),
        "retention_years": str(entry.retention_years),
    }


def _recipient_cells(bounds: Recipients | None) -> dict[str, str]:
    if bounds is None:
        return {}
    return {
        "recipient_departments": EVERYONE if bounds == Recipients() else _DIVIDER.join(bounds.departments),
        "recipient_levels": _DIVIDER.join(_word(LEVELS, level) for level in bounds.levels),
        "recipient_regions": _DIVIDER.join(bounds.regions),
        "recipient_matters": _DIVIDER.join(bounds.matters),
    }


def _item_cells(item: DataItem) -> dict[str, str]:
    return {
        "items": item.title or item.name,
        "item_id": item.name,
        "item_type": item.type,
        "item_sensitive": "是" if item.sensitive else "否",
    }


def _word(known: object, value: object) -> str:
    assert isinstance(known, dict)
    return str(next(word for word, meaning in known.items() if meaning is value))
