"""One act while it is done: what it is about is found, the policies decide, and only then anything is read or written.

INVARIANT: ASKED-AT-COMMIT — a route is given the transaction (`Deed.tx`) by the decision and not before it. What has to
be known to decide is found by a function that gives nothing but the thing; it comes out of `Deed.about` where the
policies permit the act. Where they do not, who may not even see the thing is told what is told of one that is not
there, whatever its state, its orders or `If-Match`.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar, cast

import msgspec

from gateway.control.act.problems import invalid
from gateway.control.act.recorded import Written
from gateway.control.act.services import ControlServices
from gateway.control.act.words import without_words
from gateway.domain.calendar import CHINA, Due, working_days_after
from gateway.domain.directory import Department, System, namespace_of
from gateway.domain.errors import GatewayError, another_names
from gateway.domain.free_text import require_no_identity_number
from gateway.domain.grants import Grant
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.regions import NATION, region_chain
from gateway.domain.uses import EVERY_DEPARTMENT, RecordKind
from gateway.domain.verdicts import Explanation, Verdict
from gateway.store import Store, StoreTransaction

log = logging.getLogger(__name__)

T = TypeVar("T")
State = Store | StoreTransaction
Choice = tuple[Act, Matter]


class Answer(msgspec.Struct):
    """What an act's work gives back.

    Args:
        body: a JSON object; the act's record id and the barrier's report are added.
        status: of the response.
        headers: of the response.
        once: members of the response that are said this once, and never remembered or repeated: secrets.
    """

    body: dict[str, Any]
    status: int = 200
    headers: dict[str, str] = {}
    once: dict[str, Any] = {}


class Deed:
    """One act while it is done: whose it is, what was decided, and its transaction.

    Args:
        services: the rooms.
        officer: who acts.
        tx: the transaction.
        written: is told the act's records as they are written; None where nothing is written.
    """

    def __init__(
        self, services: ControlServices, officer: Officer, tx: StoreTransaction, written: Written | None = None
    ) -> None:
        self._written = written
        self.services = services
        self.officer = officer
        self._tx = tx
        self.now = datetime.fromtimestamp(services.now(), UTC)
        self.records: tuple[str, ...] = ()
        self.told: tuple[dict[str, Any], ...] = ()  # what those records say
        self.ahead: Any = None  # what was looked up before the transaction, where the act needs any such thing
        self._everything = False
        self._told_changes = 0
        self._decided: list[tuple[Act, Matter, Verdict]] = []

    @property
    def tx(self) -> StoreTransaction:
        """The transaction, once the act is decided: nothing is read before."""
        assert self._decided, "an act is decided before anything is read"
        return self._tx

    @property
    def decided(self) -> list[Choice]:
        """What the policies were asked and permitted: a repeated request is decided by it."""
        return [(act, matter) for act, matter, _ in self._decided]

    @property
    def today(self) -> date:
        """The calendar day, China Standard Time: what clocks in days count from."""
        return china_day(self.now)

    def between(self, supplier: str | None, demand: str | None, dataset: str | None = None) -> Matter:
        """As `matter_between`, of departments that the request names."""
        return matter_between(self._tx, supplier, demand, dataset)

    def permit(self, act: Act, matter: Matter | Callable[[StoreTransaction], Matter]) -> None:
        """Raises `act-not-permitted` unless the policies permit the act.

        Args:
            act: what is asked.
            matter: about what; or how to find that out, which gives nothing else.
        """
        about = matter if isinstance(matter, Matter) else matter(self._tx)
        self._decided.append((act, about, require_permit(self.services, self.officer, act, about, self._tx)))

    def permit_all(self, act: Act, matters: Callable[[StoreTransaction], Sequence[Matter]]) -> None:
        """As `permit`, about each of several matters."""
        for matter in matters(self._tx):
            self.permit(act, matter)

    def permit_each(self, asked: Callable[[StoreTransaction], Sequence[Choice]]) -> None:
        """As `permit`, of several acts, all of which must be permitted."""
        for act, matter in asked(self._tx):
            self.permit(act, matter)

    def permit_one(self, choices: Callable[[StoreTransaction], Sequence[Choice]]) -> None:
        """As `permit`, of several acts that each give the right; they are asked in order."""
        asked = choices(self._tx)
        for act, matter in asked[:-1]:
            if is_permitted(self.services, self.officer, act, matter, self._tx):
                self.permit(act, matter)
                return
        self.permit(*asked[-1])

    def about(
        self,
        find: Callable[[StoreTransaction], T | None],
        choices: Callable[[StoreTransaction, T], Sequence[Choice]],
        seen: Callable[[StoreTransaction, T], Choice] | None,
        absent: str,
    ) -> T:
        """The thing that an act is about, once one of `choices` is permitted.

        Args:
            find: the thing, or None where there is none.
            choices: the acts that each give the right, and about what, in the order they are asked.
            seen: what permits to see the thing at all; None where every officer may.
            absent: the sentence for who may not see it, and for who asks for what is not there.

        Raises:
            GatewayError: `not-found`; `act-not-permitted` where the thing may be seen.
        """
        thing = find(self._tx)
        if thing is None:
            raise GatewayError("not-found", absent)
        try:
            self.permit_one(lambda tx: choices(tx, thing))
        except GatewayError as refusal:
            if seen is not None and not is_permitted(self.services, self.officer, *seen(self._tx, thing), self._tx):
                raise GatewayError("not-found", absent) from refusal
            raise
        return thing

    def about_grant(self, id_: str, act: Act, or_act: Act | None = None) -> tuple[Grant, Matter]:
        """The grant that an act is about, with the matter that was decided.

        Raises:
            GatewayError: as `about`.
        """
        found: list[Matter] = []

        def choices(tx: StoreTransaction, grant: Grant) -> list[Choice]:
            found.append(matter_of_grant(tx, grant))
            return [(each, found[0]) for each in (act, or_act) if each is not None]

        seen = lambda _tx, _grant: (Act.CONSULT_GRANTS, found[0])  # noqa: E731
        grant = self.about(lambda tx: tx.grant(id_), choices, seen, f"there is no grant `{id_}`")
        return grant, found[0]

    def about_system(self, id_: str, act: Act = Act.MANAGE_SYSTEMS) -> tuple[System, Department]:
        """The system that an act on it or its keys is about, with its department.

        Raises:
            GatewayError: as `about`.
        """

        def find(tx: StoreTransaction) -> tuple[System, Department] | None:
            system = tx.system(id_)
            department = tx.department(system.department) if system is not None else None
            return None if system is None or department is None else (system, department)

        return self.about(
            find,
            lambda _tx, found: [(act, matter_of_department(found[1]))],
            lambda _tx, found: (Act.CONSULT_GRANTS, matter_of_department(found[1])),
            f"there is no system `{id_}`",
        )

    def about_person(self, id_: str) -> Officer:
        """The officer whom an act on an account is about.

        Raises:
            GatewayError: as `about`.
        """
        return self.about(
            lambda tx: tx.officer(id_),
            lambda _tx, person: [(Act.MANAGE_OFFICERS, matter_of_person(person))],
            lambda _tx, person: (Act.CONSULT_GRANTS, matter_of_person(person)),
            f"there is no officer `{id_}`",
        )

    def require_own_name(self, id_: str, department: str) -> None:
        """Hold that a thing to be made has no id in the namespace of another department than the one it is of.

        Nor one that may be a person's number: it would stand in every record (INVARIANT: NO-VALUES).

        Raises:
            GatewayError: `invalid-input`, taken or free.
        """
        require_no_identity_number(id_, "id")
        space = namespace_of(id_)
        if space is not None and space != department and self.tx.department(space) is not None:
            raise invalid([{"field": "id", "fault": another_names(space)}])

    def record(self, kind: RecordKind, *, concerning: Iterable[str] = (), **fields: Any) -> str:
        """Write the act's record and return its id: who acted, what was decided by which policies, and `fields`.

        Every department that the act was decided about, and each of `concerning`, finds it: it is written once more for
        each that `fields` do not name, or for all where that would be more than `MAX_CONCERNED`. A reading is told to
        nobody whom it is about.

        Durability: it is synced on return. Call it once, last of what can refuse the act.
        """
        rows: list[Mapping[str, Any]] = [{**fields, **more} for more in self._concerned(kind, fields, concerning)]
        if fields.get("department") or fields.get("supplier") or not rows:
            rows.insert(0, fields)
        withdrawn = self._withdrawn()
        return self._write(kind, [(each, [] if at else withdrawn) for at, each in enumerate(rows)])[0]

    def record_each(self, kind: RecordKind, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """As `record`, one for each of many things done at once; all are synced together.

        So what concerns one grant is found, and held, by that grant alone, also where many were issued at once.
        """
        withdrawn = self._withdrawn()
        own: dict[str, list[dict[str, str]]] = {}
        for each in withdrawn:
            own.setdefault(each.get("grant", ""), []).append(each)
        first = own.pop("", [])
        told = []
        for fields in rows:
            told.append((fields, own.get(str(fields.get("grant")), []) + first))
            first = []
        return self._write(kind, told)

    def _write(
        self, kind: RecordKind, rows: Sequence[tuple[Mapping[str, Any], list[dict[str, str]]]]
    ) -> tuple[str, ...]:
        assert not self.records, "an act is recorded once"
        assert self._written is not None, "nothing is recorded here"
        told = [self._told(fields, withdrawn) for fields, withdrawn in rows]
        self.told = without_words(self.services, self._tx, self.officer.department, told, self.today)
        self.records = self.services.acts.append_all(kind, self.told)
        self._written.note(self.records, self.told)
        return self.records

    def _concerned(
        self, kind: RecordKind, fields: Mapping[str, Any], concerning: Iterable[str]
    ) -> list[dict[str, str]]:
        """For each department whose the record is besides those that `fields` name: the field that names it."""
        named = {fields.get("department"), fields.get("supplier")}
        if kind in _READINGS or EVERY_DEPARTMENT in named:
            return []
        matters = [matter for _, matter, _ in self._decided]
        found = {each: "department" for each in (*concerning, *(matter.demand for matter in matters)) if each}
        found |= {matter.supplier: "supplier" for matter in matters if matter.supplier}
        found = {each: field for each, field in found.items() if each not in named}
        if EVERY_DEPARTMENT in found or len(found) > MAX_CONCERNED:
            return [{"department": EVERY_DEPARTMENT}]
        return [{field: each} for each, field in found.items()]

    def will_withdraw(self) -> None:
        """Say that this act takes away, as far as anyone may hold, by a change that follows on its record."""
        self._everything = True

    def require_told(self) -> None:
        """What the act withdraws stands in its record: a state restored from before it can be held to that."""
        later = self.tx.changes[self._told_changes :]
        assert self._everything or not any(change.withdraws for change in later), "told before it was withdrawn"

    def _withdrawn(self) -> list[dict[str, str]]:
        """The scopes of what was withdrawn so far; one without any name for everything, or for what is too much."""
        self._told_changes = len(self.tx.changes)
        scopes = [
            {name: str(value) for name in _SCOPES if (value := getattr(change, name)) is not None}
            for change in self.tx.changes
            if change.withdraws
        ]
        if self._everything or len(scopes) > MAX_SCOPES:
            return [{"kind": "everything"}]
        return [each for at, each in enumerate(scopes) if each not in scopes[:at]]

    def _told(self, fields: Mapping[str, Any], withdrawn: list[dict[str, str]]) -> dict[str, Any]:
        assert self._decided, "an act is decided before it is recorded"
        return {
            **{name: value for name, value in fields.items() if value not in ("", ())},
            "act": ", ".join(dict.fromkeys(act.value for act, _, _ in self._decided)),
            "officer": self.officer.id,
            "officer_department": self.officer.department,
            "policies": sorted({name for _, _, verdict in self._decided for name in verdict.policies}),
            "policy_digest": self.services.engine.layers.digest,
            # What a state that was restored from before the act is compared by.
            "position": self.tx.began_at,
            **({"withdraws": withdrawn} if withdrawn else {}),
        }


_SCOPES = ("kind", "subject", "department", "dataset", "system", "supplier", "grant")
_READINGS = frozenset({RecordKind.CONSULTATION, RecordKind.EXPORT})
MAX_CONCERNED = 64
"""Departments that a record is written for one by one; what concerns more is told to all."""
MAX_SCOPES = 64
"""Scopes that one record names; what withdraws more is told as withdrawing everything."""


def decided_first(services: ControlServices, officer: Officer, about: Callable[[Deed], T]) -> T:
    """What an act is about, decided over the state as it stands: before anything else is asked that costs or tells.

    The act decides anew within its transaction. Nothing can be written here.

    Args:
        services: the rooms.
        officer: who acts.
        about: as the act finds it: `Deed.about` or one that is made of it.

    Raises:
        GatewayError: as `about`.
    """
    return about(Deed(services, officer, cast("StoreTransaction", services.store)))


def shown_to(
    services: ControlServices,
    officer: Officer,
    act: Act,
    find: Callable[[Store], T | None],
    matter: Callable[[Store, T], Matter],
    absent: str,
) -> T:
    """A thing that is only read: `not-found` where there is none, and where the policies do not permit to see it."""
    thing = find(services.store)
    if thing is None or not is_permitted(services, officer, act, matter(services.store, thing)):
        raise GatewayError("not-found", absent)
    return thing


def require_permit(
    services: ControlServices, officer: Officer, act: Act, matter: Matter, state: State | None = None
) -> Verdict:
    """The policies' permit; the officer's department is as `state` has it, by default the state as it stands.

    Raises:
        GatewayError: `act-not-permitted`.
    """
    home = (state or services.store).department(officer.department)
    verdict = services.engine.authorize(officer, act, matter, int(services.now()), home)
    if not verdict.is_permit:
        log.info("officer `%s` was refused `%s`", officer.id, act.value)
        why = verdict.explanation or Explanation()
        raise GatewayError(
            "act-not-permitted",
            f"officer `{officer.id}` may not `{act.value}` here",
            act=act.value,
            policies=list(verdict.policies),
            articles=list(why.articles),
            rules=[{"id": rule.id, "title": {"en": rule.title, "zh": rule.title_zh}} for rule in why.rules],
        )
    return verdict


def require_any(services: ControlServices, officer: Officer, acts: Sequence[Act], matter: Matter) -> None:
    """Raises `act-not-permitted` unless the policies permit one of the acts: asked before work that costs much."""
    for act in acts[:-1]:
        if is_permitted(services, officer, act, matter):
            return
    require_permit(services, officer, acts[-1], matter)


def is_permitted(
    services: ControlServices, officer: Officer, act: Act, matter: Matter, state: State | None = None
) -> bool:
    """Whether the policies permit the act: for narrowing what is shown; `state` as in `require_permit`."""
    home = (state or services.store).department(officer.department)
    return services.engine.authorize(officer, act, matter, int(services.now()), home).is_permit


def matter_between(
    store: Store | StoreTransaction, supplier: str | None, demand: str | None, dataset: str | None = None
) -> Matter:
    """What an act between two departments is about, with their regions; of one that ended, its successor is asked."""
    supplier, demand = (store.heir(each) if each else each for each in (supplier, demand))
    supplying = store.department(supplier) if supplier else None
    demanding = store.department(demand) if demand else None
    return Matter(
        supplier=supplier,
        demand=demand,
        region=_region(supplying),
        demand_region=_region(demanding),
        dataset=dataset,
        levels=tuple(sorted({each.level for each in (supplying, demanding) if each is not None})),
    )


def _region(department: Department | None) -> str | None:
    return department.region if department is not None else None


def matter_of_department(department: Department) -> Matter:
    """What an act on a department's own things (its systems, its officers) is about."""
    return Matter(demand=department.id, region=department.region, demand_region=department.region)


def matter_of_person(officer: Officer) -> Matter:
    """What an act on an officer's account is about."""
    return Matter(
        demand=officer.department,
        region=officer.region,
        demand_region=officer.region,
        person=officer.id,
        roles=officer.roles,
    )


def matter_of_gateway(state: State) -> Matter:
    """What an act on the whole gateway (keys, retention, policies, purposes) is about: the region that holds it all."""
    chains = [region_chain(region) for region in state.regions()] or [[NATION]]
    return Matter(region=next(code for code in chains[0] if all(code in chain for chain in chains)))


def matter_now(state: State, matter: Matter) -> Matter:
    """What was about these departments, or this person, with the regions and roles that they have now."""
    if matter.person is not None:
        person = state.officer(matter.person)
        return matter if person is None else matter_of_person(person)
    now = matter_between(state, matter.supplier, matter.demand, matter.dataset)
    return msgspec.structs.replace(
        matter,
        supplier=now.supplier,
        demand=now.demand,
        region=now.region or matter.region,
        demand_region=now.demand_region or matter.demand_region,
        levels=now.levels,
    )


def matter_of_grant(store: Store | StoreTransaction, grant: Grant) -> Matter:
    """What an act on a grant is about."""
    return matter_between(store, store.entry_owner(grant.dataset), grant.department, grant.dataset)


def china_day(moment: datetime) -> date:
    """The calendar day, China Standard Time."""
    return moment.astimezone(CHINA).date()


def due_in(today: date, days: int) -> Due:
    """The last of `days` working days from today."""
    return working_days_after(today, days)
