"""What an answer says beside its rows: members that the entry declares, with a type and a bound, and codes.

A supplier's text may hold anything: a stack trace, a name, a number of a person. So a member passes only where it is
what the entry declares, and says nothing that looks like a trace or an identity number; else the registered meaning of
the answer's code stands in its place, or it is left out. What an answer says of itself ("nothing found", "failed") is
believed only in the words that the entry declares.

INVARIANT: GRANTED-ITEMS-ONLY, KNOWN-SHAPE.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import msgspec
from msgspec import Raw

from gateway.domain.directory import EnvelopeMember, MemberType
from gateway.domain.errors import GatewayError
from gateway.domain.free_text import LENGTHS, holds_identity_number

ENVELOPE_TEXT_BYTES = 512
"""Longest text of a member that is declared by its name alone, as JSON text."""

ANY = "*"
"""Of declared texts: any text that is not empty."""

_SHORT = 9
"""A shorter text is neither a trace nor an identity number."""
_TRACES = ("Exception", "Traceback", "Error", "SQLSTATE", "ORA-", "\n", "\r", "\t")
_FRAME = re.compile(r"\bat [\w$.<>]+\(")
_FEW = 5
"""Signs of other scripts may stand for three digits each."""
_COUNTED = re.compile(r"[\u3358-\u3370\u33e0-\u33fe]")
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_CODE = re.compile(r"[A-Za-z0-9_.:\-]+")
_BOOLEANS = frozenset({"true", "false", "0", "1", "Y", "N"})


def not_filterable(detail: str) -> GatewayError:
    """An answer that cannot be reduced; the detail names no value."""
    return GatewayError("answer-not-filterable", detail)


def is_plain_text(text: str) -> bool:
    """Whether a text has neither a line end, nor the look of a trace, nor digits as identity numbers have."""
    if len(text) < _SHORT:
        return True
    if any(word in text for word in _TRACES) or ("at " in text and _FRAME.search(text)):
        return False
    # Most texts have too few digits for a number of a person, which is told at less cost than that they hold none.
    few = min(LENGTHS) if text.isascii() else _FEW
    return (sum(map(str.isnumeric, text)) < few and not _COUNTED.search(text)) or not holds_identity_number(text)


class Member:
    """A declared member of the envelope."""

    __slots__ = ("_most", "_type")

    def __init__(self, declared: EnvelopeMember) -> None:
        self._type = declared.type
        self._most = declared.most

    def passes(self, text: str) -> bool:
        """Whether a text is what the entry declares."""
        match self._type:
            case MemberType.MEANING:
                return False
            case MemberType.BOOLEAN:
                return text in _BOOLEANS
            case MemberType.INTEGER:
                return (
                    _INTEGER.fullmatch(text) is not None
                    and abs(int(text)) <= self._most
                    and not holds_identity_number(text)
                )
            case MemberType.CODE:
                is_code = _CODE.fullmatch(text) is not None or not text
                return is_code and len(text) <= self._most and is_plain_text(text)
            case _:
                return len(text) <= self._most and is_plain_text(text)


class Watch(msgspec.Struct, frozen=True):
    """What a text at a place says of the whole answer.

    Args:
        empty: texts that say "nothing found".
        failed: texts that say "failed".
        is_code: whether it is the answer's code.
    """

    empty: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    is_code: bool = False


class Answered:
    """What one answer, with all documents in it, says of itself."""

    __slots__ = ("_code", "_meanings", "has_rows_place", "is_empty", "is_failed", "strange")

    def __init__(self, meanings: Mapping[str, str] = MappingProxyType({})) -> None:
        self._meanings = meanings
        self._code: str | None = None
        self.is_empty = self.is_failed = self.has_rows_place = False
        self.strange = ""

    @property
    def has_meanings(self) -> bool:
        """Whether codes have registered meanings."""
        return bool(self._meanings)

    @property
    def meaning(self) -> str:
        """The registered meaning of the answer's code, "" where it has none."""
        return self._meanings.get(self._code, "") if self._code is not None else ""

    def take(self, watch: Watch, text: str) -> None:
        """Take what stands at a watched place."""
        if watch.is_code:
            self._code = text
        self.is_empty |= text in watch.empty or (bool(text) and ANY in watch.empty)
        self.is_failed |= text in watch.failed or (bool(text) and ANY in watch.failed)

    def settle(self, rows: int, *, is_failure: bool) -> None:
        """Refuse an answer without rows that does not say in declared words that there are none.

        Args:
            rows: how many it has.
            is_failure: whether the status has said it.

        Raises:
            GatewayError: `answer-not-filterable` (INVARIANT: KNOWN-SHAPE).
        """
        if rows or is_failure or self.is_empty or self.is_failed:
            return
        if self.strange:
            raise not_filterable(self.strange)
        if not self.has_rows_place:
            raise not_filterable("the answer has no rows where the interface's entry places them, and does not say why")

    def require_answer(self, rows: int) -> None:
        """As `settle`, for a comparison: a failure says nothing of what is compared.

        Raises:
            GatewayError: `answer-not-filterable`.
        """
        if self.is_failed and not rows:
            raise not_filterable("the supplier says that it has failed")
        self.settle(rows, is_failure=False)


class Reduced(msgspec.Struct):
    """A document within another, reduced.

    Args:
        text: what stands in its place.
        rows: how many rows it holds.
        items: names of the items in them.
        values: for a comparison, each row's granted items.
    """

    text: str
    rows: int
    items: frozenset[str]
    values: list[dict[str, Raw]]


class Carrier(Protocol):
    """How the document in a text is reduced."""

    def reduce(self, text: str, answered: Answered, *, is_failure: bool, collects: bool) -> Reduced:
        """The document in `text`, reduced.

        Raises:
            GatewayError: `answer-not-filterable`.
        """
