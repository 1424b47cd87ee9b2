"""Orders: suspensions and terminations, of one grant or of wider reach (Decree 809 Art. 27 ¶2, 35).

An order in force is one `forbid` above every grant. Lifting it takes that policy away and nothing else.
"""

from datetime import date, datetime
from enum import StrEnum

import msgspec


class Reach(StrEnum):
    """What an order stands over; `target` names the one it means."""

    GRANT = "grant"
    SYSTEM = "system"
    DEPARTMENT = "department"
    DATASET = "dataset"
    SUPPLIER = "supplier"


class OrderKind(StrEnum):
    """A suspension may be lifted; a termination may not; an emergency suspension owes a report (Art. 35)."""

    SUSPENSION = "suspension"
    EMERGENCY = "emergency"
    TERMINATION = "termination"


class Order(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A stop, in force from `ordered_at` until it is lifted.

    Args:
        id: unique.
        kind: suspension, emergency or termination.
        reach: what `target` is.
        target: a grant, system, department, dataset or supplier id.
        reason: in words; for a suspension the violation found (Art. 27 ¶2).
        ordered_by: the officer's id.
        ordered_at: when it took force.
        rectify_by: the date set for rectification (Art. 27 ¶2).
        consultation: record of consultation with the demand department (Art. 27 ¶3).
        filing: filing reference with the competent department (Art. 27 ¶3).
        report_due: when an emergency's report to the competent department is due (Art. 35).
        lifted_by: who lifted it, if lifted.
        lifted_at: when.
        lift_reason: why.
        supplier: limits an order on a department or system to one supplier's data; None is all suppliers.
        subordinates: whether an order on a department stops the departments below it too.
        reported_by: who reported the emergency, once it was reported (Art. 35).
        reported_at: when.
        report: the report's reference.
    """

    id: str
    kind: OrderKind
    reach: Reach
    target: str
    reason: str
    ordered_by: str
    ordered_at: datetime
    rectify_by: date | None = None
    consultation: str = ""
    filing: str = ""
    report_due: datetime | None = None
    lifted_by: str | None = None
    lifted_at: datetime | None = None
    lift_reason: str = ""
    supplier: str | None = None
    reported_by: str | None = None
    reported_at: datetime | None = None
    report: str = ""
    subordinates: bool = False

    @property
    def stops_the_pair(self) -> bool:
        """Whether it is given on one grant and stops every road by which that department obtains that data.

        INVARIANT: STOP-REACHES — what is suspended is the authority to use the data and not one paper; a termination
        ends the grant that it names.
        """
        return self.reach is Reach.GRANT and self.kind is not OrderKind.TERMINATION

    @property
    def is_in_force(self) -> bool:
        """Whether it forbids now: it does from the moment it is stored until it is lifted."""
        return self.lifted_at is None

    def is_report_overdue(self, at: datetime) -> bool:
        """Whether the report of an emergency was due before `at` and has not come; lifting does not end that duty."""
        return self.report_due is not None and self.reported_at is None and self.report_due < at
