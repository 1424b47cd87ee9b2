"""When a verdict can change by the passing of time alone.

Grants state their limits, so their next change is known. A static policy may look at `context.now` or
`context.minuteOfDay` too: compared with a number, its next change is known; used in any other way it is not, and then
a verdict holds for the instant it was made at and no longer.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from gateway.domain.calendar import CHINA_OFFSET_SECONDS
from gateway.domain.errors import GatewayError

"""China Standard Time is UTC+8 all year, without daylight saving time."""

DAY_SECONDS = 86_400
FOREVER_UNIX = 253_402_300_799
"""9999-12-31T23:59:59Z: stands for "no time limit in sight"."""

_TURNS = {"<": (0,), ">=": (0,), "<=": (1,), ">": (1,), "==": (0, 1), "!=": (0, 1)}
"""Where a comparison of a clock with a number, the clock on the left, turns: at the number, after it, or both."""

SYSTEM_DATES = frozenset({"registered", "certified", "certifiedUntil"})
"""Facts of the calling system that are seconds, as `context.now` is."""

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_CONTEXT = {"Var": "context"}
_CLOCKS = {"now": "instants", "minuteOfDay": "minutes"}
_DAYS = frozenset({"calendar"})
"""What of the context is of a day, and another at midnight."""

TIMELESS = frozenset(
    {
        "mode",
        "purpose",
        "items",
        "assurance",
        "parameters",
        "unread",
        "declared",
        "guessable",
        "decision",
        "grant",
        "drawn",
        "subjects",
        "itemsAsked",
    }
)
"""What of the context does not change by time alone. Whatever else the schema may come to have counts as a clock whose
next change is not known, until it is named here, in `_CLOCKS` or in `_DAYS`."""


class TimeUse(msgspec.Struct, frozen=True):
    """Which times policies look at.

    Args:
        instants: seconds at which a comparison with `context.now` can turn.
        minutes: minutes of the day at which a comparison with `context.minuteOfDay` can turn.
        unknown: whether time is used in a way whose next change is not known.
        dates: whether `context.now` is compared with a date of the calling system: it turns there.
    """

    instants: frozenset[int] = frozenset()
    minutes: frozenset[int] = frozenset()
    unknown: bool = False
    dates: bool = False

    @classmethod
    def together(cls, uses: Iterable["TimeUse"]) -> "TimeUse":
        """The times that any of `uses` looks at."""
        listed = list(uses)
        return cls(
            instants=frozenset().union(*(use.instants for use in listed)),
            minutes=frozenset().union(*(use.minutes for use in listed)),
            unknown=any(use.unknown for use in listed),
            dates=any(use.dates for use in listed),
        )


def time_use(est: dict[str, Any]) -> TimeUse:
    """Which times the conditions of one policy, in Cedar's JSON form, look at."""
    found: dict[str, set[int]] = {"instants": set(), "minutes": set(), "dates": set()}
    unknown = _walk(est.get("conditions", []), found)
    return TimeUse(frozenset(found["instants"]), frozenset(found["minutes"]), unknown, bool(found["dates"]))


def _walk(node: Any, found: dict[str, set[int]]) -> bool:
    """Collect known turning points below `node`; True if time is used in any other way."""
    if isinstance(node, list):
        return _walk_all(node, found)
    if not isinstance(node, dict) or ("Value" in node and len(node) == 1):
        return False
    if node == _CONTEXT:
        # The record as a whole carries the time with it.
        return True
    for operator, body in node.items():
        if operator == "Record":
            # Its keys are names that the policy chose, and no operators.
            return _walk_all(list(body.values()), found)
        if operator in _TURNS and _note_comparison(operator, body, found):
            return False
        if operator in (".", "has") and isinstance(body, dict) and body.get("left") == _CONTEXT:
            if operator == "." and body["attr"] in _DAYS:
                found["minutes"].add(0)
                return False
            return operator == "." and body["attr"] not in TIMELESS
    return _walk_all(list(node.values()), found)


def _walk_all(nodes: list[Any], found: dict[str, set[int]]) -> bool:
    """Walk every node, also after one whose use of time is unknown."""
    unknown = [_walk(node, found) for node in nodes]
    return any(unknown)


def _note_comparison(operator: str, body: dict[str, Any], found: dict[str, set[int]]) -> bool:
    """Note the turning points of a comparison of a clock with a number; False if it is none."""
    for clock_side, number_side, read in (("left", "right", operator), ("right", "left", _MIRRORED[operator])):
        access = body[clock_side].get(".")
        number = body[number_side].get("Value")
        if (
            isinstance(access, dict)
            and access.get("left") == _CONTEXT
            and access["attr"] in _CLOCKS
            and isinstance(number, int)
            and not isinstance(number, bool)
        ):
            found[_CLOCKS[access["attr"]]].update(number + after for after in _TURNS[read])
            return True
        of = body[number_side].get(".")
        if (
            isinstance(access, dict)
            and access == {"left": _CONTEXT, "attr": "now"}
            and isinstance(of, dict)
            and of.get("left") == {"Var": "principal"}
            and of["attr"] in SYSTEM_DATES
        ):
            found["dates"].add(0)
            return True
    return False


def unix_seconds(moment: datetime) -> int:
    """The first whole second that is not before `moment`.

    Raises:
        GatewayError: `invalid-input`, if `moment` has no time zone: it would mean another time on another machine.
    """
    if moment.tzinfo is None:
        raise GatewayError("invalid-input", "a time limit has no time zone")
    whole = int(moment.timestamp() // 1)
    return whole if moment.microsecond == 0 else whole + 1


def minute_of_day(now_unix: int) -> int:
    """The minute of the day in China Standard Time, 0 to 1439."""
    return (now_unix + CHINA_OFFSET_SECONDS) % DAY_SECONDS // 60


def china_day(now_unix: int) -> int:
    """The day in China Standard Time, counted from 1970-01-01."""
    return (now_unix + CHINA_OFFSET_SECONDS) // DAY_SECONDS


def next_change(now_unix: int, instants: Iterable[int], minutes: Iterable[int], *, unknown: bool = False) -> int:
    """The first second after `now_unix` at which one of the time limits turns.

    Args:
        now_unix: the second a verdict is made at.
        instants: seconds at which something begins or ends.
        minutes: minutes of the day (China Standard Time) at which something begins or ends, each day.
        unknown: whether time is looked at in a way whose next change is not known.
    """
    if unknown:
        return now_unix + 1
    first = min((instant for instant in instants if instant > now_unix), default=FOREVER_UNIX)
    second_of_day = (now_unix + CHINA_OFFSET_SECONDS) % DAY_SECONDS
    minutes = set(minutes)
    # The minute of the day falls back to 0 at midnight, so whatever looks at it may turn then too.
    for minute in {0, *minutes} if minutes else minutes:
        ahead = (minute * 60 - second_of_day) % DAY_SECONDS or DAY_SECONDS
        first = min(first, now_unix + ahead)
    return first
