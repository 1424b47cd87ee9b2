"""What a committed change touches: enough for a worker to drop what it held, and nothing more.

The state's change feed is a gapless sequence of `Change`s. A field that is None does not narrow: a change with
department and dataset both None drops every slice.
"""

from enum import StrEnum

import msgspec


class ChangeKind(StrEnum):
    """What kind of thing changed."""

    GRANT = "grant"
    ORDER = "order"
    ENTRY = "entry"
    INTERFACE = "interface"
    SYSTEM = "system"
    DEPARTMENT = "department"
    POLICY = "policy"
    KEY = "key"


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One committed change.

    Args:
        sequence: its place in the feed; consecutive, starting at 1.
        kind: what changed.
        subject: the id of what changed (a grant, an order, an interface key, …).
        department: the demand department whose slices it touches; None is every one.
        dataset: the dataset whose slices it touches; None is every one.
        system: the one system it touches; None is every one.
        supplier: the supplier whose datasets it touches; None is every one.
        grant: the one grant it touches, if it is about a grant.
        withdraws: whether it can take access away, so that answers streaming under it are cut (INVARIANT: BARRIER).
    """

    sequence: int
    kind: ChangeKind
    subject: str
    department: str | None = None
    dataset: str | None = None
    system: str | None = None
    supplier: str | None = None
    grant: str | None = None
    withdraws: bool = False
