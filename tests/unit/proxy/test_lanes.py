"""Lanes: a repeated request is known for a moment, and never longer than what it rests on."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.domain.callers import Assurance, Caller
from gateway.domain.directory import SharingMode
from gateway.proxy.exchange import lanes
from gateway.proxy.ports import Peer
from tests.support.proxy_ports import CallerSide, House, Supplier, deny, interface_for, permit, request, serving

SECOND = 1_000_000_000


def told(story: Callable[[House, Any, CallerSide], Any], **interface: Any) -> House:
    """Tell a story on one caller's connection; the house it was told in."""
    houses: list[House] = []

    async def run() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port, **interface))
            houses.append(house)
            async with serving(house) as (plane, port):
                await story(house, plane, await CallerSide.connect(port))

    asyncio.run(run())
    return houses[0]


def test_a_repeated_request_asks_nobody() -> None:
    """From the third call of the same words on one look-up is enough, and each is recorded like the first."""

    async def story(house: House, plane: Any, caller: CallerSide) -> None:
        answers = [await caller.ask(request(f"/hukou/person/v1?id={number}")) for number in range(4)]
        assert {status for status, _, _ in answers} == {200}
        assert len({fields[b"sharing-record"] for _, fields, _ in answers}) == 4
        assert plane.lanes.followed == 2

    house = told(story)
    assert len(house.heads) == len(house.calls) == 2
    assert house.ledger.kinds() == ["opened", "closed"] * 4
    digests = {use.request_digest for kind, _, use in house.ledger.events if kind == "opened"}
    assert len(digests) == 4


def test_words_said_once_leave_nothing_behind() -> None:
    """A header block that never comes again makes no lane, so that nobody fills the memory with them."""

    async def story(_house: House, plane: Any, caller: CallerSide) -> None:
        for number in range(5):
            assert (await caller.ask(request(fields=f"X-Request: {number}\r\n")))[0] == 200
        assert plane.lanes.followed == 0
        assert len(plane.lanes) == 0

    told(story)


def test_a_trace_is_each_calls_own() -> None:
    """Callers that trace send another `traceparent` with each call; the rest of their words is known all the same."""

    async def story(_house: House, plane: Any, caller: CallerSide) -> None:
        for number in range(1, 5):
            line = f"traceparent: 00-{number:032x}-{7:016x}-01\r\n"
            assert (await caller.ask(request(fields=line)))[0] == 200
        assert plane.lanes.followed == 2
        twice = request(fields=line * 2)
        assert (await caller.ask(twice))[0] == 400

    house = told(story)
    traces = [use.trace_id for kind, _, use in house.ledger.events if kind == "opened"]
    assert traces == [f"{number:032x}" for number in range(1, 5)]


def test_barrier_nothing_is_known_after_a_change() -> None:
    """INVARIANT: BARRIER. What was permitted a moment ago is asked anew once the plane was told to forget."""

    async def story(house: House, plane: Any, caller: CallerSide) -> None:
        for _ in range(2):
            assert (await caller.ask(request()))[0] == 200
        house.verdict = deny("suspended")
        assert (await caller.ask(request()))[0] == 200
        plane.forget()
        assert (await caller.ask(request()))[0] == 403

    assert told(story).ledger.kinds()[-1] == "refused"


def test_barrier_a_cut_forgets_too() -> None:
    """INVARIANT: BARRIER. An order that cuts leaves nothing known behind."""

    async def story(house: House, plane: Any, caller: CallerSide) -> None:
        for _ in range(2):
            assert (await caller.ask(request()))[0] == 200
        house.verdict = deny("terminated")
        plane.cut(lambda _: False)
        assert (await caller.ask(request()))[0] == 403

    told(story)


@pytest.mark.parametrize(
    ("expires", "valid_until", "later_ns"),
    [(1 << 40, 1 << 40, lanes.LANE_SECONDS * SECOND), (1_005, 1 << 40, 5 * SECOND), (1 << 40, 1_003, 3 * SECOND)],
    ids=["its moment", "the token", "the verdict"],
)
def test_a_lane_ends_with_what_it_rests_on(expires: int, valid_until: int, later_ns: int) -> None:
    """A second, the token's end or the verdict's, whichever is first."""
    known = lanes.Lanes()
    house = House(interface_for(1))
    now_ns = 1_000 * SECOND

    async def made() -> int:
        plane = house.plane()
        route = plane.route_of(house.interfaces["hukou/person"])
        caller = Caller("s-1", "civil-affairs", Assurance.BEARER, "jti", expires)
        verdict = permit(valid_until_unix=valid_until)
        call: Any = type("C", (), {"mode": SharingMode.QUERY})()
        block, _, _ = plane.blocks.read(b"Host: gateway\r\n\r\n")
        plan: Any = type("P", (), {"fields_for": lambda _self, _block: b""})()
        known.keep((1, b"GET", b"/"), block, Peer("a"), caller, route, call, verdict, plan, now_ns)
        lane = known.get((1, b"GET", b"/"))
        assert lane is not None
        return lane.until_ns

    assert asyncio.run(made()) == now_ns + min(later_ns, SECOND)


def test_a_lane_is_not_followed_after_its_moment() -> None:
    """The clock goes on by a second: the ports are asked again."""
    at_ns = time.time_ns()

    async def run() -> None:
        nonlocal at_ns
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            house.clock = lambda: at_ns
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                assert (await caller.ask(request()))[0] == 200
                for step_ns in (0, lanes.LANE_SECONDS * SECOND - 1, 1):
                    at_ns += step_ns
                    assert (await caller.ask(request()))[0] == 200
            assert len(house.heads) == 3

    asyncio.run(run())


@pytest.mark.parametrize("assurance", [Assurance.DPOP, Assurance.LEGACY])
def test_what_is_good_once_is_never_known(assurance: Assurance) -> None:
    """A proof or a signature is checked every time, however often its words are repeated."""

    async def story(house: House, plane: Any, caller: CallerSide) -> None:
        asked = 0

        def identify(_head: Any, _peer: Any) -> Caller:
            nonlocal asked
            asked += 1
            return Caller("s-1", "civil-affairs", assurance, "jti", 1 << 40)

        plane.identify = identify
        for _ in range(3):
            assert (await caller.ask(request()))[0] == 200
        assert asked == 3

    told(story)


def test_a_query_that_policies_look_at_is_never_known() -> None:
    """Where a grant may constrain a parameter, each call is decided on its own."""

    async def story(_house: House, _plane: Any, caller: CallerSide) -> None:
        for region in ("1", "2"):
            assert (await caller.ask(request(f"/hukou/person/v1?region={region}")))[0] == 200

    house = told(story, scope_parameters=("region",))
    assert [call.parameters for call in house.calls] == [(("region", "1"),), (("region", "2"),)]


def test_the_data_subject_is_each_calls_own() -> None:
    """One lane, two persons: each record has its own pseudonym, and a query that could be read twice is refused."""

    async def story(_house: House, plane: Any, caller: CallerSide) -> None:
        for query in ("id=1", "id=1", "id=22"):
            assert (await caller.ask(request(f"/hukou/person/v1?{query}")))[0] == 200
        assert plane.lanes.followed == 1
        assert (await caller.ask(request("/hukou/person/v1?id=1&ID=2")))[0] == 400

    house = told(story, subject_parameter="id")
    assert [use.subject for kind, _, use in house.ledger.events if kind == "opened"] == ["p1", "p1", "p2"]


def test_an_awaited_answer_is_never_known() -> None:
    """A verdict that had to be waited for may be one that must not be kept (convergence)."""

    async def story(house: House, plane: Any, caller: CallerSide) -> None:
        async def later(_call: Any) -> Any:
            return house.verdict

        house.decide_later = later
        for _ in range(3):
            assert (await caller.ask(request()))[0] == 200
        assert plane.lanes.followed == 0

    assert len(told(story).calls) == 3


def test_other_words_are_another_request() -> None:
    """Another path, method, purpose or credential is identified and decided by itself."""

    async def story(house: House, plane: Any, caller: CallerSide) -> None:
        asked = [
            request(),
            request("/hukou/person/v2"),
            request(method="HEAD"),
            request(fields="Sharing-Items: xm\r\n"),
            request().replace(b"Bearer good", b"Bearer good2"),
        ]
        for one in asked:
            for _ in range(2):
                assert (await caller.ask(one, is_head=one.startswith(b"HEAD")))[0] == 200
        # The second and the third have the first's header block, which was known by then.
        assert plane.lanes.followed == 2
        assert len(plane.lanes) == len(asked)
        assert (await caller.ask(request().replace(b"Bearer good", b"Bearer bad")))[0] == 401

    assert len(told(story, methods=("GET", "HEAD")).calls) == 8


def test_lanes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes first."""
    monkeypatch.setattr(lanes, "MAX_LANES", 2)

    async def story(_house: House, plane: Any, caller: CallerSide) -> None:
        for number in (1, 2, 3, 1):
            assert (await caller.ask(request(f"/hukou/person/v{number}")))[0] == 200
        assert plane.lanes.followed == 0

    told(story)


def test_another_certificate_is_another_caller() -> None:
    """The words of one client certificate, said under another or none, are identified anew (RFC 8705)."""

    async def story(house: House, plane: Any, caller: CallerSide) -> None:
        for _ in range(2):
            assert (await caller.ask(request()))[0] == 200
        (lane,) = plane.lanes._kept.values()
        lane.certificate_der = b"of another caller"
        assert (await caller.ask(request()))[0] == 200
        assert plane.lanes.followed == 0
        assert len(house.heads) == 3

    told(story)
