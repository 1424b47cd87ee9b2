"""More than one authority on one gateway: each city's competent department changes its own layer, and nothing else."""

from typing import Any
from unittest.mock import patch

import pytest

from gateway.control.act.examples import DATASET
from gateway.domain.policies import PolicySet
from gateway.policy import default_policies_root
from gateway.policy.law.layers import read_set
from tests.policies.layering import note
from tests.support.control import CITY, OTHER_CITY, World, done, refused
from tests.unit.control.test_activation_api import put

SAID = {"reason": "a trial", "revives": True}
CITIES = {"zs": ("registrar", CITY), "hz": ("stranger", OTHER_CITY)}
SCHEMA, FORCE = "schema.cedarschema", "/v1/policies/activation"
OPENS = (
    '@widens("answerVerification") permit (principal is Officer, action == Action::"answerVerification", resource) '
    'when { principal.roles.contains(Role::"competent") };'
)
FORBIDS = 'forbid (principal, action in Action::"use", resource) when {{ context.assurance == {rank} }};'


def layer(name: str, rank: int = 0, **more: str) -> dict[str, str]:
    """The files of a city's layer with a rule that differs by its number."""
    rule = note(f"{name}-rule") + FORBIDS.format(rank=rank)
    return {f"{name}/rule.cedar": rule, f"{name}/layer.yaml": f'region: "{CITIES[name][1]}"', **more}


def national() -> dict[str, str]:
    return dict(read_set(default_policies_root(), ["national"]).files)


def body(*layers: str, **files: str) -> dict[str, Any]:
    return {**SAID, "layers": ["national", *layers], "files": {**national(), **files}}


def in_force_of(world: World) -> PolicySet:
    """The set in force, asked of nobody."""
    return world.services.policies.keeper.now.policies


def in_force(world: World) -> PolicySet:
    """The set in force, as the API says too."""
    found = in_force_of(world)
    assert done(world.get("province", "/v1/policies"))["layers"] == list(found.layers)
    return found


def own(world: World, name: str, rank: int, **more: Any) -> Any:
    """A city puts its own layer in force, and says nothing of any other."""
    said = {"layers": [name], "files": layer(name, rank), "only": name}
    return world.post(CITIES[name][0], FORCE, {**SAID, **said}, **more)


@pytest.fixture
def cities(world: World) -> World:
    """Each city's layer is in force, put there by itself."""
    for name in CITIES:
        done(own(world, name, 0))
    return world


def test_each_city_puts_its_own_layer_in_force(cities: World) -> None:
    """And says so of it alone: whose it is, since when and by whom."""
    assert in_force(cities).layers == ("national", "zs", "hz")
    done(own(cities, "zs", 1))
    told = done(cities.get("auditor", "/v1/policies"))["standing"]
    assert [(one["layer"], one["region"], one["since"] and one["since"]["by"]) for one in told] == [
        ("national", None, ""),
        ("zs", CITY, "registrar"),
        ("hz", OTHER_CITY, "stranger"),
    ]
    steps = done(cities.get("auditor", "/v1/policies/activations", layer="zs"))["items"]
    assert [(one["number"], one["changed"]) for one in steps] == [(4, ["zs"]), (2, ["zs"])]


def test_a_city_may_send_the_whole_set_where_nothing_else_differs(cities: World) -> None:
    present = in_force(cities)
    files = {**present.files, **layer("zs", 1)}
    done(cities.post("registrar", FORCE, {**SAID, "layers": present.layers, "files": files}))
    assert in_force(cities).files == files


CHANGED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "the national layer": (
        {"files": {"national/more.cedar": note("national-more") + FORBIDS.format(rank=0)}},
        ["national"],
    ),
    "a national policy taken out": ({"out": "national/art03-secrets.cedar"}, ["national"]),
    "national theorems": ({"files": {"national/theorems.yaml": "[]"}}, ["national"]),
    "the schema": ({"files": {SCHEMA: national()[SCHEMA] + "\n// more"}}, [SCHEMA]),
    "the table of articles": ({"files": {"articles.yaml": "[]"}}, ["articles.yaml"]),
    "another city's layer": ({"files": layer("hz", 1)}, ["hz"]),
    "another city's tables": ({"files": {"hz/tests/x.yaml": "layers: [national]\ncases: []"}}, ["hz"]),
    "another city's layer taken out": ({"layers": ["national", "zs"], "out": "hz/"}, ["hz"]),
    "a new layer of another region": (
        {
            "layers": ["national", "zs", "hz", "sz"],
            "files": {"sz/x.cedar": note("sz-x") + FORBIDS.format(rank=0), "sz/layer.yaml": 'region: "440300"'},
        },
        ["sz"],
    ),
    "a new layer of the region above": (
        {
            "layers": ["national", "zs", "hz", "gd"],
            "files": {"gd/x.cedar": note("gd-x") + FORBIDS.format(rank=0), "gd/layer.yaml": 'region: "440000"'},
        },
        ["gd"],
    ),
    "a new layer of no region": (
        {"layers": ["national", "zs", "hz", "all"], "files": {"all/x.cedar": note("all-x") + FORBIDS.format(rank=0)}},
        ["all"],
    ),
    "the own layer for the region above": ({"files": {"zs/layer.yaml": 'region: "440000"'}}, ["zs"]),
    "the own layer for another region": ({"files": {"zs/layer.yaml": f'region: "{OTHER_CITY}"'}}, ["zs"]),
    "the own layer for all": ({"out": "zs/layer.yaml"}, ["zs"]),
    "another's layer for the own region": ({"files": {"hz/layer.yaml": f'region: "{CITY}"'}}, ["hz"]),
    "no region that can be read": ({"files": {"zs/layer.yaml": "region: ["}}, ["zs"]),
    "the order": ({"layers": ["national", "hz", "zs"]}, ["the order of layers"]),
    "the national layer last": ({"layers": ["zs", "hz", "national"]}, ["the order of layers"]),
}


@pytest.mark.parametrize("path", ["activation", "shadow", "compare"])
def test_what_else_differs_is_named_and_refused(cities: World, path: str) -> None:
    """By whatever road a set comes: it is not examined, and nothing changes."""
    present = in_force(cities)
    for case, (change, named) in CHANGED.items():
        kept = {name: text for name, text in present.files.items() if not name.startswith(change.get("out", "-"))}
        files = {**kept, **layer("zs", 1), **change.get("files", {})}
        if change.get("out", "").startswith("zs"):
            files.pop(change["out"])
        said = {"layers": change.get("layers", present.layers), "files": files}
        if path != "compare":
            said |= {"reason": "a trial"}
        with patch.object(cities.services.policies, "examine", side_effect=AssertionError):
            refusal = refused(cities.post("registrar", f"/v1/policies/{path}", said), "act-not-permitted")
        assert refusal["differs"] == named, case
        assert all(f"`{name}`" in refusal["detail"] for name in named)
    assert in_force(cities) == present


def test_what_opens_more_than_national_law_is_for_the_competent_department_of_all(cities: World) -> None:
    """A permit of a city's layer, is for the province; to take it back the city may."""
    opens = note("zs-opens") + OPENS
    wider = {"layers": ["zs"], "only": "zs", "files": {**layer("zs"), "zs/opens.cedar": opens}}
    refusal = refused(cities.post("registrar", FORCE, {**SAID, **wider}), "act-not-permitted")
    assert (refusal["differs"], refusal["policies"]) == (["zs"], ["national-art8-widening"])
    done(cities.post("province", FORCE, {**SAID, **wider}))
    done(own(cities, "zs", 1))
    refused(cities.post("registrar", FORCE, {**SAID, **wider}), "act-not-permitted")
    refused(cities.post("registrar", "/v1/policies/rollback", {**SAID, "layer": "zs"}), "act-not-permitted")


@pytest.mark.parametrize(
    "rule",
    [
        "permit (principal, action, resource);",
        "forbid (principal, action, resource);",
        'permit (principal is Officer, action == Action::"lift", resource);',
        'forbid (principal is Officer, action == Action::"activatePolicies", resource);',
    ],
)
def test_a_city_puts_no_unsound_layer_in_force(cities: World, rule: str) -> None:
    before = in_force(cities)
    files = {**layer("zs"), "zs/rule.cedar": note("zs-rule") + rule}
    refusal = refused(
        cities.post("registrar", FORCE, {**SAID, "layers": ["zs"], "files": files, "only": "zs"}), "invalid-input"
    )
    assert {"region", "taken"} & {fault["fault"].rpartition("(")[2].rstrip(")") for fault in refusal["faults"]}
    assert in_force(cities) == before


@pytest.mark.parametrize("officer", ["police", "operator", "auditor", "civil", "city-operator"])
def test_nobody_else_of_the_city_does(cities: World, officer: str) -> None:
    said = {**SAID, "layers": ["zs"], "files": layer("zs", 1), "only": "zs"}
    refused(cities.post(officer, FORCE, said), "act-not-permitted")
    refused(cities.post(officer, "/v1/policies/rollback", {**SAID, "layer": "zs"}), "act-not-permitted")


def test_a_city_goes_back_in_its_own_layer_alone(cities: World) -> None:
    """What another put in force since stays, by whatever number it goes back to; and it undoes its own going back."""
    done(own(cities, "zs", 1))
    done(own(cities, "hz", 1))
    done(own(cities, "zs", 2))
    done(cities.post("registrar", "/v1/policies/rollback", SAID))
    assert rules(cities) == {"zs": 1, "hz": 1}
    done(cities.post("registrar", "/v1/policies/rollback", {**SAID, "to": 2}))
    assert rules(cities) == {"zs": 0, "hz": 1}
    done(cities.post("stranger", "/v1/policies/rollback", {**SAID, "layer": "hz"}))
    assert rules(cities) == {"zs": 0, "hz": 0}
    done(cities.post("registrar", "/v1/policies/rollback", {**SAID, "to": 1}))
    assert rules(cities) == {"hz": 0}
    done(cities.post("registrar", "/v1/policies/rollback", SAID))
    assert rules(cities) == {"hz": 0, "zs": 0}
    refused(cities.post("registrar", "/v1/policies/rollback", {**SAID, "layer": "hz", "to": 1}), "act-not-permitted")
    refused(cities.post("registrar", "/v1/policies/rollback", {**SAID, "layer": "national", "to": 1}), "conflict")
    done(cities.post("province", "/v1/policies/rollback", {**SAID, "to": 1}))
    assert rules(cities) == {}


def rules(world: World) -> dict[str, int]:
    """Which rule of each city is in force, by its number."""
    files = in_force(world).files
    return {
        name: int(files[f"{name}/rule.cedar"].rpartition("== ")[2].split(" ")[0])
        for name in in_force(world).layers
        if name in CITIES
    }


def test_of_two_cities_at_once_the_second_is_told_and_nothing_is_lost(cities: World) -> None:
    """While one is examined the other's goes in force: it is told, tries again, and both are in force."""
    examine = cities.services.policies.examine

    def meanwhile(*given: Any, **more: Any) -> Any:
        found = examine(*given, **more)
        present = in_force_of(cities)
        put(cities.store, {"layers": present.layers, "files": {**present.files, **layer("hz", 1)}}, number=4)
        return found

    with patch.object(cities.services.policies, "examine", meanwhile):
        refused(own(cities, "zs", 1), "conflict")
    assert rules(cities) == {"zs": 0, "hz": 1}
    done(own(cities, "zs", 1))
    assert rules(cities) == {"zs": 1, "hz": 1}


def test_who_read_an_older_set_is_told(cities: World) -> None:
    """`If-Match` names the set that is replaced; a whole set that was read before another's act would take it back."""
    read = cities.get("registrar", "/v1/policies")
    present, tag = in_force(cities), read.headers["ETag"]
    done(own(cities, "hz", 1))
    stale = {"headers": {"If-Match": tag}}
    refused(own(cities, "zs", 1, **stale), "precondition-failed")
    refused(cities.post("registrar", "/v1/policies/rollback", SAID, **stale), "precondition-failed")
    whole = {**SAID, "layers": present.layers, "files": {**present.files, **layer("zs", 1)}}
    refused(cities.post("registrar", FORCE, whole, **stale), "precondition-failed")
    assert refused(cities.post("registrar", FORCE, whole), "act-not-permitted")["differs"] == ["hz"]
    now = cities.get("registrar", "/v1/policies").headers["ETag"]
    done(own(cities, "zs", 1, headers={"If-Match": now}))
    assert rules(cities) == {"zs": 1, "hz": 1}


def test_by_two_persons_too(cities: World) -> None:
    """Who approves may change what it changes; what another city proposed is not this one's to approve."""
    cities.services.policies.two_persons = True
    proposal = done(own(cities, "hz", 1))["proposal"]
    approved = {"number": proposal["number"], "set": proposal["set"]}
    refusal = refused(cities.post("registrar", "/v1/policies/approval", approved), "act-not-permitted")
    assert refusal["differs"] == ["hz"]
    refused(cities.post("stranger", "/v1/policies/approval", approved), "act-not-permitted")
    done(cities.post("province", "/v1/policies/approval", approved))
    assert rules(cities) == {"zs": 0, "hz": 1}


def test_a_city_tries_its_own_layer_in_the_shadow_and_ends_no_others(cities: World) -> None:
    present = in_force(cities)
    mine = {"layers": present.layers, "files": {**present.files, **layer("zs", 1)}, "reason": "a trial"}
    theirs = {"layers": present.layers, "files": {**present.files, **layer("hz", 1)}, "reason": "a trial"}
    done(cities.post("registrar", "/v1/policies/shadow", mine))
    done(cities.get("registrar", "/v1/policies/shadow"))
    refused(cities.get("stranger", "/v1/policies/shadow"), "act-not-permitted")
    refused(cities.post("stranger", "/v1/policies/shadow/end", {}), "act-not-permitted")
    refused(cities.post("stranger", "/v1/policies/shadow", theirs), "act-not-permitted")
    done(cities.post("registrar", "/v1/policies/shadow/end", {}))
    done(cities.post("stranger", "/v1/policies/shadow", theirs))


def test_a_layer_names_no_other_regions_data(cities: World) -> None:
    """What was drawn of it, the layer could read; nor may it look for what nobody has yet."""
    rule = (
        'forbid (principal, action in Action::"use", resource) when '
        '{{ context has drawn && context.drawn.month.contains(Dataset::"{name}") }};'
    )
    table = (
        "layers: [national, {city}]\ngiven: {{supplier: {{region: '{region}'}}, drawn: {{month: ['{name}']}}}}\n"
        "cases: [{{case: a use, expect: {{deny: not-granted}}}}]"
    )
    for city, name, fault in (
        ("hz", DATASET["id"], "another region's"),
        ("hz", "not-there", "does not have"),
        ("zs", DATASET["id"], ""),
    ):
        files = {
            **layer(city),
            f"{city}/drawn.cedar": note(f"{city}-drawn") + rule.format(name=name),
            f"{city}/tests/drawn.yaml": table.format(city=city, region=CITIES[city][1], name=name),
        }
        answer = cities.post(CITIES[city][0], FORCE, {**SAID, "layers": [city], "files": files, "only": city})
        if fault:
            assert fault in refused(answer, "invalid-input")["faults"][0]["fault"]
        else:
            done(answer)


def test_the_record_of_an_act_says_what_it_changed(cities: World) -> None:
    said = done(own(cities, "zs", 1))
    assert said["activation"]["changed"] == ["zs"]


def test_policies_that_know_of_no_regions_are_changed_by_the_competent_department_of_all(world: World) -> None:
    """Those of an older gateway, in force as they were when the program was replaced, do not decide who may."""
    older = "\n".join(line for line in national()[SCHEMA].splitlines() if "widens?:" not in line)
    rules = national()["national/officers-art08-competent.cedar"]
    begun, ended = rules.index("// It is asked for each"), rules.index("// Where the settings ask")
    files = {SCHEMA: older, "national/officers-art08-competent.cedar": rules[:begun] + rules[ended:]}
    present = body(**files, **{"national/theorems.yaml": "[]", "articles.yaml": "[]"})
    world.services.policies.keeper.refresh()
    put(world.store, present, number=1)
    world.services.policies.keeper.refresh()
    assert refused(own(world, "zs", 0), "act-not-permitted")["differs"] == ["zs"]
