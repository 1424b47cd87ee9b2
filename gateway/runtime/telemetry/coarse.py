"""Figures of uses in coarse steps, so that no single use can be read off them (Decree 809 Art. 36).

Who runs a gateway watches its figures, and is not to learn who uses what data when. So what tells of uses is shown as
it stood when at least `STEP` more calls had been counted than were shown before:

    counted by label set       calls, and every histogram of calls: each label set by its own count
    shown beside those calls   rows and bytes released: as of the moment at which the same interface's permitted
                               calls were last shown anew
    in steps of its own        what tells of no use but moves with each, such as connections, entries of the log, octets
                               held, processor time (`Family.step`): counts as above, gauges rounded down,
                               and rounded anew once they are half a step beyond what that stands for

An interface that is called three times a day shows nothing for three days. What is exact is in the records, for those
who may consult them, and in `records stats`, which has floors of its own.

What is shown is kept beside the processes' snapshots, so that a control process that is started again goes on where it
was: else a restart would show every exact number once.
"""

import contextlib
import threading
from pathlib import Path

import msgspec

from gateway.runtime.telemetry.families import FAMILIES, Kind
from gateway.runtime.telemetry.metrics import Distribution, Labels, Snapshot

STEP = 10
"""Uses that are told together at least."""

FILE = "shown.coarse"
_CALLS = "gateway_calls_total"
_BESIDE = ("gateway_released_rows_total", "gateway_released_bytes_total")


class Shown(msgspec.Struct):
    """What was last shown of the families that tell of uses."""

    numbers: dict[str, dict[Labels, float]] = {}
    distributions: dict[str, dict[Labels, Distribution]] = {}


class CoarseFigures:
    """Replaces what tells of uses in a joined snapshot by what may be shown of it. Thread-safe.

    Args:
        folder: where the processes' snapshots are.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._shown = _read(self._path)
        self._rounded: dict[str, dict[Labels, float]] = {}

    def cover(self, joined: Snapshot) -> None:
        """Let `joined` tell of uses in steps alone; all other families stay as they are."""
        with self._lock:
            changed = self._cover_counted(joined)
            if changed:
                partial = self._path.with_suffix(".partial")
                with contextlib.suppress(OSError):
                    partial.write_bytes(msgspec.msgpack.encode(self._shown))
                    partial.replace(self._path)
            for name in (*_COUNTERS, *_BESIDE):
                joined.numbers[name] = dict(self._shown.numbers.get(name, {}))
            for name in _HISTOGRAMS:
                joined.distributions[name] = dict(self._shown.distributions.get(name, {}))
            for name, step in _GAUGES.items():
                if name in joined.numbers:
                    self._rounded[name] = joined.numbers[name] = {
                        labels: _rounded(value, step, self._rounded.get(name, {}).get(labels))
                        for labels, value in joined.numbers[name].items()
                    }

    def _cover_counted(self, joined: Snapshot) -> bool:
        changed = False
        for name, step in _COUNTERS.items():
            shown = self._shown.numbers.setdefault(name, {})
            for labels, value in joined.numbers.get(name, {}).items():
                before = shown.get(labels, 0.0)
                if not FAMILIES[name].of_uses:
                    shown[labels] = before  # its labels tell of nobody: it is there from the start
                if value < before and not FAMILIES[name].of_uses:
                    # A process that was started again counts anew.
                    shown[labels] = value - value % step
                    changed = True
                elif value - before >= step:
                    shown[labels] = value
                    changed = True
                    if name == _CALLS:
                        self._show_beside(joined, labels)
        for name, step in _HISTOGRAMS.items():
            held = self._shown.distributions.setdefault(name, {})
            for labels, distribution in joined.distributions.get(name, {}).items():
                told = sum(held[labels].counts) if labels in held else 0
                if sum(distribution.counts) - told >= step:
                    held[labels] = Distribution(list(distribution.counts), distribution.sum)
                    changed = True
        return changed

    def _show_beside(self, joined: Snapshot, calls: Labels) -> None:
        """Rows and bytes of the interface whose permitted calls are shown anew."""
        supplier, interface, verdict, _ = calls
        if verdict != "permit":
            return
        for name in _BESIDE:
            value = joined.numbers.get(name, {}).get((supplier, interface))
            if value is not None:
                self._shown.numbers.setdefault(name, {})[supplier, interface] = value


def _rounded(value: float, step: float, shown: float | None) -> float:
    """A gauge in steps; one that stands just below a step does not show each use that takes it over."""
    if shown is not None and shown - step / 2 <= value < shown + step * 1.5:
        return shown
    return value - value % step


def _steps(*kinds: Kind) -> dict[str, float]:
    """Name -> in which steps it is shown, of families of some kinds that are not shown as they are."""
    return {
        name: STEP if each.of_uses else each.step
        for name, each in FAMILIES.items()
        if each.kind in kinds and name not in _BESIDE and (each.of_uses or each.step)
    }


_COUNTERS = _steps(Kind.COUNTER)
_HISTOGRAMS = _steps(Kind.HISTOGRAM)
_GAUGES = _steps(Kind.SUM, Kind.MAX, Kind.MIN)


def _read(path: Path) -> Shown:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=Shown)
    except (OSError, msgspec.MsgspecError):
        return Shown({}, {})
