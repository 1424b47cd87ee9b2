"""`context.drawn`: what of it there is, which of it policies read, and how it is told (Decree 809 Art. 25 ¶2).

A fact of it is named by its path, as a policy writes it behind `context.drawn.`: `month` is what the department alone
obtained within a month, `family.month` what it and its family did, `learnt.family.month` that and what they had
compared. Whose data counts (`gateway.domain.circles`), and whether verification counts, is chosen by each rule, by the
fact that it reads. Only facts that some rule reads of a dataset are looked up for it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gateway.domain.circles import Circle

DAYS_OF_PERIOD: Mapping[str, int] = {"day": 1, "week": 7, "month": 30, "quarter": 90, "year": 365}
"""How many days each period reaches back, today included; counted in whole days, China Standard Time."""

Est = Mapping[str, Any]
Drawn = Mapping[str, frozenset[str]]
"""Path of a fact -> datasets."""

LEARNT = "learnt"


class DrawnFact(msgspec.Struct, frozen=True):
    """One fact of `context.drawn`.

    Args:
        circle: whose data is counted.
        period: a key of `DAYS_OF_PERIOD`.
        learnt: whether what was compared counts, beside what was obtained.
    """

    circle: Circle
    period: str
    learnt: bool

    @property
    def path(self) -> str:
        """Its name, as a policy writes it behind `context.drawn.`."""
        return ".".join((*([LEARNT] if self.learnt else []), *([self.circle] if self.circle else []), self.period))

    def counts(self, other: "DrawnFact") -> bool:
        """Whether whatever counts for `other`, of the same period, counts for this."""
        circles = list(Circle)
        return (
            self.period == other.period
            and self.learnt >= other.learnt
            and circles.index(self.circle) >= circles.index(other.circle)
        )


FACTS_BY_PATH: Mapping[str, DrawnFact] = {
    fact.path: fact
    for fact in (
        DrawnFact(circle, period, learnt) for learnt in (False, True) for circle in Circle for period in DAYS_OF_PERIOD
    )
}
"""Every fact there is, by its path."""


def drawn_context(drawn: Drawn, *, in_circles: bool = True) -> str:
    """`context.drawn` as JSON; facts not given are empty.

    Args:
        drawn: what was drawn, by path.
        in_circles: whether the policies' schema knows more than the department's own (`knows_circles`).
    """
    told: dict[str, Any] = {}
    for path, fact in FACTS_BY_PATH.items():
        if not in_circles and (fact.learnt or fact.circle is not Circle.OWN):
            continue
        *outer, period = path.split(".")
        place = told
        for name in outer:
            place = place.setdefault(name, {})
        place[period] = [{"__entity": {"type": "Dataset", "id": name}} for name in sorted(drawn.get(path, ()))]
    return msgspec.json.encode(told).decode()


def knows_circles(schema: str) -> bool:
    """Whether a schema knows of what others drew; one that an older gateway put in force does not."""
    return f"{LEARNT}:" in schema


def completed(said: Mapping[str, Iterable[str]], asked: str) -> dict[str, frozenset[str]]:
    """What follows from what a case says was drawn: with what is asked for now, and counted wherever it counts.

    Args:
        said: paths of `FACTS_BY_PATH`, and the datasets of each.
        asked: the dataset asked for now.
    """
    return {
        path: frozenset({asked}.union(*(names for name, names in said.items() if fact.counts(FACTS_BY_PATH[name]))))
        for path, fact in FACTS_BY_PATH.items()
    }


def paths_read(conditions: Any) -> frozenset[str]:
    """Paths of the facts that these conditions look at.

    Where they take a whole part of it (`context.drawn.family`, or the context itself), that is everything in it; what
    there is no fact for (in policies of a newer gateway) is named as it stands there.
    """
    found: set[str] = set()
    _walk(conditions, found)
    return frozenset(found)


def facts_by_dataset(policies: Iterable[Est]) -> dict[str, frozenset[str]]:
    """Dataset -> paths that policies which name it look at; key "" stands for every dataset."""
    found: dict[str, set[str]] = {}
    for est in policies:
        paths = paths_read(est["conditions"])
        for dataset in (_named_datasets(est) or {""}) if paths else ():
            found.setdefault(dataset, set()).update(paths)
    return {dataset: frozenset(paths) for dataset, paths in found.items()}


def _named_datasets(node: Any) -> set[str]:
    """Every dataset that stands in a policy, in its scope or its conditions."""
    if isinstance(node, dict):
        if node.get("type") == "Dataset" and isinstance(node.get("id"), str):
            return {node["id"]}
        node = list(node.values())
    if isinstance(node, list):
        return set().union(*(_named_datasets(part) for part in node))
    return set()


def _walk(node: Any, found: set[str]) -> None:
    if isinstance(node, list):
        for part in node:
            _walk(part, found)
    if not isinstance(node, dict):
        return
    access = _access(node)
    if access is not None:
        if access[:1] in ((), ("drawn",)):
            path = ".".join(access[1:])
            within = {each for each in FACTS_BY_PATH if not path or each == path or each.startswith(f"{path}.")}
            found.update(within or {path})
        return
    if "Record" in node:
        # Its keys are names that the policy chose, and no operators.
        _walk(list(node["Record"].values()), found)
        return
    asked = node.get("has")
    if isinstance(asked, dict) and _access(asked.get("left")) is not None:
        # Whether it is there is no look at what it is.
        return
    _walk(list(node.values()), found)


def _access(node: Any) -> tuple[str, ...] | None:
    """The attributes of the context that a chain of accesses goes along; None where it is no such chain."""
    if node == {"Var": "context"}:
        return ()
    access = node.get(".") if isinstance(node, dict) else None
    if not isinstance(access, dict) or "attr" not in access:
        return None
    before = _access(access["left"])
    return None if before is None else (*before, access["attr"])
