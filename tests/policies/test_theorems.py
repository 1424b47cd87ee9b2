"""Sentences of the law are stated as theorems, and a check says where one is missing or badly said; no solver runs."""

from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.domain.policies import PolicySet
from gateway.policy.law.articles import read_articles
from gateway.policy.law.layers import read_set
from gateway.policy.offline.checking import check
from gateway.policy.offline.tables import read_case, run_case
from gateway.policy.proofs.counterexamples import parse_counterexample, table_row, told
from gateway.policy.proofs.questions import theorem_faults
from gateway.policy.proofs.solver import find_tools
from gateway.policy.proofs.theorems import read_theorems
from gateway.runtime.operation.law import law_page
from tests.policies.cases import NATIONAL, ROOT
from tests.policies.layering import note, root_with

THEOREM = """
- id: {id}
  article: "Decree 809 Art. 25 ¶1"
  sentence: A sentence.
  sentence_zh: 一句话。
"""


def found(root: Path, *layers: str) -> list[tuple[str, str, str]]:
    return [(one.kind, one.subject, one.what) for one in check(root, ["national", *layers]).findings]


def test_every_article_that_a_policy_upholds_has_a_theorem() -> None:
    """In all layers; a theorem is named by each article that it states."""
    stated = {name: set(row.theorems) for name, row in read_articles(ROOT).items()}
    every = read_theorems(read_set(ROOT, ["national", "convergence", "zhongshan"]))
    theorems = [one for one in every if not one.comes_along]
    assert len(theorems) >= 70
    assert {one.id for one in theorems} == set().union(*stated.values())
    assert all(one.id in stated[article] for one in theorems for article in one.articles)


def test_an_article_without_its_theorem_is_a_fault(tmp_path: Path) -> None:
    root = root_with(tmp_path)
    articles = root / "articles.yaml"
    articles.write_text(articles.read_text("utf-8").replace("  theorems: [t3-secrets]\n", ""), "utf-8")
    kinds = {(kind, subject) for kind, subject, _ in found(root)}
    assert kinds == {("theorem", "Decree 809 Art. 3"), ("theorem", "t3-secrets")}


@pytest.mark.parametrize(
    ("claim", "fault"),
    [
        ("claim: context.grant.items.isEmpty()", "optional attribute"),
        ('claim: context.purpos != "x"', "not found"),
        ("claim: 'resource.dataset.grade == Grade::\"5\"'", "not declared"),
        ("claim: 'context.purpose =='", "does not parse"),
        ('claim: "true }; permit (principal, action, resource) when { true"', "more than one expression"),
    ],
)
def test_a_claim_that_does_not_fit_the_schema_is_a_fault(claim: str, fault: str) -> None:
    """An attribute that may be absent, one that always is, a word of no list, no expression, two of them."""
    (theorem,) = read_theorems(PolicySet(("extra",), {"extra/theorems.yaml": _theorem(claim)}))
    told_of = theorem_faults(NATIONAL, theorem)
    assert any(fault in what for what in told_of), told_of


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("claim: 'true'\n  actions: [querry]", "no such actions"),
        ("claim: 'true'\n  abuot: acts", "abuot"),
        ("claim: 'true'\n  about: acts\n  under: grant", "under no grant"),
        ("about: uses", "claim"),
    ],
)
def test_what_is_no_theorem_is_refused(more: str, fault: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_theorems(PolicySet(("extra",), {"extra/theorems.yaml": _theorem(more)}))
    assert fault in str(caught.value.members["faults"])


def _theorem(more: str) -> str:
    return THEOREM.format(id="t-extra") + f"  {more}\n"


@pytest.mark.parametrize(
    "opening",
    [
        "permit (principal, action, resource);",
        'permit (principal is Officer, action in Action::"act", resource);',
    ],
)
def test_a_layer_that_gives_officers_what_national_law_denies_is_not_sound(tmp_path: Path, opening: str) -> None:
    kinds = {kind for kind, _, _ in found(root_with(tmp_path, extra=note("opening") + opening), "extra")}
    assert "widened" in kinds


def test_the_national_layer_cannot_be_left_out() -> None:
    assert any("`national`" in one.what for one in check(ROOT, ["zhongshan"]).findings)
    assert any("`national`" in one.what for one in check(ROOT, ["zhongshan", "national"]).findings)


def test_where_the_programs_are_missing_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CEDAR", "CVC5"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    with pytest.raises(GatewayError) as caught:
        find_tools()
    assert "cargo install cedar-policy-cli" in caught.value.detail
    assert "cvc5" in caught.value.detail


USE = """principal: System::"s", action: Action::"query", resource: Interface::"i"
context: {assurance: 0, declared: [], grant: Grant::"g", guessable: [], items: ["a, b"], minuteOfDay: 0, \
mode: Mode::"query", now: -5, parameters: [], purpose: "p", unread: []}
entities: [
  Department::"d" {
    competent: false,
    ended: false,
    level: Level::"city",
    matters: [],
    region: Region::"r",
  },
  Region::"r",
  System::"s" in [Department::"d"] {
    department: Department::"d",
  },
  Dataset::"x" {
    attribute: SharingAttribute::"conditional",
    classification: Classification::"population",
    grade: Grade::"4",
    items: ["a, b"],
    modes: [],
    purposes: [],
    sensitive: [],
    state: EntryState::"released",
    supplier: Department::"d",
  },
  Interface::"i" in [Dataset::"x"] {
    dataset: Dataset::"x",
    modes: [Mode::"query"],
  },
  Grant::"g" {
    combination: [],
    constrained: false,
    dataset: Dataset::"x",
    department: Department::"d",
    items: ["a, b"],
    modes: [Mode::"query"],
    purposes: ["p"],
    returnFlow: false,
    state: GrantState::"issued",
  },
]"""


def test_a_counterexample_is_told_as_a_case_and_as_a_row_of_a_table() -> None:
    """The row, as it stands, is a case that is put to the policies; here national law denies it by the grade."""
    counterexample = parse_counterexample(USE)
    assert counterexample.context["now"] == -5
    assert counterexample.of(counterexample.resource, "dataset", "grade") == 'Grade::"4"'
    english = "\n".join(told(counterexample))
    assert "grade 4" in english
    assert "under grant g, which is issued" in english
    assert "等级 4" in "\n".join(told(counterexample, chinese=True))
    row = table_row(counterexample, "a case")
    outcome = run_case(NATIONAL, read_case("table", {}, row))
    assert outcome.verdict is not None, outcome.fault
    assert "national-art35-grade" in outcome.verdict.policies


def test_the_page_of_the_law_says_what_was_proved_and_what_was_not_since(tmp_path: Path) -> None:
    """Each sentence stands there in both languages; a policy that was changed since is no longer said to be proved."""
    page = law_page()
    assert all(one.sentence in page and one.sentence_zh in page for one in read_theorems(read_set(ROOT, ["national"])))
    assert "not proved since a change" not in page
    changed = law_page(root_with(tmp_path, zhongshan={"another.cedar": note("another") + USE_OF_NOTHING}))
    (row,) = (line for line in changed.splitlines() if "not proved since a change" in line)
    assert row.startswith("| national + zhongshan |")


USE_OF_NOTHING = 'forbid (principal, action in Action::"use", resource) when { context.purpose == "nothing" };'
