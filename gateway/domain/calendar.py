"""China Standard Time, clocks in working days (Decree 809 Art. 17, 21, 22, 26), retention by calendar years (Art. 29).

Every day of the law is a day of China Standard Time, which has no summer time: `china_day` and `first_moment` are the
only ways between a moment and a day.

A calendar answers for one region. A clock that runs into a year whose holidays are not announced yet is marked
provisional, never guessed: `chinesecalendar` knows 2004 to 2026.
"""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone

import chinese_calendar
import msgspec

CHINA_OFFSET_SECONDS = 8 * 3600
CHINA = timezone(timedelta(seconds=CHINA_OFFSET_SECONDS), "CST")
"""China Standard Time (GB/T 7408): UTC+8 all the year, everywhere in the country."""

MAX_WORKING_DAYS = 250
"""Longest clock: about one working year; no article asks for more."""


class Clock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A period in working days that a layer of the law sets (`<layer>/clocks.yaml`).

    Args:
        days: the period.
        article: where it stands.
        extension: how many working days it may be extended by, 0 if none.
    """

    days: int
    article: str
    extension: int = 0


class Due(msgspec.Struct, frozen=True):
    """When a duty falls due.

    Args:
        on: the last day on which it can be done.
        provisional: whether some day on the way lies in a year without an announced calendar; weekends alone
            were then left out, and the date must be computed anew once the calendar is announced.
    """

    on: date
    provisional: bool


def china_day(unix_seconds: float) -> date:
    """The day in China at a moment."""
    return datetime.fromtimestamp(unix_seconds, CHINA).date()


def china_time(unix_ns: int) -> str:
    """A moment as RFC 3339 in China Standard Time, to the microsecond."""
    return (
        datetime.fromtimestamp(unix_ns // 1_000_000_000, CHINA)
        .replace(microsecond=unix_ns // 1000 % 1_000_000)
        .isoformat()
    )


def first_moment(day: date) -> datetime:
    """When a day begins in China, which is when the day before it has ended: its 24:00."""
    return datetime.combine(day, time.min, CHINA)


def national_workday(day: date) -> bool | None:
    """Whether `day` is a working day by the State Council's announcement; None where none has been made."""
    try:
        return bool(chinese_calendar.is_workday(day))
    except NotImplementedError:
        return None


class DayFacts(msgspec.Struct, frozen=True):
    """What a calendar says of a day.

    Args:
        workday: whether work is done.
        holiday: whether it is off for a holiday that the notice names, be it a weekend's day.
        weekday: 1 is Monday, 7 is Sunday.
    """

    workday: bool
    holiday: bool
    weekday: int


def day_facts(day: date) -> DayFacts | None:
    """What the State Council's notice says of `day`; None where none has been made."""
    works = national_workday(day)
    if works is None:
        return None
    is_off, name = chinese_calendar.get_holiday_detail(day)
    return DayFacts(works, bool(is_off and name), day.isoweekday())


def last_known_day() -> date:
    """The last day that the State Council's notices reach."""
    year = 2026
    while national_workday(date(year + 1, 12, 31)) is not None:
        year += 1
    return date(year, 12, 31)


def working_days_after(start: date, days: int, workday: Callable[[date], bool | None] = national_workday) -> Due:
    """The day on which a period of `days` working days ends that begins the day after `start`.

    The day of the event is not counted (Civil Code Art. 201).

    Args:
        start: the day of the event.
        days: 1 to 250.
        workday: the region's calendar: True, False, or None for a day it does not know.

    Raises:
        ValueError: if `days` is out of range.
    """
    if not 1 <= days <= MAX_WORKING_DAYS:
        raise ValueError(f"a clock runs 1 to {MAX_WORKING_DAYS} working days, not {days}")
    day, left, provisional = start, days, False
    while left:
        day += timedelta(days=1)
        works = workday(day)
        if works is None:
            provisional = True
            works = day.weekday() < 5
        left -= works
    return Due(day, provisional)


def has_ended(last: date, today: date) -> bool:
    """Whether a period whose last day is `last` is over on `today`: at that day's 24:00 in China, not before."""
    return today > last


def years_after(start: date, years: int) -> date:
    """The last day of a period of `years` calendar years that the event on `start` begins.

    The day of the event is not counted, and the period ends with the last day's 24:00 (Civil Code Art. 201, 203): until
    then nothing `has_ended`. A period from 29 February ends with 1 March where the year has no such day: a day more
    than Art. 202 asks, since what is kept "not less than" a time is never kept shorter by either reading.

    Source: Decree 809 Art. 29: not less than three years, counted by the calendar.
    """
    try:
        return start.replace(year=start.year + years)
    except ValueError:
        return date(start.year + years, 3, 1)
