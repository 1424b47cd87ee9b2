"""Starts the children, watches them, restarts the one that dies, and drains them all at the end.

Order of start: ledger and control (and the trace exporter, where there is one), then the workers; of stop: workers
(they drain), control, ledger, exporter. A child that dies is restarted alone, after a pause that grows from 0.1 s to
5 s while it keeps dying and is forgotten once it has been ready for 30 s. A worker that no longer cuts or whose loop
stands is ended and replaced, see `watch_dog`. Children end with their supervisor, however it ends.

The data plane's sockets are bound here, once, and handed to the workers: a connection that waits in the queue of a dead
worker is served by its successor. Where that cannot start, its socket ceases to listen: no call waits for nobody.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from gateway.domain.errors import GatewayError
from gateway.proxy.kernel import cease_to_listen
from gateway.runtime.home import CLOSED, GatewayHome, HomeLock
from gateway.runtime.settings import Settings
from gateway.runtime.start.exposure import findings
from gateway.runtime.start.holders import holders_of
from gateway.runtime.start.incarnation import require_own_state
from gateway.runtime.supervision.child import Child, Handed, Plan
from gateway.runtime.supervision.watch_dog import REASONS, WatchDog, Watched
from gateway.runtime.telemetry.metrics import MetricSet, Publisher, clear_snapshots

log = logging.getLogger("gateway.supervisor")

STOP_SECONDS = 10.0
"""How long a child may take to end after its drain; then it is killed."""
STATE_SECONDS = 60.0
"""How long a start waits for a database that does not answer: one that starts later, or that another one takes over."""
LOCK_SECONDS = 2.0
"""How long a start waits for the children of a supervisor that was killed: the kernel ends them with it."""
BACKLOG = 1024


class _WorkerHand:
    """What each process of one worker is handed: pages that only it writes, and its socket.

    Args:
        supervisor: whose.
        name: `worker-N`.
        listener: the socket.
        checks: the one for those who carry calls themselves; None where there is none.
    """

    def __init__(
        self, supervisor: "Supervisor", name: str, listener: socket.socket, checks: socket.socket | None
    ) -> None:
        self._supervisor = supervisor
        self._listener = listener
        self._checks = checks
        self.watched = Watched(name)

    def arguments(self) -> list[str]:
        checks = [] if self._checks is None else ["--checks-fd", str(self._checks.fileno())]
        return ["--pulse-fd", str(self.watched.page), "--stack-fd", str(self.watched.stack), *checks]

    def descriptors(self) -> tuple[int, ...]:
        checks = () if self._checks is None else (self._checks.fileno(),)
        return (self.watched.page, self.watched.stack, *checks)

    def started(self, pid: int) -> None:
        self._supervisor.watch_dog.started(self.watched, pid)

    def ready(self) -> None:
        self.watched.is_ready = True
        self._supervisor.attended.add(self.watched.name)

    def ended(self, failures: int) -> None:
        attended = self._supervisor.attended
        attended.discard(self.watched.name)
        # Callers in its queue are served by its successor: not where that does not come and others can serve them.
        if failures > (0 if attended else 1):
            cease_to_listen(self._listener)
            if self._checks is not None:
                cease_to_listen(self._checks)


class _ControlHand:
    """What each control process is handed: the roll of those who may hold callers' sockets."""

    def __init__(self, watch_dog: WatchDog) -> None:
        self._roll = watch_dog.roll()

    def arguments(self) -> list[str]:
        return ["--roll-fd", str(self._roll.descriptor)]

    def descriptors(self) -> tuple[int, ...]:
        return (self._roll.descriptor,)

    def started(self, pid: int) -> None:  # noqa: ARG002 - as `Handed` has it
        self._roll.inherited()

    def ready(self) -> None:
        pass

    def ended(self, failures: int) -> None:
        pass


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
        self._tasks: list[asyncio.Task[None]] = []
        self.watch_dog = WatchDog()
        self.attended: set[str] = set()
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
        checks_of = self._settings.checks
        checks = _listeners(checks_of.host, checks_of.port, workers) if workers and checks_of.port is not None else []
        self._sockets = [*self._sockets, control, *checks]
        scheme = "https" if plane.tls_certificate else "http"
        addresses = self._addresses = {
            "pid": os.getpid(),
            "data_plane": f"{scheme}://{_authority(self._sockets[0])}" if workers else CLOSED,
            "control": f"{'https' if self._settings.control.tls_certificate else 'http'}://{_authority(control)}",
        }
        if checks:
            addresses["checks"] = f"{'https' if checks_of.tls_certificate else 'http'}://{_authority(checks[0])}"
        clear_snapshots(self._home.run / "metrics")
        self._public = self._settings.control.issuer or addresses["control"]
        exporter = [self._child("exporter", "exporter", STOP_SECONDS)] if self._settings.traces.endpoint else []
        self._tasks.append(asyncio.create_task(self.watch_dog.run(), name="watch-dog"))
        await self._add(
            *exporter,
            self._child("ledger", "ledger", STOP_SECONDS),
            self._child("control", "control", STOP_SECONDS, control, lambda: _ControlHand(self.watch_dog)),
        )
        beside: list[socket.socket] | list[None] = checks or [None] * workers
        pairs = zip(self._sockets[:workers], beside, strict=True)
        await self._add(*(self._worker(index, *pair) for index, pair in enumerate(pairs)))
        self._publish()
        publisher = Publisher(self._metrics, self._home.run / "metrics", [self._count], time.monotonic)
        self._tasks.append(asyncio.create_task(publisher.run(), name="metrics"))
        return addresses

    def _count(self) -> None:
        for child in self.children:
            self._metrics.gauge("gateway_process_up").set(int(child.pid is not None), (child.name,))
            self._metrics.counter("gateway_process_restarts_total").total(child.restarts, (child.name,))
            if child.name.startswith("worker-"):
                for reason in REASONS:
                    ended = self.watch_dog.ended.get((child.name, reason), 0)
                    self._metrics.counter("gateway_workers_ended_total").total(ended, (child.name, reason))

    def _publish(self) -> None:
        """Write the addresses again: a child that was started again has another process id."""
        self._addresses["children"] = {child.name: child.pid for child in self.children}
        self._home.publish(self._addresses)

    async def _add(self, *children: Child) -> None:
        """Start some children together and wait until all are ready; the first failure is raised."""
        self.children.extend(children)
        # The home's own state is a file, which does not come by itself.
        patience = STATE_SECONDS if self._home.is_shared(self._settings) else 0.0
        outcomes = await asyncio.gather(*(child.start(patience) for child in children), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    def _worker(self, index: int, listener: socket.socket, checks: socket.socket | None) -> Child:
        name = f"worker-{index}"
        seconds = self._settings.data_plane.drain_seconds + STOP_SECONDS
        return self._child(name, "worker", seconds, listener, lambda: _WorkerHand(self, name, listener, checks))

    def _child(
        self,
        name: str,
        role: str,
        stop_seconds: float,
        listener: socket.socket | None = None,
        hand: Callable[[], Handed] | None = None,
    ) -> Child:
        arguments = [role, "--home", str(self._home.root), "--name", name, "--issuer", self._public]
        descriptors: tuple[int, ...] = (self._lock.descriptor,)
        if listener is not None:
            arguments += ["--listen-fd", str(listener.fileno())]
            descriptors += (listener.fileno(),)
        return Child(Plan(name, arguments, descriptors, stop_seconds, hand), self._publish)

    async def stop(self) -> None:
        """Drain the workers together, then end the others."""
        workers = [child for child in self.children if child.name.startswith("worker-")]
        await asyncio.gather(*(child.stop() for child in workers))
        for child in reversed([child for child in self.children if child not in workers]):
            await child.stop()
        for task in self._tasks:
            task.cancel()
        self.watch_dog.close()
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
    _refuse_second(home)
    for each in findings(home, settings):
        log.error("%s; what to do: %s", each.what, each.advice)
    lock = home.lock(wait_seconds=LOCK_SECONDS)
    try:
        # Those of a supervisor that was killed would be taken for this one's.
        home.addresses_file.unlink(missing_ok=True)
        require_own_state(home, settings)
        asyncio.run(_serve(Supervisor(home, lock, settings, closed=closed), on_ready))
    finally:
        lock.release()


def _refuse_second(home: GatewayHome) -> None:
    """Say at once that another gateway runs here; the children of one that was killed are waited for instead."""
    running = home.addresses()
    pid = running.get("pid") if running else None
    if running is None or not isinstance(pid, int):
        return
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return
    except PermissionError:
        pass  # it is there, and another user's
    names = ", ".join(map(str, holders_of(home.run / "lock"))) or f"process {pid}"
    raise GatewayError(
        "conflict",
        f"another gateway runs in `{home.root}` ({names}; control plane {running['control']}): stop it first, "
        "or use another home",
    )


async def _serve(supervisor: Supervisor, on_ready: Callable[[dict[str, Any]], None] | None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, supervisor.reload)
    starting, stopping = asyncio.ensure_future(supervisor.start()), asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return
    addresses = starting.result()
    if on_ready:
        on_ready(addresses)
    await stopping
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
            # A port that was chosen by number is kept by a socket that ceases to listen for a while.
            address = probe.getsockname()
        listeners: list[socket.socket] = []
        for _ in range(count):
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
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
