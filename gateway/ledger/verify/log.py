"""The offline verifier of a whole log, from the first leaf, with nothing but the log's verifier key.

    1  the checkpoint is signed by the key; so is the cosigned one, if there is one
    2  every entry of every bundle, and every one that a prune kept, hashes to its place in a level-0 tile; below the
       minimum index alone, and only where a `prune` record in the log says so, entries may be missing, and not those
       that stay by the digest in that record
    3  every tile is the tile below it, hashed; every partial tile and bundle is the beginning of its successor
    4  the right edge folds to the signed root; the cosigned root is that of the same tiles
    5  of a ledger's folder, what stands beside the log: journals, index, and what was signed last (`verify_beside`)

Step 2, and step 3 for the leaves' tiles, is most of the work and runs on every core. The caller must have the key
from a source it trusts, and should compare the checkpoint with what a witness has cosigned: nobody can see from one
copy whether another was shown.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.log.at_rest import PACK
from gateway.ledger.log.checkpoints import Checkpoint, verify_checkpoint
from gateway.ledger.log.decimals import parse_decimal
from gateway.ledger.log.kept import KEPT, Kept, read_kept
from gateway.ledger.log.minimum import MINIMUM_INDEX, minimum_index
from gateway.ledger.log.notes import VerifierKey, parse_verifier_key
from gateway.ledger.log.proofs import Hashes
from gateway.ledger.log.reading import COSIGNED, LOOSE, LogReader
from gateway.ledger.log.tiles import HASH_BYTES, WIDTH, bundle_path, full_tiles, partial_width, tile_path
from gateway.ledger.log.tree import Edge, perfect_root
from gateway.ledger.names import WRITING
from gateway.ledger.verify.beside import verify_beside
from gateway.ledger.verify.entries import Prune, not_failed, prunes_in, verify_entries
from gateway.ledger.verify.report import Checked, VerificationFailed

SPAN_BUNDLES = 16 * PACK
"""Bundles one process looks at in one go."""
_SMALL_LEAVES = 300_000
"""Below, one core is done before others have started."""
_SPANS_AHEAD = 2
"""Spans that wait for each other process while this one is busy with its own."""

Progress = Callable[[int, int], None]


class _Span(msgspec.Struct, frozen=True):
    """What one span of bundles came to.

    Args:
        hashed: entries that hash to their leaves.
        missing: bundles that are missing, or of which entries are, as (first, end) of those that follow each other.
        gone: entries that are missing.
        prunes: the prune records in it.
    """

    hashed: int
    missing: tuple[tuple[int, int], ...]
    gone: int
    prunes: tuple[Prune, ...]


def verify_log(
    directory: Path, verifier_key: str, *, progress: Progress = lambda _done, _of: None, processes: int | None = None
) -> Checked:
    """Verify a log's folder (`checkpoint` and `tile/` in it) or a ledger's (with `tree/` in it).

    Args:
        directory: the folder.
        verifier_key: `name+id+base64`.
        progress: called with leaves done and leaves in all.
        processes: how many to use; all cores unless said.

    Raises:
        VerificationFailed: at the first thing that does not hold; it names the file or the leaf.
        GatewayError: `not-found` if there is no checkpoint.
    """
    key = parse_verifier_key(verifier_key)
    root = directory / "tree" if (directory / "tree").is_dir() else directory
    while True:
        pruned_to, kept = _minimum_index(root), _kept(root)
        try:
            return _verify(directory, root, key, (pruned_to, kept), progress, processes)
        except VerificationFailed:
            # Retention removed something while it was looked at: the newer checkpoint says what.
            if (_minimum_index(root), _kept(root)) == (pruned_to, kept):
                raise


def _verify(
    directory: Path,
    root: Path,
    key: VerifierKey,
    stated: tuple[int, Kept | None],
    progress: Progress,
    processes: int | None,
) -> Checked:
    files = LogReader(root)
    pruned_to, kept = stated
    # A log at work goes on meanwhile: what is read first is not ahead of what is read after it.
    cosigned = _cosigned(root)
    content = files.checkpoint()
    if not content:
        raise GatewayError("not-found", f"`{root}` holds no checkpoint")
    try:
        checkpoint, _ = verify_checkpoint(content, key)
    except GatewayError as error:
        raise VerificationFailed(str(root / "checkpoint"), error.detail) from error
    spans = list(_spans(root, checkpoint.size, kept, progress, processes))
    hashed = sum(span.hashed for span in spans)
    _require_kept_on_record(spans, root / KEPT, pruned_to, kept)
    pruned = _pruned(spans, root / MINIMUM_INDEX, pruned_to)
    _verify_levels(files, checkpoint)
    _verify_partial_tiles(files, checkpoint.size)
    _verify_partial_bundles(files, checkpoint.size)
    checked = [
        f"the checkpoint of {checkpoint.size} leaves is signed by the key of `{key.name}`",
        f"{hashed} entries hash to their leaves",
        "every hash tile follows from the tile below it, and the root from them",
    ]
    missing = ["whether anyone was shown another log: compare this checkpoint with a witness's"]
    if root != directory:
        beside, not_there = verify_beside(directory, key, checkpoint)
        checked += beside
        missing += not_there
    if cosigned:
        try:
            older, note = verify_checkpoint(cosigned, key)
            _verify_older(files, checkpoint, older)
        except GatewayError as error:
            raise VerificationFailed(str(root / COSIGNED), error.detail) from error
        checked.append(f"the cosigned checkpoint of {older.size} leaves is of the same tree")
        missing.append(f"the {len(note.signatures) - 1} cosignatures: verify them with their witnesses' keys")
    if pruned:
        end, left = pruned
        but = f", but for {left} that stay and hash to their leaves" if left else ""
        checked.append(f"leaves 0 to {end - 1} were pruned{but}, as a record in the log says; their hashes still stand")
        missing.append(f"what the {end - left} pruned entries said")
    return Checked("log", key.name, checkpoint.size, hashed, tuple(checked), tuple(missing))


def _cosigned(root: Path) -> bytes:
    """The checkpoint that a witness cosigned last; empty if there is none."""
    try:
        return (root / COSIGNED).read_bytes()
    except FileNotFoundError:
        return b""


def _minimum_index(root: Path) -> int:
    try:
        return minimum_index(root)
    except GatewayError as error:
        raise VerificationFailed(str(root / MINIMUM_INDEX), error.detail) from error


def _kept(root: Path) -> Kept | None:
    try:
        return read_kept(root)
    except GatewayError as error:
        raise VerificationFailed(str(root / KEPT), error.detail) from error


def _spans(root: Path, size: int, kept: Kept | None, progress: Progress, processes: int | None) -> Iterator[_Span]:
    def staying(first: int, end: int) -> tuple[int, ...]:
        return tuple(kept.within(first * WIDTH, end * WIDTH)) if kept else ()

    bundles = (size + WIDTH - 1) // WIDTH
    ranges = [(first, min(first + SPAN_BUNDLES, bundles)) for first in range(0, bundles, SPAN_BUNDLES)]
    workers = min(processes or os.cpu_count() or 1, len(ranges))
    done = 0
    if workers <= 1 or size < _SMALL_LEAVES:
        for first, end in ranges:
            yield _verify_span(root, first, end, size, staying(first, end))
            progress(min(end * WIDTH, size), size)
        return
    # This process works too, from the front; the others take from the end, so that none waits for another to start.
    left = deque(ranges)
    under_way: dict[Future[_Span], int] = {}
    with ProcessPoolExecutor(workers - 1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            while left or under_way:
                while left and len(under_way) < _SPANS_AHEAD * (workers - 1):
                    first, end = left.pop()
                    under_way[pool.submit(_verify_span, root, first, end, size, staying(first, end))] = end - first
                if left:
                    first, end = left.popleft()
                    yield _verify_span(root, first, end, size, staying(first, end))
                    done += (end - first) * WIDTH
                for future in wait(under_way, 0 if left else None, FIRST_COMPLETED).done:
                    yield future.result()
                    done += under_way.pop(future) * WIDTH
                progress(min(done, size), size)
        except GatewayError:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _verify_span(root: Path, first: int, end: int, size: int, staying: tuple[int, ...]) -> _Span:
    files = LogReader(root)
    hashed = gone = 0
    missing: list[tuple[int, int]] = []
    left = set(staying)
    prunes: list[Prune] = []
    above = {n: _above(files, 0, n, size) for n in range(first // WIDTH, (end - 1) // WIDTH + 1)}
    for n in range(first, end):
        width = min(WIDTH, size - n * WIDTH)
        stated = _tile(files, 0, n, width)
        if width == WIDTH:
            _verify_tile(0, n, stated, above[n // WIDTH])
        try:
            entries = files.left(n, width)
        except GatewayError as error:
            if error.code != "not-found":
                raise VerificationFailed(f"leaves {n * WIDTH} to {n * WIDTH + width - 1}", error.detail) from error
            entries = [b""] * width
        verify_entries(entries, stated, n * WIDTH)
        if b"" in entries:
            missing.append((missing.pop()[0] if missing and missing[-1][1] == n else n, n + 1))
            _require_staying(entries, n * WIDTH, left)
        hashed += width - entries.count(b"")
        gone += entries.count(b"")
        prunes += prunes_in(entries)
    return _Span(hashed, tuple(missing), gone, tuple(prunes))


def _require_staying(entries: list[bytes], first: int, staying: set[int]) -> None:
    """Raise where an entry of a bundle went that had to stay."""
    for leaf, entry in enumerate(entries, first):
        if not entry and leaf in staying:
            raise VerificationFailed(f"leaf {leaf}", "the entry is missing, and the prune on record kept it")


def _pruned(spans: list[_Span], path: Path, stated: int) -> tuple[int, int] | None:
    """Where what was pruned ends, and how many entries stand below it; None where nothing was.

    Raises if a bundle is missing, or a minimum index `stated`, that no prune accounts for.
    A prune that was cut off, or is under way, is on record before the index is raised, and that before bundles go. One
    that failed accounts for nothing.
    """
    ends = {0} | {prune.end for prune in _not_failed(spans)}
    if stated not in ends:
        raise VerificationFailed(str(path), f"it says {stated}, and no prune record in the log ends there")
    missing = sorted(bundles for span in spans for bundles in span.missing)
    for n in (n for bundles in missing for n in range(*bundles)):
        leaves = f"leaves {n * WIDTH} to {(n + 1) * WIDTH - 1}"
        if (n + 1) * WIDTH > max(ends):
            raise VerificationFailed(leaves, "the bundle is missing, and no prune record says why")
        if (n + 1) * WIDTH > stated:
            raise VerificationFailed(str(path), f"it says {stated}, and {leaves} are missing, which were pruned")
    end = missing[-1][1] * WIDTH if missing else 0
    return (end, end - sum(span.gone for span in spans)) if end else None


def _not_failed(spans: list[_Span]) -> list[Prune]:
    return not_failed(prune for span in spans for prune in span.prunes)


def _require_kept_on_record(spans: list[_Span], path: Path, stated: int, kept: Kept | None) -> None:
    """Raise unless what is said to stay is what a prune on record kept.

    A prune replaces `kept` before it raises the minimum index: so `kept` may be ahead of that, and never behind.
    """
    prunes = [prune for prune in _not_failed(spans) if isinstance(prune.kept, str)]
    if kept is None:
        # An older release kept nothing, and says nothing of it.
        here = [prune.kept for prune in prunes if prune.end == stated]
        if here and all(here):
            raise VerificationFailed(str(path), "it is missing, and says what the last prune on record kept")
        return
    if kept.end < stated or not any((prune.end, prune.kept) == (kept.end, kept.digest) for prune in prunes):
        raise VerificationFailed(str(path), "no prune record in the log kept just that")


def _above(files: LogReader, level: int, n: int, size: int) -> bytes:
    """Tile `n` of the level above `level`, as far as full tiles stand below it."""
    width = min(WIDTH, (size >> (8 * (level + 1))) - n * WIDTH)
    return _tile(files, level + 1, n, width) if width else b""


def _verify_tile(level: int, n: int, hashes: bytes, above: bytes) -> None:
    """Raise unless full tile `n` at `level` hashes to its place in the tile above."""
    at = n % WIDTH * HASH_BYTES
    if perfect_root(hashes) != above[at : at + HASH_BYTES]:
        raise VerificationFailed(f"tile {n} at level {level}", "it does not hash to the tile above it")


def _verify_levels(files: LogReader, checkpoint: Checkpoint) -> None:
    size = checkpoint.size
    partial = []
    level = 0
    while size >> (8 * level):
        width = partial_width(size, level)
        partial.append(_tile(files, level, full_tiles(size, level), width) if width else b"")
        for n in range(full_tiles(size, level) if level else 0):
            _verify_tile(level, n, _tile(files, level, n, WIDTH), _above(files, level, n // WIDTH, size))
        level += 1
    _verify_root(Edge(size, partial), checkpoint)


def _verify_root(edge: Edge, checkpoint: Checkpoint) -> None:
    if edge.root() != checkpoint.root:
        raise VerificationFailed(f"the log at {checkpoint.size} leaves", "the tiles do not hash to the signed root")


def _verify_partial_tiles(files: LogReader, size: int) -> None:
    """Every partial tile that older checkpoints need is the beginning of what stands now.

    Those of a log that has gone on since the checkpoint was read are wider than it: of them the beginning is checked.
    """
    level = 0
    while size >> (8 * level):
        n, width = full_tiles(size, level), partial_width(size, level)
        if width:
            whole = _tile(files, level, n, width)
            for path, stated in _partials(files.root / f"{tile_path(level, n)}.p", ""):
                try:
                    content = path.read_bytes()
                except FileNotFoundError:
                    continue  # the whole tile stands by now
                if content[: len(whole)] != whole[: len(content)] or len(content) != stated * HASH_BYTES:
                    raise VerificationFailed(str(path), "it is not the beginning of the tile it belongs to")
        level += 1


def _verify_partial_bundles(files: LogReader, size: int) -> None:
    """The same of the partial bundles."""
    n, width = full_tiles(size, 0), partial_width(size, 0)
    if width:
        entries = files.bundle(n, width)
        for path, stated in _partials(files.root / f"{bundle_path(n)}.p", LOOSE):
            try:
                older = files.bundle(n, stated)
            except GatewayError as error:
                raise VerificationFailed(str(path), error.detail) from error
            if older[:width] != entries[:stated]:
                raise VerificationFailed(str(path), "it is not the beginning of the bundle it belongs to")


def _partials(directory: Path, suffix: str) -> list[tuple[Path, int]]:
    """The partial files in `directory` but for what is being written, and the widths in their names."""
    try:
        paths = sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    return [(path, _width(path, suffix)) for path in paths if path.suffix != WRITING]


def _width(path: Path, suffix: str) -> int:
    try:
        return parse_decimal(path.name.removesuffix(suffix))
    except ValueError as error:
        raise VerificationFailed(str(path), "its name is no width of a partial tile") from error


def _verify_older(files: LogReader, checkpoint: Checkpoint, older: Checkpoint) -> None:
    if older.size > checkpoint.size:
        raise GatewayError("conflict", f"it is ahead of the checkpoint of {checkpoint.size} leaves")
    if older.size and Hashes(checkpoint.size, files.tile).span(0, older.size) != older.root:
        raise GatewayError("conflict", "it is of another tree")


def _tile(files: LogReader, level: int, n: int, width: int) -> bytes:
    try:
        return files.tile(level, n, width)
    except GatewayError as error:
        raise VerificationFailed(f"tile {n} at level {level}", error.detail) from error
