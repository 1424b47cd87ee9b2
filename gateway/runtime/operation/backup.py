"""A backup of a home, running or not: settings, keys and state in a folder of each time, and one mirror of the log.

    TARGET/state-<time>/   gateway.toml, keys/, and state.db as one consistent copy where the state is SQLite; a
                           PostgreSQL state is backed up by PostgreSQL's own means
    TARGET/log/            the log, see `mirror_log`; `gateway verify` proves it

The copies hold the keys: they are readable by their owner alone.
"""

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.durable import make_directory, replace_file, sync_directory, take_lock
from gateway.ledger.witness.mirror import mirror_log
from gateway.runtime.home import GatewayHome

KEEP = 14
"""How many `state-<time>` folders stay."""


class Backup(msgspec.Struct, frozen=True):
    """What a backup came to.

    Args:
        state: the new folder.
        log: the mirror.
        copied: files of the log that the mirror lacked.
    """

    state: Path
    log: Path
    copied: int


def back_up(home: GatewayHome, target: Path, now: datetime | None = None) -> Backup:
    """Back up `home` into `target`. Durability: synced on return.

    Raises:
        GatewayError: `invalid-input` if the target lies in the home, `conflict` if another backup into it is under way,
            `unavailable` if it failed; the last good `state-<time>` stays.
    """
    if target.resolve().is_relative_to(home.root.resolve()):
        raise GatewayError("invalid-input", f"`{target}` lies in the home `{home.root}`: it would be lost with it")
    stamp = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    before = os.umask(0o077)
    lock = None
    try:
        make_directory(target)
        lock = take_lock(target / ".lock", f"the backup `{target}`")
        for unfinished in target.glob("state-*.partial"):
            shutil.rmtree(unfinished)
        state = target / f"state-{stamp}"
        _copy_state(home, state)
        copied = mirror_log(home.ledger / "tree", target / "log")
        for old in _finished(target)[:-KEEP]:
            shutil.rmtree(old)
    except (OSError, sqlite3.Error) as error:
        raise GatewayError("unavailable", f"the backup into `{target}` failed: {error}") from error
    finally:
        os.umask(before)
        if lock is not None:
            os.close(lock)
    return Backup(state, target / "log", copied)


def _copy_state(home: GatewayHome, target: Path) -> None:
    settings = home.settings()
    partial = target.with_name(f"{target.name}.partial")
    make_directory(partial)
    replace_file(partial / "gateway.toml", home.settings_file.read_bytes())
    keys = home.keys(settings)
    for key in sorted(path for path in keys.rglob("*") if path.is_file()):
        copy = partial / "keys" / key.relative_to(keys)
        make_directory(copy.parent)
        replace_file(copy, key.read_bytes())
    if not home.is_shared(settings):
        _copy_database(home.state_url(settings).removeprefix("sqlite:///"), partial / "state.db")
    sync_directory(partial)
    partial.rename(target)
    sync_directory(target.parent)


def _copy_database(source: str, target: Path) -> None:
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as standing,
        closing(sqlite3.connect(target)) as copy,
    ):
        standing.backup(copy)
        if copy.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("the state is damaged, and so is its copy")
    descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _finished(target: Path) -> list[Path]:
    return sorted(path for path in target.glob("state-*") if path.is_dir() and path.suffix != ".partial")
