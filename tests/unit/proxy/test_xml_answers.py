"""GRANTED-ITEMS-ONLY for XML and for documents within documents: what suppliers send, and what they could."""

import base64
import json
from pathlib import Path
from typing import Any
from xml.dom import minidom
from xml.etree import ElementTree as ET

import pytest

from gateway.domain.directory import AnswerFormat, EnvelopeMember, Interface, MemberType
from gateway.domain.errors import GatewayError
from gateway.proxy.projection.answers import XmlProjector, make_projector
from gateway.proxy.projection.masks import parse_mask
from gateway.proxy.projection.projected import Projected, Projector

SAMPLES = Path(__file__).parent / "exchange_samples"
NS = "http://webservice.example/"
PLACES = {"xm": "/XM", "sfzh": "/SFZH", "no": "/@no", "addr": "/ADDR", "street": "/ADDR/STREET", "q": f"/Q{{{NS}}}q"}
CODE = EnvelopeMember(MemberType.CODE, 16)
TEXT = EnvelopeMember(MemberType.TEXT, 40)


def entry(**changes: Any) -> Interface:
    fields: dict[str, Any] = {
        "id": "person",
        "supplier": "hukou",
        "dataset": "d-1",
        "upstream": "https://hukou.example",
        "format": AnswerFormat.XML,
        "rows": "/P/DATA/R",
        "places": PLACES,
        "envelope": (),
        "envelope_members": {"/P/HEAD/CODE": CODE, "/P/HEAD/MSG": TEXT},
    }
    return Interface(**{**fields, **changes})


def projector(
    granted: tuple[str, ...] = ("xm", "no"), masks: dict[str, str] | None = None, **changes: Any
) -> Projector:
    kinds = {item: parse_mask(mask, lambda value: f"p{len(value)}") for item, mask in (masks or {}).items()}
    bounds = changes.pop("bounds", {})
    made = make_projector(entry(**changes), granted, kinds, bounds, row_bytes=1 << 16)
    assert made is not None
    return made


def streamed(one: Projector, content: bytes, size: int) -> bytes:
    """What leaves of an answer that comes in pieces of that size."""
    assert isinstance(one, XmlProjector)
    reducer = one.reducer()
    out = [reducer.feed(content[start : start + size]) for start in range(0, len(content), size)]
    return b"".join((*out, reducer.finish()))


def document(row: str, head: str = "<CODE>0</CODE>") -> str:
    return f'<?xml version="1.0"?><P><HEAD>{head}</HEAD><DATA>{row}</DATA></P>'


KEPT = [
    ("<R><XM>a</XM><SFZH>SECRET</SFZH></R>", "<R><XM>a</XM></R>"),
    ('<R no="1" id="SECRET"><XM>a</XM></R>', '<R no="1"><XM>a</XM></R>'),
    ('<R><XM id="SECRET">a</XM></R>', "<R><XM>a</XM></R>"),
    ("<R><XM/></R>", "<R><XM/></R>"),
    ("<R ><XM\n>a</XM ></R >", "<R><XM>a</XM ></R >"),
    ("<R><XM><![CDATA[</XM><SFZH>b]]></XM></R>", "<R><XM><![CDATA[</XM><SFZH>b]]></XM></R>"),
    ("<R><SFZH><![CDATA[</SFZH><XM>SECRET</XM>]]></SFZH><XM>a</XM></R>", "<R><XM>a</XM></R>"),
    ("<R><!-- SECRET --><XM>a</XM><?x SECRET?></R>", "<R><XM>a</XM></R>"),
    ("SECRET<R>SECRET<XM>a</XM>SECRET</R>SECRET", "<R><XM>a</XM></R>"),
    ("<R><XM>a</XM><XM>b</XM></R>", "<R><XM>a</XM><XM>b</XM></R>"),
    ("<R><R><XM>SECRET</XM></R><XM>a</XM></R>", "<R><XM>a</XM></R>"),
    ('<R><XM xmlns="urn:other">SECRET</XM><XM>a</XM></R>', "<R><XM>a</XM></R>"),
    ('<R xmlns:x="urn:SECRET"><x:XM>SECRET</x:XM><XM>a</XM></R>', "<R><XM>a</XM></R>"),
    ("<R><xm>SECRET</xm><XM>a</XM></R>", "<R><XM>a</XM></R>"),
    ("<R><XM>&#x5F20;&amp;&lt;b></XM></R>", "<R><XM>&#x5F20;&amp;&lt;b></XM></R>"),
    ("<R><X><XM>SECRET</XM></X><XM>a</XM></R>", "<R><XM>a</XM></R>"),
    ("<R><X a='>' b='&lt;/R>\"&lt;XM>SECRET'/><XM>a</XM></R>", "<R><XM>a</XM></R>"),
    ('<X a="&lt;R>"/><R><XM>a</XM></R>', "<R><XM>a</XM></R>"),
    ("<!-- <R><XM>SECRET</XM></R> --><R><XM>a</XM></R>", "<R><XM>a</XM></R>"),
    ("<R><XM>a</XM></R><!-- </R><R><XM>SECRET</XM></R> --><R><XM>b</XM></R>", "<R><XM>a</XM></R><R><XM>b</XM></R>"),
    ("<R/><R><XM>a</XM></R>", "<R/><R><XM>a</XM></R>"),
    (
        '<R xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><XM xsi:nil="true" xsi:type="SECRET !"/></R>',
        '<R xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><XM xsi:nil="true"/></R>',
    ),
    (f'<R><w:q xmlns:w="{NS}">SECRET</w:q><XM>a</XM></R>', "<R><XM>a</XM></R>"),
]


@pytest.mark.parametrize(("row", "kept"), KEPT)
def test_of_a_row_the_granted_elements_leave_as_they_stood(row: str, kept: str) -> None:
    """Attributes, names in other namespaces, CDATA, comments, rows within rows: nothing else, whole and in pieces."""
    one, content = projector(), document(row).encode()
    expected = document(kept).encode()
    for size in (1, 2, 3, 7, 1 << 20):
        assert streamed(one, content, size) == expected
    assert one.project(content).content == expected
    ET.fromstring(expected)


REFUSED = [
    "<R><XM>a<!-- b -->c</XM></R>",
    "<R><XM>a<?b c?></XM></R>",
    "<R><XM>a</R></XM>",
    "<R><XM>a</XM></R></DATA></P><P>",
    "<R><XM>&secret;</XM></R>",
    "<R><XM>a</XM>",
    "<R><XM>\x01</XM></R>",
    "<R><XM>]]></XM></R>",
    '<R><XM a="1" a="2">b</XM></R>',
    "<R><n:XM>a</n:XM></R>",
    "<R>" + "<A>" * 80 + "</A>" * 80 + "</R>",
    "<R " + " ".join(f'xmlns:n{number}="{NS}"' for number in range(65)) + "><XM>a</XM></R>",
    "<R><XM>" + "".join(f'<A xmlns:n{n}="{NS}" xmlns:m{n}="{NS}">' for n in range(33)) + "</A>" * 33 + "</XM></R>",
    "<R><XM>" + "a" * (1 << 17) + "</XM></R>",
    "<R><OTHER>a</OTHER></R>",
    "<R>SECRET</R>",
    "<ROW><XM>a</XM></ROW>",
    "SECRET",
]


@pytest.mark.parametrize("row", REFUSED)
def test_what_is_no_answer_of_this_entry_is_refused(row: str) -> None:
    """Broken, of two meanings, too deep, too long, or of an unknown shape: with a detail that repeats nothing of it."""
    for size in (1000, 1 << 20):
        with pytest.raises(GatewayError, match="answer-not-filterable") as refused:
            streamed(projector(), document(row).encode(), size)
        assert "SECRET" not in refused.value.detail


@pytest.mark.parametrize(
    "answer",
    [
        '<!DOCTYPE P [<!ENTITY e "SECRET">]><P><DATA><R><XM>&e;</XM></R></DATA></P>',
        '<!DOCTYPE P SYSTEM "http://127.0.0.1/x.dtd"><P><DATA><R><XM>a</XM></R></DATA></P>',
        "<P><DATA><R><XM>a</XM></R></DATA></P><P/>",
        "<P><DATA><R><XM>a</XM></R></DATA></P>SECRET",
        "<P><OTHER><R><XM>a</XM></R></OTHER></P>",
        "<DATA><R><XM>a</XM></R></DATA>",
        "SECRET",
        "",
        '<?xml version="1.1"?><P><DATA><R><XM>a</XM></R></DATA></P>',
        '{"data":[]}',
    ],
)
def test_document_types_second_roots_and_other_documents_are_refused(answer: str) -> None:
    """None has an entity, and none is told as `nothing found`."""
    with pytest.raises(GatewayError, match="answer-not-filterable"):
        projector().project(answer.encode())


def test_an_item_that_is_not_granted_is_taken_out_of_one_that_is() -> None:
    """And one below an item that is not granted leaves in its place."""
    row = "<R><ADDR>x<STREET>SECRET</STREET>y<Z k='1'>z</Z></ADDR></R>"
    assert b"<R><ADDR>xy<Z k='1'>z</Z></ADDR></R>" in projector(("addr",)).project(document(row).encode()).content
    below = projector(("street",)).project(document(row).encode()).content
    assert b"<R><ADDR><STREET>SECRET</STREET></ADDR></R>" in below
    with pytest.raises(GatewayError, match="bracket"):
        projector(("addr",)).project(document("<R><ADDR>]]<STREET/>&gt;</ADDR></R>").encode())


def test_namespaces_of_what_leaves_are_declared_in_it_and_others_are_not() -> None:
    """A prefix that is bound outside stays bound; one that the entry does not know makes the item unreadable."""
    answer = (
        f'<P xmlns:w="{NS}" xmlns:s="urn:SECRET"><DATA><R><w:q><w:in>a</w:in></w:q></R>'
        f'<R><o:q xmlns:o="{NS}"><i/></o:q></R></DATA></P>'
    )
    left = projector(("q",)).project(answer.encode()).content
    assert left.decode() == answer.replace(' xmlns:s="urn:SECRET"', "")
    assert len(ET.fromstring(left).findall(f"DATA/R/{{{NS}}}q")) == 2
    # Bound outside to one thing, again to another, and used there.
    rebound = f'<P xmlns:w="{NS}"><DATA xmlns:w="urn:x"><R><w:q>SECRET</w:q><XM>a</XM></R></DATA></P>'
    assert projector(("q", "xm")).project(rebound.encode()).content.count(b"SECRET") == 0
    for used in ("<s:i/>", '<i s:a="1"/>', '<i xmlns:t="urn:t"><t:j/></i><t:j/>'):
        broken = f'<P xmlns:w="{NS}" xmlns:s="urn:s"><DATA><R><w:q>{used}</w:q></R></DATA></P>'
        with pytest.raises(GatewayError, match=r"namespace|well-formed"):
            projector(("q",)).project(broken.encode())


def test_masks_and_bounds_hold_for_elements_and_attributes() -> None:
    """What a mask leaves is escaped; of an item with elements in it nothing is left."""
    masked = projector(("xm", "no", "addr"), {"xm": "last-1", "no": "redact", "addr": "redact"})
    row = '<R no="7"><XM k="1">&lt;a&amp;</XM><ADDR>b<Z/></ADDR></R>'
    assert b'<R no="***"><XM>**&amp;</XM></R>' in masked.project(document(row).encode()).content
    bounded = projector(bounds={"sfzh": frozenset({"1", "2"})})
    rows = "<R><XM>a</XM><SFZH>1</SFZH></R><R><XM>b</XM><SFZH/></R>"
    assert bounded.project(document(rows).encode()).rows == 2
    for other in ("<SFZH>3</SFZH>", "<SFZH>1</SFZH><SFZH>3</SFZH>", "<SFZH><A>1</A></SFZH>"):
        with pytest.raises(GatewayError, match="outside"):
            bounded.project(document(f"<R><XM>a</XM>{other}</R>").encode())


MEANINGS = {"10": "done", "99": "查询失败"}


@pytest.mark.parametrize(
    ("head", "left"),
    [
        ("<CODE>10</CODE><MSG>ok</MSG>", "<CODE>10</CODE><MSG>ok</MSG>"),
        ("<CODE>99</CODE><MSG>王小明 110101199003070000</MSG>", "<CODE>99</CODE><MSG>查询失败</MSG>"),
        (
            "<MSG>java.lang.NullPointerException at a.B.c(D.java:7)</MSG><CODE>99</CODE>",
            "<MSG>查询失败</MSG><CODE>99</CODE>",
        ),
        ("<CODE>x y</CODE><MSG>" + "a" * 41 + "</MSG>", "<CODE></CODE><MSG></MSG>"),
        ("<CODE>10<X/></CODE><OTHER>SECRET</OTHER>", ""),
        ("<CODE a='SECRET'>10</CODE>", "<CODE>10</CODE>"),
        ("<CODE/>", "<CODE/>"),
    ],
)
def test_the_envelope_is_what_the_entry_declares_or_what_its_code_means(head: str, left: str) -> None:
    """A trace, a number of a person and a text too long are never told, wherever the code stands."""
    one = projector(code_at="/P/HEAD/CODE", code_meanings=MEANINGS)
    content = document("<R><XM>a</XM></R>", head).encode()
    for size in (1, 1 << 20):
        assert streamed(one, content, size).decode() == document("<R><XM>a</XM></R>", left)


def test_an_answer_without_rows_says_so_in_declared_words() -> None:
    """KNOWN-SHAPE: an empty place of rows, a declared code or a status; nothing else."""
    words = {"empty_when": {"/P/HEAD/CODE": ("11",)}, "failed_when": {"/P/HEAD/FAULT": ("*",)}}
    one = projector(**words)
    assert one.project(document("").encode()).content == document("").encode()
    assert one.project(b"<P><DATA/></P>").rows == 0
    assert one.project(b"<P><HEAD><CODE>11</CODE></HEAD></P>").content == b"<P><HEAD><CODE>11</CODE></HEAD></P>"
    assert one.project(b"<P><HEAD><FAULT>x</FAULT></HEAD></P>").content == b"<P><HEAD></HEAD></P>"
    assert one.project(b"<P><X>SECRET</X></P>", is_failure=True).content == b"<P></P>"
    for answer in (b"<P/>", b"<P><HEAD><CODE>12</CODE></HEAD></P>", b"<P><DATA><N>0</N></DATA></P>"):
        with pytest.raises(GatewayError, match="no rows"):
            one.project(answer)
    # Of a comparison a declared failure is no answer.
    assert list(one.values(b"<P><HEAD><CODE>11</CODE></HEAD></P>")) == [[], []]
    with pytest.raises(GatewayError, match="failed"):
        list(one.values(b"<P><HEAD><FAULT>x</FAULT></HEAD></P>"))


def test_values_for_a_comparison_are_texts_of_granted_items() -> None:
    """What stands twice, or holds elements, matches nothing."""
    rows = '<R no="1"><XM>a&amp;b</XM><SFZH>SECRET</SFZH></R><R><XM>a</XM><XM>b</XM></R>'
    found = [row for part in projector().values(document(rows).encode()) for row in part]
    assert [{item: json.loads(bytes(raw)) for item, raw in row.items()} for row in found] == [
        {"no": "1", "xm": "a&b"},
        {"xm": []},
    ]


# The samples of answers as clients know them.

SOAP = "/*:Envelope/*:Body/*:CHECK_IDENTITYResponse/*:out~xml"


def sample(name: str, rows: str, places: dict[str, str], granted: tuple[str, ...], **changes: Any) -> Projected:
    one = projector(granted, rows=rows, places=places, **{"envelope_members": {}, **changes})
    return one.project((SAMPLES / name).read_bytes())


def test_a_package_as_text_in_soap_is_reduced_and_both_documents_stay_valid() -> None:
    """Names and codes of two rows; the rest of both envelopes is as declared."""
    members = {f"{SOAP}/PACKAGE/PACKAGEHEAD/FHDM": CODE, f"{SOAP}/PACKAGE/PACKAGEHEAD/FHMS": TEXT}
    places = {"XM": "/XM", "XM_PPDDM": "/XM_PPDDM", "GMSFHM": "/GMSFHM"}
    left = sample(
        "national-soap-answer.xml",
        f"{SOAP}/PACKAGE/DATA/RECORD",
        places,
        ("XM_PPDDM", "GMSFHM"),
        envelope_members=members,
    )
    assert (left.rows, left.items) == (2, ("GMSFHM", "XM_PPDDM"))
    out = minidom.parseString(left.content).getElementsByTagNameNS(NS, "out")[0]
    inner = ET.fromstring(out.firstChild.nodeValue)
    assert inner.findtext("PACKAGEHEAD/FHDM") == "10"
    assert inner.findtext("PACKAGEHEAD/FHMS") == "接口调用成功"
    assert [record.findtext("XM_PPDDM") for record in inner.findall("DATA/RECORD")] == ["1", "0"]
    assert "王小明".encode() not in left.content
    assert b"FSSJ" not in left.content


@pytest.mark.parametrize(
    ("name", "rows", "members", "left"),
    [
        (
            "police-answer.json",
            "/PayLoad/Data/Result~json",
            {"/Code": CODE, "/Message": TEXT, "/PayLoad/Data/Count": EnvelopeMember(MemberType.INTEGER, 1000)},
            {"Code": "1", "Message": "ok", "PayLoad": {"Data": {"Count": 1, "Result": '[{"XM":"王小明"}]'}}},
        ),
        (
            "zhejiang-double-encoded-answer.json",
            "/datas~json/data",
            {"/code": CODE, "/datas~json/success": EnvelopeMember(MemberType.BOOLEAN)},
            {"code": "00", "datas": '{"success":true,"data":[{"xm":"王小明"}]}'},
        ),
        (
            "rows-one-level-deeper.json",
            "/data/records",
            {"/code": EnvelopeMember(MemberType.INTEGER, 9999), "/data/total": EnvelopeMember(MemberType.INTEGER, 99)},
            {"code": 0, "data": {"total": 1, "records": [{"xm": "王小明"}]}},
        ),
        (
            "national-form-answer.json",
            "/biz_data/result",
            {"/code": CODE},
            {"code": "1", "biz_data": {"result": [{"name_man": "王小明"}]}},
        ),
    ],
)
def test_json_answers_as_they_are_really_given(
    name: str, rows: str, members: dict[str, EnvelopeMember], left: dict[str, Any]
) -> None:
    """A JSON text within JSON, and rows deeper than at the top: one name leaves, and the declared envelope."""
    places = {item: f"/{item}" for item in ("XM", "xm", "name_man", "sfzh", "GMSFHM")}
    done = sample(name, rows, places, ("XM", "xm", "name_man"), format=AnswerFormat.JSON, envelope_members=members)
    assert _undone(json.loads(done.content)) == _undone(left)
    assert done.rows == 1
    shallow = rows.rpartition("/")[0] if "~" not in rows else rows.partition("~")[0]
    with pytest.raises(GatewayError, match="answer-not-filterable"):
        sample(name, shallow, places, ("XM", "xm", "name_man"), format=AnswerFormat.JSON)


def _undone(value: Any) -> Any:
    """A value with JSON texts in it read, since members of an object have no order."""
    if isinstance(value, dict):
        return {name: _undone(inner) for name, inner in value.items()}
    return json.loads(value) if isinstance(value, str) and value[:1] in {"{", "["} else value


INNER_JSON = '{"data":[{"xm":"a]]>&\\u00e9","sfzh":"SECRET"}]}'
INNER_XML = '<?xml version="1.0"?><P><DATA><R><XM>a]]&gt;é</XM><SFZH>SECRET</SFZH></R></DATA></P>'


@pytest.mark.parametrize("is_base64", [False, True])
@pytest.mark.parametrize("inner", ["json", "xml"])
@pytest.mark.parametrize("outer", ["json", "xml", "cdata"])
def test_every_document_within_every_other_is_reduced(outer: str, inner: str, is_base64: bool) -> None:
    """JSON and XML, in texts and CDATA, plain and in base64; what leaves is read back by the libraries of clients."""
    text = INNER_JSON if inner == "json" else INNER_XML
    if is_base64:
        text = base64.b64encode(text.encode()).decode()
    if outer == "json":
        content = json.dumps({"o": text, "s": "SECRET"})
    elif outer == "xml":
        content = f"<O><o>{text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')}</o><s>SECRET</s></O>"
    else:
        content = f"<O><o><![CDATA[{text.replace(']]>', ']]]]><![CDATA[>')}]]></o></O>"
    way = f"{'/o' if outer == 'json' else '/O/o'}{'~base64' if is_base64 else ''}~{inner}"
    rows, places = (f"{way}/data", {"xm": "/xm", "sfzh": "/sfzh"})
    if inner == "xml":
        rows, places = (f"{way}/P/DATA/R", {"xm": "/XM", "sfzh": "/SFZH"})
    kind = AnswerFormat.JSON if outer == "json" else AnswerFormat.XML
    one = projector(("xm",), rows=rows, places=places, format=kind, envelope_members={})
    done = one.project(content.encode())
    assert (done.rows, done.items) == (1, ("xm",))
    read = json.loads(done.content)["o"] if outer == "json" else ET.fromstring(done.content).findtext("o")
    assert (b"<![CDATA[" in done.content) == (outer == "cdata")
    if is_base64:
        read = base64.b64decode(read).decode()
    if inner == "json":
        assert json.loads(read) == {"data": [{"xm": "a]]>&é"}]}
    else:
        assert ET.fromstring(read).findtext("DATA/R/XM") == "a]]>é"
        assert "SECRET" not in read
    assert b"SECRET" not in done.content
    assert next(row for part in one.values(content.encode()) for row in part).keys() == {"xm"}


@pytest.mark.parametrize("inner", ["json", "json/data", "xml/P/DATA/R", "base64~json", "base64~xml/P/DATA/R"])
def test_what_stands_in_place_of_a_document_is_refused_unless_it_is_nothing(inner: str) -> None:
    """Another type, another document, half a document; null and an empty text say that there are no rows."""
    one = projector(rows=f"/o~{inner}", places={"xm": "/XM"}, format=AnswerFormat.JSON, envelope_members={})
    for nothing in ('{"o":null}', '{"o":""}'):
        assert one.project(nothing.encode()).content == nothing.encode()
    for text in ("SECRET", "[", "<P>", "<P/>", '{"a":"SECRET"', "AAA", "\ud800", base64.b64encode(b"\xff").decode()):
        with pytest.raises(GatewayError, match="answer-not-filterable") as refused:
            one.project(b'{"o":' + json.dumps(text).encode() + b"}")
        assert "SECRET" not in refused.value.detail
    for other in (b"{}", b'{"o":{"XM":"SECRET"}}', b'{"o":1}', b"[]"):
        with pytest.raises(GatewayError, match="answer-not-filterable"):
            one.project(other)
