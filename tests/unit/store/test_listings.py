"""Lists by page: whole, in order, without repetition, whatever the page size and the filter."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.domain.directory import Department
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, GrantState
from gateway.domain.officers import Officer, Role
from gateway.domain.orders import Reach
from gateway.store import GrantFilter, OrderFilter, Store
from gateway.store.values import decode_cursor, encode_cursor
from tests.support.state import NOON, dataset, department, grant, interface, order, system

STATES = [GrantState.ISSUED, GrantState.SUSPENDED, GrantState.TERMINATED, GrantState.CLOSED]


def fill_grants(store: Store) -> list[Grant]:
    """Grants over two departments and two datasets of two suppliers, in all states, with equal expiries among them."""
    with store.transaction() as tx:
        for other in few("440103"):
            tx.put_department(other)
        tx.put_department(department("tax", region="440000"))
        tx.put_department(department("justice", region="440100"))
        tx.release_dataset("marriage", tx.submit_dataset(dataset("marriage", supplier="justice")).version)
    grants = [
        grant(
            f"g{number:02}",
            department=("civil-affairs", "tax")[number % 2],
            dataset=("household", "marriage")[number // 2 % 2],
            valid_until=NOON + timedelta(days=number % 5),
        )
        for number in range(23)
    ]
    grants.sort(key=lambda one: (one.dataset, one.department))
    store.import_grants(grants)
    found = []
    with store.transaction() as tx:
        for number, one in enumerate(grants):
            state = STATES[number % 4]
            found.append(one if state is GrantState.ISSUED else tx.set_grant_state(one.id, 1, state))
        found[3] = tx.set_disputed(grants[3].id, True)
    return found


def pages(store: Store, narrow: GrantFilter, limit: int) -> list[str]:
    ids: list[str] = []
    cursor = None
    while True:
        page = store.list_grants(narrow, cursor, limit)
        assert 0 < len(page.items) <= limit or not ids
        ids += [one.id for one in page.items]
        cursor = page.cursor
        if cursor is None:
            return ids


def few(region: str) -> list[Department]:
    """More departments of a region than are read run by run."""
    return [department(f"few-{number}", region=region) for number in range(45)]


FILTERS = {
    "all": (GrantFilter(), lambda g: True),
    "department": (GrantFilter(department="tax"), lambda g: g.department == "tax"),
    "dataset": (GrantFilter(dataset="marriage"), lambda g: g.dataset == "marriage"),
    "supplier": (GrantFilter(supplier="justice"), lambda g: g.dataset == "marriage"),
    "region": (GrantFilter(region="4401"), lambda g: g.dataset == "marriage"),
    "small region": (GrantFilter(region="440100"), lambda g: g.dataset == "marriage"),
    "empty region": (GrantFilter(region="99"), lambda g: False),
    "department in a region": (
        GrantFilter(region="4420", department="tax"),
        lambda g: g.dataset == "household" and g.department == "tax",
    ),
    "state": (GrantFilter(states=(GrantState.SUSPENDED,)), lambda g: g.state is GrantState.SUSPENDED),
    "states": (GrantFilter(states=tuple(STATES[:2])), lambda g: g.state in STATES[:2]),
    "disputed": (GrantFilter(disputed=True), lambda g: g.disputed),
    "two": (
        GrantFilter(states=(GrantState.ISSUED,), department="civil-affairs", dataset="household"),
        lambda g: g.state is GrantState.ISSUED and g.department == "civil-affairs" and g.dataset == "household",
    ),
}


def test_pages_hold_every_match_once_in_order_of_issue(store: Store) -> None:
    """All pages of any size together are the filter's matches, in the order of issue."""
    grants = fill_grants(store)
    for name, (narrow, matches) in FILTERS.items():
        for limit in (1, 4, 100):
            found = pages(store, narrow, limit)
            assert found == [one.id for one in grants if matches(one)], (name, limit)


@pytest.mark.parametrize("side", [{}, {"department": "tax"}, {"supplier": "justice"}, {"dataset": "household"}])
def test_expiring_grants_come_by_expiry(store: Store, side: dict[str, str]) -> None:
    """Grants that expire within some days, the earliest first, those of one day in the order of issue."""
    grants = fill_grants(store)
    narrow = GrantFilter(
        states=(GrantState.ISSUED, GrantState.SUSPENDED),
        expires_after=NOON + timedelta(days=1),
        expires_before=NOON + timedelta(days=4),
        **side,
    )
    supplier = {"household": "public-security", "marriage": "justice"}
    matches = [
        one
        for one in grants
        if one.state in STATES[:2]
        and NOON + timedelta(days=1) <= one.valid_until < NOON + timedelta(days=4)
        and side.get("department", one.department) == one.department
        and side.get("supplier", supplier[one.dataset]) == supplier[one.dataset]
        and side.get("dataset", one.dataset) == one.dataset
    ]
    expected = [one.id for one in sorted(matches, key=lambda g: g.valid_until)]
    assert expected
    for limit in (1, 4, 100):
        assert pages(store, narrow, limit) == expected


@pytest.mark.parametrize("side", [{}, {"department": "tax"}, {"supplier": "justice"}, {"dataset": "household"}])
def test_grants_are_narrowed_by_when_they_begin(store: Store, side: dict[str, str]) -> None:
    """Before and after a moment, on every index, no grant is missed and none is told twice."""
    fill_grants(store)
    with store.transaction() as tx:
        tx.insert_grant(grant("later", valid_from=NOON + timedelta(days=2), department="tax", dataset="marriage"))
        tx.insert_grant(grant("also", valid_from=NOON + timedelta(days=3), department="tax"))
    issued = (GrantState.ISSUED,)
    both = set(pages(store, GrantFilter(states=issued, **side), 100))
    later = pages(store, GrantFilter(states=issued, begins_after=NOON, **side), 1)
    begun = pages(store, GrantFilter(states=issued, begins_before=NOON, **side), 4)
    assert set(later) == {"later", "also"} & both
    assert set(begun) == both - set(later)
    assert len(begun) == len(set(begun))


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_page_size_is_bounded(store: Store, limit: int) -> None:
    """A page holds 1 to 1000 rows."""
    with pytest.raises(GatewayError, match="1 to 1000"):
        store.list_grants(None, None, limit)


@pytest.mark.parametrize("cursor", ["", "x", "!!", encode_cursor(("1",)), encode_cursor((1, 2)), "W10", "é" * 9])
def test_foreign_cursor_is_refused(store: Store, cursor: str) -> None:
    """A cursor of another listing, or none at all, is a fault of the input."""
    with pytest.raises(GatewayError) as refused:
        store.list_grants(None, cursor)
    assert refused.value.code == "invalid-input"
    assert refused.value.members["faults"][0]["field"] == "cursor"


def test_cursor_comes_back() -> None:
    """A cursor is the sort key of the last row, of any text."""
    place = (7, "授权/1")
    assert decode_cursor(encode_cursor(place), (int, str)) == place


def test_other_lists_page_by_id(store: Store) -> None:
    """Departments, systems, officers, interfaces and orders, by page and filter."""
    with store.transaction() as tx:
        tx.put_system(system("tax-desk", department="province"))
        for id_ in ("a", "b", "c"):
            tx.put_officer(Officer(id_, "province" if id_ == "b" else "tax", "440000", (Role.AUDITOR,)))
            tx.put_order(order(id_, reach=Reach.DATASET, target="household", supplier="s" if id_ == "c" else None))
        tx.put_interface(interface("batch"))
        tx.put_interface(interface("old", active=False))
        tx.lift_order("b", "o", datetime(2026, 1, 1, tzinfo=UTC), "r")
    first = store.list_departments(None, 2)
    assert [one.id for one in first.items] == ["civil-affairs", "province"]
    assert [one.id for one in store.list_departments(first.cursor, 2).items] == ["public-security"]
    assert [one.id for one in store.list_departments(region="4420").items] == ["civil-affairs", "public-security"]
    assert [one.id for one in store.list_systems(department="province").items] == ["tax-desk"]
    assert len(store.list_systems().items) == 2
    assert [one.id for one in store.list_officers(department="tax").items] == ["a", "c"]
    assert [one.id for one in store.list_officers("WyJhIl0", 1).items] == ["b"]
    assert [one.id for one in store.list_orders(OrderFilter(in_force=True)).items] == ["a", "c"]
    assert [one.id for one in store.list_orders(OrderFilter(in_force=False)).items] == ["b"]
    assert [one.id for one in store.list_orders(OrderFilter(supplier="s")).items] == ["c"]
    assert len(store.list_orders(OrderFilter(reach=Reach.DATASET, target="household")).items) == 3
    assert store.list_orders(OrderFilter(reach=Reach.SYSTEM)).items == ()
    page = store.list_interfaces(None, 1, supplier="public-security")
    assert [one.id for one in page.items] == ["batch"]
    assert [one.id for one in store.list_interfaces(page.cursor, 1).items] == ["household-query"]
    assert [one.id for one in store.list_interfaces(active=None).items] == ["batch", "household-query", "old"]
    assert store.list_interfaces(dataset="none").items == ()
