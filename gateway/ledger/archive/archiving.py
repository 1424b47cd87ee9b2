"""What is in the log and not yet in the store, brought there round by round, on a thread of its own.

A round, in the order that makes an end at any point harmless:

    1  the checkpoint is read that stands on this disk: what it needs stands there too
    2  of each further sixteen bundles: entries are compared with their hashes, pack and tiles are put and confirmed
    3  the same of the bundles and tiles that are not full yet
    4  `checkpoint` is put where the one stands that this node put last
    5  how far the store came is kept in `archive.json`; where that is lost, all is looked at again and found there

Nothing here changes the log, and no fault of the store is one of the log: what was brought there stays, the next round
goes on, and `state` says why this one did not. `archive.json` bears out nothing that the store does not say.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec

from gateway.domain.calendar import first_moment, years_after
from gateway.domain.errors import GatewayError
from gateway.ledger.archive.target import Target
from gateway.ledger.archive.writing import StoreWriter
from gateway.ledger.durable import replace_file
from gateway.ledger.log import at_rest
from gateway.ledger.log.at_rest import LOOSE_LEVEL, PACK, PACK_LEVEL
from gateway.ledger.log.bundles import encode_bundle
from gateway.ledger.log.checkpoints import parse_published, verify_checkpoint
from gateway.ledger.log.kept import KEPT, kept_digest
from gateway.ledger.log.minimum import MINIMUM_INDEX, minimum_index
from gateway.ledger.log.notes import MAX_NOTE_BYTES, VerifierKey
from gateway.ledger.log.proofs import Hashes
from gateway.ledger.log.reading import LOOSE, PACKED, STAYING, LogReader
from gateway.ledger.log.tiles import WIDTH, bundle_path, full_tiles, partial_width, tile_path
from gateway.ledger.log.tree import leaf_hash

log = logging.getLogger("gateway.ledger")

PROGRESS = "archive.json"
PACK_LEAVES = PACK * WIDTH
PUTS_AT_ONCE = 8
KEEP_PACKS = 64
"""Packs after which it is kept how far the store came: an end of the process costs looking at as many again."""
CHECK_SECONDS = 3600.0
"""How often the bucket is asked for its lock and its rules; after a fault it is asked at once."""
MOST_LOCK_YEARS = 30
"""A lock cannot be taken back: a record that has to stay for longer is locked for so long, and retention keeps it."""
_SOON = timedelta(minutes=5)
_newest = re.compile(rb'"retain_until":"([0-9]{4}-[0-9]{2}-[0-9]{2})"').findall


class ArchiveState(msgspec.Struct, frozen=True):
    """How the store stands.

    Args:
        address: where it is.
        size: leaves of the checkpoint that stands there.
        waiting_seconds: how old, at most, the oldest entry is that is not under it.
        fault: why the last round did not end, "" where it did.
    """

    address: str
    size: int = 0
    waiting_seconds: float = 0.0
    fault: str = ""


class _Progress(msgspec.Struct, frozen=True):
    """How far the store came: up to `sealed` each pack and full tile is confirmed, up to `size` everything."""

    address: str
    sealed: int = 0
    size: int = 0
    etag: str = ""
    newest: date | None = None
    minimum: int = 0
    kept: str = ""


class _StoppedError(Exception):
    pass


class Archiving:
    """Brings one log to a store.

    Args:
        ledger: the ledger's folder.
        key: the log's.
        target: where to; the objects lie below the log's origin there.
        pause_seconds: between rounds: how long an entry is, at most, on this disk alone while the store answers.
        now: Unix seconds.
    """

    def __init__(
        self,
        ledger: Path,
        key: VerifierKey,
        target: Target,
        *,
        pause_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._target = msgspec.structs.replace(target, prefix=f"{target.prefix}{key.name}/")
        self._key = key
        self._files = LogReader(ledger / "tree")
        self._path = ledger / PROGRESS
        self._pause_seconds = pause_seconds
        self._now = now
        self._store: StoreWriter | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._puts = ThreadPoolExecutor(PUTS_AT_ONCE, thread_name_prefix="ledger-archive")
        self._progress = self._read_progress()
        self._known_at = time.monotonic()
        self._checked_at: float | None = None
        self._fault = "nothing was brought there yet"

    @property
    def state(self) -> ArchiveState:
        """How it stands now."""
        size = parse_published(self._files.checkpoint()).size
        waiting = time.monotonic() - self._known_at if size > self._progress.size else 0.0
        return ArchiveState(self._target.address, self._progress.size, waiting, self._fault)

    def start(self) -> None:
        """Begin, on a thread of its own."""
        self._thread = threading.Thread(target=self._work, name="ledger-archive", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; a request under way ends by its time-outs."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._puts.shutdown(wait=True, cancel_futures=True)
        if self._store is not None:
            self._store.close()

    def round(self) -> str:
        """Bring what is missing to the store; the fault that stopped it, "" for none. Raises nothing."""
        began = time.monotonic()
        try:
            self._bring()
        except _StoppedError:
            return self._fault
        except GatewayError as error:
            fault = error.detail
        except Exception as error:
            # The next round may succeed, and says so as this one says why not.
            log.exception("a round of the archive failed")
            fault = f"bringing records there failed: {type(error).__name__}"
        else:
            fault, self._known_at = "", began
        if fault and fault != self._fault:
            log.error("the archive waits: %s", fault)
        if fault:
            self._checked_at = None
        self._fault = fault
        return fault

    def _work(self) -> None:
        while True:
            self.round()
            if self._stop.wait(self._pause_seconds):
                return

    def _bring(self) -> None:
        published = parse_published(self._files.checkpoint())
        store = self._open()
        if not published.note or (published.size == self._progress.size and self._progress.etag):
            return
        minimum, kept = minimum_index(self._files.root), kept_digest(self._files.root)
        end = published.size // PACK_LEAVES * PACK_LEAVES
        for count, first in enumerate(range(self._progress.sealed, end, PACK_LEAVES), 1):
            self._put_bundles(store, first // WIDTH, first + PACK_LEAVES, minimum)
            self._put_tiles_sealed_by(store, first + PACK_LEAVES)
            self._advance(sealed=first + PACK_LEAVES, is_kept=count % KEEP_PACKS == 0)
            if self._stop.is_set():
                raise _StoppedError
        self._put_edge(store, published.size, minimum)
        etag = self._put_checkpoint(store, published.note, published.size)
        if (minimum, kept) != (self._progress.minimum, self._progress.kept):
            self._put_what_stays(store, minimum)
        self._advance(size=published.size, etag=etag, minimum=minimum, kept=kept)

    def _open(self) -> StoreWriter:
        if self._store is None:
            self._store = StoreWriter(self._target)
        if self._checked_at is None or time.monotonic() - self._checked_at > CHECK_SECONDS:
            self._store.check_bucket()
            self._checked_at = time.monotonic()
        return self._store

    def _put_bundles(self, store: StoreWriter, first: int, end: int, minimum: int) -> None:
        """The bundles from `first` up to leaf `end`: sixteen full ones as a pack, others one by one."""
        numbers = [n for n in range(first, (end + WIDTH - 1) // WIDTH) if n * WIDTH >= minimum]
        bundles = {n: self._whole_bundle(n, min(WIDTH, end - n * WIDTH)) for n in numbers}
        if len(numbers) == PACK and end % PACK_LEAVES == 0:
            self._put_pack(store, first, [encode_bundle(bundles[n]) for n in numbers])
            return
        for n, entries in bundles.items():
            content = encode_bundle(entries)
            until = self._until([content])
            key = f"{bundle_path(n, len(entries))}{LOOSE}"
            store.put_once(key, at_rest.encode([content], LOOSE_LEVEL), until, _same_at_rest)

    def _put_pack(self, store: StoreWriter, first: int, bundles: Sequence[bytes]) -> None:
        path = f"{bundle_path(first)}{PACKED}"
        try:
            content = (self._files.root / path).read_bytes()
            if at_rest.decode(content, path) != list(bundles):
                raise GatewayError(
                    "conflict", f"`{self._files.root / path}` is damaged: it is not brought to the store"
                )
        except FileNotFoundError:  # it is about to be packed here
            content = at_rest.encode(bundles, PACK_LEVEL)
        store.put_once(path, content, self._until(bundles), _same_at_rest)

    def _whole_bundle(self, n: int, width: int) -> list[bytes]:
        """A bundle whose every entry has the log's hash: what was damaged here is not locked there for years."""
        entries, hashes = self._files.bundle(n, width), self._files.tile(0, n, width)
        if b"".join(leaf_hash(entry) for entry in entries) != hashes:
            raise GatewayError("conflict", f"bundle {n} in `{self._files.root}` is damaged: verify the log")
        return entries

    def _put_tiles_sealed_by(self, store: StoreWriter, end: int) -> None:
        """The tiles that became full by the pack that ends at leaf `end`."""
        tiles = [(0, n, WIDTH) for n in range(end // WIDTH - PACK, end // WIDTH)]
        level = 1
        while end % (WIDTH << (8 * level)) == 0:
            tiles.append((level, full_tiles(end, level) - 1, WIDTH))
            level += 1
        self._put_tiles(store, tiles)

    def _put_edge(self, store: StoreWriter, size: int, minimum: int) -> None:
        """What is not sealed of a log of `size` leaves."""
        first = size // PACK_LEAVES * PACK
        self._put_bundles(store, first, size, minimum)
        tiles = [(0, n, WIDTH) for n in range(first, full_tiles(size, 0))]
        level = 0
        while size >> (8 * level):
            if width := partial_width(size, level):
                tiles.append((level, full_tiles(size, level), width))
            level += 1
        self._put_tiles(store, tiles)

    def _put_tiles(self, store: StoreWriter, tiles: Iterable[tuple[int, int, int]]) -> None:
        until = self._end_of(self._progress.newest)

        def put(tile: tuple[int, int, int]) -> None:
            store.put_once(tile_path(*tile), self._files.tile(*tile), until)

        for _ in self._puts.map(put, tiles):
            pass

    def _put_checkpoint(self, store: StoreWriter, note: bytes, size: int) -> str:
        until = self._end_of(self._progress.newest)
        try:
            return store.put_fenced("checkpoint", note, until, self._progress.etag)
        except GatewayError as error:
            if error.code != "precondition-failed":
                raise
        # INVARIANT: NEVER-FORKED: what stands there was put by this node and not heard of, or another writes this log.
        stands, etag = store.get_tagged("checkpoint", MAX_NOTE_BYTES)
        if stands:
            self._require_ours(stands, size)
        return store.put_fenced("checkpoint", note, until, etag)

    def _require_ours(self, stands: bytes, size: int) -> None:
        there, _ = verify_checkpoint(stands, self._key)
        ours = there.size <= size and Hashes(size, self._files.tile).span(0, there.size) == there.root
        if not ours and there.size:
            raise GatewayError(
                "conflict",
                f"`{self._target.address}` holds {there.size} leaves that this log does not have: another node writes "
                "there, or this log was restored from an older copy; nothing is put over it",
            )

    def _put_what_stays(self, store: StoreWriter, minimum: int) -> None:
        """What a prune left here, for a store that did not hold what it took."""
        for n in self._files.kept_packs():
            content = (self._files.root / f"{bundle_path(n)}{STAYING}").read_bytes()
            until = self._until(at_rest.decode(content, bundle_path(n)))
            store.put_over(f"{bundle_path(n)}{STAYING}", content, until)
        if (path := self._files.root / KEPT).exists():
            store.put_over(KEPT, path.read_bytes(), None)
        store.put_over(MINIMUM_INDEX, b"%d\n" % minimum, None)

    def _until(self, bundles: Sequence[bytes]) -> datetime | None:
        """The end of the last day of the newest entry in some bundles; tiles and checkpoint are locked no shorter."""
        days = [date.fromisoformat(day.decode()) for bundle in bundles for day in set(_newest(bundle))]
        if days and (self._progress.newest is None or max(days) > self._progress.newest):
            self._progress = msgspec.structs.replace(self._progress, newest=max(days))
        return self._end_of(max(days, default=None))

    def _end_of(self, day: date | None) -> datetime | None:
        now = datetime.fromtimestamp(self._now(), UTC)
        if day is None:
            return None
        most = years_after(now.date(), MOST_LOCK_YEARS)
        ends = first_moment(min(day, most) + timedelta(days=1)).astimezone(UTC)
        return ends if ends > now + _SOON else None

    def _advance(self, *, is_kept: bool = True, **changed: object) -> None:
        self._progress = msgspec.structs.replace(self._progress, **changed)
        if is_kept:
            replace_file(self._path, msgspec.json.encode(self._progress))

    def _read_progress(self) -> _Progress:
        try:
            progress = msgspec.json.decode(self._path.read_bytes(), type=_Progress)
        except (FileNotFoundError, msgspec.DecodeError):
            return _Progress(self._target.address)
        return progress if progress.address == self._target.address else _Progress(self._target.address)


def _same_at_rest(stands: bytes, content: bytes) -> bool:
    try:
        there = at_rest.decode(stands, "the store's")
    except GatewayError:
        return False
    return there == at_rest.decode(content, "the log's")
