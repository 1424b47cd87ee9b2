"""Which facts of entities reach Cedar: those that some policy looks at, and never fewer."""

from pathlib import Path

import pytest

from gateway.policy import load_layers
from gateway.policy.law.attributes import BUILT, REFERENCES
from gateway.policy.law.layers import Layers
from gateway.policy.law.world import FACTS, slice_entities, system_entity
from gateway.policy.live.slices import Slice
from tests.policies.cases import NATIONAL, NOW, call, dataset, grant, order, state
from tests.policies.layering import note, root_with

ON_USE = 'forbid (principal, action in Action::"use", resource) when'


def with_rule(folder: Path, condition: str) -> Layers:
    return load_layers(root_with(folder, extra=note("extra") + f"{ON_USE} {{ {condition} }};"), ["national", "extra"])


def test_where_an_access_leads_is_where_the_entities_lead() -> None:
    """Each reference that is followed names just the kind of entity that is built there."""
    built = {
        (entity["uid"]["type"], name): value["__entity"]["type"]
        for entity in (*slice_entities(state()), system_entity("s", "civil-affairs"))
        for name, value in entity["attrs"].items()
        if isinstance(value, dict)
    }
    assert {pair: kind for pair, kind in REFERENCES.items() if pair[0]} == built
    assert REFERENCES["", "grant"] == "Grant"


@pytest.mark.parametrize(
    ("condition", "kind", "name"),
    [
        ('resource.dataset.items.contains("name")', "Dataset", "items"),
        ('resource["dataset"]["sensitive"].contains("name")', "Dataset", "sensitive"),
        ("principal.department.competent", "Department", "competent"),
        ("resource.dataset.supplier.competent", "Department", "competent"),
        ("context has grant && context.grant.dataset.purposes.isEmpty()", "Dataset", "purposes"),
        ("context has grant && context.grant.dataset.sensitive.isEmpty()", "Dataset", "sensitive"),
        ('(if context.mode == Mode::"query" then resource else resource).dataset.items.isEmpty()', "Dataset", "items"),
        ('Department::"police" has competent && Department::"police".competent', "Department", "competent"),
        ("resource.dataset.supplier has competent", "Department", "competent"),
        (
            'context.purpose == "x" || (context has grant && context.grant.dataset has sensitive)',
            "Dataset",
            "sensitive",
        ),
    ],
)
def test_what_a_policy_looks_at_is_told(tmp_path: Path, condition: str, kind: str, name: str) -> None:
    assert name not in NATIONAL.facts[kind]
    layers = with_rule(tmp_path, condition)
    assert name in layers.facts[kind]
    told = {entity["uid"]["type"]: set(entity["attrs"]) for entity in slice_entities(state(), layers.facts)}
    assert name in told[kind]


def test_what_a_call_says_of_itself_is_not_taken_for_a_fact_of_entities(tmp_path: Path) -> None:
    layers = with_rule(tmp_path, 'context.items.contains("x") || context.purpose == "x"')
    assert layers.facts == NATIONAL.facts
    assert not {"items", "purposes", "modes"} & set(NATIONAL.facts["Dataset"])


def test_a_fact_that_no_kind_is_known_for_is_told_of_every_kind(tmp_path: Path) -> None:
    layers = with_rule(
        tmp_path,
        '(if context.purpose == "" then resource.dataset else resource.dataset).state == EntryState::"rejected"',
    )
    kinds = [kind for kind, facts in FACTS.items() if "state" in facts]
    assert all("state" in layers.facts[kind] for kind in kinds)


def test_a_rule_on_a_fact_that_no_other_policy_looks_at_decides(tmp_path: Path) -> None:
    layers = with_rule(tmp_path, 'resource.dataset.items.contains("address")')
    assert Slice(NATIONAL, state()).evaluate(call(), NOW).is_permit
    assert "extra" in Slice(layers, state()).evaluate(call(), NOW).policies
    without = dataset(items=tuple(item for item in dataset().items if item.name != "address"))
    assert Slice(layers, state(dataset=without)).evaluate(call(), NOW).is_permit


def test_what_built_policies_look_at_is_told_whatever_the_layers() -> None:
    """An order's reach over a supplier looks at `resource.dataset.supplier`, a grant at the caller's department."""
    for kind, names in BUILT.items():
        assert names <= set(NATIONAL.facts[kind])
    accesses: set[str] = set()

    def collect(node: object) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("attr"), str) and node["left"] != {"Var": "context"}:
                accesses.add(node["attr"])
            node = list(node.values())
        if isinstance(node, list):
            for part in node:
                collect(part)

    everything = state(
        grants=(grant(systems=("s",), interfaces=("people",), parameters={"region": ("442000",)}),),
        orders=(order(supplier="police"),),
    )
    collect(Slice(NATIONAL, everything).built())
    assert accesses == {"department"} | {name for names in BUILT.values() for name in names}
