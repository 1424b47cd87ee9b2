"""The request target: one spelling of one path, or a refusal (INVARIANT: ONE-MEANING).

The gateway decides on what a path names and forwards the same bytes, so a path that a supplier's server could read
as another one is refused: dot segments in any spelling, `//`, encoded slashes, backslashes, NUL and controls, double
encoding, path parameters (`;`), octets that are not UTF-8, fragments.

Source: RFC 9112 §3.2, RFC 3986 §3.3, §3.4, §6.2.2; stricter in all of the above. A single slash at the end is kept.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from gateway.domain.errors import GatewayError

_PATH = re.compile(rb"(?:/[A-Za-z0-9\-._~!$&'()*+,=:@%]+)+/?|/")
_QUERY = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*")
_BROKEN = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ABSOLUTE = re.compile(rb"(?i:http(s?))://([^/?#@]+)(/[^#]*)")
_BAD_ENCODED = re.compile(rb"%(?:2[fF]|5[cC]|2[eE]|[01][0-9A-Fa-f]|7[fF]|3[bB]|25)")
_DOTS = re.compile(rb"/\.{1,2}(?:/|$)")
_FORM = re.compile(rb"application/x-www-form-urlencoded *(?:; *charset=\"?utf-8\"?)? *", re.IGNORECASE)
_FORM_TEXT = re.compile(rb"[A-Za-z0-9\-._~!$'()*+,=:@/?%&]*")
_NO_FORM = re.compile(rb"%(?![0-9A-Fa-f]{2})|%00")
_SLUG = re.compile(rb"/([a-z0-9][a-z0-9\-]{0,62})/([A-Za-z0-9][A-Za-z0-9\-._]{0,62})(/.*)?")


class Target(NamedTuple):
    """What a request asks for.

    Args:
        path: as sent.
        query: as sent, without `?`.
        supplier: the first segment.
        interface: the second segment.
        rest: what is appended to the interface's base URL: empty or from its slash on.
    """

    path: bytes
    query: bytes
    supplier: str
    interface: str
    rest: bytes

    def with_parameter(self, rendered: bytes) -> "Target":
        """The same with one more parameter of the query, or with none where it is empty."""
        if not rendered:
            return self
        return self._replace(query=b"%b&%b" % (self.query, rendered) if self.query else rendered)


class Place(NamedTuple):
    """What a path names.

    Args:
        supplier: the first segment.
        interface: the second segment.
        rest: what is appended to the interface's base URL: empty or from its slash on.
    """

    supplier: str
    interface: str
    rest: bytes


class TargetReader:
    """Parses request targets; remembers what the last paths named, since a path decides by its octets alone."""

    __slots__ = ("_most", "_places")

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._places: dict[bytes, Place] = {}

    def read(self, target: bytes, host: bytes, *, is_tls: bool = False) -> Target:
        """The target of a request, in origin form or in an absolute form that agrees with `Host` and the listener.

        Raises:
            GatewayError: `malformed-request`; `interface-unknown` where the path names no supplier and interface.
        """
        if target[:1] != b"/":
            target = _origin_form(target, host, is_tls=is_tls)
        path, _, query = target.partition(b"?")
        place = self._places.get(path)
        if place is None:
            place = _parse_path(path)
            if len(path) <= 512:
                if len(self._places) >= self._most:
                    del self._places[next(iter(self._places))]
                self._places[path] = place
        if query and (
            _QUERY.fullmatch(query) is None or (b"%" in query and (b"%00" in query or _BROKEN.search(query)))
        ):
            raise GatewayError("malformed-request", "the query holds a NUL, or what must be percent-encoded")
        return Target(path, query, *place)


def _origin_form(target: bytes, host: bytes, *, is_tls: bool) -> bytes:
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise GatewayError("malformed-request", "the request target is not a path")
    if absolute[2].lower() != host.lower():
        raise GatewayError("malformed-request", "the request target disagrees with `host`")
    if bool(absolute[1]) is not is_tls:
        raise GatewayError("malformed-request", "the request target is of another scheme than this listener")
    return absolute[3]


def _parse_path(path: bytes) -> Place:
    # INVARIANT: ONE-MEANING.
    if _PATH.fullmatch(path) is None:
        raise GatewayError("malformed-request", _fault_of(path))
    if b"%" in path:
        _check_encoded(path)
    if b"/." in path and _DOTS.search(path):
        raise GatewayError("malformed-request", "the path holds dot segments")
    named = _SLUG.fullmatch(path)
    if named is None:
        raise GatewayError("interface-unknown", "the path is not `/{supplier}/{interface}/…`")
    return Place(named[1].decode(), named[2].decode(), named[3] or b"")


def _check_encoded(path: bytes) -> None:
    if _BROKEN.search(path):
        raise GatewayError("malformed-request", "the path holds a broken percent-encoding")
    if _BAD_ENCODED.search(path):
        raise GatewayError(
            "malformed-request", "the path encodes a slash, backslash, dot, semicolon, control or percent sign"
        )
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise GatewayError("malformed-request", "the path encodes octets that are not UTF-8") from None


def _fault_of(path: bytes) -> str:
    """What is wrong with a path that the grammar refuses, without repeating any of it (INVARIANT: NO-VALUES)."""
    if b"#" in path:
        return "the request target holds a fragment"
    if b"//" in path:
        return "the path holds an empty segment"
    if b"\\" in path or b";" in path:
        return "the path holds a backslash or a semicolon"
    return "the path holds a character that must be percent-encoded"


def parameters_of(query: bytes, names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The (name, value) pairs of the parameters in `names`, sorted, for policies and pseudonyms.

    A supplier must read the same: each may stand once, spelt exactly, and its value may hold no `+`.

    Raises:
        GatewayError: `malformed-request`.
    """
    if not query:
        return ()
    if b";" in query:
        raise GatewayError("malformed-request", "the query holds a semicolon, which some servers read as `&`")
    wanted = {name.lower(): name for name in names}
    found: dict[str, str] = {}
    for part in query.split(b"&"):
        raw_name, _, raw_value = part.partition(b"=")
        try:
            name = unquote_to_bytes(raw_name.replace(b"+", b" ")).decode("utf-8")
        except UnicodeDecodeError:
            raise GatewayError("malformed-request", "a query parameter's name is not UTF-8") from None
        exact = wanted.get(name.partition("[")[0].strip().lower())
        if exact is None:
            continue
        if name != exact:
            raise GatewayError("malformed-request", f"the query parameter `{exact}` is spelt in another way")
        if exact in found:
            raise GatewayError("malformed-request", f"the query parameter `{exact}` stands twice")
        if b"+" in raw_value:
            raise GatewayError("malformed-request", f"the query parameter `{exact}` holds a `+`; send `%20` or `%2B`")
        try:
            found[exact] = unquote_to_bytes(raw_value).decode("utf-8")
        except UnicodeDecodeError:
            raise GatewayError("malformed-request", f"the query parameter `{exact}` is not UTF-8") from None
    return tuple(sorted(found.items()))


def is_form(content_type: bytes) -> bool:
    """Whether a body of this type is a form, whose fields stand in it as parameters stand in a query."""
    return _FORM.fullmatch(content_type) is not None


def is_form_text(body: bytes) -> bool:
    """Whether a body is a form as browsers write it; what is none may be read as something else by a server."""
    return _FORM_TEXT.fullmatch(body) is not None and _NO_FORM.search(body) is None


def path_parameters(
    rest: bytes, templates: tuple[tuple[str, ...], ...], names: tuple[str, ...]
) -> tuple[tuple[tuple[str, str], ...], bool]:
    """The (name, value) pairs of the parameters in `names` that a path below an interface holds, sorted.

    And whether the path is known: the interface's own, or one of `templates` (`/regions/{region}`, split at slashes).
    """
    if rest in {b"", b"/"}:
        return (), True
    segments = rest.removesuffix(b"/").split(b"/")
    for template in templates:
        if len(template) != len(segments):
            continue
        found: dict[str, str] = {}
        for word, segment in zip(template, segments, strict=True):
            text = unquote_to_bytes(segment).decode("utf-8")
            if word[:1] == "{":
                found[word[1:-1]] = text
            elif word != text:
                break
        else:
            return tuple(sorted((name, value) for name, value in found.items() if name in names)), True
    return (), False
