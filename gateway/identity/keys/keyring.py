"""The key ring: every key of a gateway, by what it is for.

    token        ES256 (or EdDSA, SM2): signs access tokens of systems and officers. After a rotation the old private
                 half is deleted at once; its public half verifies until the last token under it has expired.
    log          Ed25519: signs the ledger's checkpoints. Old public halves stay for good.
    witness      Ed25519: cosigns other nodes' checkpoints. Old public halves stay for good.
    pseudonym    one secret a calendar year (Beijing time); old years stay, so that earlier uses can be found.
    field        encrypts fields at rest; old keys stay, so that they can be read.

A process opens only the purposes it needs; public token keys are always read.
"""

import contextlib
import hmac
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.domain.errors import GatewayError
from gateway.identity.keys import keyfiles, symmetric
from gateway.identity.keys.jwk import VerifyingKey, own_public_key
from gateway.identity.keys.keyfiles import Bundle, KeyFile, Sealer
from gateway.identity.keys.symmetric import FieldCipher, SecretKey
from gateway.identity.signer import LogSigner, RingSigner, Signer, new_signer, parse_signer

PURPOSES = ("token", "log", "witness", "pseudonym", "field")
TOKEN_OVERLAP_SECONDS = 3600
"""How long a replaced token key still verifies: tokens live 5 minutes, officers' sessions longer; see `rotate`."""

POLL_SECONDS = 1.0
"""How often a process looks whether the ring's folder changed under it."""


class KeyInfo(msgspec.Struct, frozen=True):
    """What may be said of a key: nothing secret.

    Args:
        id: its name.
        purpose: what it is for.
        algorithm: with which algorithm.
        created_unix: when it was made.
        state: `active`, `retiring` (verifies or decrypts only) or `expired`.
        not_after_unix: until when a retiring token key verifies.
    """

    id: str
    purpose: str
    algorithm: str
    created_unix: int
    state: str
    not_after_unix: int | None = None


class Rotation(msgspec.Struct, frozen=True):
    """A key's replacement, as it is recorded.

    Args:
        purpose: of the key.
        replaced: the id of the key that signs or encrypts no more, if there was one.
        new: the id of the key that does now.
        overlap_until_unix: until when the replaced token key verifies; None where that does not end.
        at_unix: when.
    """

    purpose: str
    replaced: str | None
    new: str
    overlap_until_unix: int | None
    at_unix: int


class KeyRing:
    """The keys of one gateway. Thread-safe. Made by `create`, `open` or `parse`, not by its constructor."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        folder: Path | None,
        passphrase: str | None,
        only: frozenset[str] | None,
        signers: Mapping[str, Signer] | None,
        record: Callable[[Rotation], None] | None,
        now: Callable[[], float],
    ) -> None:
        self._sealer = Sealer(bundle.ring, passphrase)
        self._folder = folder
        self._only = frozenset(PURPOSES) if only is None else only
        self._signers = dict(signers or {})
        self._record = record
        self._now = now
        self._lock = threading.RLock()
        self._polled = time.monotonic()
        self._seen = self._stamp()
        self.generation = 0
        self._take(bundle)

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        passphrase: str | None = None,
        suite: str = "international",
        token_algorithm: str = "ES256",  # noqa: S107  (an algorithm's name)
        now: Callable[[], float] = time.time,
    ) -> "KeyRing":
        """Make a ring with one key a purpose in an empty or new folder.

        Durability: on return every key is on disk, 0600, in a folder 0700.

        Args:
            path: the folder.
            passphrase: what its secrets are encrypted under; None leaves that to the disk.
            suite: cipher suite of fields, pseudonyms and the files themselves.
            token_algorithm: `ES256`, `EdDSA` or `SM2`; rotations keep it.
            now: the clock, Unix seconds.

        Raises:
            GatewayError: `conflict` where a ring is there already; `invalid-input` for an unknown suite or algorithm.
        """
        drafts = {
            "token": new_signer(token_algorithm),
            "log": new_signer("EdDSA"),
            "witness": new_signer("EdDSA"),
        }
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        ring = keyfiles.new_ring(suite, passphrase)
        if not keyfiles.write_private(path / "ring.json", ring, replace=False):
            raise GatewayError("conflict", f"there is a key ring in `{path}` already")
        sealer, at = Sealer(ring, passphrase), int(now())
        for purpose in PURPOSES:
            signer = drafts.get(purpose)
            made = _make(purpose, sealer, at, generation=1, signer=signer)
            keyfiles.write_private(path / made.name, made, replace=False)
        opened = cls.open(path, passphrase=passphrase, now=now)
        opened.make_next_year()
        return opened

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        passphrase: str | None = None,
        only: frozenset[str] | None = None,
        signers: Mapping[str, Signer] | None = None,
        record: Callable[[Rotation], None] | None = None,
        now: Callable[[], float] = time.time,
    ) -> "KeyRing":
        """Open a ring.

        Args:
            path: the ring's folder, or a file holding a whole ring (`bundle`), such as a systemd credential.
            passphrase: as it was made with.
            only: the purposes whose secrets this process may hold; None is all.
            signers: keys that live elsewhere (HSM, KMS), of the purposes token, log and witness; they take the place
                of the ring's own, which signs and verifies no more.
            record: told of every rotation before it takes effect; a rotation it raises for is not made.
            now: the clock, Unix seconds.

        Raises:
            GatewayError: `unavailable`, with what to do.
        """
        folder = None if path.is_file() else path
        bundle = keyfiles.parse_bundle(keyfiles.read_private(path)) if folder is None else keyfiles.read_folder(path)
        return cls(bundle, folder=folder, passphrase=passphrase, only=only, signers=signers, record=record, now=now)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        passphrase: str | None = None,
        only: frozenset[str] | None = None,
        signers: Mapping[str, Signer] | None = None,
        now: Callable[[], float] = time.time,
    ) -> "KeyRing":
        """A ring from one document, as `bundle` writes it: for an environment variable. Read only."""
        bundle = keyfiles.parse_bundle(text)
        return cls(bundle, folder=None, passphrase=passphrase, only=only, signers=signers, record=None, now=now)

    def bundle(self) -> str:
        """The whole ring as one document; it holds the secrets as the files do, sealed only under a passphrase.

        Next year's pseudonym key is made first: who is handed a document cannot make one when the year turns.
        """
        if self._folder is None:
            raise GatewayError("conflict", "this key ring is one document already")
        self.pseudonym_keys(symmetric.beijing_year(self._now()) + 1)
        return msgspec.json.encode(keyfiles.read_folder(self._folder)).decode("utf-8")

    def _stamp(self) -> int:
        return 0 if self._folder is None else self._folder.stat().st_mtime_ns

    def _take(self, bundle: Bundle) -> None:
        files: dict[str, list[KeyFile]] = {purpose: [] for purpose in PURPOSES}
        for file in sorted(bundle.keys, key=lambda file: (file.created_unix, file.id)):
            files[file.purpose].append(file)
        secrets = {
            (file.purpose, file.id): self._reveal(file)
            for purpose in self._only
            for file in files[purpose]
            if file.secret is not None
        }
        keys = {}
        for file in files["token"]:
            key = own_public_key(file.id, file.public or {})
            keys[key.kid] = (key, file.not_after_unix)
        self._files, self._secrets, self._token_keys = files, secrets, keys
        self._signer_cache: dict[str, RingSigner] = {}
        self.generation += 1

    def _reveal(self, file: KeyFile) -> bytes:
        try:
            return self._sealer.reveal(file.secret or "", file.context())
        except ValueError as error:
            raise GatewayError("unavailable", f"key file `{file.name}` is damaged") from error

    def poll(self, *, eager: bool = False, force: bool = False) -> None:
        """Take in what another process changed in the ring's folder.

        A folder that cannot be read now leaves the keys as they are: a running gateway does not fall over its disk.

        Args:
            eager: look now; otherwise at most once a second.
            force: read the files even if the folder looks unchanged.
        """
        at = time.monotonic()
        if self._folder is None or not (eager or force or at - self._polled >= POLL_SECONDS):
            return
        with self._lock:
            self._polled = at
            try:
                stamp = self._stamp()
                if stamp != self._seen or force:
                    self._take(keyfiles.read_folder(self._folder))
                    # A folder's time ticks every few milliseconds: one that is this new may change once more unseen.
                    self._seen = stamp if time.time_ns() - stamp > 100_000_000 else -1
            except (OSError, GatewayError):
                return

    def token_signer(self) -> Signer:
        """What signs tokens now."""
        return self._signer("token")

    def token_keys(self, *, eager: bool = False) -> dict[str, VerifyingKey]:
        """Public keys that verify tokens now, by `kid`: the active one, and replaced ones within their overlap.

        Args:
            eager: whether to look now for keys that another process made.
        """
        self.poll(eager=eager)
        at = self._now()
        outside = self._signers.get("token")
        # A private half in a file must not sign what a key in hardware is there to sign.
        keys = {
            kid: key
            for kid, (key, until) in self._token_keys.items()
            if (outside is None if until is None else at < until)
        }
        if outside is not None:
            keys[outside.kid] = own_public_key(outside.kid, outside.public_jwk)
        return keys

    def jwks(self) -> dict[str, Any]:
        """The JWK Set to publish (RFC 7517 §5)."""
        return {"keys": [key.jwk for key in self.token_keys().values()]}

    def log_signer(self, origin: str) -> LogSigner:
        """What signs the log of that origin."""
        return self._note_signer("log", origin)

    def witness_signer(self, name: str) -> LogSigner:
        """What cosigns the checkpoints of other nodes' logs, as a witness of that name; it signs nothing else."""
        return self._note_signer("witness", name)

    def _note_signer(self, purpose: str, name: str) -> LogSigner:
        return LogSigner(name, self._signer(purpose))

    def _signer(self, purpose: str) -> Signer:
        outside = self._signers.get(purpose)
        if outside is None:
            return self._ring_signer(purpose)
        self._require(purpose)
        return outside

    def _require(self, purpose: str) -> None:
        if purpose not in self._only:
            raise GatewayError("unavailable", f"this process does not hold the {purpose} key")

    def _ring_signer(self, purpose: str) -> RingSigner:
        self.poll()
        with self._lock:
            active = self._active(purpose)
            if active.id not in self._signer_cache:
                self._signer_cache[active.id] = parse_signer(active.algorithm, self._secret(active))
            return self._signer_cache[active.id]

    def _active(self, purpose: str) -> KeyFile:
        self._require(purpose)
        held = [file for file in self._files[purpose] if file.secret is not None]
        if not held:
            raise GatewayError("unavailable", f"the key ring has no {purpose} key: restore the ring from its backup")
        return held[-1]

    def _secret(self, file: KeyFile) -> bytes:
        return self._secrets[file.purpose, file.id]

    def pseudonym_keys(self, year: int) -> list[SecretKey]:
        """The year's pseudonym keys, newest first; the first is made where there is none yet.

        Raises:
            GatewayError: `unavailable` where it was lost, and a new one would call persons otherwise than records do:
                the ring has none of any year, or the next year's was made within this one, beside this one's.
        """
        found = self._pseudonym_keys(year)
        if not found:
            self.poll(force=True)
            found = self._pseudonym_keys(year)
        if not found:
            self._active("pseudonym")
            if year in self.lost_years():
                raise GatewayError(
                    "unavailable",
                    f"the key ring has lost its pseudonym key of {year}: restore the ring from its backup",
                )
            self._write_new(_make("pseudonym", self._sealer, int(self._now()), generation=1, year=year))
            found = self._pseudonym_keys(year)
        with contextlib.suppress(OSError, GatewayError):
            # A folder that cannot be written now costs nobody the key that is there.
            self.make_next_year()
        return found

    def make_next_year(self) -> None:
        """Make next year's pseudonym key, where this year's stands: by it a loss of this year's is known.

        Durability: it is on disk on return. A ring that is read only is left as it is.
        """
        year = symmetric.beijing_year(self._now())
        if self._folder is not None and self._pseudonym_keys(year) and not self._pseudonym_keys(year + 1):
            self._write_new(_make("pseudonym", self._sealer, int(self._now()), generation=1, year=year + 1))

    def lost_years(self) -> tuple[int, ...]:
        """Years of which there was a pseudonym key that is gone: the next one's was made within them.

        Of a year that a stepped clock has left out nothing was made, and so nothing is missed.
        """
        self.poll(eager=True)
        with self._lock:
            years = {file.id.partition("-")[0] for file in self._files["pseudonym"]}
            made = {
                (file.id.partition("-")[0], symmetric.beijing_year(file.created_unix))
                for file in self._files["pseudonym"]
            }
        return tuple(sorted(year for ahead, year in made if int(ahead) == year + 1 and str(year) not in years))

    def pseudonym_years(self) -> tuple[int, ...]:
        """Every year that has a pseudonym key, the newest first: records may stand for longer than three years."""
        self.poll(eager=True)
        with self._lock:
            return tuple(sorted({int(file.id.partition("-")[0]) for file in self._files["pseudonym"]}, reverse=True))

    def _pseudonym_keys(self, year: int) -> list[SecretKey]:
        if "pseudonym" not in self._only:
            raise GatewayError("unavailable", "this process does not hold the pseudonym keys")
        with self._lock:
            files = [file for file in self._files["pseudonym"] if file.id.startswith(f"{year}-")]
            return [SecretKey(file.id, self._secret(file), self._sealer.suite) for file in reversed(files)]

    def pseudonym(self, year: int) -> bytes:
        """The key that makes the year's pseudonyms now, 32 bytes."""
        return self.pseudonym_keys(year)[0].secret

    def field_cipher(self) -> FieldCipher:
        """Encrypts fields under the newest field key, decrypts under any."""
        self.poll()
        with self._lock:
            newest = self._active("field").id
            files = self._files["field"]
            keys = [SecretKey(file.id, self._secret(file), self._sealer.suite) for file in files]
            return FieldCipher(keys, newest)

    def derived_secret(self, use: str) -> bytes:
        """A secret for one use, alike on all nodes: derived from the oldest field key, so that rotation keeps it."""
        # Under the name it has always had: answers that were remembered under marks made with it are found again.
        return self._derived(b"dpop nonces/" + use.encode("utf-8"))

    def _derived(self, use: bytes) -> bytes:
        """32 bytes for one use, from the first field key, so that rotations leave them as they are."""
        if "field" not in self._only:
            raise GatewayError("unavailable", "this process does not hold the field key")
        with self._lock:
            return hmac.digest(self._secret(self._files["field"][0]), use, "sha256")

    def digest_key(self) -> bytes:
        """What keys the digests of requests and answers in use records; the same on every node of the ring."""
        return self._derived(b"record digests")

    def list(self) -> list[KeyInfo]:
        """Every key, oldest first in its purpose."""
        self.poll()
        at, found = self._now(), []
        for purpose in PURPOSES:
            files = self._files[purpose]
            newest = {_line(file): file.id for file in files if file.secret is not None}
            for file in files:
                state = "active" if newest.get(_line(file)) == file.id else "retiring"
                if file.not_after_unix is not None and file.not_after_unix <= at:
                    state = "expired"
                found.append(KeyInfo(file.id, purpose, file.algorithm, file.created_unix, state, file.not_after_unix))
        return found

    def rotate(
        self,
        purpose: str,
        *,
        overlap_seconds: int = TOKEN_OVERLAP_SECONDS,
        record: Callable[[Rotation], None] | None = None,
    ) -> Rotation:
        """Make a new key for `purpose` and put it in use.

        The rotation is recorded before it takes effect. Readers elsewhere take the new key in within a second.

        Durability: on return the new key is on disk, and the replaced private token or log key is gone from it.

        Args:
            purpose: one of the ring's.
            overlap_seconds: how long the replaced token key still verifies, and those replaced before it at most;
                0 withdraws them all at once.
            record: told of this rotation before it takes effect, in place of the ring's own.

        Raises:
            GatewayError: `invalid-input` for another purpose, `conflict` for a ring that is read only.
        """
        if purpose not in PURPOSES:
            raise GatewayError("invalid-input", f"no key purpose `{purpose}`: choose one of {', '.join(PURPOSES)}")
        if self._folder is None or purpose in self._signers:
            raise GatewayError("conflict", f"the {purpose} key is kept elsewhere: rotate it there")
        with self._lock:
            self.poll(force=True)
            at = int(self._now())
            year = symmetric.beijing_year(at)
            line = str(year) if purpose == "pseudonym" else purpose
            before = [file for file in self._files[purpose] if _line(file) == line]
            # Keys are told newer from older by the second they were made in: no two of a line share one.
            made_at = max(at, before[-1].created_unix + 1) if before else at
            signer = new_signer(before[-1].algorithm) if before and before[-1].public is not None else None
            made = _make(purpose, self._sealer, made_at, generation=len(before) + 1, year=year, signer=signer)
            replaced = next((file for file in reversed(before) if file.secret is not None), None)
            until = at + overlap_seconds if purpose == "token" and replaced is not None else None
            rotation = Rotation(purpose, replaced.id if replaced else None, made.id, until, at)
            tell = record or self._record
            if tell is not None:
                tell(rotation)
            self._write_new(made)
            if replaced is not None and purpose in ("token", "log", "witness"):
                self._rewrite(msgspec.structs.replace(replaced, secret=None, not_after_unix=until))
            if until is not None:
                # Whoever shortens the overlap distrusts what was signed so far, by whichever key.
                for file in before:
                    if file.not_after_unix is not None and file.not_after_unix > until:
                        self._rewrite(msgspec.structs.replace(file, not_after_unix=until))
            self._drop_expired(at)
            self.poll(force=True)
            return rotation

    def _rewrite(self, file: KeyFile) -> None:
        assert self._folder is not None
        keyfiles.write_private(self._folder / file.name, file, replace=True)

    def _write_new(self, made: KeyFile) -> None:
        if self._folder is None:
            raise GatewayError("unavailable", f"the key ring lacks a {made.purpose} key and is read only")
        keyfiles.write_private(self._folder / made.name, made, replace=False)
        self.poll(force=True)

    def _drop_expired(self, at: int) -> None:
        if self._folder is None:
            return
        for file in self._files["token"]:
            if file.not_after_unix is not None and file.not_after_unix <= at:
                (self._folder / file.name).unlink(missing_ok=True)
        keyfiles.sync_folder(self._folder)


def _line(file: KeyFile) -> str:
    """What replaces what: pseudonym keys by year, all others by purpose."""
    return file.id.partition("-")[0] if file.purpose == "pseudonym" else file.purpose


def _make(
    purpose: str,
    sealer: Sealer,
    at: int,
    *,
    generation: int,
    year: int | None = None,
    signer: RingSigner | None = None,
) -> KeyFile:
    public: dict[str, Any] | None = None
    if signer is not None:
        identity, public, secret = signer.kid, signer.public_jwk, signer.private_bytes()
        algorithm = signer.algorithm
    else:
        secret = symmetric.new_secret()
        algorithm = sealer.suite.name
        number = f"{year if year is not None else symmetric.beijing_year(at)}-{generation}"
        identity = number if purpose == "pseudonym" else symmetric.new_name()
    draft = KeyFile(keyfiles.FORMAT, identity, purpose, algorithm, at, None, public, None)
    return msgspec.structs.replace(draft, secret=sealer.conceal(secret, draft.context()))
