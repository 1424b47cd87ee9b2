"""Certificates that suppliers' interfaces are called with: each uploaded, checked, and named within one department.

An interface names them; no field that comes by the API is a path of the machine.
"""

from enum import StrEnum

import msgspec


class CertificateUse(StrEnum):
    """What stored certificates are for."""

    AUTHORITY = "authority"
    """They sign the supplier's own certificate."""
    CLIENT = "client"
    """The gateway presents them to the supplier, with their key."""


class StoredCertificates(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Certificates of a supply department, as they were checked when they came.

    Args:
        supplier: the id of the department whose they are; no other department's interface names them.
        name: a slug, unique within the department.
        use: what they are for.
        chain: PEM, without anything else; a client's own certificate stands first.
        sealed_key: the client certificate's private key, sealed by the key ring.
        subjects: the certificates' subjects (RFC 4514), for people.
        fingerprints: SHA-256 of each certificate, hex.
        not_after_unix: when the first of them ends.
        sealed_as: what the sealed key is bound to, where it came from another department by a reorganisation.
    """

    supplier: str
    name: str
    use: CertificateUse
    chain: str
    sealed_key: str = ""
    subjects: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()
    not_after_unix: int = 0
    sealed_as: str = ""

    @property
    def key_context(self) -> str:
        """What the sealed key is bound to."""
        return self.sealed_as or f"supplier-certificate/{self.supplier}/{self.name}"
