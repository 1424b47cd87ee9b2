"""An order to a department to correct what is against the rules (Decree 809 Art. 39 to 41; Zhongshan Art. 38)."""

from datetime import date
from enum import StrEnum

import msgspec

from gateway.domain.officers import Act
from gateway.domain.processes.statements import Again, Reasons, Told, Urging
from gateway.domain.processes.table import STATED, STOPS, Party, Process, State, Step


class Ground(StrEnum):
    """What is to be corrected: a supply department's by Decree 809 Art. 39, a demand department's by Art. 40."""

    DIRECTORY = "39(1)"
    HINDERING = "39(2)"
    DATA_SOURCE = "39(3)"
    LATE = "39(4)"
    RETURN_OF_DATA = "39(5)"
    VERIFICATION = "39(6)"
    ENDING_SERVICES = "39(7)"
    PLATFORM = "39(8)"
    OTHER_SUPPLY = "39(9)"
    COLLECTED_AGAIN = "40(1)"
    BEYOND_PURPOSE = "40(2)"
    THIRD_PARTY = "40(3)"
    DISPOSAL = "40(4)"
    RECORDS = "40(5)"
    SECURITY = "40(6)"
    OTHER_DEMAND = "40(7)"

    @property
    def is_suppliers(self) -> bool:
        """Whether it is what a supply department did or left undone."""
        return self.value.startswith("39")

    @property
    def article(self) -> str:
        """Where it stands."""
        return f"Decree 809 Art. {self.value}"


class Correction(msgspec.Struct, frozen=True):
    """What is to be corrected, and until when.

    Args:
        department: which is ordered to.
        ground: the number of Decree 809 Art. 39 or 40 that it falls under.
        statement: what was found, and what is to be done, in words and without values of a person.
        due_on: the last day, China Standard Time.
        reference: the number of the order, if there is one.
    """

    department: str
    ground: Ground
    statement: str
    due_on: date
    reference: str = ""


class Escalation(msgspec.Struct, frozen=True):
    """To whom it was reported that a correction is refused, or that the circumstances are serious.

    Args:
        reasons: why.
        to: who decides on the responsible leader and the directly liable personnel.
        reference: the number of the report, if there is one.
    """

    reasons: str
    to: str
    reference: str = ""


CORRECTIONS = Process(
    "corrections",
    "correction",
    "c",
    "An order to correct, until it is accepted as done or reported further",
    Act.CONSULT_GRANTS,
    (
        State("ordered", (Party.CONCERNED,), "correct what was ordered, and report it", "限期改正，并报告改正情况"),
        State("reported", (Party.COMPETENT,), "examine whether it is corrected", "核查改正情况"),
        State("corrected"),
        State("escalated"),
        State("withdrawn"),
    ),
    (
        Step(
            "order",
            (Act.ORDER_CORRECTION,),
            (),
            "ordered",
            Correction,
            "Decree 809 Art. 39, 40",
            "the department is ordered to correct it by a day",
            clock=STATED,
        ),
        Step(
            "report",
            (Act.ANSWER_CORRECTION,),
            ("ordered",),
            "reported",
            Told,
            "Decree 809 Art. 39, 40",
            "the department says what was done; proof is attached",
            clock=STOPS,
        ),
        Step(
            "accept",
            (Act.ORDER_CORRECTION,),
            ("reported",),
            "corrected",
            Reasons,
            "Decree 809 Art. 39, 40",
            "it is corrected",
            clock=STOPS,
        ),
        Step(
            "return",
            (Act.ORDER_CORRECTION,),
            ("reported",),
            "ordered",
            Again,
            "Decree 809 Art. 39, 40",
            "it is not corrected as ordered, and due again",
            clock=STATED,
        ),
        Step(
            "urge",
            (Act.ORDER_CORRECTION,),
            ("ordered",),
            None,
            Urging,
            "Decree 809 Art. 39, 40",
            "what is overdue is demanded; it stays overdue",
            is_late=True,
        ),
        Step(
            "escalate",
            (Act.ORDER_CORRECTION,),
            ("ordered", "reported"),
            "escalated",
            Escalation,
            "Decree 809 Art. 39, 40; Zhongshan Art. 38",
            "refused, or serious: reported to who decides on the persons liable",
            clock=STOPS,
        ),
        Step(
            "withdraw",
            (Act.ORDER_CORRECTION,),
            ("ordered", "reported"),
            "withdrawn",
            Reasons,
            "Decree 809 Art. 39, 40",
            "nothing is owed any more",
            clock=STOPS,
        ),
    ),
)
