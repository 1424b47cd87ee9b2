"""Layers are read whole or refused whole, with every fault named."""

import random
from pathlib import Path

import cedarpy
import msgspec
import pytest

from gateway.domain.directory import SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act
from gateway.policy import default_policies_root, load_layers
from gateway.policy.law.layers import ACT_ACTIONS, USE_ACTIONS
from gateway.policy.law.positions import parse_faults, statements
from gateway.policy.law.world import ACT_GROUPS, USE_GROUPS
from tests.policies.cases import NATIONAL, ROOT, ZHONGSHAN
from tests.policies.layering import note, root_with

PLAIN = 'forbid (principal, action in Action::"use", resource) when { context.purpose == "x" };'


def faults(root: Path, *layers: str) -> str:
    with pytest.raises(GatewayError) as caught:
        load_layers(root, layers)
    assert caught.value.code == "invalid-input"
    return "\n".join(f"{fault['field']}: {fault['fault']}" for fault in caught.value.members["faults"])


def test_the_shipped_layers_load() -> None:
    assert default_policies_root() == ROOT
    assert NATIONAL.names == ("national",)
    assert set(NATIONAL.policies) < set(ZHONGSHAN.policies)
    assert NATIONAL.digest != ZHONGSHAN.digest


def test_every_static_policy_has_id_article_and_title() -> None:
    for policy in ZHONGSHAN.policies.values():
        assert policy.id
        assert policy.articles
        assert policy.title
        assert policy.id.startswith(policy.layer)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PLAIN, "`a policy` has no `@id`, no `@article`, no `@title`"),
        ('@id("x") @title("x")\n' + PLAIN, "`x` has no `@article`"),
        ('@id("x") @title("x") @article(" ")\n' + PLAIN, "`x` has no `@article`"),
        (note("national-art3-secrets") + PLAIN, "`national-art3-secrets` is also in `national/art03-secrets.cedar`"),
        (note("x") + "forbid (", "does not parse"),
        (note("x") + "forbid (principal == ?principal, action, resource);", "holds a template"),
        (note("x") + PLAIN.replace("purpose", "aim"), "attribute `aim`"),
        (note("x", '@refusal("because")') + PLAIN, "refuses with `because`"),
        (note("x", '@mask("name=blur")') + PLAIN.replace("forbid", "permit"), "`@mask` is a list"),
        (note("x", '@mask("name=hash")') + PLAIN, "only a permit lets out"),
    ],
)
def test_a_faulty_file_is_refused_with_its_fault(tmp_path: Path, text: str, said: str) -> None:
    root = root_with(tmp_path, extra=text)
    assert said in faults(root, "national", "extra")
    assert load_layers(root, ["national"]).digest == NATIONAL.digest


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("permit (principal，action, resource);", "4:18", "`，` is fullwidth comma; write `,`"),
        ("permit (principal, action, resource) when { “x” == context.purpose };", "4:45", 'write `"`'),
        (
            'permit (principal, action, resource)\nwhen { context.purpose == "x };\n' + PLAIN,
            "5:27",
            "goes on over",
        ),
        ('permit (principal, action, resource)\nwhen { context.purpose == "x };\n', "5:27", "has no end"),
        ("permit (principal, action, resource)\nwhen { 1 == };", "5:14", "unexpected token `}`"),
        ("permit (principal, action, resource)\n" + note("y") + PLAIN, "5:1", "unexpected token `@`"),
        ("permit (principal, action, resource)\nwhen { true }", "5:13", "more is expected"),
        ("permit (principal, action, resource)\nwhen { knows(1) };", "5:8", "`knows` is not a valid function"),
        ("permit (principal, resource);", "4:20", "the variable `action` must be used"),
        ("permit (principal, action, resource)\nwhen { context.aim == 1 };", "5:16", "attribute `aim`"),
    ],
)
def test_a_fault_is_told_with_its_line_and_column(tmp_path: Path, text: str, place: str, said: str) -> None:
    """Cedar's binding says what is wrong and not where; behind two policies that are right, the third is told."""
    before = note("before") + "// “comment” ;\n" + PLAIN + "\n"
    lines = before.count("\n")
    root = root_with(tmp_path, extra=before + note("x") + text)
    line, _, column = place.partition(":")
    at = f"extra/extra.cedar:{lines + note('x').count(chr(10)) - 3 + int(line)}:{column}: "
    told = faults(root, "extra")
    assert [one for one in told.splitlines() if one.startswith(at) and said in one], told


def test_statements_are_counted_as_cedar_counts_policies() -> None:
    """So that a policy's number, which is all that validation tells, is its place."""
    for file in ROOT.rglob("*.cedar"):
        text = file.read_text(encoding="utf-8")
        read = msgspec.json.decode(cedarpy.policies_to_json_str(text))["staticPolicies"]
        written = statements(text)
        assert len(written) == len(read)
        assert all(written[int(key[6:])].bears_id(one["annotations"]["id"]) for key, one in read.items())


def test_every_broken_file_has_a_place_and_every_whole_one_none() -> None:
    """A token taken out, put in twice or before another: told where, exactly when Cedar does not take it."""
    chance = random.Random(24)
    text = (ROOT / "national/art20-22-grants.cedar").read_text(encoding="utf-8")
    tokens = [token for each in statements(text) for token in each.tokens]
    for _ in range(60):
        one, other = chance.choice(tokens), chance.choice(tokens)
        broken = text[: one.at] + chance.choice(["", one.text * 2, other.text + " "]) + text[one.end :]
        try:
            cedarpy.policies_to_json_str(broken)
        except ValueError:
            found = list(parse_faults(broken))
            assert found
            assert all(0 < at < len(broken) and said.startswith("does not parse: ") for at, said in found)
        else:
            assert not list(parse_faults(broken))


@pytest.mark.parametrize(
    "name",
    [
        "extra/more/b.cedar",
        "extra/B.CEDAR",
        "extra/clocks.yml",
        "extra/articles.yml",
        "extra/tests/b.yml",
        "extra/tests/more/b.yaml",
        "extra/rules.json",
        "articles.yml",
        "c.cedar",
    ],
)
def test_a_file_that_only_looks_as_if_it_were_read_is_refused(tmp_path: Path, name: str) -> None:
    """A forbid in it would hold nobody, in silence; notes, editors' copies and other layers do no harm."""
    root = root_with(tmp_path, extra=note("x") + PLAIN, other={"a.cedar": note("y") + PLAIN, "b.yml": ""})
    for beside in ("extra/README.md", "extra/.a.cedar.swp", "extra/.b.yml", "extra/a.cedar~", "proofs.json"):
        (root / beside).write_text("[]", encoding="utf-8")
    load_layers(root, ["extra"])
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(note("z") + PLAIN, encoding="utf-8")
    assert f"{name}: is read by nothing" in faults(root, "extra")


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    root = root_with(tmp_path, one=PLAIN, two=note("x") + "forbid (")
    said = faults(root, "one", "two", "three")
    for word in ("one.cedar", "two.cedar", "three: is no folder"):
        assert word in said


@pytest.mark.parametrize("layer", ["..", "../policies", "/etc", "", "national/tests"])
def test_a_layer_is_a_folder_of_the_root_and_nothing_else(layer: str) -> None:
    assert "is no folder with policies" in faults(ROOT, layer)


def test_no_layers_are_refused() -> None:
    assert "no layer is named" in faults(ROOT)


def test_a_regional_clock_replaces_the_national_one() -> None:
    national = NATIONAL.clocks_in(None)
    assert national["reply-conditional"].days == 10
    for region in ("442000", "442001"):
        assert ZHONGSHAN.clocks_in(region)["reply-conditional"].days == 5
        assert ZHONGSHAN.clocks_in(region)["reply-unconditional"] == national["reply-unconditional"]
    for region in (None, "440000", "440100", "000000", "no code"):
        assert ZHONGSHAN.clocks_in(region) == national


def test_faulty_clocks_are_refused(tmp_path: Path) -> None:
    root = root_with(tmp_path, extra={"a.cedar": note("x") + PLAIN, "clocks.yaml": "reply: {days: soon}"})
    assert "does not state clocks" in faults(root, "extra")


def test_the_action_groups_are_the_schemas() -> None:
    """The entities built for each call say of the actions what the schema says."""
    text = (ROOT / "schema.cedarschema").read_text(encoding="utf-8")
    schema = cedarpy.Schema.from_str(text)
    for groups, known in ((USE_GROUPS, USE_ACTIONS), (ACT_GROUPS, ACT_ACTIONS)):
        assert set(map(str, groups)) == set(known)
        entities = [
            {
                "uid": {"type": "Action", "id": str(action)},
                "attrs": {},
                "parents": [{"type": "Action", "id": group} for group in of],
            }
            for action, of in groups.items()
        ]
        cedarpy.Entities.from_json_str(msgspec.json.encode(entities).decode(), schema)
    assert {mode.value for mode in SharingMode} < {str(action) for action in USE_GROUPS}
    assert {act.value for act in Act} < set(ACT_GROUPS)
