"""Every promise of the data plane in each of the four modes: by a matrix, since one mode's test holds one mode."""

import asyncio
import json
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat, SharingMode
from gateway.proxy.projection.streams import CsvReducer
from tests.support.proxy_ports import (
    CallerSide,
    House,
    MemoryMeter,
    Supplier,
    deny,
    interface_for,
    json_answer,
    permit,
    request,
    serving,
    until,
)

MODES = tuple(SharingMode)
SECRET = b"442000199001011234"
ROWS = f'{{"data":[{{"xm":"a","gmsfhm":"{SECRET.decode()}"}},{{"xm":"b"}}]}}'


def asked(mode: SharingMode) -> bytes:
    """A call in that mode."""
    if mode is SharingMode.VERIFY:
        return request(method="POST", fields="Sharing-Mode: verify\r\n", body=b'{"values":{"xm":"a"}}')
    return request(fields=f"Sharing-Mode: {mode}\r\n")


def ask(mode: SharingMode, answer: Any, *, house_changes: dict[str, Any] | None = None, **entry: Any) -> Any:
    """Status, code or content, and the house, after one call."""

    async def story() -> Any:
        async with Supplier(answer) as supplier:
            house = House(interface_for(supplier.port, methods=("GET", "POST"), modes=MODES, **entry))
            for name, value in (house_changes or {}).items():
                setattr(house, name, value)
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                status, fields, content = await caller.ask(asked(mode))
                if fields.get(b"content-type") == b"application/problem+json":
                    return status, json.loads(content)["type"].removeprefix("/problems/"), house
                return status, content, house

    return uvloop.run(story())


def of_status(line: str, text: str = "{}") -> bytes:
    """An answer of the supplier's."""
    if line[:3] in {"204", "304"}:
        return f"HTTP/1.1 {line}\r\n\r\n".encode()
    return json_answer(text, status=line, fields="Location: /elsewhere\r\n")


FOUND, NOTHING = b'{"matches":{"xm":true}}', b'{"matches":{"xm":false}}'
STATUSES: dict[str, tuple[Any, Any]] = {
    # The supplier's status: what a verification says, and what the other modes say.
    "200 OK": ((200, FOUND), (200, b'{"data":[{"xm":"a"},{"xm":"b"}]}')),
    "204 No Content": ((200, NOTHING), (204, b"")),
    "404 Not Found": ((200, NOTHING), 404),
    "206 Partial Content": ((502, "answer-not-filterable"), (502, "answer-not-filterable")),
    "302 Found": ((502, "supplier-refused"), (502, "supplier-refused")),
    "304 Not Modified": ((502, "supplier-refused"), (502, "supplier-refused")),
    "401 Unauthorized": ((502, "supplier-refused"), (502, "supplier-refused")),
    "407 Proxy Authentication Required": ((502, "supplier-refused"), (502, "supplier-refused")),
    "400 Bad Request": ((502, "answer-not-filterable"), 400),
    "403 Forbidden": ((502, "answer-not-filterable"), 403),
    "410 Gone": ((502, "answer-not-filterable"), 410),
    "429 Too Many Requests": ((502, "answer-not-filterable"), 429),
    "500 Oops": ((502, "answer-not-filterable"), 500),
    "503 Busy": ((502, "answer-not-filterable"), 503),
}


@pytest.mark.parametrize("mode", MODES)
def test_no_failure_of_a_supplier_is_told_as_no_match_and_none_as_an_answer(mode: SharingMode) -> None:
    """A verification says `no match` where the supplier says that there is nobody, and at no other status."""
    for line, (verifies, others) in STATUSES.items():
        # A failure that looks like an answer without rows is a failure all the same.
        empty = '{"data":[]}' if mode is SharingMode.VERIFY else "{}"
        status, told, _ = ask(mode, of_status(line, ROWS if line[:3] in {"200", "206"} else empty))
        expected = verifies if mode is SharingMode.VERIFY else others
        if isinstance(expected, int):
            assert (status, told in {b"", b"{}"}) == (expected, True), line
        else:
            assert (status, told) == expected, line


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_answer_is_nobody_only_where_the_supplier_says_so(mode: SharingMode) -> None:
    """KNOWN-SHAPE: a 200 without content says nothing of anybody."""
    status, told, _ = ask(mode, of_status("200 OK", ""))
    assert (status, told) == ((502, "answer-not-filterable") if mode is SharingMode.VERIFY else (200, b""))


@pytest.mark.parametrize("mode", MODES)
def test_calls_are_counted_in_every_mode_and_rows_where_rows_leave(mode: SharingMode) -> None:
    """One call of the quota each; rows of it in all modes but verify, which lets none out."""
    metered = permit(metered=True, calls_a_day=10, rows_a_day=10)
    meter = MemoryMeter(10, 10)
    assert ask(mode, json_answer(ROWS), house_changes={"verdict": metered, "meter": meter})[0] == 200
    assert (meter.calls, meter.rows) == (9, 10 if mode is SharingMode.VERIFY else 8)
    spent = ask(mode, json_answer(ROWS), house_changes={"verdict": metered, "meter": MemoryMeter(0, 10)})
    assert spent[:2] == (429, "quota-exhausted")
    assert spent[2].ledger.kinds() == ["refused"]
    few = ask(mode, json_answer(ROWS), house_changes={"verdict": metered, "meter": MemoryMeter(10, 1)})
    assert few[:2] == ((200, FOUND) if mode is SharingMode.VERIFY else (429, "quota-exhausted"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", [AnswerFormat.JSON, AnswerFormat.OPAQUE])
def test_what_cannot_be_read_passes_under_a_grant_of_all_items_and_never_in_verify_mode(
    mode: SharingMode, form: AnswerFormat
) -> None:
    """GRANTED-ITEMS-ONLY: no value leaves a verification, whatever the grant; masks and row quotas hold too."""
    unread = b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n[" + SECRET
    whole = permit(all_items=True, items=("gmsfhm", "hyzk", "xm"))
    status, told, _ = ask(mode, unread, house_changes={"verdict": whole}, format=form)
    assert (status, told) == ((502, "answer-not-filterable") if mode is SharingMode.VERIFY else (200, b"[" + SECRET))
    for changes in ({"masks": (("xm", "hash"),)}, {"rows_a_day": 10, "metered": True}, {"all_items": False}):
        less = permit(**{"all_items": True, **changes})
        assert ask(mode, unread, house_changes={"verdict": less}, format=form)[:2] == (502, "answer-not-filterable")


@pytest.mark.parametrize("mode", MODES)
def test_barrier_stops_what_is_under_way_in_every_mode(mode: SharingMode) -> None:
    """A call whose supplier answers after the stop releases nothing."""
    go_on = asyncio.Event()

    async def late(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        await go_on.wait()
        writer.write(json_answer(ROWS))

    async def story() -> None:
        async with Supplier(late) as supplier:
            house = House(interface_for(supplier.port, methods=("GET", "POST"), modes=MODES))
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(asked(mode))
                await until(lambda: bool(supplier.requests))
                house.verdict = deny("suspended")
                plane.cut(lambda use: use.call.mode is mode)
                go_on.set()
                status, _, content = await caller.answer()
                assert (status, json.loads(content)["type"]) == (403, "/problems/suspended")
                assert house.ledger.outcomes()[0].rows == 0

    uvloop.run(story())


@pytest.mark.parametrize("granted", [("xm",), ("gmsfhm",), ("xm", "hyzk"), ("gmsfhm", "xm")])
def test_a_column_that_an_item_outside_the_grant_also_names_does_not_leave(granted: tuple[str, ...]) -> None:
    """One column of two items leaves only where both are granted, whichever of them is asked first."""
    places = {"xm": "姓名", "gmsfhm": "姓名", "hyzk": "婚姻"}
    reducer = CsvReducer(places, granted, {}, 1 << 20)
    text = "姓名,婚姻\r\nsecret,10\r\n".encode()
    try:
        left = reducer.feed(text) + reducer.finish()
    except Exception as error:  # noqa: BLE001 - nothing of it leaves
        left = str(error).encode()
    assert (b"secret" in left) == ({"xm", "gmsfhm"} <= set(granted))
    assert (b"10" in left) == ("hyzk" in granted)
