"""A candidate set decides beside the active one, counts, and changes nothing."""

from pathlib import Path

import msgspec
import pytest

from gateway.domain.changes import Change, ChangeKind
from gateway.domain.state import SliceState
from gateway.policy import Engine, load_layers
from gateway.policy.live.shadow import (
    MAX_LISTED,
    NodeCounts,
    Shadow,
    ShadowDifference,
    ShadowReport,
    ShadowTally,
    listed,
)
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


def test_a_nodes_counts_go_on_over_workers_that_start_again() -> None:
    """A newer report replaces the one before it; another instance begins anew, and what ended still counts."""

    def report(instance: str, losses: int) -> ShadowReport:
        return ShadowReport(1, instance, "digest", ShadowTally(losses=losses), (DIFFERENCE,))

    counts = NodeCounts()
    for worker, instance, losses in (("w0", "a", 2), ("w0", "a", 5), ("w1", "b", 1), ("w0", "c", 1), ("w0", "c", 1)):
        counts = counts.heard(worker, report(instance, losses))
    assert counts.tally == ShadowTally(losses=7)
    assert counts.differences == (DIFFERENCE,)
    other = [msgspec.structs.replace(DIFFERENCE, dataset=f"d{number}") for number in range(MAX_LISTED)]
    assert len(listed(counts.differences, other)) == MAX_LISTED


DIFFERENCE = ShadowDifference("would-lose", "d", "s", "p/i", "query", "permit", "not-granted", "g1", ("x",))


class Panic(BaseException):
    """What a panic in Cedar arrives as: no `Exception`."""


def test_a_candidate_that_panics_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(NATIONAL, lambda *_: state())
    engine.shadow(NATIONAL)

    def panics(*_: object) -> None:
        raise Panic

    monkeypatch.setattr(Shadow, "_slice", panics)
    assert engine.decide(call(), NOW).is_permit
    report = engine.shadow_report()
    assert report is not None
    assert report.tally == ShadowTally(failures=1)


def test_error_denies_a_panic() -> None:
    def panics(_department: str, _dataset: str) -> SliceState:
        raise Panic

    engine = Engine(NATIONAL, panics)
    assert not engine.decide(call(), NOW).is_permit
    assert engine.errors == 1
