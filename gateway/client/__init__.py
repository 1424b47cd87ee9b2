"""What a demand department's developer imports: one line to the first call, and errors with names.

    from gateway.client import SharingClient

    with SharingClient("https://data.example.gov.cn", token_endpoint="https://gateway.example.gov.cn:8443/oauth/token",
                       client_id="civil-affairs-marriage", key="key.pem", purpose="marriage-registration") as sharing:
        rows = sharing.call("public-security/household", id_number="…").json()["data"]

or `SharingAuth`, for an `httpx` client of one's own. It needs httpx and cryptography, and nothing else of this project;
what is not used is not loaded.

    client     `SharingClient`, `AsyncSharingClient`
    auth       authentication for `httpx`
    flow       one call, from its first attempt to its answer: steps without I/O
    core       what a caller knows and decides, without I/O
    source     where a token comes from: one fetch for everybody who waits
    loops      waiting on asyncio's loop or trio's
    sending    transports below a client
    answers    rows and files of an answer
    keys       a system's key, wherever it is kept
    problems   refusals as exceptions
    observing  counts and events for monitoring
    quiet      what was asked stays out of logs
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.client.auth import SharingAuth
    from gateway.client.client import AsyncSharingClient, SharingClient
    from gateway.client.keys import ClientKey, Signer, new_private_key, public_jwk
    from gateway.client.problems import (
        AnswerCut,
        BodyNotRepeatable,
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
        TokenTimeout,
        raise_for_problem,
        raise_for_problem_async,
    )

_PLACES = {
    "auth": ("SharingAuth",),
    "client": ("AsyncSharingClient", "SharingClient"),
    "keys": ("ClientKey", "Signer", "new_private_key", "public_jwk"),
    "problems": (
        "AnswerCut",
        "BodyNotRepeatable",
        "CallMalformed",
        "CredentialRefused",
        "GatewayUnavailable",
        "NotGranted",
        "NotServed",
        "QuotaExhausted",
        "RateLimited",
        "SharingProblem",
        "SharingStopped",
        "SupplierFailed",
        "TokenRefused",
        "TokenTimeout",
        "raise_for_problem",
        "raise_for_problem_async",
    ),
}
_PLACE = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "AnswerCut",
    "AsyncSharingClient",
    "BodyNotRepeatable",
    "CallMalformed",
    "ClientKey",
    "CredentialRefused",
    "GatewayUnavailable",
    "NotGranted",
    "NotServed",
    "QuotaExhausted",
    "RateLimited",
    "SharingAuth",
    "SharingClient",
    "SharingProblem",
    "SharingStopped",
    "Signer",
    "SupplierFailed",
    "TokenRefused",
    "TokenTimeout",
    "new_private_key",
    "public_jwk",
    "raise_for_problem",
    "raise_for_problem_async",
]


def __getattr__(name: str) -> Any:
    """A name of the package, whose module is loaded now."""
    place = _PLACE.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{place}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
