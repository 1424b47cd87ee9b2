"""Every kind of mask and every name of a character set, walked: none stands for another."""

import json
from collections.abc import Iterator
from xml.parsers import expat

import msgspec
import pytest
from msgspec import Raw

from gateway.domain.errors import GatewayError
from gateway.domain.places import documents
from gateway.proxy import Limits
from gateway.proxy.projection.codings import Reader
from gateway.proxy.projection.document import DocumentProjector
from gateway.proxy.projection.masks import parse_mask
from gateway.proxy.projection.streams import CsvReducer, NdjsonReducer
from gateway.proxy.projection.values import masked_value

UTF16 = ("utf-16", "utf-16le", "utf-16be")
UTF8 = ("utf-8", "utf8", "us-ascii", "ascii")
GB = ("gbk", "gb2312", "gb18030", "gb-18030", "cp936", "gb_2312-80", "x-gbk")
OTHERS = (
    "iso-8859-1",
    "latin1",
    "utf-32",
    "utf-7",
    "big5",
    "shift_jis",
    "euc-kr",
    "hz-gb-2312",
    "x",
)


def test_the_character_sets_are_these() -> None:
    """What is put into a set, or taken out of it, is tried below, or this fails."""
    assert {*UTF8, *GB, *UTF16} == set(documents._CHARSETS)


def kinds(charset: str) -> Iterator[str]:
    """A media type with its character set, as it may be written."""
    for name in (charset, charset.upper(), charset.title(), f'"{charset}"'):
        for before in ("; charset=", ";charset=", "; Charset = ", '; boundary="x"; charset='):
            yield f"text/csv{before}{name}"


@pytest.mark.parametrize("charset", UTF8)
def test_utf_8_is_passed_as_it_is(charset: str) -> None:
    """Under each of its names, and without one."""
    for kind in (*kinds(charset), "text/csv", "", "application/json"):
        assert Reader("", kind, Limits()).is_plain, kind


@pytest.mark.parametrize("charset", GB)
def test_gb_character_sets_are_read(charset: str) -> None:
    """Under each of their names: whole characters, also where they are cut."""
    octets = "张三丰，㐂𠮷".encode("gb18030")
    for kind in kinds(charset):
        reader = Reader("", kind, Limits())
        read = b"".join(piece for octet in octets for piece in reader.feed(bytes([octet]))) + reader.finish()
        assert read.decode() == "张三丰，㐂𠮷"
        assert reader.encode(read) == octets
        assert reader.charset.lower() == f"; charset={charset}"
    for broken in (octets[:-1], b"\xff\xff"):
        reader = Reader("", f"text/csv; charset={charset}", Limits())
        with pytest.raises(GatewayError, match="answer-not-filterable"):
            _ = [list(reader.feed(broken)), reader.finish()]


def xml_reader(kind: str = "text/xml", charset: str = "") -> Reader:
    return Reader("", kind, Limits(), charset=charset, is_xml=True)


TEXT = "<?xml version='1.0'{}?><P>张三丰</P>"
NAMED = [
    ("utf-8", "", ""),
    ("utf-8", "; charset=UTF-8", " encoding='UTF-8'"),
    ("utf-8-sig", "; charset=utf-8", " encoding='utf-8'"),
    ("utf-8-sig", "", ""),
    ("gbk", "; charset=GBK", ""),
    ("gbk", "; charset=gb2312", " encoding='GBK'"),
    ("gb18030", "", " encoding='GB18030'"),
    ("utf-16", "", " encoding='UTF-16'"),
    ("utf-16", "; charset=utf-16", ""),
    ("utf-16-le", "; charset=utf-16le", ""),
    ("utf-16-be", "; charset=utf-16be", " encoding='utf-16'"),
]


@pytest.mark.parametrize(("codec", "header", "declaration"), NAMED)
@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_xml_is_read_and_leaves_in_the_character_set_that_it_names(
    codec: str, header: str, declaration: str, size: int
) -> None:
    """By its header, its declaration or its mark; a mark of UTF-16 leaves too."""
    text = TEXT.format(declaration)
    octets, reader = text.encode(codec), xml_reader(f"text/xml{header}")
    pieces = [piece for start in range(0, len(octets), size) for piece in reader.feed(octets[start : start + size])]
    read = b"".join(pieces) + reader.finish()
    assert read.decode() == text
    assert reader.encode(read).removeprefix(b"\xef\xbb\xbf") == octets.removeprefix(b"\xef\xbb\xbf")


CONTRADICTED = [
    ("utf-8", "; charset=utf-8", " encoding='GBK'"),
    ("gbk", "; charset=gbk", " encoding='UTF-8'"),
    ("utf-8-sig", "", " encoding='GBK'"),
    ("utf-8-sig", "; charset=gbk", ""),
    ("utf-16", "; charset=utf-8", ""),
    ("utf-16", "", " encoding='utf-8'"),
    ("utf-16-le", "; charset=utf-16", ""),
    ("utf-16-le", "; charset=utf-16be", ""),
    ("utf-8", "; charset=gbk", " encoding='utf-8'"),
    ("gbk", "", ""),
    ("gbk", "", " encoding='Big5'"),
    ("gbk", "; charset=big5", ""),
]


@pytest.mark.parametrize(("codec", "header", "declaration"), CONTRADICTED)
def test_xml_that_names_two_character_sets_or_is_in_another_is_refused(
    codec: str, header: str, declaration: str
) -> None:
    """Two readers would read two texts."""
    octets = TEXT.format(declaration).encode(codec)
    with pytest.raises(GatewayError, match="answer-not-filterable"):
        _read_all(f"text/xml{header}", octets)


def _read_all(kind: str, octets: bytes) -> str:
    reader = xml_reader(kind)
    read = b"".join((*reader.feed(octets), reader.finish()))
    try:
        expat.ParserCreate("utf-8").Parse(read, True)
    except expat.ExpatError:
        # As whoever reads it on finds.
        raise GatewayError("answer-not-filterable") from None
    return read.decode()


def test_the_entry_says_what_an_answer_is_in_where_the_answer_is_wrong() -> None:
    """Header and declaration count for nothing then; another mark is refused still."""
    octets = TEXT.format(" encoding='utf-8'").encode("gbk")
    reader = xml_reader("text/html; charset=utf-8", "gbk")
    read = b"".join((*reader.feed(octets), reader.finish()))
    assert "张三丰" in read.decode()
    assert (reader.encode(read), reader.charset) == (octets, "; charset=gbk")
    with pytest.raises(GatewayError, match="two character sets"):
        list(xml_reader("", "gbk").feed(TEXT.format("").encode("utf-16") * 99))


@pytest.mark.parametrize("charset", OTHERS)
def test_no_other_character_set_is_read(charset: str) -> None:
    """What is not read for sure does not leave."""
    for kind in kinds(charset):
        with pytest.raises(GatewayError, match="answer-not-filterable"):
            Reader("", kind, Limits())


NOTHING = None
MASKS: tuple[tuple[str, str, str | None], ...] = (
    *((f"last-{count}", "0123456789", "*" * (10 - count) + "0123456789"[-count:]) for count in range(1, 10)),
    *((f"first-{count}", "0123456789", "0123456789"[:count] + "*" * (10 - count)) for count in range(1, 10)),
    *((f"last-{count}", "x" * count, "*" * count) for count in range(1, 10)),
    *((f"first-{count}", "x" * count, "*" * count) for count in range(1, 10)),
    ("keep-last-4", "13800001234", "*******1234"),
    ("keep_last_4", "13800001234", "*******1234"),
    ("keep-first-3", "13800001234", "138********"),
    ("last4", "13800001234", "*******1234"),
    (" LAST-4 ", "13800001234", "*******1234"),
    ("last-4", "", ""),
    ("last-4", "张三丰李四", "*三丰李四"),
    ("year", "1990-05-01", "1990"),
    ("year-only", "1990/05/01", "1990"),
    ("year_only", "19900501", "1990"),
    ("year", "1990年5月1日", "1990"),
    ("year", "1990", "1990"),
    ("year", "0990-05-01", NOTHING),
    ("year", "199005", NOTHING),
    ("year", "90-05-01", NOTHING),
    ("year", "x1990-05-01", NOTHING),
    ("hash", "张三", "<6>"),
    ("redact", "张三", "***"),
    ("all", "张三", "***"),
    ("full", "", "***"),
    ("null", "张三", NOTHING),
    ("last-0", "张三", NOTHING),
    ("last-10", "张三", NOTHING),
    ("last-", "张三", NOTHING),
    ("", "张三", NOTHING),
    ("unknown", "张三", NOTHING),
)


@pytest.mark.parametrize(("name", "value", "left"), MASKS)
def test_each_mask_leaves_what_it_says_in_every_format(name: str, value: str, left: str | None) -> None:
    """JSON whole, NDJSON and CSV by row; what is no text, or a mask that nobody knows, leaves nothing."""
    mask = parse_mask(name, lambda identifier: f"<{len(identifier)}>")
    assert mask(value) == left
    row = json.dumps({"xm": value, "id": "1"}).encode()
    expected = {"id": "1"} if left is None else {"xm": left, "id": "1"}
    places, items, masks = {"xm": "/xm", "id": "/id"}, ("id", "xm"), {"xm": mask}
    whole = DocumentProjector("", places, (), items, masks).project(b"[" + row + b"]")
    assert json.loads(whole.content) == [expected]
    ndjson = NdjsonReducer(places, items, masks, 1 << 20)
    assert json.loads(ndjson.feed(row + b"\n")) == expected
    csv = CsvReducer({"xm": "a", "id": "b"}, items, masks, 1 << 20)
    csv.feed(b"a,b\r\n")
    cell = csv.feed(f'"{value}",1\r\n'.encode()).decode()
    assert cell == f"{left or ''},1\r\n"
    for other in (b"{}", b"[1]", b"true", b"false"):
        assert masked_value(Raw(other), mask) is None
    assert masked_value(Raw(b"null"), mask) == Raw(b"null")
    assert msgspec.json.decode(masked_value(Raw(b"19900501"), mask) or b"null") == mask("19900501")
