"""What stands beside a log in a ledger's folder, checked offline: journals, index, and what was signed last.

None of it is evidence: the log is. But a bit that turned there is found, and the file and place are named.
"""

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from gateway.domain.errors import GatewayError
from gateway.ledger.index.manifest import MANIFEST, IndexFile, parse_manifest
from gateway.ledger.journal import frames
from gateway.ledger.journal.marks import confirmed_sequence, segment_paths
from gateway.ledger.log.checkpoints import Checkpoint, verify_checkpoint
from gateway.ledger.log.notes import VerifierKey
from gateway.ledger.log.signed import Signed, check_schema, read_signed
from gateway.ledger.verify.report import VerificationFailed

_BLOCK_BYTES = 1 << 20
_BUSY_SECONDS = 60.0
"""How long a commit of a log at work is waited for."""

Cursors = Callable[[], Mapping[str, int]]
"""Writer -> sequence of its last entry in the log, as `signer.db` says now."""


def verify_beside(ledger: Path, key: VerifierKey, checkpoint: Checkpoint) -> tuple[list[str], list[str]]:
    """Check what stands beside the log; what was checked and what was not, one sentence each.

    Args:
        ledger: the ledger's folder.
        key: the log's.
        checkpoint: read before.

    Raises:
        VerificationFailed: at the first thing that does not hold; it names the file.
    """
    checked, missing = [], []
    signer, journal, index = ledger / "signer.db", ledger / "journal", ledger / "index"
    if signer.exists():
        signed = verify_signed(signer, key)
        if signed.size < checkpoint.size or (signed.size == checkpoint.size and signed.root != checkpoint.root):
            raise VerificationFailed(str(signer), f"it does not know the checkpoint of {checkpoint.size} leaves")
        entries = verify_journals(journal, lambda: verify_signed(signer, key).cursors)
        checked += [
            f"{entries} entries in the journals are as they were confirmed, and follow on those in the log",
            f"`signer.db` holds the signed checkpoint of {signed.size} leaves",
        ]
    elif journal.exists():
        raise VerificationFailed(str(signer), "it is missing, and journals stand that it says the place in the log of")
    else:
        missing.append("journals and `signer.db`: they are not here, so what was confirmed last may not be in this log")
    found = verify_index(index)
    if found is None:
        missing.append("the index: it is not here, or not yet written; it can be made anew from the log")
    else:
        files, is_sealed = found
        checked.append(f"{files} files of the index are as they were written")
        if not is_sealed:
            missing.append("the manifest of the index: the older release that wrote it gave it no digest")
    return checked, missing


def verify_journals(journal: Path, cursors: Cursors) -> int:
    """Check every confirmed frame of every journal, that segments follow each other, and that none is lost.

    Args:
        journal: the folder of the writers' folders.
        cursors: how far each writer's entries are in the log; asked again where the log goes on meanwhile.

    Returns:
        How many entries were checked.

    Raises:
        VerificationFailed: it names the segment and the byte.
    """
    logged = cursors()
    standing = {path.name for path in journal.glob("*/")}
    for writer in sorted(logged.keys() - standing):
        raise VerificationFailed(
            str(journal / writer), f"it is missing, and {logged[writer]} entries came from it into the log"
        )
    return sum(_verify_journal(journal / writer, logged.get(writer, 0), cursors) for writer in sorted(standing))


def _verify_journal(directory: Path, logged: int, cursors: Cursors) -> int:
    # A writer at work goes on meanwhile, and what is in the log by now goes, oldest first: `confirmed` is read first.
    try:
        stated = confirmed_sequence(directory)
    except GatewayError as error:
        raise VerificationFailed(str(directory / "durable"), error.detail) from error
    # A loss of power leaves an older mark, or zeros of its length; a mark of no length was emptied.
    if logged and not (directory / "durable").stat().st_size:
        raise VerificationFailed(
            str(directory / "durable"), f"it is empty, and the log has taken {logged} entries that were confirmed"
        )
    confirmed = max(stated, logged)
    checked = 0
    oldest = at = chain = None
    paths = segment_paths(directory)
    for path in paths:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            oldest = at = chain = None
            continue
        first = frames.first_of(path.name)
        if at not in {None, first}:
            raise VerificationFailed(str(path), f"it does not begin with entry {at}, which follows")
        is_last = path == paths[-1]
        if is_last and first > confirmed and content.count(0) == len(content):
            continue  # older releases named a segment before it began
        try:
            # A segment that has a successor was whole before that began, whatever a power failure made of `durable`.
            at, chain = _verify_segment(path, content, confirmed if is_last else None, chain)
        except frames.FrameFault as fault:
            raise VerificationFailed(f"{path} at byte {fault.offset}", fault.why) from fault
        oldest = first if oldest is None else oldest
        checked += at - first
    if at is None and segment_paths(directory) != paths:
        return _verify_journal(directory, logged, cursors)
    if confirmed and (at is None or at <= confirmed):
        where = f"it ends before entry {confirmed}" if at else "it has no segment"
        raise VerificationFailed(str(directory), f"{where}, but entry {confirmed} had been confirmed")
    if oldest is not None and oldest > logged + 1 and oldest > (logged := cursors().get(directory.name, 0)) + 1:
        raise VerificationFailed(
            str(directory), f"entries {logged + 1} to {oldest - 1} are not in the log, and their segment is missing"
        )
    return checked


def _verify_segment(path: Path, content: bytes, last: int | None, chain: int | None) -> tuple[int, int]:
    """The entry after those of this segment, up to entry `last`, and the checksum there; raises `FrameFault`."""
    opening, offset, checksum = frames.parse_opening(content, str(path))
    frames.check_chain(opening, frames.first_of(path.name), chain)
    if opening.first != frames.first_of(path.name):
        raise frames.FrameFault(len(frames.MAGIC), f"it names itself segment {opening.first}")
    at = opening.first
    while (last is None or at <= last) and (read := frames.read_frame(content, offset, checksum)) is not None:
        offset, checksum, at = offset + frames.HEAD.size + len(read.payload), read.checksum, at + 1
    return at, checksum


def verify_index(index: Path) -> tuple[int, bool] | None:
    """Check every file that the index's manifest names against its digest.

    Returns:
        How many files there are and whether the manifest has a digest of its own; None if there is no manifest.

    Raises:
        VerificationFailed: it names the file; the index can be removed, and is rebuilt from the log.
    """
    path = index / MANIFEST
    while True:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            manifest, is_sealed = parse_manifest(content)
        except GatewayError as error:
            raise VerificationFailed(str(path), error.detail) from error
        try:
            for file in manifest.files:
                _verify_file(index / f"date={file.day.isoformat()}" / file.name, file)
        except FileNotFoundError as error:
            # Where a gateway is at work, files are merged meanwhile; another manifest stands before they go.
            if path.read_bytes() == content:
                raise VerificationFailed(str(error.filename), "it is missing") from error
        else:
            return len(manifest.files), is_sealed


def _verify_file(path: Path, file: IndexFile) -> None:
    for each, stated in ((path, file.sha256), (path.with_name(f"{path.name}.subjects"), file.subjects_sha256)):
        if stated and digest(each) != stated:
            raise VerificationFailed(str(each), "it is not as the index wrote it")


def verify_signed(path: Path, key: VerifierKey) -> Signed:
    """Check that `signer.db` is whole, as it was made, and holds a checkpoint of this log, signed; returns its row.

    Raises:
        VerificationFailed: it says what does not hold.
    """
    try:
        held = _read_whole(path)
        checkpoint, _ = verify_checkpoint(held.note, key)
    except (sqlite3.Error, TypeError) as error:
        raise VerificationFailed(str(path), "it is damaged") from error
    except GatewayError as error:
        raise VerificationFailed(str(path), error.detail) from error
    if (checkpoint.size, checkpoint.root) != (held.size, held.root):
        raise VerificationFailed(str(path), "size and root are not those that were signed")
    return held


def _read_whole(path: Path) -> Signed:
    """The row of a database that is whole.

    A process that was killed in a commit left a rollback journal, which only one that writes may play back: then that
    is done to a copy, and the database stays as it is.
    """
    try:
        return _read_database(f"{path.absolute().as_uri()}?mode=ro")
    except sqlite3.OperationalError as error:
        # Where the text of a row is no UTF-8, the error is Python's own and has no code.
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
    with TemporaryDirectory() as folder:
        for name in (path.name, f"{path.name}-journal"):
            shutil.copyfile(path.with_name(name), Path(folder) / name)
        return _read_database((Path(folder) / path.name).as_uri())


def _read_database(uri: str) -> Signed:
    with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
        whole = connection.execute("PRAGMA integrity_check").fetchone()
        check_schema(connection)
        held = read_signed(connection)
    if whole != ("ok",):
        raise sqlite3.DatabaseError("its pages are damaged")
    return held


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    hashing = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            hashing.update(block)
    return hashing.hexdigest()
