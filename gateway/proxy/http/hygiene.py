"""Which header fields go on, from a caller to a supplier and back; everything else stops here.

To a supplier goes what a caller sent, but: hop-by-hop fields and what `Connection` names (RFC 9110 §7.6.1), every
credential, what the gateway itself sets or vouches for (`Sharing-*`, `Forwarded`, `X-Forwarded-*`, trace context),
content codings (an answer that is filtered must be read), and fields by which frameworks override what was checked
(`X-HTTP-Method-Override`, `X-Original-URL`). `_` is read as `-` first, since CGI-style servers do not tell them apart.

To a caller goes a short list of fields only: any other field of an answer could carry data past the filter.
"""

from collections.abc import Iterable, Sequence

from gateway.domain.errors import GatewayError

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
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-host",
        b"x-original-method",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-host",
    }
)
_STOPPED_PREFIXES = (
    b"gjgxjhpt-",
    b"gjzwfwpt-",
    b"proxy-",
    b"sharing-",
    b"x-bg-",
    b"x-client-cert",
    b"x-forwarded",
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


def request_fields(fields: Sequence[tuple[bytes, bytes]], options: frozenset[bytes]) -> tuple[bytes, bytes, bytes]:
    """What goes on to the supplier, rendered: end-to-end fields, range and precondition fields, the value of `Via`."""
    forwarded: list[bytes] = []
    conditions: list[bytes] = []
    via: list[bytes] = []
    for name, value in fields:
        plain = name.replace(b"_", b"-")
        if name == b"via":
            via.append(value)
        elif plain in _STOPPED or name in options or plain.startswith(_STOPPED_PREFIXES):
            continue
        elif plain in _CONDITIONS:
            conditions.append(b"%b: %b\r\n" % (name, value))
        else:
            forwarded.append(b"%b: %b\r\n" % (name, value))
    return b"".join(forwarded), b"".join(conditions), b", ".join(via)


def answer_fields(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The fields of an answer that passes as it is, rendered."""
    return b"".join(b"%b: %b\r\n" % (name, value) for name, value in fields if name in PASSED_TO_CALLER)
