"""What of a call policies look at, and whether calls of a few kinds can stand for all of them.

Cedar has no loops: a policy can look into the set of items, or of parameters, only by comparing it with another set.
Compared with what is written in the policy, with the items of the dataset or the grant, or with the sensitive ones,
the set matters by what it has in common with those, and a few sets stand for all. So it is with time where a clock is
compared with a number. What is compared in any other way is told as `beyond`: no choice of calls settles it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from gateway.policy.law.time_limits import SYSTEM_DATES, time_use

ITEMS, PARAMETERS, TIME, SYSTEM, PURPOSE, GRANT = "items", "parameters", "time", "system", "purpose", "grant"
SUBJECTS = "subjects"

_OF_CONTEXT = {
    "items": ITEMS,
    "parameters": PARAMETERS,
    "now": TIME,
    "minuteOfDay": TIME,
    "calendar": TIME,
    "itemsAsked": ITEMS,
    "subjects": SUBJECTS,
    "purpose": PURPOSE,
    "grant": GRANT,
}
_OF_SETS = frozenset({"contains", "containsAll", "containsAny", "==", "!="})
_CONTEXT = {"Var": "context"}


def _path(root: str, *attributes: str) -> dict[str, Any]:
    node: dict[str, Any] = {"Var": root}
    for attribute in attributes:
        node = {".": {"left": node, "attr": attribute}}
    return node


_SETS_OF_ITEMS = (
    _path("resource", "dataset", "items"),
    _path("resource", "dataset", "sensitive"),
    _path("context", "grant", "items"),
)


class Looks(msgspec.Struct, frozen=True):
    """What conditions look at.

    Args:
        aspects: of a call: `items`, `parameters`, `time`, `system`, `purpose`, `grant`, `subjects`.
        beyond: those among them that are compared in a way which no choice of calls settles.
        items: names that the items asked for are compared with.
        parameters: (name, value) pairs that the parameters are compared with.
        purposes: strings of conditions that look at the purpose.
        has_patterns: whether the purpose is compared with a pattern.
    """

    aspects: frozenset[str] = frozenset()
    beyond: frozenset[str] = frozenset()
    items: frozenset[str] = frozenset()
    parameters: frozenset[tuple[str, str]] = frozenset()
    purposes: frozenset[str] = frozenset()
    has_patterns: bool = False

    @classmethod
    def of(cls, policies: Iterable[Mapping[str, Any]]) -> "Looks":
        """What these policies, in Cedar's JSON form, look at."""
        finding = _Finding()
        for est in policies:
            if _names_system(est["principal"]):
                finding.aspects.add(SYSTEM)
            for condition in conjuncts(est):
                finding.look(condition)
        return cls(
            frozenset(finding.aspects),
            frozenset(finding.beyond),
            frozenset(finding.items),
            frozenset(finding.parameters),
            frozenset(finding.purposes),
            finding.has_patterns,
        )


def conjuncts(est: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The conditions of a policy, split where all of several must hold."""
    for condition in est["conditions"]:
        kind = condition["kind"]
        for body in _parts(condition["body"], "&&" if kind == "when" else "||"):
            yield {"kind": kind, "body": body}


def loosened(est: Mapping[str, Any], aspects: frozenset[str]) -> dict[str, Any]:
    """A policy without the conditions that look at `aspects`: satisfied by every call that it could apply to."""
    bare = {**est, "principal": {"op": "All"}} if SYSTEM in aspects and _names_system(est["principal"]) else dict(est)
    bare["conditions"] = [
        condition for condition in conjuncts(est) if not Looks.of([_alone(condition)]).aspects & aspects
    ]
    return bare


def _alone(condition: dict[str, Any]) -> dict[str, Any]:
    return {"principal": {"op": "All"}, "conditions": [condition]}


def _parts(node: Any, operator: str) -> Iterator[Any]:
    if isinstance(node, dict) and operator in node:
        yield from _parts(node[operator]["left"], operator)
        yield from _parts(node[operator]["right"], operator)
    else:
        yield node


def _names_system(scope: Mapping[str, Any]) -> bool:
    named = [*scope.get("entities", ()), scope.get("entity"), (scope.get("in") or {}).get("entity")]
    return any(entity is not None and entity["type"] == "System" for entity in named)


class _Finding:
    """What was found so far."""

    def __init__(self) -> None:
        self.aspects: set[str] = set()
        self.beyond: set[str] = set()
        self.items: set[str] = set()
        self.parameters: set[tuple[str, str]] = set()
        self.purposes: set[str] = set()
        self.has_patterns = False

    def look(self, condition: dict[str, Any]) -> None:
        """Note what one condition looks at."""
        before, self.aspects = self.aspects, set()
        self._walk(condition["body"])
        if PURPOSE in self.aspects:
            self.purposes.update(_strings(condition["body"]))
        self.aspects |= before
        if time_use({"conditions": [condition]}).unknown:
            self.aspects.add(TIME)
            self.beyond.add(TIME)

    def _walk(self, node: Any) -> None:
        if isinstance(node, list):
            for part in node:
                self._walk(part)
        if not isinstance(node, dict) or "Value" in node:
            return
        if "Record" in node:
            # Its keys are names that the policy chose, and no operators.
            self._walk(list(node["Record"].values()))
            return
        if node == _CONTEXT:
            # The record as a whole carries everything with it.
            self.aspects.update(_OF_CONTEXT.values())
            self.beyond.update((ITEMS, PARAMETERS, TIME, SUBJECTS))
            return
        if node == {"Var": "principal"}:
            self.aspects.add(SYSTEM)
            return
        for operator, body in node.items():
            if operator == "." and body["left"] == {"Var": "principal"} and body["attr"] in SYSTEM_DATES:
                # Which dates systems have, and will have, no choice of systems settles.
                self.aspects.add(SYSTEM)
                self.beyond.add(SYSTEM)
                return
            if operator in (".", "has") and body["left"] == _CONTEXT:
                self._note(body["attr"], is_asked_for=operator == "has")
                return
            if operator == "isEmpty" and (aspect := _set_of_context(body["arg"])):
                self.aspects.add(aspect)
                return
            if operator in _OF_SETS and self._compares(operator, body["left"], body["right"]):
                return
            if operator == "like" and body["left"] == _path("context", "purpose"):
                self.has_patterns = True
        self._walk(list(node.values()))

    def _note(self, attribute: str, *, is_asked_for: bool) -> None:
        aspect = _OF_CONTEXT.get(attribute)
        if aspect is None or (is_asked_for and aspect != GRANT):
            return
        self.aspects.add(aspect)
        # A count, and which day it will be, no choice of calls settles.
        if aspect in (ITEMS, PARAMETERS, SUBJECTS) or attribute == "calendar":
            self.beyond.add(aspect)

    def _compares(self, operator: str, left: Any, right: Any) -> bool:
        """Note the comparison of a set of the context with one that is known; False where it is none."""
        sides = [(left, right)] if operator == "contains" else [(left, right), (right, left)]
        for mine, other in sides:
            aspect = _set_of_context(mine)
            if aspect is None:
                continue
            if aspect == ITEMS and operator != "contains" and other in _SETS_OF_ITEMS:
                self._walk(other["."]["left"])
                self.aspects.add(aspect)
                return True
            elements = [other] if operator == "contains" else other.get("Set")
            if not isinstance(elements, list):
                continue
            if aspect == ITEMS:
                names = [_literal(each) for each in elements]
                if None not in names:
                    self.aspects.add(aspect)
                    self.items.update(name for name in names if name is not None)
                    return True
            else:
                pairs = [_pair(each) for each in elements]
                if None not in pairs:
                    self.aspects.add(aspect)
                    self.parameters.update(pair for pair in pairs if pair is not None)
                    return True
        return False


def _set_of_context(node: Any) -> str | None:
    for aspect in (ITEMS, PARAMETERS):
        if node == _path("context", aspect):
            return aspect
    return None


def _literal(node: Any) -> str | None:
    value = node.get("Value") if isinstance(node, dict) else None
    return value if isinstance(value, str) else None


def _pair(node: Any) -> tuple[str, str] | None:
    record = node.get("Record") if isinstance(node, dict) else None
    if not isinstance(record, dict) or set(record) != {"name", "value"}:
        return None
    name, value = _literal(record["name"]), _literal(record["value"])
    return None if name is None or value is None else (name, value)


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for part in node:
            yield from _strings(part)
    elif isinstance(node, dict):
        value = _literal(node)
        if value is not None:
            yield value
        yield from _strings(list(node.values()))
