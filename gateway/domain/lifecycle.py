"""A grant's life as one table: which act leads from which states to which, what it must state, by which article.

Who may do an act is Cedar's answer; that an act fits the present state is this table's. *Active*, *not yet valid* and
*expired* are no stored states: they follow from the time (`standing`). Orders of wider reach leave the state of every
grant as it is and forbid above it.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, GrantState
from gateway.domain.officers import Act

_LIVE = (GrantState.ISSUED, GrantState.SUSPENDED)
_ENDED = (GrantState.TERMINATED, GrantState.CLOSED)
_ANY = (*_LIVE, *_ENDED, GrantState.DISPOSED)


class Subject(StrEnum):
    """What a step is done to."""

    GRANT = "grant"
    ORDER = "order"
    TIME = "time"


class Step(msgspec.Struct, frozen=True):
    """One row of the table.

    Args:
        name: of the step; an act may have several, told apart by what is stated.
        act: the Cedar action asked for; None where time alone does it.
        before: states it starts from; empty where there is no grant yet.
        after: the state it leads to; None leaves it as it is.
        states: what the act must state.
        article: what it rests on.
        effect: what it does besides, in words.
        or_act: the Cedar action that does as well, where either side may act (Art. 35), or by act and on paper.
        subject: what it is done to.
    """

    name: str
    act: Act | None
    before: tuple[GrantState, ...]
    after: GrantState | None
    states: tuple[str, ...]
    article: str
    effect: str
    or_act: Act | None = None
    subject: Subject = Subject.GRANT

    @property
    def acts(self) -> tuple[Act, ...]:
        """The Cedar actions of which one has to be permitted; none where time alone does it."""
        return tuple(act for act in (self.act, self.or_act) if act is not None)


LIFECYCLE: tuple[Step, ...] = (
    Step(
        "issue",
        Act.ISSUE_GRANT,
        (),
        GrantState.ISSUED,
        ("legal_basis", "scenario", "scope_of_use", "modes", "valid_until", "demand_approval", "supply_approval"),
        "Decree 809 Art. 20, 21",
        "not yet valid until `valid_from`, then active; by the acts of both sides, or entered from paper",
        or_act=Act.APPROVE_SUPPLY,
    ),
    Step(
        "become active",
        None,
        (GrantState.ISSUED,),
        None,
        (),
        "Decree 809 Art. 20",
        "`valid_from` has come: uses are permitted",
        subject=Subject.TIME,
    ),
    Step(
        "expire",
        None,
        (GrantState.ISSUED,),
        None,
        (),
        "Decree 809 Art. 20",
        "`valid_until` has come: no use is permitted; it may be renewed, or closed",
        subject=Subject.TIME,
    ),
    Step(
        "renew",
        Act.ISSUE_GRANT,
        (GrantState.ISSUED,),
        GrantState.ISSUED,
        ("legal_basis", "scenario", "scope_of_use", "modes", "valid_until", "demand_approval", "supply_approval"),
        "Decree 809 Art. 20, 25 ¶1",
        "a new version with approvals of its own; the version before is superseded, never edited",
        or_act=Act.APPROVE_SUPPLY,
    ),
    Step(
        "suspend",
        Act.SUSPEND,
        _LIVE,
        GrantState.SUSPENDED,
        ("violation", "rectify_by"),
        "Decree 809 Art. 27 ¶2",
        "an order forbids every use until it is lifted; effective when the call returns",
    ),
    Step(
        "suspend in an emergency",
        Act.SUSPEND,
        _LIVE,
        GrantState.SUSPENDED,
        ("incident",),
        "Decree 809 Art. 35",
        "the same, by either side, with a report owed to the competent department (`report_due`, 24 hours unless set)",
        or_act=Act.CLOSE,
    ),
    Step(
        "lift",
        Act.LIFT,
        (GrantState.SUSPENDED, *_ENDED, GrantState.DISPOSED),
        GrantState.ISSUED,
        ("reason",),
        "Decree 809 Art. 27 ¶2",
        "takes that order away and nothing else: suspended stays what another order suspends, and ended what has "
        "ended, whose rectification stays due until this; by whoever ordered it, or the competent department",
        or_act=Act.CLOSE,
    ),
    Step(
        "terminate after a failed rectification",
        Act.TERMINATE,
        (GrantState.SUSPENDED,),
        GrantState.TERMINATED,
        ("reason", "rectification"),
        "Decree 809 Art. 27 ¶2",
        "opens the duty to dispose of what was drawn",
    ),
    Step(
        "terminate without a violation",
        Act.TERMINATE,
        _LIVE,
        GrantState.TERMINATED,
        ("reason", "consultation", "filing"),
        "Decree 809 Art. 27 ¶3",
        "opens the duty to dispose of what was drawn",
    ),
    Step(
        "close",
        Act.CLOSE,
        _LIVE,
        GrantState.CLOSED,
        ("outcome", "reason"),
        "Decree 809 Art. 27 ¶1",
        "the purpose is achieved, impossible, or needs the data no longer: opens the duty to dispose of it",
    ),
    Step(
        "dispose",
        Act.DISPOSE,
        _ENDED,
        GrantState.DISPOSED,
        ("method", "destroyed_on", "carried_out_by"),
        "Decree 809 Art. 27 ¶1, 29",
        "the destruction record that closes the duty; records are kept three years from here",
    ),
    Step(
        "dispute",
        Act.DISPUTE,
        _ANY,
        None,
        ("reason",),
        "Decree 809 Art. 28",
        "the grant's records are held from pruning; its state is unchanged",
    ),
    Step(
        "settle",
        Act.SETTLE,
        _ANY,
        None,
        ("outcome",),
        "Decree 809 Art. 28",
        "releases the hold; its state is unchanged",
    ),
    Step(
        "order a stop",
        Act.ORDER,
        _LIVE,
        None,
        ("reach", "target", "reason", "rectify_by"),
        "Decree 809 Art. 27 ¶2",
        "forbids every use of a system, a department, a dataset or a supplier until it is lifted",
        subject=Subject.ORDER,
    ),
    Step(
        "order an end",
        Act.ORDER,
        _LIVE,
        None,
        ("reach", "target", "reason", "consultation", "filing"),
        "Decree 809 Art. 27 ¶3",
        "the same, and is never lifted",
        subject=Subject.ORDER,
    ),
    Step(
        "order an emergency stop",
        Act.ORDER,
        _LIVE,
        None,
        ("reach", "target", "reason"),
        "Decree 809 Art. 35",
        "the same, by either side (a demand department for its own systems), with a report owed",
        or_act=Act.CLOSE,
        subject=Subject.ORDER,
    ),
    Step(
        "lift an order",
        Act.LIFT,
        _LIVE,
        None,
        ("reason",),
        "Decree 809 Art. 27 ¶2",
        "its forbid goes, and nothing else; by whoever ordered it, or the competent department",
        or_act=Act.CLOSE,
        subject=Subject.ORDER,
    ),
    Step(
        "report an emergency",
        Act.ORDER,
        _ANY,
        None,
        ("reference",),
        "Decree 809 Art. 35",
        "fulfils the duty to report an emergency stop, of one grant or wider, in force or lifted",
        or_act=Act.CLOSE,
        subject=Subject.ORDER,
    ),
)


class Standing(StrEnum):
    """Where a grant stands for people: its state, with *issued* told apart by time."""

    NOT_YET_VALID = "not-yet-valid"
    ACTIVE = "active"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    TERMINATED = "terminated"
    CLOSED = "closed"
    DISPOSED = "disposed"
    SUPERSEDED = "superseded"


_BY_NAME = {step.name: step for step in LIFECYCLE}


def step(name: str) -> Step:
    """The row of that name."""
    return _BY_NAME[name]


def require_step(name: str, grant: Grant) -> Step:
    """The row, if the act fits the grant's present state.

    Raises:
        GatewayError: `conflict`, naming the state and what can be done in it.
    """
    row = _BY_NAME[name]
    if grant.state in row.before:
        return row
    possible = sorted({each.name for each in LIFECYCLE if each.subject is Subject.GRANT and grant.state in each.before})
    raise GatewayError(
        "conflict",
        f"grant `{grant.id}` is {grant.state.value}: it cannot {name}",
        state=grant.state.value,
        possible=possible,
    )


def standing(grant: Grant, now: datetime) -> Standing:
    """Where the grant stands at `now`."""
    if grant.state is not GrantState.ISSUED:
        return Standing(grant.state.value)
    if now < grant.valid_from:
        return Standing.NOT_YET_VALID
    return Standing.EXPIRED if now >= grant.valid_until else Standing.ACTIVE
