"""What a demand department's developer imports: authentication for `httpx`, and errors with names.

    import httpx
    from gateway.client import SharingAuth, raise_for_problem

    auth = SharingAuth(
        "https://control.example/oauth/token",
        client_id="civil-affairs-marriage",
        private_key=open("key.pem").read(),
        purpose="marriage-registration",
    )
    with httpx.Client(base_url="https://gateway.example", auth=auth, trust_env=False) as client:
        response = client.get("/public-security/household", params={"id": "..."})
        rows = raise_for_problem(response).json()["data"]

It needs httpx, pyjwt and cryptography, and nothing else of this project.
"""

from gateway.client.auth import SharingAuth, new_private_key, public_jwk
from gateway.client.problems import (
    CallMalformed,
    CredentialRefused,
    GatewayUnavailable,
    NotGranted,
    NotServed,
    QuotaExhausted,
    RateLimited,
    SharingProblem,
    SharingStopped,
    SupplierFailed,
    TokenRefused,
    raise_for_problem,
)

__all__ = [
    "CallMalformed",
    "CredentialRefused",
    "GatewayUnavailable",
    "NotGranted",
    "NotServed",
    "QuotaExhausted",
    "RateLimited",
    "SharingAuth",
    "SharingProblem",
    "SharingStopped",
    "SupplierFailed",
    "TokenRefused",
    "new_private_key",
    "public_jwk",
    "raise_for_problem",
]
