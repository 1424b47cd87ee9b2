"""KNOWN-SHAPE on the wire: an answer that the entry does not know is refused, and never told as "nothing found"."""

import json
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat, SharingMode
from tests.support.proxy_ports import CallerSide, House, Supplier, interface_for, json_answer, request, serving

ROW = '{"gmsfhm":"442000199001011234","xm":"SECRET"}'
UNKNOWN = [
    '{"code":0,"message":"ok","data":{"total":1,"pages":1,"records":[' + ROW + "]}}",
    '{"code":0,"message":"ok","datas":[' + ROW + "]}",
    '{"code":"1","message":"no such interface"}',
    '{"code":0,"data":[{"total":1}]}',
]


def ask(answer: str, sent: bytes, **fields: Any) -> tuple[int, bytes, list[str]]:
    """Status, content and the troubles that are told of."""

    async def story() -> tuple[int, bytes, list[str]]:
        async with Supplier(json_answer(answer)) as supplier:
            house = House(interface_for(supplier.port, **fields))
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                status, _, content, *_ = await caller.ask(sent)
                return status, content, [trouble for _, _, trouble in plane.troubles.standing()]

    return uvloop.run(story())


@pytest.mark.parametrize("answer", UNKNOWN)
def test_unknown_shape_is_refused_as_an_answer_and_as_a_comparison(answer: str) -> None:
    """502, nothing of it leaves, and the trouble is told by the interface's name."""
    question = json.dumps({"values": {"xm": "SECRET"}}).encode()
    asked = request(method="POST", fields="Sharing-Mode: verify\r\n", body=question)
    for sent, modes in ((request(), (SharingMode.QUERY,)), (asked, (SharingMode.VERIFY,))):
        status, content, troubles = ask(answer, sent, modes=modes)
        assert (status, json.loads(content)["type"]) == (502, "/problems/answer-not-filterable")
        assert b"SECRET" not in content
        assert troubles == ["misfits"]


def test_words_that_the_entry_declares_are_let_out() -> None:
    """The supplier's own "nothing found", and its failures by status, as they are."""
    status, content, _ = ask(UNKNOWN[2], request(), empty_when={"/code": ("1",)})
    assert (status, json.loads(content)) == (200, {"code": "1", "message": "no such interface"})
    status, content, troubles = ask('{"code":0,"data":[]}', request())
    assert (status, json.loads(content), troubles) == (200, {"code": 0, "data": []}, [])


@pytest.mark.parametrize("format_", ["json", "ndjson", "csv", "xml"])
def test_interface_without_a_place_for_any_granted_item_gives_no_empty_rows(format_: str) -> None:
    """Rows of nothing would read as "nothing is known": refused before the supplier is asked."""
    question = json.dumps({"values": {"xm": "SECRET"}}).encode()
    asked = request(method="POST", fields="Sharing-Mode: verify\r\n", body=question)
    for sent, modes in ((request(), (SharingMode.QUERY,)), (asked, (SharingMode.VERIFY,))):
        fields = {"places": {"gmsfhm": "gmsfhm" if format_ == "csv" else "/gmsfhm"}, "modes": modes}
        status, content, _ = ask('{"code":0,"data":[' + ROW + "]}", sent, format=AnswerFormat(format_), **fields)
        assert (status, json.loads(content)["type"]) == (502, "/problems/answer-not-filterable")
        assert "no place to any of the items" in json.loads(content)["detail"]
