"""Texts that stand in the state, sealed with their salts, while records name digests (`gateway.domain.texts`)."""

import hmac
from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.texts import SALT_BYTES, new_salt, text_digest
from gateway.identity.keys.symmetric import FieldCipher

_MARK = "marks of texts"


class _Ring(Protocol):
    def field_cipher(self) -> FieldCipher: ...

    def derived_secret(self, use: str) -> bytes: ...


class SealedText(msgspec.Struct, frozen=True):
    """A text ready to be stored: what records name it by, and what nobody reads without the key ring."""

    digest: str
    sealed: str


class OpenText(msgspec.Struct, frozen=True):
    """A text and the salt that proves it against its digest (hex)."""

    text: str
    salt: str


class TextSealer:
    """Seals and opens texts under the field key, and marks them so that the same one is found again. Thread-safe.

    Args:
        ring: where the keys are; it holds the field keys.
        salt: makes the salts of new texts.
    """

    def __init__(self, ring: _Ring, salt: Callable[[], bytes] = new_salt) -> None:
        self._ring = ring
        self._salt = salt
        self._key = b""

    def mark(self, owner: str, text: str) -> str:
        """What tells a text of one owner again (hex), under a key that rotation keeps; alike on every node.

        An owner of "" is everybody: such a mark tells a text again whoever said it.
        """
        if not self._key:
            self._key = self._ring.derived_secret(_MARK)
        return hmac.digest(self._key, f"{owner}\n{text}".encode("utf-8", "replace"), "sha256").hex()

    def seal(self, text: str) -> SealedText:
        """The text under a salt of its own: sealed twice, it has two digests."""
        salt = self._salt()
        digest = text_digest(salt, text)
        content = salt + text.encode("utf-8", "replace")
        return SealedText(digest, self._ring.field_cipher().seal(content, _context(digest)))

    def open(self, digest: str, sealed: str) -> OpenText:
        """The text of that digest.

        Raises:
            GatewayError: `unavailable` where its key is gone, or it is not the text of that digest.
        """
        content = self._ring.field_cipher().unseal(sealed, _context(digest))
        salt = content[:SALT_BYTES]
        try:
            text = content[SALT_BYTES:].decode()
            is_right = text_digest(salt, text) == digest
        except ValueError:
            is_right = False
        if not is_right:
            raise GatewayError("unavailable", "a sealed text is not the one that its record names")
        return OpenText(text, salt.hex())


def _context(digest: str) -> str:
    return f"text/{digest}"
