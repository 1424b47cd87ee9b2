"""Shadow mode: a candidate set of layers decides beside the active one on live traffic, and only counts.

Every verdict that is made is made by the candidate too, from the same reading of the state. A kept verdict is not made
again, so each kind of call is compared once as long as its verdict holds. The candidate's answer reaches nobody, and
what fails in it changes nothing.
"""

import secrets
import threading
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from gateway.domain.verdicts import Call, Verdict
from gateway.policy.law.drawn import Drawn
from gateway.policy.law.layers import Layers
from gateway.policy.live.slices import Slice, Standing

MAX_LISTED = 200
"""Differences listed; all are counted."""

MAX_SLICES = 256

Lately = Callable[[Slice, Call, int], Drawn]
"""What was lately drawn, as a slice's convergence rules look at it."""


class ShadowDifference(msgspec.Struct, frozen=True):
    """A call that the candidate decides otherwise, in the words of the directory and the grants, never the caller's.

    Args:
        change: `would-gain`, `would-lose`, or `would-change` (other items, masks, grant or code).
        department: whose.
        dataset: of what.
        interface: through which interface.
        mode: the sharing mode.
        active: `permit` or the code of the denial.
        candidate: the same of the candidate.
        grant: the active verdict's grant, or else the candidate's.
        policies: ids of the policies that determine the candidate's verdict.
    """

    change: Literal["would-gain", "would-lose", "would-change"]
    department: str
    dataset: str
    interface: str
    mode: str
    active: str
    candidate: str
    grant: str | None
    policies: tuple[str, ...]


class ShadowTally(msgspec.Struct, frozen=True):
    """How many verdicts came out how.

    Args:
        same: verdicts on which both agree.
        gains: denied now, permitted by the candidate.
        losses: permitted now, denied by the candidate.
        changes: the same decision with other items, masks, grant or code.
        failures: verdicts that the candidate could not make.
    """

    same: int = 0
    gains: int = 0
    losses: int = 0
    changes: int = 0
    failures: int = 0

    def __add__(self, other: "ShadowTally") -> "ShadowTally":
        """Both together."""
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return ShadowTally(*(a + b for a, b in zip(mine, theirs, strict=True)))


class ShadowReport(msgspec.Struct, frozen=True):
    """What one engine has counted since its shadow began.

    Args:
        shadow: the step that put the candidate in the shadow.
        instance: names this count; a worker that starts again counts from zero under another name.
        digest: the candidate's digest.
        tally: how many verdicts came out how.
        differences: each kind of difference once; at most `MAX_LISTED`.
    """

    shadow: int
    instance: str
    digest: str
    tally: ShadowTally
    differences: tuple[ShadowDifference, ...]


class NodeCounts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the workers of one node have counted for a candidate.

    Args:
        workers: worker -> the count it is at, and how far.
        ended: counts of workers that have ended since.
        differences: of all of them; at most `MAX_LISTED`.
    """

    workers: dict[str, tuple[str, ShadowTally]] = {}
    ended: ShadowTally = ShadowTally()
    differences: tuple[ShadowDifference, ...] = ()

    def heard(self, worker: str, report: ShadowReport) -> "NodeCounts":
        """With a worker's newest report: it replaces the one before it, or begins anew where the worker did."""
        instance, tally = self.workers.get(worker, (report.instance, ShadowTally()))
        ended = self.ended if instance == report.instance else self.ended + tally
        return NodeCounts(
            {**self.workers, worker: (report.instance, report.tally)},
            ended,
            listed(self.differences, report.differences),
        )

    @property
    def tally(self) -> ShadowTally:
        """Everything this node has counted."""
        return sum((tally for _, tally in self.workers.values()), self.ended)


def listed(*differences: Iterable[ShadowDifference]) -> tuple[ShadowDifference, ...]:
    """Each difference once, in order, at most `MAX_LISTED`."""
    return tuple(dict.fromkeys(one for each in differences for one in each))[:MAX_LISTED]


class Shadow:
    """A candidate and its counts. Thread-safe.

    Args:
        layers: the candidate.
        number: the step that put it in the shadow.
    """

    def __init__(self, layers: Layers, number: int = 0) -> None:
        self._layers = layers
        self._number = number
        self._instance = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._slices: dict[Standing, Slice] = {}
        self._counts = {"same": 0, "would-gain": 0, "would-lose": 0, "would-change": 0, "failed": 0}
        self._differences: dict[ShadowDifference, None] = {}

    def watch(self, part: Slice, call: Call, now_unix: int, lately: Lately, active: Verdict) -> None:
        """Let the candidate decide what the active set has decided from `part`. Never raises.

        What was drawn from datasets that only the candidate's convergence rules name was not noted, so it is not seen.
        """
        try:
            beside = self._slice(part)
            verdict = beside.evaluate(call, now_unix, lately(beside, call, now_unix))
        except BaseException:  # noqa: BLE001 - a candidate that fails changes nothing; Cedar's panic is no Exception
            with self._lock:
                self._counts["failed"] += 1
            return
        change = _change(active, verdict)
        with self._lock:
            self._counts[change] += 1
            if change == "same" or len(self._differences) >= MAX_LISTED:
                return
            difference = ShadowDifference(
                change,
                call.department,
                call.dataset,
                call.interface,
                call.mode.value,
                active.code or "permit",
                verdict.code or "permit",
                active.grant or verdict.grant,
                verdict.policies,
            )
            self._differences[difference] = None

    def report(self) -> ShadowReport:
        """What was counted so far."""
        with self._lock:
            tally = ShadowTally(*self._counts.values())
            return ShadowReport(self._number, self._instance, self._layers.digest, tally, tuple(self._differences))

    def _slice(self, part: Slice) -> Slice:
        with self._lock:
            beside = self._slices.get(part.standing)
        if beside is None:
            beside = Slice(self._layers, part.state)
            with self._lock:
                while len(self._slices) >= MAX_SLICES:
                    del self._slices[next(iter(self._slices))]
                self._slices[part.standing] = beside
        return beside


def _change(active: Verdict, candidate: Verdict) -> Literal["same", "would-gain", "would-lose", "would-change"]:
    if active.is_permit != candidate.is_permit:
        return "would-gain" if candidate.is_permit else "would-lose"
    facets = [(one.code, one.items, one.masks, one.grant) for one in (active, candidate)]
    return "same" if facets[0] == facets[1] else "would-change"
