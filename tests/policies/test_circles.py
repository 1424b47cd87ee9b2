"""Decree 809 Art. 25 ¶2: what may not come together in a line or family of departments, or by verification.

The real engine over the real state, as a department would try it that means to get round a rule.
"""

import json
import threading
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from sqlalchemy import func, select

from gateway.domain.calendar import Due
from gateway.domain.circles import Circle
from gateway.domain.directory import SharingMode
from gateway.domain.reorganisation import Reorganisation, ReorganisationKind
from gateway.domain.verdicts import Verdict
from gateway.policy import Engine, load_layers
from gateway.policy.law.drawn import DAYS_OF_PERIOD as PERIODS
from gateway.policy.law.drawn import FACTS_BY_PATH, paths_read
from gateway.policy.law.layers import Layers
from gateway.runtime.drawn import StateDrawnBook
from gateway.store import Store
from gateway.store.schema import drawn, gathered
from tests.policies.cases import NOON, NOW, call, dataset, department, grant, interface
from tests.policies.layering import note, root_with
from tests.support.state import host

REGISTERS = ("household", "marriage", "property")
NAMED = ", ".join(f'Dataset::"{name}"' for name in REGISTERS)
DAY = 86_400
DUE = Due(NOON.date(), provisional=False)
TREE = {
    "top": None,
    "fund": "top",
    "east": "fund",
    "west": "fund",
    "far": "fund",
    "other": "top",
    "below": "other",
    "apart": None,
}


def rule(fact: str, actions: str = 'action in Action::"use"') -> str:
    return (
        note("together")
        + f"""
forbid (principal, {actions}, resource)
when {{ [{NAMED}].contains(resource.dataset) }}
when {{ context has drawn && context.drawn.{fact}.containsAll([{NAMED}]) }};
"""
    )


class House:
    """Departments, each with a grant of each register, and nodes that decide for them over one state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'state.db'}"
        self.opened: list[Store] = []
        self.store = self.open()
        with self.store.transaction() as tx:
            for name, parent in {**TREE, "police": None}.items():
                tx.put_department(department(name, parent=parent))
            tx.put_host(host(supplier="police", address="police.example"))
            for name in REGISTERS:
                entry = tx.submit_dataset(dataset(name, sharing_modes=tuple(SharingMode)))
                tx.release_dataset(entry.id, entry.version)
                tx.put_interface(interface(f"of-{name}", of=name))
                for each in TREE:
                    modes = tuple(SharingMode)
                    tx.insert_grant(grant(f"{each}-{name}", department=each, dataset=name, modes=modes))

    def open(self) -> Store:
        self.opened.append(Store.open(self.url))
        return self.opened[-1]

    def node(self, fact: str, **more: Any) -> "Node":
        """A node on which a rule is in force that reads a fact."""
        folder = self.folder / f"layers-{len(self.opened)}"
        folder.mkdir()
        return Node(load_layers(root_with(folder, extra=rule(fact, **more)), ["national", "extra"]), self.open())

    def move(self, name: str, parent: str) -> None:
        with self.store.transaction() as tx:
            tx.put_department(department(name, parent=parent))


class Node:
    """An engine over the state."""

    def __init__(self, layers: Layers, store: Store) -> None:
        self.store = store
        self.engine = Engine(layers, store.slice_state, drawn=StateDrawnBook(store))

    def asked(self, name: str, register: str, now: int = NOW, mode: SharingMode = SharingMode.QUERY) -> Verdict:
        asking = call(department=name, dataset=register, interface=f"police/of-{register}", mode=mode)
        return self.engine.decide(asking, now)

    def gives(self, name: str, register: str, now: int = NOW, mode: SharingMode = SharingMode.QUERY) -> bool:
        verdict = self.asked(name, register, now, mode)
        assert verdict.is_permit or verdict.policies == ("together",), (verdict.code, verdict.policies)
        return verdict.is_permit

    def read_anew(self) -> None:
        """What the feed would tell the engine: everything may have changed."""
        self.engine.activate(self.engine.layers)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    for store in made.opened:
        store.close()


@pytest.mark.parametrize(
    ("fact", "drawers", "stopped"),
    [
        ("month", ("east", "east", "east"), True),
        ("month", ("east", "west", "far"), False),
        ("family.month", ("east", "west", "far"), True),
        ("line.month", ("east", "west", "far"), False),
        ("line.month", ("east", "fund", "east"), True),
        ("line.month", ("top", "fund", "east"), True),
        ("family.month", ("top", "fund", "east"), True),
        ("family.month", ("fund", "other", "fund"), True),
        ("family.month", ("east", "other", "east"), True),
        ("line.month", ("east", "other", "east"), False),
        ("family.month", ("east", "apart", "east"), False),
    ],
)
def test_a_combination_is_stopped_in_whatever_order_it_is_put_together(
    house: House, fact: str, drawers: tuple[str, ...], stopped: bool
) -> None:
    """The registers, one by one, by several departments: the last to come is refused, whoever that is."""
    node = house.node(fact)
    drawing = list(zip(drawers, REGISTERS, strict=True))
    for number, order in enumerate(permutations(drawing)):
        given = [node.gives(name, register, NOW + number * 31 * DAY) for name, register in order]
        assert given == [True, True, not stopped], order


def test_verification_through_a_sister_counts_where_the_rule_says_so(house: House) -> None:
    """Who learns the last of it by comparing is refused, and so is who draws after the sister had compared."""
    verify = SharingMode.VERIFY
    deaf = house.node("family.month")
    assert deaf.gives("east", "household", mode=verify)
    assert deaf.gives("west", "marriage", mode=verify)
    assert deaf.gives("far", "property", mode=verify)
    assert deaf.gives("far", "property"), "what is compared is not drawn, for a rule that does not say so"
    hearing, later = house.node("learnt.family.month"), NOW + 31 * DAY
    assert hearing.gives("east", "household", later, verify)
    assert hearing.gives("west", "marriage", later, verify)
    for mode in SharingMode:
        assert not hearing.gives("far", "property", later, mode)
        assert not hearing.gives("top", "property", later, mode)
    assert hearing.gives("below", "property", later, verify), "a cousin of theirs, and no sister"
    alone = house.node("learnt.month")
    assert alone.gives("apart", "household", mode=verify)
    assert alone.gives("apart", "marriage")
    assert not alone.gives("apart", "property", mode=verify)


def test_an_answer_of_verification_is_noted_before_it_is_given(house: House) -> None:
    """A note that cannot be written gives no answer; in a rule's own words no other mode pays for it."""

    class Full(StateDrawnBook):
        def note(self, *_: Any, **__: Any) -> None:
            raise OSError("the disk is full")

    node = house.node("learnt.family.month")
    engine = Engine(node.engine.layers, node.store.slice_state, drawn=Full(node.store))
    asking = call(department="east", dataset="household", interface="police/of-household", mode=SharingMode.VERIFY)
    assert not engine.decide(asking, NOW).is_permit
    deaf = house.node("family.month")
    assert Engine(deaf.engine.layers, deaf.store.slice_state, drawn=Full(deaf.store)).decide(asking, NOW).is_permit


@pytest.mark.parametrize("fact", ["family.month", "learnt.family.month"])
def test_sisters_on_two_nodes_at_once_do_not_both_pass(house: House, fact: str) -> None:
    """Whatever the interleaving: at most two of the three registers come to the family."""
    nodes = [house.node(fact) for _ in REGISTERS]
    mode = SharingMode.VERIFY if fact.startswith("learnt") else SharingMode.QUERY
    for attempt in range(8):
        now, start = NOW + attempt * 31 * DAY, threading.Barrier(3)
        given: list[bool] = []

        def run(place: int, now: int = now, start: Any = start, given: Any = given) -> None:
            start.wait()
            given.append(nodes[place].gives(("east", "west", "far")[place], REGISTERS[place], now, mode))

        threads = [threading.Thread(target=run, args=(place,)) for place in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(given), sum(given) <= 2) == (3, True)


def test_days_are_counted_by_the_calendar_of_china(house: House) -> None:
    """A minute before midnight, and after: within a day the one, and not the other; within a week both."""
    midnight = NOW - NOW % DAY + 16 * 3600
    node = house.node("family.day")
    for name, register in (("east", "household"), ("west", "marriage")):
        assert node.gives(name, register, midnight - 60)
    assert not node.gives("far", "property", midnight - 1)
    assert node.gives("far", "property", midnight)
    week = house.node("family.week")
    assert not week.gives("east", "property", midnight + 6 * DAY - 1)
    assert week.gives("east", "property", midnight + 6 * DAY)


def test_moving_below_another_is_no_way_around(house: House) -> None:
    """Who leaves leaves behind what it drew, and takes it along; what it draws then is its new family's."""
    node = house.node("family.month")
    assert node.gives("east", "household")
    assert node.gives("west", "marriage")
    house.move("east", "other")
    node.read_anew()
    assert not node.gives("far", "property"), "its family once drew the household register"
    assert node.gives("east", "property"), "its new family has not drawn the third"
    assert not node.gives("below", "marriage"), "and has the first two now"
    house.move("east", "apart")
    node.read_anew()
    assert not node.gives("apart", "marriage")
    assert node.gives("below", "household"), "what it drew before it came has gone with it"
    assert not node.gives("below", "marriage"), "and what it drew there has not"


def test_a_note_is_written_anew_for_whom_a_department_comes_to_stand_below(house: House) -> None:
    """On the same day, of the same register: its second mother keeps it, too, when it moves on."""
    node = house.node("family.month")
    for parent in ("fund", "other", "apart"):
        house.move("east", parent)
        node.read_anew()
        assert node.gives("east", "household")
    for name in ("far", "below", "apart"):
        assert node.gives(name, "marriage")
        assert not node.gives(name, "property"), name


def test_a_rule_that_comes_to_read_circles_has_notes_of_them(house: House) -> None:
    """What was noted for the department alone is no reason to note nothing for those above it."""
    alone, folder = house.node("month"), house.folder / "later"
    assert alone.gives("east", "household")
    folder.mkdir()
    rules = root_with(folder, extra=rule("family.month"))
    alone.engine.activate(load_layers(rules, ["national", "extra"]))
    assert alone.gives("east", "household")
    house.move("east", "other")
    alone.read_anew()
    assert alone.gives("west", "marriage")
    assert not alone.gives("far", "property")


def test_who_was_dissolved_still_counts_for_its_family(house: House) -> None:
    """And its systems ask no more: what it had is theirs who are left."""
    node = house.node("family.month")
    assert node.gives("east", "household")
    assert node.gives("west", "marriage")
    kind = ReorganisationKind.DISSOLVE
    act = Reorganisation(kind, ("east",), "中编办发〔2026〕9号", "reform", successor="apart")
    with house.store.transaction() as tx:
        tx.reorganise(act, NOON, DUE)
    node.read_anew()
    assert not node.asked("east", "marriage").is_permit
    assert not node.gives("far", "property")


def test_a_candidate_in_the_shadow_sees_what_sisters_drew(house: House) -> None:
    """It refuses nobody, and counts what it would have refused; it notes nothing of its own."""
    node, beside = house.node("month"), house.node("family.month")
    node.engine.shadow(beside.engine.layers, 7)
    assert [node.gives(name, register) for name, register in zip(("east", "west", "far"), REGISTERS, strict=True)] == [
        True,
        True,
        True,
    ]
    report = node.engine.shadow_report()
    assert report is not None
    assert (report.tally.same, report.tally.losses, report.tally.failures) == (2, 1, 0)
    assert node.store.database.read(lambda c: c.execute(select(func.count()).select_from(gathered)).scalar_one()) == 0


@pytest.mark.parametrize(
    ("fact", "mode", "looks", "notes"),
    [
        ("month", SharingMode.QUERY, {(Circle.OWN, False)}, (1, 0)),
        ("month", SharingMode.VERIFY, {(Circle.OWN, False)}, (0, 0)),
        ("family.month", SharingMode.QUERY, {(Circle.FAMILY, False)}, (1, 3)),
        ("family.month", SharingMode.VERIFY, {(Circle.FAMILY, False)}, (0, 0)),
        ("learnt.month", SharingMode.QUERY, {(Circle.OWN, True)}, (1, 0)),
        ("learnt.month", SharingMode.VERIFY, {(Circle.OWN, True)}, (0, 1)),
        ("learnt.line.month", SharingMode.VERIFY, {(Circle.LINE, True)}, (0, 3)),
    ],
)
def test_what_a_rule_does_not_read_costs_nothing(
    house: House, fact: str, mode: SharingMode, looks: set[Any], notes: tuple[int, int]
) -> None:
    """Neither a look nor a note."""
    asked: set[Any] = set()

    class Looking(StateDrawnBook):
        def drawn(self, department: str, since_day: int, circle: Circle, *, learnt: bool) -> frozenset[str]:
            asked.add((circle, learnt))
            return super().drawn(department, since_day, circle, learnt=learnt)

    node = house.node(fact)
    engine = Engine(node.engine.layers, node.store.slice_state, drawn=Looking(node.store))
    asking = call(department="east", dataset="household", interface="police/of-household", mode=mode)
    assert engine.decide(asking, NOW).is_permit
    written = node.store.database.read(
        lambda c: tuple(c.execute(select(func.count()).select_from(table)).scalar_one() for table in (drawn, gathered))
    )
    assert (asked, written) == (looks, notes)


@pytest.mark.parametrize(
    ("condition", "paths"),
    [
        ("context.drawn.month.isEmpty()", {"month"}),
        ("context.drawn.learnt.family.day.isEmpty()", {"learnt.family.day"}),
        ("context.drawn has line && context.drawn.line has day", set()),
        ('context.purpose == "day"', set()),
        ("context.drawn.line == context.drawn.family", {f"{c}.{p}" for c in ("line", "family") for p in PERIODS}),
        ('(if context.purpose == "" then context else context).drawn.day.isEmpty()', set(FACTS_BY_PATH)),
        ("context.drawn == context.drawn", set(FACTS_BY_PATH)),
        ("context.drawn.cousins.month.isEmpty()", {"cousins.month"}),
    ],
)
def test_facts_that_a_condition_reads_are_found_however_it_reads_them(condition: str, paths: set[str]) -> None:
    """Where it takes a part whole, that is all in it; what a newer gateway would know is named, and known to nobody."""
    text = f"forbid (principal, action, resource) when {{ {condition} }};"
    est = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]["policy0"]
    assert paths_read(est["conditions"]) == paths


def test_a_fact_that_this_gateway_does_not_know_denies(house: House) -> None:
    """As a node of the version before does, while others are of the next: what cannot be counted is not given."""
    node = house.node("month")
    node.engine.layers.convergence["household"] |= {"cousins.month"}
    verdict = node.asked("east", "household")
    assert (verdict.is_permit, verdict.policies) == (False, ())
    assert node.engine.errors == 1
