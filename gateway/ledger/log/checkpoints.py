"""Checkpoints (c2sp.org/tlog-checkpoint) and cosignatures (c2sp.org/tlog-cosignature)."""

import base64
from struct import Struct

import msgspec
from cryptography.exceptions import InvalidSignature

from gateway.domain.errors import GatewayError
from gateway.ledger.log.decimals import parse_decimal
from gateway.ledger.log.notes import (
    COSIGNATURE,
    Note,
    Signature,
    Signer,
    VerifierKey,
    decode_base64,
    key_id,
    parse_note,
    verify_note,
)

_TIME = Struct(">Q")


class Checkpoint(msgspec.Struct, frozen=True):
    """What a log states: at `size` leaves its root is `root`."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note text: origin, size, root, one line each."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """A checkpoint from a note's text; further lines are allowed and ignored.

    Raises:
        GatewayError: `invalid-input` if it is none.
    """
    lines = text.split("\n")
    fault = GatewayError("invalid-input", "this is not a checkpoint")
    if len(lines) < 4 or not all(lines[:3]):
        raise fault
    try:
        size = parse_decimal(lines[1])
        root = decode_base64(lines[2])
    except ValueError as error:
        raise fault from error
    if len(root) != 32:
        raise fault
    return Checkpoint(lines[0], size, root)


class Published(msgspec.Struct, frozen=True):
    """A checkpoint as it is served, read in one go: `size` is the one that `note` states; 0 and b"" where none is."""

    size: int = 0
    note: bytes = b""


def parse_published(content: bytes) -> Published:
    """The checkpoint in a note of the log's own, or none where `content` is empty; no signature is checked.

    Raises:
        GatewayError: `invalid-input` if it is neither.
    """
    return Published(parse_checkpoint(parse_note(content).text).size, content) if content else Published()


def verify_checkpoint(content: bytes, key: VerifierKey) -> tuple[Checkpoint, Note]:
    """The checkpoint in a note signed by the log's key.

    Raises:
        GatewayError: `invalid-input` if it is no checkpoint, `conflict` if it is not that log's.
    """
    note = parse_note(content)
    verify_note(note, [key])
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != key.name:
        raise GatewayError("conflict", f"the checkpoint is of log `{checkpoint.origin}`, the key of `{key.name}`")
    return checkpoint, note


def cosign(text: str, name: str, signer: Signer, now_unix: int) -> Signature:
    """A witness's cosignature over a checkpoint's text at `now_unix`."""
    content = _TIME.pack(now_unix) + signer.sign(_cosigned(text, now_unix))
    return Signature(name, key_id(name, COSIGNATURE, signer.public_bytes), content)


def verify_cosignature(text: str, signature: Signature, key: VerifierKey) -> int:
    """The time (Unix seconds) at which the witness `key` says it saw the checkpoint.

    Raises:
        GatewayError: `conflict` if the cosignature is not by that key over this text.
    """
    if key.algorithm != COSIGNATURE or (signature.name, signature.key_id) != (key.name, key.key_id):
        raise GatewayError("conflict", f"the cosignature is not by `{key.name}`")
    if len(signature.content) != _TIME.size + 64:
        raise GatewayError("conflict", f"the cosignature of `{key.name}` has another length")
    (seen,) = _TIME.unpack_from(signature.content)
    try:
        key.verify(_cosigned(text, seen), signature.content[_TIME.size :])
    except InvalidSignature as error:
        raise GatewayError("conflict", f"the cosignature of `{key.name}` does not hold") from error
    return int(seen)


def _cosigned(text: str, now_unix: int) -> bytes:
    return f"cosignature/v1\ntime {now_unix}\n{text}".encode()
