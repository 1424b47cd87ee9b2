"""A backup of a home, running or not: all that it needs in a folder of each time, and one mirror of the log.

    TARGET/state-<time>/   gateway.toml, keys/, witness.db where there is one, and state.db as one consistent copy where
                           the state is SQLite (a PostgreSQL state is backed up by PostgreSQL's own means); and
                           manifest.json, which says of what they are and ends in a digest over itself
    TARGET/log/            the log, see `mirror_log`; `gateway verify` proves it

`gateway restore` puts them in place (`restore`); a copy put in place by hand is known for one by its incarnation. The
copies hold the keys: they are readable by their owner alone. Files that the settings name outside the home are named
in the manifest and not copied: they belong to the machine.
"""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from gateway import __version__
from gateway.domain.errors import GatewayError
from gateway.ledger.durable import make_directory, replace_file, sync_directory, take_lock
from gateway.ledger.log.checkpoints import Checkpoint
from gateway.ledger.witness.mirror import check_mirror, checkpoint_of, mirror_log
from gateway.runtime.home import GatewayHome
from gateway.runtime.settings import Settings
from gateway.runtime.start.incarnation import read_identity, require_own_state

KEEP = 14
"""How many `state-<time>` folders of a home stay, and of how many days the last one stays."""
MANIFEST = "manifest.json"
LOG = "log"
FORMAT = 1
_BLOCK_BYTES = 1 << 20


class Manifest(msgspec.Struct, frozen=True):
    """What a `state-<time>` folder is a copy of.

    Args:
        format: of this file.
        version: of the gateway that wrote it.
        made_at: when, RFC 3339 in UTC.
        home: the home's id; "" for one of an older release.
        origin: the log's name.
        size: leaves of the log before the state was copied.
        root: over them, hex.
        state: `sqlite` or `postgresql`.
        schema: the state's migration; "" where the state is not in the folder.
        files: path -> SHA-256 (hex) of every other file in the folder.
        outside: setting -> path of what the home needs and the folder does not hold.
        digest: SHA-256 (hex) over all of this with an empty `digest`.
    """

    format: int
    version: str
    made_at: str
    home: str
    origin: str
    size: int
    root: str
    state: str
    schema: str
    files: dict[str, str]
    outside: dict[str, str]
    digest: str = ""

    def sealed(self) -> "Manifest":
        """The same with its digest."""
        plain = msgspec.json.encode(msgspec.structs.replace(self, digest=""), order="sorted")
        return msgspec.structs.replace(self, digest=hashlib.sha256(plain).hexdigest())


class Backup(msgspec.Struct, frozen=True):
    """What a backup came to.

    Args:
        state: the new folder.
        log: the mirror.
        copied: files of the log that the mirror lacked.
        outside: setting -> path of what the home needs besides.
    """

    state: Path
    log: Path
    copied: int
    outside: dict[str, str]


def back_up(home: GatewayHome, target: Path, now: datetime | None = None) -> Backup:
    """Back up `home` into `target`. Durability: synced on return.

    Raises:
        GatewayError: `invalid-input` if the target lies in the home; `conflict` if another backup into it is under way,
            its mirror holds what this log does not (nothing is touched then), or the state is not this home's own;
            `unavailable` if it failed; the last good `state-<time>` stays.
    """
    if target.resolve().is_relative_to(home.root.resolve()):
        raise GatewayError("invalid-input", f"`{target}` lies in the home `{home.root}`: it would be lost with it")
    settings = home.settings()
    if not home.is_running():
        require_own_state(home, settings)
    before = os.umask(0o077)
    lock = None
    try:
        make_directory(target)
        lock = take_lock(target / ".lock", f"the backup `{target}`")
        # INVARIANT: NEVER-FORKED: what may be the last copy of a log is neither replaced nor removed.
        check_mirror(home.ledger / "tree", target / LOG)
        for unfinished in target.glob("state-*.partial"):
            shutil.rmtree(unfinished)
        state = target / f"state-{_stamp(target, now or datetime.now(UTC))}"
        manifest = _copy_state(home, settings, state)
        copied = mirror_log(home.ledger / "tree", target / LOG)
        for old in _superseded(target, manifest):
            shutil.rmtree(old)
    except (OSError, sqlite3.Error) as error:
        raise GatewayError("unavailable", f"the backup into `{target}` failed: {error}") from error
    finally:
        os.umask(before)
        if lock is not None:
            os.close(lock)
    return Backup(state, target / LOG, copied, manifest.outside)


def outside_files(home: GatewayHome, settings: Settings) -> dict[str, str]:
    """Setting -> path of each file or folder that the settings name and that lies outside the home."""
    found = {}
    for section in type(settings).model_fields:
        table = getattr(settings, section)
        for name in getattr(type(table), "model_fields", ()):
            value = getattr(table, name)
            if isinstance(value, Path) and (section, name) != ("identity", "keys"):
                path = value if value.is_absolute() else home.root / value
                if not path.resolve().is_relative_to(home.root.resolve()):
                    found[f"{section}.{name}"] = str(path)
    return found


def files_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """(relative path, path) of each file in a `state-<time>` folder but its manifest."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MANIFEST:
            yield path.relative_to(folder).as_posix(), path


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    hashing = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            hashing.update(block)
    return hashing.hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a `state-<time>` folder, whose digest holds.

    Raises:
        GatewayError: `not-found` where there is none, `conflict` where it is damaged or of a newer gateway.
    """
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise GatewayError("not-found", f"`{folder}` holds no `{MANIFEST}`: it is no whole backup") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise GatewayError("conflict", f"`{path}` is damaged") from error
    if manifest.format > FORMAT:
        raise GatewayError("conflict", f"`{path}` was written by gateway {manifest.version}: restore with that one")
    if manifest != manifest.sealed():
        raise GatewayError("conflict", f"`{path}` is not as it was written")
    return manifest


def state_folders(target: Path) -> list[Path]:
    """The finished `state-<time>` folders of a backup, oldest first."""
    return sorted(path for path in target.glob("state-*") if path.is_dir() and path.suffix != ".partial")


def _stamp(target: Path, now: datetime) -> str:
    """The time in a folder's name, later than every other: a clock set back does not make the newest the oldest."""
    stamp = now.astimezone(UTC)
    newest = [path.name.removeprefix("state-") for path in state_folders(target)]
    while newest and f"{stamp:%Y%m%dT%H%M%S.%fZ}" <= newest[-1]:
        stamp = datetime.strptime(newest[-1], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC) + timedelta(microseconds=1)
    return f"{stamp:%Y%m%dT%H%M%S.%fZ}"


def _copy_state(home: GatewayHome, settings: Settings, target: Path) -> Manifest:
    partial = target.with_name(f"{target.name}.partial")
    make_directory(partial)
    identity = read_identity(home)
    origin = home.origin(settings)
    # Before the state is read: what it says of acts is at least as new as this.
    log = checkpoint_of(home.ledger / "tree") or Checkpoint(origin, 0, b"")
    replace_file(partial / "gateway.toml", home.settings_file.read_bytes())
    keys = home.keys(settings)
    files = [path for path in keys.rglob("*") if path.is_file()] if keys.is_dir() else [keys] if keys.exists() else []
    for key in sorted(files):
        copy = partial / "keys" / (key.relative_to(keys) if keys.is_dir() else key.name)
        make_directory(copy.parent)
        replace_file(copy, key.read_bytes())
    witness = home.root / "witness.db"
    if witness.exists():
        _copy_database(str(witness), partial / "witness.db")
    schema = ""
    if not home.is_shared(settings):
        _copy_database(home.state_url(settings).removeprefix("sqlite:///"), partial / "state.db")
        schema = _mark(partial / "state.db", target.name, log)
    manifest = Manifest(
        FORMAT,
        __version__,
        datetime.now(UTC).isoformat(timespec="seconds"),
        identity.home if identity else "",
        origin,
        log.size,
        log.root.hex(),
        "postgresql" if home.is_shared(settings) else "sqlite",
        schema,
        {name: digest_of(path) for name, path in files_in(partial)},
        outside_files(home, settings),
    ).sealed()
    replace_file(partial / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    sync_directory(partial)
    partial.rename(target)
    sync_directory(target.parent)
    return manifest


def _copy_database(source: str, target: Path) -> None:
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as standing,
        closing(sqlite3.connect(target)) as copy,
    ):
        standing.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        if copy.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("the database is damaged, and so is its copy")
    sync_file(target)


def _mark(state: Path, name: str, log: Checkpoint) -> str:
    """Make the copy of a state one that no home takes for its own, and that knows the log; returns its migration."""
    with closing(sqlite3.connect(state)) as copy:
        schema = copy.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        if copy.execute("SELECT count(*) FROM sqlite_master WHERE name = 'homes'").fetchone()[0]:
            copy.execute("UPDATE homes SET incarnation = ?", (name,))
            if log.size:
                # What was settled stays: acts between that and this checkpoint may be missing in the copy.
                copy.execute(
                    "INSERT INTO logs (origin, size, root, settled) VALUES (?, ?, ?, 0) ON CONFLICT (origin) "
                    "DO UPDATE SET size = excluded.size, root = excluded.root WHERE logs.size <= excluded.size",
                    (log.origin, log.size, log.root.hex()),
                )
            copy.commit()
    sync_file(state)
    return str(schema)


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _superseded(target: Path, newest: Manifest) -> list[Path]:
    """Folders of the same home that fourteen newer ones, and later ones of their days, have replaced."""
    own = []
    for folder in state_folders(target):
        try:
            manifest = read_manifest(folder)
        except GatewayError:
            continue  # of an older release, or damaged: whose it is, and whether it is the last, a person sees
        if (manifest.home, manifest.origin) == (newest.home, newest.origin):
            own.append(folder)
    last_of_day = {folder.name[: len("state-20260101")]: folder for folder in own}
    kept = {*own[-KEEP:], *sorted(last_of_day.values())[-KEEP:]}
    return [folder for folder in own if folder not in kept]
