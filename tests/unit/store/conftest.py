"""Every test that asks for `store` or `state_url` runs on SQLite and on a real PostgreSQL."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store import Store, schema
from tests.support.postgres import Postgres, running_postgres
from tests.support.state import fill


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """The name of a database of the newest schema, which each test empties before use."""
    name = postgres.create_database()
    Store.open(postgres.url(name)).close()
    return name


@pytest.fixture
def emptied(postgres: Postgres, migrated: str) -> str:
    """A PostgreSQL state without content: emptying it is many times quicker than making one."""
    tables = "".join(f"DELETE FROM {table};" for table in schema.metadata.tables if table != "feed")
    with postgres.connect(migrated) as connection:
        connection.execute(f"{tables} UPDATE feed SET sequence = 0")
    return postgres.url(migrated)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "state.db"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a state of the newest schema without content."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "state.db")
        yield f"sqlite:///{tmp_path / 'state.db'}"
    else:
        yield request.getfixturevalue("emptied")


@pytest.fixture(scope="session")
def kept_sqlite(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("kept") / "state.db"
    shutil.copy(migrated_file, path)
    with Store.open(f"sqlite:///{path}") as opened:
        yield opened


@pytest.fixture(scope="session")
def kept_postgresql(postgres: Postgres, migrated: str) -> Iterator[Store]:
    with Store.open(postgres.url(migrated)) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Store:
    """A state with one released dataset, its interface, and a demand department with a system.

    One `Store` serves all tests and is emptied before each: what it has compiled stays.
    """
    kept: Store = request.getfixturevalue(f"kept_{request.param}")
    with kept.database.writing() as connection:
        for table in schema.metadata.tables.values():
            if table is not schema.feed:
                connection.execute(table.delete())
        connection.execute(schema.feed.update().values(sequence=0))
    fill(kept)
    return kept
