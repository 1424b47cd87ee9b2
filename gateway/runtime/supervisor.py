"""Starts the children, watches them, restarts the one that dies, and drains them all at the end.

Order of start: ledger and control (and the trace exporter, where there is one), then the workers; of stop: workers
(they drain), control, ledger, exporter. A child that dies is restarted alone, after a pause that grows from 0.1 s to
5 s while it keeps dying and is forgotten once it has been ready for 30 s. The data plane's listening sockets are opened
here, once, and handed to the workers: a connection that waits in the queue of a dead worker is served by its successor.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from gateway.domain.errors import GatewayError
from gateway.runtime.exposure import findings
from gateway.runtime.home import CLOSED, GatewayHome, HomeLock
from gateway.runtime.incarnation import require_own_state
from gateway.runtime.settings import Settings
from gateway.runtime.telemetry.metrics import MetricSet, Publisher, clear_snapshots

log = logging.getLogger("gateway.supervisor")

START_SECONDS = 30.0
"""How long a child may take to say `ready`; migrations of a large state run before that."""
STOP_SECONDS = 10.0
"""How long a child may take to end after its drain; then it is killed."""
PAUSES_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SETTLED_SECONDS = 30.0
BACKLOG = 1024


class Child:
    """One child process and its restarts.

    Args:
        name: `ledger`, `control`, `exporter` or `worker-N`; it stands in logs, sockets and journals.
        arguments: what `gateway.runtime.process` is started with.
        descriptors: file descriptors it inherits.
        stop_seconds: how long it may take to end when told to.
        on_restart: called after it was started again.
    """

    def __init__(
        self,
        name: str,
        arguments: list[str],
        descriptors: tuple[int, ...],
        stop_seconds: float,
        on_restart: Callable[[], None],
    ) -> None:
        self.name = name
        self._on_restart = on_restart
        self.hello: dict[str, Any] = {}
        self.restarts = 0
        self._arguments = arguments
        self._descriptors = descriptors
        self._stop_seconds = stop_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The process id, while it lives."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the child and wait until it is ready; raises `unavailable` with its own sentence where it is not."""
        await self._spawn()
        self._watch = asyncio.create_task(self._keep(), name=f"watch {self.name}")

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.runtime.process",
            *self._arguments,
            *(() if self.restarts else ("--first",)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=self._descriptors,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), START_SECONDS)
            self.hello = json.loads(line) if line else {}
        except (TimeoutError, ValueError):
            self.hello = {}
        if not self.hello.get("ready"):
            await self._end()
            faults = {"faults": self.hello["faults"]} if self.hello.get("faults") else {}
            said = self.hello.get("failed") or f"the {self.name} process did not start"
            raise GatewayError("unavailable", said, **faults)

    async def _keep(self) -> None:
        pause = 0
        while True:
            assert self._process is not None
            since = time.monotonic()
            status = await self._process.wait()
            if self._stopping:
                return
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
            await asyncio.wait_for(process.wait(), self._stop_seconds)
        except TimeoutError:
            log.error("%s did not end in %.0f s; killing it", self.name, self._stop_seconds)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child, if it lives."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Supervisor:
    """The children of one gateway.

    Args:
        home: where it lives.
        lock: the home's lock, which every child inherits.
        settings: in force until the next start.
        closed: whether no caller is served: no worker runs, and nobody listens on the data plane.
    """

    def __init__(self, home: GatewayHome, lock: HomeLock, settings: Settings, *, closed: bool = False) -> None:
        self._closed = closed
        self._home = home
        self._lock = lock
        self._settings = settings
        self._sockets: list[socket.socket] = []
        self._public = ""
        self._addresses: dict[str, Any] = {}
        self._metrics = MetricSet("supervisor")
        self._publishing: asyncio.Task[None] | None = None
        self.children: list[Child] = []

    async def start(self) -> dict[str, Any]:
        """Start everything; returns the addresses. On failure nothing is left running."""
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> dict[str, Any]:
        plane = self._settings.data_plane
        workers = 0 if self._closed else plane.workers
        self._sockets = _listeners(plane.host, plane.port, workers) if workers else []
        control = _listeners(self._settings.control.host, self._settings.control.port, 1)[0]
        self._sockets = [*self._sockets, control]
        scheme = "https" if plane.tls_certificate else "http"
        addresses = self._addresses = {
            "pid": os.getpid(),
            "data_plane": f"{scheme}://{_authority(self._sockets[0])}" if workers else CLOSED,
            "control": f"{'https' if self._settings.control.tls_certificate else 'http'}://{_authority(control)}",
        }
        clear_snapshots(self._home.run / "metrics")
        self._public = self._settings.control.issuer or addresses["control"]
        exporter = [self._child("exporter", "exporter", STOP_SECONDS)] if self._settings.traces.endpoint else []
        await self._add(
            *exporter,
            self._child("ledger", "ledger", STOP_SECONDS),
            self._child("control", "control", STOP_SECONDS, control),
        )
        await self._add(
            *(
                self._child(f"worker-{index}", "worker", plane.drain_seconds + STOP_SECONDS, listener)
                for index, listener in enumerate(self._sockets[:workers])
            )
        )
        self._publish()
        publisher = Publisher(self._metrics, self._home.run / "metrics", [self._count], time.time)
        self._publishing = asyncio.create_task(publisher.run(), name="metrics")
        return addresses

    def _count(self) -> None:
        for child in self.children:
            self._metrics.gauge("gateway_process_up").set(int(child.pid is not None), (child.name,))
            self._metrics.counter("gateway_process_restarts_total").total(child.restarts, (child.name,))

    def _publish(self) -> None:
        """Write the addresses again: a child that was started again has another process id."""
        self._addresses["children"] = {child.name: child.pid for child in self.children}
        self._home.publish(self._addresses)

    async def _add(self, *children: Child) -> None:
        """Start some children together and wait until all are ready; the first failure is raised."""
        self.children.extend(children)
        outcomes = await asyncio.gather(*(child.start() for child in children), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    def _child(self, name: str, role: str, stop_seconds: float, listener: socket.socket | None = None) -> Child:
        arguments = [role, "--home", str(self._home.root), "--name", name, "--issuer", self._public]
        descriptors: tuple[int, ...] = (self._lock.descriptor,)
        if listener is not None:
            arguments += ["--listen-fd", str(listener.fileno())]
            descriptors += (listener.fileno(),)
        return Child(name, arguments, descriptors, stop_seconds, self._publish)

    async def stop(self) -> None:
        """Drain the workers together, then end the others."""
        if self._publishing is not None:
            self._publishing.cancel()
        workers = [child for child in self.children if child.name.startswith("worker-")]
        await asyncio.gather(*(child.stop() for child in workers))
        for child in reversed([child for child in self.children if child not in workers]):
            await child.stop()
        for listener in self._sockets:
            listener.close()
        self._home.addresses_file.unlink(missing_ok=True)

    def reload(self) -> None:
        """Tell every child to read its certificates and keys again."""
        for child in self.children:
            child.signal(signal.SIGHUP)


def serve(home: GatewayHome, *, closed: bool = False, on_ready: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Run a gateway in this process's children until SIGTERM or SIGINT; SIGHUP reloads certificates and keys.

    Args:
        home: where it lives.
        closed: serve officers and auditors, and no caller.
        on_ready: told the addresses once it answers.

    Raises:
        GatewayError: where it cannot start: one sentence that says why and what to do.
    """
    home.require()
    settings = home.settings()
    for each in findings(home, settings):
        log.error("%s; what to do: %s", each.what, each.advice)
    # The children of a killed supervisor end by themselves; its successor waits for them.
    lock = home.lock(wait_seconds=STOP_SECONDS)
    try:
        # Those of a supervisor that was killed would be taken for this one's.
        home.addresses_file.unlink(missing_ok=True)
        require_own_state(home, settings)
        asyncio.run(_serve(Supervisor(home, lock, settings, closed=closed), on_ready))
    finally:
        lock.release()


async def _serve(supervisor: Supervisor, on_ready: Callable[[dict[str, Any]], None] | None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, supervisor.reload)
    addresses = await supervisor.start()
    if on_ready:
        on_ready(addresses)
    await stop.wait()
    log.info("draining")
    await supervisor.stop()


def _listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` listening sockets on one address; refuses an address that another program listens on."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Without SO_REUSEPORT, so that another gateway of this user on the port is found and not joined.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        listeners: list[socket.socket] = []
        for _ in range(count):
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(listeners[0].getsockname() if listeners else address)
            listener.listen(BACKLOG)
            listener.setblocking(False)
            listeners.append(listener)
    except OSError as error:
        reason = (error.strerror or "refused").lower()
        raise GatewayError(
            "unavailable",
            f"cannot listen on {host}:{port}: {reason}; choose another port in gateway.toml or stop what uses it",
        ) from error
    return listeners


def _authority(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
