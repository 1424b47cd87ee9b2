"""Taking up a copy of a log under a new origin and key: what was recorded goes on, and nothing is forked.

Where the log that signed last is lost, nobody knows how much it had signed. A new log begins with the leaves that are
left: same entries, same tree, another name and key. The old checkpoint stays as `former`, so that who holds it can see
that the new log begins with the old one. Entries that the journals still hold and the copy does not, come in as usual.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.uses import RecordKind
from gateway.ledger.durable import replace_file, unlink_all
from gateway.ledger.journal import frames
from gateway.ledger.journal.marks import segment_paths
from gateway.ledger.log.checkpoints import Checkpoint
from gateway.ledger.log.files import LogFiles
from gateway.ledger.log.notes import Signer, check_name, sign_note
from gateway.ledger.log.reading import COSIGNED, MIRROR
from gateway.ledger.log.signed import Signed
from gateway.ledger.log.signing import SignedState
from gateway.ledger.log.tiles import HASH_BYTES, WIDTH
from gateway.ledger.log.tree import leaf_hash
from gateway.ledger.witness.mirror import checkpoint_of

FORMER = "former"
"""The checkpoint under the name the log had before."""
VOID = RecordKind.CONSULTATION.value


class ToldAct(msgspec.Struct, frozen=True):
    """What a record says of an act on the state.

    Args:
        id: the record's.
        kind: of the record.
        time: Unix nanoseconds.
        position: the state's feed before the act; None for what is no act on the state.
        act: what the officer did.
        officer: who.
        withdraws: what the act took away: the scopes of its withdrawing changes.
        voids: the record that this one says did not come to stand.
        of: the officer that the act was about.
        roles: that officer's roles after it.
        region: and region.
        state: and whether active or dismissed.
        erases: digests of the texts that the act took away for good.
        officer_department: the department of who acted.
        department, supplier, dataset, grant: by which it is found.
    """

    id: str
    kind: str
    time: int
    position: int | None = None
    act: str = ""
    officer: str = ""
    withdraws: tuple[dict[str, str], ...] = ()
    voids: str = ""
    of: str = ""
    roles: tuple[str, ...] = ()
    region: str = ""
    state: str = ""
    erases: tuple[str, ...] = ()
    officer_department: Any = ""
    department: Any = ""
    supplier: Any = ""
    dataset: Any = ""
    grant: Any = ""


_told = msgspec.json.Decoder(ToldAct).decode


def adopt_log(ledger: Path, origin: str, signer: Signer) -> Checkpoint:
    """Make the copy of a log in `ledger`/tree the log `origin`; returns its first checkpoint.

    Call it on a folder that nothing runs on and that holds no `signer.db`.

    Durability: synced on return.

    Raises:
        GatewayError: `conflict` if the copy is not whole, or bears that origin already.
    """
    tree = ledger / "tree"
    files = LogFiles(tree)
    former = checkpoint_of(tree)
    if former is None:
        raise GatewayError("not-found", f"`{tree}` holds no checkpoint")
    if former.origin == origin:
        raise GatewayError("conflict", f"`{origin}` is the log's old origin: to sign under it again could fork it")
    if files.edge(former.size).root() != former.root:
        raise GatewayError("conflict", f"the tiles of `{tree}` do not hash to its checkpoint")
    cursors = _cursors(ledger, files, former.size)
    new = Checkpoint(check_name(origin), former.size, former.root)
    note = sign_note(new.text(), origin, signer).encode().encode()
    state = SignedState(ledger / "signer.db", origin)
    try:
        state.advance(Signed(origin, new.size, new.root, note, cursors, new.size, b""))
    finally:
        state.close()
    replace_file(tree / FORMER, files.checkpoint())
    files.publish(note)
    unlink_all([tree / MIRROR, tree / COSIGNED])
    return new


def journal_entries(directory: Path) -> Iterator[tuple[int, bytes]]:
    """(sequence, entry) of everything in a writer's folder that can be read, oldest first."""
    for path in segment_paths(directory):
        content = path.read_bytes()
        try:
            opening, offset, checksum = frames.parse_opening(content, str(path))
            for sequence, read in enumerate(frames.frames(content, offset, checksum), opening.first):
                yield sequence, read.payload
        except frames.FrameFault:
            continue


def told_acts(ledger: Path, writer: str, first_leaf: int | None) -> Iterator[ToldAct]:
    """Acts on the state that are on record, and what was voided: of the writer's journal, then of the log.

    An act may come twice. The log is read after the journal, so that none is missed that moves on meanwhile.

    Args:
        ledger: the ledger's folder.
        writer: whose journal, `control` say.
        first_leaf: where to begin in the log; None leaves the log out.

    Raises:
        GatewayError: if the log cannot be read.
    """
    for _, entry in journal_entries(ledger / "journal" / writer):
        yield from _acts_in(entry)
    if first_leaf is None:
        return
    files = LogFiles(ledger / "tree")
    newest = checkpoint_of(ledger / "tree")
    size = newest.size if newest else 0
    for n in range(first_leaf // WIDTH, (size + WIDTH - 1) // WIDTH):
        try:
            entries = files.bundle(n, min(WIDTH, size - n * WIDTH))
        except GatewayError as error:
            if error.code == "not-found":  # pruned: no act of these days
                continue
            raise
        for entry in entries:
            yield from _acts_in(entry)


def _acts_in(entry: bytes) -> Iterator[ToldAct]:
    if b'"position":' not in entry and b'"voids":' not in entry:
        return
    try:
        act = _told(entry)
    except msgspec.DecodeError:
        return
    if act.position is not None or act.voids:
        yield act


def _cursors(ledger: Path, files: LogFiles, size: int) -> dict[str, int]:
    """How far each writer's journal is in the log, by the leaves that it holds."""
    wanted: dict[bytes, tuple[str, int]] = {}
    journals = ledger / "journal"
    for directory in sorted(journals.iterdir()) if journals.is_dir() else ():
        if directory.is_dir():
            for sequence, entry in journal_entries(directory):
                wanted[leaf_hash(entry)] = (directory.name, sequence)
    cursors: dict[str, int] = {}
    for path in sorted(journals.glob("*/")):
        # Whatever came before the oldest segment is in the log: segments go only when all of them is.
        oldest = segment_paths(path)
        cursors[path.name] = frames.first_of(oldest[0].name) - 1 if oldest else 0
    left = set(wanted)
    for n in range((size - 1) // WIDTH, -1, -1) if size else ():
        if not left:
            break
        tile = files.tile(0, n, min(WIDTH, size - n * WIDTH))
        for at in range(0, len(tile), HASH_BYTES):
            found = tile[at : at + HASH_BYTES]
            if found in left:
                left.discard(found)
                writer, sequence = wanted[found]
                cursors[writer] = max(cursors.get(writer, 0), sequence)
    return cursors
