"""A security incident of shared data: measures at once, a report, its examination (Decree 809 Art. 34, 35)."""

from datetime import date

import msgspec

from gateway.domain.officers import Act
from gateway.domain.processes.statements import Again, Reasons, Told
from gateway.domain.processes.table import STATED, STOPS, Party, Process, State, Step


class Incident(msgspec.Struct, frozen=True):
    """What happened, and what was done at once. One of grant, entry and order says to what.

    Args:
        statement: what happened, in words and without values of a person.
        measures: the emergency measures taken.
        grant: under which data were drawn that it is about.
        dataset: the entry that it is about.
        order: the emergency stop that was ordered for it; the report then fulfils the duty to report that.
        due_on: the day by which the report is due, where one is set.
    """

    statement: str
    measures: str
    grant: str = ""
    dataset: str = ""
    order: str = ""
    due_on: date | None = None


class Conclusion(msgspec.Struct, frozen=True):
    """The report on an incident.

    Args:
        cause: what caused it.
        harm: what came of it: whose data, how much; without values of a person.
        remedy: what removes the hazard.
        reference: the number of the report.
    """

    cause: str
    harm: str
    remedy: str
    reference: str


INCIDENTS = Process(
    "incidents",
    "incident",
    "i",
    "A security incident, from the first measures to its end",
    Act.CONSULT_GRANTS,
    (
        State("responding", (Party.CONCERNED,), "contain the incident, and report it", "处置安全事件，并按规定报告"),
        State("contained", (Party.CONCERNED,), "report the incident", "报告安全事件"),
        State("reported", (Party.COMPETENT,), "examine the report of the incident", "审查安全事件报告"),
        State("closed"),
    ),
    (
        Step(
            "open",
            (Act.REPORT_INCIDENT,),
            (),
            "responding",
            Incident,
            "Decree 809 Art. 35",
            "the emergency plan is begun; the competent department finds it among its duties",
            clock=STATED,
        ),
        Step(
            "update",
            (Act.REPORT_INCIDENT,),
            ("responding", "contained"),
            None,
            Told,
            "Decree 809 Art. 35",
            "a further measure, or what has become known",
        ),
        Step(
            "contain",
            (Act.REPORT_INCIDENT,),
            ("responding",),
            "contained",
            Told,
            "Decree 809 Art. 35",
            "the harm spreads no further; the report stays due",
        ),
        Step(
            "report",
            (Act.REPORT_INCIDENT,),
            ("responding", "contained"),
            "reported",
            Conclusion,
            "Decree 809 Art. 35",
            "cause, harm and remedy; fulfils the duty to report the emergency stop that was ordered for it",
            clock=STOPS,
        ),
        Step(
            "return",
            (Act.EXAMINE_INCIDENT,),
            ("reported",),
            "responding",
            Again,
            "Decree 809 Art. 35",
            "the report does not do, and is due again",
            clock=STATED,
        ),
        Step(
            "close",
            (Act.EXAMINE_INCIDENT,),
            ("reported",),
            "closed",
            Reasons,
            "Decree 809 Art. 35",
            "the hazard is removed",
            clock=STOPS,
        ),
    ),
)
