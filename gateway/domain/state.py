"""What the policies need to know of the state to decide for one department and one dataset.

Like the grants, orders and entries in it, it holds nothing that could hold it (`gc=False`): a worker keeps hundreds,
and a walk of the garbage collector over them would hold up its calls.
"""

import msgspec

from gateway.domain.directory import Dataset, Department, Interface
from gateway.domain.grants import Grant
from gateway.domain.orders import Order


class SliceState(msgspec.Struct, frozen=True, gc=False):
    """A consistent reading of the state for one (demand department, dataset) pair.

    Args:
        sequence: the change feed's position this reading includes.
        department: the demand department, or None if unknown.
        ancestors: its parents, nearest first.
        supplier: the supply department, or None if the dataset is unknown.
        dataset: the released version of the entry, or None.
        interfaces: the dataset's active interfaces.
        grants: the newest version of every grant of the department on the dataset that is not superseded,
            whatever its state or time (a denial explains by them).
        orders: orders in force that can reach the pair: on these grants, any system of the department, the
            department, the dataset, the supplier.
    """

    sequence: int
    department: Department | None
    ancestors: tuple[Department, ...]
    supplier: Department | None
    dataset: Dataset | None
    interfaces: tuple[Interface, ...]
    grants: tuple[Grant, ...]
    orders: tuple[Order, ...]
