"""Exports in the gateway's keeping, as retention sees them: each goes with the first record in it.

<name>, <name>.manifest     an export; its manifest says its lowest leaf
.<name>.<lowest leaf>.part  one that is being written, or was when its process ended
"""

from pathlib import Path

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.durable import unlink_all
from gateway.ledger.log.notes import parse_note


class _Span(msgspec.Struct):
    lowest_leaf: int | None = None


def sweep(spool: Path, end: int) -> None:
    """Remove the exports that hold a record below leaf `end`, those being written too. Durability: synced on return."""
    gone = [path for path in spool.glob(".*.part") if _lowest_of_partial(path) < end]
    for manifest in spool.glob("*.manifest"):
        lowest = _lowest_of(manifest)
        if lowest is not None and lowest < end:
            gone += [manifest, manifest.with_suffix("")]
    unlink_all(gone)


def drop_partials(spool: Path) -> None:
    """Remove what an earlier process was writing. Durability: synced on return."""
    unlink_all(list(spool.glob(".*.part")))


def _lowest_of_partial(path: Path) -> int:
    number = path.name.removesuffix(".part").rpartition(".")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


def _lowest_of(manifest: Path) -> int | None:
    """None where it holds no record, or is not whole: it is being written, or taken away."""
    try:
        text = parse_note(manifest.read_bytes()).text
        return msgspec.json.decode(text.partition("\n")[2], type=_Span).lowest_leaf
    except (FileNotFoundError, GatewayError, msgspec.DecodeError):
        return None
