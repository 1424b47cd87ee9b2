"""An identifier is never syntax: whatever stands in it changes that identifier and nothing else."""

from typing import Any

import cedarpy
import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain.orders import Reach
from gateway.policy import Engine
from gateway.policy.law.layers import est_document, est_to_text
from gateway.policy.live import building
from gateway.policy.live.slices import Slice, build_policies
from tests.policies.cases import NATIONAL, NOW, call, dataset, department, grant, interface, order, state

HOSTILE = [
    '"; permit(principal, action, resource);',
    '") permit(principal, action, resource);//',
    "x\n};\npermit(principal, action, resource);",
    '{"__entity": {"type": "System", "id": "x"}}',
    '\\"', "\\u{22}", "${}", "?principal", "__cedar::Policy", "\x00", "𠮷𝒳", "政务", "\u202e", "", " ", "//", "/*",
    "@id",
]  # fmt: skip

TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))


def named(name: str) -> dict[str, Any]:
    """A state in which every identifier that reaches Cedar is `name`, and a call that fits it.

    But for the class, which is one of a closed list (`domain.classification`).
    """
    the_state = state(
        department=department(name, region=name),
        supplier=department(name, region=name),
        dataset=dataset(name, supplier=name, purposes=(name,)),
        interfaces=(interface(name, of=name, supplier=name),),
        grants=(
            grant(
                name,
                department=name,
                dataset=name,
                purposes=(name,),
                systems=(name,),
                interfaces=(f"{name}/{name}",),
                parameters={name: (name,)},
                combination=(name,),
            ),
        ),
    )
    the_call = call(
        system=name,
        department=name,
        interface=f"{name}/{name}",
        dataset=name,
        purpose=name,
        parameters=((name, name),),
    )
    return {"state": the_state, "call": the_call}


@settings(max_examples=30, deadline=None)
@given(TEXT)
@example('"; permit(principal, action, resource);')
def test_hostile_identifiers_are_decided_like_any_other(name: str) -> None:
    world = named(name)
    found = Slice(NATIONAL, world["state"]).evaluate(world["call"], NOW)
    if name == "":
        assert found.code == "purpose-not-granted"
        return
    assert found.is_permit
    assert found.policies == (f"grant:{name}:v1",)


@settings(max_examples=30, deadline=None)
@given(TEXT)
def test_what_is_shown_parses_to_just_what_governs(name: str) -> None:
    world = named(name)
    shown = Engine(NATIONAL, lambda *_: world["state"]).policies_for(name, name)
    parsed = msgspec.json.decode(cedarpy.policies_to_json_str(shown))["staticPolicies"]
    built, _ = build_policies(world["state"])
    statics = {policy.id for policy in NATIONAL.policies.values() if policy.for_uses}
    assert sorted(est["annotations"]["id"] for est in parsed.values()) == sorted([*statics, *built])


@settings(max_examples=30, deadline=None)
@given(TEXT, TEXT)
def test_another_identifier_is_another_thing(granted: str, other: str) -> None:
    """A call that differs from the grant in one identifier alone is denied, whatever stands in the two."""
    if granted in (other, ""):
        return
    world = named(granted)
    part = Slice(NATIONAL, world["state"])
    for field, value in (("system", other), ("purpose", other), ("parameters", ((granted, other),))):
        assert not part.evaluate(msgspec.structs.replace(world["call"], **{field: value}), NOW).is_permit


@settings(max_examples=30, deadline=None)
@given(TEXT, st.sampled_from(Reach))
def test_built_policies_are_valid_by_the_schema_and_survive_printing(name: str, reach: Reach) -> None:
    """Printed by Cedar and parsed again they are the same policies, with nothing added."""
    world = named(name)
    stops = (order(name, reach, name, supplier=name),)
    built, unbuilt = build_policies(msgspec.structs.replace(world["state"], orders=stops))
    assert not unbuilt
    assert NATIONAL.faults_of(built) == []
    text = est_to_text(built)
    again = msgspec.json.decode(cedarpy.policies_to_json_str(text))["staticPolicies"]
    assert len(again) == len(built)
    by_name = {est["annotations"]["id"]: est for est in again.values()}
    assert set(by_name) == set(built)
    for policy_id, est in by_name.items():
        assert est["effect"] == built[policy_id]["effect"]
        assert len(est["conditions"]) <= max(1, len(built[policy_id]["conditions"]))
    assert len(cedarpy.PolicySet.from_json_str(est_document(built))) == len(built)


@settings(max_examples=30, deadline=None)
@given(TEXT)
def test_ids_lead_back_to_what_was_built(name: str) -> None:
    held = grant(name, version=7)
    assert list(building.build_grant(held, "police")) == [f"grant:{name}:v7"]
    assert list(building.build_order(order(name))) == [f"order:{name}"]
    entry = dataset(name, version=3, sharing_modes=())
    assert list(building.build_entry(entry)) == [f"entry:{name}:v3:modes"]
