"""Whether an officer may do an act: the officers' rights are Cedar policies of the static layers, nothing else."""

import cedarpy

from gateway.domain.directory import Department
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.verdicts import Decision, Explanation, Verdict
from gateway.policy.law.layers import Layers
from gateway.policy.law.world import act_request
from gateway.policy.live import refusals


def decide_act(
    layers: Layers, officer: Officer, act: Act, matter: Matter, now_unix: int, home: Department | None = None
) -> Verdict:
    """The verdict on `officer` doing `act` about `matter`; it holds for the instant it is made at.

    `home` is the officer's department as the state has it: a power follows from what that department is, and a role's
    name alone gives nothing (INVARIANT: POWER-FROM-OFFICE). A denial's code is `act-not-permitted`. Its explanation
    names the forbids that determined it, and cites their articles.
    """
    try:
        request, entities = act_request(
            officer,
            act.value,
            matter,
            now_unix,
            home,
            knows_words=layers.knows_words,
            longest_days=layers.settled.longest_grant_days,
        )
        result = cedarpy.is_authorized(request, layers.act_set, entities)
    except ValueError:
        # An identifier that is no text (a lone surrogate, say) is nobody's; UnicodeEncodeError is a ValueError.
        return _denial(layers, (), now_unix)
    reasons = tuple(sorted(result.diagnostics.reasons))
    # INVARIANT: ERROR-DENIES — a right that errs is skipped by Cedar, and so might be a forbid.
    if result.diagnostics.errors:
        return _denial(layers, (), now_unix)
    # INVARIANT: FORBID-WINS — Cedar's own rule: one satisfied forbid denies.
    if not result.allowed:
        return _denial(layers, reasons, now_unix)
    articles = dict.fromkeys(article for name in reasons for article in layers.policies[name].articles)
    return Verdict(Decision.PERMIT, "", reasons, layers.digest, now_unix + 1, legal_basis="; ".join(articles))


def _denial(layers: Layers, reasons: tuple[str, ...], now_unix: int) -> Verdict:
    rules = refusals.rules_of(layers, reasons)
    explanation = Explanation(
        articles=tuple(dict.fromkeys(article for rule in rules for article in rule.articles)),
        rules=rules,
        next_step="ask an officer of the department that may; roles are bound to department and region",
        next_step_zh="请由有权部门的人员操作；角色与部门、区域绑定",
    )
    return Verdict(Decision.DENY, "act-not-permitted", reasons, layers.digest, now_unix + 1, explanation=explanation)
