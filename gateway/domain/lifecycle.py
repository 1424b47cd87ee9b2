"""A grant's life as one table: which act leads from which states to which, what it must state, by which article.

Who may do an act is Cedar's answer; that an act fits the present state is this table's. *Active*, *not yet valid* and
*expired* are no stored states: they follow from the time (`standing`).
"""

from datetime import datetime

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, GrantState
from gateway.domain.officers import Act

_LIVE = (GrantState.ISSUED, GrantState.SUSPENDED)
_ENDED = (GrantState.TERMINATED, GrantState.CLOSED)


class Step(msgspec.Struct, frozen=True):
    """One row of the table.

    Args:
        name: of the step; an act may have several, told apart by what is stated.
        act: the Cedar action asked for.
        before: states it starts from; empty where there is no grant yet.
        after: the state it leads to; None leaves it as it is.
        states: what the act must state.
        article: what it rests on.
        effect: what it does besides, in words.
    """

    name: str
    act: Act
    before: tuple[GrantState, ...]
    after: GrantState | None
    states: tuple[str, ...]
    article: str
    effect: str


LIFECYCLE: tuple[Step, ...] = (
    Step(
        "issue",
        Act.ISSUE_GRANT,
        (),
        GrantState.ISSUED,
        ("legal_basis", "scenario", "scope_of_use", "modes", "valid_until", "demand_approval", "supply_approval"),
        "Decree 809 Art. 20, 21",
        "active from `valid_from`, expired from `valid_until`",
    ),
    Step(
        "renew",
        Act.ISSUE_GRANT,
        (GrantState.ISSUED,),
        GrantState.ISSUED,
        ("legal_basis", "scenario", "scope_of_use", "modes", "valid_until", "demand_approval", "supply_approval"),
        "Decree 809 Art. 20, 25 ¶1",
        "a new version with approvals of its own; the version before is superseded, never edited",
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
    ),
    Step(
        "lift",
        Act.LIFT,
        (GrantState.SUSPENDED,),
        GrantState.ISSUED,
        ("reason",),
        "Decree 809 Art. 27 ¶2",
        "takes that order away and nothing else; suspended stays what another order suspends",
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
        (*_LIVE, *_ENDED, GrantState.DISPOSED),
        None,
        ("reason",),
        "Decree 809 Art. 28",
        "the grant's records are held from pruning; its state is unchanged",
    ),
    Step(
        "settle",
        Act.SETTLE,
        (*_LIVE, *_ENDED, GrantState.DISPOSED),
        None,
        ("outcome",),
        "Decree 809 Art. 28",
        "releases the hold; its state is unchanged",
    ),
)

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
    possible = sorted({each.name for each in LIFECYCLE if grant.state in each.before})
    raise GatewayError(
        "conflict",
        f"grant `{grant.id}` is {grant.state.value}: it cannot {name}",
        state=grant.state.value,
        possible=possible,
    )


def standing(grant: Grant, now: datetime) -> str:
    """Where the grant stands for people: its state, with `issued` told apart by time."""
    if grant.state is not GrantState.ISSUED:
        return grant.state.value
    if now < grant.valid_from:
        return "not-yet-valid"
    return "expired" if now >= grant.valid_until else "active"
