"""One-time codes by time, the second factor of a local account: what any authenticator shows (RFC 6238).

HMAC-SHA-1, six digits, thirty seconds: the one set of parameters that they all take. A code of the step before or
after is taken too, for clocks that differ; each step's code once, which is the asker's to see to.
"""

import base64
import hmac
import secrets
from urllib.parse import quote, urlencode

STEP_SECONDS = 30
DIGITS = 6
SECRET_BYTES = 20
"""RFC 4226 §4 recommends 160 bits."""


def new_secret() -> bytes:
    """A new secret."""
    return secrets.token_bytes(SECRET_BYTES)


def code_at(secret: bytes, step: int) -> str:
    """The code of a step (RFC 4226 §5.3)."""
    digest = hmac.digest(secret, step.to_bytes(8), "sha1")
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4]) & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}d}"


def step_of(secret: bytes, code: str, now_unix: float) -> int | None:
    """The step whose code `code` is, of those that may be shown now; None where it is none's."""
    shown = code.replace(" ", "").encode("utf-8")
    step = int(now_unix) // STEP_SECONDS
    fits = [each for each in (step - 1, step, step + 1) if hmac.compare_digest(code_at(secret, each).encode(), shown)]
    return fits[0] if fits else None


def text_of(secret: bytes) -> str:
    """The secret as people type it."""
    return base64.b32encode(secret).decode("ascii").rstrip("=")


def uri_of(secret: bytes, officer: str, issuer: str) -> str:
    """What an authenticator reads from a QR code."""
    label = quote(f"{issuer}:{officer}", safe=":")
    return f"otpauth://totp/{label}?{urlencode({'secret': text_of(secret), 'issuer': issuer})}"
