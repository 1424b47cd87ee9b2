"""Whose a record of a reading is: the reader's, so that watching is not told to who is watched (Decree 809 Art. 29 ¶1).

A department finds what it reads of its own data among its records. What others read about it is theirs: a competent
department's in its own records; an auditor's in those of the auditors of its region, which no one else finds.
"""

from gateway.control.act.acting import is_permitted
from gateway.control.act.paging import every
from gateway.control.act.services import ControlServices
from gateway.domain.officers import Act, Matter, Officer, Role
from gateway.domain.uses import WATCH_MARK
from gateway.ledger.index.queries import RecordQuery


def reading_of(officer: Officer, concerned: dict[str, str]) -> dict[str, str]:
    """The fields by which a record of a reading by `officer` is found; `concerned` are those of what is read."""
    if Role.AUDITOR in officer.roles:
        return {"department": f"{WATCH_MARK}{officer.region}"}
    own = officer.department in (concerned.get("supplier"), concerned.get("department"))
    return concerned if own else {}


def reading_by(officer: Officer, query: RecordQuery) -> dict[str, str]:
    """As `reading_of`, of a question as the ledger is asked it."""
    named = {name: getattr(query, name) for name in ("department", "supplier", "dataset", "grant")}
    concerned = {name: value for name, value in named.items() if value is not None}
    # A question for one's own, as whichever side, is narrowed by scope.
    if query.within_suppliers == (officer.department,):
        concerned["supplier"] = officer.department
    elif query.within_suppliers == () and officer.department in (query.within_departments or ()):
        concerned["department"] = officer.department
    return reading_of(officer, concerned)


def watching_of(services: ControlServices, officer: Officer) -> tuple[str, ...]:
    """The marks of auditors' readings that the officer may find: those of auditors in the region, for an auditor."""
    if not _may_watch(services, officer, officer.region):
        return ()
    auditors = (each for each in every(lambda cursor: services.store.list_officers(cursor, 1000)) if _watches(each))
    regions = {each.region for each in auditors} | {officer.region}
    return tuple(f"{WATCH_MARK}{each}" for each in sorted(regions) if _may_watch(services, officer, each))


def _watches(officer: Officer) -> bool:
    return Role.AUDITOR in officer.roles


def _may_watch(services: ControlServices, officer: Officer, region: str) -> bool:
    return is_permitted(services, officer, Act.CONSULT_WATCHING, Matter(region=region))
