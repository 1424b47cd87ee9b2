"""Proving a set of policies: every theorem of its layers, and of every policy that it can matter and never errs."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from gateway.domain.policies import PolicySet
from gateway.policy.law.layers import SCHEMA_FILE, Layers, StaticPolicy, parse_layers
from gateway.policy.proofs.counterexamples import parse_counterexample, table_row, told
from gateway.policy.proofs.questions import (
    covered_questions,
    equivalence_questions,
    error_questions,
    overruled_questions,
    theorem_questions,
    void_questions,
)
from gateway.policy.proofs.solver import SECONDS, Answer, Question, Tools, ask
from gateway.policy.proofs.theorems import Theorem, read_theorems

Progress = Callable[[], None]


class Case(msgspec.Struct, frozen=True):
    """A counterexample.

    Args:
        lines: the case in English.
        lines_zh: the case in Chinese.
        row: the case as a row of a decision table.
    """

    lines: tuple[str, ...]
    lines_zh: tuple[str, ...]
    row: dict[str, Any]


class Proof(msgspec.Struct, frozen=True):
    """What came of one theorem, or of one statement about one policy.

    Args:
        subject: the theorem's id, or the policy's.
        statement: `theorem`; of a policy: `never-errors`, `can-matter` (some request satisfies it, and no forbid
            always overrules it), `says-more` (others of its effect do not say all that it says).
        layers: the layers that were asked.
        result: `proved`, `refuted`, or `unknown`, which is not proved.
        what: why it is not proved; "" where it is.
        action: the action of the counterexample.
        case: the counterexample, if there is one.
    """

    subject: str
    statement: Literal["theorem", "never-errors", "can-matter", "says-more"]
    layers: tuple[str, ...]
    result: Literal["proved", "refuted", "unknown"]
    what: str = ""
    action: str = ""
    case: Case | None = None


class Prover:
    """Puts questions to the solver, several at a time; each question is put once.

    Args:
        tools: the programs.
        schema: the schema's text.
        progress: called after each question.

    Attributes:
        tools: as given.
        asked: how many questions were put.
    """

    def __init__(self, tools: Tools, schema: str, progress: Progress = lambda: None) -> None:
        self.tools = tools
        self._folder = tempfile.TemporaryDirectory(prefix="gateway-proofs-")
        self._root = Path(self._folder.name)
        self._root.joinpath(SCHEMA_FILE).write_text(schema, encoding="utf-8")
        self._progress = progress
        self._pool = ThreadPoolExecutor(max(1, os.cpu_count() or 1))
        self._texts: dict[str, str] = {}
        self.asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._folder.cleanup()

    def map(self, work: Callable[[Any], Any], of: Sequence[Any]) -> Iterator[Any]:
        """Do several works at a time, each of which asks with `one`."""
        return self._pool.map(work, of)

    def one(self, question: Question, seconds: float = SECONDS) -> Answer:
        """The answer to one question, in this thread; given up after so many seconds."""
        return self._put(self._written(question), seconds)

    def _written(self, question: Question) -> Question:
        names = []
        for text in question.policies:
            name = self._texts.setdefault(text, f"{len(self._texts)}.cedar")
            path = self._root / name
            if not path.exists():
                path.write_text(text, encoding="utf-8")
            names.append(name)
        return msgspec.structs.replace(question, policies=tuple(names))

    def _put(self, question: Question, seconds: float) -> Answer:
        self.asked += 1
        answer = ask(self.tools, question, self._root, min(seconds, SECONDS))
        self._progress()
        return answer


def prove(
    policies: PolicySet, tools: Tools, *, only: Sequence[str] = (), progress: Progress = lambda: None
) -> tuple[Proof, ...]:
    """Prove every theorem of the set's layers under these layers together, and every policy's statements.

    Args:
        policies: the set.
        tools: the programs.
        only: ids of theorems or policies; all where none is named.
        progress: called after each question.

    Raises:
        GatewayError: `invalid-input`, if the policies or theorems do not load.
    """
    layers = parse_layers(policies.files, policies.layers)
    theorems = [one for one in read_theorems(policies) if not only or one.id in only]
    statics = [one for one in layers.policies.values() if not only or one.id in only]
    with Prover(tools, policies.files[SCHEMA_FILE], progress) as prover:
        works: list[Callable[[], Iterator[Proof]]] = []
        works += [lambda theorem=theorem: _theorem(prover, layers, theorem) for theorem in theorems]  # type: ignore[misc]
        works += [lambda policy=policy: _policy(prover, layers, policy) for policy in statics]  # type: ignore[misc]
        return tuple(proof for found in prover.map(lambda work: list(work()), works) for proof in found)


def _theorem(prover: Prover, layers: Layers, theorem: Theorem) -> Iterator[Proof]:
    for question in theorem_questions(layers, theorem):
        answer = prover.one(question)
        if answer.result != "proved":
            case = _case(answer, f"against {theorem.id}") if answer.result == "refuted" else None
            what = theorem.sentence if case is not None else answer.said
            yield Proof(theorem.id, "theorem", layers.names, answer.result, what, question.action, case)
            return
    yield Proof(theorem.id, "theorem", layers.names, "proved")


def _policy(prover: Prover, layers: Layers, policy: StaticPolicy) -> Iterator[Proof]:
    yield _never(prover, layers, policy)
    # A policy matters where one of these is refuted: one action is enough.
    if policy.effect == "permit":
        matters, why = overruled_questions(layers, policy), "some forbid overrules it whenever it permits"
    else:
        matters, why = void_questions(policy), "no request that there can be satisfies it"
    yield _some(prover, layers, policy, "can-matter", list(matters), why)
    more = list(covered_questions(layers, policy))
    if more:
        yield _some(prover, layers, policy, "says-more", more, "other policies say all that it says")


def _never(prover: Prover, layers: Layers, policy: StaticPolicy) -> Proof:
    for question in error_questions(policy):
        answer = prover.one(question)
        if answer.result != "proved":
            case = _case(answer, f"{policy.id} errs") if answer.result == "refuted" else None
            what = "it errs, and a policy that errs denies every call it is asked about" if case else answer.said
            return Proof(policy.id, "never-errors", layers.names, answer.result, what, question.action, case)
    return Proof(policy.id, "never-errors", layers.names, "proved")


def _some(
    prover: Prover,
    layers: Layers,
    policy: StaticPolicy,
    statement: Literal["can-matter", "says-more"],
    questions: Sequence[Question],
    why: str,
) -> Proof:
    """Proved where one of the questions is refuted: there is a request."""
    unknown = ""
    for question in questions:
        answer = prover.one(question)
        if answer.result == "refuted":
            return Proof(policy.id, statement, layers.names, "proved")
        if answer.result == "unknown":
            unknown = answer.said
    if unknown:
        return Proof(policy.id, statement, layers.names, "unknown", unknown)
    return Proof(policy.id, statement, layers.names, "refuted", why)


def _case(answer: Answer, name: str) -> Case:
    try:
        found = parse_counterexample(answer.said)
    except ValueError:
        lines = tuple(answer.said.splitlines())
        return Case(lines, lines, {})
    return Case(tuple(told(found)), tuple(told(found, chinese=True)), table_row(found, name))


class Compared(msgspec.Struct, frozen=True):
    """What one action could ever be permitted, before and after.

    Args:
        action: the sharing mode or act.
        change: `equal`, `narrower`, `wider`, `both`, or `unknown`.
        lost: an example of what is permitted before and not after.
        gained: an example of what is permitted after and not before.
    """

    action: str
    change: Literal["equal", "narrower", "wider", "both", "unknown"]
    lost: Case | None = None
    gained: Case | None = None


def compare_all(
    old: PolicySet, new: PolicySet, tools: Tools, progress: Progress = lambda: None
) -> tuple[Compared, ...]:
    """What each use and act could ever be permitted under two sets of one schema, whatever grants stand.

    Raises:
        GatewayError: `invalid-input`, if a set does not load.
    """
    before, after = (parse_layers(each.files, each.layers) for each in (old, new))
    with Prover(tools, new.files[SCHEMA_FILE], progress) as prover:
        pairs = list(equivalence_questions(before, after))
        return tuple(prover.map(lambda pair: _compared(prover, *pair), pairs))


def _compared(prover: Prover, fewer: Question, more: Question) -> Compared:
    there, back = prover.one(fewer), prover.one(more)
    if "unknown" in (there.result, back.result):
        return Compared(fewer.action, "unknown")
    lost = None if there.result == "proved" else _case(there, f"lost: {fewer.action}")
    gained = None if back.result == "proved" else _case(back, f"gained: {fewer.action}")
    change = ("equal", "narrower", "wider", "both")[(lost is not None) + 2 * (gained is not None)]
    return Compared(fewer.action, change, lost, gained)  # type: ignore[arg-type]
