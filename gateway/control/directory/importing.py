"""Importing a directory file: decided, checked against the state, and written in one transaction, or refused whole."""

import base64
import binascii
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from gateway.control.act.acting import Choice, Deed, matter_of_gateway
from gateway.control.act.paging import every
from gateway.control.act.problems import invalid
from gateway.control.act.services import ControlServices
from gateway.domain.directory import Dataset, Department, Level
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.regions import region_chain
from gateway.domain.uses import EVERY_DEPARTMENT, RecordKind
from gateway.store import Store, StoreTransaction
from gateway.store.directory.effects import TouchedGrant
from gateway.store.directory.file import DirectoryFile, read_directory, read_json
from gateway.store.directory.importing import Imported
from gateway.store.directory.validation import (
    validate_dataset,
    validate_department,
    validate_interface,
    validate_purpose,
)

NAMED = 300
"""How many ids a record or an answer names; beyond that it counts them."""


def read_upload(store: Store, raw: bytes, spool: Path) -> DirectoryFile:
    """The directory file of a request: JSON as it is, or a sheet as `{"file": name, "content_base64": …}`.

    Raises:
        GatewayError: `invalid-input` with every fault by row and field.
    """
    try:
        wrapped = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise GatewayError("malformed-request", "the body is not JSON") from error
    if not isinstance(wrapped, dict) or set(wrapped) != {"file", "content_base64"}:
        return read_json(raw)
    try:
        content = base64.b64decode(str(wrapped["content_base64"]), validate=True)
    except binascii.Error as error:
        raise invalid([{"field": "content_base64", "fault": "is not base64"}]) from error
    suffix = Path(str(wrapped["file"])).suffix.lower()
    if suffix not in {".json", ".csv", ".xlsx"}:
        raise invalid([{"field": "file", "fault": "is neither .json, .csv nor .xlsx"}])
    spool.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=spool) as folder:
        path = Path(folder) / f"upload{suffix}"
        path.write_bytes(content)
        departments = tuple(every(lambda cursor: store.list_departments(cursor, 1000)))
        return read_directory(path, departments=departments, purposes=store.purposes())


def import_directory(
    deed: Deed,
    found: DirectoryFile,
    *,
    release: bool,
    look: Callable[[StoreTransaction], None],
    revives: bool = False,
) -> dict[str, Any]:
    """Import `found` within `deed`: decided first, then looked at, checked whole, written whole and recorded.

    Returns:
        counts of what was imported.

    Raises:
        GatewayError: `act-not-permitted`, or `invalid-input` with every fault.
    """
    _permit(deed, found, release=release)
    look(deed.tx)
    faults = _own_faults(found)
    if faults:
        raise invalid(faults)
    revived = require_said(deed.tx, found.datasets if release else (), said=revives, departments=found.departments)
    concerned = _concerned(deed.tx, found)
    imported = deed.tx.import_directory(found, release=release, on=deed.today)
    counts = {
        "departments": imported.departments,
        "purposes": imported.purposes,
        "datasets": len(imported.submitted),
        "unchanged_datasets": imported.unchanged,
        "interfaces": imported.interfaces,
        "released": imported.released,
    }
    deed.record(
        RecordKind.DIRECTORY,
        concerning=concerned,
        **counts,
        digest=hashlib.sha256(msgspec.json.encode(found.plain, order="deterministic")).hexdigest(),
        **_subject(found),
        revives=revived,
        entries=[f"{name}@{version}" for name, version in imported.submitted[:NAMED]],
    )
    return {**counts, "versions": dict(imported.submitted[:NAMED]), **_to_look_at(found, imported)}


def _to_look_at(found: DirectoryFile, imported: Imported) -> dict[str, Any]:
    """What an import says beside what it did: what was not read, not tried, and what leaves something out."""
    return {
        "skipped": list(found.skipped[:NAMED]),
        "untried": list(imported.put[:NAMED]),
        "remarks": list(imported.remarks[:NAMED]),
    }


def require_said(
    tx: StoreTransaction, entries: Iterable[Dataset], *, said: bool, departments: Iterable[Department] = ()
) -> list[str]:
    """What flows again by a release is listed and asked for, as what is lost is shown (Decree 809 Art. 15, 16).

    Args:
        tx: before the release.
        entries: the versions that are to be released.
        said: whether the officer has said that it shall flow.
        departments: as they are to be: what a department is decides with which entries' scope it lies in.

    Returns:
        ids of the grants that give data again, at most `NAMED`.

    Raises:
        GatewayError: `conflict`, with the grants, where that was not said.
    """
    grants = _reviving(tx, entries, departments)
    if grants and not said:
        raise GatewayError(
            "conflict",
            f"{len(grants)} standing grants would give data again, or more: look at them, then say `revives`",
            revives=grants[:NAMED],
        )
    return grants[:NAMED]


def check_directory(
    services: ControlServices,
    officer: Officer,
    found: DirectoryFile,
    *,
    release: bool,
    look: Callable[[StoreTransaction], None],
) -> dict[str, Any]:
    """What an import would do, with the standing grants that would lose by it (Decree 809 Art. 15: shown before).

    The import is made and taken back, so that a check finds exactly the faults that the import would; `look` sees the
    state that it was checked against.
    """
    try:
        with services.store.transaction() as tx:
            deed = Deed(services, officer, tx)
            _permit(deed, found, release=release)
            look(deed.tx)
            faults = _own_faults(found)
            if faults:
                raise invalid(faults)
            revived = _reviving(tx, found.datasets if release else (), found.departments)
            left_out = tx.reached_by(found.departments).no_more
            imported = tx.import_directory(found, release=release, on=deed.today)
            _take_back()
    except _TakenBack:
        pass
    submitted = {name for name, _ in imported.submitted}
    touched: list[dict[str, Any]] = [_left_out(services.store, grant) for grant in left_out[:NAMED]]
    for entry in found.datasets:
        if entry.id in submitted and release and len(touched) < NAMED:
            effects = services.store.effects_on_grants(entry)
            touched += [{"dataset": entry.id, **msgspec.to_builtins(each)} for each in effects.grants]
    return {
        "departments": imported.departments,
        "purposes": imported.purposes,
        "datasets": len(imported.submitted),
        "unchanged_datasets": imported.unchanged,
        "interfaces": imported.interfaces,
        "released": imported.released,
        "losing_grants": touched[:NAMED],
        "reviving_grants": revived[:NAMED],
        **_to_look_at(found, imported),
    }


def _reviving(tx: StoreTransaction, entries: Iterable[Dataset], departments: Iterable[Department]) -> list[str]:
    """Ids of the grants by which something flows again, by releases and by what departments become."""
    by_entry = tx.revived_by(entries)
    return sorted({*tx.reached_by(departments).again, *(grant for found in by_entry.values() for grant in found)})


def _left_out(store: Store, id_: str) -> dict[str, Any]:
    """What a grant loses whose department comes to lie outside its entry's scope: everything."""
    grant = store.grant(id_)
    assert grant is not None
    lost = TouchedGrant(grant.id, grant.department, grant.state.value, everything=True, out_of_scope=True)
    return {"dataset": grant.dataset, **msgspec.to_builtins(lost)}


class _TakenBack(Exception):  # noqa: N818 - no error: a check ends by rolling back
    """A check has found no fault."""


def _take_back() -> None:
    raise _TakenBack


def _permit(deed: Deed, found: DirectoryFile, *, release: bool) -> None:
    """Have each act the import asks for decided; one that changes nothing takes the right to keep a directory."""

    def asked(tx: StoreTransaction) -> list[Choice]:
        # What changes nothing takes the right to change it.
        regions = {department.region for department in found.departments}
        matters = [Matter(region=region) for region in sorted(regions)] or [matter_of_gateway(tx)]
        unchanged = [(Act.MANAGE_DEPARTMENTS, matter) for matter in matters]
        return list(_acts(tx, deed.officer, found, release=release)) or unchanged

    deed.permit_each(asked)


def _acts(
    state: Store | StoreTransaction, officer: Officer, found: DirectoryFile, *, release: bool
) -> Iterator[tuple[Act, Matter]]:
    """What an import asks for: one act a kind and supplier, not one a row; what it leaves as it is asks for none."""
    departments = {each.id: each for each in found.departments}

    def of(supplier: str) -> Matter:
        """What acts on a supplier's entries are about; of an unknown one the file's faults tell, so it is no bar."""
        department = departments.get(supplier) or state.department(supplier)
        region = department.region if department else _home_region(state, officer)
        return Matter(supplier=supplier, region=region)

    regions: set[str] = set()
    for department in found.departments:
        regions |= _regions_of_change(state.department(department.id), department)
    for region in sorted(regions):
        yield Act.MANAGE_DEPARTMENTS, Matter(region=region)
    if set(found.purposes) - set(state.purposes()):
        # All departments use one list of purposes.
        yield Act.MANAGE_DEPARTMENTS, matter_of_gateway(state)
    for supplier in {each.supplier for each in found.datasets}:
        yield Act.SUBMIT_ENTRY, of(supplier)
        if release:
            yield Act.RELEASE_ENTRY, of(supplier)
    for entry in found.datasets:
        # Nobody takes over what another answers for, be it withdrawn or not examined yet.
        owner = state.entry_owner(entry.id)
        if owner is not None and owner != entry.supplier:
            yield Act.SUBMIT_ENTRY, of(owner)
    for supplier in {each.supplier for each in found.interfaces}:
        yield Act.MANAGE_INTERFACES, of(supplier)


def _concerned(state: Store | StoreTransaction, found: DirectoryFile) -> tuple[str, ...]:
    """Whom an import concerns beside those whose entries it holds: each department that changes, all by a purpose."""
    if set(found.purposes) - set(state.purposes()):
        return (EVERY_DEPARTMENT,)
    return tuple(each.id for each in found.departments if state.department(each.id) != each)


def _regions_of_change(known: Department | None, new: Department) -> set[str]:
    """The regions whose registrars must permit a change of a department; none where nothing changes.

    Level and competence, and where a department stands, come from the level above: nobody declares the own bureau
    competent, or of a higher level than its region is (Decree 809 Art. 8).
    """
    if known == new:
        return set()
    regions = {new.region} if known is None else {new.region, known.region}
    standing = None if known is None else (known.level, known.competent, known.region, known.parent)
    if standing != (new.level, new.competent, new.region, new.parent):
        raised = new.competent or (known is not None and known.competent)
        if known is not None or raised or _RANKS[new.level] < _RANKS[_level_of(new.region)]:
            regions = {region_above(region) for region in regions}
    return regions


_RANKS = {level: rank for rank, level in enumerate(Level)}


def _level_of(region: str) -> Level:
    """The level that a division code is of."""
    return (Level.COUNTY, Level.CITY, Level.PROVINCE, Level.NATIONAL)[min(3, (6 - len(region.rstrip("0"))) // 2)]


def region_above(region: str) -> str:
    """The region that a region lies in; of the nation, itself."""
    chain = region_chain(region)
    return chain[1] if len(chain) > 1 else chain[0]


def _home_region(state: Store | StoreTransaction, officer: Officer) -> str | None:
    """Where the officer's own department lies: of entries of nobody known the file's faults tell who keeps some."""
    own = state.department(officer.department)
    return None if own is None else own.region


def _own_faults(found: DirectoryFile) -> list[dict[str, Any]]:
    """Every fault of each row taken by itself; a file's were found when it was read, a body's are found here."""
    faults: list[dict[str, Any]] = []

    def add(name: str, row: int, of_row: list[dict[str, object]]) -> None:
        faults.extend({"list": name, "row": row, **fault} for fault in of_row)

    for row, department in enumerate(found.departments, 1):
        add("departments", row, validate_department(department))
    for row, purpose in enumerate(found.purposes, 1):
        add("purposes", row, validate_purpose(purpose))
    for row, entry in enumerate(found.datasets, 1):
        add("datasets", row, validate_dataset(entry))
    for row, interface in enumerate(found.interfaces, 1):
        add("interfaces", row, validate_interface(interface))
    return faults


def _subject(found: DirectoryFile) -> dict[str, str]:
    """What the record can be found by, where the import is about one thing."""
    suppliers = {each.supplier for each in found.datasets} | {each.supplier for each in found.interfaces}
    datasets = {each.id for each in found.datasets} | {each.dataset for each in found.interfaces}
    return {
        "supplier": next(iter(suppliers)) if len(suppliers) == 1 else "",
        "dataset": next(iter(datasets)) if len(datasets) == 1 else "",
        "interface": found.interfaces[0].key if len(found.interfaces) == 1 else "",
    }
