"""What is stated of the policies is proved, and a policy that is bent is refuted by a case that is really permitted."""

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from gateway.cli.policies import policies
from gateway.domain.errors import GatewayError
from gateway.policy.law.layers import load_layers, read_set
from gateway.policy.offline.tables import read_case, run_case
from gateway.policy.proofs.proving import compare_all, prove
from gateway.policy.proofs.solver import Tools, find_tools
from tests.policies.cases import ROOT
from tests.policies.layering import note, root_with

OPENED = ["t27-who-lifts", "t3-secrets", "t8-competent-power"]
LAYERS = [["national"], ["national", "convergence"], ["national", "zhongshan"]]


@pytest.fixture(scope="module")
def tools() -> Tools:
    try:
        return find_tools()
    except GatewayError as error:
        pytest.skip(error.detail)


def bent(folder: Path, file: str, old: str, new: str) -> Path:
    root = root_with(folder)
    path = root / "national" / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    return root


@pytest.mark.deep
@pytest.mark.parametrize("layers", LAYERS, ids="+".join)
def test_every_theorem_and_every_policy_is_proved(tools: Tools, layers: list[str]) -> None:
    """The national theorems hold under each layer on top of national law."""
    found = prove(read_set(ROOT, layers), tools)
    assert [(one.subject, one.statement, one.what) for one in found if one.result != "proved"] == []
    assert sum(one.statement == "theorem" for one in found) >= 68


@pytest.mark.parametrize(
    ("file", "old", "new", "theorem", "policy"),
    [
        (
            "art34-35-grades.cedar",
            "context.assurance < 2",
            "context.assurance < 1",
            "t35-bound-credential",
            "national-art35-grade",
        ),
        (
            "art27-suspension.cedar",
            'context.grant.state != GrantState::"issued"',
            "false",
            "t20-in-force",
            "national-art20-in-force",
        ),
        (
            "art25-scope-and-purpose.cedar",
            "grant.items.containsAll(",
            "grant.items.containsAny(",
            "t25-scope",
            "national-art25-scope",
        ),
    ],
)
def test_a_bent_policy_is_refuted_by_a_use_that_is_permitted(
    tools: Tools, tmp_path: Path, file: str, old: str, new: str, theorem: str, policy: str
) -> None:
    """The row that is told is a case of a table: only under the bent policies nothing national stands in its way."""
    root = bent(tmp_path, file, old, new)
    (proof,) = prove(read_set(root, ["national"]), tools, only=[theorem])
    assert proof.result == "refuted"
    assert proof.case is not None
    assert proof.case.lines
    before = run_case(load_layers(ROOT, ["national"]), read_case("t", {}, proof.case.row)).verdict
    after = run_case(load_layers(root, ["national"]), read_case("t", {}, proof.case.row)).verdict
    assert before is not None
    assert after is not None
    assert policy in before.policies
    assert policy not in after.policies


def test_a_bent_power_is_refuted_by_an_act_that_is_permitted(tools: Tools, tmp_path: Path) -> None:
    """Without the role, whoever belongs to the department could stop its data's sharing."""
    root = bent(
        tmp_path,
        "officers-art11-supplier.cedar",
        'when { principal.roles.contains(Role::"supplier") }\nwhen { resource has supplier',
        "when { resource has supplier",
    )
    (proof,) = prove(read_set(root, ["national"]), tools, only=["t27-who-stops"])
    assert proof.case is not None
    case = read_case("t", {}, proof.case.row)
    assert run_case(load_layers(root, ["national"]), case).fault.startswith("expected the denial `act-not-permitted`")
    assert run_case(load_layers(ROOT, ["national"]), case).fault == ""


def test_a_layer_that_opens_everything_breaks_national_theorems(tools: Tools, tmp_path: Path) -> None:
    root = root_with(tmp_path, extra=note("opening") + "permit (principal, action, resource);")
    found = prove(read_set(root, ["national", "extra"]), tools, only=OPENED)
    assert {one.subject: one.result for one in found} == {
        "t27-who-lifts": "refuted",
        "t3-secrets": "proved",
        "t8-competent-power": "refuted",
    }


def test_vain_policies_are_refuted(tools: Tools, tmp_path: Path) -> None:
    """One that nothing satisfies, one that others cover, and one that can err."""
    use = 'principal, action in Action::"use", resource'
    suspended = 'context.grant.state == GrantState::"suspended"'
    rules = (
        note("void")
        + f'forbid ({use}) when {{ context.purpose == "a" && context.purpose == "b" }};'
        + note("covered", '@refusal("suspended")')
        + f"forbid ({use}) when {{ context has grant && {suspended} && context.now > 5 }};"
        + note("errs")
        + f"forbid ({use}) when {{ context.now + 3600 > 7 }};"
    )
    found = prove(
        read_set(root_with(tmp_path, extra=rules), ["national", "extra"]), tools, only=["void", "covered", "errs"]
    )
    refuted = {(one.subject, one.statement) for one in found if one.result == "refuted"}
    assert refuted == {
        ("void", "can-matter"),
        ("covered", "says-more"),
        ("void", "says-more"),
        ("errs", "never-errors"),
    }


def test_an_answer_that_is_none_is_not_proved(tools: Tools) -> None:
    broken = msgspec.structs.replace(tools, cvc5="/bin/false")
    (proof,) = prove(read_set(ROOT, ["national"]), broken, only=["t3-secrets"])
    assert proof.result == "unknown"


def test_two_sets_are_compared_over_all_requests(tools: Tools, tmp_path: Path) -> None:
    """Grade 3 without a bound credential: wider for uses, equal for acts, with an example."""
    new = read_set(bent(tmp_path, "art34-35-grades.cedar", 'Grade::"3", ', ""), ["national"])
    found = {one.action: one for one in compare_all(read_set(ROOT, ["national"]), new, tools)}
    assert found["query"].change == "wider"
    assert found["query"].gained is not None
    assert "grade 3" in "\n".join(found["query"].gained.lines)
    assert found["suspend"].change == "equal"


def test_the_command_tells_and_fails_on_anything_but_proved(tools: Tools, tmp_path: Path) -> None:
    runner = CliRunner()
    assert tools.cedar
    good = runner.invoke(policies, ["prove", "--layer", "national", "--theorem", "t3-secrets"])
    assert good.exit_code == 0, good.output
    assert "1 of 1 theorems proved" in good.output
    root = bent(tmp_path, "art34-35-grades.cedar", "context.assurance < 2", "context.assurance < 1")
    bad = runner.invoke(
        policies, ["prove", "--root", str(root), "--layer", "national", "--theorem", "t35-bound-credential"]
    )
    assert bad.exit_code == 1
    assert "REFUTED  t35-bound-credential" in bad.output
    assert "as a row of a decision table" in bad.output
