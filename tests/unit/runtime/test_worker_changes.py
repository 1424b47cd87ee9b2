"""What a worker does with a change before it acknowledges it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.domain.changes import Change, ChangeKind
from gateway.runtime.worker.checks import ChecksListener
from gateway.runtime.worker.worker import Worker


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
    for part in ("_plane", "_policies", "_engine", "_identifier", "_resolver"):
        setattr(worker, part, Told(part, order))
    worker._checks = cast("ChecksListener", SimpleNamespace(book=Told("book", order)))
    worker._apply(Change(sequence=1, kind=ChangeKind.GRANT, subject="g-1", withdraws=withdraws))
    assert order[0] == "_plane.forget"
    assert {"_engine.drop", "_identifier.forget", "_resolver.drop", "book.drop"} <= set(order)
    assert ("_plane.cut" in order) == withdraws
    order.clear()
    worker._drop_everything(2)
    assert order[0] == "_plane.forget"
