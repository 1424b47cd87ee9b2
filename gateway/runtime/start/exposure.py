"""What stands open, or is about to stop working, by the files that the settings name: said at start and in `status`.

Nothing here keeps a gateway from running: a certificate that has ended is put right while it runs. What would make a
door open is refused where settings are read (`effect`).
"""

import os
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509

from gateway.runtime.home import GatewayHome
from gateway.runtime.listeners.nodes import is_every
from gateway.runtime.listeners.tls_faults import authorities_fault
from gateway.runtime.settings import Settings
from gateway.runtime.start.modes import open_files

OPEN_TO_OTHERS = stat.S_IROTH | stat.S_IWOTH | stat.S_IXOTH | stat.S_IWGRP
"""What nobody but the owner may do with a key; its group may read it, as Kubernetes and ssl-cert have it."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong: the setting, what, and what to do."""

    part: str
    what: str
    advice: str


def findings(home: GatewayHome, settings: Settings, now: float | None = None) -> list[Finding]:
    """What is wrong with the files that a gateway stands on, worst first; empty where nothing is."""
    at = time.time() if now is None else now
    return [
        *_open_keys(settings),
        *_nameless(settings),
        *_certificates(home, settings, at),
        *_unwritable_state(home, settings),
        *_open_home(home),
    ]


def _open_keys(settings: Settings) -> Iterator[Finding]:
    for name, listener in (
        ("data_plane", settings.data_plane),
        ("control", settings.control),
        ("checks", settings.checks),
    ):
        setting = f"{name}.tls_key" if listener.tls_key is not None else f"{name}.tls_certificate"
        key = listener.tls_key or listener.tls_certificate
        if key is None or (listener.tls_key is None and not _holds_key(key)):
            continue
        mode = _mode(key)
        if mode is not None and mode & OPEN_TO_OTHERS:
            what = f"the private key `{key}` ({setting}) is open to others: its mode is {mode:04o}"
            yield Finding(setting, what, f"chmod 600 {key}, and take another key: others may have read this one")


def _nameless(settings: Settings) -> Iterator[Finding]:
    control = settings.control
    if is_every(control.host) and not control.issuer:
        what = (
            f"the control plane listens on every address (control.host = `{control.host}`) and has no control.issuer: "
            "tokens and metadata name an address that no caller can reach"
        )
        yield Finding("control.issuer", what, "set control.issuer to the URL by which callers reach it")


def _certificates(home: GatewayHome, settings: Settings, at: float) -> Iterator[Finding]:
    named = {
        "data_plane.tls_certificate": settings.data_plane.tls_certificate,
        "data_plane.client_ca": settings.data_plane.client_ca,
        "checks.tls_certificate": settings.checks.tls_certificate,
        "checks.client_ca": settings.checks.client_ca,
        "control.tls_certificate": settings.control.tls_certificate,
        "control.client_ca": settings.control.client_ca,
        "control.nodes_ca": settings.control.nodes_ca,
        "archive.authority": settings.archive.authority,
    }
    suppliers = sorted((home.keys(settings) / "suppliers").glob("*.pem"))
    files = [(name, file) for name, file in named.items() if file is not None]
    files += [(f"client certificate `{file.stem}` for suppliers", file) for file in suppliers]
    for name, file in files:
        try:
            chain = x509.load_pem_x509_certificates(file.read_bytes())
        except OSError as error:
            reason = (error.strerror or "refused").lower()
            yield Finding(name, f"`{file}` ({name}) cannot be read: {reason}", "put it in its place, or name another")
            continue
        except ValueError:
            yield Finding(name, f"`{file}` ({name}) holds no PEM certificates", "name a PEM file")
            continue
        ends = min(each.not_valid_after_utc for each in chain)
        begins = max(each.not_valid_before_utc for each in chain)
        if ends.timestamp() <= at:
            what = f"a certificate in `{file}` ({name}) ended on {ends:%Y-%m-%d %H:%M} UTC"
            yield Finding(name, what, "put a new one in its place, then `systemctl reload gateway` (SIGHUP)")
        elif begins.timestamp() > at:
            what = f"a certificate in `{file}` ({name}) holds from {begins:%Y-%m-%d %H:%M} UTC only"
            says = datetime.fromtimestamp(at, UTC)
            yield Finding(name, what, f"look at this machine's clock, which says {says:%Y-%m-%d %H:%M} UTC")
        elif name.endswith(("_ca", "authority")) and (fault := authorities_fault(name, file)):
            yield Finding(name, fault, "put the whole file in its place, or name another")


def _unwritable_state(home: GatewayHome, settings: Settings) -> Iterator[Finding]:
    """SQLite: the file and its folder; a database elsewhere is asked by the running gateway (`/readyz`)."""
    file = home.root / "state.db"
    if home.is_shared(settings) or settings.state.url is not None or not file.exists():
        return
    for path in (file, home.root):
        if not os.access(path, os.W_OK):
            what = f"the state cannot be written: `{path}` is read-only for this user, so no stop could be kept"
            yield Finding("state", what, "give the home to the user the gateway runs as, on a disk that takes writes")
            return


def _open_home(home: GatewayHome) -> Iterator[Finding]:
    found = open_files(home.root)
    if found:
        names = ", ".join(f"`{path}`" for path in found[:3]) + (f" and {len(found) - 3} more" if found[3:] else "")
        what = f"{len(found)} files or folders of the home are open to other users: {names}"
        yield Finding("files", what, f"chmod -R go= {home.root}")


def _holds_key(path: Path) -> bool:
    try:
        return b"PRIVATE KEY-----" in path.read_bytes()
    except OSError:
        return False


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
