"""What works in a history of the ledger: the real journals, log, retention, witness and backup on simulated disks.

Real are `UseJournal`, `ActJournal`, `JournalWriter`, `LedgerService`, `Integrator`, `TiledLog`, `SignedState`,
retention, `Cosigning`, `Witness` and `mirror_log`. In the index's place stands a table in memory that forgets with its
process: it is made from the log at every start. A witness is asked without HTTP between.
"""

import mmap
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import httpx
import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.uses import RecordKind
from gateway.ledger import durable
from gateway.ledger.journal import acts, segments, writer
from gateway.ledger.journal.acts import ActJournal
from gateway.ledger.journal.uses import UseJournal
from gateway.ledger.log import reading
from gateway.ledger.log.notes import parse_verifier_key
from gateway.ledger.process import service
from gateway.ledger.process.service import LedgerService
from gateway.ledger.witness import cosigning
from gateway.ledger.witness.mirror import mirror_log
from gateway.ledger.witness.witness import WitnessClient, WitnessTarget
from tests.simulation.ledger.world import (
    THE,
    VIRTUAL_TIME,
    InlinePool,
    InlineThread,
    NoThread,
    PromptPool,
    WaitedFuture,
    World,
)
from tests.support.ledger import ORIGIN, TestSigner

LOW_WATER_BYTES = 1 << 20
WRITERS = ("worker-1", "worker-2")


class SeenMap(mmap.mmap):
    """The mark of what is durable: a store to the page cache, synced when it is let go."""

    def __init__(self, fd: int, *_: Any) -> None:
        self._disk, self._node = THE._file(fd)

    def __setitem__(self, at: Any, content: Any) -> None:
        THE.call(self._disk, "store", "")
        self._node.write(content, 0)
        super().__setitem__(at, content)

    def flush(self, *_: Any) -> None:
        self._disk.sync(self._node)


class _End(msgspec.Struct):
    id: str
    kind: str


_decode = msgspec.json.Decoder(_End).decode


class MemoryIndex:
    """First and last leaf of each record; as `Index`, but that it has no files."""

    open_at_flush = ()
    set_aside = ()
    unreadable = 0
    tail_rows = 0

    def __init__(self, *_: Any, **__: Any) -> None:
        self.size = 0
        self._leaves: dict[str, list[int | None]] = {}

    def add(self, contents: Sequence[bytes], *, is_kept: bool = False) -> None:
        for leaf, content in enumerate(contents, self.size):
            if content or not is_kept:
                self._take(leaf, _decode(content))
        self.size += len(contents)

    def _take(self, leaf: int, entry: _End) -> None:
        if entry.kind in {"use.closed", "recovered"}:
            self._leaves.setdefault(entry.id, [leaf, None])[1] = leaf
        elif entry.kind == "use.opened":
            self._leaves[entry.id] = [leaf, None]
        else:
            self._leaves[entry.id] = [leaf, leaf]

    def locate(self, record: str) -> tuple[int, int | None]:
        if record not in self._leaves:
            raise GatewayError("not-found", "there is no such record")
        first, last = self._leaves[record]
        return first or 0, last

    def begin_at(self, leaf: int) -> None:
        self.size = max(self.size, leaf)

    def skip(self, count: int, why: str) -> None:
        raise GatewayError("conflict", f"{count} leaves cannot be read: {why}")

    def leave_out(self, _leaf: int, why: str) -> None:
        raise GatewayError("conflict", why)

    def keep_below(self, kept: Any) -> None:
        for record, (first, _) in list(self._leaves.items()):
            if first is not None and first < kept.end and not kept.holds(first):
                del self._leaves[record]

    def reopen(self, _openings: Any) -> None:
        """There are none."""

    flush = settle = close = lambda self: None


class InProcessWitness(WitnessClient):
    """Asks the witness without HTTP between: it answers now, does not answer, or its answer is lost."""

    def __init__(self, target: WitnessTarget, **_: Any) -> None:
        self.key = parse_verifier_key(target.key)
        self._size = 0

    def _post(self, body: bytes) -> tuple[int, str]:
        THE.pause(0.01)
        history = THE.history
        if history.witness_is_away:
            raise httpx.ConnectError("it is away")
        answer = history.witness.add_checkpoint(body)
        THE.pause(0.01)
        if history.witness_is_away:
            raise httpx.ReadError("its answer is lost")
        return answer.status, answer.body

    def close(self) -> None:
        """Nothing is open."""


class Turns:
    """The loop of a worker, as far as its journal asks it for something."""

    def __init__(self) -> None:
        self._ready: list[tuple[float, Callable[..., Any], tuple[Any, ...]]] = []

    def is_closed(self) -> bool:
        return False

    def call_soon(self, what: Callable[..., Any], *args: Any) -> None:
        self._ready.append((THE.now, what, args))

    call_soon_threadsafe = call_soon

    def call_later(self, seconds: float, what: Callable[..., Any], *args: Any) -> None:
        self._ready.append((THE.now + seconds, what, args))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        raise context["exception"]

    def turn(self) -> None:
        ready, self._ready = self._ready, []
        for moment, what, args in ready:
            if moment <= THE.now:
                what(*args)
            else:
                self._ready.append((moment, what, args))


class Rounds:
    """The event that ends a service: it waits, and what goes on beside integration happens meanwhile."""

    def __init__(self, history: Any, at_work: LedgerService) -> None:
        self._history, self._service = history, at_work
        self._count = 0

    def is_set(self) -> bool:
        return False

    def wait(self, seconds: float) -> None:
        self._count += 1
        self._history.published(self._service.log.files.checkpoint())
        if self._count % 2 == 0:
            for answer in self._service.cosigning.round():
                if answer.ahead:
                    self._service._halt(answer)
        THE.pause(seconds * self._history.slowness)


@contextmanager
def at_work(world: World) -> Iterator[None]:
    """The house, on the disks of a world."""
    THE.world = world
    threads = SimpleNamespace(Thread=InlineThread, Lock=writer.threading.Lock, Event=writer.threading.Event)
    places: list[tuple[Any, str, Any]] = [
        (durable, "ThreadPoolExecutor", InlinePool),
        (durable, "time", VIRTUAL_TIME),
        (writer, "ThreadPoolExecutor", InlinePool),
        (writer, "threading", threads),
        (writer, "time", VIRTUAL_TIME),
        (acts, "Future", WaitedFuture),
        (segments, "mmap", SimpleNamespace(mmap=SeenMap)),
        (reading, "time", VIRTUAL_TIME),
        (service, "Future", WaitedFuture),
        (service, "time", VIRTUAL_TIME),
        (service, "ADOPT_SECONDS", 1.0),
        (service, "Index", MemoryIndex),
        (service, "WitnessClient", InProcessWitness),
        (cosigning, "ThreadPoolExecutor", PromptPool),
        (cosigning, "threading", SimpleNamespace(Thread=NoThread, Event=writer.threading.Event)),
        (cosigning, "time", VIRTUAL_TIME),
        (sqlite3, "connect", world.connect),
        *((durable.os, name, what) for name, what in world.interposed().items()),
    ]
    with ExitStack() as stack:
        for where, name, what in places:
            stack.enter_context(patch.object(where, name, what))
        yield


def worker(history: Any, name: str) -> None:
    """A worker: callers come, their uses are opened, answered, closed or refused."""
    random, city, loop = THE.random, history.city, Turns()
    journal = UseJournal(
        history.ledger,
        name,
        loop=loop,  # type: ignore[arg-type]
        clock_ns=THE.clock_ns,
        on_poisoned=lambda _: None,
        low_water_bytes=LOW_WATER_BYTES,
        segment_bytes=history.segment_bytes,
    )
    (thread,) = [each for each in THE.process().threads if each._target.__self__ is journal._journal]  # type: ignore[attr-defined]
    answered: list[tuple[str, Any]] = []

    def opened(use: Any) -> None:
        def done(error: BaseException | None) -> None:
            if error is None:
                history.answered(record, use.request_digest)
                answered.append((record, use))

        record = journal.opened(use, done)

    while True:
        loop.turn()
        if journal.is_poisoned:
            raise OSError("the journal takes no more records")
        history.accepts[name] = journal.accepts
        for _ in range(random.choice((0, 1, 1, 3)) if history.has_callers else 0):
            if journal.accepts:
                opened(city.use(THE.clock_ns()))
        if journal.accepts and history.has_callers and random.random() < 0.1:
            journal.refused(city.refused(THE.clock_ns()))
        while answered and random.random() < 0.6:
            record, use = answered.pop(random.randrange(len(answered)))
            journal.closed(record, use, city.outcome(use))
        loop.turn()
        thread.drive()
        loop.turn()
        THE.pause(random.expovariate(8.0) * history.slowness)


def control(history: Any) -> None:
    """Officers' acts, each on record before it returns."""
    journal = ActJournal(
        history.ledger, "control", clock_ns=THE.clock_ns, low_water_bytes=LOW_WATER_BYTES // 4, segment_bytes=4096
    )
    while True:
        THE.pause(THE.random.expovariate(3.0) * history.slowness)
        if history.has_callers:
            try:
                for record in journal.append_all(RecordKind.GRANT, [{"grant": "G-0001"}] * THE.random.choice((1, 2))):
                    history.acted(record)
            except GatewayError:
                if journal._journal.fault is not None:
                    raise


def ledger(history: Any) -> None:
    """The ledger process."""
    at = LedgerService(
        history.ledger,
        origin=ORIGIN,
        signer=TestSigner(),
        clock=THE.clock,
        ticks=THE.ticks,
        witnesses=[WitnessTarget("http://127.0.0.1/", history.witness.key.text())],
        known=history.known,
    )
    history.service = at
    at.run(Rounds(history, at))  # type: ignore[arg-type]


def officer(history: Any) -> None:
    """An officer lets go what its time has come for, as long as the ledger process lives."""
    while True:
        THE.pause(THE.random.expovariate(1.2) * history.slowness)
        at, process = history.service, history.processes["ledger"]
        if at is None or at._fault or not at.integrator.integrated or not history.has_callers:
            continue
        # A thread of the ledger process: what it opens is that process's, and ends with it.
        THE.process().files, THE.process().threads = process.files, process.threads
        try:
            plan = at.plan_retention(history.holds)
            if plan.entries:
                history.pruned(plan, at.apply_retention(plan, history.holds, "officer-1"))
        except (GatewayError, OSError):
            continue  # the officer is told, and asks again


def backup(history: Any) -> None:
    """`gateway backup`, again and again."""
    while True:
        THE.pause(THE.random.expovariate(1.6) * history.slowness)
        history.looked_at()
        mirror_log(history.ledger / "tree", history.mirror)
        history.mirrored()


MAINS: dict[str, Callable[[Any], None]] = {
    **{name: (lambda history, name=name: worker(history, name)) for name in WRITERS},
    "control": control,
    "ledger": ledger,
    "officer": officer,
    "backup": backup,
}
