"""The decision tables beside the policies come out as they say, and a wrong table is found."""

from pathlib import Path

import pytest
import yaml

from gateway.domain.errors import GatewayError
from gateway.policy.law.layers import read_set
from gateway.policy.offline.tables import Case, read_tables, run_case, run_tables
from tests.policies.cases import NATIONAL, ROOT, ZHONGSHAN
from tests.policies.layering import root_with

SHIPPED = read_set(ROOT, ("national", "zhongshan"))
TABLES = read_tables(SHIPPED)
CASES = [(table.layers, case) for table in TABLES for case in table.cases]


@pytest.mark.parametrize(("layers", "case"), CASES, ids=[f"{case.table}: {case.name}" for _, case in CASES])
def test_case(layers: tuple[str, ...], case: Case) -> None:
    loaded = NATIONAL if layers == ("national",) else ZHONGSHAN
    assert run_case(loaded, case).fault == ""


def test_every_static_policy_but_one_that_no_denial_names_stands_in_some_case() -> None:
    """A policy that no case shows is a rule nobody has read an example of."""
    shown = {
        name
        for table in TABLES
        for outcome in run_tables(SHIPPED, [table], NATIONAL if table.layers == ("national",) else ZHONGSHAN)
        if outcome.verdict is not None
        for name in outcome.verdict.policies
    }
    # A grant of another department is named to nobody, and neither is the rule that stops it.
    assert set(ZHONGSHAN.policies) - shown == {"national-art20-named-department"}


def table_with(tmp_path: Path, text: str) -> list[str]:
    root = root_with(tmp_path, national={"tests/extra.yaml": text})
    found = read_set(root, ("national",))
    tables = [table for table in read_tables(found) if table.file.endswith("extra.yaml")]
    return [outcome.fault for outcome in run_tables(found, tables)]


@pytest.mark.parametrize(
    ("expect", "fault"),
    [
        ("permit", ""),
        ("not-granted", "expected the denial `not-granted`, got a permit"),
        ("{under: G2}", "expected grant `G2`, got `G1`"),
        ("{items: [address]}", "expected the items ['address'], got ['name']"),
        ("{by: [national-art3-secrets]}", "expected ['national-art3-secrets'] among the determining"),
        ("{masks: {name: hash}}", "expected the masks {'name': 'hash'}, got {}"),
    ],
)
def test_a_case_that_comes_out_otherwise_is_said(tmp_path: Path, expect: str, fault: str) -> None:
    (found,) = table_with(tmp_path, f"layers: [national]\ncases:\n  - case: a case\n    expect: {expect}\n")
    assert found.startswith(fault)
    assert bool(found) is bool(fault)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "layers: [national]",
        "layers: [national]\ncases:\n  - case: no expectation\n",
        "layers: [national]\ncases:\n  - {case: a, expect: permit, grnat: {}}\n",
        "layers: [national]\ncases:\n  - {case: a, expect: {denied: x}}\n",
        "layers: [\n",
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(GatewayError, match="is no decision table"):
        table_with(tmp_path, text)


def test_a_case_that_cannot_be_put_says_so(tmp_path: Path) -> None:
    text = "layers: [national]\ncases:\n  - {case: a, dataset: {grade: high}, expect: permit}\n"
    (found,) = table_with(tmp_path, text)
    assert found.startswith("cannot be put to the policies")


def test_tables_read_like_sentences() -> None:
    for table in TABLES:
        assert table.about
        for case in table.cases:
            assert case.name == case.name.strip()
            assert len(case.name) > 10
        names = [case.name for case in table.cases]
        assert len(names) == len(set(names))
        assert yaml.safe_load((ROOT / table.file).read_text(encoding="utf-8"))
