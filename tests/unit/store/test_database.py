"""Opening the state: migrations under a lock, refusals in one sentence, and what a damaged or locked file says."""

import contextlib
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from gateway.domain.changes import ChangeKind
from gateway.domain.errors import GatewayError, InDoubtError
from gateway.store import Store, schema
from gateway.store.migrate import MIGRATIONS
from tests.support.postgres import Postgres
from tests.support.state import department


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


def refusal(url: str, **arguments: bool) -> str:
    with pytest.raises(GatewayError) as refused:
        Store.open(url, **arguments)
    assert refused.value.code == "unavailable"
    return refused.value.detail


def test_migrations_build_the_schema(empty_url: str) -> None:
    """The tables of the migrations are those of `schema`, on both databases."""
    Store.open(empty_url).close()
    engine = create_engine(empty_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    engine.dispose()


def test_newest_migration_is_the_one_the_program_knows() -> None:
    """`HEAD` is the last file under `migrations/versions`."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_many_processes_open_an_empty_state_at_once(empty_url: str) -> None:
    """Whoever comes first migrates, the others wait for it; nobody fails."""
    program = textwrap.dedent(
        """
        import sys
        from gateway.store import Store
        with Store.open(sys.argv[1]) as store:
            sys.exit(store.sequence())
        """
    )
    running = [subprocess.Popen([sys.executable, "-c", program, empty_url], cwd=Path.cwd()) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]


def test_newer_schema_is_refused_and_left_alone(state_url: str) -> None:
    """After a downgrade of the program the state is not touched, and the sentence says what to do."""
    engine = create_engine(state_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        for arguments in ({}, {"migrate_forward": False}, {"read_only": True}):
            said = refusal(state_url, **arguments)
            assert "was written by a newer version of the gateway (schema 9999" in said
            assert "start that version again, or restore a backup" in said
    finally:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": schema.HEAD})
        engine.dispose()


def test_process_that_does_not_migrate_refuses_an_empty_state(empty_url: str) -> None:
    """A worker that is started before the control process says what is missing."""
    assert "is not set up for this version; start `gateway serve`" in refusal(empty_url, migrate_forward=False)
    assert not Path(empty_url.removeprefix("sqlite:///")).exists()


def test_failed_migration_leaves_nothing(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails half way is rolled back whole, and the next start does it from the beginning."""
    from alembic import command  # noqa: PLC0415 - imported where the program imports it

    def half(config: Config, revision: str) -> None:
        whole(config, revision)
        raise GatewayError("unavailable", "power cut")

    whole = command.upgrade
    monkeypatch.setattr(command, "upgrade", half)
    assert refusal(empty_url) == "power cut"
    monkeypatch.undo()
    with Store.open(empty_url) as store:
        assert store.sequence() == 0


def test_read_only_store_refuses_every_write(state_url: str) -> None:
    """A tool that reads cannot write by mistake."""
    with Store.open(state_url, read_only=True) as store:
        assert store.sequence() == 0
        with pytest.raises(GatewayError, match="may not write"), store.transaction() as tx:
            tx.change(ChangeKind.POLICY, "x")
        with pytest.raises(GatewayError, match="may not write"):
            store.use_once("jti", "a", 1)


def test_state_needs_a_folder(tmp_path: Path) -> None:
    """A home that does not exist is one sentence."""
    assert "its folder does not exist" in refusal(f"sqlite:///{tmp_path / 'none' / 'state.db'}")


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "what is this"])
def test_url_must_name_one_of_the_two(url: str) -> None:
    """A URL that is no SQLite file and no PostgreSQL database is refused without being echoed."""
    said = refusal(url)
    assert "URL" in said
    assert url not in said


def test_password_is_never_said(tmp_path: Path) -> None:
    """INVARIANT NO-VALUES: a failure to connect names the host and not the password."""
    said = refusal(f"postgresql+psycopg://gateway:hunter2@/none?host={tmp_path}")
    assert "does not answer" in said
    assert "hunter2" not in said


def test_state_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    """What the system refuses to open, for whatever reason, is one sentence."""
    (tmp_path / "state.db").mkdir()
    assert "cannot be opened" in refusal(f"sqlite:///{tmp_path / 'state.db'}")


def test_read_only_file_is_one_sentence(tmp_path: Path) -> None:
    """A state on a file system that became read-only says that it cannot be written."""
    path = tmp_path / "state.db"
    Store.open(f"sqlite:///{path}").close()
    with Store.open(f"sqlite:///{path}") as store:
        writer = store.database._writer.connect()
        writer.exec_driver_sql("ROLLBACK")
        writer.exec_driver_sql("PRAGMA query_only=ON")
        writer.close()
        with pytest.raises(GatewayError, match="cannot be written"), store.transaction() as tx:
            tx.put_department(department())


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_damaged_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    """A file that is no database, or no longer one, says so and is not overwritten."""
    path = tmp_path / "state.db"
    path.write_bytes(content)
    assert "restore it from a backup" in refusal(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_damaged_page_is_one_sentence(tmp_path: Path) -> None:
    """Damage found later is a sentence too, not a traceback."""
    path = tmp_path / "state.db"
    with Store.open(f"sqlite:///{path}") as store, store.transaction() as tx:
        for number in range(300):
            tx.put_department(department(f"d{number}"))
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(GatewayError, match="is damaged"):
        Store.open(f"sqlite:///{path}").list_departments()


def test_locked_database_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that another process keeps out says so after its patience; readers go on."""
    monkeypatch.setattr("gateway.store.database.BUSY_SECONDS", 0.05)
    path = tmp_path / "state.db"
    with Store.open(f"sqlite:///{path}") as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(GatewayError, match="locked by another process"), store.transaction() as tx:
            tx.put_department(department())
        assert store.sequence() == 0
        other.execute("ROLLBACK")
        other.close()
        with store.transaction() as tx:
            tx.put_department(department())


def test_error_inside_a_transaction_rolls_it_back(state_url: str) -> None:
    """What a transaction wrote before an error is gone, and the error comes through as it is."""
    with Store.open(state_url) as store:

        def fails() -> None:
            with store.transaction() as tx:
                tx.put_department(department())
                raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            fails()
        assert store.department("civil-affairs") is None
        assert store.sequence() == 0


def test_threads_share_one_store(state_url: str) -> None:
    """Readers and writers on many threads at once: each sees whole transactions."""
    with Store.open(state_url) as store:
        failures: list[BaseException] = []

        def work(name: int) -> None:
            try:
                for number in range(10):
                    with store.transaction() as tx:
                        tx.put_department(department(f"a{name}-{number}"))
                        tx.put_department(department(f"b{name}-{number}"))
                    found = [one.id for one in store.list_departments(None, 1000).items]
                    assert len(found) % 2 == 0
            except BaseException as error:  # noqa: BLE001 - said on the main thread
                failures.append(error)

        threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(store.list_departments(None, 1000).items) == 120
        assert store.sequence() == 120


def test_commits_survive_a_loss_of_power(tmp_path: Path) -> None:
    """The writer's commits are synced to the disk: `synchronous=FULL` in WAL mode."""
    with Store.open(f"sqlite:///{tmp_path / 'state.db'}") as store, store.database.writing() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_postgres_that_turns_the_user_away_is_no_silent_server(postgres: Postgres) -> None:
    """Each by its own sentence, in our words: a wrong password never becomes right by trying again."""
    known = postgres.create_database()
    hba = postgres.home / "data" / "pg_hba.conf"
    before = hba.read_text("utf-8")
    with postgres.connect("postgres") as connection:
        connection.execute("CREATE ROLE turned_away LOGIN PASSWORD 'right'")
        hba.write_text(f"local all turned_away scram-sha-256\nlocal all nobody reject\n{before}", "utf-8")
        connection.execute("SELECT pg_reload_conf()")
    url = postgres.url(known)
    try:
        for user, database, said in (
            ("turned_away:wrong", known, "password"),
            ("turned_away:right", known, "may not be written"),
            ("gateway", "absent", "is not there"),
            ("stranger", known, "does not know the user"),
            ("nobody", known, "does not let the user in"),
        ):
            at = url.replace("//gateway@", f"//{user}@").replace(f"/{known}?", f"/{database}?")
            sentence = refusal(at)
            assert said in sentence, user
            assert "FATAL" not in sentence
            assert "wrong" not in sentence
    finally:
        hba.write_text(before, "utf-8")
        with postgres.connect("postgres") as connection:
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("DROP ROLE turned_away")
        postgres.drop_database(known)


class _BreakingOff:
    """Between a client and a server: the connection that sends COMMIT breaks, before it is passed on or behind it.

    Args:
        server: the socket of the server.
        folder: where clients find theirs.
    """

    def __init__(self, server: Path, folder: Path) -> None:
        self.breaks = ""
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / server.name))
        self._listener.listen()
        self._open = [self._listener]
        self._unheard: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    def close(self) -> None:
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._open:
            each.close()

    def _begin(self, target: Callable[..., None], *given: socket.socket) -> None:
        self._threads.append(threading.Thread(target=target, args=given, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self._open += [client, server]
                server.connect(str(self._server))
                self._begin(self._pass_on, client, server)
                self._begin(self._pass_on, server, client)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source in self._unheard or (self.breaks == "before it" and b"COMMIT" in data):
                    break
                if self.breaks and b"COMMIT" in data:
                    self._unheard.add(target)
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("breaks", ["before it", "behind it"])
def test_a_commit_that_nobody_answered_is_in_doubt(
    postgres: Postgres, emptied: str, tmp_path: Path, breaks: str
) -> None:
    """Whether it stands is not said, and is known once another transaction has the writer's lock."""
    between = _BreakingOff(postgres.door, tmp_path)
    url = emptied.replace(str(postgres.home), str(tmp_path))
    with contextlib.closing(between), Store.open(url) as store:
        between.breaks = breaks
        with pytest.raises(InDoubtError, match="look whether it stands"), store.transaction() as tx:
            tx.note_acts(["run-1"])
    with Store.open(emptied) as store, store.transaction() as tx:
        assert tx.has_acts(["run-1"]) == ({"run-1"} if breaks == "behind it" else set())
