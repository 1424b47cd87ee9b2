"""A slice: everything that decides what one department may do with one dataset, and the deciding itself.

A use is made under one grant, or under none. So a call is put to Cedar once for each grant of the slice, with
`context.grant` naming it, and where none permits once without. Under a grant a call is permitted if Cedar permits it
*and* that grant's own policy is among the determining ones; without a grant, if some static permit determines it (a
regional layer's rule on unconditional data, say). The static policies and the slice's built policies are evaluated as
sets of their own and joined: Cedar evaluates every policy on its own, so the joint answer is that of one set. A policy
built for a grant, its permit or an order on it alone, is asked only under grants of its set: it begins with
`context.grant` being that grant, and so under any other it is neither satisfied nor in error.

The event loop cannot go on while Cedar works, for Cedar keeps the interpreter. So what grows with the number of grants
is parsed and asked `AT_ONCE` grants at a time, and the loop gets the interpreter back in between.

Which grant is named: the narrowest that covers the call and whose quota of the day is not used up, and no grant only
where no such grant covers it. Narrower is, in this order: fewer items; single systems named; single interfaces named;
the earlier end; the smaller id. Quotas are drawn on after a verdict was made, so one under a grant with a quota bears
the next with it (`Verdict.otherwise`). Rows are drawn on when the use is on record under its grant: that call is then
refused, and the next is made under the next grant.
A call that names no items asks for the items of the grant it is made under, and without a grant for every item.

In `verify` mode no value leaves (Zhongshan Art. 22 ¶3): the verdict names the items that may be compared, never all of
them as one that may pass unfiltered.
"""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import cedarpy
import msgspec

from gateway.domain.directory import SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, Quota
from gateway.domain.orders import Order, Reach
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Call, Decision, Verdict
from gateway.policy.law.drawn import Drawn, drawn_context
from gateway.policy.law.layers import Layers, est_document, est_pieces, est_to_text
from gateway.policy.law.masks import Mask, masks_on
from gateway.policy.law.time_limits import TimeUse, next_change, time_use
from gateway.policy.law.world import (
    caller_entities,
    parse_entities,
    slice_entities,
    takes_long,
    use_request,
)
from gateway.policy.live import building, refusals
from gateway.policy.live.expressions import Est

AT_ONCE = 4
"""How many grants' policies are parsed, and how many requests are put to a set, in one call of Cedar, which keeps the
interpreter for 0.2 to 0.3 ms then. See `tests/bench/policy_scale.py`, stalls."""

NONE: frozenset[str] = frozenset()
"""One for all slices: each would be an object of its own that the garbage collector walks."""


class Answer(msgspec.Struct, frozen=True):
    """Cedar's joint answer to a call under one grant, or under none.

    Args:
        grant: the grant it was put under.
        permits: ids of the permits that are satisfied, if Cedar allows.
        forbids: ids of the forbids that are satisfied, if Cedar denies.
        errors: what Cedar reported; any entry is a denial.
    """

    grant: Grant | None
    permits: tuple[str, ...]
    forbids: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def is_permit(self) -> bool:
        """Whether the use may be made under this grant, or without one."""
        # INVARIANT: FORBID-WINS — whatever permits, under whichever grant.
        if self.forbids or self.errors:
            return False
        if self.grant is None:
            return bool(self.permits)
        return building.grant_policy_id(self.grant) in self.permits

    @property
    def is_metered(self) -> bool:
        """Whether there is a quota: that of the grant, where it has one; a use without a grant always has one."""
        return self.grant is None or self.grant.quota is not None


class Standing(msgspec.Struct, eq=False, gc=False):
    """Whether what was read for a pair still stands: all that verdicts hold of their slice.

    Args:
        supplier: the supply department's id.
        concerned: ids of the departments it was made of: demand, its ancestors, supplier.
        live: False once a change has dropped it; a verdict made from it then no longer stands.
    """

    supplier: str | None
    concerned: tuple[str, ...]
    live: bool = True

    @classmethod
    def of(cls, state: SliceState) -> "Standing":
        """The standing of what was read now."""
        known = (state.department, *state.ancestors, state.supplier)
        supplier = None if state.supplier is None else state.supplier.id
        return cls(supplier, tuple([one.id for one in known if one is not None]))


class Slice:
    """The built policies and the entities of one (department, dataset) pair. Immutable but for its standing.

    Attributes:
        standing: not live once a change has dropped it; a verdict made from it then no longer stands.
        state: the reading of the state it was built from.
        shared: the parsed policies that are asked under every grant and under none; None where they stand in the
            slice's only set of `sets`.
        sets: the parsed policies of `AT_ONCE` grants each, in the order of `grants`.
        digest: SHA-256 (hex) over the static layers and the built policies.
        drawn_facts: which facts of `context.drawn` its convergence rules look at, by path; where there are any, its
            verdicts hold for the one call they were made for.
        turns_any_time: whether some policy looks at the time in a way whose next change is not known.
        unbuilt: ids of grants that could not be built, and so permit nothing.
    """

    __slots__ = (
        "digest",
        "drawn_facts",
        "entities",
        "grants",
        "instants",
        "item_names",
        "layers",
        "minutes",
        "sets",
        "shared",
        "standing",
        "state",
        "turns_any_time",
        "unbuilt",
    )

    def __init__(self, layers: Layers, state: SliceState) -> None:
        layers = layers.within(None if state.supplier is None else state.supplier.region)
        self.standing = Standing.of(state)
        self.layers = layers
        self.state = state
        self.grants = tuple(sorted(state.grants, key=narrowness))
        built, self.unbuilt = build_policies(state)
        self.item_names = NONE if state.dataset is None else state.dataset.item_names
        self.shared, self.sets = _parsed(built, self.grants, state.orders)
        self.entities = None if is_void(state) else parse_entities(slice_entities(state, layers.facts))
        self.digest = _digest(layers, built)
        dataset = "" if state.dataset is None else state.dataset.id
        rules = layers.convergence
        self.drawn_facts = rules.get(dataset, NONE) | rules.get("", NONE) if rules else NONE
        turns = TimeUse.together([layers.time, *(time_use(est) for est in built.values())])
        self.instants = tuple(sorted(turns.instants))
        self.minutes = tuple(sorted(turns.minutes))
        self.turns_any_time = turns.unknown

    def cedar_text(self) -> str:
        """The built policies as Cedar prints them."""
        built = self.built()
        return est_to_text(built) if built else ""

    def built(self) -> dict[str, Est]:
        """The built policies by id, in JSON form; made anew, for of many grants they take room."""
        return build_policies(self.state)[0]

    def evaluate(self, call: Call, now_unix: int, drawn: Drawn | None = None) -> Verdict:
        """The verdict on `call` at `now_unix`.

        Args:
            call: of this slice's department and dataset.
            now_unix: the second it is decided at.
            drawn: what was lately drawn, by path; needed where `drawn_facts` are set.
        """
        until = next_change(
            now_unix, (*self.instants, *self._turns_of(call)), self.minutes, unknown=self.turns_any_time
        )
        if self.drawn_facts:
            until = now_unix + 1
        fault = self._fault(call)
        if fault is not None or self.entities is None:
            return refusals.plain_denial(fault or "not-granted", self.digest, until)
        lately = self._lately(drawn)
        entities = self.entities.with_added_json_str(caller_entities(call))
        answers = self._all_answers(call, now_unix, lately, entities)
        # INVARIANT: ERROR-DENIES — Cedar skips a policy that errs, and a skipped `forbid` would let the call through;
        # so an error under any grant denies, whichever policy it stands in and whichever grant permits.
        if any(answer.errors for answer in answers):
            return refusals.error_denial(self.digest, until, refusals.unknown_facts(self.layers, call, now_unix))
        permits = [answer for answer in answers if answer.is_permit]
        if permits and all(answer.is_metered and answer.grant is not None for answer in permits):
            alone = self._answers((None,), call, now_unix, lately, entities)
            permits += [answer for answer in alone if answer.is_permit]
        if permits:
            return self._in_turn(call, permits, until)
        is_open = self._is_open(call, now_unix)
        return refusals.denial(
            self.layers, self.state, self.built(), call, now_unix, answers, self.digest, until, is_open=is_open
        )

    def may_permit(self, call: Call, now_unix: int, drawn: Drawn | None = None) -> bool:
        """Whether `evaluate` could permit: False is a denial, that has cost no explanation."""
        if self._fault(call) is not None or self.entities is None:
            return False
        entities = self.entities.with_added_json_str(caller_entities(call))
        answers = self._all_answers(call, now_unix, self._lately(drawn), entities)
        return any(answer.is_permit for answer in answers)

    def _lately(self, drawn: Drawn | None) -> str | None:
        return None if drawn is None and not self.drawn_facts else drawn_context(drawn or {})

    def _all_answers(self, call: Call, now_unix: int, lately: str | None, entities: cedarpy.Entities) -> list[Answer]:
        """The answers under each grant, and where none permits without one."""
        answers = self._answers(self.grants, call, now_unix, lately, entities)
        if not any(answer.is_permit for answer in answers):
            answers += self._answers((None,), call, now_unix, lately, entities)
        return answers

    def _turns_of(self, call: Call) -> tuple[int, ...]:
        """Seconds at which a comparison with the system's dates can turn: at each, or after it."""
        dates = call.dates
        if dates is None or not self.layers.time.dates:
            return ()
        named = (dates.registered, dates.certified, dates.certified_until)
        return tuple(each + after for each in named for after in (0, 1))

    def _answers(
        self, under: Sequence[Grant | None], call: Call, now_unix: int, lately: str | None, entities: cedarpy.Entities
    ) -> list[Answer]:
        """Cedar's answers under each of `under`: all grants of the slice, or None alone."""
        answers = []
        for start in range(0, len(under), AT_ONCE):
            together = under[start : start + AT_ONCE]
            requests = [
                use_request(
                    call,
                    now_unix,
                    self._asked(call, grant),
                    None if grant is None else grant.id,
                    lately,
                    knows_words=self.layers.knows_words,
                    decision=self.layers.settled.decision,
                )
                for grant in together
            ]
            sets = [self.layers.use_set]
            if self.shared is not None:
                sets.append(self.shared)
            if self.shared is None or together[0] is not None:
                sets.append(self.sets[start // AT_ONCE])
            of_sets = [cedarpy.is_authorized_batch(requests, policies, entities) for policies in sets]
            of_grants = zip(*of_sets, strict=True)
            answers += [_joined(grant, results) for grant, results in zip(together, of_grants, strict=True)]
        return answers

    def _is_open(self, call: Call, now_unix: int) -> bool:
        """Whether a layer permits the call without a grant, so that a forbid alone stands in its way."""
        if self.layers.permit_set is None or self.entities is None:
            return False
        request = use_request(call, now_unix, self._asked(call, None), None, None, knows_words=self.layers.knows_words)
        entities = self.entities.with_added_json_str(caller_entities(call))
        return cedarpy.is_authorized(request, self.layers.permit_set, entities).allowed

    def _fault(self, call: Call) -> str | None:
        """Why a call cannot be put to the policies at all, as a problem code."""
        state = self.state
        if is_void(state) or state.dataset is None:
            return "not-granted"
        if call.department != getattr(state.department, "id", None) or call.dataset != state.dataset.id:
            return "not-granted"
        if call.unit and call.unit != getattr(state.department, "code", None):
            return "unit-mismatch"
        if all(interface.key != call.interface for interface in state.interfaces):
            return "interface-unknown"
        if call.items is not None and not self.item_names.issuperset(call.items):
            return "items-unknown"
        return None

    def _asked(self, call: Call, grant: Grant | None) -> Sequence[str]:
        return asked_items(call, grant, self.item_names)

    def _in_turn(self, call: Call, permits: Sequence[Answer], until: int) -> Verdict:
        """The first permit, which bears with it the one that stands in where its quota is used up, and so on."""
        metered = list(takewhile(lambda answer: answer.is_metered, permits))
        last = permits[len(metered) : len(metered) + 1]
        verdict = self._permit(call, last[0], until) if last else None
        dataset = self.state.dataset
        assert dataset is not None
        misses = [refusals.quota_miss(answer.grant, dataset, call) for answer in metered if answer.grant is not None]
        for place in reversed(range(len(metered))):
            verdict = msgspec.structs.replace(
                self._permit(call, metered[place], until),
                exhausted=refusals.quota_explanation(misses[: place + 1]),
                otherwise=verdict,
            )
        assert verdict is not None
        return verdict

    def _permit(self, call: Call, answer: Answer, until: int) -> Verdict:
        dataset, grant = self.state.dataset, answer.grant
        assert dataset is not None
        statics = [self.layers.policies[name] for name in answer.permits if name in self.layers.policies]
        quota, guesses, meter = None if grant is None else grant.quota, None, "" if grant is None else grant.id
        a_minute, basis = None, "" if grant is None else grant.legal_basis
        articles = dict.fromkeys(article for policy in statics for article in policy.articles)
        if grant is None:
            # Where several rules permit, the narrowest of their limits holds.
            limits = [policy.limits for policy in statics]
            rows = [each.rows_a_day for each in limits if each.rows_a_day is not None]
            quota = Quota(min(each.calls_a_day for each in limits), min(rows, default=None))
            a_minute = min(each.calls_a_minute for each in limits)
            # Without a grant the rule is the basis, by the decision that put it in force, and the record names both.
            decided = self.layers.settled.decision
            basis = f"{', '.join(sorted(answer.permits))}: {'; '.join((*articles, decided))}"
            if call.mode is SharingMode.VERIFY:
                guesses = min(each.guesses_a_day for each in limits)
            meter = meter_without_grant(call.department, dataset.id)
        items = tuple(sorted(set(self._asked(call, grant))))
        asked_masks: list[Mask] = [mask for policy in statics for mask in policy.masks]
        # What is compared is compared whole: a mask is for what is seen, and in verify mode nothing is.
        obtains = call.mode is not SharingMode.VERIFY
        masks: tuple[tuple[str, str], ...] = ()
        if asked_masks and obtains:
            masks = masks_on(asked_masks, items, frozenset(item.name for item in dataset.items if item.sensitive))
        return Verdict(
            decision=Decision.PERMIT,
            code="",
            policies=tuple(sorted(answer.permits)),
            policy_digest=self.digest,
            valid_until_unix=until,
            grant=None if grant is None else grant.id,
            grant_version=0 if grant is None else grant.version,
            items=items,
            # INVARIANT: GRANTED-ITEMS-ONLY — what cannot be filtered cannot be masked either.
            all_items=obtains and not masks and self.item_names == frozenset(items),
            masks=masks,
            types=() if obtains else tuple((item.name, item.type) for item in dataset.items if item.name in items),
            bounds=() if grant is None else tuple(sorted(grant.parameters.items())),
            legal_basis=basis,
            approver="" if grant is None else grant.supply_approval.person,
            retention_years=dataset.retention_years,
            metered=quota is not None,
            calls_a_day=None if quota is None else quota.calls_a_day,
            rows_a_day=None if quota is None else quota.rows_a_day,
            calls_a_minute=a_minute,
            meter=meter,
            guesses_a_day=guesses,
        )


def meter_without_grant(department: str, dataset: str) -> str:
    """The name under which is counted what a department draws of a dataset without a grant; no grant has such an id."""
    return "~" + hashlib.sha256(f"{department}\n{dataset}".encode()).hexdigest()[:40]


def narrowness(grant: Grant) -> tuple[Any, ...]:
    """Sorts the narrowest grant first: fewer items, single systems, single interfaces, the earlier end, the id."""
    return (
        len(set(grant.items)),
        not grant.systems,
        not grant.interfaces,
        grant.valid_until.timestamp(),
        grant.id,
    )


def asked_items(call: Call, grant: Grant | None, of_dataset: frozenset[str]) -> Sequence[str]:
    """The items a call asks for: those it names, or what `grant` gives, or without a grant every item."""
    if call.items is not None:
        return call.items
    # An item that has left the directory since the grant was approved is no longer given.
    return sorted(of_dataset if grant is None else of_dataset.intersection(grant.items))


def is_void(state: SliceState) -> bool:
    """Whether the state knows no such department, dataset or supplier; then nothing can be permitted."""
    return state.department is None or state.dataset is None or state.supplier is None


def build_policies(state: SliceState) -> tuple[dict[str, Est], frozenset[str]]:
    """The policies of a slice by id, and the grants that could not be built and so permit nothing.

    Raises:
        GatewayError: if an entry or an order cannot be built: nothing may be permitted without it.
    """
    built: dict[str, Est] = {}
    unbuilt: set[str] = set()
    if state.dataset is not None:
        built |= building.build_entry(state.dataset)
        for grant in state.grants:
            try:
                built |= building.build_grant(grant, state.dataset.supplier)
            except GatewayError:
                unbuilt.add(grant.id)
    granted = {grant.id: grant for grant in state.grants}
    for order in state.orders:
        if order.is_in_force:
            built |= building.build_order(order, granted.get(order.target))
    return built, frozenset(unbuilt) if unbuilt else NONE


def _digest(layers: Layers, built: Mapping[str, Est]) -> str:
    """SHA-256 (hex) over the digest of the layers, a line feed, and the built policies in Cedar's JSON form."""
    hashing = hashlib.sha256(f"{layers.digest}\n".encode())
    for piece in est_pieces(built):
        hashing.update(piece)
    return hashing.hexdigest()


def _parsed(
    built: Mapping[str, Est], grants: Sequence[Grant], orders: Sequence[Order]
) -> tuple[cedarpy.PolicySet | None, tuple[cedarpy.PolicySet, ...]]:
    """The built policies, parsed: what is asked under every grant, and what only under `AT_ONCE` grants each."""
    if len(grants) <= AT_ONCE:
        return None, (parse_policies(built),)
    own: dict[str, list[str]] = {grant.id: [building.grant_policy_id(grant)] for grant in grants}
    for order in orders:
        if order.reach is Reach.GRANT and not order.stops_the_pair and order.target in own:
            own[order.target].append(building.order_policy_id(order))
    apart = frozenset().union(*own.values())
    shared, sets = parse_policies({name: est for name, est in built.items() if name not in apart}), []
    for start in range(0, len(grants), AT_ONCE):
        names = [name for grant in grants[start : start + AT_ONCE] for name in own[grant.id] if name in built]
        sets.append(parse_policies({name: built[name] for name in names}))
    return shared, tuple(sets)


def parse_policies(built: Mapping[str, Est]) -> cedarpy.PolicySet:
    """These policies, parsed without their annotations: Cedar decides nothing by them, and they take time to parse."""
    document = est_document({name: {**est, "annotations": {}} for name, est in built.items()})
    return cedarpy.PolicySet.from_json_str(document, release_gil=takes_long(document))


def _joined(grant: Grant | None, results: Sequence[cedarpy.AuthzResult]) -> Answer:
    """The answer of several sets together: any forbid forbids, else any permit permits."""
    denied = [result.diagnostics.reasons for result in results if not result.allowed]
    forbids = tuple([reason for reasons in denied for reason in reasons])
    permits: tuple[str, ...] = ()
    if not forbids:
        permits = tuple([reason for result in results if result.allowed for reason in result.diagnostics.reasons])
    errors = tuple([str(error) for result in results for error in result.diagnostics.errors])
    return Answer(grant, permits, forbids, errors)
