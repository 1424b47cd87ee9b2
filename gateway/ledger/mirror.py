"""A mirror of a log at work: a copy that verifies by itself, and that no gateway goes on signing from."""

from collections.abc import Iterator
from pathlib import Path

from gateway.ledger.durable import make_directory, replace_file, sync_directory, unlink_all

NOTES = ("cosigned", "checkpoint")
"""Read in this order: the log cosigns what it has published, and publishes what stands in its tiles."""
CHANGING = frozenset({"minimum-index", "pruning.json"})
"""Every other file, once it has a name and a size, never changes."""


def mirror_log(tree: Path, mirror: Path) -> int:
    """Bring `mirror` up to the checkpoint of the log in `tree`; returns how many files were copied.

    What retention pruned from the log goes from the mirror too. Journals, index and `signer.db` are no part of it: the
    last seconds are in the journals alone, the index is made from the log, and a copy that held `signer.db` would be
    taken for the log itself (INVARIANT: NEVER-FORKED).

    Durability: synced on return. Interrupted, the mirror still is what it was or further, and verifies.
    """
    make_directory(mirror)
    notes = {name: (tree / name).read_bytes() for name in NOTES if (tree / name).exists()}
    if "checkpoint" not in notes:
        return 0
    copied, missed = _copy(tree, mirror)
    while missed:
        # The log put something in another place meanwhile; it stands there before the old one goes.
        more, missed = _copy(tree, mirror)
        copied += more
    for name, content in notes.items():
        replace_file(mirror / name, content)
    unlink_all([mirror / name for name in _files(mirror) if not (tree / name).exists()])
    for directory in [mirror, *(path for path in mirror.rglob("*") if path.is_dir())]:
        sync_directory(directory)
    return copied


def _copy(tree: Path, mirror: Path) -> tuple[int, int]:
    """Copy what the mirror lacks; how many files were copied, and how many went away while being copied."""
    copied = missed = 0
    for name in _files(tree):
        if str(name) in NOTES:
            continue
        source, target = tree / name, mirror / name
        try:
            stands = target.exists() and target.stat().st_size == source.stat().st_size and str(name) not in CHANGING
            if not stands:
                make_directory(target.parent)
                replace_file(target, source.read_bytes(), sync=False)
                copied += 1
        except FileNotFoundError:
            missed += 1
    return copied, missed


def _files(directory: Path) -> Iterator[Path]:
    """The finished files below `directory`, named from there."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.suffix not in {".tmp", ".partial"} and path.name != ".lock":
            yield path.relative_to(directory)
