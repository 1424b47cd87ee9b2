"""What reduces the answers of an interface: made of its entry and a set of granted items, document within document."""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec
from msgspec import Raw

from gateway.domain.directory import AnswerFormat, Interface
from gateway.domain.places.answers import Document, Tokens, parse_below, parse_beside, parse_rows
from gateway.domain.places.documents import DocumentFault, inner_xml, read_base64, xml_octets
from gateway.domain.places.language import Kind, Path, PlaceError
from gateway.proxy.projection.document import DocumentProjector
from gateway.proxy.projection.envelope import Answered, Member, Reduced, Watch, not_filterable
from gateway.proxy.projection.levels import level_tree
from gateway.proxy.projection.masks import Mask
from gateway.proxy.projection.projected import Projected, Projector, Steps, at_once
from gateway.proxy.projection.xml.reducer import SLICE_BYTES, XmlAnswer, XmlReducer
from gateway.proxy.projection.xml.rows import Scope
from gateway.proxy.projection.xml.tree import namespaces_of, outer_tree, row_tree

Bounds = Mapping[str, frozenset[str]]
_KINDS = {AnswerFormat.JSON: Kind.JSON, AnswerFormat.XML: Kind.XML}
_BOMS = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}


def make_projector(
    interface: Interface,
    granted: tuple[str, ...],
    masks: Mapping[str, Mask],
    bounds: Bounds = MappingProxyType({}),
    *,
    row_bytes: int,
) -> Projector | None:
    """What reduces answers of an interface as documents; None for a format that has none.

    Raises:
        GatewayError: `answer-not-filterable` where the entry itself is faulty.
    """
    kind = _KINDS.get(interface.format)
    if kind is None:
        return None
    try:
        return _Making(interface, kind, granted, masks, bounds, row_bytes).projector()
    except PlaceError:
        raise not_filterable("the interface's entry names a place that is none") from None


class _Beside:
    """What the entry declares beside the rows of one document."""

    def __init__(self) -> None:
        self.members: dict[Tokens | Path, Member] = {}
        self.watches: dict[Tokens | Path, Watch] = {}


class _Making:
    def __init__(
        self,
        interface: Interface,
        kind: Kind,
        granted: tuple[str, ...],
        masks: Mapping[str, Mask],
        bounds: Bounds,
        row_bytes: int,
    ) -> None:
        self._interface = interface
        self._granted, self._masks, self._bounds = granted, masks, bounds
        self._row_bytes = row_bytes
        self._documents = parse_rows(interface.rows, kind)
        self._beside = [_Beside() for _ in self._documents]
        for text, member in interface.envelope_members.items():
            depth, path = parse_beside(text, kind, self._documents)
            self._beside[depth].members[path] = Member(member)
        words = {*interface.empty_when, *interface.failed_when, *([interface.code_at] if interface.code_at else ())}
        for text in words:
            depth, path = parse_beside(text, kind, self._documents)
            self._beside[depth].watches[path] = Watch(
                frozenset(interface.empty_when.get(text, ())),
                frozenset(interface.failed_when.get(text, ())),
                text == interface.code_at,
            )

    def projector(self) -> Projector:
        carrier: JsonCarrier | XmlCarrier | None = None
        made: DocumentProjector | XmlAnswer | None = None
        for document, beside, is_outer in reversed(
            [(each, self._beside[depth], not depth) for depth, each in enumerate(self._documents)]
        ):
            if document.kind is Kind.XML:
                made = self._xml(document, beside, carrier)
                carrier = XmlCarrier(made, is_base64=document.is_base64)
            else:
                made = self._json(document, beside, carrier, is_outer=is_outer)
                carrier = JsonCarrier(made, is_base64=document.is_base64)
        assert made is not None
        return XmlProjector(made, self._interface.code_meanings) if isinstance(made, XmlAnswer) else made

    def _json(
        self, document: Document, beside: _Beside, carrier: "JsonCarrier | XmlCarrier | None", *, is_outer: bool
    ) -> DocumentProjector:
        interface = self._interface
        rows = document.path
        assert isinstance(rows, tuple)
        members = {path: member for path, member in beside.members.items() if isinstance(path, tuple)}
        watches = {path: watch for path, watch in beside.watches.items() if isinstance(path, tuple)}
        level = level_tree(rows, carrier, interface.envelope if is_outer else (), members, watches)
        places = interface.places if carrier is None else {}
        return DocumentProjector(
            "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in rows),
            places,
            (),
            self._granted,
            self._masks,
            bounds=self._bounds if carrier is None else {},
            level=level,
            meanings=interface.code_meanings,
        )

    def _xml(self, document: Document, beside: _Beside, carrier: "JsonCarrier | XmlCarrier | None") -> XmlAnswer:
        rows = document.path
        assert isinstance(rows, Path)
        members = {path: member for path, member in beside.members.items() if isinstance(path, Path)}
        watches = {path: watch for path, watch in beside.watches.items() if isinstance(path, Path)}
        places: dict[str, Path] = {}
        if carrier is None:
            for item, text in self._interface.places.items():
                path = parse_below(text, Kind.XML)
                assert isinstance(path, Path)
                places[item] = path
        scope = Scope(
            row_tree(places, self._granted, self._bounds if carrier is None else {}),
            namespaces_of([rows, *places.values(), *members, *watches]),
            self._masks,
            is_bounded=bool(self._bounds),
        )
        outer = outer_tree(rows, carrier, members, watches)
        return XmlAnswer(outer, scope, "" if carrier is not None else rows.elements[-1].local, self._row_bytes)


class XmlProjector:
    """Reduces XML answers: a `Projector`, and what makes a reducer of an answer that is not gathered.

    Args:
        answer: the entry and the grant.
        meanings: code -> what stands in place of a text that may not pass.
    """

    __slots__ = ("_answer", "_meanings")

    def __init__(self, answer: XmlAnswer, meanings: Mapping[str, str]) -> None:
        self._answer = answer
        self._meanings = meanings

    @property
    def streams(self) -> bool:
        """Whether rows may leave before the answer's end: they do not stand in a text."""
        return self._answer.closing is not None

    def reducer(self) -> XmlReducer:
        """For one answer as it comes."""
        return XmlReducer(self._answer, Answered(self._meanings))

    def project(self, content: bytes, *, is_failure: bool = False) -> Projected:
        """As `Projector.project`."""
        return at_once(self.steps(content, is_failure=is_failure))

    def steps(self, content: bytes, *, is_failure: bool = False) -> Steps[Projected]:
        """As `Projector.steps`."""
        answered = Answered(self._meanings)
        reducer = XmlReducer(self._answer, answered, is_failure=is_failure, is_whole=True)
        for start in range(0, len(content), SLICE_BYTES):
            reducer.feed(content[start : start + SLICE_BYTES])
            if start + SLICE_BYTES < len(content):
                yield
        left = reducer.finish()
        answered.settle(reducer.rows, is_failure=is_failure)
        return Projected(left, reducer.rows, tuple(sorted(reducer.items)))

    def values(self, content: bytes) -> Iterator[list[dict[str, Raw]]]:
        """As `Projector.values`."""
        answered = Answered(self._meanings)
        reducer = XmlReducer(self._answer, answered, is_whole=True, collects=True)
        for start in range(0, len(content), SLICE_BYTES):
            reducer.feed(content[start : start + SLICE_BYTES])
            rows, reducer.values = reducer.values, []
            yield rows
        reducer.finish()
        yield reducer.values
        answered.require_answer(reducer.rows)


class JsonCarrier:
    """Reduces a JSON text that stands in another document."""

    __slots__ = ("_inner", "_is_base64")

    def __init__(self, inner: DocumentProjector, *, is_base64: bool) -> None:
        self._inner = inner
        self._is_base64 = is_base64

    def reduce(self, text: str, answered: Answered, *, is_failure: bool, collects: bool) -> Reduced:
        """As `envelope.Carrier.reduce`."""
        try:
            content = read_base64(text) if self._is_base64 else text.encode("utf-8")
            content.decode("utf-8")
            if collects:
                values = [row for rows in self._inner.gather(content, answered) for row in rows]
                return Reduced("", len(values), frozenset(), values)
            left = self._inner.reduce_within(content, answered, is_failure=is_failure)
        except (DocumentFault, UnicodeError, msgspec.DecodeError, RecursionError):
            raise not_filterable("the document in a text of the answer is no JSON that has one meaning") from None
        return Reduced(_packed(left.content, is_base64=self._is_base64), left.rows, frozenset(left.items), [])


class XmlCarrier:
    """Reduces an XML document that stands in the text of another one."""

    __slots__ = ("_inner", "_is_base64")

    def __init__(self, inner: XmlAnswer, *, is_base64: bool) -> None:
        self._inner = inner
        self._is_base64 = is_base64

    def reduce(self, text: str, answered: Answered, *, is_failure: bool, collects: bool) -> Reduced:
        """As `envelope.Carrier.reduce`."""
        mark, codec = b"", "utf-8"
        try:
            if self._is_base64:
                octets = read_base64(text)
                text, codec = xml_octets(octets)
                mark = _BOMS.get(codec, b"") if octets[:2] in _BOMS.values() else b""
            else:
                text = inner_xml(text)
            content = text.encode("utf-8")
        except (DocumentFault, UnicodeError):
            raise not_filterable("the document in a text of the answer is no XML that has one meaning") from None
        reducer = XmlReducer(self._inner, answered, is_failure=is_failure, is_whole=True, collects=collects)
        for start in range(0, len(content), SLICE_BYTES):
            reducer.feed(content[start : start + SLICE_BYTES])
        left = reducer.finish()
        if codec != "utf-8":
            left = mark + left.decode("utf-8").encode(codec)
        packed = _packed(left, is_base64=self._is_base64)
        return Reduced(packed, reducer.rows, frozenset(reducer.items), reducer.values)


def _packed(content: bytes, *, is_base64: bool) -> str:
    return b64encode(content).decode("ascii") if is_base64 else content.decode("utf-8")
