"""ONE-MEANING, GRANTED-ITEMS-ONLY: a grant for one region is kept wherever a caller puts another, and in the answer."""

import json
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat, SharingMode
from gateway.store.directory.validation import validate_interface
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

HOME = ("region", "442000")
BOUNDS = (("region", ("442000",)),)
PLACES = {"xm": "/xm", "hyzk": "/hyzk", "qh": "/address/qh"}
JSON = "Content-Type: application/json\r\n"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"


def ask(
    target: str = "", body: bytes = b"", fields: str = "", answer: bytes | None = None, **changes: Any
) -> tuple[int, bytes, House, Supplier]:
    """One call at an interface whose grants may name regions; `changes` are the verdict's and the interface's."""

    async def story() -> tuple[int, bytes, House, Supplier]:
        entry = {name: changes.pop(name) for name in ("format", "places") if name in changes}
        async with Supplier(answer) as supplier:
            house = House(
                interface_for(
                    supplier.port,
                    scope_parameters=("region",),
                    scope_items={"region": "qh"},
                    paths=("/regions/{region}", "/people/{id}/home"),
                    methods=("GET", "POST"),
                    modes=(SharingMode.QUERY, SharingMode.VERIFY),
                    **{"places": PLACES, **entry},
                )
            )
            house.verdict = permit(**changes)
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                method = "POST" if body else "GET"
                status, _, content = await caller.ask(request(f"/hukou/person{target}", method, fields, body))
                return status, content, house, supplier

    return uvloop.run(story())


@pytest.mark.parametrize(
    ("target", "body", "fields", "read", "unread"),
    [
        ("?region=442000", b"", "", (HOME,), ()),
        ("/regions/442000", b"", "", (HOME,), ()),
        ("/regions/442000/", b"", "", (HOME,), ()),
        ("/people/7/home?region=442000", b"", "", (HOME,), ()),
        ("/cities/440000?region=442000", b"", "", (HOME,), ("path",)),
        ("/regions/440000/all?region=442000", b"", "", (HOME,), ("path",)),
        ("", b'{"q":[{"region":"442000"}]}', JSON, (HOME,), ()),
        ("", b'{"region":442000}', JSON, (HOME,), ()),
        ("", b"x=1&region=442000", FORM, (HOME,), ()),
        ("?region=442000", b'{"id":"7"}', JSON, (HOME,), ()),
        ("?region=442000", b"<region>440000</region>", "Content-Type: text/xml\r\n", (HOME,), ("body",)),
        ("?region=442000", b'{"region":"440000"}', "", (HOME,), ("body",)),
        ("?region=442000", b'{"region":"440000"}', FORM, (HOME,), ("body",)),
        ("?region=442000", b"region=440000", JSON, (HOME,), ("body",)),
        ("?region=442000", b'{"region":"440000"}', JSON + "Content-Encoding: gzip\r\n", (HOME,), ("body",)),
        ("?region=442000", b'{"id":NaN}', JSON, (HOME,), ("body",)),
        ("?region=442000", b"[" * 60_000, JSON, (HOME,), ("body",)),
        ("?region=442000", b" " * 70_000, JSON, (HOME,), ("body",)),
    ],
)
def test_policies_are_told_what_the_supplier_will_read_and_what_was_not_read(
    target: str, body: bytes, fields: str, read: Any, unread: Any
) -> None:
    """Query, path, form and JSON are read; what cannot be read is said, and no limited grant is kept under it."""
    status, _, house, supplier = ask(target, body, fields)
    assert status == 200
    assert (house.calls[-1].parameters, house.calls[-1].unread) == (read, unread)
    assert supplier.bodies == [body]


@pytest.mark.parametrize(
    ("target", "body", "fields"),
    [
        ("?region=442000", b'{"region":"440000"}', JSON),
        ("?region=442000", b'{"region":"442000"}', JSON),
        ("/regions/440000?region=442000", b"", ""),
        ("/regions/440000", b"region=442000", FORM),
        ("", b'{"region":"442000","region":"440000"}', JSON),
        ("", b'{"a":{"region":"442000"},"b":[{"region":"440000"}]}', JSON),
        ("", b'{"Region":"440000"}', JSON),
        ("", b'{"region ":"440000"}', JSON),
        ("", b'{"region[]":"440000"}', JSON),
        ("", b'{"q.region":"440000"}', JSON),
        ("", b'{"region":["442000","440000"]}', JSON),
        ("", b'{"region":null}', JSON),
        ("", b"region=442000&region=440000", FORM),
        ("", b"r%65gion=442000&Region=440000", FORM),
        ("?region=442000", b"", "X-Region: 440000\r\n"),
        ("?region=442000", b"", "region: 440000\r\n"),
    ],
)
def test_a_parameter_in_two_places_or_in_two_spellings_is_refused(target: str, body: bytes, fields: str) -> None:
    """Which of them the supplier reads is not known, so neither policies nor the supplier are asked."""
    status, _, house, supplier = ask(target, body, fields)
    assert (status, house.calls, supplier.requests) == (400, [], [])


def rows(*regions: Any) -> bytes:
    listed = [{"xm": "张三", "hyzk": "10", "address": {"qh": region}} for region in regions]
    return json_answer(json.dumps({"code": 0, "data": listed}, ensure_ascii=False))


@pytest.mark.parametrize(
    ("regions", "status"),
    [
        (("442000", 442000), 200),
        ((None,), 200),
        ((["442000"],), 200),
        (("442000", "440000"), 502),
        ((["442000", "440000"],), 502),
        (({"code": "442000"},), 502),
        (("442000 ",), 502),
    ],
)
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_row_of_another_region_does_not_leave_whatever_was_asked_for(
    regions: Any, status: int, is_whole: bool
) -> None:
    """The rows that bear the limited item are checked, granted or not, also under a grant of every item."""
    answered, content, _, _ = ask("?region=442000", answer=rows(*regions), bounds=BOUNDS, all_items=is_whole)
    assert answered == status
    assert (b"\xe5\xbc\xa0" in content) is (status == 200)
    assert b"442000" not in content


def test_rows_that_stream_end_before_one_of_another_region() -> None:
    """NDJSON and CSV: what stood before it may have left, it and what follows do not."""
    row = '{"xm":"%s","hyzk":"1","address":{"qh":"%s"}}\n'
    lines = (row % ("before", "442000") + row % ("other", "440000") + row % ("after", "442000")).encode()
    table = b"xm,hyzk,qh\nbefore,1,442000\nother,1,440000\nafter,1,442000\n"
    columns = {"xm": "xm", "hyzk": "hyzk", "qh": "qh"}
    for form, content in ((AnswerFormat.NDJSON, lines), (AnswerFormat.CSV, table)):
        more = {"places": columns} if form is AnswerFormat.CSV else {}
        for verdict in ({"bounds": BOUNDS}, {"bounds": BOUNDS, "all_items": True}):
            _, left, _, _ = ask(answer=json_answer(content.decode()), format=form, **verdict, **more)
            assert (b"other" in left, b"after" in left) == (False, False)


def test_an_opaque_answer_leaves_under_no_limited_grant() -> None:
    """Whether it keeps to the region cannot be seen, so it does not leave, though every item is granted."""
    for bounds, status in (((), 200), (BOUNDS, 502)):
        answer = json_answer("%PDF")
        assert ask(answer=answer, format=AnswerFormat.OPAQUE, bounds=bounds, all_items=True)[0] == status


def test_a_row_of_another_region_matches_nothing() -> None:
    """In verify mode it is as if it were not there; a parameter in the question's query counts as one in a body."""
    fields = JSON + "Sharing-Mode: verify\r\n"
    for region, is_match in (("442000", True), ("440000", False)):
        body = json.dumps({"values": {"xm": "张三"}, "query": {"region": "442000"}}).encode()
        status, content, house, _ = ask("", body, fields, rows(region), bounds=BOUNDS)
        assert (status, json.loads(content)) == (200, {"matches": {"xm": is_match}})
        assert (house.calls[0].parameters, house.calls[0].unread) == ((HOME,), ())
    body = json.dumps({"values": {"xm": "张三"}, "query": {"region": "440000"}}).encode()
    assert ask("?region=442000", body, fields)[0] == 400


def test_an_entry_says_where_constrained_parameters_stand_or_is_refused() -> None:
    """Paths and items that could never be read are faults of the entry."""
    good = interface_for(1, scope_parameters=("region",), scope_items={"region": "xm"}, paths=("/r/{region}",))
    assert validate_interface(good) == []
    for changes in ({"paths": ("r",)}, {"paths": ("/r?x",)}, {"paths": ("/{}",)}, {"scope_items": {"other": "xm"}}):
        assert validate_interface(interface_for(1, scope_parameters=("region",), **changes))
