"""Figures for supervision (Decree 809 Art. 38): what stands, runs out and is overdue."""

from datetime import date, timedelta

from gateway.domain.grants import GrantState
from gateway.domain.orders import OrderKind, Reach
from gateway.store import Disposal, Store
from tests.support.state import NOON, dataset, department, grant, order, system

DAY = timedelta(days=1)


def fill_figures(store: Store) -> None:
    with store.transaction() as tx:
        tx.put_department(department("tax"))
        tx.put_system(system("tax-desk", department="tax"))
        tx.put_department(department("justice"))
        tx.release_dataset("other", tx.submit_dataset(dataset("other", supplier="justice")).version)
        tx.insert_grant(grant("active"))
        tx.insert_grant(grant("soon", valid_until=NOON + 20 * DAY))
        tx.insert_grant(grant("last-moment", valid_until=NOON + timedelta(seconds=1), dataset="other"))
        tx.insert_grant(grant("expired", valid_until=NOON))
        tx.insert_grant(grant("later", valid_from=NOON + DAY))
        tx.insert_grant(grant("renewed"))
        tx.insert_grant(grant("renewed", version=2))
        for name, state in (("s", GrantState.SUSPENDED), ("t", GrantState.TERMINATED), ("c", GrantState.CLOSED)):
            tx.insert_grant(grant(name, department="tax"))
            tx.set_grant_state(name, 1, state)
        tx.set_disputed("s", True)
        tx.put_order(order("o1", target="s", rectify_by=date(2026, 3, 1)))
        tx.put_order(order("o2", target="active", rectify_by=date(2026, 3, 2)))
        tx.put_order(
            order("o3", reach=Reach.SYSTEM, target="tax-desk", kind=OrderKind.EMERGENCY, report_due=NOON - DAY)
        )
        tx.put_order(order("o4", reach=Reach.DATASET, target="other", kind=OrderKind.TERMINATION))
        tx.put_order(order("o5", target="s", rectify_by=date(2026, 1, 1)))
        tx.lift_order("o5", "o", NOON, "rectified")
        tx.open_disposal(Disposal("c", "tax", "public-security", date(2026, 3, 1)))
        tx.open_disposal(Disposal("d", "tax", "public-security", date(2026, 3, 2)))
        tx.open_disposal(Disposal("e", "tax", "justice", date(2026, 1, 1)))
        tx.record_disposal("e", "record", date(2026, 11, 2))


def test_figures_count_what_stands_and_what_is_overdue(store: Store) -> None:
    """Every figure of one moment, over everything."""
    fill_figures(store)
    found = store.figures(NOON)
    assert found.grants == {"issued": 6, "suspended": 1, "terminated": 1, "closed": 1, "disposed": 0}
    assert (found.active, found.not_yet_valid, found.expired, found.expiring) == (4, 1, 1, 2)
    assert found.disputed == 1
    assert found.orders_in_force == {"suspension": 2, "emergency": 1, "termination": 1}
    assert (found.rectification_overdue, found.report_overdue) == (1, 1)
    assert (found.disposals_open, found.disposals_overdue) == (2, 1)


def test_figures_of_one_side(store: Store) -> None:
    """A supplier's and a demand department's figures count what is theirs."""
    fill_figures(store)
    tax = store.figures(NOON, department="tax")
    assert (tax.grants["issued"], tax.grants["suspended"], tax.disputed) == (0, 1, 1)
    assert (tax.rectification_overdue, tax.report_overdue, tax.disposals_open) == (1, 1, 2)
    assert sum(tax.orders_in_force.values()) == 2
    justice = store.figures(NOON, supplier="justice")
    assert (justice.active, justice.expiring, justice.disposals_open) == (1, 1, 0)
    assert justice.orders_in_force == {"suspension": 0, "emergency": 0, "termination": 1}


def test_order_for_every_supplier_counts_with_the_department_it_stops(store: Store) -> None:
    """So the figures of a region, the sum of its departments', leave no order out and count none twice."""
    fill_figures(store)
    parts = [store.figures(NOON, supplier=one) for one in ("public-security", "justice", "tax")]
    assert [part.orders_in_force["emergency"] for part in parts] == [0, 0, 1]
    whole = store.figures(NOON).orders_in_force
    assert {kind: sum(part.orders_in_force[kind] for part in parts) for kind in whole} == whole
    assert [order.id for order in store.overdue_reports(NOON, supplier="tax")] == ["o3"]


def test_days_are_days_of_china(store: Store) -> None:
    """At 16:00 UTC it is the next day in China, and what was due today is overdue."""
    fill_figures(store)
    evening = NOON.replace(hour=16)
    assert store.figures(evening).disposals_overdue == 2
    assert store.figures(evening).rectification_overdue == 2
    assert store.figures(evening - timedelta(seconds=1)).disposals_overdue == 1


def test_overdue_duties_are_listed(store: Store) -> None:
    """The orders and disposals behind the figures, the earliest due first."""
    fill_figures(store)
    assert [one.id for one in store.overdue_rectifications(date(2026, 3, 3))] == ["o1", "o2"]
    assert [one.id for one in store.overdue_rectifications(date(2026, 3, 3), department="tax")] == ["o1"]
    assert [one.grant for one in store.open_disposals()] == ["c", "d"]
    assert [one.grant for one in store.open_disposals(due_before=date(2026, 3, 2))] == ["c"]
    assert store.open_disposals(supplier="justice") == ()


def test_destructions_are_listed_by_their_day(store: Store) -> None:
    """Only duties that were fulfilled, and by the day asked for."""
    fill_figures(store)
    (fulfilled,) = store.destructions(until=date(9999, 1, 1))
    assert store.destructions(until=fulfilled[1]) == (fulfilled,)
    assert store.destructions(until=fulfilled[1] - timedelta(days=1)) == ()
