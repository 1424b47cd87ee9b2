"""Backup and restore: a copy that can be read and verified, and that cannot fork the log.

A backup is a copy with a mark, `backup.json`, which says at which size it was taken. A ledger that bears the mark
answers questions and verifies, but does not sign: the log may have gone on since, and signing from the copy would
give a size a second root. There are two ways on from a restore, and none that forks:

    resume   with the newest checkpoint that anyone else holds (a witness, an auditor, a reader of `/log/checkpoint`):
             if it is not beyond the copy, the copy is all there was, and the mark goes
    begin    a new log under a new origin beside it; the old one stays as it is, and keeps its records' proofs

A copy made without `back_up` (a disk image, say) bears no mark; it is found out by the published `checkpoint`
standing ahead of `signer.db`, or by a witness that has cosigned more (INVARIANT: NEVER-FORKED).
"""

import sqlite3
from pathlib import Path

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.checkpoints import parse_checkpoint, verify_checkpoint
from gateway.ledger.durable import make_directory, replace_file, sync_directory, unlink_all
from gateway.ledger.notes import VerifierKey, parse_note

MARK = "backup.json"


class BackupMark(msgspec.Struct, frozen=True):
    """What a copy says of itself."""

    origin: str
    size: int
    taken_unix: int
    v: int = 1


def back_up(ledger: Path, target: Path, *, now_unix: int) -> BackupMark:
    """Copy the log and the index's files of a ledger, at work or not, to `target`, which must not exist.

    The journals are not copied: what they hold and the log does not yet is named nowhere else, so a copy taken from a
    ledger at work ends with its last commit.

    Durability: the copy is synced on return.

    Raises:
        GatewayError: `invalid-input` if the target exists, `not-found` if there is no log.
    """
    if target.exists():
        raise GatewayError("invalid-input", f"`{target}` exists already")
    if not (ledger / "signer.db").exists():
        raise GatewayError("not-found", f"`{ledger}` holds no log")
    make_directory(target)
    # First the mark, then what was signed, then files: those written meanwhile only go beyond it.
    source = sqlite3.connect(f"file:{ledger / 'signer.db'}?mode=ro", uri=True)
    copy = sqlite3.connect(target / "signer.db")
    try:
        source.backup(copy)
        origin, size, note = copy.execute("SELECT origin, size, note FROM signed").fetchone()
    finally:
        source.close()
        copy.close()
    mark = BackupMark(origin, size, now_unix)
    replace_file(target / MARK, msgspec.json.encode(mark))
    while _copy_missing(ledger / "tree", target / "tree"):
        pass
    if note:
        replace_file(target / "tree" / "checkpoint", bytes(note))
    for directory in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        sync_directory(directory)
    return mark


def marked(ledger: Path) -> BackupMark | None:
    """The mark of a copy that was not resumed; None for a ledger that may sign."""
    try:
        return msgspec.json.decode((ledger / MARK).read_bytes(), type=BackupMark)
    except FileNotFoundError:
        return None


def resume(ledger: Path, newest_checkpoint: bytes, key: VerifierKey) -> None:
    """Let a restored copy sign again, on the word of the newest checkpoint that anyone else holds.

    Raises:
        GatewayError: `conflict` if that checkpoint is beyond the copy, or another root at its size.
    """
    mark = marked(ledger)
    if mark is None:
        raise GatewayError("conflict", f"`{ledger}` is no restored copy")
    newest, _ = verify_checkpoint(newest_checkpoint, key)
    own_note = (ledger / "tree" / "checkpoint").read_bytes()
    own = parse_checkpoint(parse_note(own_note).text)
    # INVARIANT: NEVER-FORKED: a copy that is behind what anyone has seen never signs again.
    if newest.size > own.size:
        raise GatewayError(
            "conflict",
            f"the log went on to {newest.size} leaves after this copy was taken at {own.size}: "
            "begin a new log under a new origin, and keep this one to read",
        )
    if newest.size == own.size and newest.root != own.root:
        raise GatewayError("conflict", f"the copy has another root at {own.size} leaves")
    unlink_all([ledger / MARK])


def _copy_missing(source: Path, target: Path) -> int:
    """Copy the files that `target` lacks; returns how many. A log at work packs and replaces files meanwhile."""
    copied = 0
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_dir():
            (target / name).mkdir(parents=True, exist_ok=True)
        elif path.suffix != ".tmp" and str(name) not in {".lock", "checkpoint"} and not (target / name).exists():
            try:
                replace_file(target / name, path.read_bytes(), sync=False)
            except FileNotFoundError:
                continue
            copied += 1
    return copied
