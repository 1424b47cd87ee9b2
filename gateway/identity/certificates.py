"""Certificates a caller is bound to (RFC 8705)."""

import hashlib

from gateway.domain.errors import GatewayError
from gateway.identity.strict import to_base64url
from gateway.identity.verify import is_thumbprint


def certificate_thumbprint(der: bytes) -> str:
    """`x5t#S256`: SHA-256 over the DER certificate, base64url (RFC 8705 §3.1)."""
    return to_base64url(hashlib.sha256(der).digest())


def check_thumbprint(text: str) -> str:
    """Take a certificate's thumbprint for registration; raises `invalid-input` where it is none."""
    if not is_thumbprint(text):
        raise GatewayError("invalid-input", "a certificate is registered by its SHA-256 thumbprint in base64url")
    return text
