"""What a text means to a person who compares it: one form of identity numbers, names, dates and full-width letters.

Verify mode compares these forms, of what is asked and of what the supplier holds alike, so that `442000199001011` and
the same person's number of 18 digits match, `x` and `X`, `张　三` and `张三`, `1990-01-01` and `1990年1月1日`. A form
depends on the text and on the type that the directory entry gives its item: of a number the value counts, so that an
amount of 15 digits is never taken for an identity number; of a date the day, whatever time stands behind it; of a
moment the second; of a yes or no what it says. No two texts that mean different things to a person have one form.

Source: GB 11643 (identity numbers, check digit), GB 32100 (unified social credit codes).
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal

MAX_MEANT = 1024
"""Longest text that is brought to a form: names, numbers and dates are shorter, and the work grows with the length."""

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_BLANKS = re.compile(r"\s+")
_BETWEEN_HAN = re.compile(rf"(?<=[{_HAN}·])\s+(?=[{_HAN}·])")
_DOTS = re.compile(rf"(?<=[{_HAN}])\s*[·•‧∙⋅・･.．。]\s*(?=[{_HAN}])")
_OLD_NUMBER = re.compile(r"[1-9][0-9]{5}(?:[0-9]{2})(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}")
_NUMBER = re.compile(r"[0-9]{17}[0-9xX]")
_CODE = re.compile(r"[0-9A-HJ-NP-RTUWXYa-hj-np-rtuwxy]{18}")
_DATE = re.compile(
    r"([12][0-9]{3})(?:-|/|\.|年)([0-9]{1,2})(?:-|/|\.|月)([0-9]{1,2})日?(?:[T ]00:00(?::00(?:\.0+)?)?)?"
)
_AMOUNT = re.compile(r"[+-]?(?:[0-9]{1,60}|[0-9]{1,3}(?:,[0-9]{3}){1,19})(?:\.[0-9]{1,60})?")
_MOMENT = re.compile(
    r"([12][0-9]{3})(?:(?:-|/|\.|年)([0-9]{1,2})(?:-|/|\.|月)([0-9]{1,2})日?|([0-9]{2})([0-9]{2}))"
    r"(?:[T ]?([0-9]{2}):?([0-9]{2})(?::?([0-9]{2})(?:\.[0-9]{1,9})?)?)?"
)
_YES, _NO = frozenset({"true", "yes", "y", "1", "是"}), frozenset({"false", "no", "n", "0", "否"})
_PLAIN_DATE = re.compile(r"((?:19|20)[0-9]{2})(0[1-9]|1[0-2])([0-3][0-9])")


def meant(text: str, type: str = "") -> str:  # noqa: A002 - the directory's word
    """The form of a text of an item.

    Args:
        text: as it was sent or answered.
        type: the item's, as the directory states it; one that is not known, such as `string`, leaves it to the text.
    """
    if len(text) > MAX_MEANT:
        return text
    plain = _BLANKS.sub(" ", unicodedata.normalize("NFKC", text)).strip()
    by_type = _BY_TYPE.get(type)
    if by_type is not None:
        return by_type(plain) or plain
    plain = _DOTS.sub("·", _BETWEEN_HAN.sub("", plain))
    if _OLD_NUMBER.fullmatch(plain):
        return _renewed(plain)
    if _NUMBER.fullmatch(plain) or _CODE.fullmatch(plain):
        return plain.upper()
    return _day(plain) or plain


def _renewed(number: str) -> str:
    """The 18 digits of an identity number of 15: the century, and the check digit."""
    longer = f"{number[:6]}19{number[6:]}"
    return longer + _CHECKS[sum(int(digit) * weight for digit, weight in zip(longer, _WEIGHTS, strict=True)) % 11]


def _day(text: str) -> str:
    found = _DATE.fullmatch(text) or _PLAIN_DATE.fullmatch(text)
    if found is None:
        return ""
    try:
        return date(int(found[1]), int(found[2]), int(found[3])).isoformat()
    except ValueError:
        return ""


def _value(text: str) -> str:
    if _AMOUNT.fullmatch(text) is None:
        return ""
    plain = f"{Decimal(text.replace(',', '')):f}"
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return plain.removeprefix("+") if plain.strip("-0.") else "0"


def _moment(text: str) -> str:
    found = _MOMENT.fullmatch(text)
    if found is None:
        return ""
    parts = (found[1], found[2] or found[4], found[3] or found[5], found[6] or 0, found[7] or 0, found[8] or 0)
    year, month, day, hour, minute, second = map(int, parts)
    try:
        # Of no zone, as it stands in the register.
        return datetime(year, month, day, hour, minute, second).isoformat()  # noqa: DTZ001
    except ValueError:
        return ""


def _day_of_moment(text: str) -> str:
    return _moment(text)[:10]


def _yes_or_no(text: str) -> str:
    word = text.lower()
    return "true" if word in _YES else "false" if word in _NO else ""


_BY_TYPE: Mapping[str, Callable[[str], str]] = {
    "number": _value,
    "integer": _value,
    "date": _day_of_moment,
    "datetime": _moment,
    "boolean": _yes_or_no,
}
