"""One case of a process: which step fits, what it leads to, which clock runs. Pure, and clocked by its arguments."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from gateway.domain.calendar import Clock, Due, national_workday, working_days_after
from gateway.domain.errors import GatewayError
from gateway.domain.processes.table import STATED, Party, Process, Step

Workday = Callable[[date], bool | None]


class Case(msgspec.Struct, frozen=True, omit_defaults=True):
    """A case of a process; every step makes its next version.

    Args:
        id: unique over all processes.
        process: the name of its table.
        state: where it stands.
        opened_by: the officer who opened it.
        opened_at: when.
        supplier: the supply department.
        demand: the demand department.
        dataset: the directory entry.
        grant: the grant that it is about, or is to become.
        facts: what its steps have stated, by the names of their fields; a later statement replaces an earlier one.
        done: the names of its steps, in order.
        clock: the name of the clock that runs, "" where none does.
        due: when what is owed is due, if a clock runs.
        at: the department that it is about, where that is not the supplier: its region's competent department oversees
            the case.
    """

    id: str
    process: str
    state: str
    opened_by: str
    opened_at: datetime
    supplier: str | None = None
    demand: str | None = None
    dataset: str | None = None
    grant: str | None = None
    facts: dict[str, Any] = {}
    done: tuple[str, ...] = ()
    clock: str = ""
    due: Due | None = None
    at: str | None = None

    @property
    def overseen(self) -> str | None:
        """The department whose region's competent department oversees the case."""
        return self.at or self.supplier or self.demand

    @property
    def side(self) -> Party:
        """The side that it is about."""
        return Party.DEMAND if self.overseen == self.demand and self.demand != self.supplier else Party.SUPPLIER

    @property
    def version(self) -> int:
        """Counts its steps."""
        return len(self.done)

    def is_overdue(self, today: date) -> bool:
        """Whether the last day of what is due has passed."""
        return self.due is not None and self.due.on < today


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was done in a case: a step, or a comment.

    Args:
        case: the case's id.
        number: 1, 2, … of the case.
        step: its name; `comment` and `attach` leave the case as it is.
        officer: who; "" where nobody was signed in.
        department: whose officer that was.
        at: when.
        before: the state it started from.
        after: the state it led to.
        said: what was stated.
        in_time: whether what was owed was done in time, where a clock was ended.
    """

    case: str
    number: int
    step: str
    officer: str
    department: str
    at: datetime
    before: str = ""
    after: str = ""
    said: dict[str, Any] = {}
    in_time: bool | None = None


class Attachment(msgspec.Struct, frozen=True):
    """A file of a case; its content is kept under its digest.

    Args:
        digest: SHA-256 of the content, in hexadecimal.
        name: as it was given.
        media_type: one of those that are allowed, and what its first bytes are.
        size_bytes: of the content.
        officer: who attached it.
        at: when.
    """

    digest: str
    name: str
    media_type: str
    size_bytes: int
    officer: str
    at: datetime


def owing(process: Process, case: Case) -> tuple[Party, ...]:
    """Whom a case waits for."""
    meant = {Party.CONCERNED: case.side, Party.ORDERING: Party(case.facts.get("ordering", Party.COMPETENT))}
    return tuple(meant.get(party, party) for party in process.state(case.state).waits_for)


def possible(process: Process, case: Case, today: date) -> tuple[str, ...]:
    """The steps that fit the case as it stands, whoever may take them."""
    return tuple(step.name for step in process.steps if _misfit(step, case, today) is None)


def require_fit(process: Process, step: Step, case: Case, today: date) -> None:
    """Hold that the step fits the case.

    Raises:
        GatewayError: `conflict`, with the state and the steps that fit it.
    """
    misfit = _misfit(step, case, today)
    if misfit is not None:
        raise GatewayError(
            "conflict",
            f"{process.singular} `{case.id}` is {case.state}: {misfit}",
            state=case.state,
            possible=list(possible(process, case, today)),
        )


def _misfit(step: Step, case: Case, today: date) -> str | None:
    """Why a step does not fit; None where it does."""
    if case.state not in step.before:
        return f"`{step.name}` does not fit that"
    if step.is_once and step.name in case.done:
        return f"`{step.name}` is done once, and was ({step.article})"
    if step.is_late and not case.is_overdue(today):
        return f"`{step.name}` has to wait until what is due is overdue ({step.article})"
    return None


def advance(
    step: Step,
    case: Case,
    facts: Mapping[str, Any],
    clocks: Mapping[str, Clock],
    on: date,
    workday: Workday = national_workday,
) -> tuple[Case, bool | None]:
    """The case after a step that fits it, and whether the step ended in time what a clock was running for.

    Args:
        step: of its table.
        case: as it stands.
        facts: what the step states.
        clocks: of the layers in force, by name; a clock that no layer sets does not run.
        on: the day of the step, China Standard Time.
        workday: the region's calendar.

    Raises:
        GatewayError: `conflict` where what is due cannot be put off; `invalid-input` where it can, by fewer days.
    """
    told = {**case.facts, **facts}
    due, clock, in_time = case.due, case.clock, None
    if step.extends:
        due = _put_off(case, int(told.get("days", 0)), clocks, workday)
    if step.clock is not None:
        in_time = None if case.due is None else on <= case.due.on
    if step.clock == STATED:
        stated = facts.get("due_on")
        due = Due(date.fromisoformat(stated), bool(facts.get("provisional"))) if stated else None
        clock = STATED if stated else ""
    elif step.clock is not None:
        clock = step.clock.format(attribute=told.get("attribute", ""))
        set_ = clocks.get(clock) if clock else None
        due = None if set_ is None else working_days_after(on, set_.days, workday)
        clock = "" if set_ is None else clock
    new = msgspec.structs.replace(
        case, state=step.after or case.state, facts=told, done=(*case.done, step.name), clock=clock, due=due
    )
    return new, in_time


def _put_off(case: Case, days: int, clocks: Mapping[str, Clock], workday: Workday) -> Due:
    require_extension(case, days, clocks)
    assert case.due is not None
    later = working_days_after(case.due.on, days, workday)
    return Due(later.on, later.provisional or case.due.provisional)


def require_extension(case: Case, days: int, clocks: Mapping[str, Clock]) -> None:
    """Hold that what is due may be put off by so many working days (Decree 809 Art. 21).

    Raises:
        GatewayError: `conflict` where the rule allows none; `invalid-input` where it allows fewer.
    """
    clock = clocks.get(case.clock)
    if case.due is None or clock is None or not clock.extension:
        by = clock.article if clock is not None else "no clock runs"
        raise GatewayError("conflict", f"what is due cannot be put off ({by})", state=case.state)
    if not 1 <= days <= clock.extension:
        fault = f"1 to {clock.extension} working days, not {days} ({clock.article})"
        raise GatewayError("invalid-input", fault, faults=[{"field": "days", "fault": fault}])
