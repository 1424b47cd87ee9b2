"""Workers of the simulation: the real data plane, link and resolver of one, and what stands for their ports.

A worker serves callers that read slowly from suppliers of which some misbehave: what it writes lies in its kernel, and
leaves from there while the process stands still; it is dropped when the process is killed or the socket is closed.
Identity and Cedar are left out: everybody is the same caller, and a verdict is what the state says of a grant.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gateway.control.barrier.pulse import Pulse
from gateway.domain.callers import Assurance, Caller
from gateway.domain.changes import Change, ChangeKind
from gateway.domain.credentials import Shown
from gateway.domain.directory import AnswerFormat, Interface
from gateway.domain.errors import GatewayError
from gateway.domain.texts import Said
from gateway.domain.uses import Outcome, Use
from gateway.domain.verdicts import Call, Decision, Verdict
from gateway.policy.live import refusals
from gateway.policy.live.deciding import Decider
from gateway.policy.live.quotas import QuotaMeter
from gateway.proxy.downstream import CallerConnection
from gateway.proxy.limits import Limits
from gateway.proxy.long_work import LongWork
from gateway.proxy.plane import DataPlane
from gateway.proxy.ports import Reach
from gateway.proxy.turns import Turns
from gateway.runtime.supervision.watch_dog import Watched
from gateway.runtime.worker.kernel_end import KernelEnd
from gateway.runtime.worker.link import Link
from gateway.runtime.worker.resolver import Resolver
from gateway.runtime.worker.worker import Worker as RealWorker
from tests.simulation.loop import Loop, Process
from tests.simulation.parties import CallerEnd, SupplierEnd
from tests.simulation.sockets import Socket
from tests.simulation.state import State
from tests.simulation.wires import Wire, connect

FRESHNESS = 2.0
QUOTA = 192
"""Rows that all metered grants have together; they are leased by threes, or as many as a draw needs."""


class SimulatedPulse(Pulse):
    def __init__(self) -> None:
        self._numbers = [0.0, 0.0, 0.0]  # type: ignore[assignment]


class SimulatedWatched(Watched):
    def __init__(self, worker: "Worker") -> None:
        self.name = worker.process.name
        self.pulse = worker.pulse
        self.is_ready = False
        self._beat = 0.0
        self._looks = 0


class SimulatedKernelEnd(KernelEnd):
    def __init__(self, process: Process) -> None:
        self._process = process
        self._setting = 0

    def _set(self, moment: float) -> bool:
        self._setting += 1
        setting, process = self._setting, self._process
        if moment:

            def fire() -> None:
                if self._setting == setting:
                    process.kill("its kernel ended it")

            process.world.at(process.machine.moment(moment), lambda: process.machine.when_awake(fire))
        return True


class SimulatedPlane(DataPlane):
    """The data plane of a worker, on simulated sockets."""

    def __init__(self, owner: "Worker", **ports: Any) -> None:
        self.owner = owner
        super().__init__(**ports)
        world, is_rich = owner.process.world, owner.node.history.is_rich

        def clock() -> float:
            """What work takes, sometimes more than a turn's share: answers are then worked on in several turns."""
            return world.now + (world.random.random() * 0.02 if is_rich else 0.0)

        self.turns = Turns(self.loop, self.failed, clock)
        self.long_work = LongWork(self.loop, self.failed, clock)

    def _look_for_gone(self) -> None:
        for connection in tuple(self.deaf):
            if connection.transport.get_extra_info("socket").has_gone:
                connection.gone()

    def failed(self, error: BaseException | None = None, **_: Any) -> None:
        error = error or sys.exc_info()[1]
        self.owner.node.history.fails(f"the data plane of {self.owner.process.name} failed: {error!r}")


class Credential:
    """What a supplier is shown, which has to be fetched now and then."""

    names: frozenset[bytes] = frozenset()
    parameters: tuple[str, ...] = ()

    def __init__(self, worker: "Worker") -> None:
        self._random = worker.process.world.random

    def show(self) -> Shown | Awaitable[Shown]:
        shown = Shown(b"Authorization: Bearer theirs\r\n")
        if self._random.random() < 0.7:
            return shown

        async def fetch() -> Shown:
            await asyncio.sleep(self._random.uniform(0.01, 0.5))
            return shown

        return fetch()

    def refused(self, _shown: Shown) -> None:
        """Nothing else could be shown."""


class SimulatedEngine:
    """Verdicts as `Engine` keeps them: until a change names their grant. The state says what they are, not Cedar."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._kept: dict[str, Verdict] = {}
        self.drops = 0
        self.layers: Any = SimpleNamespace(digest="00" * 32)

    def kept(self, call: Call, _now_unix: int) -> Verdict | None:
        return self._kept.get(call.dataset)

    def decide(self, call: Call, now_unix: int) -> Verdict:
        """Runs where a thread would ask the state."""
        node, grant = self._worker.node, call.dataset
        try:
            stands = node.view.stands(grant)
            # Of a stop that takes an interface away the policies know nothing.
            stands = stands or State.kind_of(grant) is ChangeKind.INTERFACE
        except GatewayError:
            return refusals.plain_denial("state-stale", self.layers.digest, now_unix + 1)
        quota = {"metered": True, "meter": "quota", "rows_a_day": QUOTA, "calls_a_day": 1 << 20}
        if not node.history.is_metered(grant):
            quota = {}
        self._kept[grant] = Verdict(
            decision=Decision.PERMIT if stands else Decision.DENY,
            code="" if stands else "suspended",
            policies=(),
            policy_digest=self.layers.digest,
            valid_until_unix=1 << 40,
            grant=grant,
            grant_version=1,
            items=("xm",) if stands else (),
            **quota,  # type: ignore[arg-type]
        )
        return self._kept[grant]

    def drop(self, change: Change) -> None:
        self.drops += 1
        if change.grant is None:
            self._kept.clear()
        else:
            self._kept.pop(change.grant, None)


class Journal:
    """Where a worker writes what it is about to do: durable after a while, unless the process ends before."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._history = worker.node.history

    def opened(self, use: Use, done: Callable[[BaseException | None], None]) -> str:
        worker = self._worker
        if worker.node.has_full_disk:
            raise GatewayError("records-unavailable")
        record = self._history.new_record(worker, use)

        def synced() -> None:
            self._history.durable(record)
            done(None)

        # What is asked of a disk goes on in its own time; the process hears of it in a turn of its loop.
        worker.process.soon(lambda: worker.loop.call_soon(synced), worker.process.world.random.expovariate(400.0))
        return record

    def closed(self, record: str, use: Use, outcome: Outcome) -> None:
        self._history.closed(record, use, outcome)

    def refused(self, use: Use) -> str:
        return self._history.new_record(self._worker, use, is_refused=True)


class SimulatedMeter(QuotaMeter):
    """The meter; what it lets be drawn is told."""

    owner: "Worker"

    def draw_rows(self, verdict: Verdict, rows: int) -> bool | Awaitable[bool]:
        drawn = super().draw_rows(verdict, rows)
        if isinstance(drawn, bool):
            return self._told(rows, is_drawn=drawn)

        async def later() -> bool:
            return self._told(rows, is_drawn=await drawn)

        return later()

    def _told(self, rows: int, *, is_drawn: bool) -> bool:
        if is_drawn:
            self.owner.node.history.drew(self.owner, rows)
        return is_drawn


def _interface(grant: str) -> Interface:
    """What a grant is used at: answers of one document, or of rows as they come."""
    is_stream = int(grant[1:]) % 3 == 0
    return Interface(
        id=grant,
        supplier="supplier",
        dataset=grant,
        upstream="http://10.0.0.1:80/rows" if is_stream else "http://10.0.0.1:80/one",
        format=AnswerFormat.NDJSON if is_stream else AnswerFormat.JSON,
        methods=("GET", "POST"),
        places={"xm": "/xm", "gmsfhm": "/gmsfhm"},
        plain_http=True,
        first_byte_timeout_seconds=2.0,
        concurrency=16,
    )


LIMITS = Limits(queue_seconds=1.0, tick_seconds=0.25)
_CALLER = Caller("s", "d", Assurance.BEARER, "c", 1 << 40)


class Worker:
    """A worker process: the real data plane, its link, and what the real worker does with changes.

    Identity and Cedar are left out: everybody is the same caller, and a verdict is what the state says of a grant.
    """

    def __init__(self, node: Any, name: str) -> None:
        self.node = node
        self.name = name
        self.process = process = node.new_process(name)
        self.loop = Loop(process)
        self.loop.connect = self._connect
        self.loop.dial = self._dial
        self.pulse = SimulatedPulse()
        self.callers: set[CallerEnd] = set()
        self.wires: list[Wire] = []
        self.is_cut_off = False
        self._engine = SimulatedEngine(self)
        self._resolver = Resolver(self._read, self._executor, lambda _: self._reach)  # type: ignore[arg-type]
        self._identifier = self._policies = SimpleNamespace(
            forget=lambda _: None, forget_all=lambda: None, changed=lambda _: None
        )
        self._words = SimpleNamespace(drop=lambda _: False, drop_all=lambda: None)
        self._no_policies = self._checks = None
        self._reach = Reach(("10.0.0.1",), None, "", Credential(self) if node.history.is_rich else None)
        self._meter = SimulatedMeter(node.view.lease_quota, self._executor, lambda: 1e9)  # type: ignore[arg-type]
        self._meter.owner = self
        self._plane: SimulatedPlane
        self.link = Link(
            Path("control.sock"),
            name,
            lambda change: RealWorker._apply(self, change),  # type: ignore[arg-type]
            on_reset=lambda sequence: RealWorker._drop_everything(self, sequence),  # type: ignore[arg-type]
            on_stale=lambda: self._cut_all("the lease on the state has run out"),
            pulse=self.pulse,
            kernel_end=SimulatedKernelEnd(process),
            clock=process.machine.clock,
        )
        self.watched = SimulatedWatched(self)
        process.soon(self._start, process.world.random.uniform(0.1, 0.4))

    def _cut_all(self, reason: str, *, decided: bool = True) -> None:
        RealWorker._cut_all(self, reason, decided=decided)  # type: ignore[arg-type]

    def _start(self) -> None:
        world = self.process.world
        asyncio._set_running_loop(self.loop)
        self._plane = SimulatedPlane(
            self,
            identify=self._identify,
            resolve=self._resolver,
            reach=self._resolver.reach,
            decide=Decider(self._engine, self._executor, lambda: 0.0),  # type: ignore[arg-type]
            seal=lambda call, scenario, operator, _: Said(call.purpose, scenario, operator),
            ledger=Journal(self),
            meter=self._meter,
            pseudonym=lambda _: "",
            is_fresh=self.link.is_fresh,
            limits=LIMITS,
            digest_key=bytes(32),
            clock=lambda: int((world.now + 1e9) * 1e9),
            ticks=lambda: int(world.now * 1e9),
        )
        self._task = self.loop.create_task(self.link.run())
        asyncio._set_running_loop(None)
        self.watched.is_ready = True
        self._beat()
        self._call()

    def _identify(self, *_: Any) -> Caller | Awaitable[Caller]:
        random = self.process.world.random
        if not self.node.history.is_rich or random.random() < 0.8:
            return _CALLER

        async def look_up() -> Caller:
            await asyncio.sleep(random.uniform(0.001, 0.1))
            return _CALLER

        return look_up()

    def under_way(self) -> set[str]:
        """The records of what it still does, and of answers that are still on their way."""
        exchanges = [each.exchange for each in self._plane._connections if each.exchange is not None]
        exchanges += [exchange for each in self._plane._connections for _, exchange in each.leaving.waiting]
        return {exchange._record for exchange in exchanges if exchange._record is not None}

    def _beat(self) -> None:
        self.pulse.beat(self.process.world.now)
        self.process.soon(self._beat, 0.2)

    def _call(self) -> None:
        """Callers come now and then, for whatever grants."""
        random = self.process.world.random
        if len(self.callers) < 3:
            self._connected([random.choice(self.node.history.grants) for _ in range(random.choice([1, 1, 3]))])
        self.process.soon(self._call, random.uniform(0.05, 0.4))

    def _connected(self, grants: list[str]) -> None:
        caller = CallerEnd(self, grants)
        connection = CallerConnection(self._plane)
        caller.socket.protocol = connection
        self.callers.add(caller)
        self.loop.call_soon(connection.connection_made, caller.socket)
        caller.begin()

    def _asks(self, request: bytes) -> None:
        if b"Sharing-Record: " in request:
            self.node.history.asks(self, request.split(b"Sharing-Record: ", 1)[1].split(b"\r\n", 1)[0].decode())

    async def _dial(self, factory: Any) -> Any:
        """A connection to the supplier."""
        world = self.process.world
        socket = Socket(self.loop, self.process, 1 << 16, lambda: 0.0005, self._asks)
        socket.peer = SupplierEnd(self.node.history, socket)
        made = self.loop.create_future()
        pause = world.random.choice([0.0005, 0.0005, 0.0005, 0.4])
        world.after(pause, lambda: self.loop.call_soon(lambda: made.done() or made.set_result(None)))
        try:
            await made
        except asyncio.CancelledError:
            socket._closed()
            raise
        protocol = socket.protocol = factory()
        protocol.connection_made(socket)
        if socket.unread:
            socket._read_soon()
        return socket, protocol

    def _read(self, _supplier: str, grant: str) -> Any:
        if State.kind_of(grant) is ChangeKind.INTERFACE and not self.node.view.stands(grant):
            return None
        self.node.view.sequence()
        return _interface(grant)

    def _executor(self, function: Any, args: Any, future: Any) -> None:
        """A thread reads the state: it asks now or a little later, and the answer comes later still."""
        world = self.process.world

        def ask() -> None:
            try:
                answer, error = function(*args), None
            except GatewayError as failed:
                answer, error = None, failed

            def answered() -> None:
                if not future.done():
                    future.set_result(answer) if error is None else future.set_exception(error)

            world.after(self.node.latency(), lambda: self.loop.call_soon(answered))

        self.process.soon(ask, self.node.latency())

    async def _connect(self, factory: Any) -> Any:
        control = self.node.control
        if self.is_cut_off or control is None or control.process.is_dead or not control.is_up:
            raise ConnectionRefusedError
        return connect(self, control, factory)

    def tear(self) -> None:
        """Its connections to the control process break."""
        for wire in self.wires:
            if wire.is_open:
                wire.loop.call_soon(wire.abort)
