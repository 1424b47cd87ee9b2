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

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.domain.errors import GatewayError
from gateway.proxy.projection.masks import Mask
from gateway.proxy.projection.places import Place, parse_pointer, place_tree

ENVELOPE_TEXT_BYTES = 512
"""Longest string of an envelope member that passes, as JSON text."""

MAX_ARRAYS = 4
"""How many arrays within arrays a place may pass through."""

STEP_BYTES = 128 * 1024
"""How much of the rows is worked on in one step; one row that is longer is one step, and must not hold too much."""

MAX_MEMBERS = 1 << 16
"""Most members and elements of a row that is longer than two steps: a photograph is long, and holds one thing."""

T = TypeVar("T")
Steps = Generator[None, None, T]

_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_ARRAY = msgspec.json.Decoder(list[Raw])
_ANY = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode
_astuple = msgspec.structs.astuple
_SPACE = b" \t\r\n"
_MARKS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NESTED = (b"{", b"[")


class Projected(msgspec.Struct, frozen=True):
    """A filtered answer.

    Args:
        content: what may leave.
        rows: how many rows it holds.
        items: names of the items that stand in at least one row.
    """

    content: bytes
    rows: int
    items: tuple[str, ...]


def not_filterable(detail: str) -> GatewayError:
    """An answer that cannot be reduced; the detail names no value."""
    return GatewayError("answer-not-filterable", detail)


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

    Raises:
        GatewayError: `answer-not-filterable` where the entry itself is faulty.
    """

    __slots__ = (
        "_bounds",
        "_empty_when",
        "_envelope",
        "_every",
        "_fast",
        "_masks",
        "_of_rows",
        "_part",
        "_rows",
        "_tree",
    )

    def __init__(
        self,
        rows: str,
        places: Mapping[str, str],
        envelope: tuple[str, ...],
        granted: tuple[str, ...],
        masks: Mapping[str, Mask],
        empty_when: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
        bounds: Mapping[str, frozenset[str]] = MappingProxyType({}),
    ) -> None:
        self._of_rows = (places, granted, masks, bounds)
        self._part: DocumentProjector | None = None
        self._bounds = [(parse_pointer(places[item]), texts) for item, texts in bounds.items() if item in places]
        self._empty_when = [(parse_pointer(pointer), frozenset(texts)) for pointer, texts in empty_when.items()]
        self._every = place_tree(places, places)
        self._rows = parse_pointer(rows)
        top = self._rows[0] if self._rows else None
        self._envelope = frozenset(name for name in envelope if name != top)
        self._masks = masks
        self._tree = place_tree(places, granted)
        is_plain = not self._bounds and self._is_plain(self._tree)
        self._fast = _Typed(self._rows, self._envelope, self._tree) if is_plain else None

    def _is_plain(self, node: Place) -> bool:
        """Whether the types can say it: members only, no overlap, no mask, an item at the end of every place."""
        if node.is_denied or (node.item is not None and (node.children or node.item in self._masks)):
            return False
        return all(
            not token.isdigit() and not token.isspace() and self._is_plain(child)
            for token, child in node.children.items()
        ) and (node is not self._tree or (node.item is None and bool(node.children)))

    def project(self, content: bytes, *, is_failure: bool = False) -> Projected:
        """The answer reduced to the granted items.

        Args:
            content: a JSON document.
            is_failure: whether the status said already that there is no answer: then no rows are asked for.

        Raises:
            GatewayError: `answer-not-filterable`.
        """
        content = _octets(content)
        try:
            if self._fast is not None:
                try:
                    return self._fast.project(content)
                except msgspec.ValidationError:
                    pass
            return at_once(self._walk(content, is_failure=is_failure))
        except (msgspec.DecodeError, RecursionError):
            raise not_filterable("the answer is not strict JSON, or nested too deep") from None

    def steps(self, content: bytes, *, is_failure: bool = False) -> Steps[Projected]:
        """As `project`, in steps of about `STEP_BYTES` each.

        Raises:
            GatewayError: `answer-not-filterable`.
        """
        content = _octets(content)
        yield
        try:
            return (yield from self._walk(content, is_failure=is_failure, by_parts=True))
        except (msgspec.DecodeError, RecursionError):
            raise not_filterable("the answer is not strict JSON, or nested too deep") from None

    def values(self, content: bytes) -> Iterator[list[dict[str, Raw]]]:
        """For each row the granted items by name, as they stand, some rows at a time.

        For comparison only: masks are not applied.

        Raises:
            GatewayError: `answer-not-filterable`; of any row, so that nothing is told before the last of them.
        """
        try:
            content.decode("utf-8-sig")
            document = Raw(content.removeprefix(b"\xef\xbb\xbf"))
            raw: Raw | None = document
            for token in self._rows:
                if raw is None:
                    break
                if _kind(raw) != b"{":
                    _empty(raw)
                    return
                raw = _picker((token,))(raw).get(token)
            if raw is None:
                self._require_declared(document)
                return
            if _kind(raw) not in {b"{", b"["}:
                _empty(raw)
                return
            for part in _parts(bytes(raw)) if _kind(raw) == b"[" else (b"[%b]" % bytes(raw),):
                require_light(part)
                rows = _ARRAY.decode(part)
                for row in rows:
                    self._require_known(row)
                # What is not the grant's matches nothing, as what is not there.
                yield [self._gather(row, self._tree, {}) for row in rows if self._is_within(row)]
        except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
            raise not_filterable("the answer is not strict JSON, or nested too deep") from None

    def _gather(self, raw: Raw, node: Place, into: dict[str, Raw]) -> dict[str, Raw]:
        if not node.is_denied:
            if node.item is not None:
                into[node.item] = raw
            if node.children and _kind(raw) == b"{":
                for name, value in _OBJECT.decode(raw).items():
                    if name in node.children:
                        self._gather(value, node.children[name], into)
            elif node.children and _kind(raw) == b"[":
                for index, value in enumerate(_ARRAY.decode(raw)):
                    if str(index) in node.children:
                        self._gather(value, node.children[str(index)], into)
        return into

    def _require_declared(self, document: Raw) -> None:
        """Raises where an answer without rows does not say in declared words that there are none."""
        for tokens, texts in self._empty_when:
            raw: Raw | None = document
            for token in tokens:
                raw = _picker((token,))(raw).get(token) if raw is not None and _kind(raw) == b"{" else None
            if raw is not None and _kind(raw) not in _NESTED and _text_of(raw) in texts:
                return
        raise not_filterable("the answer has no rows where the interface's entry places them, and does not say why")

    def _require_known(self, row: Raw) -> None:
        """Raises where a row holds something, and nothing of it is where the entry places an item."""
        if _kind(row) != b"{":
            raise not_filterable("a row of the answer is not an object")
        if _OBJECT.decode(row) and not _leads_to_an_item(row, self._every, 0):
            raise not_filterable("rows are there, but nothing in them is where the interface's entry places its items")

    def _walk(self, content: bytes, *, is_failure: bool = False, by_parts: bool = False) -> Steps[Projected]:
        seen: set[str] = set()
        if not self._rows:
            rows, count = yield from self._filter_rows(Raw(content), seen, by_parts=by_parts)
            return Projected(bytes(rows), count, tuple(sorted(seen)))
        if content.lstrip(_SPACE)[:1] != b"{":
            raise not_filterable("the answer is not an object, but the entry places its rows in one")
        members = _picker((*sorted(self._envelope), self._rows[0]))(content)
        out: dict[str, Any] = {
            name: raw for name, raw in members.items() if name in self._envelope and is_envelope_scalar(raw)
        }
        count = 0
        raw: Raw | None = members.get(self._rows[0])
        inner: dict[str, Any] = out
        for depth, token in enumerate(self._rows):
            if raw is None:
                if not is_failure:
                    self._require_declared(Raw(content))
                break
            if depth == len(self._rows) - 1:
                inner[token], count = yield from self._filter_rows(raw, seen, by_parts=by_parts)
                break
            if _kind(raw) != b"{":
                inner[token] = _empty(raw)
                break
            inner[token] = inner = {}
            raw = _picker((self._rows[depth + 1],))(raw).get(self._rows[depth + 1])
        return Projected(_encode(out), count, tuple(sorted(seen)))

    def _filter_rows(self, raw: Raw, seen: set[str], *, by_parts: bool) -> Steps[tuple[Raw, int]]:
        kind = _kind(raw)
        if kind == b"[" and by_parts:
            return (yield from self._filter_parts(bytes(raw), seen))
        if kind == b"[":
            rows = []
            for row in _ARRAY.decode(raw):
                kept = self._filter_row(row, seen)
                if kept is None:
                    raise not_filterable("a row of the answer is not an object")
                rows.append(kept)
            return Raw(_encode(rows)), len(rows)
        if kind == b"{":
            require_light(bytes(raw))
            kept = self._filter_row(raw, seen)
            if kept is None:
                raise not_filterable("the row of the answer is not granted as it stands")
            return kept, 1
        return _empty(raw), 0

    def _filter_parts(self, rows: bytes, seen: set[str]) -> Steps[tuple[Raw, int]]:
        """As `_filter_rows` of an array, part by part, each as an answer that is an array of rows."""
        left: list[bytes] = []
        count = 0
        for part in _parts(rows):
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
            _kind(value) not in _NESTED and _text_of(value) in texts
            for tokens, texts in self._bounds
            for value in _values_at(row, tokens)
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
        kind = _kind(raw)
        if kind == b"{":
            kept: dict[str, Raw] = {}
            for name, value in _OBJECT.decode(raw).items():
                child = node.children.get(name)
                if child is not None:
                    passed = self._filter(value, child, seen, arrays)
                else:
                    passed = self._leaf(value, node.item, seen) if node.item is not None else None
                if passed is not None:
                    kept[name] = passed
            return Raw(_encode(kept))
        if kind == b"[" and arrays < MAX_ARRAYS and node is not self._tree:
            return self._filter_array(raw, node, seen, arrays)
        return self._leaf(raw, node.item, seen) if node.item is not None and kind != b"[" else None

    def _filter_array(self, raw: Raw, node: Place, seen: set[str], arrays: int) -> Raw:
        """A place that passes through an array: an index picks its element, a name applies to every element."""
        by_index = any(token.isdigit() for token in node.children)
        kept: list[Raw | None] = []
        for index, element in enumerate(_ARRAY.decode(raw)):
            child = node.children.get(str(index)) if by_index else node
            if child is None:
                kept.append(self._leaf(element, node.item, seen) if node.item is not None else None)
                continue
            passed = self._filter(element, child, seen, arrays + 1)
            if passed is not None or by_index:
                kept.append(passed)
        while by_index and kept and kept[-1] is None:
            kept.pop()
        return Raw(_encode(kept))

    def _leaf(self, raw: Raw, item: str, seen: set[str]) -> Raw | None:
        mask = self._masks.get(item)
        if mask is not None:
            masked = masked_value(raw, mask)
            if masked is None:
                return None
            raw = masked
        seen.add(item)
        return raw


def at_once(steps: Steps[T]) -> T:
    """What steps come to, done one after the other."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


@lru_cache(maxsize=4096)
def _picker(names: tuple[str, ...]) -> Callable[[bytes | Raw], dict[str, Raw]]:
    """What takes these members out of an object and skips all others, however many there are."""
    fields = [(f"f{at}", Raw | UnsetType, msgspec.field(default=UNSET, name=name)) for at, name in enumerate(names)]
    decode = msgspec.json.Decoder(msgspec.defstruct("Members", fields)).decode

    def pick(raw: bytes | Raw) -> dict[str, Raw]:
        return {name: found for name, found in zip(names, _astuple(decode(raw)), strict=True) if found is not UNSET}

    return pick


def require_light(rows: bytes) -> None:
    """Raises where what is worked on in one step is long and holds much.

    INVARIANT: BOUNDED: while one answer is worked on, the loop serves nobody else.
    """
    if len(rows) <= 2 * STEP_BYTES or _members(rows) <= MAX_MEMBERS:
        return
    # Texts may hold what looks like members; how many texts there are at most is known.
    if _members(rows) > 16 * MAX_MEMBERS or _members(_STRINGS.sub(b"", rows)) > MAX_MEMBERS:
        raise _too_much()


def _too_much() -> GatewayError:
    return not_filterable(f"a row of the answer holds more than {MAX_MEMBERS} members and elements")


def _members(rows: bytes) -> int:
    return rows.count(b",") + rows.count(b"[") + rows.count(b"{")


def _octets(content: bytes) -> bytes:
    """A document without its mark; raises unless it is UTF-8: the decoder looks into no string it skips or keeps."""
    if content[:3] == b"\xef\xbb\xbf":
        content = content[3:]
    if not content.isascii():
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            raise not_filterable("the answer is not UTF-8") from None
    return content


def _parts(rows: bytes) -> Iterator[bytes]:
    """An array as arrays of about `STEP_BYTES` that have the same elements in the same order.

    It is cut behind a brace before a comma, where a decoder says that what stands before is whole elements: one that
    has read them is where the next one begins. Where it says otherwise, the braces are counted.
    """
    rows = rows.strip(_SPACE)
    begin = 1
    while guess := rows.find(b"},", begin + STEP_BYTES) + 1:
        end = guess if _is_whole(rows[begin:guess]) else _end_of_element(rows, begin)
        comma = rows.find(b",", end)
        if not end or comma < 0 or rows[end:comma].strip(_SPACE):
            break
        yield b"[%b]" % rows[begin:end]
        begin = comma + 1
    # The rest, with the array's own end: also where it is faulty, which whoever decodes it finds.
    if begin > 1 and rows[begin:].strip(_SPACE) == b"]":
        raise msgspec.DecodeError("an element is missing behind a comma")
    yield b"[" + rows[begin:]


def _is_whole(elements: bytes) -> bool:
    try:
        _ARRAY.decode(b"[%b]" % elements)
    except msgspec.DecodeError:
        return False
    return True


def _end_of_element(rows: bytes, begin: int) -> int:
    """Where the first element ends that reaches over a part; 0 where the array ends before."""
    depth = 0
    for count, mark in enumerate(_MARKS.finditer(rows, begin)):
        if count > STEP_BYTES + 4 * MAX_MEMBERS:
            raise _too_much()
        octet = mark[0]
        if octet in {b"{", b"["}:
            depth += 1
        elif octet in {b"}", b"]"}:
            depth -= 1
            if depth == 0 and mark.end() >= begin + STEP_BYTES:
                return mark.end()
    return 0


def masked_value(raw: Raw, mask: Mask) -> Raw | None:
    """What a mask leaves of a JSON value: strings and numbers by their text, null as it is, all else nothing."""
    kind = _kind(raw)
    if kind == b"n":
        return raw
    if kind in {b"{", b"[", b"t", b"f"}:
        return None
    text = _ANY.decode(raw) if kind == b'"' else bytes(raw).decode()
    left = mask(text)
    return None if left is None else Raw(_encode(left))


def is_envelope_scalar(raw: Raw) -> bool:
    """Whether an envelope member, as decoded, may pass: a number, boolean, null or short string."""
    text = bytes(raw)
    return len(text) <= ENVELOPE_TEXT_BYTES and text[:1] not in _NESTED


def _kind(raw: Raw) -> bytes:
    """The first byte of a value's text."""
    return bytes(memoryview(raw)[:64]).lstrip(_SPACE)[:1] or bytes(raw).lstrip(_SPACE)[:1]


def _text_of(raw: Raw) -> str:
    """A scalar as a text: a string's own, anything else as it is written."""
    return str(_ANY.decode(raw)) if _kind(raw) == b'"' else bytes(raw).strip(_SPACE).decode()


def _values_at(raw: Raw, tokens: tuple[str, ...]) -> Iterator[Raw]:
    """What stands at a place, in every element of an array on the way; null stands for nothing."""
    kind = _kind(raw)
    if not tokens:
        if kind == b"[":
            for element in _ARRAY.decode(raw):
                yield from _values_at(element, tokens)
        elif kind != b"n":
            yield raw
    elif kind == b"{":
        inner = _OBJECT.decode(raw).get(tokens[0])
        if inner is not None:
            yield from _values_at(inner, tokens[1:])
    elif kind == b"[":
        elements = _ARRAY.decode(raw)
        if tokens[0].isdigit():
            for element in elements[int(tokens[0]) : int(tokens[0]) + 1]:
                yield from _values_at(element, tokens[1:])
        else:
            for element in elements:
                yield from _values_at(element, tokens)


def _leads_to_an_item(raw: Raw, node: Place, arrays: int) -> bool:
    """Whether some place below `node` is there."""
    if node.item is not None:
        return True
    kind = _kind(raw)
    if kind == b"{":
        return any(
            name in node.children and _leads_to_an_item(value, node.children[name], arrays)
            for name, value in _OBJECT.decode(raw).items()
        )
    if kind == b"[" and arrays < MAX_ARRAYS:
        return any(
            _leads_to_an_item(element, node.children.get(str(index), node), arrays + 1)
            for index, element in enumerate(_ARRAY.decode(raw))
        )
    return False


def _empty(raw: Raw) -> Raw:
    """A value that stands for "no rows"; raises for any other scalar, which could be data."""
    text = bytes(memoryview(raw)[:8]).strip(_SPACE)
    if text in {b"null", b'""'}:
        return Raw(text)
    raise not_filterable("the answer holds no rows where the interface's entry places them")


class _Typed:
    """The fast way: msgspec types made from the places."""

    __slots__ = ("_all", "_decode", "_is_flat", "_items", "_path", "_single_type")

    def __init__(self, rows: tuple[str, ...], envelope: frozenset[str], tree: Place) -> None:
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
                if raw is not UNSET and not is_envelope_scalar(raw):
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
        content = _encode(document)
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
