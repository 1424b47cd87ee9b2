"""The barrier with real worker processes that stream while they are killed, stopped and cut off."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

import msgspec
import pytest

from gateway.control.barrier.hub import Hub
from gateway.control.barrier.wire import Applied, Changes, Down, Frames, Reset, Up
from tests.support.barrier import MemoryFeed, Node, arrived_bytes, read_to_end


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path, MemoryFeed())
    yield made
    made.close()


def test_barrier_returns_when_every_worker_has_cut(node: Node) -> None:
    """Two workers stream under the withdrawn grant and one under another: only the first two are cut, and at once."""
    first, second = node.worker("w1"), node.worker("w2")
    withdrawn = [first.stream("g1"), second.stream("g1")]
    other = first.stream("g2")
    report = node.barrier.hold(node.feed.commit("g1"))
    in_flight = [arrived_bytes(caller) for caller in withdrawn]
    assert [read_to_end(caller) for caller in withdrawn] == in_flight
    assert set(report.confirmed) == {"w1", "w2"}
    assert report.out == ()
    arrived = len(other.recv(1 << 16))
    assert arrived
    time.sleep(0.05)
    assert other.recv(1 << 16), "another grant's answer goes on"
    other.close()


def test_what_withdraws_nothing_ends_no_worker(node: Node) -> None:
    """A grant that was issued is told to every worker that answers; one that does not is not ended for it."""
    stopped, running = node.worker("stopped"), node.worker("running")
    stopped.process.send_signal(signal.SIGSTOP)
    changes = node.feed.commit("new", withdraws=False)
    assert node.barrier.hold(changes).sequence == 0
    time.sleep(1.2)
    assert node.hub.workers() == {"stopped": False, "running": True}
    assert stopped.process.poll() is None
    stopped.process.send_signal(signal.SIGCONT)
    assert running.process.poll() is None


def test_barrier_stopped_worker_is_out_after_its_lease(node: Node) -> None:
    """A worker stopped by SIGSTOP cannot answer: the call returns when its lease has run out, and nothing leaves."""
    stopped, running = node.worker("stopped"), node.worker("running")
    callers = [stopped.stream("g1"), running.stream("g1")]
    stopped.process.send_signal(signal.SIGSTOP)
    report = node.barrier.hold(node.feed.commit("g1"))
    in_flight = [arrived_bytes(caller) for caller in callers]
    with contextlib.suppress(ProcessLookupError):
        stopped.process.send_signal(signal.SIGCONT)
    assert [read_to_end(caller) for caller in callers] == in_flight
    assert report.out == ("stopped",)
    assert report.confirmed == ("running",)


def test_barrier_killed_worker_is_not_waited_for(node: Node) -> None:
    """A worker that was killed can release nothing: its lease is void at once."""
    killed, running = node.worker("killed"), node.worker("running")
    callers = [killed.stream("g1"), running.stream("g1")]
    killed.process.kill()
    killed.process.wait()
    report = node.barrier.hold(node.feed.commit("g1"))
    in_flight = [arrived_bytes(caller) for caller in callers]
    assert [read_to_end(caller) for caller in callers] == in_flight
    assert (report.confirmed, report.out) == (("running",), ())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_barrier_worker_lost_while_the_call_waits(node: Node, how: signal.Signals) -> None:
    """Workers are lost at random moments around the commit; whatever the moment, nothing leaves after the return."""
    worker = node.worker("w")
    caller = worker.stream("g1")
    timer = threading.Timer(0.001, worker.process.send_signal, [how])
    timer.start()
    node.barrier.hold(node.feed.commit("g1"))
    in_flight = arrived_bytes(caller)
    timer.join()
    assert read_to_end(caller) == in_flight if how is signal.SIGKILL else True
    if how is signal.SIGSTOP:
        with contextlib.suppress(ProcessLookupError):
            worker.process.send_signal(signal.SIGCONT)
        assert read_to_end(caller) == in_flight


class Relay:
    """The control socket's wire, which can be frozen (bytes stay on the way) or torn."""

    def __init__(self, path: Path, hub: Path) -> None:
        self.path = path
        self._hub = hub
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                worker, _ = self._listener.accept()
                hub = socket.socket(socket.AF_UNIX)
                hub.connect(str(self._hub))
                self._sockets += [worker, hub]
                for source, target in ((worker, hub), (hub, worker)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                target.sendall(data)

    def freeze(self) -> None:
        self._open.clear()

    def thaw(self) -> None:
        self._open.set()

    def tear(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Step(StrEnum):
    """Where on their way a withdrawing change and its acknowledgement are."""

    BEFORE_CHANGE = "before the worker is sent the change"
    AFTER_CHANGE = "the change is on its way"
    BEFORE_ACKNOWLEDGEMENT = "the worker has acknowledged, and the hub does not know"
    AFTER_ACKNOWLEDGEMENT = "the hub knows"


class Losing:
    """Calls `lose` once, when a change has come to `step`; before that it has to be armed."""

    def __init__(self, step: Step, lose: Callable[[], None]) -> None:
        self._step, self._lose = step, lose
        self.is_armed = False
        self.is_lost = threading.Event()

    def at(self, step: Step) -> None:
        if self.is_armed and step is self._step and not self.is_lost.is_set():
            self.is_lost.set()
            self._lose()

    def watch(self, hub: Hub, worker: str) -> None:
        """Follow the steps within the hub, on its own loop."""
        since, heard, sent = hub.since, hub.heard, []

        def watched_since(sequence: int) -> Changes | Reset | None:
            found = since(sequence)
            if isinstance(found, Changes):
                sent.append(found)
                self.at(Step.BEFORE_CHANGE)
            elif sent:
                self.at(Step.AFTER_CHANGE)
            return found

        def watched_heard(key: int, message: Up) -> Down | None:
            told = isinstance(message, Applied) and hub._roster.session(key).worker == worker
            if told:
                self.at(Step.BEFORE_ACKNOWLEDGEMENT)
            answer = heard(key, message)
            if told:
                self.at(Step.AFTER_ACKNOWLEDGEMENT)
            return answer

        hub.since, hub.heard = watched_since, watched_heard  # type: ignore[method-assign]


@pytest.mark.deep
@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_barrier_holds_when_a_worker_is_lost_at_each_step(node: Node, step: Step, how: signal.Signals) -> None:
    """Stopped or killed before and after the change and its acknowledgement: nothing leaves after the return."""
    lost, running = node.worker("lost"), node.worker("running")
    losing = Losing(step, lambda: lost.process.send_signal(how))
    losing.watch(node.hub, "lost")
    callers = [lost.stream("g1"), running.stream("g1")]
    other = running.stream("g2")
    losing.is_armed = True
    report = node.barrier.hold(node.feed.commit("g1"))
    in_flight = [arrived_bytes(caller) for caller in callers]
    assert losing.is_lost.wait(10)
    with contextlib.suppress(ProcessLookupError):
        lost.process.send_signal(signal.SIGCONT)
    assert [read_to_end(caller) for caller in callers] == in_flight
    assert "running" in report.confirmed
    assert other.recv(1 << 20)
    assert other.recv(1 << 16)
    other.close()


class StepRelay(Relay):
    """A wire that is frozen or torn when a change has come to a step."""

    losing: Losing

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        frames = Frames()
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                for body in frames.feed(data):
                    message = msgspec.msgpack.decode(body, type=Up | Down)
                    if isinstance(message, Changes):
                        self.losing.at(Step.BEFORE_CHANGE)
                    elif isinstance(message, Applied):
                        self.losing.at(Step.BEFORE_ACKNOWLEDGEMENT)
                    self._open.wait()
                    target.sendall(len(body).to_bytes(4, "big") + body)
                    if isinstance(message, Changes):
                        self.losing.at(Step.AFTER_CHANGE)
                    elif isinstance(message, Applied):
                        self.losing.at(Step.AFTER_ACKNOWLEDGEMENT)


@pytest.mark.deep
@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("cut_off", [Relay.freeze, Relay.tear])
def test_barrier_holds_when_a_worker_is_cut_off_at_each_step(
    tmp_path: Path, step: Step, cut_off: Callable[[Relay], None]
) -> None:
    """The wire is frozen or torn before and after the change and its acknowledgement: nothing leaves after the return.

    None is killed here: what the hub takes for the worker is the wire.
    """
    node = Node(tmp_path, MemoryFeed(), kill=False)
    relay = StepRelay(tmp_path / "r.sock", node.socket)
    relay.losing = Losing(step, lambda: cut_off(relay))
    try:
        worker = node.worker("cut off", through=relay.path)
        caller = worker.stream("g1")
        relay.losing.is_armed = True
        report = node.barrier.hold(node.feed.commit("g1"))
        time.sleep(0.05)  # the lease's end and the cut are two events of one loop; see `kill` for what closes the gap
        in_flight = arrived_bytes(caller)
        assert relay.losing.is_lost.wait(10)
        assert read_to_end(caller) == in_flight
        assert report.sequence == 1
    finally:
        relay.thaw()
        relay.tear()
        node.close()


@pytest.mark.parametrize("cut_off", [Relay.freeze, Relay.tear])
def test_stale_denies_a_worker_that_is_cut_off(tmp_path: Path, cut_off: Callable[[Relay], None]) -> None:
    """A worker cut off from its control process stops by itself when its lease has run out: none is killed here."""
    node = Node(tmp_path, MemoryFeed(), kill=False)
    relay = Relay(tmp_path / "r.sock", node.socket)
    try:
        worker = node.worker("cut off", through=relay.path)
        caller = worker.stream("g1")
        cut_off(relay)
        report = node.barrier.hold(node.feed.commit("g1"))
        time.sleep(0.05)  # the lease's end and the cut are two events of one loop; see `kill` for what closes the gap
        in_flight = arrived_bytes(caller)
        assert read_to_end(caller) == in_flight
        assert report.out == ("cut off",)
        assert worker.process.poll() is None
    finally:
        relay.thaw()
        relay.tear()
        node.close()


def test_stale_denies_when_the_state_cannot_be_read(tmp_path: Path) -> None:
    """A control process that cannot read the state grants nothing more: its workers' leases end by themselves."""
    node = Node(tmp_path, MemoryFeed())
    try:
        caller = node.worker("w").stream("g1")
        node.feed.is_down = True
        assert read_to_end(caller) >= 0
        node.feed.is_down = False
        deadline = time.monotonic() + 10
        while not node.hub.workers().get("w"):
            assert time.monotonic() < deadline
    finally:
        node.close()


def test_barrier_of_a_restarted_control_process_waits_for_its_predecessors_leases(tmp_path: Path) -> None:
    """A new hub knows no worker: nothing settles until the leases its predecessor granted have run out."""
    feed = MemoryFeed()
    node = Node(tmp_path, feed)
    relay = Relay(tmp_path / "r.sock", node.socket)
    try:
        caller = node.worker("w", through=relay.path).stream("g1")
        relay.tear()
        node.reader.stop()
        node.hub.stop()
        successor = Node(tmp_path, feed, after_another=True)
        report = successor.barrier.hold(feed.commit("g1"))
        in_flight = arrived_bytes(caller)
        assert read_to_end(caller) == in_flight
        assert report.milliseconds >= 200
        successor.close()
    finally:
        node.close()


def test_link_catches_up_after_a_break(tmp_path: Path) -> None:
    """A worker whose connection was torn comes back, is told what it missed in order, and holds a lease again."""
    node = Node(tmp_path, MemoryFeed())
    relay = Relay(tmp_path / "r.sock", node.socket)
    try:
        worker = node.worker("w", through=relay.path)
        kept, lost = worker.stream("g2"), worker.stream("g1")
        relay.tear()
        relay.path.unlink()
        node.feed.commit("g1")
        for _ in range(700):
            node.feed.commit("unrelated", withdraws=False)
        Relay(relay.path, node.socket)
        deadline = time.monotonic() + 10
        while not node.hub.workers().get("w"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        read_to_end(lost)
        kept.recv(1 << 20)
        time.sleep(0.1)
        assert kept.recv(1 << 16), "a stream under a grant that stands is not cut by a short break"
        kept.close()
        assert node.hub.counters().get("w") == b"counted by w"
    finally:
        node.close()
