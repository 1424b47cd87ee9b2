"""Whether a grant can be issued: every reason against it at once (Decree 809 Art. 20, 21, 24; Art. 15)."""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from typing import Any

from gateway.domain.conditions import faults_of
from gateway.domain.directory import AnswerFormat, Dataset, Department, SharingAttribute, namespace_of
from gateway.domain.errors import TAKEN, another_names
from gateway.domain.free_text import HINT, holds_identity_number
from gateway.domain.grants import Grant, GrantState
from gateway.domain.recipients import bounds_missed, bounds_of, told
from gateway.store import Store, StoreTransaction

Fault = dict[str, Any]


class GrantChecks:
    """The checks of one request: what they look up is read once.

    Args:
        state: where departments, entries and the like are looked up.
        now: when the grants are issued.
    """

    def __init__(self, state: Store | StoreTransaction, now: datetime) -> None:
        self._now = now
        self._department = cache(state.department)
        self._system = cache(state.system)
        self._officer = cache(state.officer)
        self.entry: Callable[[str], Dataset | None] = cache(state.dataset)
        self._interfaces = cache(state.interfaces_of)
        self._grant = state.grant
        self._purposes = frozenset(each.id for each in state.purposes())
        self._ids: set[str] = set()

    def new(self, grant: Grant, *, on_paper: bool = True) -> list[Fault]:
        """Every fault of a grant to be issued anew; of its approvals only where they were given on paper."""
        faults = self.scope(grant, on_paper=on_paper)
        entry = self.entry(grant.dataset)
        # Each side names what it makes: the demand side what it proposes, the supplier what it enters from paper.
        own = grant.department if not on_paper else entry.supplier if entry is not None else ""
        space = namespace_of(grant.id)
        if space is not None and space != own and self._department(space) is not None:
            faults.append(_fault("id", another_names(space)))
        elif holds_identity_number(grant.id):
            faults.append(_fault("id", HINT))
        elif grant.id in self._ids:
            faults.append(_fault("id", f"grant `{grant.id}` stands twice"))
        elif self._grant(grant.id) is not None:
            faults.append(_fault("id", TAKEN))
        self._ids.add(grant.id)
        return faults

    def renewal(self, old: Grant, grant: Grant, *, on_paper: bool = True) -> list[Fault]:
        """Every fault of the next version of `old`; of its approvals only where they were given on paper."""
        faults = self.scope(grant, on_paper=on_paper)
        for field in ("department", "dataset"):
            if getattr(old, field) != getattr(grant, field):
                faults.append(_fault(field, f"a version keeps its {field}; issue a new grant"))
        for side in ("demand_approval", "supply_approval"):
            if on_paper and getattr(old, side) == getattr(grant, side):
                faults.append(_fault(side, "a new version needs an approval of its own (Decree 809 Art. 20)"))
        if old.state is not GrantState.ISSUED:
            faults.append(_fault("id", f"grant `{old.id}` is {old.state.value}"))
        return faults

    def scope(self, grant: Grant, *, on_paper: bool = True) -> list[Fault]:
        """Every fault of what a grant covers."""
        faults: list[Fault] = []
        department = self._department(grant.department)
        if department is None:
            faults.append(_fault("department", f"there is no department `{grant.department}`"))
        elif department.succeeded_by is not None:
            faults.append(_fault("department", f"`{department.id}` has ended; see `{department.succeeded_by}`"))
        entry = self.entry(grant.dataset)
        if entry is None:
            faults.append(_fault("dataset", f"`{grant.dataset}` is not a released dataset"))
        else:
            faults += _entry_faults(grant, entry)
            faults += _recipient_faults(department, entry)
        faults += self._named_faults(grant, entry)
        faults += [_fault(field, fault) for field, fault in faults_of(grant)]
        faults += _application_faults(grant, self._now)
        if on_paper:
            faults += self._paper_faults(grant)
        return faults

    def _paper_faults(self, grant: Grant) -> Iterator[Fault]:
        """What keeps approvals that were given on paper from being entered."""
        sides = {side: getattr(grant, side) for side in ("demand_approval", "supply_approval")}
        for side, approval in sides.items():
            if not approval.person.strip():
                yield _fault(f"{side}.person", "is missing (Decree 809 Art. 20)")
            if not approval.reference.strip():
                yield _fault(f"{side}.reference", "is missing: the paper on which it was approved")
            if approval.digest:
                yield _fault(f"{side}.digest", "stands for the act of a signed-in person: see `/v1/proposals`")
            if approval.at > self._now:
                yield _fault(f"{side}.at", "lies in the future")
            officer = self._officer(approval.person) if approval.person else None
            if officer is not None and not officer.active:
                yield _fault(f"{side}.person", f"`{officer.id}` was dismissed")
        demand, supply = sides.values()
        if demand.at > supply.at:
            yield _fault("supply_approval.at", "lies before the demand side's approval (Decree 809 Art. 20, 21)")
        if demand.person.strip() and demand.person == supply.person:
            yield _fault("supply_approval.person", "approved for the demand side, too: they are two persons")

    def _named_faults(self, grant: Grant, entry: Dataset | None) -> Iterator[Fault]:
        for purpose in grant.purposes:
            if purpose not in self._purposes:
                yield _fault("purposes", f"there is no purpose `{purpose}`")
        for id_ in grant.systems:
            system = self._system(id_)
            if system is None or system.department != grant.department:
                # Whether another department has one of that name is not told.
                yield _fault("systems", f"department `{grant.department}` has no system `{id_}`")
            elif not system.active:
                yield _fault("systems", f"system `{id_}` is revoked")
        if entry is not None:
            yield from self._interface_faults(grant, entry)
        for id_ in grant.combination:
            if self.entry(id_) is None:
                yield _fault("combination", f"`{id_}` is not a released dataset")
        if grant.combination and grant.dataset not in grant.combination:
            yield _fault("combination", "does not name the grant's own dataset")

    def _interface_faults(self, grant: Grant, entry: Dataset) -> Iterator[Fault]:
        interfaces = self._interfaces(entry.id)
        known = {each.id for each in interfaces} | {each.key for each in interfaces}
        for id_ in grant.interfaces:
            if id_ not in known:
                yield _fault("interfaces", f"dataset `{entry.id}` has no interface `{id_}`")
        # Of an opaque answer nobody sees whether it keeps to what the grant allows.
        readable = (each for each in interfaces if each.format is not AnswerFormat.OPAQUE)
        open_parameters = {name for each in readable for name in each.scope_parameters}
        for name in grant.parameters:
            if name not in open_parameters:
                yield _fault("parameters", f"no interface of `{entry.id}` lets a grant constrain `{name}`")


def _entry_faults(grant: Grant, entry: Dataset) -> Iterator[Fault]:
    for item in sorted(set(grant.items) - entry.item_names):
        yield _fault("items", f"dataset `{entry.id}` has no item `{item}`")
    if entry.sharing_attribute is SharingAttribute.NON_SHAREABLE:
        # Nor one to verify alone: what a layer lets departments verify, it lets them verify without a grant.
        yield _fault("dataset", f"`{entry.id}` is not shareable: no grant overrides that (Decree 809 Art. 14)")
        return
    if grant.return_flow and set(grant.items) != entry.item_names:
        yield _fault("items", "data returned to a lower level is returned whole (Decree 809 Art. 24)")
    for mode in sorted(set(grant.modes) - set(entry.sharing_modes)):
        yield _fault("modes", f"`{mode.value}` is not a sharing mode of `{entry.id}` (Decree 809 Art. 13)")
    if entry.sharing_attribute is SharingAttribute.CONDITIONAL and entry.purposes:
        for purpose in sorted(set(grant.purposes) - set(entry.purposes)):
            yield _fault("purposes", f"`{purpose}` is not a purpose of `{entry.id}` (Decree 809 Art. 15)")


def _recipient_faults(department: Department | None, entry: Dataset) -> Iterator[Fault]:
    missed = () if department is None else bounds_missed(entry, department)
    if department is not None and missed:
        stated = ", ".join(missed)
        yield _fault(
            "department",
            f"`{department.id}` is outside the scope of `{entry.id}` by its {stated}: it may be shared with"
            f" {told(bounds_of(entry))} (Decree 809 Art. 15)",
        )


def _application_faults(grant: Grant, now: datetime) -> Iterator[Fault]:
    for field in ("legal_basis", "scenario", "scope_of_use"):
        if not getattr(grant, field).strip():
            yield _fault(field, "is missing (Decree 809 Art. 20)")
    if grant.valid_until <= now:
        yield _fault("valid_until", "has passed")


def _fault(field: str, fault: str) -> Fault:
    return {"field": field, "fault": fault}
