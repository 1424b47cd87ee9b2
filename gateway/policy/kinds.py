"""The calls that a grant covers, or that could be made without one, by kind.

One call stands for all that are decided alike. What policies name is put as it is: every system, item, parameter
value, second and minute. What none names stands for all its like: of the systems, items and values that no policy
names, one for each choice of grants and orders that name them. So whatever a policy can tell apart is told apart,
within bounds; what was left out for being too much is told.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any, TypeVar

import msgspec

from gateway.domain.callers import Assurance
from gateway.domain.directory import Interface, SharingMode
from gateway.domain.grants import Grant, GrantState
from gateway.domain.orders import Reach
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Call
from gateway.policy.building import grant_faults, interface_keys
from gateway.policy.looks import ITEMS, PARAMETERS, PURPOSE, SYSTEM, TIME, Looks
from gateway.policy.time_limits import CHINA_OFFSET_SECONDS, DAY_SECONDS, FOREVER_UNIX, minute_of_day, unix_seconds

ANY_SYSTEM = "any-system"
ANY_PURPOSE = "any-purpose"
ANY_VALUE = "any-value"

MAX_ASKED = 256
"""Sets of items, or of parameters, put under one grant; where there would be more, one differs from the rest at a time:
all items and each kind of item alone, each value of each parameter."""

MAX_CALLS = 20_000
"""Calls put under one grant; where there would be more, what there is most of is put in one form alone."""

Parameters = tuple[tuple[str, str], ...]
"""(name, value) pairs, as a call has them."""

T = TypeVar("T")


class Named(msgspec.Struct, frozen=True):
    """What the policies of the sets that are compared name and look at.

    Args:
        looks: what they look at.
        systems: ids of systems they name.
        instants: seconds at which they turn.
        minutes: minutes of the day at which they turn.
    """

    looks: Looks
    systems: frozenset[str]
    instants: tuple[int, ...]
    minutes: tuple[int, ...]


class Kinds(msgspec.Struct, frozen=True):
    """The calls to put, each at every moment to put it at.

    Args:
        calls: the calls and the seconds, those of the weakest assurance first.
        left_out: the aspects (`gateway.policy.looks`) of which not every form is among them.
    """

    calls: list[tuple[Call, int]]
    left_out: frozenset[str]


def kinds_of(grant: Grant | None, state: SliceState, named: Named, systems: Sequence[str], now_unix: int) -> Kinds:
    """The kinds of calls that `grant` covers from `now_unix` on, or that could be made without one.

    Args:
        grant: one of the state's, or None for calls without a grant.
        state: must have a department and a dataset.
        named: what the policies name.
        systems: those among the named that are the department's; what its grants name is, too.
        now_unix: the second from which it is looked at.
    """
    assert state.dataset is not None
    assert state.department is not None
    left_out: set[str] = set()
    if grant is None:
        interfaces = list(state.interfaces)
        modes: list[tuple[SharingMode, ...]] = [interface.modes for interface in interfaces]
        purposes = state.dataset.purposes or (ANY_PURPOSE, *sorted(named.looks.purposes))
        if not state.dataset.purposes and named.looks.has_patterns:
            left_out.add(PURPOSE)
    else:
        keys = set(interface_keys(grant, state.dataset.supplier))
        interfaces = [interface for interface in state.interfaces if not keys or interface.key in keys]
        modes = [grant.modes for _ in interfaces]
        purposes = grant.purposes
    asked, is_whole = _asked(grant, state, named.looks)
    if not is_whole:
        left_out.add(ITEMS)
    forms: dict[str, list[Any]] = {
        ITEMS: asked,
        SYSTEM: _systems(grant, state, named.systems, systems),
        TIME: _moments(grant, state, named, now_unix),
    }
    parameters = []
    for interface in interfaces:
        sent, is_whole = _parameters(grant, interface, state, named.looks)
        parameters.append(sent)
        if not is_whole:
            left_out.add(PARAMETERS)
    others = len(Assurance) * len(purposes) * sum(map(len, modes))
    _bound(forms, parameters, others, left_out)
    calls = [
        (
            Call(
                system,
                state.department.id,
                assurance,
                interface.key,
                interface.dataset,
                mode,
                purpose,
                items,
                given,
            ),
            moment,
        )
        for assurance in Assurance
        for interface, allowed, sent in zip(interfaces, modes, parameters, strict=True)
        for mode in allowed
        for purpose in purposes
        for items, system, given in product(forms[ITEMS], forms[SYSTEM], sent)
        for moment in forms[TIME]
    ]
    return Kinds(calls, frozenset(left_out))


def _bound(forms: dict[str, list[Any]], parameters: list[list[Any]], others: int, left_out: set[str]) -> None:
    """Leave out forms of what there is most of until no more than `MAX_CALLS` calls come of it."""
    while True:
        sizes = {aspect: len(each) for aspect, each in forms.items()}
        sizes[PARAMETERS] = max(map(len, parameters), default=1)
        most = max(sizes, key=sizes.__getitem__)
        if others * math.prod(sizes.values()) <= MAX_CALLS or sizes[most] <= 1:
            return
        left_out.add(most)
        if most == PARAMETERS:
            parameters[:] = [each[:1] for each in parameters]
        else:
            forms[most] = forms[most][:1]


def _one_of_each(values: Iterable[T], kind: Callable[[T], Hashable]) -> list[T]:
    """The first of each kind, in order."""
    found: dict[Hashable, T] = {}
    for value in values:
        found.setdefault(kind(value), value)
    return list(found.values())


def _systems(grant: Grant | None, state: SliceState, named: frozenset[str], own: Sequence[str]) -> list[str]:
    if grant is None or not grant.systems:
        listed = sorted(named.intersection(system for one in state.grants for system in one.systems))
        return [ANY_SYSTEM, *dict.fromkeys((*own, *listed))]
    stopped = {order.target for order in state.orders if order.reach is Reach.SYSTEM and order.is_in_force}

    def kind(system: str) -> Hashable:
        holders = frozenset(one.id for one in state.grants if system in one.systems)
        return system if system in named else (holders, system in stopped)

    return _one_of_each(grant.systems, kind)


def _parameters(
    grant: Grant | None, interface: Interface, state: SliceState, looks: Looks
) -> tuple[list[Parameters], bool]:
    """The parameters to send: each allowed value that is told apart, and of those that are free, none and any.

    And whether every choice of them is among these.
    """
    allowed = {} if grant is None else {name: values for name, values in grant.parameters.items() if values}
    choices: list[list[Parameters]] = []
    for name in sorted({*allowed, *interface.scope_parameters}):
        said = {value for of, value in looks.parameters if of == name}
        if name in allowed:

            def kind(value: str, name: str = name, said: set[str] = said) -> Hashable:
                holders = frozenset(one.id for one in state.grants if value in one.parameters.get(name, ()))
                return value if value in said else holders

            choices.append([((name, value),) for value in _one_of_each(allowed[name], kind)])
        elif PARAMETERS in looks.aspects:
            choices.append([(), *(((name, value),) for value in (*sorted(said), ANY_VALUE))])
    if math.prod(map(len, choices)) <= MAX_ASKED:
        return [_together(chosen) for chosen in product(*choices)], True
    first = [each[0] for each in choices]
    singly = [
        _together([*first[:place], other, *first[place + 1 :]])
        for place, each in enumerate(choices)
        for other in each[1:]
    ]
    return [_together(first), *singly], False


def _together(parts: Iterable[Parameters]) -> Parameters:
    return tuple(pair for part in parts for pair in part)


def _asked(grant: Grant | None, state: SliceState, looks: Looks) -> tuple[list[tuple[str, ...] | None], bool]:
    """The items to ask for, all of them first and none named last; and whether every choice is told apart."""
    assert state.dataset is not None
    own = state.dataset.item_names if grant is None else state.dataset.item_names & set(grant.items)
    items = tuple(sorted(own))
    if ITEMS not in looks.aspects:
        return [items, None], True
    sensitive = {item.name for item in state.dataset.items if item.sensitive}
    alike: dict[Hashable, list[str]] = {}
    for item in items:
        holders = frozenset(one.id for one in state.grants if item in one.items)
        alike.setdefault(item if item in looks.items else (item in sensitive, holders), []).append(item)
    choices = [_one_of_each([(), (group[0],), tuple(group)], len) for group in alike.values()]
    if math.prod(map(len, choices)) > MAX_ASKED:
        return [items, *((group[0],) for group in alike.values()), None], False
    sets = {tuple(sorted(item for part in chosen for item in part)) for chosen in product(*choices)} - {()}
    return [items, *sorted(sets - {items}, key=lambda each: (len(each), each)), None], True


def _moments(grant: Grant | None, state: SliceState, named: Named, now_unix: int) -> list[int]:
    """Seconds to put calls at: within the grant's time and hours, and from every second at which something turns on.

    What turns at a second may turn by the time of day too, so a whole day is looked at from each.
    """
    start, end = now_unix, FOREVER_UNIX
    if grant is not None:
        start, end = max(now_unix, unix_seconds(grant.valid_from)), unix_seconds(grant.valid_until)
    others = [one for one in state.grants if one.state is GrantState.ISSUED and not grant_faults(one)]
    bounds = [unix_seconds(bound) for one in others for bound in (one.valid_from, one.valid_until)]
    # A day that turns at all has a part before its first turn.
    minutes = {0, *named.minutes} if named.minutes else set()
    for one in others:
        if one.hours is not None:
            minutes |= {0, one.hours.start_minute, one.hours.end_minute % (24 * 60)}
    turns = {start, *(second for second in (*bounds, *named.instants) if start < second < end)}
    found = {moment for turn in turns for moment in (turn, *_of_day(turn, minutes)) if moment < end}
    if grant is not None and grant.hours is not None:
        span = range(grant.hours.start_minute, grant.hours.end_minute)
        found = {moment for moment in found if minute_of_day(moment) in span}
    return sorted(found)


def _of_day(start: int, minutes: Iterable[int]) -> Iterator[int]:
    """The first second of each of `minutes` from `start` on."""
    midnight = start - (start + CHINA_OFFSET_SECONDS) % DAY_SECONDS
    for minute in minutes:
        if 0 <= minute < DAY_SECONDS // 60:
            moment = midnight + minute * 60
            yield moment if moment >= start else moment + DAY_SECONDS
