"""What a release would change, shown before it is released, grant by grant (Decree 809 Art. 15)."""

from typing import Any

import pytest

from gateway.domain.directory import DataItem, SharingAttribute, SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.grants import GrantState
from gateway.store import Store
from gateway.store.directory.effects import ReleaseEffects
from tests.support.state import dataset, grant


def effects(store: Store, **fields: Any) -> ReleaseEffects:
    with store.transaction() as tx:
        tx.insert_grant(grant("both", modes=(SharingMode.QUERY, SharingMode.VERIFY)))
        tx.insert_grant(grant("name-only", items=("name",)))
        tx.insert_grant(grant("suspended"))
        tx.set_grant_state("suspended", 1, GrantState.SUSPENDED)
        tx.insert_grant(grant("ended"))
        tx.set_grant_state("ended", 1, GrantState.TERMINATED)
        entry = tx.submit_dataset(dataset(**fields))
    return store.release_effects("household", entry.version)


def test_lost_items_are_named_by_grant(store: Store) -> None:
    """An item that goes is named for each standing grant that has it; ended grants are not asked."""
    found = effects(store, items=(DataItem("name", "姓名"),))
    assert [(one.grant, one.items, one.everything) for one in found.grants] == [
        ("both", ("id_number",), False),
        ("suspended", ("id_number",), False),
    ]
    assert (found.old_version, found.new_version, found.standing, found.withdraws) == (1, 2, 3, True)
    assert [change.field for change in found.changes] == ["items"]


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        (
            {"sharing_modes": (SharingMode.VERIFY,)},
            {"both": ((), ("query",), False), "name-only": ((), ("query",), True)},
        ),
        ({"purposes": ("other",)}, {"both": (("marriage-registration",), (), True)}),
        ({"grade": 4}, {"both": ((), (), False), "name-only": ((), (), False)}),
        ({"abstract": "more words"}, {}),
    ],
    ids=["modes", "purposes", "grade", "description"],
)
def test_lost_modes_and_purposes_are_named(store: Store, fields: dict[str, Any], lost: dict[str, Any]) -> None:
    """Modes and purposes that go, and a grade that rises, are named for each grant they touch."""
    found = {one.grant: (one.purposes, one.modes, one.everything) for one in effects(store, **fields).grants}
    assert {name: found[name] for name in lost} == lost
    assert bool(found) == bool(lost)


def test_entry_that_becomes_non_shareable_takes_everything(store: Store) -> None:
    """No grant stands over a non-shareable entry (Decree 809 Art. 14)."""
    found = effects(
        store,
        sharing_attribute=SharingAttribute.NON_SHAREABLE,
        non_shareable_reason="r",
        legal_basis="l",
        sharing_modes=(),
    )
    assert [one.everything for one in found.grants] == [True, True, True]


def test_entry_that_becomes_unconditional_keeps_every_purpose(store: Store) -> None:
    """An unconditional entry limits no purpose."""
    assert effects(store, sharing_attribute=SharingAttribute.UNCONDITIONAL, purposes=()).grants == ()


def test_first_version_touches_nobody(store: Store) -> None:
    """An entry that is new takes nothing away, also one not stored yet."""
    found = store.effects_on_grants(dataset("new"))
    assert (found.old_version, found.standing, found.grants, found.withdraws) == (0, 0, (), False)
    assert {"name", "items", "grade"} <= {change.field for change in found.changes}


def test_unknown_version_is_not_found(store: Store) -> None:
    """There are no effects of a version that was not submitted."""
    with pytest.raises(GatewayError, match="no version 9"):
        store.release_effects("household", 9)
