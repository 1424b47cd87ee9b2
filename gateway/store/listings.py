"""Lists by page: filters, a stable order, and a cursor that names the last row seen.

A page of grants is chosen from an index alone, one run of it a state (and a supplier, in a small region), each cut to
the page's size before they are merged: so a page costs the same with a thousand grants and with a million.
"""

# ruff: noqa: A002 - `id` and `filter` are the domain's names for them

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Executable,
    Select,
    Table,
    TextClause,
    and_,
    false,
    or_,
    select,
    text,
    tuple_,
    union_all,
)

from gateway.domain.directory import Dataset, Department, Interface, System
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, GrantState
from gateway.domain.officers import Officer
from gateway.domain.orders import Order, Reach
from gateway.store import schema
from gateway.store.readings import Rows, S, decode, decode_all
from gateway.store.transaction import DAY_SECONDS
from gateway.store.values import (
    MAX_PAGE,
    Concerned,
    DatasetFilter,
    GrantFilter,
    OrderFilter,
    Page,
    decode_cursor,
    encode_cursor,
)

Condition = ColumnElement[bool] | TextClause

FEW_SUPPLIERS = 40
"""Up to how many suppliers of a region are read run by run; a larger region is soon met by reading on."""

_LISTED_STATES = tuple(state for state in GrantState if state is not GrantState.SUPERSEDED)


class Listings:
    """Lists of everything the store holds. A subclass says where rows come from."""

    def _rows(self, statement: Executable, parameters: Mapping[str, Any]) -> Rows:
        raise NotImplementedError

    def list_grants(
        self, filter: GrantFilter | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[Grant]:
        """The newest versions of grants, in the order of issue; by day of expiry where the filter narrows by time."""
        narrow = filter or GrantFilter()
        table = schema.grants
        key = _time_key(narrow) if narrow.is_by_time else (table.c.number,)
        place = decode_cursor(cursor, (int,) * len(key)) if cursor is not None else None
        rows_wanted = rows_bounded(limit) + 1
        runs = [
            select(select(*key).where(*run, *_after(key, place)).order_by(*key).limit(rows_wanted).subquery())
            for run in self._runs(narrow)
        ]
        if not runs:
            return Page((), None)
        chosen = union_all(*runs).subquery()
        order = [chosen.c[part.name] for part in key]
        merged = select(chosen).order_by(*order).limit(rows_wanted).subquery()
        places = [merged.c[part.name] for part in key]
        statement = (
            select(table.c.body, *places)
            .select_from(merged.join(table, table.c.number == merged.c.number))
            .order_by(*places)
        )
        return page_of(Grant, self._rows(statement, {}), limit)

    def _runs(self, narrow: GrantFilter) -> list[list[Condition]]:
        """The conditions of each run of an index that together hold the filter's matches."""
        table = schema.grants
        conditions = _grant_conditions(narrow)
        states = [state.value for state in narrow.states or _LISTED_STATES]
        if narrow.dataset is not None or narrow.disputed:
            # Few rows by another index: the state must not tempt the planner into reading its own.
            return [[*conditions, table.c.state.concat("").in_(states)]]
        heads: list[list[Condition]] = [[]]
        if narrow.region and narrow.supplier is None and narrow.department is None:
            of_region = departments_of(narrow.region).limit(FEW_SUPPLIERS + 1)
            suppliers = [row[0] for row in self._rows(of_region, {})]
            if len(suppliers) <= FEW_SUPPLIERS:
                heads = [[table.c.supplier == supplier] for supplier in suppliers]
            else:
                conditions.append(suppliers_of(table.c.supplier, narrow.region))
        elif narrow.region:
            conditions.append(suppliers_of(table.c.supplier, narrow.region))
        narrowed = heads != [[]] or narrow.department is not None or narrow.supplier is not None
        # Few grants are yet to begin: their own index serves, and the state must not tempt the planner into its own.
        by_state = narrow.is_by_time and narrow.begins_after is None
        return [
            [*head, *_in_state(state, by_index=narrowed or by_state), *conditions] for head in heads for state in states
        ]

    def list_departments(self, cursor: str | None = None, limit: int = 100, *, region: str = "") -> Page[Department]:
        """Departments by id, of a region if one is named (a prefix of the division code)."""
        table = schema.departments
        statement = select(table.c.body, table.c.id)
        if region:
            statement = statement.where(table.c.region.startswith(region, autoescape=True))
        return self._by_id(Department, statement, table, cursor, limit)

    def list_systems(
        self,
        cursor: str | None = None,
        limit: int = 100,
        *,
        department: str | None = None,
        concerned: Concerned | None = None,
    ) -> Page[System]:
        """Systems by id, active and revoked; of the departments that are concerned."""
        table = schema.systems
        statement = select(table.c.body, table.c.id)
        if department is not None:
            statement = statement.where(table.c.department == department)
        if concerned is not None:
            statement = statement.where(_among(table.c.department, concerned))
        return self._by_id(System, statement, table, cursor, limit)

    def list_officers(
        self, cursor: str | None = None, limit: int = 100, *, department: str | None = None
    ) -> Page[Officer]:
        """Officers by id, active and dismissed."""
        table = schema.officers
        statement = select(table.c.body, table.c.id)
        if department is not None:
            statement = statement.where(table.c.department == department)
        return self._by_id(Officer, statement, table, cursor, limit)

    def list_orders(
        self,
        filter: OrderFilter | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Order]:
        """Orders by id."""
        narrow = filter or OrderFilter()
        table = schema.orders
        statement = select(table.c.body, table.c.id)
        if narrow.concerned is not None:
            statement = statement.where(_order_concerns(narrow.concerned))
        if narrow.in_force is not None:
            statement = statement.where(table.c.in_force == int(narrow.in_force))
        if narrow.reach is not None:
            statement = statement.where(table.c.reach == narrow.reach.value)
        if narrow.target is not None:
            statement = statement.where(table.c.target == narrow.target)
        if narrow.supplier is not None:
            statement = statement.where(table.c.supplier == narrow.supplier)
        return self._by_id(Order, statement, table, cursor, limit)

    def list_datasets(
        self,
        filter: DatasetFilter | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Dataset]:
        """Versions of entries in one state (released, unless the filter says otherwise), by id and version."""
        narrow = filter or DatasetFilter()
        table = schema.datasets
        conditions: list[Condition] = [table.c.state == narrow.state.value]
        if narrow.supplier is not None:
            conditions.append(table.c.supplier == narrow.supplier)
        if narrow.sharing_attribute is not None:
            conditions.append(table.c.sharing_attribute == narrow.sharing_attribute.value)
        if narrow.words:
            conditions.append(
                or_(
                    table.c.name.contains(narrow.words, autoescape=True),
                    table.c.code.contains(narrow.words, autoescape=True),
                )
            )
        if cursor is not None:
            id_, version = decode_cursor(cursor, (str, int))
            conditions.append(or_(table.c.id > id_, and_(table.c.id == id_, table.c.version > version)))
        chosen = (
            select(table.c.id, table.c.version)
            .where(*conditions)
            .order_by(table.c.id, table.c.version)
            .limit(rows_bounded(limit) + 1)
            .subquery()
        )
        statement = (
            select(table.c.body, chosen.c.id, chosen.c.version)
            .select_from(chosen.join(table, and_(table.c.id == chosen.c.id, table.c.version == chosen.c.version)))
            .order_by(chosen.c.id, chosen.c.version)
        )
        return page_of(Dataset, self._rows(statement, {}), limit)

    def list_interfaces(
        self,
        cursor: str | None = None,
        limit: int = 100,
        *,
        supplier: str | None = None,
        dataset: str | None = None,
        active: bool | None = True,
    ) -> Page[Interface]:
        """Interfaces by supplier and id; only active ones unless `active` says otherwise (None is both)."""
        table = schema.interfaces
        conditions: list[Condition] = []
        if supplier is not None:
            conditions.append(table.c.supplier == supplier)
        if dataset is not None:
            conditions.append(table.c.dataset == dataset)
        if active is not None:
            conditions.append(table.c.active == int(active))
        if cursor is not None:
            conditions.append(tuple_(table.c.supplier, table.c.id) > tuple_(*decode_cursor(cursor, (str, str))))
        statement = (
            select(table.c.body, table.c.supplier, table.c.id)
            .where(*conditions)
            .order_by(table.c.supplier, table.c.id)
            .limit(rows_bounded(limit) + 1)
        )
        return page_of(Interface, self._rows(statement, {}), limit)

    def _by_id(self, kind: type[S], statement: Select[Any], table: Table, cursor: str | None, limit: int) -> Page[S]:
        if cursor is not None:
            statement = statement.where(table.c.id > decode_cursor(cursor, (str,))[0])
        rows = self._rows(statement.order_by(table.c.id).limit(rows_bounded(limit) + 1), {})
        return page_of(kind, rows, limit)


def _among(column: ColumnElement[Any], concerned: Concerned) -> ColumnElement[bool]:
    """Whether a department is one of those that are concerned."""
    parts: list[ColumnElement[bool]] = []
    if concerned.region is not None:
        parts.append(column.in_(departments_of(concerned.region)) if concerned.region else column.is_not(None))
    if concerned.department is not None:
        parts.append(column == concerned.department)
    return or_(false(), *parts)


def _order_concerns(concerned: Concerned) -> ColumnElement[bool]:
    """Whether an order stops data of, or for, one of the departments that are concerned."""
    order, grant, system, entry = schema.orders, schema.grants, schema.systems, schema.datasets

    def of(reach: Reach, ids: Select[Any]) -> ColumnElement[bool]:
        return and_(order.c.reach == reach.value, order.c.target.in_(ids))

    return or_(
        _among(order.c.supplier, concerned),
        and_(order.c.reach.in_([Reach.DEPARTMENT.value, Reach.SUPPLIER.value]), _among(order.c.target, concerned)),
        of(
            Reach.GRANT,
            select(grant.c.id).where(or_(_among(grant.c.department, concerned), _among(grant.c.supplier, concerned))),
        ),
        of(Reach.SYSTEM, select(system.c.id).where(_among(system.c.department, concerned))),
        of(Reach.DATASET, select(entry.c.id).where(_among(entry.c.supplier, concerned))),
    )


def _grant_conditions(narrow: GrantFilter) -> list[Condition]:
    table = schema.grants
    conditions: list[Condition] = []
    if narrow.department is not None:
        conditions.append(table.c.department == narrow.department)
    if narrow.dataset is not None:
        conditions.append(table.c.dataset == narrow.dataset)
    if narrow.supplier is not None:
        conditions.append(table.c.supplier == narrow.supplier)
    wide = narrow.is_wide and narrow.begins_after is None
    if narrow.expires_after is not None:
        after = int(narrow.expires_after.timestamp())
        conditions.append(table.c.valid_until >= after)
        if wide:
            conditions.append(table.c.expires_day >= after // DAY_SECONDS)
    if narrow.expires_before is not None:
        before = int(narrow.expires_before.timestamp())
        conditions.append(table.c.valid_until < before)
        if wide:
            conditions.append(table.c.expires_day <= before // DAY_SECONDS)
    if narrow.begins_after is not None:
        conditions.append(table.c.valid_from > int(narrow.begins_after.timestamp()))
    if narrow.begins_before is not None:
        conditions.append(table.c.valid_from <= int(narrow.begins_before.timestamp()))
    if narrow.disputed is not None:
        # The literal makes the partial index on disputed grants eligible.
        conditions.append(text("grants.disputed = 1" if narrow.disputed else "grants.disputed = 0"))
    return conditions


def _in_state(state: str, *, by_index: bool) -> list[Condition]:
    """In `state`, by an index that begins with it or, for the many that are issued, by reading on in the table.

    The literal makes the partial index on grants that are not issued eligible; the concatenation keeps the planner
    from sorting all issued grants of the expiry index.
    """
    column = schema.grants.c.state
    if state != GrantState.ISSUED.value:
        return [column == state, text("grants.state <> 'issued'")]
    return [column == state if by_index else column.concat("") == state]


def _time_key(narrow: GrantFilter) -> tuple[ColumnElement[int], ...]:
    """What pages by time are ordered by: the columns of the index that serves them, or of a narrower one."""
    table = schema.grants
    if narrow.is_wide and narrow.begins_after is not None:
        return table.c.valid_from, table.c.number
    if narrow.is_wide:
        return table.c.expires_day, table.c.number
    return (table.c.valid_until // DAY_SECONDS).label("expires_day"), table.c.number


def suppliers_of(column: ColumnElement[Any], region: str) -> ColumnElement[bool]:
    """Supplied in a region; the concatenation keeps the planner from gathering and sorting all that a supplier has."""
    return column.concat("").in_(departments_of(region))


def departments_of(region: str) -> Select[Any]:
    """The ids of the departments of a region."""
    table = schema.departments
    return (
        select(table.c.id)
        .where(table.c.region.startswith(region, autoescape=True))
        .order_by(table.c.region, table.c.id)
    )


def _after(key: Sequence[ColumnElement[int]], place: Sequence[int] | None) -> list[Condition]:
    if place is None:
        return []
    return [tuple_(*key) > tuple_(*place) if len(key) > 1 else key[0] > place[0]]


def rows_bounded(limit: int) -> int:
    """`limit`, if a page may hold so many rows; raises `invalid-input`."""
    if not 1 <= limit <= MAX_PAGE:
        fault = f"a page holds 1 to {MAX_PAGE} rows, not {limit}"
        raise GatewayError("invalid-input", fault, faults=[{"field": "limit", "fault": fault}])
    return limit


def page_of(kind: type[S], rows: Rows, limit: int) -> Page[S]:
    """The page of rows read as (body, *sort key), one more than `limit` where another page follows."""
    if len(rows) <= limit:
        return Page(decode_all(kind, rows), None)
    return Page(
        tuple(decode(kind, row[0]) for row in rows[:limit]),
        encode_cursor(tuple(rows[limit - 1])[1:]),
    )
