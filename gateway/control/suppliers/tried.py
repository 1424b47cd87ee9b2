"""What trying an interface tells, and what tries it."""

from typing import Protocol

import msgspec

from gateway.domain.directory import Dataset, Interface


class TriedAnswer(msgspec.Struct, frozen=True):
    """What an entry makes of an answer: names and counts, no value.

    Args:
        rows: how many rows were found.
        found: item -> in how many of them it stands.
        unplaced: items of the dataset that the entry gives no place.
        unclaimed: members of rows that are no item's place: they never leave.
        envelope: members beside the rows that leave under every grant.
        faults: what keeps the entry from working with this answer.
    """

    rows: int
    found: dict[str, int]
    unplaced: tuple[str, ...]
    unclaimed: tuple[str, ...]
    envelope: tuple[str, ...]
    faults: tuple[str, ...]


class Trials(Protocol):
    """What tries interfaces."""

    def call(self, interface: Interface, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        """One GET to the supplier: status and content; blocks."""

    def judge(self, interface: Interface, dataset: Dataset, content: bytes) -> TriedAnswer:
        """What the entry makes of an answer."""
