"""A case while an act moves it: its next version and what was done, written with whatever else the act writes."""

import secrets
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from gateway.control.act.deeds import Deed, matter_between
from gateway.control.act.services import ControlServices
from gateway.domain.calendar import Clock
from gateway.domain.processes.cases import Case, Event, advance
from gateway.domain.processes.table import Process, Step
from gateway.store import Store, StoreTransaction


def new_case(today: date, process: Process, officer: str, at: datetime) -> Case:
    """A case that no step has entered yet; it is stored by the first.

    Args:
        today: its day, China Standard Time: it stands in the id, before 48 random bits.
        process: its table.
        officer: who opens it; "" where nobody is signed in.
        at: when.
    """
    id_ = f"{process.prefix}-{today:%Y%m%d}-{secrets.token_hex(6)}"
    return Case(id_, process.name, "", officer, at)


def clocks_of(services: ControlServices, state: Store | StoreTransaction, case: Case) -> dict[str, Clock]:
    """The periods that run for a case: those of the region of the department whose authority oversees it."""
    return services.engine.layers.clocks_in(matter_between(state, case.overseen, None).region)


def move(
    deed: Deed,
    step: Step,
    case: Case,
    said: msgspec.Struct,
    facts: Mapping[str, Any],
    *,
    on: date | None = None,
) -> Case:
    """Take a step of a case that it fits, and store the case with what was done.

    Args:
        deed: the act; its record is the caller's to write.
        step: of the case's table.
        case: as it stands.
        said: what was stated.
        facts: what of it, and besides, the case keeps.
        on: the day that its clock counts from, if not today.

    Raises:
        GatewayError: as `gateway.domain.processes.cases.advance`.
    """
    clocks = clocks_of(deed.services, deed.tx, case)
    new, in_time = advance(step, case, facts, clocks, on or deed.today)
    number, officer = deed.tx.next_event_number(case.id), deed.officer
    stated: dict[str, Any] = msgspec.to_builtins(said)
    deed.tx.put_case(
        new,
        Event(
            case.id,
            number,
            step.name,
            officer.id,
            officer.department,
            deed.now,
            before=case.state,
            after=new.state,
            said=stated,
            in_time=in_time,
        ),
    )
    return new
