"""Two sets of layers over everything that stands: which grants, and which datasets without a grant, gain and lose.

For every standing grant the calls that it covers are put to both sets: each of its modes, purposes and interfaces,
with each assurance, asking for all of its items and for each alone, at every time of the day at which a policy of
either set turns. For every dataset the calls that a department of each region could make without a grant. A loss is a
call permitted before and not after, or one that lets out fewer items, or masks more. What was lately drawn is not
known to the comparison: convergence rules count as if nothing was.

Source: Decree 809 Art. 15, 39(2): nobody hinders sharing by adding conditions; so what a change of policy takes away
is shown before it is put in force.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol

import cedarpy
import msgspec

from gateway.domain.callers import Assurance
from gateway.domain.directory import Department, Interface, SharingMode
from gateway.domain.grants import Grant, GrantState
from gateway.domain.orders import Reach
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Call, Verdict
from gateway.policy.building import grant_faults, interface_keys
from gateway.policy.layers import Layers, est_document
from gateway.policy.shapes import Shape, literals_of
from gateway.policy.slices import Slice, is_void
from gateway.policy.time_limits import CHINA_OFFSET_SECONDS, DAY_SECONDS, unix_seconds
from gateway.policy.world import caller_entities, parse_entities, slice_entities, use_request

ANY_SYSTEM = "any-system"
ANY_PURPOSE = "any-purpose"
MAX_LISTED = 10_000
"""Differences listed; all are counted."""

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

    def read(self, department: str, dataset: str) -> SliceState:
        """The state of a pair."""


class Difference(msgspec.Struct, frozen=True):
    """One kind of call that the new set decides otherwise.

    Args:
        change: `gains` or `loses`.
        department: who; for a dataset without a grant, one department of the region that stands for all of it.
        dataset: of what.
        grant: under which grant, None without one.
        mode: the sharing mode.
        assurance: the weakest assurance with which it differs.
        before: the code of the old denial, `permit`, or `permit with …`.
        after: the same of the new set.
        policies: ids of the policies that determine the new verdict.
    """

    change: Literal["gains", "loses"]
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
        datasets: datasets compared without a grant, each once for every region.
        calls: calls put to both.
        gaining: ids of grants that gain something.
        losing: ids of grants that lose something.
        differences: each kind of call that differs, once; at most `MAX_LISTED`.
    """

    old: str
    new: str
    grants: int
    datasets: int
    calls: int
    gaining: tuple[str, ...]
    losing: tuple[str, ...]
    differences: tuple[Difference, ...]

    @property
    def takes_away(self) -> bool:
        """Whether a standing grant, or a department without one, loses anything."""
        return any(difference.change == "loses" for difference in self.differences)


def compare(
    old: Layers,
    new: Layers,
    standing: Standing,
    now_unix: int,
    progress: Callable[[], None] = lambda: None,
) -> Comparison:
    """Compare two sets of layers over everything that stands at `now_unix`.

    Args:
        old: the layers in force.
        new: the layers to come.
        standing: what stands.
        now_unix: the second from which it is looked at.
        progress: called after each pair of department and dataset.
    """
    found: dict[tuple[str | None, ...], Difference] = {}
    gaining: set[str] = set()
    losing: set[str] = set()
    grants = datasets = calls = 0
    comparing = _Comparing(old, new, now_unix)
    for state in _states(standing, without=any(layers.permit_set is not None for layers in (old, new))):
        progress()
        shape, outcome = comparing.of(state)
        grants += outcome.grants
        datasets += not state.grants
        calls += outcome.calls
        for one in outcome.differences:
            named = None if one.grant is None else shape.named(one.grant)
            if named is not None:
                (gaining if one.change == "gains" else losing).add(named)
            if len(found) < MAX_LISTED:
                department, dataset = shape.named(one.department), shape.named(one.dataset)
                policies = tuple(sorted(shape.named(name) for name in one.policies))
                found.setdefault(
                    (one.change, department, dataset, named, one.mode),
                    msgspec.structs.replace(
                        one, department=department, dataset=dataset, grant=named, policies=policies
                    ),
                )
    return Comparison(
        old.digest,
        new.digest,
        grants,
        datasets,
        calls,
        tuple(sorted(gaining)),
        tuple(sorted(losing)),
        tuple(found.values()),
    )


class _Outcome(msgspec.Struct, frozen=True):
    """What was found for one shape, in its own names.

    Args:
        grants: of them that stand.
        calls: put to both sets.
        differences: each kind of call that differs, once.
    """

    grants: int
    calls: int
    differences: tuple[Difference, ...]


class _Comparing:
    """Two sets of layers, and what was found for each shape so far."""

    def __init__(self, old: Layers, new: Layers, now_unix: int) -> None:
        self._old = old
        self._new = new
        self._now_unix = now_unix
        self._minutes = sorted({*old.time.minutes, *new.time.minutes})
        self._touching = _Touching(old, new)
        self._literals = literals_of((old, new))
        self._known: dict[bytes, _Outcome] = {}

    def of(self, state: SliceState) -> tuple[Shape, _Outcome]:
        """The shape of a state, and what is found for it."""
        shape = Shape(state, self._literals, self._now_unix)
        outcome = self._known.get(shape.key)
        if outcome is None:
            outcome = self._compare(shape.state)
            if len(self._known) < MAX_SHAPES:
                self._known[shape.key] = outcome
        return shape, outcome

    def _compare(self, state: SliceState) -> _Outcome:
        held = [grant for grant in state.grants if _stands(grant, self._now_unix)]
        cases: list[tuple[Grant | None, Call]] = [
            (grant, call) for grant in held for call in _calls_under(grant, state)
        ]
        if not state.grants:
            cases += [(None, call) for call in _calls_without(state)]
        put = [
            (grant, call, moment) for grant, call in cases for moment in _moments(grant, self._minutes, self._now_unix)
        ]
        touched = self._touching.those(state, put)
        found: dict[tuple[str | None, ...], Difference] = {}
        if touched:
            before, after = Slice(self._old, state), Slice(self._new, state)
            for grant, call, moment in touched:
                verdicts = (before.evaluate(call, moment), after.evaluate(call, moment))
                change = _change(*verdicts)
                if change is not None:
                    named = None if grant is None else grant.id
                    found.setdefault((change, named, call.mode), _difference(change, call, named, *verdicts))
        return _Outcome(len(held), len(put), tuple(found.values()))


Put = tuple[Grant | None, Call, int]


class _Touching:
    """Finds the calls on which two sets of layers can differ at all.

    A policy that stands in both sets decides both verdicts alike. So a verdict differs only where a policy that stands
    in one of them alone is satisfied, or errs, under some grant of the slice or under none. Those few policies are
    asked first; most calls need no more.
    """

    def __init__(self, old: Layers, new: Layers) -> None:
        rules = [
            {policy.id: policy.est for policy in layers.policies.values() if policy.for_uses} for layers in (old, new)
        ]
        alone = [
            {name: est for name, est in mine.items() if theirs.get(name) != est}
            for mine, theirs in (rules, reversed(rules))
        ]
        self._sets = [cedarpy.PolicySet.from_json_str(est_document(policies)) for policies in alone if policies]

    def those(self, state: SliceState, put: list[Put]) -> list[Put]:
        """The calls of `put` on which the two sets can differ."""
        if not self._sets or not put:
            return []
        # Every system and action that a call names, at once: a document of its own for each call costs more to parse
        # than Cedar takes to decide it.
        callers = {(call.system, call.department, call.mode): call for _, call, _ in put}
        named = {
            (thing["uid"]["type"], thing["uid"]["id"]): thing
            for call in callers.values()
            for thing in msgspec.json.decode(caller_entities(call))
        }
        known = parse_entities([*slice_entities(state), *named.values()])
        under = [None if grant is None else grant.id for grant in (*state.grants, None)]
        requests = [
            use_request(call, moment, call.items or (), grant, None) for _, call, moment in put for grant in under
        ]
        touched: set[int] = set()
        for rules in self._sets:
            for place, result in enumerate(cedarpy.is_authorized_batch(requests, rules, known)):
                if result.diagnostics.reasons or result.diagnostics.errors:
                    touched.add(place // len(under))
        return [put[place] for place in sorted(touched)]


def _states(standing: Standing, *, without: bool) -> Iterator[SliceState]:
    """The state of every pair with grants, then of every dataset for one department of each region, without grants.

    Args:
        standing: what stands.
        without: whether some layer permits a use without a grant at all; else the second part is left out.
    """
    for department, dataset in standing.pairs():
        state = standing.read(department, dataset)
        if not is_void(state) and state.grants:
            yield state
    if not without:
        return
    regions: dict[str, Department] = {}
    for one in standing.departments():
        regions.setdefault(one.region, one)
    first = next((one.id for one in regions.values()), "")
    for dataset in standing.datasets():
        state = standing.read(first, dataset)
        if not is_void(state):
            yield from _unheld(state, regions.values())


def _unheld(state: SliceState, departments: Iterable[Department]) -> Iterator[SliceState]:
    """The state of a dataset for each of `departments` as if it held no grant and no order named it."""
    orders = tuple(order for order in state.orders if order.reach in (Reach.DATASET, Reach.SUPPLIER))
    for one in departments:
        yield msgspec.structs.replace(state, department=one, ancestors=(), grants=(), orders=orders)


def _stands(grant: Grant, now_unix: int) -> bool:
    standing = grant.state in (GrantState.ISSUED, GrantState.SUSPENDED)
    return standing and not grant_faults(grant) and unix_seconds(grant.valid_until) > now_unix


def _calls_under(grant: Grant, state: SliceState) -> Iterator[Call]:
    """The calls that a grant covers, by kind."""
    assert state.dataset is not None
    keys = set(interface_keys(grant, state.dataset.supplier))
    items = tuple(sorted(state.dataset.item_names & set(grant.items)))
    parameters = tuple((name, values[0]) for name, values in sorted(grant.parameters.items()) if values)
    for interface in state.interfaces:
        if keys and interface.key not in keys:
            continue
        for mode in grant.modes:
            for purpose in grant.purposes:
                yield from _by_assurance(
                    grant.department,
                    grant.systems[0] if grant.systems else ANY_SYSTEM,
                    interface,
                    mode,
                    purpose,
                    items,
                    parameters,
                )


def _calls_without(state: SliceState) -> Iterator[Call]:
    """The calls that a department could make without a grant, by kind."""
    assert state.dataset is not None
    assert state.department is not None
    items = tuple(sorted(state.dataset.item_names))
    purposes = state.dataset.purposes or (ANY_PURPOSE,)
    for interface in state.interfaces:
        for mode in interface.modes:
            yield from _by_assurance(state.department.id, ANY_SYSTEM, interface, mode, purposes[0], items, ())


def _by_assurance(
    department: str,
    system: str,
    interface: Interface,
    mode: SharingMode,
    purpose: str,
    items: tuple[str, ...],
    parameters: tuple[tuple[str, str], ...],
) -> Iterator[Call]:
    singly = [(name,) for name in items] if len(items) > 1 else []
    for assurance in Assurance:
        for asked in (items, *singly):
            yield Call(
                system, department, assurance, interface.key, interface.dataset, mode, purpose, asked, parameters
            )


def _moments(grant: Grant | None, minutes: Iterable[int], now_unix: int) -> list[int]:
    """Seconds to compare at: within the grant's time and hours, and wherever a policy turns by the time of day."""
    start = now_unix if grant is None else max(now_unix, unix_seconds(grant.valid_from))
    midnight = start - (start + CHINA_OFFSET_SECONDS) % DAY_SECONDS
    if grant is not None and grant.hours is not None:
        span = range(grant.hours.start_minute, grant.hours.end_minute)
        inside = [span.start, *(minute for minute in minutes if minute in span)]
    else:
        inside = list(minutes)
    days = [midnight + minute * 60 for minute in inside]
    moments = [moment if moment >= start else moment + DAY_SECONDS for moment in days]
    return sorted({*moments} if grant is not None and grant.hours is not None else {start, *moments})


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


def _said(verdict: Verdict) -> str:
    if not verdict.is_permit:
        return verdict.code
    masks = ", ".join(f"{item}={kind}" for item, kind in verdict.masks)
    return f"permit with {masks}" if masks else "permit"
