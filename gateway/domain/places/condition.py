"""A free condition, as some services are asked by one (`Params.Condition`), read by a grammar that has one meaning.

    condition = equality *( blanks "AND" blanks equality )
    equality  = field [blanks] "=" [blanks] "'" value "'"

Anything wider (OR, other comparisons, functions, brackets, comments) is refused, and so is a field that the entry does
not name: asking whether a person's item has some value tells that item, whoever filters the answer
(INVARIANT: GRANTED-ITEMS-ONLY). A value holds no quote and no backslash, so where it ends is never in doubt.
"""

import re

from gateway.domain.places.documents import DocumentFault

_EQUALITY = re.compile(r"([^\W\d]\w{0,63}) ?= ?'([^'\"\\\x00-\x1f\x7f]{1,256})'")
_AND = re.compile(r" +(?:AND|and) +")


def parse_condition(text: str, fields: frozenset[str]) -> dict[str, str]:
    """Field -> the value that it must equal.

    Args:
        text: the condition.
        fields: those that the entry names: each stands once, and no other.

    Raises:
        DocumentFault: the condition is wider, asks by another field, or lacks one.
    """
    found: dict[str, str] = {}
    position = 0
    while True:
        equality = _EQUALITY.match(text, position)
        if equality is None:
            raise DocumentFault("the condition is more than equalities `name='value'` joined by AND")
        name, value = equality[1], equality[2]
        if name not in fields:
            raise DocumentFault("the condition asks by a field that the interface's entry does not name")
        if name in found:
            raise DocumentFault("the condition names a field twice")
        found[name] = value
        position = equality.end()
        if position == len(text):
            break
        joined = _AND.match(text, position)
        if joined is None:
            raise DocumentFault("the condition is more than equalities `name='value'` joined by AND")
        position = joined.end()
    if fields - found.keys():
        raise DocumentFault(f"the condition lacks {', '.join(sorted(fields - found.keys()))}")
    return found
