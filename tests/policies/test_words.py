"""Closed lists of words are types of the schema: what is in no list cannot be said, and older sets still decide."""

import re
from pathlib import Path

import pytest

from gateway.domain.directory import Department, Level
from gateway.domain.errors import GatewayError
from gateway.domain.grants import GrantState
from gateway.domain.officers import Act, Matter, Officer, Role
from gateway.policy import Layers, load_layers
from gateway.policy.law.words import WORDS, enumerations
from gateway.policy.law.world import FACTS
from gateway.policy.live.acts import decide_act
from gateway.policy.live.slices import Slice
from gateway.policy.offline.checking import check
from gateway.policy.offline.comparing import compare
from tests.policies.cases import NATIONAL, NOW, ROOT, call, dataset, grant, state
from tests.policies.layering import note, root_with
from tests.policies.test_comparing import Directory

USE = 'principal, action in Action::"use", resource'


def test_the_schema_lists_the_words_that_the_gateway_tells() -> None:
    assert enumerations((ROOT / "schema.cedarschema").read_text("utf-8")) == {
        kind: tuple(words) for kind, words in WORDS.items()
    }


@pytest.mark.parametrize(
    "condition",
    [
        'context has grant && context.grant.state == GrantState::"isued"',
        'resource.dataset.grade == Grade::"5"',
        'context.mode == Mode::"querry"',
        'resource.dataset.attribute == SharingAttribute::"secret"',
        'principal.department.level == Level::"village"',
        'resource.dataset.attribute == "conditional"',
        "resource.dataset.grade >= 3",
    ],
)
def test_a_word_that_is_in_no_list_cannot_be_said(tmp_path: Path, condition: str) -> None:
    text = note("extra") + f"forbid ({USE}) when {{ {condition} }};"
    with pytest.raises(GatewayError) as caught:
        load_layers(root_with(tmp_path, extra=text), ["national", "extra"])
    assert caught.value.members["faults"][0]["field"].startswith("extra/extra.cedar:")


@pytest.mark.parametrize(
    ("more", "by"),
    [
        ({"classification": "nonsense"}, "national-art13-known-class"),
        ({"classification": "机密★10年"}, "national-art3-secrets"),
        ({"grade": 9}, "national-art35-known-grade"),
        ({"grade": 0}, "national-art35-known-grade"),
    ],
)
def test_what_a_directory_holds_beside_the_lists_gives_nothing(more: dict[str, object], by: str) -> None:
    found = Slice(NATIONAL, state(dataset=dataset(**more))).evaluate(call(), NOW)
    assert not found.is_permit
    assert by in found.policies


def older(folder: Path) -> Layers:
    """A layer as it was written when words were strings and grades were numbers."""
    schema = (ROOT / "schema.cedarschema").read_text("utf-8")
    lists = r"^entity \w+ enum \[[^\]]*\];.*\n"
    strings = "|".join(kind for kind in WORDS if kind != "Grade")
    plain = re.sub(rf"\b({strings})\b", "String", re.sub(lists, "", schema, flags=re.MULTILINE))
    plain = re.sub(r"\bgrade: Grade\b", "grade: Long", plain)
    text = (
        note("stopped")
        + f'forbid ({USE}) when {{ context has grant && context.grant.state != "issued" }};'
        + note("graded")
        + f'forbid ({USE}) when {{ resource.dataset.grade >= 3 || context.mode != "query" }};'
        + note("closed")
        + f'forbid ({USE}) unless {{ resource.dataset.classification == "population" }};'
        + note("acts")
        + 'permit (principal is Officer, action == Action::"suspend", resource)'
        + ' when { principal.roles.contains("supplier") && principal.department.level == "city" };'
    )
    (folder / "national").mkdir()
    (folder / "national" / "older.cedar").write_text(text, "utf-8")
    (folder / "schema.cedarschema").write_text(plain, "utf-8")
    (folder / "articles.yaml").write_text((ROOT / "articles.yaml").read_text("utf-8"), "utf-8")
    return load_layers(folder, ["national"])


def test_a_set_that_was_put_in_force_before_words_were_types_still_decides(tmp_path: Path) -> None:
    """Uses, acts and what is compared with it: its words are told to it as it knows them."""
    layers = older(tmp_path)
    assert not layers.knows_words
    assert check(tmp_path, ["national"]).findings == ()
    assert Slice(layers, state()).evaluate(call(), NOW).is_permit
    stopped = state(grants=(grant(state=GrantState.SUSPENDED),))
    for case, by in ((stopped, "stopped"), (state(dataset=dataset(grade=3)), "graded")):
        found = Slice(layers, case).evaluate(call(), NOW)
        assert not found.is_permit
        assert by in found.policies
    unknown = Slice(layers, state(dataset=dataset(classification="nonsense"))).evaluate(call(), NOW)
    assert "closed" in unknown.policies
    officer, matter = Officer("officer", "police", "442000", (Role.SUPPLIER,)), Matter("police", None, "442000")
    home = Department("police", "", "442000", Level.CITY)
    assert decide_act(layers, officer, Act.SUSPEND, matter, NOW, home).is_permit
    assert not decide_act(
        layers, officer, Act.SUSPEND, matter, NOW, Department("police", "", "442000", Level.COUNTY)
    ).is_permit
    found = compare(layers, NATIONAL, Directory([grant()], [dataset(grade=3)]), NOW)
    assert {one.change for one in found.differences} <= {"gains"}
    lost = compare(NATIONAL, layers, Directory([grant()], [dataset(grade=3)]), NOW)
    assert lost.losing == ("g1",)


def test_every_word_that_is_told_is_in_its_list() -> None:
    for tell in (*FACTS["Dataset"].values(),):
        for grade in range(-1, 7):
            told = tell(dataset(grade=grade, classification=f"class {grade}"))
            for value in told if isinstance(told, list | tuple) else [told]:
                named = value.get("__entity") if isinstance(value, dict) else None
                if named is not None and named["type"] in WORDS:
                    assert named["id"] in WORDS[named["type"]]
