"""For whoever writes a layer: one to begin with, what its tables show, Cedar's layout, a report for build servers."""

import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import cedarpy
import pytest
import yaml
from typer.testing import CliRunner

from gateway.cli.policies import policies
from gateway.policy.law.layers import default_policies_root
from gateway.policy.law.positions import comments
from gateway.policy.offline.writing import laid_out

BOTH = ("--layer", "national", "--layer", "sz")
GRADE = 'when { ((resource.dataset).grade) == Grade::"2" }'
ASSURANCE = "when { (context.assurance) < 2 }"
RULE = "sz-art35-bound-download"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(policies, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A policies root with the shipped national layer and a new one, `sz`."""
    root = tmp_path / "law"
    assert run("new", "sz", "--root", str(root))[0] == 0
    return root


def coverage(root: Path) -> dict[str, object]:
    """What the layer's own tables show; the national ones take their time."""
    shutil.rmtree(root / "national/tests", ignore_errors=True)
    status, said = run("test", "--root", str(root), *BOTH, "--coverage", "--json")
    assert status == 0
    return next(one for one in json.loads(said)["coverage"] if one["layer"] == "sz")


def test_a_new_layer_passes_its_check(root: Path) -> None:
    """It can be put to a gateway as it is, and its table shows all of it."""
    status, said = run("check", "--root", str(root), *BOTH)
    assert (status, ": sound" in said) == (0, True)
    assert coverage(root) == {"layer": "sz", "policies": 1, "conditions": 2, "undecided": [], "unshown": []}
    assert (
        laid_out((root / "sz/art35-first-rule.cedar").read_text()) == (root / "sz/art35-first-rule.cedar").read_text()
    )


def test_a_new_layer_of_a_region_acts_on_that_region_alone(root: Path) -> None:
    """It says so in `layer.yaml`, and its table shows what is of another region."""
    assert run("new", "hk", "--root", str(root), "--region", "820000")[0] == 0
    assert (root / "hk/layer.yaml").read_text() == 'region: "820000"\n'
    both = ("--layer", "national", "--layer", "hk")
    status, said = run("check", "--root", str(root), *both)
    assert (status, ": sound" in said) == (0, True)
    assert run("test", "--root", str(root), *both)[0] == 0
    for region in ("000000", "82", "hongkong"):
        assert run("new", "other", "--root", str(root), "--region", region)[0] == 1
    assert not (root / "other").exists()


def test_a_second_layer_goes_beside_the_first(root: Path) -> None:
    """In a folder of layers nothing that stands there is touched."""
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    status, said = run("new", "gz", "--root", str(root), "--json")
    assert (status, json.loads(said)["layers"]) == (0, ["national", "gz"])
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.parametrize(
    ("name", "names"),
    [("sz", "is there already"), ("national", "no name for a new layer"), ("../out", "no name"), ("", "no name")],
)
def test_a_name_that_cannot_be_a_new_layers_is_refused(root: Path, name: str, names: str) -> None:
    before = sorted(root.parent.rglob("*"))
    status, said = run("new", name, "--root", str(root))
    assert (status, names in said) == (1, True), said
    assert sorted(root.parent.rglob("*")) == before


def test_a_layer_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up leaves nothing that the next try stumbles over; nor does who makes the same at once."""

    def is_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(shutil, "copytree", is_full)
        assert run("new", "sz", "--root", str(tmp_path / "law"))[0] == 1
    assert list(tmp_path.iterdir()) == []
    true = shutil.copytree

    def is_late(*given: Any, **more: Any) -> None:
        true(*given, **more)
        (tmp_path / "law/national").mkdir(parents=True, exist_ok=True)

    with monkeypatch.context() as late:
        late.setattr(shutil, "copytree", is_late)
        status, said = run("new", "sz", "--root", str(tmp_path / "law"))
    assert (status, "was made meanwhile" in said) == (1, True)
    assert [each.name for each in tmp_path.iterdir()] == ["law"]


def test_a_folder_of_other_things_gets_no_layer(tmp_path: Path) -> None:
    status, said = run("new", "sz", "--root", str(tmp_path))
    assert (status, "holds no `schema.cedarschema`" in said) == (1, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("left_out", "undecided", "unshown"),
    [
        ("one that is bound", [], [[RULE, ASSURANCE]]),
        ("nor is data of grade 1", [], [[RULE, GRADE]]),
        ("a plain token", [RULE], []),
        ("a query", [], []),
    ],
)
def test_coverage_names_what_no_case_shows(
    root: Path, left_out: str, undecided: list[str], unshown: list[list[str]]
) -> None:
    """A condition is shown by a case that fails by it alone; who leaves that case out is told the condition."""
    table = root / "sz/tests/first-rule.yaml"
    document = yaml.safe_load(table.read_text())
    kept = [case for case in document["cases"] if not case["case"].startswith(left_out)]
    assert len(kept) == len(document["cases"]) - 1
    table.write_text(yaml.safe_dump({**document, "cases": kept}))
    found = coverage(root)
    assert (found["undecided"], found["unshown"]) == (undecided, unshown)
    _, said = run("test", "--root", str(root), *BOTH, "--coverage")
    told = [f"{RULE}: decides no case"] if undecided else [f"fails by this alone: {text}" for _, text in unshown]
    assert all(each in said for each in told)


def test_the_shipped_layers_are_shown_by_their_tables() -> None:
    """A layer's policies are shown by its own tables and by those of the layers on it; one that no case can show stands
    behind what the directory itself refuses, and a theorem holds it."""
    status, said = run("test", "--coverage", "--json")
    assert status == 0
    found = {one["layer"]: one for one in json.loads(said)["coverage"]}
    assert {name: one["undecided"] for name, one in found.items()} == {
        "national": ["national-art20-named-department"],
        "convergence": [],
        "zhongshan": [],
    }
    for one in found.values():
        assert one["conditions"] > len(one["unshown"])
        # What only lets the rest be read is no condition.
        assert not [text for _, text in one["unshown"] if re.fullmatch(r"when \{ \(?\S+?\)? has \w+ \}", text)]


@pytest.mark.parametrize(
    "file", sorted(default_policies_root().rglob("*.cedar")), ids=lambda file: f"{file.parent.name}/{file.name}"
)
def test_layout_changes_nothing_that_is_said(file: Path) -> None:
    """Policies and comments stay, and what is laid out once stays as it is."""
    text = file.read_text()
    once = laid_out(text)
    assert cedarpy.policies_to_json_str(once) == cedarpy.policies_to_json_str(text)
    assert comments(once) == comments(text)
    assert laid_out(once) == once
    assert once.split("\n\n")[0] == text.split("\n\n")[0], "what is said of the file stays apart"


@pytest.mark.parametrize(
    "made", ["permit (principal, action, resource);", "// why\npermit (principal, action, resource) when { 1 == 1 };"]
)
def test_a_layout_that_says_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    """Should the formatter ever lose a comment or change a policy, the file stays as it was."""
    file = tmp_path / "a.cedar"
    file.write_text("// why\npermit(principal,action,resource);")
    before = file.read_text()
    monkeypatch.setattr(cedarpy, "format_policies", lambda *_: made)
    status, said = run("fmt", str(file))
    assert (status, file.read_text()) == (1, before)
    assert "would change what the policies say" in said


def test_files_are_laid_out_where_asked(tmp_path: Path) -> None:
    """`--check` writes nothing; a file keeps its mode; what is no Cedar is told by its place, and nothing written."""
    crooked = tmp_path / "a.cedar"
    crooked.write_text('// of the file\n\n@id("x")permit(principal,action,resource);')
    crooked.chmod(0o640)
    before = crooked.read_text()
    status, said = run("fmt", "--check", str(tmp_path))
    assert (status, crooked.read_text()) == (1, before)
    assert "would write" in said
    broken = tmp_path / "b.cedar"
    broken.write_text("permit(principal, action, resource)，")
    status, said = run("fmt", str(tmp_path))
    assert (status, crooked.read_text()) == (1, before)
    assert "b.cedar:1:36" in said
    broken.unlink()
    assert run("fmt", str(tmp_path))[0] == 0
    assert crooked.read_text() == '// of the file\n\n@id("x")\npermit (principal, action, resource);\n'
    assert crooked.stat().st_mode & 0o777 == 0o640
    assert run("fmt", "--check", str(tmp_path))[0] == 0


def test_what_cannot_be_laid_out_is_told(tmp_path: Path) -> None:
    """A file that is not there or no text, a folder with nothing to lay out; a link stays one."""
    for name, content in (("x.cedar", b"\xff"), ("bom.cedar", "\ufeffpermit(principal, action, resource);".encode())):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "empty").mkdir()
    for name, said in (
        ("x.cedar", "is not UTF-8: byte 0"),
        ("bom.cedar", "bom.cedar:1:1"),
        ("empty", "holds no `*.cedar`"),
        ("none.cedar", "cannot be read"),
    ):
        status, told = run("fmt", str(tmp_path / name))
        assert (status, said in told) == (1, True), told
    rule, link = tmp_path / "rule.txt", tmp_path / "link.cedar"
    rule.write_text("permit(principal,action,resource);")
    link.symlink_to("rule.txt")
    assert run("fmt", str(link))[0] == 0
    assert link.is_symlink()
    assert rule.read_text() == "permit (principal, action, resource);\n"


def test_what_came_out_is_written_for_build_servers(root: Path) -> None:
    """One suite a table, each case by its name; a fault of a case is its failure, whatever signs it holds."""
    shutil.rmtree(root / "national/tests")
    (root / "sz/tests/wrong.yaml").write_text(
        'layers: [national, sz]\ncases:\n  - {case: "all <is> \\x07 well", expect: not-granted}\n'
    )
    report = root.parent / "report.xml"
    assert run("test", "--root", str(root), *BOTH, "--junit", str(report))[0] == 1
    suites = {suite.get("name"): suite for suite in ET.parse(report).getroot()}
    wrong = suites["sz/tests/wrong.yaml"]
    assert (wrong.get("tests"), wrong.get("failures")) == ("1", "1")
    (case,) = wrong
    assert case.get("name") == "all <is> \ufffd well"
    assert "expected the denial `not-granted`" in str(case[0].get("message"))
    status, said = run("test", "--root", str(root), *BOTH, "--junit", str(root / "none/report.xml"))
    assert (status, "is no folder" in said) == (1, True)
    first = suites["sz/tests/first-rule.yaml"]
    assert (first.get("tests"), first.get("failures"), len(first)) == ("4", "0", 4)
