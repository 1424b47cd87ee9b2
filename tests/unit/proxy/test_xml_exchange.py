"""XML and documents within documents on the wire: lengths, digests, character sets, streams, faults, match codes."""

import asyncio
import contextlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat, EnvelopeMember, MemberType, SharingMode
from gateway.domain.uses import Outcome
from gateway.proxy.exchange.digests import keyed_digest
from tests.support.proxy_ports import (
    DIGEST_KEY,
    CallerSide,
    House,
    Supplier,
    interface_for,
    json_answer,
    permit,
    request,
    serving,
)

SAMPLES = Path(__file__).parent / "exchange_samples"
XML: dict[str, Any] = {
    "format": AnswerFormat.XML,
    "rows": "/P/DATA/R",
    "places": {"xm": "/XM", "hyzk": "/HYZK", "gmsfhm": "/SFZH"},
    "envelope_members": {"/P/CODE": EnvelopeMember(MemberType.CODE)},
}
ROW = "<R><XM>张三</XM><SFZH>SECRET</SFZH><HYZK>10</HYZK></R>"
LEFT = "<R><XM>张三</XM><HYZK>10</HYZK></R>"


def answer(text: str | bytes, kind: str = "text/xml; charset=utf-8", status: str = "200 OK") -> bytes:
    content = text.encode() if isinstance(text, str) else text
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


Told = tuple[int, dict[bytes, bytes], bytes, House]


def ask(given: Any, sent: bytes = b"", changes: dict[str, Any] | None = None, **fields: Any) -> Told:
    """Status, fields and content of one call; 0 where the connection broke."""

    async def story() -> Told:
        async with Supplier(given) as supplier:
            house = House(interface_for(supplier.port, **{**XML, **fields}))
            house.verdict = permit(**(changes or {}))
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                try:
                    return (*await caller.ask(sent or request()), house)
                except (asyncio.IncompleteReadError, ConnectionError):
                    return 0, {}, b"", house

    return uvloop.run(story())


def outcome(house: House) -> Outcome:
    (found,) = house.ledger.outcomes()
    return found


@pytest.mark.parametrize(
    ("codec", "kind", "declared", "told"),
    [
        ("utf-8", "text/xml", "", b"text/xml; charset=utf-8"),
        ("gbk", "application/xml; charset=GBK", "", b"application/xml; charset=GBK"),
        ("gb18030", "text/html", ' encoding="GB18030"', b"application/xml; charset=GB18030"),
        ("utf-16", 'application/soap+xml; action="SECRET"', "", b"application/soap+xml; charset=UTF-16"),
        ("utf-8", "application/json", "", b"application/xml; charset=utf-8"),
    ],
)
def test_an_answer_leaves_in_its_character_set_with_its_length_and_digest(
    codec: str, kind: str, declared: str, told: bytes
) -> None:
    """What is said of it is by the entry, whatever the supplier's field says."""
    text = f'<?xml version="1.0"{declared}?><P><CODE>0</CODE><DATA>{{}}</DATA></P>'
    status, fields, content, house = ask(answer(text.format(ROW).encode(codec), kind))
    assert (status, fields[b"content-type"]) == (200, told)
    assert content.decode(codec) == text.format(LEFT)
    done = outcome(house)
    assert (done.rows, done.released_items, done.bytes) == (1, ("hyzk", "xm"), len(content))
    assert done.response_digest == keyed_digest(DIGEST_KEY, content).hexdigest()


def test_json_in_gbk_leaves_in_gbk() -> None:
    """As its header names it, or as the entry does where the header is wrong."""
    text = '{"data":[{"xm":"张三","gmsfhm":"SECRET"}]}'
    as_json = {"format": AnswerFormat.JSON, "rows": "/data", "places": {"xm": "/xm"}, "envelope_members": {}}
    for kind, charset in (("application/json; charset=gbk", ""), ("application/json", "GBK")):
        _, fields, content, _ = ask(answer(text.encode("gbk"), kind), charset=charset, **as_json)
        assert fields[b"content-type"].lower() == b"application/json; charset=gbk"
        assert json.loads(content.decode("gbk")) == {"data": [{"xm": "张三"}]}


def test_a_fault_of_soap_and_an_unknown_document_are_no_answers() -> None:
    """A declared fault leaves with its status or in a 200; an undeclared one is refused and nothing of it leaves."""
    fault = (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>s:Server'
        "</faultcode><faultstring>SECRET at a.B.c(D.java:1)</faultstring></s:Fault></s:Body></s:Envelope>"
    )
    place = "/*:Envelope/*:Body/*:Fault/faultcode"
    soap: dict[str, Any] = {
        "rows": "/*:Envelope/*:Body/*:R",
        "envelope_members": {place: EnvelopeMember(MemberType.CODE)},
    }
    status, _, content, _ = ask(answer(fault), **soap)
    assert (status, json.loads(content)["type"]) == (502, "/problems/answer-not-filterable")
    assert b"SECRET" not in content
    for named, told in (("200 OK", 200), ("500 Internal Server Error", 500)):
        status, _, content, house = ask(answer(fault, status=named), failed_when={place: ("*",)}, **soap)
        assert (status, outcome(house).rows) == (told, 0)
        assert content.decode() == (
            '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
            "<faultcode>s:Server</faultcode></s:Fault></s:Body></s:Envelope>"
        )


async def _stream(writer: asyncio.StreamWriter, rows: int, end: str) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in ("<P><CODE>0</CODE><DATA>", *(ROW * 100 for _ in range(rows // 100)), end):
        octets = piece.encode()
        writer.write(b"%x\r\n%b\r\n" % (len(octets), octets))
        await writer.drain()
    writer.write(b"0\r\n\r\n")


@pytest.mark.parametrize(("end", "is_whole"), [("</DATA></P>", True), ("</P>", False), ("<R><XM>SECRET", False)])
def test_a_long_answer_leaves_as_it_comes_and_is_cut_where_it_breaks(end: str, is_whole: bool) -> None:
    """Rows leave before the end, what is held stays small, and a broken end is no end."""
    rows, held = 40_000, []

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> bool:
        with contextlib.suppress(ConnectionError):
            await _stream(writer, rows, end)
        return False

    async def story() -> tuple[bytes, House]:
        async with Supplier(stream) as supplier:
            house = House(interface_for(supplier.port, **XML))
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request())
                left = b""
                with contextlib.suppress(ConnectionError):
                    while octets := await caller.reader.read(1 << 16):
                        left += octets
                        held.append(plane.shares.held_bytes)
                        if left.endswith(b"0\r\n\r\n"):
                            break
                return left, house

    left, house = uvloop.run(story())
    assert left.endswith(b"0\r\n\r\n") is is_whole
    assert b"SECRET" not in left
    assert max(held) < 4 << 20
    done = outcome(house)
    if is_whole:
        assert (done.end, done.rows, left.count(b"<R>")) == ("complete", rows, rows)
    else:
        assert done.end == "answer-not-filterable"


def test_a_package_in_soap_passes_through() -> None:
    """The sample: two documents, both valid; the officer's record counts two rows."""
    way = "/*:Envelope/*:Body/*:CHECK_IDENTITYResponse/*:out~xml/PACKAGE"
    status, _, content, house = ask(
        answer((SAMPLES / "national-soap-answer.xml").read_bytes()),
        rows=f"{way}/DATA/RECORD",
        places={"xm": "/XM", "hyzk": "/XM_PPDDM", "gmsfhm": "/GMSFHM"},
        envelope_members={f"{way}/PACKAGEHEAD/FHDM": EnvelopeMember(MemberType.CODE)},
    )
    assert (status, outcome(house).rows) == (200, 2)
    assert "赵小红".encode() in content
    assert b"1101011990" not in content


def test_verify_mode_compares_with_xml_and_with_documents_within_documents() -> None:
    """Match or no match, and never a value."""
    question = json.dumps({"values": {"xm": "张三", "hyzk": "20"}}).encode()
    asked = request(method="POST", fields="Sharing-Mode: verify\r\n", body=question)
    verifying = {"modes": (SharingMode.VERIFY,)}
    text = f"<P><DATA>{ROW}</DATA></P>"
    for given, fields in (
        (answer(text), {}),
        (json_answer(json.dumps({"o": text})), {"format": AnswerFormat.JSON, "rows": "/o~xml/P/DATA/R"}),
    ):
        status, told, content, _ = ask(given, asked, **{"envelope_members": {}, **verifying, **fields})
        assert (status, json.loads(content)) == (200, {"matches": {"hyzk": False, "xm": True}})
        assert told[b"content-type"] == b"application/json"


MATCHING: dict[str, Any] = {
    "modes": (SharingMode.VERIFY,),
    "places": {"xm": "/XM", "hyzk": "/XM_PPDDM"},
    "match_codes": {"hyzk": ("0", "1")},
    "methods": ("GET", "POST"),
}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_service_that_compares_by_itself_is_asked_as_it_is_and_its_codes_leave(method: str) -> None:
    """In verify mode the request goes on unread, and of the answer the declared codes alone leave."""
    sent = request(method=method, fields="Sharing-Mode: verify\r\n", body=b"<Q/>" if method == "POST" else b"")
    text = "<P><DATA><R><XM>SECRET</XM><XM_PPDDM>{}</XM_PPDDM></R></DATA></P>"
    status, fields, content, house = ask(answer(text.format("1")), sent, **MATCHING)
    assert (status, content) == (200, b"<P><DATA><R><XM_PPDDM>1</XM_PPDDM></R></DATA></P>")
    assert (fields[b"sharing-origin"], outcome(house).released_items) == (b"supplier", ("hyzk",))
    for other in ("SECRET", "<A>1</A>", "2"):
        status, _, content, _ = ask(answer(text.format(other)), sent, **MATCHING)
        assert (status, b"SECRET" in content) == (502, False)
    # A grant of all items lets no value through either, and without a grant nobody counts what is asked.
    status, _, content, _ = ask(answer("SECRET"), sent, {"all_items": True}, **MATCHING)
    assert (status, b"SECRET" in content) == (502, False)
    assert ask(answer(text.format("1")), sent, {"grant": None}, **MATCHING)[0] == 403


def test_whoever_keeps_the_entry_is_told_what_was_found_by_names(caplog: pytest.LogCaptureFixture) -> None:
    """Rows elsewhere: the names on the way, and no value, and no name that is a person's number."""
    with caplog.at_level(logging.WARNING, "gateway.proxy.troubles"):
        ask(answer("<P><LIST><ROW a='SECRET'><XM>SECRET</XM></ROW></LIST></P>"))
        ask(
            json_answer('{"list":[{"XM":"SECRET","110101199003070000":{"王小明":"SECRET"}}]}'),
            format=AnswerFormat.JSON,
            rows="/data",
            envelope_members={},
        )
    first, second = (each.getMessage() for each in caplog.records)
    assert "(found: /P, /P/LIST, /P/LIST/ROW, /P/LIST/ROW/XM)" in first
    assert "(found: /list, /list/XM, /list/?, /list/?/?)" in second
    assert "SECRET" not in first + second
