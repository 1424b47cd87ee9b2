"""Verify mode: the answer says match or no match, and no value of the supplier leaves."""

import json
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import SharingMode
from tests.support.proxy_ports import (
    CallerSide,
    House,
    Supplier,
    interface_for,
    json_answer,
    permit,
    request,
    serving,
)

MODES = (SharingMode.QUERY, SharingMode.VERIFY)
ANSWER = '{"code":0,"message":"m","data":[{"xm":"张三","hyzk":10.50,"gmsfhm":"secret"},{"xm":"李四","hyzk":null}]}'


def verify(body: Any, answer: bytes | None = None, path: str = "/hukou/person?id=1", **changes: Any) -> Any:
    """One verification; status, content, house and supplier."""

    async def story() -> Any:
        async with Supplier(answer or json_answer(ANSWER)) as supplier:
            house = House(interface_for(supplier.port, modes=MODES, methods=("GET", "POST")))
            house.verdict = permit(**changes)
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
                status, _, content = await caller.ask(request(path, "POST", "Sharing-Mode: verify\r\n", data))
                return status, content, house, supplier

    return uvloop.run(story())


def test_values_are_compared_and_none_leaves() -> None:
    """Each item asked about is a match where some row holds the value; the values go nowhere else."""
    status, content, house, supplier = verify({"values": {"xm": " 张三", "hyzk": "10.5"}})
    assert (status, json.loads(content)) == (200, {"matches": {"hyzk": True, "xm": True}})
    assert house.calls[0].items == ("hyzk", "xm")
    assert house.calls[0].mode is SharingMode.VERIFY
    assert supplier.requests[0].startswith(b"GET /api?id=1 HTTP/1.1\r\n")
    assert supplier.bodies == [b""]
    assert house.ledger.outcomes()[0].rows == 2
    assert "张三".encode() not in content


def test_values_are_compared_by_the_type_of_their_item() -> None:
    """The verdict bears it; a JSON boolean is a yes as much as a text is."""
    answer = json_answer('{"code":0,"message":"m","data":[{"xm":"1,234.50","hyzk":true}]}')
    asked = {"values": {"xm": 1234.5, "hyzk": "是"}}
    as_texts = verify(asked, answer)[1]
    assert json.loads(as_texts) == {"matches": {"hyzk": False, "xm": False}}
    by_type = verify(asked, answer, types=(("xm", "number"), ("hyzk", "boolean")))[1]
    assert json.loads(by_type) == {"matches": {"hyzk": True, "xm": True}}


@pytest.mark.parametrize(
    ("value", "is_match"),
    [("李四", True), ("王五", False), ("", False), (10.5, False), (True, False)],
)
def test_match_or_no_match(value: Any, is_match: bool) -> None:
    """Equal text matches, nothing else does."""
    assert json.loads(verify({"values": {"xm": value}})[1]) == {"matches": {"xm": is_match}}


def test_an_item_that_is_not_granted_is_never_compared() -> None:
    """GRANTED-ITEMS-ONLY: a verification of an item outside the verdict says no match, whatever the value."""
    assert json.loads(verify({"values": {"gmsfhm": "secret"}})[1]) == {"matches": {"gmsfhm": False}}


def test_nobody_found_is_no_match() -> None:
    """A 404 and an answer without rows look the same as a value that differs."""
    for answer in (json_answer("{}", status="404 Not Found"), json_answer('{"code":1,"data":[]}')):
        status, content, _, _ = verify({"values": {"xm": "张三"}}, answer)
        assert (status, json.loads(content)) == (200, {"matches": {"xm": False}})


def test_a_failing_supplier_is_not_a_mismatch() -> None:
    """An error of the supplier is refused and not taken for an answer."""
    assert verify({"values": {"xm": "a"}}, json_answer("{}", status="500 Oops"))[0] == 502
    assert verify({"values": {"xm": "a"}}, json_answer("no json"))[0] == 502


def test_a_query_beside_the_values_is_posted() -> None:
    """Where the supplier is asked by POST, only the query goes to it."""
    _, _, _, supplier = verify({"values": {"xm": "张三"}, "query": {"id": 7}})
    assert supplier.requests[0].startswith(b"POST ")
    assert supplier.bodies == [b'{"id": 7}']


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"values":{}}', b'{"values":{"xm":[1]}}', b'{"values":{"xm":null}}', b"\xff", b"{" * 9000],
)
def test_a_body_that_is_no_question_is_malformed(body: bytes) -> None:
    """Bad input is named, and nobody is called."""
    status, content, _, supplier = verify(body)
    assert (status, json.loads(content)["type"]) == (400, "/problems/malformed-request")
    assert supplier.connections == 0


def test_large_bodies_are_refused() -> None:
    """Values to verify are one person's."""
    assert verify({"values": {"xm": "a" * 70_000}})[0] == 413
