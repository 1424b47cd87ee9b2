"""Free text: what a person or system says in its own words, and what may not stand in it (INVARIANT: NO-VALUES).

A record of the log is never altered, so nothing may enter it that the law may want erased. An identity number has 18
digits, or 15 in its older form (GB 11643); a text that holds that many digits in a row is refused, whether they are a
valid number or not. Full-width and other digits are digits, and what parts them (blanks, hyphens, dots, signs of no
width) hides nothing. The code of a directory entry, nine digits and six, is no such number.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from gateway.domain.errors import GatewayError

LENGTHS = frozenset({15, 18})
_MOST_APART = 3
"""Signs between two digits that are still one number to a reader."""
_CODE = re.compile(r"(?<!\d)\d{9}[./]\d{6}(?!\d)")
_GROUPS = re.compile(rf"\d+(?:[^\w]{{1,{_MOST_APART}}}\d+)*(?:[^\w]{{0,{_MOST_APART}}}[xX])?", re.ASCII)
_DIGITS = re.compile(r"\d+", re.ASCII)

HINT = "holds 15 or 18 digits, as identity numbers have: a record names nobody so; say it without the number"


def holds_identity_number(text: str) -> bool:
    """Whether a text holds 15 or 18 digits in a row, or 17 and the check sign `X`."""
    if len(text) < min(LENGTHS):
        return False
    folded = _CODE.sub(" code ", _folded(text))
    return any(_is_numbered(found[0]) for found in _GROUPS.finditer(folded))


def require_no_identity_number(value: Any, field: str) -> None:
    """Raise `invalid-input`, which names `field` and not the number, where a text, or one of several, holds one."""
    if isinstance(value, str):
        if holds_identity_number(value):
            raise GatewayError("invalid-input", f"`{field}` {HINT}", faults=[{"field": field, "fault": HINT}])
    elif isinstance(value, Sequence):
        for each in value:
            require_no_identity_number(each, field)


def _folded(text: str) -> str:
    """Digits of every script as ASCII, and what parts them as signs that are no letters."""
    normal = unicodedata.normalize("NFKC", text)
    return "".join(_sign(each) for each in normal)


def _sign(each: str) -> str:
    digit = unicodedata.decimal(each, None)
    if digit is not None:
        return str(digit)
    if each.isascii():
        return " " if each == "_" else each
    return "x" if each == "×" else "a" if each.isalpha() else " "


def _is_numbered(groups: str) -> bool:
    """Whether groups of digits, one after the other, have the length of an identity number."""
    lengths = [len(each) for each in _DIGITS.findall(groups)]
    if groups[-1] in "xX":
        lengths[-1] += 1
    for first in range(len(lengths)):
        total = 0
        for length in lengths[first:]:
            total += length
            if total in LENGTHS:
                return True
            if total > max(LENGTHS):
                break
    # The check sign may be left out of the count: `123 x` is fifteen and a letter.
    return groups[-1] in "xX" and _is_numbered(groups[:-1])
