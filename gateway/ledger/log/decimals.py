"""Numbers in text from outside: checkpoints, proofs, witnesses, cursors, record ids, names of files in a log."""

import re

MAX_NUMBER = (1 << 63) - 1
"""What SQLite keeps and DuckDB compares; no log has as many leaves."""

_is_decimal = re.compile(r"0|[1-9][0-9]{0,18}").fullmatch
"""At most as many digits as `MAX_NUMBER`: `int` refuses some thousands with an error of its own, and is slow before."""


def parse_decimal(text: str) -> int:
    """The number that `text` is in decimal: ASCII digits, no sign, no leading zero, at most `MAX_NUMBER`.

    Raises:
        ValueError: if it is none.
    """
    if _is_decimal(text) is None or (number := int(text)) > MAX_NUMBER:
        raise ValueError("not a number that is counted with here")
    return number
