"""Exports in the gateway's keeping, as retention sees them: each goes with the first record in it.

One that holds a record which a prune kept goes with the next prune, whatever that takes.

<name>, <name>.manifest            an export; its manifest says its lowest leaf, and under which `kept` it was made
.<name>.<kept>.<lowest leaf>.part  one that is being written, or was when its process ended
"""

from math import inf
from pathlib import Path

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.durable import unlink_all
from gateway.ledger.log.notes import parse_note


class _Span(msgspec.Struct):
    lowest_leaf: int | None = None
    kept: str | None = None


def sweep(spool: Path, end: int, kept: str) -> None:
    """Remove the exports that hold a record below leaf `end`, those being written too. Durability: synced on return.

    Args:
        spool: the folder.
        end: the minimum index.
        kept: digest of what stays below it: what was exported under just that, stays.
    """
    gone = [path for path in spool.glob(".*.part") if _lowest_of_partial(path, kept) < end]
    for manifest in spool.glob("*.manifest"):
        span = _span_of(manifest)
        if span.lowest_leaf is not None and span.lowest_leaf < end and (span.kept is None or span.kept != kept):
            gone += [manifest, manifest.with_suffix("")]
    unlink_all(gone)


def drop_partials(spool: Path) -> None:
    """Remove what an earlier process was writing. Durability: synced on return."""
    unlink_all(list(spool.glob(".*.part")))


def _lowest_of_partial(path: Path, kept: str) -> float:
    rest, _, number = path.name.removesuffix(".part").rpartition(".")
    if kept and rest.endswith(f".{kept}"):
        return inf
    return int(number) if number.isascii() and number.isdigit() else 0


def _span_of(manifest: Path) -> _Span:
    """Empty where it holds no record, or is not whole: it is being written, or taken away."""
    try:
        text = parse_note(manifest.read_bytes()).text
        return msgspec.json.decode(text.partition("\n")[2], type=_Span)
    except (FileNotFoundError, GatewayError, msgspec.DecodeError):
        return _Span()
