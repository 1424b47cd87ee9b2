"""Credentials that are the same at every call: a header field, a parameter of the query, user and password."""

import base64
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import quote

from gateway.domain.credentials import CredentialKind, Shown, SupplierCredential


class Credential(Protocol):
    """What one interface's supplier is shown. Belongs to one event loop."""

    @property
    def names(self) -> frozenset[bytes]:
        """Header fields that it sets, lower case: a caller's of such a name go no further."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters of the query that it sets: a caller sends none of such a name."""

    def show(self) -> Shown | Awaitable[Shown]:
        """What the next request bears; raises `supplier-refused` or `supplier-unreachable` where there is nothing."""

    def refused(self, shown: Shown) -> None:
        """The supplier did not take what it was shown."""


class Fixed:
    """A credential that does not change from call to call.

    Where a secret was replaced and its overlap is not over, the other one is shown once a supplier refuses this one:
    each side changes at its own time.

    Args:
        stored: what is stored.
        secrets: the secret, and the one that it took the place of where there is one.
        now: the clock, Unix seconds.
    """

    def __init__(self, stored: SupplierCredential, secrets: tuple[bytes, ...], now: Callable[[], float]) -> None:
        self._shown = [render(stored, secret) for secret in secrets]
        self._until = stored.before_until_unix
        self._now = now
        self._at = 0
        is_parameter = stored.kind is CredentialKind.PARAMETER
        field = stored.field.lower().encode() if stored.kind is CredentialKind.FIELD else b"authorization"
        self.names = frozenset() if is_parameter else frozenset({field})
        self.parameters = (stored.field,) if is_parameter else ()

    def show(self) -> Shown:
        """As `Credential.show`."""
        if self._at and self._now() >= self._until:
            self._at = 0
        return self._shown[self._at]

    def refused(self, shown: Shown) -> None:
        """As `Credential.refused`."""
        if shown is self._shown[self._at] and len(self._shown) > 1 and self._now() < self._until:
            self._at = 1 - self._at


def render(stored: SupplierCredential, secret: bytes) -> Shown:
    """What a request bears of a secret."""
    if stored.kind is CredentialKind.PARAMETER:
        return Shown(query=f"{stored.field}={quote(secret, safe='')}".encode())
    if stored.kind is CredentialKind.BASIC:
        return Shown(b"Authorization: %b\r\n" % basic(stored.user, secret))
    return Shown(b"%b: %b%b\r\n" % (stored.field.encode(), stored.prefix.encode(), secret))


def basic(user: str, password: bytes) -> bytes:
    """The value of `Authorization` for a user and a password, in UTF-8 (RFC 7617 §2)."""
    return b"Basic " + base64.b64encode(user.encode() + b":" + password)
