"""Where a gateway's keys come from: a folder, one file, the environment, or a systemd credential."""

import importlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.control.barrier.lease_clock import lease_clock
from gateway.domain.errors import GatewayError
from gateway.identity.callers.nonces import HOLDS_SECONDS, NonceKeeper
from gateway.identity.callers.replay import SharedReplay
from gateway.identity.keys.keyring import KeyRing
from gateway.identity.signer import Signer
from gateway.runtime.home import GatewayHome
from gateway.runtime.settings import Settings
from gateway.store import Store

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
    Keys in an HSM or KMS, as the settings name them, take the place of the ring's own.

    Raises:
        GatewayError: `unavailable` where there is none, or it cannot be opened.
    """
    secret, signers = passphrase(environment), outside_signers(settings)
    document = environment.get(KEYS)
    if document:
        return KeyRing.parse(document, passphrase=secret, only=only, signers=signers)
    file = _credential(environment, KEYS_CREDENTIAL)
    return KeyRing.open(file or home.keys(settings), passphrase=secret, only=only, signers=signers)


def proof_memory(home: GatewayHome) -> SharedReplay:
    """What a node that is alone remembers of used proofs, by the clock that their nonces end by."""
    return SharedReplay(home.run / "replay", lease_clock)


def signature_memory(home: GatewayHome) -> SharedReplay:
    """What a node remembers of used signatures, and of proofs where nonces are of several nodes: by the wall clock."""
    return SharedReplay(home.run / "replay-signed", outlives=True)


def proofs_once(home: GatewayHome, settings: Settings) -> Callable[[str, str, int], bool]:
    """Uses up proofs among the processes of this node, for as long as their nonces hold."""
    if home.is_shared(settings):
        return signature_memory(home).use_once
    memory = proof_memory(home)
    return lambda of, value, _until_unix: memory.use_once(of, value, int(lease_clock() + HOLDS_SECONDS) + 1)


def nonce_keeper(home: GatewayHome, settings: Settings, store: Store, ring: KeyRing) -> NonceKeeper:
    """What keeps DPoP nonces: of all nodes that share the state; of this boot alone where a node is alone.

    A node that is alone remembers used proofs in `proof_memory`, which a reboot loses: what was proven before bears a
    nonce that is none afterwards.
    """
    if home.is_shared(settings):
        return NonceKeeper(store, ring.field_cipher, time.time)
    return NonceKeeper(store, ring.field_cipher, time.time, proof_memory(home).epoch, lease_clock)


def outside_signers(settings: Settings) -> dict[str, Signer]:
    """The signers of `identity.signers`: each `module:function` is imported and called without arguments.

    Raises:
        GatewayError: `unavailable` where one cannot be had.
    """
    found: dict[str, Signer] = {}
    for purpose, name in settings.identity.signers.items():
        module, _, function = name.partition(":")
        try:
            found[purpose] = getattr(importlib.import_module(module), function)()
        except Exception as error:
            # Whatever a driver raises: a gateway must not start with the file's key in place of the hardware's.
            reason = type(error).__name__
            raise GatewayError("unavailable", f"the {purpose} signer `{name}` cannot be had: {reason}") from error
    return found


def _credential(environment: Mapping[str, str], name: str) -> Path | None:
    folder = environment.get("CREDENTIALS_DIRECTORY")
    file = Path(folder) / name if folder else None
    return file if file and file.is_file() else None
