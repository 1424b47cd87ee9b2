"""Decree 809 Art. 25 ¶2: what one department may not draw together, whatever purpose it declares."""

import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.circles import Circle, Knowing
from gateway.domain.directory import SharingMode
from gateway.domain.state import SliceState
from gateway.policy import Engine, load_layers
from gateway.policy.law.layers import Layers, parse_layers, read_set
from gateway.policy.law.time_limits import china_day
from gateway.policy.offline.tables import read_tables, run_tables
from tests.policies.cases import NATIONAL, NOW, ROOT, call, dataset, grant, interface, state
from tests.policies.layering import note, root_with

RULE = (
    note("together")
    + """
forbid (principal, action in Action::"obtain", resource)
when { [Dataset::"d1", Dataset::"d2"].contains(resource.dataset) }
when { context has drawn && context.drawn.month.containsAll([Dataset::"d1", Dataset::"d2"]) }
unless { context has grant && context.grant.combination.containsAll([Dataset::"d1", Dataset::"d2"]) };
"""
)
DAY = 86_400


class Book:
    """What was drawn, in memory; of departments that stand alone."""

    def __init__(self) -> None:
        self.notes: set[tuple[str, str, str, int]] = set()
        self.compared: set[tuple[str, str, str, int]] = set()
        self.reads: list[tuple[Circle, bool]] = []

    def drawn(self, department: str, since_day: int, circle: Circle, *, learnt: bool) -> frozenset[str]:
        self.reads.append((circle, learnt))
        notes = self.notes | (self.compared if learnt else set())
        return frozenset(name for home, name, _, day in notes if home == department and day >= since_day)

    def note(
        self, department: str, dataset_id: str, purpose: str, day: int, knowing: Knowing, *, in_circles: bool
    ) -> None:
        assert not in_circles, "no rule here reads what others drew"
        notes = self.notes if knowing is Knowing.OBTAINED else self.compared
        notes.add((department, dataset_id, purpose, day))


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Layers:
    return load_layers(root_with(tmp_path_factory.mktemp("layers"), extra=RULE), ["national", "extra"])


def reader(**more: Any) -> Any:
    def read(department: str, name: str) -> SliceState:
        held = grant(f"g-{name}", dataset=name, purposes=("marriage-registration", "census"), **more)
        return state(dataset=dataset(name), interfaces=(interface(of=name),), grants=(held,))

    return read


def test_the_second_dataset_of_a_combination_is_denied(layers: Layers) -> None:
    engine = Engine(layers, reader(), drawn=Book())
    assert engine.decide(call(dataset="d1"), NOW).is_permit
    assert engine.decide(call(dataset="d1"), NOW).is_permit
    denied = engine.decide(call(dataset="d2"), NOW)
    assert denied.code == "not-granted"
    assert denied.policies == ("together",)
    assert denied.explanation is not None
    assert denied.explanation.near[0].failed == ("combination",)
    (miss,), (rule,) = denied.explanation.near, denied.explanation.rules
    # Not what the grant says of combinations, which holds; what the rule says, and where it stands.
    assert (miss.detail, miss.articles, rule.id) == ((rule.title,), rule.articles, "together")


def test_what_is_only_compared_is_not_drawn(layers: Layers) -> None:
    """In verify mode no value leaves, so nothing is there to be combined."""
    book = Book()
    engine = Engine(layers, reader(modes=tuple(SharingMode)), drawn=book)
    assert engine.decide(call(dataset="d1", mode=SharingMode.VERIFY), NOW).is_permit
    assert not book.notes
    assert engine.decide(call(dataset="d2"), NOW).is_permit
    assert engine.decide(call(dataset="d1"), NOW).code == "not-granted"


def test_another_purpose_is_no_way_around(layers: Layers) -> None:
    """What came together is together, whatever it was declared for; another department has drawn nothing."""
    engine = Engine(layers, reader(), drawn=Book())
    assert engine.decide(call(dataset="d1"), NOW).is_permit
    assert engine.decide(call(dataset="d2", purpose="census"), NOW).policies == ("together",)


def test_after_the_period_it_is_permitted_again(layers: Layers) -> None:
    engine = Engine(layers, reader(), drawn=Book())
    assert engine.decide(call(dataset="d1"), NOW).is_permit
    assert not engine.decide(call(dataset="d2"), NOW + 29 * DAY).is_permit
    assert engine.decide(call(dataset="d2"), NOW + 30 * DAY).is_permit


def test_a_grant_that_names_the_combination_covers_it(layers: Layers) -> None:
    engine = Engine(layers, reader(combination=("d1", "d2")), drawn=Book())
    assert engine.decide(call(dataset="d1"), NOW).is_permit
    assert engine.decide(call(dataset="d2"), NOW).is_permit


def test_only_named_datasets_pay(layers: Layers) -> None:
    book = Book()
    engine = Engine(layers, reader(), drawn=book)
    assert engine.decide(call(dataset="d3"), NOW).is_permit
    assert (book.reads, book.notes) == ([], set())
    assert engine.kept(call(dataset="d3"), NOW) is not None
    assert engine.decide(call(dataset="d1"), NOW).is_permit
    assert engine.kept(call(dataset="d1"), NOW) is None
    assert book.notes == {("civil-affairs", "d1", "marriage-registration", china_day(NOW))}


def test_a_denied_call_and_an_explanation_note_nothing(layers: Layers) -> None:
    book = Book()
    engine = Engine(layers, reader(), drawn=book)
    assert not engine.decide(call(dataset="d1", items=("address",)), NOW).is_permit
    assert engine.explain(call(dataset="d1"), NOW).is_permit
    assert book.notes == set()


def test_without_a_book_a_named_dataset_is_denied(layers: Layers) -> None:
    engine = Engine(layers, reader())
    assert not engine.decide(call(dataset="d1"), NOW).is_permit
    assert engine.decide(call(dataset="d3"), NOW).is_permit


def test_error_denies_a_book_that_cannot_be_read(layers: Layers) -> None:
    class Broken(Book):
        def drawn(self, department: str, since_day: int, circle: Circle, *, learnt: bool) -> frozenset[str]:
            raise OSError("away")

    assert not Engine(layers, reader(), drawn=Broken()).decide(call(dataset="d1"), NOW).is_permit


def test_two_calls_that_complete_a_combination_at_once_do_not_both_pass(layers: Layers) -> None:
    """Two workers, one book: whatever the interleaving, at most one of the two is permitted."""
    for _ in range(30):
        book = Book()
        permits: dict[str, bool] = defaultdict(bool)
        start = threading.Barrier(2)

        def run(name: str, book: Book = book, permits: Any = permits, start: Any = start) -> None:
            engine = Engine(layers, reader(), drawn=book)
            start.wait()
            permits[name] = engine.decide(call(dataset=name), NOW).is_permit

        threads = [threading.Thread(target=run, args=(name,)) for name in ("d1", "d2")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(permits.values()) <= 1


def test_a_rule_that_names_no_dataset_concerns_every_dataset(tmp_path: Path) -> None:
    rule = note("any") + (
        'forbid (principal, action in Action::"obtain", resource) '
        "when { context has drawn && context.drawn.day.isEmpty() };"
    )
    layers = load_layers(root_with(tmp_path, extra=rule), ["national", "extra"])
    assert layers.convergence == {"": frozenset({"day"})}
    assert NATIONAL.convergence == {}


def test_the_first_rules_are_off_by_default_and_do_as_their_tables_say() -> None:
    """The layer `convergence` is nobody's until it is named; each of its rules has a case that it stops."""
    assert not NATIONAL.convergence_rules
    found = read_set(ROOT, ("national", "convergence"))
    tables = [table for table in read_tables(found) if table.file.startswith("convergence/")]
    outcomes = [outcome for table in tables for outcome in run_tables(found, [table])]
    assert [outcome.fault for outcome in outcomes if outcome.fault] == []
    shown = {name for outcome in outcomes if outcome.verdict is not None for name in outcome.verdict.policies}
    own = set(parse_layers(found.files, found.layers).policies) - set(NATIONAL.policies)
    assert own
    assert own <= shown
