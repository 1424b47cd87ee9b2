"""What a request says of itself, where its own contract puts it: whom it asks about, what for, and who asks."""

import json
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat, EveryItem, Interface, RequestPlaces, SharingMode
from gateway.domain.uses import Use
from gateway.proxy.exchange.asked import Asks
from gateway.proxy.http.heads import Block, parse_block
from gateway.proxy.http.targets import TargetReader
from gateway.proxy.limits import Limits
from gateway.store.directory.validation import validate_interface
from tests.support.proxy_ports import CallerSide, House, Supplier, interface_for, json_answer, permit, request, serving

SAMPLES = Path(__file__).parents[2] / "support" / "exchange"
SOAP = (SAMPLES / "national-soap-call.xml").read_bytes()
POLICE = (SAMPLES / "police-request.json").read_bytes()
TOO_WIDE = (SAMPLES / "police-request-too-wide.json").read_bytes()
FORM_CALL = (SAMPLES / "national-form-call.txt").read_bytes().strip().split(b"\n\n", 1)[1]
PACKAGE = "body~xml/*:Envelope/*:Body/*:CHECK_IDENTITY/*:in0~xml/PACKAGE"
OF_SOAP = RequestPlaces(
    subject=(f"{PACKAGE}/DATA/RECORD/GMSFHM",),
    operator=(f"{PACKAGE}/PACKAGEHEAD/QQRXM", f"{PACKAGE}/PACKAGEHEAD/QQRGMSFHM"),
    unit=(f"{PACKAGE}/PACKAGEHEAD/QQRDWDM",),
    matter=(f"{PACKAGE}/PACKAGEHEAD/QQYWLXDM", f"{PACKAGE}/PACKAGEHEAD/QQYWLXMC"),
)
OF_POLICE = RequestPlaces(
    subject=("body~json/Params/Condition~condition/GMSFHM",),
    items=("body~json/Params/RequiredItems",),
    operator=("body~json/EndUser/UserName", "body~json/EndUser/UserCardId"),
    reason=("body~json/EndUser/CallReason",),
)
OF_FORM = RequestPlaces(subject=("form:biz_content~json/cert_num_man",))
POLICE_PLACES = {"xm": "/XM", "csrq": "/CSRQ", "gmsfhm": "/GMSFHM", "address": "/HJDZ"}
ANSWER = json_answer('{"code":0,"message":"ok","data":[{"xm":"张三","XM":"张三"}]}')
JSON = "Content-Type: application/json\r\n"
XML = "Content-Type: text/xml; charset=utf-8\r\n"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"


def block_of(fields: str) -> Block:
    return parse_block(f"Host: h\r\n{fields}\r\n".encode(), Limits())


class Readable(House):
    """Pseudonyms that a test can tell apart."""

    def pseudonym(self, identifier: bytes) -> str:
        return f"p.{identifier[-8:].decode()}"


def ask(
    named: RequestPlaces, body: bytes = b"", fields: str = JSON, target: str = "", **entry: Any
) -> tuple[int, bytes, House, Supplier]:
    async def story() -> tuple[int, bytes, House, Supplier]:
        async with Supplier(ANSWER) as supplier:
            methods = {"methods": ("GET", "POST"), "modes": (SharingMode.QUERY, SharingMode.VERIFY)}
            house = Readable(interface_for(supplier.port, request=named, **{**methods, **entry}))
            house.verdict = permit(items=tuple(sorted(entry.get("places", {"xm": ""}))))
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                method = "POST" if body else "GET"
                status, _, content = await caller.ask(request(f"/hukou/person{target}", method, fields, body))
                return status, content, house, supplier

    return uvloop.run(story())


def recorded(house: House) -> Use:
    (use,) = [event[2] for event in house.ledger.events if event[0] == "opened"]
    assert isinstance(use, Use)
    return use


def refused(told: tuple[int, bytes, House, Supplier], word: str) -> None:
    """Refused before anybody was called, in words that hold nothing of the request."""
    status, content, house, supplier = told
    assert status == 400, content
    assert word in json.loads(content)["detail"], content
    assert not supplier.requests
    assert house.ledger.kinds() == []
    assert b"110101" not in content


def test_two_persons_in_a_package_in_cdata_in_soap_stand_on_record_and_the_body_goes_on_byte_for_byte() -> None:
    status, _, house, supplier = ask(OF_SOAP, SOAP, XML)
    assert status == 200
    use = recorded(house)
    assert (use.subject, use.besides) == ("p.03070000", ("p.05080000",))
    assert use.operator == "李经办 p.01010000"
    assert use.scenario == "00100103601 企业登记"
    (call,) = house.calls
    assert call.unit == "11440000000000000X"
    assert call.declared == ("operator", "other", "scenario", "subject")
    assert supplier.bodies == [SOAP]


def test_request_service_of_the_police_names_items_subject_operator_and_reason() -> None:
    status, _, house, supplier = ask(OF_POLICE, POLICE, places=POLICE_PLACES)
    assert status == 200
    use = recorded(house)
    assert (use.subject, use.besides) == ("p.03070000", ())
    assert use.call.items == ("address", "csrq", "gmsfhm", "xm")
    assert (use.operator, use.scenario) == ("李经办 p.01010000", "婚姻登记核验")
    assert supplier.bodies == [POLICE]


def test_form_whose_field_is_json_names_its_subject() -> None:
    status, _, house, supplier = ask(OF_FORM, FORM_CALL, FORM)
    assert status == 200
    assert recorded(house).subject == "p.03070000"
    assert supplier.bodies == [FORM_CALL]


def test_condition_wider_than_one_person_is_refused() -> None:
    refused(ask(OF_POLICE, TOO_WIDE, places=POLICE_PLACES), "more than equalities")


def police(**changes: Any) -> bytes:
    said = json.loads(POLICE)
    for name, value in changes.items():
        holder = said["Params"] if name in said["Params"] else said["EndUser"]
        if value is None:
            del holder[name]
        else:
            holder[name] = value
    return json.dumps(said, ensure_ascii=False).encode()


def test_every_item_is_what_is_granted_or_is_refused_as_the_entry_says() -> None:
    refused(ask(OF_POLICE, police(RequiredItems="*"), places=POLICE_PLACES), "every item")
    granted = RequestPlaces(items=OF_POLICE.items, every_item=EveryItem.GRANTED)
    status, _, house, _ = ask(granted, police(RequiredItems="*"), places=POLICE_PLACES)
    assert status == 200
    assert recorded(house).call.items is None
    refused(ask(granted, police(RequiredItems="*,XM"), places=POLICE_PLACES), "every item")


def test_items_of_an_xml_answer_are_asked_for_by_the_names_of_their_elements() -> None:
    """Whatever namespace their places name; one that no place bears stays as it is, for the policies to refuse."""
    places = {"xm": "/*:XM", "csrq": "/Q{urn:a/b}CSRQ", "number": "/@GMSFHM"}
    asks = Asks(interface_for(1, request=OF_POLICE, places=places, format=AnswerFormat.XML))
    body = police(RequiredItems="GMSFHM,XM,CSRQ,HJDZ")
    asked = asks.read(block_of(JSON), TargetReader().read(b"/a/b", b"h"), body, lambda _: "p")
    assert asked.items == ("HJDZ", "csrq", "number", "xm")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"Condition": "GMSFHM='110101199003070000' OR 1=1"}, "more than equalities"),
        ({"Condition": "GMSFHM='110101199003070000' AND XB='1'"}, "does not name"),
        ({"Condition": ""}, "condition is missing"),
        ({"Condition": None}, "condition is missing"),
        ({"Condition": ["GMSFHM='1'"]}, "a text is meant"),
        ({"RequiredItems": "XM,,CSRQ"}, "no list"),
        ({"CallReason": "核验 110101199003070000 的婚姻"}, "15 or 18 digits"),
        ({"CallReason": "长" * 300}, "longer than 256"),
        ({"UserName": {"a": "b"}}, "a text is meant"),
    ],
)
def test_what_has_no_one_meaning_in_a_police_request_is_refused(changes: dict[str, Any], word: str) -> None:
    refused(ask(OF_POLICE, police(**changes), places=POLICE_PLACES), word)


SUBJECT = RequestPlaces(subject=("body~json/id", "query:id", "form:id"), subjects_a_call=2)


@pytest.mark.parametrize(
    ("target", "body", "fields", "word"),
    [
        ("", b'{"id":"1","id":"2"}', JSON, "twice"),
        ("", b'{"id":"1","ID":"2"}', JSON, "by case"),
        ("", b'{"id":"1"} ', "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n", "content coding"),
        ("", '{"id":"1"}'.encode("utf-16"), JSON, "not UTF-8"),
        ("", b"id=1&id=2", FORM, "twice"),
        ("", b"id=1&ID=2", FORM, "another way"),
        ("", b"id=1;x=2\r\n", FORM, "as browsers write it"),
        ("", b"--x\r\nContent-Disposition: form-data; name=id\r\n", "Content-Type: multipart/form-data\r\n", "no JSON"),
        ("?id=1&id=2", b"", "", "twice"),
    ],
)
def test_request_that_two_readers_could_read_differently_is_refused(
    target: str, body: bytes, fields: str, word: str
) -> None:
    refused(ask(SUBJECT, body, fields, target), word)


def test_persons_in_several_places_are_all_on_record_and_too_many_are_refused() -> None:
    status, _, house, _ = ask(SUBJECT, b'{"id":"1"}', JSON, "?id=2")
    assert status == 200
    use = recorded(house)
    assert {use.subject, *use.besides} == {"p.1", "p.2"}
    assert use.call.subjects == 2
    listed = RequestPlaces(subject=("body~json/ids~each",), subjects_a_call=2)
    refused(ask(listed, b'{"ids":["1","2","3"]}'), "more than 2 persons")
    status, _, house, _ = ask(listed, b'{"ids":["1","1","1"]}')
    assert status == 200
    assert recorded(house).besides == ()
    assert recorded(house).call.subjects == 1


def test_own_fields_of_the_gateway_and_the_body_must_not_differ() -> None:
    own = "Sharing-Scenario: other\r\n"
    refused(ask(OF_POLICE, POLICE, JSON + own, places=POLICE_PLACES), "differ")
    same = "Sharing-Items: csrq, xm, gmsfhm, address\r\n"
    assert ask(OF_POLICE, POLICE, JSON + same, places=POLICE_PLACES)[0] == 200
    refused(ask(OF_POLICE, POLICE, JSON + "Sharing-Items: xm\r\n", places=POLICE_PLACES), "differ")


def test_scope_parameter_is_read_at_its_place_and_nowhere_else() -> None:
    places = RequestPlaces(parameters={"region": "body~xml/q/area"})
    entry: dict[str, Any] = {"scope_parameters": ("region",)}
    status, _, house, _ = ask(places, b"<q><area>442000</area><region>440000</region></q>", XML, **entry)
    assert status == 200
    (call,) = house.calls
    assert (call.parameters, call.unread) == ((("region", "442000"),), ())
    refused(ask(places, b"<q><area>1</area></q>", XML, "?region=2", **entry), "two places")
    refused(ask(places, b"<q><area>1</area><area>2</area></q>", XML, **entry), "more than once")
    by_path = RequestPlaces(parameters={"region": "segment:region"}, subject=("segment:id",))
    entry |= {"paths": ("/regions/{region}/{id}",)}
    status, _, house, _ = ask(by_path, b"", "", "/regions/442000/7", **entry)
    assert status == 200
    assert house.calls[0].parameters == (("region", "442000"),)
    assert recorded(house).subject == "p.7"


def test_verification_is_about_one_person() -> None:
    places = RequestPlaces(subject=("body~json/ids~each",))
    verify = JSON + "Sharing-Mode: verify\r\n"
    body = b'{"values":{"xm":"x"},"query":{"ids":["1","2"]}}'
    refused(ask(places, body, verify), "one person")
    status, _, house, _ = ask(places, body.replace(b',"2"', b""), verify)
    assert status == 200
    assert recorded(house).subject == "p.1"


def test_long_body_is_read_whole_where_a_place_needs_it_and_a_longer_one_is_refused() -> None:
    """Up to `body_limit_bytes`, past what is read ahead otherwise; sent in pieces, it arrives as it was."""
    body = json.dumps({"pad": "x" * 900_000, "id": "1"}).encode()
    status, _, house, supplier = ask(SUBJECT, body)
    assert status == 200
    assert recorded(house).subject == "p.1"
    assert supplier.bodies == [body]
    status, _, _, supplier = ask(SUBJECT, body, body_limit_bytes=1000)
    assert status == 413
    assert not supplier.requests


FAULTY = [
    ({"request": RequestPlaces(subject=("body/x",))}, "request.subject", "say first what it is"),
    ({"request": RequestPlaces(unit=("segment:x",))}, "request.unit", "none of `paths`"),
    ({"request": RequestPlaces(items=("body",))}, "request.items", "whole document"),
    ({"request": RequestPlaces(items=("body~xml",))}, "request.items", "whole document"),
    ({"request": RequestPlaces(parameters={"x": "query:x"})}, "request.parameters", "scope_parameters"),
    ({"request": RequestPlaces(subjects_a_call=0)}, "request.subjects_a_call", "1 to"),
    (
        {"request": RequestPlaces(subject=("query:b",)), "subject_parameter": "a"},
        "request.subject",
        "beside `subject_parameter`",
    ),
]


@pytest.mark.parametrize(("changes", "field", "word"), FAULTY)
def test_entry_that_names_what_is_no_place_is_refused_with_its_field(
    changes: dict[str, Any], field: str, word: str
) -> None:
    (fault,) = validate_interface(interface_for(1, **changes))
    assert fault["field"] == field
    assert word in str(fault["fault"])


def test_entry_without_places_is_as_before() -> None:
    entry = interface_for(1)
    assert entry.request.is_empty
    assert not validate_interface(entry)
    assert not validate_interface(interface_for(1, request=OF_SOAP))
    assert isinstance(entry, Interface)
    assert not entry.names_subject
    assert interface_for(1, request=OF_SOAP).names_subject
