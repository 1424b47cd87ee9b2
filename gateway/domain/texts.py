r"""People's own words beside the log: the record holds a digest, the state the sealed text (INVARIANT: NO-VALUES).

A record is never altered, and what a person wrote may have to be erased by law (PIPL Art. 47). So of what a caller says
(a purpose that is nobody's by name, a scenario, an operator) and of what an officer says (`ACT_WORDS`) the record holds
`sealed:` and 64 hex digits:

    SHA-256( `sharing-gateway/text/v1\n` ‖ salt ‖ text in UTF-8 )        salt: 32 random bytes

Salt and text stand in the state alone, sealed together. Who has both proves the text against the record; once they are
gone, nobody can tell from the log what it was, however few texts it could have been.
"""

import hashlib
import re
import secrets

import msgspec

from gateway.domain.free_text import holds_identity_number

USE_WORDS = ("purpose", "scenario", "operator")
"""Fields of a use's record that hold what a caller said."""
ACT_WORDS = frozenset({
    "carried_out_by", "consultation", "document", "filing", "method", "outcome", "place", "purpose", "purposes",
    "reason", "reasons", "rectification", "reference", "statement",
})  # fmt: skip
"""Fields of an act's record that hold what an officer said; all others are names, digests, days and numbers."""
_NAMED = frozenset({"purpose", "purposes"})
CITED = frozenset({"demand_approval", "legal_basis", "supply_approval"})
"""Fields of an act's record that name what a grant rests on. They are registered with it, stand in the record of every
use under it (Decree 809 Art. 29), and tell of no person."""

SALT_BYTES = 32
MAX_TEXT_CHARACTERS = 256
"""Longest text of a caller's; the data plane refuses a longer one (`proxy.http.heads`)."""

UNKEPT = "(not kept: this system has said too many new things today)"
"""What a record holds in place of a text that the state did not take."""
WITHHELD = "(a number of 15 or 18 digits: withheld)"
"""What a record holds in place of a text that may name a person by number."""

_PREFIX = "sealed:"
_DOMAIN = b"sharing-gateway/text/v1\n"
_is_sealed = re.compile(r"sealed:[0-9a-f]{64}", re.ASCII).fullmatch
_is_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII).fullmatch


class Said(msgspec.Struct, frozen=True):
    """A caller's own words as a record may hold them: registered names, `sealed:` digests, or why there is neither.

    Args:
        purpose: the declared purpose.
        scenario: the declared scenario, "" if none.
        operator: the declared operator, "" if none.
        until_unix_ns: until when records may name the digests: their texts are kept for that long and for the time of
            such a record.
    """

    purpose: str
    scenario: str = ""
    operator: str = ""
    until_unix_ns: int = 1 << 62

    @property
    def is_kept(self) -> bool:
        """Whether everything that was said is on record or will be."""
        return UNKEPT not in (self.purpose, self.scenario, self.operator)


class Phrase(str):
    """What the gateway itself says in a field of words: a constant of the code, or a sentence about a fault.

    It is nobody's words, and enters a record as it is.
    """

    __slots__ = ()


def new_salt() -> bytes:
    """Random bytes for one text."""
    return secrets.token_bytes(SALT_BYTES)


def text_digest(salt: bytes, text: str) -> str:
    """The digest (64 hex digits) by which records name a text.

    Raises:
        ValueError: for a salt of another length: then two pairs of salt and text could be taken for each other.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes")
    return hashlib.sha256(_DOMAIN + salt + text.encode("utf-8", "replace")).hexdigest()


def sealed(digest: str) -> str:
    """What a record holds in place of the text of that digest."""
    return f"{_PREFIX}{digest}"


def erased_note(record: str) -> str:
    """What stands where a text stood; `record` is that of the act that erased it."""
    return f"(erased: record {record})"


def digest_in(value: object) -> str | None:
    """The digest that a value of a record names; None where it is none."""
    return value.removeprefix(_PREFIX) if isinstance(value, str) and _is_sealed(value) else None


def words_of(field: str, value: object) -> tuple[str, ...]:
    """The texts in a field of an act's record that somebody has said: neither names nor the gateway's own phrases."""
    if field not in ACT_WORDS:
        return ()
    each = value if isinstance(value, list | tuple) else (value,)
    is_purpose = field in _NAMED
    return tuple(
        text
        for text in each
        if isinstance(text, str) and text and not isinstance(text, Phrase) and not (is_purpose and _may_name(text))
    )


def may_stand(value: str, *, is_purpose: bool = False) -> bool:
    """Whether a value may enter a record as a caller's words: no text may; a purpose may that looks like a name."""
    if not value or value in (UNKEPT, WITHHELD) or _is_sealed(value):
        return True
    return is_purpose and _may_name(value)


def _may_name(value: str) -> bool:
    return _is_name(value) is not None and not holds_identity_number(value)
