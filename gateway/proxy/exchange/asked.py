"""What a request itself says of whom and what it asks, at the places that the interface's entry names. Pure.

    subject     whom it asks about: one person or several
    parameters  what a grant may constrain
    items       the items asked for, by their names or by those of the supplier's service
    operator    who asks, as `Sharing-Operator` tells
    unit        the unified social credit code of the department that asks
    matter      what for, and why: both as `Sharing-Scenario` tells
    reason

INVARIANT: ONE-MEANING: each place is read as `domain.places.reading` reads it, and what stands in a place and in the
gateway's own field must be the same. INVARIANT: NO-VALUES: an identity number goes on record as a pseudonym alone.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from gateway.domain.directory import AnswerFormat, EveryItem, Interface
from gateway.domain.errors import GatewayError
from gateway.domain.free_text import HINT, holds_identity_number
from gateway.domain.places.language import Place, PlaceError, Source, parse_place
from gateway.domain.places.reading import Found, PlaceFault, PlaceReader
from gateway.proxy.http.heads import Block, malformed
from gateway.proxy.http.targets import Target, is_form, is_form_text, parameters_of, path_parameters

Parameters = tuple[tuple[str, str], ...]

MAX_WORDS = 256
"""Longest operator and scenario, as in the fields that tell the same."""

_CHARSET = re.compile(rb';[ \t]*charset[ \t]*=[ \t]*"?([A-Za-z0-9._\-]{1,40})"?', re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{15}|[0-9]{17}[0-9Xx]")
_LOCAL = re.compile(r"[/:}@]")
"""Before the local name of an element or attribute."""
_PARAMETER = "parameters."
_TOLD = ("operator", "matter", "reason")


class Asked(NamedTuple):
    """What a request says of itself.

    Args:
        subjects: identifiers, each once; they go no further than into pseudonyms.
        parameters: (name, value) of constrained parameters at their places, sorted.
        items: names of the items asked for, sorted; None where it names none.
        operator: who asks, "" if it does not say.
        scenario: what for, "" if it does not say.
        unit: the department's code, "" if it does not say.
        is_read: whether the body was read for every constrained parameter.
        tells_subjects: whether the entry names the places of those it asks about.
    """

    subjects: tuple[str, ...] = ()
    parameters: Parameters = ()
    items: tuple[str, ...] | None = None
    operator: str = ""
    scenario: str = ""
    unit: str = ""
    is_read: bool = False
    tells_subjects: bool = False


NOTHING_ASKED = Asked()
"""Of a request to an interface whose entry names no place."""


class Asks:
    """The places of one interface's entry, compiled.

    Raises:
        GatewayError: `supplier-unreachable` where the entry names a place that is none.
    """

    __slots__ = (
        "_every_item",
        "_items",
        "_most",
        "_paths",
        "_reader",
        "_scopes",
        "_tells_subjects",
        "is_complete",
        "needs_body",
    )

    def __init__(self, interface: Interface) -> None:
        named = interface.request
        texts: dict[str, Iterable[str]] = {
            "subject": named.subject,
            "items": named.items,
            "unit": named.unit,
            **{name: getattr(named, name) for name in _TOLD},
            **{_PARAMETER + name: (text,) for name, text in named.parameters.items()},
        }
        try:
            places = {name: [parse_place(text) for text in each] for name, each in texts.items() if each}
        except PlaceError:
            raise GatewayError("supplier-unreachable", "the interface's entry names a place that is none") from None
        self._reader = PlaceReader(places, _TOLD)
        self._items = _names_of(interface)
        self._every_item = named.every_item
        self._most = named.subjects_a_call
        self._tells_subjects = bool(named.subject)
        self._paths = tuple(tuple(path.split("/")) for path in interface.paths)
        # What stands in the query or the path by its own name was read there already (`constrained`).
        self._scopes = tuple(name for name, text in named.parameters.items() if text not in _own_places(name))
        self.needs_body = bool(self._reader.sources & {Source.BODY, Source.FORM})
        self.is_complete = set(interface.scope_parameters) <= set(named.parameters)

    def read(self, block: Block, target: Target, body: bytes, pseudonym: Callable[[bytes], str]) -> Asked:
        """What the request says.

        Args:
            block: its header block.
            target: its target.
            body: its body, whole; empty where there is none, or no place stands in it.
            pseudonym: of an identity number that is told of the operator or the matter.

        Raises:
            GatewayError: `malformed-request`, whose detail names the place and no value.
        """
        charset = ""
        given: dict[tuple[Source, str], tuple[str | bytes, ...]] = {}
        for source, name in self._reader.roots:
            if source is Source.HEADER:
                given[source, name] = tuple(value for each, value in block.fields if each == name.encode())
        given |= _texts_of(Source.QUERY, parameters_of(target.query, self._named(Source.QUERY)))
        if names := self._named(Source.SEGMENT):
            given |= _texts_of(Source.SEGMENT, path_parameters(target.rest, self._paths, names)[0])
        if body and self.needs_body:
            charset = self._bring_body(block, body, given)
        try:
            return self._asked(self._reader.read(given, charset), bool(body), pseudonym)
        except PlaceFault as fault:
            raise malformed(f"the request's {_plain(fault.name)} cannot be read: {fault.fault}") from None

    def _named(self, source: Source) -> tuple[str, ...]:
        return tuple(name for each, name in self._reader.roots if each is source)

    def _bring_body(self, block: Block, body: bytes, given: dict[tuple[Source, str], tuple[str | bytes, ...]]) -> str:
        """Put the body's part of `given` where it belongs, and tell its character set."""
        fields = dict(block.fields)
        if b"content-encoding" in fields:
            raise malformed("the body has a content coding, and the interface's entry names places in it")
        kind = fields.get(b"content-type", b"")
        names = self._named(Source.FORM)
        if names and is_form(kind):
            if not is_form_text(body):
                raise malformed("the body is no form as browsers write it")
            given |= _texts_of(Source.FORM, parameters_of(body.replace(b"+", b"%20"), names))
            return ""
        if Source.BODY not in self._reader.sources:
            raise malformed("the body is no form, and the interface's entry names fields of one")
        given[Source.BODY, ""] = (body,)
        named = _CHARSET.search(kind)
        return named[1].decode() if named else ""

    def _asked(self, found: Found, has_body: bool, pseudonym: Callable[[bytes], str]) -> Asked:
        subjects = tuple(dict.fromkeys(found.get("subject", ())))
        if len(subjects) > self._most:
            raise PlaceFault("subject", f"it asks about more than {self._most} persons at once")
        parameters = {name: _one(_PARAMETER + name, found) for name in self._scopes}
        return Asked(
            subjects,
            tuple(sorted((name, value) for name, value in parameters.items() if value)),
            self._items_of(found.get("items")),
            _words("operator", found.get("operator", ()), pseudonym),
            _words("reason", (*found.get("matter", ()), *found.get("reason", ())), pseudonym),
            _one("unit", found),
            has_body and self.needs_body and self.is_complete,
            self._tells_subjects,
        )

    def _items_of(self, values: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """The items named, by the entry's names; what it does not know stays as it is, and is refused as unknown."""
        if values is None:
            return None
        names = {part.strip() for value in values for part in value.split(",")}
        if names == {"*"} and self._every_item is EveryItem.GRANTED:
            return None
        if "*" in names:
            raise PlaceFault("items", "it asks for every item; name those that are needed")
        if "" in names:
            raise PlaceFault("items", "it is no list of item names")
        return tuple(sorted({self._items.get(name, name) for name in names}))


def _own_places(name: str) -> set[str]:
    return {Place(source, name).text for source in (Source.QUERY, Source.SEGMENT)}


def _names_of(interface: Interface) -> Mapping[str, str]:
    """Item by its own name and by the last name of its place, as the supplier's service calls it."""
    called: dict[str, set[str]] = {}
    for item, place in interface.places.items():
        last = place.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        if interface.format is AnswerFormat.XML:
            last = _LOCAL.split(place)[-1]
        called.setdefault(last, set()).add(item)
    # A name that is of two items is none.
    return {name: next(iter(items)) for name, items in called.items() if len(items) == 1} | {
        item: item for item in interface.places
    }


def _texts_of(source: Source, found: Iterable[tuple[str, str]]) -> dict[tuple[Source, str], tuple[str | bytes, ...]]:
    return {(source, name): (value,) for name, value in found}


def _one(name: str, found: Found) -> str:
    values = set(found.get(name, ()))
    if len(values) > 1:
        raise PlaceFault(name, "it stands there more than once, and differs")
    return next(iter(values), "")


def _words(name: str, values: Iterable[str], pseudonym: Callable[[bytes], str]) -> str:
    """What is told to people, identity numbers as pseudonyms."""
    told = [pseudonym(value.upper().encode()) if _NUMBER.fullmatch(value) else value for value in values]
    # INVARIANT: NO-VALUES: it would stand in the record, which is never altered.
    if any(holds_identity_number(value) for value in told if value in values):
        raise PlaceFault(name, HINT)
    text = " ".join(told)
    if len(text) > MAX_WORDS:
        raise PlaceFault(name, f"it is longer than {MAX_WORDS} characters")
    return text


def _plain(name: str) -> str:
    return name.removeprefix(_PARAMETER) if name.startswith(_PARAMETER) else name
