"""Which header fields go on, from a caller to a supplier and back; everything else stops here.

To a supplier goes what a caller sent, but: hop-by-hop fields and what `Connection` names (RFC 9110 §7.6.1), every
credential, what the gateway itself sets or vouches for (`Sharing-*`, `Forwarded`, `X-Forwarded-*`, trace context),
content codings (an answer that is filtered must be read), and fields by which frameworks override what was checked
(`X-HTTP-Method-Override`, `X-Original-URL`) or a server's own variables (`Remote-User`, `Proxy`). Fields that say who
calls (`domain.header_fields`) go on only where the interface's entry lists them.

Only names of letters, digits and hyphens go on. A runtime that makes variables of them reads `Sharing.Department`,
`Sharing_Department` and other spellings as one name with the gateway's own (CGI, WSGI, PHP, Rack); a spelling that
needs any other octet is dropped, so that what is left has one reading.

To a caller goes a short list of fields only: any other field of an answer could carry data past the filter.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gateway.domain.errors import GatewayError
from gateway.domain.header_fields import SAYING_WHO

_PLAIN_NAME = re.compile(rb"[a-z0-9-]+")
_SAYING_WHO = tuple(prefix.encode() for prefix in SAYING_WHO)

_STOPPED = frozenset(
    {
        # hop by hop
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
        # credentials
        b"authorization",
        b"cookie",
        b"cookie2",
        b"dpop",
        b"signature",
        b"signature-input",
        b"client-cert",
        b"client-cert-chain",
        # set or vouched for by the gateway
        b"accept-encoding",
        b"baggage",
        b"forwarded",
        b"true-client-ip",
        b"tracestate",
        b"traceparent",
        b"via",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-real-ip",
        b"cf-connecting-ip",
        # overrides of what was checked
        b"destination",
        b"proxy",
        b"x-method-override",
        b"x-rewrite-url",
        b"x-host",
    }
)
_STOPPED_PREFIXES = (
    b"gjgxjhpt-",
    b"gjzwfwpt-",
    b"proxy-",
    b"remote-",
    b"sharing-",
    b"x-bg-",
    b"x-client-cert",
    b"x-forwarded",
    b"x-http-method",
    b"x-original-",
    b"x-ssl-",
    b"x-tif-",
)
_CONDITIONS = frozenset(
    {b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"}
)
_NEVER_NAMED = frozenset({b"authorization", b"content-length", b"dpop", b"host", b"transfer-encoding", b"expect"})

PASSED_TO_CALLER = frozenset(
    {
        b"accept-ranges",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-range",
        b"content-type",
        b"etag",
        b"last-modified",
        b"retry-after",
    }
)
"""Fields of an answer that passes as it is. A filtered answer keeps none but a numeric `Retry-After`: even an `ETag`
is a function of what was not granted."""


def connection_options(fields: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The options of `Connection`, lower case (RFC 9110 §7.6.1).

    Raises:
        GatewayError: `malformed-request` where it names a field that decides what the request means or who sends it.
    """
    options = frozenset(
        option.strip(b" \t").lower() for name, value in fields if name == b"connection" for option in value.split(b",")
    )
    for option in options:
        if option in _NEVER_NAMED or option.startswith(b"sharing-"):
            raise GatewayError("malformed-request", "`connection` names a field that is not hop-by-hop")
    return options


class Passing(NamedTuple):
    """What of a request's fields goes on to the supplier, rendered (RFC 9112 §5).

    Args:
        forwarded: end-to-end fields.
        conditions: range and precondition fields.
        withheld: (name, rendered) of fields that go on only where the entry lists them.
        via: the value of `Via`.
    """

    forwarded: bytes
    conditions: bytes
    withheld: tuple[tuple[bytes, bytes], ...]
    via: bytes


def request_fields(fields: Sequence[tuple[bytes, bytes]], options: frozenset[bytes]) -> Passing:
    """What goes on to the supplier; `options` are those of `Connection`."""
    forwarded: list[bytes] = []
    conditions: list[bytes] = []
    withheld: list[tuple[bytes, bytes]] = []
    via: list[bytes] = []
    for name, value in fields:
        if name == b"via":
            via.append(value)
        elif (
            name in _STOPPED
            or name in options
            or name.startswith(_STOPPED_PREFIXES)
            or _PLAIN_NAME.fullmatch(name) is None
        ):
            continue
        elif name in _CONDITIONS:
            conditions.append(b"%b: %b\r\n" % (name, value))
        elif name.startswith(_SAYING_WHO):
            withheld.append((name, b"%b: %b\r\n" % (name, value)))
        else:
            forwarded.append(b"%b: %b\r\n" % (name, value))
    return Passing(b"".join(forwarded), b"".join(conditions), tuple(withheld), b", ".join(via))


def without(rendered: bytes, names: frozenset[bytes]) -> bytes:
    """Rendered fields without those of some names, lower case."""
    return b"\r\n".join(
        line for line in rendered.split(b"\r\n") if line.partition(b":")[0].lower() not in names or b":" not in line
    )


def answer_fields(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The fields of an answer that passes as it is, rendered."""
    return b"".join(b"%b: %b\r\n" % (name, value) for name, value in fields if name in PASSED_TO_CALLER)
