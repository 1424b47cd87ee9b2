"""Each small change to a shipped policy is noticed by a case or a theorem, or says the same, as it is kept."""

import random

import pytest

from gateway.domain.errors import GatewayError
from gateway.policy.law.layers import SCHEMA_FILE
from gateway.policy.proofs.proving import Prover
from gateway.policy.proofs.solver import find_tools
from tests.mutants.policies import EQUIVALENT, SURVIVED, Judge, kept, sets

SAMPLED = 4
"""Changes that a theorem notices, tried again for each layer set."""


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_every_change_of_a_policy_is_noticed_by_its_case() -> None:
    """None survives, none is unjudged (`python -m tests.mutants.policies` judges anew), and each case still notices."""
    known = kept()
    judged = [
        (judge, mutant) for layer, policies in sets() for judge in [Judge(policies)] for mutant in judge.mutants(layer)
    ]
    assert {mutant.key for _, mutant in judged} == set(known)
    assert SURVIVED not in known.values()
    by_case = [(judge, mutant) for judge, mutant in judged if ".yaml: " in known[mutant.key]]
    assert len(by_case) > 500
    assert [mutant.key for judge, mutant in by_case if not judge.is_noticed_by(mutant, known[mutant.key])] == []


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_a_change_that_a_theorem_notices_is_refuted() -> None:
    """A few, always the same, and one that makes no difference."""
    try:
        tools = find_tools()
    except GatewayError as error:
        pytest.skip(error.detail)
    layer, policies = next(sets())
    judge, known = Judge(policies), kept()
    noticed = [one for one in judge.mutants(layer) if ".yaml: " not in known[one.key] and known[one.key] != EQUIVALENT]
    with Prover(tools, policies.files[SCHEMA_FILE]) as prover:
        for mutant in random.Random(1).sample(noticed, SAMPLED):
            assert judge.theorem_that_notices(prover, mutant) == known[mutant.key]
