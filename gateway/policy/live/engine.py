"""The engine of one process: slices built on first use, verdicts kept, both dropped when the state changes.

A hot call is one dictionary lookup (`kept`). A cold one builds the slice if need be and asks Cedar (`decide`), in a
thread. `drop` and `activate` take effect before they return: no verdict made from what they dropped is given out by
`kept` or `decide` afterwards (INVARIANT: BARRIER, the part that is the policies').
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

import cedarpy
import msgspec

from gateway.domain.changes import Change, ChangeKind
from gateway.domain.directory import Department
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Call, Verdict
from gateway.policy.law.layers import Layers
from gateway.policy.law.settled import Settled
from gateway.policy.live import refusals
from gateway.policy.live.acts import decide_act
from gateway.policy.live.convergence import Convergence, DrawnBook
from gateway.policy.live.shadow import Shadow, ShadowReport
from gateway.policy.live.slices import Slice, Standing

log = logging.getLogger(__name__)

SHARD_VERDICTS = 1024
"""Kept verdicts stand in dictionaries of so many: one of them all would now and then take 3 ms to grow."""

KEPT_UNIT_BYTES = 1024
"""A kept verdict counts once, and once more for each so many bytes of what its caller asked and was told."""

LET_GO_AT_ONCE = 2
"""How many slices that were dropped one decision lets go of: more than it can add, so that they never pile up."""
LET_GO_ENTRIES = 128
"""And how many entries of what was kept."""

BUILD_ATTEMPTS = 8
"""How often a slice is built anew because the state changed meanwhile; then the call is denied as `state-stale`."""

HOLD_SECONDS = 1.0
"""How long a call waits for policies that are being loaded; then it is denied as `state-stale`."""

Pair = tuple[str, str]


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A verdict with the standing of its slice, the seconds between which it holds, and how much it counts."""

    standing: Standing
    since_unix: int
    until_unix: int
    verdict: Verdict
    units: int


class _Shard:
    """Some of the kept verdicts, and what they count together; changed under the engine's lock alone."""

    __slots__ = ("units", "verdicts")

    def __init__(self) -> None:
        self.verdicts: dict[Call, Kept] = {}
        self.units = 0

    def keep(self, call: Call, kept: Kept, most_units: int) -> None:
        """Keep a verdict, in place of the oldest; not one that alone counts for more than there is room."""
        before = self.verdicts.pop(call, None)
        self.units -= 0 if before is None else before.units
        if kept.units > most_units:
            return
        while self.units + kept.units > most_units:
            self.units -= self.verdicts.pop(next(iter(self.verdicts))).units
        self.verdicts[call] = kept
        self.units += kept.units


class _Build:
    """A slice being built, so that a change that arrives meanwhile can name it."""

    __slots__ = ("pair", "sequence")

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.sequence = 0


class Engine:
    """Decides calls and acts over the static layers in force and the state that `read` reads.

    Thread-safe. `kept` takes no lock; the lock elsewhere is never held while Cedar or the state works. What is dropped
    is let go of later, little by little, in the threads that decide: to free a parsed slice takes some 0.1 ms, and a
    change may drop hundreds on the loop.

    Args:
        layers: the static layers in force.
        read: a consistent reading of the state for (department, dataset); called in the deciding thread.
        drawn: what departments have lately drawn; without it every call on a dataset that a convergence rule names
            is denied, for it could not be known what it is combined with.
        max_slices: of how many pairs of department and dataset verdicts are kept.
        max_verdicts: how many verdicts are kept; fewer where callers ask in many words (`KEPT_UNIT_BYTES`).
        max_parsed: how many slices are held with their parsed policies and entities, which take about 50 KiB each; a
            pair whose slice is not held keeps its verdicts, and its slice is built again for the next new call.
    """

    def __init__(
        self,
        layers: Layers,
        read: Callable[[str, str], SliceState],
        *,
        drawn: DrawnBook | None = None,
        max_slices: int = 4096,
        max_verdicts: int = 65_536,
        max_parsed: int = 256,
    ) -> None:
        self._layers = layers
        self._read = read
        self._convergence = Convergence(drawn)
        self._max_slices = max_slices
        self._shards = max(1, max_verdicts // SHARD_VERDICTS)
        self._max_a_shard = max_verdicts // self._shards
        self._max_parsed = max_parsed
        self._lock = threading.Lock()
        self._slices: dict[Pair, Slice] = {}
        self._standings: dict[Pair, Standing] = {}
        self._of_department: dict[str, set[Pair]] = {}
        self._verdicts = tuple(_Shard() for _ in range(self._shards))
        self._spent: list[Slice | dict[Any, Any]] = []
        self._builds: set[_Build] = set()
        self._seen = 0
        self._shadow: Shadow | None = None
        self._open = threading.Event()
        self._open.set()
        self.drops = 0
        """Counts drops and activations: a verdict awaited across a rise of it may no longer stand."""
        self.errors = 0
        """Counts calls denied because something failed while they were decided."""

    @property
    def held(self) -> tuple[int, int]:
        """How many slices are held, and how many verdicts are kept."""
        return len(self._slices), sum(len(shard.verdicts) for shard in self._verdicts)

    @property
    def layers(self) -> Layers:
        """The static layers in force."""
        return self._layers

    def kept(self, call: Call, now_unix: int) -> Verdict | None:
        """The verdict at hand that still holds at `now_unix`, or None. One lookup; takes no lock."""
        kept = self._verdicts[hash(call) % self._shards].verdicts.get(call)
        if kept is None or not kept.standing.live or not kept.since_unix <= now_unix < kept.until_unix:
            return None
        return kept.verdict

    def decide(self, call: Call, now_unix: int) -> Verdict:
        """The verdict on `call` at `now_unix`; reads the state if its slice is not held. Blocks: call it in a thread.

        Never raises: whatever fails is a denial (INVARIANT: ERROR-DENIES).
        """
        verdict = self.kept(call, now_unix)
        if verdict is not None:
            return verdict
        try:
            return self._decide(call, now_unix)
        except BaseException as error:  # noqa: BLE001 - any error inside is a denial, also Cedar's panic: no Exception
            self.errors += 1
            log.error("a call could not be decided and is denied: %s", type(error).__name__)
            return refusals.error_denial(self._layers.digest, now_unix + 1)

    def explain(self, call: Call, now_unix: int) -> Verdict:
        """The verdict with its explanation, made afresh from the state; keeps nothing.

        Raises:
            GatewayError: if the state cannot be read.
        """
        part = Slice(self._layers, self._read(call.department, call.dataset))
        return self._convergence.preview(part, call, now_unix) if part.drawn_facts else part.evaluate(call, now_unix)

    @property
    def settled(self) -> Settled:
        """What the settings say that the policies in force read."""
        return self._layers.settled

    def authorize(
        self, officer: Officer, act: Act, matter: Matter, now_unix: int, home: Department | None = None
    ) -> Verdict:
        """Whether `officer`, of the department `home`, may do `act` about `matter`.

        A permit, or a denial with `act-not-permitted`.
        """
        return decide_act(self._layers, officer, act, matter, now_unix, home)

    def policies_for(self, department: str, dataset: str) -> str:
        """The exact Cedar that governs the uses of `dataset` by `department`: static layers, then built policies."""
        part = Slice(self._layers, self._read(department, dataset))
        parts = (self._layers.uses_text(), part.cedar_text())
        return self._layers.constants_text() + str(cedarpy.format_policies("\n\n".join(parts), line_width=110))

    def drop(self, change: Change) -> None:
        """Drop every slice and verdict that `change` touches, before returning. Quick; may be called on a loop."""
        if change.kind is ChangeKind.KEY:
            return
        with self._lock:
            self._seen = max(self._seen, change.sequence)
            self.drops += 1
            for build in self._builds:
                if _may_touch(change, build.pair):
                    build.sequence = max(build.sequence, change.sequence)
            touched = self._touched(change)
            if touched and len(touched) == len(self._standings):
                self._forget_all()
                return
            for pair in touched:
                self._forget(pair)

    def hold(self) -> None:
        """Decide nothing more until `activate`: other policies are in force, and they are not at hand yet.

        When it returns, no verdict made under the old ones is given out any more. Quick; may be called on a loop.
        """
        with self._lock:
            self._open.clear()
            self.drops += 1
            self._forget_all()
            self._forget_verdicts()

    def activate(self, layers: Layers) -> None:
        """Put other static layers in force, at once and whole: what was made under the old is dropped."""
        with self._lock:
            self._layers = layers
            self.drops += 1
            self._forget_all()
            self._forget_verdicts()
            self._open.set()

    def shadow(self, candidate: Layers | None, number: int = 0) -> None:
        """Let `candidate` decide beside the active layers from now on, or end that with None. Counts begin at zero.

        What is kept is made anew, so that calls whose verdicts were at hand are compared too. `number` names it.
        """
        with self._lock:
            self._shadow = None if candidate is None else Shadow(candidate, number)
            self._forget_verdicts()

    def shadow_report(self) -> ShadowReport | None:
        """What shadow mode has counted, or None where it is off."""
        shadow = self._shadow
        return None if shadow is None else shadow.report()

    def _touched(self, change: Change) -> list[Pair]:
        """The pairs that `change` touches."""
        department, dataset, supplier = change.department, change.dataset, change.supplier
        if change.kind is ChangeKind.DEPARTMENT and department is not None:
            return list(self._of_department.get(department, ()))
        if department is not None and dataset is not None:
            pair = (department, dataset)
            return [pair] if pair in self._standings else []
        touched: list[Pair] = []
        if supplier is None:
            touched = list(self._standings)
        else:
            # Where the supplier is not known yet it may be this one.
            named = self._of_department.get(supplier, set()) | self._of_department.get("", set())
            touched = [pair for pair in named if self._standings[pair].supplier in (None, supplier)]
        if department is not None:
            touched = [pair for pair in touched if pair[0] == department]
        if dataset is not None:
            touched = [pair for pair in touched if pair[1] == dataset]
        return touched

    def _stand(self, pair: Pair, standing: Standing) -> None:
        self._standings[pair] = standing
        for department in _departments(pair, standing):
            self._of_department.setdefault(department, set()).add(pair)

    def _forget(self, pair: Pair) -> None:
        standing = self._standings.pop(pair)
        standing.live = False
        for department in _departments(pair, standing):
            of_department = self._of_department[department]
            of_department.discard(pair)
            if not of_department:
                del self._of_department[department]
        if pair in self._slices:
            self._spent.append(self._slices.pop(pair))

    def _forget_all(self) -> None:
        for standing in self._standings.values():
            standing.live = False
        self._spent += [*self._slices.values(), self._standings, self._of_department]
        self._standings, self._slices, self._of_department = {}, {}, {}

    def _forget_verdicts(self) -> None:
        self._spent += [shard.verdicts for shard in self._verdicts if shard.verdicts]
        self._verdicts = tuple(_Shard() for _ in range(self._shards))

    def _let_go(self) -> None:
        """Free a little of what was dropped; without the lock, so that `drop` need not wait for it.

        In pieces: the loop gets the interpreter back between any two of them, and never within one.
        """
        for _ in range(LET_GO_AT_ONCE):
            try:
                spent = self._spent.pop()
            except IndexError:
                return
            if isinstance(spent, Slice):
                pieces = [*spent.sets, *spent.grants, spent.entities]
                del spent
                while pieces:
                    pieces.pop()
                continue
            for _ in range(min(LET_GO_ENTRIES, len(spent))):
                spent.popitem()
            if spent:
                self._spent.append(spent)

    def _decide(self, call: Call, now_unix: int) -> Verdict:
        if not self._open.wait(HOLD_SECONDS):
            return refusals.plain_denial("state-stale", self._layers.digest, now_unix + 1)
        for _ in range(BUILD_ATTEMPTS):
            part = self._slice(call.department, call.dataset)
            self._let_go()
            if part is None:
                continue
            if part.drawn_facts:
                verdict = self._convergence.evaluate(part, call, now_unix)
            else:
                verdict = part.evaluate(call, now_unix)
            shadow = self._shadow
            if shadow is not None:
                shadow.watch(part, call, now_unix, self._convergence.lately, verdict)
            with self._lock:
                # INVARIANT: BARRIER — a slice dropped while it was evaluated decides nothing.
                if not part.standing.live:
                    continue
                if not part.drawn_facts:
                    shard = self._verdicts[hash(call) % self._shards]
                    kept = Kept(part.standing, now_unix, verdict.valid_until_unix, verdict, _units(call, verdict))
                    shard.keep(call, kept, self._max_a_shard)
            return verdict
        return refusals.plain_denial("state-stale", self._layers.digest, now_unix + 1)

    def _slice(self, department: str, dataset: str) -> Slice | None:
        """The slice of a pair, held or built now; None if the state changed while it was built."""
        pair = (department, dataset)
        build = _Build(pair)
        with self._lock:
            if not self._open.is_set():
                return None
            part = self._slices.get(pair)
            if part is not None:
                # The oldest is evicted first: a pair asked for again becomes the youngest.
                self._slices[pair] = self._slices.pop(pair)
                self._standings[pair] = self._standings.pop(pair)
                return part
            layers, build.sequence = self._layers, self._seen
            self._builds.add(build)
        try:
            part = Slice(layers, self._read(department, dataset))
        finally:
            with self._lock:
                self._builds.discard(build)
        with self._lock:
            # INVARIANT: BARRIER — a reading from before a change that touches the pair is not kept.
            if part.state.sequence < build.sequence or layers is not self._layers or not self._open.is_set():
                return None
            standing = self._standings.get(pair)
            if standing is None:
                while len(self._standings) >= self._max_slices:
                    self._forget(next(iter(self._standings)))
                self._stand(pair, part.standing)
            else:
                # Nothing has dropped what was read before, so this reading is the same.
                part.standing = standing
            while len(self._slices) >= self._max_parsed:
                self._spent.append(self._slices.pop(next(iter(self._slices))))
            self._slices[pair] = part
            return part


def _units(call: Call, verdict: Verdict) -> int:
    """How much a kept verdict counts: what its caller asked, and what is told of it."""
    near = () if verdict.explanation is None else verdict.explanation.near
    told = sum(4 * len(sentence) for miss in near for sentence in (*miss.detail, *miss.detail_zh))
    return sum(1 for _ in verdict.in_turn()) + (call.room_bytes + told) // KEPT_UNIT_BYTES


def _departments(pair: Pair, standing: Standing) -> set[str]:
    """Ids of the departments whose changes touch a pair; "" where its supplier is not known."""
    return {pair[0], standing.supplier or "", *standing.concerned}


def _may_touch(change: Change, pair: Pair) -> bool:
    """Whether `change` may touch what is just being read for `pair`, of which no more is known yet."""
    if change.kind is ChangeKind.DEPARTMENT:
        return True
    return change.department in (None, pair[0]) and change.dataset in (None, pair[1])
