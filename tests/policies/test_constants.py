"""Constants of a layer: put in their places with their types, and nothing that is unknown or only looks like one."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.domain.errors import GatewayError
from gateway.domain.policies import PolicySet
from gateway.policy.law.constants import read_constants, with_constants
from gateway.policy.law.layers import Layers, parse_layers, read_set
from gateway.policy.live.engine import Engine
from gateway.policy.live.slices import Slice
from gateway.policy.offline.activating import set_faults
from gateway.policy.proofs.kept import proof_digest
from gateway.policy.proofs.theorems import read_theorems
from tests.policies.cases import NOW, ROOT, call, grant, state
from tests.policies.layering import note

SET = read_set(ROOT, ["national"])
NAMES = ("national", "extra")
SCOPE = 'forbid (principal, action in Action::"use", resource)'


def files(constants: str, condition: str, **more: str) -> Mapping[str, str]:
    rule = f"{note('extra')} {SCOPE} when {{ {condition} }};"
    return {**SET.files, "extra/x.cedar": rule, "extra/constants.yaml": constants, **more}


def layers(constants: str, condition: str, **more: str) -> Layers:
    return parse_layers(files(constants, condition, **more), NAMES)


def faults(constants: str, condition: str = "true", **more: str) -> list[dict[str, Any]]:
    with pytest.raises(GatewayError) as refused:
        layers(constants, condition, **more)
    found: list[dict[str, Any]] = refused.value.members["faults"]
    return found


def code(of: Layers) -> str:
    return Slice(of, state(grants=(grant(),))).evaluate(call(), NOW).code


@pytest.mark.parametrize(
    ("stated", "condition"),
    [
        ("x: 600", 'context.minuteOfDay >= Constant::"x"'),
        ("x: -1", 'context.minuteOfDay > Constant::"x"'),
        ("x: marriage-registration", 'context.purpose == Constant::"x"'),
        ("x: [relief, marriage-registration]", 'Constant::"x".contains(context.purpose)'),
        ("x: true", 'Constant::"x"'),
        ("x: {Mode: query}", 'context.mode == Constant::"x"'),
        ("x: {Mode: [batch, query]}", 'Constant :: "x".contains(context.mode)'),
        ('x: "2026-01-01"', 'datetime(Constant::"x") < datetime("2026-01-02")'),
        ('x: "quote \\" and \\\\"', 'context.purpose != Constant::"x"'),
    ],
)
def test_a_constant_stands_for_its_value(stated: str, condition: str) -> None:
    """Of every kind that a policy can compare with; with another value the rule decides otherwise."""
    assert code(layers(stated, condition)) == "not-granted"
    assert code(layers(stated, f"!({condition})")) == ""


def test_a_wrong_type_is_a_fault_of_the_policy_that_uses_it() -> None:
    for stated, condition in (
        ("x: text", 'context.minuteOfDay >= Constant::"x"'),
        ("x: 5", 'Constant::"x".contains(context.purpose)'),
        ("x: {Mode: fly}", 'context.mode == Constant::"x"'),
        ("x: {Nothing: a}", 'context.mode == Constant::"x"'),
    ):
        (*_, fault) = faults(stated, condition)
        assert fault["field"].startswith("extra/x.cedar")


def test_an_unknown_name_is_a_fault_where_it_stands() -> None:
    (fault,) = faults("office-opens: 510", '\n  context.minuteOfDay < Constant::"office-open"')
    lines = files("", '\n  context.minuteOfDay < Constant::"office-open"')["extra/x.cedar"].splitlines()
    place = next(number for number, line in enumerate(lines, 1) if "Constant" in line)
    assert fault["field"] == f"extra/x.cedar:{place}:{lines[place - 1].index('Constant') + 1}"
    assert "`office-opens`" in fault["fault"]


def test_constants_are_of_their_own_layer_alone() -> None:
    """What another layer states decides nothing here, and overrides nothing."""
    rule = f"{note('other')} {SCOPE} when {{ context.assurance > 9 }};"
    other = {"other/constants.yaml": "x: 1", "other/o.cedar": rule}
    of = {**files("y: 1", 'context.assurance > Constant::"x"'), **other}
    with pytest.raises(GatewayError):
        parse_layers(of, ("national", "other", "extra"))


@pytest.mark.parametrize(
    "stated",
    [
        "x: 1.5",
        "x: 9223372036854775808",
        "x: 2026-01-01",
        "x: []",
        "x: [1, a]",
        "x: [true, 1]",
        "x: [[1]]",
        "x: {Mode: query, Level: city}",
        "x: {mode: query}",
        "x: {'Mode::\"a\" || Mode': b}",
        'x: "line\\nfeed"',
        "x: null",
        "X: 1",
        "x y: 1",
        "1: 1",
        "- x",
        "x: 1\nx: 2",
        "x: [",
    ],
)
def test_what_is_no_constant_is_a_fault(stated: str) -> None:
    """Nothing that could be read as more than one value, nor twice, nor come out as other Cedar than its value."""
    assert [each["field"] for each in faults(stated)] == ["extra/constants.yaml"]


def test_only_a_name_of_cedar_is_replaced() -> None:
    """In a comment, a text or as part of another name it stays; values hold no other value's name; lines stay."""
    known = read_constants("a: 1\nb: 'Constant::\"a\"'")
    for text in (
        '// Constant::"a"',
        '"Constant::\\"a\\""',
        'My::Constant::"a"',
        'MyConstant::"a"',
        '@title("Constant::")',
        '"unterminated Constant::',
    ):
        assert with_constants(text, known) == (text, [])
    assert with_constants('x == Constant::"b"', known) == ('x == "Constant::\\"a\\""', [])
    replaced, _ = with_constants('Constant\n::\n"a" + 1\n', known)
    assert replaced == "1\n\n + 1\n"


def test_the_set_its_proofs_and_what_is_shown_are_of_the_constants() -> None:
    condition = 'context.minuteOfDay < Constant::"opens"'
    one, two = (layers(f"opens: {minute}", condition) for minute in (500, 510))
    assert one.digest != two.digest
    digests = {proof_digest(PolicySet(NAMES, files(f"opens: {minute}", condition))) for minute in (500, 510)}
    assert len(digests) == 2
    shown = Engine(two, lambda *_: state(grants=(grant(),))).policies_for("civil-affairs", "d1")
    assert shown.startswith("// extra: opens = 510\n")
    assert "(context.minuteOfDay) < 510" in shown
    assert set_faults(PolicySet(NAMES, files("opens: 1", condition))) == []


def test_a_theorem_speaks_of_its_layers_constants() -> None:
    theorem = """
- id: opens
  article: Decree 809 Art. 15
  sentence: s
  sentence_zh: s
  about: uses
  claim: context.minuteOfDay >= Constant::"opens"
"""
    of = files("opens: 510", 'context.minuteOfDay < Constant::"opens"', **{"extra/theorems.yaml": theorem})
    (found,) = [each for each in read_theorems(PolicySet(NAMES, of)) if each.id == "opens"]
    assert found.claim == "context.minuteOfDay >= 510"
    with pytest.raises(GatewayError):
        read_theorems(PolicySet(NAMES, {**of, "extra/constants.yaml": "closes: 1"}))
