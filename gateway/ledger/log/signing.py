"""`signer.db`: what was signed last. The one place where the log commits.

INVARIANT: NEVER-FORKED: a root is signed and given out only after size, root and note have replaced the ones before
in one transaction that also compared them; a trigger refuses a smaller size, and another root for the same size,
whoever writes. The same transaction holds how far each writer's journal is in the log and the entries that came in
with this commit, so that after a crash at any point the tiles can be put in place anew, byte for byte.

Size, root and note prove each other; a digest over the whole row proves the rest, since a cursor that turned would
take entries into the log twice, or not at all. Table and triggers must be those made here.
"""

import sqlite3
from pathlib import Path

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.log.signed import ADD_DIGEST, SCHEMA, Signed, check_schema, has_digest, read_signed
from gateway.ledger.log.tree import EMPTY_ROOT


class SignedState:
    """The commit record of one log, in SQLite with full synchronisation.

    Args:
        path: of the database.
        origin: the log's name; a database of another log is refused.

    Raises:
        GatewayError: `conflict` if the database is another log's, or not as it was written.
    """

    def __init__(self, path: Path, origin: str) -> None:
        is_new = not path.exists()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.execute("PRAGMA synchronous = EXTRA")
        self._connection.executescript(SCHEMA)
        check_schema(self._connection)
        if not has_digest(self._connection):
            self._take_over()
        empty = Signed(origin, 0, EMPTY_ROOT, b"", {}, 0, b"")
        self._connection.execute(
            "INSERT OR IGNORE INTO signed VALUES (1, ?, 0, ?, x'', '{}', 0, x'', ?)", (origin, EMPTY_ROOT, empty.digest)
        )
        if is_new:
            path.chmod(0o600)
        self.last = read_signed(self._connection)
        if self.last.origin != origin:
            raise GatewayError(
                "conflict",
                f"`{path}` is of log `{self.last.origin}`, not of `{origin}`: a log keeps its name; write "
                f'`origin = "{self.last.origin}"` below `[ledger]` in `gateway.toml`, or bring the other log',
            )

    def advance(self, then: Signed) -> None:
        """Replace the last commit by `then`. Durability: synced on return.

        Raises:
            GatewayError: `conflict` if the last commit is not the one this object read, or the log would be forked.
            sqlite3.Error: if it is not known whether the commit stands: stop, and read it again at a new start.
        """
        held = self.last
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            changed = self._connection.execute(
                "UPDATE signed SET size = ?, root = ?, note = ?, cursors = ?, before = ?, staged = ?, digest = ? "
                "WHERE one = 1 AND size = ? AND root = ? AND origin = ?",
                (
                    then.size,
                    then.root,
                    then.note,
                    msgspec.json.encode(then.cursors).decode(),
                    then.before,
                    then.staged,
                    then.digest,
                    held.size,
                    held.root,
                    then.origin,
                ),
            ).rowcount
        except sqlite3.IntegrityError as error:
            self._connection.rollback()
            raise GatewayError("conflict", "the log would be forked") from error
        if changed != 1:
            self._connection.rollback()
            raise GatewayError("conflict", "another process has signed for this log")
        self._connection.execute("COMMIT")
        self.last = then

    def forget(self) -> None:
        """Write the database anew, so that no page left free still holds entries of earlier commits.

        Durability: as every commit's; a crash leaves the database as it was.
        """
        self._connection.execute("VACUUM")

    def close(self) -> None:
        """Let the database go."""
        self._connection.close()

    def _take_over(self) -> None:
        """Give the row of a database of an older release its digest."""
        self._connection.execute("BEGIN IMMEDIATE")
        held = read_signed(self._connection)
        self._connection.execute(ADD_DIGEST)
        self._connection.execute("UPDATE signed SET digest = ?", (held.digest,))
        self._connection.execute("COMMIT")
