"""The offline verifier of a record and of an export, with nothing but the log's verifier key (a whole log: `log`).

What each check covers, and what it leaves to the caller, is said in its report: the caller must have the verifier
key from a source it trusts, and learns nothing here about what was never recorded.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gateway.domain.calendar import china_time
from gateway.domain.errors import GatewayError
from gateway.domain.texts import sealed, text_digest
from gateway.ledger.log.checkpoints import verify_checkpoint
from gateway.ledger.log.export_names import MANIFEST_HEADER, manifest_path, texts_path
from gateway.ledger.log.notes import VerifierKey, parse_note, parse_verifier_key, verify_note
from gateway.ledger.log.proofs import parse_proof, verify_inclusion
from gateway.ledger.log.record_ids import check_second, parse_record_id
from gateway.ledger.verify.log import verify_log
from gateway.ledger.verify.report import Checked, ProvenRecord, VerificationFailed

Progress = Callable[[int, int], None]

_OTHER_HALF = {
    "use.opened": "how the use ended: its closing has a proof of its own",
    "use.closed": "who used what under which grant: the opening of the use has a proof of its own",
    "recovered": "who used what under which grant: the opening of the use has a proof of its own",
}
_SEALED = re.compile(rb"sealed:[0-9a-f]{64}")
_is_kind = re.compile(r"[a-z]+(?:\.[a-z]+)?").fullmatch

__all__ = ["Checked", "ProvenRecord", "VerificationFailed", "parse_key", "verify_export", "verify_log", "verify_record"]


class _Manifest(msgspec.Struct):
    """What is read of an export's manifest: its writer's own type stays with the writer."""

    format: str
    query: msgspec.Raw
    records: int
    bytes: int
    sha256: str
    origin: str
    size: int
    made_unix: int
    partial_of: int | None = None
    set_aside: int | None = None


class _ProvenText(msgspec.Struct, forbid_unknown_fields=True):
    digest: str
    salt: str
    text: str


class _Entry(msgspec.Struct):
    id: str
    kind: str
    time: int
    use: Any = None
    grant: Any = None


def verify_record(source: Path | bytes, verifier_key: str, *, record: str | None = None) -> Checked:
    """Verify a tlog-proof that bears its entry.

    Args:
        source: the proof, or its file.
        verifier_key: `name+id+base64`.
        record: the id of the record that it has to be of; None is any, and then who asks has to look at the answer.

    Raises:
        VerificationFailed: if entry, path, root and signature do not fit, or the entry is of another record or of none.
        GatewayError: `invalid-input` if it is no such proof.
    """
    key = parse_verifier_key(verifier_key)
    where = str(source) if isinstance(source, Path) else "the proof"
    proof = parse_proof(source.read_bytes() if isinstance(source, Path) else source)
    if not proof.extra:
        raise GatewayError("invalid-input", "the proof bears no entry")
    try:
        checkpoint, _ = verify_checkpoint(proof.checkpoint, key)
        verify_inclusion(proof.index, checkpoint.size, checkpoint.root, proof.extra, proof.path)
    except GatewayError as error:
        raise VerificationFailed(where, error.detail) from error
    try:
        proven = _proven(proof.extra)
    except (msgspec.DecodeError, ValueError, RecursionError, GatewayError) as error:
        raise VerificationFailed(where, f"the entry is leaf {proof.index} of that log, but no record") from error
    if record is not None and proven.id != record:
        raise VerificationFailed(where, f"it is the proof of record `{proven.id}`, not of `{record}`")
    not_checked = ["whether later checkpoints of the log continue this one: compare with a witness or verify the log"]
    if proven.kind in _OTHER_HALF:
        not_checked.append(_OTHER_HALF[proven.kind])
    return Checked(
        "record",
        key.name,
        checkpoint.size,
        1,
        (
            f"the checkpoint of {checkpoint.size} leaves is signed by the key of `{key.name}`",
            f"the entry in the proof is leaf {proof.index} of that log, byte for byte",
        ),
        tuple(not_checked),
        proven,
    )


def _proven(entry: bytes) -> ProvenRecord:
    """What an entry says of itself; raises what the parts of it raise."""
    said = msgspec.json.decode(entry, type=_Entry)
    parse_record_id(said.id)
    check_second("time", said.time // 1_000_000_000)
    if _is_kind(said.kind) is None:
        raise ValueError("an entry has a kind")
    grant = said.use.get("grant") if isinstance(said.use, dict) else said.grant
    return ProvenRecord(said.id, said.kind, china_time(said.time), grant if isinstance(grant, str) else None)


def verify_export(path: Path, verifier_key: str) -> Checked:
    """Verify an export against the signed manifest beside it.

    Raises:
        VerificationFailed: if file, count and manifest do not fit.
        GatewayError: `not-found` if the manifest is missing.
    """
    key = parse_verifier_key(verifier_key)
    beside = manifest_path(path)
    if not beside.exists():
        raise GatewayError("not-found", f"the manifest `{beside}` is missing")
    try:
        manifest = _parse_manifest(beside.read_bytes(), key)
    except GatewayError as error:
        raise VerificationFailed(str(beside), error.detail) from error
    if manifest.origin != key.name:
        raise VerificationFailed(str(beside), f"it is of log `{manifest.origin}`, the key of `{key.name}`")
    hashing = hashlib.sha256()
    lines = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hashing.update(block)
            lines += block.count(b"\n")
    if hashing.hexdigest() != manifest.sha256:
        raise VerificationFailed(str(path), "the file is not the one the manifest was signed for")
    if manifest.format == "ndjson" and lines != manifest.records:
        raise VerificationFailed(str(path), f"it holds {lines} records, the manifest says {manifest.records}")
    texts = _verify_texts(path)
    missing = []
    if manifest.partial_of is not None:
        missing.append(f"it is a part: {manifest.size} of {manifest.partial_of} leaves were looked into")
    if manifest.set_aside is not None:
        missing.append(f"{manifest.set_aside} entries of the log are in no export, for the index could not take them")
    return Checked(
        "export",
        key.name,
        manifest.size,
        0,
        (
            f"the manifest is signed by the key of `{key.name}`",
            f"the file is the one the manifest was signed for, byte for byte; it says {manifest.records} records",
            f"it answers the question `{bytes(manifest.query).decode()}` at {manifest.size} leaves",
            *texts,
        ),
        (*missing, "whether the log holds further records of that question: verify the log and ask again"),
    )


def _verify_texts(path: Path) -> tuple[str, ...]:
    """Verify the texts beside an export, where there are any: each has the digest that a record of the export names.

    Raises:
        VerificationFailed: it names the line.
    """
    beside = texts_path(path)
    if not beside.exists():
        return ()
    proven = set()
    with beside.open("rb") as file:
        for number, line in enumerate(file, 1):
            where = f"{beside}, line {number}"
            try:
                said = msgspec.json.decode(line, type=_ProvenText)
                digest = text_digest(bytes.fromhex(said.salt), said.text)
            except (msgspec.DecodeError, ValueError) as error:
                raise VerificationFailed(where, "it is no text with its salt and digest") from error
            if digest != said.digest:
                raise VerificationFailed(where, "the text is not the one whose digest it bears")
            proven.add(sealed(digest).encode())
    named = set()
    with path.open("rb") as file:
        for line in file:
            named.update(_SEALED.findall(line))
    if not proven <= named:
        raise VerificationFailed(str(beside), "it holds a text that no record of the export names")
    return (f"{len(proven)} texts beside it are those whose digests its records name, by their salts",)


def _parse_manifest(content: bytes, key: VerifierKey) -> _Manifest:
    note = parse_note(content)
    verify_note(note, [key])
    header, _, said = note.text.partition("\n")
    if header != MANIFEST_HEADER:
        raise GatewayError("invalid-input", "this is not an export's manifest")
    try:
        return msgspec.json.decode(said, type=_Manifest)
    except msgspec.DecodeError as error:
        raise GatewayError("invalid-input", "the manifest is not readable") from error


def parse_key(text: str) -> VerifierKey:
    """A verifier key from its text, or from a file that holds it."""
    path = Path(text)
    return parse_verifier_key(path.read_text(encoding="utf-8") if path.is_file() else text)
