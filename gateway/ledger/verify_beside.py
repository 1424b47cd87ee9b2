"""What stands beside a log in a ledger's folder, checked offline: journals, index, and what was signed last.

None of it is evidence: the log is. But a bit that turned there is found, and the file and place are named.
"""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger import frames
from gateway.ledger.checked import VerificationFailed
from gateway.ledger.checkpoints import verify_checkpoint
from gateway.ledger.notes import VerifierKey
from gateway.ledger.segments import confirmed_sequence, segment_paths
from gateway.ledger.signing import read_signed

_BLOCK_BYTES = 1 << 20


class _File(msgspec.Struct):
    day: str
    name: str
    sha256: str = ""
    subjects_sha256: str = ""


class _Manifest(msgspec.Struct):
    files: tuple[_File, ...] = ()


def verify_journals(ledger: Path) -> int:
    """Check every confirmed frame of every journal, and that segments follow each other; returns how many.

    Raises:
        VerificationFailed: it names the segment and the byte.
    """
    return sum(_verify_journal(directory) for directory in sorted((ledger / "journal").glob("*/")))


def _verify_journal(directory: Path) -> int:
    # A writer at work goes on meanwhile, and what is in the log by now goes, oldest first: `confirmed` is read first.
    confirmed = confirmed_sequence(directory)
    checked = 0
    at = chain = None
    paths = segment_paths(directory)
    for path in paths:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            at = chain = None
            continue
        first = frames.first_of(path.name)
        if at not in {None, first}:
            raise VerificationFailed(str(path), f"it does not begin with entry {at}, which follows")
        if path == paths[-1] and first > confirmed and content.count(0) == len(content):
            continue  # older releases named a segment before it began
        try:
            at, chain = _verify_segment(path, content, confirmed, chain)
        except frames.FrameFault as fault:
            raise VerificationFailed(f"{path} at byte {fault.offset}", fault.why) from fault
        checked += at - first
    if paths and at is None and segment_paths(directory) != paths:
        return _verify_journal(directory)
    if at is not None and at <= confirmed:
        raise VerificationFailed(str(directory), f"it ends before entry {confirmed}, which had been confirmed")
    return checked


def _verify_segment(path: Path, content: bytes, confirmed: int, chain: int | None) -> tuple[int, int]:
    """The entry that follows this segment's confirmed ones, and the checksum there; raises `FrameFault`."""
    opening, offset, checksum = frames.parse_opening(content, str(path))
    frames.check_chain(opening, frames.first_of(path.name), chain)
    if opening.first != frames.first_of(path.name):
        raise frames.FrameFault(len(frames.MAGIC), f"it names itself segment {opening.first}")
    at = opening.first
    while at <= confirmed and (read := frames.read_frame(content, offset, checksum)) is not None:
        offset, checksum, at = offset + frames.HEAD.size + len(read.payload), read.checksum, at + 1
    return at, checksum


def verify_index(index: Path) -> int:
    """Check every file that the index's manifest names against its digest; returns how many.

    Raises:
        VerificationFailed: it names the file; the index can be removed, and is rebuilt from the log.
    """
    while True:
        try:
            content = (index / "manifest.json").read_bytes()
        except FileNotFoundError:
            return 0
        try:
            files = msgspec.json.decode(content, type=_Manifest).files
        except msgspec.DecodeError as error:
            raise VerificationFailed(str(index / "manifest.json"), "it is not the manifest of an index") from error
        try:
            for file in files:
                _verify_file(index / f"date={file.day}" / file.name, file)
        except FileNotFoundError as error:
            # Where a gateway is at work, files are merged meanwhile; another manifest stands before they go.
            if (index / "manifest.json").read_bytes() == content:
                raise VerificationFailed(str(error.filename), "it is missing") from error
        else:
            return len(files)


def _verify_file(path: Path, file: _File) -> None:
    for each, stated in ((path, file.sha256), (path.with_name(f"{path.name}.subjects"), file.subjects_sha256)):
        if stated and digest(each) != stated:
            raise VerificationFailed(str(each), "it is not as the index wrote it")


def verify_signed(path: Path, key: VerifierKey) -> int:
    """Check that `signer.db` is whole and holds a checkpoint of this log, signed; returns its size.

    Raises:
        VerificationFailed: it says what does not hold.
    """
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            whole = connection.execute("PRAGMA integrity_check").fetchone()
            held = read_signed(connection)
        checkpoint, _ = verify_checkpoint(held.note, key)
    except (sqlite3.Error, TypeError) as error:
        raise VerificationFailed(str(path), "it is damaged") from error
    except GatewayError as error:
        raise VerificationFailed(str(path), error.detail) from error
    if whole != ("ok",) or (checkpoint.size, checkpoint.root) != (held.size, held.root):
        raise VerificationFailed(str(path), "size and root are not those that were signed")
    return checkpoint.size


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    hashing = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            hashing.update(block)
    return hashing.hexdigest()
