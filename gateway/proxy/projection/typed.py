"""JSON answers taken apart by types that are made of the places: the fast way of two, see `document`."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.proxy.projection.places import Place
from gateway.proxy.projection.projected import Projected
from gateway.proxy.projection.values import encode

_astuple = msgspec.structs.astuple


class Typed:
    """The fast way: msgspec types made from the places.

    Args:
        rows: the members on the way to the rows.
        envelope: top-level member -> whether a value of it may pass.
        tree: what may pass below a row.
        replaces: whether something stands in place of a member that may not pass: then the walk finds it.
    """

    __slots__ = ("_all", "_checks", "_decode", "_is_flat", "_items", "_path", "_replaces", "_single_type")

    def __init__(
        self, rows: tuple[str, ...], envelope: Mapping[str, Callable[[Raw], bool]], tree: Place, *, replaces: bool
    ) -> None:
        self._checks = [envelope[name] for name in sorted(envelope)]
        self._replaces = replaces
        self._items: list[tuple[str, Callable[[Any], bool]]] = []
        row = self._row_type(tree, ())
        self._single_type = row
        kind: Any = list[row] | row  # type: ignore[valid-type]
        for depth, token in enumerate(reversed(rows)):
            members: list[tuple[str, Any, Any]] = [("rows", kind, msgspec.field(name=token))]
            if depth == len(rows) - 1:
                members += [
                    (f"e{index}", Raw | UnsetType, msgspec.field(default=UNSET, name=name))
                    for index, name in enumerate(sorted(envelope))
                ]
            kind = msgspec.defstruct("Level", members)
        self._path = len(rows)
        self._items.sort(key=lambda pair: pair[0])
        self._all = tuple(item for item, _ in self._items)
        self._is_flat = all(child.item is not None for child in tree.children.values())
        self._decode = msgspec.json.Decoder(kind).decode

    def _row_type(self, node: Place, path: tuple[str, ...]) -> Any:
        members: list[tuple[str, Any, Any]] = []
        for index, (token, child) in enumerate(sorted(node.children.items())):
            attribute = f"f{index}"
            here = (*path, attribute)
            kind = Raw if child.item is not None else self._row_type(child, here)
            members.append((attribute, kind | UnsetType, msgspec.field(default=UNSET, name=token)))
            if child.item is not None:
                self._items.append((child.item, _presence(here)))
        return msgspec.defstruct("Row", members)

    def project(self, content: bytes) -> Projected:
        """As `DocumentProjector.project`; `msgspec.ValidationError` where the answer does not fit the types."""
        document = self._decode(content)
        rows: Any = document
        if self._path:
            for index, raw in enumerate(_astuple(document)[1:]):
                if raw is not UNSET and not self._checks[index](raw):
                    if self._replaces:
                        raise msgspec.ValidationError("another text stands in its place")
                    setattr(document, f"e{index}", UNSET)
        for _ in range(self._path):
            rows = rows.rows
        if isinstance(rows, self._single_type):
            count, listed = 1, (rows,)
        else:
            count, listed = len(rows), rows
        if count and self._is_flat and UNSET not in _astuple(listed[0]):
            items = self._all
        else:
            items = tuple(item for item, present in self._items if any(map(present, listed)))
        content = encode(document)
        if b"{}" in content:
            # A row, or a part of one, of which nothing is left: whether the entry knows it, the walk finds out.
            raise msgspec.ValidationError("nothing is left of a row")
        return Projected(content, count, items)


def _presence(path: tuple[str, ...]) -> Callable[[Any], bool]:
    """Whether a row has a value at the attributes of `path`."""
    if len(path) == 1:
        only = path[0]
        return lambda row: getattr(row, only) is not UNSET

    def present(row: Any) -> bool:
        for attribute in path:
            row = getattr(row, attribute)
            if row is UNSET:
                return False
        return True

    return present
