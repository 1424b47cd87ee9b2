"""Secrets that do not sign: pseudonyms of data subjects, and fields sealed at rest."""

import base64
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from gateway.domain.calendar import CHINA
from gateway.domain.errors import GatewayError
from gateway.identity.keys.suite import Suite
from gateway.identity.strict import to_base64url

BEIJING = CHINA
"""China keeps one time and no summer time; years of pseudonyms turn with it."""

PSEUDONYM_BYTES = 16
"""128 bits: two people share a pseudonym by chance once in some 10^19."""


class SecretKey(msgspec.Struct, frozen=True):
    """A symmetric key: its name, its 32 bytes, and the suite that uses them."""

    id: str
    secret: bytes
    suite: Suite

    def __repr__(self) -> str:
        """Never shows the secret (INVARIANT: NO-VALUES)."""
        return f"SecretKey(id={self.id!r})"


def new_secret() -> bytes:
    """32 random bytes."""
    return secrets.token_bytes(32)


def new_name() -> str:
    """A random key name, 12 hex digits."""
    return secrets.token_hex(6)


def beijing_year(unix: float) -> int:
    """The calendar year of that second in Beijing."""
    return datetime.fromtimestamp(unix, UTC).astimezone(BEIJING).year


class FieldCipher:
    """Seals short secrets for storage: `v1.<key id>.<base64url>`, bound to a context.

    Args:
        keys: every field key.
        newest: the id of the one that seals.
    """

    def __init__(self, keys: Sequence[SecretKey], newest: str) -> None:
        self._keys = {key.id: key for key in keys}
        self._newest = newest

    def seal(self, plaintext: bytes, context: str) -> str:
        """`plaintext`, readable again only under the same `context` (say, the id of the row it stands in)."""
        key = self._keys[self._newest]
        sealed = key.suite.seal(key.secret, plaintext, f"field/{key.id}/{context}".encode())
        return f"v1.{key.id}.{base64.urlsafe_b64encode(sealed).decode('ascii')}"

    def unseal(self, sealed: str, context: str) -> bytes:
        """What was sealed.

        Raises:
            GatewayError: `unavailable` where the key is gone, or the text is not what was sealed in that context.
        """
        version, _, rest = sealed.partition(".")
        name, _, body = rest.partition(".")
        key = self._keys.get(name)
        if version != "v1" or key is None:
            raise GatewayError("unavailable", "a sealed field names a key that the ring does not hold")
        try:
            data = base64.b64decode(body, altchars=b"-_", validate=True)
            return key.suite.unseal(key.secret, data, f"field/{key.id}/{context}".encode())
        except ValueError as error:
            raise GatewayError("unavailable", "a sealed field does not open") from error


class _PseudonymKeys(Protocol):
    def pseudonym_keys(self, year: int) -> list[SecretKey]: ...


class Pseudonymiser:
    """A data subject's identifier to a pseudonym, keyed by year (INVARIANT: NO-VALUES): the data plane's `Pseudonym`.

    The same person has one pseudonym within a calendar year under one key, and unlinkable ones across years.

    Args:
        ring: where the keys are.
        now: the clock, Unix seconds.
    """

    def __init__(self, ring: _PseudonymKeys, now: Callable[[], float]) -> None:
        self._ring = ring
        self._now = now
        self._until = 0.0
        self._year = 0
        self._key: SecretKey | None = None

    def __call__(self, identifier: bytes) -> str:
        """The pseudonym now: `<year>.<22 characters>`."""
        at = self._now()
        if self._key is None or at >= self._until:
            self._year = beijing_year(at)
            self._key = self._ring.pseudonym_keys(self._year)[0]
            # At most a minute, so that a rotation is taken in, and never past the year.
            year_end = datetime(self._year + 1, 1, 1, tzinfo=BEIJING).timestamp()
            self._until = min(year_end, at + 60)
        return _pseudonym(self._key, self._year, identifier)

    def every(self, identifier: bytes, years: Sequence[int]) -> list[str]:
        """All pseudonyms the identifier may stand under in records of those years: what a search asks for."""
        return [_pseudonym(key, year, identifier) for year in years for key in self._ring.pseudonym_keys(year)]


def _pseudonym(key: SecretKey, year: int, identifier: bytes) -> str:
    # `11010519491231002x` and `…X` are one person; surrounding blanks are no part of an identifier.
    canonical = identifier.strip().upper()
    return f"{year}.{to_base64url(key.suite.mac(key.secret, b'subject/' + canonical)[:PSEUDONYM_BYTES])}"
