"""`check` finds what does not load, comes out otherwise, cites nothing real, or can never matter."""

from pathlib import Path

import pytest

from gateway.domain.processes.register import clock_names
from gateway.policy.law.articles import read_articles
from gateway.policy.law.layers import read_set
from gateway.policy.offline.activating import set_faults
from gateway.policy.offline.checking import check
from gateway.policy.offline.tables import read_case
from tests.policies.cases import ROOT
from tests.policies.layering import note, root_with

USE = 'action in Action::"use"'


def found(tmp_path: Path, text: str) -> set[tuple[str, str]]:
    checked = check(root_with(tmp_path, extra=text), ["national", "extra"])
    assert not checked.is_sound
    return {(finding.kind, finding.subject) for finding in checked.findings}


def test_the_shipped_layers_are_sound() -> None:
    checked = check(ROOT, ["national", "zhongshan"])
    assert checked.findings == ()
    assert checked.is_sound
    assert checked.cases > 80


IDLE = {
    "idle-1": f"forbid (principal, {USE}, resource) when {{ context.assurance > 3 }};",
    "idle-2": (
        f'forbid (principal, {USE}, resource) when {{ resource.dataset.grade == Grade::"1" '
        '&& resource.dataset.grade == Grade::"2" };'
    ),
    "idle-3": f'forbid (principal, {USE}, resource) when {{ context.purpose == "a" && context.purpose == "b" }};',
    "idle-4": f"forbid (principal, {USE}, resource) when {{ resource.dataset.grade != resource.dataset.grade }};",
    "idle-5": (
        'permit (principal is Officer, action == Action::"lift", resource) '
        'when { principal.roles.contains(Role::"demand") && principal.roles.isEmpty() };'
    ),
}

RARE = {
    "rare-1": (
        f'forbid (principal, {USE}, resource) when {{ context.purpose == "a" '
        '&& resource.dataset.grade == Grade::"4" };'
    ),
    "rare-2": f'forbid (principal == System::"s9", {USE}, resource in Dataset::"d9");',
    "rare-3": f"forbid (principal, {USE}, resource) when {{ context.minuteOfDay == 17 }};",
    "rare-4": f'forbid (principal, {USE}, resource) when {{ context has grant && context.grant == Grant::"g9" }};',
    "rare-5": (
        'forbid (principal, action in Action::"obtain", resource) when { context has drawn && '
        'context.drawn.year.containsAll([Dataset::"a1", Dataset::"a2"]) };'
    ),
}


def test_a_policy_that_nothing_satisfies_is_found_and_a_rare_one_is_not(tmp_path: Path) -> None:
    rules = "\n".join(note(name) + rule for name, rule in {**IDLE, **RARE}.items())
    assert found(tmp_path, rules) == {("unreachable", name) for name in IDLE}


def test_vain_repeated_and_wrongly_cited_policies_are_found(tmp_path: Path) -> None:
    """A permit that is always overruled; a policy that says what another says; an article that is in no table."""
    known = '[SharingAttribute::"unconditional", SharingAttribute::"conditional"]'
    closed = f"unless {{ {known}.contains(resource.dataset.attribute) }};"
    cited = '@id("cited") @title("x") @article("Decree 809 Art. 99")\n'
    rules = (
        note("vain") + f'permit (principal is System, action in Action::"obtain", resource) {closed}',
        note("again") + f'forbid (principal, action in Action::"obtain", resource) {closed}',
        cited + f'forbid (principal, {USE}, resource) when {{ context.purpose == "x" }};',
    )
    expected = {("overruled", "vain"), ("twin", "again"), ("article", "cited")}
    assert found(tmp_path, "\n".join(rules)) == expected


def test_a_change_that_breaks_a_decision_table_is_found(tmp_path: Path) -> None:
    """The tables are run under the layers they name, as they stand in the checked root."""
    root = root_with(tmp_path)
    grades = root / "national" / "art34-35-grades.cedar"
    grades.write_text(grades.read_text(encoding="utf-8").replace('Grade::"3", ', ""), encoding="utf-8")
    kinds = {finding.kind for finding in check(root, ["national"]).findings}
    assert kinds == {"table"}


def test_what_does_not_load_is_found_and_not_raised(tmp_path: Path) -> None:
    assert {kind for kind, _ in found(tmp_path, "permit (")} == {"fault"}
    assert not check(tmp_path / "nowhere", ["national"]).is_sound
    (tmp_path / "policies/national/clocks.yml").write_text("", encoding="utf-8")
    (finding,) = check(tmp_path / "policies", ["national"]).findings
    assert (finding.kind, finding.subject) == ("fault", "national/clocks.yml")


OWN_LAW = """
- {article: Guangdong Art. 7, duty: nothing is drawn for trade, at_call: true, enforced_by: [policy], theorems: [t-own]}
"""
OWN_THEOREM = """
- id: t-own
  article: Guangdong Art. 7
  sentence: Nothing is drawn for trade.
  sentence_zh: 不用于经营。
  claim: 'context.purpose != "trade"'
"""
OWN_RULE = """@id("own") @article("Guangdong Art. 7") @title("No trade")
forbid (principal, action in Action::"use", resource) when { context.purpose == "trade" };"""


def test_a_layer_brings_the_articles_of_its_own_law(tmp_path: Path) -> None:
    """They are cited and stated as the others are; and no layer says anew what an article of another table asks."""
    own = {"a.cedar": OWN_RULE, "articles.yaml": OWN_LAW, "theorems.yaml": OWN_THEOREM}
    root = root_with(tmp_path, own=own)
    assert check(root, ["national", "own"]).findings == ()
    assert "Guangdong Art. 7" in read_articles(root)
    assert set_faults(read_set(root, ["national", "own"])) == []
    (root / "own/theorems.yaml").unlink()
    kinds = {(one.kind, one.subject) for one in check(root, ["national", "own"]).findings}
    assert kinds == {("theorem", "Guangdong Art. 7")}
    for text, what in (
        ("- {article: Decree 809 Art. 25, duty: x, at_call: true, enforced_by: []}", "an article has one row"),
        ("- {article: Guangdong Art. 7}", "is no table of articles"),
    ):
        (root / "own/articles.yaml").write_text(text, encoding="utf-8")
        (finding,) = check(root, ["national", "own"]).findings
        assert (finding.kind, finding.subject, what in finding.what) == ("fault", "own/articles.yaml:1:3", True)


CLOCKS = """
reply-unconditional: {days: 1, article: "Decree 809 Art. 21"}
reply-conditional: {days: 11, article: "Decree 809 Art. 21"}
directory-update: {days: 10, extension: 6, article: "Decree 809 Art. 17"}
replies-conditional: {days: 5, article: "Decree 809 Art. 21"}
sharing: {days: 5, article: "Decree 809 Art. 99"}
provision: {days: 30, article: "Zhongshan Art. 22 ¶2"}
"""


def test_a_period_that_means_nothing_or_is_longer_than_the_law_gives_is_found(tmp_path: Path) -> None:
    """A layer may shorten a clock of the decree, and state one that the decree has not."""
    rule = note("x") + f'forbid (principal, {USE}, resource) when {{ context.purpose == "nothing" }};'
    root = root_with(tmp_path, extra={"a.cedar": rule, "clocks.yaml": CLOCKS})
    found = {
        (one.subject.removeprefix("extra/clocks.yaml:"), one.kind, one.what)
        for one in check(root, ["national", "extra"]).findings
    }
    shorter = "a layer may only shorten a period"
    assert found == {
        (
            "3:1: reply-conditional",
            "clock",
            f"runs 11 working days, and nationally 10 working days and 10 more: {shorter}",
        ),
        (
            "4:1: directory-update",
            "clock",
            f"runs 10 working days and 6 more, and nationally 10 working days and 5 more: {shorter}",
        ),
        ("5:1: replies-conditional", "clock", f"is begun by no process; there are {', '.join(sorted(clock_names()))}"),
        ("6:1: sharing", "article", "cites `Decree 809 Art. 99`, which `articles.yaml` does not have"),
    }


def test_facts_that_no_policy_reads_are_named(tmp_path: Path) -> None:
    """An attribute of the schema counts as read where a policy of a layer, or one that is built, names it."""
    unread = check(ROOT, ["national"]).unread
    assert "Dataset.sensitive" in unread
    assert not {"Department.competent", "Grant.returnFlow", "Use.minuteOfDay", "Dataset.supplier"} & set(unread)
    read = "when { resource.dataset.sensitive.isEmpty() };"
    rule = f'permit (principal, action in Action::"obtain", resource) {read}'
    root = root_with(tmp_path, extra=note("extra") + rule)
    assert "Dataset.sensitive" not in check(root, ["national", "extra"]).unread
    assert "Use.drawn" in unread
    drawn = {path for path in check(ROOT, ["national", "convergence"]).unread if path.startswith("Use.drawn")}
    # By path: that rules read the month of the department alone says nothing of its family's.
    assert {"Use.drawn.family.month", "Use.drawn.year"} <= drawn
    assert not {"Use.drawn", "Use.drawn.month", "Use.drawn.family.week"} & drawn


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ({"call": {"purpos": "nothing"}, "expect": "permit"}, "call: purpos"),
        ({"drawn": {"months": []}, "expect": "permit"}, "drawn: months"),
        ({"drawn": {"famly": {"month": []}}, "expect": "permit"}, "drawn: famly.month"),
        ({"drawn": {"learnt": {"family": []}}, "expect": "permit"}, "drawn: learnt.family"),
        ({"act": "suspennd", "expect": "permit"}, "suspennd"),
    ],
)
def test_a_misspelt_name_in_a_case_is_refused(line: dict[str, object], named: str) -> None:
    """It would make the case come out right and test nothing."""
    with pytest.raises(ValueError, match=named):
        read_case("table", {}, {"case": "a case", **line})


def test_a_clause_that_is_too_deep_is_a_fault_of_its_policy(tmp_path: Path) -> None:
    clause = " || ".join(f'context.purpose == "p{number}"' for number in range(120))
    rule = f'forbid (principal, action in Action::"use", resource) when {{ {clause} }};'
    (finding,) = check(root_with(tmp_path, extra=note("deep") + rule), ["national", "extra"]).findings
    assert finding.subject == "extra/extra.cedar:2:1"
    assert "`deep` is nested too deeply" in finding.what
