"""What departments drew, counted together with their line and family (Decree 809 Art. 25 ¶2), on both databases."""

import random
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.calendar import Due
from gateway.domain.circles import Circle, Knowing
from gateway.domain.reorganisation import Part, PartKind, Reorganisation, ReorganisationKind
from gateway.store import Store
from gateway.store.coordination import DRAWN_DAYS
from tests.support.state import NOON, department, system

DAY = date(2026, 3, 2)
DUE = Due(DAY, provisional=False)
TREE: Mapping[str, str | None] = {
    "top": None,
    "fund": "top",
    "fund-east": "fund",
    "fund-west": "fund",
    "police": "top",
    "police-east": "police",
    "elsewhere": None,
}


@pytest.fixture
def store(state_url: str) -> Iterator[Store]:
    with Store.open(state_url) as opened:
        planted(opened, TREE)
        yield opened


def planted(store: Store, tree: Mapping[str, str | None]) -> None:
    """Departments below each other; each after the one above it."""
    with store.transaction() as tx:
        for name, parent in tree.items():
            tx.put_department(department(name, parent=parent))


def drew(store: Store, name: str, dataset: str, day: date = DAY, knowing: Knowing = Knowing.OBTAINED) -> None:
    store.note_drawn(name, dataset, "p", day, knowing, in_circles=True)


def counted(store: Store, name: str, circle: Circle, since: date = DAY, *, learnt: bool = False) -> set[str]:
    return set(store.gathered(name, since, circle, learnt=learnt))


def test_each_circle_has_those_of_whom_it_tells(store: Store) -> None:
    """Each department draws a dataset of its own name: whose are counted for whom is read off."""
    for name in TREE:
        drew(store, name, name)
    for name, line, family in (
        ("top", {"fund", "fund-east", "fund-west", "police", "police-east"}, set()),
        ("fund", {"top", "fund-east", "fund-west"}, {"police", "police-east"}),
        ("fund-east", {"top", "fund"}, {"fund-west", "police"}),
        ("police-east", {"top", "police"}, {"fund"}),
        ("elsewhere", set(), set()),
    ):
        assert counted(store, name, Circle.OWN) == {name}
        assert counted(store, name, Circle.LINE) == {name, *line}
        assert counted(store, name, Circle.FAMILY) == {name, *line, *family}


def test_who_moves_takes_along_what_it_drew_and_leaves_it_behind(store: Store) -> None:
    drew(store, "fund-east", "marriage")
    with store.transaction() as tx:
        tx.put_department(department("fund-east", parent="police"))
    assert counted(store, "fund-east", Circle.OWN) == {"marriage"}
    assert counted(store, "police-east", Circle.FAMILY) == {"marriage"}
    assert counted(store, "fund", Circle.LINE) == {"marriage"}
    assert counted(store, "fund-west", Circle.FAMILY) == {"marriage"}
    # What it draws from now on is nothing of its former sisters'.
    drew(store, "fund-east", "household")
    assert counted(store, "fund-west", Circle.FAMILY) == {"marriage"}
    assert counted(store, "police-east", Circle.FAMILY) == {"marriage", "household"}


def test_what_was_noted_for_the_department_alone_counts_where_it_stands_now(store: Store) -> None:
    """A rule that is new sees what was drawn before it came, by an older gateway, too."""
    store.note_drawn("fund-east", "marriage", "p", DAY)
    assert counted(store, "fund", Circle.LINE) == {"marriage"}
    assert counted(store, "fund-west", Circle.FAMILY) == {"marriage"}
    assert counted(store, "police-east", Circle.FAMILY) == set()


def test_verification_counts_only_where_it_is_asked_for(store: Store) -> None:
    drew(store, "fund-east", "income", knowing=Knowing.COMPARED)
    store.note_drawn("fund-east", "health", "p", DAY, Knowing.COMPARED)
    assert store.drawn("fund-east", DAY) == ()
    for circle in Circle:
        assert counted(store, "fund-east", circle) == set()
        assert counted(store, "fund-east", circle, learnt=True) == {"income", "health"}
    assert counted(store, "fund-west", Circle.FAMILY) == set()
    assert counted(store, "fund-west", Circle.FAMILY, learnt=True) == {"income", "health"}
    drew(store, "fund-east", "income")
    assert counted(store, "fund-west", Circle.FAMILY) == {"income"}


def test_a_department_that_nobody_knows_counts_itself(store: Store) -> None:
    drew(store, "unknown", "income", knowing=Knowing.COMPARED)
    for circle in Circle:
        assert counted(store, "unknown", circle, learnt=True) == {"income"}


def test_a_day_that_is_over_counts_no_more_and_is_forgotten_at_last(store: Store) -> None:
    yesterday = DAY - timedelta(days=1)
    drew(store, "fund-east", "marriage", yesterday)
    drew(store, "fund-east", "income", yesterday, Knowing.COMPARED)
    assert counted(store, "fund", Circle.LINE, learnt=True) == set()
    assert counted(store, "fund", Circle.LINE, yesterday, learnt=True) == {"marriage", "income"}
    end = int(NOON.timestamp()) + (DRAWN_DAYS + 2) * 86_400
    assert store.forget_expired(end) == 1 + 3 + 3
    assert counted(store, "fund", Circle.LINE, yesterday, learnt=True) == set()


def reorganised(store: Store, kind: ReorganisationKind, name: str, **said: object) -> None:
    act = Reorganisation(kind, (name,), "中编办发〔2026〕9号", "reform", **said)  # type: ignore[arg-type]
    with store.transaction() as tx:
        tx.reorganise(act, NOON, DUE)


def test_who_takes_over_counts_what_was_drawn_and_compared(store: Store) -> None:
    """By itself, and in its own circles."""
    drew(store, "fund-east", "marriage")
    drew(store, "fund-east", "income", knowing=Knowing.COMPARED)
    drew(store, "fund-west", "health", knowing=Knowing.COMPARED)
    reorganised(store, ReorganisationKind.MERGE, "fund", successor="police")
    reorganised(store, ReorganisationKind.MERGE, "fund-east", successor="police-east")
    assert counted(store, "police-east", Circle.OWN, learnt=True) == {"marriage", "income"}
    assert counted(store, "police", Circle.LINE) == {"marriage"}
    assert counted(store, "police", Circle.LINE, learnt=True) == {"marriage", "income", "health"}


def test_a_system_that_goes_takes_along_what_its_department_had_compared(store: Store) -> None:
    with store.transaction() as tx:
        tx.put_system(system("desk", department="fund-east"))
    drew(store, "fund-east", "income", knowing=Knowing.COMPARED)
    parts = (Part(PartKind.SYSTEM, "desk", "elsewhere"),)
    reorganised(store, ReorganisationKind.TRANSFER, "fund-east", parts=parts)
    assert counted(store, "elsewhere", Circle.OWN, learnt=True) == {"income"}
    assert counted(store, "fund-east", Circle.OWN, learnt=True) == {"income"}


@given(st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_who_counts_another_is_counted_by_it(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """So it never matters who comes first; and a line lies within a family. In trees of any form."""
    chance = random.Random(seed)
    names = [f"d{number}" for number in range(9)]
    tree = {name: chance.choice([None, *names[:place]]) for place, name in enumerate(names)}
    folder: Path = tmp_path_factory.mktemp("trees")
    with Store.open(f"sqlite:///{folder / 'state.db'}") as store:
        planted(store, tree)
        for name in names:
            drew(store, name, name)
        of = {circle: {name: counted(store, name, circle) for name in names} for circle in (Circle.LINE, Circle.FAMILY)}
    for one, another in product(names, names):
        for counts in of.values():
            assert (another in counts[one]) == (one in counts[another])
        if tree[one] is not None and tree[one] == tree[another]:
            assert another in of[Circle.FAMILY][one]
    assert all(of[Circle.LINE][name] <= of[Circle.FAMILY][name] for name in names)
