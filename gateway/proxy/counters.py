"""What one worker counts: for metrics; no name of a person, no value, no credential (INVARIANT: NO-VALUES)."""

from bisect import bisect_left
from typing import Any

BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BOUNDS_NS = tuple(int(bound * 1e9) for bound in BOUNDS_SECONDS)


STAGE_BOUNDS_SECONDS = (
    *(0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
    *(2.5, 5.0, 10.0, 30.0),
)
_STAGE_BOUNDS_NS = tuple(int(bound * 1e9) for bound in STAGE_BOUNDS_SECONDS)


class Stage:
    """How long one stage of permitted calls took.

    Attributes:
        counts: calls a bucket of `STAGE_BOUNDS_SECONDS`, the last one above all.
        sum_ns: sum of them.
    """

    __slots__ = ("counts", "sum_ns")

    def __init__(self) -> None:
        self.counts = [0] * (len(_STAGE_BOUNDS_NS) + 1)
        self.sum_ns = 0

    def note(self, ns: int) -> None:
        """One call's."""
        self.counts[bisect_left(_STAGE_BOUNDS_NS, ns)] += 1
        self.sum_ns += ns


class Tally:
    """Counts of one interface; of requests that named none, those of `Counters.nowhere`.

    Attributes:
        reasons: (verdict, reason) -> calls. The verdict is permit, deny or refused; the reason how a permitted use
            ended, or a problem code.
        durations: calls a bucket of `BOUNDS_SECONDS`, the last one above all.
        duration_ns: sum of them.
    """

    __slots__ = (
        "duration_ns",
        "durations",
        "reasons",
        "rows",
        "sent_bytes",
    )

    def __init__(self) -> None:
        self.reasons: dict[tuple[str, str], int] = {}
        self.durations = [0] * (len(_BOUNDS_NS) + 1)
        self.duration_ns = 0
        self.rows = 0
        self.sent_bytes = 0

    def ended(self, verdict: str, reason: str, duration_ns: int, rows: int = 0, sent_bytes: int = 0) -> None:
        """A call ended."""
        key = (verdict, reason)
        self.reasons[key] = self.reasons.get(key, 0) + 1
        self.durations[bisect_left(_BOUNDS_NS, duration_ns)] += 1
        self.duration_ns += duration_ns
        self.rows += rows
        self.sent_bytes += sent_bytes


class Counters:
    """Counts since the worker started.

    Attributes:
        interfaces: (supplier, interface) -> its tally.
        nowhere: requests that never came to an interface.
        refusals: problem code -> problem documents sent, whatever the verdict.
        connections: callers' connections accepted.
        cuts: answers cut by an order.
        shed: limit -> calls or connections turned away.
        failures: ports that failed in a way they do not declare.
        recorded: from opening a use to its record being durable.
        supplied: from there to the head of the supplier's answer, or to the end where none came.
        released: from there to the last byte.
        strays: (supplier, where they came) -> connections closed since octets on them answered nobody: `behind` the
            end of an answer, on an `idle` connection, `unasked` before a request had reached the supplier.
    """

    __slots__ = (
        "connections",
        "cuts",
        "failures",
        "interfaces",
        "nowhere",
        "recorded",
        "refusals",
        "released",
        "shed",
        "strays",
        "supplied",
    )

    def __init__(self) -> None:
        self.interfaces: dict[tuple[str, str], Tally] = {}
        self.nowhere = Tally()
        self.refusals: dict[str, int] = {}
        self.connections = 0
        self.cuts = 0
        self.failures = 0
        self.shed: dict[str, int] = {}
        self.strays: dict[tuple[str, str], int] = {}
        self.recorded = Stage()
        self.supplied = Stage()
        self.released = Stage()

    def tally(self, supplier: str, interface: str) -> Tally:
        """The tally of an interface."""
        return self.interfaces.setdefault((supplier, interface), Tally())

    def refused(self, code: str) -> None:
        """A problem document leaves."""
        self.refusals[code] = self.refusals.get(code, 0) + 1

    def turned_away(self, limit: str) -> None:
        """A call or connection was turned away to protect the gateway."""
        self.shed[limit] = self.shed.get(limit, 0) + 1

    def strayed(self, supplier: str, when: str) -> None:
        """Octets of a supplier answered nobody, and ended their connection."""
        self.strays[supplier, when] = self.strays.get((supplier, when), 0) + 1

    def snapshot(self) -> dict[str, Any]:
        """The counts as plain values."""
        tallies = {("", ""): self.nowhere, **self.interfaces}
        return {
            "interfaces": {
                key: {
                    "calls": dict(tally.reasons),
                    "durations": list(tally.durations),
                    "duration_seconds": tally.duration_ns / 1e9,
                    "rows": tally.rows,
                    "sent_bytes": tally.sent_bytes,
                }
                for key, tally in tallies.items()
            },
            "refusals": dict(self.refusals),
            "connections_accepted": self.connections,
            "cuts": self.cuts,
            "failures": self.failures,
            "shed": dict(self.shed),
            "strays": dict(self.strays),
            "stages": {
                "record": (list(self.recorded.counts), self.recorded.sum_ns / 1e9),
                "supplier": (list(self.supplied.counts), self.supplied.sum_ns / 1e9),
                "release": (list(self.released.counts), self.released.sum_ns / 1e9),
            },
        }
