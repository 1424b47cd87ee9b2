"""`index/manifest.json`: the files that make up the index, with digests, and the leaf up to which they reach.

One JSON object. Its last member, `sha256`, is the digest (hex) of the object as it is without that member. Older
releases wrote none, and read past it.
"""

import re
from datetime import date
from hashlib import sha256

import msgspec

from gateway.domain.errors import GatewayError

MANIFEST = "manifest.json"
ROWS = 3
"""Since 2 a refused attempt stands under the grant that it came nearest, and a file says what `unnamed` reads; since 3
a use that names several persons is found by each of them (`besides`)."""
_SEAL_BYTES = 77
_sealed = re.compile(rb',"sha256":"([0-9a-f]{64})"\}').fullmatch


class IndexFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One Parquet file of the index.

    Args:
        day: the day of its rows, China Standard Time.
        name: in the folder of that day.
        rows: how many.
        sha256: of its content, hex; "" where an older release wrote it.
        subjects_sha256: of the filter beside it.
    """

    day: date
    name: str
    rows: int
    sha256: str = ""
    subjects_sha256: str = ""


class SetAside(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry that the index could not take: it stands in the log, is in no answer, and stops nothing.

    Args:
        leaf: its number in the log.
        why: what is wrong with it.
        count: so many leaves from `leaf` on.
        is_unreadable: whether the log's own file could not be read, so that nobody knows what they are.
    """

    leaf: int
    why: str
    count: int = 1
    is_unreadable: bool = False


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What counts of an index.

    Args:
        v: which rows the files hold, `ROWS`: an index of other rows is made anew from the log.
        size: leaves that the files reach to.
        open: first leaves of the uses that were open then.
        files: all others in the folder are left over from a crash.
        set_aside: leaves below `size` that are in no file, for the index could not take them.
    """

    v: int = ROWS
    size: int = 0
    open: tuple[int, ...] = ()
    files: tuple[IndexFile, ...] = ()
    set_aside: tuple[SetAside, ...] = ()


def encode_manifest(manifest: Manifest) -> bytes:
    """The content of `manifest.json`."""
    content = msgspec.json.encode(manifest)
    return b'%b,"sha256":"%b"}' % (content[:-1], sha256(content).hexdigest().encode())


def parse_manifest(content: bytes) -> tuple[Manifest, bool]:
    """A manifest, and whether it has a digest.

    Raises:
        GatewayError: `conflict` if it is not as it was written.
    """
    seal = _sealed(content[-_SEAL_BYTES:])
    if seal is not None:
        content = content[:-_SEAL_BYTES] + b"}"
        if sha256(content).hexdigest().encode() != seal[1]:
            raise GatewayError("conflict", "the manifest of the index is not as it was written")
    try:
        return msgspec.json.decode(content, type=Manifest), seal is not None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GatewayError("conflict", "this is not the manifest of an index") from error
