"""One database behind two engines: many readers and one writer, on SQLite (WAL) or PostgreSQL.

Durability: when a `writing()` block has returned, its commit survives power loss (SQLite `synchronous=FULL`,
PostgreSQL `synchronous_commit=on`). A `brief()` block holds what may be lost with the power but not with a process
(one-time values): `synchronous=NORMAL`, `synchronous_commit=off`.

On PostgreSQL nothing waits without end. Where a synchronous standby does not confirm a commit in `COMMIT_SECONDS`, the
waiting is cancelled, which lets its locks go, and the writer is told that what it did stands on the primary alone. From
then on writes are refused before they take any lock, until a beat of this node has been confirmed (`proving`). A server
that answers nothing is given up after `ANSWER_SECONDS`. Which server is asked at all: `servers`.

Writers are serialised: on SQLite by `BEGIN IMMEDIATE`, on PostgreSQL by the lock on the feed's one row that every
transaction takes first. So no two of them can deadlock, and the feed's sequence follows the order of commits.
"""

import logging
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, QueuePool, RootTransaction, TextClause, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from gateway.domain.errors import GatewayError, InDoubtError
from gateway.store.deadlines import Deadlines, shut
from gateway.store.servers import Servers, refusal_of
from gateway.store.turns import Turns

log = logging.getLogger(__name__)

T = TypeVar("T")

BUSY_SECONDS = 5.0
"""How long a writer waits for another before it gives up: some fifty bulk-import batches."""

ANSWER_SECONDS = 5.0
"""How long PostgreSQL may take over what is asked at once: a reading, a stop, a beat. Others have no end of ours."""

COMMIT_SECONDS = 1.5
"""How long a commit may wait for a synchronous standby; with the sentence about it, an act answers within 3 s."""

BEAT_COMMIT_SECONDS = 0.75
"""The same for a beat, which is made anew every 0.2 s and holds no lock that an act waits for."""

_ASK_SECONDS = 0.003
BULKY_PAUSE_SECONDS = 0.012
"""How long a bulk import lets other writers in between two batches: four times what they wait between two askings."""

_PAGES, _BULKY_PAGES = 2_000, 20_000
"""How long the write-ahead log grows before it is folded in: 8 and 80 MiB."""

_CANCEL_SECONDS = 0.75

_UNCONFIRMED = "cannot make it durable: no synchronous standby confirms what is committed"

_SQLITE_SENTENCES = (
    ("database is locked", "is locked by another process; try again"),
    ("database table is locked", "is locked by another process; try again"),
    ("readonly database", "cannot be written"),
    ("unable to open database file", "cannot be opened; check that its folder exists and can be written"),
    ("file is not a database", "is not a state database, or is damaged; restore it from a backup"),
    ("malformed", "is damaged; restore it from a backup"),
    ("disk is full", "cannot be written: the disk is full"),
    ("disk i/o error", "cannot be read or written: the disk reports an error"),
)


class Database:
    """Engines for one state database; thread-safe; opened by each process for itself, never carried across a `fork`.

    Args:
        url: `sqlite:////absolute/path/state.db` or `postgresql+psycopg://user@host/name`; several PostgreSQL hosts
            stand as `?host=a,b&target_session_attrs=read-write`, of which libpq finds the one that takes writes.
        read_only: refuse every write, also brief ones.
        memory: the file in which this node keeps the newest history that it has seen (PostgreSQL, see `servers`).

    Raises:
        GatewayError: `unavailable` for a URL that is neither.
    """

    def __init__(self, url: str, *, read_only: bool = False, memory: Path | None = None) -> None:
        try:
            self.url = make_url(url)
        except ArgumentError as error:
            raise GatewayError("unavailable", "the state's URL cannot be read; see `state` in the settings") from error
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._turns = Turns(BUSY_SECONDS * 4)
        self.read_only = read_only
        self.servers: Servers | None = None
        self._deadlines = Deadlines()
        self._is_confirmed = True
        self._is_proving = False
        if self.is_sqlite:
            if not self.url.database or self.url.database == ":memory:":
                raise GatewayError("unavailable", "the state's URL names no file")
            self.path = Path(self.url.database)
            self.where = f"the state database `{self.path}`"
            self._readers = self._sqlite_engine("OFF", pool_size=16, overflow=48, query_only=True)
            self._writer = self._sqlite_engine("FULL", pool_size=1, overflow=0)
            self._brief = self._sqlite_engine("NORMAL", pool_size=1, overflow=0)
        elif self.url.get_backend_name() == "postgresql":
            self.url = self.url.set(drivername="postgresql+psycopg")
            self.path = Path()
            self.servers = Servers(self.url, memory)
            self.where = f"the state database `{self.url.database}` at {', '.join(map(str, self.servers.hosts))}"
            self._readers = self._postgresql_engine(pool_size=8, max_overflow=24, isolation_level="AUTOCOMMIT")
            self._writer = self._postgresql_engine(pool_size=4, max_overflow=12)
            self._brief = self._postgresql_engine(pool_size=4, max_overflow=12)
        else:
            raise GatewayError("unavailable", "the state lives in SQLite or PostgreSQL; its URL names neither")

    def _postgresql_engine(self, **options: Any) -> Engine:
        servers = self.servers
        assert servers is not None
        engine = create_engine("postgresql+psycopg://", creator=servers.connect, pool_timeout=ANSWER_SECONDS, **options)

        def checked_out(connection: Any, *_: Any) -> None:
            if not servers.is_current(connection):
                raise DisconnectionError("another server is the primary by now")

        event.listen(engine, "checkout", checked_out)
        return engine

    def _sqlite_engine(self, synchronous: str, *, pool_size: int, overflow: int, query_only: bool = False) -> Engine:
        cache_kib = 16_384 if query_only else 65_536

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={'rw' if query_only else 'rwc'}",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
            try:
                if not query_only:
                    connection.execute("PRAGMA journal_mode=WAL")
                    connection.execute(f"PRAGMA synchronous={synchronous}")
                    connection.execute(f"PRAGMA wal_autocheckpoint={_PAGES}")
                    connection.execute(f"PRAGMA journal_size_limit={_BULKY_PAGES * 4096}")
                    connection.execute("PRAGMA busy_timeout=0")
                    # Only the writer's: what is read through a mapping counts as the process's own memory, so a worker
                    # would grow with the state, and a random reading is no quicker for it.
                    connection.execute("PRAGMA mmap_size=268435456")
                else:
                    connection.execute("PRAGMA query_only=ON")
                connection.execute(f"PRAGMA cache_size=-{cache_kib}")
            except BaseException:
                connection.close()
                raise
            return connection

        engine = create_engine(
            "sqlite://",
            creator=connect,
            poolclass=QueuePool,
            pool_size=pool_size,
            max_overflow=overflow,
            pool_timeout=BUSY_SECONDS * 4,
        )
        if not query_only:
            event.listen(engine, "begin", _begin_writing)
        return engine

    def read(self, work: Callable[[Connection], T], *, snapshot: bool = False) -> T:
        """What `work` reads; tried once more where the server had closed the connection (a restart, a failover).

        Args:
            work: one statement, or several that see one state if `snapshot`.
            snapshot: hold one consistent state over all statements of `work`.
        """
        with self._sentences():
            try:
                return self._read(work, snapshot)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                return self._read(work, snapshot)

    def read_text(self, statement: Mapping[str, TextClause], parameters: Mapping[str, Any]) -> str:
        """The one text that a statement of one row and one column answers with.

        On SQLite the driver is asked itself: what SQLAlchemy adds to a statement takes longer than this one.

        Args:
            statement: in the words of each database, by its name.
            parameters: by name.
        """
        name = self.url.get_backend_name()
        if not self.is_sqlite:
            return str(self.read(lambda connection: connection.execute(statement[name], parameters).scalar_one()))
        with self._sentences():
            pooled = self._readers.raw_connection()
            try:
                driver = cast("sqlite3.Connection", pooled.driver_connection)
                found: str = driver.execute(statement[name].text, parameters).fetchone()[0]
                return found
            finally:
                pooled.close()

    def _read(self, work: Callable[[Connection], T], snapshot: bool) -> T:
        if self.servers is not None:
            self.servers.require()
        with self._readers.connect() as connection, self._answering(connection):
            if not snapshot:
                return work(connection)
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
                return work(connection)
            with connection.execution_options(isolation_level="REPEATABLE READ").begin():
                return work(connection)

    def _answering(self, connection: Connection, *, is_short: bool = True) -> AbstractContextManager[None]:
        """The block ends in time, whatever the server does: SQLite's does by itself."""
        if self.is_sqlite or not is_short:
            return nullcontext()
        raw = connection.connection.dbapi_connection
        return self._deadlines.within(ANSWER_SECONDS, lambda: shut(raw))

    @contextmanager
    def writing(self, *, urgent: bool = False) -> Iterator[Connection]:
        """One durable write transaction, holding the writer's lock; commits unless the block raises.

        Args:
            urgent: go before every other write of this process that waits.
        """
        with self._begun(self._writer, urgent=urgent) as connection:
            yield connection

    @contextmanager
    def brief(self, *, bulky: bool = False) -> Iterator[Connection]:
        """One write transaction that a crash of the machine may lose, and a crash of the process may not.

        Args:
            bulky: let the write-ahead log grow further before it is folded into the file, which pays where many
                transactions touch the same pages.
        """
        with self._begun(self._brief, is_short=not bulky) as connection:
            if not self.is_sqlite:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                yield connection
                return
            connection.exec_driver_sql(f"PRAGMA wal_autocheckpoint={_BULKY_PAGES if bulky else _PAGES}")
            yield connection

    @contextmanager
    def proving(self) -> Iterator[Connection]:
        """A transaction that waits for no other and shows whether commits are durable now: a node's beat.

        On SQLite it is a `brief` one. Where it is not confirmed, `writing` refuses from then on, until it is.
        """
        if self.is_sqlite:
            with self.brief() as connection:
                yield connection
            return
        self._is_proving = True
        with self._begun(self._brief, is_proof=True) as connection:
            yield connection
        if not self._is_confirmed:
            log.warning("%s keeps what is committed again", self.where)
        self._is_confirmed = True

    def clear_log(self) -> bool:
        """SQLite: fold the write-ahead log into the file and cut it off; whether nothing of it is left.

        Raises:
            GatewayError: `unavailable`.
        """
        with self._turns.turn(urgent=False), self._sentences(), self._writer.connect() as connection:
            driver = cast("sqlite3.Connection", connection.connection.driver_connection)
            busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

    @contextmanager
    def _begun(
        self, engine: Engine, *, urgent: bool = False, is_short: bool = True, is_proof: bool = False
    ) -> Iterator[Connection]:
        if self.read_only:
            raise GatewayError("unavailable", "this process reads the state and may not write it")
        is_durable = engine is self._writer
        # PostgreSQL's brief writes wait for no lock of ours; every other write of this process takes its turn.
        turn = self._turns.turn(urgent=urgent) if self.is_sqlite or is_durable else nullcontext()
        with turn, self._sentences():
            if self.servers is not None:
                self.servers.require()
            connection = self._connect_live(engine)
            try:
                if self.is_sqlite:
                    with connection.begin():
                        yield connection
                    return
                is_short = urgent or (is_short and not is_durable)
                with self._answering(connection, is_short=is_short), connection.begin() as transaction:
                    if is_durable:
                        self._require_confirmed()
                    yield connection
                    if is_durable:
                        # While it waited for its turn, what went before it may have been left unconfirmed.
                        self._require_confirmed()
                    self._commit(connection, transaction, BEAT_COMMIT_SECONDS if is_proof else COMMIT_SECONDS)
            finally:
                connection.close()

    def _require_confirmed(self) -> None:
        """Refuse a write, before it takes a lock, where it could not be made durable."""
        if self._is_proving and not self._is_confirmed:
            raise GatewayError("unavailable", f"{self.where} {_UNCONFIRMED}; nothing was changed")

    def _commit(self, connection: Connection, transaction: RootTransaction, seconds: float) -> None:
        """Commit; what no standby has confirmed after `seconds` waits no longer, and lets its locks go.

        Raises:
            InDoubtError: `unavailable`: it stands on the primary, and would be lost with it; or nobody said.
        """
        raw: Any = connection.connection.dbapi_connection
        warned: list[str] = []

        def heard(diagnostic: Any) -> None:
            if diagnostic.severity_nonlocalized == "WARNING":
                warned.append(str(diagnostic.sqlstate))

        def cancel() -> None:
            with suppress(Exception):  # whatever becomes of it, the socket is shut next
                raw.cancel_safe(timeout=_CANCEL_SECONDS)

        raw.add_notice_handler(heard)
        try:
            # INVARIANT: BOUNDED: a server that stands still has an end too.
            with (
                self._deadlines.within(seconds, cancel),
                self._deadlines.within(seconds + _CANCEL_SECONDS, lambda: shut(raw)),
            ):
                transaction.commit()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            self._is_confirmed = False
            raise InDoubtError(
                "unavailable", f"{self.where} did not say whether it has kept this; look whether it stands"
            ) from error
        finally:
            raw.remove_notice_handler(heard)
        if warned:
            self._is_confirmed = False
            connection.invalidate()
            log.error("%s %s", self.where, _UNCONFIRMED)
            raise InDoubtError(
                "unavailable", f"{self.where} {_UNCONFIRMED}; this stands, and would be lost with the primary"
            )

    @property
    def trouble(self) -> str:
        """Why the state is not to be relied on now, as far as is known without asking; else ""."""
        if self.servers is not None and self.servers.trouble:
            return f"the state {self.servers.trouble}"
        return "" if self._is_confirmed else f"{self.where} {_UNCONFIRMED}"

    def _connect_live(self, engine: Engine) -> Connection:
        """A connection whose server is there: one that a restart has closed is found out before anything is done."""
        connection = engine.connect()
        if self.is_sqlite:
            return connection
        try:
            connection.exec_driver_sql("SELECT 1")
            connection.rollback()
        except DBAPIError as error:
            connection.close()
            if not error.connection_invalidated:
                raise
            return engine.connect()
        return connection

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn what a driver raises into one sentence; `GatewayError`s and other exceptions pass."""
        try:
            yield
        except IntegrityError as error:
            raise GatewayError("conflict", "the write does not fit what is stored") from error
        except PoolTimeoutError as error:
            raise GatewayError("unavailable", f"{self.where} is busy; try again") from error
        except SQLAlchemyError as error:
            raise GatewayError("unavailable", f"{self.where} {self._sentence(error)}") from error
        except sqlite3.Error as error:
            raise GatewayError("unavailable", f"{self.where} {_sqlite_sentence(error)}") from error

    def _sentence(self, error: SQLAlchemyError) -> str:
        origin = error.orig if isinstance(error, DBAPIError) else None
        if isinstance(origin, sqlite3.Error):
            return _sqlite_sentence(origin)
        refusal = refusal_of(origin)
        if refusal:
            return refusal
        turned_away = _turned_away(origin)
        if turned_away:
            return turned_away
        if isinstance(error, DBAPIError) and (error.connection_invalidated or _is_unreachable(origin)):
            return "does not answer; try again"
        return "failed to do what was asked"

    def close(self) -> None:
        """Close every pooled connection; open blocks keep theirs until they end."""
        for engine in (self._readers, self._writer, self._brief):
            engine.dispose()
        if self.servers is not None:
            self.servers.close()


def _begin_writing(connection: Connection) -> None:
    """Take SQLite's writer's lock, asking every few milliseconds.

    SQLite's own waiting sleeps up to 100 ms between two askings, so a suspension would starve behind a bulk import,
    which lets the lock go for `BULKY_PAUSE_SECONDS` at a time.
    """
    raw = cast("sqlite3.Connection", connection.connection.dbapi_connection)
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            raw.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_ASK_SECONDS)
        else:
            return


def _sqlite_sentence(error: BaseException) -> str:
    words = str(error).lower()
    return next((sentence for part, sentence in _SQLITE_SENTENCES if part in words), "failed to do what was asked")


_TURNED_AWAY = (
    (r"password authentication failed|no password supplied", "does not take the user's password: see `state.url`"),
    (
        r'database "[^"]*" does not exist',
        "is not there: make it (`createdb`), owned by the user that `state.url` names",
    ),
    (r'role "[^"]*" (does not exist|is not permitted)', "does not know the user that `state.url` names"),
    (
        r"pg_hba\.conf|authentication failed|permission denied for database",
        "does not let the user in: see its log",
    ),
    (r"too many (clients|connections)|connection slots", "has no connection free; try again"),
)
"""What PostgreSQL says to who connects, for which libpq keeps no SQLSTATE -> our own words: its text stays here."""


def _turned_away(origin: BaseException | None) -> str:
    """Why PostgreSQL, which answers, does not let this user do what is asked; "" where that is not why."""
    state = getattr(origin, "sqlstate", None)
    if state == "42501":
        return "may not be written by the user that `state.url` names: make it the owner of database and schema"
    if state is not None or not _is_unreachable(origin):
        return ""
    said = str(origin)
    return next((ours for theirs, ours in _TURNED_AWAY if re.search(theirs, said)), "")


def _is_unreachable(origin: BaseException | None) -> bool:
    """Whether PostgreSQL could not be reached or is starting or stopping (SQLSTATE classes 08 and 57P)."""
    state = getattr(origin, "sqlstate", None)
    is_operational = any(each.__name__ == "OperationalError" for each in type(origin).__mro__)
    return is_operational and (state is None or state.startswith(("08", "57P")))
