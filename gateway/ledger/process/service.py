"""The ledger process: integrates journals, keeps the index, prunes, and answers questions (`answers`)."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.texts import Phrase
from gateway.domain.uses import EVERY_DEPARTMENT, RecordKind
from gateway.ledger.archive.archiving import ArchiveState, Archiving
from gateway.ledger.archive.target import Target
from gateway.ledger.durable import make_directory
from gateway.ledger.index.index import FLUSH_ROWS, MEMORY_BYTES, Index
from gateway.ledger.index.manifest import SetAside
from gateway.ledger.index.queries import Knows
from gateway.ledger.journal.acts import ActJournal
from gateway.ledger.journal.entries import china_day
from gateway.ledger.log.checkpoints import Checkpoint
from gateway.ledger.log.kept import Kept, kept_digest
from gateway.ledger.log.minimum import minimum_index
from gateway.ledger.log.notes import Signer
from gateway.ledger.log.tiled_log import TiledLog
from gateway.ledger.process.horizon import Horizon
from gateway.ledger.process.integrator import Integrator
from gateway.ledger.retention.retention import (
    Holds,
    Pruning,
    RetentionPlan,
    begin_pruning,
    finish_pruning,
    plan_retention,
    pruning_under_way,
)
from gateway.ledger.retention.spool import drop_partials, sweep
from gateway.ledger.witness.cosigning import Cosigning
from gateway.ledger.witness.witness import Cosigned, WitnessClient, WitnessTarget

T = TypeVar("T")

ROUND_SECONDS = 0.25
"""Pause between commits when there is little to do: bounds syncs an hour, and how soon a use can be found."""
FLUSH_SECONDS = 600.0
ADOPT_SECONDS = 60.0
PRUNE_WAIT_SECONDS = 30.0
CLOCK_SLACK_SECONDS = 300.0
"""What a clock may be put right by while the process runs, without a restart."""
WRITER = "ledger"
_ENDS = {RecordKind.USE_CLOSED.value, RecordKind.RECOVERED.value}


class _Named(msgspec.Struct):
    id: str
    kind: str


_decode_named = msgspec.json.Decoder(_Named).decode


class Status(msgspec.Struct, frozen=True):
    """How the ledger stands.

    Args:
        origin: the log's name.
        verifier_key: what `gateway verify` needs.
        size: leaves in the log.
        indexed: leaves in the index.
        backlog: confirmed entries that are not in the log yet.
        fault: why integration stands still, if it does.
        minimum_index: retention has looked through what lies below this leaf, and only what has to stay is there.
        cosigned: the size a witness cosigned last.
        witnesses: each witness's last fault, "" for none.
        set_aside: the leaves that the index could not take, and why; they stand in the log, and in no answer.
        archive: how the object store stands; None where there is none.
    """

    origin: str
    verifier_key: str
    size: int
    indexed: int
    backlog: int
    fault: str = ""
    minimum_index: int = 0
    cosigned: int = 0
    witnesses: dict[str, str] = {}
    set_aside: tuple[SetAside, ...] = ()
    archive: ArchiveState | None = None


class Pruned(msgspec.Struct, frozen=True):
    """What a prune came to: the `prune` record of its intent, the range, and what went and stayed of it.

    Args:
        record: its id.
        first: the minimum index before.
        end: the minimum index after.
        freed_bytes: of bundles.
        entries: how many entries went.
        kept: how many stay below `end`.
    """

    record: str
    first: int
    end: int
    freed_bytes: int
    entries: int
    kept: int


class LedgerService:
    """One node's log: opens it, integrates until told to stop, answers questions meanwhile.

    Opening checks what is on disk against what was signed and finishes a commit or prune that was cut off.

    Args:
        directory: the ledger's folder.
        origin: the log's name, such as `zhongshan.gov.cn/sharing/node-1`.
        signer: the log's Ed25519 key.
        witnesses: whom to ask for cosignatures.
        clock: Unix seconds.
        ticks: monotonic seconds: no day has come for retention that has not also passed by them.
        exports: where the gateway keeps exports, if it does: retention removes them with their records.
        threads: DuckDB's threads.
        memory_bytes: DuckDB's memory.
        witness_transport: httpx's, for witnesses served in process.
        known: the largest checkpoint that the gateway's state has heard of.
        archive: the object store that the log is brought to as well; None for none.
        archive_seconds: between two rounds of that.

    Raises:
        GatewayError: `conflict` if another process has the log, or what is on disk does not bear out what was signed.
    """

    def __init__(
        self,
        directory: Path,
        *,
        origin: str,
        signer: Signer,
        witnesses: Sequence[WitnessTarget] = (),
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        exports: Path | None = None,
        threads: int = 2,
        memory_bytes: int = MEMORY_BYTES,
        witness_transport: httpx.BaseTransport | None = None,
        known: Checkpoint | None = None,
        archive: Target | None = None,
        archive_seconds: float = 60.0,
    ) -> None:
        make_directory(directory)
        self.directory = directory
        self._clock = clock
        self._ticks = ticks
        self._began = clock(), ticks()
        self._exports = exports
        self._fault = ""
        self._tasks: queue.SimpleQueue[tuple[Callable[[], object], Future[object]]] = queue.SimpleQueue()
        self.log = TiledLog(directory, origin, signer, known)
        if exports is not None:
            drop_partials(exports)
        self.index = Index(directory / "index", threads=threads, memory_bytes=memory_bytes)
        self.integrator = Integrator(directory, self.log, self.index)
        clients = [WitnessClient(target, transport=witness_transport) for target in witnesses]
        self.cosigning = Cosigning(self.log, clients)
        self.archiving: Archiving | None = None
        if archive is not None:
            self.archiving = Archiving(directory, self.log.key, archive, pause_seconds=archive_seconds, now=clock)
        self._acts = ActJournal(directory, WRITER, clock_ns=self.now_ns, low_water_bytes=0)
        self._closers: list[Callable[[], None]] = []
        self._flushed = self._adopted = time.monotonic()
        self._horizon = Horizon(self._durable_leaves())

    def now_unix(self) -> int:
        """Unix seconds by the service's clock."""
        return int(self._clock())

    def now_ns(self) -> int:
        """Unix nanoseconds by the service's clock."""
        return int(self._clock() * 1_000_000_000)

    def serve_questions(self, socket_path: Path) -> None:
        """Answer questions on `socket_path` from now on, on threads of their own."""
        from gateway.ledger.process.answers import serve  # noqa: PLC0415 — the answers speak of the service, not it of them

        self._closers.append(serve(self, socket_path).close)

    def run(self, stop: threading.Event) -> None:
        """Integrate until `stop` is set; what is confirmed by then is integrated before it returns.

        Raises:
            GatewayError: if a journal is corrupt or the log must not go on.
        """
        try:
            self.prepare()
            self.cosigning.start(self._halt)
            if self.archiving is not None:
                self.archiving.start()
            while not stop.is_set():
                began = time.monotonic()
                self.step()
                stop.wait(max(0.01, ROUND_SECONDS - (time.monotonic() - began)))
            while self.step():
                pass
            self.index.flush()
        except GatewayError as error:
            self._fault = error.detail
            raise

    def prepare(self) -> None:
        """What comes before the first round: nothing is signed yet.

        Raises:
            GatewayError: `conflict` if a witness knows more than this log: it was restored from an older copy.
        """
        self.cosigning.refuse_if_behind()
        finish_pruning(self.log.files, self._forget_below, self._exports, self._record_outcome)
        self._sweep_exports()
        self.integrator.catch_up()

    def step(self) -> int:
        """One round: integrate what is confirmed, flush the index when it is time; returns entries integrated."""
        if self._fault:
            raise GatewayError("conflict", self._fault)
        self._do_tasks()
        taken = self.integrator.step()
        self._horizon.note(self._durable_leaves)
        now = time.monotonic()
        if self.index.tail_rows >= FLUSH_ROWS or now - self._flushed > FLUSH_SECONDS:
            self.index.flush()
            self._flushed = now
        if now - self._adopted > ADOPT_SECONDS:
            self.integrator.adopt_orphans(self.now_ns)
            self._adopted = now
        return taken

    def require_whole(self, *, allow_partial: bool) -> int:
        """How many leaves an answer given now has to know.

        Raises:
            GatewayError: `records-incomplete` where the index knows less, unless a part was asked for.
        """
        self._horizon.note(self._durable_leaves)
        owed, known = self._horizon.owed(), self.index.size
        if known < owed and not allow_partial:
            why = f": {self._fault}" if self._fault else ""
            raise GatewayError(
                "records-incomplete",
                f"the index knows {known} of {owed} leaves{why}",
            )
        unreadable = self.index.unreadable
        if unreadable and not allow_partial:
            raise GatewayError(
                "records-incomplete",
                f"{unreadable} leaves could not be read from the log when the index was made: verify the log",
            )
        return owed

    def knows(self, owed: int) -> Knows:
        """What the index knows, at least, of what an answer has to."""
        set_aside = sum(each.count for each in self.index.set_aside)
        return Knows(self.index.size, owed, minimum_index(self.log.files.root), set_aside)

    def _durable_leaves(self) -> int:
        """Leaves that the log will have once all that is durable now is in it."""
        size = self.log.size
        try:
            return size + self.integrator.backlog()
        except GatewayError:
            return size  # what is wrong with the journals stops integration, which says so

    def status(self) -> Status:
        """How the ledger stands now."""
        cosigning = self.cosigning.state
        return Status(
            origin=self.log.origin,
            verifier_key=self.log.key.text(),
            size=self.log.size,
            indexed=self.index.size,
            backlog=self.integrator.backlog(),
            fault=self._fault,
            minimum_index=minimum_index(self.log.files.root),
            cosigned=cosigning.size,
            witnesses=cosigning.faults,
            set_aside=tuple(self.index.set_aside),
            archive=self.archiving.state if self.archiving is not None else None,
        )

    def plan_retention(self, holds: Holds) -> RetentionPlan:
        """What may go today, what of it stays, and why no more.

        Exports in the gateway's keeping that hold what is gone already, go: one can be named while a prune looks.
        """
        self._sweep_exports()
        return self._survey(holds)[0]

    def _survey(self, holds: Holds) -> tuple[RetentionPlan, Kept]:
        # A clock that is set forward brings no day nearer: a prune cannot be taken back.
        began_unix, began_ticks = self._began
        passed_unix = began_unix + self._ticks() - began_ticks + CLOCK_SLACK_SECONDS
        today = china_day(int(min(self._clock(), passed_unix) * 1_000_000_000))
        return plan_retention(self.log.files, self.log.published().size, today, holds, self._closing)

    def apply_retention(self, plan: RetentionPlan, holds: Holds, by: str) -> Pruned:
        """Do just `plan`. Returns once everything in it is gone; call it from another thread than `run`'s.

        Args:
            plan: as `plan_retention` gave it today.
            holds: as they stand now.
            by: the officer's id, for the `prune` record.

        Raises:
            GatewayError: `precondition-failed` if the plan is not today's any more, or a process at work still holds
                entries of it in its journal; `invalid-input` if it is empty.
        """
        if not plan.entries:
            raise GatewayError("invalid-input", "the plan removes nothing")
        self._sweep_exports()
        found, kept = self._survey(holds)
        if found != plan:
            raise GatewayError("precondition-failed", "the plan is not what may go now; make it again")
        said = {"first": plan.first, "end": plan.end, "officer": by, "department": EVERY_DEPARTMENT}
        begun = {"rule": plan.rule, "plan": plan.digest, "kept": plan.kept_digest, "kept_entries": plan.kept}
        begun["gone_entries"] = plan.entries
        record = self._acts.append(RecordKind.PRUNE, {**said, **begun, "step": "begun"})
        try:
            self._await_record(record)
            self.on_integrator(lambda: self.integrator.let_go(plan.end, self._leaf_of, self.now_ns))
            pruning = Pruning(plan.first, plan.end, record, by, plan.kept_digest)
            freed = self.on_integrator(lambda: self._prune(pruning, kept))
        except GatewayError as error:
            # What was begun is carried through at the next start, and that writes its outcome.
            if pruning_under_way(self.log.files) is None:
                failed = {
                    **said,
                    "step": "failed",
                    "intent": record,
                    "code": error.code,
                    "reason": Phrase(error.detail),
                }
                self._acts.append(RecordKind.PRUNE, failed)
            raise
        return Pruned(record, plan.first, plan.end, freed, plan.entries, plan.kept)

    def _prune(self, pruning: Pruning, kept: Kept) -> int:
        begin_pruning(self.log.files, pruning, kept)
        return finish_pruning(self.log.files, self._forget_below, self._exports, self._record_outcome)

    def _record_outcome(self, pruning: Pruning, freed_bytes: int) -> None:
        said = {"first": pruning.first, "end": pruning.end, "officer": pruning.officer, "intent": pruning.intent}
        said |= {"department": EVERY_DEPARTMENT, "kept": pruning.kept}
        self._acts.append(RecordKind.PRUNE, {**said, "step": "done", "freed_bytes": freed_bytes})

    def on_integrator(self, work: Callable[[], T]) -> T:
        """Do `work` between two rounds, on the integrating thread, and wait for it.

        Raises:
            GatewayError: `conflict` where integration stands still; what `work` raises.
        """
        if self._fault:
            raise GatewayError("conflict", self._fault)
        done: Future[object] = Future()
        self._tasks.put((work, done))
        return done.result()  # type: ignore[return-value]  # the future bears what `work` returned

    def close(self) -> None:
        """Stop answering, and let log and index go."""
        for close in self._closers:
            close()
        self.cosigning.stop()
        if self.archiving is not None:
            self.archiving.stop()
        self._acts.close()
        self.integrator.close()
        self.index.close()
        self.log.close()

    def _closing(self, record: str) -> bytes | None:
        try:
            leaf, last = self.index.locate(record)
        except GatewayError:
            return None
        return None if last is None or last == leaf else self.log.files.entry(last, self.log.published().size)

    def _leaf_of(self, content: bytes) -> int:
        """The leaf of an entry that is in the log; -1 if it was pruned."""
        entry = _decode_named(content)
        try:
            leaf, last = self.index.locate(entry.id)
        except GatewayError:
            return -1
        return leaf if entry.kind not in _ENDS or last is None else last

    def _sweep_exports(self) -> None:
        if self._exports is not None:
            root = self.log.files.root
            sweep(self._exports, minimum_index(root), kept_digest(root))

    def _forget_below(self, kept: Kept) -> None:
        self.index.keep_below(kept)
        self.log.state.forget()

    def _await_record(self, record: str) -> None:
        until = time.monotonic() + PRUNE_WAIT_SECONDS
        while True:
            try:
                self.index.locate(record)
            except GatewayError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return

    def _do_tasks(self) -> None:
        while not self._tasks.empty():
            work, done = self._tasks.get()
            try:
                done.set_result(work())
            except Exception as error:  # noqa: BLE001 — it is the asker's, who waits for it
                done.set_exception(error)

    def _halt(self, answer: Cosigned) -> None:
        self._fault = f"witness `{answer.name}`: {answer.fault}; this log stands at {self.log.size}"
