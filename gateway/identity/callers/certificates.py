"""Certificates a caller is bound to (RFC 8705)."""

import hashlib

from gateway.identity.strict import to_base64url


def certificate_thumbprint(der: bytes) -> str:
    """`x5t#S256`: SHA-256 over the DER certificate, base64url (RFC 8705 §3.1)."""
    return to_base64url(hashlib.sha256(der).digest())
