"""One write transaction: grants, orders and duties, and the changes that the workers hear of.

Every method that touches what a worker may hold appends its `Change` itself. The feed's one row is locked before
anything else is done and the sequence is counted up under that lock, so on both databases the order of the feed is
the order of the commits, and a rolled-back transaction leaves no gap.
"""

# ruff: noqa: A002 - `id` and `filter` are the domain's names for them

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Executable,
    Select,
    Table,
    Text,
    TextClause,
    any_,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    update,
)

from gateway.domain.changes import Change, ChangeKind
from gateway.domain.conditions import narrows
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, GrantState
from gateway.domain.orders import Order, Reach
from gateway.domain.proposals import Proposal
from gateway.store import schema
from gateway.store.proposals import Proposals, proposal_columns
from gateway.store.readings import Readings, Rows
from gateway.store.values import Disposal, etag

S = TypeVar("S", bound=msgspec.Struct)

_POSITION = text("SELECT sequence FROM feed WHERE id = 1")
_LOCK_POSITION = text("SELECT sequence FROM feed WHERE id = 1 FOR UPDATE")

DAY_SECONDS = 86_400

ANSWER_SECONDS = 24 * 3600
"""How long an answer is remembered under its `Idempotency-Key`."""


class WriteBase(Readings, Proposals):
    """The transaction's connection, its changes, and writing with optimistic concurrency.

    Args:
        connection: in a transaction.
        now_unix: the transaction's time.
        lock: whether the database needs the feed's row locked by name (PostgreSQL).
    """

    def __init__(self, connection: Connection, now_unix: int, *, lock: bool) -> None:
        self._connection = connection
        self._now_unix = now_unix
        self._sequence = int(connection.execute(_LOCK_POSITION if lock else _POSITION).scalar_one())
        self.began_at = self._sequence
        """The feed's position before this transaction: the same as after another one if nobody wrote in between."""
        self.changes: list[Change] = []
        """The changes of this transaction, in order; committed once the `with` block has ended."""
        self._worded: list[tuple[str, str, str]] = []
        self._at_end: list[Callable[[], None]] = []

    def _rows(self, statement: Executable, parameters: Mapping[str, Any]) -> Rows:
        return self._connection.execute(statement, parameters).all()

    def _text(self, statement: Mapping[str, TextClause], parameters: Mapping[str, Any]) -> str:
        found: str = self._connection.execute(statement[self._connection.dialect.name], parameters).scalar_one()
        return found

    def _among(self, statement: Select[Any], column: ColumnElement[str], ids: Iterable[str]) -> Rows:
        """Rows of `statement` whose `column` is one of any number of `ids`, passed as one parameter."""
        wanted = sorted(set(ids))
        if self._connection.dialect.name == "sqlite":
            values = func.json_each(msgspec.json.encode(wanted).decode()).table_valued("value")
            return self._rows(statement.where(column.in_(select(values.c.value))), {})
        return self._rows(statement.where(column == any_(literal(wanted, ARRAY(Text)))), {})

    def change(
        self,
        kind: ChangeKind,
        subject: str,
        *,
        department: str | None = None,
        dataset: str | None = None,
        system: str | None = None,
        supplier: str | None = None,
        grant: str | None = None,
        withdraws: bool = False,
    ) -> Change:
        """Append one change to the feed; the other arguments are those of `Change`."""
        self._sequence += 1
        change = Change(self._sequence, kind, subject, department, dataset, system, supplier, grant, withdraws)
        self.changes.append(change)
        return change

    def seal(self) -> None:
        """Write what could not be written before, and the changes: the last thing before the commit."""
        for each in self._at_end:
            each()
        if not self.changes:
            return
        self._connection.execute(
            insert(schema.changes),
            [{"sequence": change.sequence, "body": encode(change)} for change in self.changes],
        )
        self._connection.execute(update(schema.feed).values(sequence=self._sequence))

    def _match(self, stored: msgspec.Struct | None, if_match: str | None) -> None:
        """Optimistic concurrency: refuse where what is stored is not what the officer has read.

        Raises:
            GatewayError: `precondition-failed`.
        """
        if if_match is not None and (stored is None or etag(stored) != if_match):
            raise GatewayError("precondition-failed", "it was changed since it was read")

    def _put(self, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        condition = [table.c[name] == value for name, value in key.items()]
        if not self._connection.execute(update(table).where(*condition).values(**values)).rowcount:
            self._connection.execute(insert(table).values(**key, **values))
        self._note_words(table, {**key, **values})

    def _insert(self, table: Table, values: Mapping[str, Any]) -> None:
        self._connection.execute(insert(table).values(**values))
        self._note_words(table, values)

    def _note_words(self, table: Table, values: Mapping[str, Any]) -> None:
        """Remember what a row of `schema.WORDED` holds, until it is known what was said in this transaction."""
        column = schema.WORDED.get(table.name)
        if column is not None:
            held = "\n".join(value for value in values.values() if isinstance(value, str))
            self._worded.append((f"{table.name}", str(values[column]), held))

    def _places_of(self, text: str) -> list[tuple[str, str]]:
        """Table and key of the rows that this transaction has written a text into."""
        forms = (text, msgspec.json.encode(text).decode()[1:-1])
        return sorted({(table, key) for table, key, held in self._worded if any(each in held for each in forms)})


class Transaction(WriteBase):
    """Writes of grants, orders, duties and remembered answers; `Store.transaction` adds the directory's."""

    def insert_grant(self, grant: Grant) -> Grant:
        """Store a new grant (version 1), or the next version of one, which supersedes the last.

        Raises:
            GatewayError: `precondition-failed` if `grant.version` is not the next one; `conflict` if a version names
                another department or dataset, its grant is terminated, closed or disposed of, or a new version would
                lift a suspension; `invalid-input` if
                the dataset is not released, or a time bears no zone.
        """
        entry = self.dataset(grant.dataset)
        if entry is None:
            raise _fault("dataset", f"`{grant.dataset}` is not a released dataset")
        if grant.valid_from.tzinfo is None or grant.valid_until.tzinfo is None:
            raise _fault("valid_until", "a time needs a zone")
        old = self.grant(grant.id)
        expected = 1 if old is None else old.version + 1
        if grant.version != expected:
            raise GatewayError("precondition-failed", f"the next version of grant `{grant.id}` is {expected}")
        values = grant_columns(grant, entry.supplier)
        if old is None:
            self._connection.execute(insert(schema.grants).values(**values))
        else:
            if (old.department, old.dataset) != (grant.department, grant.dataset):
                raise GatewayError("conflict", f"grant `{grant.id}` is for another department or dataset")
            if old.state in _ENDED:
                raise GatewayError("conflict", f"grant `{grant.id}` is {old.state.value}; issue a new one")
            if old.state is GrantState.SUSPENDED is not grant.state:
                raise GatewayError("conflict", f"grant `{grant.id}` is suspended; a new version does not lift that")
            superseded = msgspec.structs.replace(old, state=GrantState.SUPERSEDED)
            self._connection.execute(
                insert(schema.grant_versions).values(id=old.id, version=old.version, body=encode(superseded))
            )
            self._put(schema.grants, {"id": grant.id}, {k: v for k, v in values.items() if k != "id"})
        self._grant_changed(grant, entry.supplier, withdraws=old is not None and narrows(old, grant))
        return grant

    def set_grant_state(
        self,
        id: str,
        version_expected: int,
        state: GrantState,
        *,
        if_match: str | None = None,
    ) -> Grant:
        """Move the newest version of a grant to `state`; whether the act fits the present state is the caller's table.

        Raises:
            GatewayError: `not-found`; `precondition-failed` if the newest version is another, or not `if_match`.
        """
        old = self._newest(id, version_expected, if_match)
        new = msgspec.structs.replace(old, state=state)
        self._update_grant(new, {"state": state.value})
        self._grant_changed(new, self._supplier_of(id), withdraws=state is not GrantState.ISSUED)
        return new

    def set_disputed(
        self,
        id: str,
        disputed: bool,
        *,
        version_expected: int | None = None,
        if_match: str | None = None,
    ) -> Grant:
        """Open or settle a dispute on a grant (Decree 809 Art. 28); its state stays."""
        old = self._newest(id, version_expected, if_match)
        new = msgspec.structs.replace(old, disputed=disputed)
        self._update_grant(new, {"disputed": int(disputed)})
        self._grant_changed(new, self._supplier_of(id), withdraws=False)
        return new

    def _newest(self, id: str, version: int | None, if_match: str | None) -> Grant:
        old = self.grant(id)
        if old is None:
            raise GatewayError("not-found", f"there is no grant `{id}`")
        if version is not None and old.version != version:
            raise GatewayError("precondition-failed", f"the newest version of grant `{id}` is {old.version}")
        self._match(old, if_match)
        return old

    def _update_grant(self, grant: Grant, values: Mapping[str, Any]) -> None:
        self._connection.execute(
            update(schema.grants).where(schema.grants.c.id == grant.id).values(body=encode(grant), **values)
        )

    def _supplier_of(self, grant: str) -> str:
        rows = self._rows(text("SELECT supplier FROM grants WHERE id = :id"), {"id": grant})
        return str(rows[0][0])

    def _grant_changed(self, grant: Grant, supplier: str, *, withdraws: bool) -> None:
        self.change(
            ChangeKind.GRANT,
            grant.id,
            department=grant.department,
            dataset=grant.dataset,
            supplier=supplier,
            grant=grant.id,
            withdraws=withdraws,
        )

    def put_order(self, order: Order) -> Change:
        """Store an order, in force from the commit on.

        Raises:
            GatewayError: `conflict` if its id is taken; `not-found` if its target does not exist.
        """
        if self.order(order.id) is not None:
            raise GatewayError("conflict", f"there already is an order `{order.id}`")
        self._insert(schema.orders, {"id": order.id, **_order_columns(order)})
        return self._order_changed(order, withdraws=True)[0]

    def lift_order(self, id: str, by: str, at: datetime, reason: str, *, if_match: str | None = None) -> Order:
        """Lift an order: take its `forbid` away and nothing else.

        Raises:
            GatewayError: `not-found`; `conflict` if it is lifted already; `precondition-failed`.
        """
        old = self.order(id)
        if old is None:
            raise GatewayError("not-found", f"there is no order `{id}`")
        self._match(old, if_match)
        if not old.is_in_force:
            raise GatewayError("conflict", f"order `{id}` is lifted already")
        new = msgspec.structs.replace(old, lifted_by=by, lifted_at=at, lift_reason=reason)
        self._put(schema.orders, {"id": id}, _order_columns(new))
        self._order_changed(new, withdraws=False)
        return new

    def report_order(self, id: str, by: str, at: datetime, reference: str) -> Order:
        """Note that an emergency was reported (Decree 809 Art. 35); it forbids as before, so no worker hears of it.

        Raises:
            GatewayError: `not-found`; `conflict` if it owes no report, or was reported already.
        """
        old = self.order(id)
        if old is None:
            raise GatewayError("not-found", f"there is no order `{id}`")
        if old.report_due is None:
            raise GatewayError("conflict", f"order `{id}` is no emergency: it owes no report")
        if old.reported_at is not None:
            raise GatewayError("conflict", f"order `{id}` is reported already")
        new = msgspec.structs.replace(old, reported_by=by, reported_at=at, report=reference)
        self._put(schema.orders, {"id": id}, _order_columns(new))
        return new

    def _order_changed(self, order: Order, *, withdraws: bool) -> list[Change]:
        """Changes that reach as far as the order does: one, or one more for each department below that it stops."""
        department = dataset = system = grant = None
        supplier = order.supplier
        if order.reach is Reach.GRANT:
            held = self.grant(order.target)
            if held is not None:
                department, dataset, supplier = held.department, held.dataset, self._supplier_of(held.id)
                grant = None if order.stops_the_pair else held.id
        elif order.reach is Reach.SYSTEM:
            found = self.system(order.target)
            department, system = (found.department, found.id) if found else (None, None)
        elif order.reach is Reach.DEPARTMENT:
            department = order.target if self.department(order.target) else None
        elif order.reach is Reach.DATASET:
            dataset = order.target if self.dataset_versions(order.target) else None
        elif order.reach is Reach.SUPPLIER:
            supplier = order.target if self.department(order.target) else None
        if not (department or dataset or system or supplier):
            raise GatewayError("not-found", f"there is no {order.reach.value} `{order.target}`")
        below = self.departments_below(order.target) if order.reach is Reach.DEPARTMENT and order.subordinates else ()
        return [
            self.change(
                ChangeKind.ORDER,
                order.id,
                department=each,
                dataset=dataset,
                system=system,
                supplier=supplier,
                grant=grant,
                withdraws=withdraws,
            )
            for each in (department, *below)
        ]

    def open_disposal(self, disposal: Disposal) -> None:
        """Open the duty to dispose of what was drawn under a grant that is closed, or set it anew (Art. 27 ¶1)."""
        values = msgspec.to_builtins(disposal)
        key = {"grant_id": values.pop("grant")}
        self._put(schema.disposals, key, {**values, "provisional": int(disposal.provisional)})

    def record_disposal(self, grant: str, record: str, on: date) -> Disposal:
        """Fulfil a disposal duty by its destruction record.

        Raises:
            GatewayError: `not-found` if there is no such duty; `conflict` if it is fulfilled already.
        """
        duty = self.disposal(grant)
        if duty is None:
            raise GatewayError("not-found", f"there is no disposal duty for grant `{grant}`")
        if duty.destroyed_record is not None:
            raise GatewayError("conflict", f"the disposal for grant `{grant}` is recorded already")
        table = schema.disposals
        self._connection.execute(
            update(table).where(table.c.grant_id == grant).values(destroyed_record=record, destroyed_on=on.isoformat())
        )
        return msgspec.structs.replace(duty, destroyed_record=record, destroyed_on=on)

    def put_proposal(self, proposal: Proposal) -> None:
        """Store a grant on its way, new or after an act; no worker holds any."""
        self._put(schema.proposals, {"id": proposal.id}, proposal_columns(proposal))

    def remember_answer(self, key: str, officer: str, digest: str, status: int, body: bytes) -> None:
        """Remember what an act answered under its `Idempotency-Key`, for a day, in the act's own transaction."""
        table = schema.answers
        self._connection.execute(delete(table).where(table.c.officer == officer, table.c.key == key))
        values = {"key": key, "officer": officer, "digest": digest, "status": status, "content": body}
        self._connection.execute(insert(table).values(**values, expires=self._now_unix + ANSWER_SECONDS))


_ENDED = frozenset({GrantState.TERMINATED, GrantState.CLOSED, GrantState.DISPOSED})


def grant_columns(grant: Grant, supplier: str) -> dict[str, Any]:
    """The row of `grants` that holds a grant, without its number."""
    valid_until = int(grant.valid_until.timestamp())
    return {
        "id": grant.id,
        "version": grant.version,
        "department": grant.department,
        "dataset": grant.dataset,
        "supplier": supplier,
        "state": grant.state.value,
        "disputed": int(grant.disputed),
        "valid_from": int(grant.valid_from.timestamp()),
        "valid_until": valid_until,
        "expires_day": valid_until // DAY_SECONDS,
        "body": encode(grant),
    }


def _order_columns(order: Order) -> dict[str, Any]:
    rectify_by: date | None = order.rectify_by
    return {
        "kind": order.kind.value,
        "reach": order.reach.value,
        "target": order.target,
        "supplier": order.supplier,
        "in_force": int(order.is_in_force),
        "rectify_by": rectify_by.isoformat() if rectify_by else None,
        "body": encode(order),
    }


def encode(value: msgspec.Struct) -> str:
    """What a `body` column holds of a value."""
    return msgspec.json.encode(value).decode()


def _fault(field: str, fault: str) -> GatewayError:
    return GatewayError("invalid-input", fault, faults=[{"field": field, "fault": fault}])
