"""A home's whole key ring as one document, for machines that get their keys from elsewhere (see `ring`)."""

import os
from pathlib import Path

from gateway.domain.errors import GatewayError
from gateway.identity.keys.keyring import KeyRing
from gateway.runtime.home import GatewayHome
from gateway.runtime.ring import passphrase


def write_ring_document(home_path: Path, out: Path) -> int:
    """Write the ring of `home_path` to `out`, 0600, with next year's pseudonym key in it; returns how many keys.

    The document holds every secret as the ring's files do: sealed only where the ring is under a passphrase.

    Raises:
        GatewayError: `conflict` where `out` is there already; `unavailable` where the ring cannot be read.
    """
    home = GatewayHome(home_path)
    home.require()
    ring = KeyRing.open(home.keys(home.settings()), passphrase=passphrase())
    text = ring.bundle()
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise GatewayError("conflict", f"`{out}` is there already: remove it first") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    return len(ring.list())
