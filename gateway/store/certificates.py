"""Certificates of suppliers in the state, by department and name.

What replaces or removes them touches the interfaces that name them, and those over hosts that do: each is named in
the feed, so that workers make their contexts anew.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, select

from gateway.domain.certificates import StoredCertificates
from gateway.domain.changes import ChangeKind
from gateway.domain.directory import Interface
from gateway.domain.errors import GatewayError
from gateway.store import schema
from gateway.store.readings import Readings
from gateway.store.transaction import WriteBase

_ONE = select(schema.certificates.c.body).where(
    schema.certificates.c.supplier == bindparam("supplier"), schema.certificates.c.name == bindparam("name")
)
_ALL = select(schema.certificates.c.body).order_by(schema.certificates.c.supplier, schema.certificates.c.name)
_ACTIVE = select(schema.interfaces.c.body).where(schema.interfaces.c.active == 1)

_decode = msgspec.json.Decoder(StoredCertificates).decode


class CertificateReadings(Readings):
    """Reads of certificates: on a `Store` and inside a transaction alike."""

    def certificates(self, supplier: str, name: str) -> StoredCertificates | None:
        """A department's certificates of that name."""
        rows = self._rows(_ONE, {"supplier": supplier, "name": name})
        return _decode(rows[0][0]) if rows else None

    def all_certificates(self, supplier: str | None = None) -> tuple[StoredCertificates, ...]:
        """Every department's certificates, or one's."""
        statement = _ALL if supplier is None else _ALL.where(schema.certificates.c.supplier == supplier)
        return tuple(_decode(row[0]) for row in self._rows(statement, {}))


class CertificateWrites(CertificateReadings, WriteBase):
    """A transaction that can also write certificates."""

    def put_certificates(self, certificates: StoredCertificates) -> None:
        """Store certificates, new or in place of those of the same name.

        Raises:
            GatewayError: `not-found` if their department does not exist.
        """
        if self.department(certificates.supplier) is None:
            raise GatewayError("not-found", f"there is no department `{certificates.supplier}`")
        key: Mapping[str, Any] = {"supplier": certificates.supplier, "name": certificates.name}
        self._put(schema.certificates, key, {"body": msgspec.json.encode(certificates).decode()})
        self._touch_interfaces(certificates)

    def remove_certificates(self, certificates: StoredCertificates) -> None:
        """Take certificates away: interfaces that name them are not called from the commit on."""
        table = schema.certificates
        self._connection.execute(
            delete(table).where(table.c.supplier == certificates.supplier, table.c.name == certificates.name)
        )
        self._touch_interfaces(certificates)

    def interfaces_naming(self, certificates: StoredCertificates) -> list[Interface]:
        """The department's active interfaces that name them."""
        active = self._rows(_ACTIVE.where(schema.interfaces.c.supplier == certificates.supplier), {})
        interfaces = [msgspec.json.decode(row[0], type=Interface) for row in active]
        return [one for one in interfaces if certificates.name in {one.tls_ca, one.tls_client}]

    def _touch_interfaces(self, certificates: StoredCertificates) -> None:
        for one in self.interfaces_naming(certificates):
            self.change(ChangeKind.INTERFACE, one.key, dataset=one.dataset, supplier=one.supplier, withdraws=True)
