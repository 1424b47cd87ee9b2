"""Credentials for suppliers in the state, by department and name.

What replaces or removes one touches the interfaces that name it: each is named in the feed, so that workers show the
new secret from the commit on, without a restart.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, select

from gateway.domain.changes import ChangeKind
from gateway.domain.credentials import SupplierCredential
from gateway.domain.directory import Interface
from gateway.domain.errors import GatewayError
from gateway.store import schema
from gateway.store.readings import Readings
from gateway.store.transaction import WriteBase

_TABLE = schema.supplier_credentials
_ONE = select(_TABLE.c.body).where(_TABLE.c.supplier == bindparam("supplier"), _TABLE.c.name == bindparam("name"))
_ALL = select(_TABLE.c.body).order_by(_TABLE.c.supplier, _TABLE.c.name)
_ACTIVE = select(schema.interfaces.c.body).where(schema.interfaces.c.active == 1)

_decode = msgspec.json.Decoder(SupplierCredential).decode


class CredentialReadings(Readings):
    """Reads of credentials: on a `Store` and inside a transaction alike."""

    def supplier_credential(self, supplier: str, name: str) -> SupplierCredential | None:
        """A department's credential of that name."""
        rows = self._rows(_ONE, {"supplier": supplier, "name": name})
        return _decode(rows[0][0]) if rows else None

    def supplier_credentials(self, supplier: str | None = None) -> tuple[SupplierCredential, ...]:
        """Every department's credentials, or one's."""
        statement = _ALL if supplier is None else _ALL.where(_TABLE.c.supplier == supplier)
        return tuple(_decode(row[0]) for row in self._rows(statement, {}))


class CredentialWrites(CredentialReadings, WriteBase):
    """A transaction that can also write credentials."""

    def put_supplier_credential(self, credential: SupplierCredential) -> None:
        """Store a credential, new or in place of that of the same name.

        Raises:
            GatewayError: `not-found` if its department does not exist.
        """
        if self.department(credential.supplier) is None:
            raise GatewayError("not-found", f"there is no department `{credential.supplier}`")
        key: Mapping[str, Any] = {"supplier": credential.supplier, "name": credential.name}
        self._put(_TABLE, key, {"body": msgspec.json.encode(credential).decode()})
        self._touch_shown(credential, withdraws=False)

    def remove_supplier_credential(self, credential: SupplierCredential) -> None:
        """Take a credential away: interfaces that name it are not called from the commit on."""
        self._connection.execute(
            delete(_TABLE).where(_TABLE.c.supplier == credential.supplier, _TABLE.c.name == credential.name)
        )
        self._touch_shown(credential, withdraws=True)

    def interfaces_showing(self, credential: SupplierCredential) -> list[Interface]:
        """The department's active interfaces that name it."""
        active = self._rows(_ACTIVE.where(schema.interfaces.c.supplier == credential.supplier), {})
        interfaces = [msgspec.json.decode(row[0], type=Interface) for row in active]
        return [one for one in interfaces if one.credential == credential.name]

    def _touch_shown(self, credential: SupplierCredential, *, withdraws: bool) -> None:
        for one in self.interfaces_showing(credential):
            self.change(ChangeKind.INTERFACE, one.key, dataset=one.dataset, supplier=one.supplier, withdraws=withdraws)
