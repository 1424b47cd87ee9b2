"""Import a directory file into the state: every fault against what is stored first, then everything in one transaction.

Importing the same file again changes nothing: an entry that says what its newest version says is not submitted anew.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from enum import StrEnum
from functools import cache

import msgspec
from sqlalchemy import bindparam, insert, select, update

from gateway.domain.certificates import CertificateUse
from gateway.domain.changes import ChangeKind
from gateway.domain.directory import Dataset, Department, EntryState, Interface, SharingAttribute
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import parse_upstream
from gateway.domain.recipients import UNSAID, bounds_of, drops_bounds
from gateway.store import schema
from gateway.store.certificates import CertificateReadings
from gateway.store.credentials import CredentialReadings
from gateway.store.directory.columns import TYPES
from gateway.store.directory.file import DirectoryFile
from gateway.store.directory.validation import Fault, misfits_of, remarks_on, remarks_on_entry, validate_interface
from gateway.store.directory.writes import DirectoryTransaction, entry_columns, interface_columns
from gateway.store.hosts import HostReadings
from gateway.store.readings import decode
from gateway.store.scope import entry_withdraws

_VERSIONS = select(schema.datasets.c.id, schema.datasets.c.version, schema.datasets.c.state, schema.datasets.c.body)
_INTERFACES = select(schema.interfaces.c.supplier, schema.interfaces.c.id)
_SERVING = select(schema.interfaces.c.body).where(schema.interfaces.c.active == 1)
_RELEASED_CODES = select(schema.datasets.c.id, schema.datasets.c.code).where(
    schema.datasets.c.state == EntryState.RELEASED.value
)
_SUPERSEDE = (
    update(schema.datasets)
    .where(schema.datasets.c.id == bindparam("entry"), schema.datasets.c.version == bindparam("of"))
    .values(state=EntryState.SUPERSEDED.value, body=bindparam("content"))
)

NARROW = 1000
"""Up to how many entries or interfaces an import names one by one in the feed; of more, only those that withdraw."""


class Imported(msgspec.Struct, frozen=True):
    """What an import did.

    Args:
        departments: how many the file holds.
        purposes: how many the file holds.
        interfaces: how many the file holds.
        submitted: entries of which a new version was stored, with that version.
        unchanged: how many entries say what their newest version says.
        released: whether those versions are released.
        put: active interfaces that are new or changed, by key.
        remarks: of these, and of interfaces that stand on entries released now: what no longer fits the entry or
            leaves something out, each with `interface`, `field` and `fault`; and of the submitted entries, each with
            `dataset` in place of `interface`.
    """

    departments: int
    purposes: int
    interfaces: int
    submitted: tuple[tuple[str, int], ...]
    unchanged: int
    released: bool
    put: tuple[str, ...] = ()
    remarks: tuple[Fault, ...] = ()


class _Versions(msgspec.Struct):
    newest: Dataset | None = None
    released: Dataset | None = None
    formerly: Dataset | None = None


class DirectoryImports(HostReadings, CertificateReadings, CredentialReadings, DirectoryTransaction):
    """A transaction that can also take a whole directory file."""

    def import_directory(self, found: DirectoryFile, *, release: bool = False, on: date | None = None) -> Imported:
        """Store all of a directory file; its entries as submitted versions, or released at once.

        Args:
            found: of `read_directory`.
            release: also release (Decree 809 Art. 16): for the competent department's own directory.
            on: the release date noted in entries that name none.

        Raises:
            GatewayError: `invalid-input` with every fault against the state; nothing is stored then.
        """
        stored = self._versions({*(entry.id for entry in found.datasets), *(one.dataset for one in found.interfaces)})
        faults = found.located(self._reference_faults(found, stored))
        if faults:
            raise GatewayError("invalid-input", f"the directory has {len(faults)} faults", faults=faults)
        for department in _parents_first(found.departments):
            self.put_department(department)
        for purpose in found.purposes:
            self.put_purpose(purpose)
        submitted = self._store_entries(found.datasets, stored, released_on=on, release=release)
        if release:
            self._announce(submitted, stored)
        put = [one for one in found.interfaces if one.active and not self._is_stored(one)]
        self._put_interfaces(found.interfaces)
        return Imported(
            departments=len(found.departments),
            purposes=len(found.purposes),
            interfaces=len(found.interfaces),
            submitted=tuple((entry.id, entry.version) for entry in submitted),
            unchanged=len(found.datasets) - len(submitted),
            released=release,
            put=tuple(one.key for one in put),
            remarks=tuple(self._remarks(put, submitted if release else (), submitted)),
        )

    def _remarks(
        self, put: Sequence[Interface], released: Iterable[Dataset], submitted: Iterable[Dataset]
    ) -> Iterator[Fault]:
        """What to look at of interfaces that were put, and of those that stand on entries released now; of entries."""
        told = {one.key for one in put}
        new = {entry.id: entry for entry in released}
        known = {id_: held.released for id_, held in self._versions({one.dataset for one in put}).items()}
        for one in put:
            entry = known.get(one.dataset)
            for remark in remarks_on(one, entry) if entry is not None else ():
                yield {"interface": one.key, **remark}
        for (body,) in self._among(_SERVING, schema.interfaces.c.dataset, new):
            one = decode(Interface, body)
            if one.key not in told:
                for remark in misfits_of(one, new[one.dataset]):
                    if remark["field"] != "subject_parameter":
                        yield {"interface": one.key, **remark}
        for entry in submitted:
            for remark in remarks_on_entry(entry):
                yield {"dataset": entry.id, **remark}

    def _versions(self, ids: set[str]) -> dict[str, _Versions]:
        stored: dict[str, _Versions] = {}
        for id_, version, state, body in self._among(_VERSIONS, schema.datasets.c.id, ids):
            held = stored.setdefault(id_, _Versions())
            if held.newest is None or held.newest.version < version:
                held.newest = decode(Dataset, body)
            if state == EntryState.RELEASED.value:
                held.released = decode(Dataset, body)
            elif state in {EntryState.SUPERSEDED.value, EntryState.WITHDRAWN.value} and (
                held.formerly is None or held.formerly.version < version
            ):
                held.formerly = decode(Dataset, body)
        return stored

    def _reference_faults(self, found: DirectoryFile, stored: Mapping[str, _Versions]) -> list[Fault]:
        departments = {department.id for department in found.departments} | {
            row[0] for row in self._rows(select(schema.departments.c.id), {})
        }
        purposes = {purpose.id for purpose in (*found.purposes, *self.purposes())}
        entries = {entry.id: entry for entry in found.datasets}
        faults: list[Fault] = []

        def fault(name: str, row: int, field: str, sentence: str) -> None:
            faults.append({"list": name, "row": row, "field": field, "fault": sentence})

        for row, department in enumerate(found.departments, 1):
            if department.parent is not None and department.parent not in departments:
                fault("departments", row, "parent", f"there is no department `{department.parent}`")
        coded = self._codes(found.datasets)
        for row, entry in enumerate(found.datasets, 1):
            others = sorted(coded[entry.code] - {entry.id})
            if others:
                fault("datasets", row, "code", f"`{entry.code}` is the code of entry `{others[0]}` too")
            if entry.supplier not in departments:
                fault("datasets", row, "supplier", f"there is no department `{entry.supplier}`")
            for field, sentence in _named_faults(entry, stored.get(entry.id, _Versions()), departments, purposes):
                fault("datasets", row, field, sentence)
        for row, one in enumerate(found.interfaces, 1):
            held = stored.get(one.dataset, _Versions())
            dataset = entries.get(one.dataset) or held.released or held.formerly or held.newest
            if one.supplier not in departments:
                fault("interfaces", row, "supplier", f"there is no department `{one.supplier}`")
            if dataset is None:
                fault("interfaces", row, "dataset", f"there is no dataset `{one.dataset}`")
            elif not self._is_stored(one):
                faults += [{"list": "interfaces", "row": row, **wrong} for wrong in validate_interface(one, dataset)]
            for field, sentence in self._reach_faults(one):
                fault("interfaces", row, field, sentence)
        return [*faults, *self._ended_faults(found)]

    def _ended_faults(self, found: DirectoryFile) -> Iterator[Fault]:
        """Entries and interfaces of departments that have ended are their successors' now."""
        of_entries = ((row, entry.supplier) for row, entry in enumerate(found.datasets, 1))
        of_interfaces = ((row, one.supplier) for row, one in enumerate(found.interfaces, 1) if one.active)
        heir_of = cache(self.heir)
        for name, rows in (("datasets", of_entries), ("interfaces", of_interfaces)):
            for row, supplier in rows:
                heir = heir_of(supplier)
                if heir != supplier:
                    sentence = f"`{supplier}` has become `{heir}`"
                    yield {"list": name, "row": row, "field": "supplier", "fault": sentence}

    def _codes(self, entries: Sequence[Dataset]) -> dict[str, set[str]]:
        """Code -> ids of the entries that bear it: of the file, and of the released ones that the file leaves alone."""
        coded: dict[str, set[str]] = {}
        for entry in entries:
            coded.setdefault(entry.code, set()).add(entry.id)
        named = {entry.id for entry in entries}
        for id_, code in self._among(_RELEASED_CODES, schema.datasets.c.code, coded):
            if id_ not in named:
                coded[code].add(id_)
        return coded

    def _is_stored(self, one: Interface) -> bool:
        """Whether an interface stands just so: what a file leaves as it is, is not judged anew."""
        stored = self.any_interface(one.supplier, one.id)
        return stored is not None and stored == msgspec.structs.replace(one, version=stored.version)

    def _reach_faults(self, one: Interface) -> Iterator[tuple[str, str]]:
        """Why an interface may not reach its upstream, or not with the certificates it names."""
        if not one.active or self._is_stored(one):
            return
        # INVARIANT: HOST-OWNED.
        sentence = self.reach_fault(one)
        if sentence is not None:
            yield "upstream", sentence
        else:
            host = self.host(parse_upstream(one.upstream).host)
            assert host is not None
            if one.tls_name not in (None, host.certificate_name or host.address):
                yield "tls_name", f"host `{host.id}` is registered with another name of its certificate"
        for field, use in (("tls_ca", CertificateUse.AUTHORITY), ("tls_client", CertificateUse.CLIENT)):
            name = getattr(one, field)
            if name is not None:
                found = self.certificates(one.supplier, name)
                if found is None or found.use is not use:
                    yield field, f"`{one.supplier}` has no {use.value} certificates of the name `{name[:63]}`"
        if one.credential is not None and self.supplier_credential(one.supplier, one.credential) is None:
            yield "credential", f"`{one.supplier}` has no credential of the name `{one.credential[:63]}`"

    def _store_entries(
        self, entries: Iterable[Dataset], stored: Mapping[str, _Versions], *, released_on: date | None, release: bool
    ) -> list[Dataset]:
        """Store the next version of every entry that says something new; the superseding first, if released."""
        new = []
        for entry in entries:
            newest = stored.get(entry.id, _Versions()).newest
            if newest is not None and _says_the_same(newest, entry, released=release):
                continue
            new.append(
                msgspec.structs.replace(
                    entry,
                    version=newest.version + 1 if newest else 1,
                    state=EntryState.RELEASED if release else EntryState.SUBMITTED,
                    released_on=entry.released_on or (released_on if release else None),
                )
            )
        superseded = [held for entry in new if release and (held := stored.get(entry.id, _Versions()).released)]
        if superseded:
            self._connection.execute(_SUPERSEDE, [_superseded(entry) for entry in superseded])
        if new:
            self._connection.execute(insert(schema.datasets), [entry_columns(entry) for entry in new])
        return new

    def _announce(self, released: Sequence[Dataset], stored: Mapping[str, _Versions]) -> None:
        """The changes of many releases: one by one where few or where access may be taken away, else one for all."""
        plain = 0
        for entry in released:
            old = stored.get(entry.id, _Versions()).released
            if len(released) <= NARROW or entry_withdraws(old, entry):
                self.entry_released(old, entry)
            else:
                plain += 1
        if plain:
            self.change(ChangeKind.ENTRY, "import")

    def _put_interfaces(self, interfaces: Iterable[Interface]) -> None:
        """Store interfaces: new ones together, changed ones one by one."""
        wanted = {(one.supplier, one.id): one for one in interfaces}
        held = {
            (row[0], row[1])
            for row in self._among(_INTERFACES, schema.interfaces.c.supplier, {supplier for supplier, _ in wanted})
        }
        new = [msgspec.structs.replace(one, version=1, moved_to=None) for key, one in wanted.items() if key not in held]
        if new:
            self._connection.execute(insert(schema.interfaces), [interface_columns(one) for one in new])
        for one in new[:NARROW]:
            self.change(ChangeKind.INTERFACE, one.key, dataset=one.dataset, supplier=one.supplier)
        if len(new) > NARROW:
            self.change(ChangeKind.INTERFACE, "import")
        for key in wanted.keys() & held:
            self.put_interface(wanted[key])


def _named_faults(
    entry: Dataset, held: _Versions, departments: AbstractSet[str], purposes: AbstractSet[str]
) -> Iterator[tuple[str, str]]:
    """What purposes and recipients of an entry there are not, and where it falls silent on who may have the data."""
    bounds = bounds_of(entry)
    for field, names, known, what in (
        ("purposes", entry.purposes, purposes, "purpose"),
        ("recipients.departments", bounds.departments, departments, "department"),
        ("recipients.matters", bounds.matters, purposes, "purpose"),
    ):
        yield from ((field, f"there is no {what} `{name}`") for name in names if name not in known)
    if drops_bounds(held.released or held.formerly, entry):
        yield "recipients", UNSAID


def _superseded(entry: Dataset) -> dict[str, object]:
    content = msgspec.json.encode(msgspec.structs.replace(entry, state=EntryState.SUPERSEDED)).decode()
    return {"entry": entry.id, "of": entry.version, "content": content}


def _says_the_same(stored: Dataset, wanted: Dataset, *, released: bool) -> bool:
    """Whether a version that stands already says what is wanted; a submitted one is none where a release is."""
    if stored.state is not EntryState.RELEASED and (released or stored.state is not EntryState.SUBMITTED):
        return False
    plain = msgspec.structs.replace(
        wanted, version=stored.version, state=stored.state, released_on=wanted.released_on or stored.released_on
    )
    return plain == stored or _normal(plain) == _normal(stored)


def _normal(entry: Dataset) -> Dataset:
    """An entry in the one form that a sheet can hold: what a sheet cannot tell apart makes no new version."""
    texts = {
        name: value.strip()
        for name in entry.__struct_fields__
        if isinstance(value := getattr(entry, name), str) and not isinstance(value, StrEnum)
    }
    return msgspec.structs.replace(
        entry,
        **texts,
        items=tuple(
            msgspec.structs.replace(
                item,
                title=item.title.strip() or item.name,
                type=TYPES.get(item.type.strip(), item.type.strip()) or "string",
            )
            for item in entry.items
        ),
        sharing_modes=()
        if entry.sharing_attribute is SharingAttribute.NON_SHAREABLE
        else tuple(dict.fromkeys(entry.sharing_modes)),
    )


def _parents_first(departments: Iterable[Department]) -> list[Department]:
    """Departments in an order in which a parent stands before its children, as far as they form a tree."""
    waiting = {department.id: department for department in departments}
    ordered: list[Department] = []
    while waiting:
        ready = [department for department in waiting.values() if department.parent not in waiting]
        if not ready:
            circle = ", ".join(sorted(waiting)[:5])
            fault = f"departments are each other's parents: {circle}"
            raise GatewayError("invalid-input", fault, faults=[{"field": "parent", "fault": fault}])
        for department in ready:
            ordered.append(department)
            del waiting[department.id]
    return ordered
