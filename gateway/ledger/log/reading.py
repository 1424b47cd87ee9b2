"""Tiles and bundles of one log, read: by the log itself, and by whoever verifies it."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from gateway.domain.errors import GatewayError
from gateway.ledger.log import at_rest
from gateway.ledger.log.at_rest import PACK
from gateway.ledger.log.bundles import encode_bundle, parse_bundle
from gateway.ledger.log.tiles import HASH_BYTES, WIDTH, bundle_path, parse_tile_path, tile_path
from gateway.ledger.log.tree import Edge, leaf_hash

T = TypeVar("T")
COSIGNED = "cosigned"
LOOSE = ".sgb"
PACKED = ".pack"
STAYING = ".kept"
MIRROR = "MIRROR"
"""Stands in a mirror and in no log: what bears it is not signed from (INVARIANT: NEVER-FORKED)."""
_READ_FILES = 4
_is_width = re.compile(r"[1-9][0-9]{0,2}").fullmatch
READ_ATTEMPTS = 5
READ_PAUSE_SECONDS = 0.005


def _while_it_grows(read: Callable[[], T], *, is_full: bool = False) -> T:
    """`read`, again where a file went between looking and reading: a wider one stands by then.

    What replaces a full one stands before that goes: then one more look is enough.
    """
    for attempt in range(READ_ATTEMPTS):
        try:
            return read()
        except FileNotFoundError as error:
            if attempt == READ_ATTEMPTS - 1:
                raise GatewayError("not-found", "a part of the log is not there") from error
        except GatewayError as error:
            if error.code != "not-found" or attempt == READ_ATTEMPTS - 1 or (is_full and attempt):
                raise
        if not is_full:
            time.sleep(READ_PAUSE_SECONDS)
    raise AssertionError


class LogReader:
    """Reads the tiles of one log.

    A partial tile or bundle is looked for under the width asked for, then under larger ones: a prefix of a wider
    tile is the narrower tile. Any thread may read; one thread writes.

    Args:
        root: the folder that holds `checkpoint` and `tile/`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._read: dict[Path, list[bytes]] = {}

    def tile(self, level: int, n: int, width: int = WIDTH) -> bytes:
        """The first `width` hashes of tile `n` at `level`.

        Raises:
            GatewayError: `not-found` if it is not there, `conflict` if it has another length than its name says.
        """

        def read() -> bytes:
            path, found = self._find(tile_path(level, n), width, "")
            content = path.read_bytes()
            if len(content) != found * HASH_BYTES:
                raise GatewayError("conflict", f"`{path}` has {len(content)} bytes, not {found * HASH_BYTES}")
            return content[: width * HASH_BYTES]

        return _while_it_grows(read)

    def bundle(self, n: int, width: int = WIDTH) -> list[bytes]:
        """The first `width` entries of bundle `n`.

        Raises:
            GatewayError: `not-found` if it is not there (pruned, or not yet), `conflict` if it is damaged.
        """
        return _while_it_grows(lambda: self._whole(n, width), is_full=width == WIDTH)

    def standing(self, n: int, width: int = WIDTH) -> list[bytes]:
        """What stands of the first `width` entries of bundle `n`, by their hashes; b"" for what went.

        Raises:
            GatewayError: `not-found` if none of them is there, `conflict` if an entry is another than the log's.
        """
        entries, hashes = self.left(n, width), self.tile(0, n, width)
        for at, entry in enumerate(entries):
            if entry and leaf_hash(entry) != hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES]:
                raise GatewayError("conflict", f"bundle {n} holds an entry whose hash is not the log's")
        return entries

    def kept_packs(self) -> list[int]:
        """The first bundles of the packs of which a prune kept something, in order."""
        entries = self.root / "tile" / "entries"
        paths = (path.relative_to(self.root).as_posix() for path in entries.rglob(f"*{STAYING}"))
        return sorted(parse_tile_path(path.removesuffix(STAYING))[1] for path in paths)

    def kept_bundles(self, end: int) -> Iterator[tuple[int, list[bytes]]]:
        """The bundles below bundle `end` of which a prune kept something, in order; b"" is what went of them."""
        for pack in self.kept_packs():
            for n in range(pack, min(pack + PACK, end)):
                entries = self._kept(n)
                if any(entries):
                    yield n, entries

    def bundle_bytes(self, n: int, width: int = WIDTH) -> bytes:
        """Bundle `n` as tlog-tiles serves it; raises as `bundle` does."""
        return encode_bundle(self.bundle(n, width))

    def entry(self, index: int, size: int) -> bytes:
        """The entry of leaf `index` in a log of `size` leaves, kept by a prune or whole; raises as `standing` does."""
        n = index // WIDTH
        width, at = min(WIDTH, size - n * WIDTH), index % WIDTH
        entry = self.left(n, width)[at]
        if not entry:
            raise GatewayError("not-found", f"the entry of leaf {index} was pruned")
        if leaf_hash(entry) != self.tile(0, n, width)[at * HASH_BYTES : (at + 1) * HASH_BYTES]:
            raise GatewayError("conflict", f"leaf {index} in bundle {n} is not the entry whose hash the log holds")
        return entry

    def edge(self, size: int) -> Edge:
        """The right edge of the log at `size`, from its tiles.

        Raises:
            GatewayError: `not-found` or `conflict` if a tile it needs is missing or damaged.
        """
        partial = []
        level = 0
        while size >> (8 * level):
            width = (size >> (8 * level)) % WIDTH
            partial.append(self.tile(level, size >> (8 * (level + 1)), width) if width else b"")
            level += 1
        return Edge(size, partial)

    def checkpoint(self) -> bytes:
        """The published checkpoint; empty if none is."""
        try:
            return (self.root / "checkpoint").read_bytes()
        except FileNotFoundError:
            return b""

    def left(self, n: int, width: int = WIDTH) -> list[bytes]:
        """As `standing`, and not compared with their hashes."""

        def read() -> list[bytes]:
            try:
                return self._whole(n, width)
            except GatewayError as error:
                if error.code != "not-found" or not any(entries := self._kept(n)[:width]):
                    raise
            return entries

        return _while_it_grows(read, is_full=width == WIDTH)

    def _whole(self, n: int, width: int) -> list[bytes]:
        path, at, found = self._find_bundle(n, width)
        entries = parse_bundle(self._stored(path)[at])
        if len(entries) != found:
            raise GatewayError("conflict", f"`{path}` holds {len(entries)} entries, not {found}")
        return entries[:width]

    def _kept(self, n: int) -> list[bytes]:
        """Bundle `n` as a prune left it, b"" for what went; all of them where nothing stayed."""
        path = self.root / f"{bundle_path(n - n % PACK)}{STAYING}"
        # Not remembered: the next prune may leave less of it.
        try:
            bundles = at_rest.decode(path.read_bytes(), str(path))
        except FileNotFoundError:
            return [b""] * WIDTH
        entries = parse_bundle(bundles[n % PACK]) if len(bundles) == PACK else []
        if len(entries) not in {0, WIDTH}:
            raise GatewayError("conflict", f"`{path}` is no pack of what was kept")
        return entries or [b""] * WIDTH

    def _stored(self, path: Path) -> list[bytes]:
        with self._lock:
            bundles = self._read.get(path)
        if bundles is None:
            content = path.read_bytes()
            bundles = at_rest.decode(content, str(path)) if path.suffix in {LOOSE, PACKED} else [content]
            with self._lock:
                if len(self._read) >= _READ_FILES:
                    self._read.pop(next(iter(self._read)))
                self._read[path] = bundles
        return bundles

    def _find_bundle(self, n: int, width: int) -> tuple[Path, int, int]:
        """File, place in it and width of the bundle that begins with the first `width` entries of bundle `n`."""
        try:
            path, found = self._find(bundle_path(n), width, LOOSE)
        except GatewayError:
            pack = self.root / f"{bundle_path(n - n % PACK)}{PACKED}"
            if pack.exists():
                return pack, n % PACK, WIDTH
            # As tlog-tiles serves it: a log that was mirrored over HTTP, or that another program keeps.
            path, found = self._find(bundle_path(n), width, "")
        return path, 0, found

    def _find(self, path: str, width: int, suffix: str) -> tuple[Path, int]:
        whole = self.root / (path + suffix)
        partials = self.root / f"{path}.p"
        exact = whole if width == WIDTH else partials / f"{width}{suffix}"
        if exact.exists():
            return exact, width
        if whole.exists():
            return whole, WIDTH
        if width < WIDTH and partials.is_dir():
            names = (each.name.removesuffix(suffix) for each in partials.iterdir())
            widths = (int(name) for name in names if _is_width(name))
            wider = sorted(each for each in widths if each > width)
            if wider:
                return partials / f"{wider[0]}{suffix}", wider[0]
        raise GatewayError("not-found", f"`{exact}` is not there")
