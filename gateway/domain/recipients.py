"""Whether a department is one that an entry may be shared with (Decree 809 Art. 15): the entry's scope as facts.

What is written in words (`Dataset.scope`) is for people; what stands in `Dataset.recipients` is compared with what the
department is: when a grant is proposed, approved, entered or renewed, and at every call by
`policies/national/art15-recipients.cedar`. A test holds that the two agree.

A named department stays named by whatever it is called, and is followed by what it became: an id is no name. Level,
region and matters are what the registrar has on record of the department now.
"""

from collections.abc import Mapping

from gateway.domain.directory import Dataset, Department, Recipients, SharingAttribute
from gateway.domain.regions import region_chain

EVERYONE = Recipients()

FIELDS: Mapping[str, tuple[str, str]] = {
    "departments": ("departments", "部门"),
    "levels": ("levels", "层级"),
    "regions": ("regions", "区划"),
    "matters": ("matters", "事项"),
}
"""Field of `Recipients` -> what it is called, in English and in Chinese."""


def bounds_of(entry: Dataset) -> Recipients:
    """What bounds an entry's recipients."""
    return entry.recipients or EVERYONE


def bounds_missed(entry: Dataset, department: Department) -> tuple[str, ...]:
    """The fields of the entry's bounds that leave the department out; empty where it may have the data."""
    bounds = bounds_of(entry)
    fits = {
        "departments": not {department.id, *department.succeeds}.isdisjoint(bounds.departments),
        "levels": department.level in bounds.levels,
        "regions": not set(region_chain(department.region)).isdisjoint(bounds.regions),
        "matters": not set(department.matters).isdisjoint(bounds.matters),
    }
    return tuple(field for field, is_met in fits.items() if getattr(bounds, field) and not is_met)


def drops_bounds(old: Dataset | None, new: Dataset) -> bool:
    """Whether a version is silent on who may have its data where the one before, which is or was in force, is not.

    A file that an older program wrote, or a sheet without those columns, would lift the bounds without a word.
    """
    is_open = new.sharing_attribute is SharingAttribute.CONDITIONAL
    return old is not None and bounds_of(old) != EVERYONE and new.recipients is None and is_open


UNSAID = (
    "missing: the version before says who may have the data; say so again, or `{}` (不限 in a sheet) for every"
    " department (Decree 809 Art. 15)"
)
"""What is wrong with a version that drops bounds."""


def told(bounds: Recipients, *, chinese: bool = False) -> str:
    """Bounds in words: `levels city, county; regions 440000`."""
    parts = [
        f"{FIELDS[field][chinese]} {('、' if chinese else ', ').join(getattr(bounds, field))}"
        for field in FIELDS
        if getattr(bounds, field)
    ]
    return ("；" if chinese else "; ").join(parts) or ("所有部门" if chinese else "every department")
