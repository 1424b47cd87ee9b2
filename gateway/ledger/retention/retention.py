"""Retention: what may go, why, and that nothing else does (Decree 809 Art. 29).

The front of the log is looked through bundle by bundle, up to the first of which more than a few entries (what a
clock set wrong may have written) are not three years old. Of what lies before it every entry goes that is past its
`retain_until` and is of no grant, or of one that was disposed of three years ago or longer and is under no dispute:
so the records of a grant stay together until nothing of it is left to ask about. What must stay is carried on
(`kept`): its entry, found by its leaf, and proven by the hash tiles, which stay for ever, against any checkpoint
since. So no grant that was never closed, no longer rule and no dispute keeps what lies behind it, and each prune
looks again at what those before it kept. A use stays or goes as one: its opening until its closing may.

A refused attempt is under no grant, and names those it came near. It is evidence of misuse, so a dispute over any of
them keeps it as well. That such a grant still stands does not: nothing was drawn under it by that attempt, and if every
mistaken call stayed until the nearest grant is disposed of, little could ever go.

A prune in its steps; a crash after the fourth is made good at the next start:

    1  the plan is made again and must be the one that was asked for
    2  the `prune` record of what is intended is in the log: what range, by what rule, by whom, and the digest of what
       stays; nothing is gone yet
    3  what the journals still hold of it goes
    4  `kept.next` names what stays, then `pruning.json` states the range and the intent's record
    5  `kept` is replaced by `kept.next`, then `minimum-index` is replaced
    6  of each pack what stays is put in place, then its bundles go; index rows, what `signer.db` holds of earlier
       commits, and exports in the gateway's keeping go
    7  the `prune` record of the outcome is durable: it names the intent's, and says `done`
    8  `pruning.json` goes

Where a step before the fourth fails, the outcome says `failed`, and why; nothing of the log is gone then. A crash
between 7 and 8 leaves the outcome twice.

An export that is under way meanwhile looks at `minimum-index` and `kept` between its batches and once more when it has
its name, and ends if a record of it may have gone: whichever of the two comes second sees the other.

INVARIANT: APPEND-ONLY: nothing here changes an entry, and nothing goes before its time.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec

from gateway.domain.calendar import first_moment, has_ended, years_after
from gateway.domain.errors import GatewayError
from gateway.ledger.durable import replace_file, sync_directory, unlink_all
from gateway.ledger.log.files import LogFiles
from gateway.ledger.log.kept import KEPT, KEPT_NEXT, Kept, kept_digest, read_kept
from gateway.ledger.log.minimum import MINIMUM_INDEX, minimum_index
from gateway.ledger.log.tiles import WIDTH
from gateway.ledger.retention.spool import sweep

RULE = "Decree 809 Art. 29: three calendar years from the end of the use, or longer where a rule says so"
PRUNING = "pruning.json"
RETENTION_YEARS = 3
_STRAY = 16
"""Entries of a bundle that may be younger than the rest, and stay, before the front ends there."""
MOST_REASONS = 20
_REASONS_COUNTED = 10_000
_ENDS = {"use.closed", "recovered"}


class Holds(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which grants' records may go at all; what is not known of keeps its records.

    Args:
        released: grants disposed of three calendar years ago or longer (Decree 809 Art. 27 ¶1, 29).
        disputed: grants under dispute or investigation (Art. 28): their records stay all the same, and those of
            refused attempts that came near them.
    """

    released: frozenset[str] = frozenset()
    disputed: frozenset[str] = frozenset()

    def reason(self, grant: str | None) -> str:
        """Why a record of `grant` stays past its own time; "" if it does not."""
        if grant in self.disputed:
            return "which is under dispute"
        if grant is not None and grant not in self.released:
            return "which has not been disposed of for three years"
        return ""


class RetentionPlan(msgspec.Struct, frozen=True):
    """What would go: of the leaves below `end` all but what stays; the minimum index moves by whole bundles.

    Args:
        first: the minimum index before.
        end: the minimum index after.
        today: the day it was made for, China Standard Time.
        entries: how many entries would go.
        rule: by what rule.
        stopped_by: why the front goes no further, or where nothing goes, why: one sentence.
        latest: the latest `retain_until` among what would go; None if nothing does.
        kept: how many entries below `end` would stay.
        kept_digest: of what stays, as `kept` bears it; "" if nothing goes.
        kept_for: why they stay, those that keep most first, `MOST_REASONS` at most.
    """

    first: int
    end: int
    today: date
    entries: int
    rule: str
    stopped_by: str
    latest: date | None = None
    kept: int = 0
    kept_digest: str = ""
    kept_for: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the plan."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class _Entry(msgspec.Struct):
    id: str
    kind: str
    retain_until: date
    time: int
    use: Any = None
    grant: Any = None

    @property
    def named_grant(self) -> str | None:
        """The grant it is under, if it names one."""
        named = self.use.get("grant") if isinstance(self.use, dict) else self.grant
        return named if isinstance(named, str) else None

    @property
    def near_grants(self) -> Iterator[str]:
        """The grants that a refused attempt came near."""
        for near in self.use.get("near", ()) if isinstance(self.use, dict) else ():
            yield near["grant"]


class Pruning(msgspec.Struct, frozen=True):
    """A prune that was begun and not ended: its range, the record of its intent ("" of an older version's), what stays.

    `kept` is the digest of what stays; "" where an older release began it, which let whole bundles go alone.
    """

    first: int
    end: int
    intent: str = ""
    officer: str = ""
    kept: str = ""


_decode = msgspec.json.Decoder(_Entry).decode
Closing = Callable[[str], bytes | None]
"""Record id -> the closing entry of that use; None while it is open."""


def plan_retention(
    files: LogFiles, size: int, today: date, holds: Holds, closing: Closing
) -> tuple[RetentionPlan, Kept]:
    """What may go today from a log of `size` leaves, and which leaves below its end stay.

    Args:
        files: the log.
        size: its leaves.
        today: China Standard Time.
        holds: which grants' records stay past their time.
        closing: finds closings that lie beyond what is looked through.

    Raises:
        GatewayError: `conflict` if an entry that has to stay is damaged.
    """
    first = minimum_index(files.root)
    end = first // WIDTH
    why = f"the {size - size // WIDTH * WIDTH} newest entries fill no bundle of {WIDTH} yet, and only whole bundles go"
    sieve = _Sieve(today, holds)
    for n, kept in files.kept_bundles(end):
        sieve.take(n * WIDTH, kept)
    while (end + 1) * WIDTH <= size:
        entries = files.standing(end)
        young = sieve.too_young(entries)
        if young:
            why = f"bundle {end}: {young}"
            break
        sieve.take(end * WIDTH, entries)
        end += 1
    return sieve.plan(first, why, closing)


class _Sieve:
    """Tells entry after entry, in the order of the log, what stays of it and why."""

    def __init__(self, today: date, holds: Holds) -> None:
        self._today = today
        self._holds = holds
        self._old_before_ns = _old_before_ns(today)
        self._stays: array[int] = array("Q")
        self._late: list[int] = []
        self._open: dict[str, tuple[int, str | None, bool]] = {}
        self._why: Counter[str] = Counter()
        self._first_why = ""
        self._gone = 0
        self._end = 0
        self._latest: date | None = None

    def too_young(self, contents: Sequence[bytes]) -> str:
        """Why the front ends before a bundle; "" if all but a few of its entries are three years old."""
        young = [entry for entry in map(_decode, contents) if not self._is_old(entry)]
        if len(young) <= _STRAY:
            return ""
        return f"record {young[0].id} stays until the end of {young[0].retain_until.isoformat()}, and others beside it"

    def take(self, first: int, contents: Sequence[bytes]) -> None:
        """Look at a bundle from leaf `first` on; b"" is what went before."""
        for leaf, content in enumerate(contents, first):
            if not content:
                continue
            entry = _decode(content)
            why = self._reason(leaf, entry)
            if why:
                self._stays.append(leaf)
                self._note(entry.id, why)
            else:
                self._gone += 1
                self._end = leaf // WIDTH + 1
                self._latest = max(self._latest or entry.retain_until, entry.retain_until)

    def plan(self, first: int, why: str, closing: Closing) -> tuple[RetentionPlan, Kept]:
        """The plan from the minimum index `first` on, where the front ends for the reason `why`."""
        for record, (leaf, _, stays) in self._open.items():
            content = None if stays else closing(record)
            if not stays and (content is None or not has_ended(_decode(content).retain_until, self._today)):
                self._keep_opening(record, leaf, "of a use that is open, or whose closing is not past its time")
        if not self._gone:
            nothing = RetentionPlan(first, first, self._today, 0, RULE, self._first_why or why)
            return nothing, Kept(first, array("Q"))
        end = max(first, self._end * WIDTH)
        kept = Kept(end, array("Q", sorted([*self._stays, *self._late])))
        kept = Kept(end, kept.within(0, end))
        reasons = tuple(f"{count} {reason}" for reason, count in self._why.most_common(MOST_REASONS))
        return RetentionPlan(
            first,
            end,
            self._today,
            self._gone,
            RULE,
            why,
            self._latest,
            kept=len(kept.leaves),
            kept_digest=kept.digest,
            kept_for=reasons,
        ), kept

    def _is_old(self, entry: _Entry) -> bool:
        return entry.time < self._old_before_ns

    def _reason(self, leaf: int, entry: _Entry) -> str:
        """Why an entry stays, or "" if it may go."""
        opened = self._open.pop(entry.id, None) if entry.kind in _ENDS else None
        grant = entry.named_grant or (opened[1] if opened else None)
        why = self._own_reason(entry, grant)
        if opened is not None:
            # A use stays or goes as one.
            if why and not opened[2]:
                self._keep_opening(entry.id, opened[0], why)
            elif opened[2] and not why:
                why = "of a use whose opening stays"
        if entry.kind == "use.opened":
            self._open[entry.id] = leaf, grant, bool(why)
        return why

    def _own_reason(self, entry: _Entry, grant: str | None) -> str:
        if not self._is_old(entry) or not has_ended(entry.retain_until, self._today):
            return f"until the end of {entry.retain_until.isoformat()}"
        reason = self._holds.reason(grant)
        if reason:
            return f"of grant {grant}, {reason}"
        near = next((near for near in entry.near_grants if near in self._holds.disputed), None)
        return f"of an attempt that came near grant {near}, which is under dispute" if near is not None else ""

    def _keep_opening(self, record: str, leaf: int, why: str) -> None:
        self._late.append(leaf)
        self._gone -= 1
        self._note(record, why)

    def _note(self, record: str, why: str) -> None:
        self._first_why = self._first_why or f"record {record} stays: it is {why}"
        if why in self._why or len(self._why) < _REASONS_COUNTED:
            self._why[why] += 1
        else:
            self._why["for other reasons"] += 1


def _old_before_ns(today: date) -> int:
    """The moment before which everything is three calendar years old today."""
    day = today.replace(year=today.year - RETENTION_YEARS, day=1) - timedelta(days=1)
    while has_ended(years_after(day, RETENTION_YEARS), today):
        day += timedelta(days=1)
    return int(first_moment(day).timestamp()) * 1_000_000_000


def begin_pruning(files: LogFiles, pruning: Pruning, kept: Kept) -> None:
    """Step 4: state what is being removed, and what stays. Durability: synced on return."""
    replace_file(files.root / KEPT_NEXT, kept.encode())
    replace_file(files.root / PRUNING, msgspec.json.encode(pruning))


def pruning_under_way(files: LogFiles) -> Pruning | None:
    """A prune that was begun and not ended."""
    try:
        return msgspec.json.decode((files.root / PRUNING).read_bytes(), type=Pruning)
    except FileNotFoundError:
        return None


def _bring_kept(files: LogFiles, pruning: Pruning) -> Kept:
    """What stays by a prune that was begun, `kept` from now on. Durability: synced on return."""
    root = files.root
    following = read_kept(root, KEPT_NEXT) if pruning.kept else None
    if following is not None and following.digest == pruning.kept:
        (root / KEPT_NEXT).rename(root / KEPT)
        sync_directory(root)
    kept = read_kept(root) if pruning.kept else Kept(pruning.end, array("Q"))
    if kept is None or (pruning.kept and kept.digest != pruning.kept):
        raise GatewayError(
            "conflict", f"a prune was begun, and `{root / KEPT_NEXT}`, which says what stays, is not there"
        )
    return kept


def finish_pruning(
    files: LogFiles,
    remove_rows: Callable[[Kept], None],
    exports: Path | None,
    record_outcome: Callable[[Pruning, int], None],
) -> int:
    """Steps 5 to 8 of the prune that was begun; harmless to repeat. Returns bytes of bundles freed.

    Args:
        files: the log.
        remove_rows: removes the index rows below an end but for the leaves that stay.
        exports: where the gateway keeps exports; those that hold a record that goes, go with it.
        record_outcome: makes the outcome's record durable, with the bytes freed.
    """
    pruning = pruning_under_way(files)
    if pruning is None:
        return 0
    kept = _bring_kept(files, pruning)
    replace_file(files.root / MINIMUM_INDEX, f"{pruning.end}\n".encode())
    freed = files.drop_bundles(pruning.first // WIDTH, kept)
    remove_rows(kept)
    if exports is not None:
        sweep(exports, pruning.end, kept_digest(files.root))
    record_outcome(pruning, freed)
    unlink_all([files.root / PRUNING])
    return freed
