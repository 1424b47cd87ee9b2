"""Return of data to a lower level: what, to whom, and whether it came (Decree 809 Art. 24)."""

from datetime import date

import msgspec

from gateway.domain.officers import Act
from gateway.domain.processes.statements import Reasons, Told, Urging
from gateway.domain.processes.table import STATED, STOPS, Party, Process, State, Step


class ReturnRequest(msgspec.Struct, frozen=True):
    """What a department of a lower level asks back from one of a higher level.

    Args:
        department: the department of the higher level, whose system collected the data.
        statement: which data, collected where, and for which duty they are needed.
        dataset: the entry that they are of, if there is one.
    """

    department: str
    statement: str
    dataset: str = ""


class Promise(msgspec.Struct, frozen=True):
    """By when data are returned, and how.

    Args:
        due_on: the last day, China Standard Time.
        statement: how: by which interface, batch or file.
    """

    due_on: date
    statement: str


class Returned(msgspec.Struct, frozen=True):
    """That data were returned.

    Args:
        returned_on: the day, China Standard Time.
        statement: which, and how.
        grant: under which they flow back, if by the gateway: one of return flow.
    """

    returned_on: date
    statement: str
    grant: str = ""


RETURNS = Process(
    "returns",
    "return",
    "b",
    "Data to be returned to a lower level, until they came",
    Act.CONSULT_GRANTS,
    (
        State("requested", (Party.SUPPLIER,), "return the data, or say by when", "回流数据，或者明确回流时间"),
        State("promised", (Party.SUPPLIER,), "return the data", "回流数据"),
        State("returned", (Party.DEMAND,), "confirm that the data came whole", "确认数据已完整回流"),
        State("confirmed"),
        State("refused"),
        State("withdrawn"),
    ),
    (
        Step(
            "request",
            (Act.REQUEST_RETURN,),
            (),
            "requested",
            ReturnRequest,
            "Decree 809 Art. 24",
            "a department of a lower level asks for what was collected in its region",
        ),
        Step(
            "promise",
            (Act.ANSWER_RETURN,),
            ("requested",),
            "promised",
            Promise,
            "Decree 809 Art. 24",
            "the data are due by that day; no further conditions are set",
            clock=STATED,
        ),
        Step(
            "return",
            (Act.ANSWER_RETURN,),
            ("requested", "promised"),
            "returned",
            Returned,
            "Decree 809 Art. 24",
            "the data were returned; who asked confirms it",
            clock=STOPS,
        ),
        Step(
            "confirm",
            (Act.REQUEST_RETURN,),
            ("returned",),
            "confirmed",
            Told,
            "Decree 809 Art. 24",
            "the data came, timely and whole",
            clock=STOPS,
        ),
        Step(
            "miss",
            (Act.REQUEST_RETURN,),
            ("returned",),
            "requested",
            Reasons,
            "Decree 809 Art. 24",
            "what came is not all of it",
            clock=STOPS,
        ),
        Step(
            "refuse",
            (Act.ANSWER_RETURN,),
            ("requested", "promised"),
            "refused",
            Reasons,
            "Decree 809 Art. 24",
            "the security of the data does not allow it; an order to correct may follow (Art. 39(5))",
            clock=STOPS,
        ),
        Step(
            "urge",
            (Act.SUPERVISE_SHARING,),
            ("promised",),
            None,
            Urging,
            "Decree 809 Art. 24, 39(5)",
            "what is overdue is demanded; it stays overdue",
            is_late=True,
        ),
        Step(
            "withdraw",
            (Act.REQUEST_RETURN,),
            ("requested", "promised"),
            "withdrawn",
            Reasons,
            "Decree 809 Art. 24",
            "nothing is owed any more",
            clock=STOPS,
        ),
    ),
)
