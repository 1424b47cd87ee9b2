"""Who may read what a gateway keeps: its own user and nobody else, whatever umask it was started under."""

import os
import stat
from pathlib import Path

PRIVATE_UMASK = 0o077
"""Files 0600, folders 0700: state, records and keys hold grants, secrets and who asked about whom."""

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def keep_private() -> None:
    """Let this process make nothing that others can read; at the start of every process and command."""
    os.umask(PRIVATE_UMASK)


def open_files(root: Path) -> list[Path]:
    """What in `root` its group or others may read, write or enter, `root` first; symbolic links are not followed."""
    found: list[Path] = []
    pending = [root]
    while pending:
        path = pending.pop()
        try:
            mode = path.lstat().st_mode
        except OSError:
            continue
        if stat.S_ISLNK(mode):
            continue
        if mode & OTHERS:
            found.append(path)
        if stat.S_ISDIR(mode):
            try:
                pending += sorted(path.iterdir(), reverse=True)
            except OSError:
                continue
    return found
