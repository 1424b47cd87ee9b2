"""Small changes to policies, each noticed by a decision table or a theorem, or proved to say the same.

In each policy of each layer one condition is dropped, one half of an `&&` or `||` stands for both or is joined by the
other word, a comparison is its contrary or its neighbour, a set lacks a member, a number is one more, a negation goes,
`in` is `==`, an action is taken out; and each policy is left out. `python -m tests.mutants.policies` judges them all
and keeps what notices each (`kept/policies.json`); it needs what proves.
"""

import copy
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gateway.domain.policies import PolicySet
from gateway.policy.law.layers import SCHEMA_FILE, Layers, default_policies_root, parse_layers, read_set
from gateway.policy.offline.tables import Case, Table, read_tables, run_case
from gateway.policy.proofs.proving import Prover
from gateway.policy.proofs.questions import equivalence_questions, reached, theorem_questions
from gateway.policy.proofs.solver import find_tools
from gateway.policy.proofs.theorems import Theorem, read_theorems

KEPT = Path(__file__).with_name("kept") / "policies.json"
LAYERS = ("national", "convergence", "zhongshan")
EQUIVALENT, SURVIVED = "equivalent", "survived"
_CONTRARY = {"==": "!=", "!=": "==", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "containsAll": "containsAny"}
_CONTRARY |= {"containsAny": "containsAll", "in": "=="}

Json = dict[str, Any]


class Mutant(NamedTuple):
    """A policy that was changed in one place; `est` is None where it is left out."""

    policy: str
    change: str
    est: Json | None

    @property
    def key(self) -> str:
        return f"{self.policy}: {self.change}"


def mutants_of(policy: str, est: Json) -> Iterator[Mutant]:
    """Every change of one policy, each with a name that says where it is."""
    yield Mutant(policy, "left out", None)
    for at, condition in enumerate(est["conditions"]):
        kept = [each for place, each in enumerate(est["conditions"]) if place != at]
        yield Mutant(policy, f"condition {at + 1} dropped", {**est, "conditions": kept})
        for where, word, body in _changed(condition["body"], ""):
            changed = copy.deepcopy(est)
            changed["conditions"][at]["body"] = body
            yield Mutant(policy, f"condition {at + 1}{where}: {word}", changed)
    named = est["action"].get("entities", [])
    for at, action in enumerate(named):
        rest = [each for place, each in enumerate(named) if place != at]
        yield Mutant(policy, f"without `{action['id']}`", {**est, "action": {**est["action"], "entities": rest}})


def _changed(node: Any, where: str) -> Iterator[tuple[str, str, Any]]:
    """(where, what, the expression instead) for each change within an expression."""
    if not isinstance(node, dict):
        return
    for word, inner in node.items():
        yield from ((where, what, instead) for what, instead in _instead(word, inner))
        if isinstance(inner, dict):
            for name, part in inner.items():
                for place, what, instead in _changed(part, f"{where}.{name}"):
                    yield place, what, {**node, word: {**inner, name: instead}}
        elif isinstance(inner, list) and word != "Set":
            for at, part in enumerate(inner):
                for place, what, instead in _changed(part, f"{where}.{at}"):
                    yield place, what, {**node, word: [*inner[:at], instead, *inner[at + 1 :]]}


def _instead(word: str, inner: Any) -> Iterator[tuple[str, Any]]:
    """What can stand for one operator or literal."""
    if word in ("&&", "||"):
        other = "||" if word == "&&" else "&&"
        yield f"{word} is {other}", {other: inner}
        yield f"left of {word} alone", inner["left"]
        yield f"right of {word} alone", inner["right"]
    elif word in _CONTRARY:
        yield f"{word} is {_CONTRARY[word]}", {_CONTRARY[word]: inner}
    elif word == "!":
        yield "not negated", inner["arg"]
    elif word == "Set":
        for at in range(len(inner)):
            yield f"without member {at + 1}", {"Set": inner[:at] + inner[at + 1 :]}
    elif word == "Value" and isinstance(inner, int) and not isinstance(inner, bool):
        yield f"{inner} is {inner + 1}", {"Value": inner + 1}


class Judge:
    """What decision tables and theorems say of the changes to one set of layers."""

    def __init__(self, policies: PolicySet) -> None:
        self.layers = parse_layers(policies.files, policies.layers)
        self.theorems: tuple[Theorem, ...] = read_theorems(policies)
        # Whatever layer a change is in, the tables of all layers may notice it; national ones first.
        whole = read_set(default_policies_root(), LAYERS)
        self._all = parse_layers(whole.files, whole.layers)
        self.tables: list[Table] = sorted(read_tables(whole), key=lambda table: table.layers != ("national",))
        self._cases = {name_of(case): (table, case) for table in self.tables for case in table.cases}

    def mutants(self, layer: str) -> list[Mutant]:
        """The changes to the policies of one layer that still fit the schema."""
        found = [
            each
            for policy in self.layers.policies.values()
            if policy.layer == layer
            for each in mutants_of(policy.id, policy.est)
        ]
        return [each for each in found if each.est is None or not self.layers.faults_of({each.policy: each.est})]

    def with_change(self, mutant: Mutant, names: tuple[str, ...] | None = None) -> Layers:
        """The set's layers with the change, or those that are named."""
        of = self.layers if names is None else self._all
        policies = {name: one for name, one in of.policies.items() if names is None or one.layer in names}
        if mutant.est is None:
            del policies[mutant.policy]
        else:
            policies[mutant.policy] = msgspec.structs.replace(policies[mutant.policy], est=mutant.est)
        return Layers(
            names or of.names,
            of.digest,
            policies,
            of.clocks,
            of.schema,
            regions=of.regions,
            knows_words=of.knows_words,
            knows_circles=of.knows_circles,
            schema_facts=of.schema_facts,
            constants=of.constants,
        )

    def table_that_notices(self, mutant: Mutant) -> str:
        """The first case that comes out otherwise, "" where none does."""
        policy = self._all.policies[mutant.policy]
        known: dict[tuple[str, ...], Layers] = {}
        for table in self.tables:
            if policy.layer not in table.layers:
                continue
            if table.layers not in known:
                known[table.layers] = self.with_change(mutant, table.layers)
            for case in table.cases:
                asked = policy.for_acts if "act" in case.facts else policy.for_uses
                if asked and run_case(known[table.layers], case).fault:
                    return name_of(case)
        return ""

    def is_noticed_by(self, mutant: Mutant, name: str) -> bool:
        """Whether the case of that name comes out otherwise."""
        table, case = self._cases.get(name, (None, None))
        return (
            table is not None
            and case is not None
            and bool(run_case(self.with_change(mutant, table.layers), case).fault)
        )

    def theorem_that_notices(self, prover: Prover, mutant: Mutant) -> str:
        """The first theorem that is refuted, `equivalent` where the change makes no difference, else `survived`."""
        policy, changed = self.layers.policies[mutant.policy], self.with_change(mutant)
        actions = {action for action, _ in reached(policy)}
        for theorem in sorted(self.theorems, key=lambda one: set(one.articles).isdisjoint(policy.articles)):
            if policy.for_uses != (theorem.about == "uses") and not policy.for_acts:
                continue
            for question in theorem_questions(changed, theorem):
                if question.action in actions and prover.one(question).result == "refuted":
                    return theorem.id
        pairs = [pair for pair in equivalence_questions(self.layers, changed) if pair[0].action in actions]
        same = all(prover.one(each).result == "proved" for pair in pairs for each in pair)
        return EQUIVALENT if same else SURVIVED


def name_of(case: Case) -> str:
    """A case's name among all tables."""
    return f"{case.table}: {case.name}"


def sets() -> Iterator[tuple[str, PolicySet]]:
    """Each layer with the set in which it is judged."""
    for layer in LAYERS:
        yield layer, read_set(default_policies_root(), tuple(dict.fromkeys(("national", layer))))


def kept() -> dict[str, str]:
    """Change -> what noticed it, as it was last found."""
    found: dict[str, str] = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    return found


def main() -> int:
    """Judge every change and keep what notices it; 1 where one survives."""
    verdicts: dict[str, str] = {}
    tools = find_tools()
    for layer, policies in sets():
        judge = Judge(policies)
        mutants = judge.mutants(layer)
        verdicts |= {mutant.key: judge.table_that_notices(mutant) for mutant in mutants}
        asked = [mutant for mutant in mutants if not verdicts[mutant.key]]
        print(f"{layer}: {len(mutants)} changes, {len(asked)} that no decision table notices", flush=True)
        with Prover(tools, policies.files[SCHEMA_FILE]) as prover:
            judged = prover.map(
                lambda mutant, judge=judge, prover=prover: judge.theorem_that_notices(prover, mutant), asked
            )
            for mutant, verdict in zip(asked, judged, strict=True):
                verdicts[mutant.key] = verdict
                if verdicts[mutant.key] == SURVIVED:
                    print(f"survived: {mutant.key}", flush=True)
    KEPT.write_text(json.dumps(dict(sorted(verdicts.items())), indent=1, ensure_ascii=False) + "\n", "utf-8")
    told = Counter(
        "by a case" if ".yaml: " in each else each if each in (EQUIVALENT, SURVIVED) else "by a theorem"
        for each in verdicts.values()
    )
    print(f"{len(verdicts)} changes: " + ", ".join(f"{count} {each}" for each, count in sorted(told.items())))
    return 1 if SURVIVED in verdicts.values() else 0


if __name__ == "__main__":
    sys.exit(main())
