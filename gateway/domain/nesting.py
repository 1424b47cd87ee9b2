"""How deep JSON nests, told before a parser reads it: parsers recurse, and so does whatever walks what they make.

Cost: linear in the text, and at most `most` passes over its brackets, whatever it holds.
"""

import re

MAX_DEPTH = 64
"""Objects and arrays within each other; an OpenAPI document of a national platform needs some 25."""

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_PAIRS = re.compile(rb"\[\]|\{\}")
_BRACKETS = b"[]{}"
_OTHERS = bytes(byte for byte in range(256) if byte not in _BRACKETS)


def is_too_deep(text: bytes, most: int = MAX_DEPTH) -> bool:
    """Whether some value in `text` stands within more than `most` objects and arrays.

    What is no JSON may be called too deep or not: the parser refuses it in any case.
    """
    if text.count(b"[") + text.count(b"{") <= most:
        return False
    # A string's brackets open nothing; then what opens and closes at once goes, one level a pass.
    brackets = _STRINGS.sub(b"", text).translate(None, _OTHERS)
    for _ in range(most):
        before = len(brackets)
        if not before:
            return False
        brackets = _PAIRS.sub(b"", brackets)
        if len(brackets) == before:
            return True
    return bool(brackets)
