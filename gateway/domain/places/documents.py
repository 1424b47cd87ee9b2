"""Texts, JSON and XML read with one meaning, or not at all (INVARIANT: ONE-MEANING).

What two readers could take for different things is refused: names that stand twice, octets that are not of the
character set that is named, two character sets named, document types and entities, numbers that some readers round.

    octets  UTF-8, or for XML what its BOM, declaration or transport names: UTF-8, UTF-16, GB18030 (GBK, GB2312)
    JSON    RFC 8259; members of one object differ (RFC 7493 §2.3)
    XML     XML 1.0 with namespaces, no DOCTYPE, so no entity but the five that every document has

Faults name no value (INVARIANT: NO-VALUES).
"""

import base64
import binascii
import codecs
import json
import re
from typing import Any, NoReturn
from xml.parsers import expat

from gateway.domain.nesting import is_too_deep

MAX_XML_DEPTH = 64
"""Elements within each other; SOAP with a package in it needs some ten."""

MAX_PARTS = 20_000
"""Elements of one XML document, objects of one JSON text: each costs some microseconds of whoever reads it."""

BLANKS = " \t\r\n"
"""What XML calls white space (§2.3)."""

_DECLARATION = re.compile(r"""<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*["']([^"']*)["']([^?>]*)\?>""")
_ENCODING = re.compile(r"""encoding[ \t\r\n]*=[ \t\r\n]*["']([A-Za-z][A-Za-z0-9._\-]*)["']""")
_BOMS = (("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE), ("utf-8", codecs.BOM_UTF8))
_CHARSETS = {
    **dict.fromkeys(("utf-8", "utf8", "us-ascii", "ascii"), "utf-8"),
    **dict.fromkeys(("gbk", "gb2312", "gb18030", "gb-18030", "cp936", "gb_2312-80", "x-gbk"), "gb18030"),
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "utf-16": "utf-16",
}
_BLANKS_OF_BASE64 = re.compile(rb"[\r\n]+")


class DocumentFault(ValueError):  # noqa: N818  (what is wrong with the document, as its sender says it)
    """A text that is not what it is read as, or that two readers may read in two ways."""


def charset_named(name: str) -> str:
    """The codec of a character set by one of its common names.

    Raises:
        DocumentFault: it is none that is read here.
    """
    codec = _CHARSETS.get(name.strip().lower())
    if codec is None:
        raise DocumentFault("the character set is none of UTF-8, UTF-16 and GB18030")
    return codec


def read_text(octets: bytes) -> str:
    """Octets that must be UTF-8, without a BOM.

    Raises:
        DocumentFault: they are not.
    """
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise DocumentFault("it is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise DocumentFault("it begins with a byte order mark")
    return text


def read_base64(text: str) -> bytes:
    """The octets that a text encodes; line ends within it are none (RFC 2045 §6.8), other signs are refused.

    Raises:
        DocumentFault: it is no base64, or not the one text that encodes these octets.
    """
    try:
        packed = _BLANKS_OF_BASE64.sub(b"", text.strip(BLANKS).encode("ascii"))
        octets = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError):
        raise DocumentFault("it is no base64") from None
    if base64.b64encode(octets) != packed:
        raise DocumentFault("it is no base64 as encoders write it")
    return octets


class Number(str):
    """A JSON number, as it is written."""

    __slots__ = ()


def read_json(text: str) -> Any:
    """A JSON text: objects as `dict`, arrays as `list`, numbers as `Number`.

    Raises:
        DocumentFault: it is none, nests too deep, or an object in it names a member twice.
    """
    try:
        octets = text.encode("utf-8")
    except UnicodeEncodeError:
        raise DocumentFault("it is no JSON") from None
    # INVARIANT: BOUNDED: whoever reads it holds up everybody else meanwhile.
    if octets.count(b"{") > MAX_PARTS:
        raise DocumentFault(f"it holds more than {MAX_PARTS} objects")
    if is_too_deep(octets):
        raise DocumentFault("its objects and arrays stand too deep within each other")
    try:
        return json.loads(
            text, object_pairs_hook=_members, parse_int=Number, parse_float=Number, parse_constant=_no_number
        )
    except (json.JSONDecodeError, RecursionError):
        raise DocumentFault("it is no JSON") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DocumentFault("an object in it names a member twice")
    return members


def _no_number(_word: str) -> NoReturn:
    raise DocumentFault("it is no JSON")


class Element:
    """An element of an XML document.

    Attributes:
        namespace: its URI, "" for none.
        local: its local name.
        attributes: (namespace, local name) -> value.
        children: the elements in it.
        pieces: its own text as it came, with `PARTED` where a CDATA section begins or ends.
        is_broken: whether comments or processing instructions part its text: readers differ in what of it they take.
    """

    __slots__ = ("attributes", "children", "is_broken", "local", "namespace", "pieces")

    PARTED = "\0"

    def __init__(self, namespace: str, local: str, attributes: dict[tuple[str, str], str]) -> None:
        self.namespace = namespace
        self.local = local
        self.attributes = attributes
        self.children: list[Element] = []
        self.pieces: list[str] = []
        self.is_broken = False

    @property
    def text(self) -> str:
        """What every reader takes for its text.

        Raises:
            DocumentFault: it holds elements, or its text is parted.
        """
        if self.children:
            raise DocumentFault("an element holds elements where a text is meant")
        pieces = "".join(self.pieces).split(self.PARTED)
        # Blanks around one CDATA section are common; of two pieces of text readers take both, or the first.
        if self.is_broken or sum(bool(piece.strip(BLANKS)) for piece in pieces) > 1:
            raise DocumentFault("the text of an element is parted by a comment, an instruction or a CDATA section")
        text = "".join(pieces)
        if ("", "href") in self.attributes and not text.strip(BLANKS):
            raise DocumentFault("an element refers to another one for its text")
        return text


def split_name(name: str) -> tuple[str, str]:
    """Namespace and local name of a name as expat tells it."""
    namespace, _, local = name.rpartition("\n")
    return namespace, local


def xml_octets(octets: bytes, charset: str = "") -> tuple[str, str]:
    """The text of an XML document, and the codec it is in.

    Args:
        octets: the document.
        charset: as the transport names it, "" if it does not.

    Raises:
        DocumentFault: transport, BOM and declaration name different character sets, or it is not in that one.

    Source: XML 1.0 §4.3.3, RFC 7303 §3.2; stricter: what they name must agree.
    """
    named = {charset_named(charset)} if charset else set()
    mark = b""
    for codec, bom in _BOMS:
        if octets.startswith(bom):
            named.add(codec)
            mark = bom
            break
    if "utf-16" in named:
        # By that name alone a document has a BOM (RFC 2781 §4.3).
        named.discard("utf-16")
        if not named & {"utf-16-le", "utf-16-be"}:
            raise DocumentFault("it is said to be UTF-16 and has no byte order mark")
    body = octets[len(mark) :]
    if not named:
        named = {_declared(body[:256].decode("latin-1")) or "utf-8"}
        if "utf-16" in named:
            raise DocumentFault("it is said to be UTF-16 and has no byte order mark")
    if len(named) > 1:
        raise DocumentFault("two character sets are named for it")
    (codec,) = named
    try:
        text = body.decode(codec)
    except UnicodeDecodeError:
        raise DocumentFault("it is not in the character set that is named") from None
    declared = _declared(text)
    if declared and declared != codec and not (declared == "utf-16" and codec.startswith("utf-16-")):
        raise DocumentFault("two character sets are named for it")
    return text, codec


def _declared(text: str) -> str:
    """The codec that a document's own declaration names, "" if it names none."""
    if not text.startswith("<?xml"):
        return ""
    declaration = _DECLARATION.match(text)
    if declaration is None or declaration[1] != "1.0":
        raise DocumentFault("its XML declaration is none of XML 1.0")
    encoding = _ENCODING.search(declaration[2])
    return charset_named(encoding[1]) if encoding is not None else ""


def inner_xml(text: str) -> str:
    """The text of a document that stood within another as text, where blanks around it are of the outer one.

    What it declares as its character set is what its writer had, and no longer what it is in; beyond ASCII a reader
    that takes it at its word would read something else, unless that is UTF-8.

    Raises:
        DocumentFault: it names another character set than UTF-8, and is not of ASCII alone.
    """
    text = text.strip(BLANKS)
    if _declared(text) not in {"", "utf-8"} and not text.isascii():
        raise DocumentFault("the inner document names another character set than UTF-8")
    return text


def read_xml(text: str) -> Element:
    """The root of an XML document.

    Raises:
        DocumentFault: it is not well formed, has a DOCTYPE, or nests too deep.
    """
    try:
        octets = text.encode("utf-8")
    except UnicodeEncodeError:
        raise DocumentFault("it is no XML") from None
    builder = _Builder()
    parser = builder.parser()
    try:
        parser.Parse(octets, True)
    except expat.ExpatError:
        raise DocumentFault("it is no well-formed XML") from None
    assert builder.root is not None
    return builder.root


class _Builder:
    """Builds the tree of one document from what expat tells."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._left = MAX_PARTS

    def parser(self) -> expat.XMLParserType:
        """The parser that tells it."""
        # The octets are UTF-8, whatever the declaration says: `xml_octets` has read it. An LF is in no name and no URI.
        parser = expat.ParserCreate("utf-8", "\n")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.CommentHandler = self._comment
        parser.ProcessingInstructionHandler = self._instruct
        parser.StartCdataSectionHandler = self._cdata
        parser.EndCdataSectionHandler = self._cdata
        parser.StartDoctypeDeclHandler = _no_doctype
        return parser

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._left -= 1
        if self._left < 0:
            raise DocumentFault(f"it holds more than {MAX_PARTS} elements")
        if len(self._open) >= MAX_XML_DEPTH:
            raise DocumentFault("its elements stand too deep within each other")
        element = Element(*split_name(name), {split_name(each): value for each, value in attributes.items()})
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _characters(self, data: str) -> None:
        self._open[-1].pieces.append(data)

    def _cdata(self) -> None:
        self._open[-1].pieces.append(Element.PARTED)

    def _instruct(self, _target: str, _data: str) -> None:
        self._comment("")

    def _comment(self, _data: str) -> None:
        if self._open:
            self._open[-1].is_broken = True


def _no_doctype(*_what: object) -> NoReturn:
    raise DocumentFault("it has a DOCTYPE; documents have no type and no entities here")
