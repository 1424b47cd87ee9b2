"""Nodes of the simulation: the real hub, link, feed, barrier, roll and watch-dog over simulated processes and sockets.

A node is a supervisor, a control process and two workers. A worker streams to slow callers: what it writes lies in its
kernel, which goes on delivering while the process stands still, and drops it when the process is killed or the socket
is closed. What a stop promised is asked at every octet (here: piece) that leaves a kernel.
"""

import asyncio
import struct
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gateway.control.barrier.barrier import Barrier
from gateway.control.barrier.feed import Feed
from gateway.control.barrier.hub import Hub
from gateway.control.barrier.hub_link import HubLink
from gateway.control.barrier.pulse import Pulse
from gateway.control.barrier.settling import Process as Known
from gateway.domain.changes import Change
from gateway.domain.errors import GatewayError
from gateway.policy.live.quotas import QuotaMeter
from gateway.runtime.supervision.watch_dog import LOOK_SECONDS, Watched
from gateway.runtime.worker.kernel_end import KernelEnd
from gateway.runtime.worker.link import Link
from gateway.runtime.worker.resolver import Resolver, is_touched
from tests.simulation.loop import Loop, Machine, Process, World, step_through
from tests.simulation.state import State, View

FRESHNESS = 2.0
KERNEL_PIECES = 4
"""What the kernel holds for one caller at most."""
PACES = (1, 1, 15)
"""Some callers read so slowly that what a kernel holds for them lasts longer than a lease."""
QUOTA = 192
"""Rows that all metered grants have together; they are leased by threes, or as many as a draw needs."""
DIES_WITH_SUPERVISOR = True


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


class Wire(asyncio.Transport):
    """One end of a Unix socket between two processes; what is sent arrives in order, in its own time."""

    def __init__(self, loop: Loop, process: Process) -> None:
        super().__init__()
        self.loop, self.process = loop, process
        self.protocol: Any = None
        self.peer: Wire
        self.is_open = True
        self._arrives = 0.0

    def write(self, data: Any) -> None:
        if self.is_open:
            self._to_peer(lambda: self.peer.protocol.data_received(data))

    def _to_peer(self, what: Callable[[], None]) -> None:
        world = self.process.world
        late = world.random.uniform(0.0, self.process.machine.lateness) if self.process.machine.lateness else 0.0
        self._arrives = max(self._arrives, world.now + late + world.random.expovariate(1000.0))
        peer = self.peer

        def arrive() -> None:
            if not peer.process.is_dead:
                peer.loop.call_soon(lambda: what() if peer.is_open else None)

        world.at(self._arrives, arrive)

    def abort(self) -> None:
        if self.is_open:
            self.is_open = False
            self.loop.call_soon(self.protocol.connection_lost, None)
            self._to_peer(self.peer.lost)

    close = abort

    def lost(self) -> None:
        if self.is_open:
            self.is_open = False
            self.protocol.connection_lost(None)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return SimpleNamespace(getsockopt=lambda *_: struct.pack("3i", self.peer.process.pid, 0, 0))


def connect(worker: "Worker", control: "Control", factory: Any) -> Any:
    """Both ends of a new connection."""
    near, far = Wire(worker.loop, worker.process), Wire(control.loop, control.process)
    near.peer, far.peer = far, near
    near.protocol, far.protocol = factory(), HubLink(control.hub)
    for one, other in ((near, far), (far, near)):
        one.process.on_death.append(lambda one=one, other=other: one._to_peer(other.lost) if one.is_open else None)
    near.protocol.connection_made(near)
    control.loop.call_soon(far.protocol.connection_made, far)
    worker.wires.append(near)
    return near, near.protocol


class Stream:
    """An answer on its way to a caller that reads slowly."""

    def __init__(self, worker: "Worker", grant: str) -> None:
        self.worker, self.grant = worker, grant
        self.held = 0
        self.pace = worker.process.world.random.choice(PACES)
        self.is_open = True
        self.use: Any = SimpleNamespace(
            call=SimpleNamespace(system="s", department="d", dataset="t"),
            verdict=SimpleNamespace(grant=grant),
            supplier="supplier",
        )
        worker.process.on_death.append(self.drop)
        worker.streams.add(self)
        if worker.node.history.is_rich:
            # It has an end; else few calls would be made.
            worker.process.soon(self.cut, worker.process.world.random.uniform(0.1, 0.8))
        self._deliver()
        self._release()

    def drop(self) -> None:
        """The socket is closed: what was not sent goes with it."""
        self.is_open = False
        self.held = 0

    def cut(self) -> None:
        """As a transport's `abort`: nothing more is written, and the socket is closed in the loop's next turn."""
        self.worker.streams.discard(self)
        self.worker.loop.call_soon(self.drop)

    def _release(self) -> None:
        """The worker writes another piece, if it may."""
        worker = self.worker
        if not self.is_open or self not in worker.streams:
            return
        if worker.link.is_fresh():
            if self.held < KERNEL_PIECES:
                self.held += 1
                worker.node.history.released(worker, self.grant)
        else:
            self.cut()
            return
        worker.process.soon(self._release, worker.process.world.random.uniform(0.02, 0.08))

    def _deliver(self) -> None:
        """The kernel sends a piece when the caller has read one, whatever the process does."""
        machine = self.worker.process.machine
        if not self.is_open:
            return
        if self.held and not machine.is_asleep:
            self.held -= 1
            self.worker.node.history.delivered(self.worker, self.grant)
        pause = machine.world.random.uniform(0.04, 0.12) * self.pace
        machine.world.after(pause, lambda: machine.when_awake(self._deliver))


_METERED: Any = SimpleNamespace(otherwise=None, meter="quota", calls_a_day=None, rows_a_day=QUOTA)


class Worker:
    """A worker process: its end of the control socket, and what it streams."""

    def __init__(self, node: "Node", name: str) -> None:
        self.node = node
        self.name = name
        self.process = process = node.new_process(name)
        self.loop = Loop(process)
        self.loop.connect = self._connect
        self.pulse = SimulatedPulse()
        self.streams: set[Stream] = set()
        self.wires: list[Wire] = []
        self.is_cut_off = False
        self.cuts = 0
        self.resolver = Resolver(self._read, self._executor, lambda _: None)  # type: ignore[arg-type, return-value]
        self.meter = QuotaMeter(node.view.lease_quota, self._executor, lambda: 1e9)  # type: ignore[arg-type]
        self.link = Link(
            Path("control.sock"),
            name,
            self._apply,
            on_reset=self._drop_everything,
            on_stale=lambda: self._cut(lambda _: True),
            pulse=self.pulse,
            kernel_end=SimulatedKernelEnd(process),
            clock=process.machine.clock,
        )
        self.watched = SimulatedWatched(self)
        process.soon(self._start, process.world.random.uniform(0.1, 0.4))

    def _start(self) -> None:
        asyncio._set_running_loop(self.loop)
        self._task = self.loop.create_task(self.link.run())
        asyncio._set_running_loop(None)
        self.watched.is_ready = True
        self._beat()
        self._call()

    def _beat(self) -> None:
        self.pulse.beat(self.process.world.now)
        self.process.soon(self._beat, 0.2)

    def _call(self) -> None:
        """Callers come now and then, for whatever grant."""
        random = self.process.world.random
        if len(self.streams) < 3:
            self.loop.create_task(self._answer(random.choice(self.node.history.grants)))
        self.process.soon(self._call, random.uniform(0.05, 0.4))

    async def _answer(self, grant: str) -> None:
        if not self.link.is_fresh():
            return
        try:
            found = self.resolver("supplier", grant)
            if asyncio.isfuture(found) or hasattr(found, "__await__"):
                found = await found
            if self.node.history.is_metered(grant):
                rows, cuts = self.process.world.random.randrange(1, 7), self.cuts
                drawn = self.meter.draw_rows(_METERED, rows)
                if not (drawn if isinstance(drawn, bool) else await drawn):
                    return
                self.node.history.drew(self, rows)
                if cuts != self.cuts:
                    return  # as `Plane.cut` has it of a use that waits
        except GatewayError:
            return
        if self.link.is_fresh():
            Stream(self, grant)

    def _read(self, supplier: str, grant: str) -> Any:
        return SimpleNamespace(supplier=supplier, id=grant) if self.node.view.stands(grant) else None

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

    # What the real worker does with a change (`gateway.runtime.worker.worker`), without identity and policies.

    def _apply(self, change: Change) -> None:
        self.resolver.drop(change)
        if change.withdraws:
            self._cut(lambda use: is_touched(change, use))

    def _drop_everything(self, _sequence: int) -> None:
        self.resolver.drop_all()
        self._cut(lambda _: True)

    def _cut(self, matches: Callable[[Any], bool]) -> None:
        self.cuts += 1
        for stream in list(self.streams):
            if matches(stream.use):
                stream.cut()

    def tear(self) -> None:
        """Its connections to the control process break."""
        for wire in self.wires:
            if wire.is_open:
                wire.loop.call_soon(wire.abort)


class SimulatedHub(Hub):
    """The hub, but that processes are simulated ones."""

    def __init__(self, control: "Control", **options: Any) -> None:
        super().__init__(Path("control.sock"), **options)
        self._control = control
        self._kill = True

    def begin(self, position: int, history: str) -> None:
        self._roster.position = position
        self._history = history
        for worker in self._control.node.living():
            self.called(worker)

    def called(self, worker: Worker) -> None:
        """The supervisor tells of a process."""
        process = worker.process
        if process.is_dead:
            return
        self._processes[process.pid] = Known(worker.name, worker.pulse.read)
        own, loop = self._control.process, self._control.loop
        process.on_death.append(lambda: None if own.is_dead else loop.call_soon(self.process_ended, process.pid))

    def _end(self, pid: int, name: str) -> None:
        for worker in self._control.node.living():
            if worker.process.pid == pid:
                worker.process.kill(f"the hub ended {name}")

    def _release(self, pid: int) -> None:
        self._processes.pop(pid, None)


class Control:
    """A control process: hub, feed, barrier."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        self.process = process = node.new_process("control")
        self.loop = Loop(process)
        clock = process.machine.clock
        self.is_up = False
        self.hub = SimulatedHub(
            self,
            freshness=FRESHNESS,
            after_another=not node.is_first,
            roll=object(),
            clock=clock,
            loop=self.loop,
        )
        node.is_first = False
        self.feed = Feed(
            node.view, self.hub, node=node.name, book=node.view, now=lambda: node.world.now + 1000, clock=clock
        )
        self.barrier = Barrier(
            self.hub,
            self.feed.tell,
            node=node.name,
            nodes=node.view,
            freshness=FRESHNESS,
            clock=clock,
            now=lambda: 0.0,
        )
        step_through(process, self._start(), node.latency, lambda: False)

    def _start(self) -> Generator[Any, None, None]:
        feed, view = self.feed, self.node.view
        try:
            feed._timeline = view.timeline()
            yield 0
            feed._position = view.sequence()
            yield 0
            feed._last_beat = max((n.beat_unix for n in view.nodes() if n.id == self.node.name), default=0.0)
        except GatewayError:
            self.process.kill("it cannot read the state")
            return
        self.hub.begin(feed._position, feed._timeline)
        self.is_up = True
        step_through(self.process, feed.readings(), self.node.latency, self._is_woken)
        step_through(self.process, feed.acknowledgements(), self.node.latency, self._has_moved)

    def _is_woken(self) -> bool:
        if self.feed._wake.is_set():
            self.feed._wake.clear()
            return True
        return False

    def _has_moved(self) -> bool:
        if self.feed._moved.is_set():
            self.feed._moved.clear()
            return True
        return False

    def suspend(self, grant: str, sequence: int, ended: Callable[[int, bool], None]) -> None:
        """Suspend a grant, or ask again for what was: `ended` is told the change and whether the call returned."""

        def act() -> Generator[Any, None, None]:
            at = sequence
            changes: list[Change] = []
            try:
                yield 0
                if not at:
                    changes = [self.node.view.commit(grant)]
                    at = changes[0].sequence
                    self.node.history.committed(grant, at)
                    yield 0
                steps = self.barrier.steps(at, changes)
                for seconds, future in steps:
                    if future is None:
                        yield seconds
                    else:
                        until = self.node.world.now + seconds
                        while not future.done() and self.node.world.now < until:
                            yield 0.005
            except GatewayError:
                ended(at, False)
                return
            ended(at, True)

        step_through(self.process, act(), self.node.latency, lambda: False)


class Node:
    """One node: supervisor, control process, two workers."""

    def __init__(self, history: Any, name: str) -> None:
        self.history = history
        self.world: World = history.world
        self.name = name
        self.machine = Machine(self.world, name)
        self.view = View(history.state, name)
        self.control: Control | None = None
        self.workers: dict[str, Worker] = {}
        self._pid = 0
        self.start()

    def latency(self) -> float:
        """Of one question to the state."""
        return self.world.random.expovariate(300.0)

    def new_process(self, name: str) -> Process:
        self._pid += 1
        return Process(self.machine, f"{self.name}/{name}", self._pid)

    def start(self) -> None:
        """A supervisor starts, and all its children; none of an earlier one lives."""
        self.is_first = True
        self.supervisor = self.new_process("supervisor")
        children: list[Process] = []
        if DIES_WITH_SUPERVISOR:
            self.supervisor.on_death.append(lambda: [child.kill("its supervisor is dead") for child in children])
        # The service manager starts it again.
        self.supervisor.on_death.append(lambda: self.world.after(self.world.random.uniform(0.5, 1.5), self.start))
        self._children = children
        self._start_control()
        for number in range(2):
            self._start_worker(f"worker-{number}")
        self._look(self.supervisor)

    def _start_control(self) -> None:
        self.control = Control(self)
        self._children.append(self.control.process)
        self._restart(self.control.process, self._start_control)

    def _start_worker(self, name: str) -> None:
        worker = self.workers[name] = Worker(self, name)
        self._children.append(worker.process)
        if self.control is not None and self.control.is_up and not self.control.process.is_dead:
            self.control.loop.call_soon(self.control.hub.called, worker)
        self._restart(worker.process, lambda: self._start_worker(name))

    def _restart(self, process: Process, start: Callable[[], None]) -> None:
        supervisor = self.supervisor
        process.on_death.append(
            lambda: supervisor.soon(lambda: supervisor.soon(start, self.world.random.uniform(0.1, 0.6)))
        )

    def _look(self, supervisor: Process) -> None:
        """The supervisor's watch-dog."""
        for worker in self.living():
            fault = worker.watched.fault(self.machine.clock())
            if fault is not None:
                worker.process.kill(f"the supervisor ended it: {fault}")
        supervisor.soon(lambda: self._look(supervisor), LOOK_SECONDS)

    def living(self) -> list[Worker]:
        """The roll."""
        return [worker for worker in self.workers.values() if not worker.process.is_dead]

    def sleep(self, seconds: float) -> None:
        """The machine stands still, kernels and all."""
        self.machine.is_asleep = True
        self.world.tell(f"{self.name} sleeps")

        def wake() -> None:
            self.world.tell(f"{self.name} wakes")
            self.machine.wake()

        self.world.after(seconds, wake)


__all__ = ["Control", "Node", "State", "Worker"]
