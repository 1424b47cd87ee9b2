"""The directory in the state: versions and release, systems and keys, interfaces, and what each write announces."""

from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec
import pytest

from gateway.domain.changes import ChangeKind
from gateway.domain.directory import DataItem, EntryState, Level, Purpose, SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Officer, Role
from gateway.store import DatasetFilter, GrantFilter, LegacyKey, Store, StoreTransaction, etag
from gateway.store.directory.file import DirectoryFile
from tests.support.state import dataset, department, grant, interface, system

replace = msgspec.structs.replace


def release(store: Store, **fields: Any) -> tuple[bool, ...]:
    """Submit and release a version; whether its changes withdraw."""
    with store.transaction() as tx:
        entry = tx.submit_dataset(dataset(**fields))
        assert tx.changes == []
        tx.release_dataset(entry.id, entry.version, on=date(2026, 3, 2))
    return tuple(change.withdraws for change in tx.changes)


def test_only_the_released_version_is_enforced(store: Store) -> None:
    """A submitted version changes nothing until it is released; then it alone is enforced (Art. 16, 17)."""
    with store.transaction() as tx:
        second = tx.submit_dataset(dataset(name="new name"))
    assert second.version == 2
    assert store.dataset("household").version == 1
    assert store.slice_state("civil-affairs", "household").dataset.version == 1
    with store.transaction() as tx:
        released = tx.release_dataset("household", 2, on=date(2026, 3, 2))
    assert released.released_on == date(2026, 3, 2)
    assert store.dataset("household") == released
    assert store.slice_state("civil-affairs", "household").dataset == released
    assert [(v.version, v.state) for v in store.dataset_versions("household")] == [
        (1, EntryState.SUPERSEDED),
        (2, EntryState.RELEASED),
    ]


def test_rejected_version_cannot_be_released(store: Store) -> None:
    """The competent department's refusal stands; the released version stays enforced."""
    with store.transaction() as tx:
        tx.submit_dataset(dataset(name="new name"))
        tx.reject_dataset("household", 2)
    with pytest.raises(GatewayError, match="is rejected"), store.transaction() as tx:
        tx.release_dataset("household", 2)
    assert store.dataset("household").version == 1


def test_older_version_does_not_replace_a_newer(store: Store) -> None:
    """Releasing goes forward only."""
    with store.transaction() as tx:
        tx.submit_dataset(dataset(name="second"))
        tx.submit_dataset(dataset(name="third"))
        tx.release_dataset("household", 3)
    with pytest.raises(GatewayError, match=r"version 3 .* is released already"), store.transaction() as tx:
        tx.release_dataset("household", 2)


def test_unknown_version_is_not_found(store: Store) -> None:
    """A release names a version that was submitted."""
    for id_, version in (("household", 9), ("none", 1)):
        with pytest.raises(GatewayError) as refused, store.transaction() as tx:
            tx.release_dataset(id_, version)
        assert refused.value.code == "not-found"


def test_withdrawn_entry_is_gone_from_the_slice(store: Store) -> None:
    """Withdrawing an entry stops all sharing of it, and can be followed by a new version."""
    with store.transaction() as tx:
        tx.withdraw_dataset("household")
    assert [change.withdraws for change in tx.changes] == [True]
    assert store.dataset("household") is None
    assert store.slice_state("civil-affairs", "household").dataset is None
    with pytest.raises(GatewayError, match="no version"), store.transaction() as tx:
        tx.withdraw_dataset("household")
    assert release(store) == (False,)


@pytest.mark.parametrize(
    ("fields", "withdraws"),
    [
        ({"name": "other", "abstract": "more", "retention_years": 5}, False),
        ({"items": (DataItem("id_number", "ID", "text", sensitive=True), DataItem("name", "N"))}, False),
        ({"items": (DataItem("name", "姓名"),)}, True),
        ({"grade": 4}, True),
        ({"sharing_modes": (SharingMode.QUERY,)}, True),
        ({"purposes": ("other",)}, True),
        ({"conditions": "others"}, True),
    ],
    ids=["description", "titles", "items", "grade", "modes", "purposes", "conditions"],
)
def test_release_withdraws_unless_only_the_description_changes(
    store: Store, fields: dict[str, Any], *, withdraws: bool
) -> None:
    """A release that may take access away cuts what streams; a corrected abstract does not."""
    assert release(store, **fields) == (withdraws,)


def test_entry_that_moves_to_another_supplier_takes_its_grants_along(store: Store) -> None:
    """Grants on an entry are listed under the supplier it has now; the former one's interface serves it no more."""
    with store.transaction() as tx:
        tx.put_department(department("justice"))
        tx.insert_grant(grant())
    before = store.interfaces_of("household")
    assert [one.supplier for one in before] == ["public-security"]
    assert all(release(store, supplier="justice"))
    assert store.interfaces_of("household") == ()

    assert len(store.list_grants(GrantFilter(supplier="justice")).items) == 1
    assert store.list_grants(GrantFilter(supplier="public-security")).items == ()


def test_submitting_needs_a_supplier(store: Store) -> None:
    """An entry is some department's."""
    with pytest.raises(GatewayError, match="no department `none`"), store.transaction() as tx:
        tx.submit_dataset(dataset(supplier="none"))


def test_department_comes_with_its_ancestors(store: Store) -> None:
    """A slice holds the department, its parents nearest first, and the supplier."""
    found = store.slice_state("civil-affairs", "household")
    assert found.department == department(parent="province")
    assert [one.id for one in found.ancestors] == ["province"]
    assert found.supplier.id == "public-security"
    assert store.slice_state("none", "none").department is None
    assert store.slice_state("none", "none").supplier is None


def test_parents_in_a_circle_end(store: Store) -> None:
    """A circle of parents does not hang the reading."""
    with store.transaction() as tx:
        tx.put_department(department("province", parent="civil-affairs", level=Level.PROVINCE))
    assert len(store.slice_state("civil-affairs", "household").ancestors) == 16


def test_department_change_withdraws_only_if_it_moves(store: Store) -> None:
    """A new name drops what is held; a new region may take access away."""
    with store.transaction() as tx:
        tx.put_department(department(parent="province", name="民政厅"))
        tx.put_department(department(parent="province", name="民政厅"))
        tx.put_department(department(parent="province", name="民政厅", region="440100"))
    assert [change.withdraws for change in tx.changes] == [False, True]
    assert {change.department for change in tx.changes} == {None}


@pytest.mark.parametrize(
    ("old", "new", "withdraws"),
    [
        ({}, {"name": "other"}, False),
        ({}, {"active": False}, True),
        ({"active": False}, {}, False),
        ({"keys": ({"kid": "a"},)}, {"keys": ({"kid": "a"}, {"kid": "b"})}, False),
        ({"keys": ({"kid": "a"}, {"kid": "b"})}, {"keys": ({"kid": "b"},)}, True),
        ({"certificates": ("x",)}, {}, True),
    ],
    ids=["name", "revoked", "back", "key added", "key withdrawn", "certificate withdrawn"],
)
def test_system_change_withdraws_what_it_takes_away(
    store: Store, old: dict[str, Any], new: dict[str, Any], *, withdraws: bool
) -> None:
    """Revoking a system or withdrawing its key or certificate cuts its calls."""
    with store.transaction() as tx:
        tx.put_system(system("s", **old))
    with store.transaction() as tx:
        tx.put_system(system("s", **new))
    (change,) = tx.changes
    assert (change.kind, change.department, change.system) == (ChangeKind.SYSTEM, "civil-affairs", "s")
    assert change.withdraws is withdraws
    assert store.system("s") == system("s", **new)


def test_system_that_moves_touches_both_departments(store: Store) -> None:
    """A system moved to another department leaves the slices of the old one."""
    with store.transaction() as tx:
        tx.put_system(system(department="public-security"))
    assert {change.department for change in tx.changes} == {"civil-affairs", "public-security"}
    assert all(change.withdraws for change in tx.changes)


def test_legacy_key_is_kept_encrypted_and_can_be_withdrawn(store: Store) -> None:
    """A key of an older contract belongs to one system and one purpose; withdrawing it cuts its calls."""
    key = LegacyKey("gjgxjhpt", "rid-1", "marriage-desk", "marriage-registration", b"\x00sealed\xff")
    with store.transaction() as tx:
        tx.put_legacy_key(key)
    assert store.legacy_key("gjgxjhpt", "rid-1") == key
    assert store.legacy_keys("marriage-desk") == (key,)
    with store.transaction() as tx:
        tx.put_legacy_key(replace(key, active=False))
    assert [(change.kind, change.system, change.withdraws) for change in tx.changes] == [
        (ChangeKind.KEY, "marriage-desk", True)
    ]
    assert not store.legacy_key("gjgxjhpt", "rid-1").active
    with pytest.raises(GatewayError, match="no system"), store.transaction() as tx:
        tx.put_legacy_key(replace(key, system="none"))


def test_interface_counts_its_changes(store: Store) -> None:
    """Each change of an interface is a version; writing the same again is none."""
    with store.transaction() as tx:
        assert tx.put_interface(interface()).version == 1
        assert tx.changes == []
        assert tx.put_interface(interface(title="t")).version == 2
        assert tx.put_interface(interface(title="t", upstream="https://other.example/")).version == 3
        assert tx.put_interface(interface(title="t", active=False)).version == 4
    assert [change.withdraws for change in tx.changes] == [False, True, True]
    assert store.interface("public-security", "household-query") is None
    assert store.any_interface("public-security", "household-query").version == 4
    assert store.interfaces_of("household") == ()
    assert store.slice_state("civil-affairs", "household").interfaces == ()


def test_interface_that_moves_touches_both_datasets(store: Store) -> None:
    """An interface pointed at another dataset leaves the slices of the old one."""
    with store.transaction() as tx:
        tx.put_interface(interface(dataset="other"))
    assert {change.dataset for change in tx.changes} == {"household", "other"}


def test_entity_tags_guard_the_directory(store: Store) -> None:
    """Two officers do not overwrite each other's departments, systems, interfaces, purposes or officers."""
    tag = etag(store.system("marriage-desk"))
    with store.transaction() as tx:
        tx.put_system(system(name="a"), if_match=tag)
    for write in (
        lambda tx: tx.put_system(system(name="b"), if_match=tag),
        lambda tx: tx.put_department(department(), if_match="x"),
        lambda tx: tx.put_interface(interface(), if_match="x"),
        lambda tx: tx.put_purpose(Purpose("p", "P"), if_match="x"),
        lambda tx: tx.put_officer(Officer("o", "d", "442000", (Role.DEMAND,)), if_match="x"),
    ):
        with pytest.raises(GatewayError) as refused, store.transaction() as tx:
            write(tx)
        assert refused.value.code == "precondition-failed"


def test_officer_keeps_the_password_when_changed(store: Store) -> None:
    """A local account's hash stays unless a new one is given."""
    officer = Officer("o", "civil-affairs", "442000", (Role.DEMAND, Role.AUDITOR), "张三")
    with store.transaction() as tx:
        tx.put_officer(officer, secret_hash="$argon2id$…")
    with store.transaction() as tx:
        tx.put_officer(replace(officer, active=False))
    assert store.officer("o") == replace(officer, active=False)
    assert store.officer_secret("o") == "$argon2id$…"
    assert store.officer_secret("none") is None
    assert store.officer("none") is None


def test_purposes_are_listed(store: Store) -> None:
    """Purposes come by id."""
    with store.transaction() as tx:
        tx.put_purpose(Purpose("adoption", "收养登记", "民法典"))
    assert [purpose.id for purpose in store.purposes()] == ["adoption", "marriage-registration"]


def test_entries_are_listed_by_state_words_and_supplier(store: Store) -> None:
    """The examining officer finds what is submitted; a reader finds what is released."""
    with store.transaction() as tx:
        tx.submit_dataset(dataset("b", name="100%_完成"))
        tx.submit_dataset(dataset("b", name="second"))
    submitted = store.list_datasets(DatasetFilter(state=EntryState.SUBMITTED), None, 1)
    assert [(entry.id, entry.version) for entry in submitted.items] == [("b", 1)]
    rest = store.list_datasets(DatasetFilter(state=EntryState.SUBMITTED), submitted.cursor, 1)
    assert [(entry.id, entry.version) for entry in rest.items] == [("b", 2)]
    assert rest.cursor is None
    assert [entry.id for entry in store.list_datasets().items] == ["household"]
    for words, found in (("%", 1), ("0%_完", 1), ("人口", 0), ("'; DROP TABLE", 0)):
        assert len(store.list_datasets(DatasetFilter(EntryState.SUBMITTED, words=words)).items) == found
    assert store.list_datasets(DatasetFilter(supplier="none")).items == ()


def test_the_tag_of_what_a_file_names_changes_with_that_alone(store: Store) -> None:
    """It is another once one of its things is changed, comes or goes; what the file does not name leaves it."""
    whole = store.directory()
    named = DirectoryFile(
        departments=(*whole.departments, department("not-yet")),
        purposes=whole.purposes,
        datasets=whole.datasets,
        interfaces=whole.interfaces,
    )

    def tag() -> str:
        with store.transaction() as tx:
            return tx.named_rows(named).tag

    assert tag() == store.directory_rows().tag, "a file as it was exported has the tag of the export"
    seen = [tag()]
    with store.transaction() as tx:
        tx.put_department(department("another"))
    assert tag() == seen[0] != store.directory_rows().tag
    changes: list[Callable[[StoreTransaction], object]] = [
        lambda tx: tx.put_department(department("not-yet")),
        lambda tx: tx.put_purpose(replace(whole.purposes[0], name="改名")),
        lambda tx: tx.import_directory(
            DirectoryFile(datasets=(replace(whole.datasets[0], name="改名"),)), release=True
        ),
        lambda tx: tx.put_interface(replace(whole.interfaces[0], active=False)),
        lambda tx: tx.withdraw_dataset(whole.datasets[0].id),
    ]
    for change in changes:
        with store.transaction() as tx:
            change(tx)
        assert tag() not in seen
        seen.append(tag())
