"""Which elements and attributes of an XML answer are known: a tree above the rows, and one below a row.

Names are as expat tells them: the namespace, an LF, the local name; the local name alone where there is no namespace.
"""

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from gateway.domain.places.language import Name, Path
from gateway.proxy.projection.envelope import Carrier, Member, Watch

N = TypeVar("N")

KNOWN_NAMESPACES = frozenset(
    {
        "",
        "http://www.w3.org/XML/1998/namespace",
        "http://www.w3.org/2001/XMLSchema",
        "http://www.w3.org/2001/XMLSchema-instance",
        "http://schemas.xmlsoap.org/soap/envelope/",
        "http://schemas.xmlsoap.org/soap/encoding/",
        "http://www.w3.org/2003/05/soap-envelope",
        "http://www.w3.org/2003/05/soap-encoding",
    }
)
"""Declared wherever they stand; of others, those that the entry's places name or that a known element is in."""


class Named(Generic[N]):
    """What is known by a name, or by a local name in whatever namespace."""

    __slots__ = ("_anywhere", "_exact")

    def __init__(self) -> None:
        self._exact: dict[str, N] = {}
        self._anywhere: dict[str, N] = {}

    def __bool__(self) -> bool:
        return bool(self._exact or self._anywhere)

    def at(self, name: Name) -> N | None:
        """What was put under that very test."""
        return self._anywhere.get(name.local) if name.namespace is None else self._exact.get(_told(name))

    def put(self, name: Name, node: N) -> N:
        """Make a test known."""
        if name.namespace is None:
            self._anywhere[name.local] = node
        else:
            self._exact[_told(name)] = node
        return node

    def find(self, name: str) -> N | None:
        """What is known of a name of the answer; an exact test goes before one of any namespace."""
        found = self._exact.get(name)
        if found is None and self._anywhere:
            found = self._anywhere.get(name.rpartition("\n")[2])
        return found

    def every(self) -> Iterable[N]:
        """All that is known."""
        return (*self._exact.values(), *self._anywhere.values())


def _told(name: Name) -> str:
    return f"{name.namespace}\n{name.local}" if name.namespace else name.local


class OuterNode:
    """An element or attribute above or beside the rows.

    Attributes:
        is_rows: each element here is a row.
        member: what of a text here may leave, None for nothing.
        watch: what a text here says of the whole answer.
        carrier: how the document in the text here is reduced.
        holds_rows: whether the rows stand right below.
        leads: whether something at or below may leave.
    """

    __slots__ = ("attributes", "carrier", "children", "holds_rows", "is_rows", "leads", "member", "watch")

    def __init__(self) -> None:
        self.children: Named[OuterNode] = Named()
        self.attributes: Named[OuterNode] = Named()
        self.is_rows = self.holds_rows = False
        self.member: Member | None = None
        self.watch: Watch | None = None
        self.carrier: Carrier | None = None
        self.leads = False

    def below(self, path: Path, *, leads: bool) -> "OuterNode":
        """The node at a path, made where it is missing."""
        node = self
        node.leads |= leads
        for name in path.elements:
            node = node.children.at(name) or node.children.put(name, OuterNode())
            node.leads |= leads
        if path.attribute is not None:
            node = node.attributes.at(path.attribute) or node.attributes.put(path.attribute, OuterNode())
            node.leads |= leads
        return node

    @property
    def is_leaf(self) -> bool:
        """Whether a text is looked for here."""
        return self.member is not None or self.watch is not None or self.carrier is not None


class RowNode:
    """An element or attribute below a row.

    Attributes:
        items: the items that stand here.
        passes: whether what stands here may leave: there are such items, and all of them are granted.
        leads: whether something at or below may leave.
        allowed: the texts that the grant is limited to, None where it is not.
        is_bounded: whether it is limited here or below.
    """

    __slots__ = ("allowed", "attributes", "children", "is_bounded", "items", "leads", "passes")

    def __init__(self) -> None:
        self.children: Named[RowNode] = Named()
        self.attributes: Named[RowNode] = Named()
        self.items: list[str] = []
        self.passes = False
        self.leads = self.is_bounded = False
        self.allowed: frozenset[str] | None = None

    def below(self, path: Path) -> "RowNode":
        """The node at a path, made where it is missing."""
        node = self
        for name in path.elements:
            node = node.children.at(name) or node.children.put(name, RowNode())
        if path.attribute is not None:
            node = node.attributes.at(path.attribute) or node.attributes.put(path.attribute, RowNode())
        return node

    def settle(self, granted: frozenset[str]) -> bool:
        """Find out what may leave, here and below; whether anything."""
        # INVARIANT: GRANTED-ITEMS-ONLY: what an item outside the grant also names does not leave.
        self.passes = bool(self.items) and granted.issuperset(self.items)
        nodes = (*self.children.every(), *self.attributes.every())
        below = [node.settle(granted) for node in nodes]
        self.leads = self.passes or any(below)
        self.is_bounded = self.allowed is not None or any(node.is_bounded for node in nodes)
        return self.leads


def row_tree(
    places: Mapping[str, Path], granted: Iterable[str], bounds: Mapping[str, frozenset[str]] | None = None
) -> RowNode:
    """The tree below a row: item -> its path, and which of them may leave."""
    root = RowNode()
    for item, path in sorted(places.items()):
        node = root.below(path)
        node.items.append(item)
        allowed = (bounds or {}).get(item)
        if allowed is not None:
            node.allowed = allowed if node.allowed is None else node.allowed & allowed
    root.settle(frozenset(granted))
    return root


def namespaces_of(paths: Iterable[Path]) -> frozenset[str]:
    """Every namespace whose declaration may leave."""
    names = [name for path in paths for name in (*path.elements, *((path.attribute,) if path.attribute else ()))]
    return KNOWN_NAMESPACES | {name.namespace for name in names if name.namespace}


def outer_tree(
    rows: Path, carrier: Carrier | None, members: Mapping[Path, Member], watches: Mapping[Path, Watch]
) -> OuterNode:
    """The tree from a document down to its rows, or to the text that holds the document in which they stand.

    Args:
        rows: the path there.
        carrier: of that text, None where the rows themselves stand there.
        members: what of the envelope may leave.
        watches: what is said where.
    """
    root = OuterNode()
    at = root.below(rows, leads=True)
    if carrier is None:
        at.is_rows = True
        root.below(Path(rows.elements[:-1]), leads=True).holds_rows = True
    else:
        at.carrier = carrier
    for path, member in members.items():
        root.below(path, leads=True).member = member
    for path, watch in watches.items():
        root.below(path, leads=False).watch = watch
    return root
