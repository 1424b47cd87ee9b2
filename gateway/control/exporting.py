"""Exports on their way: made beside the request that asked, so that a long one can be watched (RFC 7240)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.domain.errors import GatewayError

MAX_KEPT = 256
"""Exports remembered; of those that are finished, the oldest is forgotten first."""
WATCH_SECONDS = 1.0

Progress = Callable[[int, int], None]
Finished = dict[str, Any]
"""What is answered of an export once it is made."""


class ExportUnderWay:
    """One export: how far it is, and in the end what it came to."""

    def __init__(self, make: Callable[[Progress], Awaitable[Finished]]) -> None:
        self.done = 0
        self.of = 0
        self._changed = asyncio.Event()
        self.task = asyncio.ensure_future(self._run(make))

    async def watch(self) -> Finished | None:
        """What it came to, None while it is under way; waits for news, but not long.

        Raises:
            GatewayError: what stopped it.
        """
        self._changed.clear()
        if not self.task.done():
            news = asyncio.ensure_future(self._changed.wait())
            await asyncio.wait({self.task, news}, timeout=WATCH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
        return self.task.result() if self.task.done() else None

    async def _run(self, make: Callable[[Progress], Awaitable[Finished]]) -> Finished:
        return await make(self._progress)

    def _progress(self, done: int, of: int) -> None:
        self.done, self.of = done, of
        self._changed.set()


class Exporting:
    """The exports of this process by name."""

    def __init__(self) -> None:
        self._kept: dict[str, ExportUnderWay] = {}

    def begin(self, name: str, make: Callable[[Progress], Awaitable[Finished]]) -> ExportUnderWay:
        """Begin to make the export `name`.

        Raises:
            GatewayError: `rate-limited` if too many are under way.
        """
        if len(self._kept) >= MAX_KEPT:
            finished = next((each for each, export in self._kept.items() if export.task.done()), None)
            if finished is None:
                raise GatewayError("rate-limited", f"{MAX_KEPT} exports are under way: wait for one to end")
            if not (gone := self._kept.pop(finished).task).cancelled():
                gone.exception()
        export = self._kept[name] = ExportUnderWay(make)
        return export

    def give_up(self, name: str) -> None:
        """End the export `name` and forget it."""
        self._kept.pop(name).task.cancel()

    def named(self, name: str) -> ExportUnderWay:
        """The export `name`; raises `not-found`."""
        export = self._kept.get(name)
        if export is None:
            raise GatewayError("not-found", "there is no such export any more: make it again")
        return export
