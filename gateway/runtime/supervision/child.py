"""One child process of the supervisor, and its restarts."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from gateway.domain.errors import GatewayError

log = logging.getLogger("gateway.supervisor")

AGAIN_SECONDS = 0.5
"""Between two starts of a child whose database does not answer."""
START_SECONDS = 30.0
"""How long a child may take to say `ready`; migrations of a large state run before that."""
PAUSES_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SETTLED_SECONDS = 30.0
STATUS_SECONDS = 1.0
"""How long the status of a process that has ended is waited for."""


class Handed(Protocol):
    """What each process of a child is handed anew."""

    def arguments(self) -> list[str]:
        """Further arguments."""

    def descriptors(self) -> tuple[int, ...]:
        """Descriptors that it inherits besides."""

    def started(self, pid: int) -> None:
        """The process runs."""

    def ready(self) -> None:
        """It has said that it is ready."""

    def ended(self, failures: int) -> None:
        """It has ended; `failures` processes in a row were never ready."""


class Plan(msgspec.Struct, frozen=True):
    """How a child is started.

    Args:
        name: `ledger`, `control`, `exporter` or `worker-N`; it stands in logs, sockets and journals.
        arguments: what `gateway.runtime.process` is started with.
        descriptors: file descriptors it inherits.
        stop_seconds: how long it may take to end when told to; then it is killed.
        hand: makes what the next process is handed; None where that is nothing.
    """

    name: str
    arguments: list[str]
    descriptors: tuple[int, ...]
    stop_seconds: float
    hand: Callable[[], Handed] | None = None


class Child:
    """One child process and its restarts.

    Args:
        plan: how it is started.
        on_restart: called after it was started again.
    """

    def __init__(self, plan: Plan, on_restart: Callable[[], None]) -> None:
        self.name = plan.name
        self.hello: dict[str, Any] = {}
        self.restarts = 0
        self._plan = plan
        self._on_restart = on_restart
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False
        self._handed: Handed | None = None
        self._failures = 0

    @property
    def pid(self) -> int | None:
        """The process id, while it lives."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self, patience_seconds: float = 0.0) -> None:
        """Start the child and wait until it is ready; raises `unavailable` with its own sentence where it is not.

        Args:
            patience_seconds: for how long it is started again where it says that something it needs does not answer.
        """
        until, told = time.monotonic() + patience_seconds, ""
        while True:
            try:
                await self._spawn()
                break
            except GatewayError as error:
                left = until - time.monotonic()
                if left <= 0 or self.hello.get("code") != "unavailable":
                    raise
                if error.detail != told:
                    told = error.detail
                    log.warning("%s waits up to %.0f s: %s", self.name, left, told)
                await asyncio.sleep(AGAIN_SECONDS)
        self._watch = asyncio.create_task(self._keep(), name=f"watch {self.name}")

    async def _spawn(self) -> None:
        handed = self._handed = self._plan.hand() if self._plan.hand is not None else None
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.runtime.process",
            *self._plan.arguments,
            "--parent",
            str(os.getpid()),
            *(() if self.restarts else ("--first",)),
            *(handed.arguments() if handed is not None else ()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=self._plan.descriptors + (handed.descriptors() if handed is not None else ()),
            start_new_session=True,
        )
        if handed is not None:
            handed.started(self._process.pid)
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), START_SECONDS)
            self.hello = json.loads(line) if line else {}
        except (TimeoutError, ValueError):
            self.hello = {}
        if not self.hello.get("ready"):
            await self._end()
            self._failures += 1
            self._has_ended()
            faults = {"faults": self.hello["faults"]} if self.hello.get("faults") else {}
            said = self.hello.get("failed") or f"the {self.name} process did not start"
            raise GatewayError("unavailable", said, **faults)
        self._failures = 0
        if handed is not None:
            handed.ready()

    def _has_ended(self) -> None:
        handed, self._handed = self._handed, None
        if handed is not None:
            handed.ended(self._failures)

    async def _keep(self) -> None:
        pause = 0
        while True:
            assert self._process is not None
            since = time.monotonic()
            status = await _end_of(self._process)
            if self._stopping:
                return
            self._has_ended()
            pause = 0 if time.monotonic() - since > SETTLED_SECONDS else min(pause + 1, len(PAUSES_SECONDS) - 1)
            log.error("%s ended with status %s; starting it again", self.name, status)
            await asyncio.sleep(PAUSES_SECONDS[pause])
            self.restarts += 1
            try:
                await self._spawn()
            except GatewayError as error:
                log.error("%s", error.detail)
            else:
                self._on_restart()

    async def stop(self) -> None:
        """Tell the child to end, wait for it, and kill it where it does not."""
        self._stopping = True
        await self._end()
        if self._watch:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(_end_of(process), self._plan.stop_seconds)
        except TimeoutError:
            log.error("%s did not end in %.0f s; killing it", self.name, self._plan.stop_seconds)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await _end_of(process)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child, if it lives."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


async def _end_of(process: asyncio.subprocess.Process) -> int | None:
    """Wait for the end of the process itself; its status, None where that is not known.

    `process.wait` waits for its pipes too, and would wait for as long as anybody else holds their other end.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    if not hasattr(os, "pidfd_open"):
        return await process.wait()
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    # A thread of asyncio's takes the status.
    for _ in range(100):
        status: int | None = process.returncode
        if status is not None:
            return status
        await asyncio.sleep(STATUS_SECONDS / 100)
    return None
