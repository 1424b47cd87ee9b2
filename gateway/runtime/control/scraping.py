"""Who may scrape `/metrics`: whoever holds the gateway's scrape credential, and no officer by being one."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from gateway.domain.errors import GatewayError
from gateway.runtime.home import GatewayHome
from gateway.runtime.settings import Settings

MIN_CHARACTERS = 20
DEFAULT_NAME = "metrics-credential"


def credential_path(home: GatewayHome, settings: Settings) -> Path:
    """The file with the credential."""
    return settings.metrics.credential_file or home.root / DEFAULT_NAME


class ScrapeCredential:
    """The credential, read again when its file changes, so that it can be replaced while the gateway runs.

    Args:
        home: where it is made, where the settings name no file.
        settings: in force.

    Raises:
        GatewayError: `unavailable` where it can neither be read nor made, or is too short to be a secret.
    """

    def __init__(self, home: GatewayHome, settings: Settings) -> None:
        self._path = credential_path(home, settings)
        if settings.metrics.credential_file is None:
            _make(self._path)
        self._read_at = -1
        self._digest = b""
        self._read()

    def is_held(self, presented: str) -> bool:
        """Whether `presented` is the credential; in constant time."""
        self._read()
        return hmac.compare_digest(hashlib.sha256(presented.encode("utf-8", "replace")).digest(), self._digest)

    def _read(self) -> None:
        try:
            changed = self._path.stat().st_mtime_ns
            if changed == self._read_at:
                return
            text = self._path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = (getattr(error, "strerror", None) or "not text").lower()
            raise GatewayError(
                "unavailable", f"the scrape credential `{self._path}` cannot be read: {reason}"
            ) from error
        if len(text) < MIN_CHARACTERS:
            what = f"the scrape credential `{self._path}` is shorter than {MIN_CHARACTERS} characters"
            raise GatewayError("unavailable", what)
        self._digest, self._read_at = hashlib.sha256(text.encode("utf-8")).digest(), changed


def _make(path: Path) -> None:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        reason = (error.strerror or "refused").lower()
        raise GatewayError("unavailable", f"the scrape credential `{path}` cannot be made: {reason}") from error
    with os.fdopen(file, "w", encoding="ascii") as out:
        out.write(secrets.token_urlsafe(32) + "\n")
