"""Lanes: a repeated request is known for a moment, and never longer than what it rests on."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gateway.domain.callers import Assurance, Caller
from gateway.domain.directory import SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.texts import Said
from gateway.proxy.exchange import lanes
from gateway.proxy.ports import Peer
from tests.support.proxy_ports import CallerSide, House, Supplier, deny, interface_for, permit, request, serving

SECOND = 1_000_000_000
SIGHT_NS = lanes.SIGHT_SECONDS * SECOND


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


def test_no_lane_leads_where_no_way_to_the_supplier_is_known() -> None:
    """What the way is, is asked anew with the interface: an entry that was read again has a way of its own."""

    async def story(house: House, plane: Any, caller: CallerSide) -> None:
        for _ in range(3):
            assert (await caller.ask(request()))[0] == 200
        assert plane.lanes.followed == 1
        entry = house.interfaces["hukou/person"] = msgspec.structs.replace(house.interfaces["hukou/person"])
        (lane,) = plane.lanes._kept.values()
        lane.route.place = None
        for _ in range(2):
            assert (await caller.ask(request()))[0] == 200
        assert plane.lanes.followed == 2
        assert plane.route_of(entry).place is not None

    told(story)


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
    [(1_005, 1 << 40, 5 * SECOND), (1 << 40, 1_003, 3 * SECOND), (1_005, 1_003, 3 * SECOND)],
    ids=["the token", "the verdict", "whichever is first"],
)
def test_a_lane_ends_with_what_it_rests_on(expires: int, valid_until: int, later_ns: int) -> None:
    """The token's end or the verdict's; who calls is known for a second."""
    known = lanes.Lanes()
    house = House(interface_for(1))
    now_ns = 1_000 * SECOND

    async def made() -> int:
        plane = house.plane()
        route = plane.route_of(house.interfaces["hukou/person"])
        caller = Caller("s-1", "civil-affairs", Assurance.BEARER, "jti", expires)
        verdict = permit(valid_until_unix=valid_until)
        call: Any = type("C", (), {"mode": SharingMode.QUERY})()
        block, _, _, _ = plane.blocks.read(b"Host: gateway\r\n\r\n")
        plan: Any = type("P", (), {"fields_for": lambda _self, _block: b""})()
        known.keep((1, b"GET", b"/"), block, Peer("a"), caller, route, call, verdict, Said("p"), plan, now_ns)
        lane = known.get((1, b"GET", b"/"))
        assert lane is not None
        assert lane.sight.until_ns == now_ns + SIGHT_NS
        assert lane.since_ns == lane.sight.since_ns == now_ns
        return lane.until_ns

    assert asyncio.run(made()) == now_ns + later_ns


@pytest.mark.parametrize(
    ("is_withdrawn", "steps", "statuses", "heads", "calls"),
    [
        (False, (0, SIGHT_NS - 1, 1, SIGHT_NS - 1, 3600 * SECOND), [200] * 6, 4, 2),
        (True, (0, SIGHT_NS - 1, 1), [200, 200, 200, 401], 3, 2),
        (False, (0, -1), [200, 200, 200], 3, 3),
        (False, (0, 2 * SIGHT_NS, -SIGHT_NS), [200] * 4, 4, 2),
    ],
    ids=["goes on", "ends with its key", "never before it began", "never before who calls was seen"],
)
def test_who_calls_is_asked_each_second_and_nothing_else(
    *, is_withdrawn: bool, steps: tuple[int, ...], statuses: list[int], heads: int, calls: int
) -> None:
    """What is withdrawn without a change shows in who calls; the rest is known until a change, however long."""
    at_ns = time.time_ns()

    async def run() -> None:
        nonlocal at_ns
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            house.clock = lambda: at_ns
            told = []

            def identify(head: Any, peer: Any) -> Caller:
                found = House.identify(house, head, peer)
                if is_withdrawn and len(house.heads) > 2:
                    raise GatewayError("credential-invalid")
                return found

            house.identify = identify  # type: ignore[method-assign]
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                told.append((await caller.ask(request()))[0])
                for step_ns in steps:
                    at_ns += step_ns
                    told.append((await caller.ask(request()))[0])
            assert told == statuses
            assert len(house.heads) == heads
            assert len(house.calls) == calls

    asyncio.run(run())


def test_nothing_is_followed_past_the_verdicts_end() -> None:
    """A permit that ends in a moment is asked for anew from then on, though nothing has changed."""
    began_ns = time.time_ns()
    at_ns = began_ns

    async def run() -> None:
        nonlocal at_ns
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            house.clock = lambda: at_ns
            house.verdict = permit(valid_until_unix=began_ns // SECOND + 5)
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                for after_ns in (0, 0, 2 * SECOND, 6 * SECOND):
                    at_ns = began_ns + after_ns
                    if after_ns == 6 * SECOND:
                        house.verdict = permit()
                    assert (await caller.ask(request()))[0] == 200
                assert plane.lanes.followed == 1
                assert len(house.calls) == 3

    asyncio.run(run())


def test_a_permit_that_has_ended_already_is_none() -> None:
    """Where the policies' clock is behind the plane's, the call is refused, and they are not asked for ever."""

    async def story(house: House, plane: Any, caller: CallerSide) -> None:
        house.verdict = permit(valid_until_unix=plane.clock() // SECOND - 1)
        status, _, body = await caller.ask(request())
        assert status == 503
        assert b"state-stale" in body
        assert len(house.calls) == 2

    assert told(story).ledger.kinds() == ["opened", "closed"]


def test_barrier_a_change_while_the_caller_is_looked_for_counts() -> None:
    """INVARIANT: BARRIER. Who calls is named later than at once: what was known when it was asked is not followed."""

    async def story(house: House, plane: Any, caller: CallerSide) -> None:
        for _ in range(2):
            assert (await caller.ask(request()))[0] == 200
        (lane,) = plane.lanes._kept.values()
        lane.sight.until_ns = 0
        named: asyncio.Future[Caller] = asyncio.get_running_loop().create_future()
        plane.identify = lambda _head, _peer: named
        asked = asyncio.create_task(caller.ask(request()))
        await asyncio.sleep(0.05)
        house.verdict = deny("suspended")
        plane.forget()
        named.set_result(lane.sight.caller)
        assert (await asked)[0] == 403
        assert plane.lanes.followed == 0

    told(story)


@pytest.mark.parametrize(("beyond", "followed"), [(0, 1), (1, 0)], ids=["longest", "longer"])
def test_long_paths_have_no_lane(beyond: int, followed: int) -> None:
    """What names a lane is bounded, so that a worker's memory is."""

    async def story(_house: House, plane: Any, caller: CallerSide) -> None:
        path = "/hukou/person/".ljust(lanes.MAX_PATH_BYTES + beyond, "v")
        for _ in range(3):
            assert (await caller.ask(request(path)))[0] == 200
        assert plane.lanes.followed == followed

    told(story)


@pytest.mark.parametrize("octets", [lanes.KEPT_FIELDS_BYTES // 2, lanes.KEPT_FIELDS_BYTES], ids=["short", "long"])
def test_long_fields_are_rendered_anew(octets: int) -> None:
    """A lane keeps the supplier's fields only where they are short; what goes on is the same."""

    async def run() -> None:
        async with Supplier() as supplier, serving(House(interface_for(supplier.port))) as (plane, port):
            caller = await CallerSide.connect(port)
            for _ in range(3):
                assert (await caller.ask(request(fields=f"X-Note: {'n' * octets}\r\n")))[0] == 200
            (lane,) = plane.lanes._kept.values()
            assert plane.lanes.followed == 1
            assert len(lane._fields) == (0 if octets == lanes.KEPT_FIELDS_BYTES else len(lane.fields))
        sent = [supplier_head.partition(b"Sharing-Record")[0] for supplier_head in supplier.requests]
        assert sent[0] == sent[2]
        assert b"n" * octets in sent[0]

    asyncio.run(run())


def test_another_caller_under_the_same_words_follows_nobody() -> None:
    """The port names another caller for them now (a token's system moved to another department): all is asked anew."""

    async def story(house: House, plane: Any, caller: CallerSide) -> None:
        for _ in range(2):
            assert (await caller.ask(request()))[0] == 200
        (lane,) = plane.lanes._kept.values()
        lane.sight.until_ns = 0
        plane.identify = lambda _head, _peer: Caller("s-1", "another", Assurance.BEARER, "jti-1", 1 << 40)
        assert (await caller.ask(request()))[0] == 200
        assert plane.lanes.followed == 0
        assert (await caller.ask(request()))[0] == 200
        assert plane.lanes.followed == 1
        assert [call.department for call in house.calls] == ["civil-affairs", "civil-affairs", "another"]

    uses = [use for kind, _, use in told(story).ledger.events if kind == "opened"]
    assert [use.caller.department for use in uses] == ["civil-affairs"] * 2 + ["another"] * 2


def test_an_own_id_loses_no_lane_and_goes_on_as_it_was_sent() -> None:
    """Ids that libraries add are each call's own: known words stay known, and the supplier gets each id as it was."""
    fields = (
        "X-Request-Id: r{n}\r\n",
        "traceparent: 00-{n:032x}-{n:016x}-01\r\ntracestate: a={n}\r\nX-B3-TraceId: b{n}\r\n",
        "Connection: x-request-id\r\nX-Request-Id: r{n}\r\n",
    )

    async def run() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                for number in range(1, 5):
                    for each in fields:
                        assert (await caller.ask(request(fields=each.format(n=number))))[0] == 200
                # The first two say the same but for their own; the last names the id as its connection's.
                assert plane.lanes.followed == 6
        for number, sent in enumerate(supplier.requests):
            once = [line for line in sent.split(b"\r\n") if line.lower().startswith((b"x-request-id", b"x-b3"))]
            call, kind = number // 3 + 1, number % 3
            wanted = [[b"r%d" % call], [b"b%d" % call], []][kind]
            assert [line.partition(b": ")[2] for line in once] == wanted
            assert b"tracestate" not in sent.lower()
            assert sent.lower().count(b"traceparent:") == 1

    asyncio.run(run())


def test_a_constrained_parameter_hides_in_no_own_field() -> None:
    """INVARIANT: ONE-MEANING. A field that bears the name of a parameter that grants constrain is refused each time."""

    async def story(_house: House, plane: Any, caller: CallerSide) -> None:
        for number in range(3):
            assert (await caller.ask(request(fields=f"X-Trace-Id: {number}\r\n")))[0] == 400
        assert plane.lanes.followed == 0

    told(story, scope_parameters=("trace_id",))


def test_what_was_forgotten_is_let_go_a_few_at_a_time() -> None:
    """Forgetting many stands in nobody's way; what calls make is less than what they let go."""

    async def story(_house: House, plane: Any, caller: CallerSide) -> None:
        for number in range(5):
            assert (await caller.ask(request(f"/hukou/person/v{number}")))[0] == 200
        assert len(plane.lanes) == 4
        plane.forget()
        assert len(plane.lanes) == 0
        left = []
        for number in range(3):
            assert (await caller.ask(request(f"/hukou/person/v{number}")))[0] == 200
            left.append(sum(map(len, plane.lanes._forgotten)))
        assert left == [2, 0, 0]
        assert plane.lanes.followed == 0

    told(story)


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
        lane.sight.certificate_der = b"of another caller"
        assert (await caller.ask(request()))[0] == 200
        assert plane.lanes.followed == 0
        assert len(house.heads) == 3

    told(story)
