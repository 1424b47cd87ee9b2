"""What a grant asks of a use: each condition declared once, with its fields, its faults and what narrows it.

A condition is two rows: the one here, and the one in `policy.live.conditions` that says how Cedar upholds it and how a
denial tells it. Whatever else depends on conditions (issuing, renewing, BARRIER, explaining, comparing) goes over these
rows, so a new condition reaches all of it. A field of `Grant` that is no condition stands in `NOT_CONDITIONS`, with the
reason; a test holds that each field stands in one of the two.

Source: Decree 809 Art. 15, 20, 22, 24, 25.
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from gateway.domain.grants import MAX_VALUE_BYTES, Grant, Quota

Fault = tuple[str, str]
"""A field, and what is wrong with it."""

MINUTES_OF_A_DAY = 24 * 60


def _faultless(_grant: Grant) -> Iterator[Fault]:
    yield from ()


class Condition(msgspec.Struct, frozen=True):
    """One condition of a grant.

    Args:
        name: as a denial names it.
        fields: the fields of `Grant` in which it stands.
        covers: whether by it the first grant lets through every call that the second does; in doubt, no.
        faults: what keeps it from being put in force.
        is_added: whether it may be left out, and so must be where data is returned to a lower level (Art. 24).
    """

    name: str
    fields: tuple[str, ...]
    covers: Callable[[Grant, Grant], bool]
    faults: Callable[[Grant], Iterator[Fault]] = _faultless
    is_added: bool = False


def _all_of(field: str) -> Callable[[Grant, Grant], bool]:
    """Covering of lists in which everything that is let through is named."""
    return lambda new, old: set(getattr(new, field)) >= set(getattr(old, field))


def _open_list(field: str) -> Callable[[Grant, Grant], bool]:
    """Covering of lists whose empty value lets everything through."""

    def covers(new: Grant, old: Grant) -> bool:
        mine, theirs = getattr(new, field), getattr(old, field)
        return not mine or (bool(theirs) and set(mine) >= set(theirs))

    return covers


def _listed(field: str, *, may_be_empty: bool = False) -> Callable[[Grant], Iterator[Fault]]:
    def faults(grant: Grant) -> Iterator[Fault]:
        values = getattr(grant, field)
        if not values and not may_be_empty:
            yield field, "names none"
        if len(set(values)) != len(values):
            yield field, "names something twice"

    return faults


def _time_covers(new: Grant, old: Grant) -> bool:
    return new.valid_from <= old.valid_from and new.valid_until >= old.valid_until


def _time_faults(grant: Grant) -> Iterator[Fault]:
    if grant.valid_from.tzinfo is None or grant.valid_until.tzinfo is None:
        yield "valid_until", "a time limit has no time zone"
    elif grant.valid_from >= grant.valid_until:
        yield "valid_until", "is not after `valid_from`"


def _hours_cover(new: Grant, old: Grant) -> bool:
    if new.hours is None:
        return True
    if old.hours is None:
        return False
    return new.hours.start_minute <= old.hours.start_minute and new.hours.end_minute >= old.hours.end_minute


def _hours_faults(grant: Grant) -> Iterator[Fault]:
    if grant.hours is not None and not 0 <= grant.hours.start_minute < grant.hours.end_minute <= MINUTES_OF_A_DAY:
        yield "hours", "are not minutes of one day, start before end"


def _parameters_cover(new: Grant, old: Grant) -> bool:
    return all(
        name in old.parameters and set(values) >= set(old.parameters[name]) for name, values in new.parameters.items()
    )


def _parameters_faults(grant: Grant) -> Iterator[Fault]:
    for name, values in grant.parameters.items():
        if not values:
            yield f"parameters.{name}", "allows no value"
        if any(len(value.encode()) > MAX_VALUE_BYTES for value in values):
            yield (
                f"parameters.{name}",
                f"allows a value longer than {MAX_VALUE_BYTES} bytes, which no call sends",
            )


def _assurance_covers(new: Grant, old: Grant) -> bool:
    return new.assurance is None or (old.assurance is not None and new.assurance.rank <= old.assurance.rank)


def _quota_covers(new: Grant, old: Grant) -> bool:
    mine, theirs = new.quota or Quota(), old.quota or Quota()
    return all(
        limit is None or (other is not None and limit >= other)
        for limit, other in ((mine.calls_a_day, theirs.calls_a_day), (mine.rows_a_day, theirs.rows_a_day))
    )


def _quota_faults(grant: Grant) -> Iterator[Fault]:
    for name in ("calls_a_day", "rows_a_day"):
        limit = getattr(grant.quota, name, None)
        if limit is not None and limit < 1:
            yield f"quota.{name}", "is less than 1"


CONDITIONS: tuple[Condition, ...] = (
    Condition("purpose", ("purposes",), _all_of("purposes"), _listed("purposes")),
    Condition("items", ("items",), _all_of("items"), _listed("items")),
    Condition("mode", ("modes",), _all_of("modes"), _listed("modes")),
    Condition("system", ("systems",), _open_list("systems"), _listed("systems", may_be_empty=True)),
    Condition("interface", ("interfaces",), _open_list("interfaces"), _listed("interfaces", may_be_empty=True)),
    Condition("parameters", ("parameters",), _parameters_cover, _parameters_faults, is_added=True),
    Condition("assurance", ("assurance",), _assurance_covers, is_added=True),
    Condition("combination", ("combination",), _all_of("combination"), _listed("combination", may_be_empty=True)),
    Condition("hours", ("hours",), _hours_cover, _hours_faults, is_added=True),
    Condition("quota", ("quota",), _quota_covers, _quota_faults, is_added=True),
    Condition("time", ("valid_from", "valid_until"), _time_covers, _time_faults),
)
"""Every condition, in the order in which the first one that failed is told."""

NOT_CONDITIONS = {
    "id": "names the grant",
    "department": "whom it is for: a grant with another department is another grant",
    "dataset": "what it is of: a grant of another dataset is another grant",
    "legal_basis": "Art. 20: told on record; no call states one",
    "scenario": "Art. 20: told on record, in words",
    "scope_of_use": "Art. 20: told on record, in words",
    "demand_approval": "Art. 20: who approved, and when; checked at issue",
    "supply_approval": "Art. 20, 21: who approved, and when; checked at issue",
    "return_flow": "Art. 24: a kind of grant; it takes conditions away and adds none",
    "version": "counts the versions of one grant",
    "state": "changed by acts alone, each of which says whether it withdraws",
    "disputed": "holds records (Art. 28); sharing goes on",
}
"""The other fields of `Grant`, and why none of them is a condition."""

NO_ADDED_CONDITION = "data returned to a lower level bears no added condition (Decree 809 Art. 24)"


def faults_of(grant: Grant, conditions: Iterable[Condition] | None = None) -> list[Fault]:
    """Everything in a grant itself that keeps it from being put in force; empty if nothing does."""
    rows = CONDITIONS if conditions is None else tuple(conditions)
    faults = [fault for row in rows for fault in row.faults(grant)]
    if grant.return_flow:
        faults += [(row.fields[0], NO_ADDED_CONDITION) for row in rows if row.is_added and _is_set(grant, row)]
    return faults


def narrows(old: Grant, new: Grant) -> bool:
    """Whether some call that `old` covers is not covered by `new`; in doubt, yes.

    INVARIANT: BARRIER rests on this: a renewal that narrows withdraws.
    """
    return not all(row.covers(new, old) for row in CONDITIONS)


def _is_set(grant: Grant, row: Condition) -> bool:
    return any(bool(getattr(grant, field)) for field in row.fields)
