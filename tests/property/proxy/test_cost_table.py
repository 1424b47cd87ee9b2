"""The table of cost against length has every parser that is held to it, and tells what grew too fast."""

from pathlib import Path

from tests.property.proxy import cost_table as room
from tests.property.proxy.test_linear_cost import TABLE
from tests.unit.control.test_bounded_input import FILES, PARSERS

FAULTS = (Path(__file__).parents[3] / "docs" / "faults.md").read_text("utf-8")


def test_every_group_of_parsers_stands_in_the_docs() -> None:
    """None is empty, and the last, for what fits nowhere else, takes nothing of the data plane."""
    found = {room.group_of(name) for name in (*TABLE, *PARSERS, *FILES)}
    groups = list(dict.fromkeys(group for group, _ in room.GROUPS))
    assert found == set(groups)
    assert {room.group_of(name) for name in TABLE}.isdisjoint({groups[-1]})
    shown = [
        line.split("|")[1].strip()
        for line in FAULTS.partition("## Cost against length")[2].splitlines()
        if "| ×" in line
    ]
    assert shown == groups
    assert "tests.property.proxy.cost_table" in FAULTS


def test_what_grows_with_the_square_is_beyond_the_bound() -> None:
    """And what grows with the length is not: by the work that is done, and no clock."""
    for power, is_beyond in ((1, False), (2, True)):
        row = room.Row("CSV of nothing", 8, 0.01, 0.01 * 8**power, 24.0)
        assert (row.growth > row.bound) is is_beyond
    assert room.Row("CSV of nothing", 8, 1e-9, 1e-6, 24.0).growth < 1, "what takes no time has no growth"


def test_the_worst_of_each_group_is_shown() -> None:
    """By the growth beside that of its input."""
    rows = [room.Row(name, 8, 0.01, 0.05, 24.0) for name in (*TABLE, *PARSERS, *FILES)]
    rows.append(room.Row("XML, made up", 8, 0.01, 0.2, 24.0))
    assert "| XML |" in room.as_markdown(rows)
    assert "× 20.0 (XML, made up)" in room.as_markdown(rows)
