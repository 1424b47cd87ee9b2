"""What the acts of a grant's life have to state (Decree 809 Art. 27, 28, 35)."""

from datetime import date
from enum import StrEnum

from pydantic import AwareDatetime

from gateway.control.act.bodies import Body, Identifier, Statement


class SuspensionBody(Body):
    """A violation and the date set for rectification (Art. 27 ¶2), or a security incident (Art. 35)."""

    violation: Statement | None = None
    rectify_by: date | None = None
    emergency: bool = False
    incident: Statement | None = None
    report_due: AwareDatetime | None = None


class ReportBody(Body):
    """The report on an emergency: the reference under which the competent department received it (Art. 35)."""

    reference: Statement


class LiftBody(Body):
    """Why a suspension is lifted; `order` says which where several are in force."""

    reason: Statement
    order: Identifier | None = None


class TerminationBody(Body):
    """After a failed rectification (Art. 27 ¶2) its finding; otherwise consultation and filing (Art. 27 ¶3)."""

    reason: Statement
    rectification: Statement | None = None
    refused: bool = False
    consultation: Statement | None = None
    filing: Statement | None = None
    dispose_by: date | None = None


class Outcome(StrEnum):
    """Why a grant is closed (Art. 27 ¶1)."""

    ACHIEVED = "achieved"
    IMPOSSIBLE = "impossible"
    UNNECESSARY = "unnecessary"


class ClosureBody(Body):
    """The purpose is achieved, cannot be achieved, or needs the data no longer."""

    outcome: Outcome
    reason: Statement
    dispose_by: date | None = None


class DisposalBody(Body):
    """How, when and by whom what was drawn was destroyed."""

    method: Statement
    destroyed_on: date
    carried_out_by: Statement


class DisputeBody(Body):
    """What is disputed."""

    reason: Statement


class SettlementBody(Body):
    """How a dispute ended."""

    outcome: Statement
