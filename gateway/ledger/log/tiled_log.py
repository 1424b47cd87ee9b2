"""The log: entries in, a signed checkpoint out, and never two roots for one size.

The life of a commit, in the order that makes a crash at any point harmless:

    1  entries come in journal order, which is leaf order
    2  leaf hashes, tiles and root are computed in memory
    3  the checkpoint is signed, and size, root, note, cursors and the entries themselves replace the last commit in
       `signer.db` in one synced transaction: this is the commit
    4  tiles and bundles are put in place, written once, compared if they stand; files, then directories synced
    5  `checkpoint` is replaced by rename
    6  partial tiles of tiles that are full now go, and sixteen full bundles become a pack

A crash before 3 leaves the last commit; the entries still stand in the journals. A crash after 3 is made good at the
next start, which does 4 to 6 again from the entries in `signer.db`: so the files of one commit are durable before the
next one begins.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import zstandard

from gateway.domain.errors import GatewayError
from gateway.ledger.durable import make_directory, take_lock
from gateway.ledger.log.at_rest import PACK
from gateway.ledger.log.bundles import encode_bundle, parse_entries
from gateway.ledger.log.checkpoints import Checkpoint, Published, parse_published, verify_checkpoint
from gateway.ledger.log.files import LogFiles
from gateway.ledger.log.notes import ED25519, Note, Signer, VerifierKey, check_name, sign_note
from gateway.ledger.log.reading import COSIGNED, MIRROR
from gateway.ledger.log.signed import Signed
from gateway.ledger.log.signing import SignedState
from gateway.ledger.log.tiles import WIDTH, partial_width
from gateway.ledger.log.tree import Edge, leaf_hash

STAGED_LEVEL = 1
MAX_STAGED_BYTES = 256 << 20
"""Entries of one commit pass through `signer.db`; more than this is not ours."""
TWO_WAYS = (
    "bring the log that signed last (`gateway restore --ledger FOLDER`), "
    "or go on under a new origin and key (`gateway restore --new-origin`)"
)
"""What to do where the log is not the one that signed last."""


class TiledLog:
    """One origin, one key, one process: appends entries and publishes checkpoints.

    Args:
        ledger: the ledger's folder; the log lives in `tree/` and `signer.db`.
        origin: the log's name.
        signer: the log's Ed25519 key.
        known: the largest checkpoint of this log that the gateway's state has heard of, if it has of any.

    Raises:
        GatewayError: `conflict` if another process has the log, the database is another log's, what is on disk does
            not bear out what was signed, or more was published, or is known, than was signed (a restored backup).
    """

    def __init__(self, ledger: Path, origin: str, signer: Signer, known: Checkpoint | None = None) -> None:
        self.key = VerifierKey(check_name(origin), ED25519, signer.public_bytes)
        self._signer = signer
        make_directory(ledger / "tree")
        self._lock = take_lock(ledger / "tree" / ".lock", f"the log `{origin}`")
        try:
            self.files = LogFiles(ledger / "tree")
            self._refuse_mirror()
            self._refuse_less(known, (ledger / "signer.db").exists())
            self.state = SignedState(ledger / "signer.db", origin)
            self._refuse_restored(known)
            self._edge, self._tail = self._redo()
            self._refuse_other(known)
            if not self.note or not self._is_signed_by_own_key():
                # A key that was replaced vouches for nothing more: the same size and root, under the new one.
                (self.files.root / COSIGNED).unlink(missing_ok=True)
                self.commit((), {})
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def origin(self) -> str:
        """The log's name."""
        return self.key.name

    @property
    def size(self) -> int:
        """Leaves committed."""
        return self._edge.size

    @property
    def cursors(self) -> Mapping[str, int]:
        """Writer -> sequence of its last entry in the log."""
        return self.state.last.cursors

    @property
    def note(self) -> bytes:
        """The checkpoint signed last, whose tiles may not be in place yet: readers want `published`."""
        return self.state.last.note

    def published(self) -> Published:
        """The newest checkpoint of which every tile and bundle is in place; what is read of the log goes by its size.

        A log begins with one of no leaves, so that witnesses can be asked about it. Any thread may call.
        """
        return parse_published(self.files.checkpoint())

    def sign(self, text: str) -> Note:
        """`text` signed by the log's key: for what the log states beside checkpoints.

        Raises:
            GatewayError: `invalid-input` if the text could be taken for a checkpoint of this log.
        """
        if text.startswith(f"{self.origin}\n"):
            raise GatewayError("invalid-input", "only a commit signs checkpoints")
        return sign_note(text, self.origin, self._signer)

    def commit(self, entries: Sequence[bytes], cursors: Mapping[str, int]) -> Checkpoint:
        """Append `entries`, of which `cursors` says where they came from. Durability: committed and in place.

        Raises:
            GatewayError: `conflict` if the log would be forked.
            OSError, sqlite3.Error: if it is not known what stands: stop, and open the log anew.
        """
        held = self.state.last
        edge = self._edge.copy()
        finished = edge.append([leaf_hash(entry) for entry in entries])
        checkpoint = Checkpoint(self.origin, edge.size, edge.root())
        note = sign_note(checkpoint.text(), self.origin, self._signer).encode().encode()
        staged = zstandard.ZstdCompressor(level=STAGED_LEVEL).compress(encode_bundle(entries))
        self.state.advance(
            Signed(self.origin, edge.size, checkpoint.root, note, {**held.cursors, **cursors}, self._edge.size, staged)
        )
        self._tail = self._place(self._edge.size, self._tail, entries, finished, edge)
        self._edge = edge
        return checkpoint

    def close(self) -> None:
        """Let the log go."""
        self.files.close()
        self.state.close()
        os.close(self._lock)

    def _is_signed_by_own_key(self) -> bool:
        try:
            verify_checkpoint(self.note, self.key)
        except GatewayError:
            return False
        return True

    def _refuse_mirror(self) -> None:
        """Refuse a copy that was put where the log belongs (INVARIANT: NEVER-FORKED)."""
        if (self.files.root / MIRROR).exists():
            raise GatewayError(
                "conflict",
                f"`{self.files.root}` is a mirror of a log and not the log: more may have been signed than it holds; "
                f"{TWO_WAYS}",
            )

    def _refuse_less(self, known: Checkpoint | None, is_signer_there: bool) -> None:
        """Refuse to begin anew what has been signed before: nothing is made where the log or its signer is gone."""
        published = self.published().size
        if not is_signer_there and (published or (known and known.size)):
            raise GatewayError(
                "conflict",
                f"log `{self.origin}` has signed {max(published, known.size if known else 0)} leaves, and `signer.db`, "
                f"which says what was signed last, is not there: to sign anew would fork the log; {TWO_WAYS}",
            )

    def _refuse_restored(self, known: Checkpoint | None) -> None:
        """Refuse to go on from a `signer.db` that is older than what is known (INVARIANT: NEVER-FORKED)."""
        size, signed = self.published().size, self.state.last.size
        if size > signed:
            raise GatewayError(
                "conflict",
                f"a checkpoint of {size} leaves was published, but `signer.db` knows {signed}: it is an older copy, "
                f"and signing from it would fork the log; {TWO_WAYS}",
            )
        if known is not None and known.size > signed:
            raise GatewayError(
                "conflict",
                f"the state knows {known.size} leaves of log `{self.origin}`, and what stands here signed {signed}: "
                f"it is an older copy, and signing from it would fork the log; {TWO_WAYS}",
            )

    def _refuse_other(self, known: Checkpoint | None) -> None:
        if known is not None and known.size and self.files.edge(known.size).root() != known.root:
            raise GatewayError(
                "conflict",
                f"the state knows log `{self.origin}` at {known.size} leaves with another root than this one has: "
                f"it was forked; keep both; {TWO_WAYS}",
            )

    def _redo(self) -> tuple[Edge, list[bytes]]:
        """Put the last commit's files in place again, and check the root that was signed against them."""
        last = self.state.last
        try:
            edge = self.files.edge(last.before)
            width = partial_width(last.before, 0)
            tail = self.files.bundle(last.before // WIDTH, width) if width else []
        except GatewayError as error:
            raise GatewayError(
                "conflict", f"{last.size} leaves were signed, but the files do not bear it out: {error.detail}"
            ) from error
        entries = parse_entries(_unstage(last.staged)) if last.staged else []
        before = edge.copy()
        finished = edge.append([leaf_hash(entry) for entry in entries])
        if edge.size != last.size or edge.root() != last.root:
            raise GatewayError("conflict", f"the tiles on disk do not hash to the root signed at {last.size} leaves")
        if not last.note:
            return edge, tail
        return edge, self._place(before.size, tail, entries, finished, edge)

    def _place(
        self,
        before: int,
        tail: Sequence[bytes],
        entries: Sequence[bytes],
        finished: Sequence[tuple[int, int, bytes]],
        edge: Edge,
    ) -> list[bytes]:
        """Steps 4 to 6 of a commit; returns the entries of the unfinished bundle."""
        pending = [*tail, *entries]
        if entries:
            bundles = [pending[at : at + WIDTH] for at in range(0, len(pending), WIDTH)]
            self.files.put_bundles(before // WIDTH, bundles)
        for level, n, full in finished:
            self.files.put_tile(level, n, full)
        for level, hashes in enumerate(edge.partial):
            if hashes and before >> (8 * level) != edge.size >> (8 * level):
                self.files.put_tile(level, edge.size >> (8 * (level + 1)), bytes(hashes))
        self.files.sync()
        self.files.publish(self.state.last.note)
        for level, n, _ in finished:
            self.files.drop_partials(level, n)
            if level == 0:
                self.files.drop_partials(None, n)
                if n % PACK == PACK - 1:
                    self.files.seal(n + 1 - PACK)
        return pending[len(pending) - partial_width(edge.size, 0) :] if partial_width(edge.size, 0) else []


def _unstage(content: bytes) -> bytes:
    try:
        return zstandard.ZstdDecompressor().decompress(content, max_output_size=MAX_STAGED_BYTES)
    except zstandard.ZstdError as error:
        raise GatewayError("conflict", "the last commit's entries in `signer.db` are damaged") from error
