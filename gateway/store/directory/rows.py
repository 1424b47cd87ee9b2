"""The directory as it stands, whole or as far as a file names it, and the tag by which two officers tell its states.

An import writes what its file names and leaves the rest alone, so what one officer can overwrite of another's are the
departments, purposes, released entries and interfaces that the file names. Their tag is a digest of just those rows: it
changes when any of them changes, comes or goes, and not with anything else. A file as it was exported has the tag that
the export was given.
"""

import hashlib

import msgspec
from sqlalchemy import select

from gateway.domain.directory import Dataset, Department, EntryState, Interface, Purpose
from gateway.store import schema
from gateway.store.directory.file import DirectoryFile
from gateway.store.readings import Rows, decode
from gateway.store.transaction import WriteBase

_DEPARTMENTS = select(schema.departments.c.body)
_PURPOSES = select(schema.purposes.c.body)
_RELEASED = select(schema.datasets.c.body).where(schema.datasets.c.state == EntryState.RELEASED.value)
_INTERFACES = select(schema.interfaces.c.body)


class DirectoryRows(msgspec.Struct, frozen=True):
    """Rows of the directory as they are stored, in any order."""

    departments: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The entity tag of these rows, without quotes."""
        hashing = hashlib.sha256()
        for bodies in (self.departments, self.purposes, self.datasets, self.interfaces):
            for body in sorted(bodies):
                hashing.update(body.encode() + b"\n")
            hashing.update(b"\n")
        return hashing.hexdigest()[:32]

    def entries(self) -> "DirectoryRows":
        """The entries alone: what a sheet holds."""
        return DirectoryRows(datasets=self.datasets)

    def without_interfaces(self) -> "DirectoryRows":
        """All but interfaces: what a workbook holds."""
        return DirectoryRows(self.departments, self.purposes, self.datasets)

    def file(self) -> DirectoryFile:
        """What the rows hold, in the order of ids."""
        return DirectoryFile(
            departments=tuple(sorted((decode(Department, body) for body in self.departments), key=_id)),
            purposes=tuple(sorted((decode(Purpose, body) for body in self.purposes), key=_id)),
            datasets=tuple(sorted((decode(Dataset, body) for body in self.datasets), key=_id)),
            interfaces=tuple(sorted((decode(Interface, body) for body in self.interfaces), key=_key)),
        )


class DirectoryStates(WriteBase):
    """A transaction that can say in what state the directory is."""

    def directory_rows(self) -> DirectoryRows:
        """The directory as it is enforced: departments, purposes, released entries, active interfaces."""
        active = _INTERFACES.where(schema.interfaces.c.active == 1)
        return DirectoryRows(*(_bodies(self._rows(each, {})) for each in (_DEPARTMENTS, _PURPOSES, _RELEASED, active)))

    def named_rows(self, found: DirectoryFile) -> DirectoryRows:
        """What stands of the things that `found` names; an interface also where it is withdrawn."""
        interfaces = select(schema.interfaces.c.body, schema.interfaces.c.supplier, schema.interfaces.c.id)
        named = {(one.supplier, one.id) for one in found.interfaces}
        suppliers = {one.supplier for one in found.interfaces}
        return DirectoryRows(
            departments=_bodies(
                self._among(_DEPARTMENTS, schema.departments.c.id, (one.id for one in found.departments))
            ),
            purposes=_bodies(self._among(_PURPOSES, schema.purposes.c.id, (one.id for one in found.purposes))),
            datasets=_bodies(self._among(_RELEASED, schema.datasets.c.id, (one.id for one in found.datasets))),
            interfaces=tuple(
                body
                for body, supplier, id_ in self._among(interfaces, schema.interfaces.c.supplier, suppliers)
                if (supplier, id_) in named
            ),
        )


def _bodies(rows: Rows) -> tuple[str, ...]:
    return tuple(row[0] for row in rows)


def _id(value: Department | Purpose | Dataset) -> str:
    return value.id


def _key(value: Interface) -> tuple[str, str]:
    return value.supplier, value.id
