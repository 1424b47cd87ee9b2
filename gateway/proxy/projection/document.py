"""A JSON answer reduced to the granted items: decoded once, checked, and written anew.

Two ways lead to the same bytes. The fast one compiles the interface's entry and the granted items to msgspec types in
which every item is a `Raw`: what is not granted is skipped by the decoder and what is granted keeps its text. Where
an answer does not fit those types (a place that passes through an array, say), or places overlap, or masks apply, the
other one walks the tree of places level by level. tests/property/proxy holds them to each other.

A long answer is worked on in steps, a part of its rows in each, so that whoever else the loop serves waits for no more.

INVARIANT: KNOWN-SHAPE: an answer says "nothing found" by no rows, null or "" where the entry places rows, or in the
words that the entry declares (`empty_when`). Where that place is missing, or rows are there and nothing in them is
where the entry places any item, granted or not, the entry does not know the answer, and it is refused.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec
from msgspec import Raw

from gateway.proxy.projection.envelope import Answered, Reduced, Watch, not_filterable
from gateway.proxy.projection.levels import Level, level_tree
from gateway.proxy.projection.masks import Mask
from gateway.proxy.projection.parts import parts_of, require_light
from gateway.proxy.projection.places import Place, parse_pointer, place_tree
from gateway.proxy.projection.projected import Projected, Steps, at_once
from gateway.proxy.projection.typed import Typed
from gateway.proxy.projection.values import (
    MAX_ARRAYS,
    NESTED,
    decode_any,
    decode_array,
    decode_object,
    encode,
    kind_of,
    leads_to_an_item,
    masked_value,
    octets_of,
    picker,
    text_of,
    values_at,
)

_TOO_FAR = "the answer is not strict JSON, or nested too deep"


class DocumentProjector:
    """Reduces JSON answers of one interface to one set of granted items. Pure; may be kept and shared.

    Args:
        rows: JSON Pointer to the row array or the single row object.
        places: item -> JSON Pointer below a row, of every item of the dataset.
        envelope: top-level members that may pass.
        granted: names of the items that may leave.
        masks: item -> mask.
        empty_when: JSON Pointer -> texts; an answer without rows that holds one of them there says that there are none.
        bounds: item -> texts: a row that bears another value there is not the grant's.
        level: the tree of what stands above and beside the rows, where it is more than `envelope` and `empty_when` say.
        meanings: code -> what stands in place of a text that may not pass.

    Raises:
        GatewayError: `answer-not-filterable` where the entry itself is faulty.
    """

    __slots__ = ("_bounds", "_every", "_fast", "_level", "_masks", "_meanings", "_of_rows", "_part", "_rows", "_tree")

    def __init__(
        self,
        rows: str,
        places: Mapping[str, str],
        envelope: tuple[str, ...],
        granted: tuple[str, ...],
        masks: Mapping[str, Mask],
        empty_when: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
        bounds: Mapping[str, frozenset[str]] = MappingProxyType({}),
        *,
        level: Level | None = None,
        meanings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._of_rows = (places, granted, masks, bounds)
        self._part: DocumentProjector | None = None
        self._bounds = [(parse_pointer(places[item]), texts) for item, texts in bounds.items() if item in places]
        self._every = place_tree(places, places)
        self._rows = parse_pointer(rows)
        if level is None:
            watches = {parse_pointer(each): Watch(empty=frozenset(texts)) for each, texts in empty_when.items()}
            level = level_tree(self._rows, None, envelope, {}, watches)
        self._level = level
        self._meanings = meanings
        self._masks = masks
        self._tree = place_tree(places, granted)
        self._fast: Typed | None = None
        beside = {name: child for name, child in level.children.items() if not child.is_on_way}
        checks = {name: child.passes for name, child in beside.items() if child.passes is not None}
        is_flat = all(child.passes is not None or not child.children for child in beside.values())
        if not self._bounds and self._is_plain(self._tree) and is_flat and self._is_path():
            self._fast = Typed(self._rows, checks, self._tree, replaces=bool(meanings))

    def _is_path(self) -> bool:
        """Whether nothing but the rows stands on the way to them, and they themselves at its end."""
        level = self._level
        for depth, token in enumerate(self._rows):
            if depth and any(name != token for name in level.children):
                return False
            level = level.children[token]
        return level.is_rows

    def _is_plain(self, node: Place) -> bool:
        """Whether the types can say it: members only, no overlap, no mask, an item at the end of every place."""
        if node.is_denied or (node.item is not None and (node.children or node.item in self._masks)):
            return False
        return all(
            not token.isdigit() and not token.isspace() and self._is_plain(child)
            for token, child in node.children.items()
        ) and (node is not self._tree or (node.item is None and bool(node.children)))

    def project(self, content: bytes, *, is_failure: bool = False) -> Projected:
        """As `Projector.project`, of a JSON document."""
        content = octets_of(content)
        try:
            if self._fast is not None:
                try:
                    return self._fast.project(content)
                except msgspec.ValidationError:
                    pass
            answered = Answered(self._meanings)
            projected = at_once(self.reduce(content, answered, is_failure=is_failure))
        except (msgspec.DecodeError, RecursionError):
            raise not_filterable(_TOO_FAR) from None
        answered.settle(projected.rows, is_failure=is_failure)
        return projected

    def steps(self, content: bytes, *, is_failure: bool = False) -> Steps[Projected]:
        """As `Projector.steps`, in steps of about `STEP_BYTES` each."""
        content = octets_of(content)
        yield
        answered = Answered(self._meanings)
        try:
            projected = yield from self.reduce(content, answered, is_failure=is_failure, by_parts=True)
        except (msgspec.DecodeError, RecursionError):
            raise not_filterable(_TOO_FAR) from None
        answered.settle(projected.rows, is_failure=is_failure)
        return projected

    def values(self, content: bytes) -> Iterator[list[dict[str, Raw]]]:
        """As `Projector.values`."""
        answered, count = Answered(self._meanings), 0
        try:
            content.decode("utf-8-sig")
            for rows in self.gather(content.removeprefix(b"\xef\xbb\xbf"), answered):
                count += len(rows)
                yield rows
        except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
            raise not_filterable(_TOO_FAR) from None
        answered.require_answer(count)

    def gather(self, content: bytes, answered: Answered) -> Iterator[list[dict[str, Raw]]]:
        """As `values`, without a last word on an answer that has no rows.

        Raises:
            GatewayError: `answer-not-filterable`.
            msgspec.DecodeError: it is no JSON.
        """
        raw = Raw(content)
        level = self._level
        if level.is_watched:
            level.look(raw, answered)
        for token in self._rows:
            if kind_of(raw) != b"{":
                _none(raw, answered)
                return
            found = picker((token,))(raw).get(token)
            if found is None:
                return
            raw, level = found, level.children[token]
        if level.carrier is not None:
            reduced = self._carried(raw, level, answered, is_failure=False, collects=True)
            yield reduced.values if reduced is not None else []
            return
        if kind_of(raw) not in NESTED:
            _none(raw, answered)
            return
        answered.has_rows_place = True
        for part in parts_of(bytes(raw)) if kind_of(raw) == b"[" else (b"[%b]" % bytes(raw),):
            require_light(part)
            rows = decode_array(part)
            for row in rows:
                self._require_known(row)
            # What is not the grant's matches nothing, as what is not there.
            yield [self._gather(row, self._tree, {}) for row in rows if self._is_within(row)]

    def _gather(self, raw: Raw, node: Place, into: dict[str, Raw]) -> dict[str, Raw]:
        if not node.is_denied:
            if node.item is not None:
                into[node.item] = raw
            if node.children and kind_of(raw) == b"{":
                for name, value in decode_object(raw).items():
                    if name in node.children:
                        self._gather(value, node.children[name], into)
            elif node.children and kind_of(raw) == b"[":
                for index, value in enumerate(decode_array(raw)):
                    if str(index) in node.children:
                        self._gather(value, node.children[str(index)], into)
        return into

    def _require_known(self, row: Raw) -> None:
        """Raises where a row holds something, and nothing of it is where the entry places an item."""
        if kind_of(row) != b"{":
            raise not_filterable("a row of the answer is not an object")
        if decode_object(row) and not leads_to_an_item(row, self._every, 0):
            raise not_filterable("rows are there, but nothing in them is where the interface's entry places its items")

    def reduce(
        self, content: bytes, answered: Answered, *, is_failure: bool, by_parts: bool = False
    ) -> Steps[Projected]:
        """A JSON document reduced, without a last word on one that has no rows.

        Raises:
            GatewayError: `answer-not-filterable`.
            msgspec.DecodeError: it is no JSON.
        """
        seen: set[str] = set()
        raw = Raw(content)
        if self._rows and kind_of(raw) != b"{":
            raise not_filterable("the answer is not an object, but the entry places its rows in one")
        if self._level.is_watched:
            self._level.look(raw, answered)
        left, count = yield from self._reduce(
            raw, self._level, seen, answered, is_failure=is_failure, by_parts=by_parts
        )
        return Projected(bytes(left) if left is not None else b"null", count, tuple(sorted(seen)))

    def reduce_within(self, content: bytes, answered: Answered, *, is_failure: bool) -> Projected:
        """As `reduce`, at once, of a document within another one.

        Raises:
            GatewayError: `answer-not-filterable`.
            msgspec.DecodeError: it is no JSON.
        """
        if self._fast is not None:
            try:
                projected = self._fast.project(content)
            except msgspec.ValidationError:
                pass
            else:
                answered.has_rows_place = True
                if self._level.is_watched:
                    self._level.look(Raw(content), answered)
                return projected
        return at_once(self.reduce(content, answered, is_failure=is_failure))

    def _reduce(
        self, raw: Raw, level: Level, seen: set[str], answered: Answered, *, is_failure: bool, by_parts: bool
    ) -> Steps[tuple[Raw | None, int]]:
        """What passes of a value on the way to the rows, and how many they are."""
        if level.is_rows:
            return (yield from self._filter_rows(raw, seen, answered, by_parts=by_parts))
        if level.carrier is not None:
            reduced = self._carried(raw, level, answered, is_failure=is_failure, collects=False)
            if reduced is None:
                return _none(raw, answered), 0
            seen |= reduced.items
            return Raw(encode(reduced.text)), reduced.rows
        if kind_of(raw) != b"{":
            return _none(raw, answered), 0
        out: dict[str, Raw] = {}
        count = 0
        for name, value in picker(tuple(level.children))(raw).items():
            child = level.children[name]
            if child.is_on_way:
                left, rows = yield from self._reduce(
                    value, child, seen, answered, is_failure=is_failure, by_parts=by_parts
                )
                count += rows
            else:
                left = child.kept(value, answered)
            if left is not None:
                out[name] = left
        return Raw(encode(out)), count

    def _carried(
        self, raw: Raw, level: Level, answered: Answered, *, is_failure: bool, collects: bool
    ) -> Reduced | None:
        """The document in a text, reduced; None where no text stands there, or an empty one."""
        text = decode_any(raw) if kind_of(raw) == b'"' else ""
        if not text:
            _none(raw, answered)
            return None
        assert level.carrier is not None
        return level.carrier.reduce(text, answered, is_failure=is_failure, collects=collects)

    def _filter_rows(
        self, raw: Raw, seen: set[str], answered: Answered, *, by_parts: bool
    ) -> Steps[tuple[Raw | None, int]]:
        kind = kind_of(raw)
        if kind not in NESTED:
            return _none(raw, answered), 0
        answered.has_rows_place = True
        if kind == b"[" and by_parts:
            return (yield from self._filter_parts(bytes(raw), seen))
        if kind == b"[":
            rows = []
            for row in decode_array(raw):
                kept = self._filter_row(row, seen)
                if kept is None:
                    raise not_filterable("a row of the answer is not an object")
                rows.append(kept)
            return Raw(encode(rows)), len(rows)
        require_light(bytes(raw))
        kept = self._filter_row(raw, seen)
        if kept is None:
            raise not_filterable("the row of the answer is not granted as it stands")
        return kept, 1

    def _filter_parts(self, rows: bytes, seen: set[str]) -> Steps[tuple[Raw, int]]:
        """As `_filter_rows` of an array, part by part, each as an answer that is an array of rows."""
        left: list[bytes] = []
        count = 0
        for part in parts_of(rows):
            require_light(part)
            projected = self._by_rows().project(part)
            if projected.rows:
                left.append(projected.content[1:-1])
            count += projected.rows
            seen.update(projected.items)
            yield
        return Raw(b"[%b]" % b",".join(left)), count

    def _by_rows(self) -> "DocumentProjector":
        """The same entry and grant where the rows are the whole answer; made once."""
        if self._part is None:
            places, granted, masks, bounds = self._of_rows
            self._part = DocumentProjector("", places, (), granted, masks, bounds=bounds) if self._rows else self
        return self._part

    def _is_within(self, row: Raw) -> bool:
        """Whether every value at a bounded place of the row is one of those that the grant allows."""
        return all(
            kind_of(value) not in NESTED and text_of(value) in texts
            for tokens, texts in self._bounds
            for value in values_at(row, tokens)
        )

    def _filter_row(self, raw: Raw, seen: set[str]) -> Raw | None:
        # INVARIANT: GRANTED-ITEMS-ONLY — a grant for one region gives rows of that region, whatever was asked for.
        if not self._is_within(raw):
            raise not_filterable("a row of the answer is outside what the grant allows")
        found: set[str] = set()
        kept = self._filter(raw, self._tree, found, 0)
        if not found and kept is not None:
            self._require_known(raw)
        seen |= found
        return kept

    def _filter(self, raw: Raw, node: Place, seen: set[str], arrays: int) -> Raw | None:
        """What may pass of the value at `node`; None for nothing."""
        # INVARIANT: GRANTED-ITEMS-ONLY.
        if node.is_denied:
            return None
        if node.item is not None and not node.children:
            return self._leaf(raw, node.item, seen)
        kind = kind_of(raw)
        if kind == b"{":
            kept: dict[str, Raw] = {}
            for name, value in decode_object(raw).items():
                child = node.children.get(name)
                if child is not None:
                    passed = self._filter(value, child, seen, arrays)
                else:
                    passed = self._leaf(value, node.item, seen) if node.item is not None else None
                if passed is not None:
                    kept[name] = passed
            return Raw(encode(kept))
        if kind == b"[" and arrays < MAX_ARRAYS and node is not self._tree:
            return self._filter_array(raw, node, seen, arrays)
        return self._leaf(raw, node.item, seen) if node.item is not None and kind != b"[" else None

    def _filter_array(self, raw: Raw, node: Place, seen: set[str], arrays: int) -> Raw:
        """A place that passes through an array: an index picks its element, a name applies to every element."""
        by_index = any(token.isdigit() for token in node.children)
        kept: list[Raw | None] = []
        for index, element in enumerate(decode_array(raw)):
            child = node.children.get(str(index)) if by_index else node
            if child is None:
                kept.append(self._leaf(element, node.item, seen) if node.item is not None else None)
                continue
            passed = self._filter(element, child, seen, arrays + 1)
            if passed is not None or by_index:
                kept.append(passed)
        while by_index and kept and kept[-1] is None:
            kept.pop()
        return Raw(encode(kept))

    def _leaf(self, raw: Raw, item: str, seen: set[str]) -> Raw | None:
        mask = self._masks.get(item)
        if mask is not None:
            masked = masked_value(raw, mask)
            if masked is None:
                return None
            raw = masked
        seen.add(item)
        return raw


def _none(raw: Raw, answered: Answered) -> Raw | None:
    """What stands for "no rows" stays; any other value could be data, and does not."""
    text = bytes(memoryview(raw)[:8]).strip()
    if text in {b"null", b'""'}:
        answered.has_rows_place = True
        return Raw(text)
    answered.strange = "the answer holds no rows where the interface's entry places them"
    return None
