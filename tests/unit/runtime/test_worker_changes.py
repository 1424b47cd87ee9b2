"""What a worker does with a change before it acknowledges it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from gateway.domain.changes import Change, ChangeKind
from gateway.domain.directory import System
from gateway.domain.errors import GatewayError
from gateway.runtime.worker.book import StateBook
from gateway.runtime.worker.checks import ChecksListener
from gateway.runtime.worker.words import KeptWords
from gateway.runtime.worker.worker import Worker
from gateway.store import Store


class Told:
    """Stands for each part of a worker, and notes in which order they are told."""

    def __init__(self, name: str, order: list[str]) -> None:
        self._name = name
        self._order = order

    def __getattr__(self, act: str) -> Any:
        return lambda *_, **__: self._order.append(f"{self._name}.{act}")


@pytest.mark.parametrize("withdraws", [True, False])
def test_barrier_every_change_forgets_what_repeated_requests_mean_first(withdraws: bool) -> None:
    """INVARIANT: BARRIER. Also a change that withdraws nothing leaves no remembered permit behind."""
    order: list[str] = []
    worker = object.__new__(Worker)
    # What was said is dropped, by a truth that is none: nothing was erased.
    worker._words = cast(
        "KeptWords",
        SimpleNamespace(drop=lambda _: order.append("_words.drop"), drop_all=lambda: order.append("_words.drop_all")),
    )
    for part in ("_plane", "_policies", "_engine", "_identifier", "_resolver"):
        setattr(worker, part, Told(part, order))
    worker._checks = cast("ChecksListener", SimpleNamespace(book=Told("book", order)))
    worker._apply(Change(sequence=1, kind=ChangeKind.GRANT, subject="g-1", withdraws=withdraws))
    assert order[0] == "_plane.forget"
    assert {"_engine.drop", "_identifier.forget", "_resolver.drop", "_words.drop", "book.drop"} <= set(order)
    assert ("_plane.cut" in order) == withdraws
    order.clear()
    worker._drop_everything(2)
    assert order[0] == "_plane.forget"
    assert "_words.drop_all" in order


def test_barrier_a_system_that_was_read_before_a_change_is_read_again() -> None:
    """INVARIANT: BARRIER. Neither given out nor kept; and what keeps changing is told as that."""
    stands = System("s", "civil-affairs", "s")
    read: list[bool] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        changes = 1

        def system(_: str) -> System:
            found = msgspec.structs.replace(stands, active=not read)
            read.append(found.active)
            if len(read) <= changes:
                change = Change(sequence=len(read), kind=ChangeKind.SYSTEM, subject="s", withdraws=True)
                asyncio.run_coroutine_threadsafe(changed(change), loop).result(10)
            return found

        async def changed(change: Change) -> None:
            book.drop(change)

        with ThreadPoolExecutor(1) as executor:
            book = StateBook(cast("Store", SimpleNamespace(system=system)), executor)
            found = book.system("s")
            assert not isinstance(found, System)
            assert found is not None
            assert (await found, read) == (msgspec.structs.replace(stands, active=False), [True, False])
            assert book.system("s") == msgspec.structs.replace(stands, active=False)
            book.drop_all()
            changes = 1000
            again = book.system("s")
            assert not isinstance(again, System)
            assert again is not None
            with pytest.raises(GatewayError, match="state-stale"):
                await again

    asyncio.run(story())
