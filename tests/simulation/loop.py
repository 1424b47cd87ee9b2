"""Processes on a virtual clock: each has an event loop of its own whose turns a seeded scheduler orders.

Why not `simloop` (0.2.2) or `simloom` (0.5.0): both ask for Python 3.12, and we run on 3.11; and both know one loop for
the whole world, while the faults that matter here are of processes: one that stands still while its kernel goes on
delivering, one that is killed with its sockets, one whose timer the kernel keeps.
"""

import asyncio
import heapq
import inspect
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


class World:
    """Virtual time, and what happens at which moment.

    Args:
        seed: of everything that is left to chance.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.story: list[str] = []
        self.sockets: list[Any] = []
        self.events = 0
        self.is_over = False
        self._heap: list[tuple[float, int, Process | None, Callable[[], None]]] = []
        self._number = 0
        self._begun: list[Coroutine[Any, Any, Any]] = []

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Note what some process is about to do, so that it can be put away if it never comes to it."""
        self._begun.append(coroutine)

    def put_away(self) -> None:
        """End what never came to its first step: Python warns of it later, in whichever test collects it."""
        for coroutine in self._begun:
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()
        self._begun.clear()

    def at(self, moment: float, what: Callable[[], None], process: "Process | None" = None) -> None:
        """Let something happen: in a turn of a process, where one is named."""
        self._number += 1
        heapq.heappush(self._heap, (max(self.now, moment), self._number, process, what))

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self.at(self.now + seconds, what)

    def tell(self, what: str) -> None:
        """Put a line into the story."""
        self.story.append(f"{self.now:8.4f} {what}")

    def run(self, until: float) -> None:
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until and not self.is_over:
            self.now, _, process, what = pop(heap)
            self.events += 1
            if process is None:
                what()
            else:
                process.do(what)
        if not self.is_over:
            self.now = until


class Machine:
    """What processes of one node share: clocks, and whether the machine sleeps.

    Args:
        world: of it.
        name: of the node.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.is_asleep = False
        self.lateness = 0.0
        self._offset = world.random.uniform(100, 10_000)
        self._rate = 1.0 + world.random.uniform(-1e-4, 1e-4)
        self._woken: list[Callable[[], None]] = []

    def clock(self) -> float:
        """The clock of leases: it drifts, never goes back, and goes on while the machine sleeps."""
        return self._offset + self.world.now * self._rate

    def moment(self, clock: float) -> float:
        """When its clock says so."""
        return (clock - self._offset) / self._rate

    def when_awake(self, what: Callable[[], None]) -> None:
        """Now, or once the machine wakes."""
        if self.is_asleep:
            self._woken.append(what)
        else:
            what()

    def wake(self) -> None:
        self.is_asleep = False
        woken, self._woken = self._woken, []
        for what in woken:
            what()


class Process:
    """One process: it runs, stands still or is dead. What it would do while it stands still it does afterwards.

    Args:
        machine: where it runs.
        name: `a/worker-0`.
        pid: its process id.
    """

    def __init__(self, machine: Machine, name: str, pid: int) -> None:
        self.machine = machine
        self.world = machine.world
        self.name = name
        self.pid = pid
        self.is_still = False
        self.is_dead = False
        self.slowness = 1.0
        self.on_death: list[Callable[[], None]] = []
        self._kept: list[Callable[[], None]] = []

    def soon(self, what: Callable[[], None], seconds: float = 0.0) -> None:
        """Let it do something after `seconds`, and after as long as it takes to get its turn."""
        world = self.world
        world.at(world.now + seconds + world.random.expovariate(2000.0) * self.slowness, what, self)

    def do(self, what: Callable[[], None]) -> None:
        """Do it now, unless something keeps the process from it."""
        if self.is_dead:
            return
        if self.is_still or self.machine.is_asleep:
            self._kept.append(what)
            if self.machine.is_asleep and len(self._kept) == 1:
                self.machine.when_awake(self._take_up)
            return
        what()

    def stand_still(self) -> None:
        if not self.is_dead:
            self.is_still = True
            self.world.tell(f"{self.name} stands still")

    def go_on(self) -> None:
        """SIGCONT."""
        if self.is_dead:
            return
        if self.machine.is_asleep:
            self.machine.when_awake(self.go_on)
            return
        if self.is_still:
            self.world.tell(f"{self.name} goes on")
        self.is_still = False
        self._take_up()

    def _take_up(self) -> None:
        """Do what was kept, once nothing keeps it from it."""
        if self.is_dead or self.is_still:
            return
        kept, self._kept = self._kept, []
        for what in kept:
            self.soon(what)

    def kill(self, why: str) -> None:
        """SIGKILL: at once, whatever it does, unless the machine sleeps."""
        if self.is_dead:
            return
        if self.machine.is_asleep:
            self.machine.when_awake(lambda: self.kill(why))
            return
        self.is_dead = True
        self.world.tell(f"{self.name} is dead: {why}")
        self._kept.clear()
        for what in self.on_death:
            what()


class Loop(asyncio.AbstractEventLoop):
    """The event loop of one process: as asyncio's, but that the world gives it its turns."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ready: deque[asyncio.Handle] = deque()
        self._has_turn = False
        self.connect: Callable[[Any], Any] | None = None
        self.dial: Callable[[Any], Any] | None = None
        self.faults: list[dict[str, Any]] = []

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self._process.machine.clock()

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._process.is_dead

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coroutine: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        self._process.world.begin(coroutine)
        return asyncio.Task(coroutine, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        # What a future held that nobody asks any more is told when it is collected: by chance, and of no consequence.
        if "handle" in context:
            self.faults.append(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is passed over when its time comes."""

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._ask_for_turn()
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)

        def due() -> None:
            if not handle.cancelled():
                self._ready.append(handle)
                self._ask_for_turn()

        # A rounding beneath the clock's resolution must not wake it too early.
        moment = self._process.machine.moment(when) + 1e-9
        self._process.world.at(moment, due)
        return handle

    async def create_unix_connection(self, factory: Any, path: str) -> Any:  # type: ignore[override]
        assert self.connect is not None
        return await self.connect(factory)

    async def create_connection(self, factory: Any, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        assert self.dial is not None
        return await self.dial(factory)

    def run_in_executor(self, executor: Any, function: Any, *args: Any) -> "asyncio.Future[Any]":
        future = self.create_future()
        executor(function, args, future)
        return future

    # Turns.

    def _ask_for_turn(self) -> None:
        if not self._has_turn:
            self._has_turn = True
            self._process.soon(self._turn)

    def _turn(self) -> None:
        """One turn: what was ready when it began."""
        self._has_turn = False
        asyncio._set_running_loop(self)
        try:
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                if not handle.cancelled() and not self._process.is_dead:
                    handle._run()
        finally:
            asyncio._set_running_loop(None)
        if self._ready:
            self._ask_for_turn()


class Bell:
    """As `threading.Event`, for a thread of the simulation: whoever waits for it goes on when it rings."""

    def __init__(self) -> None:
        self._is_set = False
        self.on_set: Callable[[], None] = lambda: None

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self.on_set()

    def clear(self) -> None:
        self._is_set = False


def step_through(process: Process, steps: Any, latency: Callable[[], float], bell: Bell | None = None) -> None:
    """Run a generator as a thread of the process: it yields for how long to wait, for what at most, or a future.

    Args:
        process: whose thread.
        steps: the generator; 0 is another question to the state, which takes `latency`; (seconds, future) waits for
            the future, not longer than so many seconds.
        latency: of a question, seconds.
        bell: ends a wait of seconds early.
    """

    def step() -> None:
        try:
            awaited = next(steps)
        except StopIteration:
            return
        if isinstance(awaited, float | int):
            seconds, future = awaited, None
        else:
            seconds, future = awaited if isinstance(awaited, tuple) else (None, awaited)
        if future is None and seconds <= 0:
            process.soon(step, latency())
            return
        over = False

        def go_on(*_: Any) -> None:
            nonlocal over
            if not over:
                over = True
                process.soon(step, latency())

        def rung() -> None:
            # A bell that rang while nobody waited is heard at the next wait.
            if not over and bell is not None and bell.is_set():
                bell.clear()
                go_on()

        if seconds is not None:
            process.soon(go_on, seconds)
        if future is not None:
            future.add_done_callback(go_on)
        elif bell is not None:
            bell.on_set = rung
            rung()

    process.soon(step, latency())
