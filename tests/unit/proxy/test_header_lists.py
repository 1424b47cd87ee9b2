"""Which header fields go on: every entry of every list, under every spelling that some runtime reads as the same."""

from collections.abc import Iterator

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat
from gateway.domain.errors import GatewayError
from gateway.domain.header_fields import SAYING_WHO, says_who
from gateway.proxy import Limits
from gateway.proxy.http import hygiene
from gateway.proxy.http.heads import parse_block
from tests.support.proxy_ports import CallerSide, House, Supplier, interface_for, json_answer, permit, request, serving

HOP_BY_HOP = (
    *("connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization"),
    *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"),
)
CREDENTIALS = (
    *("authorization", "cookie", "cookie2", "dpop", "signature", "signature-input", "client-cert", "client-cert-chain"),
)
VOUCHED_FOR = (
    *("accept-encoding", "baggage", "forwarded", "true-client-ip", "tracestate", "traceparent", "via", "x-client-ip"),
    *("x-cluster-client-ip", "x-real-ip", "cf-connecting-ip"),
)
OVERRIDES = ("destination", "proxy", "x-method-override", "x-rewrite-url", "x-host")
PREFIXES = (
    *(
        "gjgxjhpt-",
        "gjzwfwpt-",
        "proxy-",
        "remote-",
        "sharing-",
        "x-bg-",
        "x-client-cert",
        "x-forwarded",
        "x-http-method",
    ),
    *("x-original-", "x-ssl-", "x-tif-"),
)
NAMED_BY_PREFIX = (
    *(
        "gjgxjhpt-sign",
        "gjzwfwpt-rid",
        "proxy-user",
        "remote-user",
        "sharing-department",
        "sharing-grant",
        "sharing-record",
    ),
    *("x-bg-hmac-signature", "x-client-cert-dn", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
    *("x-http-method", "x-http-method-override", "x-original-url", "x-original-uri", "x-original-host"),
    *("x-original-method", "x-ssl-client-cert", "x-tif-signature"),
)
WHO = ("x-remote-user", "sec-websocket-key", "x-auth-user", "x-consumer-username", "x-consumer", "x-user", "x-user-id")
CONDITIONS = ("range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
NEVER_NAMED = ("authorization", "content-length", "dpop", "host", "transfer-encoding", "expect", "sharing-purpose")
TO_CALLER = (
    *("accept-ranges", "content-disposition", "content-encoding", "content-language", "content-range", "content-type"),
    *("etag", "last-modified", "retry-after"),
)


def test_the_lists_are_these() -> None:
    """A name that is taken out of a list, or put into one, is tried below, or this fails."""
    assert {*HOP_BY_HOP, *CREDENTIALS, *VOUCHED_FOR, *OVERRIDES} == {name.decode() for name in hygiene._STOPPED}
    assert set(PREFIXES) == {prefix.decode() for prefix in hygiene._STOPPED_PREFIXES}
    assert all(any(name.startswith(prefix) for name in NAMED_BY_PREFIX) for prefix in PREFIXES)
    assert set(CONDITIONS) == {name.decode() for name in hygiene._CONDITIONS}
    assert set(NEVER_NAMED) - {"sharing-purpose"} == {name.decode() for name in hygiene._NEVER_NAMED}
    assert set(TO_CALLER) == {name.decode() for name in hygiene.PASSED_TO_CALLER}
    assert set(WHO) == {name for name in WHO if name.startswith(SAYING_WHO) and says_who(name)}


def spellings(name: str) -> Iterator[str]:
    """A name as runtimes fold it: CGI and WSGI (`_`), PHP (`.` and space too), Rack, Go, servlets (case)."""
    yield from {name, name.upper(), name.title()}
    for other in "_.~!#$%&'*+^`|":
        yield name.replace("-", other)
        yield name.replace("-", other, 1)
        yield name + other
        yield other + name


def passed(name: str) -> bytes:
    """What goes on of a field of that name, of any kind."""
    fields = [(name.lower().encode(), b"value")]
    passing = hygiene.request_fields(fields, frozenset())
    return passing.forwarded + passing.conditions + b"".join(field for _, field in passing.withheld)


@pytest.mark.parametrize(
    "name", [*HOP_BY_HOP, *CREDENTIALS, *VOUCHED_FOR, *OVERRIDES, *NAMED_BY_PREFIX], ids=lambda name: name
)
def test_a_field_that_stops_here_stops_under_every_spelling(name: str) -> None:
    """Neither the name nor what a supplier's runtime would read as the name goes on."""
    for spelling in spellings(name):
        assert passed(spelling) == b"", spelling


@pytest.mark.parametrize("name", WHO)
def test_a_field_that_says_who_calls_goes_on_only_where_the_entry_lists_it(name: str) -> None:
    """And then under its plain name alone."""
    for spelling in spellings(name):
        passing = hygiene.request_fields([(spelling.lower().encode(), b"value")], frozenset())
        assert passing.forwarded == passing.conditions == b""
        assert bool(passing.withheld) == (spelling.lower() == name)


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_is_kept_apart(name: str) -> None:
    """It goes on only where the answer passes as it is."""
    passing = hygiene.request_fields([(name.encode(), b"value")], frozenset())
    assert (passing.forwarded, passing.conditions) == (b"", name.encode() + b": value\r\n")
    assert passed(name.replace("-", "_")) in {b"", b"range: value\r\n"}


def test_what_remains_goes_on() -> None:
    """Fields of letters, digits and hyphens that mean nothing here."""
    for name in (
        "accept",
        "accept-language",
        "content-type",
        "user-agent",
        "x-request-id",
        "x-api-version",
        "soapaction",
    ):
        assert passed(name) == name.encode() + b": value\r\n"


@pytest.mark.parametrize("name", NEVER_NAMED)
def test_connection_may_not_name_what_decides_a_request(name: str) -> None:
    """A front would take the field out, and the request would mean something else behind it."""
    block = f"Host: g\r\nConnection: close, {name.title()}\r\n\r\n".encode()
    with pytest.raises(GatewayError, match="malformed-request"):
        parse_block(block, Limits())


def test_only_listed_fields_of_an_answer_pass() -> None:
    """Each of the short list passes, and every stopped or unknown one does not."""
    for name in TO_CALLER:
        assert hygiene.answer_fields([(name.encode(), b"v")]) == name.encode() + b": v\r\n"
    for name in (*HOP_BY_HOP, *CREDENTIALS, "set-cookie", "location", "link", "server", "x-owner", "sharing-origin"):
        assert hygiene.answer_fields([(name.encode(), b"v")]) == b""


def test_an_entry_lists_fields_that_its_service_takes_from_callers() -> None:
    """Over the wire: listed ones go on, the others do not; conditions only for an answer that passes as it is."""
    asked = "X-User: u\r\nX-Consumer: c\r\nSec-WebSocket-Key: k\r\nX.User: v\r\nIf-None-Match: x\r\nX-Plain: yes\r\n"

    async def story() -> None:
        async with Supplier(json_answer('{"data":[]}')) as supplier:
            house = House(
                interface_for(supplier.port, request_fields=("X-User",)),
                interface_for(supplier.port, id="opaque", format=AnswerFormat.OPAQUE),
            )
            house.verdict = permit(all_items=True)
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                assert (await caller.ask(request(fields=asked)))[0] == 200
                assert (await caller.ask(request("/hukou/opaque", fields=asked)))[0] == 200
        listed, opaque = (head.lower() for head in supplier.requests)
        assert b"x-user: u\r\n" in listed
        assert b"x-user: u\r\n" not in opaque
        assert b"if-none-match" not in listed
        assert b"if-none-match: x\r\n" in opaque
        for head in (listed, opaque):
            assert b"x-plain: yes\r\n" in head
            assert not any(name in head for name in (b"x-consumer", b"sec-websocket", b"x.user"))

    uvloop.run(story())
