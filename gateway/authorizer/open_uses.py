"""The uses that carriers were told to go on with and have not closed yet.

A use is closed once: by its carrier, or as `unknown` when its time is over, when there are too many, or when the worker
ends. A worker that is killed leaves it open, and its successor records it as `recovered`. Its record then says what is
known: that these items may have left.

INVARIANT: BOUNDED: at most `MOST_OPEN` a worker and an eighth of that for one system; where there is no room, the
oldest of the system that has the most is closed as `unknown`, so that no flood takes another's.
"""

import secrets

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.uses import Outcome, Use
from gateway.proxy.counters import Tally
from gateway.proxy.plane import DataPlane

MOST_OPEN = 16_384
SHARE = 8
SWEEP_SECONDS = 1.0
UNKNOWN = "unknown"
"""How a use ended of which nobody says how."""


class OpenUse(msgspec.Struct, frozen=True):
    """A use that is open.

    Args:
        record: its record's id.
        use: what it is.
        carrier: who carries it.
        tally: where its interface's calls are counted.
        due: by when it is closed, in the loop's time.
        began_ticks: when its check began, monotonic nanoseconds.
        opened_ns: when its use was opened, Unix nanoseconds.
        durable_ns: when the record of that was durable.
    """

    record: str
    use: Use
    carrier: str
    tally: Tally
    due: float
    began_ticks: int
    opened_ns: int
    durable_ns: int


class Closing(msgspec.Struct, frozen=True):
    """How a use ended, as it is told.

    Args:
        token: what the carrier was given for it (`Sharing-Close`).
        status: the status that the caller got; 0 where none is known.
        octets: of content that the caller got.
        end: `complete`, or `aborted` where the caller went away before.
    """

    token: str
    status: int
    octets: int
    end: str = "complete"


class OpenUses:
    """All of one worker, on its loop.

    Args:
        plane: whose ledger, clocks and watches they have.
        seconds: until one is closed by itself.
        most: how many there may be.
    """

    def __init__(self, plane: DataPlane, seconds: float, most: int = MOST_OPEN) -> None:
        self._plane = plane
        self.seconds = seconds
        self._most = most
        self._open: dict[str, dict[str, OpenUse]] = {}
        self._systems: dict[str, str] = {}
        self._sweeping = plane.loop.call_later(SWEEP_SECONDS, self._sweep)

    def __len__(self) -> int:
        return len(self._systems)

    def hand(self, opened: OpenUse) -> str:
        """Keep one until it is closed; the token that closes it, which nobody can guess."""
        system = opened.use.call.system
        own = self._open.get(system)
        if own is not None and len(own) >= self._most // SHARE:
            self._end_oldest(system)
        elif len(self._systems) >= self._most:
            self._end_oldest(max(self._open, key=lambda each: len(self._open[each])))
        token = f"{opened.record}.{secrets.token_urlsafe(16)}"
        self._open.setdefault(system, {})[token] = opened
        self._systems[token] = system
        return token

    def close(self, carrier: str | None, closing: Closing) -> None:
        """Close one; the first closing counts.

        Args:
            carrier: who closes; None where nothing but the token says so.
            closing: how it ended.

        Raises:
            GatewayError: `not-found` where there is none, or it is another's: which of them is not told.
        """
        system = self._systems.get(closing.token)
        opened = None if system is None else self._open[system][closing.token]
        if system is None or opened is None or carrier not in {None, opened.carrier}:
            raise GatewayError("not-found", "no such use is open: it was closed, or is another's")
        is_released = closing.octets > 0 and 200 <= closing.status < 300
        items = opened.use.verdict.items if is_released else ()
        self._end(system, closing.token, closing.status, items, closing.octets, closing.end)

    def close_all(self) -> None:
        """The worker ends: what is open is closed as it stands."""
        self._sweeping.cancel()
        for system, own in tuple(self._open.items()):
            for token in tuple(own):
                self._end_unknown(system, token)

    def _sweep(self) -> None:
        now = self._plane.loop.time()
        self._sweeping = self._plane.loop.call_later(SWEEP_SECONDS, self._sweep)
        for system, own in tuple(self._open.items()):
            # They stand in the order in which they came, and all have the same time.
            while own and next(iter(own.values())).due <= now:
                self._end_oldest(system)

    def _end_oldest(self, system: str) -> None:
        self._end_unknown(system, next(iter(self._open[system])))

    def _end_unknown(self, system: str, token: str) -> None:
        # What may have left is named: not known is not nothing.
        self._end(system, token, 0, self._open[system][token].use.verdict.items, 0, UNKNOWN)

    def _end(self, system: str, token: str, status: int, items: tuple[str, ...], octets: int, end: str) -> None:
        own = self._open[system]
        opened = own.pop(token)
        if not own:
            del self._open[system]
        del self._systems[token]
        plane = self._plane
        ended_ticks = plane.ticks()
        duration_ns = ended_ticks - opened.began_ticks
        outcome = Outcome(status, items, 0, octets, "", duration_ns // 1000, end)
        opened.tally.ended("permit", end, duration_ns, 0, octets)
        plane.ledger.closed(opened.record, opened.use, outcome)
        moments = (opened.opened_ns, opened.durable_ns, 0, opened.use.started_unix_ns + duration_ns)
        for watch in plane.watches:
            watch.used(opened.record, opened.use, outcome, *moments)
