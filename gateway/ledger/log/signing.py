"""`signer.db`: what was signed last. The one place where the log commits.

INVARIANT: NEVER-FORKED: a root is signed and given out only after size, root and note have replaced the ones before
in one transaction that also compared them; a trigger refuses a smaller size, and another root for the same size,
whoever writes. The same transaction holds how far each writer's journal is in the log and the entries that came in
with this commit, so that after a crash at any point the tiles can be put in place anew, byte for byte.

Size, root and note prove each other; a digest over the whole row proves the rest, since a cursor that turned would
take entries into the log twice, or not at all. Table and triggers must be those made here.
"""

import functools
import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.log.tree import EMPTY_ROOT

_SCHEMA = """
CREATE TABLE IF NOT EXISTS signed (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    origin  TEXT    NOT NULL,
    size    INTEGER NOT NULL CHECK (size >= 0),
    root    BLOB    NOT NULL CHECK (length(root) = 32),
    note    BLOB    NOT NULL,
    cursors TEXT    NOT NULL,
    before  INTEGER NOT NULL,
    staged  BLOB    NOT NULL,
    digest  BLOB
) STRICT;
CREATE TRIGGER IF NOT EXISTS never_forked BEFORE UPDATE ON signed
WHEN NEW.size < OLD.size OR (NEW.size = OLD.size AND NEW.root <> OLD.root) OR NEW.origin <> OLD.origin
BEGIN SELECT RAISE(ABORT, 'the log would be forked'); END;
CREATE TRIGGER IF NOT EXISTS never_forgotten BEFORE DELETE ON signed
BEGIN SELECT RAISE(ABORT, 'the log would be forgotten'); END;
"""
_OLDER_SCHEMA = _SCHEMA.replace(",\n    digest  BLOB", "")
_ADD_DIGEST = "ALTER TABLE signed ADD COLUMN digest BLOB"


class Signed(msgspec.Struct, frozen=True):
    """The last commit.

    Args:
        origin: the log's name.
        size: leaves.
        root: over them.
        note: the checkpoint as signed; empty before the first signature.
        cursors: writer -> sequence of its last entry in the log.
        before: size of the commit before this one.
        staged: a zstd frame of the entries from `before` to `size`, as one bundle stream.
    """

    origin: str
    size: int
    root: bytes
    note: bytes
    cursors: dict[str, int]
    before: int
    staged: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 over all of it."""
        fields = (self.origin, self.size, self.root, self.note, self.cursors, self.before)
        return hashlib.sha256(msgspec.json.encode(fields, order="sorted") + self.staged).digest()


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
        self._connection.executescript(_SCHEMA)
        check_schema(self._connection)
        if not _has_digest(self._connection):
            self._take_over()
        empty = Signed(origin, 0, EMPTY_ROOT, b"", {}, 0, b"")
        self._connection.execute(
            "INSERT OR IGNORE INTO signed VALUES (1, ?, 0, ?, x'', '{}', 0, x'', ?)", (origin, EMPTY_ROOT, empty.digest)
        )
        if is_new:
            path.chmod(0o600)
        self.last = read_signed(self._connection)
        if self.last.origin != origin:
            raise GatewayError("conflict", f"`{path}` is of log `{self.last.origin}`, not of `{origin}`")

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
        self._connection.execute(_ADD_DIGEST)
        self._connection.execute("UPDATE signed SET digest = ?", (held.digest,))
        self._connection.execute("COMMIT")


def read_signed(connection: sqlite3.Connection) -> Signed:
    """The last commit as the database holds it.

    Raises:
        GatewayError: `conflict` if it is not as it was written.
    """
    digest = "digest" if _has_digest(connection) else "NULL"
    row = connection.execute(
        f"SELECT origin, size, root, note, cursors, before, staged, {digest} FROM signed"  # noqa: S608 — two constants
    ).fetchone()
    try:
        cursors = msgspec.json.decode(row[4], type=dict[str, int])
        held = Signed(row[0], row[1], row[2], row[3], cursors, row[5], row[6])
        is_whole = held.digest == row[7] or digest == "NULL"
    except (TypeError, ValueError) as error:
        raise GatewayError("conflict", "`signer.db` is damaged") from error
    if not is_whole:
        raise GatewayError("conflict", "what `signer.db` holds is not as it was written")
    return held


def check_schema(connection: sqlite3.Connection) -> None:
    """Raise `conflict` unless table and triggers are as they are made here, or as an older release made them."""
    if _schema(connection) not in _schemas():
        raise GatewayError("conflict", "table and triggers of `signer.db` are not those it was made with")


@functools.cache
def _schemas() -> tuple[list[tuple[str, ...]], ...]:
    """What a sound database can hold: made here, made by an older release, or taken over from it."""
    made = []
    for script in (_SCHEMA, _OLDER_SCHEMA, f"{_OLDER_SCHEMA};{_ADD_DIGEST}"):
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(script)
            made.append(_schema(connection))
    return tuple(made)


def _schema(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()


def _has_digest(connection: sqlite3.Connection) -> bool:
    """Whether the row proves itself; those of older releases do not."""
    return any(column[1] == "digest" for column in connection.execute("PRAGMA table_info(signed)"))
