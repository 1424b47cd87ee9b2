"""Disposal of what was drawn, as the supplier requires it, and its confirmation (Decree 809 Art. 27 ¶1).

Closing or terminating a grant opens it; the destruction record is the report, wherever it is filed.
"""

from datetime import date

import msgspec

from gateway.domain.officers import Act
from gateway.domain.processes.statements import Again, Reasons, Urging
from gateway.domain.processes.table import STATED, STOPS, Party, Process, State, Step


class Ended(msgspec.Struct, frozen=True):
    """The grant that has ended.

    Args:
        grant: its id.
    """

    grant: str


class Requirement(msgspec.Struct, frozen=True):
    """How the supplier requires the data to be disposed of.

    Args:
        statement: by which method, of which copies, with which proof.
        due_on: the last day, China Standard Time.
    """

    statement: str
    due_on: date


class Destruction(msgspec.Struct, frozen=True):
    """How, when and by whom what was drawn was destroyed.

    Args:
        method: how, of all copies.
        destroyed_on: the day, China Standard Time.
        carried_out_by: who did it, and who watched.
    """

    method: str
    destroyed_on: date
    carried_out_by: str


DISPOSALS = Process(
    "disposals",
    "disposal",
    "x",
    "The disposal of what was drawn under a grant, until the supplier confirms it",
    Act.CONSULT_GRANTS,
    (
        State("due", (Party.DEMAND,), "dispose of what was drawn, and record it", "妥善处置所获取的数据，并予以记录"),
        State("reported", (Party.SUPPLIER,), "confirm the disposal, or object", "确认数据处置，或者提出异议"),
        State("confirmed"),
    ),
    (
        Step(
            "open",
            (Act.CLOSE, Act.TERMINATE),
            (),
            "due",
            Ended,
            "Decree 809 Art. 27 ¶1",
            "closing or terminating a grant opens it; of a grant that ended before there were such cases, by hand",
            clock=STATED,
        ),
        Step(
            "require",
            (Act.CONFIRM_DISPOSAL,),
            ("due",),
            None,
            Requirement,
            "Decree 809 Art. 27 ¶1",
            "the supplier says how it is to be done, and until when",
            clock=STATED,
        ),
        Step(
            "report",
            (Act.DISPOSE,),
            ("due",),
            "reported",
            Destruction,
            "Decree 809 Art. 27 ¶1, 29",
            "the destruction record that closes the duty; records are kept three years from here",
            clock=STOPS,
        ),
        Step(
            "confirm",
            (Act.CONFIRM_DISPOSAL,),
            ("reported",),
            "confirmed",
            Reasons,
            "Decree 809 Art. 27 ¶1",
            "it was disposed of as required",
            clock=STOPS,
        ),
        Step(
            "object",
            (Act.CONFIRM_DISPOSAL,),
            ("reported",),
            "due",
            Again,
            "Decree 809 Art. 27 ¶1",
            "it was not disposed of as required, and is due again",
            clock=STATED,
        ),
        Step(
            "urge",
            (Act.CONFIRM_DISPOSAL, Act.SUPERVISE_SHARING),
            ("due",),
            None,
            Urging,
            "Decree 809 Art. 27 ¶1, 40(4)",
            "what is overdue is demanded; it stays overdue",
            is_late=True,
        ),
    ),
)
