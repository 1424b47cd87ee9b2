"""Names of header fields by which services are told who calls, so that no caller says it in the gateway's place.

A service that stands behind a gateway often trusts such a field, since its own front sets it. They stop here, unless an
interface's entry lists them (`request_fields`), which says that this service does not. Names are compared in lower
case.
"""

import re

_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
SAYING_WHO = (
    "sec-",
    "x-account",
    "x-auth",
    "x-consumer",
    "x-credential",
    "x-end-user",
    "x-identity",
    "x-principal",
    "x-remote-",
    "x-user",
    "x-webauth",
)
"""Prefixes of names that say who calls, or that belong to a browser or a WebSocket (`Sec-`)."""


def says_who(name: str) -> bool:
    """Whether a field of that name passes only where the entry lists it."""
    return _NAME.fullmatch(name) is not None and name.lower().startswith(SAYING_WHO)
