"""`context.calendar`: what day it is, by the calendar that the clocks of the processes run by (`domain.calendar`).

The schema holds it as a fact that is always there; where no notice reaches the day it is left out. Then a policy that
asks for it is in error, and an error denies: nobody takes a day off for a working day because nobody knows. So `has` is
no question about such a fact: it would be answered no, and a forbid behind it would be silent.
"""

from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from typing import Any

import msgspec

from gateway.domain.calendar import china_day, day_facts
from gateway.policy.law.time_limits import SYSTEM_DATES

ALWAYS_TOLD = frozenset({"calendar", "subjects", "itemsAsked"})
"""Facts of the context whose absence (a day that no notice reaches, a request that is not read, a node of an older
version) denies what asks for them."""

_CONTEXT = {"Var": "context"}
_END_OF_DAYS = 253_000_000_000
"""In the year 9987: later ones have no days here."""


def calendar_context(now_unix: int) -> msgspec.Raw | None:
    """`context.calendar` as JSON; None where no notice reaches the day."""
    if not 0 <= now_unix < _END_OF_DAYS:
        return None  # a moment that a policy was tried with
    return _of_day(china_day(now_unix).toordinal())


@lru_cache(maxsize=1024)
def _of_day(ordinal: int) -> msgspec.Raw | None:
    facts = day_facts(date.fromordinal(ordinal))
    return None if facts is None else msgspec.Raw(msgspec.json.encode(facts))


def doubted(conditions: Any) -> frozenset[str]:
    """Facts that are always told, and that a policy asks by `has` whether they are there."""
    return frozenset(_doubted(conditions))


def _doubted(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for part in node:
            yield from _doubted(part)
    if not isinstance(node, dict):
        return
    asked = node.get("has")
    if isinstance(asked, dict) and "attr" in asked:
        if asked["left"] == _CONTEXT and asked["attr"] in ALWAYS_TOLD:
            yield asked["attr"]
        if asked["left"] == {".": {"left": _CONTEXT, "attr": "calendar"}}:
            yield "calendar"
        if asked["left"] == {"Var": "principal"} and asked["attr"] in SYSTEM_DATES:
            yield asked["attr"]
        if asked["attr"] == "stops":
            yield "stops"
    yield from _doubted(list(node.values()))


def reads_calendar(node: Any) -> bool:
    """Whether conditions look at the calendar, or at the whole context."""
    if isinstance(node, list):
        return any(map(reads_calendar, node))
    if not isinstance(node, dict):
        return False
    access = node.get(".") or node.get("has")
    if isinstance(access, dict) and access.get("left") == _CONTEXT:
        return bool(access["attr"] == "calendar")
    return node == _CONTEXT or any(map(reads_calendar, node.values()))
