"""Applications for sharing and their clocks (Decree 809 Art. 20 to 22; Zhongshan Art. 22).

| state | acts | next | clock that runs |
|---|---|---|---|
| received | ask materials (once), extend (once), approve, refuse, withdraw | | reply |
| awaiting-materials | complete, withdraw | received | none: it begins anew when they are complete |
| approved | share | shared | sharing |
| refused, shared, withdrawn | | | none |

Acts are functions of an application, pure and clocked by their arguments; storing is `Applications`'.
Due dates are counted in working days by `gateway.domain.calendar`, and marked provisional where a day on the way lies
in a year without an announced calendar.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Executable, select

from gateway.domain.calendar import Due, national_workday, working_days_after
from gateway.domain.directory import SharingAttribute, SharingMode
from gateway.domain.errors import GatewayError
from gateway.store import schema
from gateway.store.readings import Rows

Workday = Callable[[date], bool | None]


class ApplicationState(StrEnum):
    """Where an application stands."""

    RECEIVED = "received"
    AWAITING_MATERIALS = "awaiting-materials"
    APPROVED = "approved"
    REFUSED = "refused"
    SHARED = "shared"
    WITHDRAWN = "withdrawn"


class Clocks(msgspec.Struct, frozen=True):
    """A region's periods, in working days.

    Args:
        reply_unconditional: until the reply on unconditional data.
        reply_conditional: until the reply on other data.
        extension: by how much a reply may be put off at most; 0 where it may not.
        sharing: from the reply until the data are shared.
        citation: the rule.
    """

    reply_unconditional: int = 1
    reply_conditional: int = 10
    extension: int = 10
    sharing: int = 20
    citation: str = "Decree 809 Art. 21, 22"


NATIONAL = Clocks()
ZHONGSHAN = Clocks(reply_conditional=5, extension=0, sharing=5, citation="Zhongshan Art. 22")


class Application(msgspec.Struct, frozen=True, omit_defaults=True):
    """A demand department's application for sharing.

    Args:
        id: unique.
        department: the demand department.
        dataset: the entry applied for.
        supplier: its supply department.
        sharing_attribute: of the entry when it was applied for: it chooses the clock.
        items: data items applied for.
        purposes: purposes of use.
        modes: sharing modes.
        legal_basis: Art. 20: basis.
        scenario: Art. 20: scenario.
        scope_of_use: Art. 20: scope of use.
        valid_until: Art. 20: time limit for use.
        approved_by: Art. 20: the person in charge on the demand side.
        received_on: the day of receipt; of the complete materials, if some were missing.
        state: where it stands.
        due: when what is owed now is due, if a clock runs.
        missing: materials that were named as missing, all in one go (Art. 21).
        extended_by: working days by which the reply was put off.
        extension_reference: the competent department's approval of that (Art. 21).
        replied_on: the day of the reply.
        replied_in_time: whether that was in time.
        reasons: of a refusal (Art. 21).
        grant: the grant that an approval became.
        shared_on: the day on which the data were first shared.
        shared_in_time: whether that was in time.
    """

    id: str
    department: str
    dataset: str
    supplier: str
    sharing_attribute: SharingAttribute
    items: tuple[str, ...]
    purposes: tuple[str, ...]
    modes: tuple[SharingMode, ...]
    legal_basis: str
    scenario: str
    scope_of_use: str
    valid_until: date
    approved_by: str
    received_on: date
    state: ApplicationState = ApplicationState.RECEIVED
    due: Due | None = None
    missing: tuple[str, ...] = ()
    extended_by: int = 0
    extension_reference: str = ""
    replied_on: date | None = None
    replied_in_time: bool | None = None
    reasons: str = ""
    grant: str | None = None
    shared_on: date | None = None
    shared_in_time: bool | None = None


def receive(application: Application, clocks: Clocks = NATIONAL, workday: Workday = national_workday) -> Application:
    """Start the reply clock of a new application, or of one whose missing materials are there."""
    unconditional = application.sharing_attribute is SharingAttribute.UNCONDITIONAL
    days = clocks.reply_unconditional if unconditional else clocks.reply_conditional
    due = working_days_after(application.received_on, days, workday)
    return msgspec.structs.replace(application, state=ApplicationState.RECEIVED, due=due)


def ask_materials(application: Application, missing: Iterable[str]) -> Application:
    """Name every missing material in one go, and stop the clock; a second time is refused (Art. 21).

    Raises:
        GatewayError: `conflict` where some were named before, or a reply has been made; `invalid-input` for none.
    """
    _require(application, ApplicationState.RECEIVED)
    named = tuple(missing)
    if not named:
        raise GatewayError(
            "invalid-input", "name the missing materials", faults=[{"field": "missing", "fault": "empty"}]
        )
    if application.missing:
        raise GatewayError("conflict", "missing materials are named in one go, and were named already (Art. 21)")
    return msgspec.structs.replace(application, state=ApplicationState.AWAITING_MATERIALS, due=None, missing=named)


def complete(
    application: Application, on: date, clocks: Clocks = NATIONAL, workday: Workday = national_workday
) -> Application:
    """Take in the missing materials: the reply clock begins anew on that day."""
    _require(application, ApplicationState.AWAITING_MATERIALS)
    return receive(msgspec.structs.replace(application, received_on=on), clocks, workday)


def extend(
    application: Application, days: int, reference: str, clocks: Clocks = NATIONAL, workday: Workday = national_workday
) -> Application:
    """Put the reply off once, with the competent department's approval (Art. 21).

    Raises:
        GatewayError: `conflict` if it was put off before or the region's rule allows none; `invalid-input` for more
            days than it allows, or without the approval's reference.
    """
    _require(application, ApplicationState.RECEIVED)
    if application.extended_by or not clocks.extension or application.due is None:
        raise GatewayError("conflict", f"the reply cannot be put off ({clocks.citation})")
    faults = []
    if not 1 <= days <= clocks.extension:
        faults.append(
            {"field": "days", "fault": f"1 to {clocks.extension} working days, not {days} ({clocks.citation})"}
        )
    if not reference.strip():
        faults.append({"field": "reference", "fault": "missing: the competent department's approval (Art. 21)"})
    if faults:
        raise GatewayError("invalid-input", "the reply cannot be put off so", faults=faults)
    later = working_days_after(application.due.on, days, workday)
    due = Due(later.on, later.provisional or application.due.provisional)
    return msgspec.structs.replace(application, due=due, extended_by=days, extension_reference=reference)


def approve(
    application: Application, on: date, grant: str, clocks: Clocks = NATIONAL, workday: Workday = national_workday
) -> Application:
    """Reply with an approval, which becomes `grant`; the sharing clock begins (Art. 22)."""
    _require(application, ApplicationState.RECEIVED)
    due = working_days_after(on, clocks.sharing, workday)
    return msgspec.structs.replace(_reply(application, on), state=ApplicationState.APPROVED, due=due, grant=grant)


def refuse(application: Application, on: date, reasons: str) -> Application:
    """Reply with a refusal, which states its reasons (Art. 21).

    Raises:
        GatewayError: `invalid-input` without reasons.
    """
    _require(application, ApplicationState.RECEIVED)
    if not reasons.strip():
        fault = "missing: a refusal states its reasons (Decree 809 Art. 21)"
        raise GatewayError("invalid-input", fault, faults=[{"field": "reasons", "fault": fault}])
    return msgspec.structs.replace(_reply(application, on), state=ApplicationState.REFUSED, due=None, reasons=reasons)


def share(application: Application, on: date) -> Application:
    """Note that the data were shared (Art. 22)."""
    _require(application, ApplicationState.APPROVED)
    in_time = application.due is not None and on <= application.due.on
    return msgspec.structs.replace(
        application, state=ApplicationState.SHARED, due=None, shared_on=on, shared_in_time=in_time
    )


def withdraw(application: Application) -> Application:
    """Take an application back before it is replied to."""
    _require(application, ApplicationState.RECEIVED, ApplicationState.AWAITING_MATERIALS)
    return msgspec.structs.replace(application, state=ApplicationState.WITHDRAWN, due=None)


def _reply(application: Application, on: date) -> Application:
    in_time = application.due is not None and on <= application.due.on
    return msgspec.structs.replace(application, replied_on=on, replied_in_time=in_time)


def _require(application: Application, *states: ApplicationState) -> None:
    if application.state not in states:
        raise GatewayError("conflict", f"application `{application.id}` is {application.state.value}")


class Timeliness(msgspec.Struct):
    """How a supplier keeps its clocks (Decree 809 Art. 38): counts of replies and sharings."""

    supplier: str
    replied_in_time: int = 0
    replied_late: int = 0
    shared_in_time: int = 0
    shared_late: int = 0
    reply_overdue: int = 0
    sharing_overdue: int = 0


_DECODER = msgspec.json.Decoder(Application)


class Applications:
    """Reads of applications, by id, by what is overdue, and as figures. A subclass says where rows come from."""

    def _rows(self, statement: Executable, parameters: Mapping[str, Any]) -> Rows:
        raise NotImplementedError

    def application(self, id: str) -> Application | None:  # noqa: A002 - the domain's name
        """The application of that id."""
        table = schema.applications
        rows = self._rows(select(table.c.body).where(table.c.id == id), {})
        return _DECODER.decode(rows[0][0]) if rows else None

    def overdue_applications(self, today: date, *, supplier: str | None = None) -> tuple[Application, ...]:
        """Applications whose reply or sharing was due before `today`, the longest overdue first."""
        table = schema.applications
        conditions = [
            table.c.state.in_((ApplicationState.RECEIVED.value, ApplicationState.APPROVED.value)),
            table.c.due_on < today.isoformat(),
        ]
        if supplier is not None:
            conditions.append(table.c.supplier == supplier)
        rows = self._rows(select(table.c.body).where(*conditions).order_by(table.c.due_on, table.c.id), {})
        return tuple(_DECODER.decode(row[0]) for row in rows)

    def timeliness(self, today: date, *, supplier: str | None = None) -> tuple[Timeliness, ...]:
        """How each supplier keeps its clocks, by supplier."""
        table = schema.applications
        statement = select(table.c.body).order_by(table.c.supplier)
        if supplier is not None:
            statement = statement.where(table.c.supplier == supplier)
        found: dict[str, Timeliness] = {}
        for row in self._rows(statement, {}):
            application = _DECODER.decode(row[0])
            _count(found.setdefault(application.supplier, Timeliness(application.supplier)), application, today)
        return tuple(found.values())


def _count(figures: Timeliness, application: Application, today: date) -> None:
    figures.replied_in_time += application.replied_in_time is True
    figures.replied_late += application.replied_in_time is False
    figures.shared_in_time += application.shared_in_time is True
    figures.shared_late += application.shared_in_time is False
    overdue = application.due is not None and application.due.on < today
    figures.reply_overdue += overdue and application.state is ApplicationState.RECEIVED
    figures.sharing_overdue += overdue and application.state is ApplicationState.APPROVED


def application_columns(application: Application) -> dict[str, Any]:
    """The row of `applications` that holds an application, without its id."""
    return {
        "department": application.department,
        "dataset": application.dataset,
        "supplier": application.supplier,
        "state": application.state.value,
        "due_on": application.due.on.isoformat() if application.due else None,
        "body": msgspec.json.encode(application).decode(),
    }
