"""A start tag of a well-formed document, taken apart: where its name, its attributes and its end stand."""

import re
from typing import NamedTuple

_TAG = re.compile(rb"<([^\s/>]+)((?:[^>\"']|\"[^\"]*\"|'[^']*')*?)(/?)>")
_NAME = re.compile(rb"<([^\s/>]+)")
_SLASH = ord("/")
_ATTRIBUTE = re.compile(rb"[ \t\r\n]+([^\s=]+)[ \t\r\n]*=[ \t\r\n]*(?:\"[^\"]*\"|'[^']*')")


class Attribute(NamedTuple):
    """An attribute as it stands.

    Args:
        raw: its name as it is written.
        start: of the blanks before it.
        end: behind its value.
        name: as expat resolves it, "" for a declaration of a namespace.
        value: as expat reads it; of a declaration the URI.
    """

    raw: str
    start: int
    end: int
    name: str
    value: str

    @property
    def declares(self) -> str | None:
        """The prefix that it declares, "" for the default namespace, None where it declares none."""
        if self.raw == "xmlns":
            return ""
        return self.raw[6:] if self.raw.startswith("xmlns:") else None

    @property
    def prefix(self) -> str:
        """The prefix of its name, "" for none."""
        return self.raw.partition(":")[0] if ":" in self.raw else ""


class Tag(NamedTuple):
    """A start tag as it stands; places are expat's indices.

    Args:
        name: as expat resolves it.
        prefix: of its name, "" for none.
        start: its first octet.
        name_end: behind its name.
        close: of `>` or `/>`.
        end: behind it.
        is_empty: whether it is an empty element by itself.
        attributes: in their order, declarations too.
    """

    name: str
    prefix: str
    start: int
    name_end: int
    close: int
    end: int
    is_empty: bool
    attributes: tuple[Attribute, ...]

    @property
    def namespace(self) -> str:
        """The namespace of its name, "" for none."""
        return self.name.rpartition("\n")[0]


def read_tag(
    buffer: bytes | bytearray, origin: int, start: int, name: str, told: list[str], declared: list[tuple[str, str]]
) -> Tag:
    """The tag of which expat tells.

    Args:
        buffer: what holds it.
        origin: expat's index of the buffer's first octet.
        start: expat's index of the tag.
        name: as expat resolves it.
        told: names and values of attributes, one after the other, as expat tells them in order.
        declared: prefixes and URIs that it declares.
    """
    if not told and not declared:
        named = _NAME.match(buffer, start - origin)
        assert named is not None
        end = buffer.index(b">", named.end()) + 1
        is_empty = buffer[end - 2] == _SLASH
        raw = named[1].decode()
        prefix = raw.partition(":")[0] if ":" in raw else ""
        close = end - 2 if is_empty else end - 1
        return Tag(name, prefix, start, named.end() + origin, close + origin, end + origin, is_empty, ())
    found = _TAG.match(buffer, start - origin)
    assert found is not None
    attributes: list[Attribute] = []
    if told or declared:
        uris = dict(declared)
        values = iter(zip(told[::2], told[1::2], strict=True))
        for each in _ATTRIBUTE.finditer(buffer, found.start(2), found.end(2)):
            raw = each[1].decode()
            attribute = Attribute(raw, each.start() + origin, each.end() + origin, "", "")
            prefix = attribute.declares
            resolved, value = next(values) if prefix is None else ("", uris[prefix])
            attributes.append(attribute._replace(name=resolved, value=value))
    raw = found[1].decode()
    return Tag(
        name,
        raw.partition(":")[0] if ":" in raw else "",
        start,
        found.end(1) + origin,
        found.end(2) + origin,
        found.end() + origin,
        bool(found[3]),
        tuple(attributes),
    )
