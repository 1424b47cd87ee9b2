"""Departments change, in one transaction: what they use goes or ends by rule (`gateway.domain.reorganisation`).

A system that goes takes along what it could use, within the same limits and time, and the stops over it: nobody gets
more by a reorganisation, and nobody gets out of a stop by one (INVARIANT: STOP-REACHES).
"""

# ruff: noqa: A001, A002 - `id` is the domain's name for it

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import insert, select, text

from gateway.domain.calendar import Due
from gateway.domain.conditions import narrows
from gateway.domain.directory import Dataset, Department, EntryState, System
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, GrantState
from gateway.domain.officers import Officer, Role
from gateway.domain.orders import Order, Reach
from gateway.domain.processes.applications import APPLICATIONS
from gateway.domain.proposals import ProposalState
from gateway.domain.recipients import bounds_missed, bounds_of
from gateway.domain.reorganisation import PartKind, Reorganisation, ReorganisationKind, Step
from gateway.store import gathering, schema
from gateway.store.directory.handing_over import HandingOver
from gateway.store.transaction import encode, grant_columns
from gateway.store.values import Disposal

_LIVE = (GrantState.ISSUED.value, GrantState.SUSPENDED.value)
_COPY_DRAWN = text(
    "INSERT INTO drawn (department, day, dataset, purpose)"
    " SELECT :to, day, dataset, purpose FROM drawn WHERE department = :giver"
    " ON CONFLICT (department, day, dataset, purpose) DO NOTHING"
)
_DUTIES = text("UPDATE disposals SET department = :to WHERE department = :giver AND destroyed_record IS NULL")
_SUPPLIED = text("UPDATE disposals SET supplier = :to WHERE supplier = :giver AND destroyed_record IS NULL")


class Reorganising(HandingOver):
    """A transaction that can also reorganise departments."""

    def reorganise(self, act: Reorganisation, at: datetime, due: Due) -> tuple[Step, ...]:
        """Do what an act says, and tell each step of it.

        Args:
            act: without faults of its own (`faults_of`).
            at: when.
            due: when data is disposed of that was drawn under grants that end.

        Raises:
            GatewayError: `invalid-input` with what it names that is not there, or cannot go; `conflict`.
        """
        self._require_known(act)
        steps: list[Step] = []
        for id in act.departments:
            steps += _Change(self, act, self._known(id), at, due).carry_out()
        return tuple(steps)

    def _known(self, id: str) -> Department:
        found = self.department(id)
        assert found is not None
        return found

    def _require_known(self, act: Reorganisation) -> None:
        faults = []
        for field, id in [
            *(("departments", id) for id in act.departments),
            *(("successor" if id == act.successor else "parts", id) for id in act.receivers),
        ]:
            found = self.department(id)
            if found is None:
                faults.append({"field": field, "fault": f"there is no department `{id}`"})
            elif found.succeeded_by is not None:
                faults.append({"field": field, "fault": f"department `{id}` has ended"})
        if faults:
            raise GatewayError("invalid-input", faults[0]["fault"], faults=faults)

    def grants_held_by(self, department: str) -> tuple[Grant, ...]:
        """A department's grants that are issued or suspended, in the order in which they were issued."""
        table = schema.grants
        rows = self._rows(
            select(table.c.body)
            .where(table.c.department == department, table.c.state.in_(_LIVE))
            .order_by(table.c.number),
            {},
        )
        return tuple(msgspec.json.decode(row[0], type=Grant) for row in rows)

    def grants_on(self, dataset: str) -> tuple[Grant, ...]:
        """The grants on an entry that are issued or suspended, in the order in which they were issued."""
        table = schema.grants
        live = table.c.state.in_(_LIVE)
        rows = self._rows(select(table.c.body).where(table.c.dataset == dataset, live).order_by(table.c.number), {})
        return tuple(msgspec.json.decode(row[0], type=Grant) for row in rows)

    def orders_in_force(self) -> tuple[Order, ...]:
        """Every order in force, by id."""
        table = schema.orders
        rows = self._rows(select(table.c.body).where(table.c.in_force == 1).order_by(table.c.id), {})
        return tuple(msgspec.json.decode(row[0], type=Order) for row in rows)

    def systems_of(self, department: str) -> tuple[System, ...]:
        """A department's systems, active and revoked, by id."""
        table = schema.systems
        rows = self._rows(select(table.c.body).where(table.c.department == department).order_by(table.c.id), {})
        return tuple(msgspec.json.decode(row[0], type=System) for row in rows)

    def entries_for(self, department: str) -> list[str]:
        """Ids of the released entries whose scope names a department, by id."""
        table = schema.datasets
        released = select(table.c.body).where(table.c.state == EntryState.RELEASED.value)
        rows = self._rows(released.where(table.c.body.contains(f'"{department}"', autoescape=True)), {})
        entries = (msgspec.json.decode(row[0], type=Dataset) for row in rows)
        return sorted(one.id for one in entries if department in bounds_of(one).departments)

    def officers_of(self, department: str) -> tuple[Officer, ...]:
        """A department's officers who are active, by id."""
        table = schema.officers
        rows = self._rows(select(table.c.body).where(table.c.department == department).order_by(table.c.id), {})
        officers = (msgspec.json.decode(row[0], type=Officer) for row in rows)
        return tuple(each for each in officers if each.active)

    def children_of(self, department: str) -> tuple[Department, ...]:
        """The departments right below one, by id."""
        table = schema.departments
        rows = self._rows(select(table.c.body).where(table.c.parent == department).order_by(table.c.id), {})
        found = (msgspec.json.decode(row[0], type=Department) for row in rows)
        return tuple(each for each in found if each.succeeded_by is None)

    def regrant(self, old: Grant, new: Grant, supplier: str) -> None:
        """Replace a grant by its next version, which may be another department's; the one before stays on record."""
        superseded = msgspec.structs.replace(old, state=GrantState.SUPERSEDED)
        self._connection.execute(
            insert(schema.grant_versions).values(id=old.id, version=old.version, body=encode(superseded))
        )
        values = grant_columns(new, supplier)
        self._put(schema.grants, {"id": new.id}, {k: v for k, v in values.items() if k != "id"})
        moved = old.department != new.department
        self._grant_changed(old, supplier, withdraws=moved or narrows(old, new))
        if moved:
            self._grant_changed(new, supplier, withdraws=False)

    def grant_anew(self, grant: Grant, supplier: str) -> None:
        """Store a grant that follows from another by rule."""
        self._connection.execute(insert(schema.grants).values(**grant_columns(grant, supplier)))
        self._grant_changed(grant, supplier, withdraws=False)

    def count_drawn_for(self, giver: str, to: str) -> None:
        """What one department has drawn counts for another, too (Decree 809 Art. 25 ¶2)."""
        self._connection.execute(_COPY_DRAWN, {"giver": giver, "to": to})
        gathering.follow(self._connection, giver, to)

    def give_duties(self, giver: str, to: str) -> int:
        """Duties to dispose of data go to the successor: how many."""
        owed = self._connection.execute(_DUTIES, {"giver": giver, "to": to}).rowcount
        self._connection.execute(_SUPPLIED, {"giver": giver, "to": to})
        return owed

    def write_department(self, old: Department, new: Department) -> None:
        """Store a department with its history."""
        self._write_department(old, new)


class _Change:
    """What happens to one department."""

    def __init__(self, tx: Reorganising, act: Reorganisation, giver: Department, at: datetime, due: Due) -> None:
        self._tx = tx
        self._act = act
        self._giver = giver
        self._at = at
        self._due = due
        self._steps: list[Step] = []
        self._parts = {(part.thing, part.id): part.to for part in act.parts}
        goes = act.kind in (ReorganisationKind.MERGE, ReorganisationKind.SPLIT)
        self._rest = act.successor if goes else None
        """Whom that goes to which no part names; None where it stays."""
        self._used: set[tuple[PartKind, str]] = set()
        self._went: dict[str, str] = {}
        """Active system -> the department that it went to."""

    def carry_out(self) -> list[Step]:
        """Do it all."""
        act, giver = self._act, self._giver
        if act.kind is ReorganisationKind.RENAME:
            if act.name == giver.name:
                fault = {"field": "name", "fault": "is its name already"}
                raise GatewayError("invalid-input", f"`{giver.id}` has that name", faults=[fault])
            names = (*giver.former_names, giver.name)
            renamed = msgspec.structs.replace(giver, name=act.name or "", former_names=names)
            self._tx.write_department(giver, renamed)
            return [Step("department", giver.id, "department-renamed", renamed.name)]
        outside = self._outside()
        orders = self._tx.orders_in_force()
        pairs = self._pairs(orders)
        if act.kind is ReorganisationKind.DISSOLVE:
            self._dissolve()
        else:
            self._supply(orders)
            self._systems()
            self._grants()
            self._stops(orders, pairs)
            self._proposals()
        self._officers()
        self._children(orders)
        if act.ends:
            self._end()
        self._scope(outside)
        unused = sorted(set(self._parts) - self._used)
        if unused:
            faults = [
                {"field": "parts", "fault": f"`{giver.id}` has no {thing.value} `{id}` to give"} for thing, id in unused
            ]
            raise GatewayError("invalid-input", faults[0]["fault"], faults=faults)
        return self._steps

    def _outside(self) -> set[str]:
        """Ids of grants of those concerned by which nothing flows, for the entry's scope leaves the department out."""
        found = set()
        for id in {self._giver.id, *self._act.receivers}:
            department = self._tx.department(id)
            for grant in self._tx.grants_held_by(id):
                entry = self._tx.dataset(grant.dataset)
                if department is not None and entry is not None and bounds_missed(entry, department):
                    found.add(grant.id)
        return found

    def _scope(self, before: set[str]) -> None:
        """What the scope of entries, as facts (Art. 15), makes of who is what now."""
        after = self._outside()
        for id in sorted(after - before):
            self._note("grant", id, "grant-outside-scope", loses=True)
        live = {grant.id for id in self._act.receivers for grant in self._tx.grants_held_by(id)}
        for id in sorted((before - after) & live):
            self._note("grant", id, "grant-revives")
        if self._act.ends:
            for entry in self._tx.entries_for(self._giver.id):
                self._note("entry", entry, "scope-follows", self._act.successor or "")

    def _to(self, thing: PartKind, id: str) -> str | None:
        """Whom a thing goes to; None where it stays."""
        named = self._parts.get((thing, id))
        if named is not None:
            self._used.add((thing, id))
        return named or self._rest

    def _note(self, thing: str, id: str, rule: str, becomes: str = "", *, loses: bool = False) -> None:
        self._steps.append(Step(thing, id, rule, becomes, loses))

    def _supply(self, orders: Sequence[Order]) -> None:
        """Entries, interfaces and hosts; and the stops over the supplier's data."""
        tx, giver = self._tx, self._giver.id
        before = {one.key: one for one in tx.active_interfaces_of(giver)}
        for entry in tx.entries_of(giver):
            to = self._to(PartKind.ENTRY, entry.id)
            if to is None:
                continue
            self._steps += tx.hand_over_entry(entry.id, giver, to)
            for order in orders:
                if order.reach is Reach.SUPPLIER and order.target == giver:
                    self._follow(order, Reach.DATASET, entry.id, None)
                elif order.supplier == giver:
                    self._follow(order, order.reach, order.target, to)
            for grant in tx.grants_held_by(to):
                if grant.dataset == entry.id:
                    self._close(grant, to, "grant-of-own-data")
        for thing, key in sorted(self._parts):
            if thing is PartKind.INTERFACE:
                self._interface(key, self._parts[thing, key])
        moved = {}
        for key in before:
            now = tx.any_interface(*key.split("/", 1))
            if now is not None and now.moved_to is not None:
                moved[now.moved_to] = now.moved_to.partition("/")[0]
        self._steps += tx.hand_over_hosts(giver, moved, self._rest)

    def _interface(self, key: str, to: str) -> None:
        """An interface by name: it goes with its entry, or after it."""
        supplier, _, id = key.partition("/")
        found = self._tx.any_interface(supplier, id)
        if found is None or supplier != self._giver.id:
            return
        self._used.add((PartKind.INTERFACE, key))
        if found.moved_to is not None and found.moved_to.startswith(f"{to}/"):
            return
        if self._tx.entry_owner(found.dataset) != to:
            fault = f"`{key}` serves entry `{found.dataset}`, which is not `{to}`'s: name the entry, too"
            raise GatewayError("invalid-input", fault, faults=[{"field": "parts", "fault": fault}])
        self._steps += self._tx.hand_over_interface(found, to)

    def _systems(self) -> None:
        for system in self._tx.systems_of(self._giver.id):
            to = self._to(PartKind.SYSTEM, system.id)
            if to is None:
                continue
            if system.active:
                self._went[system.id] = to
            self._tx.put_system(msgspec.structs.replace(system, department=to))
            self._note("system", system.id, "system-moves", to)
        receivers = sorted({*self._went.values(), *([self._rest] if self._rest else [])})
        for to in receivers:
            self._tx.count_drawn_for(self._giver.id, to)
            self._note("drawn", self._giver.id, "drawn-counts", to)

    def _grants(self) -> None:
        """Each grant of the department goes on for the systems that it served, wherever they are now."""
        tx, giver = self._tx, self._giver.id
        own = [system.id for system in tx.systems_of(giver) if system.active]
        for grant in tx.grants_held_by(giver):
            named = bool(grant.systems)
            served = grant.systems or (*own, *self._went)
            gone: dict[str, list[str]] = {}
            for system in served:
                if system in self._went:
                    gone.setdefault(self._went[system], []).append(system)
            stays = [system for system in served if system not in self._went and not self._act.ends]
            if gone or self._act.ends:
                self._regrant(grant, gone, stays, named=named)

    def _regrant(self, grant: Grant, gone: dict[str, list[str]], stays: list[str], *, named: bool) -> None:
        is_suspended = grant.state is GrantState.SUSPENDED
        # A stop stands over the department that it was given to, as long as that goes on.
        keeps = not self._act.ends and (stays or not named or is_suspended)
        receivers = dict(sorted(gone.items()))
        if not keeps:
            if not receivers:
                self._close(grant, self._act.successor or self._giver.id, "grant-without-system")
                return
            if is_suspended and len(receivers) > 1:
                heir = self._act.successor or next(iter(receivers))
                self._move(grant, heir, receivers.pop(heir, []) or [each for of in gone.values() for each in of])
                return
            first = next(iter(receivers))
            copies = {to: systems for to, systems in receivers.items() if to != first}
        else:
            first, copies = None, receivers
        # A grant that is stopped stays what it is: what went of it is stopped there, and gets no copy.
        for to, systems in ({} if is_suspended else copies).items():
            self._copy(grant, to, systems)
        if first is not None:
            self._move(grant, first, receivers[first])
        elif named and copies and not is_suspended:
            narrowed = msgspec.structs.replace(grant, systems=tuple(stays), version=grant.version + 1)
            self._tx.regrant(grant, narrowed, self._supplier(grant))
            self._note("grant", grant.id, "grant-narrowed", self._giver.id)

    def _move(self, grant: Grant, to: str, systems: Iterable[str]) -> None:
        supplier = self._supplier(grant)
        if supplier == to:
            self._close(grant, to, "grant-of-own-data")
            return
        moved = msgspec.structs.replace(grant, department=to, systems=tuple(systems), version=grant.version + 1)
        self._tx.regrant(grant, moved, supplier)
        self._note("grant", grant.id, "grant-moves", to)

    def _copy(self, grant: Grant, to: str, systems: Iterable[str]) -> None:
        supplier = self._supplier(grant)
        if supplier == to:
            return
        id = _derived(grant.id, to, self._tx)
        copy = msgspec.structs.replace(
            grant, id=id, department=to, systems=tuple(systems), version=1, disputed=grant.disputed
        )
        self._tx.grant_anew(copy, supplier)
        self._note("grant", grant.id, "grant-copied", f"{to}: {id}")

    def _supplier(self, grant: Grant) -> str:
        return self._tx.entry_owner(grant.dataset) or ""

    def _close(self, grant: Grant, owes: str, rule: str) -> None:
        self._tx.set_grant_state(grant.id, grant.version, GrantState.CLOSED)
        if rule != "grant-of-own-data":
            duty = Disposal(
                grant.id, owes, self._supplier(grant), self._due.on, self._due.provisional, self._act.document
            )
            self._tx.open_disposal(duty)
        self._note("grant", grant.id, rule, owes, loses=True)

    def _pairs(self, orders: Sequence[Order]) -> list[tuple[Order, str]]:
        """Stops of all that the department may draw of a supplier's entry, given on one of its grants."""
        found = []
        for order in orders:
            grant = self._tx.grant(order.target) if order.stops_the_pair else None
            if grant is not None and grant.department == self._giver.id:
                found.append((order, grant.dataset))
        return found

    def _stops(self, orders: Sequence[Order], pairs: Sequence[tuple[Order, str]]) -> None:
        """Stops over the department's systems go with them; those that name a system go by themselves."""
        tx, giver = self._tx, self._giver
        over = {giver.id, *_ancestors(tx, giver)}
        for order in orders:
            if order.reach is not Reach.DEPARTMENT or order.target not in over:
                continue
            if order.target == giver.id or order.subordinates:
                for system in sorted(self._went):
                    self._follow(order, Reach.SYSTEM, system, order.supplier)
        for order, dataset in pairs:
            grant = tx.grant(order.target)
            for system, to in sorted(self._went.items()):
                # Where the grant itself went, its stop stands over that department.
                if grant is None or grant.department != to:
                    self._follow(order, Reach.SYSTEM, system, tx.entry_owner(dataset))

    def _follow(self, order: Order, reach: Reach, target: str, supplier: str | None) -> None:
        """Order the same again where what was stopped is now."""
        stamp = hashlib.sha256(f"{order.id} {reach} {target} {supplier}".encode()).hexdigest()[:12]
        id = f"{order.id[:51]}-{stamp}"
        if self._tx.order(id) is not None:
            return
        subordinates = order.subordinates and reach is Reach.DEPARTMENT
        self._tx.put_order(
            msgspec.structs.replace(
                order, id=id, reach=reach, target=target, supplier=supplier, subordinates=subordinates
            )
        )
        self._note("order", order.id, "stop-follows", f"{reach.value} {target}: {id}", loses=True)

    def _proposals(self) -> None:
        """What the department has applied for needs an approval of its successor's own; its other cases go on."""
        if not self._act.ends:
            return
        giver, heir = self._giver.id, self._act.successor or ""
        for proposal in self._tx.open_proposals(department=giver):
            gone = msgspec.structs.replace(proposal, state=ProposalState.WITHDRAWN, reasons=self._act.document)
            self._tx.put_proposal(gone)
            self._note("proposal", proposal.id, "proposal-withdrawn", loses=True)
            case = self._tx.case(proposal.application, APPLICATIONS.name) if proposal.application else None
            if case is not None:
                self._tx.hand_over_case(msgspec.structs.replace(case, state="withdrawn", clock="", due=None), giver)
                self._note("case", case.id, "case-ends", loses=True)
        for case in self._tx.open_cases(demand=giver):
            self._tx.hand_over_case(msgspec.structs.replace(case, demand=heir), giver)
            self._note("case", case.id, "case-moves", heir)

    def _officers(self) -> None:
        for person in self._tx.officers_of(self._giver.id):
            to = self._to(PartKind.OFFICER, person.id)
            if to is not None:
                home = self._tx.department(to)
                assert home is not None
                self._tx.put_officer(_transferred(person, self._giver, home))
                self._note("officer", person.id, "officer-moves", to)
            elif self._act.ends:
                self._tx.put_officer(msgspec.structs.replace(person, active=False))
                self._note("officer", person.id, "officer-dismissed", loses=True)

    def _children(self, orders: Sequence[Order]) -> None:
        for child in self._tx.children_of(self._giver.id):
            to = self._to(PartKind.DEPARTMENT, child.id)
            if to is None and self._act.kind is ReorganisationKind.DISSOLVE:
                to = self._giver.parent or self._act.successor
            if to is None:
                continue
            if child.id == to or child.id in _ancestors(self._tx, self._tx.department(to)):
                # Who takes over from its superior, or stands above who does, stands where that stood.
                self._reparent(child, self._giver.parent)
                continue
            before = {self._giver.id, *_ancestors(self._tx, self._giver)}
            self._reparent(child, to)
            after = {to, *_ancestors(self._tx, self._tx.department(to))}
            for order in orders:
                if order.reach is Reach.DEPARTMENT and order.subordinates:
                    if order.target in before - after:
                        self._follow(order, Reach.DEPARTMENT, child.id, order.supplier)
                    elif order.target in after - before:
                        self._note("order", order.id, "stop-reaches", child.id, loses=True)

    def _reparent(self, child: Department, parent: str | None) -> None:
        self._tx.write_department(child, msgspec.structs.replace(child, parent=parent))
        self._note("department", child.id, "subordinate-moves", parent or "")

    def _dissolve(self) -> None:
        tx, giver = self._tx, self._giver.id
        for entry in tx.entries_of(giver):
            for grant in tx.grants_on(entry.id):
                if grant.department != giver:
                    self._close(grant, grant.department, "grant-of-ended-data")
            self._steps += tx.end_entry(entry)
        self._steps += tx.end_hosts(giver, standing=True)
        for grant in tx.grants_held_by(giver):
            self._close(grant, self._act.successor or "", "grant-ends")
        for system in tx.systems_of(giver):
            if system.active:
                tx.put_system(msgspec.structs.replace(system, active=False))
                self._note("system", system.id, "system-revoked", loses=True)
        self._proposals()

    def _end(self) -> None:
        """The department is succeeded: what is left of it is its successor's."""
        tx, giver, heir = self._tx, self._giver, self._act.successor or ""
        self._steps += tx.end_hosts(giver.id, standing=False)
        if tx.give_duties(giver.id, heir):
            self._note("disposal", giver.id, "duty-moves", heir)
        known = tx.department(heir)
        assert known is not None
        takes = self._act.kind is ReorganisationKind.MERGE
        new = msgspec.structs.replace(
            known,
            succeeds=tuple(dict.fromkeys((*known.succeeds, *giver.succeeds, giver.id))),
            matters=tuple(dict.fromkeys((*known.matters, *(giver.matters if takes else ())))),
        )
        tx.write_department(known, new)
        if new.matters != known.matters:
            self._note("department", heir, "department-gains", ", ".join(giver.matters))
        tx.write_department(giver, msgspec.structs.replace(giver, succeeded_by=heir, matters=()))
        self._note("department", giver.id, "department-ends", heir, loses=True)


def _ancestors(tx: Reorganising, department: Department | None) -> list[str]:
    """Ids of the departments above one, nearest first."""
    found: list[str] = []
    while department is not None and department.parent is not None and department.parent not in found:
        found.append(department.parent)
        department = tx.department(department.parent)
    return found


def _transferred(person: Officer, old: Department, new: Department) -> Officer:
    """A person in a new department: no wider region than before, and no role that the old one was not worth."""
    inside = _lies_in(person.region, new.region)
    roles = tuple(role for role in person.roles if role is not Role.COMPETENT or old.competent)
    return msgspec.structs.replace(
        person, department=new.id, region=person.region if inside else new.region, roles=roles
    )


def _lies_in(region: str, wider: str) -> bool:
    """Whether a division code lies in another (GB/T 2260: two digits a level)."""
    kept = wider
    while kept.endswith("00"):
        kept = kept[:-2]
    return region.startswith(kept)


def _derived(id: str, to: str, tx: Reorganising) -> str:
    """An id for a grant that follows from another: the same each time that it is planned."""
    for number in range(1, 1000):
        stamp = hashlib.sha256(f"{id} {to} {number}".encode()).hexdigest()[:8]
        found = f"{id[:55]}-{stamp}"
        if tx.grant(found) is None:
            return found
    raise GatewayError("conflict", f"no id is left for what follows from grant `{id}`")
