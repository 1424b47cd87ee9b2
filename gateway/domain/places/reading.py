"""What stands at places of a request: read once, each document within it undone once, with one meaning.

INVARIANT: ONE-MEANING: what is read at a place is what any client's library reads there. So a value is refused where a
member or element beside it differs from it by case, `-`, `_` or namespace alone (some libraries take the one for the
other), where an array stands for a value or a value for an array, where blanks stand around it, and where it stands in
some of the elements that the place goes through and not in others.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.domain.places.condition import parse_condition
from gateway.domain.places.documents import (
    BLANKS,
    DocumentFault,
    Element,
    Number,
    inner_xml,
    read_base64,
    read_json,
    read_text,
    read_xml,
    xml_octets,
)
from gateway.domain.places.language import Decode, Each, Name, Path, Place, Pointer, Source, Step

MAX_VALUES = 4096
"""Most values of one request at all its places."""

MAX_SAFE_DIGITS = 15
"""Digits of a number that every JSON reader keeps (RFC 7493 §2.2: 2^53 has sixteen)."""


class PlaceFault(ValueError):  # noqa: N818  (what is wrong with the request, as its sender says it)
    """What stands at a place, or on the way there, has no meaning, or more than one.

    Args:
        name: under which the place was asked for.
        fault: what is wrong, without any value.
    """

    def __init__(self, name: str, fault: str) -> None:
        super().__init__(f"`{name}`: {fault}")
        self.name = name
        self.fault = fault


class _Node:
    """What is asked for at one point, and how to go on from there."""

    __slots__ = ("below", "names")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.below: dict[Step, _Node] = {}

    def every_name(self) -> Iterator[str]:
        yield from self.names
        for node in self.below.values():
            yield from node.every_name()

    @property
    def name(self) -> str:
        """A name to say a fault by."""
        return next(self.every_name())


Given = Mapping[tuple[Source, str], tuple[str | bytes, ...]]
"""(source, name) -> what stands there, once for each time it stands there; of the body its octets, under ""."""

Found = dict[str, tuple[str, ...]]
"""Name -> the values at its places, in their order; a name whose places are empty is missing."""


class PlaceReader:
    """Reads several places at once. Made once of an interface's entry; pure, may be shared.

    Args:
        places: name -> its places; what stands at any of them counts.
        told: the names of what is said to people alone: blanks around it say nothing.
    """

    __slots__ = ("_roots", "_told", "sources")

    def __init__(self, places: Mapping[str, Iterable[Place]], told: Iterable[str] = ()) -> None:
        self._roots: dict[tuple[Source, str], _Node] = {}
        self._told = frozenset(told)
        for name, each in places.items():
            for place in each:
                node = self._roots.setdefault((place.source, place.name), _Node())
                for step in place.steps:
                    node = node.below.setdefault(step, _Node())
                node.names.append(name)
        self.sources = frozenset(source for source, _ in self._roots)

    @property
    def roots(self) -> Iterable[tuple[Source, str]]:
        """What of a request is looked into: (source, name)."""
        return self._roots.keys()

    def read(self, given: Given, charset: str = "") -> Found:
        """The values at the places.

        Args:
            given: what the request holds of `roots`.
            charset: of the body, as `Content-Type` names it; "" where it does not.

        Raises:
            PlaceFault: the request, or what is in it, has no meaning there, or more than one.
        """
        reading = _Reading(charset, self._told)
        for root, node in self._roots.items():
            values = given.get(root, ())
            if len(values) > 1:
                raise PlaceFault(node.name, "it stands twice in the request")
            reading.follow(node, list(values))
        return reading.found()


class _Reading:
    """One request, read."""

    def __init__(self, charset: str, told: frozenset[str]) -> None:
        self._charset = charset
        self._told = told
        self._values: dict[str, list[str]] = {}
        self._count = 0

    def found(self) -> Found:
        return {name: tuple(values) for name, values in self._values.items()}

    def follow(self, node: _Node, points: list[Any]) -> None:
        """Go on from points that are all at one place, and note what stands there."""
        for name in node.names:
            texts = [_guarded(name, _value, point, name in self._told) for point in points]
            there = [text for text in texts if text is not None]
            # INVARIANT: ONE-MEANING: a record without its value would be asked about under another's.
            if there and len(there) != len(texts):
                raise PlaceFault(name, "it stands in some elements and not in others")
            self._count += len(there)
            if self._count > MAX_VALUES:
                raise PlaceFault(name, f"the request names more than {MAX_VALUES} values")
            if there:
                self._values.setdefault(name, []).extend(there)
        for step, below in node.below.items():
            found = [_guarded(below.name, self._stepped, step, below, point) for point in points]
            if step is Decode.CONDITION and not any(found):
                # Without one a service may give everybody.
                raise PlaceFault(below.name, "the condition is missing")
            empty = sum(not each for each in found)
            if 0 < empty < len(found) and not isinstance(step, Each):
                raise PlaceFault(below.name, "it stands in some elements and not in others")
            self.follow(below, [point for each in found for point in each])

    def _stepped(self, step: Step, below: _Node, point: Any) -> list[Any]:
        if isinstance(step, Decode):
            return self._decoded(step, below, point)
        if isinstance(step, Each):
            if point is None:
                return []
            if not isinstance(point, list):
                raise DocumentFault("a list is meant, and something else stands there")
            return point
        if isinstance(step, Pointer):
            return _pointed(step, point)
        return _found_by(step, point)

    def _decoded(self, step: Decode, below: _Node, point: Any) -> list[Any]:
        if isinstance(point, Element):
            point = point.text
        if point is None or not point:
            return []
        if isinstance(point, Number) or not isinstance(point, (str, bytes)):
            raise DocumentFault("a text is meant, and something else stands there")
        if step is Decode.XML:
            if isinstance(point, bytes):
                text, _ = xml_octets(point, self._take_charset())
            else:
                text = inner_xml(point)
            return [_Document(read_xml(text))]
        text = self._text(point)
        if step is Decode.BASE64:
            return [read_base64(text)]
        if step is Decode.CONDITION:
            fields = {each.tokens[0] for each in below.below if isinstance(each, Pointer)}
            return [parse_condition(text, frozenset(fields))]
        return [read_json(text)]

    def _text(self, point: str | bytes) -> str:
        return read_text(point) if isinstance(point, bytes) else point

    def _take_charset(self) -> str:
        """What the transport says is of the outermost octets alone."""
        charset, self._charset = self._charset, ""
        return charset


class _Document:
    """An XML document: what a path of it begins at."""

    __slots__ = ("root",)

    def __init__(self, root: Element) -> None:
        self.root = root


def _guarded(name: str, read: Any, *args: Any) -> Any:
    try:
        return read(*args)
    except DocumentFault as fault:
        raise PlaceFault(name, str(fault)) from None


def _pointed(step: Pointer, point: Any) -> list[Any]:
    for token in step.tokens:
        if point is None:
            return []
        if not isinstance(point, dict):
            raise DocumentFault("an object is meant, and something else stands there")
        _check_alike(token, point)
        if token not in point:
            return []
        point = point[token]
    return [point]


def _check_alike(token: str, members: Mapping[str, Any]) -> None:
    folded = _folded(token)
    if any(name != token and _folded(name) == folded for name in members):
        raise DocumentFault("a member beside it differs from its name by case, blanks, `-` or `_` alone")


def _folded(name: str) -> str:
    return name.strip().casefold().replace("_", "").replace("-", "")


def _found_by(step: Path, point: Any) -> list[Any]:
    names = step.elements
    at = [point]
    if isinstance(point, _Document):
        at, names = ([point.root] if _named(names[0], point.root) else []), names[1:]
    for name in names:
        at = _together([[child for child in element.children if _named(name, child)] for element in at])
    attribute = step.attribute
    if attribute is None:
        return at
    return _together(
        [[value for named, value in each.attributes.items() if _is_named(attribute, *named)] for each in at]
    )


def _together(found: list[list[Any]]) -> list[Any]:
    """What was found in each of several elements; none of them lacks what others have."""
    if any(found) and not all(found):
        raise DocumentFault("it stands in some elements and not in others")
    return [each for listed in found for each in listed]


def _named(name: Name, element: Element) -> bool:
    return _is_named(name, element.namespace, element.local)


def _is_named(name: Name, namespace: str, local: str) -> bool:
    if name.is_of(namespace, local):
        return True
    if _folded(local) == _folded(name.local):
        raise DocumentFault("an element differs from its name by case, namespace, `-` or `_` alone")
    return False


def _value(point: Any, is_told: bool) -> str | None:
    """The text at a place; None where nothing is said."""
    if isinstance(point, _Document):
        raise DocumentFault("a text is meant, and a document stands there")
    if isinstance(point, Element):
        text = point.text
        if not text.strip(BLANKS):
            return None
    elif isinstance(point, bytes):
        text = read_text(point)
    elif isinstance(point, Number):
        digits = point.removeprefix("-")
        if not digits.isdigit() or len(digits) > MAX_SAFE_DIGITS:
            raise DocumentFault("a number with a fraction, an exponent or more than 15 digits is read in several ways")
        text = str(point)
    elif isinstance(point, str):
        text = point
    elif point is None:
        return None
    else:
        raise DocumentFault("a text is meant, and something else stands there")
    if is_told:
        text = text.strip()
    elif text.strip() != text:
        raise DocumentFault("blanks stand around it")
    if not text.replace("\u3000", "").isprintable():
        raise DocumentFault("it holds a sign that is not printed")
    return text or None
