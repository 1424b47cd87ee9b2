r"""A caller's own words beside the log: the record holds a digest, the state the sealed text (INVARIANT: NO-VALUES).

A record is never altered, and what a person wrote may have to be erased by law (PIPL Art. 47). So of a purpose that is
nobody's by name, a scenario and an operator the record holds `sealed:` and 64 hex digits:

    SHA-256( `sharing-gateway/text/v1\n` ‖ salt ‖ text in UTF-8 )        salt: 32 random bytes

Salt and text stand in the state alone, sealed together. Who has both proves the text against the record; once they are
gone, nobody can tell from the log what it was, however few texts it could have been.
"""

import hashlib
import re
import secrets

import msgspec

from gateway.domain.free_text import holds_identity_number

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


def digest_in(value: object) -> str | None:
    """The digest that a value of a record names; None where it is none."""
    return value.removeprefix(_PREFIX) if isinstance(value, str) and _is_sealed(value) else None


def may_stand(value: str, *, is_purpose: bool = False) -> bool:
    """Whether a value may enter a record as a caller's words: no text may; a purpose may that looks like a name."""
    if not value or value in (UNKEPT, WITHHELD) or _is_sealed(value):
        return True
    return is_purpose and _is_name(value) is not None and not holds_identity_number(value)
