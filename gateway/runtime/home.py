"""The folder a gateway lives in: its paths, its making, and the lock that keeps two gateways out of one home."""

import fcntl
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from gateway.domain.errors import GatewayError
from gateway.ledger.durable import make_directory
from gateway.runtime.settings import Settings, commented_file, load_settings
from gateway.runtime.start.holders import SUPERVISOR, holders_of
from gateway.runtime.start.modes import keep_private

SOCKET_PATH_BYTES = 107
"""Longest path of a Unix socket on Linux."""
BRIEF_SECONDS = 0.25
"""How long a home may be held by who only asks whether it is."""
LOCK_TRIES = 10
"""How often a home is made anew whose folder is taken away before its lock is held."""
CLOSED = "closed"
"""The data plane's address where no caller is served."""


class GatewayHome:
    """Paths under one home, and its settings.

    Args:
        root: the folder; it need not exist yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def settings_file(self) -> Path:
        """`gateway.toml`."""
        return self.root / "gateway.toml"

    @property
    def ledger(self) -> Path:
        """The ledger's folder."""
        return self.root / "ledger"

    @property
    def run(self) -> Path:
        """Sockets, the lock and the addresses of a running gateway; 0700, since who reaches a socket is trusted."""
        return self.root / "run"

    @property
    def control_socket(self) -> Path:
        """Where the hub listens for workers."""
        return self.run / "control.sock"

    @property
    def ledger_socket(self) -> Path:
        """Where the ledger process answers questions."""
        return self.run / "ledger.sock"

    @property
    def addresses_file(self) -> Path:
        """Addresses of the running gateway, as JSON: `data_plane`, `control` (base URLs), `pid`, `children`."""
        return self.run / "addresses.json"

    def settings(self) -> Settings:
        """The settings in force; see `load_settings`."""
        return load_settings(self.settings_file)

    def keys(self, settings: Settings) -> Path:
        """The key ring's folder."""
        return settings.identity.keys or self.root / "keys"

    def state_url(self, settings: Settings) -> str:
        """The state's SQLAlchemy URL."""
        return settings.state.url or f"sqlite:///{self.root / 'state.db'}"

    def control_url(self, settings: Settings) -> str:
        """The control plane's base URL as the settings have it, before a free port is chosen."""
        scheme = "https" if settings.control.tls_certificate else "http"
        return f"{scheme}://{settings.control.host}:{settings.control.port}"

    @property
    def state_memory(self) -> Path:
        """Where this node keeps which history of a state in PostgreSQL is the newest it has seen."""
        return self.root / "state-history.json"

    def is_shared(self, settings: Settings) -> bool:
        """Whether several nodes may share the state."""
        return not self.state_url(settings).startswith("sqlite")

    def origin(self, settings: Settings) -> str:
        """The log's origin: one node, one log, one name."""
        return settings.ledger.origin or f"sharing-gateway/{platform.node() or 'localhost'}"

    def witness_name(self, settings: Settings) -> str:
        """The name under which this node cosigns other nodes' logs."""
        return f"{self.origin(settings)}/witness"

    def require(self) -> None:
        """Raises `not-found` with what to do where no gateway was initialised here."""
        if not self.settings_file.exists():
            raise GatewayError("not-found", f"no gateway lives in `{self.root}`: run `gateway init {self.root}` first")

    def require_state(self, settings: Settings) -> None:
        """Raises `unavailable` where the state's file is gone: an empty state is never made in its place in silence."""
        if settings.state.url is None and not (self.root / "state.db").exists():
            raise GatewayError("unavailable", f"the state `{self.root / 'state.db'}` is gone: restore it from a backup")

    def make(self) -> None:
        """Create the folders and a commented settings file; what exists stays as it is."""
        keep_private()
        self._make_folders()
        try:
            if not self.settings_file.exists():
                self.settings_file.write_text(commented_file(), "utf-8")
        except OSError as error:
            raise self._not_writable(error) from error

    def _make_folders(self) -> None:
        if len(os.fsencode(self.control_socket)) > SOCKET_PATH_BYTES:
            most = SOCKET_PATH_BYTES - len("/run/control.sock")
            raise GatewayError(
                "unavailable", f"the path of the home `{self.root}` is too long for its sockets: {most} bytes at most"
            )
        try:
            # Journals lie in them: a name that is not synced goes with the power, and with it what was confirmed.
            for folder in (self.root, self.ledger):
                make_directory(folder)
            self.run.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise self._not_writable(error) from error

    def _not_writable(self, error: OSError) -> GatewayError:
        reason = (error.strerror or "refused").lower()
        return GatewayError("unavailable", f"cannot write the home `{self.root}`: {reason}")

    def addresses(self) -> dict[str, Any] | None:
        """Addresses of the running gateway, or None where none runs."""
        if not self.is_running():
            return None
        try:
            found = json.loads(self.addresses_file.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def publish(self, addresses: dict[str, Any]) -> None:
        """Write the addresses file; atomic for readers."""
        partial = self.addresses_file.with_suffix(".partial")
        partial.write_text(json.dumps(addresses), "utf-8")
        partial.replace(self.addresses_file)

    def lock(self, wait_seconds: float = 0.25) -> "HomeLock":
        """Take the home for this process; raises `conflict` where another gateway runs in it.

        The folders that a backup leaves out are made anew. `is_running` holds a shared lock for an instant, so even a
        free home may take a moment.
        """
        for _ in range(LOCK_TRIES):
            self._make_folders()
            try:
                return HomeLock(self.run / "lock", wait_seconds)
            except FileNotFoundError:
                continue  # an `init` that failed took the folder away in between
            except OSError as error:
                raise self._not_writable(error) from error
        raise GatewayError("unavailable", f"the home `{self.root}` is taken away again and again")

    def is_running(self) -> bool:
        """Whether some process holds this home's lock."""
        try:
            descriptor = os.open(self.run / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


class HomeLock:
    """An exclusive `flock` on a home, held until `release` or until its last holder ends, however it ends.

    The lock belongs to the open file, which children inherit: a home whose supervisor was killed stays taken until
    the last of its workers has ended.

    Args:
        path: the lock file.
        wait_seconds: how long to wait for another holder to let go; not at all for one whose supervisor lives.

    Raises:
        GatewayError: `conflict` where another process holds it.
    """

    def __init__(self, path: Path, wait_seconds: float) -> None:
        began = time.monotonic()
        while True:
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._take(path, began, wait_seconds)
            if _is_at(path, self.descriptor):
                return
            # An `init` that failed took its folder away while this waited for it: what was taken is no home's lock.
            os.close(self.descriptor)

    def _take(self, path: Path, began: float, wait_seconds: float) -> None:
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                waited = time.monotonic() - began
                # `is_running` holds it for an instant. What a killed supervisor has left ends with it; one that lives
                # is not waited for.
                if waited < min(wait_seconds, BRIEF_SECONDS):
                    time.sleep(0.05)
                    continue
                holders = holders_of(path)
                if waited < wait_seconds and all(holder.name != SUPERVISOR for holder in holders):
                    time.sleep(0.05)
                    continue
                os.close(self.descriptor)
                names = ", ".join(map(str, holders))
                raise GatewayError(
                    "conflict",
                    f"another gateway runs in `{path.parent.parent}`{f': {names}' if names else ''}; "
                    "stop it first, or use another home",
                ) from error
            return

    def release(self) -> None:
        """Give the home back."""
        os.close(self.descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one that stands at a path."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
