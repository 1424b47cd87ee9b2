"""A denial says which grants came near, what failed, by which article, and what to do; and tells nothing of others."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.domain.callers import Assurance
from gateway.domain.directory import Recipients, SharingMode
from gateway.domain.errors import PROBLEMS
from gateway.domain.grants import Hours
from gateway.domain.orders import Reach
from gateway.domain.verdicts import Explanation, Verdict
from gateway.policy.law.layers import Layers, load_layers
from gateway.policy.live.refusals import NEAR_LIMIT
from gateway.policy.live.slices import Slice
from tests.policies.cases import NATIONAL, NOON, NOW, ROOT, ZHONGSHAN, call, dataset, grant, order, state
from tests.policies.layering import note, root_with

CHINESE = re.compile(r"[\u4e00-\u9fff]")


def explained(the_state: Any = None, the_call: Any = None, layers: Any = NATIONAL) -> tuple[Verdict, Explanation]:
    verdict = Slice(layers, the_state or state()).evaluate(the_call or call(), NOW)
    assert verdict.explanation is not None
    return verdict, verdict.explanation


@pytest.mark.parametrize(
    ("changes", "asked", "failed", "word"),
    [
        ({}, {"purpose": "x"}, ("purpose",), "`marriage-registration`"),
        ({}, {"items": ("address", "name")}, ("items",), "does not give `address`"),
        ({}, {"mode": SharingMode.BATCH}, ("mode",), "`query`"),
        ({"systems": ("other",)}, {}, ("system",), "other systems"),
        ({"interfaces": ("b",)}, {}, ("interface",), "`police/b`"),
        ({"parameters": {"region": ("442000", "441900")}}, {}, ("parameters",), "`region=442000|441900`"),
        ({"assurance": Assurance.MTLS}, {}, ("assurance",), "bound to its sender"),
        ({"hours": Hours(0, 90)}, {}, ("hours",), "from 00:00 to 01:30"),
        ({"valid_until": NOON}, {}, ("time",), "until 2026-03-02T04:00:00+00:00"),
        ({"valid_until": NOON}, {"purpose": "x"}, ("purpose", "time"), "`marriage-registration`"),
    ],
)
def test_a_near_miss_says_what_failed_in_both_languages(
    changes: dict[str, Any], asked: dict[str, Any], failed: tuple[str, ...], word: str
) -> None:
    _, explanation = explained(state(grants=(grant(**changes),)), call(**asked))
    (near,) = explanation.near
    assert near.grant == "g1"
    assert near.failed == failed
    assert len(near.detail) == len(near.detail_zh) == len(failed)
    assert word in near.detail[0]
    assert all(CHINESE.search(sentence) for sentence in near.detail_zh)
    assert near.articles
    assert set(near.articles) <= set(explanation.articles)


def test_the_nearest_grant_comes_first_and_gives_the_code() -> None:
    grants = (
        grant("far", purposes=("a",), modes=(SharingMode.BATCH,), systems=("x",)),
        grant("near", items=("address",)),
        grant("nearer-but-ended", valid_until=NOON),
    )
    verdict, explanation = explained(state(grants=grants))
    assert [near.grant for near in explanation.near] == ["near", "nearer-but-ended", "far"]
    assert verdict.code == "items-not-granted"


def test_a_refusal_names_the_rules_that_forbid_in_both_languages() -> None:
    """Id, title and articles of each static policy that forbids the call; what it is refused with comes first."""
    _, explanation = explained(state(dataset=dataset(grade=3)), call(items=("address",), assurance=Assurance.BEARER))
    assert {rule.id for rule in explanation.rules} == {"national-art25-scope", "national-art35-grade"}
    verdict, explanation = explained(state(dataset=dataset(grade=3)), call(assurance=Assurance.BEARER))
    assert verdict.code == NATIONAL.policies[explanation.rules[0].id].refusal == "assurance-too-low"
    for rule in explanation.rules:
        policy = NATIONAL.policies[rule.id]
        assert (rule.title, rule.title_zh, rule.articles) == (policy.title, policy.title_zh, policy.articles)
        assert CHINESE.search(rule.title_zh)
        assert not CHINESE.search(rule.title)


@pytest.mark.parametrize("refusal", ["items-not-granted", "not-granted", "parameters-not-granted"])
def test_a_rule_that_forbids_what_is_granted_is_told_as_that_rule(tmp_path: Path, refusal: str) -> None:
    """Not as what the grant lacks, which is nothing; nor is the caller told to ask for what it has asked for."""
    rule = "forbid (principal, action, resource) when { context has grant };"
    verdict, explanation = explained(layers=layers_with(tmp_path, f'@refusal("{refusal}")', rule))
    assert (verdict.code, [each.id for each in explanation.rules]) == (refusal, ["extra"])
    assert explanation.next_step != PROBLEMS[refusal].advice
    assert "no grant permits" in explanation.next_step
    assert "任何授权" in explanation.next_step_zh
    for near in explanation.near:
        assert set(near.detail) <= {"A policy of a test"}


def test_an_entry_that_leaves_a_department_out_says_by_which_bound() -> None:
    """The rule's own sentence, not that of all four bounds together."""
    elsewhere = Recipients(regions=("990000",))
    _, explanation = explained(state(dataset=dataset(recipients=elsewhere)))
    title = NATIONAL.policies["national-art15-regions"].title
    assert explanation.near[0].failed == ("scope",)
    assert explanation.near[0].detail == (title,)


@pytest.mark.parametrize(("more", "zh"), [("", "come tomorrow"), ('@advice_zh("明日再来")', "明日再来")])
def test_a_rule_advises_in_its_own_words(tmp_path: Path, more: str, zh: str) -> None:
    """Whatever grants fail on besides: of the rule that the code is of, and in English where it has no Chinese."""
    rule = "forbid (principal, action, resource) when { context has grant };"
    words = f'@refusal("not-granted") @advice("come tomorrow") {more}'
    _, explanation = explained(layers=layers_with(tmp_path, words, rule))
    assert (explanation.next_step, explanation.next_step_zh) == ("come tomorrow", zh)
    _, explanation = explained(the_call=call(purpose="x"), layers=layers_with(tmp_path / "other", words, rule))
    assert explanation.next_step == PROBLEMS["purpose-not-granted"].advice


def layers_with(folder: Path, words: str, rule: str) -> Layers:
    """The national layer and one rule more, `extra`."""
    return load_layers(root_with(folder, extra=note("extra", words) + rule), ["national", "extra"])


def test_every_shipped_policy_has_its_title_in_both_languages() -> None:
    """A refusal to a Chinese reader never falls back to English; where there is advice, it too is in both."""
    for layers in (NATIONAL, ZHONGSHAN, load_layers(ROOT, ["national", "convergence"])):
        for policy in layers.policies.values():
            assert CHINESE.search(policy.title_zh), policy.id
            assert not policy.advice[0] or CHINESE.search(policy.advice[1]), policy.id


def test_at_most_five_grants_are_named() -> None:
    grants = tuple(grant(f"g{number}", purposes=("a",)) for number in range(9))
    assert len(explained(state(grants=grants))[1].near) == NEAR_LIMIT


def test_every_denial_says_what_to_do_next_in_both_languages() -> None:
    for the_state, the_call in (
        (state(), call(purpose="x")),
        (state(grants=()), call()),
        (state(dataset=None), call()),
        (state(), call(items=("blood_type",))),
        (state(orders=(order(),)), call()),
    ):
        verdict, explanation = explained(the_state, the_call)
        row = PROBLEMS[verdict.code]
        assert (explanation.next_step, explanation.next_step_zh) == (row.advice, row.advice_zh)


def test_a_suspension_is_explained_by_its_article_and_not_by_its_words() -> None:
    """An order on a dataset may concern other departments: its reason and officer are not told."""
    stop = order(reach=Reach.DATASET, target="d1", reason="misuse by the tax bureau", ordered_by="officer-secret")
    verdict, explanation = explained(state(orders=(stop,)))
    assert verdict.code == "suspended"
    assert "Decree 809 Art. 27 ¶2" in explanation.articles
    said = msgspec.json.encode(explanation).decode()
    assert "tax" not in said
    assert "officer" not in said


def test_nothing_of_other_departments_is_told() -> None:
    """Even where the state handed over a grant of another department, the explanation does not name it."""
    foreign = grant("foreign", department="tax", purposes=("tax-audit",), systems=("tax-system",))
    verdict, explanation = explained(state(grants=(foreign, grant("own", items=("address",)))))
    assert [near.grant for near in explanation.near] == ["own"]
    assert "tax" not in msgspec.json.encode(verdict).decode()


def test_no_values_what_the_caller_sent_is_not_repeated() -> None:
    sent = "442000199001011234"
    asked = call(purpose=sent, parameters=(("region", sent), (sent, "x")), system="s", items=("address",))
    limited = state(grants=(grant(parameters={"region": ("442000",)}),))
    for layers in (NATIONAL, ZHONGSHAN):
        verdict, _ = explained(limited, asked, layers)
        assert sent not in msgspec.json.encode(verdict).decode()


def test_what_stands_in_the_way_of_a_regional_right_is_told() -> None:
    """Without a grant, where the region permits the use, the denial names what forbids it."""
    free = state(grants=(), dataset=dataset(sharing_attribute="unconditional", grade=3))
    free = msgspec.convert(msgspec.to_builtins(free), type(free))
    assert explained(free, call(assurance=Assurance.BEARER), ZHONGSHAN)[0].code == "assurance-too-low"
    assert explained(free, call(assurance=Assurance.BEARER), NATIONAL)[0].code == "not-granted"
