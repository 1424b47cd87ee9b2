"""Grants and orders: versions, states, optimistic concurrency, and the changes each write announces."""

from datetime import date, timedelta

import msgspec
import pytest

from gateway.domain.callers import Assurance
from gateway.domain.changes import Change, ChangeKind
from gateway.domain.conditions import narrows
from gateway.domain.directory import SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.grants import GrantState, Hours, Quota
from gateway.domain.orders import Reach
from gateway.store import Disposal, Store, etag
from tests.support.state import NOON, department, grant, order, system

replace = msgspec.structs.replace


def insert(store: Store, **fields: object) -> list[Change]:
    with store.transaction() as tx:
        tx.insert_grant(grant(**fields))
    return tx.changes


def test_grant_comes_back_as_it_was_stored(store: Store) -> None:
    """Every field of a grant survives the database."""
    full = grant(
        systems=("marriage-desk",),
        interfaces=("household-query",),
        hours=Hours(480, 1080),
        parameters={"region": ("442000", "440100")},
        assurance=Assurance.MTLS,
        quota=Quota(calls_a_day=5),
        combination=("household", "marriage"),
    )
    with store.transaction() as tx:
        tx.insert_grant(full)
    assert store.grant("grant-1") == full
    assert store.grant("grant-1", 1) == full
    assert store.grant("grant-1", 2) is None
    assert store.grant("none") is None


def test_new_version_supersedes_and_keeps_the_old(store: Store) -> None:
    """A renewal is a new version: the old one stays readable and is no longer enforced."""
    insert(store)
    insert(store, version=2, valid_until=NOON + timedelta(days=600))
    slice_state = store.slice_state("civil-affairs", "household")
    assert [found.version for found in slice_state.grants] == [2]
    assert store.grant("grant-1", 1) == grant(state=GrantState.SUPERSEDED)
    assert [old.version for old in store.grant_history("grant-1")] == [1]


@pytest.mark.parametrize("version", [1, 3])
def test_version_must_be_the_next(store: Store, version: int) -> None:
    """Two officers who both renew do not overwrite each other."""
    insert(store)
    with pytest.raises(GatewayError, match="the next version") as refused:
        insert(store, version=version)
    assert refused.value.code == "precondition-failed"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (GrantState.SUSPENDED, "does not lift"),
        (GrantState.TERMINATED, "issue a new"),
        (GrantState.CLOSED, "issue a new"),
    ],
)
def test_new_version_never_lifts_a_stop(store: Store, state: GrantState, said: str) -> None:
    """A suspended, terminated or closed grant is not revived by a new version."""
    insert(store)
    with store.transaction() as tx:
        tx.set_grant_state("grant-1", 1, state)
    with pytest.raises(GatewayError, match=said):
        insert(store, version=2)


def test_suspended_grant_can_be_changed_while_it_stays_suspended(store: Store) -> None:
    """Rectification may narrow a suspended grant; it stays suspended."""
    insert(store)
    with store.transaction() as tx:
        tx.set_grant_state("grant-1", 1, GrantState.SUSPENDED)
        tx.insert_grant(grant(version=2, items=("name",), state=GrantState.SUSPENDED))
    assert store.grant("grant-1").state is GrantState.SUSPENDED


def test_grant_keeps_its_department_and_dataset(store: Store) -> None:
    """A version for another department would hand a grant over without an application."""
    insert(store)
    with pytest.raises(GatewayError, match="another department"):
        insert(store, version=2, department="public-security")


def test_grant_needs_a_released_dataset(store: Store) -> None:
    """What is not released is not granted (Decree 809 Art. 16)."""
    with pytest.raises(GatewayError) as refused:
        insert(store, dataset="unknown")
    assert refused.value.members["faults"] == [{"field": "dataset", "fault": "`unknown` is not a released dataset"}]


def test_grant_needs_a_zone_in_its_times(store: Store) -> None:
    """A time without a zone would mean another moment on another machine."""
    with pytest.raises(GatewayError, match="needs a zone"):
        insert(store, valid_until=NOON.replace(tzinfo=None))


def test_state_change_asks_for_the_version_read(store: Store) -> None:
    """An act decided on an old version is refused."""
    insert(store)
    insert(store, version=2)
    with pytest.raises(GatewayError) as refused, store.transaction() as tx:
        tx.set_grant_state("grant-1", 1, GrantState.SUSPENDED)
    assert refused.value.code == "precondition-failed"
    assert store.grant("grant-1").state is GrantState.ISSUED


def test_entity_tag_tells_two_officers_apart(store: Store) -> None:
    """The second of two acts that read the same state is refused."""
    insert(store)
    tag = etag(store.grant("grant-1"))
    with store.transaction() as tx:
        tx.set_grant_state("grant-1", 1, GrantState.SUSPENDED, if_match=tag)
    with pytest.raises(GatewayError) as refused, store.transaction() as tx:
        tx.set_grant_state("grant-1", 1, GrantState.TERMINATED, if_match=tag)
    assert refused.value.code == "precondition-failed"
    with store.transaction() as tx:
        tx.set_grant_state("grant-1", 1, GrantState.TERMINATED, if_match=etag(store.grant("grant-1")))


def test_unknown_grant_is_not_found(store: Store) -> None:
    """An act on no grant says so."""
    with pytest.raises(GatewayError) as refused, store.transaction() as tx:
        tx.set_grant_state("none", 1, GrantState.SUSPENDED)
    assert refused.value.code == "not-found"


def test_dispute_leaves_the_state(store: Store) -> None:
    """A dispute holds records and changes nothing else (Decree 809 Art. 28)."""
    insert(store)
    with store.transaction() as tx:
        tx.set_disputed("grant-1", True)
    assert store.grant("grant-1") == grant(disputed=True)
    assert [change.withdraws for change in tx.changes] == [False]


def test_barrier_hears_of_every_stop_and_of_no_lift(store: Store) -> None:
    """BARRIER rests on the feed: suspending, terminating and closing withdraw; issuing and lifting do not."""
    assert [change.withdraws for change in insert(store)] == [False]
    seen = {}
    for state in (
        GrantState.SUSPENDED,
        GrantState.ISSUED,
        GrantState.CLOSED,
        GrantState.DISPOSED,
        GrantState.TERMINATED,
    ):
        with store.transaction() as tx:
            tx.set_grant_state("grant-1", 1, state)
        (change,) = tx.changes
        assert (change.department, change.dataset, change.supplier, change.grant) == (
            "civil-affairs",
            "household",
            "public-security",
            "grant-1",
        )
        seen[state] = change.withdraws
    assert seen == {state: state is not GrantState.ISSUED for state in seen}


NARROWER = [
    {"items": ("name",)},
    {"purposes": ("other",)},
    {"modes": (SharingMode.VERIFY,)},
    {"valid_from": NOON},
    {"valid_until": NOON},
    {"systems": ("marriage-desk",)},
    {"interfaces": ("household-query",)},
    {"hours": Hours(0, 60)},
    {"parameters": {"region": ("442000",)}},
    {"assurance": Assurance.BEARER},
    {"quota": Quota(calls_a_day=1)},
    {"quota": Quota(rows_a_day=1)},
]


@pytest.mark.parametrize("fields", NARROWER, ids="-".join)
def test_narrower_version_withdraws(store: Store, fields: dict[str, object]) -> None:
    """A version that covers less cuts what streams under the old one."""
    insert(store)
    assert [change.withdraws for change in insert(store, version=2, **fields)] == [True]


def test_wider_limits_do_not_withdraw() -> None:
    """Limits that grow cover what they covered."""
    old = grant(
        systems=("a",), hours=Hours(60, 120), parameters={"r": ("1",)}, assurance=Assurance.MTLS, quota=Quota(5, 5)
    )
    new = replace(
        old,
        systems=("a", "b"),
        hours=Hours(0, 180),
        parameters={"r": ("1", "2")},
        assurance=Assurance.BEARER,
        quota=Quota(6, None),
    )
    assert not narrows(old, new)
    assert narrows(new, old)


REACHES = [
    (Reach.GRANT, "grant-1", {"department": "civil-affairs", "dataset": "household"}),
    (Reach.SYSTEM, "marriage-desk", {"department": "civil-affairs", "system": "marriage-desk"}),
    (Reach.DEPARTMENT, "civil-affairs", {"department": "civil-affairs"}),
    (Reach.DATASET, "household", {"dataset": "household"}),
    (Reach.SUPPLIER, "public-security", {"supplier": "public-security"}),
]


@pytest.mark.parametrize(("reach", "target", "touched"), REACHES, ids=[reach.value for reach, _, _ in REACHES])
def test_order_reaches_its_slice_until_it_is_lifted(
    store: Store, reach: Reach, target: str, touched: dict[str, str]
) -> None:
    """An order of each reach stands in the slice it reaches and in the feed, and lifting takes it away."""
    insert(store)
    wanted = order(reach=reach, target=target)
    with store.transaction() as tx:
        tx.put_order(wanted)
    (change,) = tx.changes
    assert change.kind is ChangeKind.ORDER
    assert change.withdraws
    named = {
        name: getattr(change, name) for name in ("department", "dataset", "system", "grant") if getattr(change, name)
    }
    assert named == {name: value for name, value in touched.items() if name != "supplier"}
    assert store.slice_state("civil-affairs", "household").orders == (wanted,)
    with store.transaction() as tx:
        lifted = tx.lift_order("order-1", "officer-2", NOON, "rectified")
    assert [change.withdraws for change in tx.changes] == [False]
    assert store.slice_state("civil-affairs", "household").orders == ()
    assert store.order("order-1") == lifted
    assert lifted.lifted_by == "officer-2"
    with pytest.raises(GatewayError, match="lifted already"), store.transaction() as tx:
        tx.lift_order("order-1", "officer-2", NOON, "again")


def test_order_of_one_supplier_touches_that_supplier_only(store: Store) -> None:
    """A department's order limited to a supplier drops that supplier's slices."""
    with store.transaction() as tx:
        change = tx.put_order(order(reach=Reach.DEPARTMENT, target="civil-affairs", supplier="public-security"))
    assert (change.department, change.supplier) == ("civil-affairs", "public-security")


def test_orders_of_others_do_not_reach_the_slice(store: Store) -> None:
    """A slice holds no order on another department, system or grant."""
    with store.transaction() as tx:
        tx.put_department(department("tax"))
        tx.put_system(system("tax-desk", department="tax"))
        tx.insert_grant(grant("grant-2", department="tax"))
        tx.put_order(order("o1", reach=Reach.DEPARTMENT, target="tax"))
        tx.put_order(order("o2", reach=Reach.SYSTEM, target="tax-desk"))
        tx.put_order(order("o3", target="grant-2"))
    assert store.slice_state("civil-affairs", "household").orders == ()
    assert [found.id for found in store.slice_state("tax", "household").orders] == ["o1", "o2", "o3"]


@pytest.mark.parametrize("reach", list(Reach))
def test_order_on_nothing_is_refused(store: Store, reach: Reach) -> None:
    """An order whose target does not exist would stop nothing."""
    with pytest.raises(GatewayError) as refused, store.transaction() as tx:
        tx.put_order(order(reach=reach, target="none"))
    assert refused.value.code == "not-found"


def test_order_id_is_taken_once(store: Store) -> None:
    """An order is never overwritten."""
    with store.transaction() as tx:
        tx.put_order(order(reach=Reach.DATASET, target="household"))
    with pytest.raises(GatewayError) as refused, store.transaction() as tx:
        tx.put_order(order(reach=Reach.DATASET, target="household", reason="other"))
    assert refused.value.code == "conflict"


def test_closed_grant_owes_disposal_until_it_is_recorded(store: Store) -> None:
    """Closing opens a disposal duty; the destruction record closes it (Decree 809 Art. 27 ¶1)."""
    insert(store)
    duty = Disposal("grant-1", "civil-affairs", "public-security", date(2026, 4, 1), True, "purpose achieved")
    with store.transaction() as tx:
        tx.set_grant_state("grant-1", 1, GrantState.CLOSED)
        tx.open_disposal(duty)
    assert store.disposal("grant-1") == duty
    with store.transaction() as tx:
        tx.record_disposal("grant-1", "record-9", date(2026, 11, 2))
    assert store.disposal("grant-1") == replace(duty, destroyed_record="record-9", destroyed_on=date(2026, 11, 2))
    with pytest.raises(GatewayError, match="recorded already"), store.transaction() as tx:
        tx.record_disposal("grant-1", "record-10", date(2026, 11, 2))
    with pytest.raises(GatewayError, match="no disposal duty"), store.transaction() as tx:
        tx.record_disposal("none", "record-10", date(2026, 11, 2))
