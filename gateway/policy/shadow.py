"""Shadow mode: a candidate set of layers decides beside the active one on live traffic, and only counts.

Every verdict that is made is made by the candidate too, from the same reading of the state. A kept verdict is not made
again, so each kind of call is compared once as long as its verdict holds. The candidate's answer reaches nobody, and
what fails in it changes nothing.
"""

import threading
from collections.abc import Callable
from typing import Literal

import msgspec

from gateway.domain.verdicts import Call, Verdict
from gateway.policy.layers import Layers
from gateway.policy.slices import Drawn, Slice, Standing

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


class ShadowReport(msgspec.Struct, frozen=True):
    """What shadow mode has counted since it began.

    Args:
        layers: the candidate's layers.
        digest: the candidate's digest.
        same: verdicts on which both agree.
        gains: denied now, permitted by the candidate.
        losses: permitted now, denied by the candidate.
        changes: the same decision with other items, masks, grant or code.
        failures: verdicts that the candidate could not make.
        differences: each kind of difference once; at most `MAX_LISTED`.
    """

    layers: tuple[str, ...]
    digest: str
    same: int
    gains: int
    losses: int
    changes: int
    failures: int
    differences: tuple[ShadowDifference, ...]


class Shadow:
    """A candidate and its counts. Thread-safe.

    Args:
        layers: the candidate.
    """

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
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
        except Exception:  # noqa: BLE001 - a candidate that fails is counted and changes nothing
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
            return ShadowReport(
                self._layers.names,
                self._layers.digest,
                self._counts["same"],
                self._counts["would-gain"],
                self._counts["would-lose"],
                self._counts["would-change"],
                self._counts["failed"],
                tuple(self._differences),
            )

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
