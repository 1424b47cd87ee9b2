"""The members of a JSON answer above and beside its rows, as a tree: what may pass, and what they say of the answer."""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Raw

from gateway.proxy.projection.envelope import ENVELOPE_TEXT_BYTES, Answered, Carrier, Member, Watch, is_plain_text
from gateway.proxy.projection.values import NESTED, decode_any, encode, kind_of, picker, text_of

Tokens = tuple[str, ...]
_SHORT = 11
"""A shorter text, as JSON, is neither a trace nor an identity number."""


class Level:
    """One member.

    Attributes:
        children: those in it.
        is_rows: the rows stand here.
        carrier: how the document in the text here is reduced.
        passes: whether a value here may pass; None where none may.
        watch: what a value here says of the answer.
        is_on_way: the rows stand here or below.
        is_watched: something here or below is watched.
    """

    __slots__ = ("carrier", "children", "is_on_way", "is_rows", "is_watched", "passes", "watch")

    def __init__(self) -> None:
        self.children: dict[str, Level] = {}
        self.is_rows = self.is_on_way = self.is_watched = False
        self.carrier: Carrier | None = None
        self.passes: Callable[[Raw], bool] | None = None
        self.watch: Watch | None = None

    def below(self, tokens: Iterable[str]) -> "Level":
        """The level at `tokens`, made where it is missing."""
        level = self
        for token in tokens:
            level = level.children.setdefault(token, Level())
        return level

    def watch_below(self, tokens: Tokens, watch: Watch) -> None:
        """Let a place be watched."""
        self.below(tokens).watch = watch
        self.is_watched = True
        for end in range(len(tokens)):
            self.below(tokens[: end + 1]).is_watched = True

    def look(self, raw: Raw, answered: Answered) -> None:
        """Take what stands at the watched places."""
        if self.watch is not None and kind_of(raw) not in NESTED:
            answered.take(self.watch, text_of(raw))
        if self.children and kind_of(raw) == b"{":
            watched = tuple(name for name, child in self.children.items() if child.is_watched)
            for name, value in picker(watched)(raw).items():
                self.children[name].look(value, answered)

    def kept(self, raw: Raw, answered: Answered) -> Raw | None:
        """What passes of a value beside the rows; None for nothing."""
        if self.passes is not None:
            if self.passes(raw):
                return raw
            is_text = kind_of(raw) == b'"' and answered.meaning
            return Raw(encode(answered.meaning)) if is_text else None
        if kind_of(raw) != b"{":
            return None
        members = picker(tuple(self.children))(raw)
        left = {name: self.children[name].kept(value, answered) for name, value in members.items()}
        found = {name: value for name, value in left.items() if value is not None}
        return Raw(encode(found)) if found else None


def level_tree(
    rows: Tokens,
    carrier: Carrier | None,
    envelope: Iterable[str],
    members: Mapping[Tokens, Member],
    watches: Mapping[Tokens, Watch],
) -> Level:
    """The tree of one JSON document.

    Args:
        rows: the members on the way to the rows, or to the text that holds the document in which they stand.
        carrier: of that text, None where the rows themselves stand there.
        envelope: top-level members that may pass as plain scalars.
        members: those that are declared with type and bound.
        watches: what is said where.
    """
    root = Level()
    level = root
    for token in rows:
        level.is_on_way = True
        level = level.below((token,))
    level.is_on_way = True
    level.is_rows, level.carrier = carrier is None, carrier
    for name in envelope:
        if rows and name != rows[0]:
            root.below((name,)).passes = is_envelope_scalar
    for tokens, member in members.items():
        root.below(tokens).passes = _passer(member)
    for tokens, watch in watches.items():
        root.watch_below(tokens, watch)
    return root


def is_envelope_scalar(raw: Raw) -> bool:
    """Whether an envelope member, as decoded, may pass: a number, boolean, null or short plain text."""
    text = bytes(raw)
    if len(text) < _SHORT:
        return text[:1] not in NESTED
    return len(text) <= ENVELOPE_TEXT_BYTES and text[:1] not in NESTED and is_plain_text(_plain(text))


def _plain(text: bytes) -> str:
    return str(decode_any(text)) if text[:1] == b'"' else text.decode()


def _passer(member: Member) -> Callable[[Raw], bool]:
    def passes(raw: Raw) -> bool:
        kind = kind_of(raw)
        return kind == b"n" or (kind not in NESTED and member.passes(text_of(raw)))

    return passes
