"""Bulk import of grants: whole batches or nothing of them, every fault named, and the feed told."""

import threading
from collections.abc import Iterator

import msgspec
import pytest

from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, GrantState
from gateway.store import Store, bulk
from tests.support.state import NOON, grant

STATES = (GrantState.SUSPENDED, GrantState.ISSUED)


def test_imported_grants_are_those_inserted_one_by_one(store: Store) -> None:
    """The bulk path stores what the single path stores."""
    progress: list[int] = []
    assert store.import_grants((grant(f"g{number}") for number in range(10)), progress.append) == 10
    with store.transaction() as tx:
        tx.insert_grant(grant("single"))
    assert progress == [10]
    assert store.grant("g7") == grant("g7")
    assert {one.id for one in store.slice_state("civil-affairs", "household").grants} == {
        "single",
        *(f"g{number}" for number in range(10)),
    }


def test_issued_grants_are_those_inserted_one_by_one(store: Store) -> None:
    """Many in a transaction of an officer's: the same grants and the same changes, or every fault and none of them."""
    grants = [grant(f"g{number}") for number in range(5)]
    with store.transaction() as tx:
        assert tx.issue_grants(grants) == {"household": "public-security"}
    with store.transaction() as one_by_one:
        for number in range(5):
            one_by_one.insert_grant(grant(f"h{number}"))
    assert [store.grant(each.id) for each in grants] == grants
    said = [msgspec.structs.replace(each, sequence=0, subject="", grant="") for each in tx.changes]
    assert said == [msgspec.structs.replace(each, sequence=0, subject="", grant="") for each in one_by_one.changes]
    assert [each.grant for each in tx.changes] == [each.id for each in grants]
    with pytest.raises(GatewayError) as refused, store.transaction() as tx:
        tx.issue_grants([grant("new"), grant("g1"), grant("other", dataset="none")])
    assert [fault["grant"] for fault in refused.value.members["faults"]] == ["g1", "other"]
    assert store.grant("new") is None


def test_every_fault_of_a_batch_is_named_and_none_of_it_stored(store: Store) -> None:
    """A batch with faults leaves nothing."""
    store.import_grants([grant("taken")])
    before = store.sequence()
    faulty = [
        grant("good"),
        grant("taken"),
        grant("twice"),
        grant("twice"),
        grant("unreleased", dataset="none"),
        grant("renewed", version=2),
        grant("zoneless", valid_from=NOON.replace(tzinfo=None)),
    ]
    with pytest.raises(GatewayError) as refused:
        store.import_grants(faulty)
    assert [(fault["grant"], fault["field"]) for fault in refused.value.members["faults"]] == [
        ("taken", "id"),
        ("twice", "id"),
        ("unreleased", "dataset"),
        ("renewed", "version"),
        ("zoneless", "valid_until"),
    ]
    assert refused.value.members["imported"] == 0
    assert store.grant("good") is None
    assert store.sequence() == before


def test_chunks_before_a_faulty_one_stand_and_are_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a chunk with a fault nothing is stored; the refusal says how many grants stand."""
    monkeypatch.setattr(bulk, "CHUNK", 3)
    monkeypatch.setattr(bulk, "BATCH", 2)
    grants = [grant(f"g{number}") for number in range(7)] + [grant("g0")]
    with pytest.raises(GatewayError) as refused:
        store.import_grants(grants)
    assert refused.value.members["imported"] == 6
    assert store.grant("g5") is not None
    assert store.grant("g6") is None


def test_other_writers_get_their_turn_during_an_import(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspension does not wait for a long import to end, and a renewed entry is noticed by the next batch."""
    monkeypatch.setattr(bulk, "BATCH", 50)
    begun, stop = threading.Event(), threading.Event()
    acts: list[int] = []

    def officer() -> None:
        assert begun.wait(20)
        for number in range(5):
            with store.transaction() as tx:
                tx.set_grant_state("standing", 1, STATES[number % 2])
            acts.append(len(stored))
        stop.set()

    stored: list[int] = []

    def progress(done: int) -> None:
        stored.append(done)
        begun.set()

    def endless() -> Iterator[Grant]:
        number = 0
        while not stop.is_set():
            yield grant(f"g{number}")
            number += 1

    monkeypatch.setattr(bulk, "CHUNK", 100)
    with store.transaction() as tx:
        tx.insert_grant(grant("standing"))
    thread = threading.Thread(target=officer)
    thread.start()
    count = store.import_grants(endless(), progress)
    thread.join()
    assert len(acts) == 5
    assert count == stored[-1]
    assert sum(1 for _ in store.every_grant()) == count + 1


def test_entry_withdrawn_during_an_import_ends_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """No grant is stored on an entry that was withdrawn after the import was checked."""
    monkeypatch.setattr(bulk, "BATCH", 2)

    def withdraw(done: int) -> None:
        if done == 2:
            with store.transaction() as tx:
                tx.withdraw_dataset("household")

    with pytest.raises(GatewayError, match="withdrawn during the import"):
        store.import_grants([grant(f"g{number}") for number in range(6)], withdraw)
    assert len(store.list_grants().items) == 2


def test_feed_names_pairs_until_there_are_many(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small import drops only the slices it touches; a large one drops all, by one change."""
    before = store.sequence()
    store.import_grants([grant("a"), grant("b")])
    change, _ = store.changes_after(before)
    assert (change.department, change.dataset, change.supplier, change.withdraws) == (
        "civil-affairs",
        "household",
        "public-security",
        False,
    )
    monkeypatch.setattr(bulk, "NARROW", 0)
    store.import_grants([grant("c")])
    change = store.changes_after(before)[2]
    assert (change.department, change.dataset) == (None, None)
