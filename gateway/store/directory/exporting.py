"""The directory as a file that `read_directory` reads back to the same: JSON whole, CSV the entries."""

import csv
import io
from collections.abc import Iterable

import msgspec

from gateway.domain.directory import DataItem, Dataset, Department, EntryState, SharingAttribute
from gateway.store.directory.columns import ATTRIBUTES, COLUMNS, CYCLES, FORMULA_STARTS, MODES
from gateway.store.directory.file import DirectoryFile

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
    return msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n"


def export_csv(datasets: Iterable[Dataset], departments: Iterable[Department] = ()) -> str:
    """The entries as CSV by the Chinese column names, one row a data item; begins with a byte order mark for Excel.

    Args:
        datasets: entries.
        departments: for the providers' names; a provider without one stands by its id.
    """
    providers = {department.id: department for department in departments}
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([names[0] for names in COLUMNS.values()])
    for entry in datasets:
        cells = _entry_cells(entry, providers.get(entry.supplier))
        for item in entry.items:
            row = {**cells, **_item_cells(item)}
            writer.writerow([_cell(row.get(field, "")) for field in COLUMNS])
            cells = {"code": entry.code}
    return "\ufeff" + out.getvalue()


def _entry_cells(entry: Dataset, provider: Department | None) -> dict[str, str]:
    text = ("category", "name", "code", "abstract", "format", "conditions", "openness", "classification", "scope")
    return {
        **{
            field: getattr(entry, field)
            for field in (*text, "non_shareable_reason", "legal_basis", "retention_citation")
        },
        "supplier": provider.name if provider else entry.supplier,
        "supplier_code": (provider.code or "") if provider else "",
        "sharing_attribute": _word(ATTRIBUTES, entry.sharing_attribute),
        "sharing_modes": ""
        if entry.sharing_attribute is SharingAttribute.NON_SHAREABLE
        else _DIVIDER.join(_word(MODES, mode) for mode in entry.sharing_modes),
        "update_cycle": _word(CYCLES, entry.update_cycle),
        "released_on": entry.released_on.isoformat() if entry.released_on else "",
        "related_codes": _DIVIDER.join(entry.related_codes),
        "grade": str(entry.grade),
        "purposes": _DIVIDER.join(entry.purposes),
        "retention_years": str(entry.retention_years),
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


def _cell(text: str) -> str:
    """A cell that no spreadsheet program takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
