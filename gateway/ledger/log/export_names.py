"""Where an export's manifest stands, and how it begins: what a writer and a verifier of exports agree on."""

from pathlib import Path

MANIFEST_HEADER = "sharing-gateway/export/v1"


def manifest_path(path: Path) -> Path:
    """Where the manifest of an export stands."""
    return path.with_name(f"{path.name}.manifest")


def texts_path(path: Path) -> Path:
    """Where the texts stand that an export's records name by digest, each with its salt."""
    return path.with_name(f"{path.name}.texts")


def partial_path(path: Path, lowest_leaf: int, kept: str = "") -> Path:
    """Where an export, or what it is made from, is written before it has its name.

    Args:
        path: its name.
        lowest_leaf: of its records.
        kept: digest of what stood below the minimum index when it was begun.
    """
    return path.with_name(f".{path.name}.{kept or '-'}.{lowest_leaf}.part")
