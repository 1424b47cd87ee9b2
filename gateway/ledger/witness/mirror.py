"""A mirror of a log at work: a copy that verifies by itself, and that no gateway goes on signing from.

The checkpoint is read before the tree, which goes on meanwhile: what that checkpoint needs stands for ever, or goes
when something that holds it stands in its place (a partial tile for the whole one beside its folder, sixteen bundles
for their pack), or is pruned. So folders are read before the folder they lie in, and each twice; what went is removed
from the mirror when all else is there; and where `minimum-index` has moved on, all of it is done again.
"""

import os
from pathlib import Path

from gateway.ledger.durable import make_directory, replace_file, sync_directory, unlink_all
from gateway.ledger.log.retention import MINIMUM_INDEX, PRUNING

NOTES = ("cosigned", "checkpoint")
"""Read in this order: the log cosigns what it has published, and publishes what stands in its tiles."""
CHANGING = (MINIMUM_INDEX, PRUNING)
"""Every other file, once it has a name and a size, never changes."""
_LISTINGS = 2


def mirror_log(tree: Path, mirror: Path) -> int:
    """Bring `mirror` up to the checkpoint of the log in `tree`; returns how many files were copied.

    What retention pruned from the log goes from the mirror too. Journals, index and `signer.db` are no part of it: the
    last seconds are in the journals alone, the index is made from the log, and a copy that held `signer.db` would be
    taken for the log itself (INVARIANT: NEVER-FORKED).

    Durability: synced on return. Interrupted, the mirror still is what it was or further, and verifies.
    """
    make_directory(mirror)
    copied = 0
    while True:
        pruned = _read(tree, (MINIMUM_INDEX,))
        notes = _read(tree, NOTES)
        if "checkpoint" not in notes:
            return copied
        gone: list[Path] = []
        copied += _copy(tree, mirror, gone)
        if _read(tree, (MINIMUM_INDEX,)) == pruned:
            break
    # The record of a prune is in the checkpoint: that comes first, and what was pruned goes last.
    stated = {**notes, **_read(tree, (PRUNING,)), **pruned}
    for name, content in stated.items():
        replace_file(mirror / name, content)
    # Bundles go from the front: the paths of later ones are as long or longer.
    gone.sort(key=lambda path: (len(path.parts), path))
    unlink_all([*gone, *(mirror / name for name in (*NOTES, *CHANGING) if name not in stated)])
    for directory in [mirror, *(path for path in mirror.rglob("*") if path.is_dir())]:
        sync_directory(directory)
    return copied


def _read(tree: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The content of those of `names` that are there, read in their order."""
    contents = {}
    for name in names:
        try:
            contents[name] = (tree / name).read_bytes()
        except FileNotFoundError:
            continue
    return contents


def _copy(tree: Path, mirror: Path, gone: list[Path]) -> int:
    """Copy what the mirror of a folder lacks and add to `gone` what it alone has; returns how many were copied."""
    copied = 0
    for name in sorted(_listed(tree)[1] | _listed(mirror)[1]):
        copied += _copy(tree / name, mirror / name, gone)
    seen: set[str] = set()
    for _ in range(_LISTINGS):
        new = _listed(tree)[0] - seen
        seen |= new
        copied += sum(_copy_file(tree / name, mirror / name) for name in sorted(new))
    gone += [mirror / name for name in sorted(_listed(mirror)[0] - seen)]
    return copied


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
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.add(entry.name)
                elif not entry.name.endswith((".tmp", ".partial")) and entry.name not in (*NOTES, *CHANGING, ".lock"):
                    files.add(entry.name)
    except FileNotFoundError:
        pass
    return files, folders
