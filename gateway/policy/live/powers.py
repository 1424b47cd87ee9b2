"""Who may do an act, asked of the policies: each role about its own matters and no other's.

A table of acts can say so without being a second place where rights are written.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from gateway.domain.calendar import Clock
from gateway.domain.directory import Department, Level
from gateway.domain.officers import Act, Matter, Officer, Role
from gateway.domain.processes.table import Process, State, Step
from gateway.domain.verdicts import Verdict
from gateway.policy.law.layers import Layers
from gateway.policy.live.acts import decide_act

_OWN, _OTHER, _THIRD = "own", "other", "third"
_HERE, _FAR = "440000", "990000"
_BOTH = "competent department of both sides' region"
"""Named where being that of one side's region does not do."""

_PROBES: tuple[tuple[str, Role, Matter], ...] = (
    (
        "supply department",
        Role.SUPPLIER,
        Matter(_OWN, _OTHER, _FAR, None, _FAR, ordered_by=_OWN, approved_by="demand-side"),
    ),
    (
        "demand department",
        Role.DEMAND,
        Matter(_OTHER, _OWN, _FAR, None, _FAR, ordered_by=_OWN, supplied_by="supply-side"),
    ),
    ("competent department of the supplier's region", Role.COMPETENT, Matter(_OTHER, _THIRD, _HERE, None, _FAR)),
    ("competent department of the demand's region", Role.COMPETENT, Matter(_OTHER, _THIRD, _FAR, None, _HERE)),
    (
        _BOTH,
        Role.COMPETENT,
        Matter(_OTHER, _THIRD, _HERE, None, _HERE, approved_by="demand-side", supplied_by="supply-side"),
    ),
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
    found: list[Power] = []
    wanted = tuple(acts)
    places = _regions_of(layers)
    for who, role, about in _PROBES:
        if who == _BOTH and any(each.who.startswith("competent") for each in found):
            continue
        permits = {
            name
            for here in places
            for verdict in _asked(layers, wanted, role, about, here, now_unix)
            if verdict.is_permit
            for name in verdict.policies
        }
        if permits:
            found.append(Power(who, tuple(sorted(permits))))
    return tuple(found)


def _asked(
    layers: Layers, acts: Iterable[Act], role: Role, about: Matter, here: str, now_unix: int
) -> Iterator[Verdict]:
    regions = {name: here for name in ("region", "demand_region") if getattr(about, name) == _HERE}
    matter = msgspec.structs.replace(about, **regions)
    officer = Officer("probe", _OWN, here, (role,))
    home = Department(_OWN, "", here, Level.PROVINCE, competent=role is Role.COMPETENT)
    return (decide_act(layers, officer, act, matter, now_unix, home) for act in acts)


def _regions_of(layers: Layers) -> tuple[str, ...]:
    """The regions that the policies on acts name, so that what is one region's alone is found; else any."""
    named = (found for policy in layers.policies.values() if policy.for_acts for found in _regions_in(policy.est))
    return tuple(sorted(set(named))) or (_HERE,)


def _regions_in(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if node.get("type") == "Region" and isinstance(node.get("id"), str):
            yield node["id"]
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from _regions_in(part)


class Row(msgspec.Struct, frozen=True):
    """A step of a process as it is told: the fields are `Step`'s; `states` is what it must state, `who` who may."""

    name: str
    acts: tuple[Act, ...]
    before: tuple[str, ...]
    after: str | None
    states: tuple[str, ...]
    article: str
    effect: str
    clock: str | None
    extends: bool
    is_once: bool
    is_late: bool
    who: tuple[Power, ...]


class Told(msgspec.Struct, frozen=True):
    """The table of a process with who may take each step by the policies, and how long each clock runs.

    `regional` are the periods that a region's layer gives in place of `clocks`: region -> name -> clock.
    """

    title: str
    states: tuple[State, ...]
    items: tuple[Row, ...]
    clocks: Mapping[str, Clock]
    regional: Mapping[str, Mapping[str, Clock]]
    next: None = None


def table_of(layers: Layers, process: Process, now_unix: int) -> Told:
    """The table of a process under these layers."""
    rows = tuple(_row(layers, each, now_unix) for each in process.steps)
    begun = tuple(each.clock.partition("{")[0] for each in process.steps if each.clock)
    held = {region: layers.clocks_in(region) for region in (None, *sorted(set(layers.regions.values())))}
    own = {
        region: {name: clock for name, clock in clocks.items() if name.startswith(begun)}
        for region, clocks in held.items()
    }
    clocks = own.pop(None)
    shorter = {
        region: {name: clock for name, clock in of.items() if clock != clocks.get(name)}
        for region, of in own.items()
        if region is not None
    }
    regional = {region: of for region, of in shorter.items() if of}
    return Told(process.title, process.states, rows, clocks, regional)


def _row(layers: Layers, step: Step, now_unix: int) -> Row:
    told = {name: getattr(step, name) for name in Row.__struct_fields__ if name != "who"}
    return Row(**told, who=powers(layers, step.acts, now_unix))
