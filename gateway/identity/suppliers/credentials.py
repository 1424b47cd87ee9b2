"""A credential for a supplier's services, as somebody gives it: judged whole, sealed, and shown to nobody again."""

import re
from collections.abc import Callable

import msgspec

from gateway.domain.credentials import MAX_OVERLAP_SECONDS, CredentialKind, SupplierCredential
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import parse_upstream

MAX_SECRET_BYTES = 4096

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?")
_PARAMETER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PREFIX = re.compile(r"(?:[\x21-\x7e]{1,32} ?)?")
_VISIBLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_USER = re.compile(r"[^\x00-\x1f\x7f:]{1,256}")
_SCOPE = re.compile(r"(?:[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NEVER = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "traceparent",
        "transfer-encoding",
        "upgrade",
        "via",
    }
)
"""Fields that frame a request, or that the gateway itself sets."""

_BELONGS = {
    CredentialKind.FIELD: {"field", "prefix"},
    CredentialKind.PARAMETER: {"field"},
    CredentialKind.BASIC: {"user"},
    CredentialKind.OAUTH: {"user", "token_url", "scope", "client_auth"},
}
_NEEDED = {
    CredentialKind.FIELD: {"field"},
    CredentialKind.PARAMETER: {"field"},
    CredentialKind.BASIC: {"user"},
    CredentialKind.OAUTH: {"user", "token_url"},
}
_SAID = ("field", "prefix", "user", "token_url", "scope", "client_auth")

Seal = Callable[[bytes, str], str]
"""What to seal, and what it is bound to."""


def seal_credential(
    said: SupplierCredential,
    secret: str,
    known: SupplierCredential | None,
    *,
    overlap_seconds: int,
    seal: Seal,
    now_unix: float,
) -> SupplierCredential:
    """A credential as it is stored.

    Args:
        said: what was given, without a secret.
        secret: the secret.
        known: what it takes the place of, whose secret is tried for `overlap_seconds` more.
        overlap_seconds: 0 where the secret before is not to be shown again.
        seal: seals the secret.
        now_unix: the time.

    Raises:
        GatewayError: `invalid-input` with every fault; none repeats anything of the secret.
    """
    faults = [*_faults(said), *_secret_faults(said, secret)]
    if not 0 <= overlap_seconds <= MAX_OVERLAP_SECONDS:
        faults.append(("overlap_seconds", f"not between 0 and {MAX_OVERLAP_SECONDS}"))
    if overlap_seconds and (known is None or not _is_alike(said, known)):
        faults.append(
            ("overlap_seconds", "there is no credential of this name, kind and user whose secret could overlap")
        )
    if faults:
        listed = [{"field": field, "fault": fault} for field, fault in faults]
        raise GatewayError("invalid-input", f"the credential has {len(faults)} fault(s)", faults=listed)
    kept = known if overlap_seconds else None
    if kept is not None:
        said = msgspec.structs.replace(said, sealed_as=kept.sealed_as)
    return msgspec.structs.replace(
        said,
        sealed=seal(secret.encode(), said.seal_context),
        before=kept.sealed if kept else "",
        before_until_unix=int(now_unix) + overlap_seconds if kept else 0,
        stored_unix=int(now_unix),
    )


def _is_alike(one: SupplierCredential, other: SupplierCredential) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in ("kind", *_SAID))


def _faults(said: SupplierCredential) -> list[tuple[str, str]]:
    kind, blank = said.kind, SupplierCredential(said.supplier, said.name, said.kind)
    faults = []
    for name in _SAID:
        is_said = getattr(said, name) != getattr(blank, name)
        if is_said and name not in _BELONGS[kind]:
            faults.append((name, f"has no meaning for a credential of kind `{kind.value}`"))
        elif not is_said and name in _NEEDED[kind]:
            faults.append((name, f"is missing: a credential of kind `{kind.value}` needs it"))
    if faults:
        return faults
    if kind is CredentialKind.FIELD:
        name = said.field.lower()
        if not _NAME.fullmatch(said.field) or name in _NEVER or name.startswith(("sharing-", "proxy-")):
            faults.append(("field", "is no header field that a credential may stand in"))
        if not _PREFIX.fullmatch(said.prefix):
            faults.append(("prefix", "is not a word of at most 32 visible characters, with a blank behind it or none"))
    elif kind is CredentialKind.PARAMETER:
        if not _PARAMETER.fullmatch(said.field):
            faults.append(("field", "is no name of a parameter: letters, digits, `_`, `.` and `-`"))
    elif not _USER.fullmatch(said.user):
        faults.append(("user", "is longer than 256 characters, or holds a colon or a control character"))
    if kind is CredentialKind.OAUTH:
        try:
            parse_upstream(said.token_url)
        except ValueError as error:
            faults.append(("token_url", str(error)))
        if not _SCOPE.fullmatch(said.scope) or len(said.scope) > 1024:
            faults.append(("scope", "is not words parted by single blanks (RFC 6749 §3.3)"))
    return faults


def _secret_faults(said: SupplierCredential, secret: str) -> list[tuple[str, str]]:
    if not secret or len(secret.encode()) > MAX_SECRET_BYTES:
        return [("secret", f"is empty, or longer than {MAX_SECRET_BYTES} bytes")]
    if said.kind is CredentialKind.FIELD and not _VISIBLE.fullmatch(secret):
        return [("secret", "is not of visible ASCII characters, which alone a header field takes")]
    if _CONTROL.search(secret):
        return [("secret", "holds a control character, such as a line end")]
    return []
