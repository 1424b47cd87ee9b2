"""Witnesses (c2sp.org/tlog-witness): asking others to cosign this log, and cosigning others' logs.

A witness that has cosigned size N never cosigns a log in which the first N leaves differ, nor a smaller one. So a
ring of departments guards each other, and a log restored from an older copy is found out before it signs again.

`Witness.add_checkpoint` as a table, in the order the protocol asks for:

    the body is not `old N`, proof, empty line, note     400
    the origin is unknown                                404
    no trusted key of the origin signed, or it fails     403
    N is larger than the checkpoint                      400
    N is not the size cosigned last                      409, with that size
    N is the checkpoint's size and the roots differ      409, with that size
    the consistency proof does not hold                  422
    else                                                 200, with a cosignature; the new size is durable first
"""

import base64
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.log.checkpoints import Checkpoint, Published, cosign, parse_checkpoint, verify_cosignature
from gateway.ledger.log.decimals import parse_decimal
from gateway.ledger.log.notes import (
    COSIGNATURE,
    MAX_NOTE_BYTES,
    Note,
    Signature,
    Signer,
    VerifierKey,
    check_name,
    decode_base64,
    parse_note,
    parse_verifier_key,
    verify_note,
)
from gateway.ledger.log.proofs import MAX_PATH, Hashes, verify_consistency
from gateway.ledger.log.tree import EMPTY_ROOT

SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"
MAX_ANSWER_BYTES = 8 << 10
"""A witness answers with a number or with a line of some 150 bytes for each of its keys."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS cosigned (
    origin TEXT PRIMARY KEY,
    size   INTEGER NOT NULL,
    root   BLOB NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS only_onwards BEFORE UPDATE ON cosigned
WHEN NEW.size < OLD.size OR (NEW.size = OLD.size AND NEW.root <> OLD.root)
BEGIN SELECT RAISE(ABORT, 'a witness does not go back'); END;
"""


class WitnessAnswer(msgspec.Struct, frozen=True):
    """What a witness answers over HTTP: status, body and content type."""

    status: int
    body: str
    content_type: str = TEXT_TYPE


class Witness:
    """Cosigns checkpoints of the logs it knows. Thread-safe.

    Args:
        path: of its database.
        name: its name, as a schema-less URL.
        signer: an Ed25519 key used for nothing else (c2sp.org/tlog-cosignature: one key, one cosigner).
        logs: origin -> the keys trusted for it.
        clock: Unix seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        signer: Signer,
        logs: Mapping[str, Sequence[VerifierKey]],
        clock: Callable[[], float],
    ) -> None:
        self.key = VerifierKey(check_name(name), COSIGNATURE, signer.public_bytes)
        self._signer = signer
        self._logs = logs
        self._clock = clock
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous = EXTRA")
        self._connection.executescript(_SCHEMA)

    def add_checkpoint(self, body: bytes) -> WitnessAnswer:
        """Answer one `add-checkpoint`. Durability: a size that is cosigned in the answer is synced on return."""
        try:
            old, proof, note = parse_request(body)
            checkpoint = parse_checkpoint(note.text)
        except GatewayError as error:
            return WitnessAnswer(400, f"{error.detail}\n")
        keys = self._logs.get(checkpoint.origin)
        if keys is None:
            return WitnessAnswer(404, "this witness does not know the log\n")
        try:
            verify_note(note, keys)
        except GatewayError as error:
            return WitnessAnswer(403, f"{error.detail}\n")
        if old > checkpoint.size:
            return WitnessAnswer(400, "the old size is larger than the checkpoint\n")
        with self._lock:
            return self._advance(old, proof, note, checkpoint)

    def close(self) -> None:
        """Let the database go."""
        self._connection.close()

    def _advance(self, old: int, proof: Sequence[bytes], note: Note, checkpoint: Checkpoint) -> WitnessAnswer:
        row = self._connection.execute(
            "SELECT size, root FROM cosigned WHERE origin = ?", (checkpoint.origin,)
        ).fetchone()
        size, root = row or (0, EMPTY_ROOT)
        if old != size or (row is not None and size == checkpoint.size and root != checkpoint.root):
            return WitnessAnswer(409, f"{size}\n", SIZE_TYPE)
        try:
            verify_consistency(old, root, checkpoint.size, checkpoint.root, proof)
        except GatewayError as error:
            return WitnessAnswer(422, f"{error.detail}\n")
        self._connection.execute(
            "INSERT INTO cosigned VALUES (?, ?, ?) "
            "ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root",
            (checkpoint.origin, checkpoint.size, checkpoint.root),
        )
        return WitnessAnswer(200, cosign(note.text, self.key.name, self._signer, int(self._clock())).line())


class WitnessTarget(msgspec.Struct, frozen=True):
    """A witness to ask: its submission prefix, and its verifier key."""

    url: str
    key: str


class Cosigned(msgspec.Struct, frozen=True):
    """What asking a witness came to: a cosignature, or why there is none.

    Args:
        name: the witness.
        signature: its cosignature over the checkpoint asked about.
        note: that checkpoint.
        seen_unix: when it says it saw it.
        ahead: the size it has cosigned, where that is more than this log has: this log was restored from an older
            copy, and must not sign.
        fault: why there is no cosignature.
    """

    name: str
    signature: Signature | None = None
    note: bytes = b""
    seen_unix: int = 0
    ahead: int = 0
    fault: str = ""


class WitnessClient:
    """Asks one witness, remembering what it cosigned last.

    Of what a witness answers, a cosignature proves itself. The size in a 409 does not: the protocol has it unsigned and
    names no way to ask for the checkpoint behind it. It is believed all the same where it says that this log is behind,
    for a log restored from an older copy has nothing but that to go by, and to go on would fork it for good, while to
    stand still costs time (INVARIANT: NEVER-FORKED). So nobody else may be able to say it: a witness is asked over TLS,
    whose certificate names it, or on this machine (`ledger.witnesses` takes no other address); no redirection is
    followed, and no proxy stands between where there is no TLS. A witness that lies stops the log until its operator
    takes it out of the settings; it cannot make it sign anything. Any other answer that is not to the letter, is
    longer than `MAX_ANSWER_BYTES` or contradicts what was asked, is a fault of that witness and nothing more.

    Args:
        target: whom.
        timeout_seconds: for each step of an exchange; who calls bounds the whole.
        transport: httpx's, for tests that serve a witness in process.
    """

    def __init__(
        self, target: WitnessTarget, *, timeout_seconds: float = 10.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.key = parse_verifier_key(target.key)
        if self.key.algorithm != COSIGNATURE:
            raise GatewayError("invalid-input", f"the key of witness `{self.key.name}` is not a cosigner's")
        self._url = f"{target.url.rstrip('/')}/add-checkpoint"
        is_private = self._url.startswith("https:")
        self._http = httpx.Client(timeout=timeout_seconds, transport=transport, trust_env=is_private)
        self._size = 0

    def cosign(self, checkpoint: Published, hashes: Hashes) -> Cosigned:
        """Ask for a cosignature over `checkpoint`, of the log that `hashes` reads.

        Raises:
            GatewayError: `not-found` if the log's tiles for a proof are not there; `invalid-input` if what it answers
                is no answer.
        """
        size, note = checkpoint.size, checkpoint.note
        for _ in range(2):
            old = min(self._size, size)
            body = request_body(old, hashes.consistency(old) if old else (), note)
            try:
                status, said = self._post(body)
            except httpx.HTTPError:
                return Cosigned(self.key.name, fault="it does not answer")
            if status == 409:
                try:
                    stated = parse_decimal(said.strip())
                except ValueError:
                    return Cosigned(self.key.name, fault="it refuses without saying what it has cosigned")
                if stated > size:
                    self._size = stated
                    return Cosigned(self.key.name, ahead=stated, fault=f"it has cosigned {stated} leaves")
                if stated == old == size:
                    return Cosigned(self.key.name, ahead=size, fault=f"it has cosigned another root at {stated} leaves")
                if stated == old:
                    return Cosigned(self.key.name, fault=f"it contradicts itself: it was asked from {stated} leaves on")
                self._size = stated
                continue
            if status != 200:
                return Cosigned(self.key.name, fault=f"it answers {status}")
            return self._take(checkpoint, said)
        return Cosigned(self.key.name, fault="it was asked by someone else meanwhile")

    def close(self) -> None:
        """Let the connection go."""
        self._http.close()

    def _post(self, body: bytes) -> tuple[int, str]:
        """Status and text of the answer, which is read no further than `MAX_ANSWER_BYTES`."""
        content = bytearray()
        with self._http.stream("POST", self._url, content=body, headers={"Accept-Encoding": "identity"}) as answer:
            # Compressed, a few bytes could fill the memory before they are counted.
            if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
                raise GatewayError("invalid-input", "its answer is compressed, which it was not asked for")
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise GatewayError("invalid-input", f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
        try:
            return answer.status_code, content.decode()
        except UnicodeDecodeError as error:
            raise GatewayError("invalid-input", "its answer is not text") from error

    def _take(self, checkpoint: Published, lines: str) -> Cosigned:
        text = parse_note(checkpoint.note).text
        try:
            for signature in parse_note((text + "\n" + lines).encode()).signatures:
                if (signature.name, signature.key_id) == (self.key.name, self.key.key_id):
                    seen = verify_cosignature(text, signature, self.key)
                    self._size = checkpoint.size
                    return Cosigned(self.key.name, signature, checkpoint.note, seen)
        except GatewayError as error:
            return Cosigned(self.key.name, fault=error.detail)
        return Cosigned(self.key.name, fault="its answer bears no cosignature of its key")


def request_body(old: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """The body of `add-checkpoint`."""
    lines = [f"old {old}", *(base64.b64encode(each).decode() for each in proof), "", ""]
    return "\n".join(lines).encode() + note


def parse_request(body: bytes) -> tuple[int, tuple[bytes, ...], Note]:
    """Old size, consistency proof and note of an `add-checkpoint` body.

    Raises:
        GatewayError: `invalid-input` if it is none.
    """
    fault = GatewayError("invalid-input", "the body is not `old N`, a proof, an empty line and a note")
    if len(body) > MAX_NOTE_BYTES:
        raise fault
    head, split, rest = body.partition(b"\n\n")
    try:
        word, *encoded = head.decode("ascii").split("\n")
        proof = tuple(decode_base64(line) for line in encoded)
    except ValueError as error:
        raise fault from error
    if not split or not word.startswith("old "):
        raise fault
    try:
        size = parse_decimal(word.removeprefix("old "))
    except ValueError as error:
        raise fault from error
    if len(proof) > MAX_PATH or any(len(each) != 32 for each in proof):
        raise fault
    return size, proof, parse_note(rest)
