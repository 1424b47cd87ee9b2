"""Credentials that suppliers ask of whoever calls them: each stored sealed, and named within one department.

An interface names the one it is called with. A client certificate is none of these (`certificates`): it is shown
before anything is said.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec


class CredentialKind(StrEnum):
    """How a supplier wants to be told who calls."""

    FIELD = "field"
    """A fixed header field, such as `Authorization: APPCODE …` or `X-Api-Key`."""
    PARAMETER = "parameter"
    """A fixed parameter of the query, such as `appcode`."""
    BASIC = "basic"
    """User and password (RFC 7617)."""
    OAUTH = "oauth"
    """A bearer token by client credentials (RFC 6749 §4.4)."""


class ClientAuth(StrEnum):
    """How a client shows itself to a token endpoint (RFC 6749 §2.3.1)."""

    HEADER = "header"
    BODY = "body"


MAX_OVERLAP_SECONDS = 7 * 86_400
"""How long a secret that was replaced may still be tried."""


class SupplierCredential(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A credential for one supply department's services, as it is stored.

    Args:
        supplier: the id of the department whose services ask for it; no other department's interface names it.
        name: a slug, unique within the department.
        kind: how it is shown.
        field: the header field or the parameter that holds the secret.
        prefix: what stands before the secret there.
        user: the user of Basic, or the `client_id`.
        token_url: the token endpoint, on a host of the department's.
        scope: what is asked of the token endpoint.
        client_auth: how the client shows itself there.
        sealed: the secret, sealed by the key ring.
        before: the secret that it took the place of, sealed.
        before_until_unix: until when that one is tried where the supplier does not take the new one yet.
        stored_unix: when the secret came.
        sealed_as: what the secrets are bound to, where they came from another department by a reorganisation.
    """

    supplier: str
    name: str
    kind: CredentialKind
    field: str = ""
    prefix: str = ""
    user: str = ""
    token_url: str = ""
    scope: str = ""
    client_auth: ClientAuth = ClientAuth.HEADER
    sealed: str = ""
    before: str = ""
    before_until_unix: int = 0
    stored_unix: int = 0
    sealed_as: str = ""

    @property
    def seal_context(self) -> str:
        """What the sealed secrets are bound to."""
        return self.sealed_as or f"supplier-credential/{self.supplier}/{self.name}"


class Shown(NamedTuple):
    """What of a credential one request bears.

    Args:
        fields: header fields, rendered, each with its line end.
        query: a parameter of the query, rendered, or nothing.
    """

    fields: bytes = b""
    query: bytes = b""

    def __repr__(self) -> str:
        """Never shows the secret (INVARIANT: NO-VALUES)."""
        return "Shown(...)"
