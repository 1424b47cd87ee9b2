"""What releasing a version of an entry would change: shown before it is released, grant by grant (Decree 809 Art. 15).

A grant is touched if it stands and some item, purpose or mode of it is no longer in the entry, if the entry becomes
non-shareable, or if its grade rises, which may ask its callers for stronger credentials.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.domain.directory import Dataset, SharingAttribute
from gateway.domain.grants import Grant
from gateway.store.scope import entry_withdraws

_NOT_COMPARED = frozenset({"version", "state"})


class FieldChange(msgspec.Struct, frozen=True):
    """One field of an entry that a release changes, as plain values."""

    field: str
    old: Any
    new: Any


class TouchedGrant(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a standing grant loses by a release.

    Args:
        grant: its id.
        department: the demand department.
        state: issued or suspended.
        items: items of the grant that the entry no longer has.
        purposes: purposes of the grant that the entry no longer allows.
        modes: sharing modes of the grant that the entry no longer has.
        everything: whether nothing of the grant stands any more.
        grade_rises: whether its callers may need stronger credentials.
    """

    grant: str
    department: str
    state: str
    items: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    everything: bool = False
    grade_rises: bool = False


class ReleaseEffects(msgspec.Struct, frozen=True):
    """What releasing `new_version` of an entry over `old_version` changes.

    Args:
        dataset: the entry's id.
        old_version: the version that is released now; 0 if none is.
        new_version: the version looked at.
        changes: every field that differs, by name.
        withdraws: whether answers that stream under the dataset are cut when it is released.
        standing: how many issued or suspended grants stand on the dataset.
        grants: those that lose something, by id.
    """

    dataset: str
    old_version: int
    new_version: int
    changes: tuple[FieldChange, ...]
    withdraws: bool
    standing: int
    grants: tuple[TouchedGrant, ...]


def effects_of(old: Dataset | None, new: Dataset, grants: Sequence[Grant]) -> ReleaseEffects:
    """What releasing `new` over `old` changes for the standing `grants` on the dataset."""
    before = msgspec.to_builtins(msgspec.structs.asdict(old)) if old is not None else {}
    after = msgspec.to_builtins(msgspec.structs.asdict(new))
    touched = (_touched(grant, old, new) for grant in grants)
    return ReleaseEffects(
        dataset=new.id,
        old_version=old.version if old else 0,
        new_version=new.version,
        changes=tuple(
            FieldChange(field, before.get(field), value)
            for field, value in after.items()
            if field not in _NOT_COMPARED and before.get(field) != value
        ),
        withdraws=entry_withdraws(old, new),
        standing=len(grants),
        grants=tuple(found for found in touched if found is not None),
    )


def _touched(grant: Grant, old: Dataset | None, new: Dataset) -> TouchedGrant | None:
    if new.sharing_attribute is SharingAttribute.NON_SHAREABLE:
        return TouchedGrant(
            grant.id,
            grant.department,
            grant.state.value,
            grant.items,
            grant.purposes,
            tuple(mode.value for mode in grant.modes),
            everything=True,
        )
    items = tuple(item for item in grant.items if item not in new.item_names)
    conditional = new.sharing_attribute is SharingAttribute.CONDITIONAL
    purposes = tuple(purpose for purpose in grant.purposes if conditional and purpose not in new.purposes)
    modes = tuple(mode.value for mode in grant.modes if mode not in new.sharing_modes)
    rises = old is not None and new.grade > old.grade
    if not (items or purposes or modes or rises):
        return None
    everything = any(
        lost and len(lost) == len(held)
        for lost, held in ((items, grant.items), (purposes, grant.purposes), (modes, grant.modes))
    )
    return TouchedGrant(
        grant.id, grant.department, grant.state.value, items, purposes, modes, everything=everything, grade_rises=rises
    )
