"""Signed notes (c2sp.org/signed-note): text, an empty line, and one signature line a key.

A verifier ignores signatures by keys it does not know, and rejects a note on which a known key's signature fails.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.domain.errors import GatewayError

ED25519 = 0x01
COSIGNATURE = 0x04
MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100

_NAME = re.compile(r"[^\s+\x00-\x1f]{1,255}")
_SIGNATURE_LINE = re.compile(r"— (\S+) ([A-Za-z0-9+/]+={0,2})")


class Signer(Protocol):
    """What signs: an Ed25519 private key that is not seen."""

    @property
    def public_bytes(self) -> bytes:
        """The raw public key, 32 bytes."""

    def sign(self, message: bytes, /) -> bytes:
        """The signature, 64 bytes."""


class VerifierKey(msgspec.Struct, frozen=True):
    """A public key with its name, as `name+hex(keyid)+base64(type ‖ key)`."""

    name: str
    algorithm: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The first four bytes of `SHA-256(name ‖ 0x0A ‖ type ‖ key)`."""
        return key_id(self.name, self.algorithm, self.public)

    def text(self) -> str:
        """The key as operators pass it on."""
        encoded = base64.b64encode(bytes([self.algorithm]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def verify(self, message: bytes, signature: bytes) -> None:
        """Raise `InvalidSignature` unless `signature` over `message` is by this key."""
        Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)


class Signature(msgspec.Struct, frozen=True):
    """A signature line: who claims it, the key id, and the bytes after it."""

    name: str
    key_id: bytes
    content: bytes

    def line(self) -> str:
        """The line, with its newline."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.content).decode()}\n"


class Note(msgspec.Struct, frozen=True):
    """A parsed note: the signed text with its last newline, and the signature lines in order."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> str:
        """The note as served."""
        return self.text + "\n" + "".join(signature.line() for signature in self.signatures)


def decode_base64(text: str) -> bytes:
    """The bytes of canonical base64; stricter than RFC 4648 §3.5 asks: no other text stands for the same bytes.

    Raises:
        ValueError: if it is not canonical base64.
    """
    content = base64.b64decode(text, validate=True)
    if base64.b64encode(content).decode() != text:
        raise ValueError("unused bits are set")
    return content


def key_id(name: str, algorithm: int, public: bytes) -> bytes:
    """The four bytes that hint at a key."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:4]


def check_name(name: str) -> str:
    """`name`, if a key or log can bear it: no white space, no plus, no control characters, at most 255 of them.

    Raises:
        GatewayError: `invalid-input`.
    """
    if _NAME.fullmatch(name) is None:
        raise GatewayError("invalid-input", f"`{name}` cannot name a log: it has white space, a plus or no letters")
    return name


def parse_verifier_key(text: str) -> VerifierKey:
    """A verifier key from its text.

    Raises:
        GatewayError: `invalid-input` if it is not one, or its key id is another key's.
    """
    name, _, rest = text.strip().partition("+")
    stated, _, encoded = rest.partition("+")
    try:
        content = decode_base64(encoded)
    except ValueError as error:
        raise GatewayError("invalid-input", "the verifier key is not `name+id+base64`") from error
    if not _NAME.fullmatch(name) or len(content) != 33 or content[0] not in {ED25519, COSIGNATURE}:
        raise GatewayError("invalid-input", "the verifier key is not `name+id+base64` of an Ed25519 key")
    key = VerifierKey(name, content[0], content[1:])
    if key.key_id.hex() != stated:
        raise GatewayError("invalid-input", "the verifier key's id is not that of its name and key")
    return key


def sign_note(text: str, name: str, signer: Signer) -> Note:
    """`text` signed by `signer` under `name`."""
    signature = Signature(name, key_id(name, ED25519, signer.public_bytes), signer.sign(text.encode()))
    return Note(text, (signature,))


def parse_note(content: bytes) -> Note:
    """A note from its bytes; no signature is checked.

    Raises:
        GatewayError: `invalid-input` if it is not a well-formed note.
    """
    fault = GatewayError("invalid-input", "this is not a signed note")
    if len(content) > MAX_NOTE_BYTES:
        raise fault
    try:
        whole = content.decode()
    except UnicodeDecodeError as error:
        raise fault from error
    split = whole.rfind("\n\n")
    if split <= 0 or any(ord(letter) < 0x20 and letter != "\n" for letter in whole):
        raise fault
    text, below = whole[: split + 1], whole[split + 2 :]
    lines = below.split("\n")
    if lines.pop() or not lines or len(lines) > MAX_SIGNATURES:
        raise fault
    signatures = []
    for line in lines:
        match = _SIGNATURE_LINE.fullmatch(line)
        if match is None:
            raise fault
        try:
            decoded = decode_base64(match[2])
        except ValueError as error:
            raise fault from error
        if len(decoded) < 5:
            raise fault
        signatures.append(Signature(match[1], decoded[:4], decoded[4:]))
    return Note(text, tuple(signatures))


def verify_note(note: Note, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """The keys among `keys` that signed `note`; of type Ed25519 only.

    Raises:
        GatewayError: `conflict` if a known key's signature fails, or no known key signed.
    """
    known = {(key.name, key.key_id): key for key in keys if key.algorithm == ED25519}
    signed = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None or key in signed:
            continue
        try:
            key.verify(note.text.encode(), signature.content)
        except InvalidSignature as error:
            raise GatewayError("conflict", f"the signature of `{key.name}` does not hold") from error
        signed.append(key)
    if not signed:
        raise GatewayError("conflict", "no signature of a known key stands on it")
    return tuple(signed)
