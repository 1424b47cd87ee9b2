"""Where the items of a dataset stand below a row: a tree of what may pass (RFC 6901 pointers)."""

from collections.abc import Iterable, Mapping

from gateway.domain.errors import GatewayError


class Place:
    """One node of the tree.

    Args (as attributes):
        item: the granted item whose value stands here, or None.
        is_denied: an item that is not granted stands here: it and what lies below never pass.
        children: by member name, or array index as digits.
    """

    __slots__ = ("children", "is_denied", "item")

    def __init__(self) -> None:
        self.item: str | None = None
        self.is_denied = False
        self.children: dict[str, Place] = {}

    @property
    def is_whole(self) -> bool:
        """Whether the value here passes as it is."""
        return self.item is not None and not self.children and not self.is_denied

    def below(self, tokens: Iterable[str]) -> "Place":
        """The node at `tokens`, made where it is missing."""
        node = self
        for token in tokens:
            node = node.children.setdefault(token, Place())
        return node


def parse_pointer(pointer: str) -> tuple[str, ...]:
    """The reference tokens of a JSON Pointer.

    Raises:
        GatewayError: `answer-not-filterable`: an interface's entry names a place that is no pointer.

    Source: RFC 6901 §3, §4.
    """
    if pointer == "":
        return ()
    if not pointer.startswith("/"):
        raise GatewayError("answer-not-filterable", "the interface's entry names a place that is not a JSON Pointer")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/"))


def place_tree(places: Mapping[str, str], granted: Iterable[str]) -> Place:
    """The tree of what may pass below a row.

    Args:
        places: item -> JSON Pointer, of every item of the dataset.
        granted: names of the items that may leave; one without a place does not leave.
    """
    root = Place()
    allowed = frozenset(granted)
    for item in sorted(allowed & places.keys()):
        root.below(parse_pointer(places[item])).item = item
    # INVARIANT: GRANTED-ITEMS-ONLY.
    # An item that is not granted is denied where it lies at or below a granted one; elsewhere it has no node at all.
    for item in sorted(places.keys() - allowed):
        tokens = parse_pointer(places[item])
        node: Place | None = root
        covered = root.item is not None
        for token in tokens:
            node = node.children.get(token) if node is not None else None
            covered = covered or (node is not None and node.item is not None)
        if covered:
            root.below(tokens).is_denied = True
    return root
