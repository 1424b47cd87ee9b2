"""Whether one department can ever obtain one dataset, by what stands: calls of every kind are put to the policies.

The kinds are those of a comparison (`sample_calls`): the calls that each grant covers and those that could be made
without one, at every second from now on at which something turns. The first that is permitted is an example; that none
is permitted proves nothing, for what the kinds leave out could be (`proofs.ever` proves it).

Facts that come and go by themselves are no reason for never: of what was lately drawn, nothing is taken to count but
what is asked for now; and of a quota, that it is not used up.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from gateway.domain.callers import Assurance
from gateway.domain.directory import SharingMode
from gateway.domain.orders import Reach
from gateway.domain.verdicts import Call, Verdict
from gateway.policy.law.layers import Layers
from gateway.policy.live.slices import Slice, is_void
from gateway.policy.offline.aspects_read import Looks
from gateway.policy.offline.normal_forms import literals_of
from gateway.policy.offline.sample_calls import ANY_SYSTEM, REQUEST_FACTS, KindsOf, Named

FIRST_LOOK = 200
"""Calls looked at before the solver is asked, and of which it is learnt what denies them: mostly one of the first is
permitted, if any is."""

MAX_MET = 20
"""Ids of policies remembered that denied what was looked at."""

_ASSURANCES = tuple(reversed(tuple(Assurance)))


class Asked(msgspec.Struct, frozen=True):
    """What a use must be to count; None is any.

    Args:
        item: an item of the dataset that it is to let out (in `verify`, to compare).
        purpose: its declared purpose.
        modes: its sharing mode is one of these.
    """

    item: str | None = None
    purpose: str | None = None
    modes: tuple[SharingMode, ...] = tuple(SharingMode)

    def has(self, verdict: Verdict, call: Call) -> bool:
        """Whether a permit of `call` gives what is asked about."""
        if not verdict.is_permit or call.mode not in self.modes or self.purpose not in (None, call.purpose):
            return False
        if self.item is not None:
            return self.item in verdict.items
        return bool(verdict.items) or verdict.all_items


class Example(msgspec.Struct, frozen=True):
    """A call that is permitted, and by what.

    Args:
        call: the call.
        at_unix: the second at which it is.
        verdict: the permit.
        without_system: whether its system is none that is registered and active.
        drawn_apart: whether it rests on it that nothing else which a convergence rule counts was lately drawn.
    """

    call: Call
    at_unix: int
    verdict: Verdict
    without_system: bool
    drawn_apart: bool = False


class Look:
    """The calls on one state, put to the policies one after another until one is permitted.

    Args:
        part: the slice; its department, dataset and supplier are known.
        asked: what is asked about.
        systems: registered and active systems of the department.
        now_unix: the second from which it is looked at.

    Attributes:
        now_unix: as given.
        calls: how many were put.
        is_whole: whether they stand for every call there can be, once all are put; False where some kinds are left out.
        met: ids of the policies that determined denials, at most `MAX_MET`, in the order they were met.
        codes: the codes of those denials.
    """

    def __init__(self, part: Slice, asked: Asked, systems: Sequence[str], now_unix: int) -> None:
        assert not is_void(part.state)
        self._part = part
        self._asked = asked
        self._systems = systems
        self.now_unix = now_unix
        self._rest = self._calls()
        self.is_whole = True
        self.calls = 0
        self.met: dict[str, None] = {}
        self.codes: dict[str, None] = {}
        assert part.state.dataset is not None
        self._alone = {path: frozenset({part.state.dataset.id}) for path in part.drawn_facts}

    def on(self, most: int | None, is_over: Callable[[], bool]) -> Example | None:
        """Put on at most `most` further calls; the first that is permitted, or None.

        Args:
            most: None is all that there are; what of them is not put then leaves `is_whole` False.
            is_over: whether the time for it is over.
        """
        for put, (call, at_unix) in enumerate(self._rest):
            if (most is not None and put >= most) or is_over():
                self._rest = _before((call, at_unix), self._rest)
                self.is_whole &= most is not None
                return None
            self.calls += 1
            found = self.confirmed(call, at_unix)
            if found is not None:
                return found
        return None

    def confirmed(self, call: Call, at_unix: int) -> Example | None:
        """The example that a call is, if it is one."""
        if self.calls > FIRST_LOOK and not self._part.may_permit(call, at_unix, self._alone):
            return None
        verdict = self._part.evaluate(call, at_unix, self._alone)
        if self._asked.has(verdict, call):
            unregistered = call.system not in self._systems
            return Example(call, at_unix, verdict, unregistered, bool(self._part.drawn_facts))
        if not verdict.is_permit:
            self.codes.setdefault(verdict.code)
            for name in verdict.policies[: MAX_MET - len(self.met)]:
                self.met.setdefault(name)
        return None

    def _calls(self) -> Iterator[tuple[Call, int]]:
        """The calls to put: those first that are most like to be permitted, and that obtain rather than compare."""
        layers, state = self._part.layers, self._part.state
        named = _named(layers)
        kinds = KindsOf(state, named, [one for one in self._systems if one in named.systems], self.now_unix)
        puts: dict[tuple[str, SharingMode], list[tuple[Call, int]]] = {}
        for grant in (*self._part.grants, None):
            of_grant = kinds.under(grant)
            self.is_whole &= not (of_grant.left_out | named.looks.beyond)
            for call, moment in of_grant.calls:
                if self._is_asked(call, under=grant is not None):
                    puts.setdefault(("" if grant is None else grant.id, call.mode), []).append((call, moment))
        plain = self._plain_system(named)
        seen = set()
        for call, moment in _in_turn(puts):
            if call.system == ANY_SYSTEM:
                call = msgspec.structs.replace(call, system=plain)  # noqa: PLW2901 - the same call, of a system there is
            if self._asked.purpose is not None:
                call = msgspec.structs.replace(call, purpose=self._asked.purpose)  # noqa: PLW2901 - likewise
            if (call, moment) not in seen:
                seen.add((call, moment))
                yield call, moment

    def _is_asked(self, call: Call, *, under: bool) -> bool:
        """Whether a call, of one grant or of none, can be one that is asked about."""
        asked = self._asked
        if call.mode not in asked.modes:
            return False
        if asked.item is not None and call.items is not None and asked.item not in call.items:
            return False
        # Without a grant the purposes are those of the entry, or stand for any: the one asked about takes their place.
        return asked.purpose in (None, call.purpose) or not under

    def _plain_system(self, named: Named) -> str:
        """A system of the department that no policy, grant or order tells from others, if one is registered."""
        state = self._part.state
        told = {name for grant in state.grants for name in grant.systems} | named.systems
        told |= {order.target for order in state.orders if order.reach is Reach.SYSTEM and order.is_in_force}
        plain = [name for name in self._systems if name not in told]
        return plain[0] if plain else ANY_SYSTEM


def _before(first: tuple[Call, int], rest: Iterator[tuple[Call, int]]) -> Iterator[tuple[Call, int]]:
    yield first
    yield from rest


def _in_turn(puts: Mapping[tuple[str, SharingMode], list[tuple[Call, int]]]) -> Iterator[tuple[Call, int]]:
    """One call of each grant and mode after the other, so that what is permitted under any of them is found soon."""
    waiting = [sorted(of, key=_eagerness) for of in puts.values()]
    waiting.sort(key=lambda of: of[0][0].mode is SharingMode.VERIFY)
    for place in range(max(map(len, waiting), default=0)):
        yield from (of[place] for of in waiting if place < len(of))


def _eagerness(put: tuple[Call, int]) -> tuple[int, int, bool]:
    """Sorts the strongest credential first, and what is soon before what is later."""
    call, moment = put
    return _ASSURANCES.index(call.assurance), moment, call.items is None


def _named(layers: Layers) -> Named:
    rules = [policy.est for policy in layers.policies.values() if policy.for_uses]
    said = msgspec.json.encode(rules).decode()
    return Named(
        looks=Looks.of(rules),
        systems=literals_of([layers]).get("System", frozenset()),
        instants=tuple(sorted(layers.time.instants)),
        minutes=tuple(sorted(layers.time.minutes)),
        request_facts=frozenset(name for name in REQUEST_FACTS if f'"attr":"{name}"' in said),
    )
