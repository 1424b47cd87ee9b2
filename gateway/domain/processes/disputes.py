"""A dispute over sharing: consulted, coordinated, and decided where that fails (Decree 809 Art. 28; Zhongshan Art. 37).

While it is open the grant's records are held from pruning; the grant's state is unchanged.
"""

import msgspec

from gateway.domain.officers import Act
from gateway.domain.processes.statements import Reasons
from gateway.domain.processes.table import Party, Process, State, Step


class Contention(msgspec.Struct, frozen=True):
    """What is disputed.

    Args:
        grant: the grant that it is about.
        reason: what is disputed, in words.
    """

    grant: str
    reason: str


class Agreement(msgspec.Struct, frozen=True):
    """How a dispute ended.

    Args:
        outcome: in words.
        reference: the number of the document, if there is one.
    """

    outcome: str
    reference: str = ""


_BOTH = (Party.DEMAND, Party.SUPPLIER)

DISPUTES = Process(
    "disputes",
    "dispute",
    "d",
    "A dispute over sharing, until it is agreed, settled or decided",
    Act.CONSULT_GRANTS,
    (
        State("consulting", _BOTH, "consult with the other side", "双方协商"),
        State(
            "offered", _BOTH, "agree to what the other side offers, or apply for coordination", "同意对方方案或申请协调"
        ),
        State("applied", (Party.COMPETENT,), "coordinate and settle the dispute", "协调处理争议"),
        State("referred", (Party.COMPETENT,), "note what the people's government decides", "报请本级人民政府决定"),
        State("agreed"),
        State("settled"),
        State("decided"),
        State("withdrawn"),
    ),
    (
        Step(
            "open",
            (Act.DISPUTE,),
            (),
            "consulting",
            Contention,
            "Decree 809 Art. 28",
            "the grant's records are held from pruning",
        ),
        Step(
            "offer",
            (Act.DISPUTE,),
            ("consulting", "offered"),
            "offered",
            Agreement,
            "Decree 809 Art. 28",
            "one side says on what it would agree; a later offer replaces it",
        ),
        Step(
            "agree",
            (Act.DISPUTE,),
            ("offered",),
            "agreed",
            Reasons,
            "Decree 809 Art. 28",
            "the other side agrees: the hold ends",
        ),
        Step(
            "apply",
            (Act.DISPUTE,),
            ("consulting", "offered"),
            "applied",
            Reasons,
            "Decree 809 Art. 28",
            "consultation failed: the competent department is to coordinate",
        ),
        Step(
            "settle",
            (Act.SETTLE,),
            ("consulting", "offered", "applied"),
            "settled",
            Agreement,
            "Decree 809 Art. 28",
            "coordinated and settled: the hold ends",
        ),
        Step(
            "refer",
            (Act.SETTLE,),
            ("applied",),
            "referred",
            Reasons,
            "Decree 809 Art. 28",
            "coordination failed: reported to the people's government for decision",
        ),
        Step(
            "decide",
            (Act.SETTLE,),
            ("referred",),
            "decided",
            Agreement,
            "Decree 809 Art. 28",
            "what the people's government decided is on record: the hold ends",
        ),
        Step(
            "withdraw",
            (Act.DISPUTE,),
            ("consulting", "offered", "applied"),
            "withdrawn",
            Reasons,
            "Decree 809 Art. 28",
            "by the side that opened it: the hold ends",
        ),
    ),
)
