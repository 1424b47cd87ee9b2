"""What a text means to a person who compares it: one form of identity numbers, names, dates and full-width letters.

Verify mode compares these forms, of what is asked and of what the supplier holds alike, so that `442000199001011` and
the same person's number of 18 digits match, `x` and `X`, `张　三` and `张三`, `1990-01-01` and `1990年1月1日`. A form
depends on the text alone, and no two texts that mean different things to a person have one.

Source: GB 11643 (identity numbers, check digit), GB 32100 (unified social credit codes).
"""

import re
import unicodedata
from datetime import date

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
_PLAIN_DATE = re.compile(r"((?:19|20)[0-9]{2})(0[1-9]|1[0-2])([0-3][0-9])")


def meant(text: str) -> str:
    """The form of a text."""
    if len(text) > MAX_MEANT:
        return text
    plain = _BLANKS.sub(" ", unicodedata.normalize("NFKC", text)).strip()
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
