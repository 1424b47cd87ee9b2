"""Where a gateway's keys come from: a folder, one file, the environment, or a systemd credential."""

import os
from collections.abc import Mapping
from pathlib import Path

from gateway.identity.keyring import KeyRing
from gateway.runtime.home import GatewayHome
from gateway.runtime.settings import Settings

PASSPHRASE = "GATEWAY_PASSPHRASE"  # noqa: S105 -- a variable's name
KEYS = "GATEWAY_KEYS"
KEYS_CREDENTIAL = "gateway-keys"
PASSPHRASE_CREDENTIAL = "gateway-passphrase"  # noqa: S105 -- a credential's name


def passphrase(environment: Mapping[str, str] = os.environ) -> str | None:
    """What the ring's secrets are sealed under: `$GATEWAY_PASSPHRASE`, else the systemd credential, else nothing."""
    given = environment.get(PASSPHRASE)
    if given:
        return given
    file = _credential(environment, PASSPHRASE_CREDENTIAL)
    return file.read_text("utf-8").rstrip("\n") if file else None


def open_ring(
    home: GatewayHome, settings: Settings, only: frozenset[str], environment: Mapping[str, str] = os.environ
) -> KeyRing:
    """The gateway's key ring, with the secrets of the purposes in `only`.

    In this order: the document in `$GATEWAY_KEYS`; the systemd credential `gateway-keys`; the folder or file of the
    settings, by default `keys` in the home. The first two are read only: keys are rotated where they are made.

    Raises:
        GatewayError: `unavailable` where there is none, or it cannot be opened.
    """
    secret = passphrase(environment)
    document = environment.get(KEYS)
    if document:
        return KeyRing.parse(document, passphrase=secret, only=only)
    file = _credential(environment, KEYS_CREDENTIAL)
    return KeyRing.open(file or home.keys(settings), passphrase=secret, only=only)


def _credential(environment: Mapping[str, str], name: str) -> Path | None:
    folder = environment.get("CREDENTIALS_DIRECTORY")
    file = Path(folder) / name if folder else None
    return file if file and file.is_file() else None
