"""Figures for supervision (Decree 809 Art. 38): what stands, what runs out, what is overdue, and with whom.

Every figure is one counting query along an index; a narrowing by supplier or demand department is optional.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import ColumnElement, Executable, Table, TextClause, func, select, text

from gateway.domain.grants import GrantState
from gateway.domain.orders import Order, OrderKind
from gateway.store import schema
from gateway.store.readings import Rows, decode_all, disposal_of
from gateway.store.transaction import DAY_SECONDS
from gateway.store.values import Disposal

CHINA = ZoneInfo("Asia/Shanghai")
"""Days of grants, duties and quotas are days of China Standard Time."""


class Figures(msgspec.Struct, frozen=True):
    """Figures of one moment.

    Args:
        at: the moment.
        grants: state to number of grants (their newest versions); superseded versions are not counted.
        active: issued grants that hold now.
        not_yet_valid: issued grants that hold later.
        expired: issued grants that held earlier.
        expiring: issued grants that hold now and no longer in `within_days` days.
        within_days: what `expiring` looks ahead.
        disputed: grants with an open dispute.
        orders_in_force: kind to number of orders.
        rectification_overdue: suspensions in force whose date of rectification has passed (Art. 27 ¶2).
        report_overdue: emergency stops, in force or lifted, whose report is overdue (Art. 35).
        disposals_open: disposal duties not yet fulfilled (Art. 27 ¶1).
        disposals_overdue: those of them whose last day has passed.
    """

    at: datetime
    grants: dict[str, int]
    active: int
    not_yet_valid: int
    expired: int
    expiring: int
    within_days: int
    disputed: int
    orders_in_force: dict[str, int]
    rectification_overdue: int
    report_overdue: int
    disposals_open: int
    disposals_overdue: int


class Supervision:
    """Figures and the duties behind them. A subclass says where rows come from."""

    def _rows(self, statement: Executable, parameters: Mapping[str, Any]) -> Rows:
        raise NotImplementedError

    def figures(
        self, at: datetime, *, within_days: int = 30, supplier: str | None = None, department: str | None = None
    ) -> Figures:
        """The figures as of `at`, for one supplier's data or one demand department's grants if named."""
        now = int(at.timestamp())
        table = schema.grants
        own = _narrowed(table, supplier, department)
        wide = supplier is None and department is None
        issued = (*own, table.c.state == GrantState.ISSUED.value)
        by_state = {
            row[0]: int(row[1])
            for row in self._rows(select(table.c.state, func.count()).where(*own).group_by(table.c.state), {})
        }
        ended = self._count(table, *issued, *_days(wide, None, now), table.c.valid_until <= now)
        later = self._count(table, *issued, table.c.valid_until > now, table.c.valid_from > now)
        soon = int((at + timedelta(days=within_days)).timestamp())
        expiring = (table.c.valid_until > now, table.c.valid_until <= soon, table.c.valid_from <= now)
        orders = self._orders_in_force(supplier, department)
        today = at.astimezone(CHINA).date()
        open_ = (*_narrowed(schema.disposals, supplier, department), schema.disposals.c.destroyed_record.is_(None))
        return Figures(
            at=at,
            grants={
                state.value: by_state.get(state.value, 0) for state in GrantState if state is not GrantState.SUPERSEDED
            },
            active=by_state.get(GrantState.ISSUED.value, 0) - ended - later,
            not_yet_valid=later,
            expired=ended,
            expiring=self._count(table, *issued, *_days(wide, now, soon), *expiring),
            within_days=within_days,
            disputed=self._count(table, *own, text("grants.disputed = 1")),
            orders_in_force={kind.value: sum(order.kind is kind for order in orders) for kind in OrderKind},
            rectification_overdue=sum(is_rectification_overdue(order, today) for order in orders),
            report_overdue=len(self.overdue_reports(at, supplier=supplier, department=department)),
            disposals_open=self._count(schema.disposals, *open_),
            disposals_overdue=self._count(schema.disposals, *open_, schema.disposals.c.due_on < today.isoformat()),
        )

    def overdue_rectifications(
        self, today: date, *, supplier: str | None = None, department: str | None = None
    ) -> tuple[Order, ...]:
        """Suspensions in force whose date of rectification lies before `today`: each may become a termination."""
        orders = self._orders_in_force(supplier, department)
        return tuple(order for order in orders if is_rectification_overdue(order, today))

    def open_rectifications(self, department: str) -> tuple[Order, ...]:
        """Suspensions in force of a demand department that set a date for rectification (Art. 27 ¶2)."""
        return tuple(order for order in self._orders_in_force(None, department) if order.rectify_by is not None)

    def overdue_reports(
        self, at: datetime, *, supplier: str | None = None, department: str | None = None
    ) -> tuple[Order, ...]:
        """Emergency stops whose report was due before `at` and has not come: lifting does not end that duty."""
        emergency = schema.orders.c.kind == OrderKind.EMERGENCY.value
        orders = self._orders(emergency, supplier, department)
        return tuple(order for order in orders if order.is_report_overdue(at))

    def open_disposals(
        self, *, due_before: date | None = None, supplier: str | None = None, department: str | None = None
    ) -> tuple[Disposal, ...]:
        """Disposal duties not yet fulfilled, the earliest due first."""
        table = schema.disposals
        conditions = [*_narrowed(table, supplier, department), table.c.destroyed_record.is_(None)]
        if due_before is not None:
            conditions.append(table.c.due_on < due_before.isoformat())
        rows = self._rows(select(table).where(*conditions).order_by(table.c.due_on, table.c.grant_id), {})
        return tuple(map(disposal_of, rows))

    def destructions(self, *, until: date) -> tuple[tuple[str, date], ...]:
        """Each grant whose data was destroyed on the day `until` or before, and that day."""
        table = schema.disposals
        columns = select(table.c.grant_id, table.c.destroyed_on)
        rows = self._rows(
            columns.where(table.c.destroyed_record.is_not(None), table.c.destroyed_on <= until.isoformat()), {}
        )
        return tuple((row[0], date.fromisoformat(row[1])) for row in rows)

    def _orders_in_force(self, supplier: str | None, department: str | None) -> tuple[Order, ...]:
        return self._orders(schema.orders.c.in_force == 1, supplier, department)

    def _orders(self, which: ColumnElement[bool], supplier: str | None, department: str | None) -> tuple[Order, ...]:
        """Orders, narrowed by what a grant's order is about or by the order's own supplier and target.

        One that stops a system or a department for every supplier counts with that department, as if it were its own
        supplier's: so the departments of a region together have all orders of the region.
        """
        orders, grants = schema.orders, schema.grants
        conditions = [which]
        if supplier is not None:
            entries = select(schema.datasets.c.id).where(
                schema.datasets.c.supplier == supplier, schema.datasets.c.state == "released"
            )
            conditions.append(
                (orders.c.supplier == supplier)
                | ((orders.c.reach == "supplier") & (orders.c.target == supplier))
                | ((orders.c.reach == "dataset") & orders.c.target.in_(entries))
                | ((orders.c.reach == "grant") & orders.c.target.in_(_ids(grants, grants.c.supplier == supplier)))
                | (orders.c.supplier.is_(None) & _stops_all_of(supplier))
            )
        if department is not None:
            conditions.append(
                _stops_all_of(department)
                | ((orders.c.reach == "grant") & orders.c.target.in_(_ids(grants, grants.c.department == department)))
            )
        return decode_all(Order, self._rows(select(orders.c.body).where(*conditions).order_by(orders.c.id), {}))

    def _count(self, table: Table, *conditions: ColumnElement[bool] | TextClause) -> int:
        return int(self._rows(select(func.count()).select_from(table).where(*conditions), {})[0][0])


def _stops_all_of(department: str) -> ColumnElement[bool]:
    """Orders that reach a demand department or one of its systems."""
    orders, systems = schema.orders, schema.systems
    return ((orders.c.reach == "department") & (orders.c.target == department)) | (
        (orders.c.reach == "system") & orders.c.target.in_(_ids(systems, systems.c.department == department))
    )


def is_rectification_overdue(order: Order, today: date) -> bool:
    """Whether a suspension in force was to be rectified before `today` (Decree 809 Art. 27 ¶2)."""
    return order.is_in_force and order.rectify_by is not None and order.rectify_by < today


def _days(wide: bool, first: int | None, last: int) -> list[ColumnElement[bool]]:
    """Bounds on the expiry index where nothing else narrows; a supplier's or department's own index serves better."""
    day = schema.grants.c.expires_day
    if not wide:
        return []
    return [day <= last // DAY_SECONDS] if first is None else [day.between(first // DAY_SECONDS, last // DAY_SECONDS)]


def _narrowed(table: Table, supplier: str | None, department: str | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if supplier is not None:
        conditions.append(table.c.supplier == supplier)
    if department is not None:
        conditions.append(table.c.department == department)
    return conditions


def _ids(table: Table, condition: ColumnElement[bool]) -> Any:
    return select(table.c.id).where(condition)
