"""A layer of a region acts on what is of that region: by what is made of its policies, whatever its author wrote."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.domain.directory import Department, Level, SharingAttribute
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter, Officer, Role
from gateway.domain.policies import PolicySet
from gateway.domain.regions import region_chain
from gateway.domain.verdicts import Verdict
from gateway.policy.law import layers as law
from gateway.policy.law.layers import Layers, parse_layers, read_set
from gateway.policy.live.acts import decide_act
from gateway.policy.live.slices import Slice
from gateway.policy.offline.checking import check_set
from gateway.policy.offline.regional import in_region
from gateway.policy.offline.tables import case_call, read_tables, run_case
from gateway.policy.proofs.kept import proof_digest
from gateway.policy.proofs.proving import Prover, prove
from gateway.policy.proofs.questions import theorem_questions
from gateway.policy.proofs.solver import Tools, find_tools
from gateway.policy.proofs.theorems import theorems_of
from tests.mutants.policies import mutants_of
from tests.policies.cases import NATIONAL, NOW, ROOT, call, dataset, department, grant, state
from tests.policies.layering import note

SHIPPED = read_set(ROOT, ("national",))
CITY, DISTRICT, PROVINCE, OTHER = "440100", "440103", "440000", "442000"
EVERYTHING = "permit (principal, action, resource);"
NOTHING = "forbid (principal, action, resource);"
ERRS = "forbid (principal, action, resource) when { context.now * 9223372036854775807 > 0 };"
TODAY = (
    'forbid (principal, action in Action::"use", resource) '
    'when { context has drawn && context.drawn.month.contains(Dataset::"d1") };'
)
BLUNT = {
    "a permit of everything": EVERYTHING,
    "a forbid of everything": NOTHING,
    "an error": ERRS,
    "a permit of all acts": 'permit (principal is Officer, action in Action::"act", resource);',
    "a forbid of all acts": 'forbid (principal is Officer, action in Action::"act", resource);',
    "a forbid of all uses": 'forbid (principal, action in Action::"use", resource);',
    "a rule about what was drawn": TODAY,
    "a rule for another region": f'forbid (principal, action in Action::"use", resource) when '
    f'{{ resource.dataset.supplier.region in Region::"{OTHER}" }};',
}


def with_city(rule: str, region: str = CITY, name: str = "gz-rule", **files: str) -> PolicySet:
    """National law and one rule of a city."""
    own = {"gz/gz.cedar": note(name) + rule, "gz/layer.yaml": f'region: "{region}"', **files}
    return PolicySet(("national", "gz"), {**SHIPPED.files, **own})


def loaded(policies: PolicySet) -> Layers:
    return parse_layers(policies.files, policies.layers)


def faults(policies: PolicySet) -> str:
    with pytest.raises(GatewayError) as refused:
        loaded(policies)
    return str(refused.value.members["faults"])


def findings(policies: PolicySet) -> list[tuple[str, str]]:
    return [(one.kind, one.subject) for one in check_set(policies).findings]


@pytest.mark.parametrize("said", ["44010", '"44010a"', '"000000"', "[440100]", "", '"440100"\nof: all', "{"])
def test_a_layer_that_is_of_no_region_that_there_is_does_not_load(said: str) -> None:
    text = f"region: {said}"
    assert "gz/layer.yaml" in faults(with_city(EVERYTHING, **{"gz/layer.yaml": text}))


def test_the_national_layer_is_of_no_region() -> None:
    policies = PolicySet(SHIPPED.layers, {**SHIPPED.files, "national/layer.yaml": 'region: "440000"'})
    assert "national/layer.yaml" in faults(policies)


def test_what_says_whose_a_layer_is_is_part_of_what_is_in_force() -> None:
    """Another region is another digest, for verdicts and for what was proved."""
    one, other = with_city(NOTHING), with_city(NOTHING, OTHER)
    assert loaded(one).digest != loaded(other).digest
    assert proof_digest(one) != proof_digest(other)
    assert proof_digest(with_city(NOTHING, **{"gz/layer.yaml": 'region: "440100"\n'})) == proof_digest(one)


def uses(layers: Layers, region: str, demand: str = CITY) -> Iterator[tuple[str, Verdict]]:
    """Verdicts on uses of data of a region, with a grant and without."""
    for attribute in SharingAttribute:
        for grants in ((grant(),), ()):
            found = state(
                department=department(region=demand),
                supplier=department("police", region=region),
                dataset=dataset(sharing_attribute=attribute),
                grants=grants,
            )
            part = Slice(layers, found)
            yield f"{attribute} {len(grants)}", (part.evaluate(call(), NOW), part.drawn_facts, part.turns_any_time)


@pytest.mark.parametrize("rule", BLUNT.values(), ids=BLUNT)
@pytest.mark.parametrize("region", [OTHER, PROVINCE, "000000", "110000"])
def test_a_use_of_another_regions_data_is_decided_as_before(rule: str, region: str) -> None:
    """Whoever asks, a department of the layer's region too; by nothing that the layer says, not even by its errors."""
    before, after = (dict(uses(one, region)) for one in (NATIONAL, loaded(with_city(rule))))

    def said(found: Any) -> Any:
        verdict, drawn, turns = found
        return msgspec.structs.replace(verdict, policy_digest=""), drawn, turns

    assert {name: said(each) for name, each in after.items()} == {name: said(each) for name, each in before.items()}


@pytest.mark.parametrize("region", [CITY, DISTRICT])
def test_a_use_of_the_regions_own_data_is_decided_by_its_layer(region: str) -> None:
    """And of what lies in it; so what holds elsewhere holds because the region is another."""
    verdicts = [each for _, (each, _, _) in uses(loaded(with_city(NOTHING)), region)]
    assert not any(each.is_permit for each in verdicts)
    assert any(each.is_permit for _, (each, _, _) in uses(NATIONAL, region))
    assert all("gz-rule" in each.policies for each in verdicts if each.code == "not-granted" and each.policies)


OFFICES = {
    Role.SUPPLIER: "police",
    Role.DEMAND: "civil-affairs",
    Role.COMPETENT: "bureau",
    Role.AUDITOR: "bureau",
    Role.OPERATOR: "bureau",
}


def acts(layers: Layers, regions: list[str], matter: str | None, demand: str | None) -> dict[str, bool]:
    """Whether officers of these regions may do each act about a matter of a region."""
    about = Matter("police", "civil-affairs", matter, "d1", demand, approved_by="li", supplied_by="wang", valid_days=30)
    found = {}
    for act in Act:
        for region in regions:
            for role, own in OFFICES.items():
                officer = Officer("o", own, region, (role,))
                home = Department(own, "", region, Level.CITY, competent=own == "bureau")
                found[f"{act} {region} {role}"] = decide_act(layers, officer, act, about, NOW, home).is_permit
    return found


@pytest.mark.parametrize("rule", list(BLUNT.values())[:5], ids=list(BLUNT)[:5])
@pytest.mark.parametrize("matter", [OTHER, PROVINCE, None])
def test_an_act_about_another_region_is_decided_as_before(rule: str, matter: str | None) -> None:
    """For officers of the layer's region and of every other; also where the other side lies in the region."""
    regions = [CITY, OTHER, PROVINCE]
    before, after = (acts(one, regions, matter, CITY) for one in (NATIONAL, loaded(with_city(rule))))
    assert after == before


def test_a_region_takes_no_power_from_who_stands_above_it_or_elsewhere() -> None:
    """It binds its own officers: what the province may do about the city's matters, it may."""
    layers = loaded(with_city(NOTHING))
    assert acts(layers, [PROVINCE, OTHER], CITY, OTHER) == acts(NATIONAL, [PROVINCE, OTHER], CITY, OTHER)
    own = acts(layers, [CITY], CITY, CITY)
    assert {name for name, may in own.items() if may} == {
        name for name, may in acts(NATIONAL, [CITY], CITY, CITY).items() if may and name.split()[0] in PLATFORM
    }


PLATFORM = {"activatePolicies", "applyRetention", "manageKeys"}


@pytest.mark.parametrize("rule", [EVERYTHING, NOTHING])
def test_no_regions_layer_says_who_puts_policies_in_force(rule: str) -> None:
    """Nor who runs the platform: else the layer would say who may take it back."""
    for act, may in acts(loaded(with_city(rule)), [CITY], CITY, CITY).items():
        if act.split()[0] in PLATFORM:
            assert may == acts(NATIONAL, [CITY], CITY, CITY)[act]


@pytest.mark.parametrize(
    ("rule", "kinds"),
    [
        (EVERYTHING, {"region"}),
        (BLUNT["a permit of all acts"], {"region"}),
        (NOTHING, {"taken"}),
        (BLUNT["a forbid of all acts"], {"taken"}),
        (BLUNT["a forbid of all uses"], {"taken"}),
        (BLUNT["a rule for another region"], {"unreachable"}),
        ('forbid (principal, action == Action::"activatePolicies", resource);', {"region", "unreachable"}),
        ('permit (principal is Officer, action == Action::"activatePolicies", resource);', {"region", "unreachable"}),
        ('permit (principal is Officer, action == Action::"lift", resource);', {"region"}),
    ],
)
def test_what_a_regions_layer_may_not_say_is_no_sound_set(rule: str, kinds: set[str]) -> None:
    """The national tables' own cases lie in another city."""
    assert {kind for kind, _ in findings(with_city(rule))} >= kinds


@pytest.mark.parametrize(("rule", "kinds"), [(EVERYTHING, {"region", "widened"}), (NOTHING, {"taken"})])
def test_nor_where_the_region_is_that_of_the_national_tables(rule: str, kinds: set[str]) -> None:
    """What the tables deny there, a permit of everything is seen to widen too."""
    assert {kind for kind, _ in findings(with_city(rule, OTHER))} >= kinds


def test_a_policy_of_a_region_has_an_id_of_its_own() -> None:
    """No city takes the name that another's policy has, or is to have."""
    rule = 'forbid (principal, action in Action::"use", resource) when { context.assurance == 2 };'
    assert findings(with_city(rule)) == []
    assert ("region", "zhongshan-art22-hours") in findings(with_city(rule, name="zhongshan-art22-hours"))


def test_a_table_of_a_region_rests_on_no_other_regions_layer() -> None:
    """Another city's change is never refused for a table of this one."""
    rule = note("gz-rule") + 'forbid (principal, action in Action::"use", resource) when { context.assurance == 2 };'
    table = "layers: [national, zhongshan]\ncases: [{case: a use, expect: permit}]"
    both = read_set(ROOT, ("national", "zhongshan"))
    own = {"gz/gz.cedar": rule, "gz/layer.yaml": f'region: "{CITY}"', "gz/tests/gz.yaml": table}
    policies = PolicySet(("national", "zhongshan", "gz"), {**both.files, **own})
    assert findings(policies) == [("region", "gz/tests/gz.yaml")]
    above = {**own, "gz/tests/gz.yaml": table.replace("zhongshan", "gz")}
    assert findings(PolicySet(policies.layers, {**both.files, **above})) == []


def test_two_cities_on_one_gateway_are_decided_each_by_its_own() -> None:
    """By where the supplier stands now, for what is decided is read anew when a department moves."""
    own = {f"{name}/{name}.cedar": note(f"{name}-rule") + NOTHING for name in ("gz", "zs")} | {
        "gz/layer.yaml": f'region: "{CITY}"',
        "zs/layer.yaml": f'region: "{OTHER}"',
    }
    layers = loaded(PolicySet(("national", "gz", "zs"), {**SHIPPED.files, **own}))
    by = {}
    for region in (CITY, OTHER, "440300"):
        verdicts = [each for _, (each, _, _) in uses(layers, region)]
        by[region] = {name for each in verdicts for name in each.policies} & {"gz-rule", "zs-rule"}
    assert by == {CITY: {"gz-rule"}, OTHER: {"zs-rule"}, "440300": set()}


def test_a_case_moves_with_its_region() -> None:
    """The national tables' cases are tried where the layer is: the city, the province above it, a district of it."""
    facts = {"department": {"region": "442000"}, "matter": {"region": "442001", "demand_region": "440000"}, "n": 1}
    assert in_region(facts, "310100") == {
        "department": {"region": "310100"},
        "matter": {"region": "310100", "demand_region": "310000"},
        "n": 1,
    }
    assert in_region("440000", "440000") == region_chain("440000")[1] == "000000"


@pytest.fixture(scope="module")
def tools() -> Tools:
    try:
        return find_tools()
    except GatewayError as error:
        pytest.skip(error.detail)


ASKED = {"query", "verify", "suspend", "consultRecords", "activatePolicies"}
"""Of each kind one."""


def proved(layers: Layers, prover: Prover, asked: set[str] | None = None) -> set[str]:
    """What comes of the questions that come along with the city's layer, about some actions or all."""
    return {
        prover.one(question).result
        for theorem in theorems_of("gz", CITY)
        for question in theorem_questions(layers, theorem)
        if asked is None or question.action in asked
    }


@pytest.mark.parametrize("rule", BLUNT.values(), ids=BLUNT)
def test_that_a_layer_stays_in_its_region_is_proved(rule: str, tools: Tools) -> None:
    """Over every request there can be, whatever the layer says."""
    with Prover(tools, SHIPPED.files[law.SCHEMA_FILE]) as prover:
        assert proved(loaded(with_city(rule)), prover, ASKED) == {"proved"}


@pytest.mark.deep
def test_and_of_every_action(tools: Tools) -> None:
    """As `prove` asks it of each layer, and tells it as its theorems."""
    found = prove(with_city(NOTHING), tools, only=[one.id for one in theorems_of("gz", CITY)])
    assert [(one.statement, one.result) for one in found] == [("theorem", "proved")] * 4


@pytest.mark.parametrize("rule", [EVERYTHING, NOTHING], ids=["permit", "forbid"])
def test_each_part_of_the_regions_condition_is_held_by_what_comes_along(
    rule: str, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With any part of it bent, some theorem is refuted: it is not proved for want of anything to prove."""
    policies = with_city(rule)
    whole = loaded(policies)
    est = whole.policies["gz-rule"].est
    bent = [each for each in mutants_of("gz-rule", est) if each.est and not whole.faults_of({"gz-rule": each.est})]
    survived = []
    with Prover(tools, SHIPPED.files[law.SCHEMA_FILE]) as prover:
        for each in bent:
            monkeypatch.setattr(law, "scoped", lambda *_, each=each, **__: copy.deepcopy(each.est))
            if proved(loaded(policies), prover, ASKED) == {"proved"}:
                survived.append(each.change)
    assert len(bent) >= 10
    assert survived == NARROWER[rule]


_NARROWER = ["|| is &&", "left of || alone", "right of || alone"]
NARROWER = {
    EVERYTHING: [
        *(f"condition 1: {each}" for each in _NARROWER),
        "condition 1.left.right: in is ==",
        "condition 1.right: right of && alone",
        "condition 1.right.right.left.right: in is ==",
    ],
    NOTHING: [
        *(f"condition 1: {each}" for each in _NARROWER),
        "condition 1.left.right: in is ==",
        "condition 1.right: right of && alone",
        "condition 1.right.right.left.left.right: in is ==",
        "condition 1.right.right.right: in is ==",
    ],
}
"""Changes by which the layer acts on less than its region, and one that changes nothing: an interface has no region."""


def test_the_shipped_layer_of_a_city_is_of_its_region(tmp_path: Path) -> None:
    """Its tables' cases, moved into another city, come out as national law alone has them."""
    shipped = read_set(ROOT, ("national", "zhongshan"))
    layers = parse_layers(shipped.files, shipped.layers)
    assert layers.regions == {"zhongshan": "442000"}
    for table in read_tables(shipped):
        for case in table.cases if table.layers == shipped.layers else ():
            facts = in_region(case.facts, CITY)
            if "act" not in facts:
                found, _, _ = case_call(facts)
                assert found.supplier is not None
                if found.supplier.region in region_chain(OTHER):
                    continue
            moved = msgspec.structs.replace(case, facts=facts)
            verdicts = [run_case(one, moved).verdict for one in (layers, NATIONAL)]
            assert len({None if each is None else each.code for each in verdicts}) == 1, case.name
