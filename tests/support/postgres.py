"""A real PostgreSQL server for tests, on a Unix socket of its own, thrown away afterwards.

`postgres` refuses to run as root, so for root it runs as the user `postgres`. Where it cannot be started, the reason
is printed and the tests that need it are skipped; with `CI=true` they fail instead.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.networks import HERE, NamespaceHost

_SETTINGS = {
    "fsync": "off",  # a test kills the server, never the machine
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "listen_addresses": "",
    "max_wal_size": "256MB",
}


class PostgresUnavailableError(Exception):
    """Why no server can be started here."""


def _binaries() -> Path:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    found = shutil.which("initdb")
    if found is None or shutil.which("postgres") is None:
        raise PostgresUnavailableError("neither /usr/lib/postgresql nor the path holds `initdb` and `postgres`")
    return Path(found).parent


class Postgres:
    """One server: started by `start`, ended by `stop`, whose data stay until `remove`."""

    def __init__(
        self, primary: "Postgres | None" = None, *, host: NamespaceHost | None = None, **settings: str
    ) -> None:
        self.host = host
        self._bin = _binaries()
        self._settings = {**_SETTINGS, **settings}
        self._as_user: dict[str, object] = {}
        if os.geteuid() == 0:
            try:
                user = pwd.getpwnam("postgres")
            except KeyError as error:
                raise PostgresUnavailableError("running as root, and there is no user `postgres`") from error
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.home = Path(tempfile.mkdtemp(prefix="pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        if self._as_user:
            os.chown(self.home, user.pw_uid, user.pw_gid)
        if primary is None:
            how = ["initdb", "-D", self.home / "data", "-U", "gateway", "-A", "trust", "-E", "UTF8", "--locale=C"]
        else:
            # By the socket, which no network between hosts can break.
            how = ["pg_basebackup", "-D", self.home / "data", "-U", "gateway", "-h", primary.home, "-R", "-c", "fast"]
        made = subprocess.run(
            [self._bin / str(how[0]), *how[1:], "--no-sync"],
            **self._as_user,
            capture_output=True,
            check=False,
            cwd=self.home,
        )
        if made.returncode:
            self.remove()
            raise PostgresUnavailableError(f"{how[0]} failed: {made.stderr.decode(errors='replace').strip()[-300:]}")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = dict(self._settings)
        if self.host is not None:
            settings["listen_addresses"] = self.host.address
            hba = self.home / "data" / "pg_hba.conf"
            if "198.18" not in hba.read_text("utf-8"):
                with hba.open("a") as file:
                    file.write(f"host all gateway {HERE}/32 trust\n")
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._where(), self._bin / "postgres", "-D", self.home / "data", "-k", self.home, *options],
                **({} if self.host is not None else self._as_user),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError), self.connect("postgres") as connection:
                connection.execute("SELECT 1")
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        said = (self.home / "log").read_text(errors="replace").strip()[-300:]
        raise PostgresUnavailableError(f"the server did not start: {said}")

    def _where(self) -> list[str]:
        """What stands before the server's command; a namespace is entered as root, and left as it for good."""
        if self.host is None:
            return []
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if self._as_user else []
        return [*self.host.inside, *user]

    def stand_still(self, *, still: bool) -> None:
        """Stop every process of the server, or let them go on."""
        assert self._process is not None
        pids = [self._process.pid, *_children(self._process.pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP if still else signal.SIGCONT)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT ends sessions and shuts down, SIGQUIT crashes it."""
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(60)
        self._process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop and start, keeping the data."""
        self.stop(how)
        self.start()

    @contextlib.contextmanager
    def standby(self, host: NamespaceHost | None = None) -> "Iterator[Postgres]":
        """A server that follows this one by streaming replication, removed in the end."""
        follower = Postgres(self, host=host)
        try:
            follower.start()
            yield follower
        finally:
            follower.remove()

    def promote(self) -> None:
        """Make a standby the primary; returns when it takes writes."""
        with self.connect("postgres") as connection:
            assert connection.execute("SELECT pg_promote()").fetchone() == (True,)

    def follow_no_more(self) -> None:
        """Cut a standby off from its primary: what is committed there from now on does not arrive."""
        with self.connect("postgres") as connection:
            connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
            connection.execute("SELECT pg_reload_conf()")
            deadline = time.monotonic() + 20
            while connection.execute("SELECT count(*) FROM pg_stat_wal_receiver").fetchone() != (0,):
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def pids(self) -> list[int]:
        """Every process of the server, the first one first."""
        assert self._process is not None
        first = self._process.pid
        return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text("ascii").split())]

    @property
    def door(self) -> Path:
        """The socket by which everybody connects."""
        return self.home / ".s.PGSQL.5432"

    def remove(self) -> None:
        """End the server and delete everything it made."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.home, ignore_errors=True)

    def connect(self, database: str) -> psycopg.Connection:
        """A connection for the test's own statements."""
        return psycopg.connect(f"host={self.home} user=gateway dbname={database}", autocommit=True)

    def create_database(self, template: str | None = None) -> str:
        """A new database's name, empty or a copy of `template`."""
        self._databases += 1
        name = f"gateway_{self._databases}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, ending the sessions in it."""
        with self.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def dump(self, database: str, file: Path) -> None:
        """As an operator's night run does: one consistent copy, taken while others write."""
        self._tool("pg_dump", "-Fc", "-f", file, database)

    def put_back(self, database: str, file: Path) -> None:
        """A database as a dump has it, in place of what stands there."""
        self.drop_database(database)
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {database}")
        self._tool("pg_restore", "-d", database, file)

    def _tool(self, name: str, *arguments: str | Path) -> None:
        command = [self._bin / name, "-h", self.home, "-U", "gateway", *arguments]
        subprocess.run(command, check=True, capture_output=True)

    def url(self, database: str, *others: "Postgres", by: Path | None = None) -> str:
        """The state's URL for a database; with `others`, for whichever of the servers takes writes.

        Args:
            database: its name.
            others: further servers.
            by: a link to the folder of this server's socket.
        """
        first, *rest = (str(server.home if server.host is None else server.host.address) for server in (self, *others))
        hosts = ",".join((str(by) if by is not None else first, *rest))
        writes = "&target_session_attrs=read-write" if others else ""
        return f"postgresql+psycopg://gateway@/{database}?host={hosts}{writes}"


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


@contextlib.contextmanager
def running_postgres(host: NamespaceHost | None = None, **settings: str) -> Iterator[Postgres]:
    """A running server; skips with the printed reason where there can be none, or fails with `CI=true`."""
    try:
        server = Postgres(host=host, **settings)
        try:
            server.start()
        except PostgresUnavailableError:
            server.remove()
            raise
    except PostgresUnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no PostgreSQL, which CI must have: {error}")
        pytest.skip(f"no PostgreSQL: {error}")
    try:
        yield server
    finally:
        server.remove()
