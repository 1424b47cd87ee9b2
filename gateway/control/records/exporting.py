"""Exports on their way: how many an officer may have, and those made beside the request that asked (RFC 7240).

An export that is waited for is given up once who waits has left; one that is watched goes on.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Request

from gateway.control.act.deeds import Choice
from gateway.domain.errors import GatewayError

T = TypeVar("T")

MAX_KEPT = 256
"""Exports remembered; of those that are finished, the oldest is forgotten first."""
MAX_DECIDED = 4096
"""Exports of which it is remembered what permitted them; an older one is not fetched any more."""
MAX_AN_OFFICER = 4
"""Exports that one officer may have under way on this node: the ledger process has room for several officers'."""
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
        self._under_way: Counter[str] = Counter()
        self._decided: dict[str, tuple[Choice, ...]] = {}

    def decided(self, name: str, asked: Sequence[Choice]) -> None:
        """Note what the policies permitted for the export `name`: whoever fetches it is decided by that anew."""
        while len(self._decided) >= MAX_DECIDED:
            del self._decided[next(iter(self._decided))]
        self._decided[name] = tuple(asked)

    def decisions_of(self, name: str) -> tuple[Choice, ...]:
        """What was permitted for the export `name`; raises `not-found` where nothing is known of it."""
        try:
            return self._decided[name]
        except KeyError:
            raise _gone() from None

    @contextmanager
    def place_of(self, officer: str) -> Iterator[None]:
        """Hold one of the places that an officer has while an export is made.

        Raises:
            GatewayError: `rate-limited` if all of them are taken.
        """
        self._take(officer)
        try:
            yield
        finally:
            self._give_back(officer)

    def begin(self, name: str, officer: str, make: Callable[[Progress], Awaitable[Finished]]) -> ExportUnderWay:
        """Begin to make the export `name`, in one of the officer's places.

        Raises:
            GatewayError: `rate-limited` if too many are under way, or too many of the officer's.
        """
        if not self._has_room():
            raise GatewayError("rate-limited", f"{MAX_KEPT} exports are under way: wait for one to end")
        self._take(officer)
        export = self._kept[name] = ExportUnderWay(make)
        export.task.add_done_callback(lambda _: self._give_back(officer))
        return export

    def made(self, name: str, finished: Finished) -> None:
        """Note an export that was waited for: its progress is told as that of one that was watched."""

        async def at_once(_progress: Progress) -> Finished:
            return finished

        if self._has_room():
            self._kept[name] = ExportUnderWay(at_once)

    def _has_room(self) -> bool:
        """Whether one more can be kept, once the oldest that is finished is forgotten where there are too many."""
        if len(self._kept) < MAX_KEPT:
            return True
        finished = next((each for each, export in self._kept.items() if export.task.done()), None)
        if finished is not None and not (gone := self._kept.pop(finished).task).cancelled():
            gone.exception()
        return finished is not None

    def give_up(self, name: str) -> None:
        """End the export `name` and forget it."""
        self._kept.pop(name).task.cancel()

    def named(self, name: str) -> ExportUnderWay:
        """The export `name`; raises `not-found`."""
        export = self._kept.get(name)
        if export is None:
            raise _gone()
        return export

    def _take(self, officer: str) -> None:
        if self._under_way[officer] >= MAX_AN_OFFICER:
            raise GatewayError("rate-limited", f"{MAX_AN_OFFICER} exports of yours are under way: wait for one to end")
        self._under_way[officer] += 1

    def _give_back(self, officer: str) -> None:
        self._under_way[officer] -= 1
        if not self._under_way[officer]:
            del self._under_way[officer]


def _gone() -> GatewayError:
    return GatewayError("not-found", "there is no such export any more: make it again")


async def unless_left(request: Request, work: Awaitable[T]) -> T:
    """What `work` comes to; once who sent `request` has closed the connection, it is cancelled.

    Raises:
        GatewayError: `unavailable` where it was; nobody is left to read it.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
            raise GatewayError("unavailable", "it was given up: who asked for it has left")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
