"""What a set is, what a change of sets can take away, and an engine that is kept at what the state says is in force."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from gateway.domain.directory import Dataset, SharingAttribute
from gateway.domain.errors import GatewayError
from gateway.domain.policies import PolicyEvent, PolicySet, PolicyStep
from gateway.policy import Engine
from gateway.policy.law.layers import Layers, load_layers, parse_layers, read_set
from gateway.policy.law.settled import EXAMINED
from gateway.policy.offline.activating import MAX_LAYERS, PolicyKeeper, can_withdraw, set_faults
from tests.policies.cases import NATIONAL, NOW, ROOT, ZHONGSHAN, call, dataset, state
from tests.policies.layering import note, root_with
from tests.support.gateways import wait_for

AT = datetime(2026, 3, 2, tzinfo=UTC)
ONE, BOTH = read_set(ROOT, ("national",)), read_set(ROOT, ("national", "zhongshan"))
USE = 'action in Action::"use"'


class Book:
    """The state's word on policies, in memory."""

    def __init__(self) -> None:
        self.event: PolicyEvent | None = None
        self.candidate: PolicyEvent | None = None
        self.sets: dict[str, PolicySet] = {}
        self.fails: list[Exception] = []
        self.asked = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def step(self, policies: PolicySet, step: PolicyStep = PolicyStep.ACTIVATE) -> PolicyEvent:
        last = max((each.number for each in (self.event, self.candidate) if each is not None), default=0)
        layers = parse_layers(policies.files, policies.layers)
        self.sets[policies.id] = policies
        return PolicyEvent(last + 1, step, policies.id, layers.digest, layers.names, "o1", AT)

    def policies_in_force(self) -> PolicyEvent | None:
        event = self.event
        self.asked.set()
        assert self.gate.wait(10)
        if self.fails:
            raise self.fails.pop()
        return event

    def policies_in_shadow(self) -> PolicyEvent | None:
        return self.candidate

    def policy_set(self, id: str) -> PolicySet | None:  # noqa: A002 - the domain's name
        return self.sets.get(id)


def free() -> Dataset:
    return dataset(sharing_attribute=SharingAttribute.UNCONDITIONAL)


def kept(book: Book) -> tuple[PolicyKeeper, Engine]:
    """A keeper and an engine of a world in which only Zhongshan's layer permits."""
    keeper = PolicyKeeper(book, lambda: ONE, EXAMINED)
    engine = Engine(keeper.now.layers, lambda *_: state(grants=(), dataset=free()))
    keeper.attach(engine)
    return keeper, engine


def no_failure(error: BaseException) -> None:
    raise AssertionError from error


def test_the_settings_set_is_in_force_until_another_is() -> None:
    book = Book()
    keeper, engine = kept(book)
    assert engine.layers.digest == NATIONAL.digest
    book.event = book.step(BOTH)
    keeper.refresh()
    assert engine.layers.digest == ZHONGSHAN.digest
    assert kept(book)[1].layers.digest == ZHONGSHAN.digest


def test_a_broken_settings_set_matters_only_where_it_is_in_force() -> None:
    book = Book()
    with pytest.raises(GatewayError, match="have faults"):
        PolicyKeeper(book, lambda: PolicySet(("national",), {}))
    book.event = book.step(BOTH)
    assert PolicyKeeper(book, lambda: PolicySet(("national",), {})).now.layers.digest == ZHONGSHAN.digest


def test_a_worker_that_was_told_decides_nothing_by_the_old_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment `changed` returns, calls wait for the new set; none is decided by the one before."""
    monkeypatch.setattr("gateway.policy.live.engine.HOLD_SECONDS", 100)
    book = Book()
    keeper, engine = kept(book)
    assert not engine.decide(call(), NOW).is_permit
    assert engine.kept(call(), NOW) is not None
    book.event = book.step(BOTH)
    book.gate.clear()
    keeper.changed(no_failure)
    assert engine.kept(call(), NOW) is None
    verdicts: list[bool] = []
    waiting = threading.Thread(target=lambda: verdicts.append(engine.decide(call(), NOW).is_permit))
    waiting.start()
    book.gate.set()
    waiting.join(100)
    assert verdicts == [True]


def test_calls_do_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies that do not come deny as `state-stale`: the caller is told to come back."""
    monkeypatch.setattr("gateway.policy.live.engine.HOLD_SECONDS", 0.01)
    book = Book()
    keeper, engine = kept(book)
    book.gate.clear()
    keeper.changed(no_failure)
    assert engine.decide(call(), NOW).code == "state-stale"
    book.gate.set()
    assert wait_for(lambda: engine.decide(call(), NOW).code != "state-stale")


def test_what_was_read_before_a_change_is_not_taken_after_it() -> None:
    """A second change while the first is being loaded: the engine ends at the second, and opens only then."""
    book = Book()
    keeper, engine = kept(book)
    book.event = book.step(BOTH)
    book.asked.clear()
    book.gate.clear()
    keeper.changed(no_failure)
    assert book.asked.wait(10)
    # The loader holds the first event; now the second comes.
    book.event = book.step(ONE)
    keeper.changed(no_failure)
    book.gate.set()
    assert wait_for(lambda: engine.decide(call(), NOW).code == "not-granted")
    assert engine.layers.digest == NATIONAL.digest
    assert keeper.now.event == book.event


def test_a_set_that_was_changed_or_is_gone_ends_the_worker_and_never_brings_back_the_old() -> None:
    for damage in ("gone", "changed", "another"):
        book = Book()
        keeper, engine = kept(book)
        event = book.step(BOTH)
        if damage == "gone":
            book.sets.clear()
        elif damage == "changed":
            grades = "national/art34-35-grades.cedar"
            files = {**BOTH.files, grades: BOTH.files[grades].replace('Grade::"3", ', "")}
            book.sets[event.set] = msgspec.structs.replace(BOTH, files=files)
        else:
            book.sets[event.set] = ONE
        book.event = event
        failed: list[BaseException] = []
        keeper.changed(failed.append)
        assert wait_for(lambda failed=failed: failed)
        assert engine.kept(call(), NOW) is None
        with pytest.raises(GatewayError):
            kept(book)
        with pytest.raises(GatewayError):
            keeper.refresh()


def test_a_state_that_cannot_be_read_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.policy.offline.activating.RETRY_SECONDS", 0.01)
    book = Book()
    keeper, engine = kept(book)
    book.event = book.step(BOTH)
    book.fails = [GatewayError("unavailable", "the state does not answer") for _ in range(3)]
    keeper.changed(no_failure)
    assert wait_for(lambda: engine.decide(call(), NOW).is_permit)


def test_a_candidate_comes_goes_and_is_left_out_where_it_does_not_load() -> None:
    book = Book()
    keeper, engine = kept(book)
    assert engine.shadow_report() is None
    book.candidate = book.step(BOTH, PolicyStep.SHADOW)
    keeper.refresh()
    assert not engine.decide(call(), NOW).is_permit
    report = engine.shadow_report()
    assert report is not None
    assert (report.shadow, report.digest, report.tally.gains) == (book.candidate.number, ZHONGSHAN.digest, 1)
    keeper.refresh()
    again = engine.shadow_report()
    assert again is not None
    assert again.tally.gains == 1
    book.candidate = None
    keeper.refresh()
    assert engine.shadow_report() is None
    book.candidate = book.step(BOTH, PolicyStep.SHADOW)
    book.sets.clear()
    keeper.refresh()
    assert engine.shadow_report() is None
    assert not engine.decide(call(), NOW).is_permit


def layers_with(folder: Path, rule: str, more: str = "") -> Layers:
    return load_layers(root_with(folder, extra=note("x", more) + rule), ["national", "extra"])


@pytest.mark.parametrize(
    ("rule", "more", "takes"),
    [
        (f"permit (principal is System, {USE}, resource);", "", False),
        (f"permit (principal is System, {USE}, resource);", '@mask("name=hash")', True),
        (f"forbid (principal, {USE}, resource);", "", True),
        ('forbid (principal is Officer, action == Action::"lift", resource);', "", False),
    ],
)
def test_what_can_withdraw(tmp_path: Path, rule: str, more: str, takes: bool) -> None:
    """More permits, or fewer forbids, take nothing; a forbid more, a permit less or a mask more can."""
    new = layers_with(tmp_path, rule, more)
    assert can_withdraw(NATIONAL, new) is takes
    assert not can_withdraw(new, new)
    assert can_withdraw(new, NATIONAL) is (rule.startswith("permit"))


def test_names_layers_and_sizes_make_a_set() -> None:
    assert set_faults(BOTH) == []
    assert set_faults(PolicySet((), {}))
    assert set_faults(PolicySet(("a", "a"), {}))
    assert set_faults(PolicySet(("..",), {}))
    assert set_faults(PolicySet(tuple(f"l{number}" for number in range(MAX_LAYERS + 1)), {}))
    assert set_faults(PolicySet(("a",), {"a/x.cedar": "\udc80"}))
    assert set_faults(PolicySet(("a",), {"a/x.cedar\n": ""}))
    assert set_faults(PolicySet(("a",), {f"a/x{number}.cedar": "x" * (250 << 10) for number in range(20)}))


def test_a_sets_id_is_its_own() -> None:
    """Another layer's order, another file's name, or a text moved between files makes another set."""
    assert read_set(ROOT, ("national",)).id == ONE.id
    swapped = msgspec.structs.replace(BOTH, layers=BOTH.layers[::-1])
    parts = PolicySet(("a",), {"a/x.cedar": "ab", "a/y.cedar": "c"})
    moved = PolicySet(("a",), {"a/x.cedar": "a", "a/y.cedar": "bc"})
    assert len({each.id for each in (ONE, BOTH, swapped, parts, moved)}) == 5
