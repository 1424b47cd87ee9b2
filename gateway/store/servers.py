"""Which PostgreSQL server the state is read from and written to: the primary of the newest history seen, and no other.

A standby that is promoted begins a new *timeline* of its cluster's history. The old primary may still be there: silent
behind a broken network, or back from a crash, and taking writes that nobody else will ever see. So

- every new connection says its cluster's system identifier, its timeline, and whether it takes writes; one that is
  older than what this node has seen is closed before anything is asked of it (INVARIANT: ONE-TIMELINE);
- the newest history is remembered in a file, by all processes of a node and across restarts; whoever takes a
  connection from a pool looks there first;
- where a URL names several hosts, each is asked twice a second what it is. A new primary is found that way, and what
  still waits for the old one is ended at once. Two hosts that both take writes end in refusal until one is gone: which
  of them other nodes write to cannot be known from here.

A pooler between is refused where it lends sessions for a transaction: what a process listens for would not arrive.

A cluster of another system identifier is another database: a process that has used one never goes over to another.
"""

import fcntl
import json
import logging
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import URL
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect
from sqlalchemy.exc import ArgumentError

from gateway.domain.errors import GatewayError
from gateway.store.deadlines import shut

log = logging.getLogger(__name__)

_PATIENCE: dict[str, Any] = {
    "connect_timeout": 2,
    "tcp_user_timeout": 3000,
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 2,
}
"""How long a connection may take (libpq takes no less than 2 s) and a server be silent; the URL may say otherwise."""

LOOK_SECONDS = 0.5
"""How often each of several hosts is asked what it is."""

HEARD_SECONDS = 2.0
"""How long such an answer counts."""

_ASK = """
SELECT pg_is_in_recovery(), (SELECT system_identifier::text FROM pg_control_system()),
       CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END,
       current_setting('synchronous_standby_names'), current_setting('transaction_read_only')
"""

_MARK = "SELECT current_setting('gateway.session', true)"
_OTHERS = 3
"""Connections that look whether they are handed another's session: a pooler hands out the one used last."""


class History(NamedTuple):
    """Which history a server writes.

    Attributes:
        system: the cluster's identifier.
        timeline: rises with every promotion.
    """

    system: str
    timeline: int


class Host(NamedTuple):
    """One host of the state's URL."""

    host: str
    port: str

    def __str__(self) -> str:
        return f"{self.host or 'the local socket'}{':' + self.port if self.port else ''}"


class Told(NamedTuple):
    """What a server says it is.

    Attributes:
        history: its history; of a standby, the timeline is 0.
        takes_writes: whether it is a primary.
        is_synchronous: whether a commit waits for a standby.
        at: when it said so, in seconds of the monotonic clock.
        since: from when on it has said the same.
    """

    history: History
    takes_writes: bool
    is_synchronous: bool
    at: float
    since: float


class Judged(NamedTuple):
    """What is to be done by what the hosts say.

    Attributes:
        primary: the one host to use, where there is one.
        trouble: why the state is not to be used at all; else "".
    """

    primary: Host | None
    trouble: str = ""


def judge(told: Mapping[Host, Told], known: History | None) -> Judged:
    """Which host is to be used; pure.

    Args:
        told: the hosts that have answered of late.
        known: the newest history that this node has seen.
    """
    writing = {host: said for host, said in told.items() if said.takes_writes}
    # Who has said nothing since the last of them began may have ended before.
    began = max((said.since for said in writing.values()), default=0.0)
    primaries = [host for host, said in writing.items() if said.at >= began]
    if len(primaries) > 1:
        # INVARIANT: ONE-TIMELINE: which of them the other nodes write to cannot be known from here.
        names = " and ".join(f"{host} (timeline {told[host].history.timeline})" for host in primaries)
        return Judged(None, f"has two primaries, {names}: end the one that is not to be")
    if not primaries:
        return Judged(None)
    (primary,) = primaries
    # INVARIANT: ONE-TIMELINE: an older one is not used; it may have ended since, and the new one not have spoken yet.
    return Judged(None if _is_older(told[primary].history, known) else primary)


def _is_older(history: History, known: History | None) -> bool:
    return known is not None and history.system == known.system and history.timeline < known.timeline


def _older(host: Host, history: History, known: History) -> str:
    return (
        f"is taken over: {host} writes timeline {history.timeline}, and timeline {known.timeline} has begun elsewhere; "
        "end that server, or make it follow the new primary"
    )


def _refusal(sentence: str) -> Exception:
    """What is raised of a server that must not be used, in words that go on to whoever asked."""
    import psycopg  # noqa: PLC0415 - as everywhere here

    error = psycopg.OperationalError(sentence)
    error.refusal = sentence  # type: ignore[attr-defined]
    return error


def refusal_of(error: BaseException | None) -> str:
    """Why a server must not be used, where that is why an error was raised; else ""."""
    return str(getattr(error, "refusal", ""))


class HistoryFile:
    """The newest history that any process of a node has seen; kept across restarts.

    Args:
        path: the file; None keeps it in memory alone.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._known: History | None = None
        self._lock = threading.Lock()

    def known(self) -> History | None:
        """The newest history seen."""
        if self._path is not None:
            try:
                status = self._path.stat()
            except FileNotFoundError:
                return self._known
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                with self._lock:
                    self._known, self._stamp = self._read(), stamp
        return self._known

    def _read(self) -> History | None:
        assert self._path is not None
        try:
            held = json.loads(self._path.read_bytes())
            return History(str(held["system"]), int(held["timeline"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise GatewayError(
                "unavailable", f"`{self._path}` cannot be read: delete it once it is sure which server is the primary"
            ) from error

    def learn(self, history: History) -> None:
        """Remember `history` where it is newer than what is known, or of another cluster.

        Durability: durable on return.
        """
        if self._path is None:
            self._known = history
            return
        beside = self._path.with_suffix(".lock")
        with beside.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            held = self._read()
            if held is not None and held.system == history.system and held.timeline >= history.timeline:
                return
            new = self._path.with_suffix(".new")
            with new.open("w") as file:
                json.dump(history._asdict(), file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)


class Servers:
    """The hosts of one PostgreSQL URL, as one process sees them. Thread-safe.

    Args:
        url: of the state.
        memory: where the newest history is kept; None for a process that only looks once.
        clock: the monotonic clock.
    """

    def __init__(self, url: URL, memory: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.hosts, self._arguments = _hosts(url)
        self._memory = HistoryFile(memory)
        self._clock = clock
        self._told: dict[Host, Told] = {}
        self._primary: Host | None = None
        self._own: str | None = None
        self._open: weakref.WeakKeyDictionary[Any, tuple[Host, History | None]] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._own_sessions: set[Host] = set()
        self._ended = threading.Event()
        self._watching = False
        self.trouble = ""
        self.is_synchronous: bool | None = None

    # Connections.

    def connect(self) -> Any:
        """A new connection to the primary.

        Raises:
            psycopg.Error: no host answers as a primary of the newest history; it says of each why.
        """
        import psycopg  # noqa: PLC0415 - a state in SQLite needs no PostgreSQL driver

        self._watch()
        faults = []
        for host in sorted(self.hosts, key=lambda each: each != self._primary):
            try:
                return self._connected(host)
            except psycopg.Error as error:
                faults.append(error)
        refused = [refusal_of(error) for error in faults if refusal_of(error)]
        # A server that must not be used is told before one that is merely away.
        raise _refusal("; ".join(refused)) if refused else faults[0]

    def _dial(self, host: Host, **more: Any) -> Any:
        import psycopg  # noqa: PLC0415 - as above

        where = {"host": host.host, "port": host.port}
        given = {**_PATIENCE, **self._arguments, **{name: value for name, value in where.items() if value}}
        return psycopg.connect(**given, prepare_threshold=2, **more)

    def _connected(self, host: Host) -> Any:

        connection = self._dial(host)
        try:
            self._require_own_session(host, connection)
            told = self._ask(connection)
            if told is not None:
                self._admit(host, told)
            with self._lock:
                self._open[connection] = (host, told.history if told is not None else None)
        except BaseException:
            connection.close()
            raise
        return connection

    def _require_own_session(self, host: Host, connection: Any) -> None:
        """Raise where the session is not this connection's own, but lent for a transaction; looked at once a host.

        A pooler answers under a number of its own. One that lends whole sessions (PgBouncer's `session`) is fine; one
        that lends them for a transaction (`transaction`, `statement`) loses what is listened for and prepared, and
        shows the next client what this one left in its session.
        """
        import psycopg  # noqa: PLC0415 - as above

        if host in self._own_sessions:
            return
        mark = secrets.token_hex(8)
        connection.autocommit, before = True, connection.autocommit
        try:
            (number,) = connection.execute("SELECT pg_backend_pid()").fetchone()
        except (psycopg.ProgrammingError, psycopg.NotSupportedError):
            number = connection.info.backend_pid  # another database that speaks the protocol
        if number != connection.info.backend_pid:
            connection.execute("SELECT set_config('gateway.session', %s, false)", [mark])
            others = [self._dial(host, autocommit=True) for _ in range(_OTHERS)]
            try:
                asked = [each.execute(_MARK).fetchone()[0] for each in others]
            finally:
                for each in others:
                    each.close()
            if mark in asked or connection.execute(_MARK).fetchone()[0] != mark:
                raise _refusal(
                    "is reached through a pooler that lends a session for a transaction (PgBouncer: `pool_mode`): set "
                    "it to `session` for this database, or give the address of the server itself"
                )
        connection.autocommit = before
        self._own_sessions.add(host)

    def _ask(self, connection: Any) -> Told | None:
        """What a server says it is; None where it has no such words."""
        import psycopg  # noqa: PLC0415 - as above

        try:
            in_recovery, system, timeline, standbys, read_only = connection.execute(_ASK).fetchone()
        except (psycopg.ProgrammingError, psycopg.NotSupportedError):
            return None
        finally:
            if not connection.autocommit:
                connection.rollback()
        takes_writes = not in_recovery and read_only == "off"
        history = History(system, int(timeline, 16) if timeline else 0)
        now = self._clock()
        return Told(history, takes_writes, bool(standbys), now, now)

    def _admit(self, host: Host, told: Told) -> None:
        """Take a primary as ours.

        Raises:
            psycopg.Error: it is not.
        """
        import psycopg  # noqa: PLC0415 - as above

        known, history = self._memory.known(), told.history
        if not told.takes_writes:
            raise psycopg.OperationalError(f"{host} takes no writes, being a standby or set so")
        if self._own is not None and history.system != self._own:
            raise _refusal(
                f"is another one: {host} is of another cluster; start the gateway anew if it was put back from a backup"
            )
        if known is not None and _is_older(history, known):
            # INVARIANT: ONE-TIMELINE.
            raise _refusal(_older(host, history, known))
        if known is None or history != known:
            if known is not None and history.system == known.system:
                log.warning("%s is the primary now: timeline %d follows %d", host, history.timeline, known.timeline)
            self._memory.learn(history)
        if self._own is None and not told.is_synchronous and len(self.hosts) > 1:
            log.warning("commits on %s wait for no standby: a failover may lose the last stops", host)
        self._own = history.system
        self.is_synchronous = told.is_synchronous
        self._primary = host

    def is_current(self, connection: Any) -> bool:
        """Whether a pooled connection is still one to the newest history's primary."""
        held = self._open.get(connection)
        if held is None or held[1] is None:
            return True
        known = self._memory.known()
        is_newest = known is None or known.system != held[1].system or known.timeline <= held[1].timeline
        return is_newest and (not self._watching or self._primary in {None, held[0]})

    def require(self) -> None:
        """Raises GatewayError `unavailable` where no server may be asked anything."""
        if self.trouble:
            raise GatewayError("unavailable", f"the state {self.trouble}")

    # Looking.

    def _watch(self) -> None:
        with self._lock:
            if len(self.hosts) < 2 or self._watching:
                return
            self._watching = True
        for host in self.hosts:
            threading.Thread(target=self._look_on, args=(host,), name=f"state-host-{host.host}", daemon=True).start()
        threading.Thread(target=self._judge_on, name="state-hosts", daemon=True).start()

    def _look_on(self, host: Host) -> None:
        import psycopg  # noqa: PLC0415 - as above

        connection = None
        while not self._ended.wait(LOOK_SECONDS):
            try:
                if connection is None or connection.closed:
                    connection = self._dial(host, autocommit=True)
                told = self._ask(connection)
                if told is not None:
                    before = self._told.get(host)
                    if before is not None and before[:2] == told[:2]:
                        told = told._replace(since=before.since)
                    self._told[host] = told
            except psycopg.Error:
                self._told.pop(host, None)
                if connection is not None:
                    connection.close()
                    connection = None
        if connection is not None:
            connection.close()

    def _judge_on(self) -> None:
        while not self._ended.wait(LOOK_SECONDS / 2):
            try:
                self.judge_now()
            except Exception:
                log.exception("what the state's hosts say could not be judged")

    def judge_now(self) -> None:
        """Act on what the hosts have said of late."""
        now = self._clock()
        told = {host: said for host, said in dict(self._told).items() if now - said.at <= HEARD_SECONDS}
        judged = judge(told, self._memory.known())
        if judged.trouble != self.trouble:
            if judged.trouble:
                log.error("the state %s", judged.trouble)
            else:
                log.warning("the state has one primary again")
        self.trouble = judged.trouble
        if judged.trouble:
            self._end_others(None)
        elif judged.primary is not None:
            self.is_synchronous = told[judged.primary].is_synchronous
            if judged.primary != self._primary or self._is_older_open(told[judged.primary].history):
                self._primary = judged.primary
                self._end_others(judged.primary)

    def _is_older_open(self, history: History) -> bool:
        with self._lock:
            return any(held[1] is not None and held[1] != history for held in self._open.values())

    def _end_others(self, primary: Host | None) -> None:
        """End what waits for another host than `primary`; whoever waits asks anew."""
        with self._lock:
            others = [connection for connection, held in self._open.items() if held[0] != primary]
            for connection in others:
                del self._open[connection]
        for connection in others:
            shut(connection)

    def close(self) -> None:
        """Look no more."""
        self._ended.set()


def _hosts(url: URL) -> tuple[tuple[Host, ...], dict[str, Any]]:
    """The hosts of a URL, and what else a connection to each of them is made with."""
    dialect: Any = psycopg_dialect
    try:
        arguments = dict(dialect().create_connect_args(url)[1])
    except ArgumentError as error:
        raise GatewayError("unavailable", "the state's URL names hosts and ports that do not fit") from error
    # What it asks for is asked of each server here.
    arguments.pop("target_session_attrs", None)
    names = str(arguments.pop("host", "") or "").split(",")
    ports = str(arguments.pop("port", "") or "").split(",")
    ports = ports if len(ports) == len(names) else ports[:1] * len(names)
    return tuple(Host(name, port) for name, port in zip(names, ports, strict=True)), arguments
