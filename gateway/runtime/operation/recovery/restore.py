"""Puts a backup in place of what was lost: checked first, moved by rename, proved to belong together, and told whole.

    1  the backup is checked: its manifest, every digest, the state's schema and pages, the keys, the mirror of the log
    2  what stands in the home is looked at; a running home is refused, and one that is not empty unless told
    3  everything is laid ready in a folder of the home
    4  moved into place by rename; what it replaces is kept in `replaced-<time>/`; cut off, the same command goes on
    5  records and acts are compared: what the restored state has lost and what that withdrew is held (`reconciling`)
    6  it is said what was lost, from when to when, and what is to be done

The log that signed last is kept where it stands, or brought by `ledger`; a copy of it goes on under a new origin and
key (`gateway.ledger.witness.adopting`), for nobody knows what the lost one had signed since (INVARIANT: NEVER-FORKED).
"""

import errno
import os
import secrets
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.texts import Phrase
from gateway.domain.uses import EVERY_DEPARTMENT, RecordKind
from gateway.ledger.durable import make_directory, replace_file, sync_directory
from gateway.ledger.log.checkpoints import Checkpoint
from gateway.ledger.log.files import LogFiles
from gateway.ledger.log.notes import ED25519, VerifierKey
from gateway.ledger.witness.mirror import checkpoint_of
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.recovery.backup import (
    LOG,
    Manifest,
    digest_of,
    files_in,
    outside_files,
    read_manifest,
    state_folders,
)
from gateway.runtime.operation.recovery.restore_keys import lost_files
from gateway.runtime.operation.recovery.restore_log import (
    Say,
    Source,
    has_whole_log,
    lay,
    open_keys,
    require_mirror,
    take_up_log,
)
from gateway.runtime.settings import Settings, load_settings
from gateway.runtime.start.incarnation import IDENTITY, RESTORING, Identity, begin_life, is_put_back, read_identity
from gateway.store import Difference, KnownLog, Store
from gateway.store.schema import HEAD

PARTS = ("gateway.toml", "keys", "state.db", "witness.db")
"""What a `state-<time>` folder may hold for a home."""
BESIDE = ("state.db-wal", "state.db-shm", "witness.db-journal")
"""What must not stay beside a database that is put in place."""


class Lost(msgspec.Struct, frozen=True):
    """What is not there any more: what, and from when to when (RFC 3339; "" is not known)."""

    what: str
    after: str
    until: str


class Restored(msgspec.Struct, frozen=True):
    """What a restore came to.

    Args:
        home: the folder.
        backup: the `state-<time>` folder it was taken from.
        put: the parts that were put in place.
        replaced: where what they replaced is kept; "" where nothing was.
        origin: the log's name now.
        verifier_key: and its verifier key.
        former: its name before, where it goes on under a new one.
        size: leaves of the log.
        lost: what is gone.
        differences: acts on record that the state does not have.
        to_do: what is to be done, one sentence each.
    """

    home: str
    backup: str
    put: tuple[str, ...]
    replaced: str
    origin: str
    verifier_key: str
    former: str
    size: int
    lost: tuple[Lost, ...]
    differences: tuple[Difference, ...]
    to_do: tuple[str, ...]


class _Moves(msgspec.Struct, frozen=True):
    """What is to be renamed, in this order, and the origin that the log had before."""

    moves: tuple[tuple[str, str], ...]
    origin: str
    put: tuple[str, ...]
    adopted: bool


def restore(
    home: GatewayHome,
    backup: Path,
    *,
    at: str | None = None,
    missing: bool = False,
    replace: bool = False,
    ledger: Path | None = None,
    origin: str | None = None,
    say: Say = lambda _sentence: None,
) -> Restored:
    """Restore `home` from `backup`; see this module.

    Args:
        home: the home to make whole; it may be empty or not exist.
        backup: what `gateway backup` wrote to, or one `state-<time>` folder in it.
        at: which `state-<time>` folder; the newest unless said.
        missing: put only what is not there.
        replace: put everything of the backup, and keep what it replaces.
        ledger: the ledger's folder of the lost home, where it survived: with its `signer.db` the log goes on.
        origin: a new name for the log; by default made from the old one, where one is needed.
        say: told what is done, sentence by sentence.

    Raises:
        GatewayError: `conflict` where the home runs or is not empty, or backup and home do not belong together;
            `not-found` where there is no backup; nothing was changed then.
    """
    folder, mirror = _backup_at(backup, at)
    manifest = read_manifest(folder)
    say(f"checking {folder}")
    _check_files(folder, manifest)
    before = os.umask(0o077)
    lock = None
    try:
        lock = home.lock()
        if (home.root / RESTORING).exists():
            say("going on with a restore that was cut off")
            plan = msgspec.json.decode((home.root / RESTORING).read_bytes(), type=_Moves)
            replaced = next((p.parent.name for _, p in map(_paths, plan.moves) if "replaced-" in str(p)), "")
        else:
            standing = _standing(home)
            if standing and not (missing or replace):
                raise GatewayError(
                    "conflict",
                    f"`{home.root}` is not empty ({', '.join(standing)}): say `--missing` to put back only what is "
                    "not there, or `--replace` to put everything of the backup in its place (what is there is kept)",
                )
            stamp = _free_stamp(home)
            replaced = f"replaced-{stamp}"
            source = Source(folder, mirror, manifest, ledger, origin)
            plan = _lay_ready(home, source, stamp, replace=replace, say=say)
            replace_file(home.root / RESTORING, msgspec.json.encode(plan))
        _move(home, plan)
        return _finish(home, folder, manifest, plan, replaced if (home.root / replaced).exists() else "", say)
    except sqlite3.Error as error:
        raise GatewayError("conflict", f"the state in `{folder}` is damaged") from error
    finally:
        os.umask(before)
        if lock is not None:
            lock.release()


def _free_stamp(home: GatewayHome) -> str:
    """The time now, with a number where another restore of the same second has kept something under it."""
    time = stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    number = 1
    while (home.root / f"replaced-{stamp}").exists():
        number += 1
        stamp = f"{time}-{number}"
    return stamp


def _backup_at(backup: Path, at: str | None) -> tuple[Path, Path]:
    """The `state-<time>` folder and the mirror of a backup."""
    if backup.name.startswith("state-"):
        return backup, backup.parent / LOG
    folders = state_folders(backup)
    if at is not None:
        folders = [folder for folder in folders if folder.name in {at, f"state-{at}"}]
    if not folders:
        raise GatewayError("not-found", f"`{backup}` holds no {f'`{at}`' if at else 'finished backup of a state'}")
    return folders[-1], backup / LOG


def _check_files(folder: Path, manifest: Manifest) -> None:
    """Raise `conflict` unless the folder holds what its manifest says, and this version can take it."""
    standing = {name: digest_of(path) for name, path in files_in(folder)}
    for name in sorted(manifest.files.keys() | standing.keys()):
        if name not in standing:
            raise GatewayError("conflict", f"`{folder / name}` is missing: the backup is not whole")
        if name not in manifest.files:
            raise GatewayError("conflict", f"`{folder / name}` is no part of the backup")
        if standing[name] != manifest.files[name]:
            raise GatewayError("conflict", f"`{folder / name}` is not as it was written")
    if manifest.schema > HEAD:
        raise GatewayError(
            "conflict", f"the state was written by gateway {manifest.version}, newer than this one: upgrade first"
        )


def _standing(home: GatewayHome) -> list[str]:
    """The parts of a home that are there."""
    found = [name for name in (*PARTS, IDENTITY) if (home.root / name).exists()]
    return found + ["ledger"] * bool(checkpoint_of(home.ledger / "tree") or (home.ledger / "signer.db").exists())


def _lay_ready(home: GatewayHome, source: Source, stamp: str, *, replace: bool, say: Say) -> _Moves:
    """Steps 2 and 3: everything that is to be moved stands in a folder of the home, and belongs together."""
    for old in home.root.glob(".restore-*"):
        shutil.rmtree(old)
    ready = home.root / f".restore-{stamp}"
    ready.mkdir(mode=0o700)
    folder, manifest = source.folder, source.manifest
    put = [name for name in PARTS if (folder / name).exists() and (replace or not _place(home, name).exists())]
    for name in put:
        say(f"laying ready {name}")
        lay(folder / name, ready / name)
    settings = load_settings(ready / "gateway.toml" if "gateway.toml" in put else home.settings_file, base=home.root)
    keys = ready / "keys" if "keys" in put else home.keys(settings)
    gone = [] if "keys" in put else lost_files(folder / "keys", keys)
    if gone:
        say(f"laying ready keys, with {', '.join(path.name for path in gone)}")
        lay(keys, ready / "keys")
        keys = ready / "keys"
        for path in gone:
            lay(path, keys / path.name)
    ring = open_keys(keys, settings)
    if "state.db" in put or not (home.root / IDENTITY).exists():
        _identify(home, ready, manifest, has_state="state.db" in put)
    name = home.origin(settings)
    key = VerifierKey(name, ED25519, ring.log_signer(name).public_bytes)
    ledger = source.ledger or home.ledger
    adopted = not has_whole_log(ledger, key, ring, source, say)
    if adopted:
        require_mirror(source.mirror, manifest, key.text() if name == manifest.origin else None, say)
        if not (ready / "keys").exists():
            lay(keys, ready / "keys")
        take_up_log(home, ready, source, settings, name, say)
    elif ledger.resolve() != home.ledger.resolve():
        say("laying ready the ledger")
        lay(ledger, ready / "ledger")
    return _Moves(tuple(_moves(home, settings, ready, stamp)), manifest.origin, tuple(sorted(_names(ready))), adopted)


def _place(home: GatewayHome, name: str, settings: Settings | None = None) -> Path:
    """Where a part belongs, by the settings that will be in force or, without them, by those that are."""
    if name != "keys":
        return home.root / name
    if settings is None and home.settings_file.exists():
        settings = home.settings()
    return home.keys(settings) if settings else home.root / name


def _names(ready: Path) -> list[str]:
    return [path.name for path in ready.iterdir() if path.name != IDENTITY]


def _identify(home: GatewayHome, ready: Path, manifest: Manifest, *, has_state: bool) -> None:
    """Make the state the home's own, and say in it that it was put back."""
    held = read_identity(home) if (home.root / IDENTITY).exists() else None
    identity = Identity((held.home if held else manifest.home) or secrets.token_hex(16), secrets.token_hex(16))
    replace_file(ready / IDENTITY, msgspec.json.encode(identity) + b"\n")
    state = ready / "state.db" if has_state else home.root / "state.db"
    if state.exists():
        with closing(sqlite3.connect(state)) as copy:
            if copy.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                raise GatewayError("conflict", f"the state `{state}` is damaged")
            if copy.execute("SELECT count(*) FROM sqlite_master WHERE name = 'homes'").fetchone()[0]:
                copy.execute("DELETE FROM homes")
                copy.execute("INSERT INTO homes VALUES (?, ?, 1)", (identity.home, identity.incarnation))
                copy.commit()
            copy.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _moves(home: GatewayHome, settings: Settings, ready: Path, stamp: str) -> list[tuple[str, str]]:
    """What is renamed to what: first what stands, out of the way; then what is ready, into place."""
    kept = home.root / f"replaced-{stamp}"
    out, into = [], []
    for path in sorted(ready.iterdir()):
        place = _place(home, path.name, settings)
        beside = [home.root / name for name in BESIDE if name.startswith(path.name)]
        out += [(str(each), str(kept / each.name)) for each in (place, *beside) if each.exists()]
        into.append((str(path), str(place)))
    return out + into


def _paths(move: tuple[str, str]) -> tuple[Path, Path]:
    return Path(move[0]), Path(move[1])


def _move(home: GatewayHome, plan: _Moves) -> None:
    """Step 4; what was moved before is left as it is."""
    for source, target in map(_paths, plan.moves):
        if source.exists():
            make_directory(target.parent)
            if target.is_dir() and not any(target.rglob("*")):
                target.rmdir()
            try:
                source.rename(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.move(source, target)  # the keys may lie on another disk
            sync_directory(source.parent)
            sync_directory(target.parent)
    for empty in home.root.glob(".restore-*"):
        shutil.rmtree(empty)


def _finish(home: GatewayHome, folder: Path, manifest: Manifest, plan: _Moves, replaced: str, say: Say) -> Restored:
    """Steps 5 and 6."""
    from gateway.runtime.control.control import assemble  # noqa: PLC0415 -- loads all rooms, once all is in place
    from gateway.runtime.start.reconciling import reconcile  # noqa: PLC0415 -- the same

    settings = home.settings()
    origin = home.origin(settings)
    parts = assemble(home, settings, settings.control.issuer or home.control_url(settings), with_hub=False)
    try:
        newest = checkpoint_of(home.ledger / "tree") or Checkpoint(origin, 0, b"")
        if plan.adopted:
            _know_new_log(parts.store, plan.origin, newest)
            parts.acts.append(
                RecordKind.KEY,
                {
                    "act": "restore",
                    "department": EVERY_DEPARTMENT,
                    "reason": Phrase("the log goes on from a copy"),
                    "former": plan.origin,
                    "size": newest.size,
                },
            )
        say("comparing the records with the state")
        put_back = is_put_back(home, parts.store)
        found = reconcile(parts.store, parts.acts, home.ledger, origin, parts.services.word_of, put_back=put_back)
        begin_life(home, parts.store)
        signer = open_keys(home.keys(settings), settings).log_signer(origin)
    finally:
        parts.close()
    (home.root / RESTORING).unlink()
    sync_directory(home.root)
    key = VerifierKey(origin, ED25519, signer.public_bytes).text()
    return Restored(
        str(home.root),
        str(folder),
        plan.put,
        str(home.root / replaced) if replaced else "",
        origin,
        key,
        plan.origin if plan.adopted else "",
        newest.size,
        tuple(_lost(home, manifest, plan, put_back=put_back)),
        found.differences,
        tuple(_to_do(home, settings, plan, found.differences, origin, key)),
    )


def _know_new_log(store: Store, former: str, newest: Checkpoint) -> None:
    held = store.known_log(former)
    with store.transaction() as tx:
        tx.know_log(KnownLog(newest.origin, newest.size, newest.root, held.settled if held else 0))


def _lost(home: GatewayHome, manifest: Manifest, plan: _Moves, *, put_back: bool) -> list[Lost]:
    lost = []
    last = _last_entry_time(home.ledger / "tree")
    if plan.adopted:
        lost.append(Lost("records that were in the lost log alone", last or manifest.made_at, ""))
    if put_back and "state.db" in plan.put:
        lost.append(Lost("acts since the backup of the state, but for those held again", manifest.made_at, last))
    return lost


def _last_entry_time(tree: Path) -> str:
    """The time of the newest entry in a log, RFC 3339; "" where there is none."""
    held = checkpoint_of(tree)
    if held is None or not held.size:
        return ""
    try:
        entry = msgspec.json.decode(LogFiles(tree).entry(held.size - 1, held.size))
        return datetime.fromtimestamp(entry["time"] // 1_000_000_000, UTC).isoformat()
    except (GatewayError, msgspec.DecodeError, KeyError):
        return ""


def _to_do(
    home: GatewayHome,
    settings: Settings,
    plan: _Moves,
    differences: tuple[Difference, ...],
    origin: str,
    key: str,
) -> list[str]:
    at = f"--home {home.root}"
    said = []
    if plan.adopted:
        said.append(
            f"tell auditors and witnesses: the log goes on as `{origin}` with verifier key {key}; "
            f"what `{plan.origin}` signed stays good, and nothing more is signed under it"
        )
    if settings.ledger.witnessed_logs and "witness.db" in plan.put:
        said.append(
            "this node witnessed other logs, and may have cosigned more than it remembers: give it a new key with "
            f"`gateway keys rotate witness --reason restored {at}` and tell those nodes"
        )
    if differences:
        said.append(
            f"{len(differences)} acts on record are not in the state: see them with `gateway differences {at}`; "
            "what they withdrew is held until an officer lifts each order"
        )
    for name, path in sorted(outside_files(home, settings).items()):
        state = "is there" if Path(path).exists() else "is not there: bring it"
        said.append(f"`{name}` names `{path}`, outside the home: it {state}")
    said += [
        f"start without callers and look: `gateway serve --closed {at}`",
        f"then start as usual: `gateway serve {at}`",
    ]
    return said
