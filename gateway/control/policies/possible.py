"""Whether a department can ever obtain a dataset, by what is in force and stands, over this node's state."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.control.act.deeds import is_permitted, matter_between
from gateway.control.act.paging import every
from gateway.control.act.services import ControlServices
from gateway.domain.directory import Department
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Officer
from gateway.domain.state import SliceState
from gateway.policy.law.layers import SCHEMA_FILE
from gateway.policy.offline.normal_forms import Shape, literals_of
from gateway.policy.offline.possible import Asked, Example
from gateway.policy.proofs.ever import Cause, Limits, Possibility, can_ever
from gateway.policy.proofs.proving import Prover
from gateway.policy.proofs.solver import Tools, find_tools

NEEDED = (Act.CONSULT_POLICIES, Act.CONSULT_GRANTS)
"""What the answer tells is what these let an officer read of the two departments."""

LIMIT_SECONDS = 20.0
"""How long one question may take; what is not settled then is `unknown`."""


class Found(msgspec.Struct, frozen=True):
    """What was found of one department, and of others that are decided alike.

    Args:
        department: whose case it is.
        alike: ids of departments of which all that decides is the same; the example is of the one named.
        possibility: what was found.
    """

    department: str
    alike: tuple[str, ...]
    possibility: Possibility


class Answer(msgspec.Struct, frozen=True):
    """What was found of one dataset.

    Args:
        found: by departments of one kind.
        not_looked: departments for which the time was over: nothing is said of them.
        tools: the programs that prove; None where they are not here.
    """

    found: tuple[Found, ...]
    not_looked: int
    tools: Tools | None


class Possible:
    """One question about a dataset.

    Args:
        services: the state and the engine.
        officer: who asks.
        dataset: the dataset's id.
        asked: which uses count.
        limit_seconds: how long it may take.
    """

    def __init__(
        self,
        services: ControlServices,
        officer: Officer,
        dataset: str,
        asked: Asked,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        self._services = services
        self._officer = officer
        self._dataset = dataset
        self._asked = asked
        self._now_unix = int(services.now())
        self._limit_seconds = limit_seconds
        self._policies = services.policies.keeper.now
        self._layers = self._policies.layers
        self._literals = literals_of([self._layers])
        known = services.policies.known(self._policies.policies)
        # What is not known to hold is no reason why.
        self._theorems = services.policies.theorems() if known is not None and not known.failed else ()

    def shown(self, departments: Sequence[Department]) -> list[Department]:
        """Those of them that the officer may ask about."""
        entry = self._services.store.dataset(self._dataset)
        return [one for one in departments if self._may_ask(None if entry is None else entry.supplier, one)]

    def of(self, departments: Sequence[Department]) -> Answer:
        """What is found of these departments.

        Raises:
            GatewayError: `conflict` while another such question is looked at.
        """
        limits = Limits.of(self._limit_seconds)
        kinds: dict[tuple[object, ...], tuple[str, list[str], Possibility]] = {}
        not_looked = 0
        with self._services.policies.one_question(), _prover(self._policies.policies.files[SCHEMA_FILE]) as prover:
            for one in departments:
                if limits.is_over():
                    not_looked += 1
                    continue
                state = self._services.store.slice_state(one.id, self._dataset)
                systems = self._systems(one.id)
                kind = self._kind(state, systems)
                if kind in kinds:
                    kinds[kind][1].append(one.id)
                else:
                    kinds[kind] = (one.id, [], self._possibility(state, systems, limits, prover))
            tools = None if prover is None else prover.tools
        found = tuple(Found(name, tuple(alike), possibility) for name, alike, possibility in kinds.values())
        return Answer(found, not_looked, tools)

    def _may_ask(self, supplier: str | None, department: Department) -> bool:
        matter = matter_between(self._services.store, supplier, department.id, self._dataset)
        return all(is_permitted(self._services, self._officer, act, matter) for act in NEEDED)

    def _systems(self, department: str) -> list[str]:
        listed = every(lambda cursor: self._services.store.list_systems(cursor, 1000, department=department))
        return [one.id for one in listed if one.active]

    def _kind(self, state: SliceState, systems: Sequence[str]) -> tuple[object, ...]:
        """What decides: departments of one kind are decided alike, but for their own names."""
        if state.department is None or state.supplier is None or state.dataset is None:
            return (None if state.department is None else state.department.id,)
        named = self._literals.get("System", frozenset())
        shape = Shape(state, self._literals, self._now_unix, sorted(self._layers.time.instants))
        return shape.key, bool(systems), tuple(name for name in systems if name in named)

    def _possibility(
        self, state: SliceState, systems: Sequence[str], limits: Limits, prover: Prover | None
    ) -> Possibility:
        found = can_ever(self._layers, state, self._asked, systems, self._now_unix, limits, prover, self._theorems)
        return found if found.example is None else self._confirmed(found, found.example)

    def _confirmed(self, found: Possibility, example: Example) -> Possibility:
        """The example as the engine that decides live traffic sees it, from the state and what was lately drawn.

        Where nothing but what was lately drawn stands in its way, it stays an example of when that no longer counts.
        """
        verdict = self._services.engine.explain(example.call, example.at_unix)
        if self._asked.has(verdict, example.call):
            example = msgspec.structs.replace(example, verdict=verdict, drawn_apart=False)
            return msgspec.structs.replace(found, example=example)
        if example.drawn_apart:
            return found
        raise GatewayError("conflict", "what stands has changed while it was looked at: ask again")


@contextmanager
def _prover(schema: str) -> Iterator[Prover | None]:
    try:
        tools = find_tools()
    except GatewayError:
        tools = None
    with nullcontext() if tools is None else Prover(tools, schema) as prover:
        yield prover


def told(found: Found, tools: Tools | None) -> dict[str, Any]:
    """What was found of departments of one kind, as the API tells it."""
    return {
        "department": found.department,
        "alike": found.alike,
        **_outcome(found.possibility, tools),
        "example": None if found.possibility.example is None else _example(found.possibility.example),
        "obtaining": None if found.possibility.obtaining is None else _outcome(found.possibility.obtaining, tools),
    }


def _outcome(found: Possibility, tools: Tools | None) -> dict[str, Any]:
    is_open = found.outcome in ("not-found", "unknown")
    return {
        "outcome": found.outcome,
        "by": found.by,
        "tools": tools.versions if tools is not None and found.by == "solver" else (),
        "unproved": ("no-solver" if tools is None else "not-proved") if is_open else "",
        "causes": [_cause(one) for one in found.causes],
        "calls": found.calls,
    }


def _cause(cause: Cause) -> dict[str, Any]:
    sentence = {"en": cause.sentence, "zh": cause.sentence_zh}
    return {"kind": cause.kind, "id": cause.id, "sentence": sentence, "articles": cause.articles}


def _example(example: Example) -> dict[str, Any]:
    call, verdict = example.call, example.verdict
    needs = []
    if example.without_system:
        needs.append(
            {
                "en": f"`{call.system}` is no registered and active system of the department: one must be registered",
                "zh": f"{call.system} 不是该部门已登记且有效的系统，须先行登记",
            }
        )
    if example.drawn_apart:
        needs.append(
            {
                "en": "nothing that a convergence rule counts with it was lately drawn",
                "zh": "汇聚规则一并计算的其他数据近期均未获取",
            }
        )
    return {
        "at": datetime.fromtimestamp(example.at_unix, UTC).isoformat(),
        "system": call.system,
        "assurance": call.assurance,
        "interface": call.interface,
        "mode": call.mode,
        "purpose": call.purpose,
        "items": call.items,
        "parameters": dict(call.parameters),
        "declared": call.declared,
        "grant": verdict.grant,
        "policies": verdict.policies,
        "gives": verdict.items,
        "masks": dict(verdict.masks),
        "needs": needs,
    }
