"""Entry bundles: up to 256 entries, each `uint16 big-endian length ‖ entry`, as tlog-tiles serves them."""

from collections.abc import Sequence
from struct import Struct

from gateway.domain.errors import GatewayError
from gateway.ledger.log.tiles import WIDTH

_LENGTH = Struct(">H")
_pack = _LENGTH.pack
_unpack = _LENGTH.unpack_from


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """The bundle of `entries`."""
    return b"".join([_pack(len(entry)) + entry for entry in entries])


def parse_bundle(content: bytes) -> list[bytes]:
    """The entries of a bundle.

    Raises:
        GatewayError: `conflict` if lengths and content do not fit, or there are more than 256 entries.
    """
    entries = parse_entries(content)
    if len(entries) > WIDTH:
        raise GatewayError("conflict", f"the bundle holds {len(entries)} entries")
    return entries


def parse_entries(content: bytes) -> list[bytes]:
    """The entries of a bundle of any width.

    Raises:
        GatewayError: `conflict` if lengths and content do not fit.
    """
    entries = []
    at, end = 0, len(content)
    while at + 2 <= end:
        (length,) = _unpack(content, at)
        entries.append(content[at + 2 : at + 2 + length])
        at += 2 + length
    if at != end:
        raise GatewayError("conflict", f"the bundle is cut short in entry {max(0, len(entries) - 1)}")
    return entries
