"""A denial in words: its code, which grants came near, what failed in each, by which article, and what to do next.

Only grants of the caller's own department are named. What the caller sent is not repeated, so that nothing personal
that someone put in a header comes back in a problem or a record (INVARIANT: NO-VALUES).
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gateway.domain.conditions import faults_of
from gateway.domain.directory import Dataset, SharingAttribute
from gateway.domain.errors import PROBLEMS
from gateway.domain.grants import Grant, GrantState
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Call, Decision, Explanation, NearMiss, Rule, Verdict
from gateway.policy.law.calendar import calendar_context
from gateway.policy.law.layers import Layers
from gateway.policy.law.time_limits import unix_seconds
from gateway.policy.live.conditions import UPHELD

if TYPE_CHECKING:
    from gateway.policy.live.slices import Answer

NEAR_LIMIT = 5

_STOPS = ("non-shareable", "terminated", "suspended", "outside-scope")
"""Codes that stand above everything else, strongest first."""

_STOPPED: Mapping[str, tuple[str, str, str]] = {
    # What stands above a grant's own conditions: article, sentence, the same in Chinese.
    "terminated": ("Decree 809 Art. 27 ¶2", "the grant is terminated", "该授权已被终止"),
    "suspended": ("Decree 809 Art. 27 ¶2", "the grant is suspended", "该授权已被暂停"),
    "closed": ("Decree 809 Art. 27 ¶1", "the grant was closed: its use has ended", "该授权已关闭，使用已经结束"),
    "scope": ("Decree 809 Art. 15", "the entry's scope leaves the department out", "目录的共享范围不包括本部门"),
}

_TOLD = {**_STOPPED, **{row.name: (row.article, row.sentence, row.sentence_zh) for row in UPHELD}}
"""In the order in which the first failed one is told."""

_CODE_OF_CONDITION = {
    **{name: name for name in _STOPPED},
    "closed": "grant-closed",
    "scope": "outside-scope",
    **{row.name: row.code for row in UPHELD},
}

_OF_GRANTS = ("not-granted", "items-not-granted", "mode-not-granted", "parameters-not-granted", "purpose-not-granted")
"""Codes whose advice is to ask for what is granted, or for a grant: no way around a rule that holds under any."""
_WHATEVER = (
    "no grant permits what this rule forbids: ask for something that it leaves free",
    "该规则所禁止的，任何授权都不能准许；请改为请求该规则不禁止的内容",
)

CODES = frozenset(_CODE_OF_CONDITION.values())
"""Of a denial by what is built and by what grants lack; a static policy's own (`@refusal`) come to it."""

_CONDITION_OF_CODE = {code: condition for condition, code in _CODE_OF_CONDITION.items() if code != "not-granted"}

_ORDER = {condition: rank for rank, condition in enumerate(_TOLD)}


def plain_denial(code: str, digest: str, until: int) -> Verdict:
    """A denial that no policy determined: what was asked for does not exist, or nothing is granted."""
    row = PROBLEMS[code]
    explanation = Explanation(next_step=row.advice, next_step_zh=row.advice_zh)
    return Verdict(Decision.DENY, code, (), digest, until, explanation=explanation)


NO_CALENDAR = (
    (
        "it asks whether this is a working day, and no State Council notice that the gateway knows reaches this day: "
        "tell the operator"
    ),
    "该策略须判断是否工作日，而网关所知的国务院放假通知未及当日；请告知运维人员",
)
NO_COUNT = (
    (
        "it asks how many persons the call is about, and the interface's entry does not tell where they stand: name "
        "them in the place that it tells of, or ask the supplier to complete the entry"
    ),
    "该策略须判断请求涉及的人数，而接口目录未说明人员位置；请在目录说明处列明，或者请提供部门补全目录",
)


def unknown_facts(layers: Layers, call: Call, now_unix: int) -> tuple[str, str] | None:
    """What the policies on uses ask for and nobody knows of this call, in both languages."""
    if layers.calendar_rules and calendar_context(now_unix) is None:
        return NO_CALENDAR
    return NO_COUNT if layers.counts_subjects and call.subjects is None else None


def error_denial(digest: str, until: int, unknown: tuple[str, str] | None = None) -> Verdict:
    """The denial of a call on which Cedar reported an error.

    Args:
        digest: of the policies.
        until: until when it holds.
        unknown: what the policies ask for and nobody knows, in both languages, if that is why.
    """
    said, said_zh = unknown or ("", "")
    explanation = Explanation(
        next_step="a policy could not be evaluated, so the call is denied; "
        + (said or "tell the operator the time of the call"),
        next_step_zh="有策略无法求值，调用被拒绝；" + (said_zh or "请将调用时间告知运维人员"),
    )
    return Verdict(Decision.DENY, "not-granted", (), digest, until, explanation=explanation)


def denial(
    layers: Layers,
    state: SliceState,
    built: Mapping[str, Mapping[str, Any]],
    call: Call,
    now_unix: int,
    answers: Sequence["Answer"],
    digest: str,
    until: int,
    *,
    is_open: bool,
) -> Verdict:
    """The denial of a call that no answer permits.

    The code: non-shareable above terminated above suspended above outside the entry's scope where these hold whatever
    the grant; else, where a layer permits the call without a grant (`is_open`), what forbids it; else what the nearest
    grant failed on first; else `not-granted`.
    """
    dataset = state.dataset
    assert dataset is not None
    alone = next(answer for answer in answers if answer.grant is None)
    notes = _Notes(layers, built)
    near = []
    for answer in answers:
        grant = answer.grant
        if grant is None or grant.department != call.department or faults_of(grant):
            continue
        own = failed_conditions(grant, dataset, call, now_unix)
        failed = own | notes.conditions(answer.forbids)
        first = min((_ORDER[name] for name in failed), default=0)
        near.append((len(failed), first, grant, failed, own, answer))
    near.sort(key=lambda miss: (*miss[:2], -miss[2].valid_until.timestamp(), miss[2].id))
    nearest = near[0] if near else None
    # What is asked of uses without a grant is no reason where nothing permits one.
    forbids = alone.forbids
    if not is_open:
        forbids = tuple(name for name in forbids if name not in layers.without_grant)
    elif not layers.settled.decision:
        # A right that nobody has decided on is none: what else is asked of it is no reason either.
        is_open = False
        forbids = tuple(name for name in forbids if name not in layers.without_grant or _is_plain(layers, name))
    wide = notes.codes(forbids)
    policies = {*forbids, *(nearest[5].forbids if nearest else ())}
    code = wide[0] if is_open and wide else _code(dataset, wide, nearest, notes, now_unix)
    misses = tuple(
        _near_miss(grant, dataset, call, sorted(failed, key=_ORDER.__getitem__), notes.sentences(failed - own, answer))
        for _, _, grant, failed, own, answer in near[:NEAR_LIMIT]
    )
    articles = [*notes.articles(sorted(policies)), *(article for miss in misses[:1] for article in miss.articles)]
    if not articles:
        articles = ["Decree 809 Art. 20"]
    rules = rules_of(layers, policies, code)
    # Under the nearest grant nothing fails but what a rule forbids under any.
    is_rule = nearest is not None and not nearest[4] and any(layers.policies[rule.id].refusal == code for rule in rules)
    next_step, next_step_zh = _advice(layers, rules, code, is_rule=is_rule)
    return Verdict(
        Decision.DENY,
        code,
        tuple(sorted(policies)),
        digest,
        until,
        retention_years=dataset.retention_years,
        explanation=Explanation(
            near=misses,
            articles=tuple(dict.fromkeys(articles)),
            rules=rules,
            next_step=next_step,
            next_step_zh=next_step_zh,
        ),
    )


def rules_of(layers: Layers, names: Iterable[str], code: str = "") -> tuple[Rule, ...]:
    """The static policies among `names`, as callers are told them: those that refuse with `code` first."""
    found = sorted(
        (name for name in names if name in layers.policies), key=lambda name: (_differs(layers, name, code), name)
    )
    return tuple(
        Rule(policy.id, policy.title, policy.title_zh, policy.articles)
        for policy in map(layers.policies.__getitem__, found)
    )


def _differs(layers: Layers, name: str, code: str) -> bool:
    return layers.policies[name].refusal != code


def _advice(layers: Layers, rules: Sequence[Rule], code: str, *, is_rule: bool) -> tuple[str, str]:
    """What to do next, in both languages: in the words of the first rule that has any, else as the code says."""
    for rule in rules:
        policy = layers.policies[rule.id]
        if policy.refusal == code and policy.advice[0]:
            return policy.advice
    if is_rule and code in _OF_GRANTS:
        return _WHATEVER
    row = PROBLEMS[code]
    return row.advice, row.advice_zh


def _is_plain(layers: Layers, name: str) -> bool:
    """Whether what a static policy forbids is told as not granted."""
    return layers.policies[name].refusal == "not-granted"


def _code(dataset: Dataset, wide: Sequence[str], nearest: Any, notes: "_Notes", now_unix: int) -> str:
    if dataset.sharing_attribute is SharingAttribute.NON_SHAREABLE:
        return "non-shareable"
    if any(stop in wide for stop in _STOPS):
        own = notes.codes(nearest[5].forbids) if nearest is not None else []
        return next(stop for stop in _STOPS if stop in wide or stop in own)
    if nearest is None:
        return "not-granted"
    _, _, grant, failed, _, answer = nearest
    if not failed:
        codes = notes.codes(answer.forbids)
        return codes[0] if codes else "not-granted"
    first = min(failed, key=_ORDER.__getitem__)
    if first == "time" and now_unix < unix_seconds(grant.valid_from):
        return "grant-not-yet-valid"
    return _CODE_OF_CONDITION.get(first, "not-granted")


def failed_conditions(grant: Grant, dataset: Dataset, call: Call, now_unix: int) -> set[str]:
    """Which conditions of its own a grant that can be built fails on.

    A property test holds that none fails just where Cedar finds its policy satisfied.
    """
    failed = {row.name for row in UPHELD if row.fails(grant, dataset, call, now_unix)}
    if grant.state in (GrantState.TERMINATED, GrantState.SUSPENDED):
        failed.add(grant.state.value)
    if grant.state in (GrantState.CLOSED, GrantState.DISPOSED):
        failed.add("closed")
    return failed


def quota_miss(grant: Grant, dataset: Dataset, call: Call) -> NearMiss:
    """A grant that covers the call, but for its quota of today."""
    return _near_miss(grant, dataset, call, ("quota",))


def quota_explanation(misses: Sequence[NearMiss]) -> Explanation:
    """Why a call is denied that these grants cover, but for their quotas; the last of them is told first."""
    row = PROBLEMS["quota-exhausted"]
    return Explanation(
        near=tuple(misses[::-1][:NEAR_LIMIT]),
        articles=(_TOLD["quota"][0],),
        next_step=row.advice,
        next_step_zh=row.advice_zh,
    )


def _near_miss(
    grant: Grant,
    dataset: Dataset,
    call: Call,
    failed: Sequence[str],
    ruled: Mapping[str, tuple[str, str, str]] = MappingProxyType({}),
) -> NearMiss:
    """A grant that came near; `ruled` tells of conditions on which not the grant fails, but what rules say of it."""
    told = {**_TOLD, **ruled}
    words: dict[str, str] = {}
    for row in UPHELD:
        if row.name in failed:
            words |= row.words(grant, dataset, call)
    return NearMiss(
        grant=grant.id,
        failed=tuple(failed),
        articles=tuple(dict.fromkeys(told[name][0] for name in failed)),
        detail=tuple(told[name][1] if name in ruled else told[name][1].format_map(words) for name in failed),
        detail_zh=tuple(told[name][2] if name in ruled else told[name][2].format_map(words) for name in failed),
    )


class _Notes:
    """The annotations of static and built policies, by id."""

    def __init__(self, layers: Layers, built: Mapping[str, Mapping[str, Any]]) -> None:
        self._layers = layers
        self._built = built

    def codes(self, ids: Sequence[str]) -> list[str]:
        """The problem codes of these policies, the strongest first."""
        found = {self._note(name, "refusal") or "not-granted" for name in ids}
        return sorted(found, key=lambda code: (_STOPS.index(code) if code in _STOPS else len(_STOPS), code))

    def conditions(self, ids: Sequence[str]) -> set[str]:
        """The conditions of a grant that these forbids stand for."""
        found = {_CONDITION_OF_CODE.get(code) for code in self.codes(ids)} - {None}
        if any(name in self._layers.convergence_rules for name in ids):
            found.add("combination")
        return {name for name in found if name is not None}

    def sentences(self, conditions: set[str], answer: "Answer") -> dict[str, tuple[str, str, str]]:
        """Articles, title and Chinese title of the static policies by which these conditions of a grant fail.

        A condition that an order on the grant stands for is told in the words of the table.
        """
        found: dict[str, tuple[str, str, str]] = {}
        for name in answer.forbids:
            static = self._layers.policies.get(name)
            if static is not None:
                for condition in self.conditions((name,)) & conditions:
                    found.setdefault(condition, ("; ".join(static.articles), static.title, static.title_zh))
        return found

    def articles(self, ids: Sequence[str]) -> list[str]:
        """What these policies cite."""
        return [part.strip() for name in ids for part in self._note(name, "article").split(";") if part.strip()]

    def _note(self, name: str, note: str) -> str:
        static = self._layers.policies.get(name)
        est = self._built.get(name) if static is None else static.est
        return "" if est is None else str(est["annotations"].get(note, ""))
