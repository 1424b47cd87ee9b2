"""Who may do an act, asked of the policies: each role about its own matters and no other's.

A table of acts can say so without being a second place where rights are written.
"""

from collections.abc import Iterable

import msgspec

from gateway.domain.directory import Department, Level
from gateway.domain.officers import Act, Matter, Officer, Role
from gateway.policy.law.layers import Layers
from gateway.policy.live.acts import decide_act

_OWN, _OTHER, _THIRD = "own", "other", "third"
_HERE, _FAR = "440000", "990000"

_PROBES: tuple[tuple[str, Role, Matter], ...] = (
    (
        "supply department",
        Role.SUPPLIER,
        Matter(_OWN, _OTHER, _FAR, None, _FAR, ordered_by=_OWN, approved_by="demand-side"),
    ),
    ("demand department", Role.DEMAND, Matter(_OTHER, _OWN, _FAR, None, _FAR, ordered_by=_OWN)),
    ("competent department of the supplier's region", Role.COMPETENT, Matter(_OTHER, _THIRD, _HERE, None, _FAR)),
    ("competent department of the demand's region", Role.COMPETENT, Matter(_OTHER, _THIRD, _FAR, None, _HERE)),
    ("auditor of the region", Role.AUDITOR, Matter(_OTHER, _THIRD, _HERE, None, _HERE)),
    ("operator", Role.OPERATOR, Matter(_OTHER, _THIRD, _FAR, None, _FAR)),
)


class Power(msgspec.Struct, frozen=True):
    """A kind of officer that the policies permit an act.

    Args:
        who: in words.
        policies: ids of the policies that permit it.
    """

    who: str
    policies: tuple[str, ...]


def powers(layers: Layers, acts: Iterable[Act], now_unix: int) -> tuple[Power, ...]:
    """Who may do at least one of `acts` about what is theirs: their data, their grants, their region."""
    found = []
    wanted = tuple(acts)
    for who, role, matter in _PROBES:
        officer = Officer("probe", _OWN, _HERE, (role,))
        home = Department(_OWN, "", _HERE, Level.PROVINCE, competent=role is Role.COMPETENT)
        verdicts = (decide_act(layers, officer, act, matter, now_unix, home) for act in wanted)
        permits = sorted({name for verdict in verdicts if verdict.is_permit for name in verdict.policies})
        if permits:
            found.append(Power(who, tuple(permits)))
    return tuple(found)
