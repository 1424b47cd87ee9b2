"""Two cities on one running gateway, each with a layer of its own: what each decides, and what neither can."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.policies import policies
from gateway.domain.errors import GatewayError
from gateway.policy import default_policies_root
from gateway.policy.law.layers import read_set
from gateway.runtime.demo.story import PURPOSE
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from tests.policies.layering import note
from tests.support.gateways import RunningGateway, served_home, wait_for

NATIONAL = read_set(default_policies_root(), ("national",))
SAID = {"reason": "a trial", "revives": True}
CITIES = {"zs": ("442000", "zs-li"), "hz": ("441300", "hz-wang")}
PERSONS, MARRIAGES = "/public-security/persons", "/civil-affairs/marriages"
RULE = 'forbid (principal, action in Action::"use", resource) when {{ context.purpose == "{purpose}" }};'
OPENS = '@widens("answerVerification") permit (principal is Officer, action == Action::"answerVerification", resource) '
STRICT, NONE = RULE.format(purpose=PURPOSE), RULE.format(purpose="a-purpose-of-nobody")


def layer(name: str, rule: str, region: str = "") -> dict[str, str]:
    said = f'region: "{region or CITIES[name][0]}"'
    return {f"{name}/{name}.cedar": note(f"{name}-rule") + rule, f"{name}/layer.yaml": said}


def changed(gateway: RunningGateway, department: str, **fields: Any) -> None:
    """A department as the registrar changes it: where it stands, say."""
    with gateway.officer() as api:
        known = api.get(f"/v1/departments/{department}")
        known = known.get("department", known)
        kept = ("id", "name", "region", "level", "parent", "competent", "matters", "code")
        api.post("/v1/departments", {**{name: known[name] for name in kept if known.get(name)}, **fields})


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """The demo, whose police stands in one city and whose civil affairs in another, each with an authority."""
    home = GatewayHome(tmp_path_factory.mktemp("cities") / "home")
    with served_home(home, initialise(home, region="000000", department="national-bureau")) as running:
        changed(running, "public-security", region="442000", level="city")
        changed(running, "civil-affairs", region="441300", level="city")
        with running.officer() as api:
            for name, (region, officer) in CITIES.items():
                bureau = {"id": f"{name}-bureau", "name": name, "region": region, "level": "city", "competent": True}
                api.post("/v1/departments", bureau)
                person = {"id": officer, "name": officer, "department": bureau["id"], "region": region}
                api.post("/v1/officers", {**person, "roles": ["competent"]})
        yield running


def put(gateway: RunningGateway, name: str, rule: str, **more: Any) -> Any:
    """A city's officer puts its own layer in force."""
    with gateway.officer(CITIES[name][1]) as api:
        body = {**SAID, "layers": [name], "files": layer(name, rule), "only": name}
        return api.post("/v1/policies/activation", body, **more)


def statuses(gateway: RunningGateway, path: str) -> set[int]:
    """What calls over several new connections are answered: the workers share the port."""
    found = set()
    for _ in range(6):
        with gateway.client() as client:
            found.add(client.get(path, params={"id_number": "x"}).status_code)
    return found


def refusal(gateway: RunningGateway, officer: str, path: str, body: dict[str, Any], **more: Any) -> GatewayError:
    with gateway.officer(officer) as api, pytest.raises(GatewayError) as caught:
        api.post(f"/v1/policies/{path}", body, **more)
    return caught.value


@pytest.mark.timeout(400)  # many activations, each examined and proved, on a machine that may be busy
def test_each_city_decides_what_is_its_own_and_nothing_else(gateway: RunningGateway, tmp_path: Path) -> None:
    """Its own data at once on every worker, another's never: put in force, attacked, gone back from, moved."""
    assert (statuses(gateway, PERSONS), statuses(gateway, MARRIAGES)) == ({200}, {200})
    said = put(gateway, "zs", STRICT)
    assert said["barrier"]["confirmed"] == ["worker-0", "worker-1"]
    assert (statuses(gateway, PERSONS), statuses(gateway, MARRIAGES)) == ({403}, {200})
    put(gateway, "hz", STRICT)
    assert (statuses(gateway, PERSONS), statuses(gateway, MARRIAGES)) == ({403}, {403})

    with gateway.officer() as api:
        present = api.get("/v1/policies/activations/3/set")
    files, layers = present["files"], present["layers"]
    assert layers == ["national", "zs", "hz"]
    hers = {"layers": layers, "files": {**files, **layer("hz", NONE)}}
    for body, named in (
        ({"layers": layers, "files": {**files, **layer("zs", NONE)}}, ["zs"]),
        ({"layers": layers, "files": {**files, **layer("hz", NONE, "440000")}}, ["hz"]),
        ({"layers": layers, "files": {**files, **layer("hz", NONE, "442000")}}, ["hz"]),
        ({"layers": [*layers, "gd"], "files": {**files, **layer("gd", STRICT, "440000")}}, ["gd"]),
        ({"layers": [*layers, "mine"], "files": {**files, **layer("mine", STRICT, "442000")}}, ["mine"]),
        (
            {**hers, "files": {**hers["files"], "schema.cedarschema": files["schema.cedarschema"] + "\n"}},
            ["schema.cedarschema"],
        ),
        ({"layers": ["national", "hz"], "files": {n: t for n, t in hers["files"].items() if n[:3] != "zs/"}}, ["zs"]),
    ):
        for path, said in (("activation", SAID), ("shadow", {"reason": "a trial"})):
            found = refusal(gateway, "hz-wang", path, {**said, **body})
            assert (found.code, found.members["differs"]) == ("act-not-permitted", named)
    for rule in (
        "permit (principal, action, resource);",
        'permit (principal is Officer, action == Action::"lift", resource);',
        "forbid (principal, action, resource);",
    ):
        unsound = {**SAID, "layers": ["hz"], "files": layer("hz", rule), "only": "hz"}
        assert refusal(gateway, "hz-wang", "activation", unsound).code == "invalid-input"
    opens = OPENS + 'when { principal.roles.contains(Role::"competent") };'
    more = {**layer("hz", STRICT), "hz/opens.cedar": note("hz-opens") + opens}
    wider = {**SAID, "layers": ["hz"], "files": more, "only": "hz"}
    refused = refusal(gateway, "hz-wang", "activation", wider)
    assert (refused.code, refused.members["policies"]) == ("act-not-permitted", ["national-art8-widening"])

    # The whole set of before, as a bundle: what the other city put in force since would be taken back.
    runner, bundle, root = CliRunner(), tmp_path / "bundle.json", tmp_path / "root"
    home = ["--home", str(gateway.home.root)]
    exported = wait_for(
        lambda: (
            runner.invoke(policies, ["export", str(bundle), "--number", "2", *home, "--as", "auditor"]).exit_code == 0
        )
    )
    assert exported
    key = gateway.made["verifier_key"]
    assert runner.invoke(policies, ["import", str(bundle), "--key", key, "--root", str(root)]).exit_code == 0
    mine = [*home, "--as", "zs-li", "--revives", "--reason", "as before", "--json"]
    whole = runner.invoke(policies, ["activate", str(root), "--layers", "national,zs", *mine])
    assert whole.exit_code == 1
    assert "`hz`" in whole.output

    put(gateway, "zs", NONE)
    assert (statuses(gateway, PERSONS), statuses(gateway, MARRIAGES)) == ({200}, {403})
    back = runner.invoke(policies, ["rollback", "--to", "2", *mine])
    assert back.exit_code == 0, back.output
    assert (statuses(gateway, PERSONS), statuses(gateway, MARRIAGES)) == ({403}, {403})
    only = runner.invoke(policies, ["activate", str(root), "--layer", "zs", *mine])
    assert (only.exit_code, "in force already" in only.output) == (1, True)
    stale = refusal(
        gateway,
        "zs-li",
        "activation",
        {**SAID, "layers": ["zs"], "files": layer("zs", NONE), "only": "zs"},
        headers={"If-Match": '"' + "0" * 64 + '"'},
    )
    assert stale.code == "precondition-failed"

    # A department that moves is under the layer of where it now stands, at once on every worker.
    put(gateway, "hz", NONE)
    assert (statuses(gateway, PERSONS), statuses(gateway, MARRIAGES)) == ({403}, {200})
    changed(gateway, "public-security", region="441300")
    changed(gateway, "civil-affairs", region="442000")
    assert (statuses(gateway, PERSONS), statuses(gateway, MARRIAGES)) == ({200}, {403})
