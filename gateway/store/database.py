"""One database behind two engines: many readers and one writer, on SQLite (WAL) or PostgreSQL.

Durability: when a `writing()` block has returned, its commit survives power loss (SQLite `synchronous=FULL`,
PostgreSQL `synchronous_commit=on`). A `brief()` block holds what may be lost with the power but not with a process
(liveness, one-time values): `synchronous=NORMAL`, `synchronous_commit=off`.

Writers are serialised: on SQLite by `BEGIN IMMEDIATE`, on PostgreSQL by the lock on the feed's one row that every
transaction takes first. So no two of them can deadlock, and the feed's sequence follows the order of commits.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, QueuePool, TextClause, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from gateway.domain.errors import GatewayError
from gateway.store.turns import Turns

T = TypeVar("T")

BUSY_SECONDS = 5.0
"""How long a writer waits for another before it gives up: some fifty bulk-import batches."""

_ASK_SECONDS = 0.003
BULKY_PAUSE_SECONDS = 0.012
"""How long a bulk import lets other writers in between two batches: four times what they wait between two askings."""

_PAGES, _BULKY_PAGES = 2_000, 20_000
"""How long the write-ahead log grows before it is folded in: 8 and 80 MiB."""

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

    Raises:
        GatewayError: `unavailable` for a URL that is neither.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        try:
            self.url = make_url(url)
        except ArgumentError as error:
            raise GatewayError("unavailable", "the state's URL cannot be read; see `state` in the settings") from error
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._turns = Turns(BUSY_SECONDS * 4)
        self.read_only = read_only
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
            self.where = f"the state database `{self.url.database}` at {self.url.host or 'the local socket'}"
            options: dict[str, Any] = {"connect_args": {"connect_timeout": 5, "prepare_threshold": 2}}
            self._readers = create_engine(
                self.url, isolation_level="AUTOCOMMIT", pool_size=8, max_overflow=24, **options
            )
            self._writer = create_engine(self.url, pool_size=4, max_overflow=12, **options)
            self._brief = create_engine(self.url, pool_size=4, max_overflow=12, **options)
        else:
            raise GatewayError("unavailable", "the state lives in SQLite or PostgreSQL; its URL names neither")

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
        with self._readers.connect() as connection:
            if not snapshot:
                return work(connection)
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
                return work(connection)
            with connection.execution_options(isolation_level="REPEATABLE READ").begin():
                return work(connection)

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
        with self._begun(self._brief) as connection:
            if not self.is_sqlite:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                yield connection
                return
            connection.exec_driver_sql(f"PRAGMA wal_autocheckpoint={_BULKY_PAGES if bulky else _PAGES}")
            yield connection

    @contextmanager
    def _begun(self, engine: Engine, *, urgent: bool = False) -> Iterator[Connection]:
        if self.read_only:
            raise GatewayError("unavailable", "this process reads the state and may not write it")
        # PostgreSQL's brief writes wait for no lock of ours; every other write of this process takes its turn.
        turn = self._turns.turn(urgent=urgent) if self.is_sqlite or engine is self._writer else nullcontext()
        with turn, self._sentences():
            connection = self._connect_live(engine)
            try:
                with connection.begin():
                    yield connection
            finally:
                connection.close()

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
        if isinstance(error, DBAPIError) and (error.connection_invalidated or _is_unreachable(origin)):
            return "does not answer; try again"
        return "failed to do what was asked"

    def close(self) -> None:
        """Close every pooled connection; open blocks keep theirs until they end."""
        for engine in (self._readers, self._writer, self._brief):
            engine.dispose()


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


def _is_unreachable(origin: BaseException | None) -> bool:
    """Whether PostgreSQL could not be reached or is starting or stopping (SQLSTATE classes 08 and 57P)."""
    state = getattr(origin, "sqlstate", None)
    return type(origin).__name__ == "OperationalError" and (state is None or state.startswith(("08", "57P")))
