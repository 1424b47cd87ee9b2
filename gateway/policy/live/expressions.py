"""Cedar's expressions in its JSON form, as values: no text is pasted, so no identifier becomes syntax."""

from collections.abc import Iterable
from typing import Any

Est = dict[str, Any]


def entity(kind: str, name: str) -> Est:
    """An entity literal."""
    return {"Value": {"__entity": {"type": kind, "id": name}}}


def strings(values: Iterable[str]) -> Est:
    """A set of strings."""
    return {"Set": [{"Value": value} for value in values]}


def attribute(of: Est, name: str) -> Est:
    """An attribute of an expression."""
    return {".": {"left": of, "attr": name}}


def context(name: str) -> Est:
    """An attribute of the context."""
    return attribute({"Var": "context"}, name)


def has(name: str) -> Est:
    """Whether the context has an attribute."""
    return {"has": {"left": {"Var": "context"}, "attr": name}}


def equal(left: Est, right: Est) -> Est:
    """Whether two expressions are equal."""
    return {"==": {"left": left, "right": right}}


def contains(many: Est, one: Est) -> Est:
    """Whether a set contains an element."""
    return {"contains": {"left": many, "right": one}}
