"""Policies asked about on a running gateway: can a dataset ever be obtained, and recorded uses decided again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.policies import policies
from gateway.policy.law.layers import read_set
from gateway.runtime.demo.story import PURPOSE
from tests.policies.layering import note, root_with
from tests.support.gateways import RunningGateway, running_gateway, wait_for

PERSONS = "/public-security/persons"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path_factory.mktemp("ahead") / "home") as running:
        yield running


def run(*words: str) -> Any:
    done = CliRunner().invoke(policies, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_an_example_is_called_and_what_is_never_is_refused(gateway: RunningGateway) -> None:
    """The example's call goes through the data plane; after a stop it is said to be over, and is."""
    home = str(gateway.home.root)
    said = run("can", "--dataset", "household", "--department", "housing-fund", "--home", home, "--as", "auditor-he")
    (found,) = said["found"]
    assert found["outcome"] == "possible"
    example = found["example"]
    assert example["needs"] == []
    with gateway.client() as client:
        path = "/" + example["interface"]
        assert client.get(path, params={"id_number": "x"}).status_code == 200
    everybody = run("can", "--dataset", "household", "--home", home, "--as", "auditor-he")
    outcomes = {one: each["outcome"] for each in everybody["found"] for one in (each["department"], *each["alike"])}
    assert outcomes["housing-fund"] == "possible"
    assert "never" in outcomes.values()
    assert everybody["not_looked"] == 0


def test_recorded_uses_are_decided_again(gateway: RunningGateway, tmp_path: Path) -> None:
    """Those that a candidate would refuse, with their records; the running gateway goes on as it was."""
    with gateway.client() as client:
        statuses = [client.get(PERSONS, params={"id_number": "x"}).status_code for _ in range(3)]
        refused = client.get(PERSONS, params={"id_number": "x"}, headers={"Sharing-Purpose": "no-such-purpose"})
    assert statuses == [200, 200, 200]
    assert refused.status_code == 403
    with gateway.officer("auditor-he") as api:
        assert wait_for(lambda: len(api.get("/v1/records", kind="use")["items"]) >= 3, 20)
        records = {one["record"] for one in api.get("/v1/records", kind="use")["items"]}
    home, ahead = str(gateway.home.root), ("--since", "2020-01-01", "--home", str(gateway.home.root))
    assert home
    same = run("replay", str(root_with(tmp_path / "same")), *ahead)["replay"]
    assert same["uses"] >= 4
    assert same["kinds"] == []
    assert same["same"] == same["uses"] - len(same["left_over"]) or same["same"] >= 4
    forbidding = note("no-withdrawals") + (
        f'forbid (principal, action in Action::"use", resource) when {{ context.purpose == "{PURPOSE}" }};'
    )
    root = root_with(tmp_path / "less", region=forbidding)
    found = run("replay", str(root), "--layer", "national", "--layer", "region", *ahead)["replay"]
    (kind,) = found["kinds"]
    assert (kind["change"], kind["policies"]) == ("refused", ["no-withdrawals"])
    assert kind["count"] >= 3
    assert kind["departments"] == {"housing-fund": kind["count"]}
    assert set(kind["examples"]) <= records
    limited = run("replay", str(root), "--layer", "national", "--layer", "region", *ahead, "--limit", "1")["replay"]
    assert (limited["uses"], limited["is_whole"]) == (1, False)
    later = run("replay", str(root), "--since", "2099-01-01", "--home", home)["replay"]
    assert later["uses"] == 0


def test_a_first_convergence_rule_is_seen_before_it_is_in_force(gateway: RunningGateway, tmp_path: Path) -> None:
    """What was drawn before it is on record: comparing says that it does not count it, and replay counts it."""
    with gateway.client() as client:
        for path in (PERSONS, "/civil-affairs/marriages"):
            assert client.get(path, params={"id_number": "x"}).status_code == 200
    rule = note("together") + (
        'forbid (principal, action in Action::"obtain", resource in Dataset::"marriage") '
        'when { context has drawn && context.drawn.week.contains(Dataset::"household") };'
    )
    root = root_with(tmp_path, region=rule)
    layers = ("--layer", "national", "--layer", "region")
    ahead = ("--since", "2020-01-01", "--home", str(gateway.home.root))

    def refused() -> int:
        found = run("replay", str(root), *layers, *ahead)["replay"]
        assert all(kind["policies"] == ["together"] for kind in found["kinds"])
        return sum(kind["count"] for kind in found["kinds"] if kind["change"] == "refused")

    assert wait_for(lambda: refused() == 1, 20)
    compared = run(
        "compare",
        str(root_with(tmp_path / "now")),
        str(root),
        *layers[:2],
        "--new-layer",
        "national",
        "--new-layer",
        "region",
        "--home",
        str(gateway.home.root),
    )
    assert (compared["losing"], compared["uncounted"]) == ([], ["together"])
    candidate = read_set(root, ["national", "region"])
    body = {"layers": list(candidate.layers), "files": dict(candidate.files)}
    with gateway.officer() as api:
        dry = api.post("/v1/policies/compare", body, timeout_seconds=120)
        assert dry["comparison"]["uncounted"] == ["together"]
        assert api.post("/v1/policies/shadow", body)["uncounted"] == ["together"]
        assert api.get("/v1/policies/shadow")["uncounted"] == ["together"]
        api.post("/v1/policies/shadow/end", {})
