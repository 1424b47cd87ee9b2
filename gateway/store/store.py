"""The store's one door: open it, read by id and by page, write in transactions, follow the change feed."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from sqlalchemy import Connection, Executable, TextClause, select, text
from sqlalchemy.exc import NotSupportedError, ProgrammingError

from gateway.domain.changes import Change, ChangeKind
from gateway.domain.directory import Dataset
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, GrantState
from gateway.store import schema
from gateway.store.belonging import Belonging, BelongingTransaction
from gateway.store.bulk import BulkWrites, Progress, batches, chunks, rows_of
from gateway.store.cases import Cases
from gateway.store.certificates import CertificateReadings
from gateway.store.coordination import Coordination, timeline_of
from gateway.store.credentials import CredentialReadings
from gateway.store.database import BULKY_PAUSE_SECONDS, Database
from gateway.store.directory.effects import ReleaseEffects, effects_of
from gateway.store.directory.file import DirectoryFile
from gateway.store.directory.importing import DirectoryImports
from gateway.store.directory.reorganising import Reorganising
from gateway.store.directory.rows import DirectoryRows, DirectoryStates
from gateway.store.feed import CHANNEL, Listener
from gateway.store.figures import Supervision
from gateway.store.hosts import HostReadings
from gateway.store.listings import Listings
from gateway.store.migrate import migrate, require_head
from gateway.store.policies import PolicyReadings, PolicyTransaction
from gateway.store.proposals import Proposals
from gateway.store.readings import Rows
from gateway.store.texts import Texts, TextWrites
from gateway.store.values import MAX_PAGE, GrantFilter, Page

T = TypeVar("T")

_CHANGE = msgspec.json.Decoder(Change)


class StoreTransaction(
    BelongingTransaction,
    PolicyTransaction,
    Reorganising,
    TextWrites,
    DirectoryImports,
    DirectoryStates,
    BulkWrites,
):
    """Every write there is; also reads, which see what the transaction has written."""


class Store(
    Belonging,
    PolicyReadings,
    HostReadings,
    CertificateReadings,
    CredentialReadings,
    Listings,
    Cases,
    Proposals,
    Supervision,
    Texts,
    Coordination,
):
    """The state of a gateway, on SQLite or PostgreSQL; synchronous and thread-safe.

    Reads by id stand in `Readings`, those of policies in `PolicyReadings`, lists in `Listings`, one-time values,
    quotas and nodes in `Coordination`, what ties it to home and log in `Belonging`, writes in `StoreTransaction`.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        super().__init__(database, clock)
        self.database = database
        self._listeners: list[Listener] = []
        self._listeners_lock = threading.Lock()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        clock: Callable[[], float] = time.time,
        migrate_forward: bool = True,
        read_only: bool = False,
        memory: Path | None = None,
    ) -> Self:
        """Open the state, bringing its schema forward first.

        Args:
            url: `sqlite:////absolute/path/state.db` or `postgresql+psycopg://user@host/name`.
            clock: Unix seconds.
            migrate_forward: False refuses an old schema instead: for workers, which start after the control process.
            read_only: refuse every write of this process.
            memory: the file in which this node keeps which history of the state is the newest (PostgreSQL).

        Raises:
            GatewayError: `unavailable`, in one sentence, where it cannot be opened, is damaged, locked, not
                writable, or written by a newer version.
        """
        database = Database(url, read_only=read_only, memory=memory)
        try:
            if migrate_forward and not read_only:
                migrate(database)
            else:
                require_head(database)
        except BaseException:
            database.close()
            raise
        return cls(database, clock)

    def close(self) -> None:
        """End the listeners and close every connection."""
        with self._listeners_lock:
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rows(self, statement: Executable, parameters: Mapping[str, Any]) -> Rows:
        return self.database.read(lambda connection: connection.execute(statement, parameters).all())

    def _text(self, statement: Mapping[str, TextClause], parameters: Mapping[str, Any]) -> str:
        return self.database.read_text(statement, parameters)

    @contextmanager
    def transaction(self, *, urgent: bool = False) -> Iterator[StoreTransaction]:
        """One durable write transaction: commits when the block ends, rolls back if it raises.

        Args:
            urgent: go before every other write of this process that waits: for what stops something.

        Durability: when the block has ended, what it wrote and its changes survive a loss of power.
        """
        with self.database.writing(urgent=urgent) as connection, self._transaction(connection) as tx:
            yield tx
        if tx.changes:
            self._wake()

    @contextmanager
    def _transaction(self, connection: Connection) -> Iterator[StoreTransaction]:
        tx = StoreTransaction(connection, int(self._clock()), lock=not self.database.is_sqlite)
        yield tx
        tx.seal()
        if tx.changes and not self.database.is_sqlite:
            connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})

    def import_grants(self, grants: Iterable[Grant], progress: Progress | None = None) -> int:
        """Store many new grants, chunk by chunk; how many were stored.

        Durability: on return all of them survive a loss of power; before, the last batches may not.

        Raises:
            GatewayError: `invalid-input` with every fault of the first chunk that has any, of which none is stored
                then; `imported` says how many grants stand.
        """
        done = 0
        for chunk in chunks(grants):
            position, suppliers, faults = self._checked(chunk)
            if faults:
                said = f"{len(faults)} faults in the grants; {done} before them are stored"
                raise GatewayError("invalid-input", said, faults=faults, imported=done)
            for batch in batches(chunk):
                rows = rows_of(batch, suppliers)
                with self.database.brief(bulky=True) as connection, self._transaction(connection) as tx:
                    if tx.began_at != position:
                        suppliers = tx.suppliers(chunk)
                        rows = rows_of(batch, suppliers)
                    tx.insert_grants(batch, suppliers, rows)
                position = tx.changes[-1].sequence
                self._wake()
                time.sleep(BULKY_PAUSE_SECONDS)
                done += len(batch)
                if progress is not None:
                    progress(done)
        with self.transaction() as tx:
            tx.change(ChangeKind.GRANT, "import")
        return done

    def _checked(self, chunk: list[Grant]) -> tuple[int, dict[str, str], list[dict[str, str]]]:
        """The feed's position, the grants' suppliers and their faults, as of one moment and without any lock."""

        def check(connection: Connection) -> tuple[int, dict[str, str], list[dict[str, str]]]:
            view = StoreTransaction(connection, int(self._clock()), lock=False)
            suppliers = view.suppliers(chunk)
            return view.began_at, suppliers, view.grant_faults(chunk, suppliers)

        return self.database.read(check, snapshot=True)

    def release_effects(self, id: str, version: int) -> ReleaseEffects:  # noqa: A002 - the domain's name
        """What releasing that version of the entry would change, grant by grant (Decree 809 Art. 15).

        Raises:
            GatewayError: `not-found` if there is no such version.
        """
        new = next((entry for entry in self.dataset_versions(id) if entry.version == version), None)
        if new is None:
            raise GatewayError("not-found", f"there is no version {version} of entry `{id}`")
        return self.effects_on_grants(new)

    def effects_on_grants(self, new: Dataset) -> ReleaseEffects:
        """The same for an entry that is not stored yet, such as one of a directory file before its import."""
        standing = GrantFilter(dataset=new.id, states=(GrantState.ISSUED, GrantState.SUSPENDED))
        now = datetime.fromtimestamp(self._clock(), UTC)
        return effects_of(self.dataset(new.id), new, tuple(self.every_grant(standing)), now, cache(self.department))

    def every_grant(self, filter: GrantFilter | None = None) -> Iterator[Grant]:  # noqa: A002 - the listing's name
        """All grants of a filter, read page by page."""
        return _every(lambda cursor: self.list_grants(filter, cursor, MAX_PAGE))

    def directory(self) -> DirectoryFile:
        """The directory as it is enforced: departments, purposes, released entries, active interfaces."""
        return self.directory_rows().file()

    def directory_rows(self) -> DirectoryRows:
        """The same as it is stored, as of one moment."""

        def read(connection: Connection) -> DirectoryRows:
            return StoreTransaction(connection, int(self._clock()), lock=False).directory_rows()

        return self.database.read(read, snapshot=True)

    def changes_after(self, sequence: int, limit: int = 1000) -> list[Change]:
        """The changes after `sequence`, in order and without a gap; at most `limit`."""
        statement = (
            select(schema.changes.c.body)
            .where(schema.changes.c.sequence > sequence)
            .order_by(schema.changes.c.sequence)
            .limit(limit)
        )
        return [_CHANGE.decode(row[0]) for row in self._rows(statement, {})]

    def timeline(self) -> str:
        """Which history of the state this is: another one after a failover, whose feed may lack what was read.

        Empty where the database has but one history (SQLite), or does not tell.
        """
        if self.database.is_sqlite:
            return ""

        def read(connection: Connection) -> str:
            try:
                return timeline_of(connection)
            except (ProgrammingError, NotSupportedError):
                return ""

        return self.database.read(read)

    def listen(self, callback: Callable[[Sequence[Change]], None], *, after: int | None = None) -> Listener:
        """Call `callback` with every change after `after` (default: from now on), in order, on a thread of its own."""
        listener = Listener(self, callback, self.sequence() if after is None else after)
        with self._listeners_lock:
            self._listeners.append(listener)
        return listener

    def _wake(self) -> None:
        with self._listeners_lock:
            for listener in self._listeners:
                listener.wake()


def _every(page_after: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """The rows of all pages of a listing."""
    cursor: str | None = None
    while True:
        page = page_after(cursor)
        yield from page.items
        if page.cursor is None:
            return
        cursor = page.cursor
