"""Whether a new version of something takes access away: what decides if answers streaming under it are cut.

INVARIANT: BARRIER rests on these: a doubtful case counts as withdrawing.
"""

import msgspec

from gateway.domain.directory import Dataset, Department, Interface, System
from gateway.domain.grants import Grant, Quota

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


def grant_narrows(old: Grant, new: Grant) -> bool:
    """Whether some call that `old` covers is not covered by `new`."""
    return not (
        set(new.items) >= set(old.items)
        and set(new.purposes) >= set(old.purposes)
        and set(new.modes) >= set(old.modes)
        and new.valid_from <= old.valid_from
        and new.valid_until >= old.valid_until
        and _open_set_covers(new.systems, old.systems)
        and _open_set_covers(new.interfaces, old.interfaces)
        and _hours_cover(new, old)
        and _parameters_cover(new, old)
        and (new.assurance is None or (old.assurance is not None and new.assurance.rank <= old.assurance.rank))
        and _quota_covers(new.quota or Quota(), old.quota or Quota())
        and set(new.combination) >= set(old.combination)
    )


def _open_set_covers(new: tuple[str, ...], old: tuple[str, ...]) -> bool:
    """Covering of lists whose empty value means everything."""
    return not new or (bool(old) and set(new) >= set(old))


def _hours_cover(new: Grant, old: Grant) -> bool:
    if new.hours is None:
        return True
    if old.hours is None:
        return False
    return new.hours.start_minute <= old.hours.start_minute and new.hours.end_minute >= old.hours.end_minute


def _parameters_cover(new: Grant, old: Grant) -> bool:
    return all(
        name in old.parameters and set(values) >= set(old.parameters[name]) for name, values in new.parameters.items()
    )


def _quota_covers(new: Quota, old: Quota) -> bool:
    return all(
        mine is None or (theirs is not None and mine >= theirs)
        for mine, theirs in ((new.calls_a_day, old.calls_a_day), (new.rows_a_day, old.rows_a_day))
    )


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
    """Whether a change of a system takes access away: revoked, moved, or a key or certificate withdrawn."""
    if old is None or not old.active:
        return False
    return (
        not new.active
        or new.department != old.department
        or not set(new.certificates) >= set(old.certificates)
        or any(key not in new.keys for key in old.keys)
    )


def department_withdraws(old: Department | None, new: Department) -> bool:
    """Whether a change of a department may take access away: its place in the tree or its region has changed."""
    return old is not None and (old.parent, old.region, old.level) != (new.parent, new.region, new.level)
