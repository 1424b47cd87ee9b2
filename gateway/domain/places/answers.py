"""Places of an answer: in which of the documents within each other the rows stand, and what stands beside them.

The rows' place leads through one document after the other (`/out~xml/PACKAGE/DATA/RECORD`). A place beside the rows
stands in one of these documents, and is found on the same way (`/out~xml/PACKAGE/PACKAGEHEAD/FHDM`).
"""

import msgspec

from gateway.domain.places.language import Decode, Each, Kind, Path, PlaceError, Pointer, Step, parse_steps

Tokens = tuple[str, ...]


class Document(msgspec.Struct, frozen=True):
    """One of the documents within each other.

    Args:
        kind: JSON or XML.
        path: in it, the place of the rows, or of the text that holds the next document.
        is_base64: whether it stands in its text as base64.
    """

    kind: Kind
    path: Tokens | Path = ()
    is_base64: bool = False


def parse_rows(text: str, kind: Kind) -> tuple[Document, ...]:
    """The documents down to the rows.

    Args:
        text: the place of the rows.
        kind: of the answer, JSON or XML.

    Raises:
        PlaceError: it is none, or none where rows can stand.
    """
    documents = _documents(parse_steps(text, kind), kind, text)
    for each in documents:
        if each.kind is not Kind.XML:
            continue
        if not isinstance(each.path, Path):
            raise PlaceError("of an XML document the path of the elements is meant", len(text))
        if each.path.attribute is not None:
            raise PlaceError("rows and documents stand in elements, and not in an attribute", len(text))
    return documents


def parse_beside(text: str, kind: Kind, documents: tuple[Document, ...]) -> tuple[int, Tokens | Path]:
    """In which of the documents a place beside the rows stands, and where.

    Raises:
        PlaceError: it is none, or does not stand on the way to the rows.
    """
    found = _documents(parse_steps(text, kind), kind, text)
    depth = len(found) - 1
    last = found[-1]
    if not last.path:
        raise PlaceError("it names a whole document", len(text))
    on_way = len(found) <= len(documents) and all(
        (one.kind, one.is_base64) == (other.kind, other.is_base64) for one, other in zip(found, documents, strict=False)
    )
    if not on_way or any(one.path != other.path for one, other in zip(found[:-1], documents, strict=False)):
        raise PlaceError("it stands in another document than the rows, or those around them", len(text))
    if _is_at_or_below(last.path, documents[depth].path):
        raise PlaceError("it stands where the rows stand, or below", len(text))
    return depth, last.path


def parse_below(text: str, kind: Kind) -> Tokens | Path:
    """A place below a row: of a JSON row the tokens of a pointer, of an XML row a path.

    Raises:
        PlaceError: it is none; a document in an item's text is not undone.
    """
    (document, *within) = _documents(parse_steps(text, kind), kind, text)
    if within:
        raise PlaceError("a document within an item is not looked into", len(text))
    if not document.path:
        raise PlaceError("it names the row itself", len(text))
    return document.path


def _documents(steps: tuple[Step, ...], kind: Kind, text: str) -> tuple[Document, ...]:
    documents: list[Document] = []
    path: Tokens | Path = ()
    is_base64 = within_base64 = False
    for step in steps:
        if isinstance(step, Path | Pointer):
            path = step.tokens if isinstance(step, Pointer) else step
        elif step is Decode.BASE64:
            if is_base64:
                raise PlaceError("base64 of base64 is not undone", len(text))
            is_base64 = True
        elif isinstance(step, Each) or step is Decode.CONDITION:
            raise PlaceError("rows are found in arrays by themselves; there is neither `~each` nor `~condition`", 0)
        else:
            documents.append(Document(kind, path, within_base64))
            kind, path = Kind.JSON if step is Decode.JSON else Kind.XML, ()
            within_base64, is_base64 = is_base64, False
    if is_base64:
        raise PlaceError("say what the base64 encodes: `~base64~json` or `~base64~xml`", len(text))
    return (*documents, Document(kind, path, within_base64))


def _is_at_or_below(path: Tokens | Path, rows: Tokens | Path) -> bool:
    if isinstance(path, Path) and isinstance(rows, Path):
        return path.elements[: len(rows.elements)] == rows.elements
    if isinstance(path, tuple) and isinstance(rows, tuple):
        return path[: len(rows)] == rows
    return True
