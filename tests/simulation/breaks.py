"""Deliberate breaks of the protocol, each of which the simulation has to find: a check that cannot fail checks nothing.

python -m tests.simulation breaks        finds each, prints how many histories that took, and keeps their numbers
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from gateway.control.act import acting, recorded
from gateway.control.barrier import barrier, feed, hub, settling
from gateway.control.barrier.barrier import Barrier, NodeWatch
from gateway.control.barrier.feed import Feed
from gateway.control.barrier.hub import Hub
from gateway.control.barrier.pulse import Pulse
from gateway.control.barrier.roster import Roster
from gateway.control.barrier.wire import Applied, Changes, Lease
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Officer, Role
from gateway.policy.live.deciding import Decider
from gateway.policy.live.quotas import QuotaMeter
from gateway.policy.live.slices import Answer
from gateway.proxy.downstream import CallerConnection
from gateway.proxy.exchange.forwarding import Forwarding
from gateway.proxy.exchange.standing import Standing, Withdrawals
from gateway.proxy.http.upstream import SupplierConnection
from gateway.proxy.leaving import Leaving
from gateway.proxy.plane import DataPlane
from gateway.proxy.projection.document import DocumentProjector
from gateway.proxy.projection.envelope import Answered as Envelope
from gateway.proxy.projection.projected import Projected
from gateway.runtime.supervision.watch_dog import Watched
from gateway.runtime.worker import link
from gateway.runtime.worker.link import Link
from gateway.runtime.worker.resolver import Resolver
from gateway.store import servers
from tests.simulation import history, house
from tests.simulation.history import ACTS, FAULTS_END, OFFICERS, Broken, History, run
from tests.simulation.house import SimulatedHub
from tests.simulation.loop import Loop, Machine
from tests.simulation.state import State, View
from tests.simulation.workers import Journal, SimulatedEngine, SimulatedKernelEnd, Worker

true_cut = DataPlane.cut

KEPT = Path(__file__).with_name("found_by.json")
"""Break -> the number of the history that finds it first; where it finds it no more, the others are tried."""

Patch = tuple[Any, str, Any]
BREAKS: dict[str, Callable[[], list[Patch]]] = {}


def a_break(what: Callable[[], list[Patch]]) -> Callable[[], list[Patch]]:
    BREAKS[(what.__doc__ or "").strip().rstrip(".")] = what
    return what


@contextmanager
def broken(name: str) -> Iterator[None]:
    """The house with one break."""
    with ExitStack() as stack:
        for where, attribute, value in BREAKS[name]():
            stack.enter_context(patch.object(where, attribute, value))
        yield


def _only(*faults: Any) -> Patch:
    """Histories of these faults alone, where a break shows only in what few others bring about."""
    return history, "DRAWN", list(faults)


# Whoever would end a worker by another road, where a break is about one of three.
_NO_KERNEL_END: Patch = (SimulatedKernelEnd, "_set", lambda *_: True)
_NO_WATCH_DOG: Patch = (Watched, "fault", lambda *_: None)


@a_break
def _stranger() -> list[Patch]:
    """a stop knows only workers that came back to a new control process, and nobody else ends one that stands still."""
    return [(settling, "_look_at_stranger", lambda *_: None), _NO_KERNEL_END, _NO_WATCH_DOG]


@a_break
def _acknowledge_first() -> list[Patch]:
    """a worker acknowledges a change before it cuts."""

    def cut(self: DataPlane, matches: Any, *, decided: bool = True) -> int:
        self.loop.call_later(0.02, lambda: true_cut(self, matches, decided=decided))
        return 0

    return [(DataPlane, "cut", cut)]


@a_break
def _same_turn() -> list[Patch]:
    """a worker acknowledges in the turn in which it cuts, before its sockets are closed."""
    return [(link, "TURNS", 0), *_busy_loops()]


def _busy_loops() -> list[Patch]:
    """Now and then something else of a process keeps its loop from the next turn."""

    def ask_for_turn(self: Loop) -> None:
        if not self._has_turn:
            self._has_turn = True
            process = self._process
            process.soon(self._turn, 0.1 if process.world.random.random() < 0.05 else 0.0)

    return [(Loop, "_ask_for_turn", ask_for_turn)]


@a_break
def _from_arrival() -> list[Patch]:
    """a lease counts from its arrival, not from the question."""

    def take(self: Link, lease: Lease) -> None:
        self._asked[lease.number] = self._clock()
        true(self, lease)

    true = Link._take
    return [(Link, "_take", take), _only(history.messages_are_late, history.is_slow, history.is_partitioned)]


@a_break
def _skips_one() -> list[Patch]:
    """the hub leaves out the first of several changes."""

    def since(self: Hub, sequence: int) -> Any:
        found = true(self, sequence)
        if isinstance(found, Changes):
            return Changes(found.after, (found.changes[-1],))
        return found

    true = Hub.since
    return [(Hub, "since", since), (SimulatedHub, "since", since)]


@a_break
def _gap() -> list[Patch]:
    """the feed reads on one further than it has told."""

    def changes_after(self: View, sequence: int, limit: int = 1000) -> Any:
        found = true(self, sequence, limit)
        return [*found[:-1], feed.Change(found[-1].sequence, found[-1].kind, "another")] if found else found

    true = View.changes_after
    return [(View, "changes_after", changes_after), (Feed, "tell", lambda *_: None)]


@a_break
def _outstanding() -> list[Patch]:
    """nobody is waited for."""
    return [(Roster, "outstanding", lambda *_: []), (Roster, "out", lambda *_: [])]


@a_break
def _no_end() -> list[Patch]:
    """a worker that does not cut is not ended by anybody."""

    def look(*args: Any, **options: Any) -> Any:
        found = true(*args, **options)
        if found.end:
            found.end, found.is_settled = {}, True
        return found

    true = hub.look
    return [(hub, "look", look), _NO_KERNEL_END, _NO_WATCH_DOG]


@a_break
def _ended_is_done() -> list[Patch]:
    """a worker that is told to end counts as ended though it stands still and nobody ends it."""
    return [(SimulatedHub, "_end", lambda self, pid, _: self.process_ended(pid)), _NO_KERNEL_END, _NO_WATCH_DOG]


@a_break
def _not_quiet() -> list[Patch]:
    """a new control process does not wait for its predecessor's leases."""
    return [
        (Roster, "quiet_at", property(lambda _: 0.0)),
        (settling, "_look_at_stranger", lambda *_: None),
    ]


@a_break
def _leaves() -> list[Patch]:
    """a worker whose connection breaks is forgotten with its lease."""

    def leave(self: Roster, key: int) -> None:
        self._sessions[key].leased_until = 0.0
        true(self, key)

    true = Roster.leave
    return [(Roster, "leave", leave), (settling, "_look_at_stranger", lambda *_: None)]


@a_break
def _from_now() -> list[Patch]:
    """a lease lasts for the freshness limit from now, however old the reading is."""

    def lease(self: Roster, key: int, now: float) -> int:
        true(self, key, now)
        self._sessions[key].leased_until = now + self.freshness
        return int(self.freshness * 1000)

    true = Roster.lease
    return [(Roster, "lease", lease)]


@a_break
def _asked_at_the_end() -> list[Patch]:
    """a reading counts from its end."""

    def confirm(self: Hub, asked_at: float, position: int, changes: Any) -> None:
        true(self, self._clock() if asked_at >= 0 else asked_at, position, changes)

    def slow(self: Any) -> float:
        return 1.2 if self.world.random.random() < 0.3 and self.world.now < FAULTS_END else 0.001

    true = Hub.confirm
    return [(Hub, "confirm", confirm), (house.Node, "latency", slow)]


@a_break
def _clock_of_another() -> list[Patch]:
    """a node's beat is read as its clock."""

    def live(self: NodeWatch, beats: Any, now: float) -> set[str]:
        return {name for name, beat in beats.items() if abs(now - beat) <= self._freshness}

    return [(NodeWatch, "live", live)]


@a_break
def _unseen_is_dead() -> list[Patch]:
    """a node that was never looked at counts as dead."""

    def live(self: NodeWatch, beats: Any, now: float) -> set[str]:
        new = set(beats) - set(self._seen)
        return true(self, beats, now) - new

    true = NodeWatch.live
    return [(NodeWatch, "live", live)]


@a_break
def _alone() -> list[Patch]:
    """a stop does not wait for other nodes."""

    def elsewhere(*_: Any) -> Any:
        return [], []
        yield

    return [(Barrier, "_elsewhere", elsewhere)]


@a_break
def _too_short() -> list[Patch]:
    """other nodes are out before their leases are."""
    return [(barrier, "END_SECONDS", -1.0)]


@a_break
def _one_less() -> list[Patch]:
    """another node's acknowledgement of the change before counts."""

    def nodes(self: View) -> Any:
        return tuple(type(n)(n.id, n.beat_unix, n.acknowledged + 1) for n in true(self))

    true = View.nodes
    return [(View, "nodes", nodes)]


@a_break
def _acknowledges_unsettled() -> list[Patch]:
    """a node acknowledges what it has read, not what its workers have applied."""

    def settle(self: Hub, sequence: int, since: float | None = None) -> Any:
        future = true(self, sequence, since)
        if since is None:
            future = type(future)()
            future.set_result(settling.Settled((), ()))
        return future

    true = Hub.settle
    return [(Hub, "settle", settle)]


@a_break
def _acknowledged_elsewhere() -> list[Patch]:
    """what was applied of a history that a failover ended is acknowledged in the next one."""

    def acknowledge(self: View, node: str, sequence: int, _timeline: str) -> None:
        true(self, node, sequence, self.timeline())

    true = View.acknowledge
    return [(View, "acknowledge", acknowledge), _only(history.fails_over, history.messages_are_late, history.is_slow)]


@a_break
def _waits_for_both() -> list[Patch]:
    """a worker that came back is waited for on its old connection too."""

    def join(self: Roster, *args: Any, **options: Any) -> Any:
        held = {key: session.leased_until for key, session in self._sessions.items() if session.connected}
        made = true(self, *args, **options)
        for key, leased_until in held.items():
            self._sessions[key].leased_until = leased_until
        return made

    true = Roster.join
    return [(Roster, "join", join), _only(history.is_cut_off, history.messages_are_late)]


@a_break
def _same_timeline() -> list[Patch]:
    """a failover is not noticed where the feed has grown past what was read."""

    def rewound(self: View) -> str:
        true(self)
        return "timeline"

    def fail_over(self: History, lag: float) -> None:
        true_fail_over(self, max(lag, 1.0))
        for grant in self.grants[ACTS:]:
            if grant not in self.commits:
                # Other nodes were quicker: the feed grows past what this one has read.
                self.committed(grant, self.state.commit(grant).sequence, OFFICERS[1])

    true, true_fail_over = View.timeline, History.fail_over
    return [(View, "timeline", rewound), (History, "fail_over", fail_over)]


@a_break
def _keeps_applied() -> list[Patch]:
    """after a failover that lost commits what workers had applied counts on."""

    def rewind(self: Roster, position: int, now: float) -> None:
        self.position = position

    return [(Roster, "rewind", rewind), (Hub, "resumes_after", lambda _self, hello, _pid: hello.after)]


@a_break
def _overtaken() -> list[Patch]:
    """what was read before a change is used after it."""

    def drop(self: Resolver, change: Any) -> None:
        supplier, _, interface = change.subject.partition("/")
        self._known.pop((supplier, interface), None)

    return [(Resolver, "drop", drop), (house.Node, "latency", _slow_state)]


@a_break
def _stale_goes_on() -> list[Patch]:
    """a worker whose lease has run out goes on releasing until it is told."""
    return [(Link, "is_fresh", lambda self: self._fresh_until > 0), _NO_KERNEL_END, _NO_WATCH_DOG]


@a_break
def _stays_dry() -> list[Patch]:
    """a worker that was dry once counts as dry for good."""

    def leased(self: Pulse, until: float) -> None:
        self._numbers[1] = until

    focus = _only(history.stands_still, history.stands_still_while_control_is_replaced, history.is_killed)
    return [(Pulse, "leased", leased), _NO_KERNEL_END, _NO_WATCH_DOG, focus]


@a_break
def _dry_at_once() -> list[Patch]:
    """a worker calls itself dry though it has cut nothing."""
    return [(Worker, "_cut_all", lambda *_, **__: None), _NO_WATCH_DOG]


@a_break
def _orphans() -> list[Patch]:
    """children outlive their supervisor, and the next one does not know them."""
    return [(house, "DIES_WITH_SUPERVISOR", False), _NO_KERNEL_END, _only(history.is_killed, history.stands_still)]


@a_break
def _clock_sleeps() -> list[Patch]:
    """the clock of leases stands while the machine sleeps."""

    def sleep(self: Any, seconds: float) -> None:
        machine, since = self.machine, self.world.now
        machine.since = since

        def woken() -> None:
            machine.slept = getattr(machine, "slept", 0.0) + seconds

        self.world.after(seconds, woken)
        true_sleep(self, seconds)

    def stood(self: Any) -> float:
        return getattr(self, "slept", 0.0) + (self.world.now - self.since if self.is_asleep else 0.0)

    def clock(self: Machine) -> float:
        return true_clock(self) - stood(self)

    def moment(self: Machine, clock: float) -> float:
        return true_moment(self, clock + stood(self))

    true_sleep, true_clock, true_moment = house.Node.sleep, Machine.clock, Machine.moment
    patches: list[Patch] = [(house.Node, "sleep", sleep), (Machine, "clock", clock), (Machine, "moment", moment)]
    return [*patches, _NO_KERNEL_END, _only(history.machine_sleeps)]


@a_break
def _permit_wins() -> list[Patch]:
    """a forbid denies only until something is issued after it."""

    def stands(self: View, grant: str) -> bool:
        changes = [change for change in self._ask().changes if change.grant == grant]
        return not changes or not changes[-1].withdraws

    return [(View, "stands", stands)]


@a_break
def _forbids_are_not_asked() -> list[Patch]:
    """a permit allows whatever forbids."""
    return [(Answer, "is_permit", True)]


@a_break
def _forgets_the_newest() -> list[Patch]:
    """a node does not remember the newest primary that it has seen."""
    return [(servers, "judge", lambda told, _known: true_judge(told, None))]


@a_break
def _either_of_two() -> list[Patch]:
    """of two primaries the newer one is used."""

    def judge(told: Any, known: Any) -> Any:
        newest = max(told, key=lambda host: told[host].history, default=None)
        return true_judge({newest: told[newest]} if newest else {}, known)

    return [(servers, "judge", judge)]


true_judge = servers.judge


@a_break
def _not_counted_down() -> list[Patch]:
    """what is drawn from a quota's block is not counted."""

    def draw(self: QuotaMeter, key: Any, limit: int, amount: int) -> bool:
        if drawn := true(self, key, limit, amount):
            self._meter(key).left += amount
        return drawn

    true = QuotaMeter.draw_leasing
    return [(QuotaMeter, "draw_leasing", draw)]


@a_break
def _leased_by_nobody() -> list[Patch]:
    """a quota's block is drawn on though the state did not give it."""

    def draw(self: QuotaMeter, key: Any, limit: int, amount: int) -> bool:
        return true(self, key, limit, amount) or True

    true = QuotaMeter.draw_leasing
    return [(QuotaMeter, "draw_leasing", draw)]


@a_break
def _read_then_written() -> list[Patch]:
    """what is left of a quota is read a while before the block is taken."""

    def leased(self: State) -> int:
        return sum(taken for moment, taken in self.leases if moment < self.world.now - 0.3)

    return [(State, "leased", leased)]


@a_break
def _drawn_without_asking() -> list[Patch]:
    """what is drawn from a quota is released without asking whether the verdict still stands."""

    def draw_rows(self: Forwarding, rows: int, then: Callable[[], None]) -> None:
        def drawn(is_left: bool) -> None:
            then() if is_left else self.refuse(GatewayError("quota-exhausted"))

        self.wait(drawn, self.plane.meter.draw_rows, self.use.verdict, rows)  # type: ignore[union-attr]

    return [(Forwarding, "draw_rows", draw_rows), (house.Node, "latency", _slow_state)]


@a_break
def _connected_without_asking() -> list[Patch]:
    """a supplier is asked, once a connection to it is made, whatever has come meanwhile."""
    return [(Standing, "is_certain", lambda _: True)]


@a_break
def _lanes_remain() -> list[Patch]:
    """what a repeated request means is remembered across changes."""
    return [(DataPlane, "forget", lambda _: None)]


@a_break
def _verdicts_remain() -> list[Patch]:
    """verdicts are kept across changes."""

    def drop(self: SimulatedEngine, _change: Any) -> None:
        self.drops += 1

    return [(SimulatedEngine, "drop", drop), (DataPlane, "cut", _cut_undoubted)]


def _cut_undoubted(self: DataPlane, matches: Any, **_: Any) -> int:
    return true_cut(self, matches, decided=True)


@a_break
def _verdict_on_its_way() -> list[Patch]:
    """a verdict that was made in a thread before a change is acted on after it."""

    async def decide(self: Decider, call: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._engine.decide, call, 0)

    def decided(self: Standing, verdict: Any) -> None:
        self._until_ns = verdict.valid_until_unix * 1_000_000_000
        self._then(verdict)

    return [(Decider, "_decide", decide), (Standing, "_decided", decided), (house.Node, "latency", _slow_state)]


def _slow_state(self: Any) -> float:
    return 0.4 if self.world.random.random() < 0.3 else 0.001


@a_break
def _withdrawals_are_forgotten() -> list[Patch]:
    """what was looked up before it was withdrawn is acted on afterwards."""

    def doubt(self: Standing, *, is_withdrawn: bool = False) -> None:
        self._is_doubtful = True

    return [(Standing, "doubt", doubt), (Withdrawals, "reach", lambda *_: False)]


@a_break
def _what_has_left_is_left() -> list[Patch]:
    """an answer that was written whole is not cut while the kernel holds it."""
    return [(CallerConnection, "is_leaving_under", lambda *_: False)]


@a_break
def _closes_at_once() -> list[Patch]:
    """a connection is closed while its kernel holds octets, which go on leaving."""
    return [(CallerConnection, "_close", CallerConnection._close_now)]


@a_break
def _kept_half_read() -> list[Patch]:
    """a connection whose answer was given up is kept for the next call."""

    def abort(self: SupplierConnection) -> None:
        if self.exchange is None:
            true(self)
            return
        self.exchange = self._head = self._reader = None
        self._pool.give_back(self)

    true = SupplierConnection.abort
    return [(SupplierConnection, "abort", abort)]


@a_break
def _behind_is_kept() -> list[Patch]:
    """octets behind an answer are kept for the next call."""

    def let_go(self: SupplierConnection, head: Any, rest: bytes = b"", exchange: Any = None) -> None:
        true(self, head, b"", exchange)
        self._buffer += rest

    true = SupplierConnection._let_go
    return [(SupplierConnection, "_let_go", let_go)]


@a_break
def _idle_is_kept() -> list[Patch]:
    """octets that come on an idle connection are kept for the next call."""

    def data_received(self: SupplierConnection, data: bytes) -> None:
        if self.exchange is None:
            self._buffer += data
        else:
            true(self, data)

    true = SupplierConnection.data_received
    return [(SupplierConnection, "data_received", data_received)]


@a_break
def _other_shapes_pass() -> list[Patch]:
    """an answer of a shape that the entry does not know counts as one without rows."""
    return [(DocumentProjector, "_require_known", lambda *_: None), (Envelope, "settle", lambda *_, **__: None)]


@a_break
def _everything_passes() -> list[Patch]:
    """an answer leaves as it came, granted or not."""
    return [(DocumentProjector, "project", lambda _self, content, **_: Projected(content, 1, ("xm",)))]


@a_break
def _recorded_later() -> list[Patch]:
    """a supplier is asked before the record is durable."""

    def opened(self: Journal, use: Any, done: Any) -> str:
        record = true(self, use, lambda _: None)
        self._worker.loop.call_soon(done, None)
        return record

    true = Journal.opened
    return [(Journal, "opened", opened)]


@a_break
def _arrived_at_once() -> list[Patch]:
    """an answer counts as arrived once it is written."""
    return [(Leaving, "missing_bytes", lambda self: setattr(self, "_acknowledged", self._written) or 0)]


@a_break
def _cut_is_complete() -> list[Patch]:
    """an answer cut short by its supplier ends as if it were whole."""

    def fail(self: SupplierConnection, _reason: str) -> None:
        exchange, self.exchange = self.exchange, None
        self._pool.gone(self)
        self.transport.abort()
        if exchange is not None and exchange._release is not None:  # type: ignore[attr-defined]
            exchange.answer_ended()

    return [(SupplierConnection, "_fail", fail)]


@a_break
def _in_doubt_is_void() -> list[Patch]:
    """an act of which the state did not say whether it stands is called void."""
    return [(recorded, "InDoubtError", type("Never", (Exception,), {}))]


@a_break
def _in_doubt_for_ever() -> list[Patch]:
    """nobody asks what became of an act in doubt."""
    return [(recorded.Unsettled, "settle", lambda *_: None), (recorded.Unsettled, "__bool__", lambda _: False)]


@a_break
def _asked_at_the_door() -> list[Patch]:
    """who acts is asked when the request's head comes, and not when the act is done."""
    return [(State, "officer", lambda _, name: Officer(name, "supplier", "440000", (Role.SUPPLIER,)))]


@a_break
def _done_again() -> list[Patch]:
    """what was answered under an `Idempotency-Key` is done again."""
    return [(acting, "_replay", lambda *_: None), (acting, "_require_first", lambda *_: None)]


@a_break
def _lease_with_lag() -> list[Patch]:
    """a worker that does not apply changes has its lease renewed for ever."""
    return [(Hub, "heard", _heard_lagging)]


def _heard_lagging(self: Hub, key: int, message: Any) -> Any:
    self._roster.acknowledge_within = 1e9
    if isinstance(message, Applied):
        return None
    if hasattr(message, "applied"):
        message = type(message)(message.number, 0)
    return _true_heard(self, key, message)


_true_heard = Hub.heard


def first_found(most: int, kept: int | None = None) -> tuple[int, str]:
    """The number, from 1, of a history that finds what is broken now, 0 where none of `most` does; and what was seen.

    Args:
        most: how many are tried, in order.
        kept: a number to try first: finding the first again takes as long as it took.
    """
    for number in (*([kept] if kept else []), *range(1, most + 1)):
        try:
            run(number - 1)
        except Broken as error:
            return number, str(error).splitlines()[0].partition(": ")[2]
    return 0, ""
