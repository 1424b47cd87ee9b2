"""A commit's share of the long runs: part of each test's cases, the same everywhere, and others at the next commit."""

from tests.support.share import FEW, drawn

MANY = [f"tests/durability/test_crashes.py::test_killed[{number}]" for number in range(30)]
FEWER = [f"tests/end_to_end/test_stops.py::test_stop[{number}]" for number in range(FEW)]
ALONE = ["tests/deploy/test_wheel.py::test_wheel"]
HISTORIES = [f"tests/simulation/test_histories.py::test_history[{number}]" for number in range(30)]
EVERY = [*MANY, *FEWER, *ALONE, *HISTORIES]


def test_every_test_is_run_and_one_with_many_cases_in_part() -> None:
    chosen = drawn(EVERY, 3, "a1")
    assert chosen.issuperset([*FEWER, *ALONE, *HISTORIES])
    assert len(chosen.intersection(MANY)) == 10
    assert len(drawn(MANY, 30, "a1")) == FEW


def test_a_commit_draws_the_same_whatever_the_order() -> None:
    assert drawn(EVERY, 3, "a1") == drawn(reversed(EVERY), 3, "a1")


def test_all_cases_come_in_turn() -> None:
    """Over a few dozen commits nothing is left out."""
    assert drawn(EVERY, 1, "a1") == set(EVERY)
    assert set().union(*(drawn(MANY, 3, str(number)) for number in range(40))) == set(MANY)
