"""The log's part of a restore: whether the one that signed last is there, and how a copy of it goes on."""

import os
import re
import secrets
import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gateway.domain.errors import GatewayError
from gateway.identity.keys.keyring import KeyRing
from gateway.ledger.durable import make_directory, replace_file, sync_directory
from gateway.ledger.journal.marks import confirmed_sequence
from gateway.ledger.journal.segments import Watermark, recover
from gateway.ledger.log.checkpoints import Checkpoint
from gateway.ledger.log.files import LogFiles
from gateway.ledger.log.notes import VerifierKey
from gateway.ledger.log.tiled_log import TiledLog
from gateway.ledger.verify.beside import verify_signed
from gateway.ledger.verify.log import verify_log
from gateway.ledger.witness.adopting import adopt_log, journal_entries
from gateway.ledger.witness.mirror import checkpoint_of
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.recovery.backup import Manifest
from gateway.runtime.ring import outside_signers, passphrase
from gateway.runtime.settings import Settings, load_settings, with_origin

Say = Callable[[str], None]


class Source(msgspec.Struct, frozen=True):
    """Where a restore takes things from: the folder, the mirror, what the folder says of itself, and what is told."""

    folder: Path
    mirror: Path
    manifest: Manifest
    ledger: Path | None
    origin: str | None

    def known(self, origin: str) -> Checkpoint | None:
        """The largest checkpoint of the log `origin` that the backup knows of."""
        stated = self.manifest
        found = [Checkpoint(stated.origin, stated.size, bytes.fromhex(stated.root))] if stated.size else []
        held = checkpoint_of(self.mirror)
        found += [held] if held else []
        return max((each for each in found if each.origin == origin), key=lambda each: each.size, default=None)


def open_keys(keys: Path, settings: Settings) -> KeyRing:
    try:
        return KeyRing.open(keys, passphrase=passphrase(), signers=outside_signers(settings))
    except GatewayError as error:
        raise GatewayError("unavailable", f"the keys `{keys}` cannot be opened: {error.detail}") from error


def lay(source: Path, target: Path) -> None:
    """Copy a file or folder. Durability: synced on return."""
    if source.is_dir():
        make_directory(target)
        for path in sorted(source.iterdir()):
            if path.is_dir() or path.is_file():
                lay(path, target / path.name)
        target.chmod(0o700)
    else:
        shutil.copyfile(source, target)
        target.chmod(0o600)
        with target.open("rb") as file:
            os.fsync(file.fileno())
    sync_directory(target.parent)


def has_whole_log(ledger: Path, key: VerifierKey, ring: KeyRing, source: Source, say: Say) -> bool:
    """Whether the log that signed last stands in `ledger`, with its journals, and is signed by the key at hand.

    One that is behind the backup is not: it was put back with an image of its disk.
    """
    if not (ledger / "signer.db").exists():
        return False
    try:
        # Before it is opened: what another key has signed is not signed anew by an older one.
        verify_signed(ledger / "signer.db", key)
        log = TiledLog(ledger, key.name, ring.log_signer(key.name), source.known(key.name))
    except (GatewayError, sqlite3.Error) as error:
        say(f"the log in {ledger} cannot go on: {error.detail if isinstance(error, GatewayError) else 'it is damaged'}")
        return False
    try:
        for writer, sequence in log.cursors.items():
            if confirmed_sequence(ledger / "journal" / writer) < sequence:
                say(f"the journal of {writer} is not there")
                return False
        for folder in sorted((ledger / "journal").glob("*/")):
            # Also of a writer of which the log holds nothing yet: it could not go on writing.
            confirmed_sequence(folder)
    except GatewayError as error:
        say(f"the log in {ledger} cannot go on: {error.detail}")
        return False
    finally:
        log.close()
    return True


def require_mirror(mirror: Path, manifest: Manifest, key: str | None, say: Say) -> None:
    """Raise `conflict` unless the mirror proves itself and is of the log that the state knows."""
    held = checkpoint_of(mirror)
    if held is None:
        if manifest.size:
            raise GatewayError(
                "conflict", f"the mirror `{mirror}` is not there, and the log had {manifest.size} leaves"
            )
        return
    if held.origin != manifest.origin:
        raise GatewayError("conflict", f"the mirror is of log `{held.origin}`, the state of `{manifest.origin}`")
    if key is not None:
        say(f"verifying {mirror}: {held.size} leaves")
        verify_log(mirror, key)
    both = min(held.size, manifest.size)
    known = Checkpoint(manifest.origin, manifest.size, bytes.fromhex(manifest.root))
    if both and both == known.size and LogFiles(mirror).edge(both).root() != known.root:
        raise GatewayError("conflict", "the mirror is of another tree than the log that the state knows")


def take_up_log(home: GatewayHome, ready: Path, source: Source, settings: Settings, origin: str, say: Say) -> None:
    """Lay ready a ledger that goes on from the longest copy there is, under a new origin and key."""
    new = source.origin or _next_origin(origin)
    if new in {origin, source.manifest.origin}:
        raise GatewayError("invalid-input", f"`{new}` is the log's old origin: name another one")
    if os.environ.get("GATEWAY_LEDGER__ORIGIN"):
        raise GatewayError("conflict", "the log needs a new origin, and `$GATEWAY_LEDGER__ORIGIN` sets one: unset it")
    left = source.ledger or home.ledger
    copies = {tree: size for tree in (left / "tree", source.mirror) if (size := _sound_size(tree)) is not None}
    make_directory(ready / "ledger")
    if copies:
        longest = max(copies, key=lambda tree: copies[tree])
        say(f"laying ready the log: {copies[longest]} leaves of {longest}")
        lay(longest, ready / "ledger" / "tree")
    for writer in sorted((left / "journal").glob("*/")):
        _take_journal(writer, ready / "ledger" / "journal" / writer.name, say)
    ring = open_keys(ready / "keys", settings)
    if "log" not in settings.identity.signers:
        ring.rotate("log")
    if copies:
        adopt_log(ready / "ledger", new, ring.log_signer(new))
    base = ready / "gateway.toml" if (ready / "gateway.toml").exists() else home.settings_file
    replace_file(ready / "gateway.toml", with_origin(base.read_text("utf-8"), new).encode())
    if load_settings(ready / "gateway.toml", base=home.root).ledger.origin != new:
        raise GatewayError("conflict", f'`ledger.origin` cannot be set in `{base}`: write `origin = "{new}"` there')


def _take_journal(writer: Path, target: Path, say: Say) -> None:
    """Copy what a writer's journal still holds; one that cannot be gone on with stays where it was."""
    lay(writer, target)
    (target / "lock").unlink(missing_ok=True)
    try:
        confirmed_sequence(target)
    except GatewayError:
        # The mark is lost: everything that can be read was written, and is in the log or comes into it.
        last = max((sequence for sequence, _ in journal_entries(target)), default=0)
        (target / "durable").unlink(missing_ok=True)
        mark = Watermark(target)
        mark.store(last)
        mark.close()
    try:
        recover(target)
    except GatewayError as error:
        say(f"left aside: {error.detail}")
        shutil.rmtree(target)


def _sound_size(tree: Path) -> int | None:
    """Leaves of a copy of a log whose tiles bear out its checkpoint; None for what is no such copy."""
    try:
        held = checkpoint_of(tree)
        if held is None or LogFiles(tree).edge(held.size).root() != held.root:
            return None
    except GatewayError:
        return None
    return held.size


def _next_origin(origin: str) -> str:
    """A name that no log bears yet: the same copy may be taken up twice."""
    base = re.sub(r"/restored-[0-9]{8}-[0-9a-f]{6}$", "", origin)
    return f"{base}/restored-{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(3)}"
