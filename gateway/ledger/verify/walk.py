"""The verifier of a whole log that is read over a network: from the first leaf to the root in one pass.

    1  the checkpoint is signed by the key, and continues the one that this walk saw before
    2  every entry hashes to its place in a level-0 tile
    3  every tile above is what the walk makes of the tiles below it, and so is every unfinished one at the end
    4  the right edge folds to the signed root
    5  below the minimum index entries may be missing, and only where a `prune` record in the log says so

What is held is the tree's right edge and what was fetched ahead, however long the log is. The edge at a whole bundle
is all that it takes to go on: it is kept in a file, and a later walk goes on from there, to a later checkpoint as well,
for its root binds the leaves before it. So the file is also what a log that forks or shrinks is caught by: keep it.

What it is read from (`Source`) is another module's matter: here nothing is fetched, and nothing of a log is written.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.log.checkpoints import Checkpoint, verify_checkpoint
from gateway.ledger.log.notes import VerifierKey
from gateway.ledger.log.tiles import HASH_BYTES, WIDTH, partial_width
from gateway.ledger.log.tree import Edge, leaf_hash
from gateway.ledger.verify.entries import Prune, not_failed, prunes_in, verify_entries
from gateway.ledger.verify.report import Checked, VerificationFailed

AHEAD = 8
"""Bundles fetched at once: of the largest entries there can be, 16 MB each."""
KEEP_SECONDS = 10.0
"""How much of the work an interruption costs."""
MAX_PRUNES = 10_000
"""Prune records that are remembered, the newest: one a day makes 27 years."""
_SEAL_BYTES = 64
_NOTHING = leaf_hash(b"")

Progress = Callable[[int, int], None]


class Source(Protocol):
    """A log as it is read: each raises `not-found` for what is not there, and whatever stops the reading.

    Any thread may call.
    """

    where: str
    """What it is called in sentences."""

    def checkpoint(self) -> bytes:
        """The signed note; empty if there is none."""

    def tile(self, level: int, n: int, width: int) -> bytes:
        """The first `width` hashes of a tile."""

    def entries(self, n: int, width: int) -> list[bytes]:
        """The first `width` entries of bundle `n`; b"" is one that a prune took."""

    def minimum_index(self) -> int:
        """The leaf below which entries may be missing."""

    def has_below(self, minimum: int) -> bool:
        """Whether entries below the minimum index may be asked for: some stay there."""


class Walked(msgspec.Struct, frozen=True):
    """How far a walk came, and what it saw.

    Args:
        origin: the log.
        key: its verifier key.
        size: leaves below which all holds, a multiple of 256.
        edge: the right edge there, level by level.
        hashed: entries that were hashed.
        prunes: the prune records among them.
        note: the checkpoint that every later one has to continue: the last that held, at first the first one seen.
        gone: the end of the last bundle of which entries were missing.
        trees_only: whether no entry was asked for.
    """

    origin: str
    key: str
    size: int = 0
    edge: tuple[bytes, ...] = ()
    hashed: int = 0
    prunes: tuple[Prune, ...] = ()
    note: bytes = b""
    gone: int = 0
    trees_only: bool = False


class _Bundle(NamedTuple):
    n: int
    hashes: bytes
    entries: list[bytes]
    gone: int


def read_walked(path: Path) -> Walked | None:
    """How far an earlier walk came; None where the file is not there.

    Raises:
        GatewayError: `conflict` if it is not as it was written.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    fault = GatewayError("conflict", f"`{path}` is not what an earlier verification kept: name another file")
    if sha256(content[_SEAL_BYTES:]).hexdigest().encode() != content[:_SEAL_BYTES]:
        raise fault
    try:
        return msgspec.json.decode(content[_SEAL_BYTES:], type=Walked)
    except msgspec.DecodeError as error:
        raise fault from error


def keep_walked(path: Path, walked: Walked) -> None:
    """Put how far a walk came at `path`, in one step."""
    content = msgspec.json.encode(walked)
    beside = path.with_name(f".{path.name}.partial")
    beside.write_bytes(sha256(content).hexdigest().encode() + content)
    beside.replace(path)


def verify_source(
    source: Source,
    key: VerifierKey,
    *,
    resume: Path | None = None,
    trees_only: bool = False,
    accept_pruned: bool = False,
    progress: Progress = lambda _done, _of: None,
) -> Checked:
    """Verify a whole log that is read from `source`.

    Args:
        source: where it is read from.
        key: the log's.
        resume: the file in which the walk is kept, and from which it goes on.
        trees_only: ask for no entries: then what they say is not checked.
        accept_pruned: let entries be missing below the minimum index without a record of ours that says why, as in
            another program's log.
        progress: called with leaves done and leaves in all.

    Raises:
        VerificationFailed: at the first thing that does not hold; it names the leaf, tile or file.
        GatewayError: `not-found` if there is no checkpoint; `conflict` if `resume` is of another log; what stops the
            reading: with `resume`, the next walk goes on where this one stopped.
    """
    walk = _Walk(source, key, _begun(resume, key, trees_only=trees_only), resume)
    while True:
        minimum = 0 if trees_only else source.minimum_index()
        checkpoint = walk.see_checkpoint()
        began_at = walk.walked.size
        edge = walk.to(checkpoint, minimum, progress)
        walk.verify_end(edge, checkpoint)
        try:
            walk.require_prune_on_record(minimum, accept_pruned=accept_pruned)
        except VerificationFailed:
            # Retention went on meanwhile: the record of it is in a later checkpoint.
            if walk.see_checkpoint().size == checkpoint.size:
                raise
            continue
        return _report(walk, checkpoint, minimum, began_at, accept_pruned=accept_pruned)


def _begun(resume: Path | None, key: VerifierKey, *, trees_only: bool) -> Walked:
    walked = read_walked(resume) if resume is not None else None
    new = Walked(key.name, key.text(), trees_only=trees_only)
    if walked is None:
        return new
    if (walked.origin, walked.key) != (new.origin, new.key):
        raise GatewayError("conflict", f"`{resume}` is of log `{walked.origin}` or another key: name another file")
    if walked.trees_only != trees_only:
        raise GatewayError("conflict", f"`{resume}` is of a walk that asked for other parts: name another file")
    return walked


class _Walk:
    """One pass; `walked` is what the next one begins from."""

    def __init__(self, source: Source, key: VerifierKey, walked: Walked, resume: Path | None) -> None:
        self.walked = walked
        self._source = source
        self._key = key
        self._resume = resume
        self._prunes = deque(walked.prunes, MAX_PRUNES)
        self._tail: list[Prune] = []
        self._seen: Checkpoint | None = None
        self._note = b""
        self.hashed, self.gone = walked.hashed, walked.gone

    def see_checkpoint(self) -> Checkpoint:
        """The log's checkpoint as it is served now, signed, and not behind the one seen before."""
        where = f"the checkpoint of {self._source.where}"
        content = self._source.checkpoint()
        if not content:
            raise GatewayError("not-found", f"{self._source.where} has no checkpoint")
        try:
            checkpoint, _ = verify_checkpoint(content, self._key)
            seen = verify_checkpoint(self.walked.note, self._key)[0] if self.walked.note else checkpoint
        except GatewayError as error:
            raise VerificationFailed(where, error.detail) from error
        if checkpoint.size < seen.size or (checkpoint.size == seen.size and checkpoint.root != seen.root):
            raise self._forked(checkpoint, seen)
        self._seen, self._note = seen, content
        if not self.walked.note:
            self._keep(note=content)
        return checkpoint

    def _forked(self, checkpoint: Checkpoint, seen: Checkpoint) -> VerificationFailed:
        kept = f"`{self._resume}` holds the earlier note" if self._resume else "keep both notes"
        return VerificationFailed(
            f"the log at {checkpoint.size} leaves",
            f"it does not continue what its key signed before, at {seen.size} leaves: {kept}, and the two are the "
            "proof of it",
        )

    def to(self, checkpoint: Checkpoint, minimum: int, progress: Progress) -> Edge:
        """Walk on to a checkpoint; the edge there."""
        edge = Edge(self.walked.size, self.walked.edge)
        self.hashed, self.gone, self._tail = self.walked.hashed, self.walked.gone, []
        kept = time.monotonic()
        progress(edge.size, checkpoint.size)
        for bundle in self._bundles(edge.size // WIDTH, checkpoint.size, minimum):
            self._take(bundle, edge, checkpoint)
            progress(edge.size, checkpoint.size)
            if edge.size % WIDTH == 0:
                self._prunes.extend(self._tail)
                self._tail = []
                self.walked = self._now(edge)
                if time.monotonic() - kept > KEEP_SECONDS:
                    self._keep()
                    kept = time.monotonic()
        self._keep()
        return edge

    def verify_end(self, edge: Edge, checkpoint: Checkpoint) -> None:
        """Raise unless every unfinished tile is what the walk made, and they fold to the signed root."""
        for level in range(1, len(edge.partial)):
            if width := partial_width(edge.size, level):
                self._verify_tile(level, edge.size >> (8 * (level + 1)), bytes(edge.partial[level]), width)
        if edge.root() != checkpoint.root:
            raise VerificationFailed(f"the log at {checkpoint.size} leaves", "the tiles do not hash to the signed root")
        self._keep(note=self._note)

    def require_prune_on_record(self, minimum: int, *, accept_pruned: bool) -> None:
        """Raise unless what is missing lies below the minimum index, and a prune on record ends just there."""
        ends = {0} | {prune.end for prune in not_failed([*self._prunes, *self._tail])}
        if self.walked.trees_only or accept_pruned:
            return
        if self.gone > max(ends):
            raise VerificationFailed(
                f"the leaves below {self.gone}", "entries are missing, and no prune record in the log says why"
            )
        if minimum in ends:
            return
        raise VerificationFailed(
            f"the minimum index of {self._source.where}",
            f"it says {minimum}, and no prune record in the log ends there",
        )

    def _take(self, bundle: _Bundle, edge: Edge, checkpoint: Checkpoint) -> None:
        leaves = [bundle.hashes[at : at + HASH_BYTES] for at in range(0, len(bundle.hashes), HASH_BYTES)]
        if bundle.gone:
            self.gone = (bundle.n + 1) * WIDTH
        if bundle.entries:
            verify_entries(bundle.entries, bundle.hashes, bundle.n * WIDTH)
            self._tail += prunes_in(bundle.entries)
        self.hashed += len(leaves) - bundle.gone
        seen = self._seen
        if seen is not None and edge.size <= seen.size < edge.size + len(leaves):
            then = edge.copy()
            then.append(leaves[: seen.size - edge.size])
            if then.root() != seen.root:
                raise self._forked(checkpoint, seen)
        for level, n, made in edge.append(leaves):
            if level:
                self._verify_tile(level, n, made, WIDTH)

    def _verify_tile(self, level: int, n: int, made: bytes, width: int) -> None:
        if self._tile(level, n, width) != made:
            raise VerificationFailed(f"tile {n} at level {level}", "it is not what the tiles below it hash to")

    def _tile(self, level: int, n: int, width: int) -> bytes:
        try:
            return self._source.tile(level, n, width)
        except GatewayError as error:
            if error.code not in {"not-found", "conflict"}:
                raise
            raise VerificationFailed(f"tile {n} at level {level}", error.detail) from error

    def _bundles(self, first: int, size: int, minimum: int) -> Iterator[_Bundle]:
        """The bundles from `first` on, some fetched ahead of what was taken."""
        ahead: deque[Future[_Bundle]] = deque()
        with ThreadPoolExecutor(AHEAD, thread_name_prefix="verify") as pool:
            try:
                for n in range(first, (size + WIDTH - 1) // WIDTH):
                    if len(ahead) == AHEAD:
                        yield ahead.popleft().result()
                    ahead.append(pool.submit(self._fetch, n, min(WIDTH, size - n * WIDTH), minimum))
                while ahead:
                    yield ahead.popleft().result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, n: int, width: int, minimum: int) -> _Bundle:
        hashes = self._tile(0, n, width)
        is_below = (n + 1) * WIDTH <= minimum
        if self.walked.trees_only or (is_below and not self._source.has_below(minimum)):
            return _Bundle(n, hashes, [], width)
        try:
            entries = self._source.entries(n, width)
        except GatewayError as error:
            leaves = f"leaves {n * WIDTH} to {n * WIDTH + width - 1}"
            if error.code == "conflict":
                raise VerificationFailed(leaves, error.detail) from error
            if error.code != "not-found":
                raise
            if is_below or (n + 1) * WIDTH <= self._source.minimum_index():
                return _Bundle(n, hashes, [], width)
            raise VerificationFailed(leaves, "the bundle is missing, and no prune record says why") from error
        if len(entries) != width:
            raise VerificationFailed(f"the bundle at leaf {n * WIDTH}", f"it holds {len(entries)} entries, not {width}")
        # Another program's log may hold an entry of no bytes: that one has the hash of nothing.
        gone = [at for at, entry in enumerate(entries) if not entry and hashes[at * 32 : at * 32 + 32] != _NOTHING]
        if gone and not is_below and (n + 1) * WIDTH > self._source.minimum_index():
            raise VerificationFailed(f"leaf {n * WIDTH + gone[0]}", "the entry is not what was logged")
        return _Bundle(n, hashes, entries, len(gone))

    def _now(self, edge: Edge) -> Walked:
        return msgspec.structs.replace(
            self.walked,
            size=edge.size,
            edge=tuple(bytes(hashes) for hashes in edge.partial),
            hashed=self.hashed,
            gone=self.gone,
            prunes=tuple(self._prunes),
        )

    def _keep(self, **changed: bytes) -> None:
        self.walked = msgspec.structs.replace(self.walked, **changed)
        if self._resume is not None:
            keep_walked(self._resume, self.walked)


def _report(walk: _Walk, checkpoint: Checkpoint, minimum: int, began_at: int, *, accept_pruned: bool) -> Checked:
    checked = [f"the checkpoint of {checkpoint.size} leaves is signed by the key of `{checkpoint.origin}`"]
    missing = ["whether anyone was shown another log: compare this checkpoint with a witness's"]
    if walk.walked.trees_only:
        missing.append("what the entries say: they were not asked for")
    else:
        checked.append(f"{walk.hashed} entries hash to their leaves")
    checked.append("every hash tile follows from the tile below it, and the root from them")
    if began_at:
        checked.append(f"leaves 0 to {began_at - 1} were verified before: the root binds them still")
    minimum, gone = max(minimum, walk.gone), checkpoint.size - walk.hashed
    if minimum and not walk.walked.trees_only:
        why = "by the log's own word alone" if accept_pruned else "as a record in the log says"
        checked.append(f"below leaf {minimum} entries were pruned, {why}; their hashes still stand")
        missing.append(f"the {gone} entries that were pruned, or stay below the minimum index and are not served")
    return Checked("log", checkpoint.origin, checkpoint.size, walk.hashed, tuple(checked), tuple(missing))
