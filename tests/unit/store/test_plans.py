"""How SQLite reads what must cost the same at every size: along indexes, never by reading a table through."""

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Executable

from gateway.domain.grants import GrantState
from gateway.store import GrantFilter, Store
from tests.support.state import NOON, department


class Plans(Store):
    """A store that keeps the plan of each statement it executes."""

    seen: list[str]

    def _rows(self, statement: Executable, parameters: Any) -> Any:
        plans = []

        def explain(connection: Any) -> Any:
            compiled = statement.compile(connection, compile_kwargs={"literal_binds": not parameters})
            sql = str(compiled)
            for name in parameters:
                sql = re.sub(rf":{name}\b", "'x'", sql)
            sql = re.sub(r"\?", "'x'", sql)
            plans.extend(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}"))

        self.database.read(explain)
        self.seen += plans
        return super()._rows(statement, parameters)

    def _text(self, statement: Any, parameters: Any) -> str:
        self._rows(statement["sqlite"], parameters)
        return super()._text(statement, parameters)


@pytest.fixture
def plans(kept_sqlite: Store) -> Plans:
    found = Plans(kept_sqlite.database, lambda: 0.0)
    found.seen = []
    return found


def test_slice_is_read_along_indexes(plans: Plans) -> None:
    """The reading a decision waits for searches every table by key; only the one-row feed is read through."""
    plans.slice_state("civil-affairs", "household")
    tables = [line for line in plans.seen if re.match(r"(SCAN|SEARCH) (?!(up|entry|stops|CONSTANT)\b)", line)]
    assert [line for line in tables if line.startswith("SCAN") and not line.startswith("SCAN feed")] == []
    assert any("grants_slice" in line for line in tables)
    orders = [line for line in tables if "orders_target" in line]
    assert len(orders) == 5
    assert all("(reach=? AND target=? AND in_force=?)" in line for line in orders), "reads every order of a reach"


SOON = {"expires_after": NOON, "expires_before": NOON + timedelta(days=30)}
ISSUED, SUSPENDED = (GrantState.ISSUED,), (GrantState.SUSPENDED,)


@pytest.mark.parametrize(
    ("narrow", "index"),
    [
        (GrantFilter(states=ISSUED), "SCAN grants"),
        (GrantFilter(states=SUSPENDED), "COVERING INDEX grants_state"),
        (GrantFilter(department="d"), "COVERING INDEX grants_department"),
        (GrantFilter(supplier="s"), "COVERING INDEX grants_supplier"),
        (GrantFilter(dataset="d"), "INDEX grants_slice"),
        (GrantFilter(states=ISSUED, **SOON), "COVERING INDEX grants_expiry"),
        (GrantFilter(states=ISSUED, department="d", **SOON), "COVERING INDEX grants_department"),
        (GrantFilter(states=ISSUED, supplier="s", **SOON), "COVERING INDEX grants_supplier"),
        (GrantFilter(disputed=True), "INDEX grants_disputed"),
        (GrantFilter(states=ISSUED, begins_after=NOON, expires_after=NOON), "INDEX grants_begins"),
        (GrantFilter(states=ISSUED, begins_before=NOON, expires_after=NOON), "COVERING INDEX grants_expiry"),
    ],
    ids=[
        "all",
        "state",
        "department",
        "supplier",
        "dataset",
        "expiry",
        "department+expiry",
        "supplier+expiry",
        "disputed",
        "not yet valid",
        "active",
    ],
)
def test_page_is_chosen_along_its_index(plans: Plans, narrow: GrantFilter, index: str) -> None:
    """Each filter's page comes from the index made for it, cut before it is merged."""
    plans.list_grants(narrow)
    assert any(index in line for line in plans.seen), plans.seen


def test_page_of_a_large_region_is_met_by_reading_on(plans: Plans) -> None:
    """A region of many suppliers is read in the order of issue, not gathered supplier by supplier."""
    with plans.transaction() as tx:
        for number in range(45):
            tx.put_department(department(f"region-{number}", region="440199"))
    plans.seen = []
    plans.list_grants(GrantFilter(states=ISSUED, region="440199"))
    assert any(line.startswith("SCAN grants") for line in plans.seen), plans.seen
    assert not any("grants_supplier" in line for line in plans.seen)
