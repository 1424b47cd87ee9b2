"""Which attributes of which entities policies look at; what none looks at need not be parsed for a slice.

An attribute is looked at by name alone (`.` and `has`): Cedar compares entities by their ids. Whose attribute it is
follows from where the access begins, for the entities of a use are always built alike; where it does not follow (an
entity literal, an `if`), the attribute is kept of every entity.
"""

from collections.abc import Iterable, Mapping
from typing import Any

ROOTS: Mapping[str, str] = {"principal": "System", "resource": "Interface", "context": ""}
"""Where an access can begin in a policy on uses, and what stands there; the context is no entity."""

REFERENCES: Mapping[tuple[str, str], str] = {
    ("", "grant"): "Grant",
    ("System", "department"): "Department",
    ("Interface", "dataset"): "Dataset",
    ("Dataset", "supplier"): "Department",
    ("Grant", "department"): "Department",
    ("Grant", "dataset"): "Dataset",
    ("Department", "region"): "Region",
    ("Department", "level"): "Level",
    ("Dataset", "attribute"): "SharingAttribute",
    ("Dataset", "classification"): "Classification",
    ("Dataset", "grade"): "Grade",
    ("Dataset", "state"): "EntryState",
    ("Grant", "state"): "GrantState",
}
"""(entity, attribute) -> the kind of the one entity it names; a test compares it with what `world` builds."""

BUILT: Mapping[str, frozenset[str]] = {"Interface": frozenset({"dataset"}), "Dataset": frozenset({"supplier"})}
"""What built policies look at, besides the caller's department: an order's reach over a supplier."""


class Attributes:
    """The attributes that a set of policies on uses names, by kind of entity.

    Args:
        conditions: of the policies, in Cedar's JSON form.
    """

    def __init__(self, conditions: Iterable[Any]) -> None:
        self._of_kind: dict[str, set[str]] = {kind: set(names) for kind, names in BUILT.items()}
        self._of_any: set[str] = set()
        for condition in conditions:
            self._walk(condition)

    def of(self, kind: str) -> frozenset[str]:
        """The names of attributes that some policy looks at on entities of that kind."""
        return frozenset(self._of_any.union(self._of_kind.get(kind, ())))

    def _walk(self, node: Any) -> str | None:
        """Note every access below `node`; the kind of entity that `node` itself is, if that follows from its form."""
        if isinstance(node, list):
            for part in node:
                self._walk(part)
            return None
        if not isinstance(node, dict):
            return None
        if isinstance(node.get("Var"), str):
            return ROOTS.get(node["Var"])
        for operator in (".", "has"):
            access = node.get(operator)
            if isinstance(access, dict) and isinstance(access.get("attr"), str):
                kind = self._walk(access["left"])
                self._note(kind, access["attr"])
                return None if kind is None or operator == "has" else REFERENCES.get((kind, access["attr"]))
        for part in node.values():
            self._walk(part)
        return None

    def _note(self, kind: str | None, name: str) -> None:
        if kind is None:
            self._of_any.add(name)
        elif kind:
            self._of_kind.setdefault(kind, set()).add(name)
