"""The table of articles and the citations hold together."""

import re
from pathlib import Path

import pytest

from gateway.policy.law.articles import citations, read_articles
from gateway.policy.live import building
from tests.policies.cases import ROOT, ZHONGSHAN

ARTICLES = read_articles(ROOT)
REPOSITORY = ROOT.parent
STATIC_CITATIONS = {article for policy in ZHONGSHAN.policies.values() for article in policy.articles}
BUILT_CITATIONS = set(citations(Path(building.__file__).read_text(encoding="utf-8")))


def is_cited(article: str) -> bool:
    return any(cited == article or cited.startswith((f"{article} ", f"{article}(")) for cited in STATIC_CITATIONS)


def cited_files() -> list[Path]:
    return [
        *sorted((REPOSITORY / "gateway").rglob("*.py")),
        *sorted(ROOT.rglob("*.cedar")),
        *sorted(ROOT.rglob("*.yaml")),
        ROOT / "schema.cedarschema",
    ]


@pytest.mark.parametrize("article", [name for name, row in ARTICLES.items() if row.at_call])
def test_every_article_enforceable_at_a_call_is_cited_by_a_policy(article: str) -> None:
    row = ARTICLES[article]
    if "policy" in row.enforced_by:
        assert is_cited(row.through or article)
    else:
        assert "built" in row.enforced_by
        assert article in BUILT_CITATIONS


LAST = {"Decree 809": 44, "Zhongshan": 42}
"""The number of the last article of each text."""


@pytest.mark.parametrize("law", LAST)
def test_every_article_of_both_texts_stands_in_the_table(law: str) -> None:
    """Each with what upholds it, or with why nothing does, and never with both."""
    numbers = (re.match(rf"{law} Art\. (\d+)", name) for name in ARTICLES)
    assert {int(found[1]) for found in numbers if found} == set(range(1, LAST[law] + 1))
    assert [name for name, row in ARTICLES.items() if bool(row.why) is bool(row.enforced_by)] == []


def test_every_citation_in_policies_and_code_exists_in_the_table() -> None:
    unknown = [
        f"{file.relative_to(REPOSITORY)}: {cited}"
        for file in cited_files()
        for cited in citations(file.read_text(encoding="utf-8"))
        if cited not in ARTICLES
    ]
    assert unknown == []


def test_every_article_of_a_static_policy_exists_in_the_table() -> None:
    assert set(ARTICLES) >= STATIC_CITATIONS


def test_what_is_said_to_be_enforced_by_a_clock_has_one() -> None:
    timed = {clock.article for clock in ZHONGSHAN.clocks_in("442000").values()}
    for layer in ("national",):
        timed |= set(citations((ROOT / layer / "clocks.yaml").read_text(encoding="utf-8")))
    for name, row in ARTICLES.items():
        if "clock" in row.enforced_by:
            assert any(cited == name or cited.startswith(f"{name} ") for cited in timed), name


def test_a_list_of_citations_is_read_one_by_one() -> None:
    text = "see Decree 809 Art. 27 ¶2, ¶3, 35 and Zhongshan Art. 22 ¶1; Decree 809 Art. 12 to 17, Art. 14(3)"
    assert list(citations(text)) == [
        "Decree 809 Art. 27 ¶2",
        "Decree 809 Art. 27 ¶3",
        "Decree 809 Art. 35",
        "Zhongshan Art. 22 ¶1",
        "Decree 809 Art. 12",
        "Decree 809 Art. 17",
        "Decree 809 Art. 14(3)",
    ]
