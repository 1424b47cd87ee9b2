"""Where a session that `gateway sign-in` began is kept: one file a gateway, in the user's own folder.

    $XDG_CONFIG_HOME/sharing-gateway/sessions/<SHA-256 of the URL, 32 digits>.json

The folder is 0700 and the file 0600 from its first byte on; one that is another user's, a link, or open to others is
refused, since whoever wrote it could have this user act on another gateway. A session is bound to the URL that it was
begun at: it is never sent elsewhere. The key that it is bound to lies beside its token.

Durability: none is needed; whoever loses it signs in again.
"""

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from gateway.domain.errors import GatewayError

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_MOST_BYTES = 64 * 1024


class KeptSession(msgspec.Struct, frozen=True):
    """A session on this machine.

    Args:
        url: the control plane that it was begun at, as `control_url` writes it.
        officer: who is signed in.
        token: the session's token.
        key: PEM of the private key that it is bound to.
        expires_unix: when it ends by itself.
        renews: whether it can be renewed before that, by the OpenID provider.
        device: names this machine at the next sign-in by password.
    """

    url: str
    officer: str
    token: str
    key: str
    expires_unix: int
    renews: bool = False
    device: str = ""

    def __repr__(self) -> str:
        """Never shows token or key (INVARIANT: NO-VALUES)."""
        return f"KeptSession(url={self.url!r}, officer={self.officer!r})"


def control_url(text: str) -> str:
    """The base URL of a control plane, without what can be written in two ways.

    Raises:
        GatewayError: `invalid-input` where it is none, or neither https nor on this machine: a password or a token
            would go over the network for all to read.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if not host or parts.query or parts.fragment or "@" in parts.netloc or parts.scheme not in ("https", "http"):
        raise GatewayError("invalid-input", f"`{text}` is no URL of a control plane: write https://HOST[:PORT]")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise GatewayError("invalid-input", f"`{text}`: http is for this machine alone; write https://")
    place = f"[{host}]" if ":" in host else host
    if port is not None and port != {"https": 443, "http": 80}[parts.scheme]:
        place = f"{place}:{port}"
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}"


class SessionFolder:
    """The sessions of the user who runs this process.

    Args:
        environment: where `XDG_CONFIG_HOME` and `HOME` stand.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        base = environment.get("XDG_CONFIG_HOME", "")
        # A relative path is to be ignored (XDG Base Directory Specification).
        root = Path(base) if base.startswith("/") else Path(environment.get("HOME") or Path.home()) / ".config"
        self.folder = root / "sharing-gateway" / "sessions"

    def _file(self, url: str) -> Path:
        return self.folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"

    def find(self, url: str) -> KeptSession | None:
        """The session of that URL, also one whose time is over; None where there is none.

        Raises:
            GatewayError: `unavailable` where what is there cannot be trusted.
        """
        path = self._file(url)
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _untrusted(path, "cannot be opened as a file of its own") from error
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
                raise _untrusted(path, "is another user's, or open to others")
            data = os.read(file, _MOST_BYTES)
        finally:
            os.close(file)
        try:
            session = msgspec.json.decode(data, type=KeptSession)
        except msgspec.DecodeError as error:
            raise _untrusted(path, "cannot be read") from error
        if session.url != url:
            raise _untrusted(path, "is of another gateway")
        return session

    def keep(self, session: KeptSession) -> None:
        """Keep `session` in place of the one of before, whole or not at all."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise _untrusted(self.folder, "is no folder of yours")
        self.folder.chmod(0o700)
        path = self._file(session.url)
        partial = path.with_name(f".{secrets.token_hex(8)}")
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(file, "wb") as opened:
                opened.write(msgspec.json.encode(session))
            partial.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise

    def forget(self, url: str) -> bool:
        """Remove the session of that URL, whatever is there; whether there was one."""
        try:
            self._file(url).unlink()
        except FileNotFoundError:
            return False
        return True


def _untrusted(path: Path, why: str) -> GatewayError:
    return GatewayError("unavailable", f"the session kept in `{path}` {why}: remove it and sign in again")
