"""What releasing a version of an entry would change: shown before it is released, grant by grant (Decree 809 Art. 15).

A grant is touched if it stands and some item, purpose or mode of it is no longer in the entry, if the entry becomes
non-shareable or its scope leaves the department out, or if its grade rises, which may ask its callers for stronger
credentials.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from gateway.domain.classification import class_of
from gateway.domain.directory import Dataset, Department, SharingAttribute, SharingMode
from gateway.domain.grants import Grant, GrantState
from gateway.domain.recipients import bounds_missed
from gateway.store.scope import entry_withdraws

Known = Callable[[str], Department | None]
"""How a department is looked up."""

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
        out_of_scope: whether that is so because the entry's scope leaves the department out.
        grade_rises: whether its callers may need stronger credentials.
    """

    grant: str
    department: str
    state: str
    items: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    everything: bool = False
    out_of_scope: bool = False
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
        revives: ids of grants in force by which something flows that does not flow now.
    """

    dataset: str
    old_version: int
    new_version: int
    changes: tuple[FieldChange, ...]
    withdraws: bool
    standing: int
    grants: tuple[TouchedGrant, ...]
    revives: tuple[str, ...] = ()


class Reached(msgspec.Struct, frozen=True):
    """What a change of departments does by the scope of entries.

    Args:
        again: ids of grants in force by which something flows that does not flow now.
        no_more: of those by which nothing flows any more.
    """

    again: tuple[str, ...]
    no_more: tuple[str, ...]


def effects_of(
    old: Dataset | None, new: Dataset, grants: Sequence[Grant], now: datetime, department: Known
) -> ReleaseEffects:
    """What releasing `new` over `old` at `now` changes for the standing `grants` on the dataset."""
    before = msgspec.to_builtins(msgspec.structs.asdict(old)) if old is not None else {}
    after = msgspec.to_builtins(msgspec.structs.asdict(new))
    touched = (_touched(grant, old, new, department) for grant in grants)
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
        revives=revived(old, new, grants, now, department),
    )


GUARDED_GRADE = 3
"""From this grade on a credential is bound to its sender (Decree 809 Art. 35): below it, more callers come through."""


def revived(
    old: Dataset | None, new: Dataset, grants: Sequence[Grant], now: datetime, department: Known
) -> tuple[str, ...]:
    """Ids of the grants in force by which something flows under `new` that does not flow under `old`.

    A grant outlives the withdrawal of its entry, or a stricter version of it: what comes back is shown, and asked for.
    """
    found = []
    for grant in grants:
        if grant.state is not GrantState.ISSUED or grant.valid_until <= now:
            continue
        before, after = _flows(old, grant, department), _flows(new, grant, department)
        wider = after is not None and (
            before is None or any(set(a) - set(b) for a, b in zip(after, before, strict=True))
        )
        eased = before is not None and after is not None and old is not None and new.grade < GUARDED_GRADE <= old.grade
        if wider or eased:
            found.append(grant.id)
    return tuple(sorted(found))


def _flows(entry: Dataset | None, grant: Grant, department: Known) -> tuple[tuple[str, ...], ...] | None:
    """Items, modes and purposes by which a grant gives something of an entry; None where it gives nothing."""
    if entry is None or entry.sharing_attribute is SharingAttribute.NON_SHAREABLE or not class_of(entry.classification):
        return None
    if _is_outside(entry, grant, department):
        return None
    limited = entry.sharing_attribute is SharingAttribute.CONDITIONAL and entry.purposes
    items = tuple(item for item in grant.items if item in entry.item_names)
    modes = tuple(m.value for m in grant.modes if m is SharingMode.VERIFY or m in entry.sharing_modes)
    purposes = tuple(purpose for purpose in grant.purposes if not limited or purpose in entry.purposes)
    return (items, modes, purposes) if items and modes and purposes else None


def _is_outside(entry: Dataset, grant: Grant, department: Known) -> bool:
    """Whether the entry's scope leaves the grant's department out."""
    found = department(grant.department)
    return found is not None and bool(bounds_missed(entry, found))


def _touched(grant: Grant, old: Dataset | None, new: Dataset, department: Known) -> TouchedGrant | None:
    left_out = _is_outside(new, grant, department) and (old is None or not _is_outside(old, grant, department))
    if left_out or new.sharing_attribute is SharingAttribute.NON_SHAREABLE:
        return TouchedGrant(
            grant.id,
            grant.department,
            grant.state.value,
            grant.items,
            grant.purposes,
            tuple(mode.value for mode in grant.modes),
            everything=True,
            out_of_scope=left_out,
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
