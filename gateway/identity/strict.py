"""Reading JOSE before any library does: one reading of every byte, or a refusal.

PyJWT takes duplicate members (the last wins), `NaN`, numbers without bound, and padding some issuers add. Two
parsers that read a token differently are how one of them is deceived, so what reaches signature checking here has
exactly one meaning.

Source: RFC 8725 §2.4, §3.1, §3.10; RFC 7515 §4 (stricter: duplicate members are always refused), §5.2; RFC 8259.
"""

import base64
import binascii
import json
import re
from typing import Any, NoReturn

import msgspec

MAX_TOKEN_BYTES = 8192
"""Largest compact JWS that is read; the data plane's whole header section is limited to 32 KiB."""

MAX_NESTING = 64
"""Most objects and arrays in one token; access tokens of large issuers (Keycloak) hold about a dozen."""

MAX_SAFE_INTEGER = 2**53 - 1
"""Largest integer that every JSON parser reads alike (RFC 7493 §2.2)."""

_BASE64URL = re.compile(rb"[A-Za-z0-9_-]*")
_FORBIDDEN_HEADERS = frozenset({"crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "enc", "cty"})
_TEXT = re.compile(r"[\x21-\x7e]{1,256}")


class Unreadable(ValueError):  # noqa: N818  (a state of the bytes, as the caller says it)
    """Bytes that are not one well-formed token; the message is one of this module's own constant sentences.

    `cost` says what finding it out took, in checks of an ES256 signature; nothing cheaper counts as less than one.
    `reason` is what the gateway's own log is told where the message, which goes out, says less.
    """

    cost = 1.0
    reason = ""


class Jws(msgspec.Struct, frozen=True):
    """A compact JWS, read but not verified.

    Args:
        header: the protected header; `alg` is a string, and no member of it can bring a key or change processing.
        payload: the payload, a JSON object.
        signing_input: what the signature is over.
        signature: the raw signature.
    """

    header: dict[str, Any]
    payload: dict[str, Any]
    signing_input: bytes
    signature: bytes

    @property
    def algorithm(self) -> str:
        """`alg`, as text."""
        return str(self.header["alg"])

    @property
    def key_id(self) -> str | None:
        """`kid`, where there is one: an opaque name, only ever looked up in a table."""
        return self.header.get("kid")


def parse_jws(
    token: bytes, *, types: frozenset[str], allow_jwk: bool = False, most_bytes: int = MAX_TOKEN_BYTES
) -> Jws:
    """Read a compact JWS whose `typ` is one of `types` (lower case, without `application/`).

    Args:
        token: three base64url parts.
        most_bytes: of the token.
        types: accepted `typ` values; explicit typing (RFC 8725 §3.11). "" among them lets a header without `typ` pass.
        allow_jwk: whether the header may carry `jwk`, as a DPoP proof must.

    Raises:
        Unreadable: for anything that is not one such token.
    """
    if len(token) > most_bytes:
        raise Unreadable("the token is too large")
    parts = token.split(b".")
    if len(parts) != 3:
        raise Unreadable("a token has three parts")
    header = parse_object(parse_base64url(parts[0]))
    _check_header(header, types, allow_jwk=allow_jwk)
    payload = parse_object(parse_base64url(parts[1]))
    signature = parse_base64url(parts[2])
    if not signature:
        raise Unreadable("the token is not signed")
    return Jws(header, payload, token[: len(parts[0]) + 1 + len(parts[1])], signature)


def _check_header(header: dict[str, Any], types: frozenset[str], *, allow_jwk: bool) -> None:
    for name in _FORBIDDEN_HEADERS.intersection(header):
        if not (allow_jwk and name == "jwk"):
            raise Unreadable("the header has a member that is not accepted")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm.lower() == "none":
        raise Unreadable("the header names no algorithm")
    kind = header.get("typ", "")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in types:
        raise Unreadable("the token is of another type")
    if "kid" in header and not is_text(header["kid"]):
        raise Unreadable("the header's `kid` is malformed")


def parse_base64url(text: bytes) -> bytes:
    """Decode base64url without padding; only the canonical encoding is read (RFC 7515 §2, RFC 4648 §3.5).

    Raises:
        Unreadable: for another alphabet, padding, an impossible length, or stray bits at the end.
    """
    if len(text) % 4 == 1 or not _BASE64URL.fullmatch(text):
        raise Unreadable("not base64url")
    try:
        decoded = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error as error:
        raise Unreadable("not base64url") from error
    if len(text) % 4 and base64.urlsafe_b64encode(decoded).rstrip(b"=") != text:
        raise Unreadable("not canonical base64url")
    return decoded


def to_base64url(data: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def parse_object(data: bytes, *, most_brackets: int = MAX_NESTING) -> dict[str, Any]:
    """Read one JSON object that every parser reads alike.

    Args:
        data: UTF-8.
        most_brackets: how many objects and arrays it may hold, which bounds how deep it nests.

    Raises:
        Unreadable: for invalid UTF-8 or JSON, duplicate members, `NaN` or infinities, integers beyond 2^53, floats
            out of range, too many brackets, lone surrogates, or anything but an object.
    """
    if data.count(b"{") + data.count(b"[") > most_brackets:
        raise Unreadable("the JSON nests too deeply")
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise Unreadable("not JSON") from error
    if not isinstance(value, dict):
        raise Unreadable("not a JSON object")
    if b"\\u" in data:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise Unreadable("not Unicode text") from error
    return value


def is_text(value: object) -> bool:
    """Whether `value` is a string of 1 to 256 visible ASCII characters: what identifiers in tokens are made of."""
    return isinstance(value, str) and _TEXT.fullmatch(value) is not None


def is_time(value: object) -> bool:
    """Whether `value` is a NumericDate that we take: a non-negative integer, never a float or a boolean."""
    return type(value) is int and value >= 0


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Unreadable("a member stands twice")
    return members


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > MAX_SAFE_INTEGER:
        raise Unreadable("a number is out of range")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        raise Unreadable("a number is out of range")
    return value


def _constant(_name: str) -> NoReturn:
    raise Unreadable("not a JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_float, parse_constant=_constant, strict=True
)
