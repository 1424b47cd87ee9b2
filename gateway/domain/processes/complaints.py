"""A complaint of anyone, with or without an account: taken in, handed over, answered (Decree 809 Art. 37)."""

from datetime import date

import msgspec

from gateway.domain.officers import Act
from gateway.domain.processes.statements import Reasons, Urging
from gateway.domain.processes.table import STATED, STOPS, Party, Process, State, Step


class Complaint(msgspec.Struct, frozen=True):
    """What is complained of.

    Args:
        department: which it is about; whoever does not know names the competent department.
        statement: what happened, in the complainant's words.
        contact: where an answer reaches the complainant, if it is to be sent.
    """

    department: str
    statement: str
    contact: str = ""


class HandOver(msgspec.Struct, frozen=True):
    """Which department is to handle it.

    Args:
        department: its id.
        reasons: why that one.
        due_on: the day by which it is to answer.
    """

    department: str
    reasons: str
    due_on: date


class Reply(msgspec.Struct, frozen=True):
    """What the complainant is told.

    Args:
        reply: in words; who knows the reference number and the code reads it.
    """

    reply: str


COMPLAINTS = Process(
    "complaints",
    "complaint",
    "k",
    "A complaint, from its intake to the reply",
    Act.CONSULT_GRANTS,
    (
        State("filed", (Party.COMPETENT,), "hand the complaint over, or reply to it", "转办投诉举报，或者予以答复"),
        State("handed-over", (Party.DEMAND,), "handle the complaint, and reply", "处理投诉举报并答复"),
        State("answered"),
        State("dismissed"),
    ),
    (
        Step(
            "file",
            (Act.HANDLE_COMPLAINT,),
            (),
            "filed",
            Complaint,
            "Decree 809 Art. 37",
            "anyone may, without an account, and is given a reference number and a code; an officer may for somebody",
        ),
        Step(
            "hand-over",
            (Act.HANDLE_COMPLAINT,),
            ("filed", "handed-over"),
            "handed-over",
            HandOver,
            "Decree 809 Art. 37",
            "the department sees it from now on, and answers",
            clock=STATED,
        ),
        Step(
            "return",
            (Act.ANSWER_COMPLAINT,),
            ("handed-over",),
            "filed",
            Reasons,
            "Decree 809 Art. 37",
            "it is not for this department to handle",
            clock=STOPS,
        ),
        Step(
            "answer",
            (Act.ANSWER_COMPLAINT, Act.HANDLE_COMPLAINT),
            ("filed", "handed-over"),
            "answered",
            Reply,
            "Decree 809 Art. 37",
            "who complained reads the reply by the reference number and the code",
            clock=STOPS,
        ),
        Step(
            "dismiss",
            (Act.HANDLE_COMPLAINT,),
            ("filed",),
            "dismissed",
            Reply,
            "Decree 809 Art. 37",
            "it is no matter of sharing; the reply says who is to be asked",
            clock=STOPS,
        ),
        Step(
            "urge",
            (Act.HANDLE_COMPLAINT,),
            ("handed-over",),
            None,
            Urging,
            "Decree 809 Art. 37",
            "what is overdue is demanded; it stays overdue",
            is_late=True,
        ),
    ),
)
