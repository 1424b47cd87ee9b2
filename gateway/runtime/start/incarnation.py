"""Which life a home is in, and whether the state in it is its own.

A home has an id and, for each start, an incarnation: a random name that stands in `identity.json` and in the state. A
state that was copied from elsewhere (a backup by hand, another home's) bears another, and is refused before anything
opens it: SQLite would replay the write-ahead log of the lost state over it. `gateway restore` puts a state in place and
makes it the home's own. On PostgreSQL, where the state is put back by PostgreSQL's means, another incarnation says that
it is older than the home, and its acts are compared with the log's (`reconciling`). So does a state of the same life
whose feed ends before an act that the home knows to have been committed (`Position`): without that, one lost act would
look like one that was killed between its record and its commit.
"""

import secrets
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.changes import Change
from gateway.domain.errors import GatewayError
from gateway.ledger.durable import replace_file
from gateway.runtime.home import GatewayHome
from gateway.runtime.settings import Settings

if TYPE_CHECKING:
    from gateway.store import Store  # the supervisor looks at a home, and loads no SQL for it

IDENTITY = "identity.json"
POSITION = "state-position"
FOLD_SECONDS = 10.0
RESTORING = "restoring"
"""Stands in a home while `gateway restore` puts things in place."""


class Identity(msgspec.Struct, frozen=True):
    """What a home calls itself.

    Args:
        home: its id, for ever.
        incarnation: its present life; "" before the first.
        next: the life that is about to begin: a crash between file and state leaves one of both in the state.
    """

    home: str
    incarnation: str = ""
    next: str = ""


def read_identity(home: GatewayHome) -> Identity | None:
    """The home's identity, or None where it has none yet: a home of an older release.

    Raises:
        GatewayError: `unavailable` where the file is damaged.
    """
    path = home.root / IDENTITY
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise GatewayError("unavailable", f"`{path}` is damaged: {_way_out(home)}") from error


class Position:
    """Up to which change of the feed this home knows the state in PostgreSQL to have been committed."""

    def __init__(self, home: GatewayHome) -> None:
        self._path = home.root / POSITION
        self._lock = threading.Lock()
        self._noted: int | None = None

    def known(self) -> int:
        """The last change that was noted; 0 where none was.

        Raises:
            GatewayError: `unavailable` where the file is damaged: an older state could not be told from this one.
        """
        try:
            held = self._path.read_bytes()
        except FileNotFoundError:
            return 0
        if not held.isdigit():
            raise GatewayError(
                "unavailable", f"`{self._path}` is damaged: delete it once it is sure that the state was not put back"
            )
        return int(held)

    def note(self, changes: Sequence[Change]) -> None:
        """These were committed here. Durability: noted on return."""
        with self._lock:
            if self._noted is None:
                # Not before there is something to note: until then the state is compared with what stands here.
                self._noted = self.known()
            if changes and changes[-1].sequence > self._noted:
                self.begin(changes[-1].sequence)

    def begin(self, sequence: int) -> None:
        """The state ends here, whatever was noted before: it has been compared with the log."""
        replace_file(self._path, b"%d" % sequence)
        self._noted = sequence


def begin_life(home: GatewayHome, store: "Store") -> None:
    """Give the home a new life, in `identity.json` and in the state; also its id, where it has none."""
    held = read_identity(home) or Identity(secrets.token_hex(16))
    coming = secrets.token_hex(16)
    _write(home, msgspec.structs.replace(held, next=coming))
    with store.transaction() as tx:
        tx.check_in(held.home, coming)
    if store.database.is_sqlite:
        # What tells this state from another stands in its file, not in a log that could be another's.
        _fold_in(store.database.path)
    else:
        Position(home).begin(store.sequence())
    _write(home, Identity(held.home, coming))


def _fold_in(path: Path) -> None:
    until = time.monotonic() + FOLD_SECONDS
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > until:
                raise GatewayError("unavailable", f"the state database `{path}` is busy; try again")
            time.sleep(0.02)


def require_own_state(home: GatewayHome, settings: Settings) -> None:
    """Refuse a state that is not the one this home last ran with; call it with the home's lock held.

    Raises:
        GatewayError: `conflict`, with the command that puts a state in place; `unavailable` after a restore cut off.
    """
    if (home.root / RESTORING).exists():
        raise GatewayError("unavailable", "a restore of this home was cut off: run the same `gateway restore` again")
    if home.is_shared(settings):
        return
    if read_identity(home) is not None:
        home.require_state(settings)
    held, known = read_identity(home), _incarnations(Path(home.state_url(settings).removeprefix("sqlite:///")))
    if known is None or (held is None and not known):
        return
    own = known.get(held.home) if held is not None else None
    if held is not None and (own in {held.incarnation, held.next} if own else not held.incarnation):
        return
    raise GatewayError(
        "conflict",
        f"the state in `{home.root}` is not the one this home ran with last: it was put there by hand, and what was "
        f"ordered since would be undone; {_way_out(home)}",
    )


def is_put_back(home: GatewayHome, store: "Store") -> bool:
    """Whether the state was put back from a backup since this home ran with it."""
    held = read_identity(home)
    if held is None:
        return False
    known = store.known_home(held.home)
    if known is None:
        return bool(held.incarnation)
    if known.restored or known.incarnation not in {held.incarnation, held.next}:
        return True
    return not store.database.is_sqlite and Position(home).known() > store.sequence()


def _incarnations(path: Path) -> dict[str, str] | None:
    """Home id -> incarnation as the file itself has it, without its write-ahead log; empty for an older release's.

    None where it cannot be read: whoever opens it says why.
    """
    try:
        return _read_homes(f"{path.absolute().as_uri()}?mode=ro&immutable=1")
    except sqlite3.DatabaseError:
        # Killed while the log was folded in, the file alone may not hold: then both are looked at in a copy.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            copy = Path(folder) / path.name
            for suffix in ("", "-wal"):
                source = path.with_name(path.name + suffix)
                if source.exists():
                    shutil.copyfile(source, copy.with_name(copy.name + suffix))
            try:
                return _read_homes(copy.as_uri())
            except sqlite3.DatabaseError:
                return None


def _read_homes(uri: str) -> dict[str, str]:
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        has = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'homes'").fetchone()[0]
        return dict(connection.execute("SELECT id, incarnation FROM homes")) if has else {}


def _way_out(home: GatewayHome) -> str:
    return f"put a backup in place with `gateway restore BACKUP --home {home.root} --replace`"


def _write(home: GatewayHome, identity: Identity) -> None:
    replace_file(home.root / IDENTITY, msgspec.json.encode(identity) + b"\n")
