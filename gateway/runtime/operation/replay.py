"""Recorded uses of a home, decided again under policies that are not in force (`gateway.policy.offline.replaying`).

Reads the log and the state, and never writes. The log is read in order, a bundle at a time: what is kept in memory does
not grow with it.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from gateway.control.policies.standing import StandingState
from gateway.domain.errors import GatewayError
from gateway.domain.policies import IN_FORCE_STEPS, PolicyEvent, PolicySet, PolicyStep
from gateway.domain.uses import RecordKind
from gateway.ledger.log.checkpoints import parse_checkpoint
from gateway.ledger.log.notes import parse_note
from gateway.ledger.log.reading import LogReader
from gateway.ledger.log.tiles import WIDTH
from gateway.policy.law.layers import Layers, parse_layers
from gateway.policy.offline.replaying import Recorded, Replay, Replaying, Said, drawn_days
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.standing import open_state
from gateway.runtime.policies import initial_policies, settled_by
from gateway.store import Store

SLACK_SECONDS = 86_400
"""How far entries may stand from the order of their times: what a writer held while nobody integrated."""

MAX_SETS = 16
"""Sets of policies held at a time, of all that were in force."""

USES = (RecordKind.USE_OPENED, RecordKind.USE_REFUSED)

Progress = Callable[[int, int], None]
"""Leaves read, and how many there are to read."""


class Replayed(msgspec.Struct):
    """What came of a replay, and of which log.

    Args:
        replay: what came of it.
        leaves: of the log that were read.
        gone: of them, entries that were pruned: nothing is known of those uses.
        unnamed: uses that were refused before it was known what they asked for; no policy was asked.
        unread: uses whose record says it in words that this version does not know; nothing is said of them.
        is_alone: whether this node has the state for itself; else others have uses on record, which are not looked at.
        read_from: the time from which records were read, for what was drawn.
    """

    replay: Replay
    leaves: int
    gone: int
    unnamed: int
    unread: int
    is_alone: bool
    read_from: str


def replay(
    home_path: Path,
    candidate: PolicySet,
    since: datetime,
    until: datetime | None = None,
    limit: int | None = None,
    progress: Progress = lambda _done, _of: None,
) -> Replayed:
    """Decide the recorded uses of a home again.

    Args:
        home_path: of the home.
        candidate: the set to decide by.
        since: from when.
        until: before when; None is the end of the log.
        limit: how many uses at most.
        progress: called as the log is read.

    Raises:
        GatewayError: where the candidate does not load, there is no such home, or its log cannot be read.
    """
    home = GatewayHome(home_path)
    home.require()
    settings = home.settings()
    new = parse_layers(candidate.files, candidate.layers)
    new.settled = settled_by(settings)
    with open_state(home_path) as store:
        then = _Then(store, initial_policies(settings), new.settled)
        days = max(drawn_days(new), *(drawn_days(layers) for layers in then.since(since.timestamp())), 1)
        begin = since - timedelta(days=days - 1) if days > 1 else since
        deciding = Replaying(new, then, StandingState(store), (one.id for one in store.purposes()))
        deciding.result.drawn_days = days if days > 1 or new.convergence else 0
        log = _Log(home.ledger / "tree", progress)
        # Days are counted whole, so that the first day looked back to is read from its midnight.
        start = int(begin.timestamp()) - (SLACK_SECONDS if days > 1 else 0)
        end = None if until is None else int(until.timestamp())
        for use in log.uses(start, end):
            if use.at_unix < since.timestamp():
                deciding.before(use)
            elif limit is not None and deciding.result.uses >= limit:
                deciding.result.is_whole = False
                break
            else:
                deciding.again(use)
        return Replayed(
            deciding.finish(),
            log.leaves,
            log.gone,
            log.unnamed,
            log.unread,
            not home.is_shared(settings),
            begin.isoformat(),
        )


class _Then:
    """The layers that were in force at a time; those that the state does not keep are None."""

    def __init__(self, store: Store, initial: Callable[[], PolicySet], settled: Any) -> None:
        self._store = store
        self._initial = initial
        self._settled = settled
        self._layers: dict[str, Layers | None] = {}
        events: list[PolicyEvent] = []
        before = None
        while page := store.policy_events(before):
            events += [event for event in page if event.step in IN_FORCE_STEPS]
            before = page[-1].number
        self._events = sorted(events, key=lambda event: event.number)
        # The set of the settings is noted when another first replaces it, and was in force before.
        self._times = [
            0.0 if event.step is PolicyStep.INITIAL and not place else event.at.timestamp()
            for place, event in enumerate(self._events)
        ]

    def __call__(self, at_unix: int) -> Layers | None:
        """The layers in force at a second."""
        place = bisect_right(self._times, at_unix) - 1
        return self._of(None if place < 0 else self._events[place].set)

    def since(self, since_unix: float) -> Iterator[Layers]:
        """Those that were in force at some time since, as far as they are kept."""
        first = max(bisect_right(self._times, since_unix) - 1, 0)
        names: list[str | None] = [event.set for event in self._events[first:]]
        for name in names or [None]:
            layers = self._of(name)
            if layers is not None:
                yield layers

    def _of(self, name: str | None) -> Layers | None:
        key = name or ""
        if key not in self._layers:
            policies = self._initial() if name is None else self._store.policy_set(name)
            try:
                layers = None if policies is None else parse_layers(policies.files, policies.layers)
            except GatewayError:
                # A set that this version does not load decided then, and cannot be asked now.
                layers = None
            if layers is not None:
                layers.settled = self._settled
            if len(self._layers) >= MAX_SETS:
                self._layers.pop(next(iter(self._layers)))
            self._layers[key] = layers
        return self._layers[key]


class _Entry(msgspec.Struct):
    """What of an entry tells whether it is a use."""

    kind: str
    id: str
    time: int
    use: msgspec.Raw = msgspec.Raw()
    subject: str | None = None


_entries = msgspec.json.Decoder(_Entry)
_said = msgspec.json.Decoder(Said)


class _Log:
    """The uses of one log, in its order."""

    def __init__(self, tree: Path, progress: Progress) -> None:
        self._files = LogReader(tree)
        self._progress = progress
        note = self._files.checkpoint()
        self._size = parse_checkpoint(parse_note(note).text).size if note else 0
        self.leaves = 0
        self.gone = 0
        self.unnamed = 0
        self.unread = 0

    def uses(self, start_unix: int, end_unix: int | None) -> Iterator[Recorded]:
        """The uses from a second on, and before another; what was pruned is counted in `gone`."""
        bundles = (self._size + WIDTH - 1) // WIDTH
        first = self._first_bundle(bundles, start_unix - SLACK_SECONDS)
        for n in range(first, bundles):
            latest = 0
            for content in self._bundle(n):
                self.leaves += 1
                if not content:
                    self.gone += 1
                    continue
                entry = _parse(content, n)
                latest = max(latest, entry.time // 1_000_000_000)
                at_unix = entry.time // 1_000_000_000
                if entry.kind in USES and start_unix <= at_unix and (end_unix is None or at_unix < end_unix):
                    use = _use(entry)
                    if use is not None:
                        yield use
                    elif entry.kind == RecordKind.USE_REFUSED and b'"dataset"' not in bytes(entry.use):
                        self.unnamed += 1
                    else:
                        self.unread += 1
            self._progress((n + 1 - first) * WIDTH, max(1, (bundles - first) * WIDTH))
            if end_unix is not None and latest > end_unix + SLACK_SECONDS:
                return

    def _first_bundle(self, bundles: int, start_unix: int) -> int:
        """A bundle before which no entry is of `start_unix` or later, but for what stands out of order."""
        low, high = 0, bundles
        while low < high:
            middle = (low + high) // 2
            latest = max((_parse(each, middle).time for each in self._bundle(middle) if each), default=0)
            if latest // 1_000_000_000 < start_unix:
                low = middle + 1
            else:
                high = middle
        return low

    def _bundle(self, n: int) -> list[bytes]:
        width = min(WIDTH, self._size - n * WIDTH)
        try:
            return self._files.left(n, width)
        except GatewayError as error:
            if error.code != "not-found":
                raise
            return [b""] * width


def _parse(content: bytes, bundle: int) -> _Entry:
    try:
        return _entries.decode(content)
    except msgspec.MsgspecError as error:
        raise GatewayError("conflict", f"bundle {bundle} of the log holds what is no entry: {error}") from error


def _use(entry: _Entry) -> Recorded | None:
    """The use of an entry; None where it does not say what was decided, or in words that are not known."""
    try:
        said = _said.decode(entry.use)
    except msgspec.MsgspecError:
        return None
    return Recorded(entry.id, entry.time // 1_000_000_000, said, entry.subject is not None)
