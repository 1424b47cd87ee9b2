"""A comparison that takes long tells what it found in the time it has; without a grant only what could be permitted."""

from itertools import count
from pathlib import Path

import pytest

from gateway.domain.directory import SharingAttribute
from gateway.policy import load_layers
from gateway.policy.law.layers import Layers
from gateway.policy.law.settled import Settled
from gateway.policy.offline.comparing import compare
from gateway.policy.offline.examining import until
from tests.policies.cases import NATIONAL, NOW, ZHONGSHAN, dataset, grant
from tests.policies.layering import note, root_with
from tests.policies.test_comparing import Directory, with_rule

USE = 'action in Action::"use"'


def spans(folder: Path, number: int) -> Layers:
    """A layer that closes an entry in so many spans of time, as one wrote who had no calendar."""
    day = 86_400
    rules = "\n".join(
        f'@id("s{each}") @article("Decree 809 Art. 15") @title("t")\n'
        f'forbid (principal, {USE}, resource) when {{ resource.dataset.grade != Grade::"1" && '
        f"context.now >= {NOW + each * 3 * day} && context.now < {NOW + (each * 3 + 2) * day} && "
        f"context.minuteOfDay >= {each % 60} }};"
        for each in range(1, number + 1)
    )

    return load_layers(root_with(folder, extra=rules), ["national", "extra"])


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Layers:
    return spans(tmp_path_factory.mktemp("spans"), 118)


def test_a_comparison_ends_when_its_time_is_up_and_says_so(many: Layers) -> None:
    """118 spans of time over some grants are minutes of work: what was found by then is told, and rules nothing out."""
    standing = Directory([grant(f"g{each}", items=("name", "id_number")[: each % 2 + 1]) for each in range(6)])
    left = iter(range(6))
    found = compare(NATIONAL, many, standing, NOW, may_go_on=lambda: next(left, None) is not None)
    assert not found.is_whole
    assert found.takes_away
    assert 0 <= found.calls < 20_000


def test_time_is_up_after_as_many_seconds_as_said() -> None:
    assert until(60)()
    assert not until(0)()


def test_no_time_at_all_rules_nothing_out() -> None:
    found = compare(NATIONAL, NATIONAL, Directory([grant()]), NOW, may_go_on=lambda: False)
    assert (found.is_whole, found.takes_away, found.calls) == (False, True, 0)


def test_what_was_found_before_the_end_is_told(tmp_path: Path) -> None:
    """Whenever the time is up, what differs so far stands in the answer; a whole comparison is the last of these."""
    stricter = with_rule(
        tmp_path, f'forbid (principal, {USE}, resource) when {{ resource.dataset.grade != Grade::"1" }};'
    )
    standing = Directory([grant("a"), grant("b", department="tax")])
    whole = compare(NATIONAL, stricter, standing, NOW)
    assert whole.is_whole
    seen = set()
    for most in count(1):
        left = iter(range(most))
        found = compare(NATIONAL, stricter, standing, NOW, may_go_on=lambda left=left: next(left, None) is not None)
        seen.add(found.losing)
        assert set(found.losing) <= set(whole.losing)
        assert found.takes_away
        if found.is_whole:
            assert found == whole
            break
    assert seen == {(), ("a",), ("a", "b")}


@pytest.mark.parametrize("condition", ["context.now - 5 > 4102444800", "context.subjects > 2"])
def test_what_nothing_permits_without_a_grant_is_not_lost_there(tmp_path: Path, condition: str) -> None:
    """Only an entry that is shared unconditionally flows without a grant, by Zhongshan Art. 22; only it may lose."""
    conditional = dataset("closed", sharing_attribute=SharingAttribute.CONDITIONAL, purposes=("marriage-registration",))
    free = dataset("free", sharing_attribute=SharingAttribute.UNCONDITIONAL)
    rule = f'forbid (principal, action in Action::"obtain", resource) when {{ {condition} }};'

    new = load_layers(root_with(tmp_path, extra=note("extra") + rule), ["national", "zhongshan", "extra"])
    found = compare(ZHONGSHAN, new, Directory(entries=[conditional, free]), NOW)
    assert {one.dataset for one in found.differences} == {"free"}
    alone = compare(ZHONGSHAN, new, Directory(entries=[conditional]), NOW)
    assert (alone.takes_away, alone.differences) == (False, ())


def test_what_no_decision_has_opened_is_not_lost_and_may_be_gained(tmp_path: Path) -> None:
    """Where the settings name no decision, a region's rule lets nothing out today that a stricter one could take."""
    free = Directory(entries=[dataset("free", sharing_attribute=SharingAttribute.UNCONDITIONAL)])
    for name, condition in (
        ("named", 'resource.dataset.grade != Grade::"1"'),
        ("doubt", "context.now - 5 > 4102444800"),
    ):
        rule = f"forbid (principal, {USE}, resource) when {{ {condition} }};"
        new = load_layers(root_with(tmp_path / name, extra=note("extra") + rule), ["national", "zhongshan", "extra"])
        assert compare(ZHONGSHAN, new, free, NOW).takes_away
        assert not compare(ZHONGSHAN, new, free, NOW, settled=Settled()).takes_away
    gained = compare(NATIONAL, ZHONGSHAN, free, NOW, settled=Settled())
    assert (gained.gives, gained.takes_away) == (True, False)
