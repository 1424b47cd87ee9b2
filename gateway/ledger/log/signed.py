"""What `signer.db` holds: the last commit, read and checked; `signing` alone writes it."""

import functools
import hashlib
import sqlite3
from contextlib import closing

import msgspec

from gateway.domain.errors import GatewayError

SCHEMA = """
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
_OLDER_SCHEMA = SCHEMA.replace(",\n    digest  BLOB", "")

ADD_DIGEST = "ALTER TABLE signed ADD COLUMN digest BLOB"


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


def read_signed(connection: sqlite3.Connection) -> Signed:
    """The last commit as the database holds it.

    Raises:
        GatewayError: `conflict` if it is not as it was written.
    """
    digest = "digest" if has_digest(connection) else "NULL"
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
    for script in (SCHEMA, _OLDER_SCHEMA, f"{_OLDER_SCHEMA};{ADD_DIGEST}"):
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(script)
            made.append(_schema(connection))
    return tuple(made)


def _schema(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()


def has_digest(connection: sqlite3.Connection) -> bool:
    """Whether the row proves itself; those of older releases do not."""
    return any(column[1] == "digest" for column in connection.execute("PRAGMA table_info(signed)"))
