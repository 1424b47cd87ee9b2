"""The shape of an answer that its interface's entry does not know: names alone, for whoever keeps the entry.

A name is told where it looks like one that people give to members and elements, and holds no number of a person; what
else stands as a name (a person's name or number as a key) is told as `?` (INVARIANT: NO-VALUES).
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.domain.places.documents import DocumentFault, Element, read_xml

MOST_NAMES = 40
MOST_DEPTH = 6
MOST_BYTES = 1 << 20
"""A longer answer is not looked into."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:\-]{0,40}")
_DIGITS = re.compile(r"[0-9]{6}")


def shape_of(content: bytes, *, is_xml: bool) -> tuple[str, ...]:
    """Places of an answer, as paths of names, in order; empty where it is no document.

    Args:
        content: the answer, in UTF-8.
        is_xml: whether it should be XML, and not JSON.
    """
    if len(content) > MOST_BYTES:
        return ()
    try:
        if is_xml:
            root = read_xml(content.decode("utf-8"))
            paths = _elements(root, 0)
        else:
            paths = _members(msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf")), 0)
        found = list(dict.fromkeys(path for path, _ in zip(paths, range(MOST_NAMES * 50), strict=False)))
    except (DocumentFault, UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return ()
    return tuple(found[:MOST_NAMES])


def _members(value: Any, depth: int) -> Iterator[str]:
    if depth == MOST_DEPTH:
        return
    if isinstance(value, list):
        for each in value[:8]:
            yield from _members(each, depth)
    elif isinstance(value, dict):
        for name, inner in value.items():
            told = f"/{_told(name)}"
            yield told
            yield from (told + path for path in _members(inner, depth + 1))


def _elements(element: Element, depth: int) -> Iterator[str]:
    told = f"/{_told(element.local)}"
    yield told
    if depth < MOST_DEPTH:
        for child in element.children[:200]:
            yield from (told + path for path in _elements(child, depth + 1))


def _told(name: str) -> str:
    return name if _NAME.fullmatch(name) and not _DIGITS.search(name) else "?"
