"""An XML answer reduced to the granted items as it comes, element by element.

Expat reads it, with namespaces; what leaves are ranges of the octets as the supplier wrote them, so nothing is written
anew but tags that lose attributes. Rows that look as rows before them did are not read by expat at all (`templates`).
"""

import re
from collections.abc import Iterable
from typing import NoReturn
from xml.parsers import expat
from xml.sax.saxutils import escape

from msgspec import Raw

from gateway.proxy.projection.envelope import Answered, not_filterable
from gateway.proxy.projection.xml.rows import Names, RowReading, Scope, settle_names
from gateway.proxy.projection.xml.tags import Tag, read_tag
from gateway.proxy.projection.xml.templates import MOST_BYTES, Span, Templates, make_template
from gateway.proxy.projection.xml.tree import OuterNode

MAX_DEPTH = 64
"""Elements within each other."""

MOST_HEAD_BYTES = 64 * 1024
"""What leaves before the first row, and waits for it."""

LEARNS_FROM = 3
"""The row of an answer from which on templates are made: a short answer is not worth one."""

MOST_TRIES = 16
"""How many rows of an answer are tried as templates."""

GROWS = 4
"""What did not look as rows before it is tried as such again once a fourth has come to it, or its end."""

SLICE_BYTES = 32 * 1024
"""How much is worked on at once: where the parser reads every row, a turn of the loop lasts no longer."""

_BLANKS = " \t\r\n"
_RETURN = {"\r": "&#13;"}


class XmlAnswer:
    """What is made once of an interface's entry and a set of granted items. May be kept and shared.

    Args:
        outer: the tree from the document down to the rows.
        scope: what is said of rows.
        row_name: the rows' local name, "" where there are none in this document.
        row_bytes: the longest row, and the longest text of the envelope.
    """

    __slots__ = ("closing", "outer", "row_bytes", "scope", "templates")

    def __init__(self, outer: OuterNode, scope: Scope, row_name: str, row_bytes: int) -> None:
        self.outer = outer
        self.scope = scope
        self.row_bytes = row_bytes
        # INVARIANT: GRANTED-ITEMS-ONLY: a mask or a bound is held against what the parser read.
        self.templates = Templates() if row_name and not scope.reads else None
        name = re.escape(row_name.encode())
        self.closing = re.compile(rb"</(?:[^\s<>/:]+:)?%b[ \t\r\n]*>" % name) if row_name else None


class _Element:
    """An element above or beside the rows that is open."""

    __slots__ = ("is_complex", "names", "node", "open_tag", "tag", "texts")

    def __init__(self, tag: Tag, node: OuterNode, names: Names) -> None:
        self.tag = tag
        self.node = node
        self.names = names
        self.open_tag = b""
        self.texts: list[str] | None = [] if node.is_leaf else None
        self.is_complex = False


class XmlReducer:
    """One answer on its way: a `streams.RowReducer`.

    Args:
        answer: the entry and the grant.
        answered: what the answer says of itself, shared with the documents around it and in it.
        is_failure: whether the status said already that there is no answer: then no rows are asked for.
        is_whole: whether the answer is at hand, so that nothing leaves before its end.
        collects: whether rows are kept for a comparison (`values`), and nothing leaves.
    """

    def __init__(
        self,
        answer: XmlAnswer,
        answered: Answered,
        *,
        is_failure: bool = False,
        is_whole: bool = False,
        collects: bool = False,
    ) -> None:
        self._answer = answer
        self._answered = answered
        self._is_failure = is_failure
        self._is_whole = is_whole
        self._collects = collects
        self.content_type = b"application/xml; charset=utf-8"
        self.rows = 0
        self.items: set[str] = set()
        self.values: list[dict[str, Raw]] = []
        self._left: list[bytes | None] = []
        self._left_bytes = 0
        self._buffer = bytearray()
        self._waiting: list[bytes] = []  # what came and is not in the buffer yet
        self._waiting_bytes = 0
        self._wanted = 0  # how much expat is to be given before it is asked again
        self._looked = 0  # how far from `_fed` a row's end was looked for
        self._tried = 0  # how much from there was tried as rows
        self._origin = 0  # expat's index of the buffer's first octet
        self._fed = 0  # how much of the buffer expat was given, or need not be
        self._row_end = -1  # where in the buffer a row ended; at `_fed`, expat has seen nothing behind it
        self._seen = 0  # expat's index of what it told of last
        self._tries = 0
        self._depth = 0
        self._skipped = 0
        self._declared: list[tuple[str, str]] = []
        self._stack: list[_Element] = []
        self._row: RowReading | None = None
        answered.has_rows_place |= answer.outer.holds_rows
        parser = self._parser = expat.ParserCreate("utf-8", "\n")
        parser.ordered_attributes = True
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.CommentHandler = self._comment
        parser.ProcessingInstructionHandler = self._comment
        parser.StartNamespaceDeclHandler = self._declare
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.XmlDeclHandler = self._declaration

    # What is fed, and what leaves.

    @property
    def held_bytes(self) -> int:
        """As `streams.RowReducer.held_bytes`."""
        return len(self._buffer) + self._waiting_bytes + self._left_bytes

    def feed(self, data: bytes) -> bytes:
        """As `streams.RowReducer.feed`."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if len(self._buffer) - self._fed + self._waiting_bytes >= self._wanted:
            self._take_waiting()
            self._work()
            self._trim()
        self._check_length(len(self._buffer) + self._waiting_bytes)
        if self._is_whole or not self.rows:
            if self._left_bytes > MOST_HEAD_BYTES and not self._is_whole:
                raise not_filterable("the answer holds too much before its first row")
            return b""
        return self._take_left()

    def finish(self) -> bytes:
        """As `streams.RowReducer.finish`."""
        self._take_waiting()
        if self._fed < len(self._buffer):
            self._work()
        self._parse(self._buffer[self._fed :], is_final=True)
        if not self._is_whole:
            self._answered.settle(self.rows, is_failure=self._is_failure)
        return self._take_left()

    def octets(self, start: int, end: int) -> bytes:
        """The octets from one of expat's indices to another."""
        with memoryview(self._buffer) as whole:
            return bytes(whole[start - self._origin : end - self._origin])

    def _take_waiting(self) -> None:
        self._buffer += b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0

    def _check_length(self, octets: int) -> None:
        """Raise where so much is too much to be held; an answer that is gathered has its own bound."""
        if octets > self._answer.row_bytes and not self._is_whole:
            raise not_filterable("a row of the answer, or a text beside the rows, is too long")

    def _leave(self, octets: bytes) -> None:
        if octets and not self._collects:
            self._left.append(octets)
            self._left_bytes += len(octets)

    def _take_left(self) -> bytes:
        left, self._left, self._left_bytes = self._left, [], 0
        meaning = escape(self._answered.meaning).encode() if None in left else b""
        return b"".join([meaning if each is None else each for each in left])

    def _work(self) -> None:
        """Hand on what was fed: to the templates where rows begin, to expat elsewhere."""
        closing, templates = self._answer.closing, self._answer.templates
        while (came := len(self._buffer) - self._fed) and came >= self._wanted:
            is_between = self._row_end == self._fed
            found = None
            if closing is not None:
                # What was looked through before is not looked through again; no row ends within a tag or comment.
                at = self._fed + max(self._looked, self._wanted)
                found = closing.search(self._buffer, at)
                if found is None:
                    begun = self._buffer.rfind(b"<", at)
                    self._looked = (begun if begun >= 0 else len(self._buffer)) - self._fed
            may_match = found is not None or came >= self._tried + self._tried // GROWS
            if is_between and templates is not None and may_match and not self._collects:
                left, rows, length = templates.take(self._buffer, self._fed, self.items)
                self._tried = came
                if length:
                    self.rows += rows
                    self._leave(left)
                    # Expat saw nothing of it: what follows is to it what stood here.
                    self._origin -= length
                    self._row_end = self._fed + length
                    self._go_on(self._row_end)
                    continue
            end = min(len(self._buffer), self._fed + max(SLICE_BYTES, self._wanted))
            if found is not None:
                end = found.end()
            elif is_between and came < MOST_BYTES and self._is_row_begun():
                # A row whose end has not come yet: it may still look as others did.
                return
            start = self._fed
            self._go_on(end)
            self._parse(self._buffer[start:end], is_final=False)

    def _go_on(self, fed: int) -> None:
        self._fed, self._looked, self._tried = fed, 0, 0

    def _is_row_begun(self) -> bool:
        rest = bytes(self._buffer[self._fed : self._fed + 256]).lstrip()
        return rest[:1] == b"<" and rest[1:2] not in {b"/", b"!", b"?", b""}

    def _trim(self) -> None:
        """Let go of what nothing refers to any more."""
        if self._row_end == self._fed:
            cut = self._fed
        elif self._row is not None:
            cut = self._row.start - self._origin
        elif self._stack and self._stack[-1].texts is not None:
            cut = self._stack[-1].tag.start - self._origin
        else:
            cut = min(self._seen - self._origin, self._fed)
        if cut > 0:
            del self._buffer[:cut]
            self._origin += cut
            self._fed -= cut
            self._row_end = max(self._row_end - cut, -1)

    def _parse(self, segment: bytes | bytearray, *, is_final: bool) -> None:
        try:
            self._parser.Parse(segment, is_final)
            # INVARIANT: BOUNDED: expat reads a tag, comment or value that has not ended from its beginning each time.
            # So it is given as much again before it is asked again, however small the pieces are in which that comes.
            self._wanted = self._origin + self._fed - self._parser.CurrentByteIndex
        except expat.ExpatError:
            raise not_filterable("the answer is not well-formed XML") from None

    # What expat tells.

    def _declaration(self, version: str, _encoding: str | None, _standalone: int) -> None:
        if version != "1.0":
            raise not_filterable("the answer is not XML 1.0")
        start = self._parser.CurrentByteIndex - self._origin
        self._leave(bytes(self._buffer[start : self._buffer.index(b"?>", start) + 2]))

    def _declare(self, prefix: str | None, uri: str | None) -> None:
        self._declared.append((prefix or "", uri or ""))

    def _start(self, name: str, told: list[str]) -> None:
        declared, self._declared = self._declared, []
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise not_filterable("the answer's elements stand too deep within each other")
        self._seen = at = self._parser.CurrentByteIndex
        if self._skipped:
            self._skipped += 1
            return
        if self._row is None:
            self._begin(read_tag(self._buffer, self._origin, at, name, told, declared))
        elif self._row.looks_into(name):
            self._row.begin(read_tag(self._buffer, self._origin, at, name, told, declared))

    def _begin(self, tag: Tag) -> None:
        """An element begins above or beside the rows."""
        above = self._stack[-1] if self._stack else None
        around = above.node if above is not None else self._answer.outer
        node = around.children.find(tag.name)
        if above is not None and above.texts is not None:
            above.is_complex = True
            self._skipped = 1
        elif node is None:
            self._find_strange(around)
            self._skipped = 1
        elif node.is_rows:
            names = above.names if above is not None else {}
            self._row = RowReading(self._answer.scope, self, tag, names, collects=self._collects)
        else:
            self._answered.has_rows_place |= node.holds_rows
            if not node.is_leaf:
                # A fault beside the rows, say: that there are none is believed only in declared words.
                self._find_strange(around)
            one = _Element(tag, node, above.names if above is not None else {})
            one.open_tag = self._open_tag(one)
            if not node.is_leaf and node.leads:
                self._leave(one.open_tag)
            self._stack.append(one)

    def _find_strange(self, around: OuterNode) -> None:
        """Something else than rows stands where they should (INVARIANT: KNOWN-SHAPE)."""
        if around.holds_rows:
            self._answered.strange = "the answer holds no rows where the interface's entry places them"

    def _open_tag(self, one: _Element) -> bytes:
        """What leaves of a start tag."""
        tag, node = one.tag, one.node
        parts: list[Span | bytes]
        one.names, parts = settle_names(tag, one.names, self._answer.scope.namespaces)
        for each in tag.attributes:
            known = node.attributes.find(each.name) if each.declares is None else None
            if known is None:
                continue
            if known.watch is not None:
                self._answered.take(known.watch, each.value)
            if known.member is not None and known.member.passes(each.value) and not each.prefix:
                parts.append((each.start, each.end))
        whole: Iterable[Span | bytes] = ((tag.start, tag.name_end), *parts, (tag.close, tag.end))
        return b"".join([part if isinstance(part, bytes) else self.octets(*part) for part in whole])

    def _end(self, _name: str) -> None:
        self._depth -= 1
        self._seen = at = self._parser.CurrentByteIndex
        if self._skipped:
            self._skipped -= 1
            return
        if self._row is not None:
            self._end_in_row(self._row, at)
            return
        one = self._stack.pop()
        is_empty = one.tag.is_empty
        end = one.tag.end if is_empty else self._end_of_tag(at)
        if one.texts is not None:
            self._end_leaf(one, at, end, is_empty=is_empty)
        elif one.node.leads and not is_empty:
            self._leave(self.octets(at, end))

    def _end_of_tag(self, at: int) -> int:
        return self._buffer.index(b">", at - self._origin) + 1 + self._origin

    def _end_in_row(self, row: RowReading, at: int) -> None:
        if row.passes_over():
            return
        opened = row.opened
        is_empty = opened.is_empty
        end = opened.end if is_empty else self._end_of_tag(at)
        if not row.end(at, end, is_empty=is_empty):
            return
        self._check_length(end - row.start)
        self._row = None
        self.rows += 1
        self.items |= row.items
        self._row_end = end - self._origin
        if self._collects:
            self.values.append(row.values)
            return
        self._leave(row.octets)
        templates = self._answer.templates
        if templates is None or templates.is_full or not row.is_verbatim or self.rows < LEARNS_FROM:
            return
        self._tries += 1
        if self._tries > MOST_TRIES:
            return
        spans = [(part[0] - row.start, part[1] - row.start) for part in row.spans if isinstance(part, tuple)]
        template = make_template(self.octets(row.start, end), spans, frozenset(row.items))
        if template is not None:
            templates.learn(template)

    def _end_leaf(self, one: _Element, at: int, end: int, *, is_empty: bool) -> None:
        """An element of the envelope is whole: what it says, and what of its text leaves."""
        node, answered = one.node, self._answered
        text = "".join(one.texts or ())
        if one.is_complex:
            if node.carrier is not None:
                raise not_filterable("elements stand where the interface's entry places a document in a text")
            return
        if node.watch is not None:
            answered.take(node.watch, text.strip(_BLANKS))
        if not node.leads:
            return
        if node.carrier is not None and not text.strip(_BLANKS):
            answered.has_rows_place = True
        if is_empty:
            self._leave(one.open_tag)
            return
        close = self.octets(at, end)
        if node.carrier is not None and text.strip(_BLANKS):
            raw = self.octets(one.tag.end, at)
            self._leave(one.open_tag + self._carried(node, text, raw) + close)
        elif node.carrier is not None or (node.member is not None and node.member.passes(text)):
            kept = b"" if node.carrier is not None else escape(text, _RETURN).encode()
            self._leave(one.open_tag + kept + close)
        elif answered.has_meanings:
            self._leave(one.open_tag)
            self._left.append(None)
            self._leave(close)

    def _carried(self, node: OuterNode, text: str, raw: bytes) -> bytes:
        """What leaves of a document in a text, in CDATA where it stood in it."""
        assert node.carrier is not None
        reduced = node.carrier.reduce(text, self._answered, is_failure=self._is_failure, collects=self._collects)
        self.rows += reduced.rows
        self.items.update(reduced.items)
        self.values += reduced.values
        if raw.lstrip(b" \t\r\n").startswith(b"<![CDATA["):
            return b"<![CDATA[%b]]>" % reduced.text.replace("]]>", "]]]]><![CDATA[>").encode()
        return escape(reduced.text, _RETURN).encode()

    def _text(self, data: str) -> None:
        self._seen = self._parser.CurrentByteIndex
        if self._skipped or (not self._stack and self._row is None):
            return
        if self._row is not None:
            self._row.text(data)
            return
        one = self._stack[-1]
        if one.texts is not None:
            one.texts.append(data)
        elif data.strip(_BLANKS):
            self._find_strange(one.node)

    def _comment(self, *_what: str) -> None:
        self._seen = self._parser.CurrentByteIndex
        if self._skipped:
            return
        if self._row is not None:
            self._row.comment()
        elif self._stack and self._stack[-1].texts is not None:
            raise not_filterable("a comment or processing instruction stands within a text of the envelope")


def _refuse_doctype(*_what: object) -> NoReturn:
    raise not_filterable("the answer has a document type, which is not read")
