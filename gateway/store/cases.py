"""Cases of processes (`gateway.domain.processes`): by id, by page, by what is due; their history and attachments.

A page is read along one index from the newest on, so that it costs the same with a thousand cases and with a million.
"""

# ruff: noqa: A002 - `id` is the domain's name for it

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Executable, func, insert, literal_column, select, union_all

from gateway.domain.errors import GatewayError
from gateway.domain.processes.cases import Attachment, Case, Event, owing
from gateway.domain.processes.register import PROCESSES
from gateway.domain.processes.table import OWING, Party
from gateway.store import schema
from gateway.store.listings import FEW_SUPPLIERS, departments_of, page_of, rows_bounded, suppliers_of
from gateway.store.readings import Rows, decode, decode_all
from gateway.store.transaction import WriteBase, encode
from gateway.store.values import Page, decode_cursor

MAX_EVENTS = 1000
"""Steps, comments and attachments of one case."""


class CaseFilter(msgspec.Struct, frozen=True):
    """Which cases of a process to list; a field left out does not narrow.

    Args:
        state: where they stand.
        supplier: supply department.
        demand: demand department.
        region: prefix of the division code of the department that is overseen, without trailing zeros.
        grant: the grant that they are about, or are to become.
    """

    state: str | None = None
    supplier: str | None = None
    demand: str | None = None
    region: str | None = None
    grant: str | None = None


class Cases:
    """Reads of cases. A subclass says where rows come from."""

    def _rows(self, statement: Executable, parameters: Mapping[str, Any]) -> Rows:
        raise NotImplementedError

    def case(self, id: str, process: str) -> Case | None:
        """The case of that id, of that process."""
        table = schema.cases
        rows = self._rows(select(table.c.body).where(table.c.id == id, table.c.process == process), {})
        return decode(Case, rows[0][0]) if rows else None

    def case_events(self, id: str) -> tuple[Event, ...]:
        """What was done in a case, in order."""
        table = schema.case_events
        rows = self._rows(select(table.c.body).where(table.c.case_id == id).order_by(table.c.number), {})
        return decode_all(Event, rows)

    def case_files(self, id: str) -> tuple[Attachment, ...]:
        """The attachments of a case, in the order in which they came."""
        table = schema.case_files
        rows = self._rows(select(table.c.body).where(table.c.case_id == id).order_by(table.c.number), {})
        return decode_all(Attachment, rows)

    def case_file(self, id: str, digest: str) -> tuple[Attachment, bytes] | None:
        """An attachment with its content."""
        table = schema.case_files
        named = (table.c.case_id == id, table.c.digest == digest)
        rows = self._rows(select(table.c.body, table.c.content).where(*named), {})
        return (decode(Attachment, rows[0][0]), bytes(rows[0][1])) if rows else None

    def list_cases(self, process: str, narrow: CaseFilter, cursor: str | None = None, limit: int = 100) -> Page[Case]:
        """Cases of a process, the newest first."""
        table = schema.cases
        conditions: list[ColumnElement[bool]] = [table.c.process == process]
        for column, value in (
            (table.c.state, narrow.state),
            (table.c.supplier, narrow.supplier),
            (table.c.demand, narrow.demand),
            (table.c.grant_id, narrow.grant),
        ):
            if value is not None:
                conditions.append(column == value)
        if cursor is not None:
            conditions.append(table.c.number < decode_cursor(cursor, (int,))[0])
        wanted = rows_bounded(limit) + 1
        runs = [
            select(select(table.c.number).where(*run).order_by(table.c.number.desc()).limit(wanted).subquery())
            for run in self._case_runs(conditions, narrow)
        ]
        if not runs:
            return Page((), None)
        chosen = union_all(*runs).subquery()
        merged = select(chosen.c.number).order_by(chosen.c.number.desc()).limit(wanted).subquery()
        statement = (
            select(table.c.body, table.c.number)
            .select_from(merged.join(table, table.c.number == merged.c.number))
            .order_by(table.c.number.desc())
        )
        return page_of(Case, self._rows(statement, {}), limit)

    def _case_runs(self, conditions: list[ColumnElement[bool]], narrow: CaseFilter) -> list[list[ColumnElement[bool]]]:
        """The conditions of each run of an index that together hold the filter's matches.

        Of a small region, one for each of its departments; a larger one is soon met by reading on.
        """
        column = schema.cases.c.overseen
        if not narrow.region:
            return [conditions]
        if narrow.supplier is None and narrow.demand is None:
            rows = self._rows(departments_of(narrow.region).limit(FEW_SUPPLIERS + 1), {})
            if len(rows) <= FEW_SUPPLIERS:
                return [[column == row[0], *conditions] for row in rows]
        return [[*conditions, suppliers_of(column, narrow.region)]]

    def open_cases_of(self, grant: str, process: str) -> tuple[Case, ...]:
        """Cases of a process about a grant that have not ended."""
        table = schema.cases
        rows = self._rows(select(table.c.body).where(table.c.grant_id == grant, table.c.process == process), {})
        return tuple(each for each in decode_all(Case, rows) if not PROCESSES[process].state(each.state).is_end)

    def open_cases(self, **side: str) -> tuple[Case, ...]:
        """Cases that have not ended, of one side (`supplier=` or `demand=`), in the order of opening.

        A `process=` narrows them to one.
        """
        table = schema.cases
        mine = [table.c[name] == value for name, value in side.items()]
        waits = table.c.waits_supplier + table.c.waits_demand + table.c.waits_competent > 0
        rows = self._rows(select(table.c.body).where(*mine, waits).order_by(table.c.number), {})
        return decode_all(Case, rows)

    def count_cases(self, process: str, state: str) -> int:
        """How many cases of a process stand in a state."""
        table = schema.cases
        rows = self._rows(select(func.count()).where(table.c.process == process, table.c.state == state), {})
        return int(rows[0][0])

    def cases_waiting_for(
        self, party: Party, department: str | None, limit: int = 1000, *, region: str = ""
    ) -> tuple[Case, ...]:
        """Cases that wait for a department as supplier or as demand side, or for a competent one; first due first.

        Those without a date come last.
        """
        table = schema.cases
        # The literal makes the partial index of the party eligible.
        conditions: list[Any] = [literal_column(f"waits_{party.value}") == literal_column("1")]
        if party is not Party.COMPETENT:
            conditions.append(table.c[party.value] == department)
        if region:
            conditions.append(suppliers_of(table.c.overseen, region))
        order = (table.c.due_on.is_(None), table.c.due_on, table.c.number)
        rows = self._rows(select(table.c.body).where(*conditions).order_by(*order).limit(limit), {})
        return decode_all(Case, rows)

    def overdue_cases(self, today: date, limit: int = 1000, *, region: str = "") -> tuple[Case, ...]:
        """Cases that a region oversees in which what is due was due before `today`, the longest overdue first."""
        table = schema.cases
        late: list[ColumnElement[bool]] = [table.c.due_on.is_not(None), table.c.due_on < today.isoformat()]
        if region:
            late.append(suppliers_of(table.c.overseen, region))
        rows = self._rows(select(table.c.body).where(*late).order_by(table.c.due_on, table.c.number).limit(limit), {})
        return decode_all(Case, rows)


class CaseWrites(WriteBase, Cases):
    """Writes of cases; no worker holds any, so none is told."""

    def put_case(self, case: Case, event: Event) -> None:
        """Store a case, new or after a step, with what was done.

        Raises:
            GatewayError: `conflict` where as much was done in it as can be.
        """
        self._put(schema.cases, {"id": case.id}, _columns(case))
        self.put_case_event(event)

    def hand_over_case(self, case: Case, giver: str) -> None:
        """Store a case whose side, or end, a change of departments has changed: told in its history, by nobody."""
        before = self.case(case.id, case.process)
        assert before is not None
        if before.at is not None and before.at in (before.supplier, before.demand):
            case = msgspec.structs.replace(case, at=case.supplier if before.at == before.supplier else case.demand)
        number, at = self.next_event_number(case.id), datetime.fromtimestamp(self._now_unix, UTC)
        self.put_case(case, Event(case.id, number, "handed-over", "", giver, at, before=before.state, after=case.state))

    def next_event_number(self, id: str) -> int:
        """The number that the next event of a case bears."""
        table = schema.case_events
        rows = self._rows(select(func.max(table.c.number)).where(table.c.case_id == id), {})
        return int(rows[0][0] or 0) + 1

    def put_case_event(self, event: Event) -> None:
        """Store what was done in a case and leaves it as it is; raises as `put_case`."""
        if event.number > MAX_EVENTS:
            raise GatewayError("conflict", f"{MAX_EVENTS} things were done in `{event.case}`: open another one")
        self._insert(schema.case_events, {"case_id": event.case, "number": event.number, "body": encode(event)})

    def put_case_file(self, id: str, attachment: Attachment, content: bytes) -> None:
        """Store an attachment of a case."""
        number = len(self.case_files(id)) + 1
        body = encode(attachment)
        self._connection.execute(
            insert(schema.case_files).values(
                case_id=id, digest=attachment.digest, number=number, content=content, body=body
            )
        )


def _columns(case: Case) -> dict[str, Any]:
    waits = owing(PROCESSES[case.process], case)
    return {
        "process": case.process,
        "state": case.state,
        "supplier": case.supplier,
        "demand": case.demand,
        "dataset": case.dataset,
        "grant_id": case.grant,
        "overseen": case.overseen,
        **{f"waits_{party.value}": int(party in waits) for party in OWING},
        "due_on": case.due.on.isoformat() if case.due else None,
        "body": encode(case),
    }
