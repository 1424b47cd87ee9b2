"""Who may ask, by which credential, and about what; nobody else is answered."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec

from gateway.domain.errors import GatewayError

METHOD_FIELDS = {"nginx": (b"x-original-method", b"x-original-uri"), "envoy": (b"", b"")}
"""How a kind of carrier tells the call's method and target, where that is not the usual; Envoy by the request line."""
USUAL_FIELDS = (b"x-forwarded-method", b"x-forwarded-uri")
"""As Caddy, Traefik, APISIX and Kong do."""
CREDENTIAL_CHARACTERS = 20
"""The shortest credential: as long as the one of the metrics."""


class Carrier(msgspec.Struct, frozen=True):
    """An existing gateway or proxy that carries calls.

    Args:
        name: as the settings have it.
        digest: SHA-256 of its credential.
        method_field: where it tells the call's method; b"" where the check's own line does, behind `/check`.
        target_field: where it tells the call's target, as the caller sent it.
        takes_few_statuses: whether it knows no refusals but 401 and 403 (nginx).
        paths: (prefix of its own paths, `/supplier/interface`), the longest first: about these it may ask.
    """

    name: str
    digest: bytes
    method_field: bytes
    target_field: bytes
    takes_few_statuses: bool
    paths: tuple[tuple[bytes, bytes], ...]


def make_carrier(name: str, kind: str, credential: bytes, paths: dict[str, str]) -> Carrier:
    """A carrier as the settings name it."""
    method, target = METHOD_FIELDS.get(kind, USUAL_FIELDS)
    longest_first = sorted(paths.items(), key=lambda pair: -len(pair[0]))
    return Carrier(
        name,
        digest_of(credential),
        method,
        target,
        kind == "nginx",
        tuple((prefix.rstrip("/").encode(), f"/{interface}".encode()) for prefix, interface in longest_first),
    )


def digest_of(credential: bytes) -> bytes:
    """What is kept of a credential: comparing digests tells nothing of it by time."""
    return hashlib.sha256(credential).digest()


class Asker(Protocol):
    """Who asks."""

    @property
    def digest(self) -> bytes: ...


A = TypeVar("A", bound=Asker)


def known_by(credential: bytes, askers: Sequence[A]) -> A:
    """Whose credential it is; each is compared, so that the time taken tells nothing.

    Raises:
        GatewayError: `credential-invalid`.
    """
    shown, found = digest_of(credential), None
    for asker in askers:
        if hmac.compare_digest(shown, asker.digest):
            found = asker
    if found is None or not credential:
        raise GatewayError("credential-invalid", "who asks here is not named in `checks` of this gateway's settings")
    return found
