"""What a theorem, and what every policy, asks the solver; one question an action, for Cedar's compiler takes one."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import cedarpy
import msgspec

from gateway.domain.directory import SharingMode
from gateway.domain.officers import Act
from gateway.policy.law.layers import Layers, StaticPolicy, est_to_text
from gateway.policy.law.world import ACT_GROUPS, USE_GROUPS
from gateway.policy.offline.probing import built_of_every_shape
from gateway.policy.proofs.solver import Kind, Question
from gateway.policy.proofs.theorems import ALIKE, NO_LESS, PERMITTED, Theorem

EVERYTHING = '@id("every-grant")\npermit (principal is System, action in Action::"use", resource);\n'
"""In the place of all grants that there could be: what it is permitted with is permitted with any of them."""

BESIDE = frozenset({ALIKE, NO_LESS})
"""The claims by which the layers are laid beside those without one."""

_USES = tuple(mode.value for mode in SharingMode)
_ACTS = tuple(act.value for act in Act)


def theorem_questions(layers: Layers, theorem: Theorem) -> Iterator[Question]:
    """What has to be answered `proved` for a theorem, of the policies of `layers`."""
    is_about_uses = theorem.about == "uses"
    if theorem.claim in BESIDE:
        yield from _beside(layers, theorem)
        return
    base = _base(layers, theorem)
    for action in theorem.asked_actions:
        claimed, given = _claimed(theorem, action)
        sets = (given, base) if theorem.claim == PERMITTED else (base + given, claimed)
        yield _question("implies", action, sets, is_use=is_about_uses)


def _beside(layers: Layers, theorem: Theorem) -> Iterator[Question]:
    """The layers beside those without the theorem's, of each action that its policies can mean.

    Of uses twice, with everything granted and with nothing: what no grant permits, and what a forbid takes from any.
    """
    is_use = theorem.about == "uses"
    meant = {action for one in layers.policies.values() if one.layer == theorem.layer for action, _ in reached(one)}
    kind: Kind = "equivalent" if theorem.claim == ALIKE else "implies"
    sets = [(_base(layers, theorem, without=theorem.layer), _base(layers, theorem))]
    if is_use and theorem.rests_on == "static":
        bare = msgspec.structs.replace(theorem, rests_on="built")
        sets.append((_base(layers, bare, without=theorem.layer), _base(layers, bare)))
    for action in theorem.asked_actions:
        given = _claimed(theorem, action)[1]
        for one, other in sets if action in meant else ():
            yield _question(kind, action, (one + given, other + given), is_use=is_use)


def _base(layers: Layers, theorem: Theorem, *, without: str | None = None) -> str:
    """The policies that a theorem is asked of, as text, all or those of the other layers than one."""
    is_use = theorem.about == "uses"
    policies = {
        name: one.est for name, one in layers.policies.items() if _applies(one, is_use=is_use) and one.layer != without
    }
    if theorem.rests_on == "built":
        policies |= built_of_every_shape()
    return est_to_text(policies) + (EVERYTHING if is_use and theorem.rests_on == "static" else "")


def _claimed(theorem: Theorem, action: str) -> tuple[str, str]:
    """Claim and presumption of a theorem as Cedar text: two policies, or one permit of what is presumed."""
    kinds = ("System", "Interface") if theorem.about == "uses" else ("Officer", "Matter")
    scope = f'(principal is {kinds[0]}, action == Action::"{action}", resource is {kinds[1]})'
    presumed = _presumed(theorem)
    if theorem.claim in BESIDE:
        return "", f'@id("given")\nforbid {scope} unless {{ {presumed} }};\n'
    if theorem.claim == PERMITTED:
        return "", f'@id("given")\npermit {scope} when {{ {presumed} }};\n'
    claim = f"if context has grant then ({theorem.claim}) else true" if _under_grant(theorem) else theorem.claim
    claimed = f'@id("claim")\npermit {scope} when {{ {claim} }};\n'
    return claimed, f'@id("given")\nforbid {scope} unless {{ {presumed} }};\n'


def theorem_faults(layers: Layers, theorem: Theorem) -> list[str]:
    """What of a theorem's expressions does not parse, or does not fit the schema; no solver is needed for it."""
    texts = {action: list(filter(None, _claimed(theorem, action))) for action in theorem.asked_actions}
    # They differ by their action alone, so one is parsed, and all are held to the schema together.
    for text in next(iter(texts.values()), ()):
        try:
            said = len(msgspec.json.decode(cedarpy.policies_to_json_str(text))["staticPolicies"])
        except ValueError as error:
            return [f"`{theorem.id}` does not parse: {error}"]
        if said != 1:
            return [f"`{theorem.id}` says more than one expression"]
    if not _misfits(layers, "".join(text for each in texts.values() for text in each)):
        return []
    return [
        f"`{theorem.id}`, of `{action}`: {fault}"
        for action, each in texts.items()
        for fault in _misfits(layers, "".join(each))
    ]


def _misfits(layers: Layers, text: str) -> list[str]:
    found = cedarpy.validate_policies(text, layers.schema).errors
    return [re.sub(r"^for policy `policy\d+`[,:] ", "", fault.error) for fault in found]


def _under_grant(theorem: Theorem) -> bool:
    return theorem.about == "uses" and theorem.under == "grant"


def _presumed(theorem: Theorem) -> str:
    if _under_grant(theorem):
        return f"context has grant && ({theorem.given})"
    if theorem.about == "uses" and theorem.under == "none":
        return f"!(context has grant) && ({theorem.given})"
    return theorem.given


def can_err(policy: StaticPolicy) -> bool:
    """Whether validation leaves it open that a policy errs.

    A policy that fits the schema can err by a sum that overflows, and by a function that takes a text as a number or
    time; everything else that errs is a fault of its types, which the validator finds.
    """
    return _mentions(policy.est["conditions"])


def _mentions(node: Any) -> bool:
    if isinstance(node, list):
        return any(map(_mentions, node))
    if not isinstance(node, dict):
        return False
    return not _ERRING.isdisjoint(node) or any(map(_mentions, node.values()))


_ERRING = frozenset(("+", "-", "*", "neg", "decimal", "ip", "datetime", "duration", "offset", "durationSince"))


def error_questions(policy: StaticPolicy) -> Iterator[Question]:
    """All of these are `proved` where a policy never errs; none are asked where its types settle it."""
    if can_err(policy):
        for action, is_use in reached(policy):
            yield _question("never-errors", action, (est_to_text({policy.id: policy.est}),), is_use=is_use)


def void_questions(policy: StaticPolicy) -> Iterator[Question]:
    """Where all of these are `proved`, no request that there can be satisfies the policy."""
    text = est_to_text({policy.id: policy.est})
    for action, is_use in reached(policy):
        yield _question("never-matches", action, (text,), is_use=is_use)


def covered_questions(layers: Layers, policy: StaticPolicy) -> Iterator[Question]:
    """Where all of these are `proved`, others of the same effect and refusal say all that the policy says.

    A forbid with a refusal of its own tells a caller more than one that covers it, so it is asked of those alone that
    refuse with the same code.
    """
    others = {
        one.id: _as_permit(one.est)
        for one in layers.policies.values()
        if one.id != policy.id
        and one.effect == policy.effect
        and (one.refusal, one.masks) == (policy.refusal, policy.masks)
    }
    if not others:
        return
    sets = (est_to_text({policy.id: _as_permit(policy.est)}), est_to_text(others))
    for action, is_use in reached(policy):
        yield _question("implies", action, sets, is_use=is_use)


def overruled_questions(layers: Layers, policy: StaticPolicy) -> Iterator[Question]:
    """Where all of these are `proved`, some forbid applies whenever the permit does."""
    if policy.effect != "permit":
        return
    forbids = {one.id: one.est for one in layers.policies.values() if one.effect == "forbid"}
    text = est_to_text({**forbids, policy.id: policy.est})
    for action, is_use in reached(policy):
        yield _question("always-denies", action, (text,), is_use=is_use)


def _as_permit(est: Mapping[str, Any]) -> dict[str, Any]:
    return {**est, "effect": "permit"}


def reached(policy: StaticPolicy) -> list[tuple[str, bool]]:
    """The actions that a policy's scope can mean, each with whether it is a use."""
    scope, kind = policy.est["action"], policy.est["principal"].get("entity_type")
    named = None if scope["op"] == "All" else {one["id"] for one in scope.get("entities") or [scope["entity"]]}
    return [
        (action, is_use)
        for actions, groups, is_use in ((_USES, USE_GROUPS, True), (_ACTS, ACT_GROUPS, False))
        for action in actions
        if (named is None or not named.isdisjoint((action, *groups[action])))
        and kind in (None, "System" if is_use else "Officer")
    ]


def _applies(policy: StaticPolicy, *, is_use: bool) -> bool:
    return policy.for_uses if is_use else policy.for_acts


def _question(kind: Kind, action: str, policies: tuple[str, ...], *, is_use: bool) -> Question:
    principal, resource = ("System", "Interface") if is_use else ("Officer", "Matter")
    return Question(kind, action, principal, resource, policies)


def equivalence_questions(old: Layers, new: Layers) -> Iterator[tuple[Question, Question]]:
    """For each action: whether all that `old` permits is permitted by `new`, and the other way round."""
    for actions, is_use in ((_USES, True), (_ACTS, False)):
        texts = [
            est_to_text({name: one.est for name, one in layers.policies.items() if _applies(one, is_use=is_use)})
            + (EVERYTHING if is_use else "")
            for layers in (old, new)
        ]
        for action in actions:
            yield (
                _question("implies", action, (texts[0], texts[1]), is_use=is_use),
                _question("implies", action, (texts[1], texts[0]), is_use=is_use),
            )
