"""The data plane's ledger: a use is opened, and closed or refused, through one worker's journal."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.domain.errors import GatewayError
from gateway.domain.uses import Outcome, Use
from gateway.ledger.journal.entries import UseEntries
from gateway.ledger.journal.writer import LOW_WATER_BYTES, SEGMENT_BYTES, JournalWriter, Waiting

Done = Callable[[BaseException | None], None]

LINGER_SECONDS = 0.01
"""How long an entry that nobody waits for may wait for others, so that one sync serves them all."""


class UseJournal:
    """Durable use records for one worker (it satisfies the data plane's `UseLedger`).

    What one turn of the loop opens goes to the journal together, at the end of that turn. What closes or refuses a use
    goes with it, or after `LINGER_SECONDS`: nobody waits for it.

    All methods are called on the worker's event loop and do not block it. Opening repairs the journal and records
    every use that was open when this writer died as `recovered`.

    Args:
        directory: the ledger's folder.
        writer: the worker's name.
        loop: the loop on which `done` is called.
        clock_ns: Unix nanoseconds.
        on_poisoned: called on the loop once the journal is poisoned: stop serving and start anew.
        low_water_bytes: free disk below which new uses are refused.
        segment_bytes: size of a journal segment.

    Raises:
        GatewayError: `conflict` if another process writes here, `records-unavailable` if the journal is corrupt.
    """

    def __init__(
        self,
        directory: Path,
        writer: str,
        *,
        loop: asyncio.AbstractEventLoop,
        clock_ns: Callable[[], int],
        on_poisoned: Callable[[BaseException], None],
        low_water_bytes: int = LOW_WATER_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._loop = loop
        self._clock_ns = clock_ns
        self._on_poisoned = on_poisoned
        self._journal = JournalWriter(
            directory,
            writer,
            clock_ns=clock_ns,
            tell=self._tell_on_loop,
            on_poisoned=self._poisoned_on_loop,
            segment_bytes=segment_bytes,
            low_water_bytes=low_water_bytes,
        )
        self._gathered: list[Waiting] = []
        self._is_due = self._is_lingering = False
        self._entries = UseEntries(self._journal.run, self._journal.salts)

    @property
    def run(self) -> str:
        """What the ids of this writer's records begin with, up to their `-`."""
        return self._journal.run

    @property
    def is_poisoned(self) -> bool:
        """Whether nothing can be recorded any more by this process."""
        return self._journal.fault is not None

    @property
    def accepts(self) -> bool:
        """Whether new uses can be recorded now: not poisoned, not closed, and enough free disk."""
        return self._journal.accepts

    def opened(self, use: Use, done: Done) -> str:
        """Write `use.opened` and return its record id; `done(None)` comes on the loop once it is durable.

        `done(error)` comes instead if it could not be made durable.

        Raises:
            GatewayError: `records-unavailable` where the journal is poisoned, closed, or the disk nearly full.
        """
        # INVARIANT: RECORD-FIRST: `done(None)` follows a returned fdatasync, and nothing else does.
        if not self._journal.accepts:
            raise self._refusal()
        record, content = self._entries.opened(use)
        self._gathered.append((content, done, record, use.verdict.retention_years))
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._hand_over)
        return record

    def closed(self, record: str, use: Use, outcome: Outcome) -> None:
        """Write `use.closed` without waiting; what is lost here is `recovered` at the next start. Never raises."""
        self._gathered.append((self._entries.closed(record, use, outcome, self._clock_ns()), None, record, -1))
        if not self._is_lingering:
            self._linger()

    def refused(self, use: Use) -> str:
        """Write `use.refused` without waiting and return its record id.

        Raises:
            GatewayError: `records-unavailable` where the journal is poisoned, closed, or the disk nearly full.
        """
        if not self._journal.accepts:
            raise self._refusal()
        record, content = self._entries.refused(use)
        self._gathered.append((content, None, record, 0))
        if not self._is_lingering:
            self._linger()
        return record

    def forget(self) -> None:
        """Render anew what records of a verdict have in common: what was kept of it holds words of its calls."""
        self._entries.forget()

    def syncs(self) -> list[tuple[float, int]]:
        """(seconds, uses opened) of each sync of the journal since the last time this was asked."""
        syncs = self._journal.syncs
        return [syncs.popleft() for _ in range(len(syncs))]

    def close(self) -> None:
        """Make what waits durable and let the journal go; blocks for one sync."""
        self._hand_over()
        self._journal.close()

    def _hand_over(self) -> None:
        """Give what was gathered to the journal's thread."""
        self._is_due = False
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._journal.put_all(gathered)

    def _linger(self) -> None:
        if self._loop.is_closed():
            self._hand_over()
            return
        self._is_lingering = True
        self._loop.call_later(LINGER_SECONDS, self._lingered)

    def _lingered(self) -> None:
        self._is_lingering = False
        self._hand_over()

    def _refusal(self) -> GatewayError:
        if self._journal.fault is None:
            return GatewayError("records-unavailable", "the disk of the records is nearly full")
        return GatewayError("records-unavailable", "the journal of this worker takes no more records")

    def _tell_on_loop(self, waiters: list[Any], error: BaseException | None) -> None:
        # One wake-up of the loop a batch, whatever its size.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, waiters, error)

    def _tell(self, waiters: list[Done], error: BaseException | None) -> None:
        for done in waiters:
            try:
                done(error)
            except Exception as failure:  # noqa: BLE001 — one exchange's fault must not keep the others waiting
                self._loop.call_exception_handler({"message": "a use failed on waking", "exception": failure})

    def _poisoned_on_loop(self, error: BaseException) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_poisoned, error)
