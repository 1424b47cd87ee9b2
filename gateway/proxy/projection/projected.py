"""What reducing an answer comes to, and how it is worked on."""

from collections.abc import Generator, Iterator
from typing import Protocol, TypeVar

import msgspec
from msgspec import Raw

T = TypeVar("T")
Steps = Generator[None, None, T]


class Projected(msgspec.Struct, frozen=True):
    """A filtered answer.

    Args:
        content: what may leave.
        rows: how many rows it holds.
        items: names of the items that stand in at least one row.
    """

    content: bytes
    rows: int
    items: tuple[str, ...]


class Projector(Protocol):
    """Reduces answers of one interface to one set of granted items. Pure; may be kept and shared."""

    def project(self, content: bytes, *, is_failure: bool = False) -> Projected:
        """An answer reduced to the granted items.

        Args:
            content: the whole of it, in UTF-8.
            is_failure: whether the status said already that there is no answer: then no rows are asked for.

        Raises:
            GatewayError: `answer-not-filterable`.
        """

    def steps(self, content: bytes, *, is_failure: bool = False) -> Steps[Projected]:
        """As `project`, of a long answer, in steps.

        Raises:
            GatewayError: `answer-not-filterable`.
        """

    def values(self, content: bytes) -> Iterator[list[dict[str, Raw]]]:
        """For each row the granted items by name, as they stand, some rows at a time.

        For comparison only: masks are not applied.

        Raises:
            GatewayError: `answer-not-filterable`; of any row, so that nothing is told before the last of them.
        """


def at_once(steps: Steps[T]) -> T:
    """What steps come to, done one after the other."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
