"""A log as it lies in an object store (`gateway.ledger.archive`), or as plain C2SP tiles in a bucket."""

import threading

from gateway.domain.errors import GatewayError
from gateway.ledger.archive.reading import StoreReader
from gateway.ledger.archive.target import Target
from gateway.ledger.log import at_rest
from gateway.ledger.log.at_rest import MAX_BUNDLE_BYTES, PACK
from gateway.ledger.log.bundles import parse_bundle
from gateway.ledger.log.minimum import MINIMUM_INDEX, parse_minimum_index
from gateway.ledger.log.notes import MAX_NOTE_BYTES
from gateway.ledger.log.reading import LOOSE, PACKED, STAYING
from gateway.ledger.log.tiles import HASH_BYTES, WIDTH, bundle_path, tile_path

MAX_PACK_BYTES = PACK * MAX_BUNDLE_BYTES
_READ_PACKS = 2
_TRIES = 5


class StoredLog:
    """Reads a log below `target`; see `walk.Source`."""

    def __init__(self, target: Target) -> None:
        self.where = target.address
        self._store = StoreReader(target, tries=_TRIES)
        # The bundles of a pack are asked for side by side: one reads it, the others wait for that.
        self._locks = [threading.Lock() for _ in range(_READ_PACKS)]
        self._read: list[tuple[str, list[bytes]]] = [("", [])] * _READ_PACKS

    def checkpoint(self) -> bytes:
        """As `Source`."""
        return self._get_or("checkpoint", MAX_NOTE_BYTES, b"")

    def tile(self, level: int, n: int, width: int = WIDTH) -> bytes:
        """As `Source`."""
        content = b""
        for path, stated in ((tile_path(level, n, width), width), (tile_path(level, n), WIDTH)):
            try:
                content = self._store.get(path, WIDTH * HASH_BYTES)
            except GatewayError as error:
                if error.code != "not-found" or stated == WIDTH:
                    raise
                continue
            if len(content) != stated * HASH_BYTES:
                raise GatewayError("conflict", f"`{path}` has {len(content)} bytes, not {stated * HASH_BYTES}")
            break
        return content[: width * HASH_BYTES]

    def entries(self, n: int, width: int = WIDTH) -> list[bytes]:
        """As `Source`."""
        first = n - n % PACK
        for path, at in (
            (f"{bundle_path(first)}{PACKED}", n % PACK),
            (f"{bundle_path(n, width)}{LOOSE}", 0),
            (f"{bundle_path(n)}{LOOSE}", 0),
            (bundle_path(n, width), None),
        ):
            try:
                bundles = self._stored(path, first, is_plain=at is None)
                found = parse_bundle(bundles[at or 0])
            except GatewayError as error:
                if error.code != "not-found":
                    raise
                continue
            except IndexError as error:
                raise GatewayError("conflict", f"`{path}` holds too few bundles") from error
            return found[:width]
        kept = self._stored(f"{bundle_path(first)}{STAYING}", first)
        entries = parse_bundle(kept[n % PACK]) if len(kept) == PACK else []
        return entries or [b""] * width

    def minimum_index(self) -> int:
        """As `Source`."""
        return parse_minimum_index(self._get_or(MINIMUM_INDEX, 32, b"0\n"), f"{self.where}/{MINIMUM_INDEX}")

    def has_below(self, _minimum: int) -> bool:
        """As `Source`: what was brought to the store before it was pruned is still there."""
        return True

    def close(self) -> None:
        """Let the connections go."""
        self._store.close()

    def _get_or(self, key: str, most_bytes: int, otherwise: bytes) -> bytes:
        try:
            return self._store.get(key, most_bytes)
        except GatewayError as error:
            if error.code != "not-found":
                raise
            return otherwise

    def _stored(self, path: str, first: int, *, is_plain: bool = False) -> list[bytes]:
        slot = first // PACK % _READ_PACKS
        with self._locks[slot]:
            if self._read[slot][0] != path:
                content = self._store.get(path, MAX_BUNDLE_BYTES if is_plain else MAX_PACK_BYTES)
                self._read[slot] = path, [content] if is_plain else at_rest.decode(content, path)
            return self._read[slot][1]
