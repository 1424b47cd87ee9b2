"""What can be read, by id: the same on a `Store` and inside a `Transaction`.

`SLICE` is one statement and so one consistent state on both databases, in one round trip: it is what a worker waits
for when it meets a pair of department and dataset for the first time.
"""

# ruff: noqa: A002 - `id` and `filter` are the domain's names for them

from collections.abc import Mapping, Sequence
from datetime import date
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Executable, TextClause, select, text
from sqlalchemy.sql import bindparam

from gateway.domain.directory import Dataset, Department, EntryState, Interface, Purpose, System
from gateway.domain.grants import Grant
from gateway.domain.officers import AccountEvent, Authenticator, Enrolment, Officer, ProviderSession, Session
from gateway.domain.orders import Order
from gateway.domain.processes.cases import Attachment, Case, Event
from gateway.domain.state import SliceState
from gateway.store import schema
from gateway.store.values import Answer, Disposal, LegacyKey

S = TypeVar("S", bound=msgspec.Struct)
Rows = Sequence[Any]
"""Rows of any columns: SQLAlchemy types a row by the number of its columns."""

MAX_DEPTH = 16
"""How many parents above a department are read: the levels of government are five."""

MAX_MOVES = 64
"""How many reorganisations an old id is followed through: one a year for as long as anybody remembers."""


def _slice_statement(gather: str) -> TextClause:
    """One statement that answers with one JSON document; the bodies are JSON already and are joined, not parsed.

    One row is one step of the driver: each step gives the interpreter away, and the event loop may keep it for a while.
    `CROSS JOIN` keeps SQLite to the order written: left to itself it reads every order in force of a reach.

    Args:
        gather: the database's aggregate function that joins texts.
    """
    return text(
        f"""
        WITH RECURSIVE up (id, parent, depth) AS (
            SELECT id, parent, 0 FROM departments WHERE id = :department
            UNION ALL
            SELECT d.id, d.parent, up.depth + 1 FROM up CROSS JOIN departments d
                WHERE d.id = up.parent AND up.depth < {MAX_DEPTH}
        ),
        entry (supplier, body) AS (SELECT supplier, body FROM datasets WHERE id = :dataset AND state = 'released'),
        stops (body) AS (
            SELECT o.body FROM grants g CROSS JOIN orders o
                WHERE g.dataset = :dataset AND g.department = :department
                AND o.reach = 'grant' AND o.target = g.id AND o.in_force = 1
            UNION ALL SELECT o.body FROM systems s CROSS JOIN orders o
                WHERE s.department = :department AND o.reach = 'system' AND o.target = s.id AND o.in_force = 1
            UNION ALL SELECT o.body FROM up CROSS JOIN orders o
                WHERE o.reach = 'department' AND o.target = up.id AND o.in_force = 1
            UNION ALL SELECT body FROM orders WHERE reach = 'dataset' AND target = :dataset AND in_force = 1
            UNION ALL SELECT o.body FROM entry CROSS JOIN orders o
                WHERE o.reach = 'supplier' AND o.target = entry.supplier AND o.in_force = 1
        )
        SELECT '{{"sequence":' || (SELECT sequence FROM feed)
            || ',"lineage":[' || COALESCE((
                SELECT {gather}('[' || up.depth || ',' || d.body || ']', ',')
                FROM up CROSS JOIN departments d WHERE d.id = up.id), '')
            || '],"supplier":' || COALESCE((
                SELECT d.body FROM entry CROSS JOIN departments d WHERE d.id = entry.supplier), 'null')
            || ',"dataset":' || COALESCE((SELECT body FROM entry), 'null')
            || ',"interfaces":[' || COALESCE((
                SELECT {gather}(body, ',') FROM interfaces WHERE dataset = :dataset AND active = 1), '')
            || '],"grants":[' || COALESCE((
                SELECT {gather}('[' || number || ',' || body || ']', ',')
                FROM grants WHERE dataset = :dataset AND department = :department), '')
            || '],"orders":[' || COALESCE((SELECT {gather}(body, ',') FROM stops), '') || ']}}'
        """  # noqa: S608 - the parts set in are constants of this module
    )


SLICE: Mapping[str, TextClause] = {
    "sqlite": _slice_statement("group_concat"),
    "postgresql": _slice_statement("string_agg"),
}
"""The reading of a slice in each database's words."""


class _SliceReading(msgspec.Struct):
    """What `SLICE` answers with; rows come in any order, so each bears what it is put in order by."""

    sequence: int
    lineage: list[tuple[int, Department]]
    supplier: Department | None
    dataset: Dataset | None
    interfaces: list[Interface]
    grants: list[tuple[int, Grant]]
    orders: list[Order]


_SLICE_READING = msgspec.json.Decoder(_SliceReading)

_DEPARTMENT = select(schema.departments.c.body).where(schema.departments.c.id == bindparam("id"))
_SYSTEM = select(schema.systems.c.body).where(schema.systems.c.id == bindparam("id"))
_OFFICER = select(schema.officers.c.body).where(schema.officers.c.id == bindparam("id"))
_OFFICER_SECRET = select(schema.officers.c.secret_hash).where(schema.officers.c.id == bindparam("id"))
_SESSION = select(schema.sessions).where(schema.sessions.c.id == bindparam("id"))
_SESSIONS_OF = (
    select(schema.sessions)
    .where(schema.sessions.c.officer == bindparam("officer"), schema.sessions.c.expires > bindparam("now"))
    .order_by(schema.sessions.c.begun.desc(), schema.sessions.c.id)
    .limit(100)
)
_ENROLMENT = select(schema.enrolments.c.body).where(schema.enrolments.c.officer == bindparam("id"))
_ACCOUNT_EVENTS = (
    select(schema.account_events.c.body)
    .where(schema.account_events.c.officer == bindparam("officer"))
    .order_by(schema.account_events.c.number.desc())
    .limit(100)
)
_PROVIDER_OFFICER = select(schema.provider_subjects.c.officer).where(
    schema.provider_subjects.c.issuer == bindparam("issuer"), schema.provider_subjects.c.subject == bindparam("subject")
)
_PROVIDER_SUBJECT = select(schema.provider_subjects.c.subject).where(
    schema.provider_subjects.c.issuer == bindparam("issuer"), schema.provider_subjects.c.officer == bindparam("officer")
)
_PROVIDER_SESSION = select(schema.provider_sessions).where(schema.provider_sessions.c.session == bindparam("id"))
_SESSIONS_BY_SID = select(schema.provider_sessions.c.session).where(
    schema.provider_sessions.c.issuer == bindparam("issuer"), schema.provider_sessions.c.sid == bindparam("sid")
)
_AUTHENTICATOR = select(schema.authenticators).where(schema.authenticators.c.officer == bindparam("id"))
_PURPOSES = select(schema.purposes.c.body).order_by(schema.purposes.c.id)
_BELOW = text(
    f"""
    WITH RECURSIVE below (id, depth) AS (
        SELECT id, 0 FROM departments WHERE id = :id
        UNION
        SELECT d.id, below.depth + 1 FROM below JOIN departments d ON d.parent = below.id
            WHERE below.depth < {MAX_DEPTH}
    )
    SELECT DISTINCT id FROM below ORDER BY id
    """  # noqa: S608 - the part set in is a constant of this module
)
_ORDER = select(schema.orders.c.body).where(schema.orders.c.id == bindparam("id"))
_GRANT = select(schema.grants.c.body).where(schema.grants.c.id == bindparam("id"))
_GRANT_VERSIONS = (
    select(schema.grant_versions.c.body)
    .where(schema.grant_versions.c.id == bindparam("id"))
    .order_by(schema.grant_versions.c.version)
)
_RELEASED = select(schema.datasets.c.body).where(
    schema.datasets.c.id == bindparam("id"), schema.datasets.c.state == text("'released'")
)
_DATASET_VERSIONS = (
    select(schema.datasets.c.body).where(schema.datasets.c.id == bindparam("id")).order_by(schema.datasets.c.version)
)
_INTERFACE = select(schema.interfaces.c.body).where(
    schema.interfaces.c.supplier == bindparam("supplier"), schema.interfaces.c.id == bindparam("id")
)
_INTERFACES_OF = (
    select(schema.interfaces.c.body)
    .where(schema.interfaces.c.dataset == bindparam("dataset"), schema.interfaces.c.active == 1)
    .order_by(schema.interfaces.c.supplier, schema.interfaces.c.id)
)
_LEGACY_KEY = select(schema.legacy_keys).where(
    schema.legacy_keys.c.contract == bindparam("contract"), schema.legacy_keys.c.id == bindparam("id")
)
_LEGACY_KEYS_OF = (
    select(schema.legacy_keys)
    .where(schema.legacy_keys.c.system == bindparam("system"))
    .order_by(schema.legacy_keys.c.contract, schema.legacy_keys.c.id)
)
_ANSWER = select(schema.answers.c.digest, schema.answers.c.status, schema.answers.c.content).where(
    schema.answers.c.key == bindparam("key"), schema.answers.c.officer == bindparam("officer")
)
_DISPOSAL = select(schema.disposals).where(schema.disposals.c.grant_id == bindparam("id"))
_SEQUENCE = select(schema.feed.c.sequence)

_DECODERS: dict[type[msgspec.Struct], Any] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (
        *(Department, System, Purpose, Dataset, Interface, Grant, Officer, Order, Enrolment, AccountEvent),
        *(Case, Event, Attachment),
    )
}


def decode(kind: type[S], body: str) -> S:
    """The domain value a `body` column holds."""
    value: S = _DECODERS[kind].decode(body)
    return value


def decode_all(kind: type[S], rows: Rows) -> tuple[S, ...]:
    """The domain values of rows whose first column is a body."""
    decoder = _DECODERS[kind]
    return tuple(decoder.decode(row[0]) for row in rows)


def legacy_key_of(row: Any) -> LegacyKey:
    """The key a row of `legacy_keys` holds."""
    return LegacyKey(row.contract, row.id, row.system, row.purpose, bytes(row.secret), bool(row.active))


def session_of(row: Any) -> Session:
    """The session a row of `sessions` holds."""
    return Session(row.id, row.officer, row.method, row.begun, row.expires, row.ended, row.ended_by)


def disposal_of(row: Any) -> Disposal:
    """The duty a row of `disposals` holds."""
    return Disposal(
        grant=row.grant_id,
        department=row.department,
        supplier=row.supplier,
        due_on=date.fromisoformat(row.due_on),
        provisional=bool(row.provisional),
        reason=row.reason,
        destroyed_record=row.destroyed_record,
        destroyed_on=date.fromisoformat(row.destroyed_on) if row.destroyed_on else None,
    )


_WAS_IN_FORCE = frozenset({EntryState.RELEASED, EntryState.SUPERSEDED, EntryState.WITHDRAWN})


_place, _key, _id = itemgetter(0), attrgetter("supplier", "id"), attrgetter("id")


class Readings:
    """Reads by id. A subclass says where rows come from."""

    def _rows(self, statement: Executable, parameters: Mapping[str, Any]) -> Rows:
        raise NotImplementedError

    def _text(self, statement: Mapping[str, TextClause], parameters: Mapping[str, Any]) -> str:
        """The one text that the database's own of `statement` answers with."""
        raise NotImplementedError

    def _one(self, kind: type[S], statement: Executable, **parameters: Any) -> S | None:
        rows = self._rows(statement, parameters)
        return decode(kind, rows[0][0]) if rows else None

    def department(self, id: str) -> Department | None:
        """The department of that id."""
        return self._one(Department, _DEPARTMENT, id=id)

    def system(self, id: str) -> System | None:
        """The system of that id, active or revoked."""
        return self._one(System, _SYSTEM, id=id)

    def purposes(self) -> tuple[Purpose, ...]:
        """Every purpose, by id."""
        return decode_all(Purpose, self._rows(_PURPOSES, {}))

    def departments_below(self, id: str) -> tuple[str, ...]:
        """Ids of the departments below one in the tree, itself left out."""
        return tuple(row[0] for row in self._rows(_BELOW, {"id": id}) if row[0] != id)

    def officer(self, id: str) -> Officer | None:
        """The officer of that id, active or dismissed."""
        return self._one(Officer, _OFFICER, id=id)

    def officer_secret(self, id: str) -> str | None:
        """The argon2 hash of a local account's password, or None where the officer has none."""
        rows = self._rows(_OFFICER_SECRET, {"id": id})
        return rows[0][0] if rows else None

    def session(self, id: str) -> Session | None:
        """The session of that id, also one that has ended; one that ended a day ago is forgotten."""
        rows = self._rows(_SESSION, {"id": id})
        return session_of(rows[0]) if rows else None

    def sessions_of(self, officer: str, now_unix: int) -> tuple[Session, ...]:
        """An officer's sessions whose time is not over, newest first; at most a hundred."""
        return tuple(map(session_of, self._rows(_SESSIONS_OF, {"officer": officer, "now": now_unix})))

    def enrolment(self, officer: str) -> Enrolment | None:
        """The code that was asked for, or given, for an officer to set a password by; also one whose time is over."""
        return self._one(Enrolment, _ENROLMENT, id=officer)

    def account_events(self, officer: str) -> tuple[AccountEvent, ...]:
        """What was done about an officer's account, newest first; at most a hundred."""
        return decode_all(AccountEvent, self._rows(_ACCOUNT_EVENTS, {"officer": officer}))

    def provider_officer(self, issuer: str, subject: str) -> str | None:
        """The officer whom a person at an OpenID provider has signed in as before."""
        rows = self._rows(_PROVIDER_OFFICER, {"issuer": issuer, "subject": subject})
        return str(rows[0][0]) if rows else None

    def provider_subject(self, issuer: str, officer: str) -> str | None:
        """The person at an OpenID provider who has signed in as an officer before."""
        rows = self._rows(_PROVIDER_SUBJECT, {"issuer": issuer, "officer": officer})
        return str(rows[0][0]) if rows else None

    def provider_session(self, session: str) -> ProviderSession | None:
        """What the OpenID provider gave with a session; None of one that was begun otherwise."""
        rows = self._rows(_PROVIDER_SESSION, {"id": session})
        return ProviderSession(*rows[0]) if rows else None

    def sessions_by_sid(self, issuer: str, sid: str) -> tuple[str, ...]:
        """The sessions that an OpenID provider calls `sid`."""
        return tuple(str(row[0]) for row in self._rows(_SESSIONS_BY_SID, {"issuer": issuer, "sid": sid}))

    def authenticator(self, officer: str) -> Authenticator | None:
        """The second factor of an officer's account, also one that is not confirmed; None where there is none."""
        rows = self._rows(_AUTHENTICATOR, {"id": officer})
        return Authenticator(rows[0].officer, bool(rows[0].confirmed), rows[0].sealed) if rows else None

    def dataset(self, id: str) -> Dataset | None:
        """The released version of the entry: the only one that is enforced (Decree 809 Art. 16, 17)."""
        return self._one(Dataset, _RELEASED, id=id)

    def dataset_versions(self, id: str) -> tuple[Dataset, ...]:
        """Every version of the entry, oldest first."""
        return decode_all(Dataset, self._rows(_DATASET_VERSIONS, {"id": id}))

    def entry_owner(self, id: str) -> str | None:
        """The supply department that answers for the entry, or None where there is no such entry.

        That of the released version; of a withdrawn entry, that of the version that was in force last. A submission
        that nobody has examined makes nobody the owner, but of an entry that was never in force: there it is the
        first who submitted it.
        """
        versions = self.dataset_versions(id)
        in_force = [entry for entry in versions if entry.state in _WAS_IN_FORCE]
        released = [entry for entry in in_force if entry.state is EntryState.RELEASED]
        submitted = [entry for entry in versions if entry.state is EntryState.SUBMITTED]
        for found in (released[-1:], in_force[-1:], submitted[:1], versions[-1:]):
            if found:
                return found[0].supplier
        return None

    def entry_owners(self, id: str) -> list[str]:
        """The departments that have answered for an entry, first to last."""
        in_force = (entry.supplier for entry in self.dataset_versions(id) if entry.state in _WAS_IN_FORCE)
        return list(dict.fromkeys(in_force))

    def interface(self, supplier: str, id: str) -> Interface | None:
        """The active interface that is reached by that supplier and id: also by those it had before it was moved."""
        found = self.any_interface(supplier, id)
        for _ in range(MAX_MOVES):
            if found is None or found.active or found.moved_to is None:
                break
            found = self.any_interface(*found.moved_to.split("/", 1))
        return found if found is not None and found.active else None

    def heir(self, department: str) -> str:
        """Who answers for a department now: itself, or what it became."""
        for _ in range(MAX_MOVES):
            found = self.department(department)
            if found is None or found.succeeded_by is None:
                break
            department = found.succeeded_by
        return department

    def any_interface(self, supplier: str, id: str) -> Interface | None:
        """The interface of that supplier and id, active or withdrawn."""
        return self._one(Interface, _INTERFACE, supplier=supplier, id=id)

    def interfaces_of(self, dataset: str) -> tuple[Interface, ...]:
        """The dataset's active interfaces."""
        return decode_all(Interface, self._rows(_INTERFACES_OF, {"dataset": dataset}))

    def grant(self, id: str, version: int | None = None) -> Grant | None:
        """The newest version of the grant, or the version asked for."""
        newest = self._one(Grant, _GRANT, id=id)
        if version is None or newest is None or newest.version == version:
            return newest
        return next((grant for grant in self.grant_history(id) if grant.version == version), None)

    def grant_history(self, id: str) -> tuple[Grant, ...]:
        """The superseded versions of the grant, oldest first."""
        return decode_all(Grant, self._rows(_GRANT_VERSIONS, {"id": id}))

    def order(self, id: str) -> Order | None:
        """The order of that id, in force or lifted."""
        return self._one(Order, _ORDER, id=id)

    def legacy_key(self, contract: str, id: str) -> LegacyKey | None:
        """The key that a caller names by `id` under `contract`, active or withdrawn."""
        rows = self._rows(_LEGACY_KEY, {"contract": contract, "id": id})
        return legacy_key_of(rows[0]) if rows else None

    def legacy_keys(self, system: str) -> tuple[LegacyKey, ...]:
        """A system's keys."""
        return tuple(map(legacy_key_of, self._rows(_LEGACY_KEYS_OF, {"system": system})))

    def disposal(self, grant: str) -> Disposal | None:
        """The disposal duty of a closed grant."""
        rows = self._rows(_DISPOSAL, {"id": grant})
        return disposal_of(rows[0]) if rows else None

    def answer_of(self, key: str, officer: str) -> Answer | None:
        """What the officer's act under that `Idempotency-Key` answered."""
        rows = self._rows(_ANSWER, {"key": key, "officer": officer})
        return Answer(rows[0][0], rows[0][1], bytes(rows[0][2])) if rows else None

    def sequence(self) -> int:
        """The change feed's position: 0 before the first change."""
        return int(self._rows(_SEQUENCE, {})[0][0])

    def slice_state(self, department: str, dataset: str) -> SliceState:
        """Everything the policies need for one department and one dataset, as of one moment."""
        read = _SLICE_READING.decode(self._text(SLICE, {"department": department, "dataset": dataset}))
        lineage = [one for _, one in sorted(read.lineage, key=_place)]
        return SliceState(
            sequence=read.sequence,
            department=lineage[0] if lineage else None,
            ancestors=tuple(lineage[1:]),
            supplier=read.supplier,
            dataset=read.dataset,
            interfaces=tuple(sorted(read.interfaces, key=_key)),
            grants=tuple([one for _, one in sorted(read.grants, key=_place)]),
            orders=tuple(sorted(read.orders, key=_id)),
        )
