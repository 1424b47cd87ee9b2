"""A candidate set decides beside the active one, counts, and changes nothing."""

from pathlib import Path

from gateway.domain.changes import Change, ChangeKind
from gateway.policy import Engine, load_layers
from gateway.policy.shadow import MAX_LISTED, ShadowTally
from tests.policies.cases import NATIONAL, NOW, call, state
from tests.policies.layering import note, root_with


def test_differences_are_counted_and_the_active_verdict_is_given(tmp_path: Path) -> None:
    rule = note("x") + 'forbid (principal, action in Action::"use", resource) when { context.items.contains("name") };'
    candidate = load_layers(root_with(tmp_path, extra=rule), ["national", "extra"])
    engine = Engine(NATIONAL, lambda *_: state())
    assert engine.shadow_report() is None
    assert engine.decide(call(), NOW).is_permit
    engine.shadow(candidate)
    for _ in range(3):
        assert engine.decide(call(), NOW).is_permit
        assert engine.decide(call(items=("id_number",)), NOW).is_permit
        assert not engine.decide(call(purpose="x"), NOW).is_permit
    report = engine.shadow_report()
    assert report is not None
    assert report.tally == ShadowTally(same=2, losses=1)
    (difference,) = report.differences
    assert (difference.change, difference.grant, difference.policies) == ("would-lose", "g1", ("x",))
    engine.shadow(None)
    assert engine.shadow_report() is None


def test_a_candidate_that_errs_changes_nothing(tmp_path: Path) -> None:
    rule = note("x") + (
        'forbid (principal, action in Action::"use", resource) when { context.now * 9223372036854775807 > 0 };'
    )
    candidate = load_layers(root_with(tmp_path, extra=rule), ["national", "extra"])
    engine = Engine(NATIONAL, lambda *_: state())
    engine.shadow(candidate)
    assert engine.decide(call(), NOW).is_permit
    report = engine.shadow_report()
    assert report is not None
    assert report.tally.losses == 1


def test_the_list_of_differences_is_bounded(tmp_path: Path) -> None:
    rule = note("x") + 'forbid (principal, action in Action::"use", resource);'
    candidate = load_layers(root_with(tmp_path, extra=rule), ["national", "extra"])
    engine = Engine(NATIONAL, lambda department, _: state(grants=()), max_slices=4)
    engine.shadow(candidate)
    for number in range(MAX_LISTED + 20):
        engine.decide(call(system=f"s{number}"), NOW)
        engine.drop(Change(1, ChangeKind.ENTRY, "d1"))
    report = engine.shadow_report()
    assert report is not None
    assert len(report.differences) <= MAX_LISTED
    assert report.tally.same + report.tally.changes == MAX_LISTED + 20


def test_activation_ends_neither_the_shadow_nor_its_counts(tmp_path: Path) -> None:
    engine = Engine(NATIONAL, lambda *_: state())
    engine.shadow(NATIONAL)
    engine.decide(call(), NOW)
    engine.activate(NATIONAL)
    engine.decide(call(), NOW)
    report = engine.shadow_report()
    assert report is not None
    assert report.tally.same == 2
