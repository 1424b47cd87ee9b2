"""The log as files: tiles and bundles below `tree/`, written once, packed when their time has come.

checkpoint                          the signed note
cosigned                            the newest one that a witness cosigned
tile/<L>/<N>[.p/<W>]                hash tiles, as tlog-tiles serves them
tile/entries/<N>[.p/<W>].sgb        a bundle by itself, at rest (`at_rest`)
tile/entries/<N>.pack               bundles N to N+15, at rest; N is a multiple of 16
tile/entries/<N>.kept               what retention kept of bundles N to N+15 (`kept`)
tile/entries/<N>[.p/<W>]            a bundle as tlog-tiles serves it: read, never written
"""

from collections.abc import Sequence
from pathlib import Path

from gateway.domain.errors import GatewayError
from gateway.ledger.durable import FileBatch, make_directory, replace_file, unlink_all
from gateway.ledger.log import at_rest
from gateway.ledger.log.at_rest import LOOSE_LEVEL, PACK, PACK_LEVEL
from gateway.ledger.log.bundles import encode_bundle, parse_bundle
from gateway.ledger.log.kept import Kept
from gateway.ledger.log.reading import LOOSE, PACKED, STAYING, LogReader
from gateway.ledger.log.tiles import HASH_BYTES, WIDTH, bundle_path, tile_path


class LogFiles(LogReader):
    """Reads and writes the tiles of one log.

    Args:
        root: the folder that holds `checkpoint` and `tile/`.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._known: set[Path] = set()
        self._touched: set[Path] = set()
        self._batch = FileBatch()

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

    def drop_bundles(self, first: int, kept: Kept) -> int:
        """Remove bundles `first` to the end of `kept`, and all below that end but for its leaves. Returns bytes freed.

        What stays of a pack is written anew, each entry compared with its hash, before what held it goes. A pack that
        the end divides is unpacked. Hash tiles stay. Durability: synced on return; call again after a crash.

        Raises:
            GatewayError: `conflict` if an entry that stays is not there, or is not the log's; nothing of its pack went.
        """
        end = kept.end // WIDTH
        packs = {*self.kept_packs(), *range(first - first % PACK, end, PACK)}
        freed = 0
        for start in sorted(packs):
            path = self.root / f"{bundle_path(start)}{STAYING}"
            gone = self._divide(start, end)
            before = _bytes_of([*gone, path])
            stays = self._put_kept(start, kept)
            self.sync()
            unlink_all(each for each in (gone if stays else [*gone, path]) if each.exists())
            freed += before - _bytes_of([path])
        with self._lock:
            self._read.clear()
        return freed

    def _divide(self, start: int, end: int) -> list[Path]:
        """What holds bundles of the pack `start` that go whole; those from `end` on are put aside from it."""
        pack = self.root / f"{bundle_path(start)}{PACKED}"
        if pack.exists() and start + PACK > end:
            for n, content in enumerate(self._stored(pack), start):
                if n >= end:
                    self._put_loose(n, parse_bundle(content), inside_pack=True)
        return [pack, *(self.root / f"{bundle_path(n)}{LOOSE}" for n in range(start, min(start + PACK, end)))]

    def _put_kept(self, start: int, kept: Kept) -> bool:
        """Put in place what stays of the pack `start`, unless it stands so already; False if nothing stays."""
        contents: list[bytes] = []
        for n in range(start, start + PACK):
            leaves = kept.within(n * WIDTH, (n + 1) * WIDTH)
            entries = [b""] * WIDTH if leaves else []
            # INVARIANT: APPEND-ONLY: each is the entry whose hash the log holds, or nothing of the pack goes.
            standing = self.standing(n) if leaves else []
            for leaf in leaves:
                if not standing[leaf % WIDTH]:
                    raise GatewayError("conflict", f"the entry of leaf {leaf} has to stay, and is not there")
                entries[leaf % WIDTH] = standing[leaf % WIDTH]
            contents.append(encode_bundle(entries))
        path = self.root / f"{bundle_path(start)}{STAYING}"
        stays = any(contents)
        if stays and not (path.exists() and at_rest.decode(path.read_bytes(), str(path)) == contents):
            self._enter(path.parent)
            self._batch.put(path, at_rest.encode(contents, PACK_LEVEL))
        return stays

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


def _bytes_of(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.exists())
