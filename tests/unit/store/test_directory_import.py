"""Importing a directory file into the state: everything or nothing, and nothing twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import msgspec
import pytest

from gateway.domain.directory import DataItem, EntryState, Level, Purpose
from gateway.domain.errors import GatewayError
from gateway.store import Store
from gateway.store.directory import importing as directory_import
from gateway.store.directory.file import DirectoryFile
from tests.support.state import dataset, department, fill, host, interface

replace = msgspec.structs.replace
FILE = DirectoryFile(
    departments=(
        department(parent="province"),
        department("public-security"),
        department("province", region="440000", level=Level.PROVINCE),
    ),
    purposes=(Purpose("marriage-registration", "婚姻登记"),),
    datasets=(dataset(), dataset("marriage", supplier="civil-affairs")),
    interfaces=(interface(),),
)


@contextmanager
def opened(state_url: str) -> Iterator[Store]:
    """A state that knows the supplier and its host alone."""
    with Store.open(state_url) as store:
        with store.transaction() as tx:
            tx.put_department(department("public-security"))
            tx.put_host(host())
        yield store


def run(store: Store, found: DirectoryFile, **arguments: Any) -> directory_import.Imported:
    with store.transaction() as tx:
        return tx.import_directory(found, **arguments)


def test_whole_file_is_released(state_url: str) -> None:
    """Departments in any order, purposes, entries and interfaces arrive in one transaction."""
    with opened(state_url) as store:
        done = run(store, FILE, release=True, on=date(2026, 3, 2))
        assert done.submitted == (("household", 1), ("marriage", 1))
        assert store.dataset("marriage").released_on == date(2026, 3, 2)
        found = store.slice_state("civil-affairs", "household")
        assert (found.dataset.id, len(found.interfaces), len(found.ancestors)) == ("household", 1, 1)
        read_back = store.directory()
        assert read_back.interfaces == FILE.interfaces
        assert {one.id for one in read_back.departments} == {one.id for one in FILE.departments}


def test_submitted_entries_are_not_enforced(state_url: str) -> None:
    """Without release, the entries wait for examination (Decree 809 Art. 16)."""
    with opened(state_url) as store:
        run(store, FILE)
        assert store.dataset("household") is None
        assert [entry.state for entry in store.dataset_versions("household")] == [EntryState.SUBMITTED]


def test_same_file_twice_changes_nothing(state_url: str) -> None:
    """A second import of the same file makes no version and drops no slice."""
    with opened(state_url) as store:
        run(store, FILE, release=True, on=date(2026, 3, 2))
        before = store.sequence()
        done = run(store, FILE, release=True, on=date(2026, 4, 1))
        assert (done.submitted, done.unchanged) == ((), 2)
        assert store.sequence() == before
        done = run(store, FILE)
        assert (done.submitted, done.unchanged) == ((), 2)


def test_release_of_what_was_submitted(state_url: str) -> None:
    """An import that releases goes past a version that was only submitted."""
    with opened(state_url) as store:
        run(store, FILE)
        assert run(store, FILE, release=True).submitted == (("household", 2), ("marriage", 2))
        assert store.dataset("household").version == 2


def test_changed_entry_supersedes_and_withdraws(store: Store) -> None:
    """An entry that loses an item is announced as withdrawing, whatever the size of the import."""
    smaller = replace(FILE, datasets=(dataset(items=(DataItem("name", "姓名"),)), FILE.datasets[1]), interfaces=())
    for narrow in (1000, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(directory_import, "NARROW", narrow)
            before = store.sequence()
            run(
                store,
                smaller if narrow else replace(smaller, datasets=(dataset(grade=4), *smaller.datasets[1:])),
                release=True,
            )
            entries = [change for change in store.changes_after(before) if change.kind == "entry"]
            assert [change.withdraws for change in entries if change.dataset == "household"] == [True]
    assert [entry.state for entry in store.dataset_versions("household")] == [
        EntryState.SUPERSEDED,
        EntryState.SUPERSEDED,
        EntryState.RELEASED,
    ]


def test_large_import_drops_everything_by_one_change(state_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many new entries and interfaces are announced together."""
    monkeypatch.setattr(directory_import, "NARROW", 1)
    with opened(state_url) as store:
        run(store, replace(FILE, interfaces=(interface(), interface("second"))), release=True)
        wide = [change for change in store.changes_after(0) if change.subject == "import"]
        assert [(change.kind.value, change.dataset, change.withdraws) for change in wide] == [
            ("entry", None, False),
            ("interface", None, False),
        ]
        assert {one.id for one in store.list_interfaces().items} == {"household-query", "second"}


def test_every_dangling_reference_is_named_and_nothing_stored(state_url: str) -> None:
    """References to departments, purposes and datasets that exist nowhere are all named; nothing is half imported."""
    with Store.open(state_url) as store:
        fill(store)
        before = store.sequence(), store.directory()
        faulty = DirectoryFile(
            departments=(department("tax", parent="nowhere"),),
            datasets=(dataset("a"), dataset("b", supplier="nobody", purposes=("nothing", "marriage-registration"))),
            interfaces=(
                interface("x", dataset="none"),
                interface("y", supplier="nobody"),
                interface("z", places={"colour": "/c"}),
            ),
        )
        with pytest.raises(GatewayError) as refused:
            run(store, faulty, release=True)
        assert [(f["list"], f["row"], f["field"]) for f in refused.value.members["faults"]] == [
            ("departments", 1, "parent"),
            ("datasets", 2, "supplier"),
            ("datasets", 2, "purposes"),
            ("interfaces", 1, "dataset"),
            ("interfaces", 2, "supplier"),
            ("interfaces", 2, "supplier"),
            ("interfaces", 2, "upstream"),
            ("interfaces", 3, "places"),
        ]
        assert (store.sequence(), store.directory()) == before


def test_departments_in_a_circle_are_refused(state_url: str) -> None:
    """Departments that are each other's parents are no tree."""
    with Store.open(state_url) as store, pytest.raises(GatewayError, match="each other's parents: a, b"):
        run(store, DirectoryFile((department("a", parent="b"), department("b", parent="a"))))
