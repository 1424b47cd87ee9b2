"""Retention: what may go, why, and that it goes whole (Decree 809 Art. 29).

Bundles go from the front of the log only, and only where every entry in them is past its `retain_until` and is of no
grant, or of one that was disposed of three years ago or longer and is under no dispute: so the records of a grant stay
together until nothing of it is left to ask about. The opening of a use stays until its closing may go. Hash tiles stay
for ever: older proofs and consistency still verify, and the log still proves that something stood there.

A refused attempt is under no grant, and names those it came near. It is evidence of misuse, so a dispute over any of
them keeps it as well. That such a grant still stands does not: nothing was drawn under it by that attempt, and if every
mistaken call stayed until the nearest grant is disposed of, little could ever go.

A prune in its steps; a crash after the fourth is made good at the next start:

    1  the plan is made again and must be the one that was asked for
    2  the `prune` record of what is intended is in the log: what range, by what rule, by whom; nothing is gone yet
    3  what the journals still hold of it goes
    4  `pruning.json` states the range and the intent's record
    5  `minimum-index` is replaced
    6  bundles, index rows, what `signer.db` holds of earlier commits, and exports in the gateway's keeping go
    7  the `prune` record of the outcome is durable: it names the intent's, and says `done`
    8  `pruning.json` goes

Where a step before the fourth fails, the outcome says `failed`, and why; nothing of the log is gone then. A crash
between 7 and 8 leaves the outcome twice.

An export that is under way meanwhile looks at `minimum-index` between its batches and once more when it has its name,
and ends if a record of it goes: whichever of the two comes second sees the other.

INVARIANT: APPEND-ONLY: nothing here changes an entry, and nothing goes before its time.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from gateway.domain.calendar import has_ended
from gateway.ledger.durable import replace_file, unlink_all
from gateway.ledger.log.files import LogFiles
from gateway.ledger.log.minimum import MINIMUM_INDEX, minimum_index
from gateway.ledger.log.spool import sweep
from gateway.ledger.log.tiles import WIDTH

RULE = "Decree 809 Art. 29: three calendar years from the end of the use, or longer where a rule says so"
PRUNING = "pruning.json"


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
    """What would go: leaves `first` to `end` (not included), always whole bundles.

    Args:
        first: the minimum index before.
        end: the minimum index after.
        today: the day it was made for, China Standard Time.
        entries: how many entries would go.
        rule: by what rule.
        stopped_by: why no more goes: one sentence.
        latest: the latest `retain_until` among what would go; None if nothing does.
    """

    first: int
    end: int
    today: date
    entries: int
    rule: str
    stopped_by: str
    latest: date | None = None

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the plan."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class _Entry(msgspec.Struct):
    id: str
    kind: str
    retain_until: date
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
    """A prune that was begun and not ended: its range, and the record of its intent ("" of an older version's)."""

    first: int
    end: int
    intent: str = ""
    officer: str = ""


_decode = msgspec.json.Decoder(_Entry).decode
Closing = Callable[[str], bytes | None]
"""Record id -> the closing entry of that use; None while it is open."""


def plan_retention(files: LogFiles, size: int, today: date, holds: Holds, closing: Closing) -> RetentionPlan:
    """What may go today from a log of `size` leaves.

    Args:
        files: the log.
        size: its leaves.
        today: China Standard Time.
        holds: which grants' records stay past their time.
        closing: finds closings that lie beyond what is looked through.
    """
    first = minimum_index(files.root)
    end, latest = first // WIDTH, None
    why = f"the {size - size // WIDTH * WIDTH} newest entries fill no bundle of {WIDTH} yet, and only whole bundles go"
    openings: dict[str, int] = {}
    grants: dict[str, str | None] = {}
    while (end + 1) * WIDTH <= size:
        entries = [_decode(content) for content in files.bundle(end)]
        kept = _first_kept(entries, today, holds, grants)
        if kept:
            why = f"bundle {end}: {kept}"
            break
        for entry in entries:
            if entry.kind == "use.opened":
                openings[entry.id] = end
            else:
                openings.pop(entry.id, None)
        latest = max([*([latest] if latest else []), *(entry.retain_until for entry in entries)])
        end += 1
    for record, bundle in sorted(openings.items(), key=lambda each: each[1]):
        if bundle >= end:
            break
        content = closing(record)
        if content is None or not has_ended(_decode(content).retain_until, today):
            end, why = bundle, f"bundle {bundle}: use {record} is open, or its closing is not past its time"
            break
    if end * WIDTH <= first:
        return RetentionPlan(first, first, today, 0, RULE, why)
    return RetentionPlan(first, end * WIDTH, today, end * WIDTH - first, RULE, why, latest)


def _first_kept(entries: Iterable[_Entry], today: date, holds: Holds, grants: dict[str, str | None]) -> str:
    """Why some entry stays, or "" if none does; `grants` remembers which use is under which grant."""
    for entry in entries:
        if not has_ended(entry.retain_until, today):
            return f"record {entry.id} stays until the end of {entry.retain_until.isoformat()}"
        if entry.kind == "use.opened":
            grants[entry.id] = entry.named_grant
        grant = entry.named_grant or grants.get(entry.id)
        reason = holds.reason(grant)
        if reason:
            return f"record {entry.id} is of grant {grant}, {reason}"
        near = next((near for near in entry.near_grants if near in holds.disputed), None)
        if near is not None:
            return f"record {entry.id} is of an attempt that came near grant {near}, which is under dispute"
    return ""


def begin_pruning(files: LogFiles, pruning: Pruning) -> None:
    """Step 4: state what is being removed. Durability: synced on return."""
    replace_file(files.root / PRUNING, msgspec.json.encode(pruning))


def pruning_under_way(files: LogFiles) -> Pruning | None:
    """A prune that was begun and not ended."""
    try:
        return msgspec.json.decode((files.root / PRUNING).read_bytes(), type=Pruning)
    except FileNotFoundError:
        return None


def finish_pruning(
    files: LogFiles,
    remove_rows: Callable[[int], None],
    exports: Path | None,
    record_outcome: Callable[[Pruning, int], None],
) -> int:
    """Steps 5 to 8 of the prune that was begun; harmless to repeat. Returns bytes of bundles freed.

    Args:
        files: the log.
        remove_rows: removes index rows below a leaf.
        exports: where the gateway keeps exports; those that hold a record that goes, go with it.
        record_outcome: makes the outcome's record durable, with the bytes freed.
    """
    pruning = pruning_under_way(files)
    if pruning is None:
        return 0
    replace_file(files.root / MINIMUM_INDEX, f"{pruning.end}\n".encode())
    freed = files.drop_bundles(pruning.first // WIDTH, pruning.end // WIDTH)
    remove_rows(pruning.end)
    if exports is not None:
        sweep(exports, pruning.end)
    record_outcome(pruning, freed)
    unlink_all([files.root / PRUNING])
    return freed
