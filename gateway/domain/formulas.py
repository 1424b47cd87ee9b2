"""Texts that a spreadsheet program would take for a formula, and how an export writes them so that it does not.

A caller chooses the words of its scenario, a supplier the names of its entries; who opens the file would run them.
Signs count in every width that a program may fold to the plain one, and behind blanks that it may leave out.

Source: OWASP, CSV Injection; full-width signs as Excel of East Asian editions reads them.
"""

import unicodedata

_SIGNS = frozenset("=+-@")
_BLANK = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})


def is_formula(text: str) -> bool:
    """Whether a spreadsheet program may take it for a formula."""
    if text.startswith(("\t", "\r")):
        return True
    first = next((sign for sign in text if unicodedata.category(sign) not in _BLANK), "")
    return unicodedata.normalize("NFKC", first)[:1] in _SIGNS if first else False


def escaped(text: str) -> str:
    """A cell that no spreadsheet program takes for a formula: behind an apostrophe, as is what begins with one."""
    return f"'{text}" if text.startswith("'") or is_formula(text) else text


def unescaped(cell: str) -> str:
    """The text that `escaped` gave, or the cell as it is."""
    return cell[1:] if cell.startswith("'") and (cell[1:].startswith("'") or is_formula(cell[1:])) else cell
