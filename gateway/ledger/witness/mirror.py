"""A mirror of a log at work: a copy that verifies by itself, and that no gateway goes on signing from.

A mirror may be the last copy of a log. So it goes on only with a log that it is the beginning of, by its signed root;
a file of it is removed only where the log bears out that something that holds it stands in its place (a partial tile
in a wider one, a bundle in its pack) or that a prune on record took it, and replaced only where it is damaged and the
log's is not, or where a later prune kept less of it. Anything else is a `conflict`, found before a file of the mirror
is touched.

The checkpoint is read before the tree, which goes on meanwhile: what that checkpoint needs stands for ever, or goes
when something that holds it stands in its place, or is pruned. So folders are read before the folder they lie in, and
each twice; what went is removed from the mirror when all else is there; and where `minimum-index` has moved on, all of
it is done again.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.durable import make_directory, replace_file, sync_directory, unlink_all
from gateway.ledger.log import at_rest
from gateway.ledger.log.checkpoints import Checkpoint, parse_checkpoint
from gateway.ledger.log.files import LogFiles
from gateway.ledger.log.kept import KEPT, KEPT_NEXT, Kept, kept_digest, read_kept
from gateway.ledger.log.minimum import MINIMUM_INDEX, minimum_index
from gateway.ledger.log.notes import parse_note
from gateway.ledger.log.reading import LOOSE, MIRROR, PACKED, STAYING, LogReader
from gateway.ledger.log.tiles import HASH_BYTES, WIDTH, parse_tile_path
from gateway.ledger.names import WRITING
from gateway.ledger.retention.retention import PRUNING

NOTES = ("cosigned", "checkpoint")
"""Read in this order: the log cosigns what it has published, and publishes what stands in its tiles."""
PLACED = ("checkpoint", "cosigned")
"""Put in place in this order: what was cosigned is of no later checkpoint than the one that stands."""
CHANGING = (PRUNING, KEPT, MINIMUM_INDEX)
"""Put in place in this order. Every other file, once it has a name and a size, never changes, but for what a prune left
of a pack, of which the next may leave less."""
_PRUNED = (MINIMUM_INDEX, KEPT)
_MARK = b"a mirror of a log, made by `gateway backup`: `gateway restore` puts it back\n"
_LISTINGS = 2
_PRUNE = b'"kind":"prune"'


class _Prune(msgspec.Struct):
    kind: str
    end: int = 0
    step: str = ""
    kept: str = ""


def mirror_log(tree: Path, mirror: Path) -> int:
    """Bring `mirror` up to the checkpoint of the log in `tree`; returns how many files were copied.

    What retention pruned from the log goes from the mirror too. Journals, index and `signer.db` are no part of it: the
    last seconds are in the journals alone, the index is made from the log, and a copy that held `signer.db` would be
    taken for the log itself (INVARIANT: NEVER-FORKED).

    Durability: synced on return. Interrupted, the mirror still is what it was or further, and verifies.

    Raises:
        GatewayError: `conflict` where the mirror is not the beginning of this log, or one of them is damaged; the
            mirror is as it was.
    """
    make_directory(mirror)
    copied = 0
    while True:
        pruned = _read(tree, _PRUNED)
        notes = _read(tree, NOTES)
        newest = _checkpoint(notes.get("checkpoint"), tree)
        _require_beginning(tree, mirror, newest)
        if newest is None:
            return copied
        _require_prune_on_record(tree, mirror)
        _compare(tree, mirror, tree, mirror)
        gone: list[Path] = []
        less: list[tuple[Path, Path]] = []
        copied += _copy(tree, mirror, gone, less)
        if _read(tree, _PRUNED) == pruned:
            break
    if _root(mirror, newest.size) != newest.root:
        raise GatewayError("conflict", f"the tiles of `{tree}` do not hash to its checkpoint of {newest.size} leaves")
    if not (mirror / MIRROR).exists():
        replace_file(mirror / MIRROR, _MARK)
    # What the checkpoint needs is durable before it is: where power is lost between, the mirror verifies. The record of
    # a prune is in the checkpoint: that comes first, and what was pruned goes last.
    for directory in _folders(mirror):
        sync_directory(directory)
    stated = {**notes, **_read(tree, (PRUNING,)), **pruned}
    for name in (*PLACED, *CHANGING):
        if name in stated:
            replace_file(mirror / name, stated[name])
    for source, target in less:
        with suppress(FileNotFoundError):
            replace_file(target, source.read_bytes())
    # Bundles go from the front: the paths of later ones are as long or longer.
    gone.sort(key=lambda path: (len(path.parts), path))
    unlink_all([*gone, *(mirror / name for name in (*NOTES, *CHANGING) if name not in stated)])
    for directory in _folders(mirror):
        unlink_all(path for path in directory.glob(f".*{WRITING}") if path.is_file())
    return copied if _read(tree, _PRUNED) == pruned else copied + mirror_log(tree, mirror)


def _folders(mirror: Path) -> list[Path]:
    return [mirror, *(path for path in mirror.rglob("*") if path.is_dir())]


def check_mirror(tree: Path, mirror: Path) -> None:
    """Raise `conflict` where `mirror_log` would; nothing is touched."""
    newest = checkpoint_of(tree)
    _require_beginning(tree, mirror, newest)
    if newest is not None:
        _require_prune_on_record(tree, mirror)
        _compare(tree, mirror, tree, mirror)


def checkpoint_of(tree: Path) -> Checkpoint | None:
    """The checkpoint of the log or mirror in `tree`, whose signature is not checked; None where there is none.

    Raises:
        GatewayError: `conflict` if it is damaged.
    """
    return _checkpoint(_read(tree, ("checkpoint",)).get("checkpoint"), tree)


def _checkpoint(content: bytes | None, tree: Path) -> Checkpoint | None:
    if not content:
        return None
    try:
        return parse_checkpoint(parse_note(content).text)
    except GatewayError as error:
        raise GatewayError("conflict", f"`{tree / 'checkpoint'}` is damaged: {error.detail}") from error


def _root(tree: Path, size: int) -> bytes:
    try:
        return LogFiles(tree).edge(size).root()
    except GatewayError as error:
        raise GatewayError("conflict", f"the log `{tree}` is not whole: {error.detail}") from error


def _require_beginning(tree: Path, mirror: Path, newest: Checkpoint | None) -> None:
    """Raise `conflict` unless the log in `tree` begins as the mirror does."""
    held = checkpoint_of(mirror)
    if held is None or (held.size == 0 and newest is not None and held.origin == newest.origin):
        return
    kept = f"the mirror `{mirror}` holds {held.size} leaves of log `{held.origin}`"
    if newest is None or newest.origin != held.origin:
        other = f"log `{newest.origin}`" if newest else "a log that has published nothing"
        raise GatewayError("conflict", f"{kept}, and this is {other}: it may be their last copy; choose another folder")
    if newest.size < held.size:
        raise GatewayError(
            "conflict",
            f"{kept}, and this log has {newest.size}: the mirror may be the last copy of the rest, so nothing is "
            "touched; `gateway restore` brings it back",
        )
    if _root(tree, held.size) != held.root:
        raise GatewayError("conflict", f"{kept}, of another tree than this log's: the log was forked; keep both")


def _require_prune_on_record(tree: Path, mirror: Path) -> None:
    """Raise `conflict` where the log says that entries were pruned which the mirror has, and no record says so.

    Or where an entry that the prune kept is not there: the mirror's may be the last copy.
    """
    end, kept = minimum_index(tree), read_kept(tree)
    newest = checkpoint_of(tree)  # read after: a prune is on record before the index is raised
    is_as_mirrored = end <= minimum_index(mirror) and kept_digest(tree) == kept_digest(mirror)
    if is_as_mirrored or newest is None or not checkpoint_of(mirror):
        return
    files, size = LogReader(tree), newest.size
    # `kept` is replaced before the index is raised.
    stated = (max(end, kept.end), kept.digest) if kept else (end, "")
    for n in range((size - 1) // WIDTH, end // WIDTH - 1, -1):
        for entry in files.bundle(n, min(WIDTH, size - n * WIDTH)):
            if _PRUNE in entry and _states(entry, stated):
                _require_standing(files, kept)
                return
    raise GatewayError("conflict", f"`{tree / MINIMUM_INDEX}` says {end}, and no prune record in the log ends there")


def _states(entry: bytes, stated: tuple[int, str]) -> bool:
    try:
        prune = msgspec.json.decode(entry, type=_Prune)
    except msgspec.DecodeError:
        return False
    return prune.kind == "prune" and (prune.end, prune.kept) == stated and prune.step != "failed"


def _require_standing(files: LogReader, kept: Kept | None) -> None:
    """Raise unless every entry that was kept is there, by its hash."""
    for n, leaves in groupby(kept.leaves if kept else (), lambda leaf: leaf // WIDTH):
        if not _stand(files, n, leaves):
            raise GatewayError("conflict", f"bundle {n} in `{files.root}` lacks an entry that the prune on record kept")


def _stand(files: LogReader, n: int, leaves: Iterable[int]) -> bool:
    wanted = [leaf % WIDTH for leaf in leaves]
    entries = files.standing(n) if wanted else []
    return all(entries[at] for at in wanted)


@lru_cache(maxsize=1)
def _kept_by(tree: Path, _digest: str) -> Kept | None:
    return read_kept(tree)


def _compare(tree: Path, mirror: Path, at: Path, beside: Path) -> None:
    """Raise `conflict` where a file would be replaced or removed that nothing else holds."""
    theirs, folders = _listed(beside)
    for name in sorted(folders):
        _compare(tree, mirror, at / name, beside / name)
    for name in sorted(theirs):
        source, held = at / name, beside / name
        try:
            same = source.stat().st_size == held.stat().st_size
        except FileNotFoundError:
            if held.exists() and _place(held, mirror) is not None and not _is_held_elsewhere(tree, mirror, held):
                raise GatewayError(
                    "conflict", f"`{held}` may be the last copy of what it holds: the log has nothing in its place"
                ) from None
            continue
        if not same and held.suffix == STAYING and _is_held_elsewhere(tree, mirror, held):
            continue  # another prune kept less or more of it, and what stays is there
        if not same and _place(held, mirror) is not None and (not _is_sound(source) or _is_sound(held)):
            raise GatewayError("conflict", f"`{source}` is another file than the mirror's `{held}`: one is damaged")


def _place(held: Path, mirror: Path) -> tuple[int | None, int, int, int] | None:
    """(level, index, width, bundles) of a file of a log; None for what is none."""
    path = held.relative_to(mirror).as_posix()
    bundles = at_rest.PACK if path.endswith((PACKED, STAYING)) else 1
    try:
        level, n, width = parse_tile_path(path.removesuffix(PACKED).removesuffix(LOOSE).removesuffix(STAYING))
    except GatewayError:
        return None
    return level, n, width, bundles


def _is_held_elsewhere(tree: Path, mirror: Path, held: Path) -> bool:
    """Whether what a file of the mirror holds stands in the log under another name, or was pruned."""
    place = _place(held, mirror)
    if place is None:
        return False
    level, n, width, bundles = place
    files = LogFiles(tree)
    try:
        if level is not None:
            return files.tile(level, n, width) == held.read_bytes()
        pruned, kept = minimum_index(tree) // WIDTH, _kept_by(tree, kept_digest(tree))
        return all(
            _stand(files, each, kept.within(each * WIDTH, (each + 1) * WIDTH) if kept else ())
            if each < pruned
            else bool(files.bundle(each, width))
            # What a prune kept lies below the minimum index, wherever that divides its pack.
            for each in range(n, min(n + bundles, pruned) if held.suffix == STAYING else n + bundles)
        )
    except (GatewayError, FileNotFoundError):
        return False


def _is_sound(path: Path) -> bool:
    """Whether a file of a log can be what was written."""
    try:
        content = path.read_bytes()
        if path.suffix in {LOOSE, PACKED, STAYING}:
            at_rest.decode(content, str(path))
            return True
    except (GatewayError, FileNotFoundError):
        return False
    width = int(path.name) if path.parent.suffix == ".p" else WIDTH
    return len(content) == width * HASH_BYTES


def _read(tree: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The content of those of `names` that are there, read in their order."""
    contents = {}
    for name in names:
        try:
            contents[name] = (tree / name).read_bytes()
        except FileNotFoundError:
            continue
    return contents


def _copy(
    tree: Path,
    mirror: Path,
    gone: list[Path],
    less: list[tuple[Path, Path]],
    top: tuple[Path, Path] | None = None,
) -> int:
    """Copy what the mirror of a folder lacks; how many files were copied.

    Adds to `gone` what the log holds elsewhere, and to `less` (source, target) of what it holds less of.
    """
    top = top or (tree, mirror)
    copied = 0
    for name in sorted(_listed(tree)[1] | _listed(mirror)[1]):
        copied += _copy(tree / name, mirror / name, gone, less, top)
    seen: set[str] = set()
    for _ in range(_LISTINGS):
        new = _listed(tree)[0] - seen
        seen |= new
        held = {name for name in new if name.endswith(STAYING) and (mirror / name).exists()}
        less += [
            (tree / name, mirror / name)
            for name in sorted(held)
            if _differ(tree / name, mirror / name) and _is_held_elsewhere(*top, mirror / name)
        ]
        new -= held
        copied += sum(_copy_file(tree / name, mirror / name) for name in sorted(new))
    left = [mirror / name for name in sorted(_listed(mirror)[0] - seen)]
    gone += [path for path in left if _is_held_elsewhere(*top, path)]
    return copied


def _differ(source: Path, target: Path) -> bool:
    try:
        return source.read_bytes() != target.read_bytes()
    except FileNotFoundError:
        return False  # the next look sees what became of it


def _copy_file(source: Path, target: Path) -> bool:
    """Whether `source` was copied: not if it stands in the mirror, or has gone meanwhile."""
    try:
        if target.exists() and target.stat().st_size == source.stat().st_size:
            return False
        content = source.read_bytes()
    except FileNotFoundError:
        return False
    make_directory(target.parent)
    replace_file(target, content, sync=False)
    return True


def _listed(directory: Path) -> tuple[set[str], set[str]]:
    """Names of the finished files in `directory`, save those that say how the log stands, and of its folders."""
    files, folders = set(), set()
    apart = (*NOTES, *CHANGING, KEPT_NEXT, ".lock", MIRROR)
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.add(entry.name)
                elif not entry.name.endswith((".tmp", ".partial")) and entry.name not in apart:
                    files.add(entry.name)
    except FileNotFoundError:
        pass
    return files, folders
