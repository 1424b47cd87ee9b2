"""Each matter of authority is shown by cases that a lawyer reads: at least two, across layers, regions and levels."""

import re
from collections.abc import Mapping

import pytest

from gateway.policy.law.layers import read_set
from gateway.policy.offline.tables import Case, Outcome, read_tables, run_tables
from tests.policies.cases import ROOT

LEAST = 150
"""Cases in all: fewer would leave some matter to one example."""

MATTERS: Mapping[str, str] = {
    "a role is worth what its holder's department is": r"national-art8-(own-region|directory|policies)",
    "roles that must not meet in one person": r"national-art(10-keeper-apart|21-two-persons|20-two-persons)"
    r"|national-art(29-watchers-apart|36-operator-reads-nothing|10-nobody-appoints-oneself)",
    "who protects is not who releases": r"national-art27-(who-stopped-lifts|above-both-lifts)"
    r"|national-art27-(competent-stops|supplier-stops)",
    "disputes are settled above both sides": r"national-art28-(above-both-settles|no-party-settles)"
    r"|national-art28-no-lower-level-settles",
    "a stop reaches every road": r"order:.*",
    "rights without a grant have a grant's limits": r"national-art(25-own-matter|29-declared|20-decided)"
    r"|zhongshan-art22-hours",
    "what is verified is not guessed": r"national-art25-(no-guessing|one-person)",
    "parameters are limited wherever they stand": r"national-art25-nothing-unread|parameters-not-granted",
    "classes are a closed list, and secrets are none": r"national-art(13-known-class|3-secrets)",
    "what is drawn together leaks": r"convergence-.*|national-art25-combination",
    "approvals are acts, on both sides, and for a time": r"national-art20-(demand-first|time-limit|settled-limit)"
    r"|national-art21-(on-paper|supplier-replies)",
    "data returns from above to below": r"national-art24-(downward|lower-level-asks|higher-level-returns)",
    "what is withdrawn gives nothing until it is released": r"national-art16-released",
    "a refusal names the condition that failed": r"outside-hours|grant-not-yet-valid|grant-expired|system-not-granted"
    r"|mode-not-granted|purpose-not-granted",
    "what no grant reaches is told": r"national-art14-.*",
    "departments change": r"national-art17-.*",
    "with whom an entry may be shared": r"national-art15-.*",
    "a region's rule gives more than the decree": r"zhongshan-art22-(unconditional|verify|provides-instead)"
    r"|zhongshan-art23-.*",
}
"""Matter -> ids of policies, or codes of refusals, by which its cases are known."""


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    found: dict[tuple[str, str], Outcome] = {}
    for layers in (["national", "zhongshan"], ["national", "convergence"]):
        policies = read_set(ROOT, layers)
        for outcome in run_tables(policies, read_tables(policies)):
            found[outcome.case.table, outcome.case.name] = outcome
    return list(found.values())


def shows(outcome: Outcome, known_by: str) -> bool:
    """Whether a case is decided by one of these policies, or refused with one of these codes."""
    verdict = outcome.verdict
    words = () if verdict is None else (*verdict.policies, verdict.code)
    return any(re.fullmatch(known_by, word) for word in words)


@pytest.mark.parametrize("matter", MATTERS)
def test_each_matter_has_cases(outcomes: list[Outcome], matter: str) -> None:
    shown = [outcome.case.name for outcome in outcomes if shows(outcome, MATTERS[matter])]
    assert len(shown) >= 2, shown


def test_the_cases_are_many_and_reach_across_regions_levels_and_layers(outcomes: list[Outcome]) -> None:
    """Two regions or levels in one case, a region's layer, and departments that were reorganised."""
    cases = [outcome.case for outcome in outcomes]
    assert len(cases) >= LEAST
    assert sum(map(is_across, cases)) >= 20
    assert sum(case.table.startswith("zhongshan/") for case in cases) >= 20
    assert sum("reorganis" in case.table or "succeeds" in str(case.facts) for case in cases) >= 10


def is_across(case: Case) -> bool:
    """Whether a case has sides of different regions or levels."""
    facts = case.facts
    if "act" in facts:
        regions = {facts["matter"].get("region"), facts["matter"].get("demand_region"), facts["officer"].get("region")}
        return len(regions - {None}) > 1
    return any(facts["department"].get(name) != facts["supplier"].get(name) for name in ("region", "level"))
