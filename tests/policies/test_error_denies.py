"""INVARIANT: ERROR-DENIES: Cedar skips a policy that errs; the gateway denies instead."""

import shutil
from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter, Officer, Role
from gateway.domain.orders import Reach
from gateway.domain.state import SliceState
from gateway.policy import Engine, load_layers
from gateway.policy.law.layers import Layers
from gateway.policy.live.slices import AT_ONCE, Slice
from tests.policies.cases import NATIONAL, NOW, ROOT, call, grant, order, state

OVERFLOW = "context.now * 9223372036854775807 > 0"
"""Valid by the schema, and an arithmetic overflow whenever it is evaluated."""


def layers_with(tmp_path: Path, policy: str) -> Layers:
    root = tmp_path / "policies"
    shutil.copytree(ROOT, root)
    note = '@id("extra") @article("Decree 809 Art. 25 ¶1") @title("An extra policy")\n'
    (root / "extra").mkdir()
    (root / "extra" / "extra.cedar").write_text(note + policy)
    return load_layers(root, ["national", "extra"])


@pytest.mark.parametrize(
    "policy",
    [
        f"forbid (principal, action, resource) when {{ {OVERFLOW} }};",
        f"permit (principal, action, resource) when {{ {OVERFLOW} }};",
        f'forbid (principal, action in Action::"use", resource) when {{ {OVERFLOW} }};',
        f'permit (principal, action in Action::"use", resource) when {{ false || {OVERFLOW} }};',
        f'forbid (principal, action in Action::"use", resource) unless {{ {OVERFLOW} }};',
    ],
)
def test_error_denies_also_where_the_erring_policy_did_not_determine(tmp_path: Path, policy: str) -> None:
    layers = layers_with(tmp_path, policy)
    assert Slice(NATIONAL, state()).evaluate(call(), NOW).is_permit
    denied = Slice(layers, state()).evaluate(call(), NOW)
    assert not denied.is_permit
    assert denied.items == ()
    assert denied.explanation is not None


def test_error_denies_where_a_policy_errs_under_another_grant_alone(tmp_path: Path) -> None:
    """The call is covered by `g1`; under `g2` a static policy errs: still no permit."""
    policy = (
        'forbid (principal, action in Action::"use", resource) when '
        f'{{ context has grant && context.grant == Grant::"g2" && {OVERFLOW} }};'
    )
    layers = layers_with(tmp_path, policy)
    assert Slice(layers, state()).evaluate(call(), NOW).is_permit
    both = state(grants=(grant("g1"), grant("g2")))
    assert not Slice(layers, both).evaluate(call(), NOW).is_permit
    far = tuple(grant(f"g{number}") for number in (*range(10, 10 + 2 * AT_ONCE), 2))
    assert Slice(layers, state(grants=far[:-1])).evaluate(call(), NOW).is_permit
    assert not Slice(layers, state(grants=far)).evaluate(call(), NOW).is_permit


def test_error_denies_an_officers_act(tmp_path: Path) -> None:
    layers = layers_with(tmp_path, f'forbid (principal, action in Action::"act", resource) when {{ {OVERFLOW} }};')
    officer = Officer("o", "police", "442000", (Role.SUPPLIER,))
    matter = Matter(supplier="police", region="442000")
    asked = (officer, Act.SUSPEND, matter, NOW)
    assert Engine(NATIONAL, lambda *_: state()).authorize(*asked).is_permit
    assert Engine(layers, lambda *_: state()).authorize(*asked).code == "act-not-permitted"


def test_error_denies_a_state_that_cannot_be_read() -> None:
    def broken(_department: str, _dataset: str) -> SliceState:
        raise GatewayError("unavailable", "the database is away")

    engine = Engine(NATIONAL, broken)
    denied = engine.decide(call(), NOW)
    assert not denied.is_permit
    assert engine.errors == 1
    assert engine.kept(call(), NOW) is None


@pytest.mark.parametrize("lone", ["\ud800", "a\udfff"])
def test_error_denies_an_identifier_that_is_no_text(lone: str) -> None:
    engine = Engine(NATIONAL, lambda *_: state())
    for asked in (call(system=lone), call(purpose=lone), call(parameters=((lone, "x"),))):
        assert not engine.decide(asked, NOW).is_permit
    officer = Officer(lone, "police", "442000", (Role.SUPPLIER,))
    assert not engine.authorize(officer, Act.SUSPEND, Matter(supplier="police"), NOW).is_permit


def test_error_denies_an_order_that_cannot_be_built() -> None:
    """Without the forbid of an order nothing of the slice may be permitted."""
    engine = Engine(NATIONAL, lambda *_: state(orders=(order("\ud800", Reach.DATASET, "d2"),)))
    assert not engine.decide(call(), NOW).is_permit
