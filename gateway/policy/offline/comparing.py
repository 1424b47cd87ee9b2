"""Two sets of layers over everything that stands: which grants, and which datasets without a grant, gain and lose.

For every standing grant the kinds of calls that it covers are put to both sets (`sample_calls`): each of its modes,
purposes and interfaces, with each assurance; every system, item and parameter value that a policy of either set can
tell from the others; at every second, and every minute of the days that follow, at which a policy or a grant turns.
For every dataset the calls that a department of each kind could make without a grant. A loss is a call permitted before
and not after, or one that lets out fewer items, or masks more.

Where a policy looks at a call in a way that these kinds do not settle (`aspects_read`), or where there would be too
many of them, whatever a differing policy could reach is told as `may-lose`: a loss is then not ruled out, and counts as
one; not without a grant, where no rule of the old set could permit the call whatever its form. What was lately drawn
is not known to the comparison: convergence rules count as if nothing was.

A comparison that has no more time tells what it found so far, and that it is not whole: then nothing is ruled out.

Source: Decree 809 Art. 15, 39(2): nobody hinders sharing by adding conditions; so what a change of policy takes away
is shown before it is put in force.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import cedarpy
import msgspec

from gateway.domain.conditions import faults_of
from gateway.domain.directory import Department
from gateway.domain.grants import Grant, GrantState
from gateway.domain.orders import Reach
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Call, Verdict
from gateway.policy.law.layers import Layers, est_document
from gateway.policy.law.settled import EXAMINED, Settled
from gateway.policy.law.time_limits import unix_seconds
from gateway.policy.law.world import FACTS, caller_entities, facts_of, parse_entities, slice_entities, use_request
from gateway.policy.live.slices import Slice, asked_items, is_void
from gateway.policy.offline.aspects_read import GRANT, ITEMS, PARAMETERS, TIME, Looks, conjuncts, loosened
from gateway.policy.offline.normal_forms import Shape, literals_of
from gateway.policy.offline.sample_calls import REQUEST_FACTS, KindsOf, Named, days_of_each_kind

MAX_LISTED = 10_000
"""Differences listed; all are counted."""

AT_ONCE = 1_000
"""Calls put to the differing policies in one go: the answers of all would take too much room."""

MAX_SHAPES = 100_000
"""Shapes whose outcome is remembered, at a kilobyte or two each."""


class Standing(Protocol):
    """What stands, as the comparison reads it; each iterable is read once, in any order."""

    def pairs(self) -> Iterable[tuple[str, str]]:
        """(department, dataset) of every grant that is not closed, disposed or terminated; each pair once."""

    def datasets(self) -> Iterable[str]:
        """Ids of the released datasets."""

    def departments(self) -> Iterable[Department]:
        """Every department."""

    def home_of(self, system: str) -> str | None:
        """The department of a system that a policy names; None where there is no such system."""

    def read(self, department: str, dataset: str) -> SliceState:
        """The state of a pair."""


class Difference(msgspec.Struct, frozen=True):
    """One kind of call that the new set decides otherwise.

    Args:
        change: `gains`, `loses`, or `may-lose` where a loss is neither found nor ruled out.
        department: who; for a dataset without a grant, one department of the region that stands for all of it.
        dataset: of what.
        grant: under which grant, None without one.
        mode: the sharing mode.
        assurance: the weakest assurance with which it differs.
        before: the code of the old denial, `permit`, or `permit with …`.
        after: the same of the new set; of what may lose, what of a call could not be looked at whole.
        policies: ids of the policies that determine the new verdict, or that may take away.
    """

    change: Literal["gains", "loses", "may-lose"]
    department: str
    dataset: str
    grant: str | None
    mode: str
    assurance: str
    before: str
    after: str
    policies: tuple[str, ...]


class Comparison(msgspec.Struct, frozen=True):
    """What a comparison found.

    Args:
        old: digest of the old layers.
        new: digest of the new ones.
        grants: standing grants compared.
        datasets: datasets compared without a grant, each once for every kind of department.
        calls: calls put to both.
        gaining: ids of grants that gain something.
        losing: ids of grants that lose something.
        unsettled: ids of further grants that may lose something: it is not ruled out.
        takes_away: whether a standing grant, or a department without one, loses anything, or may; also where it is not
            known, for the comparison is not whole.
        gives: whether a standing grant, or a department without one, gains anything, as far as was compared.
        differences: each kind of call that differs, once; at most `MAX_LISTED`.
        is_whole: False where time was up before everything that stands was compared.
        uncounted: ids of the new set's convergence rules that are new or other than before: what they would refuse for
            what was drawn is not compared; `offline.replaying` counts it.
    """

    old: str
    new: str
    grants: int
    datasets: int
    calls: int
    gaining: tuple[str, ...]
    losing: tuple[str, ...]
    unsettled: tuple[str, ...]
    takes_away: bool
    gives: bool
    differences: tuple[Difference, ...]
    is_whole: bool = True
    uncounted: tuple[str, ...] = ()


def _always() -> bool:
    return True


def uncounted(old: Layers, new: Layers) -> tuple[str, ...]:
    """Convergence rules of `new` that `old` does not have as they are: nothing drawn before counts for them."""
    known = {name: old.policies[name].est for name in old.convergence_rules}
    return tuple(sorted(name for name in new.convergence_rules if known.get(name) != new.policies[name].est))


def compare(
    old: Layers,
    new: Layers,
    standing: Standing,
    now_unix: int,
    progress: Callable[[], None] = lambda: None,
    *,
    may_go_on: Callable[[], bool] = _always,
    settled: Settled = EXAMINED,
) -> Comparison:
    """Compare two sets of layers over everything that stands at `now_unix`, or over as much as there is time for.

    Args:
        old: the layers in force.
        new: the layers to come.
        standing: what stands.
        now_unix: the second from which it is looked at.
        progress: called after each pair of department and dataset.
        may_go_on: asked every few calls; once it says no, what was found so far is told.
        settled: what the settings say: what they keep shut today is not lost. It may be gained all the same, once they
            say otherwise.
    """
    found: dict[tuple[str | None, ...], Difference] = {}
    changed: dict[str, set[str]] = {"gains": set(), "loses": set(), "may-lose": set()}
    grants = datasets = calls = 0
    takes_away = gives = False
    comparing = _Comparing(old, new, standing, now_unix, may_go_on, settled)
    is_whole = True
    without = any(layers.permit_set is not None for layers in (old, new))
    named = comparing.literals.get("Department", frozenset()).union(comparing.homes.values())
    for state in _states(standing, named, without=without):
        if not is_whole or not may_go_on():
            is_whole = False
            break
        progress()
        shape, outcome = comparing.of(state)
        is_whole = outcome.is_whole
        grants += outcome.grants
        datasets += not state.grants
        calls += outcome.calls
        for one in outcome.differences:
            takes_away = takes_away or one.change != "gains"
            gives = gives or one.change == "gains"
            grant = None if one.grant is None else shape.named(one.grant)
            if grant is not None:
                changed[one.change].add(grant)
            if len(found) < MAX_LISTED:
                department, dataset = shape.named(one.department), shape.named(one.dataset)
                policies = tuple(sorted(shape.named(name) for name in one.policies))
                found.setdefault(
                    (one.change, department, dataset, grant, one.mode),
                    msgspec.structs.replace(
                        one, department=department, dataset=dataset, grant=grant, policies=policies
                    ),
                )
    return Comparison(
        old.digest,
        new.digest,
        grants,
        datasets,
        calls,
        tuple(sorted(changed["gains"])),
        tuple(sorted(changed["loses"])),
        tuple(sorted(changed["may-lose"] - changed["loses"])),
        takes_away or not is_whole,
        gives,
        tuple(found.values()),
        is_whole,
        uncounted(old, new),
    )


Put = tuple[Grant | None, Call, int]
"""A call, under which grant it is looked at, and when."""


class _Outcome(msgspec.Struct, frozen=True):
    """What was found for one shape, in its own names.

    Args:
        grants: of them that stand.
        calls: put to both sets.
        differences: each kind of call that differs, once.
        is_whole: False where time was up before all of them were put.
    """

    grants: int
    calls: int
    differences: tuple[Difference, ...]
    is_whole: bool = True


class _TimeIsUp(Exception):  # noqa: N818 - no error: what was found so far is told
    """There is no time to compare more."""


class _Comparing:
    """Two sets of layers, and what was found for each shape so far.

    Args:
        old: the layers in force.
        new: the layers to come.
        standing: where named systems are at home.
        now_unix: the second from which it is looked at.
        may_go_on: whether there is time to compare more.
        settled: what the settings say.
    """

    def __init__(
        self,
        old: Layers,
        new: Layers,
        standing: Standing,
        now_unix: int,
        may_go_on: Callable[[], bool],
        settled: Settled,
    ) -> None:
        self._may_go_on = may_go_on
        self._today = old
        if settled != old.settled:
            self._today = copy.copy(old)
            self._today.settled = settled
        self._old = old
        self._new = new
        self._now_unix = now_unix
        self.literals = literals_of((old, new))
        systems = self.literals.get("System", frozenset())
        self.homes = {name: home for name in sorted(systems) if (home := standing.home_of(name)) is not None}
        self._differing = _Differing(old, new, settled)
        self._named = Named(
            looks=Looks.of(est for layers in (old, new) for est in _on_uses(layers).values()),
            systems=systems,
            instants=tuple(sorted(old.time.instants | new.time.instants)),
            minutes=tuple(sorted(old.time.minutes | new.time.minutes)),
            days=days_of_each_kind(now_unix) if old.calendar_rules | new.calendar_rules else (),
            request_facts=self._differing.request_facts,
        )
        self._known: dict[tuple[bytes, tuple[str, ...]], _Outcome] = {}

    def of(self, state: SliceState) -> tuple[Shape, _Outcome]:
        """The shape of a state, and what is found for it."""
        assert state.department is not None
        shape = Shape(state, self.literals, self._now_unix, (*self._named.instants, *self._named.days))
        own = tuple(name for name, home in self.homes.items() if home == state.department.id)
        outcome = self._known.get((shape.key, own))
        if outcome is None:
            outcome = self._compare(shape.state, own)
            if outcome.is_whole and len(self._known) < MAX_SHAPES:
                self._known[shape.key, own] = outcome
        return shape, outcome

    def _compare(self, state: SliceState, systems: Sequence[str]) -> _Outcome:
        held: list[Grant | None] = [grant for grant in state.grants if _stands(grant, self._now_unix)]
        put: list[Put] = []
        left_out: dict[str | None, frozenset[str]] = {}
        kinds_of_state = KindsOf(state, self._named, systems, self._now_unix)
        for grant in held if state.grants else [None]:
            kinds = kinds_of_state.under(grant)
            put += [(grant, call, moment) for call, moment in kinds.calls]
            left_out[_id_of(grant)] = kinds.left_out | self._named.looks.beyond
        found: dict[tuple[str | None, ...], Difference] = {}
        done = [0]
        try:
            self._look(state, put, found, done)
            self._doubt(state, put, left_out, found)
        except _TimeIsUp:
            return _Outcome(len(held), done[0], tuple(found.values()), is_whole=False)
        return _Outcome(len(held), len(put), tuple(found.values()))

    def _require_time(self) -> None:
        if not self._may_go_on():
            raise _TimeIsUp

    def _look(
        self, state: SliceState, put: list[Put], found: dict[tuple[str | None, ...], Difference], done: list[int]
    ) -> None:
        """Add what differs to `found`, and say in `done` how many of the calls are."""
        before, after = _Holding(self._old, state), _Holding(self._new, state)
        takes = self._differing.only_take

        for start in range(0, len(put), AT_ONCE):
            done[0] = start
            self._require_time()
            some = put[start : start + AT_ONCE]
            if takes:
                # Where nobody can gain, one loss of a kind of call is all there is to find of it.
                some = [one for one in some if ("loses", _id_of(one[0]), one[1].mode) not in found]
            for grant, call, moment in self._differing.touched(state, some):
                named = _id_of(grant)
                if takes and ("loses", named, call.mode) in found:
                    continue
                self._require_time()
                then = before.of(call, moment)
                if takes and not then.is_permit:
                    continue
                now = after.of(call, moment)
                change = _change(then, now)
                if change == "loses" and grant is None and not self._flows_today(state, call, moment):
                    continue
                if change is not None:
                    found.setdefault((change, named, call.mode), _difference(change, call, named, then, now))

    def _flows_today(self, state: SliceState, call: Call, moment: int) -> bool:
        return self._today is self._old or Slice(self._today, state).evaluate(call, moment).is_permit

    def _doubt(
        self,
        state: SliceState,
        put: list[Put],
        left_out: Mapping[str | None, frozenset[str]],
        found: dict[tuple[str | None, ...], Difference],
    ) -> None:
        """Add the kinds of calls for which a loss is neither found nor ruled out."""
        for aspects in sorted({each for each in left_out.values() if each}, key=sorted):
            there = [
                (grant, call, moment)
                for grant, call, moment in put
                if left_out[_id_of(grant)] == aspects and ("loses", _id_of(grant), call.mode) not in found
            ]
            # What does not look at these aspects is one for all calls that differ in them alone.
            blank = {name: value for aspect, name, value in _BLANK if aspect in aspects}
            alike: dict[tuple[str | None, Call, int], Put] = {}
            for grant, call, moment in there:
                plain = msgspec.structs.replace(call, **blank) if blank else call
                alike.setdefault((_id_of(grant), plain, 0 if TIME in aspects else moment), (grant, call, moment))
            there = list(alike.values())
            self._require_time()
            there = self._differing.permitted(state, there, aspects)
            for (grant, call, _), policies in self._differing.may_take(state, there, aspects):
                key = (_id_of(grant), call.mode)
                if ("loses", *key) not in found:
                    found.setdefault(("may-lose", *key), _undecided(call, _id_of(grant), aspects, policies))


_BLANK: tuple[tuple[str, str, Any], ...] = ((ITEMS, "items", ()), (PARAMETERS, "parameters", ()))
"""Aspect -> the field of a call that holds it, and what stands for any."""


class _Holding:
    """Verdicts on one state, each kept for as long as it holds: a call is put at many moments, one after another."""

    def __init__(self, layers: Layers, state: SliceState) -> None:
        self._layers, self._state = layers, state
        self._slice: Slice | None = None
        self._last: tuple[Call, int, Verdict] | None = None

    def of(self, call: Call, moment: int) -> Verdict:
        """The verdict on `call` at `moment`."""
        last = self._last
        if last is not None and last[0] == call and last[1] <= moment < last[2].valid_until_unix:
            return last[2]
        self._slice = self._slice or Slice(self._layers, self._state)
        verdict = self._slice.evaluate(call, moment)
        self._last = call, moment, verdict
        return verdict


class _Differing:
    """The policies that stand in one of two sets alone, and the calls that they can decide.

    A policy that stands in both sets decides both verdicts alike. So a verdict differs only where a policy that stands
    in one of them alone is satisfied, or errs, under some grant of the slice or under none. Those few policies are
    asked first; most calls need no more.
    """

    def __init__(self, old: Layers, new: Layers, settled: Settled) -> None:
        self._decision = settled.decision
        rules = [_on_uses(layers) for layers in (old, new)]
        alone = [
            {name: est for name, est in mine.items() if theirs.get(name) != est}
            for mine, theirs in (rules, reversed(rules))
        ]
        said = msgspec.json.encode(alone).decode()
        self.request_facts = frozenset(name for name in REQUEST_FACTS if f'"attr":"{name}"' in said)
        """What of a request, besides what every call has, they look at."""
        self._by_grant = GRANT in Looks.of(est for policies in alone for est in policies.values()).aspects
        self._words = (old.knows_words, new.knows_words)
        self._old_rules = rules[0]
        self._before: dict[frozenset[str], tuple[cedarpy.PolicySet, cedarpy.PolicySet]] = {}
        """Aspects -> the old set's permits without what looks at them, and its forbids that do not look at them."""
        self._sets = [
            (_parsed(policies), words) for policies, words in zip(alone, self._words, strict=True) if policies
        ]
        self.only_take = all(
            est["effect"] == "permit" and "mask" not in est["annotations"] for est in alone[0].values()
        )
        self.only_take &= all(est["effect"] == "forbid" for est in alone[1].values())
        """Whether nobody can gain by them: then one loss of a kind of call is all there is to find of it."""
        # A permit less, a forbid more, and a permit more that masks or errs.
        self._taking = ({name: est for name, est in alone[0].items() if est["effect"] == "permit"}, alone[1])

    def touched(self, state: SliceState, put: list[Put]) -> list[Put]:
        """The calls of `put` on which the two sets can differ."""
        touched = {
            place
            for rules, words in self._sets
            for place, _ in _satisfied(rules, state, put, by_grant=self._by_grant, knows_words=words)
        }
        return [put[place] for place in sorted(touched)]

    def permitted(self, state: SliceState, put: list[Put], aspects: frozenset[str]) -> list[Put]:
        """The calls of `put` that the old set could permit if they had other `aspects`.

        What is made without a grant needs a static permit, and none of the forbids that hold whatever the aspects.
        """
        alone = [place for place, (grant, _, _) in enumerate(put) if grant is None]
        if not alone:
            return put
        if aspects not in self._before:
            loose = {name: loosened(est, aspects) for name, est in self._old_rules.items()}
            permits = {name: est for name, est in loose.items() if est["effect"] == "permit"}
            forbids = {
                name: est
                for name, est in self._old_rules.items()
                if est["effect"] == "forbid" and loose[name] == {**est, "conditions": list(conjuncts(est))}
            }
            self._before[aspects] = (_parsed(permits), _parsed(forbids))
        permits_set, forbids_set = self._before[aspects]
        calls, words = [put[place] for place in alone], self._words[0]
        may, never = (
            {
                alone[at]
                for at, _ in _satisfied(rules, state, calls, by_grant=False, knows_words=words, decision=self._decision)
            }
            for rules in (permits_set, forbids_set)
        )
        return [one for place, one in enumerate(put) if one[0] is not None or place in may - never]

    def may_take(
        self, state: SliceState, put: list[Put], aspects: frozenset[str]
    ) -> Iterator[tuple[Put, tuple[str, ...]]]:
        """The calls of `put` that could lose if they had other `aspects`, and the policies by which."""
        found: dict[int, set[str]] = {}
        for taking, words in zip(self._taking, self._words, strict=True):
            loose = {name: loosened(est, aspects) for name, est in taking.items()}
            if loose and put:
                for place, reasons in _satisfied(
                    _parsed(loose), state, put, by_grant=self._by_grant, knows_words=words
                ):
                    found.setdefault(place, set()).update(reasons)
        for place in sorted(found):
            yield put[place], tuple(sorted(found[place]))


def _on_uses(layers: Layers) -> dict[str, dict[str, Any]]:
    return {policy.id: policy.est for policy in layers.policies.values() if policy.for_uses}


def _parsed(policies: Mapping[str, dict[str, Any]]) -> cedarpy.PolicySet:
    return cedarpy.PolicySet.from_json_str(est_document(policies))


def _satisfied(
    rules: cedarpy.PolicySet,
    state: SliceState,
    put: list[Put],
    *,
    by_grant: bool,
    knows_words: bool,
    decision: str = EXAMINED.decision,
) -> Iterator[tuple[int, list[str]]]:
    """Places in `put` of the calls that some of `rules` is satisfied by, or errs on, under some grant or none.

    Args:
        rules: the policies asked.
        state: what they are asked about.
        put: the calls.
        by_grant: whether the rules look at the grant a call is made under; else it is all one.
        knows_words: whether their schema has the closed lists as types.
        decision: by which a region's rules on uses without a grant are in force.
    """
    if not put:
        return
    assert state.dataset is not None
    # Every system and action that a call names, at once: a document of its own for each call costs more to parse
    # than Cedar takes to decide it.
    callers = {(call.system, call.department, call.mode): call for _, call, _ in put}
    named = {
        (thing["uid"]["type"], thing["uid"]["id"]): thing
        for call in callers.values()
        for thing in msgspec.json.decode(caller_entities(call))
    }
    told = facts_of(FACTS, knows_words=knows_words)
    known = parse_entities([*slice_entities(state, told), *named.values()])
    of_dataset = state.dataset.item_names
    for start in range(0, len(put), AT_ONCE):
        asked = [
            (
                place,
                use_request(
                    call,
                    moment,
                    asked_items(call, one, of_dataset),
                    _id_of(one),
                    None,
                    knows_words=knows_words,
                    decision=decision,
                ),
            )
            for place, (grant, call, moment) in enumerate(put[start : start + AT_ONCE], start)
            for one in ((*state.grants, None) if by_grant or call.items is None else (grant,))
        ]
        found: dict[int, list[str]] = {}
        for (place, _), result in zip(
            asked, cedarpy.is_authorized_batch([request for _, request in asked], rules, known), strict=True
        ):
            if result.diagnostics.reasons or result.diagnostics.errors:
                found.setdefault(place, []).extend(result.diagnostics.reasons)
        yield from found.items()


def _id_of(grant: Grant | None) -> str | None:
    return None if grant is None else grant.id


def _states(standing: Standing, named: frozenset[str], *, without: bool) -> Iterator[SliceState]:
    """The state of every pair with grants, then of every dataset for departments without grants that stand for all.

    Args:
        standing: what stands.
        named: ids of departments that policies name, or whose systems they name.
        without: whether some layer permits a use without a grant at all; else the second part is left out.
    """
    for department, dataset in standing.pairs():
        state = standing.read(department, dataset)
        if not is_void(state) and state.grants:
            yield state
    if not without:
        return
    homes = _one_of_each_kind(standing.departments(), named)
    first = next((home.id for home, _ in homes), "")
    for dataset in standing.datasets():
        state = standing.read(first, dataset)
        if not is_void(state):
            # As if the department held no grant and no order named it.
            orders = tuple(order for order in state.orders if order.reach in (Reach.DATASET, Reach.SUPPLIER))
            for home, ancestors in homes:
                yield msgspec.structs.replace(state, department=home, ancestors=ancestors, grants=(), orders=orders)


def _one_of_each_kind(
    departments: Iterable[Department], named: frozenset[str]
) -> list[tuple[Department, tuple[Department, ...]]]:
    """One department of each region, level, competence and matters, and below each that is named; and its chain."""
    known = {one.id: one for one in departments}
    found: dict[tuple[Any, ...], tuple[Department, tuple[Department, ...]]] = {}
    for one in known.values():
        chain = [one]
        while (above := known.get(chain[-1].parent or "")) is not None and above not in chain:
            chain.append(above)
        below = tuple(each.id for each in chain if each.id in named)
        kind = (one.region, one.level, one.competent, one.matters, below)
        found.setdefault(kind, (one, tuple(chain[1:]) if below else ()))
    return list(found.values())


def _stands(grant: Grant, now_unix: int) -> bool:
    standing = grant.state in (GrantState.ISSUED, GrantState.SUSPENDED)
    return standing and not faults_of(grant) and unix_seconds(grant.valid_until) > now_unix


def _change(before: Verdict, after: Verdict) -> Literal["gains", "loses"] | None:
    if before.is_permit != after.is_permit:
        return "gains" if after.is_permit else "loses"
    if not after.is_permit:
        return None
    kept, masked = set(before.items) - set(after.items), set(after.masks) - set(before.masks)
    if kept or masked:
        return "loses"
    return "gains" if set(after.items) - set(before.items) or set(before.masks) - set(after.masks) else None


def _difference(
    change: Literal["gains", "loses"], call: Call, grant: str | None, before: Verdict, after: Verdict
) -> Difference:
    return Difference(
        change,
        call.department,
        call.dataset,
        grant,
        call.mode.value,
        call.assurance.value,
        _said(before),
        _said(after),
        after.policies,
    )


def _undecided(call: Call, grant: str | None, aspects: frozenset[str], policies: tuple[str, ...]) -> Difference:
    said = f"not ruled out: {', '.join(sorted(aspects))}"
    mode, assurance = call.mode.value, call.assurance.value
    return Difference("may-lose", call.department, call.dataset, grant, mode, assurance, "", said, policies)


def _said(verdict: Verdict) -> str:
    if not verdict.is_permit:
        return verdict.code
    masks = ", ".join(f"{item}={kind}" for item, kind in verdict.masks)
    return f"permit with {masks}" if masks else "permit"
