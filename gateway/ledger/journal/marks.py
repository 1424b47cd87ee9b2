"""What a reader needs of a writer's folder: its segments by name, and up to where they are durable."""

from pathlib import Path
from struct import Struct

from gateway.domain.errors import GatewayError
from gateway.ledger.journal import frames

MARK = Struct(">QQ")
ALL_ONES = (1 << 64) - 1
MARK_TRIES = 1000


def confirmed_sequence(directory: Path) -> int:
    """The sequence up to which frames are known to be durable; 0 where nothing was confirmed yet.

    Raises:
        GatewayError: `records-unavailable` if `durable` is damaged, or missing beside segments.
    """
    path = directory / "durable"
    # It stands before the first segment: one that is seen without it was made since, or has lost it.
    if not path.exists() and segment_paths(directory) and not path.exists():
        raise corrupt(path, 0, "it is missing, and segments stand beside it")
    try:
        with path.open("rb") as file:
            for _ in range(MARK_TRIES):
                file.seek(0)
                content = file.read(MARK.size + 1)
                if not any(content) and len(content) in {0, MARK.size}:
                    return 0
                if len(content) == MARK.size:
                    sequence, turned = MARK.unpack(content)
                    if sequence ^ ALL_ONES == turned:
                        return int(sequence)
    except FileNotFoundError:
        return 0
    raise corrupt(path, 0, "it does not say which entry was confirmed last")


def segment_paths(directory: Path) -> list[Path]:
    """The segments in `directory`, oldest first; a file of any other name is none."""
    return sorted(directory.glob("[0-9]" * frames.NAME_DIGITS + frames.SUFFIX))


def corrupt(path: Path, offset: int, why: str) -> GatewayError:
    """The error that says where a journal is corrupt."""
    return GatewayError("records-unavailable", f"the journal `{path}` is corrupt at byte {offset}: {why}")
