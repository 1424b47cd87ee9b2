"""From journals to log to index: what the ledger process does all day."""

import itertools
from collections.abc import Callable
from pathlib import Path

from gateway.domain.calendar import has_ended
from gateway.domain.errors import GatewayError
from gateway.ledger.durable import unlink_all
from gateway.ledger.index.index import FLUSH_ROWS, Index
from gateway.ledger.journal import frames
from gateway.ledger.journal.entries import china_day, retain_until
from gateway.ledger.journal.marks import confirmed_sequence, segment_paths
from gateway.ledger.journal.segments import SegmentReader
from gateway.ledger.journal.writer import JournalWriter
from gateway.ledger.log.minimum import minimum_index
from gateway.ledger.log.tiled_log import TiledLog
from gateway.ledger.log.tiles import WIDTH

ROUND_BYTES = 8 << 20
"""About what one commit takes in: what a round holds in memory does not grow with the number of writers."""
LEAST_BYTES = 1 << 20
ORPHAN_SEGMENT_BYTES = 1 << 20
_CATCH_UP_BUNDLES = 64


class Integrator:
    """Takes confirmed entries from every writer's journal into the log, then into the index.

    Args:
        ledger: the ledger's folder.
        log: the log; this object alone commits to it.
        index: the index.
    """

    def __init__(self, ledger: Path, log: TiledLog, index: Index) -> None:
        self._journals = ledger / "journal"
        self._log = log
        self._index = index
        self._readers: dict[str, SegmentReader] = {}
        self._adopted: dict[str, int] = {}
        self.integrated = 0

    def catch_up(self, progress: Callable[[int, int], None] = lambda _done, _of: None) -> None:
        """Bring the index to the log's size, from the log.

        Raises:
            GatewayError: `conflict` if the index is ahead of the log: it is another log's, remove it.
        """
        size = self._log.size
        if self._index.size > size:
            raise GatewayError(
                "conflict", f"the index reaches leaf {self._index.size}, the log {size}: remove `index/`, it is rebuilt"
            )
        minimum = minimum_index(self._log.files.root)
        openings: list[tuple[int, bytes]] = []
        for leaf in self._index.open_at_flush:
            try:
                openings.append((leaf, self._log.files.entry(leaf, size)))
            except GatewayError as error:
                if leaf < minimum and error.code == "not-found":
                    continue
                self._index.leave_out(leaf, f"the opening of a use could not be read: {error.detail}")
        self._index.reopen(openings)
        for n, kept in self._log.files.kept_bundles(minimum // WIDTH):
            if n * WIDTH >= self._index.size:
                self._index.begin_at(n * WIDTH)
                self._index.add(kept, is_kept=True)
        self._index.begin_at(minimum)
        while self._index.size < size:
            entries: list[bytes] = []
            at = self._index.size
            unreadable = ""
            while at < size and len(entries) < _CATCH_UP_BUNDLES * WIDTH:
                n, skip = divmod(at, WIDTH)
                width = min(WIDTH, size - n * WIDTH)
                try:
                    some = self._log.files.standing(n, width)[skip:]
                except GatewayError as error:
                    unreadable = f"bundle {n} could not be read: {error.detail}"
                    break
                entries += some
                at += len(some)
            self._index.add(entries)
            if unreadable:
                self._index.skip(width - skip, unreadable)
            if self._index.tail_rows >= FLUSH_ROWS:
                self._index.flush()
            progress(at, size)

    def step(self) -> int:
        """Integrate what is confirmed, up to about `ROUND_BYTES`; returns how many entries.

        Durability: what is returned as integrated is committed, in place and can be asked for.

        Raises:
            GatewayError: `records-unavailable` if a journal is corrupt, `conflict` if the log cannot go on.
        """
        entries: list[bytes] = []
        cursors: dict[str, int] = {}
        writers = self._writers()
        limit_bytes = max(LEAST_BYTES, ROUND_BYTES // max(1, len(writers)))
        for writer in writers:
            reader = self._readers.get(writer)
            if reader is None:
                directory = self._journals / writer
                reader = self._readers[writer] = SegmentReader(directory, self._log.cursors.get(writer, 0))
            taken = reader.read(limit_bytes)
            if taken:
                entries += taken
                cursors[writer] = reader.sequence
        if entries:
            self._log.commit(entries, cursors)
            self._index.add(entries)
            self.integrated += len(entries)
            self._recycle(cursors)
        return len(entries)

    def backlog(self) -> int:
        """Confirmed entries that are not in the log yet."""
        return sum(
            max(0, confirmed_sequence(self._journals / writer) - self._log.cursors.get(writer, 0))
            for writer in self._writers()
        )

    def adopt_orphans(self, now_ns: Callable[[], int]) -> list[str]:
        """Recover the journals of writers whose process is gone; returns those that had not been looked at yet.

        A writer that does not come back would else leave its open uses open and its last records unconfirmed.
        """
        return [writer for writer in self._writers() if self._adopt(writer, now_ns)]

    def _adopt(self, writer: str, now_ns: Callable[[], int]) -> bool:
        confirmed = confirmed_sequence(self._journals / writer)
        if self._adopted.get(writer) == confirmed:
            return False
        try:
            journal = JournalWriter(
                self._journals.parent,
                writer,
                clock_ns=now_ns,
                tell=lambda _waiters, _error: None,
                on_poisoned=lambda _error: None,
                segment_bytes=ORPHAN_SEGMENT_BYTES,
                lock_seconds=0,
            )
        except GatewayError:
            return False  # it lives, or its journal is corrupt, which reading it will say
        journal.close()
        self._adopted[writer] = confirmed_sequence(self._journals / writer)
        return True

    def let_go(self, end: int, leaf_of: Callable[[bytes], int], now_ns: Callable[[], int]) -> None:
        """Remove what the journals still hold of entries below leaf `end`: before a prune, on the integrating thread.

        Segments that are wholly in the log go. The newest of a writer whose process is gone is followed by an empty
        one and goes too; that of a writer at work is its own.

        Args:
            end: the first leaf that stays.
            leaf_of: the leaf of an entry that is in the log, -1 if it was pruned.
            now_ns: Unix nanoseconds.

        Raises:
            GatewayError: `precondition-failed` if a writer at work still holds such an entry.
        """
        for writer in self._writers():
            directory = self._journals / writer
            self._recycle({writer: self._log.cursors.get(writer, 0)})
            if self._holds_below(writer, end, leaf_of):
                self._adopted.pop(writer, None)
                self._adopt(writer, now_ns)
                self._recycle({writer: self._log.cursors.get(writer, 0)})
                if self._holds_below(writer, end, leaf_of):
                    raise GatewayError(
                        "precondition-failed",
                        f"the journal of `{writer}` still holds records that would go: restart that process first",
                    )
            today = china_day(now_ns())
            unlink_all(
                path
                for path in directory.glob("*.broken")
                if self._is_below(
                    path,
                    writer,
                    end,
                    leaf_of,
                    unreadable=has_ended(retain_until(_mtime_ns(path), 0), today),
                )
            )

    def _holds_below(self, writer: str, end: int, leaf_of: Callable[[bytes], int]) -> bool:
        """Whether the oldest segment left begins with an entry below `end`: journal order is leaf order."""
        paths = segment_paths(self._journals / writer)
        return bool(paths) and self._is_below(paths[0], writer, end, leaf_of, unreadable=False)

    def _is_below(
        self, path: Path, writer: str, end: int, leaf_of: Callable[[bytes], int], *, unreadable: bool
    ) -> bool:
        content = path.read_bytes()
        try:
            opening, offset, checksum = frames.parse_opening(content, str(path))
            first = frames.read_frame(content, offset, checksum)
        except frames.FrameFault:
            return unreadable
        if first is None or opening.first > self._log.cursors.get(writer, 0):
            return False
        return leaf_of(first.payload) < end

    def close(self) -> None:
        """Let the journals go."""
        for reader in self._readers.values():
            reader.close()

    def _writers(self) -> list[str]:
        if not self._journals.is_dir():
            return []
        return sorted(path.name for path in self._journals.iterdir() if path.is_dir())

    def _recycle(self, cursors: dict[str, int]) -> None:
        """Remove segments that are wholly in the log; a writer's newest always stays."""
        for writer, sequence in cursors.items():
            paths = segment_paths(self._journals / writer)
            gone = [
                path for path, following in itertools.pairwise(paths) if frames.first_of(following.name) <= sequence + 1
            ]
            if gone:
                unlink_all(gone)


def _mtime_ns(path: Path) -> int:
    return path.stat().st_mtime_ns
