"""Masks: what a policy lets out only in part.

A permit may bear `@mask("id_number=keep-last-4, birth_date=year-only")`. Where it is a determining policy, the named
items leave masked. `sensitive=<kind>` stands for every item that the directory entry marks as sensitive personal
information. Two masks on one item: the stronger is applied.
"""

from collections.abc import Iterable

import msgspec

KINDS = ("keep-last-4", "year-only", "hash")
"""Weakest first."""

SENSITIVE = "sensitive"


class Mask(msgspec.Struct, frozen=True):
    """One mask: an item's name, or `sensitive`, and the kind of mask."""

    item: str
    kind: str


def parse_masks(annotation: str) -> tuple[Mask, ...]:
    """The masks of an `@mask` annotation.

    Raises:
        ValueError: if it is not a list of `item=kind` with known kinds.
    """
    masks = []
    for part in annotation.split(","):
        item, equals, kind = (word.strip() for word in part.partition("="))
        if not (item and equals and kind in KINDS):
            raise ValueError(f"`@mask` is a list of `item=kind` with kinds {', '.join(KINDS)}, not `{part.strip()}`")
        masks.append(Mask(item, kind))
    return tuple(masks)


def masks_on(masks: Iterable[Mask], items: Iterable[str], sensitive: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """The (item, mask) pairs that apply to `items`, sorted by item; the stronger of two masks wins."""
    wanted = frozenset(items)
    chosen: dict[str, str] = {}
    for mask in masks:
        names = wanted & sensitive if mask.item == SENSITIVE else wanted & {mask.item}
        for name in names:
            kept = chosen.get(name)
            if kept is None or KINDS.index(mask.kind) > KINDS.index(kept):
                chosen[name] = mask.kind
    return tuple(sorted(chosen.items()))
