"""Path arithmetic of C2SP tlog-tiles: which tile holds which hash. Pure; no file is touched here.

Source: c2sp.org/tlog-tiles: tiles are 256 hashes wide; index N in groups of three digits, all but the last with an
`x` in front; a partial tile's path ends in `.p/<W>`.
"""

import re

from gateway.domain.errors import GatewayError

WIDTH = 256
HASH_BYTES = 32

_PATH = re.compile(r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


def index_path(n: int) -> str:
    """A tile index as path: 1234067 is `x001/x234/067`."""
    path = f"{n % 1000:03d}"
    while n >= 1000:
        n //= 1000
        path = f"x{n % 1000:03d}/{path}"
    return path


def tile_path(level: int, n: int, width: int = WIDTH) -> str:
    """The path of hash tile `n` at `level`, partial if `width` is below 256."""
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{level}/{index_path(n)}{partial}"


def bundle_path(n: int, width: int = WIDTH) -> str:
    """The path of entry bundle `n`, partial if `width` is below 256."""
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/entries/{index_path(n)}{partial}"


def parse_tile_path(path: str) -> tuple[int | None, int, int]:
    """(level, index, width) of a path; level None is an entry bundle.

    Raises:
        GatewayError: `not-found` if the path is not one that `tile_path` or `bundle_path` makes.
    """
    match = _PATH.fullmatch(path)
    if match is not None:
        n = int(match[2].replace("x", "").replace("/", ""))
        width = int(match[3]) if match[3] else WIDTH
        level = None if match[1] == "entries" else int(match[1])
        made = bundle_path(n, width) if level is None else tile_path(level, n, width)
        if made == path and 1 <= width <= WIDTH and not (match[3] and width == WIDTH):
            return level, n, width
    raise GatewayError("not-found", "no such tile")


def partial_width(size: int, level: int) -> int:
    """How many hashes stand in the unfinished tile at `level` of a log of `size` leaves; 0 is no tile."""
    return (size >> (8 * level)) % WIDTH


def full_tiles(size: int, level: int) -> int:
    """How many full tiles stand at `level` of a log of `size` leaves."""
    return size >> (8 * (level + 1))
