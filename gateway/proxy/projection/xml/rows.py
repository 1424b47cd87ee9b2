"""One row of an XML answer while it is read: which ranges of it leave, and what is known of it."""

import re
from collections.abc import Mapping
from typing import Protocol
from xml.sax.saxutils import escape

import msgspec
from msgspec import Raw

from gateway.proxy.projection.envelope import not_filterable
from gateway.proxy.projection.masks import Mask
from gateway.proxy.projection.xml.tags import Attribute, Tag
from gateway.proxy.projection.xml.templates import Span
from gateway.proxy.projection.xml.tree import RowNode

_XSI = "http://www.w3.org/2001/XMLSchema-instance\n"
_XML = "http://www.w3.org/XML/1998/namespace\n"
_WORD = re.compile(r"[A-Za-z0-9_.:\-]{1,40}")
_URI = re.compile(r"[\x21-\x7e]{1,256}")
_BLANKS = " \t\r\n"
_encode = msgspec.json.encode

MAX_NAMES = 64
"""Prefixes that are declared at one place of an answer."""

Names = Mapping[str, str]
"""Prefix -> namespace, as declared in what leaves."""


class Octets(Protocol):
    """The octets of the answer that are at hand."""

    def octets(self, start: int, end: int) -> bytes:
        """Those from one of expat's indices to another."""


class Scope:
    """What an entry and a grant say of rows.

    Args:
        root: the tree below a row.
        namespaces: those whose declarations leave.
        masks: item -> mask.
        is_bounded: whether the grant is limited to some texts of some items.

    Attributes:
        reads: whether texts of items are looked into for what leaves.
    """

    __slots__ = ("masks", "namespaces", "reads", "root")

    def __init__(
        self, root: RowNode, namespaces: frozenset[str], masks: Mapping[str, Mask], *, is_bounded: bool
    ) -> None:
        self.root = root
        self.namespaces = namespaces
        self.masks = masks
        self.reads = bool(masks) or is_bounded

    def is_masked(self, node: RowNode) -> bool:
        """Whether an item that stands there is masked."""
        return bool(self.masks) and any(item in self.masks for item in node.items)

    def masked(self, node: RowNode, text: str) -> str | None:
        """What masks leave of a text, None for nothing."""
        left: str | None = text
        for item in node.items if text else ():
            if item in self.masks and left is not None:
                left = self.masks[item](left)
        return left


def settle_names(tag: Tag, above: Names, namespaces: frozenset[str]) -> tuple[Names, list[Span | bytes]]:
    """Which namespaces are declared at a tag in what leaves, and the declarations, as they stand or made anew.

    Raises:
        GatewayError: `answer-not-filterable`: the element is in a namespace that has no plain name.
    """
    parts: list[Span | bytes] = []
    declared: dict[str, str] = {}
    for each in tag.attributes:
        prefix = each.declares
        if prefix is not None and (each.value in namespaces or prefix == tag.prefix):
            declared[prefix] = each.value
            parts.append((each.start, each.end))
    uri = tag.namespace
    if uri and not _URI.fullmatch(uri):
        raise not_filterable("the name of a namespace in the answer is none")
    if declared.get(tag.prefix, above.get(tag.prefix, "")) != uri:
        # Declared further out, where it did not leave.
        declared[tag.prefix] = uri
        label = f"xmlns:{tag.prefix}" if tag.prefix else "xmlns"
        parts.append(f' {label}="{escape(uri, {chr(34): "&quot;"})}"'.encode())
    return _with(above, declared), parts


def _with(above: Names, declared: Mapping[str, str]) -> Names:
    """The namespaces of an element that declares some within others.

    Raises:
        GatewayError: `answer-not-filterable`: they are more than an answer of any service has.
    """
    if not declared:
        return above
    names = {**above, **declared} if len(declared) <= MAX_NAMES else declared
    # INVARIANT: BOUNDED: each element that declares one more copies them.
    if len(names) > MAX_NAMES:
        raise not_filterable("the answer declares too many namespaces within each other")
    return names


class _Open:
    """An element of a row that is open.

    Attributes:
        node: what is known of it.
        names: declared here in what leaves.
        is_item: whether it stands in an item that leaves.
        is_denied: whether it stands in what is cut out of one.
        texts: its text so far, where that is looked into.
        is_complex: whether elements stand in it.
        mark: how many spans there were before it.
    """

    __slots__ = ("is_complex", "is_denied", "is_item", "mark", "names", "node", "tag", "texts")

    def __init__(self, tag: Tag, node: RowNode | None, names: Names, mark: int) -> None:
        self.tag = tag
        self.node = node
        self.names = names
        self.mark = mark
        self.is_item = self.is_denied = self.is_complex = False
        self.texts: list[str] | None = None


class RowReading:
    """One row.

    Args:
        scope: what the entry and the grant say.
        source: the octets.
        tag: the row's.
        names: the namespaces declared around it in what leaves.
        collects: whether its values are kept for a comparison.
    """

    __slots__ = (
        "_collects",
        "_has_any",
        "_is_known",
        "_node",
        "_open",
        "_scope",
        "_skipped",
        "_source",
        "is_verbatim",
        "items",
        "spans",
        "start",
        "values",
    )

    def __init__(self, scope: Scope, source: Octets, tag: Tag, names: Names, *, collects: bool) -> None:
        self._scope = scope
        self._collects = collects
        self._source = source
        self._skipped = 0
        self._node: RowNode | None = None
        self._has_any = self._is_known = False
        self.is_verbatim = True
        self.start = tag.start
        self.items: set[str] = set()
        self.values: dict[str, Raw] = {}
        self.spans: list[Span | bytes] = []
        row = _Open(tag, scope.root, names, 0)
        self._open = [row]
        self._keep_tag(row, names)

    @property
    def opened(self) -> Tag:
        """The tag of the innermost element that is looked at and open."""
        return self._open[-1].tag

    @property
    def octets(self) -> bytes:
        """What of the row leaves."""
        return b"".join([part if isinstance(part, bytes) else self._source.octets(*part) for part in self.spans])

    def looks_into(self, name: str) -> bool:
        """Whether an element that begins in the row is looked at: then `begin` is called, else it is passed over."""
        if self._skipped:
            self._skipped += 1
            return False
        above = self._open[-1]
        self._has_any = above.is_complex = True
        self._node = above.node.children.find(name) if above.node is not None else None
        node = self._node
        if above.is_item or above.is_denied or (node is not None and (node.leads or node.is_bounded or node.children)):
            return True
        # Nothing of it leaves; where it is an item, or has one, the row is known.
        if node is not None and (node.items or not node.attributes):
            self._is_known = True
        elif node is not None:
            return True
        self._skipped = 1
        return False

    def begin(self, tag: Tag) -> None:
        """An element that is looked at begins in the row."""
        above, node = self._open[-1], self._node
        if above.is_item or above.is_denied:
            self._begin_within(above, node, tag)
            return
        assert node is not None
        one = _Open(tag, node, above.names, len(self.spans))
        if node.items:
            self._is_known = True
            one.texts = [] if self._reads(node) else None
        one.is_item = node.passes
        if node.passes:
            self.items.update(node.items)
        if node.leads:
            self._keep_tag(one, above.names)
        else:
            self._look_at_attributes(one)
        self._open.append(one)

    def _begin_within(self, above: _Open, node: RowNode | None, tag: Tag) -> None:
        """An element begins within an item."""
        one = _Open(tag, node, above.names, len(self.spans))
        one.is_item, one.is_denied = above.is_item, above.is_denied
        if node is not None and node.items and self._reads(node):
            one.texts = []
        if not above.is_denied:
            if node is not None and node.items and (not node.passes or self._scope.is_masked(node)):
                # INVARIANT: GRANTED-ITEMS-ONLY: an item within another that is not granted is taken out of it.
                one.is_denied, one.is_item = True, False
                self._close_run(tag.start)
            else:
                self._keep_within(one, node)
        self._open.append(one)

    def _keep_within(self, one: _Open, node: RowNode | None) -> None:
        """An element within an item stays, as it stands but for attributes that are items outside the grant."""
        tag = one.tag
        declared = {each.declares or "": each.value for each in tag.attributes if each.declares is not None}
        one.names = _with(one.names, declared)
        self._check_prefix(tag.prefix, tag.namespace, one.names)
        if node is not None and node.items:
            self.items.update(node.items)
        for each in tag.attributes:
            if each.prefix and each.declares is None:
                self._check_prefix(each.prefix, each.name.rpartition("\n")[0], one.names)
            known = node.attributes.find(each.name) if node is not None and each.declares is None else None
            if known is None:
                continue
            self._hold(known, each.value)
            if known.passes and not self._scope.is_masked(known):
                self.items.update(known.items)
            else:
                self._close_run(each.start)
                self.spans.append((each.end, -1))

    def _reads(self, node: RowNode) -> bool:
        """Whether the text of an item there is looked into."""
        return self._collects or node.allowed is not None or self._scope.is_masked(node)

    def passes_over(self) -> bool:
        """Whether an element that ends was passed over."""
        if not self._skipped:
            return False
        self._skipped -= 1
        return True

    def end(self, at: int, end: int, *, is_empty: bool) -> bool:
        """An element that was looked at ends, with the tag that stands from `at` to `end`; whether it is the row."""
        one = self._open.pop()
        above = self._open[-1] if self._open else None
        if one.texts is not None and one.node is not None:
            self._hold(one.node, None if one.is_complex else "".join(one.texts))
        if above is None or not (above.is_item or above.is_denied):
            if one.is_item:
                if not is_empty:
                    self._close_run(end)
                assert one.node is not None
                if self._scope.is_masked(one.node):
                    self._mask(one, at, end)
            elif one.node is not None and (one.node.leads or above is None) and not is_empty:
                self.spans.append((at, end))
        elif one.is_denied and not above.is_denied:
            self._reopen(end)
        if above is None and self._has_any and not self._is_known:
            # INVARIANT: KNOWN-SHAPE.
            raise not_filterable("rows are there, but nothing in them is where the interface's entry places its items")
        return above is None

    def text(self, data: str) -> None:
        """A text stands in the row."""
        if self._skipped:
            return
        if len(self._open) == 1:
            self._has_any = self._has_any or bool(data.strip(_BLANKS))
        for one in self._open:
            if one.texts is not None:
                one.texts.append(data)

    def comment(self) -> None:
        """A comment or processing instruction stands in the row.

        Raises:
            GatewayError: `answer-not-filterable`: within an item, where readers differ in what they make of it.
        """
        if not self._skipped and self._open[-1].is_item:
            raise not_filterable("a comment or processing instruction stands within an item")

    # Spans.

    def _keep_tag(self, one: _Open, above: Names) -> None:
        """What of a start tag leaves; of an item's the last part stays open, up to where the item ends."""
        tag = one.tag
        one.names, parts = settle_names(tag, above, self._scope.namespaces)
        made = [part for part in parts if isinstance(part, bytes)]
        stood = [part for part in parts if isinstance(part, tuple)]
        for part in self._look_at_attributes(one):
            if isinstance(part, tuple):
                stood.append(part)
            else:
                made.append(part)
        if made:
            self.is_verbatim = False
        self.spans += [(tag.start, tag.name_end), *made, *sorted(stood)]
        self.spans.append((tag.close, -1 if one.is_item and not tag.is_empty else tag.end))

    def _look_at_attributes(self, one: _Open) -> list[Span | bytes]:
        """The attributes of a tag that leave."""
        parts: list[Span | bytes] = []
        assert one.node is not None
        for each in one.tag.attributes:
            if each.declares is not None:
                continue
            known = one.node.attributes.find(each.name)
            if known is not None:
                self._has_any = self._is_known = True
                self._hold(known, each.value)
                parts += self._kept_attribute(one, known, each)
            elif one.is_item and each.name.startswith((_XSI, _XML)) and _WORD.fullmatch(each.value):
                if each.prefix != "xml":
                    self._check_prefix(each.prefix, each.name.rpartition("\n")[0], one.names)
                self.is_verbatim = False
                parts.append((each.start, each.end))
            elif len(self._open) == 1 and one is self._open[0]:
                self._has_any = True
        return parts

    def _kept_attribute(self, one: _Open, known: RowNode, each: Attribute) -> list[Span | bytes]:
        if not known.passes:
            return []
        if each.prefix and each.prefix != "xml":
            self._check_prefix(each.prefix, each.name.rpartition("\n")[0], one.names)
        text = self._scope.masked(known, each.value)
        if text is None:
            return []
        self.items.update(known.items)
        if not self._scope.is_masked(known):
            return [(each.start, each.end)]
        quoted = escape(text, {'"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})
        return [f' {each.raw}="{quoted}"'.encode()]

    def _close_run(self, end: int) -> None:
        last = self.spans[-1]
        if isinstance(last, tuple) and last[1] < 0:
            self.spans[-1] = (last[0], end)

    def _reopen(self, end: int) -> None:
        """Go on with an item behind what was cut out of it."""
        last = self.spans[-1]
        assert isinstance(last, tuple)
        if self._source.octets(*last).endswith(b"]"):
            # With a `>` behind the cut it would become the end of a section that was never begun.
            raise not_filterable("an item's text ends with a bracket before what is taken out of it")
        self.spans.append((end, -1))
        self.is_verbatim = False

    def _mask(self, one: _Open, at: int, end: int) -> None:
        assert one.node is not None
        text = None if one.is_complex else self._scope.masked(one.node, "".join(one.texts or ()))
        tag = self.spans[one.mark :]
        del self.spans[one.mark :]
        self.is_verbatim = False
        if text is None:
            self.items.difference_update(one.node.items)
            return
        if one.tag.is_empty or not text:
            self.spans += tag
            return
        self.spans += [part if isinstance(part, bytes) else (part[0], min(part[1], one.tag.end)) for part in tag]
        self.spans += [escape(text, {"\r": "&#13;"}).encode(), (at, end)]

    # What is known.

    def _hold(self, node: RowNode, text: str | None) -> None:
        """Hold a text against the grant's bounds, and keep it for a comparison."""
        # INVARIANT: GRANTED-ITEMS-ONLY: a grant for one region gives rows of that region, whatever was asked for.
        if node.allowed is not None and text != "" and (text is None or text not in node.allowed):
            raise not_filterable("a row of the answer is outside what the grant allows")
        if self._collects and node.passes:
            for item in node.items:
                # What stands twice in a row, or is no text, matches nothing.
                is_one = text is not None and item not in self.values
                self.values[item] = Raw(_encode(text)) if is_one else Raw(b"[]")

    def _check_prefix(self, prefix: str, uri: str, names: Names) -> None:
        """Whether a prefix means in what leaves what it means in the answer."""
        if prefix != "xml" and names.get(prefix, "") != uri:
            raise not_filterable("an item uses a namespace that the interface's entry does not name")
