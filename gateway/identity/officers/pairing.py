"""What a command line and the gateway both make of a sign-in by a browser: PKCE's challenge, and the words shown."""

import hashlib
import secrets

from gateway.identity.strict import to_base64url

_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def new_verifier() -> str:
    """A new secret of PKCE (RFC 7636 §4.1)."""
    return to_base64url(secrets.token_bytes(32))


def challenge_of(verifier: str) -> str:
    """PKCE's challenge, S256 (RFC 7636 §4.2)."""
    return to_base64url(hashlib.sha256(verifier.encode("utf-8")).digest())


def words_of(challenge: str) -> str:
    """What the command line and the page of consent both show: 40 bits of the sign-in that is under way."""
    letters = "".join(_LETTERS[byte % 32] for byte in hashlib.sha256(f"words {challenge}".encode()).digest()[:8])
    return f"{letters[:4]}-{letters[4:]}"
