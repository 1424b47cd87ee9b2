"""`minimum-index`: the leaf up to which retention has looked through the log."""

import re
from pathlib import Path

from gateway.domain.errors import GatewayError

MINIMUM_INDEX = "minimum-index"
_is_leaf = re.compile(rb"(?:0|[1-9][0-9]{0,18})\n").fullmatch


def minimum_index(root: Path) -> int:
    """The leaf below which no bundle is served, and of entries only what had to stay is there (`kept`); 0 at first.

    Raises:
        GatewayError: `conflict` if the file holds something else.
    """
    try:
        content = (root / MINIMUM_INDEX).read_bytes()
    except FileNotFoundError:
        return 0
    return parse_minimum_index(content, str(root / MINIMUM_INDEX))


def parse_minimum_index(content: bytes, where: str) -> int:
    """The leaf that the document says; raises as `minimum_index`, naming `where`."""
    if _is_leaf(content) is None:
        raise GatewayError("conflict", f"`{where}` does not hold the number of a leaf")
    return int(content)
