"""The keys' part of a restore: single files of a ring that are gone are put back beside those that stand."""

import json
from pathlib import Path
from typing import Any

RING = "ring.json"
KEPT = frozenset({"field", "pseudonym"})
"""Purposes of which no key is ever taken away: a file that the backup has and the ring has not is lost."""


def lost_files(backup: Path, keys: Path) -> list[Path]:
    """Files of the backup's ring that the ring in the folder `keys` has lost, as paths in the backup.

    A token, log or witness key comes back only where the ring has none of its purpose to sign with, and none that was
    made later: one that was replaced, since it was stolen perhaps, stays away.
    """
    if not backup.is_dir() or not keys.is_dir():
        return []
    standing = {path.name for path in keys.glob("*.json")}
    held = [found for path in keys.glob("*.json") if path.name != RING and (found := _read(path))]
    lost = []
    for path in sorted(backup.glob("*.json")):
        key = _read(path)
        if path.name in standing or (path.name != RING and not key):
            continue
        of_its_kind = [each for each in held if each["purpose"] == key.get("purpose")]
        is_replaced = any(each["secret"] or each["created_unix"] > key["created_unix"] for each in of_its_kind)
        if path.name == RING or key["purpose"] in KEPT or (key["secret"] and not is_replaced):
            lost.append(path)
    return lost


def _read(path: Path) -> dict[str, Any]:
    """A key's document; nothing where it is damaged, or none: opening the ring says what is wrong with it."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    is_key = isinstance(found, dict) and {"purpose", "secret", "created_unix"} <= found.keys()
    return found if is_key else {}
