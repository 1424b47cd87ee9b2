"""The data plane of one worker: it listens, holds what exchanges share, drains and cuts."""

import asyncio
import functools
import logging
import select
import socket
import ssl
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Any

from gateway.domain.directory import Interface
from gateway.domain.errors import GatewayError
from gateway.domain.uses import Use
from gateway.domain.verdicts import Call, Verdict
from gateway.proxy.counters import Counters
from gateway.proxy.downstream import CallerConnection
from gateway.proxy.exchange.digests import keyed_digest
from gateway.proxy.exchange.lanes import Lanes
from gateway.proxy.exchange.routes import Plan, Route
from gateway.proxy.exchange.slots import Slots
from gateway.proxy.exchange.standing import Withdrawals
from gateway.proxy.guards import ends_exchange
from gateway.proxy.handshakes import TlsListener
from gateway.proxy.http.heads import BlockReader
from gateway.proxy.http.pools import Pool
from gateway.proxy.http.targets import TargetReader
from gateway.proxy.kernel import bound_what_kernels_hold
from gateway.proxy.limits import Limits
from gateway.proxy.long_work import LongWork
from gateway.proxy.ports import (
    Decide,
    Identify,
    IsFresh,
    Meter,
    Pseudonym,
    Reach,
    ReachOf,
    Resolve,
    Seal,
    UseLedger,
    Watch,
)
from gateway.proxy.shares import Shares
from gateway.proxy.troubles import Troubles
from gateway.proxy.turns import Turns
from gateway.proxy.wheel import Wheel

_log = logging.getLogger(__name__)

MAX_PLANS = 8192
"""Plans kept: one for each (interface, verdict) that is in use; about 3 KiB each."""


class DataPlane:
    """What one worker serves. Construct it on the running loop; every method is called on that loop.

    Args:
        identify: credential to caller.
        resolve: path to interface.
        reach: interface to the addresses and the TLS context it is called with.
        decide: call to verdict. What `identify` answers at once may be kept for up to a second, or until `forget`; what
            `resolve` and this answer at once until `forget`, or the verdict's end.
        ledger: durable use records.
        meter: quotas.
        pseudonym: data-subject identifier to pseudonym; may raise nothing.
        is_fresh: whether the state can be relied on now; asked before each call is forwarded and each release.
        limits: every bound.
        digest_key: 32 bytes; keys the digests of requests and answers in records, see `digests`.
        sample_ratio: share of the calls without a `traceparent` whose new trace is marked as sampled.
        watches: who looks on as uses end.
        clock: Unix nanoseconds: what time it is, for verdicts and records.
        ticks: monotonic nanoseconds: how long something took, whatever anybody sets the clock to.
    """

    def __init__(
        self,
        *,
        identify: Identify,
        resolve: Resolve,
        reach: ReachOf,
        decide: Decide,
        seal: Seal,
        ledger: UseLedger,
        meter: Meter,
        pseudonym: Pseudonym,
        is_fresh: IsFresh,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        digest_key: bytes,
        sample_ratio: float = 0.0,
        watches: Sequence[Watch] = (),
        clock: Callable[[], int] = time.time_ns,
        ticks: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.digest = keyed_digest(digest_key)
        self.sample_ratio = sample_ratio
        self.watches = tuple(watches)
        self.identify = identify
        self.resolve = resolve
        self._reach = reach
        self.decide = decide
        self.seal = seal
        self.ledger = ledger
        self.meter = meter
        self.pseudonym = pseudonym
        self.is_fresh = is_fresh
        self.limits = limits or Limits()
        self.clock = clock
        self.ticks = ticks
        self.loop = asyncio.get_running_loop()
        self.wheel = Wheel(self.limits.tick_seconds, self.loop.time())
        self.blocks = BlockReader(self.limits)
        self.targets = TargetReader()
        self.counters = Counters()
        self.shares = Shares(self.limits)
        self.turns = Turns(self.loop, self.failed)
        self.long_work = LongWork(self.loop, self.failed)
        self.troubles = Troubles(self.loop.time)
        self.deaf: set[CallerConnection] = set()
        self.lanes = Lanes()
        self.epoch = 0
        self.withdrawals = Withdrawals()
        self.now_seconds = self.loop.time()
        self.is_draining = False
        self.is_draining_over = False
        self.gathered_bytes = 0
        self.date = b""
        self._tls = tls
        self._servers: list[asyncio.Server | TlsListener] = []
        self._connections: set[CallerConnection] = set()
        self._routes: dict[str, Route] = {}
        self._plans: dict[int, Plan] = {}
        self._pools: dict[Any, Pool] = {}
        self._slots: dict[str, Slots] = {}
        self._all_gone: asyncio.Event | None = None
        self._just_left: dict[CallerConnection, None] = {}
        self._on_their_way: set[CallerConnection] = set()
        self._tick()

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        reuse_port: bool = True,
        sock: socket.socket | None = None,
        tls: ssl.SSLContext | None = None,
        backlog: int = 4096,
        accept: Callable[[], CallerConnection] | None = None,
    ) -> asyncio.Server | TlsListener:
        """Listen on an address or a bound socket; call it once for each listener.

        Args:
            host: an address.
            port: a port; 0 picks a free one (read it from the returned server's sockets).
            reuse_port: several workers may listen on one port.
            sock: a bound socket, in place of host and port.
            tls: the listener's own context; the data plane's if None.
            backlog: connections the kernel queues.
            accept: makes the end of a connection here; callers' where it is None.

        Raises:
            OSError: the address is in use or not ours.
        """
        context = tls or self._tls
        if sock is None:
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((host, port))
        bound_what_kernels_hold(sock, self.limits)
        server: asyncio.Server | TlsListener
        make = accept or functools.partial(CallerConnection, self)
        if context is None:
            server = await self.loop.create_server(make, sock=sock, backlog=backlog)
        else:
            server = TlsListener(self, sock, context, backlog, make)
        self._servers.append(server)
        return server

    async def drain(self, seconds: float) -> bool:
        """Stop listening, let running exchanges end, close the rest; whether all ended within `seconds`."""
        self.is_draining = True
        for server in self._servers:
            server.close()
        idle_seconds = min(self.limits.drain_idle_seconds, seconds / 4)
        for connection in tuple(self._connections):
            connection.drain(idle_seconds)
        self._all_gone = asyncio.Event()
        if not self._connections:
            self._all_gone.set()
        try:
            await asyncio.wait_for(self._all_gone.wait(), seconds)
        except TimeoutError:
            is_whole = False
        else:
            is_whole = True
        self.is_draining_over = True
        for connection in tuple(self._connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        for pool in self._pools.values():
            pool.close()
        self._timer.cancel()
        return is_whole

    def forget(self) -> None:
        """Forget what repeated requests mean. Call it for every change, before it is acknowledged."""
        self.lanes.forget()
        # INVARIANT: BARRIER: what is new and what takes long waits until the change can have been acknowledged.
        self.turns.hold()
        self.long_work.hold()

    def cut(self, matches: Callable[[Use], bool], *, decided: bool = True) -> int:
        """Cut every answer under a use that `matches`; how many were cut.

        On return nothing of them is in the worker's buffers. A call that has released nothing is decided anew before
        it releases anything, or ended where that would not tell. Call it after the change has reached `decide`.

        Args:
            matches: whether a use is meant.
            decided: whether the policies know of what was withdrawn, so that deciding anew tells; else a permit rests
                on something that was looked up before it (who calls, by which credential, which interface).
        """
        # INVARIANT: BARRIER.
        self.forget()
        self.epoch += 1
        if not decided:
            self.withdrawals.add(self.epoch, matches)
        cut = 0
        for connection in tuple(self._connections):
            exchange = connection.exchange
            if exchange is not None and exchange.use is not None and matches(exchange.use):
                try:
                    cut += exchange.cut(decided=decided)
                except Exception:  # noqa: BLE001 - a mistake with one must not leave the others uncut
                    exchange.broken()
                    cut += 1
            if connection.is_leaving_under(matches):
                connection.reset()
                cut += 1
        self.counters.cuts += cut
        return cut

    def snapshot(self) -> dict[str, Any]:
        """Counters and gauges, as plain values."""
        return {
            **self.counters.snapshot(),
            "followed": self.lanes.followed,
            "connections": len(self._connections),
            "exchanges": sum(connection.exchange is not None for connection in self._connections),
            "supplier_connections": sum(pool.open for pool in self._pools.values()),
            "queued": len(self.turns),
            "waiting": sum(len(slots.waiting) for slots in self._slots.values()),
            "circuits_open": sum(pool.is_open for pool in self._pools.values()),
            "held_bytes": self.shares.held_bytes,
            "troubles": self.troubles.standing(),
        }

    # What exchanges and connections share.

    def connected(self, connection: CallerConnection) -> bool:
        """Count a connection in; False where there are too many."""
        if len(self._connections) >= self.limits.connections or self.is_draining:
            self.counters.turned_away("connections")
            return False
        self.counters.connections += 1
        self._connections.add(connection)
        return True

    def disconnected(self, connection: CallerConnection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        self._on_their_way.discard(connection)
        if self._all_gone is not None and not self._connections:
            self._all_gone.set()

    def ask_arrival(self, connection: CallerConnection) -> None:
        """An answer has just been written: ask whether it arrived once the loop has handed it to the kernel."""
        if not self._just_left:
            self.loop.call_soon(self._ask_arrivals)
        self._just_left[connection] = None

    @ends_exchange
    def _ask_arrivals(self) -> None:
        asked, self._just_left = self._just_left, {}
        for connection in asked:
            connection.confirm()
            if connection.leaving.waiting:
                self._on_their_way.add(connection)

    def route_of(self, interface: Interface) -> Route:
        """The interface taken apart; made anew when its entry is another."""
        key = interface.key
        route = self._routes.get(key)
        if route is None or route.interface is not interface:
            route = self._routes[key] = Route(interface, self.counters.tally(interface.supplier, interface.id))
        return route

    def plan_of(self, route: Route, call: Call, verdict: Verdict) -> Plan:
        """The plan of a permit; kept as long as the policies keep the very same verdict."""
        plan = self._plans.get(id(verdict))
        if plan is not None and plan.verdict is verdict and plan.route is route and plan.call == call:
            return plan
        plan = Plan(route, call, verdict, self.pseudonym, row_bytes=self.limits.row_bytes)
        if len(self._plans) >= MAX_PLANS:
            del self._plans[next(iter(self._plans))]
        self._plans[id(verdict)] = plan
        return plan

    def place_of(self, route: Route) -> tuple[Slots, Pool]:
        """The slots of the route's interface and the connections to its host, from now on at hand in the route.

        What its supplier is shown of who calls is at hand there too.
        """
        reach = self._reach(route.interface)
        place = route.place = (self.slots_of(route), self._pool_of(route, reach))
        route.credential = reach.credential
        return place

    def _pool_of(self, route: Route, reach: Reach) -> Pool:
        if route.is_tls is not (reach.context is not None):
            raise GatewayError("supplier-unreachable", "the interface's host does not speak what its entry says")
        # INVARIANT: ONE-ANSWER: a connection is one supplier's, whatever another's entry says of the same host.
        key = (route.interface.supplier, route.host, route.port, reach.addresses, reach.context, reach.name)
        pool = self._pools.get(key)
        if pool is None:
            stray = functools.partial(self._stray, route.interface.supplier)
            pool = self._pools[key] = Pool(reach, route.port, self.limits, self.loop.time, stray, self.failed)
        return pool

    def _stray(self, supplier: str, when: str, record: str) -> None:
        """Octets of a supplier answered nobody (INVARIANT: ONE-ANSWER): count them, and say behind which record."""
        self.counters.strayed(supplier, when)
        extra = {"record": record} if record else {}
        said = "`%s` sent octets that answer nobody (%s); its connections are closed, and none is kept for an hour"
        _log.warning(said, supplier, when, extra=extra)

    def slots_of(self, route: Route) -> Slots:
        """The slots of the route's interface."""
        slots = self._slots.get(route.key)
        if slots is None:
            slots = self._slots[route.key] = Slots(route.interface.concurrency, self.limits)
        slots.most = route.interface.concurrency
        return slots

    def failed(
        self, error: BaseException | None = None, *, record: str | None = None, trace: str | None = None
    ) -> None:
        """Count something that failed in a way it does not declare, and say where it did, and under which record.

        The exception's text could hold values and is not logged (INVARIANT: NO-VALUES).
        """
        self.counters.failures += 1
        error = error or sys.exc_info()[1]
        where = traceback.extract_tb(error.__traceback__)[-1:] if error is not None else []
        _log.error(
            "the data plane failed: %s at %s",
            type(error).__name__,
            ", ".join(f"{frame.name}:{frame.lineno}" for frame in where),
            extra={name: value for name, value in (("record", record), ("trace", trace)) if value},
        )

    def broken(self) -> None:
        """As `guards.Breakable.broken`: what failed is counted; it belongs to no exchange."""
        self.failed()

    def _look_for_gone(self) -> None:
        """Find the callers that have gone while nothing is read of them: the loop would not say so."""
        # INVARIANT: BOUNDED: what is held for a caller returns when it is gone.
        poll, connections = select.poll(), {}
        for connection in self.deaf:
            raw = connection.transport.get_extra_info("socket")
            if raw is not None and raw.fileno() >= 0:
                connections[raw.fileno()] = connection
                # One that may close its side and still wait has gone only where its connection is broken.
                poll.register(raw.fileno(), 0 if self.limits.half_close else select.POLLRDHUP)
        for number, _ in poll.poll(0):
            connections[number].gone()

    @ends_exchange
    def _tick(self) -> None:
        # First of all, so that no mistake stops the clock by which everything else ends.
        self._timer = self.loop.call_later(self.limits.tick_seconds, self._tick)
        self._turn()

    @ends_exchange
    def _turn(self) -> None:
        now = self.now_seconds = self.loop.time()
        self.date = b"Date: %b\r\n" % formatdate(self.clock() / 1e9, usegmt=True).encode()
        self.wheel.advance(now)
        if self.deaf:
            self._look_for_gone()
        for connection in tuple(self._on_their_way):
            connection.confirm()
            if not connection.leaving.waiting:
                self._on_their_way.discard(connection)
        for pool in self._pools.values():
            pool.sweep(now)
