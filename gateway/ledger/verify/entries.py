"""Entries against the hashes that the log holds of them, and the prunes that are on record among them."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from gateway.ledger.log.tiles import HASH_BYTES
from gateway.ledger.verify.report import VerificationFailed

_PRUNE = b'"kind":"prune"'


class Prune(msgspec.Struct, frozen=True):
    """A prune as it is on record: what was intended, or what became of the intent (of older ones, both at once)."""

    kind: str
    id: Any = ""
    end: Any = 0
    step: Any = "done"
    intent: Any = ""
    kept: Any = ""


def verify_entries(entries: Sequence[bytes], stated: bytes, first: int) -> None:
    """Raise unless each entry that is there (b"" is one that is not) hashes to its leaf.

    Args:
        entries: of one bundle.
        stated: the hashes of its leaves, one after the other.
        first: the number of its first leaf.
    """
    hashes = b"".join(
        [
            sha256(b"\x00" + entry).digest() if entry else stated[at * HASH_BYTES : (at + 1) * HASH_BYTES]
            for at, entry in enumerate(entries)
        ]
    )
    if hashes != stated:
        raise VerificationFailed(_first_difference(hashes, stated, first), "the entry is not what was logged")


def prunes_in(entries: Sequence[bytes]) -> list[Prune]:
    """The prune records among the entries of a bundle."""
    if _PRUNE not in b"".join(entries):
        return []
    return [prune for entry in entries if _PRUNE in entry and (prune := _parse_prune(entry)) is not None]


def not_failed(prunes: Iterable[Prune]) -> list[Prune]:
    """Those that no later record calls failed: one that failed accounts for nothing."""
    known = list(prunes)
    failed = {str(prune.intent) for prune in known if prune.step == "failed"}
    return [prune for prune in known if prune.step != "failed" and str(prune.id) not in failed]


def _parse_prune(entry: bytes) -> Prune | None:
    try:
        prune = msgspec.json.decode(entry, type=Prune)
    except msgspec.DecodeError:
        return None  # it says nothing that a prune record says
    return prune if prune.kind == "prune" and isinstance(prune.end, int) else None


def _first_difference(hashes: bytes, stated: bytes, first: int) -> str:
    for at in range(0, len(stated), HASH_BYTES):
        if hashes[at : at + HASH_BYTES] != stated[at : at + HASH_BYTES]:
            return f"leaf {first + at // HASH_BYTES}"
    return f"the bundle at leaf {first}"
