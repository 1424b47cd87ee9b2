"""Issuing: access tokens of systems (RFC 9068) and session tokens of officers.

    system    typ at+jwt        aud = the data plane       5 minutes
    officer   typ officer+jwt   aud = <issuer>/v1           30 minutes unless said otherwise

The two differ in type and audience, so that neither is ever taken for the other (RFC 8725 §3.9, §3.11, §3.12).
"""

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gateway.domain.directory import System
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Officer
from gateway.identity.signer import Signer
from gateway.identity.strict import to_base64url

ACCESS_TOKEN_SECONDS = 300
OFFICER_TOKEN_SECONDS = 1800
MAX_OFFICER_TOKEN_SECONDS = 12 * 3600
"""A working day; a longer session is signed into again."""

ACCESS_TOKEN_TYPE = "at+jwt"  # noqa: S105  (a media type)
OFFICER_TOKEN_TYPE = "officer+jwt"  # noqa: S105  (a media type)


class _TokenSigner(Protocol):
    def token_signer(self) -> Signer: ...


class TokenIssuer:
    """Signs tokens with the ring's token key.

    Args:
        ring: the key ring.
        issuer: this gateway's issuer identifier (RFC 8414): the control plane's base URL.
        audience: what access tokens are for: the data plane.
        now: the clock, Unix seconds.
    """

    def __init__(self, ring: _TokenSigner, issuer: str, audience: str, now: Callable[[], float]) -> None:
        self._ring = ring
        self.now = now
        self.issuer = issuer
        self.audience = audience

    def issue(
        self, system: System, *, cnf: Mapping[str, str] | None = None, client_key: str | None = None
    ) -> tuple[str, int]:
        """An access token of `system`, and how many seconds it lives.

        Args:
            system: an active system; its client authentication has been verified by whoever asks.
            cnf: what it is bound to: `{"x5t#S256": …}` (RFC 8705 §3.1) or `{"jkt": …}` (RFC 9449 §6.1).
            client_key: the thumbprint of the registered key that the client has shown; the token ends with that key.

        Raises:
            GatewayError: `credential-invalid` where the system is revoked.
        """
        if not system.active:
            raise GatewayError("credential-invalid", "the system is revoked")
        claims: dict[str, Any] = {"client_id": system.id, "department": system.department}
        if cnf:
            claims["cnf"] = dict(cnf)
        if client_key is not None:
            claims["client_key"] = client_key
        return self._sign(ACCESS_TOKEN_TYPE, system.id, self.audience, ACCESS_TOKEN_SECONDS, claims), 300

    def issue_officer(
        self,
        officer: Officer,
        lifetime_seconds: int = OFFICER_TOKEN_SECONDS,
        *,
        session: str,
        cnf: Mapping[str, str] | None = None,
    ) -> str:
        """A token of a session of `officer`; it names the two only: roles, and what became of it, are read anew.

        Args:
            officer: an active officer.
            lifetime_seconds: how long it lives.
            session: the session's id.
            cnf: the key that it is bound to, as of `issue`; None for a bearer token.

        Raises:
            GatewayError: `credential-invalid` for a dismissed officer, `invalid-input` for a lifetime out of range.
        """
        if not officer.active:
            raise GatewayError("credential-invalid", "the officer is dismissed")
        if not 1 <= lifetime_seconds <= MAX_OFFICER_TOKEN_SECONDS:
            raise GatewayError("invalid-input", f"an officer's token lives 1 to {MAX_OFFICER_TOKEN_SECONDS} seconds")
        audience = officer_audience(self.issuer)
        claims = {"sid": session, **({"cnf": dict(cnf)} if cnf else {})}
        return self._sign(OFFICER_TOKEN_TYPE, officer.id, audience, lifetime_seconds, claims)

    def _sign(self, kind: str, subject: str, audience: str, lifetime: int, claims: Mapping[str, Any]) -> str:
        signer, at = self._ring.token_signer(), int(self.now())
        header = {"alg": signer.algorithm, "kid": signer.kid, "typ": kind}
        payload = {
            **claims,
            "iss": self.issuer,
            "sub": subject,
            "aud": audience,
            "iat": at,
            "nbf": at,
            "exp": at + lifetime,
            "jti": secrets.token_urlsafe(16),
        }
        message = f"{_part(header)}.{_part(payload)}".encode("ascii")
        return f"{message.decode('ascii')}.{to_base64url(signer.sign(message))}"


def officer_audience(issuer: str) -> str:
    """The audience of officers' tokens."""
    return issuer.rstrip("/") + "/v1"


def _part(value: Mapping[str, Any]) -> str:
    return to_base64url(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8"))
