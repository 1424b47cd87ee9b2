"""A grant: what a supply department approved for a demand department (Decree 809 Art. 20, 21, 25, 27).

A grant is never edited: renewal and change are new versions with approvals of their own. What it covers is its
*scope*; where it stands in its life is its *state*, changed by acts alone.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from gateway.domain.callers import Assurance
from gateway.domain.directory import SharingMode

MAX_VALUE_BYTES = 256
"""Longest value of a query parameter that a grant may constrain, decoded, UTF-8; calls with longer ones are refused."""


class GrantState(StrEnum):
    """The stored state of a grant; that it is active or expired follows from the time."""

    ISSUED = "issued"
    SUSPENDED = "suspended"
    TERMINATED = "terminated"
    CLOSED = "closed"
    DISPOSED = "disposed"
    SUPERSEDED = "superseded"


class Hours(msgspec.Struct, frozen=True):
    """Hours of the day in which a grant holds, as minutes since midnight, China Standard Time; `start` < `end`."""

    start_minute: int
    end_minute: int


class Quota(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much may be drawn under a grant on one calendar day, China Standard Time; None is unlimited."""

    calls_a_day: int | None = None
    rows_a_day: int | None = None


class Approval(msgspec.Struct, frozen=True, omit_defaults=True):
    """The approval of the person in charge of one side's working body for data sharing (Decree 809 Art. 20, 21).

    Args:
        person: who approved.
        at: when.
        reference: the number of the approval document.
        digest: of what a signed-in person approved (`domain.proposals`); "" where it was entered from paper.
    """

    person: str
    at: datetime
    reference: str = ""
    digest: str = ""


class Grant(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One version of a grant.

    Args:
        id: a slug or an identifier of the approving platform, at most 64 characters.
        department: the demand department's id.
        dataset: the dataset's id.
        items: names of the items that may leave; at least one.
        purposes: ids of the purposes; at least one.
        modes: sharing modes; at least one.
        valid_from: the first instant at which it holds.
        valid_until: the first instant at which it no longer holds.
        legal_basis: Art. 20: basis.
        scenario: Art. 20: scenario.
        scope_of_use: Art. 20: scope of use, in words.
        demand_approval: Art. 20.
        supply_approval: Art. 20, 21.
        systems: ids of the systems it is for; empty is every system of the department.
        interfaces: ids of the dataset's interfaces it is for; empty is every one.
        hours: hours of the day, if limited.
        parameters: query parameter -> allowed values (a region code, say); a call must bear each exactly once.
        assurance: the least assurance it asks for, above what the grade asks.
        quota: per day.
        combination: ids of datasets that may be drawn together under this grant (Art. 25 ¶2), this one included.
        return_flow: data returned to a lower level (Art. 24): no hours, parameters, quota or assurance may be added.
        version: 1, 2, …; counts per id.
        state: where it stands.
        disputed: whether a dispute is open (Art. 28); its records are held.
    """

    id: str
    department: str
    dataset: str
    items: tuple[str, ...]
    purposes: tuple[str, ...]
    modes: tuple[SharingMode, ...]
    valid_from: datetime
    valid_until: datetime
    legal_basis: str
    scenario: str
    scope_of_use: str
    demand_approval: Approval
    supply_approval: Approval
    systems: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    hours: Hours | None = None
    parameters: dict[str, tuple[str, ...]] = {}
    assurance: Assurance | None = None
    quota: Quota | None = None
    combination: tuple[str, ...] = ()
    return_flow: bool = False
    version: int = 1
    state: GrantState = GrantState.ISSUED
    disputed: bool = False
