"""Whether a new version of something takes access away: what decides if answers streaming under it are cut.

INVARIANT: BARRIER rests on these: a doubtful case counts as withdrawing. Of grants,
`gateway.domain.conditions` says it.
"""

import msgspec

from gateway.domain.directory import Dataset, Department, Interface, System

_DESCRIPTIVE = {
    "name": "",
    "category": "",
    "abstract": "",
    "format": "",
    "openness": "",
    "released_on": None,
    "related_codes": (),
    "retention_years": 3,
    "retention_citation": "",
    "legal_basis": "",
    "non_shareable_reason": "",
    "version": 1,
    "update_cycle": "year",
}


def entry_withdraws(old: Dataset | None, new: Dataset) -> bool:
    """Whether releasing `new` over `old` may take access away: more than its description has changed."""
    if old is None:
        return False
    plain = {name: value for name, value in _DESCRIPTIVE.items() if name != "update_cycle"}
    return msgspec.structs.replace(
        old, **plain, state=new.state, update_cycle=new.update_cycle, items=_bare(old)
    ) != msgspec.structs.replace(new, **plain, items=_bare(new))


def _bare(entry: Dataset) -> tuple[object, ...]:
    return tuple(sorted((item.name, item.sensitive) for item in entry.items))


def interface_withdraws(old: Interface | None, new: Interface) -> bool:
    """Whether a change of an interface may take access away: more than its title has changed."""
    if old is None or not old.active:
        return False
    return msgspec.structs.replace(old, title="", version=1) != msgspec.structs.replace(new, title="", version=1)


def system_withdraws(old: System | None, new: System) -> bool:
    """Whether a change of a system takes access away: revoked, moved, a key withdrawn, or another certification."""
    if old is None or not old.active:
        return False
    return (
        not new.active
        or new.department != old.department
        or not set(new.certificates) >= set(old.certificates)
        or any(key not in new.keys for key in old.keys)
        or new.dates != old.dates
    )


def department_withdraws(old: Department | None, new: Department) -> bool:
    """Whether a change of a department may take access away: whatever policies can read of it has changed."""
    if old is None:
        return False
    read = ("parent", "region", "level", "competent")
    is_other = any(getattr(old, field) != getattr(new, field) for field in read)
    return is_other or not set(old.matters) <= set(new.matters)
