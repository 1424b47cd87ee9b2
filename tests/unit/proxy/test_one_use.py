"""One use through the data plane: record first, granted items only, stale denies, no values."""

import asyncio
import json
import logging
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.verdicts import Explanation, NearMiss, Rule, Verdict
from gateway.proxy import Limits
from tests.support.proxy_ports import (
    CallerSide,
    House,
    Supplier,
    deny,
    interface_for,
    json_answer,
    permit,
    request,
    serving,
    until,
)

SECRET = "442000199001011234"


def test_one_use_is_recorded_forwarded_filtered_and_closed() -> None:
    """The whole way: the answer holds the granted items, the record names and counts them."""

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port, subject_parameter="id"))
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                status, fields, content = await caller.ask(request(fields="Sharing-Items: hyzk, xm\r\n"))
                assert status == 200
                assert json.loads(content) == {"code": 0, "message": "ok", "data": [{"xm": "张三", "hyzk": "10"}]}
                assert fields[b"sharing-record"] == b"r-1"
                assert fields[b"sharing-grant"] == b"g-1"
                opened, closed = house.ledger.events
                assert opened[2].call.items == ("hyzk", "xm")
                assert opened[2].subject == "p1"
                assert (closed[2].status, closed[2].rows, closed[2].bytes) == (200, 1, len(content))
                assert closed[2].released_items == ("hyzk", "xm")
                assert closed[2].end == "complete"

    uvloop.run(story())


def test_the_supplier_is_told_by_trusted_fields_and_sees_no_credential() -> None:
    """Hygiene: credentials, forwarding and overriding fields stop here; `Sharing-*` are the gateway's own."""
    hostile = (
        "X-Forwarded-For: 1.2.3.4\r\nX_Forwarded_Host: a\r\nForwarded: for=x\r\nSharing-System: other\r\n"
        "sharing_grant: g-9\r\nCookie: a=b\r\nX-HTTP-Method-Override: DELETE\r\nX-Original-URL: /x\r\n"
        "Connection: x-drop\r\nX-Drop: secret\r\nTE: trailers\r\nProxy-Authorization: Basic x\r\n"
        "gjgxjhpt_sign: abc\r\nX-Keep: yes\r\nVia: 1.1 front\r\nAccept-Encoding: gzip\r\nRange: bytes=0-1\r\n"
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
    )

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                assert (await caller.ask(request(fields=hostile)))[0] == 200
        lines = supplier.requests[0].decode().split("\r\n")
        sent = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines[1:] if line}
        assert lines[0] == "GET /api/v1?id=1 HTTP/1.1"
        assert set(sent) == {
            "host",
            "accept-encoding",
            "sharing-system",
            "sharing-department",
            "sharing-purpose",
            "sharing-mode",
            "sharing-items",
            "sharing-grant",
            "sharing-record",
            "x-keep",
            "via",
            "traceparent",
        }
        assert sent["sharing-system"] == "s-1"
        assert sent["sharing-grant"] == "g-1"
        assert sent["accept-encoding"] == "identity"
        assert sent["via"] == "1.1 front, 1.1 sharing-gateway"
        trace = sent["traceparent"].split("-")
        assert trace[1] == "0af7651916cd43dd8448eb211c80319c"
        assert trace[2] != "b7ad6b7169203331"

    uvloop.run(story())


def test_record_first_nobody_is_called_before_the_record_is_durable() -> None:
    """RECORD-FIRST: while the sync is held, the supplier sees no connection; then the call goes on."""

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            house.ledger.hold = True
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request())
                await until(lambda: bool(house.ledger.events))
                await asyncio.sleep(0.05)
                assert supplier.connections == 0
                house.ledger.release()
                assert (await caller.answer())[0] == 200
                assert supplier.connections == 1

    uvloop.run(story())


@pytest.mark.parametrize("fault", ["fail", "poisoned"])
def test_record_first_a_ledger_that_fails_stops_the_call(fault: str) -> None:
    """RECORD-FIRST: what cannot be recorded is not done; 503 and nobody is called."""

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            setattr(house.ledger, fault, OSError("disk") if fault == "fail" else True)
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                status, fields, content = await caller.ask(request())
                assert status == 503
                assert fields[b"retry-after"] == b"2"
                assert json.loads(content)["type"] == "/problems/records-unavailable"
            assert supplier.connections == 0

    uvloop.run(story())


def test_stale_denies_what_would_be_denied_too() -> None:
    """STALE-DENIES: a denial may rest on an order that was lifted meanwhile: 503, and no refusal on record."""

    async def run() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            house.verdict = deny("suspended")
            house.fresh = False
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                status, _, content = await caller.ask(request())
                assert (status, json.loads(content)["type"]) == (503, "/problems/state-stale")
                assert house.ledger.kinds() == []

    asyncio.run(run())


def test_stale_denies_before_forwarding_and_before_release() -> None:
    """STALE-DENIES: a stale worker neither forwards nor releases what has come back meanwhile."""

    async def story() -> None:
        house: House

        async def turn_stale(_: Any, writer: Any, __: bytes) -> None:
            house.fresh = False
            writer.write(json_answer('{"data":[{"xm":"a"}]}'))

        async with Supplier(turn_stale) as supplier:
            house = House(interface_for(supplier.port))
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                status, _, content = await caller.ask(request())
                assert (status, json.loads(content)["type"]) == (503, "/problems/state-stale")
                status, _, content = await caller.ask(request())
                assert (status, json.loads(content)["type"]) == (503, "/problems/state-stale")
                assert len(supplier.requests) == 1
                assert [outcome.bytes for outcome in house.ledger.outcomes()] == [0, 0]

    uvloop.run(story())


def test_a_denial_explains_itself_in_the_callers_language() -> None:
    """A refusal bears code, record and the explanation in one language."""
    miss = NearMiss("g-1", ("purpose",), ("Decree 809 Art. 25 ¶1",), ("other purpose",), ("目的不同",))
    rule = Rule("scope", "The scope is not expanded", "使用范围不得超出", ("Decree 809 Art. 25 ¶1",))
    explanation = Explanation((miss,), ("Decree 809 Art. 25 ¶1",), "ask the supplier", "请联系提供部门", (rule,))

    async def story() -> None:
        house = House(interface_for(1))
        house.verdict = deny("purpose-not-granted", explanation=explanation)
        async with serving(house) as (_, port):
            caller = await CallerSide.connect(port)
            for language, title, detail, step in (
                ("en", "the declared purpose is not granted", "other purpose", "ask the supplier"),
                ("zh-CN,zh;q=0.9,en;q=0.1", "声明的使用目的未获授权", "目的不同", "请联系提供部门"),
            ):
                status, fields, content = await caller.ask(request(fields=f"Accept-Language: {language}\r\n"))
                problem = json.loads(content)
                assert status == 403
                assert fields[b"content-type"] == b"application/problem+json"
                assert problem["title"] == title
                assert problem["instance"].endswith(fields[b"sharing-record"].decode())
                assert problem["explanation"]["near"][0]["detail"] == [detail]
                assert problem["explanation"]["next_step"] == problem["advice"] == step
                words = rule.title_zh if step == "请联系提供部门" else rule.title
                assert problem["explanation"]["rules"] == [
                    {"id": "scope", "title": words, "articles": ["Decree 809 Art. 25 ¶1"]}
                ]
            assert house.ledger.kinds() == ["refused", "refused"]

    uvloop.run(story())


def test_a_quota_that_is_used_up_refuses_and_is_recorded_as_a_refusal() -> None:
    """Calls are drawn before the record is opened, rows before they are released."""

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            house.verdict = permit(metered=True)
            house.meter.calls = 2
            house.meter.rows = 1
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                statuses = [(await caller.ask(request()))[0] for _ in range(3)]
                assert statuses == [200, 429, 429]
                assert house.ledger.kinds() == ["opened", "closed", "opened", "closed", "refused"]
                assert [outcome.end for outcome in house.ledger.outcomes()] == ["complete", "quota-exhausted"]
                assert house.ledger.events[-1][2].verdict.code == "quota-exhausted"
                assert len(supplier.requests) == 2

    uvloop.run(story())


def test_a_call_whose_quota_is_used_up_is_made_under_the_next_grant() -> None:
    """And denied with an explanation in the caller's language where there is none, or its quota is used up too."""

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            near = NearMiss("narrow", ("quota",), ("Decree 809 Art. 15",), ("its quota",), ("额度已用尽",))
            why = Explanation((near,), ("Decree 809 Art. 15",), "call again tomorrow", "请次日再调用")
            wide = permit(grant="wide", items=("gmsfhm", "xm"))
            house.verdict = permit(grant="narrow", metered=True, exhausted=why, otherwise=wide)
            house.meter.calls = 1
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                grants = [(await caller.ask(request()))[1][b"sharing-grant"] for _ in range(3)]
                assert grants == [b"narrow", b"wide", b"wide"]
                opened = [event[2].verdict.grant for event in house.ledger.events if event[0] == "opened"]
                assert opened == ["narrow", "wide", "wide"]
                house.verdict = permit(grant="narrow", metered=True, exhausted=why)
                status, _, content = await caller.ask(request(fields="Accept-Language: zh\r\n"))
                problem = json.loads(content)
                assert (status, problem["explanation"]["next_step"]) == (429, "请次日再调用")
                assert problem["explanation"]["near"][0]["detail"] == ["额度已用尽"]
                refused = house.ledger.events[-1][2].verdict
                assert (refused.code, refused.grant, refused.explanation) == ("quota-exhausted", "narrow", why)

    uvloop.run(story())


def test_rows_that_a_quota_does_not_give_are_refused_with_an_explanation() -> None:
    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            why = Explanation(articles=("Decree 809 Art. 15",), next_step="call again tomorrow")
            house.verdict = permit(metered=True, exhausted=why)
            house.meter.rows = 0
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                status, _, content = await caller.ask(request())
                assert (status, json.loads(content)["explanation"]["next_step"]) == (429, "call again tomorrow")

    uvloop.run(story())


def test_scope_parameters_reach_the_policies_as_the_supplier_will_read_them() -> None:
    """ONE-MEANING: a parameter that two servers could read differently is refused, whatever its value."""

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port, scope_parameters=("region",)))
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                assert (await caller.ask(request("/hukou/person?region=4420%30%30&x=1")))[0] == 200
                assert house.calls[-1].parameters == (("region", "442000"),)
                for query in ("region=1&region=2", "Region=1", "r%65gion=1&region=1", "region=1;x=2", "region=a+b"):
                    assert (await caller.ask(request(f"/hukou/person?{query}")))[0] == 400
                assert (await caller.ask(request("/hukou/person?r%65gion=1")))[0] == 200

    uvloop.run(story())


def test_a_parameter_that_grants_constrain_is_short_or_refused_before_anything_keeps_it() -> None:
    """256 bytes as UTF-8 once decoded; a parameter that no grant constrains may be longer."""

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port, scope_parameters=("region",)))
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                for value in ("a" * 256, "%E5%80%BC" * 85):
                    assert (await caller.ask(request(f"/hukou/person?region={value}")))[0] == 200
                asked = len(house.calls)
                for value in ("a" * 257, "%E5%80%BC" * 86):
                    status, _, content = await caller.ask(request(f"/hukou/person?region={value}"))
                    assert (status, value.encode() in content) == (400, False)
                assert len(house.calls) == asked
                assert (await caller.ask(request(f"/hukou/person?note={'a' * 257}")))[0] == 200

    uvloop.run(story())


def test_a_legacy_credentials_purpose_binds() -> None:
    """A caller whose credential is bound to a purpose gets no other (Decree 809 Art. 25 ¶1)."""

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            original = house.identify
            house.identify = lambda head, peer: type(original(head, peer))(  # type: ignore[method-assign]
                "s-1", "civil-affairs", original(head, peer).assurance, "k-1", 1 << 40, "pension"
            )
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                status, _, content = await caller.ask(request())
                assert status == 403
                explanation = json.loads(content)["explanation"]
                assert explanation["articles"] == ["Decree 809 Art. 25 ¶1"]
                assert "bound to another purpose" in explanation["next_step"]
                assert house.ledger.kinds() == ["refused"]
                bare = b"GET /hukou/person HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer good\r\n\r\n"
                assert (await caller.ask(bare))[0] == 200
                assert house.calls[-1].purpose == "pension"

    uvloop.run(story())


def test_no_values_in_problems_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    """NO-VALUES: neither a refusal nor a log line repeats what a caller or supplier sent."""
    caplog.set_level(logging.DEBUG)

    async def story() -> None:
        async with Supplier(json_answer(f'"{SECRET}"')) as supplier:
            house = House(interface_for(supplier.port, subject_parameter="id"))
            async with serving(house) as (_, port):
                for data in (
                    request(f"/hukou/person?id={SECRET}"),
                    request(f"/hukou/person?id={SECRET}&id={SECRET}"),
                    request(f"/hukou/{SECRET}"),
                    request(f"/hukou/person/%00{SECRET}"),
                    request(fields=f"X-{SECRET} : {SECRET}\r\n"),
                    request(fields=f"Sharing-Mode: {SECRET}\r\n"),
                    request().replace(b"good", SECRET.encode()),
                ):
                    caller = await CallerSide.connect(port)
                    status, fields, content = await caller.ask(data)
                    assert status >= 400
                    assert SECRET.encode() not in content + b"".join(fields.values())
                    caller.close()

                def explode(*_: object) -> Verdict:
                    raise ValueError(SECRET)

                plane_house = house
                plane_house.decide = explode  # type: ignore[method-assign]
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                traced = request(fields="traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n")
                status, _, content = await caller.ask(traced)
                assert (status, SECRET.encode() in content) == (500, False)
                assert plane.snapshot()["failures"] == 1

    uvloop.run(story())
    assert "ValueError" in caplog.text
    assert SECRET not in caplog.text
    failed = [line for line in caplog.records if "the data plane failed" in line.getMessage()]
    assert [getattr(line, "trace", None) for line in failed] == ["0af7651916cd43dd8448eb211c80319c"]


def test_ports_may_answer_later_and_may_refuse() -> None:
    """An awaitable is as good as an answer at hand, and a refusal out of it is the caller's answer."""

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))

            async def later(_: object) -> Verdict:
                await asyncio.sleep(0)
                if len(house.calls) > 1:
                    raise GatewayError("state-stale")
                return house.verdict

            house.decide_later = later
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                assert (await caller.ask(request()))[0] == 200
                assert (await caller.ask(request()))[0] == 503

    uvloop.run(story())


def test_a_mode_chooses_the_action() -> None:
    """`Sharing-Mode` names the mode; without it the interface's first is meant."""

    async def story() -> None:
        async with Supplier() as supplier:
            modes = (SharingMode.BATCH, SharingMode.QUERY)
            house = House(interface_for(supplier.port, modes=modes), limits=Limits())
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                await caller.ask(request())
                await caller.ask(request(fields="Sharing-Mode: query\r\n"))
                assert [call.mode for call in house.calls] == list(modes)

    uvloop.run(story())
