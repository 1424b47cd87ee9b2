"""A doubt about shared data: the supplier verifies, corrects and answers (Decree 809 Art. 26; Zhongshan Art. 23)."""

from enum import StrEnum

import msgspec

from gateway.domain.officers import Act
from gateway.domain.processes.statements import Reasons
from gateway.domain.processes.table import STOPS, Party, Process, State, Step


class Finding(StrEnum):
    """What a verification found."""

    RIGHT = "right"
    CORRECTED = "corrected"
    NOT_FOUND = "not-found"


class Doubt(msgspec.Struct, frozen=True):
    """What is doubted.

    Args:
        dataset: the directory entry.
        statement: what is inaccurate or incomplete, in words and without values.
        items: the data items that are doubted; empty is all.
        record: the record of the use that gave the data, if it was one.
    """

    dataset: str
    statement: str
    items: tuple[str, ...] = ()
    record: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What the supplier found and did.

    Args:
        outcome: right, corrected or not-found.
        statement: the handling, in words and without values.
    """

    outcome: Finding
    statement: str


VERIFICATIONS = Process(
    "verifications",
    "verification",
    "v",
    "A request to verify shared data, until it is answered",
    Act.CONSULT_GRANTS,
    (
        State("received", (Party.SUPPLIER,), "verify, correct and answer", "核实、校正并反馈处理结果"),
        State("answered"),
        State("withdrawn"),
    ),
    (
        Step(
            "request",
            (Act.REQUEST_VERIFICATION,),
            (),
            "received",
            Doubt,
            "Decree 809 Art. 26",
            "the supplier has received it, and the answer is due",
            clock="verification",
        ),
        Step(
            "answer",
            (Act.ANSWER_VERIFICATION,),
            ("received",),
            "answered",
            Outcome,
            "Decree 809 Art. 26",
            "right, corrected, or no such data found",
            clock=STOPS,
        ),
        Step(
            "withdraw",
            (Act.REQUEST_VERIFICATION,),
            ("received",),
            "withdrawn",
            Reasons,
            "Decree 809 Art. 26",
            "nothing is owed any more",
            clock=STOPS,
        ),
    ),
)
