"""Places: a text that says where something stands, and what is read there."""

import base64
import json
from typing import Any

import pytest

from gateway.domain.places.documents import DocumentFault, read_json, read_xml, xml_octets
from gateway.domain.places.language import Kind, PlaceError, Source, parse_place, parse_steps
from gateway.domain.places.reading import PlaceFault, PlaceReader

PACKAGE = (
    '<?xml version="1.0" encoding="UTF-8"?><PACKAGE><PACKAGEHEAD><QQRXM>李经办</QQRXM></PACKAGEHEAD><DATA>'
    '<RECORD no="1"><GMSFHM>110101199003070000</GMSFHM></RECORD>'
    '<RECORD no="2"><GMSFHM>110101199105080000</GMSFHM></RECORD></DATA></PACKAGE>'
)
SOAP = (
    '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns:w="http://service.example/"><e:Header/>'
    f"<e:Body><w:CHECK><w:in0><![CDATA[{PACKAGE}]]></w:in0><w:in1>user</w:in1></w:CHECK></e:Body></e:Envelope>"
)
IN0 = "body~xml/Q{http://schemas.xmlsoap.org/soap/envelope/}Envelope/*:Body/*:CHECK/*:in0~xml/PACKAGE"


def read(place: str, body: bytes | str, *, source: Source = Source.BODY, name: str = "") -> tuple[str, ...]:
    octets = body.encode() if isinstance(body, str) else body
    return PlaceReader({"x": [parse_place(place)]}).read({(source, name): (octets,)}).get("x", ())


@pytest.mark.parametrize(
    "text",
    [
        "query:id_number",
        "header:x-subject",
        "segment:region",
        "form:biz_content~json/cert_num_man",
        "form:a~0b~1c",
        "body~json",
        "body~json/EndUser/UserCardId",
        "body~json/a b/~0~1/",
        "body~json/people~each/id",
        "body~json/Params/Condition~condition/GMSFHM",
        f"{IN0}/DATA/RECORD/GMSFHM",
        "body~xml/a/@no",
        "body~xml/a/@Q{urn:x}no",
        "body~json/x~base64~xml/PACKAGE/@*:id",
    ],
)
def test_place_is_written_as_it_was_read(text: str) -> None:
    assert parse_place(text).text == text


@pytest.mark.parametrize(
    ("text", "position", "word"),
    [
        ("", 0, "begins with one of"),
        ("cookie:x", 0, "begins with one of"),
        ("query", 5, "query:NAME"),
        ("query:", 6, "lacks its name"),
        ("header:a b", 7, "header field"),
        ("body/data", 4, "say first what it is"),
        ("body~json data", 9, "begins with"),
        ("body~yaml/x", 4, "begins one of"),
        ("body~json/a~2", 11, "begins one of"),
        ("body~xml~each", 8, "JSON array"),
        ("body~xml/a/@b/c", 13, "below an attribute"),
        ("body~xml/soap:Body", 9, "prefix"),
        ("body~xml/1a", 9, "XML name"),
        ("body~xml/@no", 8, "its root"),
        ("body~json/c~condition", 21, "one field"),
        ("body~json/c~condition/a/b", 23, "say first"),
        ("body~json/c~condition/a'b", 22, "condition's field"),
        ("body~json/a~json/b~json/c~json/d", 25, "at most 3 deep"),
        ("body~json" + "/a" * 600, 1024, "1024 characters"),
    ],
)
def test_text_that_is_no_place_is_refused_where_it_goes_wrong(text: str, position: int, word: str) -> None:
    with pytest.raises(PlaceError, match=word) as told:
        parse_place(text)
    assert told.value.position == position


def test_pointer_of_an_answer_means_what_it_meant_before_there_were_places() -> None:
    """RFC 6901 §5: each of its examples is one pointer, whatever stands in it."""
    for pointer in ("", "/foo", "/foo/0", "/", "/a~1b", "/c%d", "/e^f", "/g|h", "/i\\j", '/k"l', "/ ", "/m~0n"):
        steps = parse_steps(pointer, Kind.JSON)
        assert len(steps) == (1 if pointer else 0), pointer
    assert len(parse_steps("/datas~json/data", Kind.JSON)) == 3


@pytest.mark.parametrize(
    ("place", "body", "values"),
    [
        ("body~json/EndUser/Id", '{"EndUser":{"Id":"1"}}', ("1",)),
        ("body~json/id", '{"id":12}', ("12",)),
        ("body~json/id", '{"id":null}', ()),
        ("body~json/id", '{"id":""}', ()),
        ("body~json/id", "{}", ()),
        ("body~json/people~each/id", '{"people":[{"id":"1"},{"id":"2"}]}', ("1", "2")),
        ("body~json/ids~each", '{"ids":["1","2"]}', ("1", "2")),
        ("body~json/x~json/id", json.dumps({"x": json.dumps({"id": "1"})}), ("1",)),
        ("body~json/x~base64~json/id", json.dumps({"x": base64.b64encode(b'{"id":"1"}').decode()}), ("1",)),
        ("body~json/x~base64~xml/a", json.dumps({"x": base64.b64encode(b"<a>1</a>").decode()}), ("1",)),
        (f"{IN0}/DATA/RECORD/GMSFHM", SOAP, ("110101199003070000", "110101199105080000")),
        (f"{IN0}/DATA/RECORD/@no", SOAP, ("1", "2")),
        (f"{IN0}/PACKAGEHEAD/QQRXM", SOAP, ("李经办",)),
        (f"{IN0}/DATA/RECORD/XM", SOAP, ()),
        ("body~xml/a", "<a>\n<![CDATA[1]]></a>", None),
        ("body~xml/a~xml/b", "<a>\n &lt;b&gt;1&lt;/b&gt;\n</a>", ("1",)),
        ("body~xml/b", "<a>1</a>", ()),
        ("body~xml/a", '<?xml version="1.0" encoding="GBK"?><a>王</a>'.encode("gb18030"), ("王",)),
        ("body~xml/a", '<?xml version="1.0" encoding="UTF-16"?><a>王</a>'.encode("utf-16"), ("王",)),
        ("body~json/c~condition/id", '{"c":"id=\'1\'"}', ("1",)),
    ],
)
def test_what_stands_at_a_place_is_read(place: str, body: str | bytes, values: tuple[str, ...] | None) -> None:
    if values is None:
        with pytest.raises(PlaceFault, match="blanks"):
            read(place, body)
    else:
        assert read(place, body) == values


AMBIGUOUS = [
    ("body~json/id", '{"id":"1","id":"2"}', "twice"),
    ("body~json/id", '{"x":{"a":1,"a":1},"id":"2"}', "twice"),
    ("body~json/id", '{"id":"1","ID":"2"}', "by case"),
    ("body~json/id_no", '{"idNo":"2"}', "by case"),
    ("body~json/id", '{"id":110101199003070000}', "15 digits"),
    ("body~json/id", '{"id":1e2}', "exponent"),
    ("body~json/id", '{"id":true}', "something else"),
    ("body~json/id", '{"id":["1"]}', "something else"),
    ("body~json/id", '[{"id":"1"}]', "an object is meant"),
    ("body~json/ids~each", '{"ids":"1"}', "a list is meant"),
    ("body~json/p~each/id", '{"p":[{"id":"1"},{"xm":"2"}]}', "not in others"),
    ("body~json/p~each/id", '{"p":[{"id":"1"},{"id":null}]}', "not in others"),
    ("body~json/id", '{"id":" 1"}', "blanks"),
    ("body~json/id", '{"id":"1\\u0000"}', "not printed"),
    ("body~json/id", '{"id":"1\\u200b"}', "not printed"),
    ("body~json/id", '{"id":"\\ud800"}', "not printed"),
    ("body~json/id", '\ufeff{"id":"1"}', "byte order mark"),
    ("body~json/id", b'{"id":"\xcd\xf5"}', "not UTF-8"),
    ("body~json/id", '{"id":NaN}', "no JSON"),
    ("body~json/id", '{"id":"1"} {}', "no JSON"),
    ("body~json/id", "[" * 100_000, "too deep"),
    ("body~json/x~base64", '{"x":"MQ"}', "no base64"),
    ("body~json/x~base64", '{"x":"MR=="}', "as encoders write it"),
    ("body~json/x~base64", '{"x":"MQ==!"}', "no base64"),
    ("body~xml/a/b", "<a><b>1</b><B>2</B></a>", "by case"),
    ("body~xml/a/b", "<a><b>1</b>" + "<c/>" * 30_000 + "</a>", "more than 20000 elements"),
    ("body~json/id", '{"id":"1","x":[' + "{}," * 30_000 + "{}]}", "more than 20000 objects"),
    ("body~xml/a/r/b", "<a><r><b>1</b></r><r><c>2</c></r></a>", "not in others"),
    ("body~xml/a/r/b", "<a><r><b>1</b></r><r><b/></r></a>", "not in others"),
    ("body~xml/a/r/@b", "<a><r b='1'/><r c='2'/></a>", "not in others"),
    ("body~xml/a/b", '<a xmlns:n="urn:n"><b>1</b><n:b>2</n:b></a>', "namespace"),
    ("body~xml/a", '<n:a xmlns:n="urn:n">1</n:a>', "namespace"),
    ("body~xml/a/b", "<a><b>1<!-- -->2</b></a>", "parted"),
    ("body~xml/a/b", "<a><b>1<?x y?>2</b></a>", "parted"),
    ("body~xml/a/b", "<a><b>1<![CDATA[2]]></b></a>", "parted"),
    ("body~xml/a/b", "<a><b><![CDATA[1]]><![CDATA[2]]></b></a>", "parted"),
    ("body~xml/a/b", "<a><b>1<c/></b></a>", "holds elements"),
    ("body~xml/a/b", '<a><b href="#x"/><c id="x">1</c></a>', "refers to another"),
    ("body~xml/a", '<!DOCTYPE a [<!ENTITY x "1">]><a>&x;</a>', "DOCTYPE"),
    ("body~xml/a", "<!DOCTYPE a><a>1</a>", "DOCTYPE"),
    ("body~xml/a", "<a>&x;</a>", "well-formed"),
    ("body~xml/a", "<a>1</a><a>2</a>", "well-formed"),
    ("body~xml/a", "<a" * 3, "well-formed"),
    ("body~xml/a", "<a>" * 100 + "</a>" * 100, "too deep"),
    ("body~xml/a", '<?xml version="1.1"?><a>1</a>', "XML 1.0"),
    ("body~xml/a", '<?xml version="1.0" encoding="UTF-7"?><a>1</a>', "none of"),
    ("body~xml/a", b'\xef\xbb\xbf<?xml version="1.0" encoding="GBK"?><a>1</a>', "two character sets"),
    ("body~xml/a", '<?xml version="1.0" encoding="UTF-8"?><a>1</a>'.encode("utf-16"), "two character sets"),
    ("body~xml/a", '<?xml version="1.0" encoding="UTF-16"?><a>1</a>', "no byte order mark"),
    (
        "body~xml/a~xml/b",
        "<a><![CDATA[<?xml version='1.0' encoding='GBK'?><b>王</b>]]></a>",
        "another character set than UTF-8",
    ),
]


@pytest.mark.parametrize(("place", "body", "word"), AMBIGUOUS, ids=[f"{n}" for n in range(len(AMBIGUOUS))])
def test_what_two_readers_could_read_differently_is_refused(place: str, body: str | bytes, word: str) -> None:
    """ONE-MEANING; and the fault names no value."""
    with pytest.raises(PlaceFault, match=word) as told:
        read(place, body)
    assert "110101" not in str(told.value)


WIDE = [
    "id='1' OR xb='1'",
    "id='1' AND xb='1'",
    "id='1' or 1=1",
    "id LIKE '1%'",
    "id>'1'",
    "id<>'1'",
    "id!='1'",
    "id IN ('1','2')",
    "(id='1')",
    "id='1' --",
    "id='1';",
    "id='1''2'",
    "id='1\\'",
    'id="1"',
    "id=1",
    "ID='1'",
    " id='1'",
    "id='1' AND id='2'",
    "id='1' AND",
    "id=''",
    "id='1'AND xm='2'",
    "upper(id)='1'",
    "xm='1'",
    "",
]


@pytest.mark.parametrize("condition", WIDE)
def test_condition_wider_than_one_equality_on_the_named_field_is_refused(condition: str) -> None:
    with pytest.raises(PlaceFault):
        read("body~json/c~condition/id", json.dumps({"c": condition}))


def test_condition_may_name_every_field_that_the_entry_names() -> None:
    reader = PlaceReader({name: [parse_place(f"body~json/c~condition/{name}")] for name in ("id", "qh")})

    def asked(condition: str) -> Any:
        return reader.read({(Source.BODY, ""): (json.dumps({"c": condition}).encode(),)})

    assert asked("id = '1' and qh='440000'") == {"id": ("1",), "qh": ("440000",)}
    with pytest.raises(PlaceFault, match="lacks qh"):
        asked("id='1'")
    with pytest.raises(PlaceFault, match="condition is missing"):
        reader.read({(Source.BODY, ""): (b"{}",)})


def test_charset_of_the_transport_is_of_the_outer_document_alone() -> None:
    body = "<a>&lt;b&gt;王&lt;/b&gt;</a>".encode("gb18030")
    reader = PlaceReader({"x": [parse_place("body~xml/a~xml/b")]})
    assert reader.read({(Source.BODY, ""): (body,)}, "gbk") == {"x": ("王",)}
    with pytest.raises(PlaceFault, match="not in the character set"):
        reader.read({(Source.BODY, ""): (body,)}, "utf-8")


def test_one_document_is_undone_once_for_all_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    undone: list[str] = []
    import gateway.domain.places.reading as module  # noqa: PLC0415

    monkeypatch.setattr(module, "read_xml", lambda text: undone.append(text) or read_xml(text))
    reader = PlaceReader({name: [parse_place(f"{IN0}/{name}")] for name in ("DATA/RECORD/GMSFHM", "PACKAGEHEAD/QQRXM")})
    assert len(reader.read({(Source.BODY, ""): (SOAP.encode(),)})) == 2
    assert len(undone) == 2


def test_values_of_one_request_are_bounded() -> None:
    with pytest.raises(PlaceFault, match="more than 4096"):
        read("body~json~each", json.dumps(["1"] * 5000))


def test_faults_of_documents_are_constant_sentences() -> None:
    """NO-VALUES."""
    for read_one, text in ((read_json, '{"name":王}'), (read_xml, "<name>王")):
        with pytest.raises(DocumentFault) as told:
            read_one(text)
        assert "王" not in str(told.value)
        assert told.value.__cause__ is None
    with pytest.raises(DocumentFault):
        xml_octets(b"<a/>", "latin-1")
