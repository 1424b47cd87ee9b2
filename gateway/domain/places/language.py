"""The language of places: where something stands in a request or an answer, as one value with one text.

    place    = source *step              query:id_number      body~json/EndUser/UserCardId
    below    = *step                     /GMSFHM              /ext~json/xm
    source   = "body" / ("header" / "query" / "form" / "segment") ":" name
    step     = "~json"                   the text or octets are a JSON text
             / "~xml"                    the text or octets are an XML document; CDATA is text
             / "~base64"                 the text is base64 (RFC 4648 §4) of what follows
             / "~condition"              the text is `name='value'`, several joined by `AND`
             / "~each"                   each element of a JSON array
             / 1*("/" token)             in JSON: a JSON Pointer (RFC 6901); in a condition: the name of a field
             / 1*("/" test) ["/@" test]  in XML: elements by name, every one that bears it; at the end an attribute
    test     = name                      in no namespace
             / "*:" name                 in whatever namespace
             / "Q{" uri "}" name         in that namespace (XPath 3.1 §2.2)

In a name and a token `~0` stands for `~` and `~1` for `/`; no other `~` is part of one, so a step's begin is never in
doubt, and every JSON Pointer means here what it means by itself. JSON and XML are undone at most three deep.

    PACKAGE in CDATA in SOAP    body~xml/*:Envelope/*:Body/*:CHECK/*:in0~xml/PACKAGE/DATA/RECORD/GMSFHM
    a form's field that is JSON form:biz_content~json/cert_num_man
    an equality of a condition  body~json/Params/Condition~condition/GMSFHM
"""

import re
from enum import StrEnum
from functools import lru_cache

import msgspec

MAX_DOCUMENTS = 3
"""How many JSON and XML texts one place may undo, one within the other."""

MAX_TEXT = 1024
"""Longest text of a place, in characters."""

_NAME = r"[^\W\d][\w.\-·]*"
_TEST = re.compile(rf"(?:(\*):|Q\{{([^{{}}\s\x00-\x20]*)\}})?({_NAME})")
_STEP = re.compile(r"~(?![01])([a-z0-9]*)|/")
_TOKEN = re.compile(r"(?:[^~/\x00-\x1f\x7f]|~[01])*")
_SOURCE_NAME = re.compile(r"(?:[^~/\x00-\x1f\x7f]|~[01])+")
_FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|0-9A-Za-z]+")
_CONDITION_NAME = re.compile(r"[^\W\d]\w{0,63}")


class PlaceError(ValueError):
    """A text that names no place.

    Args:
        fault: what is wrong, in words.
        position: of the first character that is, counted from 0.
    """

    def __init__(self, fault: str, position: int) -> None:
        super().__init__(f"{fault}, at character {position + 1}")
        self.fault = fault
        self.position = position


class Source(StrEnum):
    """What of a request a place begins with; of an answer it is the body."""

    HEADER = "header"
    QUERY = "query"
    FORM = "form"
    SEGMENT = "segment"
    BODY = "body"


class Decode(StrEnum):
    """What a text or octets are undone as."""

    JSON = "json"
    XML = "xml"
    BASE64 = "base64"
    CONDITION = "condition"


class Each(msgspec.Struct, frozen=True):
    """Each element of a JSON array."""


class Pointer(msgspec.Struct, frozen=True):
    """The tokens of a JSON Pointer, at least one; of a condition the one name of a field."""

    tokens: tuple[str, ...]


class Name(msgspec.Struct, frozen=True):
    """A test of an element's or attribute's name.

    Args:
        local: its local name.
        namespace: the URI of its namespace; "" is none, None is whatever there is.
    """

    local: str
    namespace: str | None = ""

    def is_of(self, namespace: str, local: str) -> bool:
        """Whether a name passes."""
        return local == self.local and self.namespace in {None, namespace}


class Path(msgspec.Struct, frozen=True):
    """Elements below an element or, as the first step in a document, from its root on; every one that is so named.

    Args:
        elements: the names, from the outside in.
        attribute: of an attribute of the last of them, if it is meant.
    """

    elements: tuple[Name, ...]
    attribute: Name | None = None


Step = Decode | Each | Pointer | Path


class Place(msgspec.Struct, frozen=True):
    """Where something stands.

    Args:
        source: what is looked into.
        name: the header field's in lower case, the parameter's, or what `paths` calls a segment; "" for the body.
        steps: how to go on from there.
    """

    source: Source
    name: str = ""
    steps: tuple[Step, ...] = ()

    @property
    def text(self) -> str:
        """The place as it is written; `parse_place` reads it back."""
        named = f":{_escaped(self.name)}" if self.name else ""
        return f"{self.source}{named}{text_of_steps(self.steps)}"


class Kind(StrEnum):
    """What stands at a place while it is read: it says which steps may follow."""

    TEXT = "text"
    JSON = "json"
    XML = "xml"
    ATTRIBUTE = "attribute"
    CONDITION = "condition"


def parse_place(text: str) -> Place:
    """A place, as an entry writes it.

    Raises:
        PlaceError: it is none; the message says what is wrong and where.
    """
    source_text = re.match(r"[a-z]*", text)
    assert source_text is not None
    word, start = source_text[0], source_text.end()
    if word not in _SOURCES:
        raise PlaceError(f"a place begins with one of {', '.join(Source)}", 0)
    source, name = Source(word), ""
    if source is not Source.BODY:
        if text[start : start + 1] != ":":
            raise PlaceError(f"`{source}` names what is meant: `{source}:NAME`", start)
        raw = _SOURCE_NAME.match(text, start + 1)
        if raw is None:
            raise PlaceError(f"`{source}:` lacks its name", start + 1)
        name, start = _unescaped(raw[0]), raw.end()
        if source is Source.HEADER:
            if _FIELD_NAME.fullmatch(name) is None:
                raise PlaceError("this is no name of a header field (RFC 9110 §5.1)", raw.start())
            name = name.lower()
    return Place(source, name, parse_steps(text, Kind.TEXT, start))


@lru_cache(maxsize=4096)
def parse_steps(text: str, kind: Kind, start: int = 0) -> tuple[Step, ...]:
    """The steps of a text from `start` on, where what stands there is a `kind`.

    In a JSON answer, and below a row of one, that is `Kind.JSON`, of an XML answer `Kind.XML`.

    Raises:
        PlaceError: as `parse_place`.
    """
    if len(text) > MAX_TEXT:
        raise PlaceError(f"a place has at most {MAX_TEXT} characters", MAX_TEXT)
    steps: list[Step] = []
    documents = int(kind in {Kind.JSON, Kind.XML})
    position = start
    while position < len(text):
        found = _STEP.match(text, position)
        if found is None:
            raise PlaceError("a step begins with `/` or `~`", position)
        step: Step
        if found[1] is not None:
            step, kind = _word(found[1], kind, position)
            position = found.end()
        else:
            step, kind, position = _names(text, kind, position, is_first=_is_at_root(steps))
        steps.append(step)
        documents += step in {Decode.JSON, Decode.XML}
        if documents > MAX_DOCUMENTS:
            raise PlaceError(f"documents are undone at most {MAX_DOCUMENTS} deep", found.start())
    if kind is Kind.CONDITION:
        raise PlaceError("of a condition one field is meant: `~condition/NAME`", len(text))
    return tuple(steps)


def kind_after(steps: tuple[Step, ...], kind: Kind) -> Kind:
    """What stands at the end of steps that begin at a `kind`."""
    for step in steps:
        if isinstance(step, Decode):
            kind = _DECODED[step]
        elif isinstance(step, Path):
            kind = Kind.ATTRIBUTE if step.attribute is not None else Kind.XML
        elif kind is Kind.CONDITION:
            kind = Kind.TEXT
    return kind


def text_of_steps(steps: tuple[Step, ...]) -> str:
    """Steps as they are written."""
    return "".join(_written(step) for step in steps)


_SOURCES = frozenset(Source)
_DECODES = frozenset(Decode)
_DECODED = {
    Decode.JSON: Kind.JSON,
    Decode.XML: Kind.XML,
    Decode.BASE64: Kind.TEXT,
    Decode.CONDITION: Kind.CONDITION,
}


def _is_at_root(steps: list[Step]) -> bool:
    return bool(steps) and steps[-1] is Decode.XML


def _word(word: str, kind: Kind, position: int) -> tuple[Step, Kind]:
    if word == "each":
        if kind is not Kind.JSON:
            raise PlaceError("`~each` goes through a JSON array, and there is none", position)
        return Each(), kind
    if word not in _DECODES:
        raise PlaceError(f"`~` begins one of each, {', '.join(Decode)}; `~0` is a `~` in a name", position)
    if kind is Kind.CONDITION:
        raise PlaceError("of a condition one field is meant: `~condition/NAME`", position)
    return Decode(word), _DECODED[Decode(word)]


def _names(text: str, kind: Kind, position: int, *, is_first: bool) -> tuple[Step, Kind, int]:
    if kind is Kind.TEXT:
        raise PlaceError("a text has no members: say first what it is, by `~json`, `~xml` or another `~`", position)
    if kind is Kind.ATTRIBUTE:
        raise PlaceError("nothing stands below an attribute", position)
    if kind is Kind.XML:
        if is_first and text[position + 1 : position + 2] == "@":
            raise PlaceError("an XML document's path begins with the name of its root", position)
        path, position = _path(text, position)
        return path, Kind.ATTRIBUTE if path.attribute is not None else Kind.XML, position
    tokens: list[str] = []
    while text[position : position + 1] == "/":
        token = _TOKEN.match(text, position + 1)
        assert token is not None
        tokens.append(_unescaped(token[0]))
        start, position = position + 1, token.end()
        if kind is Kind.CONDITION:
            if _CONDITION_NAME.fullmatch(tokens[0]) is None:
                raise PlaceError("this is no name of a condition's field: letters, digits and `_`", start)
            return Pointer(tuple(tokens)), Kind.TEXT, position
    return Pointer(tuple(tokens)), kind, position


def _path(text: str, position: int) -> tuple[Path, int]:
    elements: list[Name] = []
    attribute: Name | None = None
    while text[position : position + 1] == "/":
        is_attribute = text[position + 1 : position + 2] == "@"
        start = position + 2 if is_attribute else position + 1
        found = _TEST.match(text, start)
        if found is None:
            raise PlaceError("this is no XML name; namespaces are written `Q{uri}name`, `*:name` is any", start)
        if attribute is not None:
            raise PlaceError("nothing stands below an attribute", position)
        name = Name(found[3], None if found[1] else found[2] or "")
        position = found.end()
        if text[position : position + 1] == ":":
            raise PlaceError("a prefix says nothing by itself; write `Q{uri}name`, or `*:name` for any", start)
        if is_attribute:
            attribute = name
        else:
            elements.append(name)
    return Path(tuple(elements), attribute), position


def _written(step: Step) -> str:
    if isinstance(step, Decode):
        return f"~{step.value}"
    if isinstance(step, Each):
        return "~each"
    if isinstance(step, Pointer):
        return "".join(f"/{_escaped(token)}" for token in step.tokens)
    at = "" if step.attribute is None else f"/@{_tested(step.attribute)}"
    return "".join(f"/{_tested(name)}" for name in step.elements) + at


def _tested(name: Name) -> str:
    if name.namespace is None:
        return f"*:{name.local}"
    return f"Q{{{name.namespace}}}{name.local}" if name.namespace else name.local


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _unescaped(name: str) -> str:
    return name.replace("~1", "/").replace("~0", "~")
