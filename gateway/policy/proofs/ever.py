"""Whether one department can ever obtain one dataset: an example that the engine permits, or a proof that none is.

    1. What no policy is asked about: an entry that there is not, or that no interface serves.
    2. No permit at all: no grant has one of these sharing modes, and no rule in force permits a use. Cedar then denies
       every request.
    3. A first look at the likeliest calls (`offline.possible`). What is permitted is an example.
    4. The solver, where it is: that no request there can be is permitted, by each sharing mode, under each grant that
       has it and under none (`proofs.never`). What it refutes that by is a request like any other, and an example if
       the engine permits it.
    5. The rest of the look. What is then left is not proved.

Only 1, 2 and 4 say never. What stands now is looked at: grants, orders, entry, directory and policies as they are; time
goes on. A grant that is yet to be given, or an order yet to be lifted, is no part of it.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from gateway.domain.calendar import china_day, first_moment
from gateway.domain.callers import Assurance
from gateway.domain.conditions import faults_of
from gateway.domain.directory import SharingMode
from gateway.domain.grants import Grant, GrantState
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Call
from gateway.policy.law.layers import Layers
from gateway.policy.law.time_limits import FOREVER_UNIX, unix_seconds
from gateway.policy.live.slices import Slice, build_policies, is_void
from gateway.policy.offline.possible import FIRST_LOOK, Asked, Example, Look
from gateway.policy.offline.sample_calls import of_day
from gateway.policy.proofs.counterexamples import day_like, id_of, parse_counterexample
from gateway.policy.proofs.never import Uses
from gateway.policy.proofs.proving import Prover
from gateway.policy.proofs.solver import Answer, Question
from gateway.policy.proofs.theorems import Theorem

MAX_CAUSES = 6
"""Forbids of which it is asked whether one alone is enough, and theorems of which it is asked whether they say it."""


FIRST_SHARE = 0.1
"""Of the time, for the first look: under many grants a call takes long, and the solver is to have its time."""

MAX_CASES = 24
"""Modes and grants, for which it is asked which forbid alone is enough."""


class Cause(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why not.

    Args:
        kind: `entry` (what no policy is asked about), `grant` (why that grant gives nothing of it), `no-rule` (nothing
            permits it without a grant), `forbid` (this policy alone forbids every such use), `met` (this policy forbids
            some), or `theorem` (a sentence of the law that no such use satisfies).
        sentence: in English.
        sentence_zh: in Chinese.
        id: of the grant, policy or theorem.
        articles: what it rests on.
    """

    kind: Literal["entry", "grant", "no-rule", "forbid", "met", "theorem"]
    sentence: str
    sentence_zh: str
    id: str = ""
    articles: tuple[str, ...] = ()


class Possibility(msgspec.Struct, frozen=True):
    """What was found of one department and one dataset.

    Args:
        outcome: `possible`, with an example; `never`, which is proved; `not-found`: every kind of call was looked at
            and none is permitted, which is not proved; or `unknown`: the time was over before all were looked at, or
            some kinds were left out.
        by: what a `never` rests on: `gateway` (no policy is asked), `no-permit` (nothing permits anything) or `solver`.
        example: the call.
        causes: why not, as far as it is known.
        calls: how many calls were looked at.
        obtaining: of an example that only compares: what of the modes by which values leave.
    """

    outcome: Literal["possible", "never", "not-found", "unknown"]
    by: Literal["", "gateway", "no-permit", "solver"] = ""
    example: Example | None = None
    causes: tuple[Cause, ...] = ()
    calls: int = 0
    obtaining: "Possibility | None" = None


class Limits(msgspec.Struct, frozen=True):
    """Until when it is looked at.

    Args:
        until: a second of `clock`.
        clock: as `time.monotonic`.
    """

    until: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def of(cls, seconds: float) -> "Limits":
        """So many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left_seconds(self) -> float:
        """How long there is still; none where the time is over."""
        return max(0.0, self.until - self.clock())

    def part(self, share: float) -> "Limits":
        """The first share of what is left."""
        return Limits(self.clock() + share * self.left_seconds, self.clock)

    def is_over(self) -> bool:
        """Whether the time is over."""
        return self.left_seconds <= 0


def can_ever(
    layers: Layers,
    state: SliceState,
    asked: Asked,
    systems: Sequence[str],
    now_unix: int,
    limits: Limits,
    prover: Prover | None = None,
    theorems: Sequence[Theorem] = (),
) -> Possibility:
    """Whether a use that is asked about can ever be permitted, by what stands.

    Args:
        layers: the policies in force.
        state: what stands of the pair.
        asked: which uses count.
        systems: the department's registered and active systems.
        now_unix: the second from which it is looked at.
        limits: until when.
        prover: puts questions to the solver; None where it is not here.
        theorems: those that are proved of the policies, to name those that say it.
    """
    found = _can_ever(layers, state, asked, systems, now_unix, limits, prover, theorems)
    obtaining = tuple(mode for mode in asked.modes if mode is not SharingMode.VERIFY)
    if found.example is None or found.example.call.mode in obtaining or not obtaining:
        return found
    # It may be compared: whether it may be obtained is another question, and who asks means that one first.
    asked = msgspec.structs.replace(asked, modes=obtaining)
    values = _can_ever(layers, state, asked, systems, now_unix, limits, prover, theorems)
    return values if values.example is not None else msgspec.structs.replace(found, obtaining=values)


def _can_ever(
    layers: Layers,
    state: SliceState,
    asked: Asked,
    systems: Sequence[str],
    now_unix: int,
    limits: Limits,
    prover: Prover | None,
    theorems: Sequence[Theorem],
) -> Possibility:
    outside = _outside(state, asked)
    if outside is not None:
        return Possibility("never", "gateway", causes=(outside,))
    causes = list(_no_permit(layers, state, asked, now_unix))
    uses = Uses(layers, state, asked, now_unix)
    if not uses.cases:
        return Possibility("never", "no-permit", causes=tuple(causes))
    part = Slice(layers, state)
    look = Look(part, asked, systems, now_unix)
    example = look.on(FIRST_LOOK, limits.part(FIRST_SHARE).is_over)
    if example is None and prover is not None and not limits.is_over():
        answers = _answers(prover, limits, [uses.never(case) for case in uses.cases])
        if all(answer.result == "proved" for answer in answers):
            why = _why(prover, limits, uses, layers, state, look, theorems)
            return Possibility("never", "solver", causes=(*why, *causes), calls=look.calls)
        example = next((found for answer in answers if (found := _refuting(answer, look, state, systems))), None)
    if example is None:
        example = look.on(None, limits.is_over)
    if example is not None:
        return Possibility("possible", example=example, calls=look.calls)
    met = [_forbid(layers, state, name, "met") for name in look.met]
    outcome: Literal["not-found", "unknown"] = "not-found" if look.is_whole else "unknown"
    return Possibility(outcome, causes=(*met, *causes), calls=look.calls)


def _outside(state: SliceState, asked: Asked) -> Cause | None:
    """Why no policy is asked at all, where that is so."""
    if is_void(state) or state.department is None or state.dataset is None:
        return Cause("entry", "there is no such department, entry or supplier", "没有这一部门、目录条目或者提供部门")
    if not state.interfaces:
        return Cause("entry", "no interface serves this dataset", "没有提供该数据集的接口")
    if asked.item is not None and asked.item not in state.dataset.item_names:
        return Cause(
            "entry",
            f"the entry has no item `{asked.item}`; it has {', '.join(sorted(state.dataset.item_names))}",
            f"目录条目中没有数据项 {asked.item}；所列数据项为 {'、'.join(sorted(state.dataset.item_names))}",
        )
    return None


def _no_permit(layers: Layers, state: SliceState, asked: Asked, now_unix: int) -> Iterator[Cause]:
    """What each grant does not give of it, and that no rule gives anything without one."""
    for grant in state.grants:
        lacking = list(_lacking(grant, asked, now_unix))
        if lacking:
            english, chinese = zip(*lacking, strict=True)
            yield Cause(
                "grant",
                f"grant `{grant.id}` does not give it: {'; '.join(english)}",
                f"授权 {grant.id} 不予提供：{'；'.join(chinese)}",
                grant.id,
            )
    if not state.grants:
        yield Cause("grant", "the department holds no grant on it", "该部门没有对该数据集的授权", "")
    if layers.permit_set is None:
        yield Cause("no-rule", "no rule in force permits a use without a grant", "现行规则均不允许无授权使用")


def _lacking(grant: Grant, asked: Asked, now_unix: int) -> Iterator[tuple[str, str]]:
    if grant.state is not GrantState.ISSUED:
        yield f"it is {grant.state.value}", f"其状态为 {grant.state.value}"
    for field, fault in faults_of(grant):
        yield f"it cannot be put in force ({field}: {fault})", f"不能生效（{field}）"
    if unix_seconds(grant.valid_until) <= now_unix:
        yield "its time is over", "已过有效期"
    if asked.item is not None and asked.item not in grant.items:
        yield f"its items are {', '.join(grant.items)}", f"其数据项为 {'、'.join(grant.items)}"
    if asked.purpose is not None and asked.purpose not in grant.purposes:
        yield f"its purposes are {', '.join(grant.purposes)}", f"其目的为 {'、'.join(grant.purposes)}"
    if not set(asked.modes) & set(grant.modes):
        modes = [mode.value for mode in grant.modes]
        yield f"its sharing modes are {', '.join(modes)}", f"其共享方式为 {'、'.join(modes)}"


def _answers(prover: Prover, limits: Limits, questions: Sequence[Question]) -> list[Answer]:
    """The solver's answers; `unknown` to what there is no time for."""
    is_open = threading.Event()

    def answer(question: Question) -> Answer:
        if limits.is_over() or is_open.is_set():
            return Answer("unknown")
        found = prover.one(question, limits.left_seconds)
        if found.result != "proved":
            # One is enough, and the rest would be asked for nothing.
            is_open.set()
        return found

    return list(prover.map(answer, questions))


def _is_proved(prover: Prover, limits: Limits, questions: Sequence[Question | None]) -> bool:
    """Whether all are proved; what cannot be asked is not."""
    asked = [question for question in questions if question is not None]
    if len(asked) < len(questions):
        return False
    return all(answer.result == "proved" for answer in _answers(prover, limits, asked))


def _refuting(answer: Answer, look: Look, state: SliceState, systems: Sequence[str]) -> Example | None:
    """The example that a counterexample is, if the engine permits it: the solver knows no calendar, and no values."""
    if answer.result != "refuted" or state.department is None or state.dataset is None:
        return None
    try:
        case = parse_counterexample(answer.said)
        said = msgspec.convert(case.context, _Said, strict=False)
        call = Call(
            id_of(case.principal),
            state.department.id,
            next(one for one in Assurance if one.rank == said.assurance),
            id_of(case.resource),
            state.dataset.id,
            SharingMode(case.action),
            said.purpose,
            tuple(sorted(set(said.items))),
            tuple(sorted((each["name"], each["value"]) for each in said.parameters)),
            unread=tuple(said.unread),
            declared=tuple(said.declared),
            guessable=tuple(said.guessable),
            subjects=max(0, said.subjects),
        )
    except (ValueError, KeyError, StopIteration, msgspec.ValidationError):
        return None
    # Most often it is all one which system calls, and on which day.
    ours = [msgspec.structs.replace(call, system=name) for name in systems[:1]]
    moments = [of_day(moment, said.minute) for moment in (look.now_unix, said.now)]
    if (day := day_like(said.calendar, china_day(look.now_unix))) is not None:
        moments.append(of_day(int(first_moment(day).timestamp()), said.minute))
    tries = ((each, moment) for moment in moments if moment < FOREVER_UNIX for each in (*ours, call))
    return next((found for each, moment in tries if (found := look.confirmed(each, moment))), None)


class _Said(msgspec.Struct, rename={"minute": "minuteOfDay"}):
    """The context of a counterexample."""

    now: int
    minute: int
    assurance: int
    purpose: str
    items: list[str]
    parameters: list[dict[str, str]]
    unread: list[str]
    declared: list[str]
    guessable: list[str]
    calendar: dict[str, Any] = {}
    subjects: int = 0


def _why(
    prover: Prover,
    limits: Limits,
    uses: Uses,
    layers: Layers,
    state: SliceState,
    look: Look,
    theorems: Sequence[Theorem],
) -> Iterator[Cause]:
    """What each proof rests on: no permit of it, or the policies that forbid it, and the sentences that say so."""
    if _is_proved(prover, limits, [uses.never(case, ()) for case in uses.cases]):
        if layers.permit_set is not None:
            yield Cause(
                "no-rule", "no rule in force permits such a use without a grant", "现行规则均不允许此种无授权使用"
            )
        return
    met = [name for name in look.met if name in uses.forbids] or list(uses.forbids)
    # Each is asked of every case; of many grants what was met is told, and not whether it alone would be enough.
    asked = met if len(uses.cases) <= MAX_CASES else []
    alone = [
        name
        for name in asked[:MAX_CAUSES]
        if _is_proved(prover, limits, [uses.never(case, (name,)) for case in uses.cases])
    ]
    for name in alone or met[:MAX_CAUSES]:
        yield _forbid(layers, state, name, "forbid" if alone else "met")
    articles = {article for name in alone for article in _articles(layers, name)}
    near = [one for one in theorems if one.about == "uses" and not articles.isdisjoint(one.articles)]
    for theorem in near[:MAX_CAUSES]:
        if _is_proved(prover, limits, [uses.contradicted(case, theorem) for case in uses.cases]):
            yield Cause("theorem", theorem.sentence, theorem.sentence_zh, theorem.id, theorem.articles)


def _articles(layers: Layers, name: str) -> tuple[str, ...]:
    policy = layers.policies.get(name)
    return () if policy is None else policy.articles


def _forbid(layers: Layers, state: SliceState, name: str, kind: Literal["forbid", "met"]) -> Cause:
    """A policy that forbids, as it is told: of the layers, or built of an entry or an order."""
    policy = layers.policies.get(name)
    if policy is not None:
        return Cause(kind, policy.title, policy.title_zh, name, policy.articles)
    est = build_policies(state)[0].get(name)
    if est is None:
        return Cause(kind, name, name, name)
    said = est["annotations"]
    return Cause(kind, said["title"], _TITLES_ZH.get(said["title"], said["title"]), name, (said["article"],))


_TITLES_ZH = {
    "The directory entry does not state this sharing mode": "目录条目未列明此种共享方式",
    "The directory entry does not allow this purpose of use": "目录条目不允许此种使用目的",
    "Sharing is suspended until it is rectified": "整改期间暂停共享",
    "Sharing is suspended in a security emergency": "安全紧急情况下暂停共享",
    "Sharing has been terminated": "共享已终止",
}
