"""Writes of the directory: departments, systems and their keys, purposes, entries and their release, interfaces.

An entry is enforced from its release on (Decree 809 Art. 16, 17); submitting a version touches no worker.
"""

# ruff: noqa: A001, A002 - `id` and `filter` are the domain's names for them

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime
from functools import cache

import msgspec
from sqlalchemy import delete, insert, select, update

from gateway.domain.changes import ChangeKind
from gateway.domain.directory import Dataset, Department, EntryState, Interface, Purpose, System
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, GrantState
from gateway.domain.officers import Officer
from gateway.domain.recipients import UNSAID, bounds_missed, drops_bounds
from gateway.store import schema
from gateway.store.accounts import AccountWrites
from gateway.store.directory.effects import Reached, revived
from gateway.store.scope import department_withdraws, entry_withdraws, interface_withdraws, system_withdraws
from gateway.store.values import LegacyKey


class DirectoryTransaction(AccountWrites):
    """A `Transaction` that can also write the directory: what `Store.transaction` gives."""

    def put_department(self, department: Department, *, if_match: str | None = None) -> None:
        """Store a department, new or changed; its history is written by reorganisations alone.

        Raises:
            GatewayError: `conflict` where it has ended.
        """
        old = self.department(department.id)
        self._match(old, if_match)
        department = department.with_history_of(old)
        if old == department:
            return
        self.require_living(department.id)
        self._write_department(old, department)

    def require_living(self, id: str) -> None:
        """Nothing new is given to a department that has ended.

        Raises:
            GatewayError: `conflict`, naming what it became.
        """
        found = self.department(id)
        if found is not None and found.succeeded_by is not None:
            raise GatewayError("conflict", f"department `{id}` has ended: `{self.heir(id)}` took over from it")

    def _write_department(self, old: Department | None, new: Department) -> None:
        self._put(
            schema.departments, {"id": new.id}, {"parent": new.parent, "region": new.region, "body": _encode(new)}
        )
        # Its children's slices hold it as an ancestor, so every slice is dropped.
        self.change(ChangeKind.DEPARTMENT, new.id, withdraws=department_withdraws(old, new))

    def claim_keys(self, system: str, thumbprints: Collection[str]) -> None:
        """Note that these keys and certificates are the system's, and no others any more.

        Raises:
            GatewayError: `conflict` if one is another system's: whoever held it could be either.
        """
        table = schema.system_keys
        held = select(table.c.thumbprint).where(table.c.thumbprint.in_(thumbprints), table.c.system != system)
        if self._connection.execute(held.limit(1)).first() is not None:
            raise GatewayError("conflict", "a key or certificate is another system's: take one of its own")
        own = set(self._connection.execute(select(table.c.thumbprint).where(table.c.system == system)).scalars())
        gone, new = own.difference(thumbprints), set(thumbprints).difference(own)
        if gone:
            self._connection.execute(delete(table).where(table.c.system == system, table.c.thumbprint.in_(gone)))
        if new:
            # Two at once: the table's key lets one through, and the other is a `conflict` too.
            self._connection.execute(insert(table), [{"thumbprint": each, "system": system} for each in sorted(new)])

    def put_system(self, system: System, *, if_match: str | None = None) -> None:
        """Store a system, new or changed; `active=False` revokes it.

        Raises:
            GatewayError: `not-found` if its department does not exist; `conflict` if that has ended.
        """
        if self.department(system.department) is None:
            raise GatewayError("not-found", f"there is no department `{system.department}`")
        old = self.system(system.id)
        self._match(old, if_match)
        if old == system:
            return
        if system.active:
            self.require_living(system.department)
        self._put(
            schema.systems,
            {"id": system.id},
            {"department": system.department, "active": int(system.active), "body": _encode(system)},
        )
        for department in {system.department, (old or system).department}:
            self.change(
                ChangeKind.SYSTEM,
                system.id,
                department=department,
                system=system.id,
                withdraws=system_withdraws(old, system),
            )

    def put_legacy_key(self, key: LegacyKey) -> None:
        """Store a key of an older contract, or withdraw one by `active=False`.

        Raises:
            GatewayError: `not-found` if its system does not exist.
        """
        system = self.system(key.system)
        if system is None:
            raise GatewayError("not-found", f"there is no system `{key.system}`")
        old = self.legacy_key(key.contract, key.id)
        self._put(
            schema.legacy_keys,
            {"contract": key.contract, "id": key.id},
            {"system": key.system, "purpose": key.purpose, "secret": key.secret, "active": int(key.active)},
        )
        self.change(
            ChangeKind.KEY,
            key.id,
            department=system.department,
            system=key.system,
            withdraws=old is not None and old.active and key != old,
        )

    def put_purpose(self, purpose: Purpose, *, if_match: str | None = None) -> None:
        """Store a purpose, new or changed; grants name it by id, so no worker holds it."""
        old = next((p for p in self.purposes() if p.id == purpose.id), None)
        self._match(old, if_match)
        self._put(schema.purposes, {"id": purpose.id}, {"body": _encode(purpose)})

    def put_officer(self, officer: Officer, *, secret_hash: str | None = None, if_match: str | None = None) -> None:
        """Store an officer, new or changed; without `secret_hash` a local account keeps the one it has.

        What a session rests on ends it: the password, the person's employment, department, region and roles.

        Raises:
            GatewayError: `conflict` where the id was another person's: an account of a dismissed person stays
                dismissed, and one that bears a name keeps it, since records name the id alone.
        """
        old = self.officer(officer.id)
        self._match(old, if_match)
        if old is not None and not old.active and officer.active:
            raise GatewayError("conflict", f"`{officer.id}` was dismissed: whoever comes gets an account of their own")
        if old is not None and old.name and old.name != officer.name:
            raise GatewayError("conflict", f"`{officer.id}` is {old.name}: another person gets another account")
        if officer.active:
            self.require_living(officer.department)
        values = {"department": officer.department, "body": _encode(officer)}
        if secret_hash is not None:
            values["secret_hash"] = secret_hash
        self._put(schema.officers, {"id": officer.id}, values)
        if old is None:
            return
        why = [
            (not officer.active, "dismissal"),
            (officer.department != old.department, "change of department"),
            (officer.region != old.region, "change of region"),
            (set(officer.roles) != set(old.roles), "change of roles"),
            (secret_hash is not None, "password change"),
        ]
        for changed, cause in why:
            if changed:
                self.end_sessions(cause, officer=officer.id)
                break

    def submit_dataset(self, dataset: Dataset) -> Dataset:
        """Store the next version of an entry, submitted for examination; its `version` and `state` are set here.

        Raises:
            GatewayError: `not-found` if its supplier does not exist; `conflict` if that has ended.
        """
        if self.department(dataset.supplier) is None:
            raise GatewayError("not-found", f"there is no department `{dataset.supplier}`")
        self.require_living(dataset.supplier)
        versions = self.dataset_versions(dataset.id)
        version = versions[-1].version + 1 if versions else 1
        entry = msgspec.structs.replace(dataset, version=version, state=EntryState.SUBMITTED)
        self._connection.execute(insert(schema.datasets).values(**entry_columns(entry)))
        return entry

    def release_dataset(self, id: str, version: int, *, on: date | None = None) -> Dataset:
        """Release a submitted version (Decree 809 Art. 16, 17): from the commit on it is the one enforced.

        Args:
            id: the entry.
            version: a submitted version.
            on: the release date to note in the entry, if it names none.

        Raises:
            GatewayError: `not-found`; `conflict` if the version is not submitted, an older one than is released, or
                silent on who may have the data where the one before is not.
        """
        entry = self._submitted(id, version)
        old = self.dataset(id)
        over = {EntryState.RELEASED, EntryState.SUPERSEDED, EntryState.WITHDRAWN}
        before = max((one for one in self.dataset_versions(id) if one.state in over), key=_version, default=None)
        if drops_bounds(before, entry):
            raise GatewayError("conflict", f"version {version} of entry `{id}`: `recipients` is {UNSAID}")
        if old is not None:
            if old.version > version:
                raise GatewayError("conflict", f"version {old.version} of entry `{id}` is released already")
            self._set_entry_state(old, EntryState.SUPERSEDED)
        entry = self._set_entry_state(
            msgspec.structs.replace(entry, released_on=entry.released_on or on), EntryState.RELEASED
        )
        self.entry_released(old, entry)
        return entry

    def entry_released(self, old: Dataset | None, new: Dataset) -> None:
        """What follows from a release: the change in the feed, and whose grants they are if the supplier changed.

        Interfaces of anybody else on the dataset are withdrawn: they serve what is not theirs.
        """
        for interface in self.interfaces_of(new.id):
            if interface.supplier != new.supplier:
                self.put_interface(msgspec.structs.replace(interface, active=False))
        moved = old is not None and old.supplier != new.supplier
        self.change(
            ChangeKind.ENTRY,
            new.id,
            dataset=new.id,
            supplier=None if moved else new.supplier,
            withdraws=entry_withdraws(old, new),
        )
        if moved:
            table = schema.grants
            self._connection.execute(update(table).where(table.c.dataset == new.id).values(supplier=new.supplier))

    def reject_dataset(self, id: str, version: int) -> Dataset:
        """Reject a submitted version; a released one stays enforced."""
        return self._set_entry_state(self._submitted(id, version), EntryState.REJECTED)

    def withdraw_dataset(self, id: str) -> Dataset:
        """Withdraw the released version: nothing of the dataset is shared from the commit on."""
        old = self.dataset(id)
        if old is None:
            raise GatewayError("not-found", f"no version of entry `{id}` is released")
        self.change(ChangeKind.ENTRY, id, dataset=id, supplier=old.supplier, withdraws=True)
        return self._set_entry_state(old, EntryState.WITHDRAWN)

    def revived_by(self, entries: Iterable[Dataset]) -> dict[str, tuple[str, ...]]:
        """Entry -> ids of the grants in force that would give data again, or more, if these versions were released."""
        wanted = {entry.id: entry for entry in entries}
        table = schema.grants
        issued = select(table.c.dataset, table.c.body).where(table.c.state == GrantState.ISSUED.value)
        held: dict[str, list[Grant]] = {}
        for id, body in self._among(issued, table.c.dataset, wanted):
            held.setdefault(id, []).append(msgspec.json.decode(body, type=Grant))
        now = datetime.fromtimestamp(self._now_unix, UTC)
        known = cache(self.department)
        found = {id: revived(self.dataset(id), wanted[id], grants, now, known) for id, grants in sorted(held.items())}
        return {id: grants for id, grants in found.items() if grants}

    def reached_by(self, departments: Iterable[Department]) -> Reached:
        """Which grants in force give data again, and which no more, if departments became so (Decree 809 Art. 15).

        A department's level, region and matters decide with which entries' scope it lies in.
        """
        again: list[str] = []
        no_more: list[str] = []
        table = schema.grants
        for new in departments:
            old = self.department(new.id)
            new = new.with_history_of(old)  # noqa: PLW2901 - history is no row's to say
            if old is None or old == new:
                continue
            issued = table.c.state == GrantState.ISSUED.value
            rows = self._rows(select(table.c.body).where(table.c.department == new.id, issued), {})
            for grant in (msgspec.json.decode(row[0], type=Grant) for row in rows):
                entry = self.dataset(grant.dataset)
                if entry is None or grant.valid_until.timestamp() <= self._now_unix:
                    continue
                before, after = bounds_missed(entry, old), bounds_missed(entry, new)
                if bool(before) is not bool(after):
                    (again if before else no_more).append(grant.id)
        return Reached(tuple(sorted(again)), tuple(sorted(no_more)))

    def _submitted(self, id: str, version: int) -> Dataset:
        entry = next((found for found in self.dataset_versions(id) if found.version == version), None)
        if entry is None:
            raise GatewayError("not-found", f"there is no version {version} of entry `{id}`")
        if entry.state is not EntryState.SUBMITTED:
            raise GatewayError("conflict", f"version {version} of entry `{id}` is {entry.state.value}")
        return entry

    def _set_entry_state(self, entry: Dataset, state: EntryState) -> Dataset:
        new = msgspec.structs.replace(entry, state=state)
        table = schema.datasets
        self._connection.execute(
            update(table)
            .where(table.c.id == entry.id, table.c.version == entry.version)
            .values(state=state.value, body=_encode(new))
        )
        return new

    def put_interface(self, interface: Interface, *, if_match: str | None = None) -> Interface:
        """Store an interface, new or changed; its `version` counts the changes; `active=False` withdraws it.

        Raises:
            GatewayError: `not-found` if its supplier does not exist; `conflict` where it has moved, and callers are
                still led on by its path.
        """
        if self.department(interface.supplier) is None:
            raise GatewayError("not-found", f"there is no department `{interface.supplier}`")
        old = self.any_interface(interface.supplier, interface.id)
        self._match(old, if_match)
        moved = None if old is None else old.moved_to
        if moved is not None and interface.active:
            raise GatewayError(
                "conflict", f"`{interface.key}` has become `{moved}`: callers are led on; take another id"
            )
        interface = msgspec.structs.replace(interface, moved_to=moved)
        new = msgspec.structs.replace(interface, version=old.version + 1 if old else 1)
        if old is not None and old == msgspec.structs.replace(new, version=old.version):
            return old
        values = interface_columns(new)
        self._put(schema.interfaces, {name: values.pop(name) for name in ("supplier", "id")}, values)
        for dataset in {new.dataset, (old or new).dataset}:
            self.change(
                ChangeKind.INTERFACE,
                new.key,
                dataset=dataset,
                supplier=new.supplier,
                withdraws=interface_withdraws(old, new),
            )
        return new


def _version(entry: Dataset) -> int:
    return entry.version


def entry_columns(entry: Dataset) -> dict[str, object]:
    """The row of `datasets` that holds a version."""
    return {
        "id": entry.id,
        "version": entry.version,
        "state": entry.state.value,
        "supplier": entry.supplier,
        "sharing_attribute": entry.sharing_attribute.value,
        "code": entry.code,
        "name": entry.name,
        "body": _encode(entry),
    }


def interface_columns(interface: Interface) -> dict[str, object]:
    """The row of `interfaces` that holds an interface."""
    return {
        "supplier": interface.supplier,
        "id": interface.id,
        "dataset": interface.dataset,
        "active": int(interface.active),
        "body": _encode(interface),
    }


def _encode(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
