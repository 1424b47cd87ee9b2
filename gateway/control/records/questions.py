"""What an auditor asks of the records, from query parameters or a body, to the ledger's question."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
from fastapi import Depends, Query

from gateway.control.act.acting import matter_of_grant, require_permit
from gateway.control.act.bodies import EntryId, Identifier, Slug
from gateway.control.act.problems import invalid
from gateway.control.act.scopes import Scope, scope_of
from gateway.control.act.services import ControlServices
from gateway.control.directory.importing import every
from gateway.domain.calendar import CHINA_OFFSET_SECONDS
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Officer
from gateway.domain.uses import EVERY_DEPARTMENT
from gateway.ledger.index.queries import RecordQuery, check_second

_COARSE_GROUPS = {"day", "code", "kind"}
_COARSE_FIELDS = {"from_", "until", "department", "supplier", "verdict", "code", "status", "kind"}
Moment = Annotated[datetime | None, Query(description="RFC 3339, with its zone")]


class Within(NamedTuple):
    """Whose records a question may reach: of these suppliers or these demand departments; None twice is everything."""

    suppliers: tuple[str, ...] | None
    departments: tuple[str, ...] | None


class Question(msgspec.Struct, frozen=True):
    """A question before it is narrowed; `subject` is an identifier and goes no further than `query`."""

    from_: datetime | None = None
    until: datetime | None = None
    department: str | None = None
    system: str | None = None
    supplier: str | None = None
    dataset: str | None = None
    interface: str | None = None
    grant: str | None = None
    purpose: str | None = None
    verdict: str | None = None
    code: str | None = None
    policy: str | None = None
    status: int | None = None
    kind: str | None = None
    officer: str | None = None
    subject: str | None = None

    def query(self, scope: Scope, within: Within, pseudonyms: Callable[[bytes], tuple[str, ...]]) -> RecordQuery:
        """The ledger's question within `scope`, or within the departments of `within`."""
        return RecordQuery(
            from_unix=_unix("from", self.from_),
            until_unix=_unix("until", self.until),
            kinds=(self.kind,) if self.kind else None,
            department=scope.department,
            system=self.system,
            supplier=scope.supplier,
            dataset=self.dataset,
            interface=self.interface,
            grant=self.grant,
            purpose=self.purpose,
            verdict=self.verdict,
            code=self.code,
            policy=self.policy,
            status=self.status,
            officer=self.officer,
            subjects=pseudonyms(self.subject.encode()) if self.subject is not None else None,
            within_suppliers=within.suppliers,
            within_departments=within.departments,
        )


def asked(  # noqa: PLR0917 - each is a query parameter, given by name
    from_: Annotated[datetime | None, Query(alias="from", description="RFC 3339, with its zone")] = None,
    until: Moment = None,
    department: Annotated[Slug | None, Query(description="demand department")] = None,
    system: Annotated[Slug | None, Query()] = None,
    supplier: Annotated[Slug | None, Query(description="supply department")] = None,
    dataset: Annotated[EntryId | None, Query()] = None,
    interface: Annotated[str | None, Query(max_length=130, description="`supplier/id`")] = None,
    grant: Annotated[Identifier | None, Query()] = None,
    purpose: Annotated[Slug | None, Query()] = None,
    verdict: Annotated[str | None, Query(pattern="^(permit|deny)$")] = None,
    code: Annotated[str | None, Query(max_length=64, description="a refusal's problem code")] = None,
    policy: Annotated[str | None, Query(max_length=128, description="a determining policy")] = None,
    status: Annotated[int | None, Query(ge=0, le=599)] = None,
    kind: Annotated[str | None, Query(max_length=32, description="`use`, `use.refused`, `order`, `grant`, …")] = None,
    officer: Annotated[Slug | None, Query(description="who acted")] = None,
) -> Question:
    """A question in query parameters; one about a data subject goes into a body, so that no URL bears it."""
    return Question(
        from_=from_,
        until=until,
        department=department,
        system=system,
        supplier=supplier,
        dataset=dataset,
        interface=interface,
        grant=grant,
        purpose=purpose,
        verdict=verdict,
        code=code,
        policy=policy,
        status=status,
        kind=kind,
        officer=officer,
    )


Asked = Annotated[Question, Depends(asked)]


def narrowed(services: ControlServices, officer: Officer, act: Act, asked: Question) -> tuple[Scope, RecordQuery]:
    """The question as the ledger is asked it, and the scope it is in: within what the officer may read.

    Raises:
        GatewayError: `act-not-permitted`; `invalid-input` where the officer has to say as what.
    """
    scope = scope_of(services, officer, act, asked.supplier, asked.department)
    if asked.grant is not None:
        grant = services.store.grant(asked.grant)
        if grant is not None:
            require_permit(services, officer, act, matter_of_grant(services.store, grant))
    asks_own = scope.region is None and asked.supplier is None and asked.department is None
    narrow = Scope() if asks_own else scope
    within = _within_own(scope) if asks_own else _within(services, scope)
    return scope, asked.query(narrow, within, services.pseudonyms)


def narrowed_figures(services: ControlServices, officer: Officer, asked: Question, by: str) -> RecordQuery:
    """A question for figures by a group, narrowed to what the officer may read.

    Figures of a second, or by system and grant, are as good as the record of a use. So who may not read the records
    that are asked about gets coarse ones: of departments or regions, by day, reason or kind, over whole days (China
    Standard Time) that are over, since counts that grow while one looks tell of each use as it comes (Art. 36).

    Raises:
        GatewayError: `act-not-permitted`; `invalid-input` where the officer has to say as what.
    """
    _, query = narrowed(services, officer, Act.CONSULT_FIGURES, asked)
    try:
        return narrowed(services, officer, Act.CONSULT_RECORDS, asked)[1]
    except GatewayError as refusal:
        if refusal.code != "act-not-permitted" or not _is_coarse(asked, by):
            raise
    today = _day_start(int(services.now()))
    until = today if query.until_unix is None else min(query.until_unix, today)
    return msgspec.structs.replace(query, until_unix=until)


def _is_coarse(asked: Question, by: str) -> bool:
    """Whether figures of `asked` by `by` tell of no single use."""
    narrows = {name for name in asked.__struct_fields__ if getattr(asked, name) is not None}
    whole_days = all(
        moment is None or moment.timestamp() == _day_start(int(moment.timestamp()))
        for moment in (asked.from_, asked.until)
    )
    return by in _COARSE_GROUPS and narrows <= _COARSE_FIELDS and whole_days


def _day_start(unix: int) -> int:
    """The first second of the day, China Standard Time, that a second lies in."""
    return unix - (unix + CHINA_OFFSET_SECONDS) % 86_400


def _within_own(scope: Scope) -> Within:
    """A department's own records, and those that concern all departments."""
    suppliers = () if scope.supplier is None else (scope.supplier,)
    departments = () if scope.department is None else (scope.department,)
    return Within(suppliers, (*departments, EVERY_DEPARTMENT))


def _within(services: ControlServices, scope: Scope) -> Within:
    """The departments of the scope's region, and what concerns all; everything where no region narrows."""
    if not scope.region:
        return Within(None, None)
    region = scope.region
    departments = tuple(
        department.id
        for department in every(lambda cursor: services.store.list_departments(cursor, 1000, region=region))
    )
    return Within(departments, (*departments, EVERY_DEPARTMENT))


def _unix(field: str, moment: datetime | None) -> int | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise invalid([{"field": field, "fault": "a time needs a zone"}])
    unix = int(moment.timestamp())
    check_second(field, unix)
    return unix
