"""Rectification of a use beyond scope or purpose: notice, proof, acceptance or the end (Decree 809 Art. 27 ¶2).

A suspension that sets a date opens it; lifting the suspension ends it, wherever that is done.
"""

import msgspec

from gateway.domain.officers import Act
from gateway.domain.processes.statements import Again, Reasons, Told, Urging
from gateway.domain.processes.table import STATED, STOPS, Party, Process, State, Step


class Notice(msgspec.Struct, frozen=True):
    """The suspension that sets the time for rectification.

    Args:
        order: its id; the violation and the date stand there.
    """

    order: str


class Failure(msgspec.Struct, frozen=True):
    """That rectification was refused, or not made as required: sharing under the grant ends.

    Args:
        rectification: the finding.
        refused: whether it was refused; the date need then not have come.
    """

    rectification: str
    refused: bool = False


RECTIFICATIONS = Process(
    "rectifications",
    "rectification",
    "r",
    "A rectification within a set time, until it is accepted or sharing ends",
    Act.CONSULT_GRANTS,
    (
        State("notified", (Party.DEMAND,), "rectify, and show that it is done", "限期整改，并提交整改情况"),
        State(
            "proved", (Party.ORDERING,), "accept the proof, or say what is missing", "核验整改情况，予以认可或者退回"
        ),
        State("accepted"),
        State("terminated"),
    ),
    (
        Step(
            "notify",
            (Act.SUSPEND, Act.ORDER),
            (),
            "notified",
            Notice,
            "Decree 809 Art. 27 ¶2",
            "the demand department is to rectify by the day that the suspension sets; the suspension itself opens it",
            clock=STATED,
        ),
        Step(
            "prove",
            (Act.PROVE_RECTIFICATION,),
            ("notified",),
            "proved",
            Told,
            "Decree 809 Art. 27 ¶2",
            "the demand department says what was rectified; proof is attached",
            clock=STOPS,
        ),
        Step(
            "return",
            (Act.LIFT,),
            ("proved",),
            "notified",
            Again,
            "Decree 809 Art. 27 ¶2",
            "it was not rectified as required, and is due again",
            clock=STATED,
        ),
        Step(
            "accept",
            (Act.LIFT,),
            ("notified", "proved"),
            "accepted",
            Reasons,
            "Decree 809 Art. 27 ¶2",
            "the suspension is lifted in the same transaction",
            clock=STOPS,
        ),
        Step(
            "urge",
            (Act.SUSPEND, Act.ORDER),
            ("notified",),
            None,
            Urging,
            "Decree 809 Art. 27 ¶2",
            "what is overdue is demanded; it stays overdue",
            is_late=True,
        ),
        Step(
            "terminate",
            (Act.TERMINATE,),
            ("notified", "proved"),
            "terminated",
            Failure,
            "Decree 809 Art. 27 ¶2",
            "refused, or not as required: the grant is terminated in the same transaction, and disposal is due",
            clock=STOPS,
        ),
    ),
)
