"""Every kind of mask and every name of a character set, walked: none stands for another."""

import json
from collections.abc import Iterator

import msgspec
import pytest
from msgspec import Raw

from gateway.domain.errors import GatewayError
from gateway.proxy import Limits
from gateway.proxy.projection import codings
from gateway.proxy.projection.codings import Reader
from gateway.proxy.projection.document import DocumentProjector, masked_value
from gateway.proxy.projection.masks import parse_mask
from gateway.proxy.projection.streams import CsvReducer, NdjsonReducer

UTF8 = ("utf-8", "utf8", "us-ascii", "ascii")
GB = ("gbk", "gb2312", "gb18030", "gb-18030", "cp936", "gb_2312-80", "x-gbk")
OTHERS = (
    "iso-8859-1",
    "latin1",
    "utf-16",
    "utf-16le",
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
    assert (set(UTF8), set(GB)) == (codings._UTF8, codings._GB)


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
        read = b"".join(piece for octet in octets for piece in reader.feed(bytes([octet])))
        reader.finish()
        assert read.decode() == "张三丰，㐂𠮷"
    for broken in (octets[:-1], b"\xff\xff"):
        reader = Reader("", f"text/csv; charset={charset}", Limits())
        with pytest.raises(GatewayError, match="answer-not-filterable"):
            _ = [list(reader.feed(broken)), reader.finish()]


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
