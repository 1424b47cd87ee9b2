"""No work that grows faster than its input: each parser of the data plane, its cost held against the input's length.

The cost is the process's own time, the least of several runs, of an input and of one eight times as long. What grows
with the length costs eight times as much, what grows with its square sixty-four times; the bound lies between, where
neither comes near.
"""

import asyncio
import base64
import contextlib
import gzip
import time
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw

from gateway.domain.directory import AnswerFormat, Interface
from gateway.domain.errors import GatewayError, prefers_chinese
from gateway.domain.places.language import Source, parse_place
from gateway.domain.places.reading import PlaceFault, PlaceReader
from gateway.proxy import Limits
from gateway.proxy.downstream import CallerConnection
from gateway.proxy.http.answers import UnreadableError, parse_head
from gateway.proxy.http.framing import Chunked
from gateway.proxy.http.heads import parse_block, parse_request_line
from gateway.proxy.http.targets import TargetReader, parameters_of
from gateway.proxy.projection.answers import XmlProjector, make_projector
from gateway.proxy.projection.codings import Reader
from gateway.proxy.projection.document import DocumentProjector
from gateway.proxy.projection.masks import parse_mask
from gateway.proxy.projection.matching import Matching, Question, comparable, parse_question
from gateway.proxy.projection.streams import CsvReducer, NdjsonReducer, RowReducer
from tests.property.proxy.test_one_answer import Side, Wire
from tests.support.proxy_ports import House

LONGER = 8
MOST = 24.0
TRIES = 12
PAGES_SECONDS = 0.003
"""What the kernel may take to hand out the pages of the long input, however little is done with it: what grows with the
square takes seconds."""

WIDE = Limits(head_bytes=1 << 30, fields=1 << 30, collect_bytes=1 << 30)
PLACES = {"xm": "/xm", "more": "/deep/er/still", "hidden": "/gmsfhm"}
COLUMNS = {"xm": "a", "hyzk": "b", "gmsfhm": "c"}
MASKS = {"xm": parse_mask("last-4", lambda _: "p")}


def reader_of(make: Callable[[], RowReducer], data: bytes, step: int) -> Callable[[], None]:
    def read() -> None:
        reducer = make()
        for start in range(0, len(data), step):
            reducer.feed(data[start : start + step])
        reducer.finish()

    return read


def csv() -> RowReducer:
    return CsvReducer(COLUMNS, ("xm", "hyzk"), {}, 1 << 30)


def ndjson() -> RowReducer:
    return NdjsonReducer(PLACES, ("xm",), {}, 1 << 30)


def projecting(content: bytes, **changes: Any) -> Callable[[], object]:
    fields: dict[str, Any] = {"rows": "/data", "places": PLACES, "envelope": (), "granted": ("xm", "more"), "masks": {}}
    return lambda: DocumentProjector(**{**fields, **changes}).project(content)


def chunks(data: bytes, step: int) -> Callable[[], None]:
    def read() -> None:
        reader, rest = Chunked(), b""
        for start in range(0, len(data), step):
            _, rest = reader.feed(rest + data[start : start + step])
        assert reader.is_complete

    return read


def answer(octets: bytes, step: int) -> Callable[[], None]:
    """A supplier's answer in pieces, as its connection hears it."""

    def read() -> None:
        connection, call = Side().ask()
        for start in range(0, len(octets), step):
            connection.data_received(octets[start : start + step])
        assert call.end == "whole"

    return read


def calling(octets: bytes, step: int) -> Callable[[], None]:
    """A request in pieces, as its caller's connection hears it."""

    async def hear() -> None:
        connection = CallerConnection(House(limits=WIDE).plane())
        connection.connection_made(Wire())  # type: ignore[arg-type]
        for start in range(0, len(octets), step):
            connection.data_received(octets[start : start + step])

    return lambda: asyncio.run(hear())


def decoding(coding: str, kind: str, data: bytes) -> Callable[[], None]:
    def read() -> None:
        reader = Reader(coding, kind, WIDE)
        for _ in reader.feed(data):
            pass
        reader.finish()

    return read


def block(fields: bytes) -> Callable[[], object]:
    return lambda: parse_block(b"Host: g\r\n" + fields + b"\r\n", WIDE)


def namespaces(number: int) -> bytes:
    return b"".join(b' xmlns:n%d="http://www.w3.org/2001/XMLSchema"' % each for each in range(number))


def listed(number: int) -> bytes:
    return b'{"a":[' + b",".join([b'{"b":"1"}'] * number) + b"]}"


def placed(place: str, body: bytes) -> object:
    try:
        return PlaceReader({"subject": [parse_place(place)]}).read({(Source.BODY, ""): (body,)})
    except PlaceFault:
        return None


def asking(rows: int, items: int) -> Callable[[], object]:
    question = Question({f"i{number}": Raw(b'"x"') for number in range(items)})
    answered = [{f"i{number % 500}": Raw(b'"y"') for number in range(row, row + 3)} for row in range(rows)]
    return lambda: Matching(question).compare(answered)


def xml(content: bytes, step: int, *, whole: bool = False) -> Callable[[], object]:
    """An answer in XML in pieces; a supplier's own words stand where an entry places an item, and beside it."""
    entry = Interface(
        "i",
        "s",
        "d",
        upstream="https://s.example",
        format=AnswerFormat.XML,
        rows="/P/R",
        places={"xm": "/XM", "no": "/@no"},
    )
    made = make_projector(entry, ("xm", "no"), {}, {}, row_bytes=1 << 30)
    assert isinstance(made, XmlProjector)
    content = b"<P><R><XM>a</XM></R>" + content

    def read() -> None:
        if whole:
            made.project(content)
            return
        reducer = made.reducer()
        for start in range(0, len(content), step):
            reducer.feed(content[start : start + step])
        reducer.finish()

    return read


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ROW = b'{"xm":"a","gmsfhm":"%s","deep":{"er":{"still":[1,2]}}}'
TABLE: dict[str, tuple[int, Callable[[int], Callable[[], object]]]] = {
    "empty lines before a request": (40_000, lambda n: calling(b"\r\n" * n, 1 << 30)),
    "empty lines, octet by octet": (800, lambda n: calling(b"\r\n" * n, 1)),
    "a request line, octet by octet": (900, lambda n: calling(b"GET /" + b"a" * n, 1)),
    "a head, octet by octet": (6000, lambda n: calling(b"GET /a HTTP/1.1\r\nX: " + b"a" * n, 1)),
    "requests in one segment": (150, lambda n: calling(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n" * n, 1 << 30)),
    "a head of one long value": (20_000, lambda n: block(b"X: " + b"a b" * n + b"\r\n")),
    "a value of white space": (60_000, lambda n: block(b"X: a" + b" \t" * n + b"b\r\n")),
    "white space behind a value": (60_000, lambda n: block(b"X: a" + b" \t" * n + b"\r\n")),
    "a head of many fields": (300, lambda n: block(b"".join(b"X-%d: y\r\n" % number for number in range(n)))),
    "many options of Connection": (2000, lambda n: block(b"Connection: " + b"x-a,b," * n + b"c\r\n")),
    "a head without an end": (60_000, lambda n: block(b"X" * n + b"\0\r\n")),
    "many languages": (20_000, lambda n: lambda: prefers_chinese("zh;q=0.1," * n)),
    "a request line": (200_000, lambda n: lambda: parse_request_line(b"GET /" + b"a" * n + b" HTTP/1.1")),
    "a broken request line": (200_000, lambda n: lambda: parse_request_line(b"GET " + b"a" * n + b" HTTP/1.1 ")),
    "a path of many segments": (30_000, lambda n: lambda: TargetReader().read(b"/s/i" + b"/a" * n, b"g")),
    "a path that ends wrongly": (30_000, lambda n: lambda: TargetReader().read(b"/s/i" + b"/a" * n + b"#", b"g")),
    "an encoded path": (2_000, lambda n: lambda: TargetReader().read(b"/s/i/" + b"%E5%BC%A0" * n, b"g")),
    "an absolute target": (100_000, lambda n: lambda: TargetReader().read(b"http://" + b"g" * n + b"?", b"g")),
    "a query of many parameters": (4000, lambda n: lambda: parameters_of(b"a=b&" * n, ("id", "region"))),
    "a query of one long parameter": (6_000, lambda n: lambda: parameters_of(b"id=" + b"%20" * n, ("id",))),
    "chunks of one octet, at once": (2000, lambda n: chunks(b"1\r\nx\r\n" * n + b"0\r\n\r\n", 1 << 30)),
    "chunks of one octet, octet by octet": (500, lambda n: chunks(b"1\r\nx\r\n" * n + b"0\r\n\r\n", 1)),
    "chunks with extensions": (
        40,
        lambda n: chunks((b"1;a" + b" \t" * 200 + b";b=c\r\nx\r\n") * n + b"0\r\n\r\n", 1 << 30),
    ),
    "a long chunk": (200_000, lambda n: chunks(b"%x\r\n%b\r\n0\r\n\r\n" % (n, bytes(n)), 7001)),
    "an answer's head": (200, lambda n: lambda: parse_head(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * n + b"\r\n")),
    "an answer's head, octet by octet": (
        400,
        lambda n: answer(b"HTTP/1.1 200 OK\r\nX: " + b"y" * min(n, 4000) + b"\r\nContent-Length: 1\r\n\r\nx", 1),
    ),
    "an answer's chunks, octet by octet": (
        1500,
        lambda n: answer(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * n + b"0\r\n\r\n", 1
        ),
    ),
    "an answer with a length, octet by octet": (
        800,
        lambda n: answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n + bytes(n), 1),
    ),
    "NDJSON of many rows": (500, lambda n: reader_of(ndjson, (ROW % b"y" + b"\n") * n, 1 << 16)),
    "NDJSON, one row octet by octet": (4000, lambda n: reader_of(ndjson, ROW % (b"y" * n), 1)),
    "NDJSON, rows octet by octet": (100, lambda n: reader_of(ndjson, (ROW % b"y" + b"\n") * n, 1)),
    "NDJSON of empty lines": (2000, lambda n: reader_of(ndjson, b"\n" * n, 1)),
    "CSV of many rows": (1000, lambda n: reader_of(csv, b"a,b,c\n" + b"1,2,3\n" * n, 1 << 16)),
    "CSV, rows octet by octet": (300, lambda n: reader_of(csv, b"a,b,c\n" + b"1,2,3\n" * n, 1)),
    "CSV, one cell octet by octet": (4000, lambda n: reader_of(csv, b'a,b,c\n1,2,"' + b"y" * n + b'"\n', 1)),
    "CSV, a quoted cell of line ends": (5000, lambda n: reader_of(csv, b'a,b,c\n1,2,"' + b"y\n" * n + b'"\n', 2)),
    "CSV, a cell of quotes": (5000, lambda n: reader_of(csv, b'a,b,c\n1,2,"' + b'""' * n + b'"\n', 2)),
    "JSON of many rows": (800, lambda n: projecting(b'{"data":[' + b",".join([ROW % b"y"] * n) + b"]}")),
    "JSON of many rows, masked": (
        400,
        lambda n: projecting(b'{"data":[' + b",".join([ROW % b"y"] * n) + b"]}", masks=MASKS),
    ),
    "JSON of one long value": (60_000, lambda n: projecting(b'{"data":[{"xm":"' + b"\\u4e2d" * n + b'"}]}')),
    "JSON that is nested": (100_000, lambda n: projecting(b'{"data":[{"xm":' + b"[" * n)),
    "JSON of white space": (100_000, lambda n: projecting(b'{"data":' + b" \n" * n + b"[]}", masks=MASKS)),
    "JSON of one member again and again": (8000, lambda n: projecting(b'{"data":[{' + b'"xm":1,' * n + b'"xm":2}]}')),
    "XML of many rows": (1000, lambda n: xml(b"<R><XM>a</XM><NO>b</NO></R>" * n + b"</P>", 1 << 15)),
    "XML, rows octet by octet": (300, lambda n: xml(b"<R><XM>a</XM><NO>b</NO></R>" * n + b"</P>", 1)),
    "XML, rows of empty elements octet by octet": (300, lambda n: xml(b'<R no="1"/>' * n + b"</P>", 1)),
    "XML, a row octet by octet": (2500, lambda n: xml(b"<R><XM>" + b"y>" * n + b"</XM></R></P>", 1)),
    "XML, a tag octet by octet": (5000, lambda n: xml(b'<R no="' + b">" * n + b'"/></P>', 1)),
    "XML, a name octet by octet": (5000, lambda n: xml(b"<R><" + b"y" * n + b"/></R></P>", 1)),
    "XML, an end octet by octet": (5000, lambda n: xml(b"<R><XM>y</XM></R" + b" " * n + b"></P>", 1)),
    "XML, a comment octet by octet": (5000, lambda n: xml(b"<!--" + b"-y" * n + b"--></P>", 1)),
    "XML, a comment of ends": (8000, lambda n: xml(b"<!--" + b"</R>" * n + b"--></P>", 1 << 30)),
    "XML, a comment in slices": (200_000, lambda n: xml(b"<!--" + b"y" * n + b"--></P>", 1 << 30)),
    "XML, CDATA octet by octet": (3000, lambda n: xml(b"<R><XM><![CDATA[" + b"]>" * n + b"]]></XM></R></P>", 1)),
    "XML, CDATA of ends": (8000, lambda n: xml(b"<R><XM><![CDATA[" + b"</R>" * n + b"]]></XM></R></P>", 1 << 15)),
    "XML, references octet by octet": (1500, lambda n: xml(b"<R><XM>" + b"&lt;" * n + b"</XM></R></P>", 1)),
    "XML, one row of many elements": (1000, lambda n: xml(b"<R>" + b"<XM>y</XM><Z/>" * n + b"</R></P>", 1 << 15)),
    "XML, an item of many elements": (1000, lambda n: xml(b"<R><XM>" + b"<a b='c'/>" * n + b"</XM></R></P>", 1 << 15)),
    "XML, namespaces of a row": (400, lambda n: xml(b"<R" + namespaces(n) + b"><XM>y</XM></R></P>", 1 << 15)),
    "XML, namespaces of an item's elements": (
        200,
        lambda n: xml(b"<R><XM" + namespaces(n) + b">" + b'<a xmlns:b="c"/>' * n + b"</XM></R></P>", 1 << 15),
    ),
    "XML, attributes of a row": (
        1000,
        lambda n: xml(b"<R" + b"".join(b' a%d="1"' % each for each in range(n)) + b"/></P>", 1 << 15),
    ),
    "XML, whole": (1000, lambda n: xml(b"<R><XM>a</XM><NO>b</NO></R>" * n + b"</P>", 1 << 30, whole=True)),
    "a request in XML": (2000, lambda n: lambda: placed("body~xml/A/B", b"<A><B>1</B>" + b"<C d='e'/>" * n + b"</A>")),
    "a request in XML, of CDATA": (
        2000,
        lambda n: lambda: placed("body~xml/A/B", b"<A><B>" + b"<![CDATA[ ]]>" * n + b"1</B></A>"),
    ),
    "a request in JSON": (
        2000,
        lambda n: lambda: placed("body~json/a/b", b'{"a":{"b":"1"},"c":[' + b'{"d":1},' * n + b"1]}"),
    ),
    "a request of many values": (400, lambda n: lambda: placed("body~json/a~each/b", listed(n))),
    "a request in base64": (
        40_000,
        lambda n: lambda: placed("body~base64~json/a", base64.b64encode(b'{"a":"' + b"y" * n + b'"}')),
    ),
    "a condition": (3000, lambda n: lambda: placed("body~condition/a", b"a='1'" + b" AND a ='1'" * n)),
    "a condition of blanks": (20_000, lambda n: lambda: placed("body~condition/a", b"a='1'" + b" " * n + b"AND b='1'")),
    "gzip": (200_000, lambda n: decoding("gzip", "", gzip.compress(bytes(range(256)) * (n // 256), 1))),
    "gzip that hardly shrinks": (
        10_000,
        lambda n: decoding("gzip", "", gzip.compress(b"".join(b"%d" % (i * i) for i in range(n)), 1)),
    ),
    "GB18030": (60_000, lambda n: decoding("", "text/csv; charset=GBK", "张".encode("gb18030") * n)),
    "a question of combining marks": (
        2000,
        lambda n: lambda: comparable(Raw(b'"a' + "\u0301\u0327".encode() * n + b'"')),
    ),
    "a question of many values": (
        200,
        lambda n: (
            lambda: parse_question(
                b'{"values":{' + b",".join(b'"i%d":"x"' % number for number in range(min(n, 512))) + b"}}"
            )
        ),
    ),
    "a number of many digits": (20_000, lambda n: lambda: comparable(Raw(b"1" * n))),
    "matching many rows": (400, lambda n: asking(n, 500)),
    "matching many values": (60, lambda n: asking(500, n)),
    "masking": (200_000, lambda n: lambda: parse_mask("last-4", lambda _: "p")("a" * n)),
    "masking a year": (200_000, lambda n: lambda: parse_mask("year", lambda _: "p")("1990" + "-" * n)),
}


def cost(run: Callable[[], object]) -> float:
    began = time.process_time()
    with contextlib.suppress(GatewayError, UnreadableError):
        run()
    return time.process_time() - began


@pytest.mark.parametrize("name", TABLE)
def test_cost_grows_no_faster_than_length(name: str) -> None:
    """Eight times the input costs far less than sixty-four times as much."""
    length, make = TABLE[name]
    short, long = make(length), make(length * LONGER)
    least_short = least_long = float("inf")
    for _ in range(TRIES):
        least_short = min(least_short, *(cost(short) for _ in range(3)))
        least_long = min(least_long, cost(long))
        if least_long <= MOST * least_short + PAGES_SECONDS:
            return
    raise AssertionError(f"{name}: {least_short * 1e3:.2f} ms became {least_long * 1e3:.2f} ms")
