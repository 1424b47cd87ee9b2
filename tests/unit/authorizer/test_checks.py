"""Checks for existing proxies: who is answered, what a call is taken for, and how its record is opened and closed."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.authorizer.hook import words_of
from gateway.authorizer.open_uses import Closing, OpenUses
from gateway.authorizer.relay import Relay
from gateway.domain.directory import RequestPlaces, SharingMode
from gateway.domain.errors import GatewayError
from tests.support.beside import CREDENTIALS, Asking, asking, check, closing
from tests.support.proxy_ports import CallerSide, House, interface_for, permit, until

WHOLE = permit(all_items=True)


async def _read_to_the_end(carrier: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(carrier, 65536):
        pass


def run(
    folder: Path, story: Callable[[Asking, CallerSide, House], Awaitable[None]], *, kind: str = "nginx", **changes: Any
) -> House:
    """Tell a story to a desk whose interface calls nobody: its port takes no connections."""
    house = House(interface_for(1, **changes), interface_for(1, id="person-2"))
    house.verdict = WHOLE

    async def told() -> None:
        async with asking(house, folder, kind=kind) as at:
            await story(at, await at.connect(), house)

    asyncio.run(told())
    return house


def test_record_first_a_check_says_yes_once_the_record_is_durable(tmp_path: Path) -> None:
    """RECORD-FIRST: the 200 waits for the sync; it names record, grant and what to tell the supplier."""

    async def story(_: Asking, carrier: CallerSide, house: House) -> None:
        house.ledger.hold = True
        carrier.writer.write(check())
        await until(lambda: house.ledger.kinds() == ["opened"])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(carrier.reader.read(1), 0.05)
        house.ledger.release()
        status, fields, content = await carrier.answer()
        assert (status, content) == (200, b"")
        told = {name: fields[name] for name in (b"sharing-record", b"sharing-grant", b"sharing-system")}
        assert told == {b"sharing-record": b"r-1", b"sharing-grant": b"g-1", b"sharing-system": b"s-1"}
        assert fields[b"cache-control"] == b"no-store"

    house = run(tmp_path, story)
    assert house.heads[0].path == b"/api/person/v1"
    assert house.calls[0].interface == "hukou/person"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        pytest.param({"credential": None}, 401, id="no credential: a direct call to the listener"),
        pytest.param({"credential": "g" * 32}, 401, id="another credential"),
        pytest.param({"fields": "Sharing-Carrier: " + "f" * 32 + "\r\n"}, 401, id="the credential twice"),
        pytest.param({"fields": "X-Original-URI: /api/person/other\r\n"}, 403, id="a second target, the caller's"),
        pytest.param({"fields": "X-Original-Method: GET\r\n"}, 403, id="a second method"),
        pytest.param({"fields": "Authorization: Bearer good\r\n"}, 400, id="a second credential of the caller"),
        pytest.param({"caller": "Bearer bad"}, 401, id="a caller's credential that does not hold"),
        pytest.param({"uri": "/api/other/v1"}, 403, id="a path that the carrier may not ask about"),
        pytest.param({"uri": "/api/person-2/v1"}, 403, id="a path that only begins alike"),
        pytest.param({"uri": "/api/person/../other"}, 403, id="dot segments, which a proxy may resolve"),
        pytest.param({"uri": "/api/person/%2e%2e/other"}, 403, id="encoded dots"),
        pytest.param({"uri": "/api/person/a%2Fb"}, 403, id="an encoded slash"),
        pytest.param({"uri": "/api/person//v1"}, 403, id="two slashes, which a proxy may join"),
        pytest.param({"uri": "/api/person/v1;x=1"}, 403, id="path parameters"),
        pytest.param({"uri": "/%61pi/person/v1"}, 403, id="an encoded letter, which a proxy may decode"),
        pytest.param({"uri": "/api/person/v1#x"}, 403, id="a fragment"),
        pytest.param({"uri": "http://gateway/api/person"}, 403, id="an absolute form"),
        pytest.param({"method": "BREW"}, 403, id="a method that nobody knows"),
        pytest.param({"uri": "/api/person/" + "a" * 20_000}, 403, id="a target longer than one may be"),
        pytest.param({"fields": "X: " + "a" * 70_000 + "\r\n"}, 431, id="huge fields"),
        pytest.param({"fields": "Content-Length: 2\r\n", "body": b"{}"}, 400, id="a body of the caller's"),
        pytest.param({"kind": "caddy"}, 403, id="the fields of another kind of carrier"),
    ],
)
def test_what_is_no_check_of_a_named_carrier_is_refused_and_opens_no_record(
    tmp_path: Path, changes: dict[str, Any], status: int
) -> None:
    """ONE-MEANING: nobody else is answered, and a call that could be read in two ways is none."""

    async def story(_: Asking, carrier: CallerSide, house: House) -> None:
        said = {**changes}
        body = said.pop("body", b"")
        assert (await carrier.ask(check(**said) + body))[0] == status

    assert run(tmp_path, story).ledger.kinds() == []


@pytest.mark.parametrize(
    "verdict",
    [
        pytest.param(permit(), id="some items of many"),
        pytest.param(permit(all_items=True, masks=(("xm", "name"),)), id="a masked item"),
        pytest.param(permit(all_items=True, bounds=(("region", ("440000",)),)), id="rows of one region"),
        pytest.param(permit(all_items=True, rows_a_day=5), id="a quota of rows"),
        pytest.param(permit(all_items=True, guesses_a_day=5), id="a quota of wrong guesses"),
    ],
)
def test_granted_items_only_what_a_carrier_cannot_keep_to_is_denied_and_on_record(tmp_path: Path, verdict: Any) -> None:
    """GRANTED-ITEMS-ONLY: a carrier passes answers whole, so a grant of less is none there."""

    async def story(_: Asking, carrier: CallerSide, house: House) -> None:
        house.verdict = verdict
        status, fields, _ = await carrier.ask(check())
        assert (status, fields[b"sharing-record"]) == (403, b"r-1")

    house = run(tmp_path, story)
    assert house.ledger.kinds() == ["refused"]
    assert house.ledger.events[0][2].verdict.code == "carrier-cannot-limit"


def test_what_is_compared_or_said_in_bodies_goes_through_the_gateway(tmp_path: Path) -> None:
    """A carrier compares no values, and a body that nobody read counts as one that may hold what grants constrain."""

    async def verify(_: Asking, carrier: CallerSide, __: House) -> None:
        assert (await carrier.ask(check(method="POST", fields="Sharing-Mode: verify\r\n")))[0] == 403

    modes = {"modes": (SharingMode.QUERY, SharingMode.VERIFY)}
    assert run(tmp_path, verify, **modes).ledger.kinds() == []

    async def in_body(_: Asking, carrier: CallerSide, __: House) -> None:
        status, _, content = await carrier.ask(check(method="POST"))
        assert (status, b"/problems/carrier-cannot-limit" in content) == (403, True)
        assert (await carrier.ask(check()))[0] == 200

    named = {"methods": ("GET", "POST"), "request": RequestPlaces(subject=("body~json/id",))}
    assert run(tmp_path, in_body, **named).ledger.kinds() == ["opened", "closed"]

    async def post(_: Asking, carrier: CallerSide, __: House) -> None:
        assert (await carrier.ask(check(method="POST")))[0] == 200

    house = run(tmp_path, post, methods=("GET", "POST"), scope_parameters=("region",))
    assert "body" in house.calls[0].unread


def test_a_use_is_closed_once_by_the_carrier_that_has_it(tmp_path: Path) -> None:
    """Another carrier cannot close it, nobody closes it twice, and what is told is on record as told."""

    async def story(at: Asking, carrier: CallerSide, house: House) -> None:
        token = (await carrier.ask(check()))[1][b"sharing-close"].decode()
        guessed = token[:-3] + ("AAA" if not token.endswith("AAA") else "BBB")
        assert (await carrier.ask(closing(token, credential=CREDENTIALS["other"])))[0] == 404
        assert (await carrier.ask(closing(guessed)))[0] == 404
        assert (await carrier.ask(closing(token, status="20")))[0] == 400
        assert house.ledger.kinds() == ["opened"]
        assert (await carrier.ask(closing(token)))[0] == 204
        assert (await carrier.ask(closing(token)))[0] == 404
        assert len(at.desk.open_uses) == 0

    outcome = run(tmp_path, story).ledger.outcomes()
    assert [(each.status, each.bytes, each.end, each.released_items) for each in outcome] == [
        (200, 7, "complete", ("hyzk", "xm"))
    ]


def test_a_line_of_a_log_closes_a_use(tmp_path: Path) -> None:
    """By UDP, with the token as its only credential; what is no such line closes nothing."""

    async def story(at: Asking, carrier: CallerSide, house: House) -> None:
        token = (await carrier.ask(check()))[1][b"sharing-close"].decode()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
            for line in ("", "sharing-close=- 200 1", f"sharing-close={token[:-1]}! 200 1", f"sharing-close={token}"):
                log.sendto(f"<190>Nov 30 10:00:00 nginx: {line}".encode(), ("127.0.0.1", at.port))
            log.sendto(f"<190>Nov 30 10:00:00 nginx: sharing-close={token} 499 12".encode(), ("127.0.0.1", at.port))
        await until(lambda: bool(house.ledger.outcomes()))

    assert [(each.status, each.end) for each in run(tmp_path, story).ledger.outcomes()] == [(499, "aborted")]
    token = f"r-1.{'a' * 22}"
    assert words_of(json.dumps({"sharing_close": token, "status": 200, "size": 7, "x": {}}).encode()) == (
        token,
        "200",
        "7",
    )
    for unfit in (b"{", b'{"sharing_close": 1, "status": 200, "size": 7}', b'{"status": 200}', b"["):
        assert words_of(unfit) is None


def test_a_use_that_nobody_closes_is_closed_as_unknown(tmp_path: Path) -> None:
    """BOUNDED: by its time, by number, and when the worker ends; the items that may have left are named."""
    house = House(interface_for(1))
    house.verdict = WHOLE

    async def told() -> None:
        async with asking(house, tmp_path, seconds=0.05) as at:
            await (await at.connect()).ask(check())
            await until(lambda: len(house.ledger.outcomes()) == 1)
        async with asking(house, tmp_path) as at:
            at.desk.open_uses = OpenUses(at.desk.plane, 60, most=16)
            carrier = await at.connect()
            for _ in range(3):
                assert (await carrier.ask(check()))[0] == 200
            assert len(at.desk.open_uses) == 2
            at.desk.open_uses.close_all()

    asyncio.run(told())
    outcomes = house.ledger.outcomes()
    assert [(each.end, each.status, each.released_items) for each in outcomes] == [("unknown", 0, ("hyzk", "xm"))] * 4


def test_bounded_where_many_systems_leave_uses_open_the_one_with_the_most_makes_room(tmp_path: Path) -> None:
    """BOUNDED: no more than there may be in all, and a flood does not take another's."""
    house = House(interface_for(1))
    house.verdict = WHOLE

    async def told() -> None:
        async with asking(house, tmp_path) as at:
            await (await at.connect()).ask(check())
            ((system, own),) = at.desk.open_uses._open.items()
            (opened,) = own.values()
            uses = OpenUses(at.desk.plane, 60, most=16)
            for each in (system, *(f"s-{number}" for number in range(20))):
                for _ in range(2):
                    call = msgspec.structs.replace(opened.use.call, system=each)
                    uses.hand(msgspec.structs.replace(opened, use=msgspec.structs.replace(opened.use, call=call)))
            assert len(uses) == 16
            assert min(len(own) for own in uses._open.values()) >= 1
            uses.close_all()
            assert len(uses) == 0

    asyncio.run(told())
    assert len(house.ledger.outcomes()) == 43


def test_barrier_a_stop_between_check_and_answer_says_no(tmp_path: Path) -> None:
    """BARRIER, STALE-DENIES: what was withdrawn while the record was written is not said yes to."""

    async def story(at: Asking, carrier: CallerSide, house: House) -> None:
        house.ledger.hold = True
        carrier.writer.write(check())
        await until(lambda: house.ledger.kinds() == ["opened"])
        house.verdict = permit(all_items=True, grant="g-2")
        at.desk.plane.cut(lambda use: use.verdict.grant == "g-1")
        house.ledger.release()
        assert (await carrier.answer())[0] == 503
        house.fresh = False
        assert (await carrier.ask(check()))[0] == 503

    house = run(tmp_path, story)
    assert house.ledger.kinds()[:2] == ["opened", "closed"]
    assert [outcome.released_items for outcome in house.ledger.outcomes()] == [(), ()][: len(house.ledger.outcomes())]


def test_barrier_a_yes_that_has_not_arrived_is_cut(tmp_path: Path) -> None:
    """BARRIER: an answer that still waits here is reset with its connection; its use ends as `unknown`."""

    async def story(at: Asking, _: CallerSide, house: House) -> None:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, ("127.0.0.1", at.port))
        await loop.sock_sendall(slow, check() * 60)
        await until(lambda: len(at.desk.open_uses) == 60)
        assert at.desk.plane.cut(lambda _: True) >= 1
        with pytest.raises(ConnectionResetError):
            await _read_to_the_end(slow)
        slow.close()

    outcomes = run(tmp_path, story).ledger.outcomes()
    assert {outcome.end for outcome in outcomes} == {"unknown"}


def test_a_head_request_is_answered_as_the_check_was_asked(tmp_path: Path) -> None:
    """The call's method is HEAD, the check's is GET: its refusal has its content, and the next answer is read right."""

    async def story(_: Asking, carrier: CallerSide, house: House) -> None:
        house.verdict = permit()
        assert (await carrier.ask(check(method="HEAD")))[2]
        house.verdict = WHOLE
        assert (await carrier.ask(check(method="HEAD")))[0] == 200

    run(tmp_path, story, methods=("GET", "HEAD"))


def test_a_caddy_hears_each_refusal_as_it_is(tmp_path: Path) -> None:
    """Only nginx takes nothing but 401 and 403; others pass the problem on to their caller."""

    async def story(_: Asking, carrier: CallerSide, house: House) -> None:
        status, fields, _ = await carrier.ask(check("/api/other", kind="caddy"))
        assert (status, fields[b"content-type"]) == (404, b"application/problem+json")
        assert (await carrier.ask(check(kind="caddy")))[0] == 200

    run(tmp_path, story, kind="caddy")


def test_an_envoy_asks_by_the_request_itself(tmp_path: Path) -> None:
    """`ext_authz` over HTTP sends the call's own method and path behind a prefix; fields do not count there."""

    async def story(_: Asking, carrier: CallerSide, house: House) -> None:
        described = check("/api/other", credential=CREDENTIALS["front"])
        for path, status in (("/api/person/v1?id=1", 200), ("/api/other", 404), ("/api/person/../x", 400), ("", 404)):
            line = f"GET /check{path} HTTP/1.1".encode()
            assert (await carrier.ask(described.replace(b"GET /check HTTP/1.1", line)))[0] == status

    assert run(tmp_path, story, kind="envoy").heads[0].path == b"/api/person/v1"


def test_a_closing_finds_its_use_at_another_worker(tmp_path: Path) -> None:
    """Connections go to any worker; a use of a run that is no more is not found, and its successor recovers it."""

    async def story(at: Asking, carrier: CallerSide, house: House) -> None:
        token = (await carrier.ask(check()))[1][b"sharing-close"].decode()
        beside = Relay(tmp_path / "closings", "worker-1", "s", OpenUses(at.desk.plane, 60))
        told = Closing(token, 200, 3)
        for carrier_name, expected in (("other", False), ("front", True), ("front", False)):
            closed = beside.close(carrier_name, told)
            assert not isinstance(closed, bool)
            assert await closed is expected
        gone = beside.close("front", Closing(f"t-1.{'a' * 22}", 200, 3))
        assert not isinstance(gone, bool)
        assert await gone is False
        beside.stop()

    assert len(run(tmp_path, story).ledger.outcomes()) == 1


def test_a_line_that_says_no_status_is_no_closing() -> None:
    """What a carrier tells is read strictly: it goes on record."""
    from gateway.authorizer.closing import make_closing  # noqa: PLC0415

    for wrong in (("x", "200", "1"), (f"r-1.{'a' * 22}", "+20", "1"), (f"r-1.{'a' * 22}", "200", "-1")):
        with pytest.raises(GatewayError):
            make_closing(*wrong)
