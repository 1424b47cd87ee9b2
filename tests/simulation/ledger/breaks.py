"""Deliberate breaks of the ledger, each of which its histories have to find.

python -m tests.simulation.ledger breaks        finds each, prints how many histories that took, and keeps their numbers
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from gateway.domain.errors import GatewayError
from gateway.ledger import durable
from gateway.ledger.durable import FileBatch
from gateway.ledger.journal import segments, writer
from gateway.ledger.journal.marks import confirmed_sequence
from gateway.ledger.journal.segments import SegmentReader
from gateway.ledger.journal.writer import JournalWriter
from gateway.ledger.log import files
from gateway.ledger.log.files import LogFiles
from gateway.ledger.log.signing import SignedState
from gateway.ledger.log.tiled_log import TiledLog
from gateway.ledger.log.tiles import partial_width
from gateway.ledger.process.integrator import Integrator
from gateway.ledger.retention import retention
from gateway.ledger.witness import mirror
from gateway.ledger.witness.cosigning import Cosigning
from tests.simulation.ledger.history import BEFORE, Broken, long_ago, run
from tests.simulation.ledger.world import THE, World

KEPT = Path(__file__).with_name("found_by.json")
"""Break -> the number of the history that finds it first; where it finds it no more, the others are tried."""
MOST = 500

Patch = tuple[Any, str, Any]
BREAKS: dict[str, Callable[[], list[Patch]]] = {}


def a_break(what: Callable[[], list[Patch]]) -> Callable[[], list[Patch]]:
    BREAKS[(what.__doc__ or "").strip().rstrip(".")] = what
    return what


@contextmanager
def broken(name: str) -> Iterator[None]:
    """The house with one break; the logs that histories begin with were made by a whole one, and are kept."""
    for count in BEFORE:
        long_ago(count)
    with ExitStack() as stack:
        for where, attribute, value in BREAKS[name]():
            stack.enter_context(patch.object(where, attribute, value))
        yield


def _made(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)


def _nothing(*_: Any, **__: Any) -> None:
    """It is left out."""


@a_break
def _not_synced() -> list[Patch]:
    """a journal tells who waits though nothing was synced."""
    return [(World, "data_is_synced", False)]


@a_break
def _synced_again() -> list[Patch]:
    """a sync that failed is tried again."""
    return [(World, "syncs_again", True)]


@a_break
def _folder() -> list[Patch]:
    """a new segment's folder is not synced."""
    return [(writer, "sync_directory", _nothing)]


@a_break
def _own_folder() -> list[Patch]:
    """a journal's own folder is not synced where it is made."""
    return [(writer, "make_directory", _made)]


@a_break
def _stands_there() -> list[Patch]:
    """a folder that stands there is taken for durable."""
    return [(durable, "_holds_something", Path.exists)]


@a_break
def _mark_first() -> list[Patch]:
    """what is durable is said before it is."""

    def commit(self: JournalWriter, batch: Any) -> None:
        self._mark.store(self._sequence + len(batch))
        true(self, batch)

    true = JournalWriter._commit
    return [(JournalWriter, "_commit", commit)]


@a_break
def _half() -> list[Patch]:
    """a write that was taken by half is not continued."""
    return [(writer, "write_all", lambda *write: os.pwrite(*write))]  # noqa: PLW0108 - as the disk has it


@a_break
def _swallowed() -> list[Patch]:
    """what could not be written is answered all the same."""

    def commit(self: JournalWriter, batch: Any) -> None:
        try:
            true(self, batch)
        except OSError:
            return

    true = JournalWriter._commit
    return [(JournalWriter, "_commit", commit)]


@a_break
def _tail() -> list[Patch]:
    """a tail that may stand in the page cache alone is taken for durable."""

    def put(path: Path, content: bytes, **options: Any) -> None:
        if path.suffix != ".journal" or any(path.read_bytes()[len(content) :]):
            true(path, content, **options)

    true = segments.replace_file
    return [(segments, "replace_file", put)]


@a_break
def _cut_quietly() -> list[Patch]:
    """a journal that lost what it had confirmed goes on."""

    def recover(path: Path, content: bytes, opening: Any, offset: int, checksum: int, _: int, *, torn: bool) -> Any:
        return true(path, content, opening, offset, checksum, 0, torn=torn)

    true = segments._recover_tail
    return [(segments, "_recover_tail", recover)]


@a_break
def _no_end() -> list[Patch]:
    """a use that was open when its writer died gets no end."""
    return [(JournalWriter, "_close_recovered", _nothing)]


@a_break
def _orphans() -> list[Patch]:
    """nobody looks at the journal of a writer that does not come back."""
    return [(Integrator, "adopt_orphans", _nothing)]


@a_break
def _mark_alone() -> list[Patch]:
    """a journal is refused for what its mark says, though it holds all that the log took."""

    def read(self: SegmentReader, limit_bytes: int) -> list[bytes]:
        if confirmed_sequence(self.directory) < self.sequence:
            raise GatewayError("records-unavailable", "less was confirmed than the log has taken")
        return true(self, limit_bytes)

    true = SegmentReader.read
    return [(SegmentReader, "read", read)]


@a_break
def _read_is_gone() -> list[Patch]:
    """a segment goes once it is read, before the log has committed what stood in it."""

    def following(self: SegmentReader, reopened: bool) -> None:
        before = self._path
        true(self, reopened)
        if self._path != before:
            before.unlink()

    true = SegmentReader._next
    return [(SegmentReader, "_next", following)]


@a_break
def _cursors() -> list[Patch]:
    """how far a journal is in the log is not committed with its entries."""

    def advance(self: SignedState, then: Any) -> None:
        true(
            self, type(then)(then.origin, then.size, then.root, then.note, self.last.cursors, then.before, then.staged)
        )
        self.last = then

    true = SignedState.advance
    return [(SignedState, "advance", advance)]


@a_break
def _brief() -> list[Patch]:
    """what was signed is committed and not synced."""

    def begin(self: SignedState, *args: Any) -> None:
        true(self, *args)
        self._connection.execute("PRAGMA synchronous = OFF")

    true = SignedState.__init__
    return [(SignedState, "__init__", begin)]


@a_break
def _published_first() -> list[Patch]:
    """a checkpoint is given out before it is committed."""

    def advance(self: SignedState, then: Any) -> None:
        durable.replace_file(THE.history.ledger / "tree" / "checkpoint", then.note)
        true(self, then)

    true = SignedState.advance
    return [(SignedState, "advance", advance)]


@a_break
def _tiles_last() -> list[Patch]:
    """a checkpoint is published before its tiles are in place."""

    def place(self: TiledLog, *args: Any) -> Any:
        self.files.publish(self.state.last.note)
        return true(self, *args)

    true = TiledLog._place
    return [(TiledLog, "_place", place)]


@a_break
def _not_again() -> list[Patch]:
    """what a commit left undone is not done at the next start."""

    def redo(self: TiledLog) -> Any:
        def not_placed(_self: Any, _before: int, tail: Any, some: Any, *_: Any) -> Any:
            return [*tail, *some]

        with patch.object(TiledLog, "_place", not_placed):
            edge, tail = true(self)
        width = partial_width(edge.size, 0)
        return edge, tail[len(tail) - width :] if width else []

    true = TiledLog._redo
    return [(TiledLog, "_redo", redo)]


@a_break
def _names_first() -> list[Patch]:
    """tiles and bundles get their names before they are synced."""

    def sync(self: FileBatch) -> None:
        waiting, self._waiting = self._waiting, []
        for path in waiting:
            durable._beside(path).rename(path)
        self._sync_contents()

    return [(FileBatch, "sync", sync)]


@a_break
def _names_not() -> list[Patch]:
    """names of tiles and bundles are not synced."""
    return [(FileBatch, "sync_directories", _nothing)]


@a_break
def _renamed_first() -> list[Patch]:
    """a file is put in another's place before it is synced."""

    def replace(path: Path, content: bytes, *, sync: bool = True) -> None:
        temporary = durable._beside(path)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        durable.write_all(fd, content, 0)
        os.close(fd)
        temporary.rename(path)
        if sync:
            durable.sync_directory(path.parent)

    return [(each, "replace_file", replace) for each in (files, mirror, retention)]


@a_break
def _older_signs() -> list[Patch]:
    """an older copy of the log signs, though a checkpoint or the state knows more."""
    return [(TiledLog, "_refuse_restored", _nothing), (TiledLog, "_refuse_other", _nothing)]


@a_break
def _witness_knows() -> list[Patch]:
    """an older copy of the log signs, though a witness knows more."""
    return [(Cosigning, "refuse_if_behind", _nothing)]


@a_break
def _stays() -> list[Patch]:
    """what a prune has to keep goes with the rest."""

    def drop(self: LogFiles, first: int, kept: Any) -> int:
        return true(self, first, kept._replace(leaves=kept.leaves[:0]))

    true = LogFiles.drop_bundles
    return [(LogFiles, "drop_bundles", drop)]


@a_break
def _backup_names() -> list[Patch]:
    """a backup's checkpoint is durable before the names of its tiles are."""
    return [(mirror, "_folders", lambda _: [])]


@a_break
def _cosigned_first() -> list[Patch]:
    """a backup holds what was cosigned of a checkpoint before it holds the checkpoint."""
    return [(mirror, "PLACED", ("cosigned", "checkpoint"))]


def first_found(most: int, kept: int | None = None) -> tuple[int, str]:
    """The number, from 1, of a history that finds what is broken now, 0 where none does; and what was seen."""
    for number in (*([kept] if kept else []), *range(1, most + 1)):
        try:
            run(number - 1)
        except Broken as error:
            return number, str(error).splitlines()[0].partition(": ")[2]
    return 0, ""
