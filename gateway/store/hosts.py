"""Suppliers' hosts in the state: at most one claim of a department is on its way, at most one host of a name stands.

What touches a standing host touches the interfaces over it: each is named in the feed, so that workers look it up
again, and answers are cut where something is taken away (INVARIANT: BARRIER).
"""

# ruff: noqa: A002 - `id` is the domain's name for it

from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, select

from gateway.domain.changes import ChangeKind
from gateway.domain.directory import Interface
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import STANDING, Host, HostState, conflicting, may_reach, parse_upstream
from gateway.store import schema
from gateway.store.readings import Readings
from gateway.store.transaction import WriteBase

_BODY = select(schema.hosts.c.body)
_STANDING = _BODY.where(schema.hosts.c.id == bindparam("id"), schema.hosts.c.standing == 1)
_PENDING = _BODY.where(
    schema.hosts.c.id == bindparam("id"),
    schema.hosts.c.supplier == bindparam("supplier"),
    schema.hosts.c.standing == 0,
)
_ALL = _BODY.order_by(schema.hosts.c.id, schema.hosts.c.supplier, schema.hosts.c.standing)
_ALL_STANDING = _ALL.where(schema.hosts.c.standing == 1)
_ACTIVE = select(schema.interfaces.c.body).where(schema.interfaces.c.active == 1)

_decode = msgspec.json.Decoder(Host).decode


class HostReadings(Readings):
    """Reads of hosts: on a `Store` and inside a transaction alike."""

    def host(self, id: str) -> Host | None:
        """The host of that id that stands, whosever it is."""
        return self._a_host(_STANDING, id=id)

    def claim(self, supplier: str, id: str) -> Host | None:
        """A department's claim of that host that is on its way."""
        return self._a_host(_PENDING, supplier=supplier, id=id)

    def hosts(self, *, standing: bool = False) -> tuple[Host, ...]:
        """Every claim and every host, by id; only those that stand where asked."""
        return tuple(_decode(row[0]) for row in self._rows(_ALL_STANDING if standing else _ALL, {}))

    def reach_fault(self, interface: Interface) -> str | None:
        """Why an interface may not reach its upstream as hosts stand now; None where it may."""
        try:
            upstream = parse_upstream(interface.upstream)
        except ValueError as error:
            return str(error)
        return may_reach(self.host(upstream.host), interface.supplier, upstream)

    @staticmethod
    def upstream_host(interface: Interface) -> str:
        """The id of the host that an interface leads to; empty where its base URL is none."""
        try:
            return parse_upstream(interface.upstream).host
        except ValueError:
            return ""

    def _a_host(self, statement: Any, **parameters: str) -> Host | None:
        rows = self._rows(statement, parameters)
        return _decode(rows[0][0]) if rows else None


class HostWrites(HostReadings, WriteBase):
    """A transaction that can also write hosts."""

    def put_host(self, host: Host) -> Host:
        """Store a claim, or a host that stands; what it replaces is the department's own, or only inherited.

        Raises:
            GatewayError: `not-found` if its department does not exist; `conflict` where a standing host of another
                department is the same one, by name or by network address. Who has proved nothing is not told that.
        """
        if self.department(host.supplier) is None:
            raise GatewayError("not-found", f"there is no department `{host.supplier}`")
        stands = host.state in STANDING
        # INVARIANT: HOST-OWNED: no two departments share a host; what was only inherited yields to what was proved.
        same = conflicting(host, self.hosts(standing=True)) if host.state is not HostState.CLAIMED else []
        for other in same:
            if other.state is HostState.CONFIRMED or host.state is HostState.INHERITED:
                raise GatewayError("conflict", f"host `{host.id}` is another department's: it withdraws it first")
            if stands:
                self.remove_host(other)
        old = self.host(host.id) if stands else None
        key = {"id": host.id, "supplier": host.supplier, "standing": int(stands)}
        self._put(schema.hosts, key, {"body": msgspec.json.encode(host).decode()})
        if stands:
            self.remove_claim(host)
            self._touch(host, withdraws=old is not None)
        return host

    def remove_claim(self, host: Host) -> None:
        """Take back a claim that is on its way, if there is one."""
        self._delete(host, standing=0)

    def remove_host(self, host: Host) -> None:
        """Take a standing host away: from the commit on nothing reaches it."""
        self._delete(host, standing=1)
        self._touch(host, withdraws=True)

    def _delete(self, host: Host, *, standing: int) -> None:
        table = schema.hosts
        self._connection.execute(
            delete(table).where(table.c.id == host.id, table.c.supplier == host.supplier, table.c.standing == standing)
        )

    def _touch(self, host: Host, *, withdraws: bool) -> None:
        """Name every active interface over a host in the feed, of its department and of those it shares with."""
        for supplier in {host.supplier, *host.shares.values()}:
            for row in self._rows(_ACTIVE.where(schema.interfaces.c.supplier == supplier), {}):
                interface = msgspec.json.decode(row[0], type=Interface)
                if leads_to(interface, host.id):
                    self.change(
                        ChangeKind.INTERFACE,
                        interface.key,
                        dataset=interface.dataset,
                        supplier=interface.supplier,
                        withdraws=withdraws,
                    )


def leads_to(interface: Interface, host: str) -> bool:
    """Whether an interface's upstream is on the host of that id."""
    return HostReadings.upstream_host(interface) == host
