"""Key files: one JSON document a key, 0600, its secret encrypted under the passphrase where the ring has one.

    <ring>/ring.json                 v, suite, kdf (null or scrypt with n, r, p, salt), check
    <ring>/<purpose>-<id>.json       v, id, purpose, algorithm, created_unix, not_after_unix, public, secret

`secret` is null (retired: only the public half is kept), base64 of the secret, or, under a passphrase, base64 of
`nonce ‖ ciphertext ‖ tag` with `purpose`, `id` and `algorithm` authenticated, so that files cannot be exchanged for
one another. `check` is a sealed constant: a wrong passphrase is told from a damaged file. A whole ring also fits
one document, `{"ring": …, "keys": […]}`, for an environment variable or a systemd credential; such a ring is read
only.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import msgspec

from gateway.domain.errors import GatewayError
from gateway.identity.keys.suite import Suite, suite_named

FORMAT = 1
SCRYPT = {"n": 2**15, "r": 8, "p": 1}
"""OWASP's parameters for interactive use; about 0.1 s and 32 MiB, once a process."""

_CHECK = b"sharing-gateway key ring"
_NAME = re.compile(r"(token|log|witness|pseudonym|field)-[A-Za-z0-9_-]{1,64}\.json")
_MAX_FILE_BYTES = 65536


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key's document; see the module's table."""

    v: int
    id: str
    purpose: str
    algorithm: str
    created_unix: int
    not_after_unix: int | None
    public: dict[str, Any] | None
    secret: str | None

    @property
    def name(self) -> str:
        """Its file's name."""
        return f"{self.purpose}-{self.id}.json"

    def context(self) -> bytes:
        """What its sealed secret is bound to."""
        return f"{self.purpose}/{self.id}/{self.algorithm}".encode()


class RingFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ring's own document."""

    v: int
    suite: str
    kdf: dict[str, Any] | None
    check: str | None


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole ring in one document."""

    ring: RingFile
    keys: list[KeyFile]


class Sealer:
    """Turns secrets into what key files hold, and back.

    Args:
        ring: the ring's document.
        passphrase: as the ring was made with; None where it has none.

    Raises:
        GatewayError: `unavailable` where the passphrase is missing, superfluous or wrong.
    """

    def __init__(self, ring: RingFile, passphrase: str | None) -> None:
        self.suite: Suite = suite_named(ring.suite)
        self._key: bytes | None = None
        if ring.kdf is None:
            return
        if not passphrase:
            raise GatewayError("unavailable", "the key ring is under a passphrase, and none is set")
        self._key = _derive(passphrase, ring.kdf)
        try:
            self.suite.unseal(self._key, base64.b64decode(ring.check or "", validate=True), b"check")
        except ValueError as error:
            raise GatewayError("unavailable", "the key ring's passphrase is wrong") from error

    def conceal(self, secret: bytes, context: bytes) -> str:
        """What a file holds for `secret`."""
        held = secret if self._key is None else self.suite.seal(self._key, secret, context)
        return base64.b64encode(held).decode("ascii")

    def reveal(self, held: str, context: bytes) -> bytes:
        """The secret that a file holds; `ValueError` where it is damaged."""
        data = base64.b64decode(held, validate=True)
        return data if self._key is None else self.suite.unseal(self._key, data, context)


def new_ring(suite: str, passphrase: str | None) -> RingFile:
    """A ring's document, with fresh salt where there is a passphrase."""
    chosen = suite_named(suite)
    if not passphrase:
        return RingFile(FORMAT, suite, None, None)
    kdf = {"name": "scrypt", **SCRYPT, "salt": base64.b64encode(os.urandom(16)).decode("ascii")}
    check = chosen.seal(_derive(passphrase, kdf), _CHECK, b"check")
    return RingFile(FORMAT, suite, kdf, base64.b64encode(check).decode("ascii"))


def _derive(passphrase: str, kdf: dict[str, Any]) -> bytes:
    if {name: kdf.get(name) for name in SCRYPT} != SCRYPT or kdf.get("name") != "scrypt":
        raise GatewayError("unavailable", "the key ring was made with key derivation this version does not know")
    salt = base64.b64decode(str(kdf.get("salt", "")), validate=True)
    return hashlib.scrypt(passphrase.encode("utf-8"), salt=salt, **SCRYPT, maxmem=2**26, dklen=32)


def parse_bundle(text: str | bytes) -> Bundle:
    """A ring in one document; raises `unavailable` where it is none."""
    try:
        return msgspec.json.decode(text, type=Bundle)
    except msgspec.DecodeError:
        # The decoder's message may quote the document, and the document holds secrets.
        raise GatewayError("unavailable", "the key ring's document cannot be read") from None


def read_folder(folder: Path) -> Bundle:
    """Every document of a ring's folder.

    Raises:
        GatewayError: `unavailable` where the folder, a file or its permissions are not as they must be.
    """
    try:
        ring = msgspec.json.decode(read_private(folder / "ring.json"), type=RingFile)
        keys = []
        for path in sorted(folder.iterdir()):
            if not _NAME.fullmatch(path.name):
                continue
            key = msgspec.json.decode(read_private(path), type=KeyFile)
            if key.name != path.name:
                raise GatewayError("unavailable", f"key file `{path.name}` is not what its name says")
            keys.append(key)
    except FileNotFoundError:
        raise GatewayError("unavailable", f"no key ring in `{folder}`: `gateway init` makes one") from None
    except OSError as error:
        reason = (error.strerror or "refused").lower()
        raise GatewayError("unavailable", f"the key ring in `{folder}` cannot be read: {reason}") from error
    except msgspec.DecodeError:
        raise GatewayError("unavailable", f"a key file in `{folder}` is damaged") from None
    if ring.v != FORMAT or any(key.v != FORMAT for key in keys):
        raise GatewayError("unavailable", "the key ring was written by a newer version")
    return Bundle(ring, keys)


def read_private(path: Path) -> bytes:
    """A key file's bytes; refused where others can read it or the group can write it, as sshd refuses it.

    Group readable is let pass: Kubernetes mounts secrets 0440 under a pod's own group.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o037:
            raise GatewayError("unavailable", f"key file `{path}` is open to others (mode {mode:04o}): chmod 600 it")
        return file.read(_MAX_FILE_BYTES)


def write_private(path: Path, document: msgspec.Struct, *, replace: bool) -> bool:
    """Write a document 0600, whole or not at all.

    Durability: on return the file and its name are on disk.

    Args:
        path: where.
        document: what.
        replace: whether an existing file is replaced; otherwise it stays, and False is returned.
    """
    text = json.dumps(msgspec.to_builtins(document), indent=1).encode("utf-8") + b"\n"
    partial = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        if replace:
            partial.replace(path)
        else:
            try:
                os.link(partial, path)
            except FileExistsError:
                return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
    sync_folder(path.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Make names created in or removed from `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
