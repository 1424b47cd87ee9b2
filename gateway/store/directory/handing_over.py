"""What a supply department has, handed over to another: entries, interfaces, and the hosts and certificates they use.

An interface keeps a place under its old key that leads callers on. An entry is released anew in the same words: its
versions before stay its former supplier's. What is streaming at that moment is cut (INVARIANT: BARRIER), for a stop
given later by the new supplier would not reach it; the next call is served.
"""

# ruff: noqa: A001, A002 - `id` is the domain's name for it

from typing import TypeVar

import msgspec
from sqlalchemy import insert, select, text, update

from gateway.domain.changes import ChangeKind
from gateway.domain.directory import Dataset, EntryState, Interface
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import Host, may_reach, parse_upstream
from gateway.domain.proposals import Proposal, ProposalState
from gateway.domain.reorganisation import Step
from gateway.store import schema
from gateway.store.cases import CaseWrites
from gateway.store.certificates import CertificateWrites
from gateway.store.credentials import CredentialWrites
from gateway.store.directory.writes import DirectoryTransaction, entry_columns, interface_columns
from gateway.store.hosts import HostWrites, leads_to

S = TypeVar("S", bound=msgspec.Struct)
MAX_SLUG = 63
_DUTIES_OF_ENTRY = text(
    "UPDATE disposals SET supplier = :to WHERE destroyed_record IS NULL"
    " AND grant_id IN (SELECT id FROM grants WHERE dataset = :dataset)"
)


class HandingOver(HostWrites, CertificateWrites, CredentialWrites, DirectoryTransaction, CaseWrites):
    """A transaction that can also hand over what a supplier has; each method says what it did."""

    def entries_of(self, supplier: str) -> tuple[Dataset, ...]:
        """The newest version in force of each entry that a department answers for, released or withdrawn, by id."""
        table = schema.datasets
        ids = self._rows(select(table.c.id).distinct().where(table.c.supplier == supplier).order_by(table.c.id), {})
        return tuple(
            newest
            for id in (str(row[0]) for row in ids)
            if self.entry_owner(id) == supplier and (newest := self._in_force(id)) is not None
        )

    def _in_force(self, id: str) -> Dataset | None:
        released = self.dataset(id)
        versions = self.dataset_versions(id)
        withdrawn = [entry for entry in versions if entry.state is EntryState.WITHDRAWN]
        return released or next(reversed(withdrawn or versions), None)

    def active_interfaces_of(self, supplier: str) -> tuple[Interface, ...]:
        """A department's active interfaces, by id."""
        table = schema.interfaces
        rows = self._rows(
            select(table.c.body).where(table.c.supplier == supplier, table.c.active == 1).order_by(table.c.id), {}
        )
        return tuple(msgspec.json.decode(row[0], type=Interface) for row in rows)

    def hand_over_entry(self, id: str, giver: str, to: str) -> list[Step]:
        """Give an entry to another department, with its interfaces."""
        steps: list[Step] = []
        for interface in self.interfaces_of(id):
            if interface.supplier == giver:
                steps += self.hand_over_interface(interface, to)
        steps += self._drop_submissions(id)
        old = self._in_force(id)
        if old is not None and old.state in (EntryState.RELEASED, EntryState.WITHDRAWN):
            state = old.state
            if state is EntryState.RELEASED:
                self._set_entry_state(old, EntryState.SUPERSEDED)
            version = self.dataset_versions(id)[-1].version + 1
            new = msgspec.structs.replace(old, supplier=to, version=version, state=state)
            self._connection.execute(insert(schema.datasets).values(**entry_columns(new)))
            if state is EntryState.RELEASED:
                self.entry_released(old, new)
            steps.append(Step("entry", id, "entry-moves", to))
        self._connection.execute(update(schema.grants).where(schema.grants.c.dataset == id).values(supplier=to))
        self._connection.execute(_DUTIES_OF_ENTRY, {"to": to, "dataset": id})
        return steps + self._hand_over_proposals(id, giver, to)

    def end_entry(self, entry: Dataset) -> list[Step]:
        """Withdraw an entry of a department that is dissolved, with its interfaces."""
        steps = self._drop_submissions(entry.id)
        for interface in self.interfaces_of(entry.id):
            self.put_interface(msgspec.structs.replace(interface, active=False))
            steps.append(Step("interface", interface.key, "interface-withdrawn", loses=True))
        if entry.state is EntryState.RELEASED:
            self.withdraw_dataset(entry.id)
            steps.append(Step("entry", entry.id, "entry-withdrawn", loses=True))
        for proposal in self.open_proposals(supplier=entry.supplier):
            if proposal.grant.dataset == entry.id:
                refused = msgspec.structs.replace(proposal, state=ProposalState.REFUSED, reasons="the entry ended")
                self.put_proposal(refused)
                steps.append(Step("proposal", proposal.id, "proposal-refused", loses=True))
        return steps

    def hand_over_interface(self, old: Interface, to: str) -> list[Step]:
        """Give an interface to another department: callers reach it under the old path as under the new.

        Raises:
            GatewayError: `conflict` where it can be given no id.
        """
        steps: list[Step] = []
        id = self._free_interface_id(old, to)
        known = self.any_interface(to, id)
        names: dict[str, str | None] = {}
        for field in ("tls_ca", "tls_client"):
            name = getattr(old, field)
            names[field] = name if name is None else self._carry_certificate(old.supplier, name, to, steps)
        if old.credential is not None:
            names["credential"] = self._carry_credential(old.supplier, old.credential, to, steps)
        version = 1 if known is None else known.version + 1
        new = msgspec.structs.replace(old, supplier=to, id=id, version=version, active=True, moved_to=None, **names)
        gone = msgspec.structs.replace(old, active=False, moved_to=new.key, version=old.version + 1)
        for each in (gone, new):
            values = interface_columns(each)
            self._put(schema.interfaces, {name: values.pop(name) for name in ("supplier", "id")}, values)
            self.change(
                ChangeKind.INTERFACE, each.key, dataset=each.dataset, supplier=each.supplier, withdraws=each is gone
            )
        self._rename_in_grants(old, new)
        return [*steps, Step("interface", old.key, "interface-moves", new.key)]

    def _free_interface_id(self, old: Interface, to: str) -> str:
        for id in (old.id, f"{old.supplier}-{old.id}"[:MAX_SLUG].rstrip("-")):
            known = self.any_interface(to, id)
            if known is None or (not known.active and known.moved_to in (None, old.key)):
                return id
        raise GatewayError("conflict", f"`{to}` has interfaces of the ids that `{old.key}` could have there")

    def _rename_in_grants(self, old: Interface, new: Interface) -> None:
        """Grants that name an interface name it as it is now."""
        table = schema.grants
        for row in self._rows(select(table.c.id).where(table.c.dataset == old.dataset), {}):
            grant = self.grant(row[0])
            if grant is not None and {old.id, old.key} & set(grant.interfaces):
                named = tuple(new.key if each in (old.id, old.key) else each for each in grant.interfaces)
                self._update_grant(msgspec.structs.replace(grant, interfaces=named), {})

    def _carry_certificate(self, giver: str, name: str, to: str, steps: list[Step]) -> str:
        """The name under which the receiver has a certificate of the giver; copied where it has none so."""
        found = self.certificates(giver, name)
        if found is None:
            return name
        for wanted in (name, f"{giver}-{name}"[:MAX_SLUG].rstrip("-")):
            known = self.certificates(to, wanted)
            if known is not None and (known.chain, known.use) == (found.chain, found.use):
                return wanted
            if known is None:
                copy = msgspec.structs.replace(
                    found, supplier=to, name=wanted, sealed_as=found.key_context if found.sealed_key else ""
                )
                self.put_certificates(copy)
                steps.append(Step("certificate", f"{giver}/{name}", "certificate-copied", f"{to}/{wanted}"))
                return wanted
        raise GatewayError("conflict", f"`{to}` has other certificates of the name `{name}`: rename those first")

    def _carry_credential(self, giver: str, name: str, to: str, steps: list[Step]) -> str:
        """The name under which the receiver has a credential of the giver; copied where it has none so."""
        found = self.supplier_credential(giver, name)
        if found is None:
            return name
        for wanted in (name, f"{giver}-{name}"[:MAX_SLUG].rstrip("-")):
            known = self.supplier_credential(to, wanted)
            copy = msgspec.structs.replace(found, supplier=to, name=wanted, sealed_as=found.seal_context)
            if known == copy:
                return wanted
            if known is None:
                self.put_supplier_credential(copy)
                steps.append(Step("credential", f"{giver}/{name}", "credential-copied", f"{to}/{wanted}"))
                return wanted
        raise GatewayError("conflict", f"`{to}` has other credentials of the name `{name}`: rename those first")

    def hand_over_hosts(self, giver: str, moved: dict[str, str], heir: str | None) -> list[Step]:
        """Settle whose each host is, once interfaces over them have moved.

        Args:
            giver: whose interfaces they were.
            moved: key of each interface that moved, as it is now -> its department.
            heir: who takes over the giver's hosts that nobody's interface leads to; None leaves them.

        Raises:
            GatewayError: `invalid-input` where a host cannot be divided.
        """
        steps: list[Step] = []
        interfaces = [one for to in {giver, *moved.values()} for one in self.active_interfaces_of(to)]
        for host in self.hosts(standing=True):
            if giver not in (host.supplier, *host.shares.values()):
                continue
            over = [one for one in interfaces if leads_to(one, host.id)]
            took = list(dict.fromkeys(moved[one.key] for one in over if one.key in moved))
            stays = any(one.supplier == giver for one in over)
            if not took and (stays or heir is None):
                continue
            new = _divided(host, giver, took or [str(heir)], [one for one in over if one.key in moved], over)
            if new.supplier != host.supplier and host.authority is not None:
                name = self._carry_certificate(giver, host.authority, new.supplier, steps)
                new = msgspec.structs.replace(new, authority=name)
            self._delete(host, standing=1)
            key = {"id": new.id, "supplier": new.supplier, "standing": 1}
            self._put(schema.hosts, key, {"body": msgspec.json.encode(new).decode()})
            self._touch(host, withdraws=True)
            self._touch(new, withdraws=True)
            rule = "host-moves" if giver not in (new.supplier, *new.shares.values()) else "host-shared"
            steps.append(Step("host", host.id, rule, ", ".join(took or [str(heir)])))
        return steps

    def end_hosts(self, department: str, *, standing: bool) -> list[Step]:
        """Take away a department's claims, and its hosts that stand where `standing`."""
        steps: list[Step] = []
        for row in self._rows(select(schema.hosts.c.body).where(schema.hosts.c.supplier == department), {}):
            host = msgspec.json.decode(row[0], type=Host)
            if self.host(host.id) == host:
                if standing:
                    self.remove_host(host)
                    steps.append(Step("host", host.id, "host-ends", loses=True))
            else:
                self.remove_claim(host)
                steps.append(Step("host", host.id, "claim-falls", loses=True))
        return sorted(steps, key=lambda step: step.id)

    def _drop_submissions(self, id: str) -> list[Step]:
        waiting = [entry for entry in self.dataset_versions(id) if entry.state is EntryState.SUBMITTED]
        for entry in waiting:
            self._set_entry_state(entry, EntryState.REJECTED)
        return [Step("entry", f"{id}@{entry.version}", "submission-falls", loses=True) for entry in waiting]

    def open_proposals(self, **side: str) -> list[Proposal]:
        """Proposals on their way of one side, `supplier=` or `department=`, by id."""
        table = schema.proposals
        mine = [table.c[name] == value for name, value in side.items()]
        among = table.c.state.in_([ProposalState.PROPOSED.value, ProposalState.APPROVED.value])
        rows = self._rows(select(table.c.body).where(*mine, among).order_by(table.c.id), {})
        return [msgspec.json.decode(row[0], type=Proposal) for row in rows]

    def _hand_over_proposals(self, dataset: str, giver: str, to: str) -> list[Step]:
        steps = []
        for proposal in self.open_proposals(supplier=giver):
            if proposal.grant.dataset == dataset:
                self.put_proposal(msgspec.structs.replace(proposal, supplier=to))
                steps.append(Step("proposal", proposal.id, "proposal-moves", to))
        for case in self.open_cases(supplier=giver):
            if case.dataset == dataset:
                self.hand_over_case(msgspec.structs.replace(case, supplier=to), giver)
                steps.append(Step("case", case.id, "case-moves", to))
        return steps


def _divided(host: Host, giver: str, took: list[str], moved: list[Interface], over: list[Interface]) -> Host:
    """The host as it serves everybody over it: given over, or shared by path where its owner stays on it."""
    whole = msgspec.structs.replace(
        host,
        supplier=took[0] if host.supplier == giver else host.supplier,
        shares={prefix: took[0] if owner == giver else owner for prefix, owner in host.shares.items()},
    )
    parts = {parse_upstream(one.upstream).path: one.supplier for one in moved}
    shared = msgspec.structs.replace(host, shares={**host.shares, **{path: to for path, to in parts.items() if path}})
    for wanted in (whole, shared):
        if all(may_reach(wanted, one.supplier, parse_upstream(one.upstream)) is None for one in over):
            return wanted
    named = ", ".join(f"`{one.key}`" for one in moved)
    fault = (
        f"host `{host.id}` serves what stays, and has no path of its own for {named}: register another upstream first"
    )
    raise GatewayError("invalid-input", "a host cannot be divided", faults=[{"field": "parts", "fault": fault}])
