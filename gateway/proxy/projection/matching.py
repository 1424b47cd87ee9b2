"""Verify mode: the caller sends values, the supplier is asked, and only match or no match leaves.

The caller POSTs `{"values": {"<item>": <value>, …}}` to the interface's path with `Sharing-Mode: verify`; the path and
query go to the supplier by GET. Where the supplier is asked by POST, its request body stands beside: `{"values": …,
"query": <any JSON>}`. The values go nowhere but into the comparison. The answer is
`{"matches": {"<item>": true | false, …}}`, told of the one row of the supplier's answer that holds most of the values:
so one person's name never matches beside another's number.

Texts are compared by what they mean to a person, and by the type of their item (`meanings`), numbers by their value, a
number and a text by the number's plain text. An object or an array in the caller's values is a fault; one in the
supplier's answer, null and a missing item match nothing.

Source: Zhongshan Art. 22 ¶3 (data that may not be shared may still be verified and compared).
"""

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

import msgspec
from msgspec import Raw

from gateway.domain.errors import GatewayError
from gateway.proxy.projection.meanings import meant

MAX_BODY_BYTES = 64 * 1024
"""Values to compare are one person's; more is a batch."""


class Question(msgspec.Struct, frozen=True):
    """What a caller asks in verify mode: the values, and the body to ask the supplier with (empty is GET)."""

    values: dict[str, Raw]
    query: Raw = Raw()

    @property
    def method(self) -> bytes:
        """How the supplier is asked."""
        return b"POST" if bytes(self.query) else b"GET"


_question = msgspec.json.Decoder(Question)
_row = msgspec.json.Decoder(dict[str, Raw])
_encode = msgspec.json.Encoder().encode


def parse_question(body: bytes) -> Question:
    """The question in a request body.

    Raises:
        GatewayError: `malformed-request`.
    """
    try:
        body.decode("utf-8")
        question = _question.decode(body)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        raise GatewayError("malformed-request", 'the body is not `{"values": {…}}`') from None
    if not question.values or len(question.values) > 512:
        raise GatewayError("malformed-request", "the body names no values")
    for value in question.values.values():
        if comparable(value) is None:
            raise GatewayError("malformed-request", "a value to verify is neither a text, a number nor a boolean")
    return question


def comparable(raw: Raw, type: str = "") -> str | None:  # noqa: A002 - the directory's word
    """A JSON value of an item of that type as the text it is compared by; None for what matches nothing."""
    text = bytes(raw).strip(b" \t\r\n")
    if text[:1] in {b"{", b"[", b"n", b""}:
        return None
    if text[:1] == b'"':
        return meant(str(msgspec.json.decode(text)), type)
    if text[:1] in {b"t", b"f"}:
        return text.decode()
    if len(text) > 64:
        return text.decode()
    try:
        number = Decimal(text.decode()).normalize()
    except InvalidOperation:
        return text.decode()
    return meant(f"{number:f}", type) if abs(number.adjusted()) < 64 else str(number)


MAX_GUESSABLE_DIGITS = 7


def guessable(question: Question) -> tuple[str, ...]:
    """The items, sorted, that are compared with a value of which there are few, so that all could be tried.

    A plain number of at most `MAX_GUESSABLE_DIGITS` digits, however it is written, yes or no, and a single character.
    """
    return tuple(sorted(item for item, value in question.values.items() if _is_guessable(comparable(value) or "")))


def _is_guessable(text: str) -> bool:
    if len(text) <= 1 or text in {"true", "false"}:
        return True
    try:
        number = Decimal(text)
    except InvalidOperation:
        return False
    return not number.is_finite() or len(number.normalize().as_tuple().digits) <= MAX_GUESSABLE_DIGITS


def told(found: dict[str, bool]) -> bytes:
    """What leaves of it."""
    return _encode({"matches": found})


class Matching:
    """A question held against the rows of an answer, some at a time.

    Args:
        question: what the caller asks.
        types: (item, type) as the directory entry has them.
    """

    __slots__ = ("_best", "_types", "_wanted")

    def __init__(self, question: Question, types: Iterable[tuple[str, str]] = ()) -> None:
        self._types = dict(types)
        self._wanted = {item: comparable(value, self._types.get(item, "")) for item, value in question.values.items()}
        self._best: set[str] = set()

    def compare(self, rows: Iterable[dict[str, Raw]]) -> None:
        """Look for the row that holds most of the values.

        Args:
            rows: for each row of the supplier's answer, its granted items by name.
        """
        wanted, types = self._wanted, self._types
        # By row and not by item: what is asked and what is answered do not multiply.
        for row in rows:
            if len(self._best) == len(wanted):
                return
            held = {
                item
                for item, raw in row.items()
                if item in wanted and comparable(raw, types.get(item, "")) == wanted[item]
            }
            if len(held) > len(self._best):
                self._best = held

    def found(self) -> dict[str, bool]:
        """For each item whether the one row that holds most of the values holds its value."""
        return {item: item in self._best for item in self._wanted}
