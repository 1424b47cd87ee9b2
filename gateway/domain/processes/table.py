"""What the table of a process is made of."""

from enum import StrEnum

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act

SAME: None = None
"""A step that leads nowhere else, or leaves the clock that runs."""
STOPS = ""
"""A step that stops the clock."""
STATED = "stated"
"""A step that sets the last day itself, as `due_on`; without one no clock runs."""


class Party(StrEnum):
    """Whom a case waits for; `CONCERNED` is the side that it is about, `ORDERING` the one that ordered what is due."""

    DEMAND = "demand"
    SUPPLIER = "supplier"
    COMPETENT = "competent"
    CONCERNED = "concerned"
    ORDERING = "ordering"


OWING = (Party.DEMAND, Party.SUPPLIER, Party.COMPETENT)
"""Whom a party of a table is in a case."""


class State(msgspec.Struct, frozen=True):
    """Where a case stands.

    Args:
        name: in the API and on record.
        waits_for: who owes the next step; empty where the case has ended.
        duty: what they owe, in words.
        duty_zh: the same in Chinese.
    """

    name: str
    waits_for: tuple[Party, ...] = ()
    duty: str = ""
    duty_zh: str = ""

    @property
    def is_end(self) -> bool:
        """Whether nothing is owed any more."""
        return not self.waits_for


class Step(msgspec.Struct, frozen=True):
    """One row of a table.

    Args:
        name: of the step, and its path below a case.
        acts: the Cedar actions that each give the right.
        before: states it starts from; empty where it opens a case.
        after: the state it leads to; None leaves it as it is.
        said: what it has to state.
        article: what it rests on.
        effect: what it does besides, in words.
        clock: the clock of `clocks.yaml` that begins; "" stops the one that runs, None leaves it, `stated` begins one
            that ends on the day that is stated. `{attribute}` is the sharing attribute of the entry.
        extends: whether it puts off what is due, by the case's `days`, at most by the clock's `extension`.
        is_once: whether a case sees it once at most.
        is_late: whether it may be taken only once what is due is overdue.
    """

    name: str
    acts: tuple[Act, ...]
    before: tuple[str, ...]
    after: str | None
    said: type[msgspec.Struct]
    article: str
    effect: str
    clock: str | None = SAME
    extends: bool = False
    is_once: bool = False
    is_late: bool = False

    @property
    def states(self) -> tuple[str, ...]:
        """The names of what it has to state."""
        return tuple(field.name for field in msgspec.structs.fields(self.said) if field.required)


class Process(msgspec.Struct, frozen=True):
    """The table of one process.

    Args:
        name: of its cases: the path of the API and the word of the command line.
        singular: of one case.
        prefix: what its ids begin with.
        title: in one sentence.
        sees: the act that permits to see a case.
        states: all of them.
        steps: all of them; the first opens a case.
    """

    name: str
    singular: str
    prefix: str
    title: str
    sees: Act
    states: tuple[State, ...]
    steps: tuple[Step, ...]

    @property
    def opening(self) -> Step:
        """The step that opens a case."""
        return self.steps[0]

    def state(self, name: str) -> State:
        """The state of that name."""
        return next(each for each in self.states if each.name == name)

    def step(self, name: str) -> Step:
        """The step of that name; raises `not-found`."""
        found = next((each for each in self.steps if each.name == name), None)
        if found is None:
            raise GatewayError("not-found", f"{self.name} know no step `{name}`")
        return found
