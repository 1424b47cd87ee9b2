"""What an auditor asks of the records, from query parameters or a body, to the ledger's question."""

import inspect
import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec
from fastapi import Depends, Query
from pydantic import AwareDatetime, BeforeValidator, Field

from gateway.control.act.bodies import Body, EntryId, Identifier, Name, Slug
from gateway.control.act.paging import every
from gateway.control.act.problems import invalid
from gateway.control.act.scopes import Scope, scope_of
from gateway.control.act.services import ControlServices
from gateway.control.records.readings import watching_of
from gateway.control.records.texts import with_words
from gateway.domain.calendar import CHINA, CHINA_OFFSET_SECONDS, china_day
from gateway.domain.errors import GatewayError
from gateway.domain.free_text import require_no_identity_number
from gateway.domain.officers import Act, Officer
from gateway.domain.uses import EVERY_DEPARTMENT, RecordKind
from gateway.ledger.index.queries import RecordQuery
from gateway.ledger.index.unnamed import Unnamed
from gateway.ledger.log.record_ids import check_second
from gateway.store import Store

_COARSE_GROUPS = {"day", "code", "reason", "kind"}
_COARSE_FIELDS = {"from_", "until", "department", "supplier", "verdict", "code", "status", "kind"}
_is_moment = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII).fullmatch


_KINDS = "|".join(sorted({"use", *(kind.value for kind in RecordKind)}))


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
    allow_partial: bool = False

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


def _rfc3339(value: Any) -> Any:
    """A moment as RFC 3339 writes it, with its zone; numbers and days are none, whatever pydantic makes of them."""
    if isinstance(value, str) and _is_moment(value):
        return datetime.fromisoformat(value)
    if isinstance(value, datetime) or value is None:
        return value
    raise ValueError("a time as RFC 3339 has it, with its zone, such as 2026-06-01T09:00:00+08:00")


Moment = Annotated[AwareDatetime | None, BeforeValidator(_rfc3339)]


_is_json = re.compile(r"true|false|0|-?[1-9]\d*", re.ASCII).fullmatch


def _as_json(value: Any) -> Any:
    """A number or truth in a query, written as a body would hold it: `200`, and not `200.0`, `2_0_0` or `yes`."""
    if isinstance(value, str) and not _is_json(value):
        raise ValueError("a number, or true or false, as JSON has it")
    return value


AsJson = BeforeValidator(_as_json)


class RecordFilter(Body):
    """Which records: one model, whether it comes as query parameters or as a body.

    A question stands in the log, so each field has the form of a name (INVARIANT: NO-VALUES).
    """

    from_: Moment = Field(None, alias="from", description="RFC 3339, with its zone")
    until: Moment = Field(None, description="RFC 3339, with its zone")
    department: Slug | None = Field(None, description="demand department")
    system: Name | None = None
    supplier: Slug | None = Field(None, description="supply department")
    dataset: EntryId | None = None
    interface: str | None = Field(
        None, pattern=r"^[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9-]{0,62}$", description="`supplier/id`"
    )
    grant: Identifier | None = None
    purpose: Slug | None = None
    verdict: str | None = Field(None, pattern="^(permit|deny)$", description="`permit` or `deny`")
    code: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="a refusal's problem code")
    policy: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$", description="a determining policy")
    status: Annotated[int | None, AsJson] = Field(None, ge=0, le=599)
    kind: str | None = Field(None, pattern=f"^({_KINDS})$", description="`use`, `use.refused`, `order`, `grant`, …")
    officer: Name | None = Field(None, description="who acted")
    allow_partial: Annotated[bool | None, AsJson] = Field(
        None, description="answer with what is known, and say that it is a part"
    )


def question_of(said: RecordFilter, subject: str | None = None) -> "Question":
    """The question of a filter."""
    fields = {name: getattr(said, name) for name in RecordFilter.model_fields}
    return Question(**{**fields, "allow_partial": bool(said.allow_partial)}, subject=subject)


def asked(**given: Any) -> "Question":
    """A question in query parameters; one about a data subject goes into a body, so that no URL bears it."""
    return Question(**{**given, "allow_partial": bool(given["allow_partial"])})


asked.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what FastAPI reads the parameters from
    [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                (field.annotation, *field.metadata, Query(alias=field.alias, description=field.description))
            ],
        )
        for name, field in RecordFilter.model_fields.items()
    ]
)


Asked = Annotated[Question, Depends(asked)]


def narrowed(services: ControlServices, officer: Officer, act: Act, asked: Question) -> tuple[Scope, RecordQuery]:
    """The question as the ledger is asked it, and the scope it is in: within what the officer may read.

    Raises:
        GatewayError: `act-not-permitted`; `invalid-input` where the officer has to say as what, or where a person is
            named by number outside `subject`.
    """
    scope = scope_of(services, officer, act, asked.supplier, asked.department)
    _require_names(services.store, asked)
    asks_own = scope.region is None and asked.supplier is None and asked.department is None
    narrow = Scope() if asks_own else scope
    within = _within_own(scope) if asks_own else _within(services, scope)
    query = _with_history(services.store, asked, scope, asked.query(narrow, within, services.pseudonyms))
    query = with_words(services, query)
    # Readings of auditors are found where records are read; in figures, which more may see, they are not counted.
    watching = () if act is Act.CONSULT_FIGURES or asks_own else watching_of(services, officer)
    return scope, msgspec.structs.replace(query, watching=watching)


def _require_names(store: Store, asked: Question) -> None:
    """INVARIANT: NO-VALUES: a number that may be a person's goes by `subject`; else only what is registered has one.

    Raises:
        GatewayError: `invalid-input`, with the field and without the number.
    """
    known: dict[str, Callable[[str], object]] = {
        "department": store.department,
        "supplier": store.department,
        "system": store.system,
        "dataset": store.dataset_versions,
        "grant": store.grant,
        "officer": store.officer,
        "purpose": lambda id_: any(each.id == id_ for each in store.purposes()),
    }
    for field in (*known, "interface", "code", "policy"):
        value = getattr(asked, field)
        if value is not None and not (field in known and known[field](value)):
            require_no_identity_number(value, field)


def _with_history(store: Store, asked: Question, scope: Scope, query: RecordQuery) -> RecordQuery:
    """A question about a department is about those that became it, too; one about what it took over, about before.

    So nothing that stands on record under an old id is lost to who answers for it now (Decree 809 Art. 17).
    """

    def became(id_: str) -> list[str]:
        found = store.department(id_)
        return [id_, *(found.succeeds if found is not None else ())]

    suppliers = became(scope.supplier) if scope.supplier else []
    if asked.dataset and scope.supplier and store.entry_owner(asked.dataset) == scope.supplier:
        suppliers += store.entry_owners(asked.dataset)
    departments = became(scope.department) if scope.department else []
    held = store.grant(asked.grant) if asked.grant and scope.department else None
    if held is not None and held.department == scope.department:
        departments += [each.department for each in store.grant_history(held.id)]
    more: dict[str, Any] = {}
    for named, among, within, ids in (
        ("supplier", "of_suppliers", "within_suppliers", dict.fromkeys(suppliers)),
        ("department", "of_departments", "within_departments", dict.fromkeys(departments)),
    ):
        if len(ids) < 2:
            continue
        if getattr(query, named) is not None:
            more |= {named: None, among: tuple(ids)}
        elif getattr(query, within) is not None:
            more[within] = tuple(dict.fromkeys((*getattr(query, within), *ids)))
    return msgspec.structs.replace(query, **more)


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
    narrows = {name for name in asked.__struct_fields__ if getattr(asked, name) is not None} - {"allow_partial"}
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


def looked_past(services: ControlServices, asked: Question, scope: Scope, unnamed: Unnamed) -> dict[str, Any]:
    """What a question about a data subject cannot look into, within its scope; empty for any other question.

    Uses that bear no pseudonym, whatever their interface's entry says today, those of interfaces whose entries name no
    place of the subject, and those of a year whose key this node does not have: nothing can be said of them, and "none
    found" would be untrue.
    """
    if asked.subject is None:
        return {}
    registered = (
        (f"{each.supplier}/{each.id}", each.dataset)
        for each in every(lambda cursor: services.store.list_interfaces(cursor, 1000, supplier=scope.supplier))
        if not each.names_subject
    )
    interfaces = sorted(
        {
            interface
            for interface, dataset in (*registered, *unnamed.interfaces)
            if asked.dataset in (None, dataset)
            and asked.interface in (None, interface)
            and scope.supplier in (None, interface.partition("/")[0])
        }
    )
    this_year = china_day(services.now()).year
    first = max(unnamed.first_year or this_year, asked.from_.astimezone(CHINA).year if asked.from_ else 0)
    last = min(this_year, asked.until.astimezone(CHINA).year) if asked.until else this_year
    keyed = {int(year) for year in (each.partition(".")[0] for each in services.pseudonyms(b"-")) if year.isdecimal()}
    return {"interfaces": interfaces, "years": [year for year in range(first, last + 1) if year not in keyed]}
