"""Cost against length, of every parser that the tests hold to it, as a table.

    .venv/bin/python -m tests.property.proxy.cost_table [--markdown]

prints, for each, the processor time of an input and of one eight times as long (sixteen times for what the control
plane reads), and by how much it grew. What grows with its length costs eight times as much, with its square sixty-four
times. Exits with 1 where any grew beyond its test's bound. `--markdown` prints what stands in docs/faults.md: groups
alone.

The rows are those of `test_linear_cost.py` and of `tests/unit/control/test_bounded_input.py`: one that is added there
is in the table.
"""

import contextlib
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from gateway.domain.errors import GatewayError
from gateway.identity.strict import Unreadable
from gateway.proxy.http.answers import UnreadableError
from tests.property.proxy import test_linear_cost as plane
from tests.unit.control import test_bounded_input as control

TRIES = 6
REFUSALS = (GatewayError, UnreadableError, Unreadable, ValueError)
LEAST_SECONDS = 300e-6
"""What is quicker than this is told as this: a growth of it would be the clock's."""

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("requests' heads", ("empty lines", "a request line", "a broken", "a head", "requests", "a value", "white space")),
    ("requests' heads", ("many options", "many languages")),
    ("targets", ("a path", "an encoded", "an absolute", "a query")),
    ("chunks and answers' heads", ("chunks", "a long chunk", "an answer")),
    ("NDJSON", ("NDJSON",)),
    ("CSV", ("CSV, ", "CSV of")),
    ("JSON", ("JSON",)),
    ("XML", ("XML",)),
    ("what requests say", ("a request in", "a request of", "a condition", "a question", "a number")),
    ("codings", ("gzip", "GB18030")),
    ("matching and masks", ("matching", "masking")),
    ("directory files", ("CSV: ", "workbook")),
    ("certificates", ("certificates",)),
    ("tokens, proofs, cursors, OpenAPI", ("",)),
)
"""Group by the beginnings of its rows' names; the first that fits."""


class Row(NamedTuple):
    """One parser: its input's growth, both costs in seconds, and the bound that its test holds."""

    name: str
    longer: int
    short_seconds: float
    long_seconds: float
    bound: float

    @property
    def growth(self) -> float:
        """By how much the cost grew."""
        return self.long_seconds / max(self.short_seconds, LEAST_SECONDS)

    @property
    def group(self) -> str:
        """Of what kind it is."""
        return group_of(self.name)


def group_of(name: str) -> str:
    """The group that a row of that name is told in."""
    return next(group for group, begins in GROUPS if name.startswith(begins))


def rows(folder: Path) -> Iterator[Row]:
    """Each parser, measured."""
    for name, (length, make) in plane.TABLE.items():
        yield measured(name, plane.LONGER, plane.MOST, lambda longer, n=length, make=make: make(n * longer))
    for name, (parse, build) in control.PARSERS.items():

        def once(longer: int, parse: Any = parse, build: Any = build) -> Callable[[], object]:
            given = build(control.SMALL * longer)
            return lambda: parse(given)

        yield measured(name, control.TIMES, control.TIMES * 5, once)
    for name, (length, lay) in control.FILES.items():
        yield measured(
            name, control.TIMES, control.TIMES * 4, lambda longer, n=length, lay=lay: lay(n * longer)(folder)
        )


def measured(name: str, longer: int, bound: float, make: Callable[[int], Callable[[], object]]) -> Row:
    """The least of several runs each: what else the machine does only adds."""
    costs = []
    for times in (1, longer):
        run = make(times)
        costs.append(min(cost(run) for _ in range(TRIES)))
    return Row(name, longer, *costs, bound)


def cost(run: Callable[[], object]) -> float:
    """Processor time of one run; a refusal is an answer too."""
    began = time.process_time()
    with contextlib.suppress(*REFUSALS):
        run()
    return time.process_time() - began


def as_markdown(found: list[Row]) -> str:
    """By group: how many, and the greatest growth at eight and at sixteen times the input."""
    lines = ["| What is read | Parsers and inputs | Input | Cost, at most |", "|---|---|---|---|"]
    for group in dict.fromkeys(group for group, _ in GROUPS):
        mine = [row for row in found if row.group == group]
        worst = max(mine, key=lambda row: row.growth / row.longer)
        lines.append(f"| {group} | {len(mine)} | × {worst.longer} | × {worst.growth:.1f} ({worst.name}) |")
    return "\n".join(lines)


def as_table(found: list[Row]) -> Table:
    """Every row."""
    table = Table(title="cost against length", title_justify="left")
    for heading in ("parser", "input", "short, ms", "long, ms", "cost", "bound"):
        table.add_column(heading, justify="left" if heading == "parser" else "right")
    for row in found:
        times = [f"{each * 1e3:.2f}" for each in (row.short_seconds, row.long_seconds)]
        table.add_row(row.name, f"x {row.longer}", *times, f"x {row.growth:.1f}", f"x {row.bound:.0f}")
    return table


def main(arguments: list[str]) -> int:
    """Print the table; 1 where a cost grew beyond its bound."""
    logging.disable()  # what hostile input makes the rooms say
    with tempfile.TemporaryDirectory() as folder:
        found = list(rows(Path(folder)))
    if "--markdown" in arguments:
        print(as_markdown(found))
    else:
        Console(width=120).print(as_table(found))
    beyond = [row.name for row in found if row.growth > row.bound]
    for name in beyond:
        print(f"grew beyond its bound: {name}", file=sys.stderr)
    return 1 if beyond else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
