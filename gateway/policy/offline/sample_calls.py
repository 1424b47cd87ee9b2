"""The calls that a grant covers, or that could be made without one, by kind.

One call stands for all that are decided alike. What policies name is put as it is: every system, item, parameter
value, second and minute. What none names stands for all its like: of the systems, items and values that no policy
names, one for each choice of grants and orders that name them. So whatever a policy can tell apart is told apart,
within bounds; what was left out for being too much is told.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import product
from typing import Any, TypeVar

import msgspec

from gateway.domain.calendar import CHINA_OFFSET_SECONDS, DayFacts, china_day, day_facts, first_moment
from gateway.domain.callers import Assurance
from gateway.domain.conditions import MINUTES_OF_A_DAY, faults_of
from gateway.domain.directory import Interface, SharingMode, SystemDates
from gateway.domain.grants import Grant, GrantState
from gateway.domain.orders import Reach
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Call
from gateway.policy.law.time_limits import DAY_SECONDS, FOREVER_UNIX, TimeUse, unix_seconds
from gateway.policy.live.conditions import holds_in_time, interface_keys, turning_points
from gateway.policy.offline.aspects_read import ITEMS, PARAMETERS, PURPOSE, SYSTEM, TIME, Looks

ANY_SYSTEM = "any-system"
ANY_PURPOSE = "any-purpose"
ANY_VALUE = "any-value"

MAX_ASKED = 256
"""Sets of items, or of parameters, put under one grant; where there would be more, one differs from the rest at a time:
all items and each kind of item alone, each value of each parameter."""

MAX_CALLS = 20_000
"""Calls put under one grant; where there would be more, fewer forms are put of what there are most of."""

MAX_REQUESTS = 200_000
"""Requests that Cedar is asked for all grants of one state together, for each call is asked under each of them; where
there are many grants, fewer calls are put under each. A few seconds' work."""

REQUEST_FACTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "unread": ((), ("body", "path")),
    "declared": (("operator", "scenario", "subject"), (), ("operator", "other", "scenario", "subject")),
    "guessable": ((), ("any-item",)),
}
"""What else of a request policies may look at, by field of `Call`: the plain form first."""

CERTIFIED = SystemDates(1, 1, FOREVER_UNIX)
"""A system that was registered and certified long ago, for ever: it can have all that a rule about dates gives."""

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
        days: the first second of the next day of each kind, where they look at the calendar.
        request_facts: names among `REQUEST_FACTS` at which policies look that differ.
    """

    looks: Looks
    systems: frozenset[str]
    instants: tuple[int, ...]
    minutes: tuple[int, ...]
    days: tuple[int, ...] = ()
    request_facts: frozenset[str] = frozenset()


class Kinds(msgspec.Struct, frozen=True):
    """The calls to put, each at every moment to put it at.

    Args:
        calls: the calls and the seconds, those of the weakest assurance first.
        left_out: the aspects (`gateway.policy.offline.aspects_read`) of which not every form is among them.
    """

    calls: list[tuple[Call, int]]
    left_out: frozenset[str]


class KindsOf:
    """The kinds of calls on one state.

    Args:
        state: must have a department and a dataset.
        named: what the policies name.
        systems: those among the named that are the department's; what its grants name is, too.
        now_unix: the second from which it is looked at.
    """

    def __init__(self, state: SliceState, named: Named, systems: Sequence[str], now_unix: int) -> None:
        assert state.department is not None
        assert state.dataset is not None
        self._state = state
        self._dataset = state.dataset
        self._department = state.department.id
        self._named = named
        self._now_unix = now_unix
        grants = state.grants
        self._most = min(MAX_CALLS, MAX_REQUESTS // ((len(grants) + 1) * max(1, len(grants))))
        self._holders_of_items = _holders((one.id, one.items) for one in grants)
        self._holders_of_systems = _holders((one.id, one.systems) for one in grants)
        self._holders_of_values = _holders(
            (one.id, [(name, value) for name, values in one.parameters.items() for value in values]) for one in grants
        )
        self._own = tuple(dict.fromkeys((*systems, *sorted(named.systems.intersection(self._holders_of_systems)))))
        self._stopped = {one.target for one in state.orders if one.reach is Reach.SYSTEM and one.is_in_force}
        running = [one for one in grants if one.state is GrantState.ISSUED and not faults_of(one)]
        turning = TimeUse.together(turning_points(one, self._dataset.supplier) for one in running)
        self._turns = tuple(dict.fromkeys((*named.instants, *sorted(turning.instants))))
        minutes = {*named.minutes, *(minute % MINUTES_OF_A_DAY for minute in turning.minutes)}
        # A day that turns at all has a part before its first turn.
        self._minutes = sorted({0, *minutes}) if minutes else []

    def under(self, grant: Grant | None) -> Kinds:
        """The kinds of calls that `grant`, one of the state's, covers; or that could be made without one, for None."""
        left_out: set[str] = set()
        interfaces, modes, purposes = self._ways(grant)
        if grant is None and not self._dataset.purposes and self._named.looks.has_patterns:
            left_out.add(PURPOSE)
        asked, is_whole = self._asked(grant)
        if not is_whole:
            left_out.add(ITEMS)
        forms: dict[str, list[Any]] = {ITEMS: asked, SYSTEM: self._systems(grant), TIME: self._moments(grant)}
        parameters = []
        if grant is not None and turning_points(grant, self._dataset.supplier).unknown:
            # It may turn at any second, so no choice of moments stands for all.
            left_out.add(TIME)
        for interface in interfaces:
            sent, is_whole = self._parameters(grant, interface)
            parameters.append(sent)
            if not is_whole:
                left_out.add(PARAMETERS)
        others = len(Assurance) * len(purposes) * sum(map(len, modes))
        told = [
            dict(zip(REQUEST_FACTS, chosen, strict=True))
            for chosen in product(
                *(forms if name in self._named.request_facts else forms[:1] for name, forms in REQUEST_FACTS.items())
            )
        ]
        others *= len(told)
        _bound(forms, parameters, others, self._most, left_out)
        calls = [
            (
                Call(
                    system,
                    self._department,
                    assurance,
                    interface.key,
                    interface.dataset,
                    mode,
                    purpose,
                    items,
                    given,
                    unread=facts.get("unread", ()),
                    declared=facts.get("declared", ()),
                    guessable=facts.get("guessable", ()),
                    subjects=int("subject" in facts.get("declared", ())),
                    dates=CERTIFIED,
                ),
                moment,
            )
            for assurance in Assurance
            for interface, allowed, sent in zip(interfaces, modes, parameters, strict=True)
            for mode in allowed
            for purpose in purposes
            for items, system, given in product(forms[ITEMS], forms[SYSTEM], sent)
            for facts in told
            for moment in forms[TIME]
        ]
        return Kinds(calls, frozenset(left_out))

    def _ways(self, grant: Grant | None) -> tuple[list[Interface], list[tuple[SharingMode, ...]], tuple[str, ...]]:
        """The interfaces, the modes of each, and the purposes."""
        interfaces = list(self._state.interfaces)
        if grant is None:
            own = () if self._state.department is None else self._state.department.matters
            purposes = self._dataset.purposes or (ANY_PURPOSE, *sorted(self._named.looks.purposes))
            purposes = tuple(dict.fromkeys((*own, *purposes)))
            return interfaces, [interface.modes for interface in interfaces], purposes
        keys = set(interface_keys(grant, self._dataset.supplier))
        interfaces = [interface for interface in interfaces if not keys or interface.key in keys]
        return interfaces, [grant.modes for _ in interfaces], grant.purposes

    def _systems(self, grant: Grant | None) -> list[str]:
        if grant is None or not grant.systems:
            return [ANY_SYSTEM, *self._own]

        def kind(system: str) -> Hashable:
            if system in self._named.systems:
                return system
            return self._holders_of_systems[system], system in self._stopped

        return _one_of_each(grant.systems, kind)

    def _parameters(self, grant: Grant | None, interface: Interface) -> tuple[list[Parameters], bool]:
        """The parameters to send: each allowed value that is told apart, and of those that are free, none and any.

        And whether every choice of them is among these.
        """
        looks = self._named.looks
        allowed = {} if grant is None else {name: values for name, values in grant.parameters.items() if values}

        def kind(pair: tuple[str, str]) -> Hashable:
            return pair if pair in looks.parameters else self._holders_of_values[pair]

        choices: list[list[Parameters]] = []
        for name in sorted({*allowed, *interface.scope_parameters}):
            if name in allowed:
                choices.append([(pair,) for pair in _one_of_each([(name, each) for each in allowed[name]], kind)])
            elif PARAMETERS in looks.aspects:
                said = sorted(value for of, value in looks.parameters if of == name)
                choices.append([(), *(((name, value),) for value in (*said, ANY_VALUE))])
        if math.prod(map(len, choices)) <= MAX_ASKED:
            return [_together(chosen) for chosen in product(*choices)], True
        first = [each[0] for each in choices]
        singly = [
            _together([*first[:place], other, *first[place + 1 :]])
            for place, each in enumerate(choices)
            for other in each[1:]
        ]
        return [_together(first), *singly], False

    def _asked(self, grant: Grant | None) -> tuple[list[tuple[str, ...] | None], bool]:
        """The items to ask for, all of them first and none named last; and whether every choice is told apart."""
        of_dataset, looks = self._dataset.item_names, self._named.looks
        items = tuple(sorted(of_dataset if grant is None else of_dataset.intersection(grant.items)))
        if ITEMS not in looks.aspects:
            return [items, None], True
        sensitive = {item.name for item in self._dataset.items if item.sensitive}
        alike: dict[Hashable, list[str]] = {}
        for item in items:
            kind = item if item in looks.items else (item in sensitive, self._holders_of_items.get(item))
            alike.setdefault(kind, []).append(item)
        choices = [_one_of_each([(), (group[0],), tuple(group)], len) for group in alike.values()]
        if math.prod(map(len, choices)) > MAX_ASKED:
            return [items, *((group[0],) for group in alike.values()), None], False
        sets = {tuple(sorted(item for part in chosen for item in part)) for chosen in product(*choices)} - {()}
        return [items, *sorted(sets - {items}, key=lambda each: (len(each), each)), None], True

    def _moments(self, grant: Grant | None) -> list[int]:
        """Seconds to put calls at: within the grant's time and hours, and from every second at which something turns.

        What turns at a second may turn by the time of day too, so a whole day is looked at from each. What policies
        name comes first.
        """
        start, end = self._now_unix, FOREVER_UNIX
        if grant is not None:
            start, end = max(start, unix_seconds(grant.valid_from)), unix_seconds(grant.valid_until)
        turns = [start, *(second for second in (*self._turns, *self._named.days) if start < second < end)]
        found = dict.fromkeys((*turns, *(moment for turn in turns for moment in _of_day(turn, self._minutes))))
        return [moment for moment in found if moment < end and (grant is None or holds_in_time(grant, moment))]


def _bound(
    forms: dict[str, list[Any]], parameters: list[list[Any]], others: int, most: int, left_out: set[str]
) -> None:
    """Leave out forms, the last ones of what there are most of, until no more than `most` calls come of it."""
    while True:
        sizes = {aspect: len(each) for aspect, each in forms.items()}
        sizes[PARAMETERS] = max(map(len, parameters), default=1)
        calls = others * math.prod(sizes.values())
        largest = max(sizes, key=sizes.__getitem__)
        if calls <= most or sizes[largest] <= 1:
            return
        left_out.add(largest)
        # As many as fit, but no fewer than there are of what there are next most of; and one less at least.
        kept = max(sizes[largest] * most // calls, sorted(sizes.values())[-2], 1)
        kept = min(kept, sizes[largest] - 1)
        if largest == PARAMETERS:
            parameters[:] = [each[:kept] for each in parameters]
        else:
            forms[largest] = forms[largest][:kept]


def _holders(named: Iterable[tuple[str, Iterable[T]]]) -> dict[T, frozenset[str]]:
    """What grants name -> the ids of those that name it."""
    found: dict[T, set[str]] = {}
    for grant, things in named:
        for thing in things:
            found.setdefault(thing, set()).add(grant)
    return {thing: frozenset(grants) for thing, grants in found.items()}


def _one_of_each(values: Iterable[T], kind: Callable[[T], Hashable]) -> list[T]:
    """The first of each kind, in order."""
    found: dict[Hashable, T] = {}
    for value in values:
        found.setdefault(kind(value), value)
    return list(found.values())


def days_of_each_kind(now_unix: int) -> tuple[int, ...]:
    """The first second of the next day of each kind that the calendar tells apart, as far as notices reach."""
    day = china_day(now_unix)
    found: dict[DayFacts, int] = {}
    while (facts := day_facts(day)) is not None and len(found) < MAX_DAY_KINDS:
        found.setdefault(facts, int(first_moment(day).timestamp()))
        day += timedelta(days=1)
    return tuple(sorted(found.values()))


MAX_DAY_KINDS = 21


def _together(parts: Iterable[Parameters]) -> Parameters:
    return tuple(pair for part in parts for pair in part)


def of_day(start: int, minute: int) -> int:
    """The first second from `start` on that begins a minute of the day."""
    midnight = start - (start + CHINA_OFFSET_SECONDS) % DAY_SECONDS
    moment = midnight + minute * 60
    return moment if moment >= start else moment + DAY_SECONDS


def _of_day(start: int, minutes: Iterable[int]) -> Iterator[int]:
    """The same of each of `minutes` that a day has."""
    return (of_day(start, minute) for minute in minutes if 0 <= minute < DAY_SECONDS // 60)
