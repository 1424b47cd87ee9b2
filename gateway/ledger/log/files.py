"""The log as files: tiles and bundles below `tree/`, written once, packed when their time has come.

checkpoint                          the signed note
cosigned                            the newest one that a witness cosigned
tile/<L>/<N>[.p/<W>]                hash tiles, as tlog-tiles serves them
tile/entries/<N>[.p/<W>].sgb        a bundle by itself, at rest (`at_rest`)
tile/entries/<N>.pack               bundles N to N+15, at rest; N is a multiple of 16
tile/entries/<N>[.p/<W>]            a bundle as tlog-tiles serves it: read, never written
"""

import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from gateway.domain.errors import GatewayError
from gateway.ledger.durable import FileBatch, make_directory, replace_file, unlink_all
from gateway.ledger.log import at_rest
from gateway.ledger.log.at_rest import LOOSE_LEVEL, PACK, PACK_LEVEL
from gateway.ledger.log.bundles import encode_bundle, parse_bundle
from gateway.ledger.log.tiles import HASH_BYTES, WIDTH, bundle_path, tile_path
from gateway.ledger.log.tree import Edge, leaf_hash

T = TypeVar("T")

COSIGNED = "cosigned"
LOOSE = ".sgb"
PACKED = ".pack"
MIRROR = "MIRROR"
"""Stands in a mirror and in no log: what bears it is not signed from (INVARIANT: NEVER-FORKED)."""
_KEPT_FILES = 4


_is_width = re.compile(r"[1-9][0-9]{0,2}").fullmatch

READ_ATTEMPTS = 5
READ_PAUSE_SECONDS = 0.005


def _while_it_grows(read: Callable[[], T]) -> T:
    """`read`, again where a partial file went between looking and reading: a wider one stands by then."""
    for _ in range(READ_ATTEMPTS - 1):
        try:
            return read()
        except FileNotFoundError:
            pass
        except GatewayError as error:
            if error.code != "not-found":
                raise
        time.sleep(READ_PAUSE_SECONDS)
    try:
        return read()
    except FileNotFoundError as error:
        raise GatewayError("not-found", "a part of the log is not there") from error


class LogFiles:
    """Reads and writes the tiles of one log.

    A partial tile or bundle is looked for under the width asked for, then under larger ones: a prefix of a wider
    tile is the narrower tile. Any thread may read; one thread writes.

    Args:
        root: the folder that holds `checkpoint` and `tile/`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: set[Path] = set()
        self._touched: set[Path] = set()
        self._batch = FileBatch()
        self._lock = threading.Lock()
        self._kept: dict[Path, list[bytes]] = {}

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

        def read() -> list[bytes]:
            path, at, found = self._find_bundle(n, width)
            entries = parse_bundle(self._stored(path)[at])
            if len(entries) != found:
                raise GatewayError("conflict", f"`{path}` holds {len(entries)} entries, not {found}")
            return entries[:width]

        return _while_it_grows(read)

    def checked_bundle(self, n: int, width: int = WIDTH) -> list[bytes]:
        """The first `width` entries of bundle `n`, each the one whose hash the log holds.

        Raises:
            GatewayError: as `bundle` and `tile` do; `conflict` if an entry is another than the log's.
        """
        entries = self.bundle(n, width)
        if b"".join(map(leaf_hash, entries)) != self.tile(0, n, width):
            raise GatewayError("conflict", f"bundle {n} holds an entry whose hash is not the log's")
        return entries

    def bundle_bytes(self, n: int, width: int = WIDTH) -> bytes:
        """Bundle `n` as tlog-tiles serves it; raises as `bundle` does."""
        return encode_bundle(self.bundle(n, width))

    def entry(self, index: int, size: int) -> bytes:
        """The entry of leaf `index` in a log of `size` leaves; raises as `checked_bundle` does."""
        n = index // WIDTH
        width, at = min(WIDTH, size - n * WIDTH), index % WIDTH
        entry = self.bundle(n, width)[at]
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

    def put_tile(self, level: int, n: int, hashes: bytes) -> None:
        """Put a hash tile in place; its width is its length. Durability: after `sync`."""
        path = self.root / tile_path(level, n, len(hashes) // HASH_BYTES)
        self._enter(path.parent)
        self._batch.put_once(path, hashes)

    def put_bundles(self, first: int, bundles: Sequence[Sequence[bytes]]) -> None:
        """Put the bundles from `first` on in place, sixteen full ones as a pack. Durability: after `sync`."""
        packs: list[tuple[int, list[bytes]]] = []
        at = 0
        while at < len(bundles):
            n = first + at
            some = bundles[at : at + PACK]
            if n % PACK == 0 and len(some) == PACK and len(some[-1]) == WIDTH:
                packs.append((n, [encode_bundle(entries) for entries in some]))
                at += PACK
            else:
                self._put_loose(n, bundles[at])
                at += 1
        self._put_packs(packs)

    def seal(self, n: int) -> None:
        """Pack the sixteen full bundles from `n` on, if they are not yet. Durability: synced on return."""
        pack = self.root / f"{bundle_path(n)}{PACKED}"
        loose = [self.root / f"{bundle_path(n + at)}{LOOSE}" for at in range(PACK)]
        if not pack.exists():
            self._put_packs([(n, [self.bundle_bytes(n + at) for at in range(PACK)])])
            self.sync()
        standing = [path for path in loose if path.exists()]
        if standing:
            unlink_all(standing)

    def sync(self) -> None:
        """Put what was put in place. Durability: contents and names are synced on return."""
        self._batch.sync()
        touched, self._touched = self._touched, set()
        self._batch.sync_directories(touched)

    def close(self) -> None:
        """Let the files go; reading goes on as before."""
        self._batch.close()

    def drop_partials(self, level: int | None, n: int) -> None:
        """Remove the partial tiles (level None: bundles) of a tile that is full now."""
        whole = self.root / (bundle_path(n) if level is None else tile_path(level, n))
        directory = whole.with_name(f"{whole.name}.p")
        if directory.is_dir():
            unlink_all(directory.iterdir())
            directory.rmdir()
            self._known.discard(directory)

    def drop_bundles(self, first: int, end: int) -> int:
        """Remove bundles `first` to `end` (not included); a pack that `end` divides is unpacked. Returns bytes freed.

        Hash tiles stay. Durability: synced on return; call again after a crash.
        """
        freed = 0
        for start in range(first - first % PACK, end, PACK):
            pack = self.root / f"{bundle_path(start)}{PACKED}"
            if pack.exists() and start + PACK > end:
                for n, content in enumerate(self._stored(pack), start):
                    if n >= end:
                        self._put_loose(n, parse_bundle(content), inside_pack=True)
                self.sync()
            gone = [pack, *(self.root / f"{bundle_path(n)}{LOOSE}" for n in range(start, min(start + PACK, end)))]
            standing = [path for path in gone if path.exists()]
            freed += sum(path.stat().st_size for path in standing)
            unlink_all(standing)
        with self._lock:
            self._kept.clear()
        return freed

    def checkpoint(self) -> bytes:
        """The published checkpoint; empty if none is."""
        try:
            return (self.root / "checkpoint").read_bytes()
        except FileNotFoundError:
            return b""

    def publish(self, note: bytes) -> None:
        """Put `checkpoint` in place in one step. Durability: synced on return."""
        replace_file(self.root / "checkpoint", note)

    def _put_loose(self, n: int, entries: Sequence[bytes], *, inside_pack: bool = False) -> None:
        path = self.root / f"{bundle_path(n, len(entries))}{LOOSE}"
        content = encode_bundle(entries)
        pack = self.root / f"{bundle_path(n - n % PACK)}{PACKED}"
        if len(entries) == WIDTH and pack.exists() and not inside_pack:
            self._compare(pack, n % PACK, content)
        elif path.exists():
            self._compare(path, 0, content)
        else:
            self._enter(path.parent)
            self._batch.put(path, at_rest.encode([content], LOOSE_LEVEL))

    def _put_packs(self, packs: Sequence[tuple[int, Sequence[bytes]]]) -> None:
        new: list[tuple[Path, Sequence[bytes]]] = []
        for n, bundles in packs:
            path = self.root / f"{bundle_path(n)}{PACKED}"
            if path.exists():
                for at, content in enumerate(bundles):
                    self._compare(path, at, content)
            else:
                self._enter(path.parent)
                new.append((path, bundles))
        # Compressing leaves the interpreter's lock: with two cores, packs are made side by side.
        contents = self._batch.map(lambda each: at_rest.encode(each[1], PACK_LEVEL), new)
        for (path, _), content in zip(new, contents, strict=True):
            self._batch.put(path, content)

    def _compare(self, path: Path, at: int, content: bytes) -> None:
        # INVARIANT: APPEND-ONLY: compared by content, for a later zstd may pack the same content otherwise.
        if at_rest.decode(path.read_bytes(), str(path))[at] != content:
            raise GatewayError("conflict", f"`{path}` holds other entries than the log would write there")

    def _enter(self, directory: Path) -> None:
        if directory not in self._known:
            make_directory(directory)
            self._known.add(directory)
        self._touched.add(directory)

    def _stored(self, path: Path) -> list[bytes]:
        with self._lock:
            bundles = self._kept.get(path)
        if bundles is None:
            content = path.read_bytes()
            bundles = at_rest.decode(content, str(path)) if path.suffix in {LOOSE, PACKED} else [content]
            with self._lock:
                if len(self._kept) >= _KEPT_FILES:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[path] = bundles
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
