"""Nodes of the simulation: the real hub, feed, barrier, roll and watch-dog over simulated processes.

A node is a supervisor, a control process and two workers (`workers`). What was promised is asked at every piece that
leaves a kernel (`history`).
"""

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from gateway.control.barrier.barrier import Barrier
from gateway.control.barrier.feed import Feed
from gateway.control.barrier.hub import Hub
from gateway.control.barrier.settling import Process as Known
from gateway.domain.errors import GatewayError
from gateway.runtime.supervision.watch_dog import LOOK_SECONDS
from tests.simulation.acts import Acts
from tests.simulation.loop import Bell, Loop, Machine, Process, World, step_through
from tests.simulation.state import View
from tests.simulation.workers import FRESHNESS, Worker

DIES_WITH_SUPERVISOR = True


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
        self.acts = Acts(node, process)
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
            node.view,
            self.hub,
            node=node.name,
            book=node.view,
            now=lambda: node.world.now + 1000 + node.clock_off,
            clock=clock,
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
        step_through(process, self._start(), node.latency)

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
        wake, moved = Bell(), Bell()
        feed._wake, feed._moved = wake, moved  # type: ignore[assignment]
        step_through(self.process, feed.readings(), self.node.latency, wake)
        step_through(self.process, feed.acknowledgements(), self.node.latency, moved)
        step_through(self.process, self._settle(), self.node.latency)

    def _settle(self) -> Generator[Any, None, None]:
        """Ask what became of acts in doubt, now and then."""
        while True:
            yield 1.0
            with contextlib.suppress(GatewayError):
                self.acts.settle()

    def suspend(self, grant: str, officer: str, ended: Callable[[int, str], None]) -> None:
        """Let an officer suspend a grant, or ask again: `ended` is told the change and why the call did not return."""

        def act() -> Generator[Any, None, None]:
            at = 0
            try:
                yield 0
                person = self.acts.signed_in(officer)
                # The head of the request is here; its body comes.
                yield self.node.world.random.choice([0.002, 0.002, 0.5])
                at, changes = self.acts.suspend(grant, person, f"suspend-{grant}")
                yield 0
                steps = self.barrier.steps(at, changes)
                for seconds, future in steps:
                    yield seconds if future is None else (seconds, future)
            except GatewayError as error:
                ended(at, error.code)
                return
            ended(at, "")

        step_through(self.process, act(), self.node.latency)


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
        # No process of the machine that this runs on has such a number: what asks its kernel learns that it is gone.
        self._pid = 1 << 23
        self.has_full_disk = False
        self.clock_off = 0.0
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
