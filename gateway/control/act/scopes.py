"""Whose grants, records and figures an officer may see: asked of the policies, never derived from roles.

A question that names a supplier or a demand department is decided for what it names. One that names none is narrowed:
to the officer's region if the policies permit that, else to the officer's department as supplier or as demand
department; where both are open the officer has to say which.
"""

from difflib import get_close_matches

import msgspec

from gateway.control.act.acting import is_permitted, matter_between, require_permit
from gateway.control.act.paging import every
from gateway.control.act.services import ControlServices
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter, Officer
from gateway.store import Store


class Scope(msgspec.Struct, frozen=True):
    """What a question may reach: a field left out does not narrow.

    Args:
        supplier: only this supply department's data.
        department: only this demand department's uses.
        region: prefix of the division code of the supply departments, without trailing zeros.
    """

    supplier: str | None = None
    department: str | None = None
    region: str | None = None


def scope_of(
    services: ControlServices, officer: Officer, act: Act, supplier: str | None, department: str | None
) -> Scope:
    """The scope of a question that names `supplier` and `department`, or neither.

    Raises:
        GatewayError: `act-not-permitted`; `invalid-input` where the officer has to say as what.
    """
    store = services.store
    require_departments(store, supplier=supplier, department=department)
    named = supplier is not None or department is not None
    if named and is_permitted(services, officer, act, matter_between(store, supplier, department)):
        return Scope(supplier=supplier, department=department)
    if supplier is None and is_permitted(services, officer, act, Matter(region=officer.region)):
        return Scope(department=department, region=region_prefix(officer.region))
    as_supplier = matter_between(store, officer.department, department)
    as_demand = matter_between(store, supplier, officer.department)
    supplies = supplier is None and is_permitted(services, officer, act, as_supplier)
    demands = department is None and is_permitted(services, officer, act, as_demand)
    if supplies and demands:
        raise GatewayError(
            "invalid-input",
            "you may ask as supplier and as demand department: say which",
            faults=[{"field": "supplier", "fault": "name your department here or in `department`"}],
        )
    if supplies:
        return Scope(supplier=officer.department, department=department)
    if demands:
        return Scope(supplier=supplier, department=officer.department)
    require_permit(services, officer, act, matter_between(store, supplier, department))
    raise AssertionError("unreachable: the policies denied a moment ago")


def require_departments(store: Store, **named: str | None) -> None:
    """Raise `invalid-input` where a question names a department that is none, with the ids that are nearest to it.

    An empty answer would say that there is nothing of that department. Every officer may read who the departments are.

    Args:
        store: the state.
        named: field of the question -> the department's id, or None.
    """
    faults = []
    for field, name in named.items():
        if name is None or store.department(name) is not None:
            continue
        known = [each.id for each in every(lambda cursor: store.list_departments(cursor, 1000))]
        near = ", ".join(f"`{each}`" for each in get_close_matches(name, known, 3, 0.5))
        hint = f"; nearest: {near}" if near else ""
        faults.append({"field": field, "fault": f"there is no department `{name}`{hint}"})
    if faults:
        raise GatewayError("invalid-input", faults[0]["fault"], faults=faults)


def region_prefix(code: str) -> str:
    """What the division codes of all that lies in a region begin with (GB/T 2260: two digits a level)."""
    while code.endswith("00"):
        code = code[:-2]
    return code
