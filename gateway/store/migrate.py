"""Bring a database forward to the newest schema, under a lock, so that any number of processes may start at once."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from gateway.domain.errors import GatewayError
from gateway.store.database import Database
from gateway.store.schema import HEAD

MIGRATIONS = Path(__file__).parent / "migrations"

_ADVISORY_LOCK = 0x67617465
"""PostgreSQL advisory lock of the migrations (`gate` in ASCII)."""


def revision_of(connection: Connection) -> str | None:
    """The revision the database stands at, or None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def require_head(database: Database) -> None:
    """Refuse a database that is not at the newest schema; for processes that do not migrate.

    Raises:
        GatewayError: `unavailable`, saying whether the database or the program is the older one.
    """
    exists = not database.is_sqlite or database.path.exists()
    found = database.read(revision_of) if exists else None
    if found == HEAD:
        return
    if found is None or found < HEAD:
        raise GatewayError("unavailable", f"{database.where} is not set up for this version; start `gateway serve`")
    raise GatewayError("unavailable", _newer(database, found))


def migrate(database: Database) -> None:
    """Apply what is missing, all or nothing, in one transaction under a lock.

    Raises:
        GatewayError: `unavailable` if the database was written by a newer version; nothing is changed then.
    """
    if database.is_sqlite and not database.path.parent.is_dir():
        raise GatewayError("unavailable", f"{database.where} cannot be opened: its folder does not exist")
    if (not database.is_sqlite or database.path.exists()) and database.read(revision_of) == HEAD:
        return
    with database.writing() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        found = revision_of(connection)
        if found == HEAD:
            return
        if found is not None and found > HEAD:
            raise GatewayError("unavailable", _newer(database, found))
        _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    # Alembic takes a third of a second to import; a process that finds the newest schema never pays it.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _newer(database: Database, found: str) -> str:
    return (
        f"{database.where} was written by a newer version of the gateway (schema {found}, this one knows {HEAD}); "
        "start that version again, or restore a backup made before it"
    )
