"""What is asked of the solver about one department and one dataset: that no use there can be is permitted.

The policies are those that decide it: the static ones, and those built of the entry, its grants and orders. A use is
permitted under a grant by that grant's own permit, and without one by a static permit; so each static permit is asked
of uses without a grant alone. What stands is given as facts, each a forbid of whatever contradicts it: the department
and its region, the entry, its interfaces, its grants, and what of the time there is, from now on. A fact that is not
given leaves more requests to prove it of, so a proof never rests on what was left out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gateway.domain.callers import Assurance
from gateway.domain.directory import SharingMode
from gateway.domain.recipients import bounds_of
from gateway.domain.state import SliceState
from gateway.policy.law.layers import Layers, est_to_text
from gateway.policy.law.time_limits import DAY_SECONDS, FOREVER_UNIX
from gateway.policy.law.words import word
from gateway.policy.law.world import slice_entities
from gateway.policy.live.building import grant_policy_id
from gateway.policy.live.expressions import Est, attribute, contains, context, entity, equal, has, strings
from gateway.policy.live.slices import build_policies
from gateway.policy.offline.normal_forms import literals_of
from gateway.policy.offline.possible import Asked
from gateway.policy.proofs.solver import Question
from gateway.policy.proofs.theorems import PERMITTED, Theorem

MAX_ITEMS = 300
"""Of an entry, that are told to the solver; of one with more it is told none, and proves it of any items."""

_PRINCIPAL, _RESOURCE = {"Var": "principal"}, {"Var": "resource"}
_DATASET = attribute(_RESOURCE, "dataset")
_HOME = attribute(_PRINCIPAL, "department")
_WITHOUT_GRANT = {"kind": "unless", "body": has("grant")}

Policies = Mapping[str, Est]

Case = tuple[SharingMode, str | None]
"""By which sharing mode, and under which grant, or under none."""


class Uses:
    """The policies on the uses of one pair, and what is given of them.

    Args:
        layers: the static layers.
        state: of the pair; its department, dataset and supplier are known.
        asked: which uses count.
        now_unix: the second from which.

    Attributes:
        cases: for each sharing mode, the grants whose permit is of that mode, and None where some rule permits without
            a grant. Of a mode and grant that is none of them there is no permit, and Cedar denies it.
        forbids: the forbids by id.
    """

    def __init__(self, layers: Layers, state: SliceState, asked: Asked, now_unix: int) -> None:
        built, _ = build_policies(state)
        policies = {policy.id: _alone(policy.est) for policy in layers.policies.values() if policy.for_uses} | built
        self.forbids: Policies = {name: est for name, est in policies.items() if est["effect"] == "forbid"}
        self._grants = {one.id: one for one in state.grants}
        self._permits: dict[str | None, Policies] = {
            one.id: {name: built[name]} for one in state.grants if (name := grant_policy_id(one)) in built
        }
        self._permits[None] = {
            name: est for name, est in policies.items() if est["effect"] == "permit" and name not in built
        }
        self.cases: tuple[Case, ...] = tuple(
            (mode, grant)
            for mode in asked.modes
            for grant, permits in self._permits.items()
            if permits and (grant is None or mode in self._grants[grant].modes)
        )
        self._layers = layers
        self._state = state
        self._given = list(_given(layers, state, asked, now_unix, policies.values()))

    def never(self, case: "Case", forbids: Iterable[str] | None = None) -> Question:
        """Proved where no such use is permitted by all that forbids, or by these policies alone."""
        names = self.forbids if forbids is None else forbids
        policies = {**self._permits[case[1]], **{name: self.forbids[name] for name in names}}
        return _question(case[0], est_to_text(policies) + self.facts(case))

    def contradicted(self, case: "Case", theorem: Theorem) -> Question | None:
        """Proved where no use for which there is a permit satisfies what a theorem claims; None where it is silent."""
        mode, grant = case
        if theorem.about != "uses" or theorem.claim == PERMITTED or mode.value not in theorem.asked_actions:
            return None
        under = {"grant": "context has grant", "none": "!(context has grant)", "any": "true"}[theorem.under]
        claimed = f"if ({under}) && ({theorem.given}) then ({theorem.claim}) else true"
        if theorem.under == "grant":
            claimed = f"if context has grant then (if ({theorem.given}) then ({theorem.claim}) else true) else true"
        text = (
            f'@id("claim")\nforbid (principal is System, action == Action::"{mode.value}", resource is Interface)\n'
            f"unless {{ {claimed} }};\n"
        )
        return _question(mode, text + est_to_text(self._permits[grant]) + self.facts(case))

    def facts(self, case: "Case") -> str:
        """What is given of a case, as forbids of whatever contradicts it."""
        mode, grant = case
        said = word("Mode", mode) if self._layers.knows_words else mode.value
        facts = [*self._given, equal(context("mode"), _literal(said)), *self._under(grant)]
        return est_to_text({f"given-{number}": _forbid_unless(fact) for number, fact in enumerate(facts)})

    def _under(self, grant: str | None) -> Iterator[Est]:
        """That the use is made under this grant, and what is told of it; or that it is made under none."""
        if grant is None:
            yield _not(has("grant"))
            return
        yield has("grant")
        told = slice_entities(msgspec.structs.replace(self._state, grants=(self._grants[grant],)), self._layers.facts)
        attrs = next(one["attrs"] for one in told if one["uid"] == {"type": "Grant", "id": grant})
        for fact in (equal(context("grant"), entity("Grant", grant)), *_told(context("grant"), attrs)):
            yield _if(has("grant"), fact, _value(True))


def _question(mode: SharingMode, text: str) -> Question:
    return Question("always-denies", mode.value, "System", "Interface", (text,))


def _alone(est: Est) -> Est:
    """A static policy as a use is asked about: a permit counts where the use is made under no grant."""
    if est["effect"] == "forbid" or _WITHOUT_GRANT in est["conditions"]:
        return est
    return {**est, "conditions": [_WITHOUT_GRANT, *est["conditions"]]}


def _given(layers: Layers, state: SliceState, asked: Asked, now_unix: int, policies: Iterable[Est]) -> Iterator[Est]:
    assert state.department is not None
    assert state.dataset is not None
    assert state.supplier is not None
    entities = slice_entities(state, layers.facts)
    attrs = {(one["uid"]["type"], one["uid"]["id"]): one["attrs"] for one in entities}
    home, dataset, supplier = state.department.id, state.dataset.id, state.supplier.id
    yield equal(_HOME, entity("Department", home))
    yield _in(_PRINCIPAL, entity("Department", home))
    yield equal(_DATASET, entity("Dataset", dataset))
    yield _in(_RESOURCE, entity("Dataset", dataset))
    yield equal(attribute(_DATASET, "supplier"), entity("Department", supplier))
    yield from _told(_HOME, attrs["Department", home])
    yield from _told(_DATASET, attrs["Dataset", dataset])
    yield from _told(attribute(_DATASET, "supplier"), attrs["Department", supplier])
    yield from _one_of(_RESOURCE, "Interface", {one.key: attrs["Interface", one.key] for one in state.interfaces})
    yield from _lineage(layers, state, entities, policies)
    yield from _call(layers, asked, now_unix)
    names = sorted(state.dataset.item_names)
    if 0 < len(names) <= MAX_ITEMS:
        yield {"containsAll": {"left": strings(names), "right": context("items")}}
        yield {"containsAny": {"left": strings(names), "right": context("items")}}


def _call(layers: Layers, asked: Asked, now_unix: int) -> Iterator[Est]:
    yield from _between("now", now_unix, FOREVER_UNIX - 1)
    yield from _between("minuteOfDay", 0, DAY_SECONDS // 60 - 1)
    yield from _between("assurance", 0, max(one.rank for one in Assurance))
    yield equal(context("decision"), _value(layers.settled.decision))
    if asked.purpose is not None:
        yield equal(context("purpose"), _value(asked.purpose))
    if asked.item is not None:
        yield contains(context("items"), _value(asked.item))


def _lineage(
    layers: Layers, state: SliceState, entities: Sequence[dict[str, Any]], policies: Iterable[Est]
) -> Iterator[Est]:
    """What lies in what, of departments and regions that the state and the policies name."""
    assert state.department is not None
    assert state.dataset is not None
    assert state.supplier is not None
    above: dict[tuple[str, str], list[tuple[str, str]]] = {
        (one["uid"]["type"], one["uid"]["id"]): [(each["type"], each["id"]) for each in one["parents"]]
        for one in entities
    }
    named = {kind: set(literals_of([layers]).get(kind, ())) for kind in ("Department", "Region")}
    for est in policies:
        _collect(est, named)
    known = {"Department": (state.department.id, state.supplier.id)}
    known["Region"] = (state.department.region, state.supplier.region)
    named["Region"].update((*known["Region"], *bounds_of(state.dataset).regions))
    named["Department"].update(known["Department"])
    for kind, names in known.items():
        for name in dict.fromkeys(names):
            over = _closure((kind, name), above)
            for other in sorted(named[kind]):
                yield _is_in(entity(kind, name), entity(kind, other), is_it=(kind, other) in over)
    over = _closure(("Department", state.department.id), above)
    for other in sorted(named["Department"]):
        yield _is_in(_PRINCIPAL, entity("Department", other), is_it=("Department", other) in over)


def _closure(
    start: tuple[str, str], above: Mapping[tuple[str, str], Sequence[tuple[str, str]]]
) -> set[tuple[str, str]]:
    found, rest = {start}, [start]
    while rest:
        for one in above.get(rest.pop(), ()):
            if one not in found:
                found.add(one)
                rest.append(one)
    return found


def _collect(node: Any, named: Mapping[str, set[str]]) -> None:
    if isinstance(node, list):
        for part in node:
            _collect(part, named)
    elif isinstance(node, dict):
        if node.get("type") in named and isinstance(node.get("id"), str):
            named[node["type"]].add(node["id"])
            return
        for part in node.values():
            _collect(part, named)


def _one_of(one: Est, kind: str, known: Mapping[str, Mapping[str, Any]]) -> Iterator[Est]:
    """That it is one of the known entities, and what is told of each."""
    if not known:
        return
    yield contains({"Set": [entity(kind, name) for name in known]}, one)
    for name, attrs in known.items():
        for fact in _told(one, attrs):
            yield _if(equal(one, entity(kind, name)), fact, _value(True))


def _told(of: Est, attrs: Mapping[str, Any]) -> Iterator[Est]:
    for name, told in attrs.items():
        value = msgspec.to_builtins(told)
        if value in ([], ()):
            yield {"isEmpty": {"arg": attribute(of, name)}}
        else:
            yield equal(attribute(of, name), _literal(value))


def _literal(value: Any) -> Est:
    if isinstance(value, list | tuple):
        return {"Set": [_literal(each) for each in value]}
    if isinstance(value, dict):
        return entity(value["__entity"]["type"], value["__entity"]["id"])
    return _value(value)


def _value(value: Any) -> Est:
    return {"Value": value}


def _between(name: str, least: int, most: int) -> Iterator[Est]:
    yield {">=": {"left": context(name), "right": _value(least)}}
    yield {"<=": {"left": context(name), "right": _value(most)}}


def _in(one: Est, other: Est) -> Est:
    return {"in": {"left": one, "right": other}}


def _is_in(one: Est, other: Est, *, is_it: bool) -> Est:
    return _in(one, other) if is_it else _not(_in(one, other))


def _not(fact: Est) -> Est:
    return {"!": {"arg": fact}}


def _if(condition: Est, then: Est, otherwise: Est) -> Est:
    return {"if-then-else": {"if": condition, "then": then, "else": otherwise}}


def _forbid_unless(fact: Est) -> Est:
    everyone = {"op": "All"}
    return {
        "effect": "forbid",
        "principal": everyone,
        "action": everyone,
        "resource": everyone,
        "conditions": [{"kind": "unless", "body": fact}],
        "annotations": {},
    }
