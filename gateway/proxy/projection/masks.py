"""What is left of an item's value when a determining policy masks it (`@mask`).

    last-N     every character but the last N (1 to 9) becomes `*`
    first-N    every character but the first N
    year       a date's year: the first four digits of `YYYY-…`, `YYYY/…`, `YYYYMMDD…`, `YYYY年…`
    hash       the keyed pseudonym of the value: equal values stay equal within a year, none can be guessed
    redact     `***`
    null       JSON null

`keep-last-4`, `keep_last_4` and `year-only` are read as `last-4` and `year`. A mask that is not known, or a value that
a mask cannot work on (an object, an array), leaves nothing: the item is left out (INVARIANT: GRANTED-ITEMS-ONLY).
"""

import re
from collections.abc import Callable

Mask = Callable[[str], str | None]
"""From the value's text to what may leave, None for nothing."""

_KEEP = re.compile(r"(?:keep-)?(last|first)-?([1-9])")
_YEAR = re.compile(r"([12][0-9]{3})(?:[-/年.].*|[0-9]{4}.*|)", re.DOTALL)


def _nothing(_: str) -> None:
    return None


def _year(text: str) -> str | None:
    match = _YEAR.fullmatch(text)
    return match[1] if match else None


def parse_mask(name: str, pseudonym: Callable[[bytes], str]) -> Mask:
    """The mask a policy names; one that lets nothing through where the name is not known."""
    plain = name.strip().lower().replace("_", "-")
    keep = _KEEP.fullmatch(plain)
    if keep is not None:
        count = int(keep[2])
        if keep[1] == "last":
            # A text no longer than what is kept would leave whole.
            return lambda text: (
                "*" * max(len(text) - count, 0) + (text[-count:] if len(text) > count else "*" * len(text))
            )
        return lambda text: (
            (text[:count] if len(text) > count else "") + "*" * (len(text) - count if len(text) > count else len(text))
        )
    if plain in {"year", "year-only"}:
        return _year
    if plain == "hash":
        return lambda text: pseudonym(text.encode("utf-8"))
    if plain in {"redact", "all", "full"}:
        return lambda _: "***"
    return _nothing
