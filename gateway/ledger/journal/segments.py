"""A writer's segments on disk: what had been confirmed, repair of a torn tail, and reading behind the writer.

`durable` in a writer's folder holds the sequence up to which every frame is known to be synced (8 bytes, big-endian,
then the same with every bit turned). It is written only after the sync returned, so it never promises too much; after
a power failure it may promise too little. It stands before the first segment does and is stored in one piece: one that
is missing, or whose halves do not agree, is damaged, and what had been confirmed is not known. A journal that holds
less than the log has taken from it is refused.
"""

import mmap
import os
import zlib
from pathlib import Path

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.durable import replace_file, sync_directory, unlink_all
from gateway.ledger.journal import frames
from gateway.ledger.journal.marks import ALL_ONES, MARK, confirmed_sequence, corrupt, segment_paths

_READ_BYTES = 4 << 20


class Recovered(msgspec.Struct, frozen=True):
    """What a writer's folder held when it was opened again.

    Args:
        sequence: of the last entry; 0 if there is none.
        chain: the checksum at the end of the last segment.
        open: record id -> retention years of the uses that were open.
        torn: whether a torn tail was cut off (a `.broken` copy stands beside it).
    """

    sequence: int
    chain: int
    open: dict[str, int]
    torn: bool


class _Head(msgspec.Struct):
    id: str
    kind: str
    retain_until: str
    time: int


_head = msgspec.json.Decoder(_Head).decode


class Watermark:
    """The writer's side of `durable`: a store to shared memory, no system call."""

    def __init__(self, directory: Path) -> None:
        path = directory / "durable"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size != MARK.size:
                os.ftruncate(fd, MARK.size)
            self._map = mmap.mmap(fd, MARK.size)
        finally:
            os.close(fd)

    def store(self, sequence: int) -> None:
        """State that every frame up to `sequence` is durable."""
        # One copy of 16 bytes: a process that is killed leaves the old mark or the new one.
        self._map[:] = MARK.pack(sequence, sequence ^ ALL_ONES)

    def close(self) -> None:
        """Sync and let go."""
        self._map.flush()
        self._map.close()


def recover(directory: Path) -> Recovered:
    """Bring a writer's folder to a state that can be written after: call with its lock held.

    A torn tail of the last segment is cut off after a `.broken` copy is kept. What follows the last confirmed frame
    may stand in the page cache only (a sync that failed is reported once, and the pages are then called clean), so
    such a tail is rewritten into a new file and synced before it is used.

    Durability: everything returned is durable.

    Raises:
        GatewayError: `records-unavailable` if anything but an unconfirmed tail is broken; it says where.
    """
    unlink_all(directory.glob("*.tmp"))
    confirmed = confirmed_sequence(directory)
    torn = False
    paths = segment_paths(directory)
    while paths:
        path = paths.pop()
        content = path.read_bytes()
        first = frames.first_of(path.name)
        try:
            opening, offset, checksum = frames.parse_opening(content, str(path))
        except frames.FrameFault as fault:
            if first <= confirmed:
                raise corrupt(path, fault.offset, fault.why) from fault
            torn = _set_aside(path, content) or torn
            continue
        if opening.first != first:
            raise corrupt(path, len(frames.MAGIC), f"it names itself segment {opening.first}")
        return _recover_tail(path, content, opening, offset, checksum, confirmed, torn=torn)
    if confirmed:
        raise GatewayError(
            "records-unavailable", f"the journal `{directory}` has no segment, but entry {confirmed} was confirmed"
        )
    return Recovered(0, 0, {}, torn)


def _recover_tail(
    path: Path,
    content: bytes,
    opening: frames.Opening,
    offset: int,
    checksum: int,
    confirmed: int,
    *,
    torn: bool,
) -> Recovered:
    sequence = opening.first - 1
    uses = dict(opening.open)
    chain = opening.chain
    try:
        for read in frames.frames(content, offset, checksum):
            sequence += 1
            chain = read.checksum
            offset = read.offset + frames.HEAD.size + len(read.payload)
            _follow(uses, read.payload)
    except frames.FrameFault as fault:
        if sequence < confirmed:
            raise corrupt(path, fault.offset, f"{fault.why}; entry {sequence + 1} had been confirmed") from fault
        torn = _set_aside(path, content, remove=False) or torn
    if sequence < confirmed:
        raise corrupt(path, offset, f"it ends after entry {sequence}, but entry {confirmed} had been confirmed")
    if torn or sequence > confirmed:
        replace_file(path, content[:offset])
        mark = Watermark(path.parent)
        mark.store(sequence)
        mark.close()
    return Recovered(sequence, chain, uses, torn)


def _follow(uses: dict[str, int], payload: bytes) -> None:
    """Keep `uses`, the open ones, up with one entry."""
    head = _head(payload)
    if head.kind == "use.opened":
        began = 1970 + (head.time // 1_000_000_000) // 31_556_952
        uses[head.id] = max(3, int(head.retain_until[:4]) - began)
    elif head.kind in {"use.closed", "recovered"}:
        uses.pop(head.id, None)


def _set_aside(path: Path, content: bytes, *, remove: bool = True) -> bool:
    """Keep a `.broken` copy of a file that has content, and take the file away if asked; returns whether it had."""
    has_content = any(content)
    if has_content:
        replace_file(path.with_name(f"{path.name}.broken"), content)
    if remove:
        path.unlink()
        sync_directory(path.parent)
    return has_content


def _held(directory: Path) -> tuple[Path, int]:
    """A writer's newest segment that begins, and the sequence of the last whole frame in it; 0 where none does."""
    for path in reversed(segment_paths(directory)):
        try:
            content = path.read_bytes()
            opening, offset, checksum = frames.parse_opening(content, str(path))
        except (FileNotFoundError, frames.FrameFault):
            continue
        sequence = opening.first - 1
        try:
            for _ in frames.frames(content, offset, checksum):
                sequence += 1
        except frames.FrameFault:
            pass
        return path, sequence
    return directory, 0


class SegmentReader:
    """Reads one writer's confirmed entries in order, from where the log stands; follows a writer at work.

    Args:
        directory: the writer's folder.
        sequence: the last entry that needs no reading.
    """

    def __init__(self, directory: Path, sequence: int) -> None:
        self.directory = directory
        self.sequence = sequence
        self._fd = -1
        self._path = directory
        self._offset = 0
        self._checksum = 0
        self._looked_at = -1

    def close(self) -> None:
        """Let the open segment go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, limit_bytes: int) -> list[bytes]:
        """The confirmed entries that follow, about `limit_bytes` of them; empty if there is none yet.

        Raises:
            GatewayError: `records-unavailable` if a confirmed entry cannot be read; it says where.
        """
        confirmed = confirmed_sequence(self.directory)
        if confirmed < self.sequence:
            self._require_held(confirmed)
            return []
        taken: list[bytes] = []
        size = 0
        reopened = False
        while self.sequence < confirmed and size < limit_bytes:
            if self._fd < 0:
                self._open(self.sequence + 1)
            try:
                before = self.sequence
                size += self._read_some(taken, confirmed)
            except frames.FrameFault as fault:
                # The writer may have been restarted and have replaced a torn file under the same name.
                if reopened:
                    raise corrupt(self._path, fault.offset, fault.why) from fault
                reopened = True
                self.close()
                continue
            if self.sequence == before:
                self._next(reopened)
                reopened = True
            else:
                reopened = False
        return taken

    def _require_held(self, confirmed: int) -> None:
        """Raise unless the journal holds what the log has taken from it, though it is not said to be confirmed.

        After a loss of power `durable` promises too little until the writer, or who adopts its journal, has looked.
        """
        if confirmed == self._looked_at:
            return
        where, held = _held(self.directory)
        if held < self.sequence:
            raise corrupt(where, 0, f"entry {self.sequence} is in the log, but only {held} entries are there")
        self._looked_at = confirmed

    def _read_some(self, taken: list[bytes], confirmed: int) -> int:
        """Take the confirmed frames of one read; written out, for integration spends its time here."""
        content = os.pread(self._fd, _READ_BYTES, self._offset)
        at, end, checksum, sequence = 0, len(content), self._checksum, self.sequence
        head, unpack, crc32 = frames.HEAD.size, frames.HEAD.unpack_from, zlib.crc32
        while sequence < confirmed and at + head <= end:
            length, stated = unpack(content, at)
            payload = content[at + head : at + head + length]
            checksum_then = crc32(payload, checksum)
            if checksum_then != stated or not length or len(payload) != length:
                break
            taken.append(payload)
            sequence += 1
            at += head + length
            checksum = checksum_then
        is_cut = len(content) == _READ_BYTES and end - at < head + frames.MAX_PAYLOAD_BYTES
        self.sequence, self._checksum, self._offset = sequence, checksum, self._offset + at
        if sequence < confirmed and not (is_cut and at):
            try:
                frames.read_frame(content, at, checksum)
            except frames.FrameFault as fault:
                raise frames.FrameFault(self._offset - at + fault.offset, fault.why) from fault
        return at

    def _next(self, reopened: bool) -> None:
        """Go on to the segment that begins after the last entry read, or open the same one anew."""
        following = self.directory / frames.segment_name(self.sequence + 1)
        if not following.exists() and reopened:
            raise corrupt(self._path, self._offset, f"it ends after entry {self.sequence}, which was not the last")
        chain = self._checksum
        self.close()
        self._open(self.sequence + 1, chain if following.exists() else None)

    def _open(self, wanted: int, chain: int | None = None) -> None:
        """Open the segment that holds entry `wanted` and read up to it."""
        paths = [path for path in segment_paths(self.directory) if frames.first_of(path.name) <= wanted]
        if not paths:
            raise GatewayError("records-unavailable", f"the journal `{self.directory}` has lost entry {wanted}")
        path = self._path = paths[-1]
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        content = os.pread(fd, os.fstat(fd).st_size, 0)
        try:
            opening, offset, checksum = frames.parse_opening(content, str(path))
            frames.check_chain(opening, wanted, chain)
            at = opening.first
            while at < wanted and (read := frames.read_frame(content, offset, checksum)) is not None:
                offset, checksum, at = offset + frames.HEAD.size + len(read.payload), read.checksum, at + 1
        except frames.FrameFault as fault:
            os.close(fd)
            raise corrupt(path, fault.offset, fault.why) from fault
        self._fd, self._offset, self._checksum = fd, offset, checksum
