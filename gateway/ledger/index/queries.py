"""Questions as values: what a reader asks of the records, and the SQL it becomes."""

import base64
from datetime import date
from typing import Any

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.uses import WATCH_MARK
from gateway.ledger.index.rows import COLUMNS, USE, subject_key
from gateway.ledger.journal.entries import china_day
from gateway.ledger.log.decimals import parse_decimal
from gateway.ledger.log.record_ids import check_second

MAX_PAGE = 1000


class RecordQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to find; a field that is None does not narrow.

    Args:
        from_unix: the first second a record may have begun in.
        until_unix: the first second it may no longer have begun in.
        kinds: `use` (opened and closed joined), `use.refused`, or any other `RecordKind` value.
        department: the demand department.
        system: its system.
        supplier: the supply department.
        dataset: the dataset.
        interface: the interface's key, `supplier/id`.
        grant: the grant; of a refused attempt, the one of the caller's that came nearest.
        purpose: the declared purpose.
        of_purposes: any of these values of it, where it stands in records as several: as a name, and as digests.
        mode: the sharing mode.
        verdict: `permit` or `deny`.
        code: the problem code of a refusal.
        policy: a determining policy.
        status: the HTTP status sent.
        ending: how a use ended (`complete`, `cut`, `recovered`, …).
        officer: who acted.
        subjects: pseudonyms of one data subject, one for each year's key.
        of_suppliers: any of these suppliers: a department and those that became it.
        of_departments: any of these demand departments, likewise.
        within_suppliers: scope: only records of these suppliers' data …
        watching: marks of auditors' readings that may be found besides; every other reading of an auditor is left out.
        within_departments: … or of these demand departments; both None is everything, both empty is nothing.
    """

    from_unix: int | None = None
    until_unix: int | None = None
    kinds: tuple[str, ...] | None = None
    department: str | None = None
    system: str | None = None
    supplier: str | None = None
    dataset: str | None = None
    interface: str | None = None
    grant: str | None = None
    purpose: str | None = None
    mode: str | None = None
    verdict: str | None = None
    code: str | None = None
    policy: str | None = None
    status: int | None = None
    ending: str | None = None
    officer: str | None = None
    subjects: tuple[str, ...] | None = None
    of_purposes: tuple[str, ...] | None = None
    of_suppliers: tuple[str, ...] | None = None
    of_departments: tuple[str, ...] | None = None
    within_suppliers: tuple[str, ...] | None = None
    within_departments: tuple[str, ...] | None = None
    watching: tuple[str, ...] = ()


class RecordRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One record as the index knows it; the whole of it is in the log (`show`).

    Args:
        record: the record id.
        kind: `use`, `use.refused`, or another record kind.
        time_unix_us: when it began.
        leaf: its first entry in the log.
        last: its last entry; None while a use is open.
        released: the items that left.
        policies: the determining policies.
    """

    record: str
    kind: str
    time_unix_us: int
    leaf: int
    last: int | None = None
    department: str | None = None
    system: str | None = None
    supplier: str | None = None
    dataset: str | None = None
    interface: str | None = None
    mode: str | None = None
    purpose: str | None = None
    scenario: str | None = None
    operator: str | None = None
    grant: str | None = None
    code: str | None = None
    policies: tuple[str, ...] = ()
    assurance: str | None = None
    status: int | None = None
    ending: str | None = None
    released: tuple[str, ...] = ()
    rows: int | None = None
    bytes: int | None = None
    duration_us: int | None = None
    officer: str | None = None
    act: str | None = None


class Knows(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an answer looked into: nothing else may be concluded from what is not in it.

    Args:
        until: leaves below this one are known …
        owed: … of these: all that was durable two seconds before, or when the process began.
        begins: retention has looked through what lies below this leaf, and only what has to stay is there.
        set_aside: entries that the index could not take: they stand in the log, and in no answer.
    """

    until: int
    owed: int
    begins: int = 0
    set_aside: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether all that had to be looked into was."""
        return self.until >= self.owed


class RecordPage(msgspec.Struct, frozen=True):
    """A page of records, newest first.

    Args:
        rows: at most as many as asked for.
        cursor: what to ask for the next page with; None on the last.
        log_size: the size of the log when the first page was read; later records are on no page of this reading.
        knows: what was looked into.
    """

    rows: tuple[RecordRow, ...]
    cursor: str | None
    log_size: int
    knows: Knows = Knows(0, 0)


_EQUALS = {
    "department": "department",
    "system": "system",
    "supplier": "supplier",
    "dataset": "dataset",
    "interface": "interface",
    "grant": "grant_id",
    "purpose": "purpose",
    "mode": "mode",
    "code": "code",
    "status": "status",
    "ending": "ending",
    "officer": "officer",
}


def where(query: RecordQuery) -> tuple[str, list[Any]]:
    """The SQL condition of `query` and its parameters."""
    conditions: list[str] = []
    values: list[Any] = []

    def add(condition: str, *parameters: Any) -> None:
        conditions.append(condition)
        values.extend(parameters)

    if query.from_unix is not None:
        add("time_us >= ?", query.from_unix * 1_000_000)
    if query.until_unix is not None:
        add("time_us < ?", query.until_unix * 1_000_000)
    if query.kinds is not None:
        _among(add, "kind", query.kinds)
    for field, column in _EQUALS.items():
        value = getattr(query, field)
        if value is not None and not (field == "purpose" and query.of_purposes is not None):
            add(f"{column} = ?", value)
    if query.verdict is not None:
        add("kind = ?", {"permit": USE, "deny": "use.refused"}.get(query.verdict, query.verdict))
    if query.policy is not None:
        add("contains(' ' || policies || ' ', ?)", f" {query.policy} ")
    if query.subjects is not None:
        keys = [subject_key(pseudonym) for pseudonym in query.subjects]
        add(
            f"(subject IN ({', '.join('?' * len(keys)) or 'NULL'}) OR list_has_any(besides, ?::UBIGINT[]))", *keys, keys
        )
    _within_history(add, query)
    if query.within_suppliers is not None or query.within_departments is not None:
        parts: list[str] = []
        scope: list[Any] = []
        departments = (*(query.within_departments or ()), *query.watching)
        for column, names in (("supplier", query.within_suppliers), ("department", departments)):
            if names:
                parts.append(f"{column} IN ({', '.join('?' * len(names))})")
                scope.extend(names)
        add(f"({' OR '.join(parts) or 'false'})", *scope)
    unwatched = f"department IS NULL OR NOT starts_with(department, '{WATCH_MARK}')"
    marks = f" OR department IN ({', '.join('?' * len(query.watching))})" if query.watching else ""
    add(f"({unwatched}{marks})", *query.watching)
    return " AND ".join(conditions), values


def days_of(query: RecordQuery) -> tuple[date | None, date | None]:
    """The first and last day (China Standard Time) that records of `query` can lie in.

    Raises:
        GatewayError: `invalid-input` if one of its times is on no calendar.
    """
    for field, unix in (("from", query.from_unix), ("until", query.until_unix)):
        if unix is not None:
            check_second(field, unix)
    first = None if query.from_unix is None else china_day(query.from_unix * 1_000_000_000)
    last = None if query.until_unix is None else china_day((query.until_unix - 1) * 1_000_000_000)
    return first, last


def row_of(values: tuple[Any, ...]) -> RecordRow:
    """A row of the index, in the order of `COLUMNS`, as the value readers get."""
    said = dict(zip(COLUMNS, values, strict=True))
    run, seq = said.pop("run"), said.pop("seq")
    del said["subject"], said["besides"]
    return RecordRow(
        record=f"{run}-{seq}",
        time_unix_us=said.pop("time_us"),
        grant=said.pop("grant_id"),
        policies=tuple((said.pop("policies") or "").split()),
        released=tuple((said.pop("released") or "").split()),
        **said,
    )


def encode_cursor(leaf: int, log_size: int) -> str:
    """A cursor: the next page begins below `leaf`, of the reading that began at `log_size`."""
    return base64.urlsafe_b64encode(f"{leaf}.{log_size}".encode()).decode().rstrip("=")


def parse_cursor(cursor: str) -> tuple[int, int]:
    """Leaf and log size of a cursor.

    Raises:
        GatewayError: `invalid-input` if it is none.
    """
    try:
        leaf, _, log_size = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(".")
        return parse_decimal(leaf), parse_decimal(log_size)
    except ValueError as error:
        raise _invalid("cursor", "is not one of ours") from error


def _invalid(field: str, fault: str) -> GatewayError:
    return GatewayError("invalid-input", f"`{field}` {fault}", faults=[{"field": field, "fault": fault}])


def _within_history(add: Any, query: RecordQuery) -> None:
    for column, among in (
        ("supplier", query.of_suppliers),
        ("department", query.of_departments),
        ("purpose", query.of_purposes),
    ):
        if among is not None:
            _among(add, column, among)


def _among(add: Any, column: str, values: Any) -> None:
    if values:
        add(f"{column} IN ({', '.join('?' * len(values))})", *values)
    else:
        add("false")
