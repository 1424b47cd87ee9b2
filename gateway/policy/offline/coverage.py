"""What the decision tables show: which policies decide a case, and which conditions a case fails by alone.

A condition is shown where some case meets all that the policy asks but this: the policy does not apply to the case, and
without the condition it would. Such a case is what fails when somebody takes the condition out, or gets it wrong. A
test with `has` is none: without it the rest could not be read.

A policy's conditions are what its `when` clauses join by `&&`, and each `unless` clause as a whole; its scope (who,
which action, what) is not looked at.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import cedarpy
import msgspec

from gateway.domain.directory import Department
from gateway.domain.officers import Act, Matter, Officer
from gateway.policy.law.drawn import drawn_context
from gateway.policy.law.layers import Layers, StaticPolicy, est_document, est_to_text
from gateway.policy.law.settled import Settled
from gateway.policy.law.time_limits import unix_seconds
from gateway.policy.law.world import act_request, caller_entities, use_request
from gateway.policy.live.expressions import Est
from gateway.policy.live.slices import Slice, asked_items
from gateway.policy.offline.tables import Case, Outcome, case_call, case_drawn

Question = tuple[Any, Any]
"""A request and its entities, as Cedar takes them."""


class Coverage(msgspec.Struct, frozen=True):
    """What the cases show of the policies of one layer.

    Args:
        layer: its name.
        policies: how many policies it has.
        conditions: how many conditions those have that determine some case.
        undecided: ids of policies that determine no case, in the order of the files.
        unshown: (id, condition as Cedar writes it) for each condition that no case fails by alone, of policies that
            determine some. A theorem may hold what no case shows.
    """

    layer: str
    policies: int
    conditions: int
    undecided: tuple[str, ...]
    unshown: tuple[tuple[str, str], ...]


class _Condition(msgspec.Struct, frozen=True):
    """A condition of a policy, and the policy without it, as a permit."""

    policy: str
    text: str
    without: Est


def covered(decided: Iterable[tuple[Layers, Sequence[Outcome]]]) -> tuple[Coverage, ...]:
    """What cases show of each layer, in the order in which layers first come.

    Args:
        decided: layers, each with what came of the cases that were decided under them (`tables.run_case`).
    """
    policies: dict[str, StaticPolicy] = {}
    conditions: dict[str, _Condition] = {}
    determining: set[str] = set()
    shown: set[str] = set()
    for layers, outcomes in decided:
        policies |= layers.policies
        asked = {f"{each.policy}\n{each.text}": each for one in layers.policies.values() for each in _conditions(one)}
        conditions |= asked
        determining |= {name for one in outcomes if one.verdict is not None for name in one.verdict.policies}
        shown |= _shown(layers, asked, outcomes)
    found = []
    for layer in dict.fromkeys(one.layer for one in policies.values()):
        own = {name for name, one in policies.items() if one.layer == layer}
        asked = {name: each for name, each in conditions.items() if each.policy in own & determining}
        undecided = tuple(name for name in policies if name in own - determining)
        unshown = tuple((each.policy, each.text) for name, each in asked.items() if name not in shown)
        found.append(Coverage(layer, len(own), len(asked), undecided, unshown))
    return tuple(found)


def _shown(layers: Layers, conditions: Mapping[str, _Condition], outcomes: Iterable[Outcome]) -> set[str]:
    """The names of the conditions that some case fails by alone."""
    shown: set[str] = set()
    sets = {is_act: _parsed(layers, conditions, is_act=is_act) for is_act in (False, True)}
    for outcome in outcomes:
        for request, entities in questions(layers, outcome.case):
            asked = sets["act" in outcome.case.facts]
            met = set(cedarpy.is_authorized(request, asked, entities).diagnostics.reasons)
            shown |= {name for name in met & conditions.keys() if conditions[name].policy not in met}
    return shown


def questions(layers: Layers, case: Case) -> Iterator[Question]:
    """What is put to Cedar for a case: of an act one request, of a use one for each grant and one without.

    A case that cannot be put to the policies, or is refused before them, puts nothing.
    """
    facts = case.facts
    try:
        settled = msgspec.convert(facts["settled"], Settled)
        if "act" in facts:
            officer = msgspec.convert(facts["officer"], Officer)
            home = msgspec.convert({"id": officer.department, "region": officer.region, **facts["office"]}, Department)
            matter, act = msgspec.convert(facts["matter"], Matter), Act(facts["act"])
            now = unix_seconds(msgspec.convert(facts["now"], datetime))
            most = settled.longest_grant_days
            yield act_request(officer, act.value, matter, now, home, knows_words=layers.knows_words, longest_days=most)
            return
        state, call, now = case_call(facts)
        of = Slice(layers, state)
    except ValueError:  # msgspec's and Cedar's too
        return
    if of.entities is None:
        return
    entities = of.entities.with_added_json_str(caller_entities(call))
    drawn = case_drawn(facts, call)
    lately = drawn_context(drawn) if drawn or of.drawn_facts else None
    for grant in (*of.grants, None):
        asked = asked_items(call, grant, of.item_names)
        under = None if grant is None else grant.id
        words, decision = layers.knows_words, settled.decision
        yield use_request(call, now, asked, under, lately, knows_words=words, decision=decision), entities


def _parsed(layers: Layers, conditions: Mapping[str, _Condition], *, is_act: bool) -> cedarpy.PolicySet:
    """The policies on acts or on uses, whole and without each of their conditions, as permits."""
    of = {one.id: one for one in layers.policies.values() if (one.for_acts if is_act else one.for_uses)}
    asked = {name: _permitting(one.est, one.est["conditions"]) for name, one in of.items()}
    asked |= {name: each.without for name, each in conditions.items() if each.policy in of}
    return cedarpy.PolicySet.from_json_str(est_document(asked))


def _permitting(est: Est, conditions: Sequence[Est]) -> Est:
    """The policy with these conditions, as a permit: Cedar names each permit that applies, where nothing forbids."""
    return {**est, "effect": "permit", "annotations": {}, "conditions": list(conditions)}


def _conditions(policy: StaticPolicy) -> Iterator[_Condition]:
    # The condition of a layer's region is not its author's: what comes along with the layer proves it.
    written = policy.est["conditions"]
    added = [] if policy.region is None else written[:1]
    own = written[len(added) :]
    conditions = [
        {"kind": clause["kind"], "body": body}
        for clause in own
        for body in (_joined(clause["body"]) if clause["kind"] == "when" else [clause["body"]])
    ]
    for place, condition in enumerate(conditions):
        if "has" not in condition["body"]:
            others = [*added, *conditions[:place], *conditions[place + 1 :]]
            yield _Condition(policy.id, _text(condition), _permitting(policy.est, others))


def _joined(body: Est) -> Iterable[Est]:
    both = body.get("&&")
    return [body] if both is None else [*_joined(both["left"]), *_joined(both["right"])]


def _text(condition: Est) -> str:
    scope = {"op": "All"}
    alone = {"effect": "permit", "principal": scope, "action": scope, "resource": scope, "conditions": [condition]}
    written = " ".join(est_to_text({"condition": alone}).split())
    return written[written.index(condition["kind"]) :].removesuffix(";")
