"""One step while it is taken: found, decided, fitted, written and recorded, in one transaction.

find the case, or make an empty one               (gives nothing but the case)
one of the step's acts is permitted               Cedar, over the matter of the case
If-Match; the step fits the state                 the table
what the step does besides                        `Effects`
the case moves on, its clock with it              `gateway.domain.processes.cases.advance`
case, event and record                            the same transaction
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import msgspec

from gateway.control.act.acting import Answer, Choice, Deed, matter_between
from gateway.control.act.cases import move, new_case
from gateway.control.act.preconditions import entity_tag, require_match
from gateway.control.act.services import ControlServices
from gateway.domain.officers import Matter
from gateway.domain.processes.cases import Case, Event, require_fit
from gateway.domain.processes.table import Party, Process, Step
from gateway.domain.uses import RecordKind
from gateway.store import Store, StoreTransaction

State = Store | StoreTransaction


@dataclass(frozen=True, slots=True)
class Done:
    """What a step did besides moving its case.

    Args:
        fields: of the case, changed.
        facts: of the case, beside what was stated.
        kept: what of the statement the case keeps as facts; None keeps all.
        on: the day that its clock counts from, if not today.
        told: fields of the record.
        kind: of the record.
        shown: members of the answer.
        then: what is done with the id of the step's record, once it is written.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    kept: tuple[str, ...] | None = None
    on: date | None = None
    told: Mapping[str, Any] = field(default_factory=dict)
    kind: RecordKind = RecordKind.PROCESS
    shown: Mapping[str, Any] = field(default_factory=dict)
    then: Callable[[str], object] = lambda _record: None


Effect = Callable[[Deed, Case, Any], Done]


def matter_of_case(state: State, case: Case) -> Matter:
    """What a step of a case is about: its departments and entry, and the region that oversees it."""
    matter = matter_between(state, case.supplier, case.demand, case.dataset)
    return matter if matter.region is not None else in_region_of(state, matter, case.overseen)


def in_region_of(state: State, matter: Matter, department: str | None) -> Matter:
    """The matter as one of that department's region."""
    about = matter_between(state, department, None)
    return msgspec.structs.replace(matter, region=about.region)


def of_the_side(state: State, case: Case) -> Matter:
    """What is the matter of the side alone that a case is about: the other side has no say in it."""
    is_demand = case.side is Party.DEMAND
    matter = matter_between(
        state, None if is_demand else case.overseen, case.overseen if is_demand else None, case.dataset
    )
    return in_region_of(state, matter, case.overseen)


def no_effect(_deed: Deed, _case: Case, _said: Any) -> Done:
    """A step that only moves its case."""
    return Done()


def _nothing_more(_state: State, _case: Case) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Effects:
    """What the steps of one process do besides.

    Args:
        opens: what opening a case is about, from what is stated; it gives nothing else. None where `absent` is to be
            told.
        steps: by the step's name; one that is not named only moves its case.
        matter: what a step of a case is about.
        shows: what is shown with a case.
        ahead: by the step's name, what is looked up of the decided case before its transaction: `Deed.ahead`.
        hidden: fields of statements that are shown to those alone who may take the first step.
        absent: where a case is opened about a thing that not everybody may see: what is told who may not, and where
            there is none.
        says: by the step's name, what of its matter follows from what is stated; None is stated where it is asked who
            may take the step at all.
    """

    opens: Callable[[StoreTransaction, Any, str], Matter | None]
    steps: Mapping[str, Effect]
    matter: Callable[[State, Case], Matter] = matter_of_case
    shows: Callable[[State, Case], dict[str, Any]] = _nothing_more
    ahead: Mapping[str, Callable[[ControlServices, Case], Any]] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    absent: Callable[[Any], str] | None = None
    says: Mapping[str, Callable[[Matter, Any], Matter]] = field(default_factory=dict)

    def matter_of(self, state: State, case: Case, step: Step | None, said: Any = None) -> Matter:
        """What one step is about, as far as what is stated settles it; without a step the case itself."""
        matter = self.matter(state, case)
        if step is None or step.name not in self.says:
            return matter
        return self.says[step.name](matter, said)

    def told_to_others(self, event: Event) -> Event:
        """What was done, without what is hidden."""
        said = {name: value for name, value in event.said.items() if name not in self.hidden}
        return msgspec.structs.replace(event, said=said)


def open_case(deed: Deed, process: Process, effects: Effects, said: msgspec.Struct) -> Answer:
    """Open a case by the first step of its table."""
    step = process.opening

    def find(tx: StoreTransaction) -> Matter | None:
        return effects.opens(tx, said, deed.officer.department)

    def choices(_tx: StoreTransaction, matter: Matter | None) -> list[Choice]:
        return [(act, matter or Matter()) for act in step.acts]

    if effects.absent is None:
        deed.permit_one(lambda tx: choices(tx, find(tx)))
    else:
        deed.about(find, choices, lambda _tx, matter: (process.sees, matter), effects.absent(said))
    empty = new_case(deed.today, process, deed.officer.id, deed.now)
    return _taken(deed, process, step, empty, said, effects, 201)


def take_step(
    deed: Deed, process: Process, effects: Effects, step: Step, id_: str, said: msgspec.Struct, if_match: str | None
) -> Answer:
    """Take a step of a case.

    Raises:
        GatewayError: `not-found` also for who may not see it; `act-not-permitted`; `precondition-failed`; `conflict`
            with the state and the steps that fit it; `invalid-input` with every fault.
    """
    case = about_case(deed, process, effects, id_, step, said)
    require_match(case, if_match)
    require_fit(process, step, case, deed.today)
    return _taken(deed, process, step, case, said, effects, 200)


def about_case(
    deed: Deed, process: Process, effects: Effects, id_: str, step: Step | None, said: msgspec.Struct | None = None
) -> Case:
    """The case that a step, or without one a comment, is about: who may take any step of it may comment."""
    acts = step.acts if step is not None else tuple(dict.fromkeys(act for each in process.steps for act in each.acts))

    def choices(tx: StoreTransaction, case: Case) -> list[Choice]:
        matter = effects.matter_of(tx, case, step, said)
        return [(act, matter) for act in acts]

    return deed.about(
        lambda tx: tx.case(id_, process.name),
        choices,
        lambda tx, case: (process.sees, matter_of_case(tx, case)),
        f"there is no {process.singular} `{id_}`",
    )


def _taken(
    deed: Deed, process: Process, step: Step, case: Case, said: msgspec.Struct, effects: Effects, status: int
) -> Answer:
    done = effects.steps.get(step.name, no_effect)(deed, case, said)
    stated: dict[str, Any] = msgspec.to_builtins(said)
    facts = stated if done.kept is None else {name: stated[name] for name in done.kept if name in stated}
    filled = msgspec.structs.replace(case, **done.fields) if done.fields else case
    new = move(deed, step, filled, said, {**facts, **done.facts}, on=done.on)
    told = {"article": step.article, "before": case.state, **done.told}
    done.then(record_step(deed, process, step.name, new, told, done.kind))
    headers = {"ETag": entity_tag(new)}
    if status == 201:
        headers["Location"] = f"/v1/{process.name}/{new.id}"
    return Answer({process.singular: new, **done.shown}, status, headers)


def record_step(
    deed: Deed,
    process: Process,
    name: str,
    case: Case,
    told: Mapping[str, Any],
    kind: RecordKind = RecordKind.PROCESS,
) -> str:
    """Write the record of what was done in a case, and return its id.

    INVARIANT: NO-VALUES — what people say in their own words stands in the state, and of it only reasons and outcomes,
    which the journal looks through, on record.
    """
    said = {
        "department": case.demand,
        "supplier": case.supplier,
        "dataset": case.dataset,
        "grant": case.grant,
        "due": case.due.on.isoformat() if case.due else None,
    }
    return deed.record(
        kind,
        **{
            **{field_: value for field_, value in said.items() if value is not None},
            "after": case.state,
            **told,
            "process": process.name,
            "case": case.id,
            "step": name,
        },
    )
