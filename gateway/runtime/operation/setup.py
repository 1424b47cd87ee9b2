"""Makes a gateway: home, keys, state, and the first officers; all of it or nothing, and nothing twice."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import make_url

from gateway.domain.directory import Department, Level
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import EXAMPLE, Networks
from gateway.domain.officers import AUDITOR, OPERATOR, Officer, Role
from gateway.identity.keys.keyring import KeyRing
from gateway.ledger.durable import make_directory, replace_file, sync_directory
from gateway.ledger.log.notes import ED25519, VerifierKey
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.session.api import REGISTRAR
from gateway.runtime.ring import passphrase
from gateway.runtime.settings import Settings, commented_file, load_settings, with_origin
from gateway.runtime.start.incarnation import IDENTITY, POSITION, begin_life
from gateway.runtime.start.modes import keep_private
from gateway.store import Store

BYTES_A_USE = 255
"""Disk that the records of a use take for as long as they are kept (`tests/bench/results/ledger.json`)."""
ASK_AGAIN_SECONDS = 0.5

_LEVELS = {"00": Level.CITY, "0000": Level.PROVINCE, "000000": Level.NATIONAL}


def initialise(
    home: GatewayHome,
    *,
    region: str,
    department: str,
    suite: str = "international",
    token_algorithm: str = "ES256",  # noqa: S107 -- an algorithm's name
    shared_keys: Path | None = None,
    networks: Sequence[str] = (),
    wait_seconds: float = 0.0,
    say: Callable[[str], None] = lambda _sentence: None,
) -> dict[str, Any]:
    """Make a gateway in `home` for the competent department of `region`: all of it, or nothing.

    Its first officers: the registrar imports the directory and adds the other officers, the operator rotates keys, the
    auditor reads the records and adds the other auditors. Who is in a shared state already, stays as he is there.

    Everything is made beside its place and renamed, `gateway.toml` last: without it no gateway lives there, and what a
    killed `init` has left is told by its mark and made anew.

    Args:
        home: a folder that holds no gateway yet.
        region: six-digit division code (GB/T 2260); `000000` is the nation.
        department: the competent department's id.
        suite: cipher suite of sealed secrets and pseudonyms: `international` or `commercial`.
        token_algorithm: what tokens are signed with: `ES256`, `EdDSA` or `SM2`.
        shared_keys: the folder of the keys that all nodes of one state share; the log's key is this node's own.
        networks: in which suppliers' hosts may stand, in CIDR form; nowhere where none is given.
        wait_seconds: how long to wait for a database that does not answer yet.
        say: told what is waited for.

    Returns:
        what was made: `home`, `origin`, `verifier_key` (for auditors), `state`, `keys`, `officer`,
        `networks` of suppliers, and the disk that a use takes and that is free, `bytes_a_use` and `free_bytes`.

    Raises:
        GatewayError: `conflict` where a gateway, or a part of one, is there already; `invalid-input` on a region that
            is no code, a network that is none, an unknown suite or algorithm; `unavailable` where the home cannot be
            written, or the database does not answer in time. Nothing is left then.
    """
    if len(region) != 6 or not (region.isascii() and region.isdigit()):
        raise GatewayError("invalid-input", f"`{region}` is not a six-digit division code, such as 440000")
    for network in networks:
        try:
            Networks([network])
        except ValueError:
            why = f"`{network}` is no network in CIDR form, such as {EXAMPLE}"
            raise GatewayError("invalid-input", why) from None
    _require_none(home)
    keep_private()
    existed = home.root.exists()
    lock = home.lock()
    making = _Making(home)
    try:
        # Another `init` may have come to its end since: whoever has the lock sees what is there.
        _require_none(home)
        making.begin()
        replace_file(making.settings_file, commented_file(networks).encode())
        settings = load_settings(making.settings_file)
        # The log keeps the name that auditors are given: a machine, and with each update a container, gets another.
        origin = home.origin(settings)
        replace_file(making.settings_file, with_origin(commented_file(networks), origin).encode())
        settings = load_settings(making.settings_file)
        making.know(settings)
        make_directory(making.keys.parent)
        if shared_keys is None:
            ring = KeyRing.create(making.keys, passphrase=passphrase(), suite=suite, token_algorithm=token_algorithm)
        else:
            ring = _take_keys(shared_keys, making.keys)
        store = _open_state(making.state_url(settings), wait_seconds, say)
        try:
            _furnish(store, region, department)
            begin_life(home, store)
        finally:
            store.close()
        made = {
            "home": str(home.root),
            "origin": origin,
            "verifier_key": VerifierKey(origin, ED25519, ring.log_signer(origin).public_bytes).text(),
            "state": make_url(home.state_url(settings)).render_as_string(),
            "keys": str(home.keys(settings)),
            "officer": REGISTRAR,
            "networks": list(settings.suppliers.networks),
            "bytes_a_use": BYTES_A_USE,
            "free_bytes": shutil.disk_usage(home.root).free,
        }
        making.finish()
    except BaseException:
        making.undo()
        if not existed and not home.settings_file.exists():
            # Before the lock is given back: who takes it next makes a gateway here.
            shutil.rmtree(home.root, ignore_errors=True)
        lock.release()
        raise
    lock.release()
    return made


def _require_none(home: GatewayHome) -> None:
    if home.settings_file.exists():
        raise GatewayError("conflict", f"a gateway lives in `{home.root}` already")


class _Made(msgspec.Struct):
    """What a mark says: what is being made, and what of it is being put in places that were free."""

    made: list[str] = []
    placed: list[str] = []


class _Making:
    """A home while it is made: each part beside its place, and a mark that says which."""

    def __init__(self, home: GatewayHome) -> None:
        self._home = home
        self._mark = home.root / ".init"
        self._parts: list[tuple[Path, Path]] = []
        self.settings_file = home.root / ".init-gateway.toml"
        self.keys = home.root / ".init-keys"

    def begin(self) -> None:
        """Clear what a killed `init` left, and mark the folder; a part of a gateway without that mark is refused."""
        self.undo()
        standing = [name for name in ("keys", "state.db", IDENTITY) if (self._home.root / name).exists()]
        if standing:
            raise GatewayError(
                "conflict",
                f"parts of a gateway stand in `{self._home.root}` ({', '.join(standing)}), and no `gateway.toml`: "
                "put it back with `gateway restore BACKUP --missing`, or take them away",
            )
        self._say([self.settings_file, *self._life()], [])

    def know(self, settings: Settings) -> None:
        """Where the parts belong, by the settings; raises `conflict` where one is there already."""
        home = self._home
        keys = home.keys(settings)
        self.keys = keys.with_name(f".init-{keys.name}")
        self._parts = [(self.keys, keys)]
        state = self._state_file(settings)
        if state is not None:
            self._parts.append((state.with_name(f".init-{state.name}"), state))
        self._parts.append((self.settings_file, home.settings_file))
        self._require_free()
        self._say([*(made for made, _ in self._parts), *self._life()], [])

    def _life(self) -> list[Path]:
        """What says which life the home is in, and up to where its state stands."""
        return [self._home.root / IDENTITY, self._home.root / POSITION]

    def state_url(self, settings: Settings) -> str:
        """Where the state is made."""
        state = self._state_file(settings)
        url = self._home.state_url(settings)
        return url if state is None else f"sqlite:///{state.with_name(f'.init-{state.name}')}"

    def _state_file(self, settings: Settings) -> Path | None:
        url = self._home.state_url(settings)
        return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None

    def finish(self) -> None:
        """Put everything in its place, the settings last. Durability: synced on return."""
        self._require_free()
        self._say(self._life(), [place for _, place in self._parts])
        for made, place in self._parts:
            if place.is_dir():
                place.rmdir()
            made.rename(place)
            sync_directory(place.parent)
        self._mark.unlink()
        sync_directory(self._home.root)

    def undo(self) -> None:
        """Take away what was made; what belongs to a gateway that is whole is none of it."""
        if not self._mark.exists():
            return
        said = msgspec.json.decode(self._mark.read_bytes(), type=_Made)
        if not self._home.settings_file.exists():
            made = [Path(path) for path in [*said.made, *said.placed]]
            made += [path.with_name(f".init-{path.name}") for path in map(Path, said.placed)]
            for path in made:
                if path.is_dir():
                    shutil.rmtree(path)
                for each in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
                    each.unlink(missing_ok=True)
        self._mark.unlink()

    def _require_free(self) -> None:
        for _, place in self._parts:
            if place.exists() and not (place.is_dir() and not any(place.iterdir())):
                raise GatewayError("conflict", f"`{place}` is there already, and is not made anew")

    def _say(self, made: list[Path], placed: list[Path]) -> None:
        said = _Made([str(path) for path in made], [str(path) for path in placed])
        replace_file(self._mark, msgspec.json.encode(said))


def _take_keys(shared: Path, target: Path) -> KeyRing:
    """A ring with the keys that the nodes share, and a log key of its own."""
    target.mkdir(mode=0o700)
    for file in sorted(shared.glob("*.json")):
        replace_file(target / file.name, file.read_bytes())
    for file in target.iterdir():
        file.chmod(0o600)
    ring = KeyRing.open(target, passphrase=passphrase())
    ring.rotate("log")
    return ring


def _open_state(url: str, wait_seconds: float, say: Callable[[str], None]) -> Store:
    """The state; a database that does not answer is asked again until the time is over."""
    until = time.monotonic() + wait_seconds
    told = ""
    while True:
        try:
            return Store.open(url)
        except GatewayError as error:
            if url.startswith("sqlite") or not wait_seconds:
                raise
            left = until - time.monotonic()
            if left <= 0:
                raise
            if error.detail != told:
                # A password that is wrong does not become right: whoever looks is told what is waited for.
                told = error.detail
                say(f"waiting up to {left:.0f} s: {told}")
            time.sleep(ASK_AGAIN_SECONDS)


def _furnish(store: Store, region: str, department: str) -> None:
    with store.transaction() as tx:
        if tx.department(department) is None:
            tx.put_department(
                Department(id=department, name=department, region=region, level=_level(region), competent=True)
            )
        # Three persons by right: who runs the gateway reads no records (Decree 809 Art. 36), who watches is no
        # appointment of those who are watched (Art. 29).
        for id_, role in ((REGISTRAR, Role.COMPETENT), (OPERATOR, Role.OPERATOR), (AUDITOR, Role.AUDITOR)):
            if tx.officer(id_) is None:
                tx.put_officer(
                    Officer(id=id_, department=department, region=region, roles=(role,), name=f"first {id_}")
                )


def _level(region: str) -> Level:
    """The level that a division code's trailing zeros stand for."""
    for zeros in ("000000", "0000", "00"):
        if region.endswith(zeros):
            return _LEVELS[zeros]
    return Level.COUNTY
